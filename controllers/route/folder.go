// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/phoenix-hypervisor/phoenix/internal/machine"
)

// files are names with the SHA-256 of what is in them, of one Route in one folder.
type files map[string]string

// sumsOf are the files that an entry will be.
func sumsOf(e machine.Entry) files {
	out := files{}
	for name, content := range e {
		sum := sha256.Sum256(content)
		out[name] = hex.EncodeToString(sum[:])
	}
	return out
}

// present is what was seen in a folder, by prefixes, so that a Route finds its own among thousands.
type present struct {
	at       time.Time
	byPrefix map[string]files
	// kept says for which prefixes something is kept.
	kept map[string]bool
	// raw is the answer that it was made of; two that are one map are one answer.
	raw map[string]string
}

// folders is what was last seen in all folders.
type folders struct {
	mu  sync.Mutex
	all map[string]*present // by side.key
}

// last is what was last seen in a folder; nil: nothing.
func (f *folders) last(s *side) *present {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all[s.key()]
}

// look looks at a folder. All who look within two seconds share the answer.
func (f *folders) look(ctx context.Context, s *side, now time.Time) (*present, error) {
	seen, err := s.folder().Look(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if had := f.all[s.key()]; had != nil && sameMap(had.raw, seen.Files) {
		return had, nil
	}
	p := &present{at: now, byPrefix: map[string]files{}, kept: map[string]bool{}, raw: seen.Files}
	for name, sum := range seen.Files {
		prefix := prefixIn(name)
		if p.byPrefix[prefix] == nil {
			p.byPrefix[prefix] = files{}
		}
		p.byPrefix[prefix][name] = sum
	}
	for name := range seen.Previous {
		p.kept[prefixIn(name)] = true
	}
	if f.all == nil {
		f.all = map[string]*present{}
	}
	f.all[s.key()] = p
	return p, nil
}

// seen returns what is in a folder. What was seen there a while ago does where that is not what is wanted: it is going to be
// written anyway, and nobody waits for a look first.
func (f *folders) seen(ctx context.Context, s *side, want files, now time.Time) (files, bool, error) {
	if p := f.last(s); p != nil && want != nil && now.Sub(p.at) < staleAfter && !p.byPrefix[s.prefix].same(want) {
		return p.byPrefix[s.prefix], p.kept[s.prefix], nil
	}
	p, err := f.look(ctx, s, now)
	if err != nil {
		return nil, false, err
	}
	return p.byPrefix[s.prefix], p.kept[s.prefix], nil
}

// wrote takes note of what was written to a folder: the folder knows it without another look.
func (f *folders) wrote(ctx context.Context, s *side, now time.Time) {
	if _, err := f.look(ctx, s, now); err != nil { // the next pass says so
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.all, s.key())
	}
}

// prefixIn is the prefix in the name of a file.
func prefixIn(name string) string {
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		return name[:i]
	}
	return name
}

// sameMap says whether two maps are one, which answers of a folder are that are shared.
func sameMap(a, b map[string]string) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// same says whether what is there is what is to be.
func (f files) same(want files) bool { return maps.Equal(f, want) }
