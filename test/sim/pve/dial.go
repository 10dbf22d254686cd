// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// DialContext connects to a program on a machine of the site, by HOST:PORT: a
// node, or a guest that runs and has the address, declared or leased. A host name
// is looked up as the first node does. Without such a machine there is no route
// to it (EHOSTUNREACH), without a listening program it refuses (ECONNREFUSED).
// Guests behind Options.Backend are not reached.
func (s *Server) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	failed := func(err error) error { return &net.OpError{Op: "dial", Net: network, Addr: target(address), Err: err} }
	host, number, err := net.SplitHostPort(address)
	if err != nil {
		return nil, failed(err)
	}
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return nil, failed(err)
	}
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, failed(net.UnknownNetworkError(network))
	}
	at, err := s.Resolve(host)
	if err != nil {
		return nil, failed(err)
	}
	m := s.network.At(at)
	if m == nil {
		return nil, failed(syscall.EHOSTUNREACH)
	}
	return m.Dial(ctx, int(port))
}

// Resolve finds the address of a host as the first node does.
func (s *Server) Resolve(host string) (netip.Addr, error) {
	if at, err := netip.ParseAddr(host); err == nil {
		return at.Unmap(), nil
	}
	return s.Machine(s.opts.Nodes[0]).Resolve(host)
}

// target is an address as it was written.
type target string

// Network implements net.Addr.
func (target) Network() string { return "tcp" }

// String implements net.Addr.
func (t target) String() string { return string(t) }
