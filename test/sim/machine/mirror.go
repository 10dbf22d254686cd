// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sync"
)

// Web is what lies outside of a site, asked by GET: what it answers to a URL. An
// error is one of those below, or of package syscall or context, as a
// connection has it. A body that comes with ErrCutShort is what arrived.
type Web func(address string) (body []byte, status int, err error)

var (
	// ErrNoHost says that the name in a URL is nobody's.
	ErrNoHost = errors.New("could not resolve host")
	// ErrCutShort says that the connection ended before the body did.
	ErrCutShort = errors.New("transfer closed")
)

// Mirror is a Web of files, with faults. Its methods may be called at any time,
// by any number of goroutines.
type Mirror struct {
	mu       sync.Mutex
	files    map[string][]byte
	faults   []*mirrorFault
	requests []string
}

type mirrorFault struct {
	pattern *regexp.Regexp
	times   int
	status  int
	err     error
}

// NewMirror makes a Web in which there is nothing: no host has a name.
func NewMirror() *Mirror { return &Mirror{files: map[string][]byte{}} }

// Put gives a file to whoever asks for the URL.
func (w *Mirror) Put(address string, body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files[address] = slices.Clone(body)
}

// Remove takes a file away.
func (w *Mirror) Remove(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.files, address)
}

// Fail lets the next times requests (0: all) for URLs that match a pattern, in
// which * stands for any text, end with a status, or with an error: ErrNoHost,
// ErrCutShort (half of the file arrives), syscall.ECONNREFUSED,
// syscall.EHOSTUNREACH or context.DeadlineExceeded. The function ends it.
func (w *Mirror) Fail(pattern string, times, status int, err error) (remove func()) {
	f := &mirrorFault{pattern: glob(pattern), times: times, status: status, err: err}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, f)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.faults = without(w.faults, f)
	}
}

// Requests are the URLs that were asked for, in order.
func (w *Mirror) Requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.requests)
}

// Get is a Web.
func (w *Mirror) Get(address string) (body []byte, status int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, address)
	body, there := w.files[address]
	if f := w.fault(address); f != nil {
		switch {
		case errors.Is(f.err, ErrCutShort):
			return body[:len(body)/2], http.StatusOK, f.err
		case f.err != nil:
			return nil, 0, f.err
		}
		return nil, f.status, nil
	}
	switch {
	case there:
		return body, http.StatusOK, nil
	case w.hosts(address):
		return nil, http.StatusNotFound, nil
	}
	return nil, 0, ErrNoHost
}

// fault takes the first fault of a URL, if there is one.
func (w *Mirror) fault(address string) *mirrorFault {
	for _, f := range w.faults {
		if !f.pattern.MatchString(address) {
			continue
		}
		if f.times > 0 {
			if f.times--; f.times == 0 {
				w.faults = without(w.faults, f)
			}
		}
		return f
	}
	return nil
}

// hosts tells whether another file is at the URL's host.
func (w *Mirror) hosts(address string) bool {
	asked, err := url.Parse(address)
	if err != nil {
		return false
	}
	for known := range w.files {
		if one, err := url.Parse(known); err == nil && one.Host == asked.Host {
			return true
		}
	}
	return false
}
