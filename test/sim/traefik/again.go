// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"time"
)

type retryKey struct{}

// retryOf tells the middleware that asks again whether it should; nil: there is none.
func retryOf(ctx context.Context) func(bool) {
	again, _ := ctx.Value(retryKey{}).(func(bool)) // nil otherwise
	return again
}

// retried asks again while nothing was written to a server.
func retried(conf *retry, next http.Handler) (http.Handler, error) {
	if conf.Attempts <= 0 {
		return nil, fmt.Errorf("incorrect (or empty) value for attempt (%d)", conf.Attempts)
	}
	growth := 1.0
	if conf.Attempts > 1 {
		growth = math.Pow(2, 1/float64(conf.Attempts-1))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conf.Attempts == 1 {
			next.ServeHTTP(w, r)
			return
		}
		body := r.Body
		defer func() { _ = body.Close() }() // it was read, or not
		r.Body = io.NopCloser(body)
		wait := time.Duration(conf.InitialInterval)
		for attempt := 1; ; attempt++ {
			out := &attemptWriter{under: w, header: http.Header{}}
			last := attempt == conf.Attempts
			again := func(should bool) { out.again = should && !last }
			next.ServeHTTP(out, r.Clone(context.WithValue(r.Context(), retryKey{}, again)))
			if !out.again || !pause(r.Context(), wait) {
				return
			}
			wait = time.Duration(float64(wait) * growth)
		}
	}), nil
}

// attemptWriter swallows the answer of an attempt that is followed by another one.
type attemptWriter struct {
	under  http.ResponseWriter
	header http.Header
	again  bool
	sent   bool
}

// Header implements http.ResponseWriter.
func (w *attemptWriter) Header() http.Header {
	if w.sent {
		return w.under.Header()
	}
	return w.header
}

// WriteHeader implements http.ResponseWriter.
func (w *attemptWriter) WriteHeader(status int) {
	if w.again || w.sent {
		return
	}
	maps.Copy(w.under.Header(), w.header)
	w.under.WriteHeader(status)
	w.sent = status >= 200 || status == http.StatusSwitchingProtocols
}

// Write implements http.ResponseWriter.
func (w *attemptWriter) Write(b []byte) (int, error) {
	if w.again {
		return len(b), nil
	}
	if !w.sent {
		w.WriteHeader(http.StatusOK)
	}
	return w.under.Write(b)
}

// Flush implements http.Flusher.
func (w *attemptWriter) Flush() {
	if !w.again {
		_ = http.NewResponseController(w.under).Flush() // it is flushed at its end
	}
}

// Hijack implements http.Hijacker.
func (w *attemptWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.under).Hijack()
}
