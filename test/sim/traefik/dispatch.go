// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"time"
)

// recordHandshake is the first byte of a TLS connection.
const recordHandshake = 22

// peeked is a connection whose beginning was looked at.
type peeked struct {
	net.Conn
	reader *bufio.Reader
}

// Read implements net.Conn.
func (p *peeked) Read(b []byte) (int, error) { return p.reader.Read(b) }

// CloseWrite ends one direction, if the connection can.
func (p *peeked) CloseWrite() error {
	if half, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// CloseWrite ends one direction, if the connection can.
func (t *tracked) CloseWrite() error {
	if half, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// dispatch finds who serves a connection.
func (e *entryPoint) dispatch(c net.Conn) {
	now := e.server.now.Load()
	routes := now.tcp[e.name]
	seen := connection{client: hostOf(c.RemoteAddr().String())}
	if len(routes.plain) > 0 && len(routes.secure) == 0 && len(now.hosts[e.name]) == 0 {
		if one := match(routes.plain, seen); one != nil { // the server may be the one to speak first
			one.handler(e.server.ctx, c)
			return
		}
	}
	if d := time.Duration(e.conf.Transport.RespondingTimeouts.ReadTimeout); d > 0 {
		_ = c.SetReadDeadline(time.Now().Add(d)) // it is open
	}
	p := &peeked{c, bufio.NewReaderSize(c, 20<<10)}
	hello, secure, err := readHello(p.reader)
	if err != nil {
		_ = c.Close() // it said nothing
		return
	}
	_ = c.SetReadDeadline(time.Time{}) // it is open
	if !secure {
		if one := match(routes.plain, seen); one != nil {
			one.handler(e.server.ctx, p)
			return
		}
		e.plain.take(p)
		return
	}
	seen.name, seen.protocols = strings.ToLower(strings.TrimSuffix(hello.ServerName, ".")), hello.SupportedProtos
	e.dispatchTLS(now, routes.secure, seen, p)
}

// dispatchTLS finds who serves a connection with TLS: an HTTP route for the name, a TCP route, then those for every name.
func (e *entryPoint) dispatchTLS(now *served, routes []tcpRoute, seen connection, p *peeked) {
	one := match(routes, seen)
	switch {
	case now.wants(e.name, seen.name) && seen.name != "*":
	case one != nil && (!one.all || !now.wants(e.name, "*")):
		one.handler(e.server.ctx, p)
		return
	}
	e.secure.take(tls.Server(p, e.server.own.config()))
}

var errSeen = errors.New("seen")

// readHello looks at the beginning of a connection, without taking it.
func readHello(r *bufio.Reader) (hello *tls.ClientHelloInfo, secure bool, err error) {
	first, err := r.Peek(1)
	if err != nil || first[0] != recordHandshake {
		return nil, false, err
	}
	head, err := r.Peek(5)
	if err != nil {
		return nil, false, err
	}
	record, err := r.Peek(5 + int(head[3])<<8 + int(head[4]))
	if err != nil {
		return nil, false, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		hello = info
		return nil, errSeen
	}}
	if err := tls.Server(replay{bytes.NewReader(record)}, config).HandshakeContext(context.Background()); hello == nil {
		return nil, true, err
	}
	return hello, true, nil
}

// replay is a connection on which something was said, and nobody listens.
type replay struct{ io.Reader }

// Write implements net.Conn.
func (replay) Write(b []byte) (int, error) { return len(b), nil }

// Close implements net.Conn.
func (replay) Close() error { return nil }

// LocalAddr implements net.Conn.
func (replay) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr implements net.Conn.
func (replay) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// SetDeadline implements net.Conn.
func (replay) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (replay) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (replay) SetWriteDeadline(time.Time) error { return nil }
