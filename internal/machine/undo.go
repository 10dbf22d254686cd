// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// undo renders the function that puts everything back. It goes on when
// something fails, and then leaves the record as it is while a change is under
// way, so that the next one puts it right.
func (c *change) undo(s *script) {
	s.line("undo() {")
	for _, w := range c.writes {
		s.line("rm -f %s", word(stageOf(w.Path)))
	}
	s.line(`if [ -n "$swapped" ]; then`)
	for _, at := range c.touched() {
		s.line("back %s %s %s || undone=no", word(at), id(at), word(stageOf(at)))
	}
	s.line(":")
	s.line("fi")
	c.undoRefreshes(s)
	c.undoImages(s)
	c.undoUnits(s)
	for _, d := range c.makes {
		if !d.made && d.was != nil {
			c.own(s, ownDir{path: d.path, mode: d.was.Mode, user: d.was.User, group: d.was.Group}, " || undone=no")
		}
	}
	for _, d := range slices.Backward(c.makes) {
		if d.made {
			s.line("rmdir %s 2>/dev/null", word(d.path))
		}
	}
	for _, d := range c.unmakes {
		if !d.made {
			c.own(s, ownDir{path: d.path, mode: d.was.Mode, user: d.was.User, group: d.was.Group}, " || undone=no")
		}
	}
	s.line(`if [ "$undone" = yes ]; then back "$rec" record "$rec.new" && rm -f "$keep"/*.old "$keep"/*.none "$keep"/*.tmp || undone=no; fi`)
	for _, f := range c.newOriginals() {
		s.line(`if [ "$undone" = yes ]; then rm -f "$keep"/%s.original; fi`, id(f))
	}
	s.line(`rmdir "$keep" 2>/dev/null`)
	s.line(`rmdir "$store" 2>/dev/null`)
	s.line("}")
}

// undoUnits tells the units of the way back, once they have heard of the change.
func (c *change) undoUnits(s *script) {
	s.line(`if [ -n "$heard" ]; then`)
	for _, u := range c.fresh {
		if !u.Running && slices.Contains(c.start, u.Name) {
			s.line("systemctl stop %s", word(u.Name))
		}
		if !u.Enabled && slices.Contains(c.enable, u.Name) {
			s.line("systemctl disable %s", word(u.Name))
		}
	}
	if c.reload {
		s.line("systemctl daemon-reload")
	}
	for _, t := range c.triggers {
		s.line("trigger %s %s", t.verb(), word(t.Unit))
	}
	for _, name := range c.before() {
		s.line("start %s", word(name))
	}
	s.line(":")
	s.line("fi >/dev/null 2>&1")
	c.undoReleases(s)
}

// undoReleases gives units back what they lost.
func (c *change) undoReleases(s *script) {
	s.line(`if [ -n "$released" ]; then`)
	if c.reload {
		s.line("systemctl daemon-reload")
	}
	for _, r := range c.releases {
		if r.disable {
			s.line("systemctl enable %s", word(r.unit))
		}
		if r.stop {
			s.line("systemctl start %s", word(r.unit))
		}
	}
	s.line(":")
	s.line("fi >/dev/null 2>&1")
}

// before are the units that ran when the change began and may have died of it.
func (c *change) before() []string {
	var list []string
	for _, t := range c.triggers {
		if c.p.seen.Units[t.Unit].Runs() {
			list = append(list, t.Unit)
		}
	}
	return list
}

// newOriginals are the paths whose originals this change was the first to keep.
func (c *change) newOriginals() []string {
	var list []string
	for _, f := range c.finalFiles() {
		if f.Original != nil && c.p.seen.record.file(f.Path) == nil {
			list = append(list, f.Path)
		}
	}
	return list
}

// outcome reads what the script reports.
func (c *change) outcome(result Result) error {
	all := sections(result.Stdout)
	if len(all) == 0 || all[len(all)-1].name != "end" {
		return fmt.Errorf("change machine: the script reports nothing (exit code %d): %s", result.ExitCode,
			oneLine(c.p.want.hide(string(result.Stderr))))
	}
	what, output := string(all[0].bytes()), ""
	if len(all) > 2 {
		output = tail(c.p.want.hide(whole(all[1].bytes())), 1500)
	}
	switch all[0].name {
	case "done":
		return nil
	case "held":
		return &PendingError{"an earlier change that still runs"}
	case "changed":
		return &ChangedError{what}
	case "failed":
		return failure(all[0].fields, what, output)
	}
	return errors.New("change machine: the script's report is not readable")
}

// whole drops a first line that may have lost its beginning, by which a secret
// would be told.
func whole(output []byte) string {
	if len(output) < reportBytes {
		return string(output)
	}
	_, rest, _ := strings.Cut(string(output), "\n")
	return rest
}

// failure is the error of a kind of failure.
func failure(fields []string, what, output string) error {
	if len(fields) != 2 {
		return errors.New("change machine: the script's report is not readable")
	}
	undone := Undone{Complete: fields[1] == "yes"}
	switch fields[0] {
	case "validate", "verify":
		return &ValidateError{What: what, Output: output, Undone: undone}
	case "refresh":
		return &RefreshError{What: what, Output: output, Undone: undone}
	case "unit":
		return &UnitError{What: what, Output: output, Undone: undone}
	case "probe":
		return &ProbeError{Name: what, Output: output, Undone: undone}
	}
	return fmt.Errorf("%swrite %s: %s", undone, what, said(output))
}
