// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

const (
	// MainFile is what nginx reads first.
	MainFile = "/etc/nginx/nginx.conf"
	// maxDepth bounds blocks in blocks, and files that include files.
	maxDepth = 32
	// maxFiles bounds the includes of one configuration.
	maxFiles = 4096
)

// directive is one statement of a file with the lines that it stands on.
type directive struct {
	file        string
	first, last int
	words       []string
	block       []*directive
	isBlock     bool
}

func (d *directive) name() string { return d.words[0] }

// String is the statement without what is in its block.
func (d *directive) String() string {
	if d.isBlock {
		return strings.Join(d.words, " ") + " {"
	}
	return strings.Join(d.words, " ") + ";"
}

// parse reads a file. What comes after an error of syntax, for which nginx refuses the file, is left out.
func parse(file, content string) []*directive {
	tokens := crossplane.Lex(strings.NewReader(content))
	r := reader{file: file, tokens: tokens}
	list, _ := r.statements(0)
	for range tokens { // the lexer ends with its last token
	}
	return list
}

type reader struct {
	file   string
	tokens <-chan crossplane.NgxToken
}

// statements reads up to the end of the block, and returns the line of that.
func (r reader) statements(depth int) (list []*directive, end int) {
	var now *directive
	for t := range r.tokens {
		plain := !t.IsQuoted
		switch {
		case t.Error != nil || depth > maxDepth:
			return list, t.Line
		case plain && strings.HasPrefix(t.Value, "#"):
		case plain && t.Value == "}":
			return list, t.Line
		case plain && (t.Value == ";" || t.Value == "{") && now != nil:
			now.last = t.Line
			if now.isBlock = t.Value == "{"; now.isBlock {
				now.block, now.last = r.statements(depth + 1)
			}
			list, now = append(list, now), nil
		case now == nil:
			now = &directive{file: r.file, first: t.Line, last: t.Line, words: []string{t.Value}}
		default:
			now.words = append(now.words, t.Value)
		}
	}
	return list, 0
}

// walker follows the includes of a configuration.
type walker struct {
	files map[string]string
	// see is called for every directive.
	see func(*directive)
	// left is how many files may still be read: files that include each other never end.
	left int
}

// visit calls step for every directive of a list, in the order in which nginx reads them, through its includes.
func (w *walker) visit(list []*directive, depth int, step func(*directive)) {
	for _, d := range list {
		w.see(d)
		step(d)
		pattern := included(d)
		if pattern == "" || depth > maxDepth {
			continue
		}
		for _, name := range matching(w.files, pattern) {
			if w.left--; w.left >= 0 {
				w.visit(parse(name, w.files[name]), depth+1, step)
			}
		}
	}
}

// servers are the servers of HTTP, each with all that is in it.
func (w *walker) servers() []*directive {
	var found []*directive
	for _, block := range w.blocks("http") {
		found = append(found, w.within(block, "server")...)
	}
	return found
}

// blocks are those of a name outside of all others.
func (w *walker) blocks(name string) []*directive {
	var found []*directive
	w.visit(parse(MainFile, w.files[MainFile]), 0, func(d *directive) {
		if d.name() == name && d.isBlock {
			found = append(found, d)
		}
	})
	return found
}

// within are the blocks of a name in another one, each with all that is in it.
func (w *walker) within(block *directive, name string) []*directive {
	var found []*directive
	w.visit(block.block, 0, func(d *directive) {
		if d.name() != name || !d.isBlock {
			return
		}
		whole := *d
		whole.block = nil
		w.visit(d.block, 0, func(d *directive) { whole.block = append(whole.block, d) })
		found = append(found, &whole)
	})
	return found
}

// included is the pattern of an include, absolute; empty for another directive.
func included(d *directive) string {
	if d.name() != "include" || len(d.words) != 2 || d.isBlock {
		return ""
	}
	if path.IsAbs(d.words[1]) {
		return path.Clean(d.words[1])
	}
	return path.Join(path.Dir(MainFile), d.words[1])
}

// matching are the files that a pattern stands for, in the order in which nginx reads them.
func matching(files map[string]string, pattern string) []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		ok, err := path.Match(pattern, name)
		hidden := strings.HasPrefix(path.Base(name), ".") && !strings.HasPrefix(path.Base(pattern), ".")
		if err == nil && ok && !hidden {
			found = append(found, name)
		}
	}
	return found
}

// readable is a pattern that can be asked for.
var readable = regexp.MustCompile(`^/[-A-Za-z0-9._/*?@+ ]+$`)

// unread are included files that say nothing of servers.
var unread = []string{"mime.types", "fastcgi.conf", "*_params", "koi-*", "win-*"}

// Includes are the files that the files name, as patterns in which * and ? are wildcards, without those that say nothing
// of servers.
func Includes(files map[string]string) []string {
	var patterns []string
	note := func(d *directive) {
		pattern := included(d)
		if !readable.MatchString(pattern) || strings.Contains(pattern, "/modules-") || reserved(pattern) {
			return
		}
		for _, name := range unread {
			if ok, _ := path.Match(name, path.Base(pattern)); ok { // the patterns are well formed
				return
			}
		}
		patterns = append(patterns, pattern)
	}
	(&walker{files: files, see: note, left: maxFiles}).servers()
	slices.Sort(patterns)
	return slices.Compact(patterns)
}

// reserved says whether a pattern lies where no configuration is.
func reserved(pattern string) bool {
	return slices.ContainsFunc([]string{"/proc", "/sys", "/dev", "/run", "/var/lib/phoenix"}, func(place string) bool {
		return pattern == place || strings.HasPrefix(pattern, place+"/")
	})
}
