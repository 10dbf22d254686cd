// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"
)

// AgentOptions say what an agent works with. Engine is needed.
type AgentOptions struct {
	// Engine that it serves.
	Engine Engine
	// Secret that servers must know; "": the first server that is met is trusted,
	// until the agent is started again.
	Secret string
	// Certificate; nil: it signs one itself.
	Certificate func() (*tls.Certificate, error)
	// Clock; default time.Now.
	Clock func() time.Time
	// Log takes the agent's lines; nil: nobody does.
	Log func(line string)
}

// Agent serves an engine to Portainer servers, over TLS.
type Agent struct {
	opts AgentOptions
	http *http.Server
}

// NewAgent makes an agent.
func NewAgent(o AgentOptions) (*Agent, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	a := &Agent{opts: o}
	if o.Certificate == nil {
		own, err := selfSigned("portainer-agent", o.Clock())
		if err != nil {
			return nil, err
		}
		a.opts.Certificate = func() (*tls.Certificate, error) { return own, nil }
	}
	a.http = &http.Server{
		Handler: a, ReadHeaderTimeout: 30 * time.Second, ErrorLog: log.New(lines(o.Log), "", 0),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.opts.Certificate() }},
	}
	return a, nil
}

// Serve answers at a listener, over TLS, until Close, which it ends with
// ErrClosed for.
func (a *Agent) Serve(l net.Listener) error { return a.http.ServeTLS(l, "", "") }

// Close ends the agent and every connection to it.
func (a *Agent) Close() error {
	if err := a.http.Close(); err != nil {
		return fmt.Errorf("close the agent: %w", err)
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (a *Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	http.NotFound(w, r)
}
