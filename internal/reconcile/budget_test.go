// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// doomed makes Guests that are being deleted with everything in them.
func (w *world) doomed(names ...string) {
	w.t.Helper()
	for _, n := range names {
		w.guest(n, func(g *v1alpha1.Guest) { g.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
		w.must(n)
		w.isReady(n)
	}
	for _, n := range names {
		w.delete(w.get(n))
	}
	w.written()
	w.happened()
}

func limit(n int32) func(*v1alpha1.Host) {
	return func(h *v1alpha1.Host) { h.Spec.Safety = &v1alpha1.HostSafety{DestructionsPerHour: &n} }
}

func TestBudget(t *testing.T) {
	cases := map[string]struct {
		reason string
		host   func(*v1alpha1.Host)
		spent  []v1alpha1.Destruction // minutes ago, in At's seconds
		want   string                 // Ready; empty: it was destroyed
		after  time.Duration
	}{
		"Fresh":    {reason: "nothing was spent", host: limit(1)},
		"Default":  {reason: "three an hour where the Host does not say", spent: ago(10, 20, 30), want: "3 of 3", after: 30 * time.Minute},
		"BelowDef": {reason: "three an hour where the Host does not say", spent: ago(10, 20)},
		"NoLimit":  {reason: "safety without a number is the default", host: func(h *v1alpha1.Host) { h.Spec.Safety = &v1alpha1.HostSafety{} }, spent: ago(10, 20, 30), want: "3 of 3", after: 30 * time.Minute},
		"Zero":     {reason: "nothing may ever be destroyed", host: limit(0), want: "0 of 0", after: time.Hour},
		"Raised":   {reason: "the Host says ten", host: limit(10), spent: ago(10, 20, 30)},
		"Lowered":  {reason: "a lower limit holds at once", host: limit(1), spent: ago(10, 20), want: "2 of 1", after: 40 * time.Minute},
		"OldEnded": {reason: "what is an hour ago counts no more", host: limit(1), spent: ago(60, 90)},
		"Almost":   {reason: "what is less than an hour ago counts", host: limit(1), spent: ago(59), want: "1 of 1", after: time.Minute},
		"Again":    {reason: "the same thing within the hour counts once", host: limit(1), spent: []v1alpha1.Destruction{{What: "guest 100", At: minutes(10)}}},
		"AgainOld": {reason: "the same thing after an hour counts again", host: limit(1), spent: []v1alpha1.Destruction{{What: "guest 100", At: minutes(61)}, {What: "x", At: minutes(1)}}, want: "1 of 1", after: 59 * time.Minute},
		"Unsorted": {reason: "the first that ends frees the way", host: limit(2), spent: ago(10, 50, 20), want: "3 of 2", after: 10 * time.Minute},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.doomed("ca")
			if c.host != nil {
				w.editHost(c.host)
			}
			w.spent(c.spent)
			r := w.must("ca")
			if c.want == "" {
				if w.get("ca") != nil || len(w.site.boxes) != 0 {
					t.Errorf("%s, but Ready = %q", c.reason, ready(w.get("ca")))
				}
				return
			}
			want := "False DestructionBudget: " + c.want + " destructions within an hour are used up on Host/pve: wait, or raise spec.safety.destructionsPerHour"
			if got := ready(w.get("ca")); got != want {
				t.Errorf("%s: Ready = %q, want %q", c.reason, got, want)
			}
			between(t, c.reason, r.RequeueAfter, c.after)
			if len(w.site.boxes) != 1 {
				t.Errorf("%s, but the guest is destroyed", c.reason)
			}
		})
	}
}

func minutes(ago int) metav1.Time {
	return metav1.NewTime(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(-time.Duration(ago) * time.Minute))
}

func ago(each ...int) []v1alpha1.Destruction {
	var d []v1alpha1.Destruction
	for i, m := range each {
		d = append(d, v1alpha1.Destruction{What: string(rune('p' + i)), At: minutes(m)})
	}
	return d
}

func (w *world) spent(d []v1alpha1.Destruction) {
	w.t.Helper()
	h := w.getHost()
	h.Status.Destructions = d
	if err := w.raw.Status().Update(w.t.Context(), h); err != nil {
		w.t.Fatal(err)
	}
}

func TestBudgetBoundsAPrunedRepository(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.doomed("a", "b", "c", "d", "e")
	for range 3 {
		w.round()
	}
	if got := with(w.site.did, "Destroy"); len(got) != 3 {
		t.Errorf("five went at once, and it did %v", got)
	}
	w.after(time.Hour)
	for range 3 {
		w.round()
	}
	if got := with(w.site.did, "Destroy"); len(got) != 5 || len(w.site.boxes) != 0 {
		t.Errorf("after an hour it did %v", got)
	}
	d := w.getHost().Status.Destructions
	if len(d) != 2 || d[0].What != "guest 103" || !d[0].At.Equal(&metav1.Time{Time: w.clock.Now()}) {
		t.Errorf("the Host records %+v", d)
	}
}

func TestBudgetIsSpentBeforeDo(t *testing.T) {
	cases := map[string]struct {
		reason string
		fault  func(string) fault
		fails  bool
	}{
		"Conflict":   {"somebody spent at the same time: count again", failing("status Host", fault{before: errConflict}), false},
		"Refused":    {"what is not recorded is not done", failing("status Host", fault{before: errServer}), true},
		"Unreadable": {"a budget that cannot be read is not there", liveHost(errServer), true},
		"HostGone":   {"a Host that went away at this moment is not taken for leave", liveHost(errMissing), true},
		"Killed":     {"the next process goes on, and pays nothing", failing("status Host", fault{after: errKilled}), false},
		"Unconsumed": {"the status is written with the lock even without an approval: Retain may have been set", failing("status Guest", fault{before: errConflict}), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host(limit(1))
			w.doomed("ca")
			w.tap.fault = c.fault
			w.dies(func() {
				if _, err := w.pass("ca"); (err != nil) != c.fails {
					t.Errorf("%s: pass = %v", c.reason, err)
				}
			})
			if got := with(w.site.did, "Destroy"); len(got) != 0 {
				t.Errorf("%s, but it did %v", c.reason, got)
			}
			w.tap.fault = nil
			w.must("ca")
			if w.get("ca") != nil || w.site.count("Destroy guest 100") != 1 || len(w.getHost().Status.Destructions) != 1 {
				t.Errorf("%s: did %v, spent %v", c.reason, w.site.did, w.getHost().Status.Destructions)
			}
		})
	}
}

// liveHost fails the reading of the Host after the gate has read it: the first two reads in a clean-up are the gate's.
func liveHost(err error) func(string) fault {
	reads := 0
	return func(op string) fault {
		if op == "get Host/pve" {
			if reads++; reads > 2 {
				return fault{before: err}
			}
		}
		return fault{}
	}
}

func TestTwoManagersShareOneBudget(t *testing.T) {
	w := newWorld(t)
	w.host(limit(1))
	w.doomed("a", "b")
	var once bool
	w.tap.fault = func(op string) fault {
		if op == "status Host/pve" && !once { // the other manager destroys b in between
			once = true
			h := w.getHost()
			h.Status.Destructions = []v1alpha1.Destruction{{What: "guest 101", At: minutes(0)}}
			if err := w.raw.Status().Update(t.Context(), h); err != nil {
				t.Fatal(err)
			}
		}
		return fault{}
	}
	if r := w.must("a"); r.RequeueAfter != conflictDelay {
		t.Errorf("again after %s, want %s", r.RequeueAfter, conflictDelay)
	}
	w.must("a")
	if got := with(w.site.did, "Destroy"); len(got) != 0 {
		t.Errorf("one is allowed and the other manager took it, but it did %v", got)
	}
	if got := ready(w.get("a")); !strings.HasPrefix(got, "False DestructionBudget") {
		t.Errorf("Ready = %q", got)
	}
}

func TestApprovedStepWaitsForItsBudget(t *testing.T) {
	w := newWorld(t)
	w.host(limit(0))
	w.volumes("a")
	w.approve("ca")
	w.must("ca")
	if got := ready(w.get("ca")); !strings.HasPrefix(got, "False DestructionBudget") || len(destroyed(w)) != 0 {
		t.Errorf("Ready = %q, destroyed %v", got, destroyed(w))
	}
	w.editHost(limit(1))
	w.passHost()
	w.must("ca") // the approval was not used up by waiting
	w.isReady("ca")
}

func TestDestroyingNeedsAnIdentity(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.doomed("ca")
	w.kind.removal = func(*v1alpha1.Guest, box) []Step {
		return []Step{{Reason: "Destroy", Message: "destroy", Changes: []Change{{Impact: v1alpha1.ImpactDestroy}}, Do: nil}}
	}
	w.must("ca")
	if got, want := ready(w.get("ca")), "False Failed: Destroy destroys, but does not say what"; got != want {
		t.Errorf("Ready = %q, want %q", got, want)
	}
}

func TestWithoutAHostThereIsNoBudget(t *testing.T) {
	w := newWorld(t)
	w.host(limit(0))
	w.guest("inner", onGuestsOnly)
	w.kind.plan = func(*v1alpha1.Guest, box) []Step { return nil }
	w.must("inner")
	g := w.get("inner")
	p := &pass[*v1alpha1.Guest, box]{Loop: w.guests, obj: g, now: w.clock.Now()}
	if o, err := p.spend(t.Context(), Step{Identity: "x"}); o != nil || err != nil {
		t.Errorf("spend = %v, %v", o, err)
	}
}

func TestLongIdentities(t *testing.T) {
	long := strings.Repeat("x", 300)
	a, b := ledger(long+"a"), ledger(long+"b")
	if len(a) > maxWhat || a == b || !strings.HasPrefix(a, "xxx") {
		t.Errorf("identities of 301 bytes become %q and %q", a, b)
	}
	if diff := cmp.Diff("guest 100", ledger("guest 100")); diff != "" {
		t.Error(diff)
	}
}

func TestImpact(t *testing.T) {
	cases := map[string]struct {
		reason  string
		impacts []v1alpha1.Impact
		want    v1alpha1.Impact
	}{
		"NoChange": {"a step without a change disturbs nobody", nil, v1alpha1.ImpactNone},
		"Worst":    {"the worst change counts", []v1alpha1.Impact{v1alpha1.ImpactReload, v1alpha1.ImpactDestroy, v1alpha1.ImpactOutage}, v1alpha1.ImpactDestroy},
		"Order":    {"an outage is worse than a restart", []v1alpha1.Impact{v1alpha1.ImpactOutage, v1alpha1.ImpactRestart}, v1alpha1.ImpactOutage},
		"Unset":    {"an impact that is not said is none", []v1alpha1.Impact{""}, v1alpha1.ImpactNone},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var s Step
			for _, i := range c.impacts {
				s.Changes = append(s.Changes, Change{Impact: i})
			}
			if got := s.Impact(); got != c.want {
				t.Errorf("%s: impact = %s, want %s", c.reason, got, c.want)
			}
		})
	}
}
