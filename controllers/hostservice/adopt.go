// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/internal/machine"
)

// handLine are lines of a file made by hand that say something else than the spec.
type handLine struct {
	path        string
	first, last int // from 1
	text, why   string
	// line is the one of the text, where first and last are more than that; 0: first.
	line int
	// instead takes the place of first, which is last then; empty: nothing does.
	instead string
	// stock says that nobody made it by hand: the distribution comes with it. It is taken over without asking.
	stock bool
	// taken says that they were taken over before: they are comments now.
	taken bool
}

// at is the line that is named.
func (l handLine) at() int { return cmp.Or(l.line, l.first) }

// handmade remembers for each service which files of others have to be read, and which are rewritten, so that a pass
// observes them in its one round trip. It is of use, never of need: a manager that starts anew looks twice once.
type handmade struct {
	mu  sync.Mutex
	all map[types.NamespacedName]handPaths
}

// handPaths are such files; the lists are sorted.
type handPaths struct{ reads, rewrites []string }

func (h *handmade) of(name types.NamespacedName) handPaths {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all[name]
}

func (h *handmade) note(name types.NamespacedName, p handPaths) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = map[types.NamespacedName]handPaths{}
	}
	if h.all[name] = p; len(p.reads)+len(p.rewrites) == 0 {
		delete(h.all, name)
	}
}

// covers says whether all of the others are known already.
func (p handPaths) covers(other handPaths) bool {
	known := func(list, of []string) bool {
		return !slices.ContainsFunc(list, func(path string) bool { return !slices.Contains(of, path) })
	}
	return known(other.reads, p.reads) && known(other.rewrites, p.rewrites)
}

// with is a State that is observed together with the files. What they will hold is not known yet.
func (p handPaths) with(want machine.State) machine.State {
	want.Reads = slices.Concat(want.Reads, p.reads)
	want.Files = slices.Clone(want.Files)
	for _, path := range p.rewrites {
		want.Files = append(want.Files, machine.File{Path: path, Replaces: true})
	}
	return want
}

// takenMark begins a line that was taken over for a service: it is a comment in every file that is taken over.
func takenMark(about string) string { return "#(" + about + ") " }

// madeMark ends a line that stands in the place of one that was taken over.
func madeMark(mark string) string { return " " + strings.TrimSpace(mark) }

// revive returns a file as it was before lines of it were taken over, and which those are.
func revive(content, mark string) (string, map[int]bool) {
	taken := map[int]bool{}
	var lines []string
	n := 0
	for line := range strings.SplitAfterSeq(content, "\n") {
		if strings.HasSuffix(strings.TrimSuffix(line, "\n"), madeMark(mark)) && !strings.HasPrefix(line, mark) {
			continue
		}
		n++
		text, ok := strings.CutPrefix(line, mark)
		if ok {
			taken[n] = true
		}
		lines = append(lines, text)
	}
	return strings.Join(lines, ""), taken
}

// takeOver makes comments of lines, and puts others in the place of some.
func takeOver(content, mark string, out []handLine) string {
	var lines []string
	n := 0
	for line := range strings.SplitAfterSeq(content, "\n") {
		n++
		if i := slices.IndexFunc(out, func(l handLine) bool { return l.first <= n && n <= l.last }); i >= 0 {
			line = mark + line
			if out[i].instead != "" {
				line = strings.TrimSuffix(line, "\n") + "\n" + out[i].instead + madeMark(mark) + "\n"
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

// byHand is what was found in the files of others.
type byHand struct {
	lines []handLine
	reads []string
	// contents are the files as they were before anything of them was taken over.
	contents map[string]string
}

// readByHand judges the files that were read and that are not ours.
func readByHand(d design, about string, contents map[string][]byte) byHand {
	found := byHand{contents: map[string]string{}}
	if d.judge == nil {
		return found
	}
	own := map[string]bool{}
	for _, f := range d.want.Files {
		own[f.Path] = true
	}
	taken := map[string]map[int]bool{}
	for path, content := range contents {
		if !own[path] {
			found.contents[path], taken[path] = revive(string(content), takenMark(about))
		}
	}
	found.lines, found.reads = d.judge(found.contents)
	for i := range found.lines {
		l := &found.lines[i]
		l.taken = taken[l.path][l.first]
	}
	return found
}

// rewrites are the files with lines that are taken over: what was before, and with adopt all that is found.
func (b byHand) rewrites(about string, adopt bool, triggers []machine.Trigger, there map[string]machine.Path) []machine.File {
	out := map[string][]handLine{}
	for _, l := range b.lines {
		if adopt || l.taken || l.stock {
			out[l.path] = append(out[l.path], l)
		}
	}
	var files []machine.File
	for _, path := range slices.Sorted(maps.Keys(out)) {
		f := machine.File{Path: path, Content: []byte(takeOver(b.contents[path], takenMark(about), out[path])), Replaces: true, Triggers: triggers}
		if seen, ok := there[path]; ok && seen.Kind == "file" {
			f.Owner, f.Group, f.Mode = seen.UID, seen.GID, modeOf(seen.Mode)
		}
		files = append(files, f)
	}
	return files
}

func modeOf(octal string) fs.FileMode {
	n, err := strconv.ParseUint(octal, 8, 12)
	if err != nil {
		return 0
	}
	return fs.FileMode(n)
}

// inTheWay are the lines that nobody allowed to take over.
func (b byHand) inTheWay(adopt bool) []handLine {
	return slices.DeleteFunc(slices.Clone(b.lines), func(l handLine) bool { return adopt || l.taken || l.stock })
}
