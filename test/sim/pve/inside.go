// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

// inside is what a guest's machine is like now. Its own lock orders what is done
// to it; it is taken before the site's.
type inside struct {
	mu      sync.Mutex
	machine *machine.Machine
	started time.Time // the start that was followed last; zero: it is off
	mounts  []string
}

// wish is what a guest's machine is to be like.
type wish struct {
	name      string
	addresses []netip.Addr
	mounts    []bind
	started   time.Time
	agent     bool
	resolver  string // its /etc/resolv.conf; "" is what it was
}

// bind is a folder of the node that a container sees.
type bind struct {
	point, folder string
	ro            bool
}

// wish looks at a guest. The site must be locked.
func (s *Server) wish(g *guest) wish {
	w := wish{name: g.name(), agent: g.kind == kindQEMU && !g.behaviour.NoAgent}
	if g.running {
		w.started = g.started
	}
	if domain := g.conf.main["searchdomain"]; domain != "" {
		w.resolver = "search " + domain + "\n"
	}
	for _, server := range strings.Fields(g.conf.main["nameserver"]) {
		w.resolver += "nameserver " + server + "\n"
	}
	for n := range 32 {
		key := fmt.Sprintf("net%d", n)
		if g.conf.main[key] == "" {
			continue
		}
		if g.kind == kindQEMU {
			key = fmt.Sprintf("ipconfig%d", n)
		}
		for _, prefix := range g.addresses(key) {
			w.addresses = append(w.addresses, prefix.Addr())
		}
	}
	for _, key := range g.conf.main.sortedKeys() {
		values := looseParse(g.conf.main[key])
		if g.kind != kindLXC || baseOf(key) != "mp" || !strings.HasPrefix(values[""], "/") {
			continue
		}
		w.mounts = append(w.mounts, bind{point: values["mp"], folder: values[""], ro: values["ro"] == "1"})
	}
	return w
}

// GuestMachine is a guest's simulated machine; nil when there is no such guest,
// or somebody else stands behind the guests. It follows the guest: it runs while
// the guest does, and has its name, addresses and bind mounts.
func (s *Server) GuestMachine(vmid int) *machine.Machine {
	s.mu.Lock()
	g := s.guests[vmid]
	s.mu.Unlock()
	if g == nil || s.opts.Backend != nil {
		return nil
	}
	return s.follow(g)
}

// follow makes a guest's machine what the guest's state says. The site must not
// be locked.
func (s *Server) follow(g *guest) *machine.Machine {
	g.inside.mu.Lock()
	defer g.inside.mu.Unlock()
	s.mu.Lock()
	w, node := s.wish(g), s.nodes[g.node].machine
	gone := s.guests[g.vmid] != g
	s.mu.Unlock()
	in := &g.inside
	if in.machine == nil {
		if gone {
			return nil
		}
		in.machine = s.newInside(g, w)
		s.mu.Lock()
		g.entered = true
		s.mu.Unlock()
	}
	m := in.machine
	if !in.started.IsZero() && (gone || !w.started.Equal(in.started)) {
		m.Halt()
		in.started = time.Time{}
	}
	if gone {
		m.Leave()
		return m
	}
	if m.Hostname() != w.name && !w.started.IsZero() {
		m.SetHostname(w.name)
	}
	if !slices.Equal(m.Addresses(), w.addresses) {
		m.SetAddresses(w.addresses...)
	}
	in.bind(w.mounts, node)
	if in.started.IsZero() && !w.started.IsZero() {
		in.started = w.started
		if w.resolver != "" {
			_ = m.Edit("/etc/resolv.conf", w.resolver) // /etc is there
		}
		m.Boot()
	}
	return m
}

// newInside installs a guest: a plain Debian, the agent in a VM whose image has it.
func (s *Server) newInside(g *guest, w wish) *machine.Machine {
	var installed []string
	if w.agent {
		installed = []string{"qemu-guest-agent"}
	}
	m := machine.New(machine.Options{
		Hostname: w.name, Network: s.network, Installed: installed, Container: g.kind == kindLXC, Web: s.opts.Web,
		Registry: s.opts.Registry, Portainer: s.opts.Portainer,
	})
	_ = m.WriteFile("/etc/resolv.conf", "nameserver 10.0.0.1\n", 0o644) // /etc is there
	return m
}

// bind shows the node's folders in the container, and no others.
func (in *inside) bind(mounts []bind, node *machine.Machine) {
	var points []string
	for _, one := range mounts {
		points = append(points, one.point)
		if !slices.Contains(in.mounts, fmt.Sprint(one, node.Hostname())) {
			in.machine.Bind(one.point, node, one.folder, one.ro)
		}
	}
	for _, old := range in.mounts {
		point, _, _ := strings.Cut(strings.TrimPrefix(old, "{"), " ")
		if !slices.Contains(points, point) {
			in.machine.Unmount(point)
		}
	}
	in.mounts = in.mounts[:0]
	for _, one := range mounts {
		in.mounts = append(in.mounts, fmt.Sprint(one, node.Hostname()))
	}
}

// guestWith finds the running guest that has an address, for the network.
func (s *Server) guestWith(address netip.Addr) *machine.Machine {
	if s.opts.Backend != nil {
		return nil
	}
	s.mu.Lock()
	var found *guest
	for _, g := range s.sortedGuests() {
		if g.running && slices.Contains(s.wish(g).addresses, address) {
			found = g
			break
		}
	}
	s.mu.Unlock()
	if found == nil {
		return nil
	}
	return s.follow(found)
}

var errGuestOff = errors.New("guest is not running")

// execGuest runs a program as root inside a guest.
func (s *Server) execGuest(ctx context.Context, vmid int, env, argv []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	if s.opts.Backend != nil {
		if len(env) > 0 {
			argv = append(append([]string{"env", "-i"}, withPath(env)...), argv...)
		}
		return s.opts.Backend.Exec(ctx, vmid, argv, stdin, stdout, stderr)
	}
	m := s.GuestMachine(vmid)
	if m == nil || !m.Running() {
		return 0, errGuestOff
	}
	return m.RunWith(ctx, env, argv, stdin, stdout, stderr), nil
}

// withPath adds the search path that a program without one looks in.
func withPath(env []string) []string {
	for _, entry := range env {
		if strings.HasPrefix(entry, "PATH=") {
			return env
		}
	}
	return append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
}

// flush lets what stands behind the guests follow those that changed. The site
// must not be locked.
func (s *Server) flush() {
	s.mu.Lock()
	changed := s.left
	s.left = nil
	for _, g := range s.guests {
		if g.touched && g.entered {
			changed = append(changed, g)
		}
		g.touched = false
	}
	s.mu.Unlock()
	for _, g := range changed {
		if s.opts.Backend == nil {
			s.settle(g)
		} else {
			s.configure(g)
		}
	}
}

// settle lets a guest's machine follow, if there is one.
func (s *Server) settle(g *guest) {
	g.inside.mu.Lock()
	there := g.inside.machine != nil
	g.inside.mu.Unlock()
	if there {
		s.follow(g)
	}
}

// haltMachines ends what runs on the simulated machines.
func (s *Server) haltMachines() {
	s.mu.Lock()
	var insides []*guest
	for _, n := range s.nodes {
		n.machine.Halt()
	}
	for _, g := range s.guests {
		insides = append(insides, g)
	}
	s.mu.Unlock()
	for _, g := range insides {
		g.inside.mu.Lock()
		if g.inside.machine != nil {
			g.inside.machine.Halt()
		}
		g.inside.mu.Unlock()
	}
}

// configure tells the backend of a configuration that is not the one it knows.
func (s *Server) configure(g *guest) {
	g.inside.mu.Lock()
	defer g.inside.mu.Unlock()
	s.mu.Lock()
	info, there := s.info(g), s.guests[g.vmid] == g && g.entered
	text := fmt.Sprint(info.Config, info.Name, info.Node)
	news := there && g.told != text
	if news {
		g.told = text
	}
	s.mu.Unlock()
	if news {
		_ = s.opts.Backend.Configure(s.ctx, info) // the configuration stands, whatever comes of it
	}
}

// info is what a backend is told about a guest. The site must be locked.
func (s *Server) info(g *guest) GuestInfo {
	config := map[string]string(g.conf.main.clone())
	delete(config, "lock")
	return GuestInfo{VMID: g.vmid, Kind: g.kind, Node: g.node, Name: g.name(), Config: config, Running: g.running}
}

// outside calls the backend, if there is one, without the site's lock, which
// must be held; the calls about one guest go one after the other.
func (s *Server) outside(g *guest, do func(b Guests, info GuestInfo) error) error {
	if s.opts.Backend == nil {
		return nil
	}
	info := s.info(g)
	s.mu.Unlock()
	defer s.mu.Lock()
	g.inside.mu.Lock()
	defer g.inside.mu.Unlock()
	return do(s.opts.Backend, info)
}

// enter makes what stands behind a new guest. The site must be locked.
func (s *Server) enter(g *guest) error {
	if s.opts.Backend == nil || g.entered {
		return nil
	}
	g.entered = true
	info := s.info(g)
	g.told = fmt.Sprint(info.Config, info.Name, info.Node)
	return s.outside(g, func(b Guests, info GuestInfo) error { return b.Create(s.ctx, info) })
}
