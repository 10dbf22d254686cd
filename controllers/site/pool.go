// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package site keeps the connections of every Host: one followed Proxmox VE site, and one SSH connection a node. The kinds
// share them, so that a Host has one token bucket, one circuit breaker and one list of guests, however many Guests it has.
// It reads Secrets and writes nothing.
package site

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
)

// ErrGone says that a Host was dropped: who still asks for its connections has an old copy of it.
var ErrGone = errors.New("the Host is gone")

// Options of a pool.
type Options struct {
	// Secrets reads Secrets by name. It must not be a cache: Secrets are not kept in memory.
	Secrets client.Reader
	// OnChange is told which guests of a Host changed outside; see proxmox.SiteOptions. It must not block. May be nil.
	OnChange func(host types.NamespacedName, vmids []int)
	// Timing says how often sites are listed.
	Timing Timing
	// Clock tells the time; nil: the real one.
	Clock clock.WithTicker
}

// Pool holds the connections of every Host. It runs under a manager; connections that are made before it runs begin to be
// followed when it does, and all end with it.
type Pool struct {
	options Options

	mu      sync.Mutex
	run     func(*proxmox.Site) context.CancelFunc // nil unless the pool runs
	members map[types.NamespacedName]*member
	gone    map[types.UID]bool // Hosts that were dropped
	loops   sync.WaitGroup
}

type member struct {
	site   *Site
	config config
	uid    types.UID
	// generation of the Host's spec that the connections were made for.
	generation int64
	stop       context.CancelFunc
}

// NewPool returns an empty pool.
func NewPool(o Options) *Pool {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.OnChange == nil {
		o.OnChange = func(types.NamespacedName, []int) {}
	}
	return &Pool{options: o, members: map[types.NamespacedName]*member{}, gone: map[types.UID]bool{}}
}

// NeedLeaderElection says that only the leader follows sites.
func (p *Pool) NeedLeaderElection() bool { return true }

// Start follows every site until the context ends, and then closes all connections.
func (p *Pool) Start(ctx context.Context) error {
	p.mu.Lock()
	p.run = func(api *proxmox.Site) context.CancelFunc {
		ctx, stop := context.WithCancel(ctx)
		p.loops.Go(func() { api.Run(ctx) })
		return stop
	}
	for _, m := range p.members {
		p.follow(m)
	}
	p.mu.Unlock()

	<-ctx.Done()
	p.mu.Lock()
	p.run = nil
	for name := range p.members {
		p.drop(name)
	}
	p.mu.Unlock()
	p.loops.Wait()
	return nil
}

// Connect returns the connections of a Host as its spec and its Secrets are now. Those that stand are kept while nothing
// differs. It makes no call to the site: whether that answers, the first use tells. What the spec or the Secrets lack is an
// *Error, a Host that was dropped is ErrGone. When only SSH cannot be had, the Site stands without it and Site.Run says why.
func (p *Pool) Connect(ctx context.Context, host *v1alpha1.Host) (*Site, error) {
	wanted, err := p.read(ctx, host)
	if err != nil {
		return nil, err
	}
	name := client.ObjectKeyFromObject(host)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone[host.UID] { // nobody would ever drop what were opened now
		return nil, fmt.Errorf("connect Host/%s: %w", host.Name, ErrGone)
	}
	if m, ok := p.members[name]; ok && m.uid == host.UID && reflect.DeepEqual(m.config, wanted) {
		m.generation = host.Generation
		return m.site, nil
	}
	made, err := p.open(name, wanted)
	if err != nil {
		return nil, err
	}
	p.drop(name)
	m := &member{site: made, config: wanted, uid: host.UID, generation: host.Generation}
	p.members[name] = m
	p.follow(m)
	return made, nil
}

// Get returns the connections of a Host without a look at its Secrets, as long as they were made for its present spec.
// Else it connects.
func (p *Pool) Get(ctx context.Context, host *v1alpha1.Host) (*Site, error) {
	p.mu.Lock()
	m, ok := p.members[client.ObjectKeyFromObject(host)]
	if ok && m.uid == host.UID && m.generation == host.Generation {
		p.mu.Unlock()
		return m.site, nil
	}
	p.mu.Unlock()
	return p.Connect(ctx, host)
}

// Drop closes the connections of a Host that is gone, and lets nobody open them again. It is fine when there are none.
func (p *Pool) Drop(host *v1alpha1.Host) {
	name := client.ObjectKeyFromObject(host)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone[host.UID] = true
	if m, ok := p.members[name]; ok && m.uid == host.UID {
		p.drop(name)
	}
}

// drop closes the connections of that name. It is called with the lock held.
func (p *Pool) drop(name types.NamespacedName) {
	m, ok := p.members[name]
	if !ok {
		return
	}
	delete(p.members, name)
	if m.stop != nil {
		m.stop()
	}
	m.site.close()
}

// follow runs a member's site once the pool runs. It is called with the lock held.
func (p *Pool) follow(m *member) {
	if p.run != nil {
		m.stop = p.run(m.site.api)
	}
}
