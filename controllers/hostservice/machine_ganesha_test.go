// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

const (
	ganeshaService = "nfs-ganesha.service"
	ganeshaDropIn  = "/etc/systemd/system/nfs-ganesha.service.d/phoenix.conf"
	ganeshaByHand  = "EXPORT {\n\tExport_Id = 7;\n\tPath = /srv/data;\n\tPseudo = /srv/data;\n\tAccess_Type = RW;\n}\nEXPORT {\n\tExport_Id = 8;\n\tPath = /srv/other;\n\tPseudo = /srv/other;\n\tAccess_Type = RO;\n}\n"
)

func onGanesha(n *v1alpha1.NFS) { n.Server = v1alpha1.NFSGanesha }

// showExports are the paths that Ganesha exports.
func (w *svcWorld) showExports() string {
	w.t.Helper()
	out := w.shell("dbus-send --system --print-reply --dest=org.ganesha.nfsd /org/ganesha/nfsd/ExportMgr org.ganesha.nfsd.exportmgr.ShowExports")
	var paths []string
	for line := range strings.SplitSeq(out, "\n") {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "string "); ok {
			paths = append(paths, strings.Trim(path, `"`))
		}
	}
	return strings.Join(paths, " ")
}

func TestGaneshaExports(t *testing.T) {
	w := newSVCWorld(t, nil, svcGuest("app", "10.0.0.102"))
	w.create(svcNFS(onGanesha))
	s := w.ready("exports")
	if got := w.showExports(); got != "/ /srv/data" || len(s.Status.Exports) != 1 {
		t.Errorf("Ganesha exports %q, status has %+v", got, s.Status.Exports)
	}
	w.quiet("exports")
	started := w.sim.Unit(ganeshaService).Invocation
	w.edit("exports", func(s *v1alpha1.HostService) {
		s.Spec.NFS.Exports = append(s.Spec.NFS.Exports, v1alpha1.NFSExport{Name: "more", Path: "/srv/more", Clients: []v1alpha1.NFSClient{{CIDR: "10.0.0.0/24"}}})
	})
	w.ready("exports")
	if got := w.showExports(); !strings.Contains(got, "/srv/more") || w.sim.Unit(ganeshaService).Invocation != started {
		t.Errorf("Ganesha exports %q, want one more without a restart", got)
	}
	w.edit("exports", func(s *v1alpha1.HostService) { s.Spec.NFS.Exports = s.Spec.NFS.Exports[1:] })
	w.ready("exports")
	if got := w.showExports(); strings.Contains(got, "/srv/data") {
		t.Errorf("Ganesha exports %q, want what is declared alone", got)
	}
	w.shell("systemctl stop nfs-ganesha; rm " + ganeshaDropIn)
	w.ready("exports")
	if _, err := w.sim.Stat(ganeshaDropIn); err != nil || !strings.Contains(w.showExports(), "/srv/more") {
		t.Errorf("the drop-in or the unit was not put back: %v, %q", err, w.showExports())
	}
	w.gone("exports")
	if _, err := w.sim.Stat(ganeshaDropIn); err == nil {
		t.Error("the drop-in is still there")
	}
}

func TestGaneshaByHand(t *testing.T) {
	w := newSVCWorld(t, []string{"nfs-ganesha", "nfs-ganesha-vfs"}, svcGuest("app", "10.0.0.102"))
	w.shell("mkdir -p /srv/data /srv/other")
	if err := w.sim.WriteFile("/etc/ganesha/ganesha.conf", ganeshaByHand, 0o644); err != nil {
		t.Fatal(err)
	}
	w.shell("systemctl restart nfs-ganesha")
	w.create(svcNFS(onGanesha))
	w.until("exports", "False NotOwned", "/etc/ganesha/ganesha.conf line 1 (EXPORT {) exports the directory of exports[data]")
	w.edit("exports", func(s *v1alpha1.HostService) { s.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned })
	w.ready("exports")
	if got := w.showExports(); got != "/ /srv/other /srv/data" {
		t.Errorf("Ganesha exports %q, want the other export to stay", got)
	}
	w.quiet("exports")
	w.gone("exports")
	if got, err := w.sim.ReadFile("/etc/ganesha/ganesha.conf"); err != nil || got != ganeshaByHand {
		t.Errorf("the main file is %q (%v), want the original", got, err)
	}
}

func TestSecondServerStalls(t *testing.T) {
	w := newSVCWorld(t, nil, svcGuest("app", "10.0.0.102"))
	w.create(svcNFS(nil))
	other := svcNFS(onGanesha)
	other.Name = "more"
	w.create(other)
	w.ready("exports")
	w.until("more", "False AlreadyServed", "HostService/exports does so with Kernel already, and is older")
}
