// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// realFolder is a folder on the computer that runs the test, by its own shell
// and programs. Its Check refuses the word bad, and its Refresh notes what it
// finds and refuses the word crash.
type realFolder struct {
	testing.TB
	dir, path string
	f         *Folder
	runner    *grouped
}

// grouped runs scripts in a process group of their own, after the time that a
// round trip takes.
type grouped struct {
	replace *strings.Replacer
	trip    time.Duration

	mu    sync.Mutex
	trips int
}

func (g *grouped) Run(ctx context.Context, argv []string, stdin []byte) (Result, error) {
	g.mu.Lock()
	g.trips++
	g.mu.Unlock()
	if g.trip > 0 {
		time.Sleep(g.trip)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(g.replace.Replace(string(stdin))), &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || cmd.ProcessState.ExitCode() < 0 {
		return Result{}, Away(fmt.Errorf("it was killed: %w", err))
	}
	return Result{Stdout: out.Bytes(), Stderr: errs.Bytes(), ExitCode: cmd.ProcessState.ExitCode()}, nil
}

func newRealFolder(t testing.TB, trip time.Duration) *realFolder {
	t.Helper()
	dir := t.TempDir()
	r := &realFolder{TB: t, dir: dir, path: dir + "/routes"}
	for _, name := range []string{"bin", "routes", "run"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	r.program("check", "! grep -H bad "+r.path+"/* 2>/dev/null")
	r.program("refresh", "cat "+r.path+"/* >"+dir+"/heard 2>/dev/null; ! grep crash "+dir+"/heard")
	r.runner = &grouped{trip: trip, replace: strings.NewReplacer("/run/phoenix-", dir+"/run/phoenix-", "PATH="+searchPath, "PATH="+dir+"/bin:"+os.Getenv("PATH"))}
	r.f = New(r.runner, Options{}).Folder(FolderOptions{
		Path: r.path, Owner: fmt.Sprint(os.Getuid()), Group: fmt.Sprint(os.Getgid()), Mode: 0o640, Check: []string{"check"}, Refresh: []string{"refresh"},
	})
	return r
}

// program makes a program of a script.
func (r *realFolder) program(name, script string) {
	r.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, "bin", name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		r.Fatal(err)
	}
}

// is holds the folder to what is in it, whoever heard of it to the same, and a
// look to both.
func (r *realFolder) is(reason string, want map[string]string) {
	r.Helper()
	var got, wanted, heard []string
	entries, err := os.ReadDir(r.path)
	if err != nil {
		r.Fatal(err)
	}
	r.f.mu.Lock()
	r.f.lookAt = time.Time{}
	r.f.mu.Unlock()
	look, err := r.f.Look(r.Context())
	if err != nil || len(look.Files) != len(entries) {
		r.Errorf("%s: a look finds %d files of %d: %v", reason, len(look.Files), len(entries), err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(r.path, e.Name()))
		info, infoErr := e.Info()
		if err != nil || infoErr != nil || info.Mode() != 0o640 || look.Files[e.Name()] != fullHash(text) {
			r.Errorf("%s: %s: %v, %v, mode %v, a look says %q", reason, e.Name(), err, infoErr, info.Mode(), look.Files[e.Name()])
		}
		got = append(got, e.Name()+" "+string(text))
		heard = append(heard, string(text))
	}
	for _, name := range sorted(keys(want)) {
		wanted = append(wanted, name+" "+want[name])
	}
	if fmt.Sprint(got) != fmt.Sprint(wanted) {
		r.Errorf("%s: it holds %q, want %q", reason, got, wanted)
	}
	if told, err := os.ReadFile(r.dir + "/heard"); string(told) != strings.Join(heard, "") {
		r.Errorf("%s: heard was %q: %v", reason, told, err)
	}
	left, _ := filepath.Glob(r.dir + "/.*phoenix*") // the pattern is a good one
	locks, _ := filepath.Glob(r.dir + "/run/*")
	if len(left)+len(locks) > 0 {
		r.Errorf("%s: left behind: %v %v", reason, left, locks)
	}
}

func keys(m map[string]string) []string {
	var list []string
	for key := range m {
		list = append(list, key)
	}
	return list
}

func TestFolderRealShell(t *testing.T) {
	r := newRealFolder(t, 0)
	odd := "it's $(odd) `x` \\n \\\\ %s \" \t# =\n\n"
	bytes := make([]byte, 256)
	for i := range bytes {
		bytes[i] = byte(i)
	}
	put := func(prefix, text string, keep bool) func() error {
		return func() error { return r.f.Put(t.Context(), prefix, Entry{prefix + ".x": []byte(text)}, keep) }
	}
	restore := func() error {
		found, err := r.f.Restore(t.Context(), "b")
		if err == nil && !found {
			err = errors.New("nothing is kept")
		}
		return err
	}
	for _, s := range []struct {
		reason string
		do     func() error
		want   map[string]string
		fails  any
	}{
		{"new", put("a", odd, false), map[string]string{"a.x": odd}, nil},
		{"every byte", put("b", string(bytes), false), map[string]string{"a.x": odd, "b.x": string(bytes)}, nil},
		{"nothing at all in it", put("a", "", false), map[string]string{"a.x": "", "b.x": string(bytes)}, nil},
		{"refused", put("a", "bad", false), map[string]string{"a.x": "", "b.x": string(bytes)}, new(*RefusedError)},
		{"not refreshed", put("a", "crash", false), map[string]string{"a.x": "", "b.x": string(bytes)}, new(*RefreshError)},
		{"kept", put("b", "two", true), map[string]string{"a.x": "", "b.x": "two"}, nil},
		{"the same again", put("b", "two", true), map[string]string{"a.x": "", "b.x": "two"}, nil},
		{"gone", func() error { return r.f.Put(t.Context(), "a", nil, false) }, map[string]string{"b.x": "two"}, nil},
		{"back", restore, map[string]string{"b.x": string(bytes)}, nil},
		{"all gone", func() error { return r.f.Put(t.Context(), "b", nil, false) }, nil, nil},
	} {
		err := s.do()
		if s.fails == nil && err != nil || s.fails != nil && !errors.As(err, s.fails) {
			t.Errorf("%s: %v", s.reason, err)
		}
		r.is(s.reason, s.want)
	}
	if left, err := os.ReadDir(r.dir + "/previous"); err != nil || len(left) != 0 {
		t.Errorf("kept for nobody: %v, %v", left, err)
	}
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	var missing *MissingError
	if err := put("a", "x", false)(); !errors.As(err, &missing) {
		t.Errorf("no folder: %v", err)
	}
}

// TestFolderRealGroups has fifty come at once, one of them refused.
func TestFolderRealGroups(t *testing.T) {
	r := newRealFolder(t, 20*time.Millisecond)
	want := map[string]string{}
	var all sync.WaitGroup
	for i := range 50 {
		prefix, text := fmt.Sprintf("r%02d", i), fmt.Sprintf("value %d\n", i)
		if i == 31 {
			text = "bad\n"
		} else {
			want[prefix+".x"] = text
		}
		all.Go(func() {
			err := r.f.Put(t.Context(), prefix, Entry{prefix + ".x": []byte(text)}, false)
			var refused *RefusedError
			if i != 31 && err != nil || i == 31 && (!errors.As(err, &refused) || refused.Before || refused.Output != r.path+"/r31.x:bad") {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	all.Wait()
	if r.runner.trips > 3 {
		t.Errorf("it took %d round trips", r.runner.trips)
	}
	r.is("all others are there", want)
}

// TestFolderRealKill kills all of a commit as it starts each of its programs,
// and before or after that has done its work. Whoever comes next finds all of
// the old or all of the new, and what was kept with it.
func TestFolderRealKill(t *testing.T) {
	// One that is refused differs from the other only in its second half.
	for value, first := range map[string]int{"two\n": 1, "bad\n": 13} {
		t.Run(strings.TrimSpace(value), func(t *testing.T) {
			for n := first; ; n++ {
				if !killReal(t, n, value) {
					if n < 18 {
						t.Errorf("killed at %d places only", n)
					}
					return
				}
			}
		})
	}
}

// killReal kills a commit of a value at the n-th of its programs. It returns
// whether there was one.
func killReal(t *testing.T, n int, value string) bool {
	t.Helper()
	both := func(prefix, value string) Entry {
		return Entry{prefix + ".x": []byte(value), prefix + ".y": []byte(value)}
	}
	r := newRealFolder(t, 0)
	for _, name := range []string{"a.x", "a.y", "b.x", "b.y"} {
		if err := errors.Join(os.WriteFile(r.path+"/"+name, []byte("one\n"), 0o600), os.Chmod(r.path+"/"+name, 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	when := []string{"before", "after"}[n%2]
	asBefore := r.deadly(n, when)
	err := r.f.Put(t.Context(), "a", both("a", value), true)
	asBefore()
	if _, statErr := os.Stat(r.dir + "/killed"); statErr != nil {
		var refused *RefusedError
		if err != nil && !errors.As(err, &refused) {
			t.Error(err)
		}
		return false
	}
	if !IsAway(err) {
		t.Fatalf("killed %s program %d: %v", when, n, err)
	}
	for _, file := range []string{"a.x", "a.y"} {
		if got, err := os.ReadFile(r.path + "/" + file); err != nil || string(got) != "one\n" && string(got) != value {
			t.Fatalf("killed %s program %d: %s holds %q: %v", when, n, file, got, err)
		}
	}
	if err := r.f.Put(t.Context(), "b", both("b", "two\n"), false); err != nil {
		t.Fatalf("killed %s program %d: %v", when, n, err)
	}
	got, _ := os.ReadFile(r.path + "/a.x") // it was there before
	kept, _ := os.ReadFile(r.dir + "/previous/a.y")
	if string(got) == "bad\n" || string(got) == "two\n" && string(kept) != "one\n" {
		t.Errorf("killed %s program %d: in the end it is %q, and kept is %q", when, n, got, kept)
	}
	stale, _ := filepath.Glob(r.dir + "/run/*.*")
	for _, lock := range stale { // one that it did not come to take
		_ = os.RemoveAll(lock)
	}
	r.is(fmt.Sprintf("killed %s program %d", when, n), map[string]string{"a.x": string(got), "a.y": string(got), "b.x": "two\n", "b.y": "two\n"})
	return true
}

// deadly has the n-th program that a script starts kill all of it, before or
// after it did its work, until all is as before.
func (r *realFolder) deadly(n int, when string) (asBefore func()) {
	r.Helper()
	remove, err := exec.LookPath("rm")
	if err := errors.Join(err, os.WriteFile(r.dir+"/count", []byte("1\n"), 0o600)); err != nil {
		r.Fatal(err)
	}
	own := r.dir + "/bin"
	deadly := r.dir + "/deadly"
	if err := os.Mkdir(deadly, 0o700); err != nil {
		r.Fatal(err)
	}
	for _, name := range []string{"mkdir", "mv", "cp", "rm", "chown", "chmod", "cmp", "stat", "sort", "check", "refresh"} {
		at, err := exec.LookPath(name)
		if err != nil {
			at = own + "/" + name
		}
		each := `step %[3]s "$@"`
		if name == "rm" { // it may be killed between two of those that it takes away, and half way through a folder
			each = `for at; do case $at in -*) ;; */.routes.phoenix-new) half=$at/old; step %[3]s -rf "$at" ;; *) step %[3]s -rf "$at" ;; esac; done`
		}
		r.program("../deadly/"+name, fmt.Sprintf(`step() {
	read -r count <%[1]s/count
	echo "$((count + 1))" >%[1]s/count
	if [ "$count" -ne %[2]d ]; then
		"$@"
		return
	fi
	[ -z "$half" ] || %[4]s -rf "$half"
	[ %[5]s = before ] || "$@"
	: >%[1]s/killed
	# timeout is in a group of its own: the one that has the lock goes, too.
	for claim in %[1]s/run/phoenix-*/*-*; do
		claim=${claim##*/}
		[ ! -d "/proc/${claim%%-*}" ] || kill -9 "-$(cut -d ' ' -f 5 "/proc/${claim%%-*}/stat")"
	done
	kill -9 0
}
`+each, r.dir, n, at, remove, when))
	}
	usual := r.runner.replace
	r.runner.replace = strings.NewReplacer("/run/phoenix-", r.dir+"/run/phoenix-", "PATH="+searchPath, "PATH="+deadly+":"+own+":"+os.Getenv("PATH"))
	return func() { r.runner.replace = usual }
}

// BenchmarkFolder puts five hundred entries of 1 KiB, 32 at a time, where a
// round trip takes 30 ms, with a Check and a Refresh.
func BenchmarkFolder(b *testing.B) {
	before := used(b)
	for b.Loop() {
		b.StopTimer()
		r := newRealFolder(b, 30*time.Millisecond)
		content := bytes.Repeat([]byte("0123456789abcde\n"), 64)
		b.StartTimer()
		work := make(chan int)
		var all sync.WaitGroup
		for range 32 {
			all.Go(func() {
				for i := range work {
					prefix := fmt.Sprintf("r%03d", i)
					if err := r.f.Put(b.Context(), prefix, Entry{prefix + ".yml": content}, true); err != nil {
						b.Error(err)
					}
				}
			})
		}
		for i := range 500 {
			work <- i
		}
		close(work)
		all.Wait()
		b.ReportMetric(float64(r.runner.trips), "trips/op")
	}
	b.ReportMetric((used(b)-before).Seconds()/float64(b.N), "machine-cpu-s/op")
}

// used is the time that the machine's programs took of the processors.
func used(b *testing.B) time.Duration {
	b.Helper()
	var all syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &all); err != nil {
		b.Fatal(err)
	}
	return time.Duration(all.Utime.Nano() + all.Stime.Nano())
}
