// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Options say what a server works with. The zero value is a server with a
// certificate of its own, a database in memory, and no Docker engine.
type Options struct {
	// Certificate of the server, asked for at every handshake; nil: it signs one
	// itself.
	Certificate func() (*tls.Certificate, error)
	// Data is the folder of the database, which is kept in portainer.json with
	// mode 0600; "": memory.
	Data string
	// Store keeps the database in place of Data.
	Store Store
	// AgentSecret is shared with the agents; "": agents trust whom they meet first.
	AgentSecret string
	// AdminWait is how long the server waits for its first administrator; default
	// five minutes. Then Serve ends with ErrNoAdmin, or see AdminLock.
	AdminWait time.Duration
	// AdminLock keeps the server up after AdminWait: all it says then is 303, until
	// it is started again. This is what the sources of 2.23 do.
	AdminLock bool
	// Clock; default time.Now.
	Clock func() time.Time
	// Engine is behind unix:///var/run/docker.sock; nil: no engine is.
	Engine Engine
	// Dial reaches agents; nil: the machine's own way.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Connect gives the engine behind a URL of an environment, in place of Engine
	// and Dial.
	Connect func(ctx context.Context, url string) (Engine, error)
	// Compose is the path of docker-compose, which the server runs itself against
	// the API of an agent's engine; "": the agent's Engine deploys.
	Compose string
	// Log takes the server's lines; nil: nobody does.
	Log func(line string)
	// Handler answers in place of this server: a way to a real one.
	Handler http.Handler
}

// Version that the server says it is.
const Version = "2.23.0"

// ErrNoAdmin ends a server that had no administrator in time.
var ErrNoAdmin = errors.New("No administrator account was created in time. Shutting down the Portainer instance for security reasons") //nolint:staticcheck // as Portainer says it

// ErrClosed ends a server or an agent that was closed.
var ErrClosed = http.ErrServerClosed

// Server is a Portainer server. Its methods may be called at any time, by any
// number of goroutines.
type Server struct {
	opts     Options
	http     *http.Server
	mux      *http.ServeMux
	store    Store
	signer   *signer
	faults   faults
	limiter  limiter
	log      requests
	deadline time.Time // of the wait for an administrator

	deploying sync.Mutex // Portainer deploys one stack after another

	mu        sync.Mutex
	db        *database
	secret    []byte // of sessions; a new one at every start
	revoked   map[string]bool
	engines   map[int]*remote // by environment
	snapshots time.Time       // when environments were looked at last
	timer     *time.Timer
	ended     error
	locked    bool
}

// New reads the database, or makes one.
func New(o Options) (*Server, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.AdminWait == 0 {
		o.AdminWait = 5 * time.Minute
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	s := &Server{opts: o, store: o.Store, revoked: map[string]bool{}, engines: map[int]*remote{}, deadline: o.Clock().Add(o.AdminWait)}
	if o.Certificate == nil {
		own, err := selfSigned("portainer", o.Clock())
		if err != nil {
			return nil, err
		}
		s.opts.Certificate = func() (*tls.Certificate, error) { return own, nil }
	}
	if s.store == nil {
		s.store = &disk{folder: o.Data}
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	s.mux = s.routes()
	answers := http.Handler(s)
	if o.Handler != nil {
		answers = o.Handler
	}
	s.http = &http.Server{
		Handler: answers, ReadHeaderTimeout: 30 * time.Second, ErrorLog: log.New(lines(o.Log), "", 0),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.opts.Certificate() }},
	}
	return s, nil
}

// Serve answers at a listener, over TLS, until Close, which it ends with
// ErrClosed for, or until it has waited too long for its administrator.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	s.timer = time.AfterFunc(s.opts.AdminWait, s.watch)
	s.mu.Unlock()
	err := s.http.ServeTLS(l, "", "")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer.Stop()
	if s.ended != nil {
		return s.ended
	}
	return err
}

// watch looks whether there is an administrator in time.
func (s *Server) watch() {
	if s.opts.Handler != nil || s.overdue() || s.hasAdmin() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer.Reset(max(time.Second, s.deadline.Sub(s.opts.Clock()))) // the clock is not the computer's
}

// overdue ends the server when nobody has made an administrator in time.
func (s *Server) overdue() bool {
	if s.hasAdmin() || s.opts.Clock().Before(s.deadline) {
		return false
	}
	s.mu.Lock()
	first := s.ended == nil && !s.locked
	s.locked = s.opts.AdminLock
	if !s.opts.AdminLock {
		s.ended = ErrNoAdmin
	}
	s.mu.Unlock()
	if first {
		s.opts.Log(ErrNoAdmin.Error())
	}
	if !s.opts.AdminLock {
		_ = s.Close() // it is the end
	}
	return true
}

// Close ends the server and every connection to it. The database is kept.
func (s *Server) Close() error {
	s.mu.Lock()
	for _, r := range s.engines {
		r.close()
	}
	s.mu.Unlock()
	if err := s.http.Close(); err != nil {
		return fmt.Errorf("close the server: %w", err)
	}
	return nil
}

// ServeHTTP implements http.Handler, for who has a listener of its own.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seen := s.log.add(r, s.opts.Clock())
	kept := &watched{ResponseWriter: w}
	defer func() { s.log.done(seen, kept.code) }()
	if s.overdue() {
		if !s.opts.AdminLock {
			panic(http.ErrAbortHandler)
		}
		if strings.HasPrefix(r.URL.Path, "/api") && r.URL.Path != "/api/status" {
			kept.Header().Set("redirect-reason", "AdminInitTimeout")
			writeProblem(kept, refuse(http.StatusSeeOther, "Administrator initialization timeout", ""))
			return
		}
	}
	if s.faults.strike(kept, r, s.mux) {
		return
	}
	s.mux.ServeHTTP(kept, r)
}

// watched knows the status of an answer.
type watched struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (w *watched) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (w *watched) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// lines turns writes into lines.
type lines func(line string)

// Write implements io.Writer.
func (l lines) Write(b []byte) (int, error) {
	l(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}
