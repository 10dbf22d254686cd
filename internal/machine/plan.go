// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"
)

// Impact is what a change does to those who use a service while it is made.
type Impact string

// The impacts, from the least to the worst.
const (
	ImpactNone    Impact = "None"
	ImpactReload  Impact = "Reload"
	ImpactRestart Impact = "Restart"
	ImpactOutage  Impact = "Outage"
)

// Change is one difference that a step clears. Of a file's content From and To
// are short hashes, of a secret one keyed hashes.
type Change struct {
	What, From, To string
	Impact         Impact
}

// Reasons of steps.
const (
	ReasonInstall = "Install" // packages, artifacts and images
	ReasonRemove  = "Remove"  // packages that we installed
	ReasonApply   = "Apply"   // everything else
	ReasonClear   = "Clear"   // everything else of an owner that goes
)

// Step is one thing to do on a machine. After it another observation tells
// what is left.
type Step struct {
	Reason, Message string
	Changes         []Change
	// Do makes the changes, all or none of them. It comes to its end although
	// the context ends before; then the error is IsAway. Other errors are
	// *PendingError (also when all went well and a transient unit works on it),
	// *ChangedError, *ValidateError, *RefreshError, *UnitError, *ProbeError,
	// *JobError and *ImageError.
	Do func(ctx context.Context, m *Machine) error
}

// PlanOptions of a plan.
type PlanOptions struct {
	// Adopt takes over files that are there and not ours, as Replaces of a File
	// does for one.
	Adopt bool
}

// Plan returns the steps from what was seen to what is wanted, none when all
// is as it should be. It is pure. The State must be the one that was observed.
// Errors are *InvalidError, *UnsupportedError and *ForeignError.
func Plan(owner Owner, want State, seen Seen, o PlanOptions) ([]Step, error) {
	if err := owner.validate(); err != nil {
		return nil, err
	}
	if err := want.validate(); err != nil {
		return nil, err
	}
	if seen.unsupported != "" {
		return nil, &UnsupportedError{seen.unsupported}
	}
	p := newPlanner(owner, want, seen)
	if err := p.refuse(o.Adopt); err != nil {
		return nil, err
	}
	var steps []Step
	if early := p.early(); early != nil {
		steps = early.steps(ReasonApply)
		p = newPlanner(owner, want, early.after())
	}
	steps = append(steps, p.install()...)
	steps = append(steps, p.download()...)
	steps = append(steps, p.makeImages()...)
	steps = append(steps, p.uninstall()...)
	return append(steps, p.change().steps(ReasonApply)...), nil
}

// Clear returns the steps that clear an owner's place: originals come back,
// our files and empty directories go, units are as they were, packages and
// images that came with us go unless another needs them. Data stays. It is pure; seen must
// come from an observation with an empty State or with the last one.
func Clear(owner Owner, seen Seen) []Step {
	p := newPlanner(owner, State{}, seen)
	if seen.record == nil {
		return p.clearStore()
	}
	return append(p.change().steps(ReasonClear), p.uninstall()...)
}

// planner compares.
type planner struct {
	owner  Owner
	want   State
	seen   Seen
	files  []goal
	images []imageGoal
}

func newPlanner(owner Owner, want State, seen Seen) *planner {
	p := &planner{owner: owner, want: want, seen: seen}
	for _, f := range want.Files {
		p.files = append(p.files, goalOf(f))
	}
	for i := range want.Artifacts {
		p.files = append(p.files, p.program(&want.Artifacts[i]))
	}
	for i := range want.Images {
		p.images = append(p.images, p.image(&want.Images[i]))
	}
	// Those above come first, so that each is made in one that is there.
	p.want.Dirs = slices.Clone(want.Dirs)
	slices.SortStableFunc(p.want.Dirs, func(a, b Dir) int { return cmp.Compare(len(a.Path), len(b.Path)) })
	p.want.Packages = sorted(append(slices.Clone(want.Packages), p.downloader()...))
	return p
}

// clearStore is the step for the folder of the records, when the machine went
// away right before it did.
func (p *planner) clearStore() []Step {
	if !p.seen.bare {
		return nil
	}
	return []Step{{Reason: ReasonClear, Message: "give up " + store, Do: func(ctx context.Context, m *Machine) error {
		_, err := m.carry(ctx, &passenger{script: "rmdir " + word(store) + " 2>/dev/null\n:\n", patience: scriptPatience})
		return err
	}}}
}

// refuse finds what is not ours to change.
func (p *planner) refuse(adopt bool) error {
	if err := p.refuseClaimed(); err != nil {
		return err
	}
	if err := p.refuseImages(); err != nil {
		return err
	}
	var foreign []string
	for _, f := range p.files {
		there, ok := p.seen.Paths[f.Path]
		if ok && !p.mayTake(f, there, adopt) {
			foreign = append(foreign, f.Path)
		}
		foreign = append(foreign, p.blocked(f.Path)...)
	}
	for _, d := range p.want.Dirs {
		if there, ok := p.seen.Paths[d.Path]; ok && there.Kind != "directory" {
			foreign = append(foreign, d.Path)
		}
		foreign = append(foreign, p.blocked(d.Path)...)
	}
	if len(foreign) > 0 {
		return &ForeignError{Paths: sorted(foreign)}
	}
	return nil
}

func (p *planner) refuseClaimed() error {
	for _, other := range p.seen.others {
		var claimed []string
		for _, f := range p.files {
			if other.paths[f.Path] {
				claimed = append(claimed, f.Path)
			}
		}
		if len(claimed) > 0 {
			return &ForeignError{Paths: sorted(claimed), Owner: other.owner}
		}
	}
	return nil
}

// mayTake says whether a file may take the place of what is there.
func (p *planner) mayTake(f goal, there Path, adopt bool) bool {
	switch {
	case there.Kind != "file" && there.Kind != "link":
		return false
	case p.seen.record.file(f.Path) != nil, f.Replaces, adopt:
		return true
	}
	return f.is(there)
}

// owned says whether owner and group are those, by name or by number.
func owned(there Path, owner, group string) bool {
	return (owner == there.Owner || owner == there.UID) && (group == there.Group || group == there.GID)
}

// blocked names what is above a path and cannot be worked in: something other
// than a directory, or a symbolic link that another than root may have laid.
func (p *planner) blocked(of string) []string {
	for above := path.Dir(of); above != "/"; above = path.Dir(above) {
		there, ok := p.seen.Paths[above]
		if ok && there.Kind != "directory" && (there.Kind != "link" || there.UID != "0") {
			return []string{above}
		}
	}
	return nil
}

// real is where a directory really is: at its path, unless root has laid a link above it. Then it is empty.
func (p *planner) real(of string) string {
	for above := path.Dir(of); above != "/"; above = path.Dir(above) {
		if p.seen.Paths[above].Kind == "link" {
			return ""
		}
	}
	return of
}

// claimed says whether another owner's record lists it.
func (p *planner) claimed(in func(claims) map[string]bool, name string) bool {
	return slices.ContainsFunc(p.seen.others, func(c claims) bool { return in(c)[name] })
}

// impact of triggers is what they do to units that run.
func (p *planner) impact(triggers []ownedTrigger) Impact {
	worst := ImpactNone
	for _, t := range triggers {
		switch {
		case !p.seen.Units[t.Unit].Runs():
		case t.Action == Restart:
			return ImpactRestart
		default:
			worst = ImpactReload
		}
	}
	return worst
}

// inSystemd says whether systemd reads a path.
func inSystemd(at string) bool {
	for _, root := range []string{"/etc", "/run", "/lib", "/usr/lib", "/usr/local/lib"} {
		if strings.HasPrefix(at, root+"/systemd/system/") {
			return true
		}
	}
	return false
}
