// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// TestGlance: a new control plane knows the addresses of a guest also while its Guest waits for something else, for that
// may wait for them; and it writes nothing.
func TestGlance(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(container("web", func(s *v1alpha1.GuestSpec) {
		s.RootDisk = &v1alpha1.RootDisk{Size: size("1Gi")}
		s.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPDHCP}}}
	}), container("app", nil))
	w.ready("web")
	before := w.get("web").Status
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.DependsOn = []v1alpha1.ObjectReference{{Kind: "Guest", Name: "none"}} })
	w.change("app", func(g *v1alpha1.Guest) { g.Spec.DependsOn = []v1alpha1.ObjectReference{{Kind: "Guest", Name: "none"}} })
	g := w.get("web")
	g.Status = v1alpha1.GuestStatus{}
	if err := w.client.Status().Update(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	w.manager = w.start()
	w.sim.ForgetRequests()
	waits := func(g *v1alpha1.Guest) bool {
		c := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.RunningCondition)
		ready := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ReadyCondition)
		return c != nil && ready != nil && ready.Reason == v1alpha1.DependencyReason
	}
	w.until("both are known and wait", waits, "web", "app")
	g = w.get("web")
	if len(before.Addresses) == 0 || !slices.Equal(g.Status.Addresses, before.Addresses) || !slices.Equal(g.Status.Networks, before.Networks) ||
		*g.Status.VMID != *before.VMID || g.Status.Node != before.Node || !meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ReachableCondition) {
		t.Errorf("status was %+v and is\n%s", before, w.describe("web"))
	}
	if app := w.get("app"); app.Status.VMID != nil || !meta.IsStatusConditionFalse(app.Status.Conditions, v1alpha1.RunningCondition) {
		t.Errorf("what does not exist is known not to run:\n%s", w.describe("app"))
	}
	if writes := w.sim.Writes(); len(writes) > 0 {
		t.Errorf("a look wrote: %v", writes)
	}
}
