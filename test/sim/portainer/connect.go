// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

var errNoSocket = errors.New("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?") //nolint:staticcheck // Docker says so

// connect gives the engine of an environment.
func (s *Server) connect(ctx context.Context, e *endpoint) (Engine, error) {
	if s.opts.Connect != nil {
		return s.opts.Connect(ctx, e.URL)
	}
	if strings.HasPrefix(e.URL, "unix://") {
		if s.opts.Engine == nil {
			return nil, errNoSocket
		}
		return s.opts.Engine, nil
	}
	return s.remote(e)
}

// remote is the way to an environment's agent.
func (s *Server) remote(e *endpoint) (*remote, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.engines[e.ID]; r != nil {
		return r, nil
	}
	r, err := newRemote(e.URL, e.TLSConfig.TLS, s.signer, s.opts)
	if err == nil && e.ID != 0 {
		s.engines[e.ID] = r
	}
	return r, err
}

// ping asks an environment's agent for its version.
func (s *Server) ping(r *http.Request, e *endpoint) error {
	if s.opts.Connect != nil {
		return nil
	}
	way, err := s.remote(e)
	if err != nil {
		return err
	}
	e.Agent.Version, err = way.ping(r.Context())
	if e.ID == 0 {
		way.close()
	}
	return err
}

// snapshot looks at an environment: its agent, and the engine behind it.
func (s *Server) snapshot(r *http.Request, e *endpoint) error {
	if e.Type == typeAgent {
		if err := s.ping(r, e); err != nil {
			return err
		}
	}
	engine, err := s.connect(r.Context(), e)
	if err != nil {
		return err
	}
	_, err = ask(r.Context(), engine, "/info")
	if err != nil && e.Type == typeAgent && strings.Contains(err.Error(), "Invalid request signature") {
		return errors.New("agent already paired with another Portainer instance")
	}
	return err
}

// ask is a GET of the Docker API.
func ask(ctx context.Context, engine Engine, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, path, http.NoBody)
	if err != nil {
		return nil, err
	}
	w := newRecord()
	engine.ServeHTTP(w, r)
	if w.code != http.StatusOK {
		text := strings.TrimSpace(w.body.String())
		if text == "" {
			text = errNoSocket.Error()
		}
		return nil, errors.New("Error response from daemon: " + text) // Docker says so
	}
	return w.body.Bytes(), nil
}

// snapshotAll looks at all environments when it is time to: as often as the settings
// say, and once after the start. A real server does it in the background.
func (s *Server) snapshotAll(r *http.Request) {
	now := s.opts.Clock()
	s.mu.Lock()
	interval, err := time.ParseDuration(s.db.Settings.SnapshotInterval)
	if err != nil {
		interval = 5 * time.Minute
	}
	due := now.Sub(s.snapshots) >= interval
	if due {
		s.snapshots = now
	}
	var all []*endpoint
	for _, e := range s.db.Endpoints {
		all = append(all, e.copied())
	}
	s.mu.Unlock()
	if !due {
		return
	}
	for _, e := range all {
		s.judge(e, s.snapshot(r, e))
	}
}

// judge notes how an environment was found.
func (s *Server) judge(e *endpoint, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.db.endpoint(e.ID)
	if now == nil {
		return
	}
	now.Status, now.Agent.Version = endpointUp, e.Agent.Version
	if err != nil {
		now.Status = endpointNo
	}
	if err := s.save(); err != nil {
		s.opts.Log(err.Error())
	}
}

func (s *Server) endpointSnapshot(r *http.Request, _ *caller) (any, error) {
	id, err := pathID(r, "environment")
	if err != nil {
		return nil, err
	}
	e, err := s.endpoint(id, noEndpoint)
	if err != nil {
		return nil, err
	}
	s.judge(e, s.snapshot(r, e))
	return status(http.StatusNoContent), nil
}

// proxy is the Docker API of an environment.
func (s *Server) proxy(w http.ResponseWriter, r *http.Request) {
	if _, err := s.admit(r); err != nil {
		writeProblem(w, err)
		return
	}
	id, err := pathID(r, "environment")
	if err != nil {
		writeProblem(w, err)
		return
	}
	e, err := s.endpoint(id, noEndpoint)
	if err != nil {
		writeProblem(w, err)
		return
	}
	engine, err := s.connect(r.Context(), e)
	if err != nil {
		notReached(w, err.Error())
		return
	}
	inner := r.Clone(r.Context())
	inner.Header.Del("X-API-Key")
	inner.Header.Del("Authorization")
	prefix := "/api/endpoints/" + r.PathValue("id") + "/docker"
	inner.URL = &url.URL{Path: strings.TrimPrefix(r.URL.Path, prefix), RawQuery: r.URL.RawQuery}
	if r.URL.RawPath != "" {
		inner.URL.RawPath = strings.TrimPrefix(r.URL.RawPath, prefix)
	}
	engine.ServeHTTP(w, inner)
}
