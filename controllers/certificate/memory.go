// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// theAuthority is what tries at the authority are remembered by; those of a delivery by its name and machine.
const theAuthority = "the authority"

// try is how often something did not succeed, and when it is tried again. It holds back that thing alone, and nothing once
// what it depends on is another.
type try struct {
	of    string // what it depends on
	count int
	next  time.Time
	*problem
}

// remembered is what is known of a Certificate beside its Secret. It is of use, never of need.
type remembered struct {
	// fresh is what was signed and could not be written to the Secret yet.
	fresh *material
	// revoked is the serial of a certificate that the authority renews no more.
	revoked string
	// unknown is the serial of one that the authority does not take as a proof: it is signed anew with its key.
	unknown string
	tries   map[string]try
}

// memory is what is remembered of all Certificates.
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
	out.tries = map[string]try{}
	for what, t := range known.tries {
		out.tries[what] = t
	}
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
		known = &remembered{tries: map[string]try{}}
		m.all[name] = known
	}
	edit(known)
	if known.fresh == nil && known.revoked+known.unknown == "" && len(known.tries) == 0 {
		delete(m.all, name)
	}
}

func (m *memory) forget(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, name)
}

// failed notes that something did not succeed, and returns the problem with the time until the next try: from a second,
// doubling, to five minutes.
func (m *memory) failed(name types.NamespacedName, what, of string, now time.Time, p *problem) *problem {
	m.change(name, func(known *remembered) {
		t := known.tries[what]
		if t.of != of {
			t = try{of: of}
		}
		with := *p
		with.after = min(firstWait<<min(t.count, 20), lastWait)
		t.count, t.next, t.problem = t.count+1, now.Add(with.after), &with
		known.tries[what] = t
		p = &with
	})
	return p
}

// succeeded forgets the tries of something.
func (m *memory) succeeded(name types.NamespacedName, what string) {
	m.change(name, func(known *remembered) { delete(known.tries, what) })
}

// early is the problem of something that did not succeed, while it is too early to try it again.
func (r remembered) early(what, of string, now time.Time) *problem {
	t, ok := r.tries[what]
	if !ok || t.of != of || !now.Before(t.next) {
		return nil
	}
	with := *t.problem
	with.after = t.next.Sub(now)
	return &with
}
