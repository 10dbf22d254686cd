// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"bufio"
	"compress/gzip"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
)

// compressed compresses answers with gzip for who accepts it. The other encodings are not simulated.
func compressed(conf *compress, next http.Handler) (http.Handler, error) {
	if len(conf.ExcludedContentTypes) > 0 && len(conf.IncludedContentTypes) > 0 {
		return nil, errors.New("excludedContentTypes and includedContentTypes options are mutually exclusive")
	}
	least := conf.MinResponseBodyBytes
	if least <= 0 {
		least = 1024
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept-Encoding")
		if !slices.Contains(conf.Encodings, "gzip") || !hasToken(r.Header, "Accept-Encoding", "gzip") || r.Method == http.MethodHead || websocket(r) || strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			next.ServeHTTP(w, r)
			return
		}
		out := &gzipWriter{ResponseWriter: w, conf: conf, least: least}
		defer out.finish()
		next.ServeHTTP(out, r)
	}), nil
}

// gzipWriter holds an answer's beginning until it is known whether it is long enough.
type gzipWriter struct {
	http.ResponseWriter
	conf    *compress
	least   int
	status  int
	held    []byte
	decided bool
	z       *gzip.Writer
}

// WriteHeader implements http.ResponseWriter.
func (w *gzipWriter) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if w.status == 0 {
		w.status = status
	}
}

// Write implements http.ResponseWriter.
func (w *gzipWriter) Write(b []byte) (int, error) {
	if !w.decided {
		w.held = append(w.held, b...)
		if len(w.held) >= w.least || !w.wanted() {
			return len(b), w.decide(w.wanted())
		}
		return len(b), nil
	}
	if w.z != nil {
		return w.z.Write(b)
	}
	return w.ResponseWriter.Write(b)
}

// wanted tells whether such an answer is compressed at all.
func (w *gzipWriter) wanted() bool {
	kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
	switch {
	case w.Header().Get("Content-Encoding") != "", slices.Contains(w.conf.ExcludedContentTypes, kind):
		return false
	case len(w.conf.IncludedContentTypes) > 0:
		return slices.Contains(w.conf.IncludedContentTypes, kind)
	}
	return w.status == 0 || w.status >= 200 && w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// decide sends what was held, compressed or as it is.
func (w *gzipWriter) decide(zip bool) error {
	w.decided = true
	if zip {
		w.Header().Del("Content-Length")
		w.Header().Set("Content-Encoding", "gzip")
	}
	if w.status != 0 {
		w.ResponseWriter.WriteHeader(w.status)
	}
	if zip {
		w.z = gzip.NewWriter(w.ResponseWriter)
		_, err := w.z.Write(w.held)
		return err
	}
	_, err := w.ResponseWriter.Write(w.held)
	return err
}

// Flush implements http.Flusher.
func (w *gzipWriter) Flush() {
	if !w.decided {
		_ = w.decide(w.wanted()) // the client may have left
	}
	if w.z != nil {
		_ = w.z.Flush() // the client may have left
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush() // it is flushed at its end
}

// Hijack implements http.Hijacker.
func (w *gzipWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.decided = true
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

func (w *gzipWriter) finish() {
	if !w.decided && (len(w.held) > 0 || w.status != 0) {
		_ = w.decide(false) // the client may have left
	}
	if w.z != nil {
		_ = w.z.Close() // the client may have left
	}
}
