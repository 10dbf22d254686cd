// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/lab/wire"
)

// programs of the host that the lab runs, by their place there.
var programs = []string{
	"usr/bin/lxc-attach", "usr/bin/pvesh", "usr/bin/pveversion", "usr/sbin/ha-manager", "usr/sbin/pct", "usr/sbin/pve-firewall",
	"usr/sbin/pvesm", "usr/sbin/qm",
}

// serveTools answers the host's programs until the listener is closed.
func (l *Lab) serveTools(ctx context.Context, listener *net.UnixListener) {
	for {
		c, err := listener.AcceptUnix()
		if err != nil {
			return
		}
		l.calls.Go(func() {
			defer func() { _ = c.Close() }() // the caller has left then
			l.serveTool(ctx, c)
		})
	}
}

func (l *Lab) serveTool(ctx context.Context, c *net.UnixConn) {
	call, err := wire.Receive(c)
	defer func() {
		for _, f := range call.Files {
			_ = f.Close() // the caller has its own; nil says so
		}
	}()
	if err != nil || len(call.Args) == 0 {
		return // the caller sees that there is no answer
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.calls.Go(func() {
		_, _ = c.Read(make([]byte, 1)) // nothing comes: it ends when the caller leaves
		cancel()
	})
	exit := l.runTool(ctx, call)
	for _, f := range call.Files {
		_ = f.Close() // before the answer, so that all is written when the caller ends
	}
	_ = json.NewEncoder(c).Encode(wire.Answer{Exit: exit}) // the caller may have left
}

// runTool runs a program, which takes as long as on a real host at least.
func (l *Lab) runTool(ctx context.Context, call wire.Call) int {
	began := time.Now()
	name, delay := call.Args[0], l.options.ToolDelay
	site := l.site.Load()
	if site == nil {
		fmt.Fprintf(call.Files[2], "%s: the site is not up\n", name)
		return 255
	}
	run := func() int {
		return site.RunTool(ctx, l.node, call.Args, call.Files[0], call.Files[1], call.Files[2])
	}
	switch {
	case name == "lxc-attach":
		delay = l.options.AttachDelay
		run = func() int { return l.attachTool(ctx, call) }
	case name == "pct" && len(call.Args) > 3 && call.Args[1] == "exec":
		run = func() int { return l.execTool(ctx, call) }
	}
	if name != "lxc-attach" {
		pause(ctx, delay) // Perl starts
		return run()
	}
	exit := run()
	pause(ctx, delay-time.Since(began))
	return exit
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// attachTool is lxc-attach as somebody calls it on the host: the real one, on the containers that the host has.
func (l *Lab) attachTool(ctx context.Context, call wire.Call) int {
	if name := attachName(call.Args); !l.guests.isContainer(name) {
		fmt.Fprintf(call.Files[2], "lxc-attach: %s: ../src/lxc/tools/lxc_attach.c: lxc_attach_main: 330 Failed to get init pid\n", name)
		return 1
	}
	args := append([]string{"-P", filepath.Join(l.dir, "lxc")}, call.Args[1:]...)
	exit, err := stream(ctx, call.Files[0], call.Files[1], call.Files[2], call.Env, "lxc-attach", args...)
	if err != nil {
		fmt.Fprintln(call.Files[2], "lxc-attach:", err)
		return 255
	}
	return exit
}

// attachName is the container that the arguments of lxc-attach name.
func attachName(args []string) string {
	for i, arg := range args {
		switch {
		case arg == "--":
			return ""
		case (arg == "-n" || arg == "--name") && i+1 < len(args):
			return args[i+1]
		case len(arg) > 7 && arg[:7] == "--name=":
			return arg[7:]
		}
	}
	return ""
}

// execTool is pct exec VMID -- ARGUMENTS.
func (l *Lab) execTool(ctx context.Context, call wire.Call) int {
	argv := call.Args[3:]
	if i := slices.Index(argv, "--"); i >= 0 {
		argv = argv[i+1:]
	}
	vmid, err := strconv.Atoi(call.Args[2])
	switch {
	case err != nil || !l.guests.isContainer(call.Args[2]):
		fmt.Fprintf(call.Files[2], "Configuration file 'nodes/%s/lxc/%s.conf' does not exist\n", l.node, call.Args[2])
		return 2
	case !l.guests.isUp(vmid):
		fmt.Fprintf(call.Files[2], "container '%d' not running!\n", vmid)
		return 255
	}
	exit, err := l.guests.Exec(ctx, vmid, argv, call.Files[0], call.Files[1], call.Files[2])
	if err != nil {
		fmt.Fprintln(call.Files[2], err)
		return 255
	}
	return exit
}
