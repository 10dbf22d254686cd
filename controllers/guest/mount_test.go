// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// exportOf refers to an export of HostService/nfs.
func exportOf(name string) v1alpha1.ExportReference {
	return v1alpha1.ExportReference{ServiceRef: v1alpha1.LocalReference{Name: "nfs"}, Name: name}
}

// nfs is a service on the node phoenix that exports /exports/media.
func (w *world) nfs() {
	w.t.Helper()
	s := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "nfs"}}
	s.Spec.HostRef, s.Spec.Node = &v1alpha1.LocalReference{Name: "home"}, "phoenix"
	s.Spec.NFS = &v1alpha1.NFS{Exports: []v1alpha1.NFSExport{{Name: "media", Path: "/exports/media"}}}
	w.create(s)
}

// exported says that the service exports everything it declares, from an address.
func (w *world) exported(address string, edit func(*v1alpha1.HostService)) {
	w.t.Helper()
	var s v1alpha1.HostService
	if err := w.client.Get(w.t.Context(), types.NamespacedName{Namespace: namespace, Name: "nfs"}, &s); err != nil {
		w.t.Fatal(err)
	}
	if edit != nil {
		edit(&s)
		if err := w.client.Update(w.t.Context(), &s); err != nil {
			w.t.Fatal(err)
		}
	}
	s.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ExportedCondition, Status: metav1.ConditionTrue, Reason: "Exported"}}
	s.Status.Exports = nil
	for _, e := range s.Spec.NFS.Exports {
		s.Status.Exports = append(s.Status.Exports, v1alpha1.ExportStatus{Name: e.Name, Source: address + ":" + e.Path})
	}
	if err := w.client.Status().Update(w.t.Context(), &s); err != nil {
		w.t.Fatal(err)
	}
}

// TestExportInContainer: an export is waited for, mounted as the directory that it is, and followed when it moves.
func TestExportInContainer(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.nfs()
	w.create(container("web", func(s *v1alpha1.GuestSpec) {
		s.VMID, s.RestartPolicy = ptr(int32(103)), v1alpha1.RestartWhenRequired
		s.MountPoints = []v1alpha1.MountPoint{{Path: "/media", Export: ptr(exportOf("media")), ReadOnly: ptr(true)}}
	}))
	w.until("it waits for the export", because(v1alpha1.DependencyReason), "web")
	if w.count() != 0 || !strings.Contains(message(w.get("web")), "HostService/nfs: not Exported") {
		t.Errorf("want nothing made:\n%s", w.describe("web"))
	}
	w.exported("10.0.0.13", nil)
	w.ready("web")
	if got := w.state(103).Options["mp0"]; got != "/exports/media,mp=/media,ro=1" {
		t.Errorf("mp0: got %q", got)
	}
	w.exported("10.0.0.13", func(s *v1alpha1.HostService) { s.Spec.NFS.Exports[0].Path = "/exports/films" })
	w.until("the directory is another", func(g *v1alpha1.Guest) bool {
		return isReady(g) && strings.HasPrefix(w.state(103).Options["mp0"], "/exports/films,")
	}, "web")
	w.exported("10.0.0.13", func(s *v1alpha1.HostService) { s.Spec.NFS.Exports[0].Path = "/etc" })
	w.until("what the Host does not allow is not mounted", stalledBy(guest.PathNotAllowedReason), "web")
	w.exported("10.0.0.13", func(s *v1alpha1.HostService) {
		s.Spec.NFS.Exports[0] = v1alpha1.NFSExport{Name: "films", Path: "/exports/films"}
	})
	w.until("an export that is not there is named", stalledBy(guest.ExportMissingReason), "web")
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.MountPoints = nil })
	w.ready("web")
	if mp0, there := w.state(103).Options["mp0"]; there {
		t.Errorf("what the spec drops is taken out: got %q", mp0)
	}
}
