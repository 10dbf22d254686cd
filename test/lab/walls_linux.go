// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/lab/wall"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// walls are the firewalls of the machines: the tables that are loaded.
type walls struct {
	wake chan struct{} // has room for one

	mu     sync.Mutex
	asked  int // how often something changed
	done   int // how much of it is loaded
	again  chan struct{}
	loaded map[int]string // by VMID; Host for the host
	err    error          // what could not be translated or loaded
}

// changed has the firewalls and /etc/pve brought up to what the site says now.
func (l *Lab) changed() {
	l.walls.mu.Lock()
	l.walls.asked++
	l.walls.mu.Unlock()
	select {
	case l.walls.wake <- struct{}{}:
	default: // it is on its way already
	}
}

// round is how often /etc/pve is looked at without being told: not every change of a guest's file is one of the guest.
const round = 300 * time.Millisecond

// keepWalls does so until the lab stops.
func (l *Lab) keepWalls() {
	tick := time.NewTicker(round)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
			if err := l.folder.fromSite(); err != nil {
				l.say("lab /etc/pve   %v", err)
			}
			continue
		case <-l.walls.wake:
		}
		l.walls.mu.Lock()
		asked := l.walls.asked
		l.walls.mu.Unlock()
		err := errors.Join(l.folder.fromSite(), l.loadAll(l.ctx))
		l.walls.mu.Lock()
		if err != nil && l.ctx.Err() == nil && (l.walls.err == nil || l.walls.err.Error() != err.Error()) {
			l.say("lab firewall   %v", err)
		}
		l.walls.done, l.walls.err = asked, err
		close(l.walls.again)
		l.walls.again = make(chan struct{})
		l.walls.mu.Unlock()
	}
}

// Settled waits until the machines' firewalls and the host's /etc/pve are what the site says at the time of the call. The
// error names rules that could not be translated.
func (l *Lab) Settled(ctx context.Context) error {
	l.changed()
	l.walls.mu.Lock()
	defer l.walls.mu.Unlock()
	for asked := l.walls.asked; l.walls.done < asked; {
		again := l.walls.again
		l.walls.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-l.ctx.Done():
		case <-again:
		}
		l.walls.mu.Lock()
		if err := errors.Join(ctx.Err(), l.ctx.Err()); err != nil {
			return err
		}
	}
	return l.walls.err
}

// loadAll loads the tables that changed.
func (l *Lab) loadAll(ctx context.Context) error {
	state := l.Site.Firewall()
	errs := []error{l.loadTable(ctx, state, Host, *l.host)}
	l.guests.mu.Lock()
	var vmids []int
	for vmid := range l.guests.all {
		vmids = append(vmids, vmid)
	}
	l.guests.mu.Unlock()
	for _, vmid := range vmids {
		g, err := l.guests.find(vmid)
		if err != nil {
			continue // it has just been destroyed
		}
		if g.pid == 0 {
			l.forget(vmid)
		} else {
			errs = append(errs, l.loadTable(ctx, state, vmid, *g.machine))
		}
		g.mu.Unlock()
	}
	return errors.Join(errs...)
}

// loadGuest loads the table of a guest that has just been started.
func (l *Lab) loadGuest(ctx context.Context, g *guest) error {
	l.forget(g.spec.vmid)
	site := l.site.Load()
	if site == nil {
		return nil // the site starts: all tables are loaded when it has
	}
	return l.loadTable(ctx, site.Firewall(), g.spec.vmid, *g.machine)
}

func (l *Lab) forget(vmid int) {
	l.walls.mu.Lock()
	defer l.walls.mu.Unlock()
	delete(l.walls.loaded, vmid)
}

func (l *Lab) loadTable(ctx context.Context, state pve.FirewallState, vmid int, m machine) error {
	table, problem := l.translate(state, vmid)
	l.walls.mu.Lock()
	defer l.walls.mu.Unlock()
	if old, there := l.walls.loaded[vmid]; there && old == table || !there && table == "" {
		return problem
	}
	if _, err := m.inNetwork(ctx, strings.NewReader(wall.Load(table)), "nft", "-f", "-"); err != nil {
		return errors.Join(problem, fmt.Errorf("load firewall of machine %s: %w", m.name, err))
	}
	l.walls.loaded[vmid] = table
	return problem
}

func (l *Lab) translate(state pve.FirewallState, vmid int) (string, error) {
	if vmid == Host {
		return wall.Node(state, l.node, netip.MustParsePrefix(HostAddress+"/24"))
	}
	return wall.Guest(state, vmid)
}

// Rules returns the rules of the firewall in a machine, as nft lists them, without those that its Docker engine makes, and what nft makes of those that the site declares,
// loaded into an empty network for the purpose. The machine is a guest by its VMID, or the Host.
func (l *Lab) Rules(ctx context.Context, vmid int) (loaded, declared string, err error) {
	m, err := l.machine(vmid)
	if err != nil {
		return "", "", err
	}
	if loaded, err = m.inNetwork(ctx, nil, "nft", "--stateless", "list", "ruleset", "inet"); err != nil {
		return "", "", err
	}
	table, err := l.translate(l.Site.Firewall(), vmid)
	if err != nil {
		return "", "", err
	}
	cmd := exec.CommandContext(ctx, "unshare", "--net", "sh", "-c", "nft -f - && nft --stateless list ruleset inet")
	cmd.Stdin = strings.NewReader(wall.Load(table))
	out, err := cmd.Output()
	if err != nil {
		return "", "", fmt.Errorf("load declared rules: %w", err)
	}
	return loaded, string(out), nil
}
