// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"fmt"
	"slices"
	"strings"
)

// OpKind is what an operation is about.
type OpKind string

// The operations. Each may take several calls; what it leaves when it is cut short is harmless, and is gone on with.
const (
	MakeGroup OpKind = "make group"
	DropGroup OpKind = "drop group"
	PutAlias  OpKind = "put alias"
	DropAlias OpKind = "drop alias"
	PutSet    OpKind = "put set"
	DropSet   OpKind = "drop set"
	PutLevel  OpKind = "put level"
)

// Op is one operation.
type Op struct {
	Kind  OpKind
	Name  string // of the group, alias or set
	Level Level
	// Message says in a few words what it does.
	Message string
	Diffs   []Diff
}

// Diff is one difference that an operation clears.
type Diff struct {
	// Part is "rules", "position", "aliases[NAME]", "ipSets[NAME]", "groups[NAME]" or the name of an option.
	Part, From, To string
}

// Plan is what there is to do, in this order.
type Plan struct {
	// Prepare adds what nothing refers to yet.
	Prepare []Op
	// Record must be kept before any level changes; nil: it is as it should be.
	Record *Record
	// Open changes levels that cannot cut the owner off.
	Open []Op
	// Guarded changes what can cut the owner off.
	Guarded []Op
	// Clean takes away what nothing refers to any more.
	Clean []Op
	// Forget is the record when all is done; nil: it is as it should be.
	Forget *Record
}

// Empty says that nothing is to be done.
func (p Plan) Empty() bool {
	return len(p.Prepare)+len(p.Open)+len(p.Guarded)+len(p.Clean) == 0 && p.Record == nil && p.Forget == nil
}

// planner holds what all parts of a plan look at.
type planner struct {
	want   Want
	state  State
	record Record
	uses   map[string]bool  // groups that a rule refers to
	refs   map[Level][]Rule // what references said already
}

func newPlanner(w Want, s State, r Record) *planner {
	p := &planner{want: w, state: s, record: r, uses: map[string]bool{}, refs: map[Level][]Rule{}}
	for _, level := range s.Levels {
		for _, rule := range level.Rules {
			if rule.Type == GroupType {
				p.uses[rule.Action] = true
			}
		}
	}
	return p
}

// EnableOption turns a level on or off.
const EnableOption = "enable"

// Make compares what is declared with what was observed.
func Make(w Want, s State, r Record) Plan {
	p := newPlanner(w, s, r)
	before, after := recordFor(w, s, r)
	var plan Plan
	p.names(&plan)
	p.groups(&plan)
	p.levels(&plan)
	p.drops(&plan)
	if !before.same(r) {
		before.Serial++
		plan.Record = &before
	}
	if !after.same(before) {
		after.Serial = before.Serial + 1
		plan.Forget = &after
	}
	return plan
}

// names plans the aliases and sets that are declared. What is new is used by nobody; a change of one that stands counts at
// once for whoever refers to it.
func (p *planner) names(plan *Plan) {
	add := func(op Op, there bool) {
		switch {
		case p.next(op) == nil:
		case there && p.critical(op.Name):
			plan.Guarded = append(plan.Guarded, op)
		default:
			plan.Prepare = append(plan.Prepare, op)
		}
	}
	for _, name := range sorted(p.want.Aliases) {
		now, there := p.state.Aliases[name]
		add(Op{Kind: PutAlias, Name: name, Message: "set alias " + name, Diffs: []Diff{{"aliases[" + name + "]", now.CIDR, p.want.Aliases[name].CIDR}}}, there)
	}
	for _, name := range sorted(p.want.Sets) {
		now, there := p.state.Sets[name]
		add(Op{Kind: PutSet, Name: name, Message: "fill IP set " + name,
			Diffs: []Diff{{"ipSets[" + name + "]", entriesText(now.Entries), entriesText(p.want.Sets[name].Entries)}}}, there)
	}
}

func entriesText(entries []Entry) string {
	var out []string
	for _, e := range entries {
		text := e.CIDR
		if e.NoMatch {
			text = "!" + text
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

// groups plans the groups that levels need and that are not there in full.
func (p *planner) groups(plan *Plan) {
	planned := map[string]bool{}
	for _, l := range sorted(p.want.Levels) {
		if _, there := p.state.Levels[l]; !there {
			continue
		}
		for i, run := range runsOf(p.want.Levels[l].Rules) {
			name := p.references(l)[i].Action
			op := Op{Kind: MakeGroup, Name: name, Level: l, Message: fmt.Sprintf("make security group %s with %s for %s", name, count(len(run.rules)), l)}
			if !planned[name] && p.next(op) != nil {
				plan.Prepare = append(plan.Prepare, op)
			}
			planned[name] = true
		}
	}
}

func count(n int) string {
	if n == 1 {
		return "1 rule"
	}
	return fmt.Sprintf("%d rules", n)
}

// levels plans the changes of levels: of those that are declared, and of those on which something of the owner is left.
func (p *planner) levels(plan *Plan) {
	for _, l := range p.order() {
		op := Op{Kind: PutLevel, Level: l, Message: "put the rules of " + string(l) + " in force", Diffs: p.levelDiffs(l)}
		switch {
		case p.next(op) == nil:
		case p.want.Guarded(l):
			plan.Guarded = append(plan.Guarded, op)
		default:
			plan.Open = append(plan.Open, op)
		}
	}
}

// order is the order of the levels. The datacenter's switch counts for all others, so it is turned on after they have their
// rules, and turned off before they lose them.
func (p *planner) order() []Level {
	levels := slices.DeleteFunc(sorted(p.state.Levels), func(l Level) bool { return l == Datacenter })
	if len(levels) == len(p.state.Levels) {
		return levels
	}
	call := p.nextOptions(Datacenter)
	if call != nil && (slices.Contains(call.Delete, EnableOption) || call.Set[EnableOption] == "0") {
		return slices.Insert(levels, 0, Datacenter)
	}
	return append(levels, Datacenter)
}

// drops plans the removal of what nothing of the owner needs any more.
func (p *planner) drops(plan *Plan) {
	needed := p.neededGroups()
	for _, name := range sorted(p.state.Groups) {
		if needed[name] || p.uses[name] || !Marked(p.state.Groups[name].Comment, p.want.Owner) {
			continue
		}
		plan.Clean = append(plan.Clean, Op{Kind: DropGroup, Name: name, Message: "delete security group " + name,
			Diffs: []Diff{{"groups[" + name + "]", count(len(p.state.Groups[name].Rules)), ""}}})
	}
	drop := func(op Op) {
		if p.critical(op.Name) && !p.usedByOurs(op.Name) {
			plan.Guarded = append(plan.Guarded, op) // somebody else's rule uses it
			return
		}
		plan.Clean = append(plan.Clean, op)
	}
	for _, name := range sorted(p.state.Aliases) {
		now := p.state.Aliases[name]
		if _, wanted := p.want.Aliases[name]; !wanted && Marked(now.Comment, p.want.Owner) {
			drop(Op{Kind: DropAlias, Name: name, Message: "delete alias " + name, Diffs: []Diff{{"aliases[" + name + "]", now.CIDR, ""}}})
		}
	}
	for _, name := range sorted(p.state.Sets) {
		now := p.state.Sets[name]
		if _, wanted := p.want.Sets[name]; !wanted && Marked(now.Comment, p.want.Owner) {
			drop(Op{Kind: DropSet, Name: name, Message: "delete IP set " + name, Diffs: []Diff{{"ipSets[" + name + "]", entriesText(now.Entries), ""}}})
		}
	}
}

// neededGroups are the groups that levels should refer to.
func (p *planner) neededGroups() map[string]bool {
	needed := map[string]bool{}
	for l := range p.state.Levels {
		for _, ref := range p.references(l) {
			needed[ref.Action] = true
		}
	}
	return needed
}

// specialNames count without any rule that refers to them.
var specialNames = []string{"management", "blacklist", "local_network"}

// critical says whether an alias or a set counts on a level that can cut the owner off. What stands in a group of somebody
// else is not known, and so may refer to it.
func (p *planner) critical(name string) bool {
	if slices.Contains(specialNames, name) {
		return true
	}
	for l, level := range p.state.Levels {
		if p.want.Guarded(l) && slices.ContainsFunc(level.Rules, func(r Rule) bool {
			if r.Type != GroupType {
				return refersTo(r, name)
			}
			group := p.state.Groups[r.Action]
			return !Marked(group.Comment, p.want.Owner) || slices.ContainsFunc(group.Rules, func(r Rule) bool { return refersTo(r, name) })
		}) {
			return true
		}
	}
	return false
}

// usedByOurs says whether one of the owner's groups, that goes before it, refers to an alias or a set.
func (p *planner) usedByOurs(name string) bool {
	for _, g := range p.state.Groups {
		if Marked(g.Comment, p.want.Owner) && slices.ContainsFunc(g.Rules, func(r Rule) bool { return refersTo(r, name) }) {
			return true
		}
	}
	return false
}

// refersTo says whether a rule names an alias or a set.
func refersTo(r Rule, name string) bool {
	for _, peer := range []string{r.Source, r.Dest} {
		peer = strings.TrimPrefix(peer, "+")
		peer = strings.TrimPrefix(strings.TrimPrefix(peer, "dc/"), "guest/")
		if strings.EqualFold(peer, name) {
			return true
		}
	}
	return false
}
