// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// Images whose programs are simulated, by the ends of their names.
const (
	serverImage = "portainer/portainer-ce"
	agentImage  = "portainer/agent"
	whoamiImage = "traefik/whoami"
)

// exitTerminated is what a program ends with that is asked to end and does not
// know how.
const exitTerminated = 2

// program is what the containers of an image run; nil: the small server.
func (e *dockerEngine) program(image string) portainer.Program {
	name := bareImage(image)
	switch {
	case strings.HasSuffix("/"+name, "/"+serverImage):
		return e.runServer
	case strings.HasSuffix("/"+name, "/"+agentImage):
		return e.runAgent
	}
	return nil
}

// bareImage is an image without tag and digest.
func bareImage(image string) string {
	name, _, _ := strings.Cut(image, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name = name[:colon]
	}
	return name
}

// output is where a program writes: the container's log, and whoever is attached.
func (e *dockerEngine) output(p portainer.Process) io.Writer {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w := e.attached[p.Container.Name]; w != nil {
		return io.MultiWriter(p.Stderr, w)
	}
	return p.Stderr
}

// attach hands what a container writes to somebody else, too.
func (e *dockerEngine) attach(name string, w io.Writer) (detach func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.attached[name] = w
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.attached, name)
	}
}

// door is the listener of a container's port. One that is not published is there
// all the same, and nobody finds it.
func (e *dockerEngine) door(c portainer.Container, target int) (l net.Listener, done func()) {
	e.mu.Lock()
	m := e.at
	var found, others []net.Listener
	for _, one := range e.doors[c.ID] {
		if one.target == target {
			found = append(found, one.Listener)
		} else {
			others = append(others, one.Listener)
		}
	}
	e.mu.Unlock()
	for _, other := range others {
		go hangUp(other) // nobody answers behind it
	}
	if slices.Contains(c.Networks, "host") {
		if own, err := m.listen(target); err == nil {
			return own, func() { _ = own.Close() } // it may be closed
		}
	}
	if len(found) == 0 {
		hidden := newSocket()
		return hidden, func() { _ = hidden.Close() } // it may be closed
	}
	for _, other := range found[1:] {
		go hangUp(other) // one is enough
	}
	return found[0], func() {}
}

// hangUp ends every connection, until the door is closed.
func hangUp(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_ = conn.Close() // nothing was written
	}
}

// secretOf is the secret of agents in a container's environment.
func secretOf(c portainer.Container) string {
	for _, entry := range slices.Backward(c.Env) {
		if value, ok := strings.CutPrefix(entry, "AGENT_SECRET="); ok {
			return value
		}
	}
	return ""
}

// ownEngine is the engine that runs a container, when it sees its socket.
func (e *dockerEngine) ownEngine(c portainer.Container) portainer.Engine {
	at, mounted := e.place(c, "/var/run/docker.sock")
	if !mounted {
		at, mounted = e.place(c, dockerSocket)
	}
	if real, err := e.machine().resolve(at, true); !mounted || err != nil || real != dockerSocket {
		return nil
	}
	return e.memory
}

const serverFlags = "sslcert: sslkey: http-disabled data: d:=data H: host:=H admin-password: admin-password-file: no-analytics snapshot-interval: hide-label: l:=hide-label logo: bind: p:=bind bind-https: log-level: log-mode: tunnel-port: tlsverify tlsskipverify"

// runServer is Portainer's server.
func (e *dockerEngine) runServer(ctx context.Context, p portainer.Process) int {
	m, c, out := e.machine(), p.Container, e.output(p)
	say := func(level, text string) {
		fmt.Fprintf(out, "%s %s %s\n", m.now().UTC().Format("2006/01/02 03:04PM"), level, text)
	}
	options, err := e.serverOptions(c)
	var server *portainer.Server
	if err == nil {
		options.Log = func(line string) { say("INF", line) }
		server, err = portainer.New(options)
	}
	if err != nil {
		say("FTL", err.Error())
		return 1
	}
	l, done := e.door(c, 9443)
	defer done()
	defer known(e, e.servers, c.ID, server)()
	say("INF", "starting HTTPS server | bind_address=:9443")
	if err := serveUntil(ctx, server, l); err != nil {
		say("FTL", err.Error())
		return 1
	}
	return exitTerminated
}

// known notes a program that runs in a container, until it has ended.
func known[T any](e *dockerEngine, list map[string]*T, id string, program *T) (ended func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	list[id] = program
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(list, id)
	}
}

// serving is a program that answers at a listener.
type serving interface {
	Serve(l net.Listener) error
	Close() error
}

// serveUntil lets a program answer until it is asked to end, or ends by itself,
// which is the error.
func serveUntil(ctx context.Context, program serving, l net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- program.Serve(l) }()
	var err error
	select {
	case <-ctx.Done():
		_ = program.Close() // what it has to keep is kept
		err = <-ended
	case err = <-ended:
		_ = program.Close() // it has ended
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// serverOptions follow from the container of a server.
func (e *dockerEngine) serverOptions(c portainer.Container) (portainer.Options, error) {
	m := e.machine()
	o := portainer.Options{AgentSecret: secretOf(c), Clock: m.now, Engine: e.ownEngine(c)}
	o.Dial = func(ctx context.Context, _, address string) (net.Conn, error) {
		host, port, ok := splitPort(address)
		if !ok {
			return nil, fmt.Errorf("dial tcp: address %s: missing port in address", address)
		}
		return e.machine().dialHost(ctx, host, port)
	}
	f, bad := parseDocker(c.Command, parseSpec(serverFlags), true)
	if bad != "" {
		return o, fmt.Errorf("%s, try --help", bad)
	}
	if f.has("sslcert") || f.has("sslkey") {
		pair, err := e.keyPair(c, f.last("sslcert", ""), f.last("sslkey", ""))
		if err != nil {
			return o, fmt.Errorf("failed initializing ssl service | error=%q", err.Error())
		}
		o.Certificate = func() (*tls.Certificate, error) { return pair, nil } // read at the start alone
	}
	if folder, mounted := e.place(c, f.last("data", "/data")); mounted {
		if info, err := m.stat(folder); err != nil || !info.IsDir() {
			return o, fmt.Errorf("failed opening store | error=\"open %s/portainer.db: %s\"", f.last("data", "/data"), reason(syscall.ENOENT))
		}
		o.Store = machineStore{e, path.Join(folder, "portainer.db")}
	}
	if m.opts.Portainer != nil {
		m.opts.Portainer(&o)
	}
	return o, nil
}

// keyPair reads a certificate that a container sees.
func (e *dockerEngine) keyPair(c portainer.Container, cert, key string) (*tls.Certificate, error) {
	var text [2]string
	for i, name := range []string{cert, key} {
		at, mounted := e.place(c, name)
		err := error(syscall.ENOENT)
		if mounted {
			text[i], err = e.machine().readFile(at)
		}
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", name, err)
		}
	}
	pair, err := tls.X509KeyPair([]byte(text[0]), []byte(text[1]))
	return &pair, err
}

// machineStore is a database in a file of the machine.
type machineStore struct {
	e    *dockerEngine
	name string
}

// Read implements portainer.Store.
func (s machineStore) Read() ([]byte, error) {
	text, err := s.e.machine().readFile(s.name)
	if errors.Is(err, syscall.ENOENT) {
		return nil, nil
	}
	return []byte(text), err
}

// Write implements portainer.Store.
func (s machineStore) Write(data []byte) error {
	return s.e.machine().writeFile(s.name, string(data), 0o600)
}

// runAgent is Portainer's agent.
func (e *dockerEngine) runAgent(ctx context.Context, p portainer.Process) int {
	m, c, out := e.machine(), p.Container, e.output(p)
	say := func(level, text string) {
		fmt.Fprintf(out, "%s %s %s\n", m.now().UTC().Format("2006/01/02 03:04PM"), level, text)
	}
	engine := e.ownEngine(c)
	if engine == nil {
		say("FTL", "unable to retrieve information from Docker | error=\"Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\"")
		return 1
	}
	agent, err := portainer.NewAgent(portainer.AgentOptions{Engine: engine, Secret: secretOf(c), Clock: m.now, Log: func(line string) { say("INF", line) }})
	if err != nil {
		say("FTL", err.Error())
		return 1
	}
	l, done := e.door(c, 9001)
	defer done()
	defer known(e, e.agents, c.ID, agent)()
	say("INF", "starting Agent API server | api_version="+portainer.Version+" server_addr=0.0.0.0 server_port=9001")
	if err := serveUntil(ctx, agent, l); err != nil {
		say("FTL", err.Error())
		return 1
	}
	return exitTerminated
}
