// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// script returns a source that writes a shell script, which ends with the given code, for every wanted binary.
func script(code int, calls *atomic.Int32) source {
	return func(_ context.Context, want []binary, dir string) error {
		calls.Add(1)
		for _, b := range want {
			text := fmt.Sprintf("#!/bin/sh\necho %s\nexit %d\n", b.name, code)
			if err := os.WriteFile(filepath.Join(dir, b.name), []byte(text), 0o755); err != nil {
				return err
			}
		}
		return nil
	}
}

func refuse(context.Context, []binary, string) error {
	return errors.New("reach the downloads: no route")
}

func TestProvide(t *testing.T) {
	both := []binary{etcd, kubeAPIServer}
	var unused atomic.Int32
	cases := []struct {
		reason string
		have   []string
		from   []source
		err    string
		says   string
	}{
		{reason: "the first source that works is taken", from: []source{script(0, &unused), refuse}, says: "etcd, kube-apiserver ready"},
		{reason: "the next source follows one that fails, and the failure is told", from: []source{refuse, script(0, &unused)}, says: "no route"},
		{reason: "a binary that does not start is not taken", from: []source{script(3, &unused)}, err: "try etcd: exit status 3"},
		{reason: "every failure is in the error", from: []source{refuse, script(3, &unused)}, err: "no route"},
		{reason: "only what is missing is obtained", have: []string{"etcd"}, from: []source{script(0, &unused)}, says: "controlplane: kube-apiserver ready"},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			var out bytes.Buffer
			s := store{dir: filepath.Join(t.TempDir(), "deep", "v1"), out: &out}
			for _, name := range c.have {
				write(t, filepath.Join(s.dir, name), "kept", 0o755)
			}
			err := s.provide(t.Context(), both, c.from)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				if got := missing(s.dir, both); len(got) != 2 {
					t.Errorf("the store holds something after a failure: only %v missing", got)
				}
			} else if err != nil || len(missing(s.dir, both)) > 0 {
				t.Fatalf("error %v, missing %v", err, missing(s.dir, both))
			}
			if !strings.Contains(out.String(), c.says) {
				t.Errorf("said %q, want %q", out.String(), c.says)
			}
			for _, name := range c.have {
				if text, _ := os.ReadFile(filepath.Join(s.dir, name)); string(text) != "kept" {
					t.Errorf("%s was replaced", name)
				}
			}
			if left, _ := filepath.Glob(s.dir + ".tmp-*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestProvideIsSilentWhenFull(t *testing.T) {
	var out bytes.Buffer
	var calls atomic.Int32
	s := store{dir: filepath.Join(t.TempDir(), "v1"), out: &out}
	from := []source{script(0, &calls)}
	for range 2 {
		if err := s.provide(t.Context(), []binary{etcd}, from); err != nil {
			t.Fatal(err)
		}
	}
	if calls.Load() != 1 {
		t.Errorf("source was asked %d times, want once", calls.Load())
	}
	said := out.Len()
	if err := s.provide(t.Context(), []binary{etcd}, from); err != nil || out.Len() != said {
		t.Errorf("error %v; said %q", err, out.String()[said:])
	}
}

func TestProvideOnceForManyRuns(t *testing.T) {
	var calls atomic.Int32
	dir := filepath.Join(t.TempDir(), "v1")
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			var out bytes.Buffer
			s := store{dir: dir, out: &out}
			if err := s.provide(t.Context(), []binary{etcd, kubeAPIServer}, []source{script(0, &calls)}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if calls.Load() != 1 {
		t.Errorf("source was asked %d times, want once", calls.Load())
	}
}

func TestProvideInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	var calls atomic.Int32
	s := store{dir: filepath.Join(t.TempDir(), "v1"), out: &out}
	cut := func(_ context.Context, _ []binary, dir string) error {
		write(t, filepath.Join(dir, "etcd"), "half", 0o755)
		cancel()
		return errors.New("signal: interrupt")
	}
	err := s.provide(ctx, []binary{etcd}, []source{cut, script(0, &calls)})
	if !errors.Is(err, context.Canceled) || calls.Load() != 0 {
		t.Errorf("error %v after %d further sources, want an interruption and none", err, calls.Load())
	}
	if entries, _ := filepath.Glob(s.dir + "*"); len(entries) != 1 || entries[0] != s.dir+".lock" {
		t.Errorf("left behind: %v", entries)
	}
}

func TestProvideSweepsAfterKill(t *testing.T) {
	var out bytes.Buffer
	var calls atomic.Int32
	s := store{dir: filepath.Join(t.TempDir(), "v1"), out: &out}
	write(t, filepath.Join(s.dir+".tmp-123", "etcd"), "half", 0o755)
	if err := s.provide(t.Context(), []binary{etcd}, []source{script(0, &calls)}); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(s.dir + ".tmp-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestLockHonoursContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path, func() { t.Error("the first lock waits") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := lock(ctx, path, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want a cancelled wait", err)
	}
	unlock()
	unlock, err = lock(t.Context(), path, func() {})
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestMissing(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "etcd"), "x", 0o644)
	if err := os.Mkdir(filepath.Join(dir, "kube-apiserver"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "kubectl"), "x", 0o755)
	got := names(missing(dir, []binary{etcd, kubeAPIServer, kubectlBinary}))
	if got != "etcd, kube-apiserver" {
		t.Errorf("missing %q: a file that cannot run and a directory are no binaries", got)
	}
}

func TestMeterLine(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	cases := []struct {
		reason      string
		done, total int
		want        string
	}{
		{"an unknown total is not divided by", 7, 0, "controlplane: compiled: 7, 1m30s"},
		{"part of the way", 50, 200, "controlplane: compiled 50 of 200 packages (25 %), 1m30s"},
		{"after the last package the linker works on", 200, 200, "controlplane: compiled 200 of 200 packages, linking, 1m30s"},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			m := meter{verb: "compiled", total: c.total, start: start, done: c.done}
			if got := m.line(start.Add(90 * time.Second)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
