// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestImageFails(t *testing.T) {
	denied := "Error response from daemon: pull access denied for lab/agent, repository does not exist or may require 'docker login'"
	cases := map[string]struct {
		reason string
		fault  func(*world, *engine, *State) (mended func())
		away   bool
		says   string // all of it, but for a unit
	}{
		"engine away": {"docker's words", func(_ *world, e *engine, _ *State) func() { e.away = true; return func() { e.away = false } }, true,
			"get image lab/app:1: no Docker engine: " + engineAway},
		"engine goes": {"while the job begins", func(w *world, _ *engine, s *State) func() {
			s.Images = s.Images[1:]
			return w.sim.Fail("docker pull*", 0, 1, engineAway)
		}, true, "get image lab/agent:1: no Docker engine: " + engineAway},
		"not in the registry": {"docker's words", func(_ *world, e *engine, s *State) func() {
			s.Images = s.Images[1:]
			delete(e.registry, "lab/agent:1")
			return func() { e.registry["lab/agent:1"] = imageID("agent") }
		}, false, "get image lab/agent:1: Error response from daemon: manifest for lab/agent:1 not found: manifest unknown: manifest unknown"},
		"denied": {"with all that it says", func(w *world, _ *engine, s *State) func() {
			s.Images = s.Images[1:]
			return w.sim.Fail("docker pull*", 0, 1, denied+"\nsecond line")
		}, false, "get image lab/agent:1: " + denied + "; second line"},
		"404": {"the artifact's own words", func(w *world, _ *engine, _ *State) func() { return w.web.Fail("*", 0, 404, nil) }, false,
			"download " + mirror + "1.tar (UNIT): curl: (22) The requested URL returned error: 404"},
		"hash": {"the artifact's own words", func(w *world, _ *engine, s *State) func() {
			w.web.Put(s.Images[0].Archive.URL, []byte("evil"))
			return func() { w.imaged("1") }
		}, false, "download " + mirror + "1.tar (UNIT): the SHA-256 of what it gives is " + fullHash([]byte("evil")) + ", want WANT"},
		"no archive": {"docker's words", func(w *world, _ *engine, s *State) func() { return w.other(s, "text") }, false,
			"get image lab/app:1: open /var/lib/docker/tmp/docker-import-1/repositories: no such file or directory"},
		"another image": {"what it holds", func(w *world, _ *engine, s *State) func() {
			return w.other(s, "archive\nlab/other:1 "+imageID("other")+"\n")
		}, false,
			"get image lab/app:1: the archive does not hold it; docker load: Loaded image: lab/other:1"},
		"another image, and the name is there": {"it is not taken for what the archive gave", func(w *world, e *engine, s *State) func() {
			e.give("lab/app:1", imageID("mine"))
			return w.other(s, "archive\nlab/other:1 "+imageID("other")+"\n")
		}, false, "get image lab/app:1: the archive does not hold it; docker load: Loaded image: lab/other:1"},
		"disk": {"docker's words", func(w *world, _ *engine, _ *State) func() {
			return w.sim.Fail("docker load*", 0, 1, "write /usr/bin/x: no space left on device")
		}, false, "get image lab/app:1: write /usr/bin/x: no space left on device"},
		"silent": {"its exit code", func(w *world, _ *engine, _ *State) func() { return w.sim.Fail("docker load*", 0, 3, "") }, false,
			"get image lab/app:1: docker load ended with exit code 3"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w, e := docked(t)
			want := w.imaged("1")
			whole := w.imaged("1")
			mended := c.fault(w, e, &want)
			text := c.says
			if want.Images[0].Archive != nil {
				text = strings.ReplaceAll(text, "WANT", want.Images[0].Archive.SHA256)
			}
			for range 2 {
				var got string
				if strings.HasPrefix(c.says, "download ") {
					failed := until[*JobError](w, want)
					got = strings.ReplaceAll(failed.Error(), failed.Unit, "UNIT")
				} else {
					failed := until[*ImageError](w, want)
					got = failed.Error()
					if failed.NoEngine != c.away || !strings.Contains(got, failed.Name) {
						t.Errorf("%s: %+v", c.reason, failed)
					}
				}
				if got != text {
					t.Errorf("%s:\n%s\nwant\n%s", c.reason, got, text)
				}
				if got := w.sh("cat /etc/app/app.conf"); got != "distribution\n" {
					t.Errorf("%s: the change did not wait: %s", c.reason, got)
				}
			}
			mended()
			w.converge(whole)
			w.quiet(whole)
			w.keepsNothing(c.reason)
		})
	}
}

// other puts something else at the URL of the archive, and declares its hash.
func (w *world) other(s *State, text string) (mended func()) {
	w.web.Put(s.Images[0].Archive.URL, []byte(text))
	s.Images[0].Archive.SHA256 = fullHash([]byte(text))
	return func() { w.imaged("1") }
}

// Without a docker command, or with an engine that was stopped, nothing is
// started, downloaded or written.
func TestNoEngine(t *testing.T) {
	w := newWorld(t, "app")
	want := w.imaged("1")
	check := func(reason, says string) {
		t.Helper()
		writes := w.sim.Writes()
		var failed *ImageError
		if _, err := w.pass(want, w.planner(want)); !errors.As(err, &failed) || !failed.NoEngine || err.Error() != "get image lab/app:1: no Docker engine: "+says {
			t.Errorf("%s: %v", reason, err)
		}
		if n := w.sim.Writes() - writes; n > 0 || len(w.web.Requests()) > 0 {
			t.Errorf("%s: %d writes, requests %v", reason, n, w.web.Requests())
		}
		if steps := w.plan(want); len(steps) != 3 || steps[0].Changes[0].From != "unknown" {
			t.Errorf("%s: %+v", reason, steps)
		}
	}
	check("a machine without docker", "there is no docker command")
	e := &engine{names: map[string]string{}, ids: map[string]bool{}, registry: map[string]string{"lab/agent:1": imageID("agent")}}
	w.sim.Program("docker", e.run)
	w.sh("printf '[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=/bin/true\\n' >/etc/systemd/system/docker.service; systemctl daemon-reload")
	check("its socket would start it", "docker.service does not run")
	if len(e.calls) > 0 {
		t.Errorf("it was spoken to: %v", e.calls)
	}
	w.sh("systemctl start docker")
	w.converge(want)
	w.quiet(want)
	w.sh("systemctl stop docker")
	if steps := w.plan(want); len(steps) != 3 || steps[0].Message != "load image lab/app:1" {
		t.Errorf("what was there is not known any more: %+v", steps)
	}
	w.sh("systemctl start docker")
	w.quiet(want)
}

// A change that fails gives the name back to the image that had it.
func TestImageIsRolledBack(t *testing.T) {
	w, e := docked(t)
	one, two := w.imaged("1"), w.imaged("crash")
	w.converge(one)
	before, images := w.snapshot(), e.look()
	for range 2 {
		var failed *UnitError
		if err := w.settle(two, w.planner(two)); !errors.As(err, &failed) || !failed.Complete {
			t.Fatalf("%v", err)
		}
		if e.named(imageID("app 1")) != 1 {
			t.Errorf("the name is of another: %s", e.look())
		}
	}
	w.converge(one)
	w.quiet(one)
	if diff := changed(before, w.snapshot()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	w.hasImages(e, "what failed is without a name", strings.Split("lab/app:1 app 1,lab/base:1 base,lab/agent:1 agent,<none> app crash", ",")...)
	if images == "" {
		t.Error("there was no image")
	}
}

// TestImagesKilledAnywhere kills the jobs' beginning, the change and the way
// back after each of their writes.
func TestImagesKilledAnywhere(t *testing.T) {
	for name, c := range map[string]struct {
		reason, step string // the step that is killed; empty: the way back
		then         string // the version that is wanted then; empty: the owner goes
		every        int
	}{
		"load":       {"the same is wanted", "load", "2", 2},
		"pull":       {"the owner goes", "pull", "", 2},
		"change":     {"the same is wanted", "write", "2", 4},
		"go back":    {"what was before is wanted again", "write", "1", 4},
		"and gone":   {"the owner goes", "write", "", 4},
		"on the way": {"the owner goes on going", "", "", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killed := 0
			for n := 1; n < 200; n += c.every {
				h := &hammer{}
				w, e := dockedAt(t, h.now)
				e.give("lab/base:1", imageID("base"))
				e.give("lab/app:1", imageID("mine"))
				before, images := w.snapshot(), e.look()
				if c.step != "pull" {
					w.converge(w.imaged("1"))
				}
				var step Step
				if c.step == "" {
					step = w.clearance(State{})[0]
				} else {
					step = w.ready(w.imaged("2"), c.step)
				}
				struck := h.strike(w, n, func() { _ = step.Do(t.Context(), w.m) }) // how it ends is what the rest is about
				if c.then != "" {
					want := w.imaged(c.then)
					w.converge(want)
					w.quiet(want)
					if got := e.look(); !strings.Contains(got, has("lab/app:1 app "+c.then)) || !strings.Contains(got, has("lab/agent:1 agent")) {
						t.Errorf("%s: killed at write %d: %s", c.reason, n, got)
					}
				}
				w.clear()
				w.sh("rm -rf /run/phoenix-*") // a killed change's lock goes with the next boot, or the next change
				if diff := changed(before, w.snapshot()); diff != "" {
					t.Fatalf("%s: killed at write %d, and in the end (-before +after):\n%s", c.reason, n, diff)
				}
				left := slices.DeleteFunc(strings.Split(e.look(), "\n"), func(line string) bool { return strings.HasPrefix(line, "<none> ") })
				if diff := cmp.Diff(strings.Split(images, "\n"), left); diff != "" { // one of ours may be left without a name, never with one
					t.Fatalf("%s: killed at write %d, and in the end images (-before +after):\n%s", c.reason, n, diff)
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

// TestImageJobIsKilled has a boot, or a signal, end the job at each of its programs.
func TestImageJobIsKilled(t *testing.T) {
	for _, program := range []string{"docker load *", "docker pull *", "sync *.image.part", "mv *.image.part *"} {
		for _, boot := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s boot %t", program, boot), func(t *testing.T) {
				w, e := docked(t)
				want := w.imaged("1")
				if boot {
					release := w.sim.Hold(program)
					for n := 0; w.sim.Held() == 0; n++ {
						var pending *PendingError
						if _, err := w.pass(want, w.planner(want)); n == 400 || err != nil && !errors.As(err, &pending) {
							t.Fatalf("%s: %v", program, err)
						}
						time.Sleep(2 * time.Millisecond)
					}
					if pending := until[*PendingError](w, want); !strings.HasPrefix(pending.What, "phoenix-") || !strings.Contains(pending.What, " image lab/") {
						t.Errorf("it does not say what is waited for: %v", pending)
					}
					w.sim.Halt()
					release()
					w.sim.Boot()
				} else {
					w.sim.Fail(program, 1, 137, "")
					_ = until[*ImageError](w, want)
				}
				w.converge(want)
				w.quiet(want)
				w.hasImages(e, program, "lab/app:1 app 1", "lab/base:1 base", "lab/agent:1 agent")
				w.keepsNothing(program)
				w.clear()
				w.hasImages(e, program, "lab/base:1 base")
			})
		}
	}
}

// TestArchiveIsExchanged has somebody write to what waits for its turn: it is not loaded.
func TestArchiveIsExchanged(t *testing.T) {
	w, e := docked(t)
	want := w.imaged("1")
	step := w.ready(want, "load")
	evil := "archive\\nlab/app:1 " + imageID("evil") + "\\n"
	w.sh("for f in /var/lib/phoenix/*/*.download; do printf '" + evil + "' >$f; done")
	pending := new(PendingError)
	if !errors.As(step.Do(t.Context(), w.m), &pending) {
		t.Fatal("the job does not begin")
	}
	unit, _, _ := strings.Cut(pending.What, " ")
	failed := false
	for n := 0; n < 400 && !failed; n++ {
		failed = strings.Contains(w.sh("systemctl list-units --all 'phoenix-*'"), "failed")
		time.Sleep(2 * time.Millisecond)
	}
	if got := w.sh("journalctl -o cat -u " + unit + " | grep 'SHA-256'"); !failed || got == "" || e.count("load") != 0 {
		t.Errorf("%t, %q and %s", failed, got, e.look())
	}
	w.converge(want)
	w.quiet(want)
	w.hasImages(e, "downloaded anew", "lab/app:1 app 1", "lab/base:1 base", "lab/agent:1 agent")
}
