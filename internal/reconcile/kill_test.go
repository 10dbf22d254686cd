// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// endure runs everything until three rounds are quiet, through the deaths of processes; a person approves what is asked
// for.
func (w *world) endure(pace time.Duration) {
	w.t.Helper()
	quiet := 0
	for range 80 {
		w.written()
		w.tap.met = false
		w.dies(w.round)
		asked := w.approveAll()
		if quiet++; len(w.written()) > 0 || w.tap.met || asked {
			quiet = 0
		}
		if quiet == 3 {
			return
		}
		w.after(pace)
	}
	w.t.Fatal("it does not settle")
}

// approveAll approves every step that waits for it, and says whether one did.
func (w *world) approveAll() (asked bool) {
	w.t.Helper()
	var guests v1alpha1.GuestList
	if err := w.raw.List(w.t.Context(), &guests); err != nil {
		w.t.Fatal(err)
	}
	for _, g := range guests.Items {
		token := offeredToken(&g)
		if token != "" && g.Annotations[v1alpha1.ApproveAnnotation] != token {
			w.annotate(g.Name, token)
			asked = true
		}
	}
	return asked
}

// life is a Guest's, from its creation as a task, over a change that destroys a volume, to its end with all in it.
func life(w *world) {
	w.site.slow = 15 * time.Second
	w.secret("token")
	w.secret("keys")
	w.create(&v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: "pve", Generation: 1}, Spec: v1alpha1.HostSpec{TokenSecretRef: v1alpha1.LocalReference{Name: "token"}}})
	w.guest("ca", withKeys("keys"), func(g *v1alpha1.Guest) { g.Spec.Tags = []string{"a", "b"} })
	w.endure(10 * time.Second)
	w.isReady("ca")
	w.edit("ca", func(g *v1alpha1.Guest) {
		g.Spec.Tags, g.Spec.Cores, g.Spec.DeletionPolicy = []string{"b"}, ptr(4), v1alpha1.DeletionDelete
	})
	w.endure(10 * time.Second)
	w.isReady("ca")
	w.delete(w.getSecret("keys"), w.getSecret("token"), w.getHost(), w.get("ca"))
	w.endure(10 * time.Second)
}

// lived is what a life leaves behind.
func lived(w *world) map[string]any {
	return map[string]any{
		"did": sorted(w.site.did), "boxes": len(w.site.boxes), "guest": w.get("ca") != nil, "host": w.getHost() != nil,
		"secrets": len(w.held("keys", "token")),
	}
}

func TestKilledAtEveryStep(t *testing.T) {
	w := newWorld(t)
	var ops []string
	w.tap.fault = func(op string) fault {
		if writes(op) {
			ops = append(ops, op)
		}
		return fault{}
	}
	life(w)
	want := map[string]any{
		"did":   []string{"AddVolume volume a", "AddVolume volume b", "Create guest 100", "Destroy guest 100", "DestroyVolume volume a", "SetCores ", "SetPower ", "Stop "},
		"boxes": 0, "guest": false, "host": false, "secrets": 0,
	}
	if diff := cmp.Diff(want, lived(w)); diff != "" {
		t.Fatalf("an undisturbed life (-want +got):\n%s", diff)
	}
	if len(ops) < 20 {
		t.Fatalf("only %d writes: %v", len(ops), ops)
	}
	faults := map[string]fault{
		"KilledBefore": {before: errKilled}, "KilledAfter": {after: errKilled},
		"Refused": {before: errConflict}, "AnswerLost": {after: errors.New("connection reset")},
	}
	for name, f := range faults {
		for n, op := range ops {
			t.Run(fmt.Sprintf("%s/%02d %s", name, n, op), func(t *testing.T) {
				w := newWorld(t)
				at := 0
				w.tap.fault = func(op string) fault {
					if !writes(op) {
						return fault{}
					}
					if at++; at == n+1 {
						return f
					}
					return fault{}
				}
				life(w)
				if diff := cmp.Diff(want, lived(w)); diff != "" {
					t.Errorf("another end, or something twice (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// writes says whether an operation changes anything.
func writes(op string) bool { return op[:4] != "get " && op[:4] != "list" }

func TestEveryStatusLost(t *testing.T) {
	w := newWorld(t)
	w.host()
	for _, n := range []string{"a", "b"} {
		w.guest(n, func(g *v1alpha1.Guest) { g.Spec.Tags = []string{n} })
	}
	w.settle()
	w.site.did = nil
	for _, n := range []string{"a", "b"} {
		g := w.get(n)
		g.Status = v1alpha1.GuestStatus{}
		if err := w.raw.Status().Update(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	w.settle()
	for _, n := range []string{"a", "b"} {
		w.isReady(n)
	}
	if len(w.site.did) != 0 {
		t.Errorf("it did %v", w.site.did)
	}
}

// chaos makes random things happen to three Guests. What the site asserts at each step is the test.
type chaos struct {
	*world
	rng *rand.Rand
}

func (c *chaos) one(of ...string) string { return of[c.rng.IntN(len(of))] }

// fault befalls one operation in six.
func (c *chaos) fault(op string) fault {
	if c.rng.IntN(6) != 0 {
		return fault{}
	}
	lost := errors.New("connection reset")
	all := []fault{{before: errServer}, {before: errConflict}, {after: lost}, {before: errKilled}, {after: errKilled}}
	if !writes(op) {
		all = all[:1]
	}
	return all[c.rng.IntN(len(all))]
}

func (c *chaos) act() {
	name := c.one("a", "b", "c")
	g := c.get(name)
	switch n := c.rng.IntN(24); {
	case n < 9:
		c.after(time.Duration(c.rng.IntN(90)) * time.Second)
		c.dies(func() { _, _ = c.pass(name) })
	case n < 12:
		c.dies(c.round)
	case n < 14:
		c.after(time.Duration(c.rng.IntN(100)) * time.Minute)
	case n == 14:
		c.site.away = !c.site.away
	case g == nil:
		c.guest(name, func(g *v1alpha1.Guest) { c.change(g) })
	case n < 18:
		c.edit(name, c.change)
	case n < 20:
		if token := offeredToken(g); token != "" {
			c.annotate(name, token)
		}
	case n == 20:
		c.annotate(name, c.one("yes", "", offeredToken(g)))
	case n == 21:
		c.interfere(name)
	default:
		if g.DeletionTimestamp.IsZero() {
			c.delete(g)
		}
	}
}

// change is a person's edit of a spec.
func (c *chaos) change(g *v1alpha1.Guest) {
	g.Spec.Cores = ptr(1 + c.rng.Int32N(3))
	g.Spec.Tags = nil
	for _, v := range []string{"x", "y"} {
		if c.rng.IntN(2) == 0 {
			g.Spec.Tags = append(g.Spec.Tags, g.Name+v)
		}
	}
	g.Spec.Management = v1alpha1.Management(c.one("", "", "Enforce", "Observe", "Paused"))
	g.Spec.DeletionPolicy = v1alpha1.DeletionPolicy(c.one("", "Delete", "Delete", "Retain"))
	g.Spec.Power = v1alpha1.Power(c.one("", "Running", "Stopped"))
	g.Spec.RestartPolicy = v1alpha1.RestartPolicy(c.one("", "Never"))
}

// interfere changes the outside behind our back.
func (c *chaos) interfere(name string) {
	if b := c.site.find(name); b != nil {
		b.Cores, b.Running = 1+c.rng.Int32N(3), c.rng.IntN(2) == 0
		if v := name + "z"; !slices.Contains(b.Volumes, v) {
			b.Volumes = append(b.Volumes, v)
		}
	}
}

// heal ends all disturbance and brings every Guest under Enforce.
func (c *chaos) heal() {
	c.tap.fault, c.site.away = nil, false
	for _, n := range []string{"a", "b", "c"} {
		if c.get(n) != nil {
			c.edit(n, func(g *v1alpha1.Guest) { g.Spec.Management, g.Spec.RestartPolicy = "", "" })
		}
	}
	for range 4 { // what waits for the budget writes nothing, and goes on when an hour is over
		c.endure(10 * time.Minute)
		c.after(time.Hour)
	}
}

func TestChaos(t *testing.T) {
	seeds := uint64(24)
	if testing.Short() {
		seeds = 8
	}
	did := map[string]int{}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			c := &chaos{newWorld(t), rand.New(rand.NewPCG(seed, 1))}
			c.site.slow = 20 * time.Second
			c.host(limit(2))
			c.tap.fault = c.fault
			for range 120 {
				c.act()
			}
			c.heal()
			for _, n := range []string{"a", "b", "c"} {
				g := c.get(n)
				if g == nil {
					continue
				}
				c.isReady(n)
				b := c.site.find(n)
				if b.Cores != *g.Spec.Cores || b.Running != (g.Spec.Power != v1alpha1.PowerStopped) || !slices.Equal(sorted(b.Volumes), sorted(g.Spec.Tags)) {
					t.Errorf("%s: outside %+v differs from the spec %+v", n, b, g.Spec)
				}
			}
			owners := map[string]int{}
			for _, b := range c.site.boxes {
				if owners[b.Owner]++; owners[b.Owner] > 1 {
					t.Errorf("%s exists twice", b.Owner)
				}
			}
			for _, d := range c.site.did {
				did[d[:4]]++
			}
		})
	}
	for _, op := range []string{"Crea", "Dest", "SetC", "SetP", "Stop", "AddV"} {
		if did[op] < int(seeds)/8 {
			t.Errorf("the chaos is too tame: %s… happened %d times in %d lives", op, did[op], seeds)
		}
	}
}
