// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"
)

// routes is a folder of which app-refresh makes /etc/app/bundle: that tells what
// was heard of it.
const routes = "/etc/app/trust"

// routing is a simulated machine with a folder of many.
type routing struct {
	*world
	f     *Folder
	clock *clocktesting.FakePassiveClock
}

// passing is a clock that stands still until it is told to go on; its timers
// fire at once.
type passing struct {
	instant
	at *clocktesting.FakePassiveClock
}

func (p passing) Now() time.Time                  { return p.at.Now() }
func (p passing) Since(t time.Time) time.Duration { return p.at.Since(t) }

// routingOptions have a Check that refuses the word bad in any file.
func routingOptions() FolderOptions {
	return FolderOptions{
		Path: routes, Group: "app", Mode: 0o640, Refresh: []string{"app-refresh"},
		Check: []string{"sh", "-c", "for f in " + routes + "/*; do [ ! -e \"$f\" ] || app-check \"$f\" || exit 1; done"},
	}
}

func newRouting(t *testing.T) *routing {
	t.Helper()
	return newRoutingAt(t, time.Now)
}

func newRoutingAt(t *testing.T, now func() time.Time) *routing {
	t.Helper()
	w := newWorldAt(t, now, "app")
	r := &routing{world: w, clock: clocktesting.NewFakePassiveClock(time.Unix(1e9, 0))}
	w.m = New(w.door, Options{Clock: passing{at: r.clock}})
	w.sh("mkdir -m 750 " + routes + "; chgrp app " + routes)
	r.f = w.m.Folder(routingOptions())
	return r
}

// one is an entry of one file.
func one(prefix, text string) Entry { return Entry{prefix + ".conf": []byte(text + "\n")} }

func (r *routing) put(prefix, text string, keep bool) error {
	return r.f.Put(r.Context(), prefix, one(prefix, text), keep)
}

// together has a first one wait at its Refresh until others have queued up behind it,
// and returns what became of those.
func (r *routing) together(entries ...func() error) []error {
	r.Helper()
	release := r.sim.Hold("app-refresh")
	defer release()
	var first sync.WaitGroup
	first.Go(func() {
		if err := r.f.Put(r.Context(), "first", one("first", fmt.Sprint(r.app.refreshes, r.door.trips)), false); err != nil {
			r.Errorf("the first: %v", err)
		}
	})
	r.until("the first waits", func() bool { return r.sim.Held() == 1 })
	errs := make([]error, len(entries))
	var rest sync.WaitGroup
	for i, do := range entries {
		rest.Go(func() { errs[i] = do() })
	}
	r.until("all are there", func() bool {
		r.f.mu.Lock()
		defer r.f.mu.Unlock()
		return len(r.f.queue) == len(entries)
	})
	release()
	first.Wait()
	rest.Wait()
	return errs
}

// queued has all of them travel together, alone.
func (r *routing) queued(entries ...func() error) []error {
	r.Helper()
	r.until("nobody works", func() bool {
		r.f.mu.Lock()
		defer r.f.mu.Unlock()
		idle := !r.f.working
		r.f.working = true // as far as they know
		return idle
	})
	errs := make([]error, len(entries))
	var all sync.WaitGroup
	for i, do := range entries {
		all.Go(func() { errs[i] = do() })
		r.until("one more waits", func() bool {
			r.f.mu.Lock()
			defer r.f.mu.Unlock()
			return len(r.f.queue) == i+1
		})
	}
	all.Go(r.f.work)
	all.Wait()
	return errs
}

func (r *routing) until(what string, is func() bool) {
	r.Helper()
	for range 4000 {
		if is() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	r.Fatalf("%s: it never comes to that", what)
}

// is holds the folder to what is in it, by names without their ends, and
// whoever heard of it to the same.
func (r *routing) is(reason string, want map[string]string) {
	r.Helper()
	got := map[string]string{}
	for _, name := range strings.Fields(r.sh("ls -A " + routes)) {
		got[strings.TrimSuffix(name, ".conf")] = strings.TrimSuffix(r.sh("cat "+routes+"/"+name), "\n")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.Errorf("%s (-want +got):\n%s", reason, diff)
	}
	if all, heard := r.sh("cat "+routes+"/* 2>/dev/null"), r.sh("cat /etc/app/bundle"); all != heard {
		r.Errorf("%s: heard was %q of %q", reason, heard, all)
	}
	if left := r.sh("find /etc/app /run -name '*phoenix*'"); left != "" {
		r.Errorf("%s: left behind: %s", reason, left)
	}
}

// hashes are those of files with these texts.
func hashes(texts map[string]string) map[string]string {
	out := map[string]string{}
	for prefix, text := range texts {
		out[prefix+".conf"] = fullHash([]byte(text + "\n"))
	}
	return out
}

// looks holds Look to the folder and to what is kept.
func (r *routing) looks(reason string, files, previous map[string]string) {
	r.Helper()
	got, err := r.f.Look(r.Context())
	if diff := cmp.Diff(Look{Files: hashes(files), Previous: hashes(previous)}, got); diff != "" || err != nil {
		r.Errorf("%s: %v (-want +got):\n%s", reason, err, diff)
	}
}

func (r *routing) later() { r.clock.SetTime(r.clock.Now().Add(folderFresh + time.Millisecond)) }
