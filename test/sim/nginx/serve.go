// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Server is a running nginx: a master with a set of workers per configuration.
type Server struct {
	net Net
	log func(line string)

	mu      sync.Mutex
	doors   map[int]net.Listener
	workers *workers
	retired []*workers
	stopped bool
	running sync.WaitGroup
}

// Net is the machine's network.
type Net struct {
	// Listen takes a port of the machine; of loopback, for the machine alone.
	Listen func(port int, loopback bool) (net.Listener, error)
	// Dial connects to other machines, and to this one.
	Dial Dialer
}

// Start serves a configuration; the error is what nginx writes behind [emerg].
// Log takes what nginx writes to its error log.
func Start(c *Config, n Net, log func(line string)) (*Server, error) {
	s := &Server{net: n, log: log, doors: map[int]net.Listener{}}
	if err := s.Reload(c); err != nil {
		return nil, err
	}
	return s, nil
}

// Reload serves another configuration from now on. Requests that are under way
// end by the old one, connections that wait for the next request are closed, and
// those that have not asked for anything yet are served by the old one. After an
// error everything is as before.
func (s *Server) Reload(c *Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := map[int]net.Listener{}
	for _, port := range c.Ports() {
		if s.doors[port] != nil {
			continue
		}
		l, err := s.net.Listen(port, c.private(port))
		if err != nil {
			for _, other := range fresh {
				_ = other.Close() // it was only just opened
			}
			return fmt.Errorf("bind() to %s failed (%s)", c.place(port), errno(err))
		}
		fresh[port] = l
	}
	old := s.workers
	s.workers = s.hire(c)
	for port, l := range fresh {
		s.doors[port] = l
		s.running.Add(1)
		go s.accept(port, l)
	}
	for port, l := range s.doors {
		if !slices.Contains(c.Ports(), port) {
			delete(s.doors, port)
			_ = l.Close() // nothing waits for it
		}
	}
	if old != nil {
		s.retired = append(slices.DeleteFunc(s.retired, (*workers).gone), old)
		s.running.Add(1)
		go func() {
			defer s.running.Done()
			old.retire()
		}()
	}
	return nil
}

// Stop ends everything, every connection too.
func (s *Server) Stop() {
	s.mu.Lock()
	s.stopped = true
	for _, l := range s.doors {
		_ = l.Close() // nothing waits for it
	}
	for _, w := range append(s.retired, s.workers) {
		w.kill()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// accept hands the connections of a port to the workers of the day.
func (s *Server) accept(port int, l net.Listener) {
	defer s.running.Done()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		w, stopped := s.workers, s.stopped
		s.mu.Unlock()
		if stopped || !w.give(port, conn) {
			_ = conn.Close() // too late for it
		}
	}
}

// workers serve the connections that came under one configuration.
type workers struct {
	conf   *Config
	dial   Dialer
	log    func(line string)
	server *http.Server
	kept   *http.Transport
	conns  chan net.Conn
	over   chan struct{} // closed when no more connections come
	end    sync.Once

	mu     sync.Mutex
	passed map[net.Conn]bool // connections that are passed on
	live   int
	leave  bool
	idle   chan struct{} // closed when the last connection of retired workers is gone
}

func (s *Server) hire(c *Config) *workers {
	w := &workers{
		conf: c, dial: s.net.Dial, log: s.log, kept: transportOf(s.net.Dial), conns: make(chan net.Conn), over: make(chan struct{}), idle: make(chan struct{}),
		passed: map[net.Conn]bool{},
	}
	w.server = &http.Server{
		Handler:   http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { c.answer(rw, r, s.net.Dial) }),
		ConnState: w.track, ConnContext: w.context, ReadHeaderTimeout: time.Minute, IdleTimeout: 75 * time.Second, ErrorLog: log.New(lines(s.log), "", 0),
	}
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		_ = w.server.Serve(w) // ends with kill
	}()
	return w
}

// context hands requests what belongs to their connection, and to the workers.
func (w *workers) context(ctx context.Context, conn net.Conn) context.Context {
	ctx = context.WithValue(ctx, transportKey{}, w.kept)
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if header, ok := conn.(*proxied); ok {
		ctx = context.WithValue(ctx, headerKey{}, header)
	}
	return ctx
}

// give hands over a connection; false when the workers are gone.
func (w *workers) give(port int, conn net.Conn) bool {
	if p := w.conf.passing(port); p != nil {
		return w.passOn(p, conn)
	}
	g := w.conf.on(port)
	if g == nil {
		return false
	}
	if g.proxied {
		conn = &proxied{Conn: conn}
	}
	if g.ssl {
		conn = tls.Server(conn, g.secure())
	}
	w.count(1) // before anybody can find that there is none
	select {
	case w.conns <- conn:
		return true
	case <-w.over:
		w.count(-1)
		return false
	}
}

// passOn passes a connection on beside all others.
func (w *workers) passOn(p *passer, conn net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone() {
		return false
	}
	w.passed[conn] = true
	w.live++
	go func() {
		if err := w.conf.pass(p, conn, w.dial); err != nil {
			w.log("[error] " + err.Error())
		}
		w.mu.Lock()
		delete(w.passed, conn)
		w.mu.Unlock()
		w.count(-1)
	}()
	return true
}

// track sees connections end.
func (w *workers) track(_ net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		w.count(-1)
	}
}

// count counts the connections; the last one of retired workers is noticed.
func (w *workers) count(change int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live += change
	if w.leave && w.live == 0 {
		select {
		case <-w.idle:
		default:
			close(w.idle)
		}
	}
}

// retire lets the workers end their connections, and go.
func (w *workers) retire() {
	w.server.SetKeepAlivesEnabled(false) // closes those that wait
	w.mu.Lock()
	w.leave = true
	w.mu.Unlock()
	w.count(0)
	select {
	case <-w.idle:
	case <-w.over:
	}
	w.kill()
}

// kill ends the workers with their connections.
func (w *workers) kill() {
	w.end.Do(func() { close(w.over) })
	_ = w.server.Close() // the connections are gone either way
	w.kept.CloseIdleConnections()
	w.mu.Lock()
	defer w.mu.Unlock()
	for conn := range w.passed {
		_ = conn.Close() // so is this one
	}
}

func (w *workers) gone() bool {
	select {
	case <-w.over:
		return true
	default:
		return false
	}
}

var errOver = errors.New("no more connections")

// Accept implements net.Listener.
func (w *workers) Accept() (net.Conn, error) {
	select {
	case conn := <-w.conns:
		return conn, nil
	case <-w.over:
		return nil, errOver
	}
}

// Close implements net.Listener.
func (w *workers) Close() error {
	w.end.Do(func() { close(w.over) })
	return nil
}

// Addr implements net.Listener.
func (w *workers) Addr() net.Addr { return &net.TCPAddr{} }

// lines takes what is logged.
type lines func(string)

// Write implements io.Writer.
func (l lines) Write(b []byte) (int, error) {
	l(string(b))
	return len(b), nil
}
