// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	"github.com/phoenix-hypervisor/phoenix/controllers/hostservice"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
)

// portainers keeps one client for each Portainer server, so that all who speak to it share connections. Another way to prove
// itself takes the place of the one before.
type portainers struct {
	dial Dial

	mu  sync.Mutex
	all map[string]reachedPortainer // by URL
}

type reachedPortainer struct {
	at hostservice.PortainerAddress
	*portainer.Server
}

// of returns the client of the server at an address.
func (p *portainers) of(at hostservice.PortainerAddress) (*portainer.Server, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	had, ok := p.all[at.URL]
	if ok && had.at == at {
		return had.Server, nil
	}
	o := portainer.Options{URL: at.URL, ServerName: at.ServerName, Dial: p.dial}
	if at.CABundle != "" {
		o.Roots = x509.NewCertPool()
		if !o.Roots.AppendCertsFromPEM([]byte(at.CABundle)) {
			return nil, errors.New("reach Portainer: ca.crt of its Secret holds no certificate in PEM")
		}
	}
	made, err := portainer.New(o)
	if err != nil {
		return nil, fmt.Errorf("reach Portainer at %s: %w", at.URL, err)
	}
	if ok {
		had.Close()
	}
	if p.all == nil {
		p.all = map[string]reachedPortainer{}
	}
	p.all[at.URL] = reachedPortainer{at, made}
	return made, nil
}

// portainer is the server at an address, as HostServices need it.
func (h *house) portainer(at hostservice.PortainerAddress) (hostservice.PortainerServer, error) {
	s, err := h.portainers.of(at)
	if err != nil {
		return nil, err
	}
	return portainerServer{s}, nil
}

// portainerServer gives the client the shape that HostServices need.
type portainerServer struct{ *portainer.Server }

// SignIn opens a session.
func (s portainerServer) SignIn(ctx context.Context, username, password string) (hostservice.PortainerSession, error) {
	session, err := s.Server.SignIn(ctx, username, password)
	if err != nil {
		return nil, err
	}
	return session, nil
}

// Settings are reached with a key.
func (s portainerServer) Settings(apiKey string) hostservice.PortainerSettings { return s.With(apiKey) }

// Environments are reached with a key.
func (s portainerServer) Environments(apiKey string) hostservice.PortainerEnvironments {
	return s.With(apiKey)
}

// Ping asks the engine of an environment.
func (s portainerServer) Ping(ctx context.Context, apiKey string, environment int) error {
	engine, err := s.With(apiKey).Engine(environment)
	if err != nil {
		return err
	}
	return engine.Ping(ctx)
}
