// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// What tries are remembered by.
const (
	theDeployment = "deploy"
	thePull       = "pull"
	theRemoval    = "remove"
)

// try is how often something was tried, and when it is tried again, unless what it depends on is another by then.
type try struct {
	of    string
	count int
	next  time.Time
	*problem
}

// remembered is what is known of a stack beside its Secret. It is of use, never of need.
type remembered struct {
	// key of the Secret's hashes, until it is written.
	key []byte
	// file is the text that Portainer has.
	file fileSeen
	// images are references and what they were found to be.
	images map[string]bool
	tries  map[string]try
	// pulled is the release whose images were pulled, and when.
	pulled   string
	pulledAt time.Time
	// after is the last sight of the environment that does not show what we did.
	after uint64
	// ended is when a deployment was begun that Portainer has answered, whether or not the Secret says so.
	ended time.Time
	// lost is the deployment that may go on without anybody who follows it.
	lost     lost
	checkout checkout
}

// lost is a deployment whose answer nobody got: when it was begun, and when this manager first saw that.
type lost struct{ begun, seen time.Time }

// fileSeen is the text of a version of Portainer's record.
type fileSeen struct {
	id      int
	updated int64
	text    string
	known   bool
}

// memory is what is remembered of all stacks.
type memory struct {
	mu  sync.Mutex
	all map[types.NamespacedName]*remembered
}

// of is a copy of what is remembered of one.
func (m *memory) of(name types.NamespacedName) remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.all[name]
	if known == nil {
		return remembered{}
	}
	out := *known
	out.tries, out.images = maps.Clone(known.tries), maps.Clone(known.images)
	return out
}

// change edits what is remembered of one.
func (m *memory) change(name types.NamespacedName, edit func(*remembered)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[types.NamespacedName]*remembered{}
	}
	known := m.all[name]
	if known == nil {
		known = &remembered{tries: map[string]try{}, images: map[string]bool{}}
		m.all[name] = known
	}
	edit(known)
}

func (m *memory) forget(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, name)
}

// key is the one that the Secret of a stack will get.
func (m *memory) key(name types.NamespacedName) (key []byte) {
	m.change(name, func(known *remembered) {
		if known.key == nil {
			known.key = newKey()
		}
		key = known.key
	})
	return key
}

// notice notes since when a deployment has been known that nobody follows.
func (m *memory) notice(name types.NamespacedName, begun, now time.Time) (known lost) {
	m.change(name, func(r *remembered) {
		if !r.lost.begun.Equal(begun) {
			r.lost = lost{begun: begun, seen: now}
		}
		known = r.lost
	})
	return known
}

// tried notes that something was tried, and what is in its way until it is tried again.
func (m *memory) tried(name types.NamespacedName, what, of string, now time.Time, p *problem) {
	m.change(name, func(known *remembered) {
		t := known.tries[what]
		if t.of != of {
			t = try{of: of}
		}
		with := *p
		t.next, t.problem = now.Add(min(firstWait<<min(t.count, 20), lastWait)), &with
		t.count++
		known.tries[what] = t
	})
}

// succeeded forgets the tries of something.
func (m *memory) succeeded(name types.NamespacedName, what string) {
	m.change(name, func(known *remembered) { delete(known.tries, what) })
}

// early is the problem of something that was tried, while it is too early to try it again.
func (r remembered) early(what, of string, now time.Time) *problem {
	t, ok := r.tries[what]
	if !ok || t.of != of || !now.Before(t.next) {
		return nil
	}
	with := *t.problem
	with.after = t.next.Sub(now)
	return &with
}
