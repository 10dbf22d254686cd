// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
)

// Faults are what an authority answers in place of what it should. They outlive
// its restarts. The zero value has none.
type Faults struct {
	mu   sync.Mutex
	list []*fault
}

type fault struct {
	pattern string
	times   int
	status  int
	over    chan struct{}
}

// Hang is the status of a fault that answers nothing: the client waits until it
// gives up, or the fault is removed.
const Hang = 0

// Add lets the next times requests (0: all) whose path, without the
// leading /1.0, matches a pattern of package path, such as /sign, or is * for any, end with a status as step-ca answers it,
// or with Hang. The function removes what is left of it.
func (f *Faults) Add(pattern string, times, status int) (remove func()) {
	one := &fault{pattern: pattern, times: times, status: status, over: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, one)
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.drop(one)
		close(one.over)
	})
}

func (f *Faults) drop(one *fault) {
	f.list = slices.DeleteFunc(f.list, func(o *fault) bool { return o == one })
}

// strike answers for a request, if a fault says so.
func (f *Faults) strike(r *http.Request) (status int, struck bool) {
	one := f.take(r.URL.Path)
	if one == nil {
		return 0, false
	}
	if one.status == Hang {
		select {
		case <-one.over:
		case <-r.Context().Done():
		}
	}
	return one.status, true
}

func (f *Faults) take(name string) *fault {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.list {
		if hit, err := path.Match(one.pattern, strings.TrimPrefix(name, "/1.0")); (err != nil || !hit) && one.pattern != "*" {
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
