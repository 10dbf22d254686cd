// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// passer is a server of the stream module: it passes connections on.
type passer struct {
	listens  []listen
	to       string // with variables
	preread  bool   // the name of the TLS handshake is a variable
	header   bool   // a header of the PROXY protocol goes before
	realFrom bool
}

// streams reads the stream block.
func (c *Config) streams(tree crossplane.Directives) error {
	for _, d := range tree {
		if err := c.stream.shared(c, d); err != nil {
			return err
		}
	}
	for _, d := range tree {
		if d.Directive != "server" {
			continue
		}
		p := &passer{}
		for _, one := range d.Block {
			if err := p.take(&c.stream, one); err != nil {
				return err
			}
		}
		if p.to == "" {
			return at(d, "no handler for server")
		}
		if len(p.listens) == 0 {
			return at(d, "no \"listen\" is defined for server")
		}
		c.passers = append(c.passers, p)
	}
	return nil
}

func (p *passer) take(s *section, d *crossplane.Directive) error {
	switch d.Directive {
	case "listen":
		l, err := parseListen(d)
		if err != nil {
			return err
		}
		p.listens = append(p.listens, l)
	case "proxy_pass":
		p.to = d.Args[0]
		s.mention(p.to)
	case "ssl_preread":
		p.preread = d.Args[0] == "on"
	case "proxy_protocol":
		p.header = d.Args[0] == "on"
	case "set_real_ip_from":
		p.realFrom = true
	}
	return nil
}

// passing is the one of a port; nil: there is none.
func (c *Config) passing(port int) *passer {
	i := slices.IndexFunc(c.passers, func(p *passer) bool {
		return slices.ContainsFunc(p.listens, func(l listen) bool { return l.port == port })
	})
	if i < 0 {
		return nil
	}
	return c.passers[i]
}

// pass passes a connection on until one of its ends is closed.
func (c *Config) pass(p *passer, conn net.Conn, dial Dialer) error {
	defer func() { _ = conn.Close() }() // it is over
	from, local := addressOf(conn.RemoteAddr()), addressOf(conn.LocalAddr())
	if p.listens[0].proxied {
		header := &proxied{Conn: conn}
		if err := header.header(); err != nil {
			return err
		}
		if conn = header; p.realFrom && from.Addr().Unmap().IsLoopback() {
			from = header.client()
		}
	}
	name := ""
	if p.preread {
		conn, name = preread(conn)
	}
	v := c.stream.variables(func(variable string) string { return connected(variable, name, from, local) })
	address, err := c.stream.target(v.expand(p.to), "")
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	there, err := dial(ctx, host, port)
	if err != nil {
		return err
	}
	defer func() { _ = there.Close() }() // it is over
	if p.header {
		if _, err := io.WriteString(there, headerOf(from, local)); err != nil {
			return err
		}
	}
	join(conn, there)
	return nil
}

// connected is a variable that comes with a connection.
func connected(variable, name string, from, local netip.AddrPort) string {
	switch variable {
	case "ssl_preread_server_name":
		return name
	case "remote_addr":
		return textOf(from)
	case "server_addr":
		return textOf(local)
	case "server_port":
		return strconv.Itoa(int(local.Port()))
	case "protocol":
		return "TCP"
	}
	return ""
}

// join copies both ways until one of them ends.
func join(a, b net.Conn) {
	var wait sync.WaitGroup
	both := func(to, from net.Conn) {
		defer wait.Done()
		_, _ = io.Copy(to, from) // either end may go at any time
		_ = a.Close()
		_ = b.Close()
	}
	wait.Add(2)
	go both(a, b)
	both(b, a)
	wait.Wait()
}

var errSeen = errors.New("the name was seen")

// preread reads the name that a TLS client asks for, and returns the connection as
// if nobody had read it.
func preread(conn net.Conn) (net.Conn, string) {
	var read bytes.Buffer
	name := ""
	_ = tls.Server(ears{Conn: conn, heard: io.TeeReader(conn, &read)}, &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			name = hello.ServerName
			return nil, errSeen
		},
	}).HandshakeContext(context.Background()) // it always fails
	return ears{Conn: conn, heard: io.MultiReader(&read, conn), speaks: true}, name
}

// ears is a connection that is heard another way, and on which nothing is said
// unless it speaks.
type ears struct {
	net.Conn
	heard  io.Reader
	speaks bool
}

// Read implements net.Conn.
func (e ears) Read(b []byte) (int, error) { return e.heard.Read(b) }

// Write implements net.Conn.
func (e ears) Write(b []byte) (int, error) {
	if !e.speaks {
		return len(b), nil
	}
	return e.Conn.Write(b)
}

// SetDeadline implements net.Conn.
func (e ears) SetDeadline(at time.Time) error { return e.Conn.SetDeadline(at) }
