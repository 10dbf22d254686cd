// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"google.golang.org/grpc/test/bufconn"
)

// inFlight is how much a connection holds that its other end has not read yet.
const inFlight = 64 << 10

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
	inner, err := l.DialContext(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, refused(ctx.Err())
		}
		return nil, refused(syscall.ECONNREFUSED) // it closed meanwhile
	}
	return &wire{
		Conn: inner, local: netip.AddrPortFrom(from, uint16(m.pids.Add(1)%28000+32768)), remote: netip.AddrPortFrom(to, uint16(port)),
	}, nil
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

// wire is a connection that knows its ends.
type wire struct {
	net.Conn
	local, remote netip.AddrPort
}

// LocalAddr implements net.Conn.
func (w *wire) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(w.local) }

// RemoteAddr implements net.Conn.
func (w *wire) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(w.remote) }

// listen takes a port of the machine; EADDRINUSE when another program has it.
func (m *Machine) listen(port int) (net.Listener, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ports[port] != nil {
		return nil, syscall.EADDRINUSE
	}
	l := bufconn.Listen(inFlight)
	m.ports[port] = l
	return &door{Listener: l, m: m, port: port}, nil
}

// door is a port that is given back when it is closed.
type door struct {
	*bufconn.Listener
	m    *Machine
	port int
}

// Close implements net.Listener.
func (d *door) Close() error {
	d.m.mu.Lock()
	if d.m.ports[d.port] == d.Listener {
		delete(d.m.ports, d.port)
	}
	d.m.mu.Unlock()
	return d.Listener.Close()
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	inner, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	nobody := netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(d.port))
	return &wire{Conn: inner, local: nobody, remote: nobody}, nil
}

// Addr implements net.Listener.
func (d *door) Addr() net.Addr { return &net.TCPAddr{Port: d.port} }

// splitPort reads ADDRESS:PORT, :PORT or PORT.
func splitPort(text string) (host string, port int, ok bool) {
	host, number, err := net.SplitHostPort(text)
	if err != nil {
		host, number = "", text
	}
	port, err = strconv.Atoi(number)
	return host, port, err == nil && port > 0 && port < 1<<16
}
