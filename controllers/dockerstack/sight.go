// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"context"
	"sync"
	"time"

	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
)

const (
	// sightFor is how long what was read of an environment serves all its stacks.
	sightFor = 2 * time.Second
	// sightLimit bounds the reading of an environment.
	sightLimit = time.Minute
	// roomsFor is how long the names of the environments of a server are taken for what they were. They are read again
	// before anything is deployed.
	roomsFor = 10 * time.Minute
)

// sight is what was read of an environment. It is shared: read it only.
type sight struct {
	order      uint64
	stacks     []portainer.Stack
	containers []portainer.Container
}

// sights are read once for all stacks of an environment.
type sights struct {
	mu    sync.Mutex
	order uint64
	all   map[string]*shared[sight] // by place
}

// now is the order of the last sight that was asked for: later ones show what was done before.
func (s *sights) now() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order
}

// of reads an environment, unless that was done within two seconds and after all that the asker did itself.
func (s *sights) of(ctx context.Context, at place, now time.Time, after uint64) (sight, error) {
	s.mu.Lock()
	if s.all == nil {
		s.all = map[string]*shared[sight]{}
	}
	last := s.all[at.key()]
	if last == nil || last.order <= after || now.Sub(last.at) >= sightFor || now.Before(last.at) {
		s.order++
		last = &shared[sight]{order: s.order, at: now, done: make(chan struct{})}
		s.all[at.key()] = last
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sightLimit)
			defer cancel()
			defer close(last.done)
			last.value, last.err = look(ctx, at)
			last.value.order = last.order
		}()
	}
	s.mu.Unlock()
	return last.wait(ctx)
}

// look reads an environment in two requests. The second one fails where there is no such environment.
func look(ctx context.Context, at place) (sight, error) {
	var out sight
	var err error
	if out.stacks, err = at.portainer.Stacks(ctx, at.environmentID); err != nil {
		return out, err
	}
	if out.containers, err = at.engine.Containers(ctx); err != nil {
		return out, err
	}
	return out, nil
}

// rooms are the environments of servers, by their URLs.
type rooms struct {
	mu  sync.Mutex
	all map[string]*shared[[]portainer.Environment]
}

// of lists the environments of a server; fresh: as they are now.
func (r *rooms) of(ctx context.Context, url string, server Server, now time.Time, fresh bool) ([]portainer.Environment, error) {
	r.mu.Lock()
	if r.all == nil {
		r.all = map[string]*shared[[]portainer.Environment]{}
	}
	last := r.all[url]
	if last == nil || fresh || now.Sub(last.at) >= roomsFor || last.failed() {
		last = &shared[[]portainer.Environment]{at: now, done: make(chan struct{})}
		r.all[url] = last
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sightLimit)
			defer cancel()
			defer close(last.done)
			last.value, last.err = server.Environments(ctx)
		}()
	}
	r.mu.Unlock()
	return last.wait(ctx)
}

// failed says that it was asked for, and did not come.
func (s *shared[T]) failed() bool {
	select {
	case <-s.done:
		return s.err != nil
	default:
		return false
	}
}
