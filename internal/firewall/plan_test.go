// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// life is one owner's work on a site, which dies anywhere and whose nodes may take a change back.
type life struct {
	*site
	rng    *rand.Rand
	want   Want
	record Record
	saved  *State // what a rollback puts back
	dies   float64
	moved  bool // ours were to be above the others once
}

// call makes one call and looks whether any level lost its rules by it.
func (l *life) call(c Call) {
	l.t.Helper()
	if c.Group != "" && (c.Verb == AddRule || c.Verb == DeleteRule) && l.counts(c.Group) {
		l.t.Fatalf("%+v changes a group that is in force", c)
	}
	before := map[Level][2]bool{}
	for level := range l.Levels {
		before[level] = [2]bool{l.enabled(level), len(l.live(level)) > 0}
	}
	l.do(c)
	if err := l.whole(); err != nil {
		l.t.Fatalf("after %+v: %v", c, err)
	}
	for level, was := range before {
		_, node := level.Node()
		switch {
		case node && was[1] && l.enabled(level) && len(l.live(level)) == 0 && l.want.Levels[Datacenter].Options["enable"] == "0":
			l.t.Fatalf("after %+v: %s lost its rules before the site was turned off", c, level)
		case len(l.want.Levels[level].Rules) == 0 || !l.enabled(level) || len(l.live(level)) > 0:
		case was[1]:
			l.t.Fatalf("after %+v: %s lost its rules", c, level)
		case !was[0]:
			l.t.Fatalf("after %+v: %s filters without its rules", c, level)
		}
	}
}

// counts says whether any level refers to a group.
func (l *life) counts(group string) bool {
	for level := range l.Levels {
		if slices.ContainsFunc(l.live(level), func(r Rule) bool { return r.Action == group }) {
			return true
		}
	}
	return false
}

// op makes the calls of one operation; false: it died on the way.
func (l *life) op(op Op) bool {
	l.t.Helper()
	for range 200 {
		if l.rng.Float64() < l.dies {
			return false
		}
		c := Next(op, l.want, copied(l.State), l.record)
		if c == nil {
			return true
		}
		l.call(*c)
	}
	l.t.Fatalf("%s has no end", op.Message)
	return false
}

// rollback is what a node does when nobody confirms: it puts back all files but those of guests.
func (l *life) rollback() {
	l.t.Helper()
	now := copied(l.State)
	l.State = copied(*l.saved)
	for _, guest := range []Level{Guest(101), Guest(102)} {
		l.Levels[guest] = now.Levels[guest]
	}
	l.saved = nil
	if err := l.whole(); err != nil {
		l.t.Fatalf("after a rollback: %v", err)
	}
}

// pass takes the first thing of the plan; false: there is none.
func (l *life) pass() bool {
	l.t.Helper()
	p := Make(l.want, copied(l.State), l.record)
	if l.saved != nil {
		switch {
		case len(p.Prepare) == 0 && p.Record == nil && len(p.Guarded) > 0:
			l.op(p.Guarded[0])
		default:
			l.saved = nil // confirmed
		}
		return true
	}
	switch {
	case len(p.Prepare) > 0:
		l.op(p.Prepare[0])
	case p.Record != nil:
		l.record = *p.Record
	case len(p.Open) > 0:
		l.op(p.Open[0])
	case len(p.Guarded) > 0:
		saved := copied(l.State)
		l.saved = &saved
	case len(p.Clean) > 0:
		l.op(p.Clean[0])
	case p.Forget != nil:
		l.record = *p.Forget
	default:
		return false
	}
	return true
}

// settle goes on until nothing is left; rollbacks happen meanwhile.
func (l *life) settle(rollbacks int) {
	l.t.Helper()
	for range 3000 {
		if rollbacks > 0 && l.saved != nil && l.rng.IntN(4) == 0 {
			rollbacks--
			l.rollback()
		}
		if !l.pass() {
			return
		}
	}
	l.t.Fatalf("it does not settle; left: %+v", Make(l.want, copied(l.State), l.record))
}

// TestAnyOrderOfSpecsAndDeaths: after every single call of random sequences of specs, with deaths, rollbacks and other
// people's changes in between, each level that filters has all of its rules.
func TestAnyOrderOfSpecsAndDeaths(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 7))
		l := &life{site: newSite(t), rng: rng, record: Record{Owner: owner}, dies: 0.15}
		foreign := Rule{Type: "in", Action: "ACCEPT", Proto: "tcp", DPort: "8006", Enable: true, Comment: "mine"}
		for level := range l.Levels {
			l.Levels[level] = LevelState{Options: map[string]string{"log_level_in": "info"}, Rules: []Rule{foreign}}
		}
		l.Groups["theirs"] = Group{Comment: "by hand", Rules: nil}
		l.Levels[Guest(102)].Options["policy_in"] = "ACCEPT"
		before := copied(l.State)
		for range 6 {
			l.want = randomWant(rng)
			l.moved = l.moved || l.want.Exclusive
			for range rng.IntN(12) { // a part of the way only
				l.pass()
			}
			if rng.IntN(2) == 0 {
				l.settle(rng.IntN(3))
				l.matches()
			}
			if rng.IntN(3) == 0 {
				l.meddle()
			}
		}
		l.settle(0)
		l.want = Want{Owner: owner}
		l.settle(1)
		if diff := cmp.Diff(before, l.State, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("seed %d: something is left after the removal: %s", seed, diff)
		}
		if !l.record.Empty() {
			t.Fatalf("seed %d: the record is left: %+v", seed, l.record)
		}
	}
}

// matches fails when what stands is not what is wanted.
func (l *life) matches() {
	l.t.Helper()
	for level, w := range l.want.Levels {
		var got []Rule
		for _, ref := range l.live(level) {
			for _, r := range l.Groups[ref.Action].Rules {
				r.Iface = ref.Iface
				got = append(got, r)
			}
		}
		if diff := cmp.Diff(w.Rules, got, cmpopts.EquateEmpty()); diff != "" {
			l.t.Fatalf("rules of %s: %s", level, diff)
		}
		for key, value := range w.Options {
			if l.Levels[level].Options[key] != value {
				l.t.Fatalf("%s of %s is %q, want %q", key, level, l.Levels[level].Options[key], value)
			}
		}
		shadowed := slices.Contains(Shadowed(l.want, l.State), level)
		if l.want.Exclusive && shadowed || !l.moved && !shadowed && len(w.Rules) > 0 {
			l.t.Fatalf("%s is shadowed: %v: %+v", level, shadowed, l.Levels[level].Rules)
		}
	}
}

// meddle is somebody else's hand: in a group, on a reference, or in the order.
func (l *life) meddle() {
	for _, level := range sorted(l.Levels) {
		rules := l.Levels[level].Rules
		for i, r := range rules {
			if r.Type != GroupType || l.rng.IntN(2) == 0 {
				continue
			}
			switch l.rng.IntN(3) {
			case 0:
				l.spoilt[r.Action] = true
				g := l.Groups[r.Action]
				if len(g.Rules) > 0 {
					l.Groups[r.Action] = Group{Comment: g.Comment, Rules: slices.Clone(g.Rules[1:])}
				}
			case 1:
				rules[i].Enable = false
			case 2:
				rules[i].Comment = ""
			}
		}
	}
}

func randomWant(rng *rand.Rand) Want {
	w := Want{Owner: owner, Exclusive: rng.IntN(4) == 0, Levels: map[Level]LevelWant{}, Aliases: map[string]Alias{}, Sets: map[string]Set{}}
	if rng.IntN(2) == 0 {
		w.Aliases["office"] = Alias{CIDR: fmt.Sprintf("10.1.%d.0/24", rng.IntN(3)), Comment: Mark(owner)}
	}
	if rng.IntN(2) == 0 {
		set := Set{Comment: Mark(owner)}
		for i := range rng.IntN(4) {
			set.Entries = append(set.Entries, Entry{CIDR: fmt.Sprintf("10.2.0.%d", i), NoMatch: rng.IntN(3) == 0})
		}
		w.Sets["admins"] = set
	}
	for _, l := range []Level{Datacenter, Node("pve1"), Guest(101), Guest(102)} {
		if rng.IntN(4) == 0 {
			continue
		}
		lw := LevelWant{Options: map[string]string{}}
		for _, option := range [][2]string{{"enable", "1"}, {"enable", "0"}, {"policy_in", "DROP"}, {"policy_in", "ACCEPT"}} {
			if rng.IntN(3) == 0 {
				lw.Options[option[0]] = option[1]
			}
		}
		for range rng.IntN(4) {
			r := Rule{Type: "in", Action: "ACCEPT", Proto: "tcp", DPort: fmt.Sprint(80 + rng.IntN(3)), Enable: true}
			if rng.IntN(4) == 0 {
				r.Iface = "net0"
			}
			if _, there := w.Sets["admins"]; there && rng.IntN(3) == 0 {
				r.Source = "+dc/admins"
			}
			lw.Rules = append(lw.Rules, r)
		}
		w.Levels[l] = lw
	}
	return w
}

// TestForeignGroupIsGuarded: an alias that stands may be in a group of somebody else, whose rules are not known.
func TestForeignGroupIsGuarded(t *testing.T) {
	s := newSite(t)
	s.Groups["theirs"] = Group{Comment: "by hand"}
	s.Aliases["office"] = Alias{CIDR: "10.0.0.0/24", Comment: Mark(owner)}
	s.Levels[Datacenter] = LevelState{Options: map[string]string{}, Rules: []Rule{{Type: GroupType, Action: "theirs", Enable: true}}}
	want := Want{Owner: owner, Aliases: map[string]Alias{"office": {CIDR: "10.9.0.0/24", Comment: Mark(owner)}}}
	plan := Make(want, s.State, Record{Owner: owner})
	if len(plan.Guarded) != 1 || plan.Guarded[0].Kind != PutAlias || len(plan.Prepare) != 0 {
		t.Errorf("the alias changes without a way back: %+v", plan)
	}
}
