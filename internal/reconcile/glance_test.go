// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// glancing is guestKind for objects that others build on.
type glancing struct {
	*guestKind
	glanced int
	err     error
}

func (k *glancing) Unseen(g *v1alpha1.Guest) bool {
	return meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ReachableCondition) == nil
}

func (k *glancing) Glance(ctx context.Context, g *v1alpha1.Guest) (box, error) {
	k.glanced++
	if k.err != nil {
		return box{}, k.err
	}
	return k.Observe(ctx, g)
}

// Report says nothing of what could not be looked at.
func (k *glancing) Report(g *v1alpha1.Guest, seen box) []Condition {
	if k.err != nil {
		return nil
	}
	return k.guestKind.Report(g, seen)
}

// TestGlance: what waits and was never looked at is looked at until it is known, and no step is taken.
func TestGlance(t *testing.T) {
	const waits = "False DependencyNotReady: waiting for Guest/none: not found"
	for name, c := range map[string]struct {
		reason           string
		edit             func(w *world, g *v1alpha1.Guest)
		err              error
		ready, reachable string
		glances          int // of two passes
	}{
		"waits":   {reason: "what is there is known", ready: waits, reachable: "True Answers: it answers", glances: 1},
		"absent":  {reason: "that nothing is there is known", edit: func(w *world, _ *v1alpha1.Guest) { clear(w.site.boxes) }, ready: waits, reachable: "False Creating: it is being created", glances: 1},
		"unknown": {reason: "a wait is not the one to tell of", err: Wait("Busy", 0, errors.New("a task runs")), ready: waits, glances: 2},
		"stalled": {reason: "what is wrong with it goes first", err: Stall("Foreign", errors.New("it is not ours")), ready: "False Foreign: it is not ours", glances: 2},
		"paused":  {reason: "nothing is read", edit: func(_ *world, g *v1alpha1.Guest) { g.Spec.Management = v1alpha1.ManagementPaused }, ready: "Unknown Paused: management is Paused"},
		"away":    {reason: "there is no way to it", edit: func(w *world, _ *v1alpha1.Guest) { w.site.away = true }, ready: "Unknown DependencyNotReady: waiting for Host/pve: not Reachable (Unreachable)"},
		"circle":  {reason: "only another spec helps", edit: func(_ *world, g *v1alpha1.Guest) { g.Spec.DependsOn[0].Name = "ca" }, ready: "False ReferenceCycle: the references lead in a circle: Guest/ca -> Guest/ca"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			kind := &glancing{guestKind: w.kind, err: c.err}
			graph := NewGraph(w.server)
			Register(graph, "Guest", kind, newGuest, func() client.ObjectList { return &v1alpha1.GuestList{} })
			Register(graph, "Host", hostKind{w}, newHost, func() client.ObjectList { return &v1alpha1.HostList{} })
			w.guests = loopOf[*v1alpha1.Guest, box](w, w.server, graph, "Guest", kind, newGuest)
			w.site.boxes[100] = &box{Owner: "ca", VMID: 100, Cores: 4, Running: true}
			w.guest("ca", dependsOn("none"), func(g *v1alpha1.Guest) {
				if c.edit != nil {
					c.edit(w, g)
				}
			})
			w.passHost()
			for range 2 {
				w.must("ca")
			}
			g := w.get("ca")
			if ready(g) != c.ready || condition(g, v1alpha1.ReachableCondition) != c.reachable {
				t.Errorf("%s: Ready is %q and Reachable %q, want %q and %q", c.reason, ready(g), condition(g, v1alpha1.ReachableCondition), c.ready, c.reachable)
			}
			if kind.glanced != c.glances || len(w.site.did) != 0 || len(g.Status.Plan) != 0 {
				t.Errorf("%s: %d looks, want %d; it did %v and plans %+v", c.reason, kind.glanced, c.glances, w.site.did, g.Status.Plan)
			}
		})
	}
}
