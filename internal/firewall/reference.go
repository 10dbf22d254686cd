// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import "slices"

// references are the rules that should refer to the owner's groups on a level, in order.
func (p *planner) references(l Level) []Rule {
	if refs, known := p.refs[l]; known {
		return refs
	}
	var refs []Rule
	for _, run := range runsOf(p.want.Levels[l].Rules) {
		refs = append(refs, Rule{Type: GroupType, Action: p.groupFor(run.rules), Iface: run.iface, Comment: Mark(p.want.Owner), Enable: true})
	}
	p.refs[l] = refs
	return refs
}

// ours are the positions of the owner's references on a level.
func (p *planner) ours(l Level) []int {
	var at []int
	for i, r := range p.state.Levels[l].Rules {
		if p.isOurs(r) {
			at = append(at, i)
		}
	}
	return at
}

func (p *planner) isOurs(r Rule) bool {
	return r.Type == GroupType && (Marked(r.Comment, p.want.Owner) || Marked(p.state.Groups[r.Action].Comment, p.want.Owner))
}

// placed are a level's references: those that count, and those that are being put in place, which are off.
type placed struct {
	rules        []Rule
	live, staged []int
}

func (p *planner) placed(l Level) placed {
	s := placed{rules: p.state.Levels[l].Rules}
	for _, i := range p.ours(l) {
		if s.rules[i].Enable {
			s.live = append(s.live, i)
		} else {
			s.staged = append(s.staged, i)
		}
	}
	return s
}

// nextReference is the next call that brings a level's references to what they should be. As long as there are as many as
// before, which is one on nearly every level, a change is one call. A new one is put in place while it is off.
func (p *planner) nextReference(l Level) *Call {
	wanted, s := p.references(l), p.placed(l)
	for i := range min(len(wanted), len(s.live)) {
		if at := s.live[i]; s.rules[at] != wanted[i] {
			return &Call{Verb: SetRule, Level: l, Pos: at, Rule: wanted[i]}
		}
	}
	switch {
	case len(s.live) < len(wanted):
		return p.stage(l, wanted[len(s.live)], s)
	case len(s.staged) > 0:
		return &Call{Verb: DeleteRule, Level: l, Pos: s.staged[len(s.staged)-1]}
	case len(s.live) > len(wanted):
		return &Call{Verb: DeleteRule, Level: l, Pos: s.live[len(s.live)-1]}
	}
	if p.want.Exclusive {
		for i, at := range s.live {
			if at != i {
				return &Call{Verb: MoveRule, Level: l, Pos: at, To: i}
			}
		}
	}
	return nil
}

// stage puts one reference in place and turns it on: below all other rules, or above them where they are ours alone.
func (p *planner) stage(l Level, ref Rule, s placed) *Call {
	off := ref
	off.Enable = false
	if len(s.staged) == 0 {
		return &Call{Verb: AddRule, Level: l, Rule: off}
	}
	at := s.staged[0]
	if !p.want.Exclusive {
		at = s.staged[len(s.staged)-1] // the one that is on its way to the end
	}
	if s.rules[at] != off {
		return &Call{Verb: SetRule, Level: l, Pos: at, Rule: off}
	}
	if to := p.target(at, s); at != to {
		return &Call{Verb: MoveRule, Level: l, Pos: at, To: to}
	}
	return &Call{Verb: SetRule, Level: l, Pos: at, Rule: ref}
}

// target is where a reference that is being put in place, and is at a position now, belongs.
func (p *planner) target(at int, s placed) int {
	switch {
	case !p.want.Exclusive:
		return len(s.rules) - 1
	case len(s.live) == 0:
		return 0
	case s.live[len(s.live)-1] > at:
		return s.live[len(s.live)-1]
	}
	return s.live[len(s.live)-1] + 1
}

// Shadowed are the levels on which a rule of somebody else that counts stands above one of the owner's.
func Shadowed(w Want, s State) []Level {
	p := newPlanner(w, s, Record{})
	var shadowed []Level
	for _, l := range sorted(s.Levels) {
		live := p.placed(l).live
		if len(live) == 0 {
			continue
		}
		above := s.Levels[l].Rules[:live[len(live)-1]]
		if slices.ContainsFunc(above, func(r Rule) bool { return r.Enable && !p.isOurs(r) }) {
			shadowed = append(shadowed, l)
		}
	}
	return shadowed
}

// Count is the number of the owner's rules that count on any level.
func Count(w Want, s State) int {
	p := newPlanner(w, s, Record{})
	n := 0
	for l := range s.Levels {
		for _, at := range p.placed(l).live {
			for _, r := range s.Groups[s.Levels[l].Rules[at].Action].Rules {
				if r.Enable {
					n++
				}
			}
		}
	}
	return n
}
