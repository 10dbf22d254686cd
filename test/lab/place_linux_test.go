// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestPlace goes through the end of a lab: as long as it lives its place is not to be had; when it is dead, what it left
// running is ended and its folder goes.
func TestPlace(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	p, err := newPlace()
	if err != nil {
		t.Fatal(err)
	}
	left := exec.CommandContext(t.Context(), "sleep", "60")
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- left.Wait() }()
	if err := p.record(left.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if err := sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p.dir); err != nil {
		t.Fatalf("the place of a lab that lives was removed: %v", err)
	}
	if err := p.lock.Close(); err != nil { // as the kernel does when the lab is killed
		t.Fatal(err)
	}
	if err := sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p.dir); !os.IsNotExist(err) {
		t.Errorf("the place of a dead lab is still there: %v", err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("what a dead lab left running ended with %v", err)
	}
}

// TestKillSparesOthers proves that a number of a process that meanwhile is another's does no harm.
func TestKillSparesOthers(t *testing.T) {
	other := exec.CommandContext(t.Context(), "sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	p := &place{dir: t.TempDir()}
	if err := p.record(other.Process.Pid); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(p.dir, "state.json")
	text, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	started, err := startOf(other.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(state, []byte(strings.Replace(string(text), `"`+started+`"`, `"1"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.kill(); err != nil {
		t.Fatal(err)
	}
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("another process was ended: %v", err)
	}
}

func TestStartNeedsMain(t *testing.T) {
	if _, err := Start(context.Background(), Options{}); err == nil || !strings.Contains(err.Error(), "lab.Main") {
		t.Errorf("got %v", err)
	}
}

func TestStream(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close(); _ = w.Close() }()
	for _, tc := range []struct {
		reason, script string
		stdin          io.Reader
		exit           int
		out            string
	}{
		{"input, output and status pass", "cat; exit 3", strings.NewReader("text"), 3, "text"},
		{"input that does not end is not waited for", "echo done", struct{ io.Reader }{r}, 0, "done\n"},
		{"output that somebody holds open is not waited for", "(sleep 5; echo late) & echo done", nil, 0, "done\n"},
		{"a signal is a status as in a shell", "kill -9 $$", nil, 137, ""},
	} {
		var out strings.Builder
		exit, err := stream(t.Context(), tc.stdin, &out, &out, nil, "sh", "-c", tc.script)
		if err != nil || exit != tc.exit || out.String() != tc.out {
			t.Errorf("%s: got %d, %v, %q", tc.reason, exit, err, out.String())
		}
	}
}
