// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// noted is what becomes of a request, for the log and the counters.
type noted struct {
	router, service, server, user string
}

type noteKey struct{}

func withNote(ctx context.Context) context.Context {
	return context.WithValue(ctx, noteKey{}, &noted{})
}

// note is what is known of a request; what is written to that of one that did not come in here is lost.
func note(r *http.Request) *noted {
	if n, ok := r.Context().Value(noteKey{}).(*noted); ok {
		return n
	}
	return &noted{}
}

// serveRoute lets a route answer.
func (s *Server) serveRoute(_ string, one route, w http.ResponseWriter, r *http.Request) {
	note(r).router = one.name
	one.handler.ServeHTTP(w, r)
}

// logAccess counts a request, and logs it as Traefik does.
func (s *Server) logAccess(point string, r *http.Request, w *statusWriter, began time.Time) {
	n := note(r)
	s.counters.add(point, n, r.Method, w.code())
	if s.static.AccessLog == nil || hasInternal(n) && !s.static.AccessLog.AddInternals {
		return
	}
	dash := func(text string) string {
		if text == "" {
			return "-"
		}
		return text
	}
	s.o.Log(fmt.Sprintf("%s - %s [%s] %q %d %d %q %q %d %q %q %dms",
		remoteIP(r), dash(n.user), s.o.Now().UTC().Format("02/Jan/2006:15:04:05 -0700"), r.Method+" "+r.RequestURI+" "+r.Proto, w.code(), w.size,
		"-", "-", s.counters.number(), dash(n.router), dash(n.server), time.Since(began).Milliseconds()))
}

func hasInternal(n *noted) bool {
	return len(n.router) > 9 && n.router[len(n.router)-9:] == "@internal"
}

// counters count requests.
type counters struct {
	mu       sync.Mutex
	requests map[[4]string]int // entry point, service, method, status
	total    int
}

func (c *counters) add(point string, n *noted, method string, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests == nil {
		c.requests = map[[4]string]int{}
	}
	c.requests[[4]string{point, n.service, method, fmt.Sprint(status)}]++
	c.total++
}

func (c *counters) number() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}
