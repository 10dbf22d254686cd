// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Server is a running Traefik.
type Server struct {
	o      Options
	static *Static
	source source
	points map[string]*entryPoint
	began  time.Time
	level  int
	own    *certificates
	roots  func() *x509.CertPool // asked once

	now      atomic.Pointer[served]
	loads    atomic.Int64
	counters counters
	ending   atomic.Bool

	ctx     context.Context // of all that goes on beside connections
	cancel  context.CancelFunc
	unwatch func()
	changed chan struct{}
	running sync.WaitGroup
	stop    sync.Once
}

// Start reads the static file, takes the ports, and serves what the dynamic files say. An error is what Traefik ends with 1
// for; it has been logged, too.
func Start(o Options) (*Server, error) {
	o = o.filled()
	static, err := readStatic(o)
	if err != nil {
		err = fmt.Errorf("command traefik error: %w", err)
		o.Log(fmt.Sprintf(`{"level":"error","error":%q,"time":%q,"message":"Command error"}`, err.Error(), o.Now().UTC().Format(time.RFC3339)))
		return nil, err // it has no log of its own yet
	}
	s := &Server{o: o, static: static, points: map[string]*entryPoint{}, began: o.Now(), level: level(static), own: newCertificates(o.Now), changed: make(chan struct{}, 1), roots: sync.OnceValue(o.Roots)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.open(); err != nil {
		s.Close()
		err = fmt.Errorf("command traefik error: %w", err)
		s.log("ERR", fmt.Sprintf("Command error error=%q", err))
		return nil, err
	}
	s.log("INF", fmt.Sprintf("Traefik version %s built on 2026-03-26T10:00:00Z version=%s", o.Version, o.Version))
	s.apply(newConfiguration())
	s.provide()
	for _, e := range s.points {
		s.running.Go(e.accept)
	}
	return s, nil
}

// readStatic reads the static file; without one, all is as it is by itself.
func readStatic(o Options) (*Static, error) {
	if o.Config == "" {
		s := &Static{Providers: &providers{}}
		s.Providers.SetDefaults()
		s.complete()
		return s, nil
	}
	text, err := o.Files.ReadFile(o.Config)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", o.Config, err)
	}
	return load(o.Config, text)
}

// open takes the ports of the entry points.
func (s *Server) open() error {
	for _, name := range sorted(keys(s.static.EntryPoints)) {
		conf := s.static.EntryPoints[name]
		address, protocol, _ := strings.Cut(conf.Address, "/")
		switch strings.ToLower(protocol) {
		case "", "tcp":
		case "udp":
			continue // nobody here speaks it
		default:
			return fmt.Errorf("error while building entryPoint %s: invalid protocol: %s", name, protocol)
		}
		e, err := s.newEntryPoint(name, address, conf)
		if err != nil {
			return fmt.Errorf("error while building entryPoint %s: %w", name, err)
		}
		s.points[name] = e
	}
	return nil
}

// provide starts the file provider. One that cannot start is logged, and never tried again.
func (s *Server) provide() {
	conf := s.static.Providers.File
	if conf == nil {
		return
	}
	s.source = source{files: s.o.Files, conf: conf, warn: func(text string) { s.log("WRN", text) }}
	failed := func(err error) {
		s.log("ERR", "Cannot start the provider *file.Provider error=\""+err.Error()+"\"")
	}
	if conf.Watch {
		folder := conf.Directory
		if folder == "" {
			folder = parent(conf.Filename)
		}
		if folder == "" {
			failed(errors.New("error using file configuration provider, neither filename nor directory is defined"))
			return
		}
		stop, err := s.o.Files.Watch(folder, s.Reload)
		if err != nil {
			failed(fmt.Errorf("unable to read directory %s: open %s: %w", folder, folder, err))
			return
		}
		s.unwatch = stop
	}
	if !s.firstLook(conf, failed) {
		return
	}
	s.running.Go(s.follow)
}

// Reload looks at the dynamic files again, as SIGHUP has it do.
func (s *Server) Reload() {
	select {
	case s.changed <- struct{}{}:
	default: // it will look anyway
	}
}

// firstLook says what is wrong with the files at the start; false: they are not looked at again.
func (s *Server) firstLook(conf *fileProvider, failed func(error)) bool {
	_, _, err := s.look()
	switch {
	case err == nil:
		return true
	case conf.Watch:
		s.log("ERR", "Error while building configuration (for the first time) error=\""+err.Error()+"\" providerName=file")
		return true
	}
	failed(err)
	return false
}

func parent(file string) string {
	dir, found := cutLast(file, "/")
	switch {
	case !found:
		return ""
	case dir == "":
		return "/"
	}
	return dir
}

// cutLast is a text before the last of a separator.
func cutLast(text, separator string) (before string, found bool) {
	at := strings.LastIndex(text, separator)
	return text[:max(at, 0)], at >= 0
}

// apply serves another configuration. Requests that are under way end with the old one.
func (s *Server) apply(c *configuration) {
	next := s.build(c)
	if old := s.now.Swap(next); old != nil {
		old.end()
	}
	s.loads.Add(1)
}

// Loads is how many configurations it has served.
func (s *Server) Loads() int { return int(s.loads.Load()) - 1 }

// Stop ends it as SIGTERM does: no new connection is taken, what is under way may end in the time of grace.
func (s *Server) Stop() {
	s.stop.Do(func() {
		s.ending.Store(true)
		var stopping sync.WaitGroup
		for _, e := range s.points {
			stopping.Go(e.shutdown)
		}
		stopping.Wait()
		s.end()
	})
}

// Close ends it as a pulled plug does.
func (s *Server) Close() {
	s.stop.Do(func() {
		s.ending.Store(true)
		for _, e := range s.points {
			e.close()
		}
		s.end()
	})
}

// end ends what does not take connections.
func (s *Server) end() {
	if s.unwatch != nil {
		s.unwatch()
	}
	s.cancel()
	s.running.Wait()
	if now := s.now.Load(); now != nil {
		now.end()
	}
}

var levels = []string{"TRC", "DBG", "INF", "WRN", "ERR"}

// level is the least that it logs: errors, unless it is told otherwise.
func level(s *Static) int {
	if s.Log == nil {
		return 4
	}
	for i, name := range []string{"trace", "debug", "info", "warn", "error"} {
		if strings.EqualFold(s.Log.Level, name) {
			return i
		}
	}
	return 4
}

// log writes a line, if it is to be logged: with colours, unless it is told otherwise.
func (s *Server) log(name, text string) {
	at := s.o.Now().UTC().Format(time.RFC3339)
	for i, one := range levels {
		switch {
		case one != name || i < s.level:
		case s.static.Log != nil && (s.static.Log.NoColor || s.static.Log.FilePath != ""):
			s.o.Log(at + " " + name + " " + text)
		default:
			s.o.Log(fmt.Sprintf("\x1b[90m%s\x1b[0m \x1b[%dm%s\x1b[0m %s", at, []int{34, 0, 32, 33, 31}[i], name, text))
		}
	}
}
