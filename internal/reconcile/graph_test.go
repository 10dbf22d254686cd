// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// refer makes the named Guests refer to others: "nginx": {Hard("Guest", "ca", "Reachable")}.
func (w *world) refer(refs map[string][]Ref) {
	w.kind.refs = func(g *v1alpha1.Guest) []Ref { return refs[g.Name] }
	clear(w.holds.Graph.memo) // a real kind says the same of the same version
}

func dependsOn(names ...string) func(*v1alpha1.Guest) {
	return func(g *v1alpha1.Guest) {
		for _, n := range names {
			g.Spec.DependsOn = append(g.Spec.DependsOn, v1alpha1.ObjectReference{Kind: "Guest", Name: n})
		}
	}
}

func TestHardReferencesGate(t *testing.T) {
	reachable := []Ref{Hard("Guest", "step-ca", v1alpha1.ReachableCondition)}
	cases := map[string]struct {
		reason string
		target *metav1.Condition // of step-ca; nil: there is no such condition
		absent bool
		refs   []Ref
		ready  string
		free   bool
	}{
		"Absent": {reason: "what does not exist is named", absent: true, refs: reachable, ready: "False DependencyNotReady: waiting for Guest/step-ca: not found"},
		"Young":  {reason: "a target without the condition has not said anything yet", refs: reachable, ready: "False DependencyNotReady: waiting for Guest/step-ca: not Reachable yet"},
		"False": {
			reason: "the reason of the target is said", refs: reachable, ready: "False DependencyNotReady: waiting for Guest/step-ca: not Reachable (Creating)",
			target: &metav1.Condition{Type: "Reachable", Status: "False", Reason: "Creating", ObservedGeneration: 1},
		},
		"Unknown": {
			reason: "what is not known is not true", refs: reachable, ready: "False DependencyNotReady: waiting for Guest/step-ca: not Reachable (HostAway)",
			target: &metav1.Condition{Type: "Reachable", Status: "Unknown", Reason: "HostAway", ObservedGeneration: 1},
		},
		"Outdated": {
			reason: "a reason of an earlier spec would mislead", refs: reachable, ready: "False DependencyNotReady: waiting for Guest/step-ca: not Reachable yet",
			target: &metav1.Condition{Type: "Reachable", Status: "False", Reason: "Creating", ObservedGeneration: 0},
		},
		"True": {
			reason: "the way is free", refs: reachable, free: true,
			target: &metav1.Condition{Type: "Reachable", Status: "True", Reason: "Answers", ObservedGeneration: 1},
		},
		"TrueBefore": {
			reason: "an edit of the target does not stop all that stands on it", refs: reachable, free: true,
			target: &metav1.Condition{Type: "Reachable", Status: "True", Reason: "Answers", ObservedGeneration: 0},
		},
		"Soft": {reason: "a soft reference gates nothing", absent: true, refs: []Ref{Soft("Guest", "step-ca"), {Kind: "Guest", Name: "step-ca", Keeps: true}, HeldSecret("none")}, free: true},
		"OtherCondition": {
			reason: "only the condition that is asked for counts", refs: []Ref{Hard("Guest", "step-ca", "Ready")}, ready: "False DependencyNotReady: waiting for Guest/step-ca: not Ready yet",
			target: &metav1.Condition{Type: "Reachable", Status: "True", Reason: "Answers", ObservedGeneration: 1},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			if !c.absent {
				ca := w.guest("step-ca")
				if c.target != nil {
					apimeta.SetStatusCondition(&ca.Status.Conditions, *c.target)
					if err := w.raw.Status().Update(t.Context(), ca); err != nil {
						t.Fatal(err)
					}
				}
			}
			w.refer(map[string][]Ref{"nginx": c.refs})
			w.guest("nginx")
			r := w.must("nginx")
			if c.free {
				w.isReady("nginx")
				return
			}
			g := w.get("nginx")
			if got := ready(g); got != c.ready {
				t.Errorf("%s: Ready = %q, want %q", c.reason, got, c.ready)
			}
			if w.kind.observed != 0 || len(w.site.did) != 0 {
				t.Errorf("%s, but it observed %d times and did %v", c.reason, w.kind.observed, w.site.did)
			}
			if condition(g, v1alpha1.ReconcilingCondition) == "" || w.kstatus(g) != "InProgress" {
				t.Errorf("%s: kstatus = %s, conditions %v", c.reason, w.kstatus(g), g.Status.Conditions)
			}
			between(t, "the target's event comes sooner", r.RequeueAfter, interval)
		})
	}
}

func TestDependsOnWaitsForReady(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("step-ca", func(g *v1alpha1.Guest) { g.Spec.Power = v1alpha1.PowerStopped })
	w.guest("nginx", dependsOn("step-ca"))
	w.must("nginx")
	if got, want := ready(w.get("nginx")), "False DependencyNotReady: waiting for Guest/step-ca: not Ready yet"; got != want {
		t.Errorf("Ready = %q, want %q", got, want)
	}
	w.settle()
	w.isReady("nginx")
}

func onGuestsOnly(g *v1alpha1.Guest) { g.Spec.HostRef.Name = "" }

func TestHostAway(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.refer(map[string][]Ref{
		"nginx": {Through("Guest", "ca", v1alpha1.ReachableCondition)},
		"route": {Hard("Guest", "nginx", v1alpha1.ReachableCondition)},
		"agent": {{Kind: "Guest", Name: "ca", Condition: v1alpha1.ReachableCondition, Keeps: true, Blinds: true}},
	})
	all := []string{"ca", "nginx", "route", "agent"}
	w.guest("ca")
	w.guest("agent", onGuestsOnly)
	w.guest("nginx", onGuestsOnly)
	w.guest("route", onGuestsOnly)
	w.settle()
	for _, n := range all {
		w.isReady(n)
	}
	w.happened()

	w.site.away = true
	w.passHost()
	observed := w.kind.observed
	for _, n := range all {
		w.must(n)
	}
	if w.kind.observed != observed {
		t.Error("what stands on a Host that is away was looked at")
	}
	const away = "DependencyNotReady: waiting for Host/pve: not Reachable (Unreachable)"
	wants := map[string][2]string{
		"ca":    {"Unknown " + away, "Unknown " + away},
		"nginx": {"True InSync: the outside agrees with the spec", "Unknown DependencyNotReady: waiting for Guest/ca: not Reachable (DependencyNotReady)"},
		"agent": {"True InSync: the outside agrees with the spec", "Unknown DependencyNotReady: waiting for Guest/ca: not Reachable (DependencyNotReady)"},
		"route": {"True InSync: the outside agrees with the spec", "True Answers: it answers"}, // it takes no step, but nothing says that it is away
	}
	for n, want := range wants {
		g := w.get(n)
		if diff := cmp.Diff(want, [2]string{ready(g), condition(g, v1alpha1.ReachableCondition)}); diff != "" {
			t.Errorf("%s: Ready and Reachable (-want +got):\n%s", n, diff)
		}
	}
	if got := with(w.happened(), "Warning Guest/"); len(got) != 0 {
		t.Errorf("waiting for a Host says %v", got)
	}

	for _, n := range all {
		w.edit(n, func(g *v1alpha1.Guest) { g.Spec.Cores = ptr(2) })
		w.must(n)
	}
	for n, want := range map[string]string{
		"ca":    "Unknown " + away,
		"nginx": "False DependencyNotReady: waiting for Guest/ca: not Reachable (DependencyNotReady)",
		"agent": "False DependencyNotReady: waiting for Guest/ca: not Reachable (DependencyNotReady)",
		"route": "False DependencyNotReady: waiting for Guest/nginx: not Reachable (DependencyNotReady)",
	} {
		if got := ready(w.get(n)); got != want {
			t.Errorf("%s with a new spec: Ready = %q, want %q", n, got, want)
		}
	}

	w.site.away = false
	w.settle()
	for _, n := range all {
		w.isReady(n)
		if got, want := condition(w.get(n), v1alpha1.ReachableCondition), "True Answers: it answers"; got != want {
			t.Errorf("%s: Reachable = %q after the Host came back", n, got)
		}
	}
}

func TestCycles(t *testing.T) {
	cases := map[string]struct {
		reason string
		refs   map[string][]Ref
		ready  map[string]string
	}{
		"Self": {
			"an object cannot wait for itself",
			map[string][]Ref{"a": {Hard("Guest", "a", "Ready")}},
			map[string]string{"a": "False ReferenceCycle: the references lead in a circle: Guest/a -> Guest/a"},
		},
		"Three": {
			"everyone in the circle names it; who only leads into it waits",
			map[string][]Ref{"a": {Hard("Guest", "b", "Ready")}, "b": {Hard("Guest", "c", "Ready")}, "c": {Hard("Guest", "a", "Ready")}, "d": {Hard("Guest", "b", "Ready")}},
			map[string]string{
				"a": "False ReferenceCycle: the references lead in a circle: Guest/a -> Guest/b -> Guest/c -> Guest/a",
				"b": "False ReferenceCycle: the references lead in a circle: Guest/b -> Guest/c -> Guest/a -> Guest/b",
				"c": "False ReferenceCycle: the references lead in a circle: Guest/c -> Guest/a -> Guest/b -> Guest/c",
				"d": "False DependencyNotReady: waiting for Guest/b: not Ready (ReferenceCycle)",
			},
		},
		"SoftBack": {
			"a soft reference closes no circle",
			map[string][]Ref{"a": {Hard("Guest", "b", "Ready")}, "b": {Soft("Guest", "a"), {Kind: "Guest", Name: "a", Keeps: true}}},
			map[string]string{"a": "True InSync: the outside agrees with the spec", "b": "True InSync: the outside agrees with the spec"},
		},
		"Diamond": {
			"two ways to one target are no circle",
			map[string][]Ref{"a": {Hard("Guest", "b", "Ready"), Hard("Guest", "c", "Ready")}, "b": {Hard("Guest", "d", "Ready")}, "c": {Hard("Guest", "d", "Ready")}},
			map[string]string{"a": "True InSync: the outside agrees with the spec", "d": "True InSync: the outside agrees with the spec"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.refer(c.refs)
			for n := range c.refs {
				w.guest(n)
			}
			if w.get("d") == nil {
				w.guest("d")
			}
			w.settle()
			for n, want := range c.ready {
				g := w.get(n)
				if got := ready(g); got != want {
					t.Errorf("%s: Ready of %s = %q, want %q", c.reason, n, got, want)
				}
				if stalled := condition(g, v1alpha1.StalledCondition) != ""; stalled != (w.kstatus(g) == "Failed") || stalled != strings.HasPrefix(want, "False ReferenceCycle") {
					t.Errorf("%s: %s stalled = %v, kstatus = %s", c.reason, n, stalled, w.kstatus(g))
				}
			}
			if strings.HasPrefix(c.ready["a"], "True") {
				return
			}
			w.refer(nil)
			w.settle()
			for n := range c.refs {
				w.isReady(n)
			}
		})
	}
}

func TestEdges(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.refer(map[string][]Ref{"nginx": {Soft("Guest", "ca"), Hard("Guest", "ca", "Reachable")}})
	w.guest("ca")
	w.guest("nginx", dependsOn("dns"))
	got, err := w.guests.Graph.Edges(t.Context(), space)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Guest/ca -> Host/pve", "Guest/nginx -> Host/pve", "Guest/nginx -> Guest/ca", "Guest/nginx -> Guest/dns"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hard references (-want +got):\n%s", diff)
	}
	if other, err := w.guests.Graph.Edges(t.Context(), "elsewhere"); err != nil || len(other) != 0 {
		t.Errorf("another namespace has %v, %v", other, err)
	}
	w.tap.fault = failing("list HostList", fault{before: errServer})
	if _, err := w.guests.Graph.Edges(t.Context(), space); !errors.Is(err, errServer) {
		t.Errorf("error = %v, want the API server's", err)
	}
}

func TestUnknownKind(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.refer(map[string][]Ref{"ca": {Hard("Router", "x", "Ready")}})
	w.guest("ca")
	if _, err := w.pass("ca"); err == nil || err.Error() != "no kind Router" {
		t.Errorf("pass = %v: a gate that nobody knows is not open", err)
	}
}

func TestRefsAreNotSharedWithTheKind(t *testing.T) {
	w := newWorld(t)
	own := make([]Ref, 1, 8) // a kind may keep its slice, with room behind it
	own[0] = Soft("Guest", "x")
	a, b := w.guest("a", dependsOn("one")), w.guest("b", dependsOn("two"))
	refsA, refsB := refsOf(a, own), refsOf(b, own)
	if refsA[1].Name != "one" || refsB[1].Name != "two" {
		t.Errorf("refs = %v and %v", refsA, refsB)
	}
}
