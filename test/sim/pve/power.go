// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Behaviour is what a guest's inside does. The zero value is a well-behaved
// Debian: it boots, answers the agent when that is enabled, and shuts down.
type Behaviour struct {
	// IgnoresShutdown never reacts to a shutdown.
	IgnoresShutdown bool
	// NoAgent has no guest agent installed.
	NoAgent bool
	// BootTime until the agent answers, on a real site's clock; default 10 s.
	BootTime time.Duration
	// StartFails is the text with which every start fails.
	StartFails string
	// DHCP is the address that the guest gets where its network says dhcp.
	DHCP string
}

// lockFile takes a guest's file lock, as every writer of its configuration
// does, or gives up after ten seconds of a real site.
func (s *Server) lockFile(vmid int, kind string) (unlock func(), err error) {
	s.mu.Lock()
	g := s.guests[vmid]
	s.mu.Unlock()
	if g == nil {
		return func() {}, nil
	}
	timer := time.NewTimer(s.scaled(10 * time.Second))
	defer timer.Stop()
	select {
	case g.flock <- struct{}{}:
		return func() { <-g.flock }, nil
	case <-timer.C:
	case <-s.ctx.Done():
	}
	path := fmt.Sprintf("/var/lock/qemu-server/lock-%d.conf", vmid)
	if kind == kindLXC {
		path = fmt.Sprintf("/run/lock/lxc/pve-config-%d.lock", vmid)
	}
	return nil, failf("can't lock file '%s' - got timeout", path)
}

// guestTask is a task about a guest that may not be there: then it fails.
func (c *call) guestTask(action string, takes time.Duration, do func(*guest, *task) error) string {
	prefix := "qm"
	if c.kind == kindLXC {
		prefix = "vz"
	}
	name := prefix + action
	if name == "qmmigrate" {
		name = "qmigrate" // the one that is called otherwise
	}
	g, _ := c.guestAt() // a missing one fails in the task
	node, kind, vmid := c.node, c.kind, c.vmid
	return c.spawn(c.user, work{
		node: node, kind: name, id: fmt.Sprint(vmid), lock: g,
		steps: []step{{takes: takes, do: func(t *task) error {
			g := c.guests[vmid]
			if g == nil || g.node != node || g.kind != kind {
				return failf("Configuration file '%s' does not exist", confPath(node, kind, vmid))
			}
			return do(g, t)
		}}},
	})
}

func startGuest(c *call) (any, error) {
	if err := c.skipLock(); err != nil {
		return nil, err
	}
	if err := c.needQuorum(); err != nil {
		return nil, err
	}
	if g, err := c.guestAt(); err == nil && c.kind == kindLXC && g.running {
		return nil, failf("CT %d already running", g.vmid)
	}
	return c.guestTask("start", 2*time.Second, c.boot), nil
}

// startWork starts a guest without a request, as onboot and start=1 do.
func (s *Server) startWork(g *guest) work {
	kind := "qmstart"
	if g.kind == kindLXC {
		kind = "vzstart"
	}
	return work{
		node: g.node, kind: kind, id: fmt.Sprint(g.vmid), lock: g,
		steps: []step{{takes: 2 * time.Second, do: func(t *task) error { return s.boot(g, t) }}},
	}
}

// boot starts a guest, if nothing speaks against it.
func (s *Server) boot(g *guest, t *task) error {
	if err := g.checkLock(); err != nil {
		return err
	}
	switch {
	case g.running:
		return failf("%s %d already running", g.word(), g.vmid)
	case g.isTemplate() && g.kind == kindLXC:
		return failf("you can't start a CT if it's a template")
	case g.isTemplate():
		return failf("you can't start a vm if it's a template")
	case g.behaviour.StartFails != "":
		return errors.New(g.behaviour.StartFails)
	}
	c := g.edit()
	s.applyPending(g, c)
	g.save(c)
	if err := s.checkParts(g); err != nil {
		return err
	}
	if g.kind == kindQEMU && strings.Contains(g.text, "cloudinit") {
		t.logf("generating cloud-init ISO")
	}
	if err := s.outside(g, func(b Guests, info GuestInfo) error { return b.Start(s.ctx, info) }); err != nil {
		return err
	}
	s.run(g)
	return nil
}

// checkParts refuses to start with a bridge or a volume that is not there.
func (s *Server) checkParts(g *guest) error {
	for _, key := range g.conf.main.sortedKeys() {
		value := g.conf.main[key]
		if baseOf(key) == "net" && baseOf(key) != key {
			if problem := s.bridgeProblem(g, value); problem != "" {
				return failf("%s", problem)
			}
		}
		if id := diskVolume(g.kind, key, value); isDiskKey(g.kind, key) && id != "" {
			if _, v := s.volumeByID(g.node, id); v == nil {
				return failf("volume '%s' does not exist", id)
			}
		}
	}
	return nil
}

func (s *Server) run(g *guest) {
	s.pids += 3
	g.running, g.paused, g.pid, g.started, g.touched = true, false, s.pids, time.Now(), true
	boot := g.behaviour.BootTime
	if boot == 0 {
		boot = 10 * time.Second
	}
	g.booted = g.started.Add(s.scaled(boot))
	if g.kind == kindLXC {
		g.booted = g.started
	}
}

// halt stops a guest, by pulling the plug if it is to be killed; a container's
// waiting configuration becomes so then.
func (s *Server) halt(g *guest, kill bool) error {
	if g.running {
		if err := s.outside(g, func(b Guests, info GuestInfo) error { return b.Stop(s.ctx, info.VMID, kill) }); err != nil {
			return err
		}
	}
	g.running, g.paused, g.pid, g.touched, g.answers = false, false, 0, true, false
	if g.kind == kindLXC {
		c := g.edit()
		s.applyPending(g, c)
		g.save(c)
	}
	return nil
}

func (c *call) mustRun(word string) error {
	if g, err := c.guestAt(); c.kind == kindLXC && (err != nil || !g.running) {
		return failf("%s %d not running", word, c.vmid)
	}
	return nil
}

func stopGuest(c *call) (any, error) {
	if err := firstError(c.skipLock(), c.mustRun("CT")); err != nil {
		return nil, err
	}
	return c.guestTask("stop", time.Second, func(g *guest, _ *task) error {
		if err := g.checkLock(); err != nil {
			return err
		}
		if g.running {
			return c.halt(g, true)
		}
		return nil
	}), nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func shutdownGuest(c *call) (any, error) {
	if err := firstError(c.skipLock(), c.mustRun("CT")); err != nil {
		return nil, err
	}
	g, err := c.guestAt()
	takes := 3 * time.Second
	deaf := err == nil && g.behaviour.IgnoresShutdown
	if deaf {
		takes = time.Duration(atoi(first(c.params["timeout"], "60"))) * time.Second
	}
	force := c.params["forceStop"] == "1"
	return c.guestTask("shutdown", takes, func(g *guest, t *task) error {
		if err := g.checkLock(); err != nil {
			return err
		}
		switch {
		case !g.running && g.kind == kindLXC:
			return failf("CT %d not running", g.vmid)
		case !g.running:
			return nil
		case deaf && !force && g.kind == kindLXC:
			return failf("container did not stop")
		case deaf && !force:
			return failf("VM quit/powerdown failed - got timeout")
		case deaf:
			t.logf("VM still running - terminating now with SIGTERM")
		}
		return c.halt(g, deaf)
	}), nil
}

func rebootGuest(c *call) (any, error) {
	if err := c.mustRun("VM"); err != nil {
		return nil, err
	}
	if g, err := c.guestAt(); c.kind == kindQEMU && (err != nil || !g.running) {
		if err != nil {
			return nil, err
		}
		return nil, failf("VM %d not running", c.vmid)
	}
	return c.guestTask("reboot", 4*time.Second, func(g *guest, t *task) error {
		if err := g.checkLock(); err != nil {
			return err
		}
		if g.behaviour.IgnoresShutdown {
			return failf("VM quit/powerdown failed - got timeout")
		}
		if err := c.halt(g, false); err != nil {
			return err
		}
		return c.boot(g, t)
	}), nil
}

func suspendGuest(c *call) (any, error) {
	if err := c.mustRun("CT"); err != nil {
		return nil, err
	}
	return c.guestTask("suspend", time.Second, func(g *guest, _ *task) error {
		if !g.running {
			return failf("VM %d not running", g.vmid)
		}
		g.paused = true
		return nil
	}), nil
}

func resumeGuest(c *call) (any, error) {
	if err := c.mustRun("CT"); err != nil {
		return nil, err
	}
	return c.guestTask("resume", time.Second, func(g *guest, _ *task) error { g.paused = false; return nil }), nil
}

func destroyGuest(c *call) (any, error) {
	if err := c.skipLock(); err != nil {
		return nil, err
	}
	g, err := c.guestAt()
	if err != nil {
		return nil, err
	}
	sid := haID(g)
	switch {
	case g.conf.main["protection"] == "1":
		return nil, failf("can't remove %s %d - protection mode enabled", g.word(), g.vmid)
	case c.ha[sid] != nil && c.params["purge"] != "1":
		return nil, failf("unable to remove %s %d - used in HA resources and purge parameter not set", g.word(), g.vmid)
	}
	if err := g.checkLock(); err != nil {
		return nil, err
	}
	force := c.params["force"] == "1" && g.kind == kindLXC
	if g.running && !force {
		if g.kind == kindLXC {
			return nil, failf("unable to destroy CT %d - container is running", g.vmid)
		}
		return nil, failf("VM %d is running - destroy failed", g.vmid)
	}
	if err := c.needQuorum(); err != nil {
		return nil, err
	}
	purge := c.params["purge"] == "1"
	return c.guestTask("destroy", time.Second, func(g *guest, t *task) error {
		return c.destroy(g, t, force, purge)
	}), nil
}

func (s *Server) destroy(g *guest, t *task, force, purge bool) error {
	if err := g.checkLock(); err != nil {
		return err
	}
	switch {
	case g.running && !force && g.kind == kindLXC:
		return failf("unable to destroy CT %d - container is running", g.vmid)
	case g.running && !force:
		return failf("VM %d is running - destroy failed", g.vmid)
	}
	for _, id := range s.ownedVolumes(g) {
		if st, _ := s.volumeByID(g.node, id); st.inUse(g.node, id) {
			return failf("base volume '%s' is still in use by linked cloned", id)
		}
	}
	g.running = false
	if purge {
		delete(s.ha, haID(g))
		t.logf("purging %s %d from related configurations..", g.word(), g.vmid)
	}
	return s.discard(g)
}

func haID(g *guest) string { return strings.ToLower(g.word()) + fmt.Sprintf(":%d", g.vmid) }
