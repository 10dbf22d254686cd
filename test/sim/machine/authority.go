// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"

	"github.com/phoenix-hypervisor/phoenix/test/sim/stepca"
)

// StepCARelease is the program step-ca as it is published: where a Mirror should
// have it, the archive, its SHA-256 in lower-case hex, and the program's name in
// it. A unit that starts the program runs a real authority by its ca.json.
func StepCARelease() (address string, tarball []byte, sha256, member string) {
	return stepca.Release()
}

// FailAuthority lets the next times requests (0: all) to the machine's step-ca
// end with a status, such as 500 or 401, as step-ca answers it; 0 answers
// nothing until the client gives up. The pattern is one of package path, such as
// /sign for /sign and /1.0/sign, or * for all requests. The function ends it. See Advance for a
// clock that is wrong.
func (m *Machine) FailAuthority(pattern string, times, status int) (remove func()) {
	return m.authorityFaults.Add(pattern, times, status)
}

// stepCAPackage is step-ca from somebody's package repository.
func stepCAPackage() Package {
	return Package{Version: stepca.Version, Files: []PackageFile{{Path: "/usr/bin/step-ca", Text: stepca.Program, Mode: 0o755}}}
}

// isStepCA tells whether a file is the program step-ca, whatever its name.
func (m *Machine) isStepCA(name string) bool {
	text, err := m.readFile(name)
	return err == nil && stepca.IsProgram(text)
}

// inPath finds a file that can be executed as a shell does.
func (m *Machine) inPath(name string) string {
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"} {
		if info, err := m.stat(path.Join(dir, name)); err == nil && !info.IsDir() && info.Perm&0o111 != 0 {
			return path.Join(dir, name)
		}
	}
	return ""
}

// runStepCA is step-ca version; nobody else starts it but its unit.
func runStepCA(_ context.Context, p *Process) int {
	if slices.Contains(p.Args[1:], "version") || slices.Contains(p.Args[1:], "--version") {
		p.Printf("Smallstep CA/%s (linux/amd64)\nRelease Date: 2026-01-20 00:00 UTC\n", stepca.Version)
		return 0
	}
	return p.Errorf("only a unit can start it here")
}

// authorityDaemon is a running step-ca.
type authorityDaemon struct{ *stepca.Authority }

func (d authorityDaemon) reload() error { return d.Reload() }
func (d authorityDaemon) stop()         { d.Stop() }

// startStepCA starts the authority: step-ca ends with 1 without a configuration
// and with 2 on any other complaint.
func startStepCA(p *Process) (daemon, int) {
	f, ok := p.parse("password-file: quiet resolver: pidfile:")
	if !ok || len(f.args) != 1 {
		fmt.Fprintln(p.Stderr, "not enough positional arguments were provided in 'step-ca <config>'")
		return nil, 1
	}
	refuse := func(err error) (daemon, int) {
		fmt.Fprintln(p.Stderr, err)
		return nil, 2
	}
	options := p.authorityOptions(f.args[0])
	if file := f.last("password-file", ""); file != "" {
		password, err := p.readAs(file)
		if err != nil {
			return refuse(fmt.Errorf("error reading %s: open %s: %w", file, file, err))
		}
		options.Password = bytes.TrimSpace(password)
	}
	ca, err := stepca.New(options)
	switch {
	case errors.Is(err, stepca.ErrNoConfig):
		fmt.Fprintln(p.Stderr, err)
		return nil, 1
	case err != nil:
		return refuse(err)
	}
	l, err := p.listenAt(ca.Address())
	if err != nil {
		ca.Stop()
		return refuse(err)
	}
	ca.Serve(l)
	fmt.Fprintf(p.Stderr, "Serving HTTPS on %s ...\n", ca.Address())
	return authorityDaemon{ca}, 0
}

// authorityOptions give the authority the process's files, clock and network.
func (p *Process) authorityOptions(config string) stepca.Options {
	fresh := true
	return stepca.Options{
		Config: p.abs(config), ReadFile: p.readAs, Now: p.M.now, Faults: &p.M.authorityFaults,
		WriteFile: func(name string, data []byte) error {
			defer func() { fresh = false }()
			return p.keepAs(name, data, fresh)
		},
		Log: func(line string) { fmt.Fprintln(p.Stderr, line) },
		Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
			host, port, ok := splitPort(address)
			if !ok {
				return nil, fmt.Errorf("dial tcp: address %s: missing port in address", address)
			}
			return p.M.dialHost(ctx, host, port)
		},
	}
}

// listenAt takes the port of an address for a process, if it may.
func (p *Process) listenAt(address string) (net.Listener, error) {
	_, port, ok := splitPort(address)
	switch {
	case !ok:
		return nil, fmt.Errorf("listen tcp: address %s: invalid port", address)
	case port < 1024 && !p.bind:
		return nil, fmt.Errorf("listen tcp %s: bind: permission denied", address)
	}
	l, err := p.M.listen(port)
	if err != nil {
		return nil, fmt.Errorf("listen tcp %s: bind: %w", address, err)
	}
	return l, nil
}
