// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// change is everything that one script does.
type change struct {
	p       *planner
	final   *record // nil: the record goes
	changes []Change

	users    []User
	writes   []write
	restores []prune   // paths that are no longer ours
	makes    []ownDir  // directories to make, or to give another owner or mode
	unmakes  []ownDir  // directories that are no longer ours
	releases []release // units that are no longer ours
	enable   []string
	start    []string
	fresh    []ownedUnit // units that this change takes
	triggers []ownedTrigger
	reload   bool // systemd reads its files again

	refreshes []ownedRefresh

	giveUps []giveUp
	remade  []remade
}

// write is a file that takes its place.
type write struct {
	goal
	take bool // what is there is not ours: it is kept
}

// prune is a file that gives up its place.
type prune struct{ ownedFile }

// ownDir is a directory with the owner and mode that it gets; empty ones stay
// as they are.
type ownDir struct {
	path, mode, user, group string
	made                    bool
	was                     *original
}

// release is what a unit that is no longer ours loses.
type release struct {
	unit          string
	stop, disable bool
}

// change compares everything but packages.
func (p *planner) change() *change {
	c := p.begun()
	for _, u := range p.want.Users {
		if !p.seen.Users[u.Name] {
			c.users = append(c.users, u)
			c.note("user "+u.Name, "", "made", ImpactNone)
		}
	}
	c.images()
	c.files()
	c.pruneFiles()
	c.dirs()
	c.pruneDirs()
	c.units()
	c.releaseUnits()
	c.packages()
	c.triggers = merge(c.triggers)
	r := c.final
	if len(r.Files)+len(r.Dirs)+len(r.Units)+len(r.Packages)+len(r.Jobs)+len(r.Images) == 0 {
		c.final = nil
	}
	return c
}

// begun is a change that takes up one that has not come to its end.
func (p *planner) begun() *change {
	c := &change{p: p, final: newRecord(p.owner)}
	if p.seen.record.pending() {
		c.triggers, c.refreshes = slices.Clone(p.seen.record.Triggers), slices.Clone(p.seen.record.Refreshes)
		// How far it came, nobody knows.
		c.reload = slices.ContainsFunc(p.seen.record.Files, func(f ownedFile) bool { return inSystemd(f.Path) })
	}
	return c
}

// steps is the step that makes the change, if there is any.
func (c *change) steps(reason string) []Step {
	image := c.p.toMake()
	if bytes.Equal(c.final.render(), c.p.seen.recordBytes) && len(c.users)+len(c.writes)+len(c.makes)+len(c.enable)+len(c.start) == 0 && image == nil {
		return nil
	}
	step := Step{Reason: reason, Message: c.message(), Changes: c.changes, Do: c.do}
	if missing := c.p.toDownload(); len(missing) > 0 {
		step.Do = func(context.Context, *Machine) error {
			return &PendingError{"what is to be downloaded from " + missing[0].URL}
		}
	} else if image != nil {
		step.Do = func(context.Context, *Machine) error { return &PendingError{"image " + image.Name} }
	}
	return []Step{step}
}

func (c *change) note(what, from, to string, impact Impact) {
	c.changes = append(c.changes, Change{What: what, From: from, To: to, Impact: impact})
}

func (c *change) files() {
	for _, f := range c.p.files {
		had := c.p.seen.record.file(f.Path)
		there, exists := c.p.seen.Paths[f.Path]
		owns := f.owns()
		switch {
		case had != nil:
			owns.Original = had.Original
		case exists:
			owns.Original = originalOf(there)
		}
		if !exists || !f.is(there) {
			c.writes = append(c.writes, write{goal: f, take: owns.Original != nil})
			c.triggers = append(c.triggers, owns.Triggers...)
			c.addRefresh(f.Refresh)
			c.reload = c.reload || inSystemd(f.Path)
			c.noteFile(f, there, c.p.impact(owns.Triggers))
		} else if had == nil {
			c.note(f.Path, "there already", "ours", ImpactNone)
		}
		c.final.Files = append(c.final.Files, owns)
	}
}

// noteFile shows what differs of a file.
func (c *change) noteFile(f goal, there Path, impact Impact) {
	from, to := there.Kind, f.show(f.hash)
	if there.Kind == "file" {
		from = f.show(there.Hash)
	}
	if from != to {
		c.note(f.Path, from, to, impact)
	}
	was, is := there.Mode+" "+there.Owner+":"+there.Group, octal(f.Mode)+" "+f.Owner+":"+f.Group
	if there.Kind == "file" && (there.Mode != octal(f.Mode) || !owned(there, f.Owner, f.Group)) {
		c.note(f.Path+" mode and owner", was, is, impact)
	}
}

func (c *change) pruneFiles() {
	if c.p.seen.record == nil {
		return
	}
	for _, f := range c.p.seen.record.Files {
		if c.p.wantsFile(f.Path) {
			continue
		}
		c.reload = c.reload || inSystemd(f.Path)
		c.triggers = append(c.triggers, f.Triggers...)
		c.addRefresh(f.Refresh)
		there, exists := c.p.seen.Paths[f.Path]
		to := ""
		if f.Original != nil {
			to = "the original"
		}
		if exists && there.Kind != "file" && there.Kind != "link" || len(c.p.blocked(f.Path)) > 0 {
			continue // somebody has put something else there
		}
		c.restores = append(c.restores, prune{f})
		c.note(f.Path, "ours", to, c.p.impact(f.Triggers))
	}
}

func (p *planner) wantsFile(path string) bool {
	return slices.ContainsFunc(p.files, func(f goal) bool { return f.Path == path })
}

// dirs makes those that are wanted and those that files and they stand in.
func (c *change) dirs() {
	declared := map[string]bool{}
	for _, d := range c.p.want.Dirs {
		declared[d.Path] = true
	}
	planned := map[string]bool{}
	var ensure func(at string)
	ensure = func(at string) {
		if at == "/" || planned[at] || declared[at] {
			return
		}
		planned[at] = true
		ensure(path.Dir(at))
		c.dir(Dir{Path: at})
	}
	for _, d := range c.p.want.Dirs {
		ensure(path.Dir(d.Path))
		c.dir(d)
	}
	for _, f := range c.p.files {
		ensure(path.Dir(f.Path))
	}
	slices.SortStableFunc(c.makes, func(a, b ownDir) int { return cmp.Compare(len(a.path), len(b.path)) })
}

// dir plans one directory.
func (c *change) dir(d Dir) {
	there, exists := c.p.seen.Paths[d.Path]
	owns := c.p.seen.record.dir(d.Path)
	to := ownDir{path: d.Path, made: !exists, user: d.Owner, group: d.Group}
	if d.Mode != 0 {
		to.mode = octal(d.Mode)
	}
	if !exists {
		to.mode, to.user, to.group = cmp.Or(to.mode, "0755"), cmp.Or(to.user, "root"), cmp.Or(to.group, "root")
		c.makes = append(c.makes, to)
		c.note(d.Path, "", "directory "+to.mode+" "+to.user+":"+to.group, ImpactNone)
		if owns == nil {
			owns = &ownedDir{Path: d.Path, Made: true}
		}
	} else if to.differs(there) {
		to.was = originalOf(there)
		c.makes = append(c.makes, to)
		c.note(d.Path+" mode and owner", there.Mode+" "+there.Owner+":"+there.Group,
			cmp.Or(to.mode, there.Mode)+" "+cmp.Or(to.user, there.Owner)+":"+cmp.Or(to.group, there.Group), ImpactNone)
		if owns == nil {
			owns = &ownedDir{Path: d.Path, Was: to.was}
		}
	}
	if owns == nil && c.p.claimed(func(o claims) map[string]bool { return o.made }, d.Path) {
		owns = &ownedDir{Path: d.Path, Made: true} // whoever is the last to go takes it away
	}
	if owns != nil {
		c.final.Dirs = append(c.final.Dirs, *owns)
	}
}

// differs says whether a directory has another owner or mode than it gets.
func (d ownDir) differs(there Path) bool {
	return there.Kind == "directory" &&
		(d.mode != "" && d.mode != there.Mode || !owned(there, cmp.Or(d.user, there.Owner), cmp.Or(d.group, there.Group)))
}

func (c *change) pruneDirs() {
	if c.p.seen.record == nil {
		return
	}
	for _, d := range c.p.seen.record.Dirs {
		there := c.p.seen.Paths[d.Path]
		if c.final.dir(d.Path) != nil || there.Kind != "directory" || len(c.p.blocked(d.Path)) > 0 {
			continue
		}
		gone := ownDir{path: d.Path, made: d.Made, was: originalOf(there)}
		if d.Was != nil {
			gone.mode, gone.user, gone.group = d.Was.Mode, d.Was.User, d.Was.Group
		}
		c.unmakes = append(c.unmakes, gone)
	}
	slices.SortStableFunc(c.unmakes, func(a, b ownDir) int { return cmp.Compare(len(b.path), len(a.path)) })
}

func (c *change) units() {
	for _, u := range c.p.want.Units {
		there := c.p.seen.Units[u.Name]
		owns := c.p.seen.record.unit(u.Name)
		if owns == nil {
			owns = &ownedUnit{Name: u.Name, Enabled: there.enabled(), Running: there.Runs()}
			c.fresh = append(c.fresh, *owns)
		}
		c.final.Units = append(c.final.Units, *owns)
		if u.Enabled && !there.enabled() {
			c.enable = append(c.enable, u.Name)
			c.note("unit "+u.Name, cmp.Or(there.Enabled, there.Load), "enabled", ImpactNone)
		}
		if u.Running && !there.Runs() {
			c.start = append(c.start, u.Name)
			c.note("unit "+u.Name, cmp.Or(there.Active, there.Load), "active", ImpactNone)
		}
	}
}

// enabled says whether the unit starts by itself, or cannot be told to.
func (u UnitStatus) enabled() bool {
	switch u.Enabled {
	case "enabled", "static", "indirect", "generated", "alias", "transient":
		return true
	}
	return false
}

func (c *change) releaseUnits() {
	if c.p.seen.record == nil {
		return
	}
	for _, u := range c.p.seen.record.Units {
		there := c.p.seen.Units[u.Name]
		shared := c.p.claimed(func(o claims) map[string]bool { return o.units }, u.Name)
		if c.final.unit(u.Name) != nil || there.Load != "loaded" || shared {
			continue
		}
		r := release{unit: u.Name, stop: !u.Running && there.Runs(), disable: !u.Enabled && there.Enabled == "enabled"}
		if r.stop {
			c.note("unit "+u.Name, there.Active, "inactive", ImpactOutage)
		}
		if r.disable {
			c.note("unit "+u.Name, there.Enabled, "disabled", ImpactNone)
		}
		if r.stop || r.disable {
			c.releases = append(c.releases, r)
		}
	}
}

// packages carries over what the record says of them.
func (c *change) packages() {
	for _, name := range sorted(c.p.want.Packages) {
		_, installed := c.p.seen.Packages[name]
		owns := ownedPackage{Name: name, Installed: !installed}
		if had := c.p.seen.record.pkg(name); had != nil {
			owns.Installed = had.Installed
		}
		c.final.Packages = append(c.final.Packages, owns)
	}
	dropped, missing := c.p.dropped(), c.p.missing()
	for _, name := range dropped {
		c.final.Packages = append(c.final.Packages, ownedPackage{Name: name, Installed: true})
	}
	if len(dropped)+len(missing) > 0 && c.p.seen.record != nil {
		c.final.Jobs = c.p.seen.record.Jobs
	}
}

// merge keeps one trigger a unit, in a stable order.
func merge(triggers []ownedTrigger) []ownedTrigger {
	slices.SortStableFunc(triggers, func(a, b ownedTrigger) int {
		// Restart stands before Reload, and is what stays.
		return cmp.Or(strings.Compare(a.Unit, b.Unit), strings.Compare(string(b.Action), string(a.Action)))
	})
	return slices.CompactFunc(triggers, func(a, b ownedTrigger) bool { return a.Unit == b.Unit })
}

func ownedTriggers(list []Trigger) []ownedTrigger {
	var owned []ownedTrigger
	for _, t := range list {
		owned = append(owned, ownedTrigger(t))
	}
	return merge(owned)
}

func originalOf(there Path) *original {
	return &original{Link: there.Kind == "link", Mode: there.Mode, User: there.Owner, Group: there.Group}
}

func octal(mode fs.FileMode) string { return fmt.Sprintf("%04o", uint32(mode)) }

// message says in a few words what the change does.
func (c *change) message() string {
	var parts []string
	count := func(n int, what, one, many string) {
		switch {
		case n == 1:
			parts = append(parts, what+" 1 "+one)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%s %d %s", what, n, many))
		}
	}
	for _, u := range c.users {
		parts = append(parts, "make user "+u.Name)
	}
	count(len(c.writes), "write", "file", "files")
	count(len(c.restores), "give up", "file", "files")
	count(len(c.makes), "set", "directory", "directories")
	count(len(c.giveUps), "give up", "image", "images")
	for _, r := range c.releases {
		parts = append(parts, "release "+r.unit)
	}
	for _, r := range c.refreshes {
		parts = append(parts, "run "+r.String())
	}
	for _, t := range c.triggers {
		parts = append(parts, strings.ToLower(string(t.Action))+" "+t.Unit)
	}
	for _, name := range sorted(append(slices.Clone(c.enable), c.start...)) {
		parts = append(parts, "start or enable "+name)
	}
	if len(parts) == 0 {
		return "bring the record up to date"
	}
	return strings.Join(parts, ", ")
}
