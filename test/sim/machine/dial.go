// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// Dial connects to a TCP port of the machine, as somebody on its network does:
// EHOSTUNREACH when the machine is off, ECONNREFUSED when nothing listens there.
// Nothing of it is visible outside of this process.
func (m *Machine) Dial(ctx context.Context, port int) (net.Conn, error) {
	return m.dial(ctx, netip.IPv4Unspecified(), port)
}

func (m *Machine) dial(ctx context.Context, from netip.Addr, port int) (net.Conn, error) {
	to := netip.IPv4Unspecified()
	if own := m.Addresses(); len(own) > 0 {
		to = own[0]
	}
	refused := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(to, uint16(port))), Err: err}
	}
	if !m.Running() {
		return nil, refused(syscall.EHOSTUNREACH)
	}
	m.mu.Lock()
	l := m.ports[port]
	private := m.private[port] == l && !from.IsLoopback()
	m.mu.Unlock()
	if l == nil || private {
		return nil, refused(syscall.ECONNREFUSED)
	}
	conn, err := l.dial(ctx, netip.AddrPortFrom(from, uint16(m.pids.Add(1)%28000+32768)), netip.AddrPortFrom(to, uint16(port)))
	if err != nil {
		if ctx.Err() != nil {
			return nil, refused(ctx.Err())
		}
		return nil, refused(syscall.ECONNREFUSED) // it closed meanwhile
	}
	return conn, nil
}

// dialHost connects to a port of a machine by name or address, as a program of
// this machine does.
func (m *Machine) dialHost(ctx context.Context, host string, port int) (net.Conn, error) {
	addresses, err := m.resolveName(host)
	if err != nil {
		return nil, err
	}
	at := m.reach(addresses[0])
	if at == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.EHOSTUNREACH}
	}
	return at.dial(ctx, m.source(addresses[0]), port)
}

// Listen takes a port of the machine for a program of a test; EADDRINUSE when
// another one has it. Close gives it back.
func (m *Machine) Listen(port int) (net.Listener, error) { return m.listen(port) }

// listen takes a port of the machine; EADDRINUSE when another program has it.
func (m *Machine) listen(port int) (net.Listener, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ports[port] != nil {
		return nil, syscall.EADDRINUSE
	}
	l := newSocket()
	m.ports[port] = l
	return &door{socket: l, m: m, number: port}, nil
}

// door is a port that is given back when it is closed.
type door struct {
	*socket
	m      *Machine
	number int
}

// Close implements net.Listener.
func (d *door) Close() error {
	d.m.mu.Lock()
	if d.m.ports[d.number] == d.socket {
		delete(d.m.ports, d.number)
	}
	d.m.mu.Unlock()
	return d.socket.Close()
}

// Addr implements net.Listener.
func (d *door) Addr() net.Addr { return &net.TCPAddr{Port: d.number} }

// splitPort reads ADDRESS:PORT, :PORT or PORT.
func splitPort(text string) (host string, port int, ok bool) {
	host, number, err := net.SplitHostPort(text)
	if err != nil {
		host, number = "", text
	}
	port, err = strconv.Atoi(number)
	return host, port, err == nil && port > 0 && port < 1<<16
}
