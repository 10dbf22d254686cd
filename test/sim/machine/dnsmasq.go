// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
)

// dnsmasqDaemon is a running dnsmasq: the options are those of its start, the
// hosts files those of its start or the last SIGHUP, a hostsdir is as it is now.
type dnsmasqDaemon struct {
	m    *Machine
	conf *dnsConf

	mu    sync.Mutex
	hosts []hostLine
}

// dnsmasqArgs reads the command line of dnsmasq into a configuration.
func (p *Process) dnsmasqArgs(args []string) (conf *dnsConf, test bool, err error) {
	conf = newDNSConf(p.M)
	file := "/etc/dnsmasq.conf"
	var dirs []string
	for len(args) > 0 {
		name, value, given, rest := dnsmasqArg(args)
		if name == "" {
			return nil, false, &configError{"junk found in command line", 1}
		}
		args = rest
		switch name {
		case "test":
			test = true
		case "conf-file":
			file = value
		case "conf-dir":
			dirs = append(dirs, value)
		default:
			if problem := conf.option(name, value, given); problem != "" {
				return nil, false, &configError{"bad command line options: " + problem, 1}
			}
		}
	}
	return conf, test, conf.readAll(file, dirs)
}

var dnsmasqShort = map[string]string{
	"C": "conf-file", "7": "conf-dir", "x": "pid-file", "u": "user", "g": "group", "k": "keep-in-foreground", "d": "no-daemon", "r": "resolv-file", "p": "port", "H": "addn-hosts",
}

// dnsmasqArg takes the next option off a command line; no name means that it is
// none.
func dnsmasqArg(args []string) (name, value string, given bool, rest []string) {
	arg, rest := args[0], args[1:]
	if strings.HasPrefix(arg, "--") {
		name, value, given = strings.Cut(arg[2:], "=")
		return name, value, given, rest
	}
	if len(arg) < 2 || arg[0] != '-' {
		return "", "", false, rest
	}
	name, value, given = dnsmasqShort[arg[1:2]], arg[2:], len(arg) > 2
	if !given && dnsOptions[name].arg == "required" && len(rest) > 0 {
		value, given, rest = rest[0], true, rest[1:]
	}
	return name, value, given, rest
}

func (c *dnsConf) readAll(file string, dirs []string) error {
	if file != "" {
		if err := c.readFile(file); err != nil {
			return err
		}
	}
	for _, dir := range dirs {
		if problem := c.confDir(dir); problem != "" {
			return &configError{problem[2:], int(problem[1] - '0')}
		}
	}
	return nil
}

// dnsmasqFailed prints what dnsmasq dies of.
func (p *Process) dnsmasqFailed(err error) int {
	fmt.Fprintf(p.Stderr, "\ndnsmasq: %v\n", err)
	var bad *configError
	if errors.As(err, &bad) {
		return bad.exit
	}
	return 5
}

// runDnsmasq is dnsmasq --test; nobody else starts it but its unit.
func runDnsmasq(_ context.Context, p *Process) int {
	_, test, err := p.dnsmasqArgs(p.Args[1:])
	switch {
	case err != nil:
		return p.dnsmasqFailed(err)
	case !test:
		p.Errorf("only its unit can start it here")
		return 5
	}
	fmt.Fprintln(p.Stderr, "dnsmasq: syntax check OK.")
	return 0
}

// helperArgs is the command line that Debian's unit starts dnsmasq with.
func (m *Machine) helperArgs() []string {
	args := []string{"-x", "/run/dnsmasq/dnsmasq.pid", "-u", "dnsmasq"}
	text, err := m.readFile("/etc/default/dnsmasq")
	if err != nil {
		return args
	}
	for _, line := range lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "CONFIG_DIR":
			args = append(args, "-7", value)
		case "DNSMASQ_OPTS":
			args = append(args, strings.Fields(value)...)
		}
	}
	return append(args, "--local-service")
}

// runHelper is Debian's systemd-helper.
func runHelper(_ context.Context, p *Process) int {
	if len(p.Args) < 2 || p.Args[1] != "checkconfig" {
		return 0
	}
	if _, _, err := p.dnsmasqArgs(p.M.helperArgs()); err != nil {
		return p.dnsmasqFailed(err)
	}
	fmt.Fprintln(p.Stderr, "dnsmasq: syntax check OK.")
	return 0
}

// startDnsmasq starts the daemon by the helper or by itself.
func startDnsmasq(p *Process) (daemon, int) {
	args := p.Args[1:]
	if p.Args[0] == dnsmasqHelper {
		args = p.M.helperArgs()
	}
	conf, _, err := p.dnsmasqArgs(args)
	if err != nil {
		return nil, p.dnsmasqFailed(err)
	}
	for _, addr := range conf.listen {
		if conf.flags["bind-interfaces"] && !addr.IsLoopback() && !slices.Contains(p.M.Addresses(), addr) {
			fmt.Fprintf(p.Stderr, "\ndnsmasq: failed to create listening socket for %s: Cannot assign requested address\n", addr)
			return nil, 2
		}
	}
	d := &dnsmasqDaemon{m: p.M, conf: conf}
	for _, dir := range conf.hostsDirs {
		if _, err := p.M.readDir(dir); err != nil {
			fmt.Fprintf(p.Stderr, "bad dynamic directory %s: %s\n", dir, reason(err))
		}
	}
	_ = d.reload() // it cannot fail
	fmt.Fprintln(p.Stderr, "started, version 2.90 cachesize 150")
	return d, 0
}

// reload is SIGHUP: the hosts files are read again.
func (d *dnsmasqDaemon) reload() error {
	files := []string{"/etc/hosts"}
	if d.conf.flags["no-hosts"] {
		files = nil
	}
	var all []hostLine
	for _, file := range append(files, d.conf.addnHosts...) {
		for _, one := range d.m.hostFiles(file) {
			all = append(all, hostLines(d.m, one)...)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hosts = all
	return nil
}

func (d *dnsmasqDaemon) stop() {}

// hostFiles are a file, or the files of a folder.
func (m *Machine) hostFiles(name string) []string {
	entries, err := m.readDir(name)
	if err != nil {
		return []string{name}
	}
	var out []string
	for _, entry := range entries {
		if !entry.IsDir() && readableName(entry.Base, nil) {
			out = append(out, path.Join(name, entry.Base))
		}
	}
	return out
}

// lines are all names with addresses that the daemon knows, host-record first.
// A name with the same address twice in hosts files counts once.
func (d *dnsmasqDaemon) lines() []hostLine {
	d.mu.Lock()
	hosts := append([]hostLine(nil), d.hosts...)
	d.mu.Unlock()
	for _, dir := range d.conf.hostsDirs {
		for _, file := range d.m.hostFiles(dir) {
			hosts = append(hosts, hostLines(d.m, file)...)
		}
	}
	out := append([]hostLine(nil), d.conf.names...)
	seen := map[string]bool{}
	for _, line := range hosts {
		fresh := hostLine{address: line.address}
		for _, name := range line.names {
			for _, one := range d.expand(strings.ToLower(name)) {
				if key := one + " " + line.address.String(); !seen[key] {
					seen[key] = true
					fresh.names = append(fresh.names, one)
				}
			}
		}
		if len(fresh.names) > 0 {
			out = append(out, fresh)
		}
	}
	return out
}

// expand is a name of a hosts file with the domain, if that is wanted, and as it is.
func (d *dnsmasqDaemon) expand(name string) []string {
	if d.conf.flags["expand-hosts"] && d.conf.domain != "" && !strings.Contains(name, ".") {
		return []string{name + "." + d.conf.domain, name}
	}
	return []string{name}
}

// resolver is the running dnsmasq of the machine, or nil.
func (m *Machine) resolver() *dnsmasqDaemon {
	m.sys.mu.Lock()
	defer m.sys.mu.Unlock()
	for _, u := range m.sys.units {
		if d, ok := u.daemon.(*dnsmasqDaemon); ok {
			return d
		}
	}
	return nil
}

// listens tells whether the daemon answers at an address of its machine.
func (d *dnsmasqDaemon) listens(to netip.Addr, port int) bool {
	switch {
	case port != d.conf.port:
		return false
	case len(d.conf.listen) == 0:
		return true
	}
	return slices.Contains(d.conf.listen, to.Unmap())
}
