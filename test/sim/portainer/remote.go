// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

// pingTime is how long a server waits for an agent's /ping.
const pingTime = 3 * time.Second

// remote is an engine behind an agent.
type remote struct {
	base    *url.URL
	signer  *signer
	compose string
	proxy   *httputil.ReverseProxy
	client  *http.Client
}

var _ Engine = (*remote)(nil)

// newRemote is the engine behind the agent at a URL such as tcp://10.0.0.102:9001.
// secure says that TLS is spoken; whose certificate it is does not matter to Portainer.
func newRemote(address string, secure bool, s *signer, o Options) (*remote, error) {
	if !strings.Contains(address, "://") {
		address = "tcp://" + address
	}
	base, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	base.Scheme = "http"
	transport := &http.Transport{DialContext: o.Dial, IdleConnTimeout: time.Minute}
	if secure {
		base.Scheme = "https"
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:forbidigo,gosec // so Portainer does when it is told to; the signature protects the agent
	}
	r := &remote{base: base, signer: s, compose: o.Compose, client: &http.Client{Transport: transport}}
	r.proxy = &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(base)
			_ = s.sign(p.Out.Header) // without a signature the agent says what is wrong
		},
		Transport:    transport,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		ErrorLog:     log.New(lines(o.Log), "", 0),
	}
	return r, nil
}

// ServeHTTP implements Engine.
func (r *remote) ServeHTTP(w http.ResponseWriter, req *http.Request) { r.proxy.ServeHTTP(w, req) }

// close ends the connections that nobody uses.
func (r *remote) close() { r.client.CloseIdleConnections() }

// ping gives the agent's version.
func (r *remote) ping(ctx context.Context) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+r.base.Host+"/ping", nil)
	if err != nil {
		return "", err
	}
	answer, err := r.client.Do(req)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode != http.StatusNoContent:
		return "", fmt.Errorf("Failed request with status %d", answer.StatusCode) //nolint:staticcheck // Portainer says so
	case answer.Header.Get(headerAgent) == "":
		return "", errors.New("Version Header is missing") //nolint:staticcheck // Portainer says so
	case answer.Header.Get(headerPlatform) == "":
		return "", errors.New("Agent Platform Header is missing") // Portainer says so
	}
	return answer.Header.Get(headerAgent), nil
}

// Deploy implements Engine: by the server's own docker-compose, if it has one, else by
// the agent's engine.
func (r *remote) Deploy(ctx context.Context, d Deployment) (string, error) {
	if r.compose != "" {
		var output string
		err := r.local(func(own *Docker) (err error) {
			output, err = own.Deploy(ctx, d)
			return err
		})
		return output, err
	}
	body, err := json.Marshal(d)
	if err != nil {
		return "", err
	}
	return r.ask(ctx, "/sim/deploy", bytes.NewReader(body))
}

// Down implements Engine.
func (r *remote) Down(ctx context.Context, project string) error {
	if r.compose != "" {
		return r.local(func(own *Docker) error { return own.Down(ctx, project) })
	}
	_, err := r.ask(ctx, "/sim/down?project="+url.QueryEscape(project), http.NoBody)
	return err
}

// local gives docker-compose a port of this machine that leads to the agent's engine.
func (r *remote) local(run func(*Docker) error) error {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is closed below
	if err != nil {
		return err
	}
	server := &http.Server{Handler: r, ReadHeaderTimeout: pingTime}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // it ends by Close
	}()
	defer func() {
		_ = server.Close() // nobody talks to it any more
		<-done
	}()
	return run(NewDocker("tcp://"+l.Addr().String(), r.compose))
}

func (r *remote) ask(ctx context.Context, path string, body io.Reader) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.base.String()+path, body)
	if err != nil {
		return "", err
	}
	if err := r.signer.sign(req.Header); err != nil {
		return "", err
	}
	answer, err := r.client.Do(req)
	if err != nil { // docker-compose would say it of the port that leads there
		return "", &ComposeError{Output: fmt.Sprintf("error during connect: %v", err)}
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, maxBody))
		return "", &ComposeError{Output: "Error response from daemon: " + strings.TrimSpace(string(text))}
	}
	var out deployed
	if err := json.NewDecoder(answer.Body).Decode(&out); err != nil {
		return "", fmt.Errorf("read what the agent says: %w", err)
	}
	switch {
	case out.Failed:
		return out.Output, &ComposeError{Pulling: out.Pulling, Output: out.Error}
	case out.Error != "":
		return out.Output, errors.New(out.Error)
	}
	return out.Output, nil
}
