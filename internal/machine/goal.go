// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"cmp"

	"github.com/phoenix-hypervisor/phoenix/internal/secret"
)

// goal is a file as it is to be, whatever brings its content.
type goal struct {
	File
	hash   string    // of the content; empty: only the download will tell
	source *Artifact // nil: the content stands in the State
	from   string    // where on the machine the content of a source is; empty: nowhere yet
}

// goalOf is a file of a State with what its empty fields mean.
func goalOf(f File) goal {
	f.Owner, f.Group = cmp.Or(f.Owner, "root"), cmp.Or(f.Group, "root")
	if f.Mode == 0 && f.Secret {
		f.Mode = 0o600
	}
	f.Mode = cmp.Or(f.Mode, 0o644)
	return goal{File: f, hash: fullHash(f.Content)}
}

// program is what becomes of an artifact. That what stands in its place is the
// member of that archive, the record alone knows.
func (p *planner) program(a *Artifact) goal {
	g := goal{
		File:   File{Path: a.Path, Owner: "root", Group: "root", Mode: cmp.Or(a.Mode, 0o755), Triggers: a.Triggers},
		source: a,
	}
	there, staged := p.seen.Paths[a.Path], p.seen.Paths[a.staged(p.owner)]
	had := p.seen.record.file(a.Path)
	switch {
	case a.Member == "":
		g.hash = a.SHA256
	case staged.Kind == "file":
		g.hash = staged.Hash
	case had != nil && had.Artifact == a.SHA256 && had.Member == a.Member:
		g.hash = had.Hash
	}
	switch {
	case g.hash == "":
	case there.Kind == "file" && there.Hash == g.hash:
		g.from = a.Path
	case staged.Kind == "file" && staged.Hash == g.hash:
		g.from = a.staged(p.owner)
	}
	return g
}

// is says whether a file is as it is wanted.
func (g *goal) is(there Path) bool {
	return there.Kind == "file" && g.hash != "" && there.Hash == g.hash && there.Mode == octal(g.Mode) &&
		owned(there, g.Owner, g.Group)
}

// owns is the entry of the record.
func (g *goal) owns() ownedFile {
	owns := ownedFile{
		Path: g.Path, Hash: g.hash, Mode: octal(g.Mode), User: g.Owner, Group: g.Group,
		Triggers: ownedTriggers(g.Triggers), Refresh: g.Refresh,
	}
	if g.source != nil {
		owns.Artifact, owns.Member = g.source.SHA256, g.source.Member
	}
	return owns
}

// show is a hash of the content for people. Neither the content nor the plain
// hash of a secret is in it.
func (g *goal) show(hash string) string {
	switch {
	case hash == "":
		return g.source.Member + " of sha256:" + g.source.SHA256[:12]
	case g.Secret:
		return secret.Secret(hash).String()
	}
	return "sha256:" + hash[:min(12, len(hash))]
}
