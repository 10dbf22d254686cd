// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// headerKey is where a request finds the header of its connection.
type headerKey struct{}

// proxied is a connection that begins with a header of the PROXY protocol, version
// 1. It is read as soon as anybody wants anything of the connection.
type proxied struct {
	net.Conn
	once     sync.Once
	from, to netip.AddrPort
	err      error
}

// longestHeader is the longest that there is.
const longestHeader = 107

func (p *proxied) header() error {
	p.once.Do(func() {
		var line []byte
		one := make([]byte, 1)
		for !strings.HasSuffix(string(line), "\r\n") {
			if _, p.err = p.Conn.Read(one); p.err == nil && len(line) >= longestHeader {
				p.err = errors.New("broken header while reading PROXY protocol")
			}
			if p.err != nil {
				return
			}
			line = append(line, one...)
		}
		p.err = p.parse(strings.Fields(string(line)))
	})
	return p.err
}

func (p *proxied) parse(words []string) error {
	if len(words) != 6 || words[0] != "PROXY" {
		return errors.New("broken header while reading PROXY protocol")
	}
	var err error
	if p.from, err = netip.ParseAddrPort(net.JoinHostPort(words[2], words[4])); err != nil {
		return err
	}
	p.to, err = netip.ParseAddrPort(net.JoinHostPort(words[3], words[5]))
	return err
}

// Read implements net.Conn.
func (p *proxied) Read(b []byte) (int, error) {
	if err := p.header(); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

// client is who the connection is for; nothing without a header.
func (p *proxied) client() netip.AddrPort {
	if p == nil || p.header() != nil {
		return netip.AddrPort{}
	}
	return p.from
}

// asked is where the client went to.
func (p *proxied) asked() netip.AddrPort {
	if p == nil || p.header() != nil {
		return netip.AddrPort{}
	}
	return p.to
}

// headerOf is a header of the PROXY protocol for a connection.
func headerOf(from, to netip.AddrPort) string {
	kind := "TCP4"
	if from.Addr().Unmap().Is6() {
		kind = "TCP6"
	}
	return fmt.Sprintf("PROXY %s %s %s %d %d\r\n", kind, textOf(from), textOf(to), from.Port(), to.Port())
}

// addr is an address as text.
type addr string

// Network implements net.Addr.
func (addr) Network() string { return "tcp" }

// String implements net.Addr.
func (a addr) String() string { return string(a) }

// addressOf reads an address.
func addressOf(a net.Addr) netip.AddrPort {
	if a == nil {
		return netip.AddrPort{}
	}
	place, _ := netip.ParseAddrPort(a.String()) // what is none stays empty
	return place
}

// textOf is an address without its port; empty for none.
func textOf(a netip.AddrPort) string {
	if !a.Addr().IsValid() {
		return ""
	}
	return a.Addr().Unmap().String()
}
