// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// inFlight is how much a connection holds that its other end has not read yet.
const inFlight = 64 << 10

// socket is a port that a program listens on.
type socket struct {
	calls chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newSocket() *socket { return &socket{calls: make(chan net.Conn), done: make(chan struct{})} }

// dial connects to the program, as soon as it accepts.
func (s *socket) dial(ctx context.Context, from, to netip.AddrPort) (net.Conn, error) {
	here, there := newHose(), newHose()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.done:
		return nil, net.ErrClosed
	case s.calls <- &wire{in: there, out: here, local: to, remote: from}:
		return &wire{in: here, out: there, local: from, remote: to}, nil
	}
}

// Accept implements net.Listener.
func (s *socket) Accept() (net.Conn, error) {
	select {
	case <-s.done:
		return nil, net.ErrClosed
	case c := <-s.calls:
		return c, nil
	}
}

// Close implements net.Listener.
func (s *socket) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

// Addr implements net.Listener.
func (s *socket) Addr() net.Addr { return &net.TCPAddr{} }

// wire is one end of a connection.
type wire struct {
	in, out       *hose
	local, remote netip.AddrPort
}

// Read implements net.Conn.
func (w *wire) Read(b []byte) (int, error) { return w.in.read(b) }

// Write implements net.Conn.
func (w *wire) Write(b []byte) (int, error) { return w.out.write(b) }

// Close implements net.Conn: what the other end has not read yet, it still can.
func (w *wire) Close() error {
	w.in.drop()
	w.out.end()
	return nil
}

// LocalAddr implements net.Conn.
func (w *wire) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(w.local) }

// RemoteAddr implements net.Conn.
func (w *wire) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(w.remote) }

// SetDeadline implements net.Conn.
func (w *wire) SetDeadline(at time.Time) error {
	w.in.limit(&w.in.reading, at)
	w.out.limit(&w.out.writing, at)
	return nil
}

// SetReadDeadline implements net.Conn.
func (w *wire) SetReadDeadline(at time.Time) error {
	w.in.limit(&w.in.reading, at)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (w *wire) SetWriteDeadline(at time.Time) error {
	w.out.limit(&w.out.writing, at)
	return nil
}

// hose is one direction of a connection.
type hose struct {
	mu      sync.Mutex
	changed sync.Cond
	data    []byte
	ended   bool // nobody writes any more
	dropped bool // nobody reads any more

	reading, writing deadline
}

// deadline is a time after which nobody waits any longer.
type deadline struct {
	timer *time.Timer // of the present one; nil: there is none, or it is over
	over  bool
}

func newHose() *hose {
	h := &hose{}
	h.changed.L = &h.mu
	return h
}

// limit sets a deadline. A timer of an earlier one counts for nothing.
func (h *hose) limit(d *deadline, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d.over = !at.IsZero() && time.Until(at) <= 0
	h.forget(d)
	if d.over || at.IsZero() {
		return
	}
	var own *time.Timer
	own = time.AfterFunc(time.Until(at), func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if d.timer == own {
			d.timer, d.over = nil, true
			h.changed.Broadcast()
		}
	})
	d.timer = own
}

func (h *hose) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.dropped:
			return 0, net.ErrClosed
		case h.reading.over:
			return 0, os.ErrDeadlineExceeded
		case len(h.data) > 0 || len(b) == 0:
			n := copy(b, h.data)
			h.data = h.data[n:]
			h.changed.Broadcast()
			return n, nil
		case h.ended:
			return 0, io.EOF
		}
		h.changed.Wait()
	}
}

func (h *hose) write(b []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch room := inFlight - len(h.data); {
		case h.ended:
			return n, net.ErrClosed
		case h.dropped:
			return n, io.ErrClosedPipe
		case h.writing.over:
			return n, os.ErrDeadlineExceeded
		case len(b) == 0:
			return n, nil
		case room > 0:
			taken := min(room, len(b))
			h.data, b, n = append(h.data, b[:taken]...), b[taken:], n+taken
			h.changed.Broadcast()
			continue
		}
		h.changed.Wait()
	}
}

// end says that nobody writes any more.
func (h *hose) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	h.forget(&h.writing)
}

// drop says that nobody reads any more.
func (h *hose) drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropped, h.data = true, nil
	h.forget(&h.reading)
}

// forget ends the wait for a deadline, and wakes who waits. The caller holds the lock.
func (h *hose) forget(d *deadline) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	h.changed.Broadcast()
}
