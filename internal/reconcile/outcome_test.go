// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

func TestOutcomes(t *testing.T) {
	plain := errors.New("cut")
	type want struct {
		ready, flag string // flag is the condition that stands beside Ready
		kstatus     string
		after       time.Duration // at least, with a fifth on top at most
		events      []string
	}
	cases := map[string]struct {
		reason  string
		observe error
		do      error
		want    want
	}{
		"ObserveBreaks": {
			reason: "what cannot be read is unknown, and is tried again", observe: plain,
			want: want{"Unknown Failed: cut", "Reconciling", "InProgress", time.Second, []string{"Warning Guest/ca Failed: cut"}},
		},
		"ObserveWaits": {
			reason: "what comes by itself is no failure, and no event", observe: Wait("Locked", time.Minute, errors.New("locked by backup")),
			want: want{"False Locked: locked by backup", "Reconciling", "InProgress", time.Minute, nil},
		},
		"ObserveFails": {
			reason: "a kind may name a failure", observe: Fail("Unauthorized", errors.New("401")),
			want: want{"False Unauthorized: 401", "Reconciling", "InProgress", time.Second, []string{"Warning Guest/ca Unauthorized: 401"}},
		},
		"ObserveStalls": {
			reason: "only a new spec helps, or somebody outside: there is no hurry", observe: Stall("ForeignOwner", errors.New("guest 100 is somebody's")),
			want: want{"False ForeignOwner: guest 100 is somebody's", "Stalled", "Failed", interval, []string{"Warning Guest/ca ForeignOwner: guest 100 is somebody's"}},
		},
		"DoBreaks": {
			reason: "the outside was read and differs: Ready is False", do: plain,
			want: want{"False Failed: cut", "Reconciling", "InProgress", time.Second, []string{"Warning Guest/ca Failed: cut"}},
		},
		"DoBegins": {
			reason: "a wait with the step's reason says that it was begun, which is worth an event", do: Wait("Act", time.Minute, errors.New("the task runs")),
			want: want{"False Act: the task runs", "Reconciling", "InProgress", time.Minute, []string{"Normal Guest/ca Act: act"}},
		},
		"DoWaits": {
			reason: "a wait with another reason says that nothing was done", do: Wait("Busy", time.Minute, errors.New("4 tasks run")),
			want: want{"False Busy: 4 tasks run", "Reconciling", "InProgress", time.Minute, nil},
		},
		"DoFails": {
			reason: "a kind may name a failure", do: Fail("CloneFailed", errors.New("no space left")),
			want: want{"False CloneFailed: no space left", "Reconciling", "InProgress", time.Second, []string{"Warning Guest/ca CloneFailed: no space left"}},
		},
		"DoStalls": {
			reason: "what is refused is not tried before the interval, in which somebody may mend it outside", do: Stall("Refused", errors.New("400")),
			want: want{"False Refused: 400", "Stalled", "Failed", interval, []string{"Warning Guest/ca Refused: 400"}},
		},
		"Wrapped": {
			reason: "context around an outcome does not change it, and is said", do: fmt.Errorf("clone template 9000: %w", Wait("Busy", time.Minute, errors.New("4 tasks run"))),
			want: want{"False Busy: clone template 9000: 4 tasks run", "Reconciling", "InProgress", time.Minute, nil},
		},
		"NoWords": {
			reason: "an outcome without an error says its reason", do: Wait("Busy", time.Minute, nil),
			want: want{"False Busy: Busy", "Reconciling", "InProgress", time.Minute, nil},
		},
		"NoTime": {
			reason: "a wait for no time must not become one for ever", do: Wait("Busy", 0, errors.New("x")),
			want: want{"False Busy: x", "Reconciling", "InProgress", minWait, nil},
		},
		"Cancelled": {
			reason: "a timeout is a failure like others", do: context.DeadlineExceeded,
			want: want{"False Failed: context deadline exceeded", "Reconciling", "InProgress", time.Second, []string{"Warning Guest/ca Failed: context deadline exceeded"}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.guest("ca")
			w.kind.observe = failWith(c.observe)
			w.kind.plan = func(*v1alpha1.Guest, box) []Step {
				return []Step{{Reason: "Act", Message: "act", Do: func(context.Context) error { return c.do }}}
			}
			r, err := w.pass("ca")
			g := w.get("ca")
			got := want{ready(g), "", string(w.kstatus(g)), r.RequeueAfter, w.happened()}
			for _, flag := range []string{v1alpha1.ReconcilingCondition, v1alpha1.StalledCondition} {
				if s := condition(g, flag); s != "" {
					got.flag += flag
					if s[len("True"):] != ready(g)[len("False"):] && s[len("True"):] != ready(g)[len("Unknown"):] {
						t.Errorf("%s = %q says something else than Ready = %q", flag, s, ready(g))
					}
				}
			}
			if c.want.after > 0 && got.after >= c.want.after && got.after <= c.want.after*12/10 {
				got.after = c.want.after
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(want{})); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if err != nil {
				t.Errorf("%s: pass = %v", c.reason, err)
			}

			w.kind.observe, w.kind.plan = nil, nil
			w.after(time.Minute)
			w.must("ca")
			w.isReady("ca")
			if g := w.get("ca"); condition(g, v1alpha1.ReconcilingCondition)+condition(g, v1alpha1.StalledCondition) != "" {
				t.Errorf("%s: conditions stay when it is over: %v", c.reason, g.Status.Conditions)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	broken := failWith(errors.New("cut"))
	cases := map[string]struct {
		reason string
		then   func(w *world)
		want   time.Duration
	}{
		"Grows":   {"each failure doubles the wait", func(*world) {}, 8 * time.Second},
		"Success": {"a success ends the series", func(w *world) { w.kind.observe = nil; w.must("ca"); w.kind.observe = broken }, time.Second},
		"NewSpec": {"a new spec is not to blame for the last one", func(w *world) { w.edit("ca", func(g *v1alpha1.Guest) { g.Spec.Cores = ptr(2) }) }, time.Second},
		"NewNote": {"an annotation is no new spec", func(w *world) { w.annotate("ca", "x") }, 8 * time.Second},
		"WaitBetween": {"a task that is begun and fails, again and again, must not spin", func(w *world) {
			w.kind.observe = failWith(Wait("Create", time.Second, nil))
			w.must("ca")
			w.kind.observe = broken
		}, 8 * time.Second},
		"Pause": {"a pause is a new spec", func(w *world) { w.pause(true); w.must("ca"); w.pause(false) }, time.Second},
		"Recreated": {"a new object with the name of an old one begins anew", func(w *world) {
			w.delete(w.get("ca"))
			w.must("ca")
			w.guest("ca")
		}, time.Second},
		"OtherObject": {"the failures of one object do not slow another", func(w *world) { w.guest("nginx"); w.must("nginx"); w.must("nginx") }, 8 * time.Second},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.guest("ca")
			w.kind.observe = broken
			for _, want := range []time.Duration{1, 2, 4} {
				r := w.must("ca")
				between(t, "so far", r.RequeueAfter, want*time.Second)
				w.after(r.RequeueAfter)
			}
			c.then(w)
			between(t, c.reason, w.must("ca").RequeueAfter, c.want)
		})
	}
}

func TestBackoffEnds(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca")
	w.kind.observe = failWith(errors.New("cut"))
	for range 30 {
		w.after(w.must("ca").RequeueAfter)
	}
	between(t, "it grows to five minutes", w.must("ca").RequeueAfter, 5*time.Minute)
}

func TestBackoffOfEvents(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca")
	w.kind.observe = failWith(errors.New("cut"))
	first := w.must("ca").RequeueAfter
	for range 10 {
		w.after(first / 20)
		if r := w.must("ca"); r.RequeueAfter > first {
			t.Errorf("again after %s: passes that events bring must not put off the next try in %s", r.RequeueAfter, first)
		}
	}
	w.after(first)
	between(t, "the failure of the pass that was due doubles the wait", w.must("ca").RequeueAfter, 2*time.Second)
}

func TestNoStepBeforeItsTime(t *testing.T) {
	type act struct {
		reason string
		then   func(w *world)
		done   int // how often the step was tried in all
	}
	later := func(w *world) { w.after(2 * time.Second) }
	for name, c := range map[string]struct {
		observe, do error
		acts        []act
	}{
		"a Do that fails": {do: errors.New("no space left"), acts: []act{
			{"an event is no reason to try again", func(*world) {}, 1},
			{"it is tried when its time has come", later, 2},
			{"a new spec is tried at once", func(w *world) { w.edit("ca", func(g *v1alpha1.Guest) { g.Spec.Cores = ptr(2) }) }, 3},
		}},
		"what was begun and failed": {observe: Undone("CreateFailed", errors.New("no space left")), acts: []act{
			{"the outside comes and goes, and each time brings an event", func(w *world) { w.kind.observe = nil }, 0},
			{"it is tried when its time has come", later, 1},
		}},
		"what could not be seen": {observe: errors.New("cut"), acts: []act{
			{"nothing is wrong with the step", func(w *world) { w.kind.observe = nil }, 1},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.guest("ca")
			done := 0
			if c.observe != nil {
				w.kind.observe = failWith(c.observe)
			}
			w.kind.plan = func(*v1alpha1.Guest, box) []Step {
				return []Step{{Reason: "Act", Message: "act", Do: func(context.Context) error {
					done++
					if c.do != nil {
						return c.do
					}
					return Wait("Act", time.Second, nil)
				}}}
			}
			w.must("ca")
			for _, a := range c.acts {
				before, tried := ready(w.get("ca")), done
				a.then(w)
				w.must("ca")
				if done != a.done {
					t.Errorf("%s: tried %d times, want %d", a.reason, done, a.done)
				}
				if got := ready(w.get("ca")); done == tried && got != before {
					t.Errorf("Ready = %q, want %q while nothing is tried", got, before)
				}
			}
		})
	}
}

func TestPace(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca")
	w.guests.Pace = func(g *v1alpha1.Guest) time.Duration {
		if g.Name == "ca" {
			return 3 * interval
		}
		return interval
	}
	between(t, "an object in sync is left alone for its own time", w.must("ca").RequeueAfter, 3*interval)
}

func (w *world) pause(on bool) {
	w.edit("ca", func(g *v1alpha1.Guest) {
		if g.Spec.Management = ""; on {
			g.Spec.Management = v1alpha1.ManagementPaused
		}
	})
}

func between(t *testing.T, reason string, got, least time.Duration) {
	t.Helper()
	if got < least || got > least*12/10 {
		t.Errorf("%s: again after %s, want %s with jitter", reason, got, least)
	}
}

func TestHeldSteps(t *testing.T) {
	cases := map[string]struct {
		reason string
		change func(*v1alpha1.Guest)
		ready  string
		cores  int32
		plan   int
	}{
		"Held":  {"what is held is shown, and the object is Ready", func(g *v1alpha1.Guest) { g.Spec.RestartPolicy = v1alpha1.RestartNever }, "True SetCores: set the cores: restartPolicy is Never", 1, 1},
		"Freed": {"what is not held is done", func(g *v1alpha1.Guest) { g.Spec.RestartPolicy = v1alpha1.RestartWhenRequired }, "True InSync: the outside agrees with the spec", 4, 0},
		"Passed": {"what is held does not keep back what follows", func(g *v1alpha1.Guest) {
			g.Spec.RestartPolicy, g.Spec.Tags = v1alpha1.RestartNever, []string{"data"}
		}, "True SetCores: set the cores: restartPolicy is Never", 1, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.guest("ca")
			w.must("ca")
			w.edit("ca", func(g *v1alpha1.Guest) { g.Spec.Cores = ptr(4); c.change(g) })
			w.must("ca")
			g := w.get("ca")
			if got := ready(g); got != c.ready {
				t.Errorf("%s: Ready = %q, want %q", c.reason, got, c.ready)
			}
			if got := w.kstatus(g); got != "Current" {
				t.Errorf("%s: kstatus = %s", c.reason, got)
			}
			b := w.site.boxes[100]
			if b.Cores != c.cores || len(g.Status.Plan) != c.plan || len(b.Volumes) != len(g.Spec.Tags) {
				t.Errorf("%s: box %+v, plan %v", c.reason, b, g.Status.Plan)
			}
		})
	}
}

func TestEventsTellNewsOnly(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca")
	for _, c := range []struct {
		reason string
		err    error
		want   []string
	}{
		{"the first failure is news", Fail("Broken", errors.New("a")), []string{"Warning Guest/ca Broken: a"}},
		{"the same one is not", Fail("Broken", errors.New("a")), nil},
		{"another message is", Fail("Broken", errors.New("b")), []string{"Warning Guest/ca Broken: b"}},
		{"another reason is", Fail("Worse", errors.New("b")), []string{"Warning Guest/ca Worse: b"}},
		{"waiting is not", Wait("Locked", time.Second, errors.New("c")), nil},
		{"the same failure after a wait is news again", Fail("Worse", errors.New("b")), []string{"Warning Guest/ca Worse: b"}},
	} {
		w.kind.observe = failWith(c.err)
		w.must("ca")
		if diff := cmp.Diff(c.want, w.happened()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}
