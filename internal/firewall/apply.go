// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"maps"
	"slices"
)

// Apply is what a call on a group, an alias or a set does to a state that nobody else changes.
func Apply(s State, c Call) State {
	s.Groups, s.Aliases, s.Sets = maps.Clone(s.Groups), maps.Clone(s.Aliases), maps.Clone(s.Sets)
	group, set := s.Groups[c.Group], s.Sets[c.Name]
	switch c.Verb {
	case CreateGroup:
		s.Groups[c.Group] = Group{Comment: c.Comment}
	case DeleteGroup:
		delete(s.Groups, c.Group)
	case AddRule:
		s.Groups[c.Group] = Group{Comment: group.Comment, Rules: slices.Insert(slices.Clone(group.Rules), 0, c.Rule)}
	case DeleteRule:
		s.Groups[c.Group] = Group{Comment: group.Comment, Rules: slices.Delete(slices.Clone(group.Rules), c.Pos, c.Pos+1)}
	case CreateAlias, SetAlias:
		s.Aliases[c.Name] = Alias{CIDR: c.CIDR, Comment: c.Comment}
	case DeleteAlias:
		delete(s.Aliases, c.Name)
	case CreateSet, CommentSet:
		s.Sets[c.Name] = Set{Comment: c.Comment, Entries: set.Entries}
	case DeleteSet:
		delete(s.Sets, c.Name)
	case AddEntry, SetEntry, DeleteEntry:
		entries := slices.DeleteFunc(slices.Clone(set.Entries), func(e Entry) bool { return e.CIDR == c.Entry.CIDR })
		if c.Verb != DeleteEntry {
			entries = append(entries, c.Entry)
		}
		s.Sets[c.Name] = Set{Comment: set.Comment, Entries: entries}
	}
	return s
}
