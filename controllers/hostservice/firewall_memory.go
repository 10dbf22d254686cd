// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/internal/firewall"
)

// firewallMemories remember what was read for each HostService, so that a pass reads only the files that changed since.
// They are of use, never of need: a manager that starts anew reads everything once.
type firewallMemories struct {
	mu  sync.Mutex
	all map[types.NamespacedName]*firewallMemory
}

// of returns the memory of one HostService. Its passes come one after the other.
func (m *firewallMemories) of(name types.NamespacedName) *firewallMemory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[types.NamespacedName]*firewallMemory{}
	}
	if m.all[name] == nil {
		m.all[name] = &firewallMemory{
			levels: map[firewall.Level]levelMemory{}, dirty: map[firewall.Level]bool{}, clean: map[string]bool{}, applied: map[string]time.Time{},
			tried: map[string]bool{},
		}
	}
	return m.all[name]
}

// forget drops the memory of a HostService whose things are all gone.
func (m *firewallMemories) forget(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, name)
}

// firewallMemory is what was read for one HostService.
type firewallMemory struct {
	levels map[firewall.Level]levelMemory
	// dirty are levels that were written to since they were read. A node may show a file's digest a moment late.
	dirty  map[firewall.Level]bool
	site   siteMemory
	macros []string
	// clean are the nodes on which nothing waits to be put back; only this manager could have changed that.
	clean  map[string]bool
	record firewall.Record
	// applied is since when a guarded change was seen complete, by its token.
	applied map[string]time.Time
	// tried are the guarded changes, by token, with which this process tried to get in and did not.
	tried map[string]bool
	// armed is the change that this process armed last and did not confirm, and armedAt when.
	armed   string
	armedAt time.Time
}

type levelMemory struct {
	digest string
	state  firewall.LevelState
}

// siteMemory is what stands in the datacenter's file beside its level.
type siteMemory struct {
	key     string // empty: not read
	groups  map[string]firewall.Group
	aliases map[string]firewall.Alias
	sets    map[string]firewall.Set
}

// touch forgets what a change is about, before it is made: whatever its answer, that is read again.
func (m *firewallMemory) touch(l firewall.Level) {
	delete(m.levels, l)
	m.dirty[l] = true
	if l == firewall.Datacenter {
		m.site = siteMemory{}
	}
}

// stateOf is a copy of what was read.
func (m *firewallMemory) stateOf(levels []firewall.Level) firewall.State {
	s := firewall.State{
		Levels: map[firewall.Level]firewall.LevelState{},
		Groups: maps.Clone(m.site.groups), Aliases: maps.Clone(m.site.aliases), Sets: maps.Clone(m.site.sets),
	}
	for _, l := range levels {
		s.Levels[l] = m.levels[l].state
	}
	return s
}
