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
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

var (
	errConflict = apierrors.NewConflict(schema.GroupResource{Resource: "guests"}, "ca", errors.New("written by somebody else"))
	errMissing  = apierrors.NewNotFound(schema.GroupResource{Resource: "guests"}, "ca")
	errServer   = apierrors.NewInternalError(errors.New("etcd is away"))
)

func TestPassWritesInOrder(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca")
	r := w.must("ca")
	want := []string{"meta Guest/ca", "status Guest/ca", "do Create guest 100", "do SetPower ", "status Guest/ca"}
	if diff := cmp.Diff(want, w.written()); diff != "" {
		t.Errorf("finalizer, reservation, steps, one status patch (-want +got):\n%s", diff)
	}
	if r.RequeueAfter < interval || r.RequeueAfter > interval*12/10 {
		t.Errorf("looked at again after %s, want the drift interval with jitter", r.RequeueAfter)
	}
	events := []string{"Normal Guest/ca Create: create guest 100", "Normal Guest/ca SetPower: set the power"}
	if diff := cmp.Diff(events, w.happened()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	w.isReady("ca")
	if g := w.get("ca"); g.Status.ObservedGeneration != 1 || *g.Status.VMID != 100 || len(g.Status.Plan) != 0 {
		t.Errorf("status = %+v", g.Status)
	}
}

func TestSecondPassWritesNothing(t *testing.T) {
	cases := map[string]struct {
		reason string
		change func(*v1alpha1.Guest)
		away   bool
		plan   func(*v1alpha1.Guest, box) []Step
	}{
		"InSync":           {reason: "nothing differs, so there is nothing to say"},
		"Observed":         {reason: "a plan that stays the same is no news", change: func(g *v1alpha1.Guest) { g.Spec.Management = v1alpha1.ManagementObserve }},
		"Paused":           {reason: "a pause is said once", change: func(g *v1alpha1.Guest) { g.Spec.Management = v1alpha1.ManagementPaused }},
		"HostAway":         {reason: "waiting is said once", away: true},
		"DependencyAbsent": {reason: "waiting is said once", change: func(g *v1alpha1.Guest) { g.Spec.DependsOn = []v1alpha1.ObjectReference{{Kind: "Guest", Name: "none"}} }},
		"Held": {reason: "what is pending stays pending in silence", plan: func(*v1alpha1.Guest, box) []Step {
			return []Step{{Reason: "PendingRestart", Message: "restart", Held: "restartPolicy is Never"}}
		}},
		"ApprovalRequired": {reason: "a token is offered once", plan: func(*v1alpha1.Guest, box) []Step {
			return []Step{{Reason: "DestroyVolume", Message: "destroy volume a", Identity: "volume a", Changes: []Change{{"tags", "a", "", v1alpha1.ImpactDestroy}}}}
		}},
		"Failing": {reason: "the same failure is said once, though it is tried again", plan: func(*v1alpha1.Guest, box) []Step {
			return []Step{{Reason: "Break", Do: func(context.Context) error { return errors.New("broken") }}}
		}},
		"Stalled": {reason: "a stall is said once", plan: func(*v1alpha1.Guest, box) []Step {
			return []Step{{Reason: "Break", Do: func(context.Context) error { return Stall("Refused", errors.New("no")) }}}
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.kind.plan = c.plan
			if w.site.away = c.away; c.away {
				w.passHost()
			}
			change := c.change
			if change == nil {
				change = func(*v1alpha1.Guest) {}
			}
			w.guest("ca", change)
			_, _ = w.pass("ca")
			first := w.get("ca")
			w.written()
			w.happened()
			w.after(time.Hour)
			_, _ = w.pass("ca")
			if got := w.written(); len(got) != 0 {
				t.Errorf("%s: the second pass wrote %v", c.reason, got)
			}
			if got := w.happened(); len(got) != 0 {
				t.Errorf("%s: the second pass said %v", c.reason, got)
			}
			if diff := cmp.Diff(first, w.get("ca")); diff != "" {
				t.Errorf("%s: the object changed:\n%s", c.reason, diff)
			}
		})
	}
}

func TestFinalizerComesFirst(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca")
	w.tap.fault = failing("meta Guest", fault{before: errServer})
	if _, err := w.pass("ca"); !errors.Is(err, errServer) {
		t.Errorf("pass = %v, want the API server's error", err)
	}
	if got := w.written(); len(got) != 0 || w.kind.observed != 0 {
		t.Errorf("without a finalizer it wrote %v and observed %d times", got, w.kind.observed)
	}
	w.tap.fault = failing("meta Guest", fault{before: errConflict})
	if r, err := w.pass("ca"); err != nil || r.RequeueAfter != conflictDelay {
		t.Errorf("a conflict = %v, %v: want another look after %s", r, err, conflictDelay)
	}
	w.tap.fault = nil
	w.must("ca")
	w.isReady("ca") // in the very pass that added the finalizer: nothing else would bring the next one
}

func TestReserveComesBeforeDo(t *testing.T) {
	cases := map[string]struct {
		reason string
		fault  fault
		again  bool
		fails  bool
	}{
		"Conflict": {"somebody wrote in between: what was planned may be wrong", fault{before: errConflict}, true, false},
		"Gone":     {"an object that is gone makes nothing", fault{before: errMissing}, false, false},
		"Refused":  {"what is not recorded would be lost", fault{before: errServer}, false, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.guest("ca")
			w.tap.fault = failing("status Guest", c.fault)
			r, err := w.pass("ca")
			if len(w.site.did) != 0 {
				t.Errorf("%s, but it did %v", c.reason, w.site.did)
			}
			if (err != nil) != c.fails || (r.RequeueAfter == conflictDelay) != c.again {
				t.Errorf("%s: pass = %v, %v", c.reason, r, err)
			}
		})
	}
}

func TestReserveIsRefusedToAnOutdatedCopy(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca")
	w.kind.observe = func(g *v1alpha1.Guest) error { // a person writes between the read and the reservation
		if w.kind.observed == 1 {
			w.edit("ca", func(g *v1alpha1.Guest) { g.Spec.Management = v1alpha1.ManagementObserve })
		}
		return nil
	}
	if r := w.must("ca"); r.RequeueAfter != conflictDelay {
		t.Errorf("looked at again after %s, want %s", r.RequeueAfter, conflictDelay)
	}
	w.must("ca")
	if len(w.site.did) != 0 {
		t.Errorf("under Observe it did %v", w.site.did)
	}
}

func TestSummaryIsWrittenWhole(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca")
	w.must("ca")
	w.edit("ca", func(g *v1alpha1.Guest) { g.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
	w.kind.observed = 0
	w.kind.observe = func(*v1alpha1.Guest) error { // a pass of another time writes what is not so any more
		if w.kind.observed == 1 {
			g := w.get("ca")
			g.Status.Plan = []v1alpha1.PlannedChange{{Reason: "Create", Impact: v1alpha1.ImpactNone}}
			if err := w.raw.Status().Update(w.t.Context(), g); err != nil {
				w.t.Fatal(err)
			}
		}
		return nil
	}
	w.must("ca")
	if g := w.get("ca"); len(g.Status.Plan) != 0 || !meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ReadyCondition) {
		t.Errorf("Ready stands beside a plan of another pass: %+v", g.Status)
	}
}

func TestReservationOutlivesTheStep(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca")
	w.tap.fault = failing("do Create", fault{before: errors.New("cut")})
	w.must("ca")
	w.site.boxes[99] = &box{Owner: "somebody", VMID: 99}
	w.tap.fault = nil
	w.after(time.Minute)
	w.must("ca")
	if diff := cmp.Diff([]string{"Create guest 100", "SetPower "}, w.site.did); diff != "" {
		t.Errorf("the reserved VMID is used (-want +got):\n%s", diff)
	}
}

func TestObserveTouchesNothing(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca", func(g *v1alpha1.Guest) { g.Spec.Management = v1alpha1.ManagementObserve })
	w.must("ca")
	g := w.get("ca")
	if len(w.site.did) != 0 || g.Status.VMID != nil {
		t.Errorf("it did %v and reserved %v", w.site.did, g.Status.VMID)
	}
	if got, want := ready(g), "True Drifted: differs from the spec: see status.plan"; got != want {
		t.Errorf("Ready = %q, want %q: observing is what was asked", got, want)
	}
	if got, want := condition(g, v1alpha1.DriftedCondition), "True Drifted: 1 changes would be made: see status.plan"; got != want {
		t.Errorf("Drifted = %q, want %q", got, want)
	}
	plan := []v1alpha1.PlannedChange{{Reason: "Create", To: "ca", Impact: v1alpha1.ImpactNone}}
	if diff := cmp.Diff(plan, g.Status.Plan); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}

	w.edit("ca", func(g *v1alpha1.Guest) { g.Spec.Management = v1alpha1.ManagementEnforce })
	w.must("ca")
	w.isReady("ca")
	if g = w.get("ca"); condition(g, v1alpha1.DriftedCondition) != "" || len(g.Status.Plan) != 0 {
		t.Errorf("Drifted and plan stay under Enforce: %+v", g.Status)
	}

	w.edit("ca", func(g *v1alpha1.Guest) { g.Spec.Management = v1alpha1.ManagementObserve })
	w.must("ca")
	w.isReady("ca") // observed and without a difference
}

func TestPausedKeepsTheLastReady(t *testing.T) {
	cases := map[string]struct {
		reason string
		before func(w *world)
		want   string
	}{
		"Ready":    {"what was in sync stays so", func(w *world) { w.must("ca") }, "True Paused: management is Paused"},
		"NotReady": {"what failed stays so", func(w *world) { w.kind.observe = failWith(Fail("Broken", errors.New("x"))); w.must("ca") }, "False Paused: management is Paused"},
		"New":      {"of what was never looked at nothing is known", func(*world) {}, "Unknown Paused: management is Paused"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.guest("ca")
			c.before(w)
			w.site.away = true // nobody looks
			looked := w.kind.observed
			w.edit("ca", func(g *v1alpha1.Guest) { g.Spec.Management, g.Spec.Cores = v1alpha1.ManagementPaused, ptr(4) })
			w.must("ca")
			g := w.get("ca")
			if got := ready(g); got != c.want {
				t.Errorf("%s: Ready = %q, want %q", c.reason, got, c.want)
			}
			if w.kind.observed != looked {
				t.Errorf("%s, but it was observed", c.reason)
			}
			if g.Status.ObservedGeneration != g.Generation || condition(g, v1alpha1.ReconcilingCondition) != "" {
				t.Errorf("%s: others must see that nothing more comes: %+v", c.reason, g.Status)
			}
		})
	}
}

func failWith(err error) func(*v1alpha1.Guest) error {
	return func(*v1alpha1.Guest) error { return err }
}

func TestOnePassTakesSixteenStepsAtMost(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca")
	done := 0
	w.kind.plan = func(g *v1alpha1.Guest, _ box) []Step {
		if done == 20 {
			return nil
		}
		return []Step{{Reason: "Count", Message: fmt.Sprint("step ", done), Do: func(context.Context) error { done++; return nil }}}
	}
	if r := w.must("ca"); done != maxSteps || r.RequeueAfter < time.Second || r.RequeueAfter > 2*time.Second {
		t.Errorf("took %d steps, again after %s: want %d, and soon", done, r.RequeueAfter, maxSteps)
	}
	if got, want := ready(w.get("ca")), "False Progressing: more steps follow"; got != want {
		t.Errorf("Ready = %q, want %q", got, want)
	}
	w.must("ca")
	if done != 20 {
		t.Errorf("took %d steps in two passes, want 20", done)
	}
	w.isReady("ca")
}

func TestStepWithoutEffectIsNotRepeated(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca")
	done := 0
	w.kind.plan = func(*v1alpha1.Guest, box) []Step {
		return []Step{{Reason: "SetCores", Message: "set the cores", Changes: []Change{{Field: "cores", From: "1", To: "2"}}, Do: func(context.Context) error { done++; return nil }}}
	}
	w.must("ca")
	if done != 1 {
		t.Errorf("a step that changes nothing was taken %d times in one pass", done)
	}
	if got, want := ready(w.get("ca")), "False Failed: set the cores: it was done, but nothing changed outside"; got != want {
		t.Errorf("Ready = %q, want %q", got, want)
	}
}

func TestTaskIsBegunOnce(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.site.slow = time.Minute
	w.guest("ca")
	r := w.must("ca")
	if r.RequeueAfter < time.Minute || r.RequeueAfter > 72*time.Second {
		t.Errorf("looked at again after %s, want about a minute", r.RequeueAfter)
	}
	if diff := cmp.Diff([]string{"Normal Guest/ca Create: create guest 100"}, w.happened()); diff != "" {
		t.Errorf("what was begun has its event (-want +got):\n%s", diff)
	}
	w.after(30 * time.Second)
	w.must("ca")
	g := w.get("ca")
	if got, want := ready(g), "False Create: the task runs"; got != want {
		t.Errorf("Ready = %q, want %q", got, want)
	}
	if got := w.kstatus(g); got != "InProgress" {
		t.Errorf("kstatus = %s", got)
	}
	if got := w.happened(); len(got) != 0 {
		t.Errorf("waiting says %v", got)
	}
	if len(g.Status.Plan) != 1 {
		t.Errorf("the plan that is being worked on stays: %v", g.Status.Plan)
	}
	w.after(time.Minute)
	w.must("ca")
	w.isReady("ca")
	if n := w.site.count("Create guest 100"); n != 1 {
		t.Errorf("created %d times", n)
	}
}

func TestErrorsOfTheAPIServer(t *testing.T) {
	cases := map[string]struct {
		reason string
		op     string
		err    error
		fails  bool
	}{
		"ReadObject":    {"nothing can be said about what cannot be read", "get Guest/ca", errServer, true},
		"ObjectGone":    {"a deleted object needs no pass", "get Guest/ca", errMissing, false},
		"ReadHost":      {"a gate that cannot be read is not open", "get Host/pve", errServer, true},
		"ReadSecret":    {"a Secret that is not held might be gone when it is needed", "get Secret/keys", errServer, true},
		"HoldSecret":    {"a Secret that is not held might be gone when it is needed", "meta Secret/keys", errServer, true},
		"SecretGone":    {"a Secret that is not there cannot be held", "meta Secret/keys", errMissing, false},
		"WriteStatus":   {"what was not written is tried again", "status Guest/ca", errServer, true},
		"StatusGone":    {"an object that is gone has no status", "status Guest/ca", errMissing, false},
		"FinalizerGone": {"an object that is gone needs no finalizer", "meta Guest/ca", errMissing, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.secret("keys")
			w.guest("ca", withKeys("keys"))
			w.tap.fault = failing(c.op, fault{before: c.err})
			r, err := w.pass("ca")
			if (err != nil) != c.fails {
				t.Errorf("%s: pass = %v, %v", c.reason, r, err)
			}
			w.tap.fault = nil
			w.must("ca")
			w.isReady("ca")
		})
	}
}

func withKeys(secret string) func(*v1alpha1.Guest) {
	return func(g *v1alpha1.Guest) {
		g.Spec.CloudInit = &v1alpha1.CloudInit{SSHKeysSecretRef: &v1alpha1.SecretKeyReference{Name: secret, Key: "keys"}}
	}
}

func TestForeignFinalizersStay(t *testing.T) {
	w := newWorld(t)
	w.host()
	g := w.guest("ca", func(g *v1alpha1.Guest) { g.Finalizers = []string{"somebody.io/else"} })
	w.must("ca")
	if diff := cmp.Diff([]string{"somebody.io/else", v1alpha1.Finalizer}, w.get("ca").Finalizers); diff != "" {
		t.Errorf("finalizers (-want +got):\n%s", diff)
	}
	w.delete(g)
	w.must("ca")
	if diff := cmp.Diff([]string{"somebody.io/else"}, w.get("ca").Finalizers); diff != "" {
		t.Errorf("finalizers (-want +got):\n%s", diff)
	}
	w.written()
	w.must("ca")
	if got := w.written(); len(got) != 0 {
		t.Errorf("what was released is written again: %v", got)
	}
}

func TestSuccessIsNoWarning(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca")
	w.must("ca")
	for _, e := range w.happened() {
		if e[:len(corev1.EventTypeNormal)] != corev1.EventTypeNormal {
			t.Errorf("event %q", e)
		}
	}
}

func TestFinalizersOfOthersAreNotLost(t *testing.T) {
	cases := map[string]struct {
		reason string
		op     string
		add    func(w *world)
		kept   func(w *world) bool
	}{
		"Object": {
			"a merge patch replaces the whole list: it must not be written over a newer one", "meta Guest/ca",
			func(w *world) {
				w.edit("ca", func(g *v1alpha1.Guest) { g.Finalizers = append(g.Finalizers, "somebody.io/else") })
			},
			func(w *world) bool {
				return hasFinalizer(w.get("ca"), "somebody.io/else") && hasFinalizer(w.get("ca"), v1alpha1.Finalizer)
			},
		},
		"Secret": {
			"a merge patch replaces the whole list: it must not be written over a newer one", "meta Secret/keys",
			func(w *world) {
				s := w.getSecret("keys")
				s.Finalizers = append(s.Finalizers, "somebody.io/else")
				if err := w.raw.Update(w.t.Context(), s); err != nil {
					w.t.Fatal(err)
				}
			},
			func(w *world) bool {
				return hasFinalizer(w.getSecret("keys"), "somebody.io/else") && len(w.held("keys")) == 1
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.secret("keys")
			w.guest("ca", withKeys("keys"))
			once := false
			w.tap.fault = func(op string) fault {
				if op == c.op && !once { // between our read and our write
					once = true
					c.add(w)
				}
				return fault{}
			}
			if r := w.must("ca"); r.RequeueAfter != conflictDelay || !once {
				t.Errorf("%s: again after %s, want %s", c.reason, r.RequeueAfter, conflictDelay)
			}
			w.must("ca")
			if !c.kept(w) {
				t.Errorf("%s: a finalizer is lost", c.reason)
			}
		})
	}
}

func TestPaceOfOneObject(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("slow")
	w.guest("fast")
	w.guests.Pace = func(g *v1alpha1.Guest) time.Duration {
		if g.Name == "fast" {
			return time.Minute
		}
		return time.Hour
	}
	between(t, "nothing tells of its changes", w.must("fast").RequeueAfter, time.Minute)
	between(t, "something tells of its changes", w.must("slow").RequeueAfter, time.Hour)
	w.edit("fast", managed(v1alpha1.ManagementPaused))
	between(t, "a pause has the pace of its object", w.must("fast").RequeueAfter, time.Minute)
}
