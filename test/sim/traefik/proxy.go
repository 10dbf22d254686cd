// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

// statusClientClosed is the status when the client has left.
const statusClientClosed = 499

// newProxy hands requests on to one server.
func (s *Server) newProxy(service string, target *url.URL, conf *LoadBalancer, preserve bool, transport http.RoundTripper) http.Handler {
	p := &httputil.ReverseProxy{
		Transport: transport, ErrorLog: log.New(io.Discard, "", 0), ErrorHandler: proxyFailed,
		Rewrite: func(r *httputil.ProxyRequest) {
			rewrite(r, target, conf.PassHostHeader == nil || *conf.PassHostHeader, preserve)
		},
	}
	if conf.ResponseForwarding != nil {
		p.FlushInterval = time.Duration(conf.ResponseForwarding.FlushInterval)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note(r).service, note(r).server = service, target.String()
		if again := retryOf(r.Context()); again != nil {
			again(true)
			wrote := func() { again(false) }
			r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
				WroteHeaders: wrote, WroteRequest: func(httptrace.WroteRequestInfo) { wrote() },
			}))
		}
		p.ServeHTTP(w, r)
	})
}

// rewrite makes the request that the server gets.
func rewrite(r *httputil.ProxyRequest, target *url.URL, passHost, preserve bool) {
	out, u := r.Out, r.In.URL
	if parsed, err := url.ParseRequestURI(r.In.RequestURI); err == nil {
		u = parsed
	}
	out.URL.Scheme, out.URL.Host = target.Scheme, target.Host
	out.URL.Path, out.URL.RawPath, out.URL.RawQuery = u.Path, u.RawPath, strings.ReplaceAll(u.RawQuery, ";", "&")
	if preserve {
		joined := target.JoinPath(u.EscapedPath())
		out.URL.Path, out.URL.RawPath = joined.Path, joined.RawPath
	}
	if out.Host = r.In.Host; !passHost {
		out.Host = target.Host
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For"} {
		if values, there := r.In.Header[name]; there {
			out.Header[name] = values
		}
	}
	if values, there := r.In.Header["X-Forwarded-For"]; there && values == nil {
		return // a middleware took it away
	}
	if client, _, err := net.SplitHostPort(r.In.RemoteAddr); err == nil {
		out.Header.Set("X-Forwarded-For", strings.Join(append(r.In.Header.Values("X-Forwarded-For"), client), ", "))
	}
}

// proxyFailed answers when the server did not.
func proxyFailed(w http.ResponseWriter, _ *http.Request, err error) {
	status := http.StatusInternalServerError
	var failure net.Error
	switch {
	case errors.Is(err, io.EOF):
		status = http.StatusBadGateway
	case errors.Is(err, context.Canceled):
		status = statusClientClosed
	case errors.As(err, &failure) && failure.Timeout():
		status = http.StatusGatewayTimeout
	case errors.As(err, &failure):
		status = http.StatusBadGateway
	}
	text := http.StatusText(status)
	if status == statusClientClosed {
		text = "Client Closed Request"
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // the client may have left
}

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
	dialTimeout, idle, first := 30*time.Second, 90*time.Second, time.Duration(0)
	if f := conf.ForwardingTimeouts; f != nil {
		dialTimeout, idle, first = time.Duration(f.DialTimeout), time.Duration(f.IdleConnTimeout), time.Duration(f.ResponseHeaderTimeout)
	}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if dialTimeout > 0 {
			short, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			ctx = short
		}
		return s.o.Dial(ctx, network, address)
	}
	make := func(protocols func(*http.Protocols)) *http.Transport {
		p := new(http.Protocols)
		protocols(p)
		return &http.Transport{
			DialContext: dial, TLSClientConfig: secure.Clone(), Protocols: p, MaxIdleConnsPerHost: conf.MaxIdleConnsPerHost, IdleConnTimeout: idle,
			TLSHandshakeTimeout: 10 * time.Second, ExpectContinueTimeout: time.Second, ResponseHeaderTimeout: first,
		}
	}
	return &transport{
		upgrade: make(func(p *http.Protocols) { p.SetHTTP1(true) }),
		usual: make(func(p *http.Protocols) {
			p.SetHTTP1(true)
			p.SetHTTP2(!conf.DisableHTTP2)
		}),
		h2c: make(func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }),
	}
}

// clientTLS trusts these certificates, or those that the machine trusts.
func (s *Server) clientTLS(roots []string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, Time: s.o.Now, RootCAs: s.o.Roots()}
	if len(roots) > 0 {
		c.RootCAs = x509.NewCertPool()
		for _, root := range roots {
			c.RootCAs.AppendCertsFromPEM([]byte(root))
		}
	}
	return c
}

// transport speaks HTTP/1.1 to be upgraded, HTTP/2 without TLS where the URL says h2c, and what the server wants otherwise.
type transport struct {
	upgrade, usual, h2c *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case r.Header.Get("Upgrade") != "":
		return t.upgrade.RoundTrip(r)
	case r.URL.Scheme == "h2c":
		r = r.Clone(r.Context())
		r.URL.Scheme = "http"
		return t.h2c.RoundTrip(r)
	}
	return t.usual.RoundTrip(r)
}

// CloseIdleConnections closes those that nobody uses.
func (t *transport) CloseIdleConnections() {
	for _, one := range []*http.Transport{t.upgrade, t.usual, t.h2c} {
		one.CloseIdleConnections()
	}
}
