// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// forwardAuth asks another server whether a request may pass.
func (s *Server) forwardAuth(conf *forwardAuth, next http.Handler) (http.Handler, error) {
	var pattern *regexp.Regexp
	if conf.AuthResponseHeadersRegex != "" {
		var err error
		if pattern, err = regexp.Compile(conf.AuthResponseHeadersRegex); err != nil {
			return nil, fmt.Errorf("error compiling regular expression %s: %w", conf.AuthResponseHeadersRegex, err)
		}
	}
	client, err := s.authClient(conf.TLS)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var answer *http.Response
		question, err := authQuestion(conf, r)
		if err == nil {
			answer, err = client.Do(question)
		}
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		body, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<20)) // what came counts
		_ = answer.Body.Close()                                   // it was read
		if answer.StatusCode < 200 || answer.StatusCode >= 300 {
			refusedBy(w, answer, body)
			return
		}
		copyNamed(r.Header, answer.Header, conf.AuthResponseHeaders)
		if pattern != nil {
			copyFitting(r.Header, answer.Header, pattern)
		}
		r.RequestURI = r.URL.RequestURI()
		next.ServeHTTP(w, r)
	}), nil
}

// copyNamed puts the headers of these names in the place of others.
func copyNamed(into, from http.Header, names []string) {
	for _, name := range names {
		key := http.CanonicalHeaderKey(name)
		into.Del(key)
		if values := from[key]; len(values) > 0 {
			into[key] = slices.Clone(values)
		}
	}
}

func copyFitting(into, from http.Header, pattern *regexp.Regexp) {
	for key := range into {
		if pattern.MatchString(key) {
			into.Del(key)
		}
	}
	for key, values := range from {
		if pattern.MatchString(key) {
			into[key] = slices.Clone(values)
		}
	}
}

func refusedBy(w http.ResponseWriter, answer *http.Response, body []byte) {
	for key, values := range answer.Header {
		if key != "Connection" && key != "Content-Length" && key != "Transfer-Encoding" {
			w.Header()[key] = values
		}
	}
	if location, err := answer.Location(); err == nil {
		w.Header().Set("Location", location.String())
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = w.Write(body) // the client may have left
}

// authClient speaks to the server that is asked.
func (s *Server) authClient(conf *clientTLS) (*http.Client, error) {
	var roots []string
	if conf != nil && conf.CA != "" {
		roots = []string{s.source.content(conf.CA)}
	}
	secure := s.clientTLS(roots)
	if conf != nil {
		secure.InsecureSkipVerify = conf.InsecureSkipVerify //nolint:forbidigo // so Traefik does when it is told to
		if conf.Cert != "" {
			pair, err := tls.X509KeyPair([]byte(s.source.content(conf.Cert)), []byte(s.source.content(conf.Key)))
			if err != nil {
				return nil, fmt.Errorf("unable to create client TLS configuration: failed to load TLS keypair: %w", err) //nolint:revive // Traefik's words
			}
			secure.Certificates = []tls.Certificate{pair}
		}
	}
	transport := &http.Transport{TLSClientConfig: secure, DisableKeepAlives: true, DialContext: s.o.Dial}
	return &http.Client{
		Timeout: 30 * time.Second, Transport: s.trusting(transport),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// authQuestion is what the other server is asked about a request.
func authQuestion(conf *forwardAuth, r *http.Request) (*http.Request, error) {
	q, err := http.NewRequestWithContext(r.Context(), http.MethodGet, conf.Address, nil)
	if err != nil {
		return nil, err
	}
	for key, values := range r.Header {
		if slices.Contains([]string{"Connection", "Keep-Alive", "Te", "Trailers", "Transfer-Encoding", "Upgrade"}, key) {
			continue
		}
		if len(conf.AuthRequestHeaders) == 0 || slices.ContainsFunc(conf.AuthRequestHeaders, func(name string) bool { return http.CanonicalHeaderKey(name) == key }) {
			q.Header[key] = slices.Clone(values)
		}
	}
	seen := func(name, value string) {
		if !conf.TrustForwardHeader || q.Header.Get(name) == "" {
			q.Header.Set(name, value)
		}
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	if conf.TrustForwardHeader {
		q.Header.Set("X-Forwarded-For", strings.TrimPrefix(strings.Join(append(r.Header.Values("X-Forwarded-For"), remoteIP(r)), ", "), ", "))
	} else {
		q.Header.Set("X-Forwarded-For", remoteIP(r))
	}
	seen("X-Forwarded-Method", r.Method)
	seen("X-Forwarded-Proto", scheme)
	seen("X-Forwarded-Host", r.Host)
	seen("X-Forwarded-Uri", (&url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}).RequestURI())
	return q, nil
}
