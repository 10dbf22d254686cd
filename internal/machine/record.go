// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

// store is where the records are, and the originals that they speak of.
const store = "/var/lib/phoenix"

// record is what an owner has on a machine. It is written before the first
// file is: what it lists may be on its way.
type record struct {
	Version int   `json:"version"`
	Owner   Owner `json:"owner"`
	// Pending says that a change has begun and not ended: how far it came,
	// only a look tells, and the triggers have yet to be pulled.
	Pending  bool           `json:"pending"`
	Files    []ownedFile    `json:"files"`
	Dirs     []ownedDir     `json:"dirs"`
	Units    []ownedUnit    `json:"units"`
	Packages []ownedPackage `json:"packages"`
	Jobs     []ownedJob     `json:"jobs"`
	Triggers []ownedTrigger `json:"triggers"`
	// Refreshes are, as Triggers, what a change that has not ended has to run.
	Refreshes []ownedRefresh `json:"refreshes"`
	Images    []ownedImage   `json:"images"`
}

// ownedFile is a file of ours. The first member of this and the others is what
// the shell finds their lines by.
type ownedFile struct {
	Path     string         `json:"path"`
	Hash     string         `json:"hash"`
	Mode     string         `json:"mode"`
	User     string         `json:"user"`
	Group    string         `json:"group"`
	Triggers []ownedTrigger `json:"triggers,omitempty"`
	Refresh  []string       `json:"refresh,omitempty"`
	Artifact string         `json:"artifact,omitempty"` // SHA-256 of what was downloaded for it
	Member   string         `json:"member,omitempty"`   // of an archive
	Original *original      `json:"original,omitempty"` // that we replaced
}

// original is what stood at a path before us; its content is kept in the store.
type original struct {
	Link  bool   `json:"link,omitempty"` // a symbolic link
	Mode  string `json:"mode,omitempty"`
	User  string `json:"user,omitempty"`
	Group string `json:"group,omitempty"`
}

type ownedDir struct {
	Path string    `json:"dir"`
	Made bool      `json:"made"`          // by us; else it was there
	Was  *original `json:"was,omitempty"` // owner and mode before us, of one that was there
}

type ownedUnit struct {
	Name    string `json:"unit"`
	Enabled bool   `json:"enabled"` // before us, and so is the next
	Running bool   `json:"running"`
}

// ownedPackage is a package that an owner needs.
type ownedPackage struct {
	Name      string `json:"package"`
	Installed bool   `json:"installed"` // by us; else it was there
}

// ownedImage is an image that an owner needs.
type ownedImage struct {
	Name    string `json:"image"`
	ID      string `json:"id,omitempty"`      // that it has; empty: it is made for the first time
	Archive string `json:"archive,omitempty"` // SHA-256 of the one that gave it
	Before  string `json:"before,omitempty"`  // ID of what had the name before us
	// Making: a job was started that makes it anew, and nobody has seen its end.
	Making bool `json:"making,omitempty"`
}

// ownedJob is the last transient unit that was started.
type ownedJob struct {
	Unit string `json:"job"`
	What string `json:"what"` // for people: "install dnsmasq"
}

type ownedTrigger struct {
	Unit   string `json:"trigger"`
	Action Action `json:"action"`
}

// hash is the short name of an owner in paths and units.
func (o Owner) hash() string { return shortHash([]byte(o)) }

func (o Owner) record() string { return store + "/" + o.hash() + ".json" }

// keep is the folder of the originals.
func (o Owner) keep() string { return store + "/" + o.hash() + ".d" }

// lock is the folder that is there while a change runs. It goes with a boot.
func (o Owner) lock() string { return "/run/phoenix-" + o.hash() }

func shortHash(b []byte) string { return fullHash(b)[:12] }

func fullHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// id names what is kept of a path.
func id(path string) string { return shortHash([]byte(path)) }

// render writes a record: JSON with one line for each thing that it lists, so
// that the shell finds them without a parser. A nil record is no bytes.
func (r *record) render() []byte {
	if r == nil {
		return nil
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n\"version\":%d,\n\"owner\":%q,\n\"pending\":%t", r.Version, string(r.Owner), r.Pending)
	renderList(&b, "files", r.Files)
	renderList(&b, "dirs", r.Dirs)
	renderList(&b, "units", r.Units)
	renderList(&b, "packages", r.Packages)
	renderList(&b, "jobs", r.Jobs)
	renderList(&b, "triggers", r.Triggers)
	if len(r.Refreshes) > 0 {
		renderList(&b, "refreshes", r.Refreshes)
	}
	if len(r.Images) > 0 {
		renderList(&b, "images", r.Images)
	}
	b.WriteString("\n}\n")
	return b.Bytes()
}

func renderList[T any](b *bytes.Buffer, name string, list []T) {
	fmt.Fprintf(b, ",\n%q:[", name)
	for i, item := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		var line bytes.Buffer
		encoder := json.NewEncoder(&line)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(item) // structs of strings and booleans always encode
		b.Write(bytes.TrimSpace(line.Bytes()))
	}
	b.WriteString("\n]")
}

// parseRecord reads a record; no bytes are no record.
func parseRecord(raw []byte, owner Owner) (*record, error) {
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, nil
	}
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("read record %s: %w", owner.record(), err)
	}
	if r.Version != 1 {
		return nil, fmt.Errorf("read record %s: version %d is not known here", owner.record(), r.Version)
	}
	if r.Owner != owner {
		return nil, &ForeignError{Paths: []string{owner.record()}, Owner: r.Owner}
	}
	return &r, nil
}

func newRecord(owner Owner) *record { return &record{Version: 1, Owner: owner} }

// file returns the entry of a path; the methods of a nil record find nothing.
func (r *record) file(path string) *ownedFile {
	if r != nil {
		for i := range r.Files {
			if r.Files[i].Path == path {
				return &r.Files[i]
			}
		}
	}
	return nil
}

func (r *record) dir(path string) *ownedDir {
	if r != nil {
		for i := range r.Dirs {
			if r.Dirs[i].Path == path {
				return &r.Dirs[i]
			}
		}
	}
	return nil
}

func (r *record) unit(name string) *ownedUnit {
	if r != nil {
		for i := range r.Units {
			if r.Units[i].Name == name {
				return &r.Units[i]
			}
		}
	}
	return nil
}

func (r *record) pkg(name string) *ownedPackage {
	if r != nil {
		for i := range r.Packages {
			if r.Packages[i].Name == name {
				return &r.Packages[i]
			}
		}
	}
	return nil
}

func (r *record) image(name string) *ownedImage {
	if r != nil {
		for i := range r.Images {
			if r.Images[i].Name == name {
				return &r.Images[i]
			}
		}
	}
	return nil
}

// join adds what another has and this has not, in the order that it has there,
// and takes over its packages and jobs.
func (r *record) join(had *record) {
	if had == nil {
		return
	}
	r.Files = joined(r.Files, had.Files, func(f ownedFile) string { return f.Path })
	r.Dirs = joined(r.Dirs, had.Dirs, func(d ownedDir) string { return d.Path })
	r.Units = joined(r.Units, had.Units, func(u ownedUnit) string { return u.Name })
	r.Images = joined(r.Images, had.Images, func(i ownedImage) string { return i.Name })
	r.Packages, r.Jobs = had.Packages, had.Jobs
}

func joined[T any](ours, had []T, name func(T) string) []T {
	left := map[string]T{}
	for _, one := range ours {
		left[name(one)] = one
	}
	var out []T
	for _, one := range had {
		if mine, ok := left[name(one)]; ok {
			one = mine
			delete(left, name(one))
		}
		out = append(out, one)
	}
	for _, one := range ours {
		if _, ok := left[name(one)]; ok {
			out = append(out, one)
		}
	}
	return out
}

func (r *record) pending() bool { return r != nil && r.Pending }

// claims is what another owner's record says that matters to us.
type claims struct {
	owner                  Owner
	paths, packages, units map[string]bool
	// made are directories that came with it.
	made map[string]bool
	// images are the entries of its images.
	images map[string]ownedImage
}

// parseClaims reads the lines of another record that the observation lets through.
func parseClaims(lines []string) claims {
	c := claims{paths: map[string]bool{}, packages: map[string]bool{}, units: map[string]bool{}, made: map[string]bool{}, images: map[string]ownedImage{}}
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, `"owner":`); ok {
			_ = json.Unmarshal([]byte(strings.TrimSuffix(rest, ",")), &c.owner) // without a name it still claims
			continue
		}
		var entry struct {
			Path, Dir, Package, Unit string
			Made                     bool
			ownedImage
		}
		if json.Unmarshal([]byte(strings.TrimSuffix(line, ",")), &entry) != nil {
			continue
		}
		c.paths[entry.Path], c.packages[entry.Package], c.units[entry.Unit] = true, true, true
		c.made[entry.Dir] = c.made[entry.Dir] || entry.Made
		c.images[entry.Name] = entry.ownedImage
	}
	return c
}
