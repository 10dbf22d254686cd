// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import "maps"

// early is the change that puts early files into their places; nil: they are
// there, or no package is missing, so that they can come with all the rest. It
// takes nothing away.
func (p *planner) early() *change {
	if len(p.missing()) == 0 {
		return nil
	}
	sub := &planner{owner: p.owner, seen: p.seen}
	for _, f := range p.files {
		if f.Early {
			sub.files = append(sub.files, f)
		}
	}
	c := sub.begun()
	c.files()
	if len(c.writes) == 0 {
		return nil
	}
	c.dirs()
	c.triggers = merge(c.triggers)
	c.final.join(p.seen.record)
	return c
}

// after is what will be seen when the change is made.
func (c *change) after() Seen {
	seen := c.p.seen
	seen.record, seen.recordBytes = c.final, c.final.render()
	seen.Paths = maps.Clone(seen.Paths)
	for _, d := range c.makes {
		seen.Paths[d.path] = Path{Kind: "directory", Mode: d.mode, Owner: d.user, Group: d.group, UID: "0", GID: "0"}
	}
	for _, w := range c.writes {
		seen.Paths[w.Path] = Path{Kind: "file", Mode: octal(w.Mode), Owner: w.Owner, Group: w.Group, Hash: w.hash}
	}
	return seen
}
