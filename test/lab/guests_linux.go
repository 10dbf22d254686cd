// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// guests stand behind the guests of the site: a container for each.
type guests struct {
	lab *Lab

	mu  sync.Mutex
	all map[int]*guest
}

// guest is one of them. Its lock is held while it changes.
type guest struct {
	mu sync.Mutex
	*machine
	spec guestSpec
	// booted is closed once a VM that was started answers its agent.
	booted chan struct{}
	cancel context.CancelFunc // ends the wait for it
}

var _ pve.Guests = (*guests)(nil)

var errNotRunning = errors.New("guest is not running")

// find returns a guest, locked.
func (s *guests) find(vmid int) (*guest, error) {
	s.mu.Lock()
	g := s.all[vmid]
	s.mu.Unlock()
	if g == nil {
		return nil, fmt.Errorf("there is no guest %d", vmid)
	}
	g.mu.Lock()
	return g, nil
}

// Create implements pve.Guests.
func (s *guests) Create(_ context.Context, info pve.GuestInfo) error {
	spec, err := parseGuest(info)
	if err != nil {
		return err
	}
	m, err := s.lab.newMachine(strconv.Itoa(info.VMID))
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.all[info.VMID] = &guest{machine: m, spec: spec}
	s.mu.Unlock()
	s.lab.changed()
	return nil
}

// Configure implements pve.Guests: a running guest's network and mounts follow at once.
func (s *guests) Configure(ctx context.Context, info pve.GuestInfo) error {
	spec, err := parseGuest(info)
	if err != nil {
		return err
	}
	g, err := s.find(info.VMID)
	if err != nil {
		return err
	}
	defer g.mu.Unlock()
	old := g.spec
	g.spec = spec
	s.lab.changed()
	if g.pid == 0 {
		return nil
	}
	err = errors.Join(g.changeNICs(ctx, old.nics), g.announce(), s.lab.addMounts(g, old.mounts))
	if err != nil {
		s.lab.say("lab guest %s  %v", g.name, err) // the site goes on
	}
	return err
}

// Start implements pve.Guests.
func (s *guests) Start(ctx context.Context, info pve.GuestInfo) error {
	spec, err := parseGuest(info)
	if err != nil {
		return err
	}
	g, err := s.find(info.VMID)
	if err != nil {
		return err
	}
	defer g.mu.Unlock()
	g.spec = spec
	binds, err := s.lab.binds(g)
	if err != nil {
		return err
	}
	if err := s.lab.introduce(g); err != nil {
		return err
	}
	c := container{hostname: spec.hostname, root: g.root, groups: g.groups, powers: spec.vm, nics: spec.nics, binds: binds}
	if err := g.start(ctx, c.lxcConfig()); err != nil {
		return err
	}
	s.lab.changed()
	if err := errors.Join(s.lab.loadGuest(ctx, g), g.announce()); err != nil {
		return err
	}
	if spec.vm {
		s.boot(g)
	}
	return nil
}

// boot lets a VM answer its agent once it has booted.
func (s *guests) boot(g *guest) {
	ctx, cancel := context.WithCancel(s.lab.ctx)
	m, spec, booted := *g.machine, g.spec, make(chan struct{})
	g.booted, g.cancel = booted, cancel
	s.lab.running.Go(func() {
		err := m.booted(ctx)
		if err == nil {
			err = m.cloudInit(ctx, spec)
		}
		if err == nil {
			close(booted)
		} else if ctx.Err() == nil {
			s.lab.say("guest %s does not boot: %v", m.name, err)
		}
	})
}

// Stop implements pve.Guests.
func (s *guests) Stop(ctx context.Context, vmid int, kill bool) error {
	g, err := s.find(vmid)
	if err != nil {
		return err
	}
	defer g.mu.Unlock()
	return g.halt(ctx, kill)
}

func (g *guest) halt(ctx context.Context, kill bool) error {
	if g.cancel != nil {
		g.cancel()
		g.booted, g.cancel = nil, nil
	}
	return g.stop(ctx, kill)
}

// Destroy implements pve.Guests.
func (s *guests) Destroy(ctx context.Context, vmid int) error {
	g, err := s.find(vmid)
	if err != nil {
		return err
	}
	defer g.mu.Unlock()
	if err := g.halt(ctx, true); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.all, vmid)
	s.mu.Unlock()
	s.lab.changed()
	return errors.Join(g.remove(), os.RemoveAll(s.lab.volumes(vmid)))
}

// Exec implements pve.Guests.
func (s *guests) Exec(ctx context.Context, vmid int, argv []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	g, err := s.find(vmid)
	if err != nil {
		return 0, err
	}
	m, vm, booted := *g.machine, g.spec.vm, g.booted
	g.mu.Unlock()
	if m.pid == 0 {
		return 0, errNotRunning
	}
	if vm && !closed(booted) {
		return 0, errors.New("QEMU guest agent is not running")
	}
	return m.attach(ctx, argv, stdin, stdout, stderr)
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Interfaces implements pve.Guests.
func (s *guests) Interfaces(ctx context.Context, vmid int) ([]pve.Interface, error) {
	g, err := s.find(vmid)
	if err != nil {
		return nil, err
	}
	m := *g.machine
	g.mu.Unlock()
	if m.pid == 0 {
		return nil, errNotRunning
	}
	text, err := m.inNetwork(ctx, nil, "ip", "-json", "address", "show")
	if err != nil {
		return nil, err
	}
	return parseInterfaces(text)
}

// parseInterfaces reads what "ip -json address" prints.
func parseInterfaces(text string) ([]pve.Interface, error) {
	var rows []struct {
		Name      string `json:"ifname"`
		MAC       string `json:"address"`
		Addresses []struct {
			Local string `json:"local"`
			Bits  int    `json:"prefixlen"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		return nil, fmt.Errorf("read interfaces: %w", err)
	}
	var out []pve.Interface
	for _, row := range rows {
		if row.Name == "lo" {
			continue
		}
		i := pve.Interface{Name: row.Name, MAC: row.MAC}
		for _, a := range row.Addresses {
			addr, err := netip.ParseAddr(a.Local)
			if err != nil {
				return nil, fmt.Errorf("read interfaces: %w", err)
			}
			i.Addresses = append(i.Addresses, netip.PrefixFrom(addr, a.Bits))
		}
		out = append(out, i)
	}
	return out, nil
}

func (s *guests) isContainer(name string) bool {
	vmid, err := strconv.Atoi(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.all[vmid]
	return err == nil && g != nil && !g.spec.vm // a guest does not change its kind
}

func (s *guests) isUp(vmid int) bool {
	g, err := s.find(vmid)
	if err != nil {
		return false
	}
	defer g.mu.Unlock()
	return g.pid != 0
}

// volumes is the folder of the volumes of a guest's mount points.
func (l *Lab) volumes(vmid int) string { return filepath.Join(l.dir, "volumes", strconv.Itoa(vmid)) }

// engineFolder is where a Docker engine keeps what it has.
const engineFolder = "/var/lib/docker"

// binds are the folders of this machine behind a container's mount points. A VM has its engine's folder in one, too: the
// engine stacks file systems, which is not possible on the one that machines share below their own.
func (l *Lab) binds(g *guest) ([]bind, error) {
	var out []bind
	if g.spec.vm {
		b := bind{source: filepath.Join(g.dir, "docker"), target: engineFolder}
		if err := os.MkdirAll(b.source, 0o711); err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	for _, m := range g.spec.mounts {
		b, err := l.bind(g, m)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

func (l *Lab) bind(g *guest, m mount) (bind, error) {
	b := bind{target: m.target, readOnly: m.readOnly}
	var err error
	if m.isVolume() {
		b.source = filepath.Join(l.volumes(g.spec.vmid), strings.ReplaceAll(m.source, "/", "_"))
		return b, os.MkdirAll(b.source, 0o755)
	}
	if b.source, err = l.host.resolve(m.source); err != nil {
		return b, fmt.Errorf("directory '%s' does not exist", m.source)
	}
	return b, nil
}
