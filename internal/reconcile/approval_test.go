// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// volumes makes a Guest "ca" whose box has volumes that its spec does not declare any more.
func (w *world) volumes(names ...string) {
	w.t.Helper()
	w.guest("ca", func(g *v1alpha1.Guest) { g.Spec.Tags = names })
	w.must("ca")
	w.isReady("ca")
	w.edit("ca", func(g *v1alpha1.Guest) { g.Spec.Tags = nil })
	w.must("ca")
	w.written()
	w.happened()
}

func destroyed(w *world) []string { return with(w.site.did, "DestroyVolume") }

func TestApproval(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.volumes("a")
	g := w.get("ca")
	token := offeredToken(g)
	want := "False ApprovalRequired: destroy volume a destroys data; approve it with: " +
		"kubectl annotate --overwrite -n lab guest.phoenix-hypervisor.io/ca phoenix-hypervisor.io/approve=" + token
	if got := ready(g); got != want {
		t.Errorf("Ready = %q, want %q", got, want)
	}
	if condition(g, v1alpha1.StalledCondition)+condition(g, v1alpha1.ReconcilingCondition) != "" {
		t.Errorf("a person has to act, nothing is wrong: %v", g.Status.Conditions)
	}
	plan := []v1alpha1.PlannedChange{{Reason: "DestroyVolume", Field: "tags", From: "a", Impact: v1alpha1.ImpactDestroy, Approve: token}}
	if diff := cmp.Diff(plan, g.Status.Plan); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}

	w.annotate("ca", token)
	w.must("ca")
	if diff := cmp.Diff([]string{"status Host/pve", "status Guest/ca", "do DestroyVolume volume a", "status Guest/ca"}, w.written()); diff != "" {
		t.Errorf("budget and consumption come before the step (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Normal Guest/ca DestroyVolume: destroy volume a"}, w.happened()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	w.isReady("ca")
	approvals := w.get("ca").Status.Approvals
	if len(approvals) != 1 || approvals[0].ConsumedAt == nil {
		t.Errorf("approvals = %+v, want one that is consumed", approvals)
	}
}

func TestApprovalRequiredIsAnEvent(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca", func(g *v1alpha1.Guest) { g.Spec.Tags = []string{"a"} })
	w.must("ca")
	w.edit("ca", func(g *v1alpha1.Guest) { g.Spec.Tags = nil })
	w.happened()
	w.must("ca")
	if got := w.happened(); len(got) != 1 || !strings.HasPrefix(got[0], "Warning Guest/ca ApprovalRequired: destroy volume a destroys data") {
		t.Errorf("events = %v", got)
	}
}

func TestWhatDoesNotApprove(t *testing.T) {
	cases := map[string]struct {
		reason string
		act    func(w *world, token string)
	}{
		"Nothing":   {"silence is no consent", func(*world, string) {}},
		"Wrong":     {"another word is none", func(w *world, _ string) { w.annotate("ca", "yes") }},
		"Empty":     {"an empty word is none", func(w *world, _ string) { w.annotate("ca", "") }},
		"Beginning": {"a part of the token is not the token", func(w *world, token string) { w.annotate("ca", token[:8]) }},
		"Expired":   {"a token ends after 24 hours", func(w *world, token string) { w.after(24 * time.Hour); w.annotate("ca", token) }},
		"OtherStep": {"a token approves the step that it was offered for", func(w *world, token string) {
			w.site.boxes[100].Volumes = []string{"b"}
			w.annotate("ca", token)
		}},
		"OtherObject": {"a token of another object approves nothing here", func(w *world, _ string) {
			w.guest("nginx", func(g *v1alpha1.Guest) { g.Spec.Tags = []string{"a"} })
			w.must("nginx")
			w.edit("nginx", func(g *v1alpha1.Guest) { g.Spec.Tags = nil })
			w.must("nginx")
			w.annotate("ca", offeredToken(w.get("nginx")))
		}},
		"NeverOffered": {"a token that nobody offered approves nothing, though it is computed rightly", func(w *world, token string) {
			w.edit("ca", func(g *v1alpha1.Guest) {
				g.Annotations = map[string]string{v1alpha1.ApproveAnnotation: token}
			})
			g := w.get("ca")
			g.Status.Approvals = nil
			if err := w.raw.Status().Update(w.t.Context(), g); err != nil {
				w.t.Fatal(err)
			}
			w.after(time.Hour) // the token depends on the time of the offer
		}},
		"Observe": {"under Observe nothing is done", func(w *world, token string) {
			w.edit("ca", func(g *v1alpha1.Guest) { g.Spec.Management = v1alpha1.ManagementObserve })
			w.annotate("ca", token)
		}},
		"Paused": {"under Paused nothing is done", func(w *world, token string) {
			w.edit("ca", func(g *v1alpha1.Guest) { g.Spec.Management = v1alpha1.ManagementPaused })
			w.annotate("ca", token)
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.volumes("a")
			c.act(w, offeredToken(w.get("ca")))
			for range 3 {
				w.must("ca")
			}
			if got := destroyed(w); len(got) != 0 {
				t.Errorf("%s, but it did %v", c.reason, got)
			}
		})
	}
}

func TestTokenHoldsUntilItsEnd(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.volumes("a")
	first := offeredToken(w.get("ca"))
	w.after(24*time.Hour - time.Second)
	w.must("ca")
	if got := offeredToken(w.get("ca")); got != first {
		t.Errorf("within 24 h the token changed from %s to %s", first, got)
	}
	w.after(time.Second)
	w.must("ca")
	second := offeredToken(w.get("ca"))
	if second == first || second == "" {
		t.Errorf("after 24 h the token is %q", second)
	}
	if n := len(w.get("ca").Status.Approvals); n != 1 {
		t.Errorf("%d approvals are kept, want only the living one", n)
	}
	w.annotate("ca", second)
	w.must("ca")
	w.isReady("ca")
}

func TestTokenIsGoodOnce(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.volumes("a")
	token := w.approve("ca")
	w.must("ca")
	w.site.boxes[100].Volumes = []string{"a"} // it is there again, within the same second
	w.must("ca")
	if got := destroyed(w); len(got) != 1 {
		t.Errorf("one token destroyed %v", got)
	}
	second := offeredToken(w.get("ca"))
	if second == token || second == "" {
		t.Errorf("the token that was used is offered again: %q", second)
	}
	w.annotate("ca", second)
	w.must("ca")
	w.site.boxes[100].Volumes = []string{"a"}
	w.must("ca")
	if got := offeredToken(w.get("ca")); got == token || got == second || got == "" {
		t.Errorf("a token that was used is offered again: %q", got)
	}
	if got := destroyed(w); len(got) != 2 {
		t.Errorf("two tokens destroyed %v", got)
	}
}

func TestApprovalAndAttempt(t *testing.T) {
	cases := map[string]struct {
		reason string
		fault  func(string) fault
		do     error
		again  bool // the same token approves another attempt
		did    bool
	}{
		"KilledBeforeConsumed": {"what was not recorded was not used", failing("status Guest", fault{before: errKilled}), nil, true, false},
		"KilledAfterConsumed":  {"what was recorded was used, though nothing was done", failing("status Guest", fault{after: errKilled}), nil, false, false},
		"KilledBeforeDo":       {"what was recorded was used, though nothing was done", failing("do DestroyVolume", fault{before: errKilled}), nil, false, false},
		"KilledAfterDo":        {"what was done is seen, and not asked for again", failing("do DestroyVolume", fault{after: errKilled}), nil, false, true},
		"ConflictOnConsume":    {"somebody wrote in between: look again", failing("status Guest", fault{before: errConflict}), nil, true, false},
		"Failed":               {"it may have been begun: ask again", nil, errors.New("cut"), false, false},
		"NothingDone":          {"a wait with another reason says that nothing was begun: the approval stands", nil, Wait("Locked", time.Second, errors.New("locked")), true, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.volumes("a")
			token := w.approve("ca")
			w.tap.fault = c.fault
			if c.do != nil {
				w.kind.plan = func(g *v1alpha1.Guest, seen box) []Step {
					steps := w.kind.volumes(g, seen)
					for i := range steps {
						steps[i].Do = func(context.Context) error { return c.do }
					}
					return steps
				}
			}
			w.dies(func() { w.must("ca") })
			w.tap.fault, w.kind.plan = nil, nil
			if got := len(destroyed(w)) > 0; got != c.did {
				t.Errorf("%s: destroyed %v", c.reason, destroyed(w))
			}
			w.must("ca")
			if c.again || c.did {
				w.isReady("ca")
				return
			}
			if got := destroyed(w); len(got) != 0 {
				t.Errorf("%s, but the used token destroyed %v", c.reason, got)
			}
			if second := w.approve("ca"); second == token {
				t.Errorf("%s: the used token is offered again", c.reason)
			}
			w.must("ca")
			w.isReady("ca")
		})
	}
}

// dies runs until the end, or until the process is killed; it says which, and begins a new process.
func (w *world) dies(run func()) (dead bool) {
	defer func() {
		if r := recover(); r != nil {
			if r != any(errKilled) {
				panic(r)
			}
			dead = true
			w.guests.Backoff, w.hosts.Backoff = NewBackoff(), NewBackoff() // what a process has in memory
		}
	}()
	run()
	return false
}

func TestUnapprovedStepDoesNotKeepBackOthers(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.volumes("a")
	w.edit("ca", func(g *v1alpha1.Guest) { g.Spec.Cores = ptr(4) })
	w.must("ca")
	if got := w.site.boxes[100].Cores; got != 4 || len(destroyed(w)) != 0 {
		t.Errorf("cores = %d, destroyed %v", got, destroyed(w))
	}
	if got := ready(w.get("ca")); !strings.HasPrefix(got, "False ApprovalRequired") {
		t.Errorf("Ready = %q", got)
	}
}

func TestEachStepHasItsOwnToken(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.volumes("a", "b")
	first := w.approve("ca")
	w.must("ca")
	if diff := cmp.Diff([]string{"DestroyVolume volume a"}, destroyed(w)); diff != "" {
		t.Errorf("one token approves one step (-want +got):\n%s", diff)
	}
	if second := w.approve("ca"); second == first {
		t.Error("two steps have one token")
	}
	w.must("ca")
	w.isReady("ca")
}

func TestTokenNamesAllOfTheStep(t *testing.T) {
	w := newWorld(t)
	g := w.guest("ca")
	at := w.clock.Now()
	step := Step{Reason: "R", Identity: "volume a", Changes: []Change{{Field: "f", From: "1", To: "2"}}}
	with := func(change func(*Step)) Step {
		s := step
		s.Changes = slices.Clone(s.Changes)
		change(&s)
		return s
	}
	p := &pass[*v1alpha1.Guest, box]{Loop: w.guests, obj: g}
	other := w.guest("other")
	seen := map[string]string{p.token(step, at): "the step"}
	for what, token := range map[string]string{
		"reason":   p.token(with(func(s *Step) { s.Reason = "S" }), at),
		"identity": p.token(with(func(s *Step) { s.Identity = "volume b" }), at),
		"field":    p.token(with(func(s *Step) { s.Changes[0].Field = "g" }), at),
		"from":     p.token(with(func(s *Step) { s.Changes[0].From = "3" }), at),
		"to":       p.token(with(func(s *Step) { s.Changes[0].To = "3" }), at),
		"more":     p.token(with(func(s *Step) { s.Changes = append(s.Changes, Change{}) }), at),
		"time":     p.token(step, at.Add(time.Second)),
		"object":   (&pass[*v1alpha1.Guest, box]{Loop: w.guests, obj: other}).token(step, at),
		"quoting":  p.token(with(func(s *Step) { s.Reason, s.Identity = `R" "volume a`, "" }), at),
	} {
		if before, ok := seen[token]; ok {
			t.Errorf("another %s has the same token as %s", what, before)
		}
		seen[token] = what
	}
}

func TestApprovalsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.volumes("v0")
	for i := range 30 { // each a step of its own, none approved
		w.site.boxes[100].Volumes = []string{fmt.Sprint("v", i)}
		w.after(time.Minute)
		w.must("ca")
	}
	g := w.get("ca")
	if n := len(g.Status.Approvals); n != maxPlan {
		t.Errorf("%d approvals are kept, the API server takes %d", n, maxPlan)
	}
	w.annotate("ca", offeredToken(g))
	w.must("ca")
	w.isReady("ca")
}

func TestLongMessageKeepsItsToken(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca")
	w.kind.plan = func(*v1alpha1.Guest, box) []Step {
		return []Step{{Reason: "Destroy", Message: strings.Repeat("very ", 400) + "long", Identity: "x", Changes: []Change{{Impact: v1alpha1.ImpactDestroy}}}}
	}
	w.must("ca")
	g := w.get("ca")
	if token := offeredToken(g); token == "" || !strings.HasSuffix(ready(g), token) {
		t.Errorf("Ready = %q does not end with the token %q", ready(g), token)
	}
}
