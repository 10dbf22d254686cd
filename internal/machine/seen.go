// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// decode reads base64 that base64(1) wrote; what is not is nothing.
func decode(text string) []byte {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return raw
}

// parseSeen reads what observeScript printed.
func parseSeen(owner Owner, want State, out []byte) (Seen, error) {
	p := parser{want: want, seen: Seen{
		Paths: map[string]Path{}, Packages: map[string]string{}, Users: map[string]bool{}, Units: map[string]UnitStatus{}, Contents: map[string][]byte{},
		Images: map[string]string{}, made: map[string]string{},
		Probes: make([]ProbeResult, len(want.Probes)), jobLogs: map[string]string{},
	}}
	all := sections(out)
	if len(all) == 0 || all[len(all)-1].name != "end" {
		return Seen{}, errors.New("the answer is not complete")
	}
	for _, s := range all {
		if err := p.take(s); err != nil {
			return Seen{}, err
		}
	}
	p.paths()
	seen := p.seen
	if p.recorded && len(bytes.TrimSpace(seen.recordBytes)) == 0 {
		return Seen{}, fmt.Errorf("read record %s: it is empty, so what is ours is not known: put it back from a backup, or remove it to begin anew",
			owner.record())
	}
	var err error
	if seen.record, err = parseRecord(seen.recordBytes, owner); err != nil {
		return Seen{}, err
	}
	seen.unsupported = p.unsupported()
	return seen, seen.pending(p.held)
}

// parser gathers sections, in the order in which they come.
type parser struct {
	want     State
	seen     Seen
	held     bool
	recorded bool
	osLike   []string
	hashes   map[string]string
	links    map[string]string
	stats    []string
	units    []string // as systemctl was asked for them
	lastRead string
}

func (p *parser) take(s section) error {
	switch s.name {
	case "system":
		p.seen.System = s.text()
	case "os":
		p.release(s.bytes())
	case "held":
		p.held = true
	case "record":
		p.seen.recordBytes, p.recorded = s.bytes(), true
	case "other":
		p.seen.others = append(p.seen.others, parseClaims(s.lines))
	case "links":
		p.links = pairs(s.lines)
	case "hashes":
		p.hashes = parseHashes(s.lines)
	case "paths":
		p.stats = s.lines
	case "packages":
		p.packages(s.lines)
	case "units":
		for _, line := range s.lines {
			p.units = append(p.units, strings.TrimPrefix(line, "unit "))
		}
	case "needed":
		p.seen.needed = s.lines
	case "users":
		for _, line := range s.lines {
			name, _, _ := strings.Cut(line, ":")
			p.seen.Users[name] = true
		}
	case "curl":
		p.seen.curl = true
	case "bare":
		p.seen.bare = true
	case "show":
		return p.show(s.lines)
	default:
		return p.takeContent(s)
	}
	return nil
}

// takeContent takes the sections that may come more than once.
func (p *parser) takeContent(s section) error {
	switch s.name {
	case "job":
		p.seen.jobLogs[s.text()] = tail(string(decode(strings.Join(s.lines[min(1, len(s.lines)):], ""))), 2000)
	case "toolong":
		return fmt.Errorf("read %s: it is longer than %d bytes", s.bytes(), readLimit)
	case "away":
		return &PendingError{fmt.Sprintf("the server of what is mounted on %s, which does not answer", s.bytes())}
	case "read":
		p.lastRead = string(s.bytes())
	case "content":
		p.seen.Contents[p.lastRead] = s.bytes()
	case "engine":
		p.seen.NoEngine = tail(string(s.bytes()), 500)
	case "image":
		return p.image(s, p.seen.Images)
	case "made":
		_ = p.image(s, p.seen.made) // what is no ID is no note: the job makes it anew
	case "probe":
		return p.probe(s)
	}
	return nil
}

func (p *parser) release(text []byte) {
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			p.seen.OS = value
		case "ID_LIKE":
			p.osLike = strings.Fields(value)
		}
	}
}

// unsupported says why a machine cannot be worked on, or nothing.
func (p *parser) unsupported() string {
	known := []string{"debian", "ubuntu"}
	switch like := append(p.osLike, p.seen.OS); {
	case !slices.ContainsFunc(like, func(os string) bool { return slices.Contains(known, os) }):
		return fmt.Sprintf("it runs %q", p.seen.OS)
	case p.seen.System == "" || p.seen.System == "offline":
		return "it does not run systemd"
	}
	return ""
}

func pairs(lines []string) map[string]string {
	links := map[string]string{}
	for i := 0; i+1 < len(lines); i += 2 {
		links[lines[i]] = strings.TrimSuffix(string(decode(lines[i+1])), "\n")
	}
	return links
}

// parseHashes reads what sha256sum prints, which doubles the backslashes of a
// name behind a backslash of its own.
func parseHashes(lines []string) map[string]string {
	hashes := map[string]string{}
	for _, line := range lines {
		escaped := strings.HasPrefix(line, `\`)
		hash, name, ok := strings.Cut(strings.TrimPrefix(line, `\`), "  ")
		if escaped {
			name = strings.ReplaceAll(name, `\\`, `\`)
		}
		if ok {
			hashes[name] = hash
		}
	}
	return hashes
}

// paths joins what stat, sha256sum and readlink said.
func (p *parser) paths() {
	kinds := map[string]string{"regular file": "file", "regular empty file": "file", "directory": "directory", "symbolic link": "link"}
	for _, line := range p.stats {
		f := strings.SplitN(line, "|", 7)
		if len(f) < 7 {
			continue
		}
		one := Path{Kind: kinds[f[5]], Mode: fmt.Sprintf("%04s", f[0]), UID: f[1], GID: f[2], Owner: f[3], Group: f[4], Hash: p.hashes[f[6]], Target: p.links[f[6]]}
		if one.Kind == "" {
			one.Kind = "other"
		}
		if one.Owner == "UNKNOWN" {
			one.Owner = one.UID
		}
		if one.Group == "UNKNOWN" {
			one.Group = one.GID
		}
		p.seen.Paths[f[6]] = one
	}
}

func (p *parser) packages(lines []string) {
	for _, line := range lines {
		f := strings.SplitN(line, "|", 3)
		if len(f) == 3 && len(f[0]) > 1 && f[0][1] == 'i' {
			p.seen.Packages[f[1]] = f[2]
		}
	}
}

// show reads systemctl's blocks, which come in the order of its arguments: an
// alias has another Id than its name.
func (p *parser) show(lines []string) error {
	var blocks []UnitStatus
	fresh := true
	for _, line := range lines {
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			fresh = true
			continue
		}
		if fresh {
			blocks, fresh = append(blocks, UnitStatus{}), false
		}
		b := &blocks[len(blocks)-1]
		switch key {
		case "LoadState":
			b.Load = value
		case "ActiveState":
			b.Active = value
		case "SubState":
			b.Sub = value
		case "UnitFileState":
			b.Enabled = value
		}
	}
	if len(blocks) != len(p.units) {
		if p.seen.System == "" || p.seen.System == "offline" || p.seen.System == "unknown" {
			return nil // there is no systemd to ask, which is said elsewhere
		}
		return fmt.Errorf("ask systemd for %d units: got %d", len(p.units), len(blocks))
	}
	for i, name := range p.units {
		p.seen.Units[name] = blocks[i]
	}
	return nil
}

func (p *parser) probe(s section) error {
	var numbers []int
	for _, f := range s.fields {
		n, err := strconv.Atoi(f)
		if err != nil {
			return fmt.Errorf("read result of a probe: %w", err)
		}
		numbers = append(numbers, n)
	}
	if len(numbers) != 3 || numbers[0] < 0 || numbers[0] >= len(p.want.Probes) {
		return errors.New("read result of a probe: it is of none")
	}
	p.seen.Probes[numbers[0]] = ProbeResult{
		Name: p.want.Probes[numbers[0]].Name, OK: numbers[1] == 0, ExitCode: numbers[2], Output: tail(p.want.hide(s.trimmed()), 500),
	}
	return nil
}

// pending says what has to end before anything can be planned.
func (s *Seen) pending(held bool) error {
	if held {
		return &PendingError{"an earlier change that still runs"}
	}
	if s.System == "stopping" || s.System == "unknown" {
		return &PendingError{"the machine, which systemd says is " + s.System}
	}
	if s.record != nil {
		for _, job := range s.record.Jobs {
			if s.Units[job.Unit].Runs() || s.Units[job.Unit].Active == "deactivating" {
				return &PendingError{job.Unit + " (" + job.What + ")" + waiting(s.jobLogs[job.Unit])}
			}
		}
	}
	return nil
}
