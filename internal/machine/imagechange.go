// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import "strings"

// imagePatience bounds, in seconds, what a change does to one image.
const imagePatience = 120

// imageTools are of changes that give up images, or their names. Nothing of
// this fails a change: what is still used stays, and so does all of it when
// there is no engine.
const imageTools = `
engine() { timeout 30 docker "$@" 2>/dev/null; }
# unname ID: takes away what nobody has a name for any more; by its ID docker would take its last name, too
unname() {
	if [ "$(engine image inspect --format '{{len .RepoTags}} {{len .RepoDigests}}' "$1")" = "0 0" ]; then engine image rm "$1"; fi
}
# giveup NAME ID BEFORE: unless somebody else has given the name to another
giveup() {
	has=$(engine image inspect --format '{{.Id}}' "$1") || return 0
	if [ "$has" = "$3" ] || [ "${2:-$has}" != "$has" ]; then return 0; fi
	if [ -n "$3" ] && engine tag "$3" "$1"; then
		unname "$has"
	else
		engine image rm "$1"
	fi
}
`

// giveUp is an image that is no longer ours.
type giveUp struct{ ownedImage }

// remade is an image of ours that took the place of another of ours.
type remade struct{ ref, id, was, before string }

// images compares them.
func (c *change) images() {
	for _, g := range c.p.images {
		owns := c.p.owns(g)
		if g.id == "" || g.made {
			c.triggers = append(c.triggers, ownedTriggers(g.Triggers)...)
		}
		if g.id == "" {
			c.final.Images = append(c.final.Images, owns)
			from, to := c.p.shown(g)
			c.note("image "+g.Name, from, to, c.p.impact(ownedTriggers(g.Triggers)))
			continue
		}
		was := owns.ID
		owns.ID, owns.Archive, owns.Making = g.id, g.hash(), false
		c.final.Images = append(c.final.Images, owns)
		switch {
		case g.made:
			c.note("image "+g.Name, shortID(was), shortID(g.id), c.p.impact(ownedTriggers(g.Triggers)))
			if was != "" && was != g.id && !strings.Contains(g.Name, "@") { // a digest is of one image

				c.remade = append(c.remade, remade{g.ref(), g.id, was, owns.Before})
			}
		case g.had == nil:
			c.note("image "+g.Name, "there already", "ours", ImpactNone)
		}
	}
	c.pruneImages()
}

func (c *change) pruneImages() {
	if c.p.seen.record == nil {
		return
	}
	for _, owns := range c.p.seen.record.Images {
		if c.final.image(owns.Name) != nil || c.p.claimedImage(owns.Name) {
			continue
		}
		c.giveUps = append(c.giveUps, giveUp{owns})
		if owns.ID != owns.Before || owns.ID == "" {
			c.note("image "+owns.Name, "ours", shortID(owns.Before), ImpactNone)
		}
	}
}

// claimedImage says whether another owner needs an image, too.
func (p *planner) claimedImage(name string) bool {
	for _, other := range p.seen.others {
		if _, ok := other.images[name]; ok {
			return true
		}
	}
	return false
}

// refuseImages finds two owners that want an image of one name from different
// archives: the name cannot be both, and each would take it from the other.
func (p *planner) refuseImages() error {
	for _, g := range p.images {
		for _, other := range p.seen.others {
			theirs, ok := other.images[g.Name]
			lost := g.had == nil || g.had.ID != "" && g.had.ID != g.seen && g.had.Archive == g.hash()
			if ok && lost && theirs.Archive != g.hash() && theirs.ID != "" && theirs.ID == g.seen {
				return &ForeignError{Paths: []string{"image " + g.Name}, Owner: other.owner}
			}
		}
	}
	return nil
}

// dropImages takes away what is not needed once all else has come to its good
// end: until then the way back needs it.
func (c *change) dropImages(s *script) {
	for _, r := range c.remade {
		if r.was != r.before {
			s.line("unname %s >/dev/null", word(r.was))
		}
	}
	for _, g := range c.giveUps {
		image := Image{Name: g.Name}
		if g.Making {
			g.ID = "" // whatever has the name now
		}
		s.line("giveup %s %s %s >/dev/null", word(image.ref()), word(g.ID), word(g.Before))
	}
}

// undoImages gives names back to the images that had them, for units that
// start again.
func (c *change) undoImages(s *script) {
	for _, r := range c.remade {
		s.line("engine tag %s %s >/dev/null || undone=no", word(r.was), word(r.ref))
	}
}
