// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"
)

const dockerSocket = "/run/docker.sock"

// dockerDaemon is a running dockerd.
type dockerDaemon struct {
	m      *Machine
	engine *dockerEngine
	flags  flags
	gone   chan struct{} // closed when it has ended

	mu   sync.Mutex
	conf dockerConfig
}

func (d *dockerDaemon) config() dockerConfig {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conf
}

// reload takes over what dockerd takes over at a hang-up.
func (d *dockerDaemon) reload() error {
	fresh, err := d.m.dockerConfig(d.flags)
	if err == nil {
		err = fresh.startable()
	}
	if err != nil {
		return fmt.Errorf("time=%q level=error msg=%q", d.m.now().UTC().Format(time.RFC3339Nano), err.Error())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conf.LiveRestore, d.conf.Debug, d.conf.Mirrors, d.conf.Insecure, d.conf.Labels = fresh.LiveRestore, fresh.Debug, fresh.Mirrors, fresh.Insecure, fresh.Labels
	return nil
}

// stop ends the engine; its containers end with it, unless live-restore says
// otherwise and the machine goes on.
func (d *dockerDaemon) stop() {
	d.engine.memory.Halt(d.config().LiveRestore && d.m.Running())
	close(d.gone)
	if d.m.sys.stateOf("docker.socket") != "active" {
		_ = d.m.disk.Remove(dockerSocket) // it was made at the start
	}
}

// dockerd is the engine that runs, or nil.
func (m *Machine) dockerd() *dockerDaemon {
	m.sys.mu.Lock()
	defer m.sys.mu.Unlock()
	for _, u := range m.sys.units {
		if d, ok := u.daemon.(*dockerDaemon); ok {
			return d
		}
	}
	return nil
}

// dockerFlags reads dockerd's options. The text is dockerd's complaint.
func (p *Process) dockerFlags() (flags, string) {
	f, bad := parseDocker(p.Args[1:], parseSpec(dockerFlags), true)
	_, old := p.M.dockerRelease()
	if old && bad == "" && slices.Contains(p.Args[1:], "--validate") {
		bad = "unknown flag: --validate"
	}
	if bad != "" {
		return f, fmt.Sprintf("Status: %s\nSee 'dockerd --help'., Code: 125", bad)
	}
	return f, ""
}

// runDockerd is dockerd --version, --help and --validate; nobody else starts it but its
// unit.
func runDockerd(_ context.Context, p *Process) int {
	f, bad := p.dockerFlags()
	version, old := p.M.dockerRelease()
	switch {
	case bad != "":
		fmt.Fprintln(p.Stderr, bad)
		return 1
	case f.has("version"):
		p.Printf("Docker version %s, build 5d6db84\n", version)
		return 0
	case f.has("help"):
		p.Printf("\nUsage:\tdockerd [OPTIONS]\n\nA self-sufficient runtime for containers.\n\nOptions:\n      --config-file string   Daemon configuration file (default \"%s\")\n"+
			"      --data-root string     Root directory of persistent Docker state (default \"/var/lib/docker\")\n", dockerConf)
		if !old {
			p.Printf("      --validate             Validate daemon configuration and exit\n")
		}
		return 0
	case f.has("validate"):
		if _, err := p.M.dockerConfig(f); err != nil {
			fmt.Fprintln(p.Stderr, err)
			return 1
		}
		fmt.Fprintln(p.Stderr, "configuration OK")
		return 0
	}
	return p.Errorf("only its unit can start it here")
}

// startDockerd starts the engine.
func startDockerd(p *Process) (daemon, int) {
	refuse := func(text string) (daemon, int) {
		fmt.Fprintln(p.Stderr, text)
		return nil, 1
	}
	f, bad := p.dockerFlags()
	if bad != "" {
		return refuse(bad)
	}
	m := p.M
	conf, err := m.dockerConfig(f)
	if err != nil {
		return refuse(err.Error())
	}
	if err := conf.startable(); err != nil {
		return refuse("failed to start daemon: " + err.Error())
	}
	if m.dockerd() != nil {
		return refuse("failed to start daemon: pid file found, ensure docker is not running or delete /var/run/docker.pid")
	}
	version, old := m.dockerRelease()
	engine, err := m.openEngine(conf.DataRoot, version)
	if err != nil {
		return refuse("failed to start daemon: " + err.Error())
	}
	if other := m.dockerEngine(); other != nil && other != engine {
		other.memory.Halt(false) // what it left running has no engine any more
	}
	m.mu.Lock()
	m.docker = engine
	m.mu.Unlock()
	if old {
		engine.dropAttached()
	}
	engine.memory.Boot()
	_ = m.disk.WriteFile(dockerSocket, nil, 0o660) // /run is there
	_ = m.disk.change(dockerSocket, func(n *inode) { n.mode |= fs.ModeSocket })
	if gid, there := m.group("docker"); there {
		_ = m.disk.Chown(dockerSocket, 0, gid) // it was made
	}
	return &dockerDaemon{m: m, engine: engine, flags: f, gone: make(chan struct{}), conf: conf}, 0
}

// dropAttached removes containers of docker run --rm that have outlived their
// engine, as 20.10 does when it starts again; later ones keep them.
func (e *dockerEngine) dropAttached() {
	e.memory.Boot()
	for _, c := range e.memory.Containers() {
		if c.AutoRemove && c.State == "running" {
			_ = e.memory.Remove(c.ID, true, true) // it was there a moment ago
		}
	}
}
