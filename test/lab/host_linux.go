// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/lab/wire"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// hostFolder is a folder of this machine that the host sees.
func (l *Lab) hostFolder(name ...string) string {
	return filepath.Join(append([]string{l.dir, "host"}, name...)...)
}

// prepareHost makes the host's file system, with the folders that the lab shares with it.
func (l *Lab) prepareHost(ctx context.Context) error {
	for _, dir := range []string{"tools", "pve"} {
		if err := os.MkdirAll(l.hostFolder(dir), 0o755); err != nil {
			return err
		}
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "unix", l.hostFolder("tools", filepath.Base(wire.Socket)))
	if err != nil {
		return fmt.Errorf("listen for the host's programs: %w", err)
	}
	l.closers = append(l.closers, listener)
	l.running.Go(func() { l.serveTools(l.ctx, listener.(*net.UnixListener)) })
	if l.host, err = l.newMachine(l.node); err != nil {
		return err
	}
	key, public, err := newKey("phoenix@lab")
	if err != nil {
		return err
	}
	hostKey, err := os.ReadFile(filepath.Join(l.host.root, "etc/ssh/ssh_host_ed25519_key.pub"))
	if err != nil {
		return err
	}
	l.door = pve.SSHNode{Name: l.node, Address: HostAddress, HostKey: string(hostKey[:len(hostKey)-1]), ClientKeyPEM: key}
	err = errors.Join(
		l.host.write("etc/hostname", l.node+"\n", 0o644),
		l.host.write("etc/hosts", "127.0.0.1 localhost\n"+HostAddress+" "+l.node+"\n", 0o644),
		l.host.write("etc/resolv.conf", "nameserver "+Gateway+"\n", 0o644),
		l.host.write("root/.ssh/authorized_keys", public+"\n", 0o600),
		os.Chmod(filepath.Join(l.host.root, "root/.ssh"), 0o700),
		os.MkdirAll(filepath.Join(l.host.root, "var/lib/vz/snippets"), 0o755),
	)
	for _, name := range programs {
		err = errors.Join(err, link(l.host.root, wire.Folder+"/shim", name))
	}
	return err
}

// startHost starts the host and waits until one can log in.
func (l *Lab) startHost(ctx context.Context) error {
	c := container{
		hostname: l.node, root: l.host.root, groups: l.host.groups, powers: true,
		nics: []nic{{
			name: l.options.Site.Bridges[0], mac: "bc:24:11:00:00:0d", bridge: l.options.Site.Bridges[0],
			addresses: []netip.Prefix{netip.MustParsePrefix(HostAddress + "/24")}, gateways: []netip.Addr{netip.MustParseAddr(Gateway)},
		}},
		binds: []bind{
			{source: l.hostFolder("tools"), target: wire.Folder},
			{source: l.hostFolder("pve"), target: "/etc/pve"},
		},
	}
	if err := l.host.start(ctx, c.lxcConfig()); err != nil {
		return err
	}
	if err := l.host.booted(ctx); err != nil {
		return err
	}
	return answers(ctx, HostAddress+":22")
}

// answers waits until somebody listens.
func answers(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	for {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", address, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
