// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// wireConn is a client's connection. net/http cannot write a reason phrase of
// one's own, so the connection rewrites the status line that passes through.
type wireConn struct {
	net.Conn
	worker int

	mu      sync.Mutex
	reason  string
	trickle time.Duration
}

type wireKey struct{}

// withConn makes the connection known to the handlers of its requests.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, wireKey{}, c)
}

func connOf(r *http.Request) *wireConn {
	c, _ := r.Context().Value(wireKey{}).(*wireConn)
	return c
}

// answer sets the reason phrase of the next status line, and how long each of
// its bytes takes (0: at once).
func (c *wireConn) answer(reason string, trickle time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reason, c.trickle = reason, trickle
}

// Write implements net.Conn.
func (c *wireConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	reason, trickle := c.reason, c.trickle
	c.mu.Unlock()
	out := p
	if end := bytes.IndexByte(p, '\n'); end > 12 && reason != "" && bytes.HasPrefix(p, []byte("HTTP/1.1 ")) && p[9] != '1' {
		out = append([]byte(string(p[:12])+" "+reason+"\r\n"), p[end+1:]...)
		c.mu.Lock()
		c.reason = ""
		c.mu.Unlock()
	}
	if trickle > 0 {
		return len(p), c.slowly(out, trickle)
	}
	if _, err := c.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *wireConn) slowly(out []byte, pause time.Duration) error {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for i := range out {
		<-ticker.C
		if _, err := c.Conn.Write(out[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

// wireListener hands out wireConns, each tied to one of the API workers.
type wireListener struct {
	net.Listener
	workers int

	mu   sync.Mutex
	next int
}

// Accept implements net.Listener.
func (l *wireListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	return &wireConn{Conn: c, worker: l.next % l.workers}, nil
}

// reply is what a request is answered with.
type reply struct {
	status      int
	reason      string
	body        []byte
	contentType string
	trickle     time.Duration
}

func (rep *reply) send(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	now := time.Now().UTC().Format(http.TimeFormat)
	h.Set("Cache-Control", "max-age=0")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", now)
	h.Set("Date", now)
	h.Set("Server", "pve-api-daemon/3.0")
	h.Set("Content-Length", strconv.Itoa(len(rep.body)))
	if rep.contentType != "" {
		h.Set("Content-Type", rep.contentType)
	} else {
		h["Content-Type"] = nil
	}
	if c := connOf(r); c != nil {
		reason := rep.reason
		if reason == "" {
			reason = "OK"
		}
		c.answer(reason, rep.trickle)
	}
	w.WriteHeader(rep.status)
	_, _ = w.Write(rep.body) // a client that went away is not this server's concern
}
