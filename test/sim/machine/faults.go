// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
)

// ErrCut says that the connection broke.
var ErrCut = errors.New("connection broke")

// Cut says when a connection breaks.
type Cut int

// The moments at which a connection breaks.
const (
	// CutBefore breaks before anything of the command runs.
	CutBefore Cut = iota
	// CutDuring breaks when the command begins; the command goes on, and what it
	// writes goes nowhere.
	CutDuring
	// CutAfter breaks when the command has ended; nothing of its output arrives.
	CutAfter
)

// faults are what goes wrong on a machine.
type faults struct {
	mu    sync.Mutex
	fails []*failure
	holds []*hold
	cuts  []*cutting
	dpkg  bool

	waiting atomic.Int64
}

type failure struct {
	pattern *regexp.Regexp
	times   int
	exit    int
	stderr  string
}

type hold struct {
	pattern *regexp.Regexp
	release chan struct{}
}

type cutting struct {
	pattern *regexp.Regexp
	times   int
	when    Cut
}

// glob turns a pattern in which * stands for any text into an expression.
func glob(pattern string) *regexp.Regexp {
	return regexp.MustCompile(`(?s)^` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + `$`)
}

// Fail makes commands fail that match a pattern, in which * stands for any text:
// every program that is run, in scripts too, is looked at with its arguments
// joined by blanks ("systemctl restart *"). Instead of running, the next times
// of them (0: all) print stderr and exit. The function ends it.
func (m *Machine) Fail(pattern string, times int, exit int, stderr string) (remove func()) {
	f := &failure{pattern: glob(pattern), times: times, exit: exit, stderr: stderr}
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.fails = append(m.faults.fails, f)
	return func() {
		m.faults.mu.Lock()
		defer m.faults.mu.Unlock()
		m.faults.fails = without(m.faults.fails, f)
	}
}

// Hold makes commands that match a pattern, as in Fail, wait before they do
// anything, until release is called.
func (m *Machine) Hold(pattern string) (release func()) {
	h := &hold{pattern: glob(pattern), release: make(chan struct{})}
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.holds = append(m.faults.holds, h)
	return sync.OnceFunc(func() {
		m.faults.mu.Lock()
		defer m.faults.mu.Unlock()
		m.faults.holds = without(m.faults.holds, h)
		close(h.release)
	})
}

// Held is how many commands wait now because of Hold.
func (m *Machine) Held() int { return int(m.faults.waiting.Load()) }

// HoldDpkg holds dpkg's lock, as another apt does, or lets it go.
func (m *Machine) HoldDpkg(held bool) {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.dpkg = held
}

// Cut breaks the connections of the next times sessions (0: all) whose command
// matches a pattern, as in Fail.
func (m *Machine) Cut(pattern string, times int, when Cut) (remove func()) {
	c := &cutting{pattern: glob(pattern), times: times, when: when}
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.cuts = append(m.faults.cuts, c)
	return func() {
		m.faults.mu.Lock()
		defer m.faults.mu.Unlock()
		m.faults.cuts = without(m.faults.cuts, c)
	}
}

func (f *faults) cut(line string) (Cut, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.cuts {
		if c.pattern.MatchString(line) {
			if c.times > 0 {
				if c.times--; c.times == 0 {
					f.cuts = without(f.cuts, c)
				}
			}
			return c.when, true
		}
	}
	return 0, false
}

// strike lets a command wait or fail, if a fault says so.
func (f *faults) strike(ctx context.Context, line string, stderr io.Writer) (exit int, struck bool) {
	for _, h := range f.held(line) {
		f.waiting.Add(1)
		select {
		case <-h.release:
			f.waiting.Add(-1)
		case <-ctx.Done():
			f.waiting.Add(-1)
			return 137, true
		}
	}
	one := f.failure(line)
	if one == nil {
		return 0, false
	}
	if one.stderr != "" {
		_, _ = io.WriteString(stderr, strings.TrimRight(one.stderr, "\n")+"\n") // a reader that left misses it
	}
	return one.exit, true
}

func (f *faults) failure(line string) *failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.fails {
		if !one.pattern.MatchString(line) {
			continue
		}
		if one.times > 0 {
			if one.times--; one.times == 0 {
				f.fails = without(f.fails, one)
			}
		}
		return one
	}
	return nil
}

func (f *faults) held(line string) []*hold {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*hold
	for _, h := range f.holds {
		if h.pattern.MatchString(line) {
			out = append(out, h)
		}
	}
	return out
}

func (f *faults) dpkgHeld() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dpkg
}

func without[T comparable](list []T, gone T) []T {
	out := make([]T, 0, len(list))
	for _, item := range list {
		if item != gone {
			out = append(out, item)
		}
	}
	return out
}
