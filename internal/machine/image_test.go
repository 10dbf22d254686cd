// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

// engine is a Docker engine that knows images alone, and speaks as Docker 20.10.
type engine struct {
	mu       sync.Mutex
	away     bool
	names    map[string]string // of images, and their IDs
	ids      map[string]bool
	used     map[string]bool // IDs of images of containers
	registry map[string]string
	calls    []string
}

const engineAway = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"

// imageID is an ID that is told apart by a word.
func imageID(word string) string { return "sha256:" + fullHash([]byte(word)) }

func (e *engine) run(_ context.Context, p *sim.Process) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	line := strings.Join(p.Args[1:], " ")
	e.calls = append(e.calls, line)
	last := p.Args[len(p.Args)-1]
	switch {
	case e.away:
		return complain(p, "%s", engineAway)
	case strings.HasPrefix(line, "version --format "):
		p.Printf("20.10.24\n")
		return 0
	case strings.HasPrefix(line, "pull -q "):
		return e.pull(p, last)
	case strings.HasPrefix(line, "load -q -i "):
		return e.load(p, last)
	case strings.HasPrefix(line, "tag ") && len(p.Args) == 4:
		return e.tag(p, p.Args[2], last)
	case strings.HasPrefix(line, "image inspect --format "):
		return e.inspect(p, p.Args[4], last)
	case strings.HasPrefix(line, "image rm ") && len(p.Args) == 4:
		return e.remove(p, last)
	}
	return complain(p, "unknown command: docker %s", line)
}

func complain(p *sim.Process, format string, values ...any) int {
	_, _ = fmt.Fprintf(p.Stderr, format+"\n", values...) // nobody reads it any more: nobody needs it
	return 1
}

// id is that of an image by its name or ID; empty: there is none.
func (e *engine) id(ref string) string {
	if e.ids[ref] {
		return ref
	}
	return e.names[ref]
}

func (e *engine) named(id string) int {
	n := 0
	for _, one := range e.names {
		if one == id {
			n++
		}
	}
	return n
}

func (e *engine) none(p *sim.Process, ref string) int {
	p.Printf("\n")
	return complain(p, "Error: No such image: %s", ref)
}

func (e *engine) inspect(p *sim.Process, form, ref string) int {
	id := e.id(ref)
	switch {
	case id == "":
		return e.none(p, ref)
	case form == "{{.Id}}":
		p.Printf("%s\n", id)
		return 0
	case form == "{{len .RepoTags}} {{len .RepoDigests}}":
		p.Printf("%d 0\n", e.named(id))
		return 0
	}
	return complain(p, "template parsing error: %s", form)
}

func (e *engine) give(name, id string) {
	e.names[name], e.ids[id] = id, true
}

func (e *engine) pull(p *sim.Process, name string) int {
	id := e.registry[name]
	if id == "" {
		return complain(p, "Error response from daemon: manifest for %s not found: manifest unknown: manifest unknown", name)
	}
	e.give(name, id)
	p.Printf("docker.io/%s\n", name)
	return 0
}

// load reads an archive: lines of a name and an ID.
func (e *engine) load(p *sim.Process, file string) int {
	text, err := p.ReadFile(file)
	if err != nil || !strings.HasPrefix(text, "archive\n") {
		return complain(p, "open /var/lib/docker/tmp/docker-import-1/repositories: no such file or directory")
	}
	for line := range strings.Lines(strings.TrimPrefix(text, "archive\n")) {
		name, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "-" {
			e.ids[id] = true
			p.Printf("Loaded image ID: %s\n", id)
			continue
		}
		if old := e.names[name]; old != "" && old != id {
			p.Printf("The image %s already exists, renaming the old one with ID %s to empty string\n", name, old)
		}
		e.give(name, id)
		p.Printf("Loaded image: %s\n", name)
	}
	return 0
}

func (e *engine) tag(p *sim.Process, from, to string) int {
	if e.id(from) == "" {
		return complain(p, "Error response from daemon: No such image: %s", from)
	}
	e.give(to, e.id(from))
	return 0
}

func (e *engine) remove(p *sim.Process, ref string) int {
	id := e.id(ref)
	switch {
	case id == "":
		return e.none(p, ref)
	case e.used[id] && e.named(id) <= 1:
		return complain(p, "Error response from daemon: conflict: unable to remove repository reference %q (must force) - container 9bf6670b570e is using its referenced image %.12s", ref, id)
	case ref == id && e.named(id) > 1:
		return complain(p, "Error response from daemon: conflict: unable to delete %.12s (must be forced) - image is referenced in multiple repositories", id)
	}
	for name, one := range e.names {
		if one == id && (ref == id || ref == name) {
			delete(e.names, name)
		}
	}
	if e.named(id) == 0 {
		delete(e.ids, id)
	}
	return 0
}

// look is all that the engine has.
func (e *engine) look() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	for name, id := range e.names {
		out = append(out, name+" "+id[:19])
	}
	for id := range e.ids {
		if e.named(id) == 0 {
			out = append(out, "<none> "+id[:19])
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// has is what look says of images by their words.
func has(pairs ...string) string {
	pairs = slices.Clone(pairs)
	for i, pair := range pairs {
		name, word, _ := strings.Cut(pair, " ")
		pairs[i] = name + " " + imageID(word)[:19]
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "\n")
}

// count counts the commands that begin with a text.
func (e *engine) count(begin string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, call := range e.calls {
		if strings.HasPrefix(call, begin) {
			n++
		}
	}
	return n
}

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
				got := ""
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
