// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

const owner = "lab/home/HostService/lab/fw"

// site is a Proxmox firewall in memory, with Proxmox's manners: what is made goes to the top, a group or a set with
// content cannot be deleted, a rule may refer to nothing.
type site struct {
	t *testing.T
	State
	spoilt map[string]bool // groups that somebody else changed
	calls  []Call
}

func newSite(t *testing.T) *site {
	s := &site{t: t, spoilt: map[string]bool{}, State: State{
		Levels: map[Level]LevelState{}, Groups: map[string]Group{}, Aliases: map[string]Alias{}, Sets: map[string]Set{},
	}}
	for _, l := range []Level{Datacenter, Node("pve1"), Guest(101), Guest(102)} {
		s.Levels[l] = LevelState{Options: map[string]string{}}
	}
	return s
}

// copied is a copy that shares nothing.
func copied(s State) State {
	c := State{Levels: map[Level]LevelState{}, Groups: map[string]Group{}, Aliases: maps.Clone(s.Aliases), Sets: map[string]Set{}}
	for l, v := range s.Levels {
		c.Levels[l] = LevelState{Options: maps.Clone(v.Options), Rules: slices.Clone(v.Rules)}
	}
	for n, g := range s.Groups {
		c.Groups[n] = Group{Comment: g.Comment, Rules: slices.Clone(g.Rules)}
	}
	for n, e := range s.Sets {
		c.Sets[n] = Set{Comment: e.Comment, Entries: slices.Clone(e.Entries)}
	}
	return c
}

// do is what Proxmox does with a call.
func (s *site) do(c Call) {
	s.t.Helper()
	s.calls = append(s.calls, c)
	switch c.Verb {
	case CreateGroup:
		s.refuse(len(c.Group) > 18 || len(c.Group) < 2, "group name %q", c.Group)
		_, there := s.Groups[c.Group]
		s.refuse(there, "group %s exists", c.Group)
		s.Groups[c.Group] = Group{Comment: c.Comment}
	case DeleteGroup:
		s.refuse(len(s.Groups[c.Group].Rules) > 0, "group %s is not empty", c.Group)
		delete(s.Groups, c.Group)
	case CreateAlias, SetAlias:
		_, there := s.Aliases[c.Name]
		s.refuse(there == (c.Verb == CreateAlias), "%s %s: there is %v", c.Verb, c.Name, there)
		s.Aliases[c.Name] = Alias{c.CIDR, c.Comment}
	case DeleteAlias:
		delete(s.Aliases, c.Name)
	case CreateSet, CommentSet, DeleteSet, AddEntry, SetEntry, DeleteEntry:
		s.set(c)
	case SetOptions:
		s.refuse(len(c.Set)+len(c.Delete) == 0, "no options")
		for _, key := range c.Delete {
			delete(s.Levels[c.Level].Options, key)
		}
		maps.Copy(s.Levels[c.Level].Options, c.Set)
	default:
		s.rules(c)
	}
}

func (s *site) refuse(bad bool, format string, args ...any) {
	s.t.Helper()
	if bad {
		s.t.Fatalf("refused: "+format, args...)
	}
}

func (s *site) set(c Call) {
	s.t.Helper()
	set, there := s.Sets[c.Name]
	at := slices.IndexFunc(set.Entries, func(e Entry) bool { return e.CIDR == c.Entry.CIDR })
	s.refuse(there == (c.Verb == CreateSet), "%s %s: there is %v", c.Verb, c.Name, there)
	switch c.Verb {
	case DeleteSet:
		s.refuse(len(set.Entries) > 0, "set %s is not empty", c.Name)
		delete(s.Sets, c.Name)
		return
	case CreateSet, CommentSet:
		set.Comment = c.Comment
	case AddEntry:
		s.refuse(at >= 0, "entry %s exists", c.Entry.CIDR)
		set.Entries = slices.Insert(set.Entries, 0, c.Entry)
	case SetEntry:
		s.refuse(at < 0, "no entry %s", c.Entry.CIDR)
		set.Entries[at] = c.Entry
	case DeleteEntry:
		s.refuse(at < 0, "no entry %s", c.Entry.CIDR)
		set.Entries = slices.Delete(set.Entries, at, at+1)
	}
	s.Sets[c.Name] = set
}

func (s *site) rules(c Call) {
	s.t.Helper()
	rules := s.Levels[c.Level].Rules
	if c.Group != "" {
		_, there := s.Groups[c.Group]
		s.refuse(!there, "no group %s", c.Group)
		s.refuse(c.Rule.Iface != "", "an interface in a group")
		rules = s.Groups[c.Group].Rules
	}
	s.refuse(c.Verb != AddRule && c.Pos >= len(rules), "no rule at %d", c.Pos)
	switch c.Verb {
	case AddRule:
		rules = slices.Insert(rules, 0, c.Rule)
	case SetRule:
		rules[c.Pos] = c.Rule
	case MoveRule:
		rule := rules[c.Pos]
		s.refuse(c.To >= len(rules), "no position %d", c.To)
		rules = slices.Insert(slices.Delete(rules, c.Pos, c.Pos+1), c.To, rule)
	case DeleteRule:
		rules = slices.Delete(rules, c.Pos, c.Pos+1)
	default:
		s.t.Fatalf("unknown call %q", c.Verb)
	}
	if c.Group != "" {
		s.Groups[c.Group] = Group{Comment: s.Groups[c.Group].Comment, Rules: rules}
		return
	}
	s.Levels[c.Level] = LevelState{Options: s.Levels[c.Level].Options, Rules: rules}
}

// enabled says whether a level filters.
func (s *site) enabled(l Level) bool {
	if s.Levels[Datacenter].Options["enable"] != "1" {
		return false
	}
	switch _, node := l.Node(); {
	case l == Datacenter:
		return true
	case node:
		return s.Levels[l].Options["enable"] != "0"
	}
	return s.Levels[l].Options["enable"] == "1"
}

// live are the references of ours on a level that count.
func (s *site) live(l Level) []Rule {
	var live []Rule
	for _, r := range s.Levels[l].Rules {
		if r.Type == GroupType && r.Enable && strings.HasPrefix(r.Action, Prefix(owner)) {
			live = append(live, r)
		}
	}
	return live
}

// whole fails when a reference that counts leads to a group that is not there or not complete.
func (s *site) whole() error {
	for l := range s.Levels {
		for _, r := range s.live(l) {
			g, there := s.Groups[r.Action]
			right := slices.ContainsFunc([]int{0, 1, 2, 3, 4, 5, 6, 7, 8}, func(salt int) bool { return GroupName(owner, g.Rules, salt) == r.Action })
			if !there || !right && !s.spoilt[r.Action] {
				return fmt.Errorf("%s refers to group %s: there is %v, with %v", l, r.Action, there, g.Rules)
			}
		}
	}
	return nil
}
