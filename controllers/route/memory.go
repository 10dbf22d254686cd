// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// remembered is what is known of a Route beside its status. It is of use, never of need.
type remembered struct {
	// good is the version of the router's file that Traefik was seen to have without an error.
	good string
	// file is one that was seen on the router, and version what it says of itself.
	file, version string
	// wrote is when the router was last given a file, by the machine's clock.
	wrote time.Time
	// missed is a version that Traefik was asked for and did not have, and since when.
	missed   string
	missedAt time.Time
	// refused is what was rejected, and when it is tried again; slow is how often in a row the router did not take a file in time.
	refused string
	again   time.Time
	slow    int
	// swept names the sides beside which no files of the Route are left.
	swept string
	uses  map[dependency]bool
	// sight is what is served, as far as it was looked at; looking: that is done right now.
	sight   sight
	looking *looking
}

// secretNamesSeen are the names of the certificate in a Secret.
type secretNamesSeen struct {
	names []string
	at    time.Time
}

// memory is what is remembered of all Routes.
type memory struct {
	mu    sync.Mutex
	all   map[types.NamespacedName]*remembered
	names map[types.NamespacedName]secretNamesSeen
	hosts map[string]secretNamesSeen
}

// of is a copy of what is remembered of one.
func (m *memory) of(name types.NamespacedName) remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.all[name]; known != nil {
		return *known
	}
	return remembered{}
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
		known = &remembered{}
		m.all[name] = known
	}
	edit(known)
}

// update edits what is remembered of one, unless that was forgotten meanwhile.
func (m *memory) update(name types.NamespacedName, edit func(*remembered)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.all[name]; known != nil {
		edit(known)
	}
}

func (m *memory) forget(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, name)
}

// depends notes what a Route was found to depend on.
func (m *memory) depends(name types.NamespacedName, on map[dependency]bool) {
	m.change(name, func(known *remembered) {
		if !maps.Equal(known.uses, on) {
			known.uses = on
		}
	})
}

// users are the Routes that were found to depend on something.
func (m *memory) users(on dependency) []types.NamespacedName {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []types.NamespacedName
	for name, known := range m.all {
		if known.uses[on] {
			names = append(names, name)
		}
	}
	return names
}

// namesIn are the names of the certificate in a Secret, if they were read a short while ago.
func (m *memory) namesIn(secret types.NamespacedName, now time.Time) ([]string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen, ok := m.names[secret]
	return slices.Clone(seen.names), ok && now.Sub(seen.at) < awayFor && !now.Before(seen.at)
}

func (m *memory) keepNames(secret types.NamespacedName, names []string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names == nil {
		m.names = map[types.NamespacedName]secretNamesSeen{}
	}
	prune(m.names, now)
	m.names[secret] = secretNamesSeen{names, now}
}

// addressesOf are those that a name was found to have on a machine, if that was a short while ago.
func (m *memory) addressesOf(key string, now time.Time) ([]string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen, ok := m.hosts[key]
	return seen.names, ok && now.Sub(seen.at) < missingFor && !now.Before(seen.at)
}

func (m *memory) keepAddresses(key string, addresses []string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hosts == nil {
		m.hosts = map[string]secretNamesSeen{}
	}
	prune(m.hosts, now)
	m.hosts[key] = secretNamesSeen{addresses, now}
}

// prune drops what is too old to be of use.
func prune[K comparable](all map[K]secretNamesSeen, now time.Time) {
	maps.DeleteFunc(all, func(_ K, seen secretNamesSeen) bool { return now.Sub(seen.at) >= missingFor || now.Before(seen.at) })
}
