// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// Dialer connects to a port of a machine, by its address or name.
type Dialer func(ctx context.Context, host string, port string) (net.Conn, error)

// withPort is an address with its port.
func withPort(address, port string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), port)
}

// passable complains of a proxy_pass that is no URL.
func (c *Config) passable(d *crossplane.Directive) error {
	c.web.mention(d.Args[0])
	if !strings.HasPrefix(d.Args[0], "http://") && !strings.HasPrefix(d.Args[0], "https://") {
		return at(d, "invalid URL prefix")
	}
	return nil
}

// target is an address of what is named: of an upstream, or one that stands there
// itself. There is no resolver.
func (s *section) target(name, port string) (string, error) {
	if list := s.upstreams[name]; list != nil {
		return list[0], nil
	}
	host, _, err := net.SplitHostPort(withPort(name, port))
	if err == nil && net.ParseIP(host) != nil {
		return withPort(name, port), nil
	}
	return "", errors.New("no resolver defined to resolve " + name)
}

type transportKey struct{}

// proxy passes a request on.
func (c *Config) proxy(w http.ResponseWriter, r *http.Request, here scope, v *vars, dial Dialer) {
	to, err := url.Parse(v.expand(here.pass))
	if err != nil || to.Scheme != "http" {
		page(w, here, v, http.StatusInternalServerError)
		return
	}
	address, err := c.web.target(to.Host, "80")
	if err != nil {
		page(w, here, v, http.StatusBadGateway)
		return
	}
	transport, ok := r.Context().Value(transportKey{}).(*http.Transport)
	if !ok {
		transport = transportOf(dial)
		defer transport.CloseIdleConnections()
	}
	if here.maxBody > 0 {
		r.Body = http.MaxBytesReader(w, r.Body, here.maxBody)
	}
	token := w.Header().Get("Server")
	passing := httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, ErrorLog: log.New(discard{}, "", 0),
		Rewrite: func(p *httputil.ProxyRequest) { here.rewrite(p, v, to, address) },
		ModifyResponse: func(res *http.Response) error {
			for name := range res.Header {
				v.found["upstream_http_"+strings.ReplaceAll(strings.ToLower(name), "-", "_")] = res.Header.Get(name)
			}
			res.Header.Del("Server")
			res.Header.Set("Server", token)
			w.Header().Del("Server") // the answer brings it
			here.add(res.Header, v, res.StatusCode)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.Header().Set("Server", token)
			page(w, here, v, http.StatusBadGateway)
		},
	}
	passing.ServeHTTP(w, r)
}

// rewrite makes the request that goes out. What is not set goes as it came, but for
// what concerns the one connection alone.
func (s scope) rewrite(p *httputil.ProxyRequest, v *vars, to *url.URL, address string) {
	p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", address, to.Host
	for name, values := range p.In.Header {
		if name == "Forwarded" || strings.HasPrefix(name, "X-Forwarded-") {
			p.Out.Header[name] = values
		}
	}
	upgrade := ""
	for _, h := range s.sent {
		switch value := v.expand(h.value); {
		case strings.EqualFold(h.name, "Host"):
			p.Out.Host = value
		case strings.EqualFold(h.name, "Upgrade"):
			upgrade = value
		case strings.EqualFold(h.name, "Connection"):
		case value == "":
			p.Out.Header.Del(h.name)
		default:
			p.Out.Header.Set(h.name, value)
		}
	}
	p.Out.Header.Del("Upgrade")
	p.Out.Header.Del("Connection")
	if upgrade != "" {
		p.Out.Header.Set("Upgrade", upgrade)
		p.Out.Header.Set("Connection", "upgrade")
	}
}

// transportOf keeps connections to upstreams.
func transportOf(dial Dialer) *http.Transport {
	return &http.Transport{
		DisableCompression: true, MaxIdleConnsPerHost: 64,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return dial(ctx, host, port)
		},
	}
}

// discard takes what nobody reads.
type discard struct{}

// Write implements io.Writer.
func (discard) Write(b []byte) (int, error) { return len(b), nil }
