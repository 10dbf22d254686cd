// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"testing"
	"time"
)

// trusting are files of which a program makes one.
func trusting(a, b string) State {
	return State{
		Files: []File{
			{Path: "/etc/app/trust/a", Content: []byte(a + "\n"), Refresh: []string{"app-refresh"}},
			{Path: "/etc/app/trust/b", Content: []byte(b + "\n"), Refresh: []string{"app-refresh"}, Triggers: []Trigger{{"app.service", Restart}}},
			{Path: "/etc/app/other", Content: []byte("other\n")},
		},
		Verify: []Command{{Name: "made", Argv: []string{"grep", "-q", "^" + a + "$", "/etc/app/bundle"}}},
	}
}

func TestRefresh(t *testing.T) {
	w := newWorld(t, "app")
	w.sh("app-refresh")
	before := w.snapshot()
	steps := []struct {
		reason string
		do     func()
		bundle string
		runs   int
	}{
		{"once for two files, and before the checks", func() { w.converge(trusting("one", "b")) }, "one\nb\n", 1},
		{"nothing changes", func() { w.converge(trusting("one", "b")) }, "one\nb\n", 0},
		{"one changes", func() { w.converge(trusting("two", "b")) }, "two\nb\n", 1},
		{"another file changes", func() {
			s := trusting("two", "b")
			s.Files[2].Content = nil
			w.converge(s)
		}, "two\nb\n", 0},
		{"drift", func() { w.sh("echo x >/etc/app/trust/b"); w.converge(trusting("two", "b")) }, "two\nb\n", 1},
		{"mode", func() { w.sh("chmod 600 /etc/app/trust/b"); w.converge(trusting("two", "b")) }, "two\nb\n", 1},
		{"one is dropped", func() {
			s := trusting("two", "")
			s.Files = s.Files[:1]
			w.converge(s)
			w.quiet(s)
		}, "two\n", 1},
		{"all go", func() { w.clear() }, "", 1},
	}
	for _, c := range steps {
		runs := w.app.refreshes
		c.do()
		if got := w.sh("cat /etc/app/bundle"); got != c.bundle || w.app.refreshes-runs != c.runs {
			t.Errorf("%s: %q after %d runs, want %q after %d", c.reason, got, w.app.refreshes-runs, c.bundle, c.runs)
		}
	}
	if diff := changed(before, w.snapshot()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	w.sh("rm /etc/app/bundle")
	w.converge(trusting("one", "b"))
	if got := w.sh("stat -c %a /etc/app/bundle"); got != "644\n" {
		t.Errorf("what was made is closed to others: %s", got)
	}
}

// TestRefreshIsUndone has it run again after the files were put back, whatever
// failed.
func TestRefreshIsUndone(t *testing.T) {
	cases := map[string]struct {
		reason string
		change func(*world, *State)
		says   string
	}{
		"itself": {"it refuses what it finds", func(_ *world, s *State) { s.Files[1].Content = []byte("bad\n") }, "rolled back: run app-refresh: bad"},
		"check":  {"of all files", func(_ *world, s *State) { s.Verify[0].Argv = []string{"grep", "-q", "nothing", "/etc/app/bundle"} }, "rolled back: validate made: it said nothing"},
		"unit":   {"it does not restart", func(w *world, _ *State) { w.sim.Fail("systemctl restart app.service", 1, 1, "it hurts") }, "rolled back: restart app.service: it hurts"},
		"probe": {"it does not answer", func(_ *world, s *State) {
			s.Probes = []Probe{{Name: "answer", Argv: []string{"app-ask"}, Want: "x", Patience: time.Millisecond}}
		}, `rolled back: probe answer: got "distribution"`},
		"missing": {"what is wanted needs its program", func(_ *world, s *State) { s.Files[0].Refresh = []string{"nosuch", "--all"} }, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "app")
			w.converge(trusting("one", "b"))
			before, runs := w.snapshot(), w.app.refreshes
			want := trusting("two", "c")
			c.change(w, &want)
			err := w.settle(want, w.planner(want))
			if err == nil || c.says != "" && err.Error() != c.says {
				t.Fatalf("%s: %v", c.reason, err)
			}
			var refresh *RefreshError
			if got := errors.As(err, &refresh); got != (name == "itself" || name == "missing") || got && !refresh.Complete {
				t.Errorf("%s: it is a %T", c.reason, err)
			}
			if diff := changed(before, w.snapshot()); diff != "" {
				t.Errorf("%s: %v (-before +after):\n%s", c.reason, err, diff)
			}
			if got := w.app.refreshes - runs; got < 1 || got > 2 {
				t.Errorf("%s: %d runs", c.reason, got)
			}
			w.converge(trusting("two", "c"))
			if got := w.sh("cat /etc/app/bundle"); got != "two\nc\n" {
				t.Errorf("%s: %q", c.reason, got)
			}
		})
	}
}

// A program that is gone holds nobody up who goes himself; one that fails does.
func TestRefreshOfWhatGoes(t *testing.T) {
	w := newWorld(t, "app")
	want := trusting("one", "b")
	want.Files[1].Refresh = []string{"/usr/local/bin/make-it"}
	w.sh("printf '#!/bin/sh\\nexit 0\\n' >/usr/local/bin/make-it; chmod 755 /usr/local/bin/make-it")
	w.converge(want)
	w.sh("rm /usr/local/bin/make-it")
	w.sim.Fail("app-refresh", 2, 3, "disk full") // on the way back, too
	var refresh *RefreshError
	err := w.settle(State{}, func(seen Seen) ([]Step, error) { return Clear(w.owner, seen), nil })
	if !errors.As(err, &refresh) || refresh.Complete || err.Error() != "not rolled back in full: run app-refresh: disk full" {
		t.Errorf("%v", err)
	}
	w.clear()
	if got := w.sh("cat /etc/app/bundle; ls /etc/app/trust /var/lib/phoenix 2>/dev/null"); got != "" {
		t.Errorf("left behind: %q", got)
	}
}
