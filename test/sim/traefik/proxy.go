// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"context"
	"errors"
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
