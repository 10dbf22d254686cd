// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package stepca is a driver of the certificate authority step-ca: it makes
// the authority's own certificates and keys and the daemon's configuration,
// and has certificates signed, renewed and revoked. It knows its authority by
// pinned roots. Nothing is logged, and no error holds a key, a password or a
// token.
package stepca

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/phoenix-hypervisor/phoenix/internal/pin"
)

const (
	// callTimeout bounds one call, connection and answer together.
	callTimeout = 15 * time.Second
	// idleTimeout ends before step-ca's own 15 s, so that it is never the server that closes the connection under a
	// request, which could not be told from one that broke off.
	idleTimeout = 10 * time.Second
	// handshakeTimeout bounds a handshake by itself, as it goes on without the call that began it.
	handshakeTimeout = 10 * time.Second
	// idleConnections are kept for callers that work at the same time.
	idleConnections = 8
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 1 << 20
	// maxMessage bounds how much of the authority's message an error repeats.
	maxMessage = 512
	// skewTolerance is how wrong the authority's clock may be before an error names it.
	skewTolerance = 30 * time.Second
)

// Dial opens a connection, as (*net.Dialer).DialContext does.
type Dial = pin.Dial

// Options say which authority a Client speaks to.
type Options struct {
	// URL of the authority: https, without a path.
	URL string
	// Roots are what its own certificate and those that it issues have to lead to, at least one, the present root first.
	Roots []*x509.Certificate
	Dial  Dial               // how it is reached; nil: directly
	Clock clock.PassiveClock // nil: the real one
}

// Client speaks to one authority, pinned by its roots. It is safe for concurrent use; one serves all callers with the
// same URL and roots. A call takes 15 s at most and is never repeated by itself.
type Client struct {
	url   string
	roots []*x509.Certificate
	dial  Dial
	clock clock.PassiveClock
	http  *http.Client
	shows bool // a certificate of its own
}

// NewClient returns a client. It makes no connection. It returns an error when the URL is not https://HOST[:PORT] or
// when there are no roots.
func NewClient(o Options) (*Client, error) {
	base, host, err := parseURL(o.URL)
	if err != nil {
		return nil, err
	}
	if len(o.Roots) == 0 {
		return nil, fmt.Errorf("use authority %s: it has no roots", base)
	}
	c := &Client{url: base, roots: o.Roots, dial: o.Dial, clock: o.Clock}
	if c.clock == nil {
		c.clock = clock.RealClock{}
	}
	pool := x509.NewCertPool()
	for _, root := range o.Roots {
		pool.AddCert(root)
	}
	c.http = newHTTP(o.Dial, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: host, Time: c.clock.Now})
	return c, nil
}

// Close drops the connections that are kept. The client may be used again.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// parseURL returns the URL without a slash at its end, and its host without the port.
func parseURL(text string) (base, host string, err error) {
	u, err := url.Parse(strings.TrimSuffix(text, "/"))
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", "", fmt.Errorf("use authority %q: its URL must be https://HOST or https://HOST:PORT", text)
	}
	return u.String(), u.Hostname(), nil
}

// newHTTP never asks a proxy of the environment: how the authority is reached is dial's affair.
func newHTTP(dial Dial, config *tls.Config) *http.Client {
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	bounded := func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return dial(ctx, network, address)
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: bounded, TLSClientConfig: config, TLSHandshakeTimeout: handshakeTimeout,
			IdleConnTimeout: idleTimeout, MaxIdleConnsPerHost: idleConnections,
			DisableKeepAlives: len(config.Certificates) > 0, // they are one certificate's, for one call
		},
		// A token must not follow a redirection.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// with returns a client that shows a certificate of its own.
func (c *Client) with(own tls.Certificate) *Client {
	config := c.http.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.Certificates = []tls.Certificate{own}
	out := *c
	out.http, out.shows = newHTTP(c.dial, config), true
	return &out
}

// Health returns nil when the authority answers and says that it is well.
func (c *Client) Health(ctx context.Context) error {
	var answer struct {
		Status string `json:"status"`
	}
	if err := c.call(ctx, http.MethodGet, "/health", nil, &answer, ""); err != nil {
		return fmt.Errorf("check health of authority: %w", err)
	}
	if answer.Status != "ok" {
		return fmt.Errorf("check health of authority: %w", c.fail(Away, fmt.Errorf("%s says %q", c.url, answer.Status)))
	}
	return nil
}

// Roots returns the roots that the authority trusts now, the present one first.
func (c *Client) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	var answer struct {
		Certificates []pemText `json:"crts"`
	}
	if err := c.call(ctx, http.MethodGet, "/roots", nil, &answer, ""); err != nil {
		return nil, fmt.Errorf("read roots of authority: %w", err)
	}
	roots, err := parseAll(answer.Certificates)
	if err != nil {
		return nil, fmt.Errorf("read roots of authority: %w", c.fail(Invalid, err))
	}
	return roots, nil
}

// Root returns the root certificate with the fingerprint (SHA-256 in hexadecimal digits) from an authority that is not
// known yet: whoever answers, the certificate has that fingerprint. dial nil: directly.
func Root(ctx context.Context, dial Dial, authority, fingerprint string) (*x509.Certificate, error) {
	want, err := pin.ParseFingerprint(fingerprint)
	if err != nil {
		return nil, fmt.Errorf("read root of authority: %w", err)
	}
	base, host, err := parseURL(authority)
	if err != nil {
		return nil, fmt.Errorf("read root of authority: %w", err)
	}
	c := &Client{url: base, dial: dial, clock: clock.RealClock{}, http: newHTTP(dial, pin.Unverified(host))}
	defer c.Close()
	var answer struct {
		Certificate pemText `json:"ca"`
	}
	plain := fmt.Sprintf("%x", want)
	if err := c.call(ctx, http.MethodGet, "/root/"+plain, nil, &answer, ""); err != nil {
		return nil, fmt.Errorf("read root of authority: %w", notThere(err))
	}
	roots, err := parseAll([]pemText{answer.Certificate})
	if err != nil {
		return nil, fmt.Errorf("read root of authority: %w", c.fail(Invalid, err))
	}
	if got := Fingerprint(roots[0]); got != plain {
		return nil, fmt.Errorf("read root of authority: %w", c.fail(Untrusted, fmt.Errorf("the fingerprint is %s, not %s", got, plain)))
	}
	return roots[0], nil
}

// notThere says of an authority without the root that it is another one.
func notThere(err error) error {
	var e *Error
	if errors.As(err, &e) && e.status == http.StatusNotFound {
		e.Kind = Untrusted
	}
	return err
}

// pemText is a certificate in the authority's answers.
type pemText string

func parseAll(texts []pemText) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for _, text := range texts {
		certs, err := ParseChain([]byte(text))
		if err != nil {
			return nil, err
		}
		all = append(all, certs...)
	}
	if len(all) == 0 {
		return nil, errors.New("the answer holds no certificate")
	}
	return all, nil
}

// call sends one request and reads its answer into out. What secret is never gets into an error, even if the authority
// repeats it. Its errors are *Error.
func (c *Client) call(ctx context.Context, method, path string, in, out any, secret string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return c.fail(Invalid, err)
	}
	if in == nil {
		body = nil
	}
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return c.fail(Invalid, err)
	}
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return c.unanswered(ctx, err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	skew := c.skew(answer.Header)
	if err != nil {
		return &Error{Kind: Away, URL: c.url, ClockSkew: skew, Err: fmt.Errorf("read answer: %w", err)}
	}
	if answer.StatusCode/100 != 2 {
		return c.refusal(answer.StatusCode, data, skew, secret)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return &Error{Kind: Invalid, URL: c.url, ClockSkew: skew, Err: errors.New("the answer is not that of a step-ca")}
	}
	return nil
}

// fail makes an error of what was found without an answer of the authority.
func (c *Client) fail(kind Kind, err error) *Error { return &Error{Kind: kind, URL: c.url, Err: err} }

// skew is how far the authority's clock is ahead, in whole seconds as its Date is; 0 within the tolerance.
func (c *Client) skew(header http.Header) time.Duration {
	theirs, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return 0
	}
	skew := theirs.Sub(c.clock.Now()).Round(time.Second)
	if skew.Abs() <= skewTolerance {
		return 0
	}
	return skew
}

// unanswered tells why there is no answer. A certificate that one of both does not take may be a clock's fault.
func (c *Client) unanswered(ctx context.Context, err error) *Error {
	e := c.fail(Away, err)
	var certificate *tls.CertificateVerificationError
	var alert *net.OpError
	switch {
	case errors.As(err, &certificate):
		e.Kind = Untrusted
		if isDated(err) {
			e.ClockSkew = c.askClock(ctx)
		}
	// The authority ends a handshake with an alert when it does not take the certificate that it is shown.
	case c.shows && errors.As(err, &alert) && alert.Op == "remote error":
		e.Kind = Unauthorized
		e.ClockSkew = c.askClock(ctx)
	}
	return e
}

// isDated says that a certificate is not valid yet, or no more.
func isDated(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

// askClock reads the clock of who answers at the URL, whoever it is: it explains an error, no more.
func (c *Client) askClock(ctx context.Context) time.Duration {
	_, host, err := parseURL(c.url)
	if err != nil {
		return 0
	}
	anybody := newHTTP(c.dial, pin.Unverified(host))
	defer anybody.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/health", http.NoBody)
	if err != nil {
		return 0
	}
	answer, err := anybody.Do(request)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	return c.skew(answer.Header)
}
