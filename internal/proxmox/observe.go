// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// checkEvery is how old the known state of the cluster may be.
	checkEvery = time.Minute
	// shrinkHold is how long a list that shrank at once is doubted.
	shrinkHold = 10 * time.Minute
	// shrinkLeast guests must be gone before a list counts as shrunk.
	shrinkLeast = 3
	// youth is how long a new guest may be "unknown" without arousing doubt:
	// Proxmox VE tells its state after up to 10 s (measured).
	youth = 30 * time.Second
	// destroyMemory is how long a guest may go that we destroy ourselves.
	destroyMemory = 15 * time.Minute
)

// observed is what the lists up to now have shown.
type observed struct {
	snapshot    Snapshot
	trusted     map[int]Resource // the last list that had not shrunk at once
	shrunkSince time.Time
	firstSeen   map[int]time.Time // zero: already in the first list
	cluster     clusterState
	checkedAt   time.Time
	blind       bool // the list is empty and the token may see nothing
	away        bool // the last list failed
}

// observe lists all guests, judges the list and tells who changed.
func (s *Site) observe(ctx context.Context, thorough bool) (Snapshot, error) {
	asked := s.clock.Now()
	list, err := s.client.Resources(ctx)
	if err != nil {
		return Snapshot{}, s.fail(err)
	}
	guests := make(map[int]Resource, len(list))
	for _, guest := range list {
		guests[guest.VMID] = guest
	}
	s.mu.Lock()
	seen := s.seen
	destroying := maps.Clone(s.destroying)
	s.mu.Unlock()
	// Only one observation runs at a time: seen is ours until it is put back.
	if thorough || asked.Sub(seen.checkedAt) >= checkEvery || seen.suspicious(guests) {
		if err := s.check(ctx, &seen, len(guests) == 0); err != nil {
			return Snapshot{}, s.fail(err)
		}
		seen.checkedAt = asked
	}
	changed := seen.take(asked, guests, destroying)

	s.mu.Lock()
	s.seen, s.listErr = seen, nil
	snapshot := seen.snapshot
	snapshot.DigestsAt = s.digestsAt
	maps.DeleteFunc(s.destroying, func(_ int, since time.Time) bool { return asked.Sub(since) > destroyMemory })
	s.mu.Unlock()
	s.tell(changed)
	return snapshot, nil
}

// fail notes that the site could not be listed; the last list stays.
func (s *Site) fail(err error) error {
	err = fmt.Errorf("list guests: %w", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listErr, s.seen.away = err, true
	return err
}

// check asks for the state of the cluster, and for the token's privileges when
// the list is empty: a token without VM.Audit sees an empty list (measured).
func (s *Site) check(ctx context.Context, seen *observed, empty bool) error {
	state, err := s.client.clusterStatus(ctx)
	switch {
	case IsDenied(err):
		// Without Sys.Audit nothing is known of the cluster; a write without a
		// quorum is refused by Proxmox VE itself.
		state = clusterState{quorate: true}
	case err != nil:
		return err
	}
	seen.cluster = state
	seen.blind = false
	if empty {
		permissions, err := s.client.Permissions(ctx)
		if err != nil {
			return err
		}
		seen.blind = !permissions.Has("/vms", "VM.Audit")
	}
	return nil
}

// suspicious says whether a list gives cause to ask for the cluster's state at
// once: it is empty, shrank, or a guest became unknown.
func (o *observed) suspicious(guests map[int]Resource) bool {
	if len(guests) == 0 || len(guests) < len(o.snapshot.Guests) {
		return true
	}
	for vmid, guest := range guests {
		if before, ok := o.snapshot.Guests[vmid]; ok && guest.Status == "unknown" && before.Status != "unknown" {
			return true
		}
	}
	return false
}

// take makes the list the latest snapshot and returns who changed.
func (o *observed) take(at time.Time, guests map[int]Resource, destroying map[int]time.Time) []int {
	before := o.snapshot
	first := before.At.IsZero()
	firstSeen := make(map[int]time.Time, len(guests))
	for vmid := range guests {
		since, known := o.firstSeen[vmid]
		if !known && !first {
			since = at
		}
		firstSeen[vmid] = since
	}
	o.firstSeen = firstSeen
	shrunk := o.shrink(at, guests, destroying)
	o.snapshot = Snapshot{At: at, Guests: guests, Offline: o.cluster.offline, Doubt: o.doubt(at, guests, shrunk)}

	changed := differing(before.Guests, guests, Resource.equal)
	over := before.Doubt != "" && o.snapshot.Doubt == ""
	if o.away || over || !slices.Equal(before.Offline, o.cluster.offline) {
		all := maps.Clone(guests)
		maps.Copy(all, before.Guests)
		changed = slices.Sorted(maps.Keys(all))
	}
	o.away = false
	return changed
}

// shrink says why a list is doubted for being too short, "" when it is not.
// Guests that we destroy ourselves are not missed. A list that stays short is
// believed after shrinkHold.
func (o *observed) shrink(at time.Time, guests map[int]Resource, destroying map[int]time.Time) string {
	known, gone := 0, 0
	for vmid := range o.trusted {
		_, here := guests[vmid]
		if _, ours := destroying[vmid]; ours && !here {
			continue
		}
		known++
		if !here {
			gone++
		}
	}
	if gone < shrinkLeast || gone*2 <= known {
		o.trusted, o.shrunkSince = guests, time.Time{}
		return ""
	}
	if o.shrunkSince.IsZero() {
		o.shrunkSince = at
	}
	if at.Sub(o.shrunkSince) >= shrinkHold {
		o.trusted, o.shrunkSince = guests, time.Time{}
		return ""
	}
	return fmt.Sprintf("the list shrank at once: %d of %d guests are gone", gone, known)
}

// doubt says why creation and destruction must wait, "" when they need not.
func (o *observed) doubt(at time.Time, guests map[int]Resource, shrunk string) string {
	var doubts []string
	if !o.cluster.quorate {
		doubts = append(doubts, "the cluster has no quorum")
	}
	if len(guests) == 0 && o.blind {
		doubts = append(doubts, "the list is empty and the token lacks VM.Audit on /vms")
	}
	if shrunk != "" {
		doubts = append(doubts, shrunk)
	}
	unknown, counted := 0, 0
	for vmid, guest := range guests {
		if since := o.firstSeen[vmid]; !since.IsZero() && at.Sub(since) < youth || isBeingMade(guest.Lock) {
			continue
		}
		counted++
		if guest.Status == "unknown" {
			unknown++
		}
	}
	if unknown*2 > counted {
		doubts = append(doubts, fmt.Sprintf("the state of %d of %d guests is unknown", unknown, counted))
	}
	return strings.Join(doubts, "; ")
}

func isBeingMade(lock string) bool { return lock == "create" || lock == "clone" || lock == "restore" }
