// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// transports are how servers are spoken to, by their names.
type transports struct {
	by map[string]http.RoundTripper
}

func (s *Server) newTransports(r *runtime) *transports {
	t := &transports{by: map[string]http.RoundTripper{}}
	for name, conf := range r.transports {
		t.by[name] = s.newTransport(conf)
	}
	return t
}

// get finds a transport; "" is the default one.
func (t *transports) get(name string) (http.RoundTripper, error) {
	if name == "" {
		name = "default@internal"
	}
	if one := t.by[name]; one != nil {
		return one, nil
	}
	return nil, fmt.Errorf("servers transport not found %s", name)
}

func (t *transports) close() {
	for _, one := range t.by {
		if closer, ok := one.(interface{ CloseIdleConnections() }); ok {
			closer.CloseIdleConnections()
		}
	}
}

// newTransport makes connections through the machine's network.
func (s *Server) newTransport(conf *serversTransport) http.RoundTripper {
	secure := s.clientTLS(conf.RootCAs)
	secure.ServerName = conf.ServerName
	secure.InsecureSkipVerify = conf.InsecureSkipVerify //nolint:forbidigo // so Traefik does when it is told to
	for _, pair := range conf.Certificates {
		if one, err := tls.X509KeyPair([]byte(s.source.content(pair.CertFile)), []byte(s.source.content(pair.KeyFile))); err == nil {
			secure.Certificates = append(secure.Certificates, one)
		}
	}
	make := func(protocols func(*http.Protocols)) *http.Transport {
		p := new(http.Protocols)
		protocols(p)
		return s.transport(conf, secure, p)
	}
	return &transport{
		plain:   make(func(p *http.Protocols) { p.SetHTTP1(true) }),
		h2c:     make(func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }),
		upgrade: s.trusting(make(func(p *http.Protocols) { p.SetHTTP1(true) })),
		secure: s.trusting(make(func(p *http.Protocols) {
			p.SetHTTP1(true)
			p.SetHTTP2(!conf.DisableHTTP2)
		})),
	}
}

// transport is one of a serversTransport's.
func (s *Server) transport(conf *serversTransport, secure *tls.Config, protocols *http.Protocols) *http.Transport {
	dialTimeout, idle, first := 30*time.Second, 90*time.Second, time.Duration(0)
	if f := conf.ForwardingTimeouts; f != nil {
		dialTimeout, idle, first = time.Duration(f.DialTimeout), time.Duration(f.IdleConnTimeout), time.Duration(f.ResponseHeaderTimeout)
	}
	return &http.Transport{
		TLSClientConfig: secure.Clone(), Protocols: protocols, MaxIdleConnsPerHost: conf.MaxIdleConnsPerHost, IdleConnTimeout: idle,
		TLSHandshakeTimeout: 10 * time.Second, ExpectContinueTimeout: time.Second, ResponseHeaderTimeout: first,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if dialTimeout > 0 {
				short, cancel := context.WithTimeout(ctx, dialTimeout)
				defer cancel()
				ctx = short
			}
			return s.o.Dial(ctx, network, address)
		},
	}
}

// clientTLS trusts these certificates; without any, those of the machine are to be put in, see trusting.
func (s *Server) clientTLS(roots []string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, Time: s.o.Now}
	if len(roots) > 0 {
		c.RootCAs = x509.NewCertPool()
		for _, root := range roots {
			c.RootCAs.AppendCertsFromPEM([]byte(root))
		}
	}
	return c
}

// trusting is a transport that trusts what the machine does, unless it is told whom to trust. As every program in Go,
// Traefik looks at that when it first needs it, and never again.
func (s *Server) trusting(t *http.Transport) http.RoundTripper {
	return &trusting{Transport: t, roots: s.roots}
}

type trusting struct {
	*http.Transport
	roots func() *x509.CertPool
	once  sync.Once
}

// RoundTrip implements http.RoundTripper.
func (t *trusting) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "https" {
		t.once.Do(func() {
			if t.TLSClientConfig.RootCAs == nil {
				t.TLSClientConfig.RootCAs = t.roots()
			}
		})
	}
	return t.Transport.RoundTrip(r)
}

// transport speaks HTTP/1.1 to be upgraded, HTTP/2 without TLS where the URL says h2c, and what the server wants otherwise.
type transport struct {
	plain, h2c      *http.Transport
	upgrade, secure http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case r.Header.Get("Upgrade") != "" && r.URL.Scheme != "h2c":
		return t.upgrade.RoundTrip(r)
	case r.URL.Scheme == "h2c":
		r = r.Clone(r.Context())
		r.URL.Scheme = "http"
		return t.h2c.RoundTrip(r)
	case r.URL.Scheme == "https":
		return t.secure.RoundTrip(r)
	}
	return t.plain.RoundTrip(r)
}

// CloseIdleConnections closes those that nobody uses.
func (t *transport) CloseIdleConnections() {
	for _, one := range []http.RoundTripper{t.plain, t.h2c, t.upgrade, t.secure} {
		if closer, ok := one.(interface{ CloseIdleConnections() }); ok {
			closer.CloseIdleConnections()
		}
	}
}
