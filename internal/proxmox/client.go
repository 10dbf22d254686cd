// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	goproxmox "github.com/luthermonson/go-proxmox"
	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"
	"k8s.io/utils/clock"

	"github.com/phoenix-hypervisor/phoenix/internal/pin"
	"github.com/phoenix-hypervisor/phoenix/internal/secret"
)

const (
	// callTimeout bounds one call with its repetitions; a context may be
	// shorter. A dead node may take 21 s to be answered for (measured).
	callTimeout = 30 * time.Second
	// readAttempts is how often a GET is tried; nothing else is repeated.
	readAttempts = 3
	retryPause   = 100 * time.Millisecond
	// tripAfter unanswered calls in a row open a breaker for openFor.
	tripAfter = 5
	openFor   = 10 * time.Second
)

// Endpoint is one Proxmox VE API and the token that is used on it.
type Endpoint struct {
	URL         string        // "https://10.0.0.13:8006"
	TokenID     string        // "root@pam!phoenix"
	TokenSecret secret.Secret // the token's UUID
	TLS         pin.Config
	Limits      Limits
	Clock       clock.Clock // nil: the real one
}

// Limits guard the site. A zero member is its default.
type Limits struct {
	RequestsPerSecond float64 // 20
	Burst             int     // 40: requests at once
	Tasks             int     // 4: tasks at once on the whole site
	PerStorage        int     // 2: tasks at once that write to one storage
	PerTemplate       int     // 1: clones at once of one template
}

func (l Limits) withDefaults() Limits {
	l.RequestsPerSecond = orDefault(l.RequestsPerSecond, 20)
	l.Burst = orDefault(l.Burst, 40)
	l.Tasks = orDefault(l.Tasks, 4)
	l.PerStorage = orDefault(l.PerStorage, 2)
	l.PerTemplate = orDefault(l.PerTemplate, 1)
	return l
}

func orDefault[T int | float64](v, unset T) T {
	if v <= 0 {
		return unset
	}
	return v
}

// Client calls one Proxmox VE API. Every method returns an *Error when it does
// not succeed, takes at most 30 s, and passes a token bucket and a circuit
// breaker. A GET is tried up to three times when it goes unanswered; a write
// is sent once, and when it goes unanswered (IsUnreachable) only a look at the
// site tells whether it was carried out. Clients are safe for concurrent use.
type Client struct {
	api     *goproxmox.Client
	carrier *exchange
	address string // the API's URL with its path
	limiter *rate.Limiter
	clock   clock.Clock
	limits  Limits
	// onConfig is told the digest of every configuration that is read; nil for
	// a client without a site.
	onConfig func(vmid int, digest string)
	// onTags is told that a guest's tags were written: whose the guests are
	// shows in the next list. Nil for a client without a site.
	onTags func()

	mu       sync.Mutex
	breakers map[string]*gobreaker.CircuitBreaker[struct{}] // by node, "" for the endpoint
}

// New returns a client. It makes no connection; it returns an error when the
// URL, the token or the pinned certificate cannot be used.
func New(e Endpoint) (*Client, error) {
	address, err := apiURL(e.URL)
	if err != nil {
		return nil, err
	}
	if err := checkToken(e.TokenID, e.TokenSecret); err != nil {
		return nil, err
	}
	trust, err := e.TLS.TLS()
	if err != nil {
		return nil, err
	}
	if e.Clock == nil {
		e.Clock = clock.RealClock{}
	}
	limits := e.Limits.withDefaults()
	base := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     trust,
		TLSHandshakeTimeout: 10 * time.Second,
		// A call costs 1 ms on a kept connection, 48 ms on a new one (measured).
		MaxIdleConnsPerHost: 8,
		MaxConnsPerHost:     8,
		IdleConnTimeout:     90 * time.Second,
		// The size of an answer is bounded as it is on the wire.
		DisableCompression: true,
	}
	carrier := &exchange{base: base, idle: base.CloseIdleConnections, prefix: address.Path, tokenID: e.TokenID, secret: e.TokenSecret}
	return &Client{
		api: goproxmox.NewClient(address.String(),
			goproxmox.WithHTTPClient(&http.Client{Transport: carrier}),
			goproxmox.WithUserAgent("phoenix"),
			goproxmox.WithLogger(silence{})), // it would print parameters, passwords among them
		carrier:  carrier,
		address:  address.String(),
		limiter:  rate.NewLimiter(rate.Limit(limits.RequestsPerSecond), limits.Burst),
		clock:    e.Clock,
		limits:   limits,
		breakers: map[string]*gobreaker.CircuitBreaker[struct{}]{},
	}, nil
}

// tokenForm is USER@REALM!NAME as Proxmox VE takes it; a secret put in its place does not fit.
var tokenForm = regexp.MustCompile(`^[^\s:/]+@[A-Za-z][-A-Za-z0-9._]+![A-Za-z][-A-Za-z0-9._]+$`)

// checkToken refuses what cannot go into a header. It shows neither part: people mix them up.
func checkToken(id string, value secret.Secret) error {
	switch {
	case !tokenForm.MatchString(id):
		return errors.New("read token: the id is not of the form user@realm!name")
	case value.Empty():
		return errors.New("read token: secret is empty")
	case bytes.ContainsFunc(value.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("read token: the secret holds a space, a line break or another character that no token has")
	}
	return nil
}

// Close lets idle connections go. The client stays usable.
func (c *Client) Close() { c.carrier.idle() }

func apiURL(s string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(s, "/"))
	if err != nil {
		return nil, fmt.Errorf("read URL: %w", err)
	}
	if u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("read URL %q: want https://host:8006", u.Redacted())
	}
	if !strings.HasSuffix(u.Path, "/api2/json") {
		u.Path += "/api2/json"
	}
	return u, nil
}

// get reads a path into the value that into points to.
func (c *Client) get(ctx context.Context, path string, query map[string]string, into any) error {
	return c.call(ctx, http.MethodGet, path, query, into)
}

// call makes one call: parameters go into the query of GET and DELETE, whose
// body is refused with 501 (measured), and into the body of POST and PUT.
func (c *Client) call(ctx context.Context, method, path string, params map[string]string, into any) error {
	inner, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	attempts := 1
	if method == http.MethodGet {
		attempts = readAttempts
	}
	for attempt := 1; ; attempt++ {
		err := c.once(ctx, inner, method, path, params, into)
		var e *Error
		if err == nil || !errors.As(err, &e) {
			return err
		}
		e.hide(params)
		if attempt == attempts || !worthRepeating(err) || inner.Err() != nil {
			return err
		}
		pause := retryPause << (attempt - 1)
		if c.sleep(inner, pause/2+rand.N(pause)) != nil {
			return err
		}
	}
}

// once makes one attempt under the token bucket and the breakers.
func (c *Client) once(caller, ctx context.Context, method, path string, params map[string]string, into any) error {
	failure := &Error{Method: method, Path: path}
	now := c.clock.Now()
	token := c.limiter.ReserveN(now, 1)
	if err := c.sleep(ctx, token.DelayFrom(now)); err != nil {
		token.CancelAt(c.clock.Now()) // the next call need not wait for one that is not made
		failure.Err = err
		return failure
	}
	err := c.guard("", func() error {
		send := func() error { return c.attempt(caller, ctx, method, path, params, into) }
		if node := nodeOf(path); node != "" {
			return c.guard(node, send)
		}
		return send()
	})
	switch {
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		failure.Err = ErrBreakerOpen
		return failure
	case err != nil:
		var e *Error
		errors.As(err, &e)
		return e
	}
	return nil
}

// guard runs a function under the breaker of a node, or of the endpoint.
func (c *Client) guard(node string, f func() error) error {
	_, err := c.breaker(node).Execute(func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// attempt sends the request and says of a failure whether it was the caller
// who gave up.
func (c *Client) attempt(caller, ctx context.Context, method, path string, params map[string]string, into any) error {
	err := c.send(ctx, method, path, params, into)
	var e *Error
	if err != nil && !errors.As(err, &e) {
		// The call succeeded, its answer is of another shape.
		err = &Error{Method: method, Path: path, Code: http.StatusOK, Err: err}
	}
	if err != nil && caller.Err() != nil {
		return &givenUp{err}
	}
	return err
}

func (c *Client) send(ctx context.Context, method, path string, params map[string]string, into any) error {
	switch method {
	case http.MethodPost:
		return c.api.Post(ctx, path, body(params), into)
	case http.MethodPut:
		return c.api.Put(ctx, path, body(params), into)
	}
	if len(params) > 0 {
		query := url.Values{}
		for key, value := range params {
			query.Set(key, value)
		}
		path += "?" + query.Encode()
	}
	return c.api.Req(ctx, method, path, nil, into)
}

// body keeps an empty set of parameters from becoming the body "null". A value
// that ends in a NUL byte, which no parameter can hold, is a list: see array.
func body(params map[string]string) any {
	if len(params) == 0 {
		return nil
	}
	out := make(map[string]any, len(params))
	for name, value := range params {
		if list, isArray := strings.CutSuffix(value, "\x00"); isArray {
			out[name] = strings.Split(list, "\x00")
			continue
		}
		out[name] = value
	}
	return out
}

// array makes one parameter of a list that is not empty.
func array(list []string) string { return strings.Join(list, "\x00") + "\x00" }

// breaker returns the breaker of a node, or of the endpoint. They are apart
// because one dead node of a cluster leaves the others to be worked with.
func (c *Client) breaker(node string) *gobreaker.CircuitBreaker[struct{}] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b, ok := c.breakers[node]; ok {
		return b
	}
	// A wrong certificate is not silence: its error has to be shown each time.
	unanswered := func(e *Error) bool { return e.Code == 0 && !IsUntrusted(e) }
	if node != "" {
		unanswered = func(e *Error) bool { return fromProxy(e.Code) }
	}
	b := gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        node,
		Timeout:     openFor,
		ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= tripAfter },
		IsSuccessful: func(err error) bool {
			var e *Error
			return !errors.As(err, &e) || !unanswered(e)
		},
		IsExcluded: func(err error) bool {
			var g *givenUp
			return errors.As(err, &g) || errors.Is(err, gobreaker.ErrOpenState) ||
				errors.Is(err, gobreaker.ErrTooManyRequests)
		},
	})
	c.breakers[node] = b
	return b
}

// sleep waits unless the context ends before.
func (c *Client) sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	timer := c.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C():
		return nil
	}
}

// givenUp marks a call that its caller ended: it says nothing of the site.
type givenUp struct{ error }

func (g *givenUp) Unwrap() error { return g.error }

// worthRepeating says whether a GET may have better luck: not when the
// certificate is a wrong one or when the call was not even tried.
func worthRepeating(err error) bool {
	return IsUnreachable(err) && !IsUntrusted(err) && !errors.Is(err, ErrBreakerOpen)
}

// nodeOf returns the node that a path is about, "" for none.
func nodeOf(path string) string {
	rest, ok := strings.CutPrefix(path, "/nodes/")
	if !ok {
		return ""
	}
	node, _, _ := strings.Cut(rest, "/")
	return node
}

// silence is go-proxmox's log: nothing.
type silence struct{}

func (silence) Debugf(string, ...any) {}
func (silence) Errorf(string, ...any) {}
func (silence) Infof(string, ...any)  {}
func (silence) Warnf(string, ...any)  {}
