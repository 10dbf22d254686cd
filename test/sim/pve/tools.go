// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

// tool is a program of Proxmox that runs on a node.
type tool struct {
	s              *Server
	node           string
	ctx            context.Context
	env            []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// tools are the programs that a Proxmox node has beyond a Debian's.
func tools() map[string]func(t *tool, args []string) int {
	return map[string]func(t *tool, args []string) int{
		"pct": runPCT, "qm": runQM, "pve-firewall": runPVEFirewall, "lxc-attach": runAttach, "pveversion": runVersion,
	}
}

// nodePackages are the packages of a node beyond a Debian's, with the units of
// Proxmox.
func nodePackages() map[string]machine.Package {
	out := machine.DebianPackages()
	unit := func(name, description, folder string) machine.PackageFile {
		return machine.PackageFile{
			Path: "/usr/lib/systemd/system/" + name + ".service",
			Text: fmt.Sprintf("[Unit]\nDescription=%s\nAfter=%s\n\n[Service]\nExecStart=/usr/bin/sleep infinity\nExecReload=/bin/kill -HUP $MAINPID\n\n[Install]\nWantedBy=multi-user.target\n", description, folder),
		}
	}
	out["pve-manager"] = machine.Package{
		Version: "9.2.11", Depends: []string{"nfs-common"}, Starts: []string{"pvedaemon.service", "pveproxy.service"},
		Files: []machine.PackageFile{unit("pvedaemon", "PVE API Daemon", "pve-cluster.service"), unit("pveproxy", "PVE API Proxy Server", "pvedaemon.service")},
	}
	return out
}

// newNode makes a node's machine. Its index decides its address.
func (s *Server) newNode(name string, index int) *machine.Machine {
	address := nodeAddr(index)
	m := machine.New(machine.Options{Hostname: name, Network: s.network, Addresses: address, Web: s.opts.Web, Repository: nodePackages(), Installed: []string{"pve-manager"}})
	m.Mount("/etc/pve", &clusterFiles{s: s, node: name})
	_ = m.WriteFile("/etc/hosts", fmt.Sprintf("127.0.0.1 localhost.localdomain localhost\n%s %s.home.arpa %s\n", address[0], name, name), 0o644) // /etc is there
	_ = m.WriteFile("/etc/resolv.conf", "search home.arpa\nnameserver 10.0.0.1\n", 0o644)                                                        // /etc is there
	_ = m.WriteFile("/var/lib/vz/snippets/.keep", "", 0o644)                                                                                     // /var is there
	_ = m.Remove("/var/lib/vz/snippets/.keep")                                                                                                   // it was written
	for program, run := range tools() {
		m.Program(program, func(ctx context.Context, p *machine.Process) int {
			return run(&tool{s: s, node: name, ctx: ctx, env: p.Env, stdin: p.Stdin, stdout: p.Stdout, stderr: p.Stderr}, p.Args)
		})
	}
	m.Boot()
	return m
}

// Machine is a node's simulated machine, nil when there is no such node.
func (s *Server) Machine(node string) *machine.Machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[node]; n != nil {
		return n.machine
	}
	return nil
}

// RunTool runs a program of a node as root there: pct, qm, lxc-attach and what
// else the node has; 127 is "there is no such program". What runs so is not
// counted as an SSH command.
func (s *Server) RunTool(ctx context.Context, node string, argv []string, stdin io.Reader, stdout, stderr io.Writer) int {
	m := s.Machine(node)
	if m == nil {
		fmt.Fprintf(stderr, "there is no node %s\n", node)
		return 255
	}
	return m.Run(ctx, argv, stdin, stdout, stderr)
}

func runVersion(t *tool, _ []string) int {
	fmt.Fprintln(t.stdout, "pve-manager/9.2.11/14a22df3d0c1b2a3 (running kernel: 6.17.2-1-pve)")
	return 0
}

// runAttach is lxc-attach -n VMID [--clear-env] [--set-var K=V] -- COMMAND.
func runAttach(t *tool, args []string) int {
	name, env, clear := "", []string(nil), false
	rest := args[1:]
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
		option, value, given := strings.Cut(rest[0], "=")
		if !strings.HasPrefix(option, "--") && len(option) > 2 {
			option, value, given = rest[0][:2], rest[0][2:], true
		}
		rest = rest[1:]
		if option == "--" {
			break
		}
		if takes := strings.Contains(" -n --name -v --set-var --keep-var -u --uid -g --gid -P --lxcpath -o --logfile -l --logpriority ", " "+option+" "); takes && !given && len(rest) > 0 {
			value, rest = rest[0], rest[1:]
		}
		switch option {
		case "-n", "--name":
			name = value
		case "-v", "--set-var":
			env = append(env, value)
		case "--clear-env":
			clear = true
		}
	}
	if name == "" {
		fmt.Fprintln(t.stderr, "lxc-attach: missing container name, use --name option")
		return 1
	}
	if !clear {
		env = append(append([]string(nil), t.env...), env...)
	}
	if len(rest) == 0 {
		rest = []string{"/bin/bash"}
	}
	return t.attach(name, append([]string{"container=lxc"}, env...), rest)
}

func (t *tool) attach(name string, env, argv []string) int {
	t.s.mu.Lock()
	g := t.s.guests[atoi(name)]
	here := g != nil && g.kind == kindLXC && g.node == t.node
	runs := here && g.running
	t.s.mu.Unlock()
	switch {
	case !here:
		fmt.Fprintf(t.stderr, "Error: container %s is not defined\n", name)
		return 1
	case !runs:
		fmt.Fprintf(t.stderr, "lxc-attach: %s: ../src/lxc/attach.c: get_attach_context: 406 Connection refused - Failed to get init pid\n"+
			"lxc-attach: %s: ../src/lxc/attach.c: lxc_attach: 1473 Connection refused - Failed to get attach context\n", name, name)
		return 1
	}
	exit, err := t.s.execGuest(t.ctx, atoi(name), env, argv, t.stdin, t.stdout, t.stderr)
	if err != nil {
		fmt.Fprintf(t.stderr, "lxc-attach: %s: %v\n", name, err)
		return 1
	}
	return exit
}

// exec is pct exec VMID -- COMMAND.
func (t *tool) exec(args []string) int {
	if len(args) == 0 {
		return t.usage("pct", "exec", "400 not enough arguments")
	}
	argv := args[1:]
	if len(argv) > 0 && argv[0] == "--" {
		argv = argv[1:]
	}
	if len(argv) == 0 {
		return t.usage("pct", "exec", "400 not enough arguments")
	}
	t.s.mu.Lock()
	g := t.s.guests[atoi(args[0])]
	here := g != nil && g.kind == kindLXC && g.node == t.node
	runs := here && g.running
	t.s.mu.Unlock()
	switch {
	case !here:
		fmt.Fprintf(t.stderr, "Configuration file '%s' does not exist\n", confPath(t.node, kindLXC, atoi(args[0])))
		return 255
	case !runs:
		fmt.Fprintf(t.stderr, "container '%s' not running!\n", args[0])
		return 255
	}
	return t.attach(args[0], append(append([]string(nil), t.env...), "container=lxc"), argv)
}

// nodeAddr are a node's addresses: 10.0.0.13 for the first one, and so on.
func nodeAddr(index int) []netip.Addr {
	address := netip.MustParseAddr(nodeAddress)
	for range index {
		address = address.Next()
	}
	return []netip.Addr{address}
}
