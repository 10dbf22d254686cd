// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"
)

const routes = "/etc/app/routes"

// routing is a simulated machine with a folder whose Check refuses a file with
// the word bad, and whose Refresh counts.
type routing struct {
	*testing.T
	*world
	f     *Folder
	clock *clocktesting.FakePassiveClock
}

// passing is a clock that stands still unless it is told to go on; its timers
// fire at once.
type passing struct {
	instant
	at *clocktesting.FakePassiveClock
}

func (p passing) Now() time.Time                  { return p.at.Now() }
func (p passing) Since(t time.Time) time.Duration { return p.at.Since(t) }

func routingOptions() FolderOptions {
	return FolderOptions{
		Path: routes, Group: "app", Mode: 0o640,
		Check: []string{"sh", "-c", "app-check " + routes + "/*"}, Refresh: []string{"app-refresh"},
	}
}

func newRouting(t *testing.T) *routing {
	t.Helper()
	w := newWorld(t, "app")
	r := &routing{T: t, world: w, clock: clocktesting.NewFakePassiveClock(time.Unix(1e9, 0))}
	w.m = New(w.door, Options{Clock: passing{at: r.clock}})
	w.sh("mkdir -m 750 " + routes)
	r.f = w.m.Folder(routingOptions())
	return r
}

// put puts one file of a prefix.
func (r *routing) put(prefix, text string, keep bool) error {
	r.T.Helper()
	return r.f.Put(r.T.Context(), prefix, Entry{prefix + ".conf": []byte(text)}, keep)
}

// is holds the folder to what is in it, by names without their ends.
func (r *routing) is(reason string, want map[string]string) {
	r.T.Helper()
	got := map[string]string{}
	for _, name := range strings.Fields(r.sh("ls -A " + routes)) {
		got[strings.TrimSuffix(name, ".conf")] = r.sh("cat " + routes + "/" + name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.T.Errorf("%s (-want +got):\n%s", reason, diff)
	}
	if left := r.sh("find /etc/app /run -name '*phoenix*'"); left != "" {
		r.T.Errorf("%s: left behind: %s", reason, left)
	}
}

func (r *routing) must(reason string, err error) {
	r.T.Helper()
	if err != nil {
		r.T.Fatalf("%s: %v", reason, err)
	}
}

func TestFolder(t *testing.T) {
	r := newRouting(t)
	r.must("new", r.put("a", "one\n", false))
	r.must("new", r.put("b", "it's $(odd) \\n %s\n", false))
	r.is("what was put is there", map[string]string{"a": "one\n", "b": "it's $(odd) \\n %s\n"})
	if got := r.sh("stat -c '%a %U:%G' " + routes + "/*"); got != "640 root:app\n640 root:app\n" {
		t.Errorf("modes and owners: %s", got)
	}
	runs, writes := r.app.refreshes, r.sim.Writes()
	r.must("the same", r.put("a", "one\n", true))
	if r.app.refreshes != runs {
		t.Error("who puts what is there has somebody hear of it")
	}
	t.Logf("%d writes for nothing", r.sim.Writes()-writes)
	look, err := r.f.Look(t.Context())
	r.must("look", err)
	want := Look{Files: map[string]string{"a.conf": fullHash([]byte("one\n")), "b.conf": fullHash([]byte("it's $(odd) \\n %s\n"))}, Previous: map[string]string{}}
	if diff := cmp.Diff(want, look); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.must("gone", r.f.Put(t.Context(), "a", nil, false))
	r.is("it is gone", map[string]string{"b": "it's $(odd) \\n %s\n"})
	var refused *RefusedError
	if err := r.put("b", "bad\n", false); !errors.As(err, &refused) || refused.Before || !strings.Contains(err.Error(), `cannot read "bad`) {
		t.Errorf("refused: %v", err)
	}
	r.is("what is refused leaves what was", map[string]string{"b": "it's $(odd) \\n %s\n"})
}
