// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// docked is a world with an engine, and an agent in its registry.
func docked(t *testing.T) (*world, *engine) {
	t.Helper()
	return dockedAt(t, time.Now)
}

func dockedAt(t *testing.T, now func() time.Time) (*world, *engine) {
	t.Helper()
	w := newWorldAt(t, now, "app", "curl", "ca-certificates")
	e := &engine{names: map[string]string{}, ids: map[string]bool{}, used: map[string]bool{}, registry: map[string]string{"lab/agent:1": imageID("agent")}}
	w.sim.Program("docker", e.run)
	return w, e
}

// imaged is a State with an image from an archive, one that is pulled, and a
// file for the unit that runs them.
func (w *world) imaged(version string) State {
	w.Helper()
	archive := []byte("archive\nlab/base:1 " + imageID("base") + "\nlab/app:1 " + imageID("app "+version) + "\n")
	w.web.Put(mirror+version+".tar", archive)
	return State{
		Images: []Image{
			{Name: "lab/app:1", Archive: &Archive{URL: mirror + version + ".tar", SHA256: fullHash(archive)}, Triggers: []Trigger{{"app.service", Restart}}},
			{Name: "lab/agent:1"},
		},
		Files:  []File{{Path: "/etc/app/app.conf", Replaces: true, Content: []byte(version + "\n"), Triggers: []Trigger{{"app.service", Restart}}}},
		Units:  []Unit{{Name: "app.service", Running: true}},
		Probes: []Probe{{Name: "answer", Argv: []string{"app-ask"}, Match: ".", Patience: time.Millisecond}},
	}
}

func (w *world) keepsNothing(reason string) {
	w.Helper()
	if got := w.sh("ls -A /var/lib/phoenix/*.d 2>/dev/null | grep -e download -e image -e job; systemctl list-units --all 'phoenix-*' | grep failed"); got != "" {
		w.Errorf("%s: left behind: %s", reason, got)
	}
}

func (w *world) hasImages(e *engine, reason string, pairs ...string) {
	w.Helper()
	if diff := cmp.Diff(has(pairs...), e.look()); diff != "" {
		w.Errorf("%s: images (-want +got):\n%s", reason, diff)
	}
}

func TestImages(t *testing.T) {
	w, e := docked(t)
	before := w.snapshot()
	one := w.imaged("1")
	steps := w.plan(one)
	var said []string
	for _, s := range steps {
		said = append(said, s.Reason+": "+s.Message)
	}
	if diff := cmp.Diff([]string{
		"Install: download " + mirror + "1.tar", "Install: load image lab/app:1", "Install: pull image lab/agent:1", "Apply: write 1 file, restart app.service",
	}, said); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, s := range steps[1:] { // they wait for the download, whoever takes them before
		if pending := new(PendingError); s.Message != "pull image lab/agent:1" && !errors.As(s.Do(t.Context(), w.m), &pending) {
			t.Errorf("%s does not wait", s.Message)
		}
	}
	w.converge(one)
	w.quiet(one)
	w.hasImages(e, "first time", "lab/app:1 app 1", "lab/base:1 base", "lab/agent:1 agent")
	w.keepsNothing("first time")
	seen, err := w.m.Observe(t.Context(), w.owner, one)
	if err != nil || seen.NoEngine != "" || !cmp.Equal(seen.Images, map[string]string{"lab/app:1": imageID("app 1"), "lab/agent:1": imageID("agent")}) {
		t.Errorf("seen are %v, %q, %v", seen.Images, seen.NoEngine, err)
	}
	starts := w.app.starts
	two := w.imaged("2")
	two.Files = one.Files // the image alone has them restart
	w.converge(two)
	w.quiet(two)
	w.hasImages(e, "another archive", "lab/app:1 app 2", "lab/base:1 base", "lab/agent:1 agent") // and the old one went
	if w.app.starts != starts+1 || e.count("pull") != 1 || e.count("load") != 2 {
		t.Errorf("%d starts, %d pulls, %d loads", w.app.starts-starts, e.count("pull"), e.count("load"))
	}
	moved := w.imaged("2")
	moved.Files, moved.Images[0].Archive.URL = one.Files, "https://elsewhere.lan/x.tar"
	w.quiet(moved) // what is there is what it would give
	fewer := two
	fewer.Images = two.Images[:1]
	w.converge(fewer)
	w.quiet(fewer)
	w.hasImages(e, "one is not wanted any more", "lab/app:1 app 2", "lab/base:1 base")
	w.clear()
	w.hasImages(e, "all go that came with us", "lab/base:1 base") // nobody asked for it: the archive brought it
	if diff := changed(before, w.snapshot()); diff != "" {
		t.Errorf("after the way back (-before +after):\n%s", diff)
	}
}

func TestImageDrift(t *testing.T) {
	whole := []string{"lab/app:1 app 1", "lab/base:1 base", "lab/agent:1 agent"}
	cases := map[string]struct {
		reason               string
		do                   func(*world, *engine)
		loads, pulls, starts int
		then                 []string
	}{
		"nothing":     {"the archive gave what is there", func(*world, *engine) {}, 0, 0, 0, whole},
		"removed":     {"loaded again", func(_ *world, e *engine) { delete(e.names, "lab/app:1"); delete(e.ids, imageID("app 1")) }, 1, 0, 1, whole},
		"pruned":      {"pulled again", func(_ *world, e *engine) { delete(e.names, "lab/agent:1"); delete(e.ids, imageID("agent")) }, 0, 1, 0, whole},
		"moved":       {"the name is given back, and what had it stays", func(_ *world, e *engine) { e.give("lab/app:1", imageID("evil")) }, 1, 0, 1, append(slices.Clone(whole), "<none> evil")},
		"moved pull":  {"the name is given back", func(_ *world, e *engine) { e.give("lab/agent:1", imageID("evil")) }, 0, 1, 0, append(slices.Clone(whole), "<none> evil")},
		"left behind": {"by a job that was killed", func(w *world, e *engine) { w.sh("for d in /var/lib/phoenix/*.d; do echo x >$d/x.image; done") }, 0, 0, 0, whole},
		"a newer one": {"the registry has it, and a pull by hand brought it", func(_ *world, e *engine) {
			e.registry["lab/agent:1"] = imageID("newer")
			e.give("lab/agent:1", imageID("newer"))
		}, 0, 1, 0, []string{"lab/app:1 app 1", "lab/base:1 base", "lab/agent:1 newer"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w, e := docked(t)
			want := w.imaged("1")
			w.converge(want)
			w.sh("mkdir -p $(ls -d /var/lib/phoenix/*.json | sed s/json$/d/)")
			loads, pulls, starts := e.count("load"), e.count("pull"), w.app.starts
			c.do(w, e)
			if steps := w.plan(want); (c.loads+c.pulls > 0) != (len(steps) > 1) {
				t.Errorf("%s: the plan shows %+v", c.reason, steps)
			}
			w.converge(want)
			w.quiet(want)
			w.hasImages(e, c.reason, c.then...)
			if got := [3]int{e.count("load") - loads, e.count("pull") - pulls, w.app.starts - starts}; got != [3]int{c.loads, c.pulls, c.starts} {
				t.Errorf("%s: loads, pulls, starts %v", c.reason, got)
			}
		})
	}
}

// An image that was there before us stays, and gets its name back.
func TestImageThatWasThereStays(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		there  []string // names and words
		want   []string
		again  []string // of those the archive or the registry gives in between
	}{
		"others":        {"of the same names", []string{"lab/app:1 mine", "lab/agent:1 mine"}, []string{"lab/app:1 app 1", "lab/agent:1 mine", "lab/base:1 base", "<none> mine"}, nil},
		"the same":      {"as the archive gives", []string{"lab/app:1 app 1", "lab/agent:1 agent"}, []string{"lab/app:1 app 1", "lab/agent:1 agent", "lab/base:1 base"}, nil},
		"another name":  {"of our image", []string{"mine:1 app 1"}, []string{"mine:1 app 1", "lab/app:1 app 1", "lab/agent:1 agent", "lab/base:1 base"}, nil},
		"another owner": {"it has nothing of ours", []string{"other:1 other"}, []string{"other:1 other", "lab/app:1 app 1", "lab/agent:1 agent", "lab/base:1 base"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w, e := docked(t)
			for _, pair := range c.there {
				one, word, _ := strings.Cut(pair, " ")
				e.give(one, imageID(word))
			}
			e.give("lab/base:1", imageID("base"))
			before := e.look()
			want := w.imaged("1")
			w.converge(want)
			w.quiet(want)
			if name == "others" {
				c.want = c.want[:3] // it has a name: that of the agent
			}
			w.hasImages(e, c.reason, c.want...)
			w.clear()
			if diff := cmp.Diff(before, e.look()); diff != "" {
				t.Errorf("%s (-before +after):\n%s", c.reason, diff)
			}
		})
	}
}

// What is used stays, what somebody else gave the name to stays, and an engine
// that is away, or gone, stops nobody from going.
func TestImageThatCannotGo(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		do     func(*world, *engine)
		then   []string
	}{
		"used":    {"by a container", func(_ *world, e *engine) { e.used[imageID("app 1")] = true }, []string{"lab/app:1 app 1", "lab/base:1 base"}},
		"moved":   {"the name is of somebody's own image", func(_ *world, e *engine) { e.give("lab/app:1", imageID("mine")) }, []string{"lab/app:1 mine", "<none> app 1", "lab/base:1 base"}},
		"away":    {"nobody is asked", func(_ *world, e *engine) { e.away = true }, []string{"lab/app:1 app 1", "lab/base:1 base", "lab/agent:1 agent"}},
		"removed": {"it is gone already", func(_ *world, e *engine) { delete(e.names, "lab/app:1"); delete(e.ids, imageID("app 1")) }, []string{"lab/base:1 base"}},
	} {
		t.Run(name, func(t *testing.T) {
			w, e := docked(t)
			w.converge(w.imaged("1"))
			c.do(w, e)
			w.clear()
			w.hasImages(e, c.reason, c.then...)
			if got := w.sh("ls -A /var/lib"); strings.Contains(got, "phoenix") {
				t.Errorf("%s: left behind: %s", c.reason, got)
			}
		})
	}
}

// An image that two owners share goes with the last of them.
func TestSharedImage(t *testing.T) {
	for first, reason := range []string{"the one that made it goes first", "the other goes first"} {
		w, e := docked(t)
		other := *w
		other.owner = "home/HostService/default/other"
		owners := []*world{w, &other}
		want := w.imaged("1")
		want.Files, want.Units, want.Probes = nil, nil, nil
		for _, o := range owners {
			o.converge(want)
			o.quiet(want)
		}
		two := w.imaged("2") // both are told of it, and take it one after another
		two.Files, two.Units, two.Probes = nil, nil, nil
		for _, o := range owners {
			o.converge(two)
		}
		for _, o := range owners {
			o.quiet(two)
		}
		owners[first].clear()
		owners[1-first].quiet(two)
		w.hasImages(e, reason, "lab/app:1 app 2", "lab/base:1 base", "lab/agent:1 agent")
		owners[1-first].clear()
		w.hasImages(e, reason, "lab/base:1 base")
	}
}

// Two owners do not take a name from each other for ever.
func TestImageOfAnotherOwner(t *testing.T) {
	w, e := docked(t)
	other := *w
	other.owner = "home/HostService/default/other"
	one, two := w.imaged("1"), w.imaged("2")
	two.Files, two.Units, two.Probes = nil, nil, nil
	w.converge(one)
	var foreign *ForeignError
	err := other.settle(two, other.planner(two))
	if !errors.As(err, &foreign) || err.Error() != "take image lab/app:1: of "+string(w.owner) {
		t.Errorf("an image of another owner's: %v", err)
	}
	w.quiet(one)
	w.hasImages(e, "it has its name", "lab/app:1 app 1", "lab/base:1 base", "lab/agent:1 agent")
	w.clear()
	other.converge(two)
	other.quiet(two)
}
