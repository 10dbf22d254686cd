// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// slowSite is how long a middling task (a clone) takes on a real site. The
// simulator's times are real ones, scaled by Options.TaskTime / slowSite.
const slowSite = 4 * time.Second

// Options say what a site is like. The zero value is the reference site.
type Options struct {
	// Listen is the API's address; default 127.0.0.1:0.
	Listen string
	// Nodes are the cluster's nodes, the first one is asked; default "phoenix".
	Nodes []string
	// Storages of the site; default DefaultStorages.
	Storages []Storage
	// Guests to begin with, beside the template; see also NoTemplate.
	Guests []GuestSpec
	// NoTemplate leaves out VM template 9000.
	NoTemplate bool
	// Bridges of every node; default vmbr0.
	Bridges []string
	// TaskTime is how long a middling task takes; default 40ms. Every other
	// time (status rounds, lock waits, login delays) keeps its proportion: a
	// task of 4 s makes them as long as on a real site.
	TaskTime time.Duration
	// StatusRound is how often figures reach cluster/resources; default ten
	// seconds, scaled.
	StatusRound time.Duration
	// Workers are the API daemon's processes; each serves one request at a
	// time. Default 3.
	Workers int
	// ManagerAddress is where connections from loopback come from as the nodes'
	// firewalls see them; default 10.0.0.50, which is in the nodes' own network
	// and so let in to the API and SSH by the rules that are built in.
	ManagerAddress netip.Addr
	// OnFirewall, if set, is called after changes of the firewall, one call at a
	// time and not under the site's lock; many changes may make one call.
	OnFirewall func()
	// Backend stands behind the guests; default: simulated machines, see
	// GuestMachine.
	Backend Guests
	// Web answers what the site's machines fetch from outside of it, see
	// machine.Mirror; default: there is no way out.
	Web machine.Web
	// Registry is what Docker engines of the site's machines pull from, see
	// machine.DockerHub; nil: they reach none.
	Registry *portainer.Registry
	// Portainer changes what Portainer servers of the site are like; nil: nothing.
	Portainer func(*portainer.Options)
	// NoSSH leaves out the nodes' SSH doors.
	NoSSH bool
	// Listener, if set, serves the API first, instead of Listen; Resume listens
	// at the same address.
	Listener net.Listener
}

// Server is a running site. Its methods may be called at any time, by any
// number of goroutines.
type Server struct {
	// URL is the API's address, without /api2/json.
	URL string
	// CAPEM is the certificate of the authority that signed the server's.
	CAPEM []byte
	// Fingerprint is the SHA-256 of the server's certificate, as Proxmox
	// writes it: upper-case pairs with colons.
	Fingerprint string
	// TokenID and TokenSecret authenticate a token of root@pam without
	// privilege separation: all privileges, but not root.
	TokenID, TokenSecret string
	// SSH are the nodes' doors.
	SSH []SSHNode

	opts  Options
	scale float64
	cert  tls.Certificate

	mu       sync.Mutex
	nodes    map[string]*node
	order    []string
	guests   map[int]*guest
	storages map[string]*storage
	pools    map[string]*pool
	tasks    map[string]*task
	taskLog  []*task
	ha       map[string]map[string]any
	firewall *firewall
	fw       fwDaemons
	access   *access
	faults   faults
	log      []Request
	logBase  int // how many are forgotten
	pids     int
	quorum   bool
	frozen   bool
	born     time.Time
	strict   bool
	strays   map[string]stray // of the cluster file system
	left     []*guest         // destroyed, their machines are still to go
	network  *machine.Network
	commands []SSHCommand

	workers []chan struct{}
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	door  sync.Mutex // guards http and addr
	http  *http.Server
	addr  string
	doors []*sshDoor
}

type node struct {
	name     string
	online   bool
	listed   bool // what the cluster believes until the next status round
	deadWait time.Duration
	bridges  []string
	cores    int
	memory   int64
	disk     int64
	firewall *firewall
	machine  *machine.Machine
}

// Start serves a site until Close, or until ctx ends.
func Start(ctx context.Context, opts Options) (*Server, error) {
	opts = opts.withDefaults()
	s := &Server{
		opts: opts, scale: float64(opts.TaskTime) / float64(slowSite),
		nodes: map[string]*node{}, guests: map[int]*guest{}, storages: map[string]*storage{},
		pools: map[string]*pool{}, tasks: map[string]*task{}, ha: map[string]map[string]any{},
		firewall: newFirewall(), quorum: true, strict: true, born: time.Now(), pids: 0x200,
		strays: map[string]stray{}, network: machine.NewNetwork(),
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for range opts.Workers {
		s.workers = append(s.workers, make(chan struct{}, 1))
	}
	s.network.OnUnknown(s.guestWith)
	if err := s.furnish(); err != nil {
		s.Close()
		return nil, err
	}
	s.flush()
	if err := s.open(); err != nil {
		s.Close()
		return nil, err
	}
	s.running.Add(1)
	go s.statusRounds()
	context.AfterFunc(ctx, s.Close)
	return s, nil
}

func (o Options) withDefaults() Options {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if len(o.Nodes) == 0 {
		o.Nodes = []string{"phoenix"}
	}
	if !o.ManagerAddress.IsValid() {
		o.ManagerAddress = netip.MustParseAddr("10.0.0.50")
	}
	if len(o.Storages) == 0 {
		o.Storages = DefaultStorages()
	}
	if len(o.Bridges) == 0 {
		o.Bridges = []string{"vmbr0"}
	}
	if o.TaskTime <= 0 {
		o.TaskTime = 40 * time.Millisecond
	}
	if o.StatusRound <= 0 {
		o.StatusRound = time.Duration(float64(10*time.Second) * float64(o.TaskTime) / float64(slowSite))
	}
	if o.Workers <= 0 {
		o.Workers = 3
	}
	return o
}

// furnish fills the empty site.
func (s *Server) furnish() error {
	machines := map[string]*machine.Machine{}
	for i, name := range s.opts.Nodes {
		machines[name] = s.newNode(name, i)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.opts.Nodes {
		s.nodes[name] = &node{
			name: name, online: true, listed: true, bridges: append([]string(nil), s.opts.Bridges...),
			cores: 8, memory: 32 << 30, disk: 100 << 30, firewall: newFirewall(), machine: machines[name],
		}
		s.order = append(s.order, name)
	}
	for _, spec := range s.opts.Storages {
		s.storages[spec.Name] = newStorage(spec)
	}
	s.access = newAccess()
	s.TokenID, s.TokenSecret = s.access.addToken("root@pam", "phoenix", false)
	if !s.opts.NoTemplate {
		if err := s.add(defaultTemplate(s.order[0])); err != nil {
			return fmt.Errorf("make template: %w", err)
		}
	}
	for _, spec := range s.opts.Guests {
		if spec.Node == "" {
			spec.Node = s.order[0]
		}
		if err := s.add(spec); err != nil {
			return fmt.Errorf("make guest %d: %w", spec.VMID, err)
		}
	}
	s.round()
	return nil
}

// open makes the certificates and opens every door.
func (s *Server) open() error {
	var err error
	if s.cert, s.CAPEM, s.Fingerprint, err = newCertificates(s.opts.Nodes); err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	s.addr = s.opts.Listen
	if err := s.Resume(); err != nil {
		return err
	}
	if s.opts.NoSSH {
		return nil
	}
	return s.openSSH()
}

// Resume opens the API again after Suspend, at the same address and with the
// same memory.
func (s *Server) Resume() error {
	s.door.Lock()
	defer s.door.Unlock()
	if s.http != nil {
		return errors.New("open the api: it is open")
	}
	l := s.opts.Listener
	s.opts.Listener = nil
	if l == nil {
		var lc net.ListenConfig
		var err error
		if l, err = lc.Listen(s.ctx, "tcp", s.addr); err != nil {
			return fmt.Errorf("open the api: %w", err)
		}
	}
	s.addr = l.Addr().String()
	s.URL = "https://" + s.addr
	secure := tls.NewListener(s.guard(l, s.order[0], 8006), &tls.Config{Certificates: []tls.Certificate{s.cert}, MinVersion: tls.VersionTLS12})
	s.http = &http.Server{
		Handler: http.HandlerFunc(s.serve), ConnContext: withConn, ReadHeaderTimeout: time.Minute,
		ErrorLog: quietLog, DisableGeneralOptionsHandler: true,
	}
	server := s.http
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		_ = server.Serve(&wireListener{Listener: secure, workers: s.opts.Workers}) // ends with Suspend
	}()
	return nil
}

// Suspend closes the API and cuts every connection; tasks go on.
func (s *Server) Suspend() {
	s.door.Lock()
	defer s.door.Unlock()
	if s.http != nil {
		_ = s.http.Close() // the connections are gone either way
		s.http = nil
	}
}

// Close ends the site: its doors, its tasks and its memory.
func (s *Server) Close() {
	s.cancel()
	s.haltMachines()
	s.Suspend()
	s.closeSSH()
	s.running.Wait()
}

// scaled is a real site's duration in this site's time.
func (s *Server) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) * s.scale)
}

// pause waits for a real site's duration in this site's time; false means that
// the site, or what done stands for, ended first.
func (s *Server) pause(done <-chan struct{}, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-done:
	case <-s.ctx.Done():
	}
	return false
}

// statusRounds broadcasts the nodes' figures every round.
func (s *Server) statusRounds() {
	defer s.running.Done()
	for s.pause(nil, s.opts.StatusRound) {
		s.mu.Lock()
		s.round()
		s.mu.Unlock()
	}
}

func (s *Server) round() {
	if s.frozen {
		return
	}
	for _, n := range s.nodes {
		n.listed = n.online
	}
	for _, g := range s.guests {
		if s.nodes[g.node].online && len(g.conf.main) > 0 {
			g.seen = g.look()
		}
	}
}
