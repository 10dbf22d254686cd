// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
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

// Agent serves an engine to Portainer servers, over TLS: /ping to anybody, the Docker
// API to who signs requests with the secret. What real agents do not have is
// POST /sim/deploy and /sim/down, by which a server without a docker-compose of its own lets the
// agent's Engine deploy.
type Agent struct {
	opts AgentOptions
	http *http.Server
	mux  *http.ServeMux

	mu      sync.Mutex
	trusted string
}

// NewAgent makes an agent.
func NewAgent(o AgentOptions) (*Agent, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	a := &Agent{opts: o, mux: http.NewServeMux()}
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
	a.mux.HandleFunc("POST /sim/deploy", a.deploy)
	a.mux.HandleFunc("POST /sim/down", a.down)
	a.mux.Handle("/", o.Engine)
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
	w.Header().Set(headerAgent, Version)
	w.Header().Set("Portainer-Agent-Api-Version", "2")
	w.Header().Set(headerPlatform, "1")
	if r.URL.Path == "/ping" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if r.Header.Get(headerPublicKey) == "" || r.Header.Get(headerSignature) == "" {
		writeProblem(w, refuse(http.StatusForbidden, "Missing request signature headers", "Unauthorized"))
		return
	}
	if err := a.know(r.Header); err != nil {
		a.opts.Log("http error: Invalid request signature (err=" + err.Error() + ") (code=403)")
		writeProblem(w, refuse(http.StatusForbidden, "Invalid request signature", err.Error()))
		return
	}
	a.mux.ServeHTTP(w, r)
}

// know checks who asks. Without a secret, whoever asks first is trusted from then on.
func (a *Agent) know(h http.Header) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.opts.Secret == "" && a.trusted == "" {
		a.trusted = h.Get(headerPublicKey)
	}
	return verify(h, a.opts.Secret, a.trusted)
}

// deployed is what an agent answers to /sim/deploy and /sim/down.
type deployed struct {
	Output  string
	Error   string
	Failed  bool // it is compose that failed
	Pulling bool
}

func answerDeployed(w http.ResponseWriter, r *http.Request, output string, err error) {
	out := deployed{Output: output}
	var compose *ComposeError
	if errors.As(err, &compose) {
		out.Failed, out.Pulling = true, compose.Pulling
	}
	if err != nil {
		out.Error = err.Error()
	}
	answer(w, r, out)
}

func (a *Agent) deploy(w http.ResponseWriter, r *http.Request) {
	var d Deployment
	if err := decode(r, &d); err != nil {
		writeProblem(w, refuse(http.StatusBadRequest, "Invalid request payload", err.Error()))
		return
	}
	output, err := a.opts.Engine.Deploy(r.Context(), d)
	answerDeployed(w, r, output, err)
}

func (a *Agent) down(w http.ResponseWriter, r *http.Request) {
	answerDeployed(w, r, "", a.opts.Engine.Down(r.Context(), r.URL.Query().Get("project")))
}
