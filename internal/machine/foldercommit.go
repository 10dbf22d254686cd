// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

const (
	// A commit tells what is in the folder thereafter, unless it is more files;
	// a look does for more.
	mostTold, mostLooked = 3000, 8000
	// folderChecks bounds, in seconds, how long halves of a group are tried.
	folderChecks = 120
	// folderBudget bounds, in seconds, how long a commit holds the lock.
	folderBudget = 360
)

// begin renders what commits and looks have in common.
func (o FolderOptions) begin() *script {
	s := new(script)
	s.WriteString(sharedFunctions)
	s.WriteString(folderFunctions)
	s.line("path=%s previous=%s work=%s lock=%s", word(o.Path), word(path.Join(o.Beside, "previous")), word(path.Join(o.Beside, "."+path.Base(o.Path)+".phoenix-new")),
		word("/run/phoenix-"+shortHash([]byte("folder "+o.Path))))
	user, group := "%U", "%G"
	if o.Owner[0] <= '9' {
		user = "%u"
	}
	if o.Group[0] <= '9' {
		group = "%g"
	}
	s.line("form=%s wanted=%s", word("%a:"+user+":"+group), word(fmt.Sprintf("%o:%s:%s", o.Mode, o.Owner, o.Group)))
	s.line("umask 077")
	s.line(`if [ ! -d "$path" ]; then echo @missing; echo @end; exit 0; fi`)
	return s
}

// lookScript looks, once no commit is under way any more.
func (o FolderOptions) lookScript() string {
	s := o.begin()
	s.line("if ! free; then echo @held; echo @end; exit 0; fi")
	s.line("list %d", mostLooked)
	s.line("echo @end; exit 0")
	return s.String()
}

// commitScript makes the changes of a group. Nothing of a file's content is in
// an argument of a program: printf is the shell itself.
func (o FolderOptions) commitScript(group []*order) string {
	s := o.begin()
	o.command(s, "check", o.Check)
	o.command(s, "refresh", o.Refresh)
	s.line("stage() {")
	s.line(`mkdir "$work" "$work/new" "$work/old" "$work/go" || return 1`)
	for _, one := range group {
		one.stage(s)
	}
	s.line("give %s %o", word(o.Owner+":"+o.Group), o.Mode)
	s.line("}")
	s.line("entries() {")
	for i, one := range group {
		if one.restore {
			s.line("kept %d %s", i, one.prefix)
		}
		s.line("entry %d %s %s", i, one.prefix, one.mark())
	}
	s.line("}")
	s.line("enter %d", folderBudget)
	s.line("case $? in")
	s.line("1) echo @held; echo @end; exit 0 ;;")
	s.line(`2) echo '@failed write yes'; words "take the lock $lock"; echo @end; exit 0 ;;`)
	s.line("esac")
	s.line("stop=$((now + %d))", folderChecks)
	s.line("commit")
	s.line(`if [ -n "$failed" ]; then undo; fi`)
	s.line("leave")
	s.line("report")
	s.line("list %d", mostTold)
	s.line("echo @end; exit 0")
	return s.String()
}

// command renders a function that runs a command, if there is one.
func (o FolderOptions) command(s *script, name string, argv []string) {
	if len(argv) == 0 {
		s.line("%s() { out=; }", name)
		return
	}
	s.line("%s() { out=$(usual timeout %d %s 2>&1); }", name, refreshPatience, words(argv))
}

// stage lays an order's files beside the folder.
func (o *order) stage(s *script) {
	if o.restore {
		s.line("bring %s || return 1", o.prefix)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(o.files)) {
		content := o.files[name]
		if plain(content) {
			s.line("put %s %s || return 1", name, word(string(content)))
			continue
		}
		s.data(content, `base64 -d >"$work/new/%s" <<'%s' || return 1`, name, endOfData)
	}
}

// plain says whether every shell takes a content as it is.
func plain(content []byte) bool {
	return !slices.ContainsFunc(content, func(b byte) bool { return b >= 0x7f || b < ' ' && b != '\n' && b != '\t' })
}

// mark says what becomes of what is kept.
func (o *order) mark() string {
	switch {
	case o.keep:
		return "keep"
	case !o.restore && len(o.files) == 0:
		return "drop"
	}
	return "stay"
}

var errUnreadable = errors.New("the script's report is not readable")

// folderReport is what a script of a folder says.
type folderReport struct {
	ends   map[int]string // same, done, good or bad (refused, and what was before is), late, none
	why    map[int]string
	found  map[int]bool
	failed []string // what failed for all, and whether it was undone
	output string
	look   *Look // nil: it did not say
}

// parseFolder reads it.
func parseFolder(folder string, result Result) (folderReport, error) {
	r := folderReport{ends: map[int]string{}, why: map[int]string{}, found: map[int]bool{}}
	all := sections(result.Stdout)
	if len(all) == 0 || all[len(all)-1].name != "end" {
		return r, fmt.Errorf("the script reports nothing (exit code %d): %s", result.ExitCode, said(string(result.Stderr)))
	}
	switch all[0].name {
	case "missing":
		return r, &MissingError{folder}
	case "held":
		return r, &PendingError{"an earlier change of " + folder + " that still runs"}
	}
	for at, s := range all {
		switch s.name {
		case "files":
			r.look = listing(all[at:])
		case "failed":
			r.failed, r.output = s.fields, string(s.bytes())
		case "kept", "same", "done", "good", "bad", "late", "none":
			if err := r.take(s); err != nil {
				return r, err
			}
		}
	}
	return r, nil
}

// take takes what is said of one order.
func (r *folderReport) take(s section) error {
	if len(s.fields) != 1 {
		return errUnreadable
	}
	id, err := strconv.Atoi(s.fields[0])
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errUnreadable, err)
	case s.name == "kept":
		r.found[id] = true
	default:
		r.ends[id], r.why[id] = s.name, whole(s.bytes())
	}
	return nil
}

// listing reads what is in the folder; nil: the list is not complete.
func listing(all []section) *Look {
	if !slices.ContainsFunc(all, func(s section) bool { return s.name == "listed" }) {
		return nil
	}
	look := &Look{Files: map[string]string{}, Previous: map[string]string{}}
	for _, s := range all {
		look.take(s)
	}
	return look
}

// take takes a section of a listing, of which the files come first.
func (l *Look) take(s section) {
	switch s.name {
	case "files":
		l.Files = parseHashes(s.lines)
	case "previous":
		l.Previous = parseHashes(s.lines)
	case "strange": // directories, too
		for _, line := range s.lines {
			if _, name, _ := strings.Cut(line, "|="); l.Files[name] != "" {
				l.Files[name] = ""
			}
		}
	case "links", "old":
		for _, line := range s.lines {
			l.Files[strings.TrimPrefix(line, "=")] = ""
		}
	case "unsettled":
		for name := range l.Files {
			if slices.ContainsFunc(s.lines, func(prefix string) bool { return strings.HasPrefix(name, prefix+".") }) {
				l.Files[name] = ""
			}
		}
	}
}

// outcome is how it went for the order with an index.
func (r *folderReport) outcome(o FolderOptions, i int, group []*order) error {
	switch end := r.ends[i]; {
	case end == "same":
		return nil
	case end == "good", end == "bad":
		return &RefusedError{Command: ownedRefresh{o.Check}.String(), Output: hidden(group, r.why[i]), Before: end == "bad"}
	case len(r.failed) > 0:
		return r.failure(o, group)
	case end == "late":
		return &PendingError{"the checks of others, which take long"}
	case end == "done":
		return nil
	}
	return errUnreadable
}

// failure is what failed for all.
func (r *folderReport) failure(o FolderOptions, group []*order) error {
	if len(r.failed) != 2 {
		return errUnreadable
	}
	undone := Undone{Complete: r.failed[1] == "yes"}
	output := hidden(group, whole([]byte(r.output)))
	if r.failed[0] == "refresh" {
		return &RefreshError{What: ownedRefresh{o.Refresh}.String(), Output: output, Undone: undone}
	}
	return fmt.Errorf("%s%s", undone, said(output))
}

// hidden is what a program said, without the private keys of a group.
func hidden(group []*order, text string) string {
	for _, one := range group {
		text = one.files.hide(text)
	}
	return tail(text, 1500)
}
