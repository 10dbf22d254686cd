// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pair are the two ends of a connection.
func pair(t *testing.T) (caller, lab *net.UnixConn) {
	t.Helper()
	address := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "socket"), Net: "unix"}
	l, err := net.ListenUnix("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if caller, err = net.DialUnix("unix", nil, address); err != nil {
		t.Fatal(err)
	}
	if lab, err = l.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = caller.Close(), lab.Close() })
	return caller, lab
}

// TestCall proves that the receiver holds the caller's own files.
func TestCall(t *testing.T) {
	caller, lab := pair(t)
	path := filepath.Join(t.TempDir(), "output")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	sent := Call{Args: []string{"pct", "set", "101", strings.Repeat("long ", 50000)}, Env: []string{"A=b"}, Files: [3]*os.File{os.Stdin, out, os.Stderr}}
	done := make(chan error, 1)
	go func() { done <- Send(caller, sent) }()
	got, err := Receive(lab)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{sent.Args, sent.Env}, [][]string{got.Args, got.Env}); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, err := got.Files[1].WriteString("through"); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "through" {
		t.Errorf("the caller's output is %q (%v)", text, err)
	}
	for _, f := range got.Files {
		_ = f.Close()
	}
}

func TestReceiveRefuses(t *testing.T) {
	for _, tc := range []struct {
		reason string
		send   func(c *net.UnixConn)
	}{
		{"nothing comes", func(c *net.UnixConn) { _ = c.Close() }},
		{"no files come", func(c *net.UnixConn) { _, _ = c.Write([]byte{0, 0, 0, 2, '{', '}'}) }},
		{"the message is cut short", func(c *net.UnixConn) { _, _ = c.Write([]byte{0}); _ = c.Close() }},
	} {
		caller, lab := pair(t)
		tc.send(caller)
		if call, err := Receive(lab); err == nil {
			t.Errorf("%s: got %+v", tc.reason, call)
		}
	}
}
