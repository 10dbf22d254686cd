// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

func TestConnectionIsCut(t *testing.T) {
	cases := map[string]struct {
		reason string
		when   sim.Cut
		done   bool // the change was carried out all the same
	}{
		"before": {"nothing ran", sim.CutBefore, false},
		"during": {"the change comes to its end", sim.CutDuring, true},
		"after":  {"only the answer is lost", sim.CutAfter, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.converge(service("one"))
			want := service("two")
			steps := w.plan(want)
			w.sim.Cut("sh", 1, c.when)
			if err := steps[0].Do(t.Context(), w.m); !IsAway(err) {
				t.Fatalf("%s: %v", c.reason, err)
			}
			// A look while it runs waits; afterwards it finds what was done.
			if c.done {
				for range 400 {
					if commands := w.sim.Commands(); commands[len(commands)-1].Exit >= 0 {
						break
					}
					time.Sleep(5 * time.Millisecond)
				}
				w.quiet(want)
			}
			w.converge(want)
			w.quiet(want)
			if got := w.sh("app-ask"); got != "  two\n" {
				t.Errorf("%s: %s", c.reason, got)
			}
		})
	}
}

// hammer counts what the machine's clock is asked for, which every write does,
// and ends the session at one of them.
type hammer struct {
	mu     sync.Mutex
	left   int // 0: never
	cancel func()
	ahead  time.Duration
}

func (h *hammer) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.left > 0 {
		if h.left--; h.left == 0 {
			h.cancel()
		}
	}
	return time.Now().Add(h.ahead)
}

// strike ends the next command at the n-th write; it returns whether it did.
func (h *hammer) strike(w *world, n int, do func()) bool {
	w.door.mu.Lock()
	w.door.kill = func(cancel func()) {
		h.mu.Lock()
		h.left, h.cancel = n, cancel
		h.mu.Unlock()
	}
	w.door.mu.Unlock()
	do()
	w.door.mu.Lock()
	w.door.kill = nil
	w.door.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	struck := h.left == 0
	h.left = 0
	h.ahead += time.Hour // the lock of the killed change is over
	return struck
}

// TestKilledAnywhere kills a change after each of its writes. Whatever is
// wanted next, the machine gets there, and back to where it began.
func TestKilledAnywhere(t *testing.T) {
	from, to := service("one"), service("two")
	to.Files = append(to.Files[:1:1], File{Path: "/etc/app/new", Content: []byte("x")}, File{Path: "/etc/app/taken", Replaces: true, Content: []byte("ours")})
	to.Dirs = nil
	cases := map[string]struct {
		reason  string
		act     func(*world, State) []Step
		then    State
		cleared bool
		every   int // how many writes lie between two kills
	}{
		"go on":   {"the same is wanted", (*world).plan, to, false, 2},
		"go back": {"what was before is wanted again", (*world).plan, from, false, 5},
		"clear":   {"the owner goes", (*world).clearance, to, true, 3},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killed := 0
			for n := 1; n < 200; n += c.every {
				h := &hammer{}
				w := newWorldAt(t, h.now, "app")
				w.sh("echo theirs >/etc/app/taken; chmod 604 /etc/app/taken")
				before := w.snapshot()
				w.converge(from)
				steps := c.act(w, to)
				struck := h.strike(w, n, func() { _ = steps[0].Do(t.Context(), w.m) }) // how it ends is what the rest is about
				if c.cleared {
					w.clear()
				} else {
					w.converge(c.then)
					w.quiet(c.then)
					// In the store there may be something until the next change; nowhere else.
					if left := w.sh("find /etc | grep phoenix-new"); left != "" {
						t.Fatalf("%s: killed at write %d, and left behind: %s", c.reason, n, left)
					}
					w.clear()
				}
				w.sh("rm -rf /run/phoenix-*") // a killed change's lock goes with the next boot, or the next change
				if diff := changed(before, w.snapshot()); diff != "" {
					t.Fatalf("%s: killed at write %d, and in the end (-before +after):\n%s", c.reason, n, diff)
				}
				if !struck {
					break
				}
				killed++
			}
			if killed < 10 {
				t.Errorf("%s: the change was killed at %d places only", c.reason, killed)
			}
			t.Logf("killed at %d places", killed)
		})
	}
}

func (w *world) clearance(want State) []Step {
	w.Helper()
	seen, err := w.m.Observe(w.Context(), w.owner, want)
	if err != nil {
		w.Fatal(err)
	}
	return Clear(w.owner, seen)
}

// TestKilledAndRefused kills a change that would have been refused: what the
// next one goes back to is what was before both.
func TestKilledAndRefused(t *testing.T) {
	t.Parallel()
	for n := 1; n < 200; n += 3 {
		h := &hammer{}
		w := newWorldAt(t, h.now, "app")
		from, to := service("one"), service("mute three")
		to.Probes[0].Patience = time.Millisecond
		w.converge(from)
		before := w.snapshot()
		steps := w.plan(to)
		struck := h.strike(w, n, func() { _ = steps[0].Do(t.Context(), w.m) }) // how it ends is what the rest is about
		err := w.settle(to, w.planner(to))
		var probe *ProbeError
		if !errors.As(err, &probe) || !probe.Complete {
			t.Fatalf("killed at write %d: %v", n, err)
		}
		if diff := changed(before, w.snapshot()); diff != "" {
			t.Fatalf("killed at write %d (-before +after):\n%s", n, diff)
		}
		w.quiet(from)
		if !struck {
			return
		}
	}
	t.Error("the change has no end")
}

func TestAnEarlierChangeStillRuns(t *testing.T) {
	w := newWorld(t)
	w.converge(service("one"))
	want := service("two")
	steps := w.plan(want)
	release := w.sim.Hold("app-check *phoenix-new")
	w.sim.Cut("sh", 1, sim.CutDuring)
	if err := steps[0].Do(t.Context(), w.m); !IsAway(err) {
		t.Fatal(err)
	}
	var pending *PendingError
	for range 400 {
		if _, err := w.m.Observe(t.Context(), w.owner, want); errors.As(err, &pending) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if pending == nil {
		t.Fatal("a look does not see that a change runs")
	}
	if err := steps[0].Do(t.Context(), w.m); !errors.As(err, &pending) {
		t.Errorf("a second change at the same time: %v", err)
	}
	release()
	w.converge(want)
	w.quiet(want)
}

func TestChangedSinceObserved(t *testing.T) {
	for name, line := range map[string]string{
		"file":   "echo other >/etc/app/app.conf",
		"new":    "echo other >/etc/app/new",
		"record": "sed 's/app.conf/app.cnf/' /var/lib/phoenix/*.json | tee /var/lib/phoenix/x >/dev/null; mv /var/lib/phoenix/x /var/lib/phoenix/*.json",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.converge(service("one"))
			want := service("two")
			want.Files = append(want.Files, File{Path: "/etc/app/new"})
			steps := w.plan(want)
			w.sh(line)
			before := w.snapshot()
			var moved *ChangedError
			if err := steps[0].Do(t.Context(), w.m); !errors.As(err, &moved) {
				t.Errorf("a change went over what nobody had seen: %v", err)
			}
			if diff := changed(before, w.snapshot()); diff != "" {
				t.Errorf("(-before +after):\n%s", diff)
			}
		})
	}
}

func TestMachineIsAway(t *testing.T) {
	w := newWorld(t)
	w.sim.Cut("*", 1, sim.CutBefore)
	if _, err := w.m.Observe(t.Context(), w.owner, service("one")); !IsAway(err) {
		t.Errorf("Observe() = %v", err)
	}
	w.sim.Halt()
	if _, err := w.m.Observe(t.Context(), w.owner, service("one")); err == nil {
		t.Error("a machine that is off was observed")
	}
}

func TestUnsupported(t *testing.T) {
	for line, says := range map[string]string{
		"echo ID=alpine >/etc/os-release": `"alpine"`,
		"rm /etc/os-release":              `""`,
	} {
		w := newWorld(t)
		w.sh(line)
		seen, err := w.m.Observe(t.Context(), w.owner, service("one"))
		if err != nil {
			t.Fatal(err)
		}
		var unsupported *UnsupportedError
		if _, err := w.planner(service("one"))(seen); !errors.As(err, &unsupported) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", line, err)
		}
	}
	w := newWorld(t)
	w.sh("echo 'ID=raspbian\nID_LIKE=debian' >/etc/os-release")
	if steps := w.plan(service("one")); len(steps) == 0 {
		t.Error("what is like Debian will do")
	}
}

// TestSecretsStayInside looks for a secret wherever it must not be.
func TestSecretsStayInside(t *testing.T) {
	w := newWorld(t)
	want := service("one")
	want.Files[2].Path = "/etc/app/secret.conf" // which is read, too
	steps := w.plan(want)
	w.converge(want)
	want.Files[2].Content = []byte("password=hunter2-other-horse\n")
	steps = append(steps, w.plan(want)...)
	w.converge(want)
	var shown []string
	for _, s := range steps {
		shown = append(shown, s.Message, fmt.Sprintf("%+v", s.Changes))
	}
	for _, argv := range w.door.argv {
		shown = append(shown, strings.Join(argv, " "))
	}
	for _, c := range w.sim.Commands() {
		shown = append(shown, c.Line)
	}
	shown = append(shown, w.sh("cat /var/lib/phoenix/*.json; cat /var/lib/phoenix/*.d/*; ls -AR /run /tmp"))
	all := strings.Join(shown, "\n")
	if at := strings.Index(all, "hunter2"); at >= 0 {
		t.Errorf("shows a secret: ...%s", all[max(0, at-200):at])
	}
	if plans := strings.Join(shown[:2*len(steps)], "\n"); strings.Contains(plans, fullHash([]byte("password=hunter2-correct-horse\n"))[:8]) {
		t.Errorf("shows the plain hash of a secret: %s", plans)
	}
	if !strings.Contains(all, "secret:") {
		t.Error("the plan does not show that a secret changes")
	}
	if got := w.sh("stat -c %a /etc/app/secret.conf"); got != "600\n" {
		t.Errorf("the secret is open: %s", got)
	}
}
