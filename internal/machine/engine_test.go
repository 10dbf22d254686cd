// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

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
