// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fault is what happens to a request in place of its answer.
type Fault struct {
	// Status that is answered, as Portainer answers errors.
	Status int
	// Message of the answer; default "told to".
	Message string
	// Cut ends the connection without an answer.
	Cut bool
	// Hang answers nothing until the client gives up, or the fault is healed.
	Hang bool
	// After lets the request have its effect first: only the answer is lost.
	After bool
}

type fault struct {
	Fault
	method, pattern string
	times           int
	over            chan struct{}
}

type faults struct {
	mu   sync.Mutex
	list []*fault
}

// Fail lets the next times requests (0: all, until heal) fail whose method (* or "": any)
// and path, without the leading /api, fit. In the pattern * stands for any text, with
// slashes too. heal takes back what is left of it.
func (s *Server) Fail(method, pathPattern string, times int, f Fault) (heal func()) {
	one := &fault{Fault: f, method: method, pattern: pathPattern, times: times, over: make(chan struct{})}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = append(s.faults.list, one)
	return sync.OnceFunc(func() {
		s.faults.mu.Lock()
		defer s.faults.mu.Unlock()
		s.faults.drop(one)
		close(one.over)
	})
}

func (f *faults) drop(one *fault) {
	f.list = slices.DeleteFunc(f.list, func(o *fault) bool { return o == one })
}

// strike does what a fault says, if there is one.
func (f *faults) strike(w http.ResponseWriter, r *http.Request, inner http.Handler) bool {
	one := f.take(r)
	if one == nil {
		return false
	}
	if one.After {
		inner.ServeHTTP(newRecord(), r)
	}
	if one.Hang {
		_, _ = io.Copy(io.Discard, r.Body) // until it is read, nobody sees the client give up
		select {
		case <-one.over:
		case <-r.Context().Done():
		}
	}
	if one.Cut || one.Hang || one.Status == 0 {
		panic(http.ErrAbortHandler)
	}
	words := one.Message
	if words == "" {
		words = "told to"
	}
	writeProblem(w, refuse(one.Status, words, ""))
	return true
}

func (f *faults) take(r *http.Request) *fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.list {
		if one.method != "" && one.method != "*" && one.method != r.Method || !fits(strings.TrimPrefix(r.URL.Path, "/api"), one.pattern) {
			continue
		}
		if one.times > 0 {
			if one.times--; one.times == 0 {
				f.drop(one)
			}
		}
		return one
	}
	return nil
}

// fits says whether a text fits a pattern, in which * stands for any text.
func fits(text, pattern string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return text == pattern
	}
	rest, ok := strings.CutPrefix(text, parts[0])
	for _, part := range parts[1 : len(parts)-1] {
		if !ok {
			return false
		}
		_, rest, ok = strings.Cut(rest, part)
	}
	return ok && strings.HasSuffix(rest, parts[len(parts)-1])
}

// Request that the server got.
type Request struct {
	// Time of the clock.
	Time time.Time
	// Method, Path and Query as they came; the path begins with /api.
	Method, Path, Query string
	// Status that was answered; 0: none was, or not yet.
	Status int
}

// Writes says whether the request was one that changes something.
func (r Request) Writes() bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

// requests are those that came, in their order.
type requests struct {
	mu   sync.Mutex
	base int // that were forgotten
	list []Request
}

// mostRequests bounds what is kept.
const mostRequests = 20000

func (l *requests) add(r *http.Request, now time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) == mostRequests {
		l.list = append([]Request(nil), l.list[mostRequests/2:]...)
		l.base += mostRequests / 2
	}
	l.list = append(l.list, Request{Time: now, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery})
	return l.base + len(l.list) - 1
}

func (l *requests) done(at, code int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at >= l.base {
		l.list[at-l.base].Status = code
	}
}

// Requests are those that came since New or ForgetRequests, the last twenty thousand at most.
func (s *Server) Requests() []Request {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return slices.Clone(s.log.list)
}

// ForgetRequests empties the list of requests.
func (s *Server) ForgetRequests() {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.log.base += len(s.log.list)
	s.log.list = nil
}
