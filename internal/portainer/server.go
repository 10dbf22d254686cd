// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/phoenix-hypervisor/phoenix/internal/pin"
)

const (
	// callTimeout bounds a call, its second try included. Deployments, removals and pulls take what their context allows.
	callTimeout = 30 * time.Second
	// dialTimeout and handshakeTimeout bound the way to an answer of calls that are not bounded themselves.
	dialTimeout      = 15 * time.Second
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 60 * time.Second
	// idleConnections are kept for callers that work at the same time.
	idleConnections = 8
)

// Options say which server a Server speaks to.
type Options struct {
	URL string // https://HOST or https://HOST:PORT
	// ServerName is the name that the certificate must be for; empty: the host of the URL.
	ServerName string
	Roots      *x509.CertPool // what its certificate must lead to; nil: the machine's
	Dial       pin.Dial       // how it is reached; nil: directly
}

// Server is a Portainer server. It is safe for concurrent use, and so is all that it returns; one serves all callers.
// Its errors, and those of what it returns, are *Error below what was tried. TLS is 1.2 or newer. No redirection is
// followed and no proxy of the environment asked.
type Server struct {
	url  string // without a slash at its end
	host string // with the port
	base *http.Transport

	mu       sync.Mutex
	versions map[int]string // of the Docker API, by environment
}

// New returns a server without connecting to it. It returns an error when the URL is not https://HOST[:PORT].
func New(o Options) (*Server, error) {
	text := strings.TrimSuffix(o.URL, "/")
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, errors.New("use Portainer server: its URL must be https://HOST or https://HOST:PORT")
	}
	name := o.ServerName
	if name == "" {
		name = u.Hostname()
	}
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	bounded := func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		return dial(ctx, network, address)
	}
	return &Server{
		url: u.String(), host: u.Host, versions: map[int]string{},
		base: &http.Transport{
			DialContext:         bounded,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots, ServerName: name},
			TLSHandshakeTimeout: handshakeTimeout, IdleConnTimeout: idleTimeout, MaxIdleConnsPerHost: idleConnections,
		},
	}, nil
}

// Close drops the connections that are kept. The server may be used again.
func (s *Server) Close() { s.base.CloseIdleConnections() }

// Status is what a server says of itself to everybody.
type Status struct {
	Version string // 2.23.0
	// InstanceID is made with the database: another one means another database.
	InstanceID string
}

// Status reads version and identity. It needs no key.
func (s *Server) Status(ctx context.Context) (Status, error) {
	var out Status
	if e := s.do(ctx, credential{}, call{method: http.MethodGet, path: "/system/status", out: &out}); e != nil {
		return Status{}, fmt.Errorf("read status of Portainer: %w", e)
	}
	return out, nil
}

// HasAdmin says whether the server has an administrator.
func (s *Server) HasAdmin(ctx context.Context) (bool, error) {
	e := s.do(ctx, credential{}, call{method: http.MethodGet, path: "/users/admin/check"})
	switch {
	case e == nil:
		return true, nil
	case e.Kind == NotFound:
		return false, nil
	}
	return false, fmt.Errorf("look for administrator of Portainer: %w", e)
}

// InitAdmin makes the first administrator. The error is Conflict when there is one, Invalid when the password is shorter
// than twelve characters.
func (s *Server) InitAdmin(ctx context.Context, username, password string) error {
	in := struct{ Username, Password string }{username, password}
	c := call{method: http.MethodPost, path: "/users/admin/init", in: in, secrets: []string{password}}
	if e := s.do(ctx, credential{}, c); e != nil {
		return fmt.Errorf("make administrator of Portainer: %w", e)
	}
	return nil
}

// call is one request of Portainer's API.
type call struct {
	method, path string // below /api
	query        url.Values
	in           any    // sent as JSON
	form         []byte // sent instead of in, of the type
	formType     string
	out          any // read from JSON; nil: the answer's body does not matter
	header       *http.Header
	long         bool     // takes what the context allows
	secrets      []string // that no error may repeat
}

// http returns a client that shows the credential. The library's own clients get one each, as they change it.
func (s *Server) http(as credential) *http.Client {
	return &http.Client{
		Transport:     &wire{base: s.base, url: s.url, as: as},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// do sends a request and reads the answer. The error says nothing of what was tried.
func (s *Server) do(ctx context.Context, as credential, c call) *Error {
	if !c.long {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	e := s.send(ctx, as, c)
	if e != nil {
		return e.tidy(append(c.secrets, strings.TrimPrefix(as.value, bearer)))
	}
	return nil
}

func (s *Server) send(ctx context.Context, as credential, c call) *Error {
	request, err := s.request(ctx, c)
	if err != nil {
		return invalid(err.Error())
	}
	answer, err := s.http(as).Do(request)
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			return e
		}
		return &Error{Kind: Away, Message: fmt.Sprintf("reach %s: %v", s.url, err), err: err}
	}
	defer answer.Body.Close()
	if c.header != nil {
		*c.header = answer.Header
	}
	if c.out == nil {
		return nil
	}
	if err := json.NewDecoder(answer.Body).Decode(c.out); err != nil {
		return &Error{Kind: Away, Status: answer.StatusCode, Message: fmt.Sprintf("%s answers %d, but not as Portainer does", s.url, answer.StatusCode)}
	}
	return nil
}

func (s *Server) request(ctx context.Context, c call) (*http.Request, error) {
	body, kind := c.form, c.formType
	if c.in != nil {
		var err error
		if body, err = json.Marshal(c.in); err != nil {
			return nil, errors.New("the request cannot be written as JSON")
		}
		kind = "application/json"
	}
	address := s.url + "/api" + c.path
	if len(c.query) > 0 {
		address += "?" + c.query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, c.method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	return request, nil
}
