// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

func packages(names ...string) State { return State{Packages: names} }

// until runs passes until one ends with an error of a kind.
func until[T error](w *world, want State) T {
	w.Helper()
	var target T
	for range 400 {
		more, err := w.pass(want, w.planner(want))
		if errors.As(err, &target) {
			return target
		}
		var pending *PendingError
		if err != nil && !errors.As(err, &pending) || !more {
			w.Fatalf("%v before a %T", err, target)
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.Fatalf("no %T", target)
	return target
}

func TestInstall(t *testing.T) {
	w := newWorld(t)
	want := packages("app", "curl")
	steps := w.plan(want)
	if len(steps) == 0 || steps[0].Reason != ReasonInstall || len(steps[0].Changes) != 2 {
		t.Fatalf("the plan: %+v", steps)
	}
	var pending *PendingError
	if err := steps[0].Do(t.Context(), w.m); !errors.As(err, &pending) || !strings.Contains(err.Error(), "install app curl") {
		t.Errorf("an installation that has begun: %v", err)
	}
	w.converge(want)
	w.quiet(want)
	w.sh("apt-get remove -y curl")
	w.converge(want)
	w.quiet(want)
	w.clear()
	if got := w.sim.Packages(); got["app"] != "" || got["curl"] != "" || got["openssh-server"] == "" {
		t.Errorf("packages that are left: %v", got)
	}
	if got := w.sh("ls -A /var/lib"); strings.Contains(got, "phoenix") {
		t.Errorf("left behind: %s", got)
	}
}

func TestPackageThatWasThereStays(t *testing.T) {
	w := newWorld(t, "curl")
	w.converge(packages("app", "curl"))
	w.sh("apt-get remove -y curl") // by hand, and it comes again
	w.converge(packages("app", "curl"))
	w.converge(packages("curl"))
	if got := w.sim.Packages(); got["app"] != "" {
		t.Error("a package that nobody wants any more stays")
	}
	w.clear()
	if got := w.sim.Packages(); got["curl"] == "" {
		t.Error("a package that was there before us goes")
	}
}

func TestPackageThatOthersNeedStays(t *testing.T) {
	w := newWorld(t)
	other := *w
	other.owner = "home/HostService/default/other"
	w.converge(packages("app", "curl"))
	other.converge(packages("curl"))
	w.sh("apt-get install -y app-tools") // by hand, and it depends on app
	w.clear()
	if got := w.sim.Packages(); got["app-tools"] == "" || got["app"] == "" || got["curl"] == "" {
		t.Errorf("packages that others need go: %v", got)
	}
	if got := w.sh("ls -A /var/lib /var/lib/phoenix"); strings.Contains(got, w.owner.hash()) {
		t.Errorf("left behind: %s", got)
	}
}

func TestDpkgLock(t *testing.T) {
	w := newWorld(t)
	want := packages("app")
	w.sim.HoldDpkg(true)
	for range 5 {
		var pending *PendingError
		if _, err := w.pass(want, w.planner(want)); !errors.As(err, &pending) {
			t.Fatalf("another's work with packages is waited for: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.sim.HoldDpkg(false)
	w.converge(want)
	w.quiet(want)
}

// TestDpkgLockIsNamed has apt say what it waits for, as the real one does twice
// a second.
func TestDpkgLockIsNamed(t *testing.T) {
	w := newWorld(t)
	w.sim.Program("apt-get", func(ctx context.Context, p *sim.Process) int {
		p.Printf("Reading package lists...\nWaiting for cache lock: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 2623 (unattended-upgr)...\n")
		<-ctx.Done()
		return 137
	})
	want := packages("app")
	for n := 0; ; n++ {
		pending := until[*PendingError](w, want)
		unit, rest, _ := strings.Cut(pending.What, " ")
		if rest == "(install app), which waits for the lock /var/lib/dpkg/lock-frontend of process 2623 (unattended-upgr)" && strings.HasPrefix(unit, "phoenix-") {
			return
		}
		if n == 400 {
			t.Fatalf("the lock is not named: %v", pending)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestWaiting(t *testing.T) {
	for reason, c := range map[string]struct{ log, want string }{
		"nothing yet":   {"", ""},
		"apt waits":     {"Started x\nWaiting for cache lock: Could not get lock /var/lib/apt/lists/lock. It is held by process 871 (apt-get)...", ", which waits for the lock /var/lib/apt/lists/lock of process 871 (apt-get)"},
		"by nobody":     {"E: Could not get lock /var/lib/dpkg/lock.", ", which waits for the lock /var/lib/dpkg/lock"},
		"it has it now": {"Waiting for cache lock: Could not get lock /var/lib/dpkg/lock. It is held by process 1 (x)...\nReading package lists...", ""},
		"another lock":  {"the lock /etc/x is fine", ""},
	} {
		if got := waiting(c.log); got != c.want {
			t.Errorf("%s: %q, want %q", reason, got, c.want)
		}
	}
}

func TestDpkgLockThatOutlastsTheJob(t *testing.T) {
	w := newWorld(t)
	want := packages("app")
	remove := w.sim.Fail("apt-get *", 0, 100, "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 871 (apt-get)")
	_ = until[*PendingError](w, want)
	for range 40 {
		var failed *JobError
		if _, err := w.pass(want, w.planner(want)); errors.As(err, &failed) {
			t.Fatalf("a lock is no failure: %v", err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	remove()
	w.converge(want)
}

func TestJobFails(t *testing.T) {
	w := newWorld(t)
	want := packages("app")
	remove := w.sim.Fail("apt-get * install *", 0, 100, "E: Failed to fetch app_1.2-3.deb  404  Not Found")
	for range 2 {
		failed := until[*JobError](w, want)
		if !strings.Contains(failed.Log, "404  Not Found") || failed.What != "install app" {
			t.Errorf("the error does not say why: %v", failed)
		}
		if got := w.sh("systemctl list-units --all 'phoenix-*'"); strings.Contains(got, "failed") {
			t.Errorf("the failed unit stays on systemd's list:\n%s", got)
		}
	}
	failed := until[*JobError](w, packages("app", "nosuch-package"))
	if failed == nil || !strings.Contains(failed.Error(), "404") && !strings.Contains(failed.Error(), "nosuch-package") {
		t.Errorf("%v", failed)
	}
	remove()
	w.converge(want)
	w.quiet(want)
}

func TestJobIsCut(t *testing.T) {
	for n := 1; n < 60; n++ {
		h := &hammer{}
		w := newWorldAt(t, h.now)
		want := packages("app")
		steps := w.plan(want)
		struck := h.strike(w, n, func() { _ = steps[0].Do(t.Context(), w.m) }) // how it ends is what the rest is about
		w.converge(want)
		w.quiet(want)
		w.clear()
		if got := w.sim.Packages(); got["app"] != "" {
			t.Fatalf("killed at write %d: nobody knows that we installed it", n)
		}
		if !struck {
			return
		}
	}
	t.Error("the step has no end")
}

func TestRebootDuringJob(t *testing.T) {
	w := newWorld(t)
	want := packages("app")
	release := w.sim.Hold("apt-get * install *")
	_ = until[*PendingError](w, want)
	w.sim.Halt()
	release()
	w.sim.Boot()
	w.converge(want)
	w.quiet(want)
}

func TestOwnersOnOneMachine(t *testing.T) {
	w := newWorld(t, "app")
	w.converge(service("one"))
	other := *w
	other.owner = "home/HostService/default/other"
	want := State{Files: []File{{Path: "/etc/other.conf", Content: []byte("x")}, {Path: "/etc/app/app.conf", Content: []byte("mine\n"), Replaces: true}}}
	seen, err := other.m.Observe(t.Context(), other.owner, want)
	if err != nil {
		t.Fatal(err)
	}
	var foreign *ForeignError
	for _, adopt := range []bool{false, true} {
		if _, err := Plan(other.owner, want, seen, PlanOptions{Adopt: adopt}); !errors.As(err, &foreign) || foreign.Owner != w.owner || !slices.Equal(foreign.Paths, []string{"/etc/app/app.conf"}) {
			t.Errorf("a path of another owner, with Adopt %t: %v", adopt, err)
		}
	}
	want.Files = want.Files[:1]
	want.Units = []Unit{{Name: "app.service", Running: true}}
	other.converge(want)
	w.quiet(service("one"))
	other.clear()
	w.quiet(service("one"))
	w.isAsWanted("another owner came and went")
}
