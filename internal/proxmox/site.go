// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// digestPatience is how many intervals without digests are borne before guests
// count as no longer watched by them.
const digestPatience = 5

// SiteOptions say how one site is followed.
type SiteOptions struct {
	Endpoint
	// Interval is the time between two lists of all guests; 10 s when zero,
	// which is how often Proxmox VE refreshes what it tells (measured).
	Interval time.Duration
	// DigestInterval is the time between two calls of Digests; 60 s when zero.
	DigestInterval time.Duration
	// Digests returns the digest of every guest's configuration by VMID, as
	// DigestCommand prints them over SSH. Nil without SSH.
	Digests func(context.Context) (map[int]string, error)
	// OnChange is told the VMIDs, sorted, of guests that differ from before:
	// status, node, lock, name, tags, high availability or digest; that came or
	// went; whose task ended; and of all guests when the site answers again or
	// a doubt is over. It must not block. May be nil.
	OnChange func(vmids []int)
	// Clock tells the time; nil: the real one.
	Clock clock.WithTicker
}

// Snapshot is what a site showed at one time. It is shared: do not change it.
type Snapshot struct {
	At     time.Time        // when the list was asked for
	Guests map[int]Resource // by VMID
	// Doubt says, when it is not empty, why the list is not to be trusted:
	// creation and destruction must wait.
	Doubt string
	// Offline are the nodes that do not answer, as of at most a minute ago.
	Offline []string
	// DigestsAt is when the digests were last read; zero: never, or not for so
	// long that a change would go unseen. OnChange is told all guests then.
	DigestsAt time.Time
}

// DoubtAbout is Doubt, or says that the node that holds the guest is offline.
func (s Snapshot) DoubtAbout(vmid int) string {
	if s.Doubt != "" {
		return s.Doubt
	}
	if guest, ok := s.Guests[vmid]; ok && slices.Contains(s.Offline, guest.Node) {
		return fmt.Sprintf("node %s, which holds guest %d, is offline", guest.Node, vmid)
	}
	return ""
}

// Site follows one site: it owns the client, lists all guests together, tells
// who changed, follows tasks and bounds how many run at once. It costs six
// lists a minute and one question for the quorum, whatever the number of
// guests, and one request a second for each task that is watched. A Site is
// safe for concurrent use and runs once.
type Site struct {
	client   *Client
	options  SiteOptions
	clock    clock.WithTicker
	limits   Limits
	lifetime func() (context.Context, context.CancelFunc) // of one observation; ends with Run
	end      context.CancelFunc
	flights  sync.WaitGroup
	wake     chan struct{} // a task is watched

	mu            sync.Mutex
	running, next *flight
	ended         bool // Run is over
	seen          observed
	listErr       error
	digests       map[int]string
	digestsAt     time.Time
	digestErr     error
	tasks         map[UPID]*watch
	destroying    map[int]time.Time // guests that we are destroying ourselves
	slots         slots
}

// flight is one observation that several callers may wait for.
type flight struct {
	thorough bool
	done     chan struct{}
	snapshot Snapshot
	err      error
}

var errSiteEnded = errors.New("the site is no longer followed")

// NewSite returns a site that is not followed yet: see Run. It makes no
// connection; it returns an error when the endpoint cannot be used.
func NewSite(o SiteOptions) (*Site, error) {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	o.Endpoint.Clock = o.Clock
	if o.Interval <= 0 {
		o.Interval = 10 * time.Second
	}
	if o.DigestInterval <= 0 {
		o.DigestInterval = time.Minute
	}
	if o.OnChange == nil {
		o.OnChange = func([]int) {}
	}
	client, err := New(o.Endpoint)
	if err != nil {
		return nil, err
	}
	base, end := context.WithCancel(context.Background())
	site := &Site{
		client: client, options: o, clock: o.Clock, limits: client.limits, end: end,
		lifetime: func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(base, 2*callTimeout) // a list and what it gives cause to ask
		},
		wake:       make(chan struct{}, 1),
		tasks:      map[UPID]*watch{},
		destroying: map[int]time.Time{},
		slots:      slots{storages: map[string]int{}, templates: map[int]int{}},
	}
	client.onConfig = site.noteDigest
	client.onTags = func() { site.join(false) }
	return site, nil
}

// Client returns the client of the site.
func (s *Site) Client() *Client { return s.client }

// Run follows the site until the context ends; nothing runs on afterwards.
func (s *Site) Run(ctx context.Context) {
	var loops sync.WaitGroup
	loops.Go(func() {
		s.every(ctx, s.options.Interval, func() {
			f := s.join(false)
			select {
			case <-f.done:
			case <-ctx.Done():
			}
		})
	})
	if s.options.Digests != nil {
		loops.Go(func() { s.every(ctx, s.options.DigestInterval, func() { s.readDigests(ctx) }) })
	}
	loops.Go(func() { s.track(ctx) })
	loops.Wait()
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.end()
	s.flights.Wait()
	s.client.Close()
}

// every calls f now and then once an interval.
func (s *Site) every(ctx context.Context, interval time.Duration, f func()) {
	ticker := s.clock.NewTicker(interval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		f()
		select {
		case <-ctx.Done():
		case <-ticker.C():
		}
	}
}

// Snapshot returns the last list that could be read, however old, and whether
// there is one. See Err for whether the site answers now.
func (s *Site) Snapshot() (Snapshot, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	snapshot := s.seen.snapshot
	snapshot.DigestsAt = s.digestsAt
	return snapshot, !snapshot.At.IsZero()
}

// Err returns what the last list and the last reading of digests met, nil when
// both succeeded.
func (s *Site) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.listErr, s.digestErr)
}

// Refresh returns a list that was asked for after the call, and the state of
// the cluster with it. Callers that come together share one.
func (s *Site) Refresh(ctx context.Context) (Snapshot, error) {
	f := s.join(true)
	select {
	case <-f.done:
		return f.snapshot, f.err
	case <-ctx.Done():
		return Snapshot{}, fmt.Errorf("list guests: %w", context.Cause(ctx))
	}
}

// join returns an observation that has not begun yet, or begins one. One that
// is under way is of no use: it may tell of the time before the call.
func (s *Site) join(thorough bool) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = &flight{done: make(chan struct{})}
	}
	f := s.next
	f.thorough = f.thorough || thorough
	s.launch()
	return f
}

// launch begins the next observation unless one is under way. It is called
// with the lock held.
func (s *Site) launch() {
	if s.running != nil || s.next == nil {
		return
	}
	f := s.next
	if s.ended {
		f.err = errSiteEnded
		s.next = nil
		close(f.done)
		return
	}
	s.running, s.next = f, nil
	s.flights.Go(func() {
		ctx, cancel := s.lifetime()
		defer cancel()
		f.snapshot, f.err = s.observe(ctx, f.thorough)
		close(f.done)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running = nil
		s.launch()
	})
}

func (s *Site) readDigests(ctx context.Context) {
	digests, err := s.options.Digests(ctx)
	s.mu.Lock()
	if err != nil {
		s.digestErr = fmt.Errorf("read digests: %w", err)
		var unwatched []int
		if !s.digestsAt.IsZero() && s.clock.Since(s.digestsAt) > digestPatience*s.options.DigestInterval {
			s.digestsAt = time.Time{}
			unwatched = slices.Sorted(maps.Keys(s.digests))
		}
		s.mu.Unlock()
		s.tell(unwatched)
		return
	}
	var changed []int
	if s.digests != nil {
		changed = differing(s.digests, digests, func(a, b string) bool { return a == b })
	}
	s.digests, s.digestsAt, s.digestErr = digests, s.clock.Now(), nil
	s.mu.Unlock()
	s.tell(changed)
}

// noteDigest forgets the listed digest of a guest whose configuration was read
// with another one. Else a change that is put back between two readings and
// then made again would look like no change.
func (s *Site) noteDigest(vmid int, digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if listed, ok := s.digests[vmid]; ok && listed != digest {
		delete(s.digests, vmid)
	}
}

// tell reports changed guests, when there are any, without a lock.
func (s *Site) tell(vmids []int) {
	if len(vmids) > 0 {
		s.options.OnChange(vmids)
	}
}

// differing returns the sorted keys whose values differ or that one side lacks.
func differing[V any](before, after map[int]V, equal func(a, b V) bool) []int {
	changed := map[int]bool{}
	for vmid, old := range before {
		if now, ok := after[vmid]; !ok || !equal(old, now) {
			changed[vmid] = true
		}
	}
	for vmid := range after {
		if _, ok := before[vmid]; !ok {
			changed[vmid] = true
		}
	}
	return slices.Sorted(maps.Keys(changed))
}
