// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Faults are what goes wrong with a Traefik. They outlive its restarts. The zero value has none.
type Faults struct {
	mu       sync.Mutex
	rejected map[string]string // router: words
	ignoring int
	delays   []*time.Duration
	api      []*apiFault
}

type apiFault struct {
	pattern string
	times   int
	status  int
	over    chan struct{}
}

// Hang is the status of a fault that answers nothing: the client waits until it gives up, or the fault is removed.
const Hang = 0

// Reject lets a router of this name, with or without @file, be disabled with these words from the next configuration on.
// The function ends it.
func (f *Faults) Reject(router, words string) (remove func()) {
	router = qualified(router)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rejected == nil {
		f.rejected = map[string]string{}
	}
	f.rejected[router] = words
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.rejected, router)
	}
}

// IgnoreChanges lets it not notice that files change, as when a watch is lost. What changed meanwhile is not made up for
// when the function ends it.
func (f *Faults) IgnoreChanges() (remove func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ignoring++
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.ignoring--
	})
}

// Delay lets it take so much longer, in real time, until it serves what has changed. The function ends it.
func (f *Faults) Delay(d time.Duration) (remove func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	one := &d
	f.delays = append(f.delays, one)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.delays = slices.DeleteFunc(f.delays, func(o *time.Duration) bool { return o == one })
	}
}

// FailAPI lets the next times requests (0: all) to the API whose path matches a pattern of package path, such as
// /api/rawdata, or is * for any, end with a status, or with Hang. The function removes what is left of it.
func (f *Faults) FailAPI(pattern string, times, status int) (remove func()) {
	one := &apiFault{pattern: pattern, times: times, status: status, over: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.api = append(f.api, one)
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.drop(one)
		close(one.over)
	})
}

func (f *Faults) drop(one *apiFault) {
	f.api = slices.DeleteFunc(f.api, func(o *apiFault) bool { return o == one })
}

// words are those with which a router is rejected.
func (f *Faults) words(router string) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	words, ok := f.rejected[router]
	return words, ok
}

func (f *Faults) deaf() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ignoring > 0
}

func (f *Faults) delay() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	sum := time.Duration(0)
	for _, d := range f.delays {
		sum += *d
	}
	return sum
}

// strike answers a request to the API, if a fault says so.
func (f *Faults) strike(w http.ResponseWriter, r *http.Request) bool {
	one := f.take(r.URL.Path)
	if one == nil {
		return false
	}
	if one.status != Hang {
		http.Error(w, http.StatusText(one.status), one.status)
		return true
	}
	select {
	case <-one.over:
	case <-r.Context().Done():
	}
	panic(http.ErrAbortHandler)
}

func (f *Faults) take(name string) *apiFault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.api {
		if hit, err := path.Match(one.pattern, name); (err != nil || !hit) && one.pattern != "*" {
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

// qualified is a name with its provider.
func qualified(name string) string {
	if strings.Contains(name, "@") {
		return name
	}
	return name + "@file"
}
