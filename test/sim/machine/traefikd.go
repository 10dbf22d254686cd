// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/phoenix-hypervisor/phoenix/test/sim/traefik"
)

// TraefikRelease is the program traefik of a version as it is published, "" for the
// usual one: where a Mirror should have it, the archive, its SHA-256 in lower-case
// hex, and the program's name in it. A unit that starts the program runs a real
// proxy by its static file.
func TraefikRelease(version string) (address string, tarball []byte, sha256, member string) {
	if version == "" {
		version = traefik.Version
	}
	return traefik.Release(version)
}

// TraefikFaults are what goes wrong with the machine's Traefik; they outlive its
// restarts.
func (m *Machine) TraefikFaults() *traefik.Faults { return &m.traefikFaults }

// Traefik is the running one, or nil. A restart makes another one.
func (m *Machine) Traefik() *traefik.Server {
	m.sys.mu.Lock()
	defer m.sys.mu.Unlock()
	for _, u := range m.sys.units {
		if d, ok := u.daemon.(traefikDaemon); ok {
			return d.Server
		}
	}
	return nil
}

// traefikVersion is the version of a file, if it is the program traefik.
func (m *Machine) traefikVersion(name string) (string, bool) {
	text, err := m.readFile(name)
	if err != nil {
		return "", false
	}
	return traefik.ProgramVersion(text)
}

// isTraefik tells whether a file is the program traefik, whatever its name.
func (m *Machine) isTraefik(name string) bool {
	_, is := m.traefikVersion(name)
	return is
}

// runTraefik is traefik version; nobody else starts it but its unit.
func runTraefik(_ context.Context, p *Process) int {
	name := p.Args[0]
	if !strings.Contains(name, "/") {
		name = p.M.inPath(name)
	}
	version, _ := p.M.traefikVersion(p.abs(name))
	if slices.Contains(p.Args[1:], "version") {
		p.Printf("Version:      %s\nCodename:     ramequin\nGo version:   go1.25.8\nBuilt:        2026-03-26T10:00:00Z\nOS/Arch:      linux/amd64\n", version)
		return 0
	}
	return p.Errorf("only a unit can start it here")
}

// traefikDaemon is a running traefik.
type traefikDaemon struct {
	m *Machine
	*traefik.Server
}

func (d traefikDaemon) reload() error {
	d.Reload()
	return nil
}

// stop ends it as SIGTERM does; a machine that lost its power does not wait.
func (d traefikDaemon) stop() {
	if d.m.Running() {
		d.Stop()
		return
	}
	d.Close()
}

// startTraefik starts the proxy. It ends with 1 on any complaint.
func startTraefik(p *Process) (daemon, int) {
	config, err := p.traefikConfig()
	if err != nil {
		fmt.Fprintln(p.Stderr, err)
		return nil, 1
	}
	version, _ := p.M.traefikVersion(p.Args[0])
	server, err := traefik.Start(traefik.Options{
		Config: config, Files: traefikFiles{p}, Hostname: p.M.Hostname(), Now: p.M.now, Faults: &p.M.traefikFaults, Version: version,
		Listen: p.listenOn,
		Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
			host, port, ok := splitPort(address)
			if !ok {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.AddrError{Err: "invalid port", Addr: address}}
			}
			return p.M.dialNamed(ctx, host, port)
		},
		Roots: func() *x509.CertPool {
			pool := x509.NewCertPool()
			if text, err := p.readAs(bundle); err == nil {
				pool.AppendCertsFromPEM(text)
			}
			return pool
		},
		Log: func(line string) { fmt.Fprintln(p.Stderr, line) },
	})
	if err != nil {
		return nil, 1 // it is in the log
	}
	return traefikDaemon{p.M, server}, 0
}

// traefikConfig finds the static file: that which is named, or one of the usual
// places. With a file no other option counts.
func (p *Process) traefikConfig() (string, error) {
	args := p.Args[1:]
	for i, arg := range args {
		name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !strings.HasPrefix(arg, "-") || !strings.EqualFold(name, "configfile") {
			continue
		}
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		return p.abs(value), nil
	}
	for _, name := range []string{"/etc/traefik/traefik.yaml", "/etc/traefik/traefik.yml"} {
		if _, err := p.M.stat(name); err == nil {
			return name, nil
		}
	}
	if len(args) > 0 {
		return "", fmt.Errorf("command traefik error: options without a file are not simulated: %s", strings.Join(args, " "))
	}
	return "", nil
}

// listenOn takes the port of an address for a process, if it may. What listens on
// loopback is the machine's alone.
func (p *Process) listenOn(address string) (net.Listener, error) {
	host, number, err := net.SplitHostPort(address)
	port := atoi(number)
	switch {
	case err != nil:
		return nil, fmt.Errorf("listen tcp: address %s: missing port in address", address)
	case port < 1 || port > 65535:
		return nil, fmt.Errorf("listen tcp: address %s: invalid port", number)
	case port < 1024 && !p.bind:
		return nil, fmt.Errorf("listen tcp %s: bind: permission denied", address)
	}
	if host == "localhost" || host == "::1" {
		host = "127.0.0.1"
	}
	l, err := p.M.listenFor(host, port)
	if err != nil {
		return nil, fmt.Errorf("listen tcp %s: bind: %w", address, err)
	}
	return l, nil
}

// dialNamed is dialHost with the errors that Go's own dialer gives.
func (m *Machine) dialNamed(ctx context.Context, host string, port int) (net.Conn, error) {
	if _, err := m.resolveName(host); err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}}
	}
	return m.dialHost(ctx, host, port)
}

// traefikFiles are the files of the machine as a process sees them.
type traefikFiles struct{ p *Process }

// ReadFile implements traefik.Files.
func (f traefikFiles) ReadFile(name string) ([]byte, error) { return f.p.readAs(name) }

// ReadDir implements traefik.Files.
func (f traefikFiles) ReadDir(name string) ([]traefik.Entry, error) {
	name = f.p.abs(name)
	if err := f.p.M.allowed(f.p.user, name, mayRead); err != nil {
		return nil, err
	}
	entries, err := f.p.M.readDir(name)
	var out []traefik.Entry
	for _, entry := range entries {
		out = append(out, traefik.Entry{Name: entry.Base, Dir: entry.IsDir()})
	}
	slices.SortFunc(out, func(a, b traefik.Entry) int { return strings.Compare(a.Name, b.Name) })
	return out, err
}

// Watch implements traefik.Files.
func (f traefikFiles) Watch(name string, changed func()) (stop func(), err error) {
	name = f.p.abs(name)
	if err := f.p.M.allowed(f.p.user, name, mayRead); err != nil {
		return nil, err
	}
	return f.p.M.watch(name, changed)
}

// watch calls changed after every change of what is in a folder.
func (m *Machine) watch(name string, changed func()) (stop func(), err error) {
	at, err := m.resolve(name, true)
	if err != nil {
		return nil, err
	}
	files, inside := m.place(at)
	switch kept := files.(type) {
	case *tree:
		return kept.watch(inside, changed)
	case below:
		if other, ok := kept.files.(anchored); ok {
			return other.m.watch(path.Join(kept.folder, inside), changed)
		}
	}
	return nil, syscall.ENOSYS // nobody tells of changes there
}
