// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

// line is a connection to a program of a machine, with the program's end.
func line(t *testing.T) (here, there net.Conn) {
	t.Helper()
	m := booted(t, machine.Options{Addresses: []netip.Addr{addr("10.0.0.10")}})
	l, err := m.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- c
		}
	}()
	if here, err = m.Dial(t.Context(), 80); err != nil {
		t.Fatal(err)
	}
	there = <-accepted
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	return here, there
}

func TestWireCarries(t *testing.T) {
	here, there := line(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // more than it holds
	go func() {
		_, _ = here.Write(sent)
		_ = here.Close()
	}()
	got, err := io.ReadAll(there)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes arrived, %v", len(got), len(sent), err)
	}
	if _, err := there.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("written to who has gone: %v", err)
	}
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read from what is closed: %v", err)
	}
	if a, b := there.LocalAddr().String(), here.RemoteAddr().String(); a != "10.0.0.10:80" || a != b || there.RemoteAddr().String() != here.LocalAddr().String() {
		t.Errorf("the ends are %s, %s and %s, %s", there.LocalAddr(), there.RemoteAddr(), here.LocalAddr(), here.RemoteAddr())
	}
}

func TestWireDeadlines(t *testing.T) {
	here, there := line(t)
	b := make([]byte, 1)
	for range 2000 { // a deadline that is taken back must not come back, however late its timer is
		if err := errors.Join(here.SetReadDeadline(time.Unix(1, 0)), here.SetReadDeadline(time.Now()), here.SetReadDeadline(time.Now().Add(time.Microsecond)), here.SetReadDeadline(time.Time{})); err != nil {
			t.Fatal(err)
		}
		if _, err := there.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := here.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	for reason, at := range map[string]time.Time{"long ago": time.Unix(1, 0), "soon": time.Now().Add(20 * time.Millisecond)} {
		if err := here.SetReadDeadline(at); err != nil {
			t.Fatal(err)
		}
		if _, err := here.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", reason, err)
		}
	}
	if err := here.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := here.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 {
		t.Errorf("a write that nobody reads: %d, %v", n, err)
	}
}
