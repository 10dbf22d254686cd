// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// held says which of the Secrets have the in-use finalizer.
func (w *world) held(names ...string) []string {
	var held []string
	for _, n := range names {
		if s := w.getSecret(n); s != nil && hasFinalizer(s, v1alpha1.InUseFinalizer) {
			held = append(held, n)
		}
	}
	return held
}

func (w *world) passSecret(name string) error {
	_, err := w.holds.Reconcile(w.t.Context(), request(space, name))
	return err
}

func TestSecretIsHeldBeforeTheFirstStep(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.secret("keys")
	w.guest("ca", withKeys("keys"))
	w.must("ca")
	want := []string{"meta Guest/ca", "meta Secret/keys", "status Guest/ca", "do Create guest 100", "do SetPower ", "status Guest/ca"}
	if diff := cmp.Diff(want, w.written()); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"token", "keys"}, w.held("token", "keys")); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
}

func TestSecretThatComesLater(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca", withKeys("keys"))
	w.must("ca")
	w.isReady("ca")
	w.secret("keys")
	w.must("ca")
	if diff := cmp.Diff([]string{"keys"}, w.held("keys")); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
}

func TestSecretOfTwoHolders(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.secret("keys")
	for _, n := range []string{"a", "b"} {
		w.guest(n, withKeys("keys"))
		w.must(n)
	}
	w.delete(w.getSecret("keys"), w.get("a"))
	w.must("a")
	if w.get("a") != nil || len(w.held("keys")) != 1 {
		t.Error("one holder went, and the other one's Secret is not held")
	}
	w.delete(w.get("b"))
	w.must("b")
	if w.get("b") != nil || w.getSecret("keys") != nil {
		t.Error("the last holder went, and the Secret stays")
	}
}

func TestSecretBeingDeletedIsNotHeldAnew(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.secret("keys")
	s := w.getSecret("keys")
	s.Finalizers = []string{"somebody.io/else"}
	if err := w.raw.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.delete(s)
	w.guest("ca", withKeys("keys"))
	w.must("ca") // the API server refuses new finalizers on what is being deleted
	w.isReady("ca")
	if len(w.held("keys")) != 0 {
		t.Error("held")
	}
}

func TestHoldsFollowReferences(t *testing.T) {
	cases := map[string]struct {
		reason string
		act    func(w *world)
		held   []string
	}{
		"Same":    {"what is needed stays held", func(*world) {}, []string{"keys"}},
		"Changed": {"the Secret before is let go, the new one held", func(w *world) { w.edit("ca", withKeys("new")); w.must("ca") }, []string{"new"}},
		"None":    {"a reference that is taken back holds nothing", func(w *world) { w.edit("ca", func(g *v1alpha1.Guest) { g.Spec.CloudInit = nil }); w.must("ca") }, nil},
		"Lost":    {"an object that lost its finalizer to somebody holds nothing once it is gone", func(w *world) { w.loses("ca") }, nil},
		"Released": {"an object that another finalizer keeps, but that is released, holds nothing", func(w *world) {
			w.edit("ca", func(g *v1alpha1.Guest) { g.Finalizers = append(g.Finalizers, "somebody.io/else") })
			w.delete(w.get("ca"))
			w.must("ca")
		}, nil},
		"Deleting": {"an object on its way out needs it most", func(w *world) { w.delete(w.get("ca")) }, []string{"keys"}},
		"Soft": {"who only reads it does not hold it", func(w *world) {
			w.refer(map[string][]Ref{"reader": {Soft("Secret", "keys")}})
			w.guest("reader")
			w.loses("ca")
		}, nil},
		"Young": {"an object that no pass has seen yet will need it", func(w *world) {
			w.guest("young", withKeys("keys"))
			w.loses("ca")
		}, []string{"keys"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.secret("keys")
			w.secret("new")
			w.guest("ca", withKeys("keys"))
			w.must("ca")
			c.act(w)
			for _, s := range []string{"keys", "new", "absent"} {
				if err := w.passSecret(s); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(c.held, w.held("keys", "new")); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			w.written()
			for _, s := range []string{"keys", "new"} {
				if err := w.passSecret(s); err != nil {
					t.Fatal(err)
				}
			}
			if got := w.written(); len(got) != 0 {
				t.Errorf("%s: another pass writes %v", c.reason, got)
			}
		})
	}
}

func TestHoldsErrors(t *testing.T) {
	cases := map[string]struct {
		reason string
		op     string
		err    error
		fails  bool
		again  bool
	}{
		"Unreadable": {"what cannot be read stays as it is", "get Secret/keys", errServer, true, false},
		"Unlisted":   {"a Secret whose users are not known stays held", "list GuestList", errServer, true, false},
		"Refused":    {"what was not written is tried again", "meta Secret/keys", errServer, true, false},
		"Conflict":   {"somebody wrote at the same time: look again", "meta Secret/keys", errConflict, false, true},
		"Gone":       {"a Secret that is gone is not held", "meta Secret/keys", errMissing, false, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.secret("keys")
			w.guest("ca", withKeys("keys"))
			w.must("ca")
			w.loses("ca")
			w.tap.fault = failing(c.op, fault{before: c.err})
			r, err := w.holds.Reconcile(t.Context(), request(space, "keys"))
			if (err != nil) != c.fails || err != nil && !errors.Is(err, c.err) || (r.RequeueAfter > 0) != c.again {
				t.Errorf("%s: %v, %v", c.reason, r, err)
			}
			if len(w.held("keys")) != 1 {
				t.Errorf("%s, but it was let go", c.reason)
			}
		})
	}
}

func TestReleaseIsHealedByHolds(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.secret("keys")
	w.guest("ca", withKeys("keys"))
	w.must("ca")
	w.delete(w.get("ca"))
	w.tap.fault = failing("meta Secret", fault{before: errKilled})
	if !w.dies(func() { w.must("ca") }) {
		t.Fatal("it was not killed")
	}
	w.tap.fault = nil
	if w.get("ca") != nil || len(w.held("keys")) != 1 {
		t.Fatal("the process was to die between the two finalizers")
	}
	if err := w.passSecret("keys"); err != nil || len(w.held("keys")) != 0 {
		t.Errorf("the Secret stays held: %v", err)
	}
}

func TestHoldsSeeWhatIsReleasedButStillThere(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.secret("keys")
	w.guest("ca", withKeys("keys"), func(g *v1alpha1.Guest) { g.Finalizers = []string{"somebody.io/else"} })
	w.must("ca")
	w.delete(w.get("ca"))
	w.tap.fault = failing("meta Secret", fault{before: errServer})
	_, _ = w.pass("ca")
	w.tap.fault = nil
	if err := w.passSecret("keys"); err != nil || w.get("ca") == nil || len(w.held("keys")) != 0 {
		t.Errorf("the Secret of a released object stays held: %v", err)
	}
}

func TestReleaseOfWhatIsGone(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.secret("keys")
	w.guest("ca", withKeys("keys"))
	w.must("ca")
	w.delete(w.get("ca"))
	w.happened()
	w.tap.fault = failing("meta Guest", fault{before: errMissing}) // the cache still shows what is gone
	w.must("ca")
	if len(w.held("keys")) != 0 || len(w.happened()) != 1 {
		t.Error("what was released by somebody else is not let go to its end")
	}
}

func TestReleaseThatCannotLetGo(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.secret("keys")
	w.guest("ca", withKeys("keys"))
	w.must("ca")
	w.delete(w.get("ca"))
	w.tap.fault = failing("meta Secret", fault{before: errServer})
	if _, err := w.pass("ca"); !errors.Is(err, errServer) {
		t.Errorf("pass = %v, want the API server's error", err)
	}
}
