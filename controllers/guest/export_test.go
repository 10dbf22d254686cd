// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// exportedMedia is the export media of HostService/nfs.
var exportedMedia = &v1alpha1.ExportReference{ServiceRef: v1alpha1.LocalReference{Name: "nfs"}, Name: "media"}

// TestExportOf: what a Guest takes from a HostService.
func TestExportOf(t *testing.T) {
	one := func(h *v1alpha1.Host) {
		h.Spec.SSH = &v1alpha1.HostSSH{Nodes: []v1alpha1.HostSSHNode{{Name: "phoenix"}}}
	}
	cases := []struct {
		reason  string
		service func(*v1alpha1.HostService)
		host    func(*v1alpha1.Host)
		want    export
	}{
		{"the only node with SSH is the service's", nil, one, export{path: "/exports/media", host: "home", node: "phoenix", source: "10.0.0.13:/exports/media"}},
		{"the node that the service names", func(s *v1alpha1.HostService) { s.Spec.Node = "pve2" }, one, export{path: "/exports/media", host: "home", node: "pve2", source: "10.0.0.13:/exports/media"}},
		{"several nodes, and none is named", nil, func(h *v1alpha1.Host) {
			h.Spec.SSH = &v1alpha1.HostSSH{Nodes: []v1alpha1.HostSSHNode{{Name: "pve1"}, {Name: "pve2"}}}
		}, export{path: "/exports/media", host: "home", source: "10.0.0.13:/exports/media"}},
		{"in a guest", func(s *v1alpha1.HostService) {
			s.Spec.HostRef, s.Spec.GuestRef = nil, &v1alpha1.LocalReference{Name: "nas"}
		}, one,
			export{path: "/exports/media", source: "10.0.0.13:/exports/media"}},
		{"the service does not say yet how it is mounted", func(s *v1alpha1.HostService) { s.Status.Exports = nil }, one,
			export{path: "/exports/media", host: "home", node: "phoenix"}},
		{"no such export", func(s *v1alpha1.HostService) { s.Spec.NFS.Exports[1].Name = "music" }, one,
			export{missing: "HostService/nfs has no export media, only data, music: correct the name, or declare it there"}},
		{"another service", func(s *v1alpha1.HostService) { s.Spec.NFS = nil }, one, export{missing: "HostService/nfs is no nfs service: name one"}},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			s, h := &v1alpha1.HostService{}, &v1alpha1.Host{}
			s.Name, h.Name = "nfs", "home"
			s.Spec.HostRef = &v1alpha1.LocalReference{Name: "home"}
			s.Spec.NFS = &v1alpha1.NFS{Exports: []v1alpha1.NFSExport{{Name: "data", Path: "/exports/data"}, {Name: "media", Path: "/exports/media"}}}
			s.Status.Exports = []v1alpha1.ExportStatus{{Name: "data", Source: "10.0.0.13:/exports/data"}, {Name: "media", Source: "10.0.0.13:/exports/media"}}
			if c.service != nil {
				c.service(s)
			}
			c.host(h)
			if diff := cmp.Diff(c.want, exportOf(s, "media", h), cmp.AllowUnexported(export{})); diff != "" {
				t.Errorf("export (-want +got):\n%s", diff)
			}
		})
	}
}

// TestExportedSays: a message names the field, what is the matter, and what to do.
func TestExportedSays(t *testing.T) {
	for _, c := range []struct {
		reason string
		export export
		says   []string
	}{
		{"in a guest", export{path: "/exports/media"}, []string{"mountPoints[/media].export", "HostService/nfs", "hostRef home", "nfsMounts"}},
		{"on another Host", export{path: "/exports/media", host: "away"}, []string{"Host/away", "Host/home", "nfsMounts"}},
		{"on another node", export{path: "/exports/media", host: "home", node: "pve2"}, []string{"node pve2", "is on phoenix", "nfsMounts"}},
		{"not allowed", export{path: "/srv/media", host: "home", node: "phoenix"}, []string{"/srv/media", "allow.exportPaths", "below /exports"}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			seen := presentSeen(ct, nil)
			seen.exports = map[v1alpha1.ExportReference]export{*exportedMedia: c.export}
			d := newDraft(newGuest(ct, func(s *v1alpha1.GuestSpec) {
				s.MountPoints = []v1alpha1.MountPoint{{Path: "/media", Export: exportedMedia}}
			}), seen)
			if len(d.refusals) != 1 || !d.refusals[0].stalls {
				t.Fatalf("want it to stall, got %v", d.refusals)
			}
			for _, part := range c.says {
				if text := d.refusals[0].err.Error(); !strings.Contains(text, part) {
					t.Errorf("the message names %q: got %q", part, text)
				}
			}
		})
	}
}

// TestRefusedMountIsNotClaimed: a mount of somebody else's does not become ours by a declaration that cannot be had.
func TestRefusedMountIsNotClaimed(t *testing.T) {
	seen := presentSeen(ct, config{"mp0": "local:1,mp=/media,size=1G"})
	seen.exports = map[v1alpha1.ExportReference]export{*exportedMedia: {missing: "none"}}
	d := newDraft(newGuest(ct, func(s *v1alpha1.GuestSpec) {
		s.MountPoints = []v1alpha1.MountPoint{{Path: "/media", Export: exportedMedia}}
	}), seen)
	if m := d.markFor(d.after(), nil); len(m.slots) != 0 {
		t.Errorf("the mark names %v", m.slots)
	}
}

// TestExportRefs: the Guest waits for Exported of each service once.
func TestExportRefs(t *testing.T) {
	other := v1alpha1.ExportReference{ServiceRef: v1alpha1.LocalReference{Name: "nas"}, Name: "music"}
	same := v1alpha1.ExportReference{ServiceRef: exportedMedia.ServiceRef, Name: "data"}
	spec := v1alpha1.GuestSpec{
		MountPoints: []v1alpha1.MountPoint{{Export: exportedMedia}, {Volume: &v1alpha1.Volume{}}, {Export: &same}},
		NFSMounts:   []v1alpha1.NFSMount{{Export: other}, {Export: other}},
	}
	want := []reconcile.Ref{
		reconcile.Hard("HostService", "nfs", v1alpha1.ExportedCondition), reconcile.Hard("HostService", "nas", v1alpha1.ExportedCondition),
	}
	if diff := cmp.Diff(want, exportRefs(&spec)); diff != "" {
		t.Errorf("references (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]v1alpha1.ExportReference{*exportedMedia, same, other}, exportsOf(&spec)); diff != "" {
		t.Errorf("exports (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]reconcile.Ref(nil), exportRefs(&v1alpha1.GuestSpec{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("without exports (-want +got):\n%s", diff)
	}
}
