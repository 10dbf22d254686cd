// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// checker asks the servers of a service how they are.
type checker struct {
	server  *Server
	service string
	conf    *healthCheck
	lb      *balancer
	info    *ServiceInfo
	client  *http.Client

	mu   sync.Mutex
	sick map[string]bool
}

func newChecker(s *Server, service string, conf *healthCheck, lb *balancer, info *ServiceInfo, transport http.RoundTripper) *checker {
	c := &checker{server: s, service: service, conf: conf, lb: lb, info: info, client: &http.Client{Transport: transport}, sick: map[string]bool{}}
	if conf.FollowRedirects != nil && !*conf.FollowRedirects {
		c.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return c
}

// run are the loops that ask those that are well, and those that are not.
func (c *checker) run(targets map[string]*url.URL) []func(context.Context) {
	well := time.Duration(c.conf.Interval)
	if well <= 0 {
		well = 30 * time.Second
	}
	sick := well
	if c.conf.UnhealthyInterval != nil && *c.conf.UnhealthyInterval > 0 {
		sick = time.Duration(*c.conf.UnhealthyInterval)
	}
	return []func(context.Context){
		func(ctx context.Context) { c.loop(ctx, targets, well, false) },
		func(ctx context.Context) { c.loop(ctx, targets, sick, true) },
	}
}

func (c *checker) loop(ctx context.Context, targets map[string]*url.URL, interval time.Duration, sick bool) {
	for pause(ctx, interval) {
		for _, name := range c.those(targets, sick) {
			err := c.ask(ctx, targets[name])
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				c.server.log("WRN", fmt.Sprintf("Health check failed. error=%q serviceName=%s targetURL=%s", err, c.service, name))
			}
			c.settle(name, targets[name].String(), err == nil)
		}
	}
}

// those are the targets that are sick, or those that are not.
func (c *checker) those(targets map[string]*url.URL, sick bool) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, name := range sorted(keys(targets)) {
		if c.sick[name] == sick {
			out = append(out, name)
		}
	}
	return out
}

func (c *checker) settle(name, address string, well bool) {
	c.mu.Lock()
	c.sick[name] = !well
	c.mu.Unlock()
	c.lb.set(name, well)
	status := up
	if !well {
		status = down
	}
	c.info.set(address, status)
}

// ask asks one server.
func (c *checker) ask(ctx context.Context, target *url.URL) error {
	timeout := time.Duration(c.conf.Timeout)
	if timeout <= 0 {
		timeout = 5 * time.Second
	}
	short, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := c.request(short, target)
	if err != nil {
		return fmt.Errorf("checking HTTP health: create HTTP request: %w", err)
	}
	answer, err := c.client.Do(request)
	if err != nil {
		return fmt.Errorf("checking HTTP health: HTTP request failed: %w", err)
	}
	_ = answer.Body.Close() // its status was looked for
	switch {
	case c.conf.Status == 0 && (answer.StatusCode < 200 || answer.StatusCode >= 400):
		return fmt.Errorf("checking HTTP health: received error status code: %v", answer.StatusCode)
	case c.conf.Status != 0 && answer.StatusCode != c.conf.Status:
		return fmt.Errorf("checking HTTP health: received error status code: %v expected status code: %v", answer.StatusCode, c.conf.Status)
	}
	return nil
}

func (c *checker) request(ctx context.Context, target *url.URL) (*http.Request, error) {
	asked, err := url.Parse(c.conf.Path)
	if err != nil {
		return nil, fmt.Errorf("parsing health check path: %w", err)
	}
	if asked.Host != "" || asked.Scheme != "" {
		return nil, fmt.Errorf("health check path must be a relative URL, got: %q", c.conf.Path)
	}
	at := target.ResolveReference(asked)
	if c.conf.Scheme != "" {
		at.Scheme = c.conf.Scheme
	}
	if c.conf.Port != 0 {
		at.Host = net.JoinHostPort(at.Hostname(), strconv.Itoa(c.conf.Port))
	}
	request, err := http.NewRequestWithContext(ctx, c.conf.Method, at.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	if c.conf.Hostname != "" {
		request.Host = c.conf.Hostname
	}
	for name, value := range c.conf.Headers {
		request.Header.Set(name, value)
	}
	return request, nil
}

// passively takes a server out for a while when requests to it failed.
func passively(ctx context.Context, next http.Handler, conf *passiveHealthCheck, lb *balancer, name string, active bool) http.Handler {
	var mu sync.Mutex
	var failed []time.Time
	window := time.Duration(conf.FailureWindow)
	bad := func() bool {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		failed = append(failed, now)
		for len(failed) > 0 && failed[0].Before(now.Add(-window)) {
			failed = failed[1:]
		}
		return len(failed) >= conf.MaxFailedAttempts
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		called := false
		trace := &httptrace.ClientTrace{WroteHeaders: func() { called = true }}
		seen := &statusWriter{ResponseWriter: w}
		next.ServeHTTP(seen, r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
		if called && seen.code() < 500 {
			mu.Lock()
			failed = nil
			mu.Unlock()
			return
		}
		if !bad() {
			return
		}
		lb.set(name, false)
		if !active {
			timer := time.AfterFunc(window, func() { lb.set(name, true) })
			context.AfterFunc(ctx, func() { timer.Stop() })
		}
	})
}

// statusWriter sees the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
	size   int64
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	if w.status < 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status < 200 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.size += int64(n)
	return n, err
}

// Flush implements http.Flusher.
func (w *statusWriter) Flush() {
	_ = http.NewResponseController(w.ResponseWriter).Flush() // it is flushed at its end
}

// Hijack implements http.Hijacker.
func (w *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

func (w *statusWriter) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}
