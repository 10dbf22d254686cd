// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"strings"
	"time"
)

// What may take how long in a change, in seconds.
const (
	validatePatience = 60
	refreshPatience  = 60
	unitPatience     = 100
	probePatience    = 5
	copyPatience     = 30 // of a program from where it was downloaded to
	changePatience   = 60 // everything else
)

// reportBytes is how much of a program's output the script reports.
const reportBytes = 6000

// stageOf is where a file waits for its turn: beside its place, so that a
// rename puts it there, and with a dot, so that nobody reads it.
func stageOf(file string) string {
	return path.Join(path.Dir(file), "."+path.Base(file)+".phoenix-new")
}

// do makes the change.
func (c *change) do(ctx context.Context, m *Machine) error {
	budget := c.budget()
	result, err := m.carry(ctx, &passenger{script: c.script(budget), patience: budget + time.Minute, firm: true})
	if err != nil {
		return fmt.Errorf("change machine: %w", err)
	}
	return c.outcome(result)
}

// budget is how long the change can take at most, the way back included.
func (c *change) budget() time.Duration {
	seconds := changePatience + 2*unitPatience*(len(c.triggers)+len(c.start)+len(c.enable)+2*len(c.releases)+2)
	for _, w := range c.writes {
		if len(w.Validate) > 0 {
			seconds += validatePatience
		}
		if w.source != nil {
			seconds += copyPatience
		}
	}
	seconds += 2*refreshPatience*len(c.refreshes) + imagePatience*(len(c.remade)+len(c.giveUps))
	seconds += validatePatience * len(c.p.want.Verify)
	budget := time.Duration(seconds) * time.Second
	for _, p := range c.p.want.Probes {
		budget += p.patience() + 2*probeTry
	}
	return budget
}

func (p Probe) patience() time.Duration { return cmp.Or(p.Patience, probePatience*time.Second) }

// script renders the whole change.
func (c *change) script(budget time.Duration) string {
	s := new(script)
	s.WriteString(sharedFunctions)
	s.WriteString(changeFunctions)
	if len(c.remade)+len(c.giveUps) > 0 {
		s.WriteString(imageTools)
	}
	s.places(c.p.owner)
	s.line("umask 077")
	s.line("change() {")
	c.check(s)
	c.begin(s)
	c.stage(s)
	c.swap(s)
	c.settle(s)
	c.commit(s)
	s.line("}")
	c.undo(s)
	s.line("if held; then echo @held; echo @end; exit 0; fi")
	s.line(`mkdir -p "$lock" && printf '%%s %%s\n' "$$" "$(($(date +%%s) + %d))" >"$lock/holder"`, int(budget.Seconds()))
	s.line("if change; then report done")
	s.line(`elif [ "$why" = changed ]; then report changed`)
	s.line(`else failed=$why message=$what last=$out; undone=yes; undo; what=$message out=$last; report "failed $failed $undone"; fi`)
	s.line(`rm -rf "$lock"`)
	s.line("exit 0")
	return s.String()
}

// check makes sure that nothing moved since it was observed.
func (c *change) check(s *script) {
	state := "none"
	if len(c.p.seen.recordBytes) > 0 {
		state = "file " + fullHash(c.p.seen.recordBytes)
	}
	s.line(`same "$rec" %s || return 1`, word(state))
	for _, at := range c.moves() {
		s.line("same %s %s || return 1", word(at), word(c.p.seen.Paths[at].state()))
	}
	for _, w := range c.writes {
		if w.source != nil && w.from != w.Path {
			s.line("same %s %s || return 1", word(w.from), word("file "+w.hash))
		}
	}
}

// state is a path as the script's function of this name prints it.
func (p Path) state() string {
	switch p.Kind {
	case "file":
		return "file " + p.Hash
	case "link":
		return "link " + p.Target
	case "":
		return "none"
	}
	return p.Kind
}

// moves are the paths of files that the script changes.
func (c *change) moves() []string {
	var list []string
	for _, w := range c.writes {
		list = append(list, w.Path)
	}
	for _, r := range c.restores {
		list = append(list, r.Path)
	}
	return list
}

// touched are the paths of files that may have to be put back: those of a
// change that did not end, too.
func (c *change) touched() []string {
	list := c.moves()
	if c.p.seen.record.pending() {
		for _, f := range c.p.seen.record.Files {
			list = append(list, f.Path)
		}
	}
	return sorted(list)
}

// first is the record while the change is under way: what is and what will be ours.
func (c *change) first() *record {
	r := newRecord(c.p.owner)
	if c.final != nil {
		*r = *c.final
	}
	r.Pending, r.Triggers, r.Refreshes = true, c.triggers, c.refreshes
	r.join(c.p.seen.record)
	return r
}

// begin writes the record, and keeps what may have to come back.
func (c *change) begin(s *script) {
	s.line(`try write "$keep" mkdir -p "$keep" || return 1`)
	if c.p.seen.record.pending() {
		s.line("swapped=yes refreshed=yes heard=yes")
		for _, f := range c.p.seen.record.Files {
			s.line("rm -f %s", word(stageOf(f.Path)))
		}
	} else {
		s.line(`rm -f "$keep"/*.old "$keep"/*.none "$keep"/*.tmp`)
		for _, at := range c.newOriginals() { // what is there of them is from long ago
			s.line(`rm -f "$keep"/%s.original`, id(at))
		}
	}
	s.line(`try write "$rec" hold "$rec" record || return 1`)
	s.data(c.first().render(), `try write "$rec" put "$rec" <<'%s' || return 1`, endOfData)
	for _, at := range c.moves() {
		s.line("try write %s hold %s %s || return 1", word(at), word(at), id(at))
	}
	for _, f := range c.finalFiles() {
		if f.Original != nil {
			s.line("try write %s save %s %s || return 1", word(f.Path), word(f.Path), id(f.Path))
		}
	}
	s.line(`try write "$keep" sync "$keep" "$store" || return 1`) // their names, too, before anything is swapped
}

func (c *change) finalFiles() []ownedFile {
	if c.final == nil {
		return nil
	}
	return c.final.Files
}

// stage makes users and directories, and lays the new files beside their places.
func (c *change) stage(s *script) {
	for _, u := range c.users {
		s.line("try write %s account %s %s || return 1", word("user "+u.Name), word(u.Name), word(cmp.Or(u.Home, "/nonexistent")))
	}
	for _, d := range c.makes {
		if d.made {
			s.line("try write %s makedir %s || return 1", word(d.path), word(d.path))
		}
		c.own(s, d, " || return 1")
	}
	for _, w := range c.writes {
		place := word(stageOf(w.Path)) + " " + word(w.Owner+":"+w.Group) + " " + octal(w.Mode)
		if w.source != nil {
			s.line("try write %s copy %s %s || return 1", word(w.Path), word(w.from), place)
			continue
		}
		s.data(w.Content, "try write %s stage %s <<'%s' || return 1", word(w.Path), place, endOfData)
	}
	for _, w := range c.writes {
		if len(w.Validate) == 0 {
			continue
		}
		argv := make([]string, len(w.Validate))
		for i, arg := range w.Validate {
			argv[i] = strings.ReplaceAll(arg, "{}", stageOf(w.Path))
		}
		s.line("try validate %s timeout %d %s || return 1", word(w.Path), validatePatience, words(argv))
	}
}

// own gives a directory its owner and mode.
func (c *change) own(s *script, d ownDir, otherwise string) {
	owner := d.user
	if d.group != "" {
		owner += ":" + d.group
	}
	if owner+d.mode == "" {
		return
	}
	s.line("try write %s own %s %s %s %s%s", word(d.path), word(d.path), word(c.p.real(d.path)), word(owner), word(d.mode), otherwise)
}

// swap puts the new files in their places and takes the old ones away.
func (c *change) swap(s *script) {
	for _, r := range c.releases {
		s.line("released=yes")
		if r.stop {
			s.line("try unit %s unit stop %s || return 1", word("stop "+r.unit), word(r.unit))
		}
		if r.disable {
			s.line("try unit %s unit disable %s || return 1", word("disable "+r.unit), word(r.unit))
		}
	}
	if len(c.writes)+len(c.restores) > 0 {
		s.line("swapped=yes")
	}
	for _, w := range c.writes {
		s.line("try write %s into %s %s || return 1", word(w.Path), word(stageOf(w.Path)), word(w.Path))
	}
	for _, r := range c.restores {
		if r.Original == nil {
			s.line("try write %s rm -f %s || return 1", word(r.Path), word(r.Path))
			continue
		}
		s.line("try write %s restore %s %s %s %s %s || return 1", word(r.Path), word(r.Path), id(r.Path), word(stageOf(r.Path)),
			word(r.Original.User+":"+r.Original.Group), r.Original.Mode)
	}
}

// settle lets the units take the change and sees that all is well.
func (c *change) settle(s *script) {
	if len(c.refreshes) > 0 {
		s.line("refreshed=yes")
	}
	for _, r := range c.refreshes {
		s.line("try refresh %s %s || return 1", word(r.String()), c.refresh(r))
	}
	for _, v := range c.p.want.Verify {
		s.line("try verify %s timeout %d %s || return 1", word(v.Name), validatePatience, words(v.Argv))
	}
	s.line("heard=yes")
	if c.reload {
		s.line("try unit 'reload systemd' systemctl daemon-reload || return 1")
	}
	for _, name := range c.enable {
		s.line("try unit %s unit enable %s || return 1", word("enable "+name), word(name))
	}
	for _, t := range c.triggers {
		s.line("try unit %s trigger %s %s || return 1", word(t.verb()+" "+t.Unit), t.verb(), word(t.Unit))
	}
	for _, name := range c.running() {
		s.line("try unit %s start %s || return 1", word("start "+name), word(name))
	}
	for _, p := range c.p.want.Probes {
		s.line("try probe %s patient %d %s %s %s || return 1", word(p.Name), int(p.patience().Seconds()),
			word(strings.TrimSpace(p.Want)), word(p.Match), words(p.Argv))
	}
	for _, name := range c.running() {
		s.line("try unit %s alive %s || return 1", word("run "+name), word(name))
	}
}

// verb is systemctl's word for an action.
func (t ownedTrigger) verb() string {
	if t.Action == Restart {
		return "restart"
	}
	return "reload-or-restart"
}

// running are the units that are to run.
func (c *change) running() []string {
	var list []string
	for _, u := range c.p.want.Units {
		if u.Running {
			list = append(list, u.Name)
		}
	}
	return list
}

// commit ends the change: directories that nobody needs go, the record says
// what is ours, and what was kept for the way back goes.
func (c *change) commit(s *script) {
	for _, job := range c.p.jobs() {
		if c.p.seen.Units[job.Unit].Active == "failed" {
			s.line("systemctl reset-failed %s 2>/dev/null", word(job.Unit)) // it is not wanted any more
		}
	}
	for _, d := range c.unmakes {
		if d.made {
			s.line("rmdir %s 2>/dev/null", word(d.path)) // with something in it, it stays
			continue
		}
		c.own(s, d, " || return 1")
	}
	c.dropImages(s)
	if c.final == nil {
		s.line(`try write "$rec" rm -rf "$keep" || return 1`)
		s.line(`try write "$rec" rm -f "$rec" || return 1`)
		s.line(`rmdir "$store" 2>/dev/null`) // unless others have theirs in it
		s.line("return 0")
		return
	}
	s.data(c.final.render(), `try write "$rec" put "$rec" <<'%s' || return 1`, endOfData)
	for _, r := range c.restores {
		s.line(`rm -f "$keep"/%s.original`, id(r.Path))
	}
	s.line(`rm -f "$keep"/*.old "$keep"/*.none "$keep"/*.tmp "$keep"/*.download* "$keep"/*.image* "$keep"/job`)
	s.line(`rmdir "$keep" 2>/dev/null`) // unless originals are in it
	s.line("return 0")
}
