// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// dockerEngine is what lies below an engine's data root. The program that runs it
// may end and another one start, on another machine that has the same files.
type dockerEngine struct {
	memory *portainer.Memory
	root   string

	mu       sync.Mutex
	at       *Machine
	doors    map[string][]dockerDoor // by container
	attached map[string]io.Writer    // by container's name
	servers  map[string]*portainer.Server
	agents   map[string]*portainer.Agent
}

// dockerDoor is a port of the machine that is a container's.
type dockerDoor struct {
	target int
	net.Listener
}

// engineMark is the file below the data root by which an engine is known again.
const engineMark = "engine-id"

// openEngine finds the engine whose files are below a folder, or makes one.
func (m *Machine) openEngine(root, version string) (*dockerEngine, error) {
	mark := path.Join(root, engineMark)
	if id, err := m.readFile(mark); err == nil {
		if e := m.net.engine(id); e != nil {
			return e, e.move(m, root)
		}
	}
	id := newUUID()
	for _, folder := range []string{root, root + "/containers", root + "/volumes", root + "/image", root + "/overlay2"} {
		if err := m.mkdirAll(folder, 0o710); err != nil {
			return nil, fmt.Errorf("mkdir %s: %w", folder, err)
		}
	}
	if err := m.writeFile(mark, id, 0o600); err != nil {
		return nil, fmt.Errorf("open %s: %w", mark, err)
	}
	e := &dockerEngine{at: m, root: root, doors: map[string][]dockerDoor{}, attached: map[string]io.Writer{}, servers: map[string]*portainer.Server{}, agents: map[string]*portainer.Agent{}}
	e.memory = portainer.NewMemory(portainer.MemoryOptions{
		Registry: m.opts.Registry, Clock: func() time.Time { return e.machine().now() }, Name: m.Hostname(), RootDir: root, Version: version,
		Program: e.program, Bind: e.bind,
	})
	e.memory.Halt(false)
	m.net.keepEngine(id, e)
	return e, nil
}

// move takes an engine's files for those of another machine's, where they are now.
func (e *dockerEngine) move(m *Machine, root string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.at != m && e.at.dockerd() != nil {
		return errors.New("error while opening volume store metadata database: timeout") // it is locked
	}
	e.at, e.root = m, root
	return nil
}

func (e *dockerEngine) machine() *Machine {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.at
}

// engine finds an engine by its mark.
func (n *Network) engine(id string) *dockerEngine {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.engines[id]
}

func (n *Network) keepEngine(id string, e *dockerEngine) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.engines == nil {
		n.engines = map[string]*dockerEngine{}
	}
	n.engines[id] = e
}

// Engine is the Docker engine that the machine runs, or ran last; nil: it never
// ran one.
func (m *Machine) Engine() *portainer.Memory {
	if e := m.dockerEngine(); e != nil {
		return e.memory
	}
	return nil
}

// Portainer is the server that runs in a container of the machine, or nil. A
// restart makes another one of the same database.
func (m *Machine) Portainer() *portainer.Server {
	return only(m, func(e *dockerEngine) map[string]*portainer.Server { return e.servers })
}

// PortainerAgent is the agent that runs in a container of the machine, or nil.
func (m *Machine) PortainerAgent() *portainer.Agent {
	return only(m, func(e *dockerEngine) map[string]*portainer.Agent { return e.agents })
}

func only[T any](m *Machine, of func(*dockerEngine) map[string]*T) *T {
	e := m.dockerEngine()
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range of(e) {
		return one
	}
	return nil
}

func (m *Machine) dockerEngine() *dockerEngine {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.docker
}

// haltContainers ends containers that have outlived their engine.
func (m *Machine) haltContainers() {
	if e := m.dockerEngine(); e != nil && e.machine() == m {
		e.memory.Halt(false)
	}
}

// bind takes a port of the machine for a container. The small server that most
// images are answers there; Portainer and its agent find the door open.
func (e *dockerEngine) bind(c portainer.Container, p portainer.Port) (release func(), err error) {
	if p.Protocol != "tcp" {
		return func() {}, nil // nobody here speaks UDP to a container
	}
	m := e.machine()
	l, err := m.listenFor(p.Address, p.Published)
	if err != nil {
		address := p.Address
		if address == "" {
			address = "0.0.0.0"
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			err = errors.New("address already in use")
		}
		return nil, fmt.Errorf("listen tcp4 %s: bind: %w", net.JoinHostPort(address, fmt.Sprint(p.Published)), err)
	}
	if e.program(c.Image) != nil {
		e.mu.Lock()
		e.doors[c.ID] = append(e.doors[c.ID], dockerDoor{p.Target, l})
		e.mu.Unlock()
		return func() { e.shut(c.ID, l) }, nil
	}
	server := &http.Server{ReadHeaderTimeout: 30 * time.Second, Handler: e.answers(c, p.Target)}
	go func() { _ = server.Serve(l) }() // until it is closed
	return func() {
		_ = server.Close() // nothing is lost
		_ = l.Close()      // the server may not know it yet
	}, nil
}

// answers is the small server of an image without a program of its own.
func (e *dockerEngine) answers(c portainer.Container, target int) http.Handler {
	if bareImage(c.Image) == whoamiImage || strings.HasSuffix(bareImage(c.Image), "/"+whoamiImage) {
		return newWhoami(c, target)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, c.Name)
	})
}

// shut closes a door.
func (e *dockerEngine) shut(container string, l net.Listener) {
	_ = l.Close() // it was open
	e.mu.Lock()
	defer e.mu.Unlock()
	var left []dockerDoor
	for _, one := range e.doors[container] {
		if one.Listener != l {
			left = append(left, one)
		}
	}
	if e.doors[container] = left; len(left) == 0 {
		delete(e.doors, container)
	}
}

// listenFor takes a port of an address: of 127.0.0.1, for the machine alone.
func (m *Machine) listenFor(address string, port int) (net.Listener, error) {
	l, err := m.listen(port)
	if err == nil && strings.HasPrefix(address, "127.") {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.private[port] = m.ports[port]
	}
	return l, err
}

// place finds the file of the machine that a container sees at a path; false when
// it is none of the machine's.
func (e *dockerEngine) place(c portainer.Container, name string) (string, bool) {
	best := -1
	for i, mount := range c.Mounts {
		target := path.Clean(mount.Target)
		if (name == target || strings.HasPrefix(name, strings.TrimSuffix(target, "/")+"/")) && (best < 0 || len(mount.Target) > len(c.Mounts[best].Target)) {
			best = i
		}
	}
	if best < 0 {
		return "", false
	}
	mount := c.Mounts[best]
	source := mount.Source
	if mount.Type == "volume" {
		source = e.volume(mount.Source)
	}
	return path.Join(source, strings.TrimPrefix(name, path.Clean(mount.Target))), true
}

// volume is the folder of a volume; it is made when it is not there.
func (e *dockerEngine) volume(name string) string {
	e.mu.Lock()
	m, folder := e.at, path.Join(e.root, "volumes", name, "_data")
	e.mu.Unlock()
	_ = m.mkdirAll(folder, 0o755) // who uses it sees that it is not there
	return folder
}

// forgetVolume removes the folder of a volume that is gone.
func (e *dockerEngine) forgetVolume(name string) {
	e.mu.Lock()
	m, folder := e.at, path.Join(e.root, "volumes", name)
	e.mu.Unlock()
	_ = m.removeAll(folder) // it may never have been used
}
