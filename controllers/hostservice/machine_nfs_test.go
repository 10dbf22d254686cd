// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

func svcNFS(change func(*v1alpha1.NFS)) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: "exports"}}
	s.Spec.HostRef = &v1alpha1.LocalReference{Name: "phoenix"}
	s.Spec.NFS = &v1alpha1.NFS{Exports: []v1alpha1.NFSExport{{
		Name: "data", Path: "/srv/data", Owner: "100000", Mode: "2770",
		Clients: []v1alpha1.NFSClient{{GuestRef: &v1alpha1.LocalReference{Name: "app"}}, {CIDR: "10.0.5.0/24", ReadOnly: new(true)}},
	}}}
	if change != nil {
		change(s.Spec.NFS)
	}
	return s
}

const svcExports = "/etc/exports.d/phoenix-exports.exports"

func TestKernelExports(t *testing.T) {
	w := newSVCWorld(t, nil, svcGuest("app", "10.0.0.102"))
	w.create(svcNFS(nil))
	s := w.ready("exports")
	if diff := cmp.Diff([]v1alpha1.ExportStatus{{Name: "data", Source: "10.0.0.13:/srv/data"}}, s.Status.Exports); diff != "" {
		t.Errorf("exports (-want +got):\n%s", diff)
	}
	for _, c := range []string{v1alpha1.ServingCondition, v1alpha1.ExportedCondition} {
		if got := svcCondition(s, c); !strings.HasPrefix(got, "True ") {
			t.Errorf("%s is %q", c, got)
		}
	}
	out := w.shell("exportfs -s")
	for _, want := range []string{"10.0.0.102/32(", "10.0.5.0/24("} {
		if !strings.Contains(out, want) {
			t.Errorf("exportfs says %q, want %s", out, want)
		}
	}
	if got := strings.TrimSpace(w.shell("stat -c '%a %u' /srv/data")); got != "2770 100000" {
		t.Errorf("the directory is %q, want the mode and owner that are declared", got)
	}
	w.quiet("exports")

	if err := w.sim.WriteFile("/srv/data/file", "precious", 0o600); err != nil {
		t.Fatal(err)
	}
	w.edit("exports", func(s *v1alpha1.HostService) { s.Spec.NFS.Exports[0].Owner = "100001" })
	w.ready("exports")
	if got := strings.Fields(w.shell("stat -c %u /srv/data /srv/data/file")); len(got) != 2 || got[0] != "100001" || got[1] != "0" {
		t.Errorf("the owners are %q, want that of the directory alone to change", got)
	}
	w.gone("exports")
	if got, err := w.sim.ReadFile("/srv/data/file"); err != nil || got != "precious" {
		t.Errorf("the data is %q (%v)", got, err)
	}
	if _, err := w.sim.Stat(svcExports); err == nil {
		t.Error("the export is still declared")
	}
}

func TestClientsWithoutAddresses(t *testing.T) {
	static := svcGuest("app")
	static.Spec.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.102/24"}}}
	late := svcGuest("late")
	w := newSVCWorld(t, nil, static, late)
	w.create(svcNFS(func(n *v1alpha1.NFS) {
		n.Address = "fd00::13"
		n.Exports = append(n.Exports, v1alpha1.NFSExport{Name: "late", Path: "/srv/late", Clients: []v1alpha1.NFSClient{
			{GuestRef: &v1alpha1.LocalReference{Name: "late"}}, {GuestRef: &v1alpha1.LocalReference{Name: "missing"}},
		}})
	}))
	s := w.ready("exports")
	got := svcCondition(s, v1alpha1.ExportedCondition)
	if !strings.HasPrefix(got, "True ") || !strings.Contains(got, "exports[late].clients[0]: Guest/late has no address yet") || !strings.Contains(got, "Guest/missing") {
		t.Errorf("Exported is %q: a Guest waits for it, so it must not wait for the Guest", got)
	}
	if out := w.shell("exportfs -s"); !strings.Contains(out, "10.0.0.102/32(") || strings.Contains(out, "/srv/late") {
		t.Errorf("exportfs says %q: a declared address counts, and an export without clients would be everybody's", out)
	}
	if diff := cmp.Diff([]v1alpha1.ExportStatus{{Name: "data", Source: "[fd00::13]:/srv/data"}, {Name: "late", Source: "[fd00::13]:/srv/late"}}, s.Status.Exports); diff != "" {
		t.Errorf("exports (-want +got):\n%s", diff)
	}
	late.Status.Addresses = []string{"10.0.0.103"}
	if err := w.client.Status().Update(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	w.ready("exports")
	if out := w.shell("exportfs -s"); !strings.Contains(out, "10.0.0.103/32(") {
		t.Errorf("exportfs says %q, want the address that came", out)
	}
	w.quiet("exports")
}

func TestNFSRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		reason     string
		spec       func(*v1alpha1.NFS)
		ready, say string
	}{
		"not allowed": {
			"the Host says what may be exported", func(n *v1alpha1.NFS) { n.Exports[0].Path = "/etc" },
			"False PathNotAllowed", "exports[data].path: Host/phoenix does not allow to export /etc: add it to allow.exportPaths",
		},
		"beside what is allowed": {
			"a prefix ends at a slash", func(n *v1alpha1.NFS) { n.Exports[0].Path = "/srvx" }, "False PathNotAllowed", "/srvx",
		},
		"async of Ganesha": {
			"it has no such thing", func(n *v1alpha1.NFS) {
				n.Server, n.Exports[0].Clients[1].Async = v1alpha1.NFSGanesha, new(true)
			}, "False Invalid", "exports[0].clients[1].async",
		},
		"a link": {
			"it leads elsewhere", func(n *v1alpha1.NFS) { n.Exports[0].Path = "/srv/link" }, "False NotOwned", "/srv/link",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newSVCWorld(t, nil, svcGuest("app", "10.0.0.102"))
			w.shell("ln -s /etc /srv/link")
			w.create(svcNFS(c.spec))
			w.until("exports", c.ready, c.say)
			if out := w.shell("ls /etc/exports.d"); strings.Contains(out, "phoenix") {
				t.Errorf("%s: something was exported: %s", c.reason, out)
			}
		})
	}
}

func TestSamePathTwice(t *testing.T) {
	w := newSVCWorld(t, nil, svcGuest("app", "10.0.0.102"))
	w.create(svcNFS(nil))
	w.create(func() *v1alpha1.HostService {
		s := svcNFS(func(n *v1alpha1.NFS) {
			n.Exports = append(n.Exports, v1alpha1.NFSExport{Name: "own", Path: "/srv/own", Clients: []v1alpha1.NFSClient{{CIDR: "10.0.0.0/24"}}})
		})
		s.Name = "more"
		return s
	}())
	w.ready("exports")
	w.until("more", "False DuplicatePath", "HostService/exports and HostService/more both export /srv/data")
	if out := w.shell("exportfs -s"); !strings.Contains(out, "/srv/own") || strings.Count(out, "10.0.0.102/32(") != 1 {
		t.Errorf("exportfs says %q, want all else, and nothing twice", out)
	}
	w.ready("exports")
}

func TestExportsByHand(t *testing.T) {
	const byHand = "# mine\n/srv/data *(rw,sync,no_subtree_check)\n/srv/other *(ro,sync,no_subtree_check)\n"
	w := newSVCWorld(t, []string{"nfs-kernel-server"}, svcGuest("app", "10.0.0.102"))
	w.shell("mkdir -p /srv/data /srv/other")
	if err := w.sim.WriteFile("/etc/exports", byHand, 0o644); err != nil {
		t.Fatal(err)
	}
	w.shell("exportfs -ra")
	w.create(svcNFS(nil))
	w.until("exports", "False NotOwned", "/etc/exports line 2 (/srv/data *(rw,sync,no_subtree_check)) exports the directory of exports[data]")
	w.edit("exports", func(s *v1alpha1.HostService) { s.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned })
	w.ready("exports")
	if out := w.shell("exportfs -s"); !strings.Contains(out, "/srv/other") || strings.Contains(out, "/srv/data  *") {
		t.Errorf("exportfs says %q, want the other export, and ours for its clients alone", out)
	}
	w.quiet("exports")
	w.gone("exports")
	if got, err := w.sim.ReadFile("/etc/exports"); err != nil || got != byHand {
		t.Errorf("/etc/exports is %q (%v), want the original", got, err)
	}
}

func TestExportDriftIsPutBack(t *testing.T) {
	w := newSVCWorld(t, nil, svcGuest("app", "10.0.0.102"))
	w.create(svcNFS(nil))
	w.ready("exports")
	for name, line := range map[string]string{
		"an edited file": "echo '/etc *(rw)' >> " + svcExports + "; exportfs -ra", "a stopped unit": "systemctl stop nfs-server",
		"a directory": "chmod 777 /srv/data",
	} {
		w.shell(line)
		w.ready("exports")
		if out := w.shell("exportfs -s; stat -c %a /srv/data"); strings.Contains(out, "/etc ") || !strings.Contains(out, "10.0.0.102/32(") || !strings.Contains(out, "2770") {
			t.Errorf("%s: %q", name, out)
		}
		w.quiet("exports")
	}
}
