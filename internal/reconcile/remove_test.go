// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

func onDelete(p v1alpha1.DeletionPolicy) func(*v1alpha1.Guest) {
	return func(g *v1alpha1.Guest) { g.Spec.DeletionPolicy = p }
}

func managed(m v1alpha1.Management) func(*v1alpha1.Guest) {
	return func(g *v1alpha1.Guest) { g.Spec.Management = m }
}

func TestDeletion(t *testing.T) {
	const (
		retain  = "Normal Guest/ca Released: deletionPolicy is Retain: what stands outside is left as it is"
		observe = "Normal Guest/ca Released: management is Observe: what stands outside is left as it is"
		removed = "Normal Guest/ca Removed: nothing is left outside"
	)
	cases := map[string]struct {
		reason string
		policy v1alpha1.DeletionPolicy
		edit   func(*v1alpha1.Guest) // while it is being deleted
		did    []string
		last   string // the last event
		ready  string // empty: it is gone
	}{
		"Delete":       {reason: "what the object stands for goes with it; asking for that is the approval", policy: v1alpha1.DeletionDelete, did: []string{"Stop ", "Destroy guest 100"}, last: removed},
		"Retain":       {reason: "everything stays", policy: v1alpha1.DeletionRetain, last: retain},
		"Default":      {reason: "a Guest holds data: unset means Retain", last: retain},
		"RetainedLate": {reason: "Retain on what is being deleted lets it go", policy: v1alpha1.DeletionDelete, edit: onDelete(v1alpha1.DeletionRetain), last: retain},
		"Observe":      {reason: "Observe touches nothing, on deletion neither", policy: v1alpha1.DeletionDelete, edit: managed(v1alpha1.ManagementObserve), last: observe},
		"Paused": {
			reason: "Paused touches nothing, and says how to go on", policy: v1alpha1.DeletionDelete, edit: managed(v1alpha1.ManagementPaused), last: "",
			ready: "True Paused: being deleted, but management is Paused: set it to Enforce to clean up, or deletionPolicy to Retain to let go",
		},
		"PausedRetain": {reason: "letting go touches nothing", policy: v1alpha1.DeletionRetain, edit: managed(v1alpha1.ManagementPaused), last: retain},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.guest("ca", onDelete(c.policy))
			w.must("ca")
			w.isReady("ca")
			w.delete(w.get("ca"))
			if c.edit != nil {
				w.edit("ca", c.edit)
			}
			w.site.did = nil
			w.happened()
			looked := w.kind.observed
			w.must("ca")
			if diff := cmp.Diff(c.did, w.site.did); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if c.did == nil && w.kind.observed != looked {
				t.Errorf("%s, but it looked", c.reason)
			}
			last := ""
			if e := w.happened(); len(e) > 0 {
				last = e[len(e)-1]
			}
			if last != c.last {
				t.Errorf("%s: the last event is %q, want %q", c.reason, last, c.last)
			}
			if g := w.get("ca"); (g == nil) != (c.ready == "") || g != nil && (ready(g) != c.ready || w.kstatus(g) != "Terminating") {
				t.Errorf("%s: the object is %v", c.reason, g)
			}
			if left := len(w.site.boxes); left != 0 == (c.policy == v1alpha1.DeletionDelete && c.did != nil) {
				t.Errorf("%s: %d guests are left outside", c.reason, left)
			}
			w.written()
			w.must("ca")
			if got := w.written(); len(got) != 0 {
				t.Errorf("%s: another pass writes %v", c.reason, got)
			}
		})
	}
}

func TestPausedCleanUpGoesOnUnderEnforce(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.doomed("ca")
	w.edit("ca", managed(v1alpha1.ManagementPaused))
	w.must("ca")
	w.edit("ca", managed(v1alpha1.ManagementEnforce))
	w.must("ca")
	if w.get("ca") != nil || len(w.site.boxes) != 0 {
		t.Errorf("it stays: %v", w.site.boxes)
	}
}

func TestHostIsDeletedByDefault(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.delete(w.getHost())
	w.passHost()
	if w.getHost() != nil {
		t.Error("the Host stays")
	}
	if diff := cmp.Diff([]string{"Normal Host/pve Removed: nothing is left outside"}, w.happened()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestDestroyedOnceHoweverOftenItIsTried(t *testing.T) {
	w := newWorld(t)
	w.host(limit(1))
	w.doomed("ca")
	for _, f := range []func(string) fault{
		failing("do Stop", fault{before: errors.New("cut")}),
		failing("do Destroy", fault{before: errors.New("cut")}),
		failing("do Destroy", fault{after: errors.New("cut")}),
		failing("meta Guest", fault{before: errServer}),
		failing("meta Guest", fault{before: errConflict}),
	} {
		w.tap.fault = f
		w.after(10 * time.Minute)
		_, _ = w.pass("ca")
		if w.get("ca") == nil {
			t.Fatal("it is gone too early")
		}
	}
	if got := with(w.happened(), "Normal Guest/ca Removed"); len(got) != 0 {
		t.Errorf("the object is there, and the events say %v", got)
	}
	w.tap.fault = nil
	w.after(10 * time.Minute)
	w.must("ca")
	if w.get("ca") != nil || w.site.count("Destroy guest 100") != 1 {
		t.Errorf("did %v", w.site.did)
	}
}

func TestInUse(t *testing.T) {
	keeps := func(name string) []Ref { return []Ref{{Kind: "Guest", Name: name, Keeps: true}} }
	cases := map[string]struct {
		reason string
		refs   map[string][]Ref
		delete []string
		waits  map[string]string // who stays after all settled, and what it says
	}{
		"Alone": {"nobody needs it", nil, []string{"a"}, nil},
		"Used": {
			"who needs it is named, in order", map[string][]Ref{"c": {Hard("Guest", "a", "Ready")}, "b": keeps("a"), "d": {Soft("Guest", "a")}}, []string{"a"},
			map[string]string{"a": "False InUse: in use by Guest/b, Guest/c"},
		},
		"Chain":  {"dependents go first", map[string][]Ref{"b": keeps("a"), "c": keeps("b")}, []string{"a", "b", "c"}, nil},
		"Circle": {"a circle of deleted objects ends", map[string][]Ref{"a": keeps("b"), "b": keeps("c"), "c": keeps("a")}, []string{"a", "b", "c"}, nil},
		"HardCircle": {
			"a circle of hard references ends too", map[string][]Ref{"a": {Hard("Guest", "b", "Ready")}, "b": {Hard("Guest", "a", "Ready")}}, []string{"a", "b"}, nil,
		},
		"Self": {"an object is not its own user", map[string][]Ref{"a": keeps("a")}, []string{"a"}, nil},
		"SelfAndOther": {
			"an object is not its own user, whoever else uses it", map[string][]Ref{"a": keeps("a"), "b": keeps("a")}, []string{"a"},
			map[string]string{"a": "False InUse: in use by Guest/b"},
		},
		"CircleOfTheLiving": {
			"one of the circle stays, so all wait for it", map[string][]Ref{"a": keeps("b"), "b": keeps("c"), "c": keeps("a")}, []string{"a", "b"},
			map[string]string{"a": "False InUse: in use by Guest/c", "b": "False InUse: in use by Guest/a"},
		},
		"UsedCircle": {
			"a circle that a living one stands on stays", map[string][]Ref{"a": keeps("b"), "b": keeps("a"), "c": keeps("a")}, []string{"a", "b"},
			map[string]string{"a": "False InUse: in use by Guest/b, Guest/c", "b": "False InUse: in use by Guest/a"},
		},
		"Twice": {
			"who needs it in two ways is named once", map[string][]Ref{"b": append(keeps("a"), Hard("Guest", "a", "Ready"))}, []string{"a"},
			map[string]string{"a": "False InUse: in use by Guest/b"},
		},
		"GateIsNoUse": {"a reference that keeps nothing blocks nothing", map[string][]Ref{"b": {{Kind: "Guest", Name: "a", Condition: "Ready"}}}, []string{"a"}, nil},
		"OtherKind":   {"a Host of the same name is another object", map[string][]Ref{"b": {{Kind: "Host", Name: "a", Keeps: true}}}, []string{"a"}, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host(limit(100))
			for _, n := range []string{"a", "b", "c", "d"} {
				w.guest(n, onDelete(v1alpha1.DeletionDelete))
			}
			w.settle()
			w.refer(c.refs)
			var going []client.Object
			for _, n := range c.delete {
				going = append(going, w.get(n))
			}
			w.delete(going...)
			w.settle()
			for _, n := range c.delete {
				g := w.get(n)
				want, stays := c.waits[n]
				if (g != nil) != stays || stays && ready(g) != want {
					t.Errorf("%s: %s stays: %v, want %v with Ready = %q", c.reason, n, g, stays, want)
				}
			}
			if n := len(w.site.boxes); n != 4-len(c.delete)+len(c.waits) {
				t.Errorf("%s: %d guests are left outside", c.reason, n)
			}
		})
	}
}

func TestInUseObjectIsStillSeen(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.refer(map[string][]Ref{"inner": {Through("Guest", "ca", v1alpha1.ReachableCondition)}})
	w.guest("ca", onDelete(v1alpha1.DeletionDelete))
	w.guest("inner", onGuestsOnly, onDelete(v1alpha1.DeletionDelete))
	w.kind.removal = func(g *v1alpha1.Guest, seen box) []Step { return nil }
	w.settle()
	w.site.away = true
	w.passHost()
	w.must("ca") // Reachable is Unknown now
	w.delete(w.get("ca"), w.get("inner"))
	w.must("ca")
	w.must("inner")
	if got, want := ready(w.get("ca")), "False InUse: in use by Guest/inner; waiting for Host/pve: not Reachable (Unreachable)"; got != want {
		t.Errorf("Ready = %q, want %q", got, want)
	}
	if got, want := ready(w.get("inner")), "False DependencyNotReady: waiting for Guest/ca: not Reachable (DependencyNotReady)"; got != want {
		t.Errorf("Ready = %q, want %q", got, want)
	}
	w.site.away = false
	w.settle()
	if w.get("inner") != nil || w.get("ca") != nil {
		t.Errorf("the Host came back, and they wait for each other: %s; %s", ready(w.get("ca")), ready(w.get("inner")))
	}
}

func TestInUseTakesNoStep(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.refer(map[string][]Ref{"nginx": {Hard("Guest", "ca", "Ready")}})
	w.guest("ca", onDelete(v1alpha1.DeletionDelete))
	w.guest("nginx")
	w.settle()
	w.site.boxes[100].Cores = 7
	w.site.did = nil
	w.delete(w.get("ca"))
	r := w.must("ca")
	between(t, "the user's end comes as an event", r.RequeueAfter, inUseInterval)
	w.kind.observe = failWith(errors.New("cut"))
	w.must("ca")
	if got, want := ready(w.get("ca")), "False InUse: in use by Guest/nginx; cut"; got != want {
		t.Errorf("Ready = %q, want %q", got, want)
	}
	w.edit("ca", managed(v1alpha1.ManagementPaused))
	looked := w.kind.observed
	w.must("ca")
	if w.kind.observed != looked {
		t.Error("a Paused object was looked at")
	}
	if len(w.site.did) != 0 {
		t.Errorf("it did %v", w.site.did)
	}
}

func TestCleanUpNeedsItsWay(t *testing.T) {
	through := []Ref{Through("Guest", "ca", v1alpha1.ReachableCondition)}
	vanishes := []Ref{{Kind: "Guest", Name: "ca", Condition: v1alpha1.ReachableCondition, Keeps: true, Needed: true, Vanishes: true}}
	blinds := []Ref{{Kind: "Guest", Name: "ca", Condition: v1alpha1.ReachableCondition, Keeps: true, Blinds: true}}
	onlyVanishes := []Ref{{Kind: "Guest", Name: "ca", Vanishes: true}}
	const gone = "Normal Guest/inner Released: Guest/ca is gone: nothing is left to clean up through it"
	cases := map[string]struct {
		reason string
		refs   []Ref
		before func(w *world)
		ready  string   // empty: it is gone
		last   string   // the last event
		did    []string // by the clean-up
	}{
		"There":        {reason: "the clean-up goes through it", refs: through, last: "Normal Guest/inner Removed: nothing is left outside", did: []string{"Stop ", "Destroy guest 101"}},
		"Gone":         {reason: "what the clean-up needs is gone: it is done", refs: through, before: func(w *world) { w.loses("ca") }, last: gone},
		"NotReachable": {reason: "what is away comes back", refs: through, before: func(w *world) { w.turnOff("ca") }, ready: "False DependencyNotReady: waiting for Guest/ca: not Reachable (Stopped)"},
		"GoneBlinds":   {reason: "what it was seen through is gone, and there is something else to clean up", refs: blinds, before: func(w *world) { w.loses("ca") }, last: "Normal Guest/inner Removed: nothing is left outside", did: []string{"Stop ", "Destroy guest 101"}},
		"GoingDelete":  {reason: "what is in a guest that is destroyed goes with it", refs: vanishes, before: func(w *world) { w.dooms(v1alpha1.DeletionDelete) }, last: gone},
		"GoingRetain":  {reason: "a guest that stays keeps what is in it: it is cleaned up", refs: vanishes, before: func(w *world) { w.dooms(v1alpha1.DeletionRetain) }, last: "Normal Guest/inner Removed: nothing is left outside", did: []string{"Stop ", "Destroy guest 101"}},
		"GoingOnly":    {reason: "a target that only takes things with it is asked too", refs: onlyVanishes, before: func(w *world) { w.dooms(v1alpha1.DeletionDelete) }, last: gone},
		"GoingNeeded":  {reason: "a target that is only gone through waits for its users: the clean-up goes on", refs: through, before: func(w *world) { w.dooms(v1alpha1.DeletionDelete) }, last: "Normal Guest/inner Removed: nothing is left outside", did: []string{"Stop ", "Destroy guest 101"}},
		"NotNeeded":    {reason: "what only gated the steps does not gate the clean-up", refs: []Ref{Hard("Guest", "ca", v1alpha1.ReachableCondition)}, before: func(w *world) { w.loses("ca") }, last: "Normal Guest/inner Removed: nothing is left outside", did: []string{"Stop ", "Destroy guest 101"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.guest("ca")
			w.must("ca")
			w.guest("inner", onDelete(v1alpha1.DeletionDelete))
			w.refer(map[string][]Ref{"inner": c.refs})
			w.must("inner")
			w.isReady("inner")
			w.delete(w.get("inner"))
			if c.before != nil {
				c.before(w)
			}
			w.site.did = nil
			w.happened()
			w.must("inner")
			last := ""
			if e := w.happened(); len(e) > 0 {
				last = e[len(e)-1]
			}
			if diff := cmp.Diff(c.did, w.site.did); diff != "" || last != c.last {
				t.Errorf("%s: the last event is %q, want %q; steps (-want +got):\n%s", c.reason, last, c.last, diff)
			}
			if g := w.get("inner"); (g == nil) != (c.ready == "") || g != nil && ready(g) != c.ready {
				t.Errorf("%s: the object is %v", c.reason, g)
			}
		})
	}
}

// loses takes a Guest away without a trace: somebody removed its finalizer.
func (w *world) loses(name string) {
	w.t.Helper()
	w.edit(name, func(g *v1alpha1.Guest) { g.Finalizers = nil })
	w.delete(w.get(name))
}

func (w *world) turnOff(name string) {
	w.t.Helper()
	w.edit(name, func(g *v1alpha1.Guest) { g.Spec.Power = v1alpha1.PowerStopped })
	w.must(name)
}

func (w *world) dooms(p v1alpha1.DeletionPolicy) {
	w.t.Helper()
	w.edit("ca", onDelete(p))
	w.delete(w.get("ca"))
}

func TestHostAwayWhileDeleting(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.doomed("ca")
	w.site.away = true
	w.passHost()
	w.must("ca")
	if got, want := ready(w.get("ca")), "Unknown DependencyNotReady: waiting for Host/pve: not Reachable (Unreachable)"; got != want {
		t.Errorf("Ready = %q, want %q", got, want)
	}
	w.delete(w.getHost())
	w.passHost()
	if got, want := ready(w.getHost()), "False InUse: in use by Guest/ca; no route to host"; got != want {
		t.Errorf("Ready of the Host = %q, want %q", got, want)
	}
	w.site.away = false
	w.settle()
	if w.get("ca") != nil || w.getHost() != nil || len(w.site.boxes) != 0 {
		t.Errorf("something stays: %v", w.site.boxes)
	}
}

func TestStalledCleanUpIsLetGo(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.doomed("ca")
	w.kind.observe = failWith(Stall("ForeignOwner", errors.New("guest 100 is somebody's")))
	w.must("ca")
	if got := ready(w.get("ca")); got != "False ForeignOwner: guest 100 is somebody's" {
		t.Errorf("Ready = %q", got)
	}
	w.edit("ca", onDelete(v1alpha1.DeletionRetain))
	w.must("ca")
	if w.get("ca") != nil || len(w.site.boxes) != 1 {
		t.Errorf("it stays, or the guest of somebody else is gone: %v", w.site.boxes)
	}
}

func TestHeldRemoval(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.doomed("ca")
	w.kind.removal = func(*v1alpha1.Guest, box) []Step {
		return []Step{{Reason: "Destroy", Message: "destroy guest 100", Held: "it is protected"}}
	}
	w.must("ca")
	if g := w.get("ca"); g == nil || ready(g) != "True Destroy: destroy guest 100: it is protected" {
		t.Errorf("the object is %v", g)
	}
}

func TestNothingIsSettledWhileDeleting(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.refer(map[string][]Ref{"inner": {Through("Guest", "ca", v1alpha1.ReachableCondition)}})
	w.guest("ca")
	w.must("ca")
	w.guest("inner", onGuestsOnly)
	w.must("inner")
	w.kind.removal = func(*v1alpha1.Guest, box) []Step {
		return []Step{{Reason: "Destroy", Message: "destroy guest 101", Held: "it is protected"}}
	}
	w.edit("inner", onDelete(v1alpha1.DeletionDelete))
	w.delete(w.get("inner"))
	w.must("inner") // Ready for its present generation
	w.turnOff("ca")
	w.must("inner")
	if got, want := ready(w.get("inner")), "False DependencyNotReady: waiting for Guest/ca: not Reachable (Stopped)"; got != want {
		t.Errorf("Ready = %q, want %q", got, want)
	}
}

func TestErrorsWhileDeleting(t *testing.T) {
	cases := map[string]struct {
		reason string
		op     string
	}{
		"Users":  {"who uses it is not known", "list GuestList"},
		"Way":    {"whether the way is there is not known", "get Host/pve"},
		"List":   {"who uses it is not known", "list HostList"},
		"Secret": {"whether the Secret is there is not known", "get Secret/keys"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.secret("keys")
			w.guest("ca", onDelete(v1alpha1.DeletionDelete), withKeys("keys"))
			w.must("ca")
			w.delete(w.get("ca"))
			w.site.did = nil
			w.tap.fault = failing(c.op, fault{before: errServer})
			if _, err := w.pass("ca"); !errors.Is(err, errServer) {
				t.Errorf("pass = %v, want the API server's error", err)
			}
			if len(w.site.did) != 0 || w.get("ca") == nil {
				t.Errorf("%s, but it did %v", c.reason, w.site.did)
			}
		})
	}
}

func TestWholeNamespaceGoes(t *testing.T) {
	w := newWorld(t)
	w.host(limit(10))
	w.secret("keys")
	w.refer(map[string][]Ref{
		"nginx": {Hard("Guest", "ca", v1alpha1.ReachableCondition), {Kind: "Guest", Name: "ca", Keeps: true}},
		"app":   {Hard("Guest", "nginx", v1alpha1.ReachableCondition)},
	})
	for _, n := range []string{"ca", "nginx", "app"} {
		w.guest(n, onDelete(v1alpha1.DeletionDelete), withKeys("keys"))
	}
	w.settle()
	w.site.did = nil
	w.delete(w.getSecret("token"), w.getSecret("keys"), w.getHost(), w.get("ca"), w.get("nginx"), w.get("app"))
	if w.getSecret("token") == nil || w.getSecret("keys") == nil {
		t.Fatal("the Secrets that the clean-up needs went first")
	}
	for range 8 {
		w.round()
		w.after(time.Minute)
		if guests := w.get("ca") != nil || w.get("nginx") != nil || w.get("app") != nil; guests && w.getSecret("token") == nil {
			t.Fatal("the token went before the last Guest")
		}
	}
	if len(w.site.boxes) != 0 || w.getHost() != nil || w.getSecret("token") != nil || w.getSecret("keys") != nil {
		t.Errorf("something stays: boxes %v, Host %v", w.site.boxes, w.getHost())
	}
	want := []string{"Destroy guest 102", "Destroy guest 101", "Destroy guest 100"}
	if diff := cmp.Diff(want, with(w.site.did, "Destroy")); diff != "" {
		t.Errorf("dependents go first (-want +got):\n%s", diff)
	}
}

func TestReleasedNamesNothingTwice(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.doomed("ca")
	w.must("ca")
	if got := with(w.happened(), "Normal Guest/ca Removed"); len(got) != 1 || !strings.HasSuffix(got[0], "nothing is left outside") {
		t.Errorf("events %v", got)
	}
}

func TestErrorsWhileInUse(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.refer(map[string][]Ref{"nginx": {Hard("Guest", "ca", "Ready")}})
	w.guest("ca")
	w.guest("nginx")
	w.settle()
	w.delete(w.get("ca"))
	w.tap.fault = failing("get Host", fault{before: errServer})
	if _, err := w.pass("ca"); !errors.Is(err, errServer) {
		t.Errorf("pass = %v, want the API server's error", err)
	}
}
