// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Next returns the next call of an operation, nil when it is done. Between the calls of a level, the level is to be read
// again: positions move.
func Next(op Op, w Want, s State, r Record) *Call { return newPlanner(w, s, r).next(op) }

func (p *planner) next(op Op) *Call {
	switch op.Kind {
	case MakeGroup:
		return p.nextOfGroup(op.Name)
	case DropGroup:
		return p.nextOfDrop(op.Name)
	case PutAlias:
		return p.nextOfAlias(op.Name)
	case PutSet:
		return p.nextOfSet(op.Name)
	case DropAlias:
		if now, there := p.state.Aliases[op.Name]; there && Marked(now.Comment, p.want.Owner) {
			return &Call{Verb: DeleteAlias, Name: op.Name}
		}
		return nil
	case DropSet:
		return p.nextOfDroppedSet(op.Name)
	default:
		return p.nextOfLevel(op.Level)
	}
}

// groupFor is the group that is to hold rules: the one in use if it is as it should be, else one that is free.
func (p *planner) groupFor(rules []Rule) string {
	free, whole := "", ""
	for salt := range maxSalt {
		name := GroupName(p.want.Owner, rules, salt)
		group, there := p.state.Groups[name]
		ours := there && Marked(group.Comment, p.want.Owner)
		right := ours && slices.Equal(group.Rules, rules)
		switch {
		case right && p.uses[name]:
			return name
		case right && whole == "":
			whole = name
		case free == "" && (!there || ours && !p.uses[name]):
			free = name
		}
	}
	if whole != "" {
		return whole
	}
	if free != "" {
		return free
	}
	return GroupName(p.want.Owner, rules, maxSalt)
}

// rulesOf are the rules that the named group is to hold.
func (p *planner) rulesOf(name string) []Rule {
	for _, l := range sorted(p.want.Levels) {
		for i, run := range runsOf(p.want.Levels[l].Rules) {
			if p.references(l)[i].Action == name {
				return run.rules
			}
		}
	}
	return nil
}

// nextOfGroup fills a group from its last rule to its first, as Proxmox puts a new one on top. What does not belong there
// is taken away first; no rule refers to the group meanwhile.
func (p *planner) nextOfGroup(name string) *Call {
	group, there := p.state.Groups[name]
	rules := p.rulesOf(name)
	missing := len(rules) - len(group.Rules)
	switch {
	case !there:
		return &Call{Verb: CreateGroup, Group: name, Comment: Mark(p.want.Owner)}
	case missing < 0 || !slices.Equal(rules[missing:], group.Rules):
		return &Call{Verb: DeleteRule, Group: name}
	case missing > 0:
		return &Call{Verb: AddRule, Group: name, Rule: rules[missing-1]}
	}
	return nil
}

func (p *planner) nextOfDrop(name string) *Call {
	group, there := p.state.Groups[name]
	switch {
	case !there || p.uses[name] || !Marked(group.Comment, p.want.Owner):
		return nil
	case len(group.Rules) > 0:
		return &Call{Verb: DeleteRule, Group: name}
	}
	return &Call{Verb: DeleteGroup, Group: name}
}

func (p *planner) nextOfAlias(name string) *Call {
	want := p.want.Aliases[name]
	now, there := p.state.Aliases[name]
	switch {
	case !there:
		return &Call{Verb: CreateAlias, Name: name, CIDR: want.CIDR, Comment: want.Comment}
	case now != want:
		return &Call{Verb: SetAlias, Name: name, CIDR: want.CIDR, Comment: want.Comment}
	}
	return nil
}

// nextOfSet adds what is missing before it takes away what is too much.
func (p *planner) nextOfSet(name string) *Call {
	want := p.want.Sets[name]
	now, there := p.state.Sets[name]
	switch {
	case !there:
		return &Call{Verb: CreateSet, Name: name, Comment: want.Comment}
	case now.Comment != want.Comment:
		return &Call{Verb: CommentSet, Name: name, Comment: want.Comment}
	}
	for _, e := range want.Entries {
		at := slices.IndexFunc(now.Entries, func(n Entry) bool { return n.CIDR == e.CIDR })
		switch {
		case at < 0:
			return &Call{Verb: AddEntry, Name: name, Entry: e}
		case now.Entries[at] != e:
			return &Call{Verb: SetEntry, Name: name, Entry: e}
		}
	}
	for _, e := range now.Entries {
		if !slices.Contains(want.Entries, e) {
			return &Call{Verb: DeleteEntry, Name: name, Entry: e}
		}
	}
	return nil
}

func (p *planner) nextOfDroppedSet(name string) *Call {
	now, there := p.state.Sets[name]
	switch {
	case !there || !Marked(now.Comment, p.want.Owner):
		return nil
	case len(now.Entries) > 0:
		return &Call{Verb: DeleteEntry, Name: name, Entry: now.Entries[0]}
	}
	return &Call{Verb: DeleteSet, Name: name}
}

// nextOfLevel puts rules before what makes them count, and takes away what makes them count before the rules.
func (p *planner) nextOfLevel(l Level) *Call {
	rules, options := p.nextReference(l), p.nextOptions(l)
	if options != nil && (rules == nil || len(p.references(l)) == 0) {
		return options
	}
	return rules
}

func (p *planner) nextOptions(l Level) *Call {
	state := p.state.Levels[l]
	call := &Call{Verb: SetOptions, Level: l, Set: map[string]string{}}
	wanted := wantedOptions(p.want.Levels[l], state, p.record.Options[l])
	for _, key := range sorted(wanted) {
		now, set := state.Options[key]
		switch value := wanted[key]; {
		case value == nil && set:
			call.Delete = append(call.Delete, key)
		case value != nil && (!set || now != *value):
			call.Set[key] = *value
		}
	}
	if len(call.Set)+len(call.Delete) == 0 {
		return nil
	}
	return call
}

// levelDiffs says how a level differs, in words for people.
func (p *planner) levelDiffs(l Level) []Diff {
	var diffs []Diff
	switch call := p.nextReference(l); {
	case call == nil:
	case call.Verb == MoveRule && !p.state.Levels[l].Rules[call.Pos].Enable, call.Verb != MoveRule:
		from, to := p.referencesText(l)
		diffs = append(diffs, Diff{"rules", from, to})
	default:
		diffs = append(diffs, Diff{"position", "below other rules", "above other rules"})
	}
	call := p.nextOptions(l)
	if call == nil {
		return diffs
	}
	state := p.state.Levels[l]
	keys := append(slices.Collect(maps.Keys(call.Set)), call.Delete...)
	slices.Sort(keys)
	for _, key := range keys {
		diffs = append(diffs, Diff{key, state.Options[key], call.Set[key]})
	}
	return diffs
}

// referencesText says which groups a level refers to and should refer to.
func (p *planner) referencesText(l Level) (from, to string) {
	var now, wanted []string
	for _, i := range p.ours(l) {
		r := p.state.Levels[l].Rules[i]
		text := r.Action
		if !r.Enable {
			text += " (off)"
		}
		now = append(now, fmt.Sprintf("%s: %s", text, count(len(p.state.Groups[r.Action].Rules))))
	}
	for i, run := range runsOf(p.want.Levels[l].Rules) {
		wanted = append(wanted, fmt.Sprintf("%s: %s", p.references(l)[i].Action, count(len(run.rules))))
	}
	return strings.Join(now, ", "), strings.Join(wanted, ", ")
}
