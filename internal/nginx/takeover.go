// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// taking is what of one server is in the way, and how that is taken out.
type taking struct {
	server *directive
	files  map[string]string
	own    map[string]bool
	// here are the places where it receives what is for us.
	here  []*directive
	marks []mark
	// others says that it has names that are not ours, elsewhere that it receives where we do not.
	others, elsewhere bool
}

// mark is one directive that is in the way; drop says that it goes as a whole.
type mark struct {
	at   *directive
	why  string
	drop bool
}

func (t *taking) note(d *directive, why string) { t.marks = append(t.marks, mark{at: d, why: why}) }

// noteNames finds the names that are ours. A server that has these alone, and receives elsewhere too, keeps them there.
func (t *taking) noteNames() {
	names := serverNames(t.server)
	var ours []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if t.own[name] {
			ours = append(ours, name)
		} else if name != "_" && name != "" {
			t.others = true
		}
	}
	if len(ours) == 0 {
		return
	}
	if t.others || !t.elsewhere {
		for _, name := range ours {
			t.note(names[name], "serves "+name+", which is declared")
		}
		return
	}
	t.marks = nil
	for _, at := range t.here {
		t.marks = append(t.marks, mark{at, "receives " + strings.Join(ours, " ") + ", which is declared", true})
	}
}

// conflicts are the marks with the lines to take out. A server that is there for nothing else goes as a whole; of another
// one the words that are in the way go.
func (t *taking) conflicts(isStock bool) []Conflict {
	whole := !t.others && !t.elsewhere
	edits := make([]string, len(t.marks))
	for i, m := range t.marks {
		var ok bool
		edits[i], ok = t.edit(m)
		whole = whole || !ok
	}
	var found []Conflict
	for i, m := range t.marks {
		f := Conflict{
			Path: m.at.file, Line: m.at.first, Text: m.at.String(), Why: m.why, First: m.at.first, Last: m.at.last, Instead: edits[i], Stock: isStock,
		}
		if whole {
			f.Path, f.First, f.Last, f.Instead = t.server.file, t.server.first, t.server.last, ""
			if m.at.file != t.server.file {
				f.Line, f.Text = t.server.first, m.at.String()+" of "+m.at.file
			}
		}
		found = append(found, f)
	}
	return found
}

// standard is the mark of a default server within a listen.
var standard = regexp.MustCompile(`\s+default(_server)?\b`)

// edit is the line of a directive without what is in the way; false: it cannot be told, as more than one statement or
// only a part of one stands on the line.
func (t *taking) edit(m mark) (string, bool) {
	d := m.at
	lines := strings.Split(t.files[d.file], "\n")
	if d.isBlock || d.first != d.last || d.last > len(lines) {
		return "", false
	}
	line := lines[d.first-1]
	code, _, _ := strings.Cut(line, "#")
	if strings.Count(code, ";") != 1 || !strings.HasPrefix(strings.TrimSpace(code), d.name()) || strings.ContainsAny(code, `{}"'\`) {
		return "", false
	}
	switch {
	case m.drop:
		return "", true
	case d.name() == "server_name":
		return t.editNames(line, d), true
	}
	host, _, _, _ := splitAddress(d.words[1])
	line = standard.ReplaceAllString(line, "")
	if !everywhere(host) {
		all := "*"
		if strings.HasPrefix(host, "[") {
			all = "[::]"
		}
		line = strings.Replace(line, host, all, 1)
	}
	return line, true
}

// editNames is the line of a server_name without our names.
func (t *taking) editNames(line string, d *directive) string {
	left := []string{"server_name"}
	for _, word := range d.words[1:] {
		name := strings.ToLower(word)
		if rest, ok := strings.CutPrefix(name, "."); ok && (t.own[rest] || t.own["*."+rest]) {
			for _, half := range []string{rest, "*." + rest} {
				if !t.own[half] {
					left = append(left, half)
				}
			}
		} else if !t.own[name] {
			left = append(left, word)
		}
	}
	if len(left) == 1 {
		left = append(left, "_")
	}
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	_, rest, _ := strings.Cut(line, ";")
	return indent + strings.Join(left, " ") + ";" + rest
}
