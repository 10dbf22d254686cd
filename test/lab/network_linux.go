// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// openNetwork makes the bridges, the first one with the gateway's address, and an outside network with one client in it.
func openNetwork(ctx context.Context, bridges []string) error {
	var b strings.Builder
	for i, name := range bridges {
		// A bridge without an address of its own takes one from its ports: it would change with every machine that comes or goes.
		fmt.Fprintf(&b, "link add %s address 02:00:0a:00:00:%02x type bridge\nlink set %s up\n", name, i+1, name)
		if i == 0 {
			fmt.Fprintf(&b, "address add %s/24 dev %s\n", Gateway, name)
		}
	}
	b.WriteString("netns add client\nlink add outside type veth peer name eth0 netns client\n")
	fmt.Fprintf(&b, "address add %s/24 dev outside\nlink set outside up\n", clientGateway)
	if err := command(ctx, strings.NewReader(b.String()), "ip", "-batch", "-"); err != nil {
		return fmt.Errorf("make the lab's network: %w", err)
	}
	client := fmt.Sprintf("link set lo up\naddress add %s/24 dev eth0\nlink set eth0 up\nroute add default via %s\n", ClientAddress, clientGateway)
	if err := command(ctx, strings.NewReader(client), "ip", "-netns", "client", "-batch", "-"); err != nil {
		return fmt.Errorf("make the outside's network: %w", err)
	}
	return nil
}

// closeNetwork removes what openNetwork made.
func closeNetwork(ctx context.Context, bridges []string) error {
	var b strings.Builder
	b.WriteString("link delete outside\nnetns delete client\n")
	for _, name := range bridges {
		fmt.Fprintf(&b, "link delete %s\n", name)
	}
	return command(ctx, strings.NewReader(b.String()), "ip", "-force", "-batch", "-")
}

// Client runs a program of this machine as one outside of the site, with the network as it looks from there.
func (l *Lab) Client(ctx context.Context, argv ...string) (Result, error) {
	return capture(ctx, nil, "nsenter", append([]string{"--net=" + clientNetwork, "--"}, argv...)...)
}

// DialClient connects as the one outside of the site does. It finds no names: the address is an IP address and a port.
func (l *Lab) DialClient(ctx context.Context, network, address string) (net.Conn, error) {
	return socketIn(clientNetwork, func() (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	})
}

// Outsider is what root outside of the lab puts before a command that shall come from the Client's network.
func (l *Lab) Outsider() string {
	return fmt.Sprintf("nsenter --target %d --mount nsenter --net=%s ", l.PID, clientNetwork)
}

// listenIn listens in another network namespace.
func listenIn(ctx context.Context, namespace, address string) (net.Listener, error) {
	l, err := socketIn(namespace, func() (net.Listener, error) {
		var lc net.ListenConfig
		return lc.Listen(ctx, "tcp", address)
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s in %s: %w", address, namespace, err)
	}
	return l, nil
}

// socketIn opens a socket in another network namespace, where it stays.
func socketIn[S any](namespace string, open func() (S, error)) (S, error) {
	type result struct {
		s   S
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var r result
		if r.err = enterNetwork(namespace); r.err == nil {
			r.s, r.err = open()
		}
		done <- r
	}()
	r := <-done
	return r.s, r.err
}

// enterNetwork moves the calling thread into another network namespace.
func enterNetwork(namespace string) error {
	f, err := os.Open(namespace)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	return unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
}
