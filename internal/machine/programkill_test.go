// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// ready runs passes until the first step is one of a kind.
func (w *world) ready(want State, message string) Step {
	w.Helper()
	for range 400 {
		seen, err := w.m.Observe(w.Context(), w.owner, want)
		var pending *PendingError
		if errors.As(err, &pending) {
			time.Sleep(2 * time.Millisecond)
			continue
		}
		steps, planned := w.planner(want)(seen)
		if err != nil || planned != nil || len(steps) == 0 {
			w.Fatal(err, planned, len(steps))
		}
		if strings.HasPrefix(steps[0].Message, message) {
			return steps[0]
		}
		if err := steps[0].Do(w.Context(), w.m); err != nil && !errors.As(err, &pending) {
			w.Fatal(err)
		}
	}
	w.Fatal("no step " + message)
	return Step{}
}

// TestToolKilledAnywhere kills the first time, a change and the way back of a
// State with users, artifacts and refreshed files after each of the writes.
func TestToolKilledAnywhere(t *testing.T) {
	cases := map[string]struct {
		reason      string
		first       bool
		step        string // that is killed; empty: the way back
		then, every int
	}{
		"first download":  {"nothing is there yet", true, "download", 1, 3},
		"first change":    {"nothing is there yet", true, "make user", 1, 5},
		"first, and gone": {"the owner goes", true, "make user", 0, 5},
		"download":        {"another version is on its way", false, "download", 2, 4},
		"go on":           {"the same is wanted", false, "write", 2, 7},
		"go back":         {"what was before is wanted again", false, "write", 1, 7},
		"clear":           {"the owner goes", false, "write", 0, 5},
		"on the way back": {"the owner goes on going", false, "", 0, 3},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killed := 0
			for n := 1; n < 300; n += c.every {
				h := &hammer{}
				w := newWorldAt(t, h.now, "app", "curl", "ca-certificates")
				w.sh("app-refresh")
				before := w.snapshot()
				states := []State{{}, w.tooled("1"), w.tooled("2")}
				target := states[2]
				if c.first {
					target = states[1]
				} else {
					w.converge(states[1])
				}
				var step Step
				if c.step == "" {
					step = w.clearance(State{})[0]
				} else {
					step = w.ready(target, c.step)
				}
				struck := h.strike(w, n, func() { _ = step.Do(t.Context(), w.m) }) // how it ends is what the rest is about
				if c.then > 0 {
					w.converge(states[c.then])
					w.hasTool([]string{"", "1", "2"}[c.then], c.reason)
					w.quiet(states[c.then])
				}
				w.clear()
				w.sh("rm -rf /run/phoenix-*") // a killed change's lock goes with the next boot, or the next change
				if diff := changed(before, w.snapshot()); diff != "" {
					t.Fatalf("%s: killed at write %d, and in the end (-before +after):\n%s", c.reason, n, diff)
				}
				if !struck {
					break
				}
				killed++
			}
			if killed < 3 {
				t.Errorf("%s: it was killed at %d places only", c.reason, killed)
			}
			t.Logf("killed at %d places", killed)
		})
	}
}

// TestDownloadIsKilled has a boot, or a signal, end the job at each of its
// programs: what is half there is never taken for the whole.
func TestDownloadIsKilled(t *testing.T) {
	for _, program := range []string{"curl *", "tar *", "mv *.member *", "sync *.part", "mv *.part *"} {
		for _, boot := range []bool{true, false} {
			w := newWorld(t, "app", "curl", "ca-certificates")
			want := w.tooled("1")
			if boot {
				release := w.sim.Hold(program)
				for n := 0; w.sim.Held() == 0; n++ {
					var pending *PendingError
					if _, err := w.pass(want, w.planner(want)); n == 400 || err != nil && !errors.As(err, &pending) {
						t.Fatalf("%s: %v", program, err)
					}
					time.Sleep(2 * time.Millisecond)
				}
				w.sim.Halt()
				release()
				w.sim.Boot()
			} else {
				w.sim.Fail(program, 1, 137, "")
				if failed := until[*JobError](w, want); !strings.Contains(failed.Error(), "download ") {
					t.Error(failed)
				}
			}
			w.converge(want)
			w.hasTool("1", "killed at "+program)
			w.quiet(want)
			if got := w.sh("ls -A /var/lib/phoenix/*.d"); strings.Contains(got, "download") {
				t.Errorf("killed at %s: left behind: %s", program, got)
			}
		}
	}
}

// TestRefreshKilledAndRefused kills a change, and has the next one fail before
// it comes to its refreshes: what is made of the files is made of the old ones.
func TestRefreshKilledAndRefused(t *testing.T) {
	t.Parallel()
	for n := 1; n < 200; n += 2 {
		h := &hammer{}
		w := newWorldAt(t, h.now, "app")
		from, to := trusting("one", "b"), trusting("two", "c")
		w.converge(from)
		before := w.snapshot()
		steps := w.plan(to)
		h.strike(w, n, func() { _ = steps[0].Do(t.Context(), w.m) }) // how it ends is what the rest is about
		if len(w.plan(to)) == 0 {
			return // it had come to its end
		}
		to.Files = append(to.Files, File{Path: "/etc/app/last", Owner: "nosuch"})
		if err := w.settle(to, w.planner(to)); err == nil || !strings.Contains(err.Error(), "invalid user") {
			t.Fatalf("killed at write %d: %v", n, err)
		}
		if diff := changed(before, w.snapshot()); diff != "" {
			t.Fatalf("killed at write %d (-before +after):\n%s", n, diff)
		}
	}
	t.Error("the change has no end")
}

// TestDownloadIsExchanged has somebody write to what waits for its turn: it
// does not get it.
func TestDownloadIsExchanged(t *testing.T) {
	w := newWorld(t, "app", "curl", "ca-certificates")
	want := w.tooled("1")
	step := w.ready(want, "make user")
	w.sh("for f in /var/lib/phoenix/*/*.download; do echo evil >$f; done")
	var moved *ChangedError
	if err := step.Do(t.Context(), w.m); !errors.As(err, &moved) {
		t.Errorf("%v", err)
	}
	if got := w.sh("cat /usr/local/bin/tool 2>/dev/null"); got != "" {
		t.Errorf("it runs %q", got)
	}
}
