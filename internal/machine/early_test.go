// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const aptSource = "/etc/apt/sources.list.d/app.sources"

// sourced is a State with a package and the source that has it.
func sourced(url string) State {
	s := service("one")
	s.Files = append(s.Files, File{Path: aptSource, Early: true, Replaces: true, Content: aptSourceOf(url)})
	return s
}

func TestPlanEarly(t *testing.T) {
	want := planState()
	want.Files = append(want.Files, File{Path: "/etc/apt/new/x.sources", Early: true, Content: []byte("x")})
	early, install := "Apply: write 1 file, set 2 directories", "Install: install app"
	lose := func(s *Seen, names ...string) {
		for _, name := range names {
			delete(s.Paths, name)
		}
	}
	cases := map[string]struct {
		reason string
		differ func(*Seen)
		steps  []string
	}{
		"in sync": {"nothing to do", func(*Seen) {}, nil},
		"package": {"the source is there", func(s *Seen) { delete(s.Packages, "app") }, []string{install}},
		"source":  {"no package is missing", func(s *Seen) { lose(s, "/etc/apt/new/x.sources") }, []string{"Apply: write 1 file"}},
		"both": {"the source comes first, and no other step has it", func(s *Seen) {
			delete(s.Packages, "app")
			lose(s, "/etc/apt/new/x.sources", "/etc/apt/new", "/etc/apt")
		}, []string{early, install}},
		"and more": {"it comes last", func(s *Seen) {
			delete(s.Packages, "app")
			lose(s, "/etc/apt/new/x.sources", "/etc/apt/new", "/etc/apt", "/etc/app/b")
		}, []string{early, install, "Apply: write 1 file, restart app.service"}},
		"edited": {"another is wanted", func(s *Seen) {
			delete(s.Packages, "app")
			p := s.Paths["/etc/apt/new/x.sources"]
			p.Hash = fullHash([]byte("y"))
			s.Paths["/etc/apt/new/x.sources"] = p
		}, []string{"Apply: write 1 file", install}},
		"nothing is ours": {"all is new", func(s *Seen) {
			s.record, s.recordBytes, s.Paths, s.Packages = nil, nil, map[string]Path{}, map[string]string{}
		}, []string{"Apply: write 1 file, set 3 directories", install, "Apply: write 3 files, set 1 directory, restart app.service"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			seen := seenWith(want, func(s *Seen) {
				for _, at := range []string{"/etc/apt", "/etc/apt/new"} {
					s.Paths[at] = s.Paths["/etc"]
				}
				c.differ(s)
			})
			before := cmp.Diff(seen.Paths, map[string]Path{})
			steps, err := Plan(planOwner, want, seen, PlanOptions{})
			if err != nil {
				t.Fatalf("%s: %v", c.reason, err)
			}
			var got []string
			for _, s := range steps {
				got = append(got, s.Reason+": "+s.Message)
			}
			if diff := cmp.Diff(c.steps, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if cmp.Diff(seen.Paths, map[string]Path{}) != before {
				t.Errorf("%s: a plan changes what was seen", c.reason)
			}
		})
	}
}

// TestEarly has apt read its lists anew once the source is there, and not
// before, although it knows the package from elsewhere.
func TestEarly(t *testing.T) {
	w := newWorld(t)
	w.sh("mkdir -p /etc/apt/sources.list.d; echo '# theirs' >" + aptSource + "; apt-get update")
	want := sourced("https://mirror.lan/one")
	release := w.sim.Hold("apt-get * update")
	for n := 0; w.sim.Held() == 0; n++ {
		var pending *PendingError
		if _, err := w.pass(want, w.planner(want)); n == 400 || err != nil && !errors.As(err, &pending) {
			t.Fatalf("the lists are not read anew: %v", err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	if got := w.sh("cat " + aptSource + "; cat /etc/app/app.conf 2>&1"); !strings.HasPrefix(got, string(want.Files[4].Content)) || !strings.Contains(got, "No such file") {
		t.Errorf("when apt reads its lists: %s", got)
	}
	release()
	w.converge(want)
	w.quiet(want)
	two := sourced("https://mirror.lan/two")
	mend := w.sim.Fail("apt-get*", 0, 100, "nobody calls it")
	w.converge(two)
	w.quiet(two)
	mend()
	w.clear()
	if got := w.sh("cat " + aptSource + "; ls /var/lib/phoenix 2>/dev/null"); got != "# theirs\n" || w.sim.Packages()["app"] != "" {
		t.Errorf("after the way back: %s, packages %v", got, w.sim.Packages())
	}
}

// A source that does not give the package is ours all the same, and goes.
func TestEarlyAndNoPackage(t *testing.T) {
	w := newWorld(t)
	before := w.snapshot()
	want := sourced("https://mirror.lan/one")
	w.sim.Fail("apt-get * install *", 0, 100, "E: Package 'app' has no installation candidate")
	for range 2 {
		if failed := until[*JobError](w, want); !strings.Contains(failed.Error(), "no installation candidate") {
			t.Error(failed)
		}
	}
	want = sourced("https://mirror.lan/two")
	if _, err := w.pass(want, w.planner(want)); err != nil { // it does not wait for the package
		t.Error(err)
	}
	if got := w.sh("cat " + aptSource); got != string(want.Files[4].Content) {
		t.Errorf("the source is %s", got)
	}
	w.clear()
	if diff := changed(before, w.snapshot()); diff != "" {
		t.Errorf("after the way back (-before +after):\n%s", diff)
	}
	theirs := sourced("")
	theirs.Files[4].Replaces = false
	w.sh("mkdir -p /etc/apt/sources.list.d; echo '# theirs' >" + aptSource)
	var foreign *ForeignError
	if _, err := w.pass(theirs, w.planner(theirs)); !errors.As(err, &foreign) {
		t.Errorf("a source that is somebody's: %v", err)
	}
}

// TestEarlyKilledAnywhere kills the step that brings the source after each of
// its writes: when nothing is ours yet, and after a change that did not end.
func TestEarlyKilledAnywhere(t *testing.T) {
	for name, later := range map[string]bool{"first": false, "after a change that was killed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killed := 0
			for n := 1; n < 100; n += 2 {
				h := &hammer{}
				w := newWorldAt(t, h.now)
				w.sh("mkdir -p /etc/apt/sources.list.d; echo '# theirs' >" + aptSource)
				if later {
					w.converge(sourced("https://mirror.lan/one"))
					changed := service("three")
					changed.Files = append(changed.Files, sourced("https://mirror.lan/one").Files[4])
					step := w.plan(changed)[0]
					h.strike(w, 25, func() { _ = step.Do(t.Context(), w.m) }) // how it ends is what the rest is about
					w.sh("apt-get remove -y app")
				}
				want := sourced("https://mirror.lan/two")
				step := w.plan(want)[0]
				if step.Reason != ReasonApply || !strings.HasPrefix(step.Message, "write 1 file") {
					t.Fatalf("the first step is %s", step.Message)
				}
				struck := h.strike(w, n, func() { _ = step.Do(t.Context(), w.m) }) // as above
				w.converge(want)
				w.quiet(want)
				w.isAsWanted(name)
				w.clear()
				if got := w.sh("cat " + aptSource + "; ls -A /var/lib/phoenix 2>/dev/null"); got != "# theirs\n" {
					t.Fatalf("killed at write %d, and in the end: %s", n, got)
				}
				if !struck {
					break
				}
				killed++
			}
			if killed < 3 {
				t.Errorf("it was killed at %d places only", killed)
			}
		})
	}
}

// A drop-in is read by systemd before the unit that it is for takes the change,
// and once more when it goes.
func TestDropInIsRead(t *testing.T) {
	w := newWorld(t, "app")
	dropIn := func(text string) State {
		return State{
			Files: []File{{Path: "/etc/systemd/system/app.service.d/50-phoenix.conf", Content: []byte("[Unit]\nDescription=" + text + "\n"), Triggers: []Trigger{{"app.service", Restart}}}},
			Units: []Unit{{Name: "app.service", Enabled: true, Running: true}},
		}
	}
	description := func(reason, want string) {
		t.Helper()
		if got := w.sh("systemctl show -p Description --value app; systemctl show -p NeedDaemonReload --value app"); !strings.HasPrefix(got, want+"\n") || strings.Contains(got, "yes") {
			t.Errorf("%s: %s", reason, got)
		}
	}
	starts := w.app.starts
	for i, text := range []string{"One", "Two"} {
		w.converge(dropIn(text))
		w.quiet(dropIn(text))
		description(text, text)
		if w.app.starts != starts+i+1 {
			t.Errorf("%d starts", w.app.starts-starts)
		}
	}
	w.clear()
	description("gone", "An app")
}
