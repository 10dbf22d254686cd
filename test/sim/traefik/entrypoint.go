// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"
)

// entryPoint is a port with a server for what comes in plain, and one for what came over TLS.
type entryPoint struct {
	server   *Server
	name     string
	conf     *EntryPoint
	listener net.Listener
	plain    *forwarder
	secure   *forwarder

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func (s *Server) newEntryPoint(name, address string, conf *EntryPoint) (*entryPoint, error) {
	trusted, err := newTrust(conf.ForwardedHeaders)
	if err != nil {
		return nil, fmt.Errorf("creating HTTP server: %w", err)
	}
	l, err := s.o.Listen(address)
	if err != nil {
		return nil, fmt.Errorf("building listener: error opening listener: %w", err)
	}
	if l, err = proxied(l, conf); err != nil {
		return nil, fmt.Errorf("building listener: error creating proxy protocol listener: %w", err)
	}
	e := &entryPoint{server: s, name: name, conf: conf, listener: l, conns: map[net.Conn]bool{}}
	serve := func(tls bool) *forwarder {
		return newForwarder(conf, !tls, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { e.serve(w, r, tls, trusted) }))
	}
	e.plain, e.secure = serve(false), serve(true)
	return e, nil
}

// proxied reads who the client is from what comes before its first byte, if that is to be believed.
func proxied(l net.Listener, conf *EntryPoint) (net.Listener, error) {
	if conf.ProxyProtocol == nil {
		return l, nil
	}
	out := &proxyproto.Listener{Listener: l, ReadHeaderTimeout: time.Duration(conf.Transport.RespondingTimeouts.ReadTimeout)}
	if out.ReadHeaderTimeout == 0 {
		out.ReadHeaderTimeout = -1
	}
	if conf.ProxyProtocol.Insecure {
		return out, nil
	}
	trusted, err := newIPList(conf.ProxyProtocol.TrustedIPs)
	if err != nil {
		_ = l.Close() // nobody came yet
		return nil, err
	}
	out.ConnPolicy = func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
		if trusted.contains(hostOf(o.Upstream.String())) {
			return proxyproto.USE, nil
		}
		return proxyproto.IGNORE, nil
	}
	return out, nil
}

// forwarder is an HTTP server that gets its connections from elsewhere.
type forwarder struct {
	*http.Server
	calls chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newForwarder(conf *EntryPoint, h2c bool, h http.Handler) *forwarder {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(h2c)
	t := conf.Transport.RespondingTimeouts
	f := &forwarder{calls: make(chan net.Conn), done: make(chan struct{})}
	f.Server = &http.Server{
		Handler: h, Protocols: protocols, ErrorLog: log.New(io.Discard, "", 0), MaxHeaderBytes: conf.HTTP.MaxHeaderBytes,
		ReadTimeout: time.Duration(t.ReadTimeout), WriteTimeout: time.Duration(t.WriteTimeout), IdleTimeout: time.Duration(t.IdleTimeout),
	}
	return f
}

// Accept implements net.Listener.
func (f *forwarder) Accept() (net.Conn, error) {
	select {
	case <-f.done:
		return nil, net.ErrClosed
	case c := <-f.calls:
		return c, nil
	}
}

// Close implements net.Listener.
func (f *forwarder) Close() error {
	f.once.Do(func() { close(f.done) })
	return nil
}

// Addr implements net.Listener.
func (f *forwarder) Addr() net.Addr { return &net.TCPAddr{} }

// take serves a connection.
func (f *forwarder) take(c net.Conn) {
	select {
	case f.calls <- c:
	case <-f.done:
		_ = c.Close() // nobody serves it any more
	}
}

// accept takes connections until the port is closed.
func (e *entryPoint) accept() {
	var serving sync.WaitGroup
	defer serving.Wait()
	for _, f := range []*forwarder{e.plain, e.secure} {
		serving.Go(func() { _ = f.Serve(f) }) // it ends with the entry point
	}
	for {
		conn, err := e.listener.Accept()
		if err != nil {
			return
		}
		tracked := &tracked{Conn: conn, e: e}
		e.mu.Lock()
		e.conns[tracked] = true
		e.mu.Unlock()
		go e.dispatch(tracked)
	}
}

// tracked is a connection that is known until it is closed.
type tracked struct {
	net.Conn
	e *entryPoint
}

// Close implements net.Conn.
func (t *tracked) Close() error {
	t.e.mu.Lock()
	delete(t.e.conns, t)
	t.e.mu.Unlock()
	return t.Conn.Close()
}

func (e *entryPoint) open() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.conns)
}

// shutdown takes no new connections, and lets those that are there end in the time of grace.
func (e *entryPoint) shutdown() {
	life := e.conf.Transport.LifeCycle
	pause(e.server.ctx, time.Duration(life.RequestAcceptGraceTimeout))
	grace, cancel := context.WithTimeout(context.Background(), time.Duration(life.GraceTimeOut))
	defer cancel()
	_ = e.listener.Close() // it was open
	var stopping sync.WaitGroup
	for _, f := range []*forwarder{e.plain, e.secure} {
		stopping.Go(func() {
			if err := f.Shutdown(grace); errors.Is(err, context.DeadlineExceeded) {
				_ = f.Server.Close() // it had its time
			}
		})
	}
	stopping.Wait()
	for e.open() > 0 && pause(grace, 10*time.Millisecond) {
		continue // what is not HTTP may end, too
	}
	e.close()
}

// close ends every connection.
func (e *entryPoint) close() {
	_ = e.listener.Close() // it may be closed
	for _, f := range []*forwarder{e.plain, e.secure} {
		_ = f.Server.Close() // the connections are gone either way
		_ = f.Close()
	}
	e.mu.Lock()
	var left []net.Conn
	for c := range e.conns {
		left = append(left, c)
	}
	e.mu.Unlock()
	for _, c := range left {
		_ = c.Close() // the other end sees it
	}
}

// serve answers a request by the present configuration.
func (e *entryPoint) serve(w http.ResponseWriter, r *http.Request, tls bool, trusted trustedSources) {
	if strings.Contains(r.RequestURI, "#") || !normalize(r) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if e.conf.HTTP.SanitizePath != nil && *e.conf.HTTP.SanitizePath {
		r.URL = r.URL.JoinPath()
		r.RequestURI = r.URL.RequestURI()
	}
	trusted.rewrite(r, e.server.o.Hostname)
	r = r.WithContext(withNote(r.Context()))
	now := e.server.now.Load()
	seen := &statusWriter{ResponseWriter: w}
	began := time.Now()
	defer func() { e.server.logAccess(e.name, r, seen, began) }()
	if tls {
		now.https[e.name].ServeHTTP(seen, r)
		return
	}
	now.http[e.name].ServeHTTP(seen, r)
}

// normalize writes a path as it is usually written: what need not be encoded is not. false: it is none.
func normalize(r *http.Request) bool {
	raw := r.URL.RawPath
	var out strings.Builder
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' {
			out.WriteByte(raw[i])
			continue
		}
		if i+2 >= len(raw) {
			return false
		}
		code := strings.ToUpper(raw[i : i+3])
		if plain, err := url.PathUnescape(code); err == nil && unreserved.MatchString(plain) {
			code = plain
		}
		out.WriteString(code)
		i += 2
	}
	if out.String() != raw {
		r.URL.RawPath = out.String()
		r.RequestURI = r.URL.RequestURI()
	}
	return true
}

var unreserved = regexp.MustCompile(`^[A-Za-z0-9._~-]$`)

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
