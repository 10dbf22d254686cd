// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"io"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
	"github.com/phoenix-hypervisor/phoenix/test/sim/stepca"
	"github.com/phoenix-hypervisor/phoenix/test/sim/traefik"
)

// Options say what a machine is like. The zero value is a Debian 12 without
// addresses that knows the packages of DebianPackages.
type Options struct {
	// Hostname; default "debian".
	Hostname string
	// Addresses of its interfaces. Other machines of the Network reach it there.
	Addresses []netip.Addr
	// Network that the machine is on; nil is a network of its own.
	Network *Network
	// Repository are the packages that apt knows, by name; default DebianPackages.
	Repository map[string]Package
	// Installed are packages that are installed from the start, with those that
	// they depend on. Their services start with Boot.
	Installed []string
	// Clock; default time.Now. Timers of systemd go by it, see also Advance.
	Clock func() time.Time
	// PackageTime is how long apt works on each package, in real time; default none.
	PackageTime time.Duration
	// Container has a kernel that mounts nothing, as an unprivileged container.
	Container bool
	// Web answers what curl asks of hosts outside of the network; nil: there is no
	// way out. See Mirror.
	Web Web
	// Registry is what docker pull asks, whatever the name of the registry; nil: none
	// can be reached. See DockerHub.
	Registry *portainer.Registry
	// Portainer changes what the Portainer servers of the machine's containers are
	// like, such as how long they wait for an administrator; nil: nothing.
	Portainer func(*portainer.Options)
}

// Machine is a Debian machine in memory. Its methods may be called at any time,
// by any number of goroutines.
type Machine struct {
	opts Options
	disk *tree
	base map[string]Program // fixed after New
	net  *Network

	mountMu sync.RWMutex
	mounts  []mount

	writes atomic.Int64
	pids   atomic.Int64
	shells sync.Map     // numbers of the shells that run
	offset atomic.Int64 // of the clock, see Advance
	faults faults
	dpkg   dpkgLock

	authorityFaults stepca.Faults
	traefikFaults   traefik.Faults

	mu        sync.Mutex
	hostname  string
	addresses []netip.Addr
	added     map[string]Program
	packages  map[string]*installed
	ports     map[int]*socket // that programs listen on
	lists     bool            // apt-get update has run
	docker    *dockerEngine   // that it runs, or ran last
	private   map[int]*socket // ports that nobody else reaches
	origins   []string        // the sources that it asked, beside Debian's
	commands  []Command
	booted    bool
	bootID    string
	life      context.Context // ends when the machine goes down
	kill      context.CancelFunc

	sys *manager
}

// Command is one command that was run from outside.
type Command struct {
	Line string
	// Exit is -1 while it runs.
	Exit int
}

// New makes a machine that is switched off; Boot starts it. Programs run and
// files are there before, services are not.
func New(o Options) *Machine {
	if o.Hostname == "" {
		o.Hostname = "debian"
	}
	if o.Repository == nil {
		o.Repository = DebianPackages()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Network == nil {
		o.Network = NewNetwork()
	}
	m := &Machine{
		opts: o, base: basePrograms(), net: o.Network, hostname: o.Hostname,
		added: map[string]Program{}, packages: map[string]*installed{}, ports: map[int]*socket{}, private: map[int]*socket{},
	}
	m.pids.Store(400)
	m.disk = newTree(m.now)
	m.sys = newManager(m)
	m.life, m.kill = context.WithCancel(context.Background())
	m.furnish()
	for _, name := range append(append([]string(nil), essential...), o.Installed...) {
		m.preinstall(name)
	}
	m.writes.Store(0)
	m.SetAddresses(o.Addresses...)
	return m
}

// Boot starts the machine and the units that are enabled. A machine that runs
// stays as it is.
func (m *Machine) Boot() {
	m.mu.Lock()
	if m.booted {
		m.mu.Unlock()
		return
	}
	m.booted, m.bootID = true, newUUID()
	m.life, m.kill = context.WithCancel(context.Background())
	m.mu.Unlock()
	m.sys.boot()
}

// Halt switches the machine off, as a pulled plug does: every command and
// service ends, what was mounted over the network is gone, /run and /tmp are
// empty afterwards.
func (m *Machine) Halt() {
	m.mu.Lock()
	m.booted = false
	m.kill()
	m.mu.Unlock()
	m.sys.powerOff()
	m.haltContainers()
	m.unmountNetwork()
	for _, folder := range []string{"/run", "/tmp"} {
		m.disk.empty(folder)
	}
	m.runFolders()
}

// Running tells whether the machine is switched on.
func (m *Machine) Running() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.booted
}

// alive is the context of what runs on the machine.
func (m *Machine) alive() context.Context {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.life
}

// now is the machine's time.
func (m *Machine) now() time.Time { return m.opts.Clock().Add(time.Duration(m.offset.Load())) }

// Advance moves the machine's clock and runs the timers that are due then.
func (m *Machine) Advance(d time.Duration) {
	m.offset.Add(int64(d))
	m.sys.tick()
}

// Hostname of the machine.
func (m *Machine) Hostname() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hostname
}

// SetHostname names the machine, in /etc/hostname too.
func (m *Machine) SetHostname(name string) {
	m.mu.Lock()
	m.hostname = name
	m.mu.Unlock()
	_ = m.disk.WriteFile("/etc/hostname", []byte(name+"\n"), 0o644) // /etc is always there
}

// Addresses of the machine, without loopback.
func (m *Machine) Addresses() []netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]netip.Addr(nil), m.addresses...)
}

// SetAddresses gives the machine other addresses on its network.
func (m *Machine) SetAddresses(addresses ...netip.Addr) {
	m.mu.Lock()
	old := m.addresses
	m.addresses = append([]netip.Addr(nil), addresses...)
	m.mu.Unlock()
	m.net.move(m, old, addresses)
}

// Writes is the number of changes to files, packages and units since the start.
func (m *Machine) Writes() int { return int(m.writes.Load()) }

func (m *Machine) countWrite() { m.writes.Add(1) }

// Commands are the commands of Run, Shell and Session since the start.
func (m *Machine) Commands() []Command {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Command(nil), m.commands...)
}

func (m *Machine) record(line string) (done func(exit int)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	index := len(m.commands)
	m.commands = append(m.commands, Command{Line: line, Exit: -1})
	return func(exit int) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.commands[index].Exit = exit
	}
}

// Program adds a program, or replaces one of the machine's own.
func (m *Machine) Program(name string, p Program) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.added[name] = p
}

// Run runs a program as root, with arguments as execve gets them, and returns
// its exit status; 127 when there is no such program, 137 when ctx or the
// machine's life ended before.
func (m *Machine) Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) int {
	exit, _ := m.Session(ctx, argv, stdin, stdout, stderr) // a cut connection is the caller's that has one
	return exit
}

// RunWith is Run with another environment (NAME=value); nil is root's own.
func (m *Machine) RunWith(ctx context.Context, env, argv []string, stdin io.Reader, stdout, stderr io.Writer) int {
	exit, _ := m.session(ctx, env, argv, stdin, stdout, stderr) // a cut connection is the caller's that has one
	return exit
}

// Shell runs a line as sshd does: by root's login shell.
func (m *Machine) Shell(ctx context.Context, line string, stdin io.Reader, stdout, stderr io.Writer) int {
	return m.Run(ctx, []string{"bash", "-c", line}, stdin, stdout, stderr)
}

// Session is Run for somebody who has a connection that can break: the error is
// ErrCut when a fault of Cut says so.
func (m *Machine) Session(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	return m.session(ctx, nil, argv, stdin, stdout, stderr)
}

func (m *Machine) session(ctx context.Context, env, argv []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	line := strings.Join(argv, " ")
	if len(argv) == 3 && argv[1] == "-c" {
		line = argv[2]
	}
	done := m.record(line)
	when, cut := m.faults.cut(line)
	if cut && when == CutBefore {
		done(-1)
		return -1, ErrCut
	}
	live, cancel := context.WithCancel(m.alive())
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	p := m.newProcess(live, argv, stdin, stdout, stderr)
	p.session.kill = cancel
	if env != nil {
		p.Env = env
	}
	if cut {
		p.Stdout, p.Stderr = gone{}, gone{}
	}
	p.Stdout, p.Stderr = p.session.guard(p.Stdout), p.session.guard(p.Stderr)
	if cut && when == CutDuring {
		go func() {
			defer cancel() // when it has ended: it outlives the connection
			done(p.Exec(argv))
		}()
		return -1, ErrCut
	}
	defer cancel()
	exit := p.Exec(argv)
	done(exit)
	if cut {
		return exit, ErrCut
	}
	return exit, nil
}
