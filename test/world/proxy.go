// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"sync"

	"github.com/things-go/go-socks5"
)

// network is what a proxy leads to, such as a simulated site.
type network interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	Resolve(host string) (netip.Addr, error)
}

// proxy is a SOCKS5 server on loopback: the way to the machines of a simulated site, which have no address on this one.
type proxy struct {
	listener net.Listener
	server   *socks5.Server

	mu      sync.Mutex
	conns   map[net.Conn]bool // nil: it is closed
	running sync.WaitGroup
}

// startProxy serves until Close.
func startProxy(ctx context.Context, to network) (*proxy, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open proxy to the site: %w", err)
	}
	p := &proxy{listener: l, conns: map[net.Conn]bool{}}
	p.server = socks5.NewServer(
		socks5.WithLogger(socks5.NewLogger(log.New(io.Discard, "", 0))), // what fails is told to the client
		socks5.WithResolver(names{to}),
		socks5.WithRule(&socks5.PermitCommand{EnableConnect: true}),
		socks5.WithDial(func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := to.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return whole{conn}, nil
		}),
	)
	p.running.Go(p.accept)
	return p, nil
}

// environment are the variables that lead a process through the proxy to everything but this machine.
func (p *proxy) environment() []string {
	return []string{"ALL_PROXY=socks5://" + p.listener.Addr().String(), "NO_PROXY=127.0.0.1,localhost,::1"}
}

func (p *proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		open := p.conns != nil
		if open {
			p.conns[conn] = true
			p.running.Go(func() { p.serve(conn) })
		}
		p.mu.Unlock()
		if !open {
			_ = conn.Close() // it came too late
		}
	}
}

func (p *proxy) serve(conn net.Conn) {
	_ = p.server.ServeConn(conn) // the client was told, or has left
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

// Close ends the server and every connection.
func (p *proxy) Close() error {
	err := p.listener.Close()
	p.mu.Lock()
	for conn := range p.conns {
		err = errors.Join(err, ignoreClosed(conn.Close()))
	}
	p.conns = nil
	p.mu.Unlock()
	p.running.Wait()
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// names looks names up on the other side.
type names struct{ network }

// Resolve implements socks5.NameResolver.
func (n names) Resolve(ctx context.Context, name string) (context.Context, net.IP, error) {
	at, err := n.network.Resolve(name)
	return ctx, net.IP(at.AsSlice()), err
}

// whole is a connection that ends as a whole when one side is done with it: its other end would wait for the client that
// has left.
type whole struct{ net.Conn }

// CloseWrite is called when the client has nothing more to say.
func (w whole) CloseWrite() error { return w.Close() }
