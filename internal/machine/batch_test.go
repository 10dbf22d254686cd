// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// local runs commands on the computer that runs the test, in a folder of the
// test's own. Only scripts that touch nothing else may come here.
type local struct {
	dir string

	mu     sync.Mutex
	runs   int
	inputs []string
	limit  int // of stdout, like a transport's; 0: none
	broken error
}

func (l *local) Run(ctx context.Context, argv []string, stdin []byte) (Result, error) {
	l.mu.Lock()
	l.runs++
	l.inputs = append(l.inputs, string(stdin))
	broken := l.broken
	l.mu.Unlock()
	if broken != nil {
		return Result{}, broken
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = l.dir, bytes.NewReader(stdin), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		return Result{}, markAway(errors.Join(err, ctx.Err()))
	}
	if l.limit > 0 && out.Len() > l.limit {
		return Result{}, ErrOutputTooLong
	}
	return Result{Stdout: out.Bytes(), Stderr: errs.Bytes(), ExitCode: cmd.ProcessState.ExitCode()}, nil
}

func (l *local) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runs
}

// gathered runs scripts at the same time and lets them travel together.
func gathered(t *testing.T, runner Runner, passengers []*passenger) {
	t.Helper()
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	m := New(runner, Options{Clock: clock})
	var all sync.WaitGroup
	for _, p := range passengers {
		m.board(p)
	}
	for _, p := range passengers {
		all.Go(func() { <-p.batch.ended })
	}
	for !clock.HasWaiters() {
		time.Sleep(time.Millisecond)
	}
	clock.Step(gather)
	all.Wait()
}

func TestScriptsTravelTogether(t *testing.T) {
	big := strings.Repeat("0123456789abcdef\n", 20_000)
	cases := []struct {
		reason, script string
		want           Result
	}{
		{"outputs apart", "echo out; echo err >&2", Result{Stdout: []byte("out\n"), Stderr: []byte("err\n")}},
		{"no line break at the end is none", "printf a; printf b >&2; exit 3", Result{Stdout: []byte("a"), Stderr: []byte("b"), ExitCode: 3}},
		{"nothing at all", "", Result{}},
		{"a syntax error is its own", "if true; then", Result{ExitCode: 2}},
		{"so is a closing brace too many", "echo a; }; exit 9; {", Result{ExitCode: 2}},
		{"an input that is read does not eat the next script", "cat; echo after", Result{Stdout: []byte("after\n")}},
		{"a shell that kills itself", "kill -9 $$", Result{ExitCode: 137}},
		{"exec leaves no trace", "exec printf %s done", Result{Stdout: []byte("done")}},
		{"a lot", "cat <<'X'\n" + big + "X\n", Result{Stdout: []byte(big)}},
		{"what looks like a mark", "printf '\\nPHOENIX_00 3 0\\n'", Result{Stdout: []byte("\nPHOENIX_00 3 0\n")}},
		{"a here-document of the script's own, with every kind of byte", "cat <<'X'\n$(id) `id` Grüße \x81\x88\xff \\ \"'\nX", Result{Stdout: []byte("$(id) `id` Grüße \x81\x88\xff \\ \"'\n")}},
		{"exit inside a function", "f() { exit 7; }; f; echo no", Result{ExitCode: 7}},
		{"variables are its own", "x=1; export PHOENIX_X=1; umask 000", Result{}},
		{"the last one", "echo \"$x$PHOENIX_X$(umask)\"", Result{Stdout: []byte("0022\n")}},
	}
	runner := &local{dir: t.TempDir()}
	passengers := make([]*passenger, len(cases))
	for i, c := range cases {
		passengers[i] = &passenger{script: c.script, patience: time.Minute}
	}
	gathered(t, runner, passengers)
	for i, c := range cases {
		got := passengers[i]
		if got.err != nil || !bytes.Equal(got.result.Stdout, c.want.Stdout) || got.result.ExitCode != c.want.ExitCode {
			t.Errorf("%s: %v, exit code %d, %.200q", c.reason, got.err, got.result.ExitCode, got.result.Stdout)
		}
		if c.want.ExitCode != 2 && c.want.ExitCode != 137 && !bytes.Equal(got.result.Stderr, c.want.Stderr) {
			t.Errorf("%s: stderr %.200q", c.reason, got.result.Stderr)
		}
	}
	if n := runner.count(); n != 1 {
		t.Errorf("%d scripts took %d round trips", len(cases), n)
	}
}

func TestCutScriptDoesNothing(t *testing.T) {
	dir := t.TempDir()
	whole := together("PHOENIX_0", []string{"echo a >a", "echo b >b"})
	for n := range len(whole) - 3 { // without its closing brace
		runner := &local{dir: dir}
		if _, err := runner.Run(t.Context(), []string{"sh"}, []byte(whole[:n])); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "ls", "-A", dir).Output(); err != nil || len(out) > 0 {
		t.Errorf("a part of the scripts was carried out: %s", out)
	}
}

func TestBrokenTransportFailsAll(t *testing.T) {
	broken := Away(errors.New("connection broke"))
	passengers := []*passenger{{script: "echo a", patience: time.Minute}, {script: "echo b", patience: time.Minute, firm: true}}
	gathered(t, &local{dir: t.TempDir(), broken: broken}, passengers)
	for i, p := range passengers {
		if !IsAway(p.err) || !errors.Is(p.err, broken) {
			t.Errorf("script %d: %v", i, p.err)
		}
	}
}

func TestShellThatDiesTellsWhomItLeft(t *testing.T) {
	passengers := []*passenger{{script: "echo a", patience: time.Minute}, {script: "kill -9 $PPID; sleep 1", patience: time.Minute}, {script: "echo c", patience: time.Minute}}
	gathered(t, &local{dir: t.TempDir()}, passengers)
	if p := passengers[0]; p.err != nil || string(p.result.Stdout) != "a\n" {
		t.Errorf("one that had ended: %v", p.err)
	}
	for _, p := range passengers[1:] {
		if !IsAway(p.err) {
			t.Errorf("what others did is unknown: %v", p.err)
		}
	}
}

func TestTooMuchTogether(t *testing.T) {
	passengers := []*passenger{
		{script: "printf %080d 1", patience: time.Minute, reads: true},
		{script: "printf %080d 2", patience: time.Minute, reads: true},
		{script: "echo x >>once; printf %080d 3", patience: time.Minute},
		{script: "printf %0200d 4", patience: time.Minute, reads: true},
	}
	runner := &local{dir: t.TempDir(), limit: 150}
	gathered(t, runner, passengers)
	for i, p := range passengers[:2] {
		if want := fmt.Sprintf("%080d", i+1); p.err != nil || string(p.result.Stdout) != want {
			t.Errorf("a script that only reads is read alone: %v", p.err)
		}
	}
	if err := passengers[2].err; !IsAway(err) {
		t.Errorf("one that may have changed something is not run again: %v", err)
	}
	if err := passengers[3].err; !errors.Is(err, ErrOutputTooLong) {
		t.Errorf("one that says too much by itself: %v", err)
	}
	if n := runner.count(); n != 4 {
		t.Errorf("%d round trips", n)
	}
}

func TestScriptAloneIsOneOfMany(t *testing.T) {
	runner := &local{dir: t.TempDir()}
	m := New(runner, Options{})
	for _, script := range []string{"echo a", "echo b; exit 1"} {
		if _, err := m.Script(t.Context(), script); err != nil {
			t.Error(err)
		}
	}
	if n := runner.count(); n != 2 {
		t.Errorf("%d round trips for two scripts one after the other", n)
	}
	if _, err := m.Script(t.Context(), "echo \x00"); err == nil {
		t.Error("a NUL byte was carried")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Script(ended, "echo"); !errors.Is(err, context.Canceled) || IsAway(err) {
		t.Errorf("a caller who has left: %v", err)
	}
}

// held is a runner whose commands wait.
type held struct {
	began, release chan struct{}
	ended          chan error
}

func (h *held) Run(ctx context.Context, _ []string, _ []byte) (Result, error) {
	close(h.began)
	select {
	case <-h.release:
	case <-ctx.Done():
	}
	h.ended <- ctx.Err()
	return Result{}, errors.New("held")
}

func TestCallerLeaves(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		firm   bool
		killed bool
	}{
		"read":   {"nobody waits for it: it is ended", false, true},
		"change": {"it must come to its end", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := &held{began: make(chan struct{}), release: make(chan struct{}), ended: make(chan error, 1)}
			m := New(h, Options{})
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-h.began
				cancel(context.DeadlineExceeded)
			}()
			_, err := m.carry(ctx, &passenger{script: "x", patience: time.Minute, firm: c.firm})
			if !IsAway(err) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: the caller learns %v", c.reason, err)
			}
			if !c.killed {
				close(h.release)
			}
			if err := <-h.ended; (err != nil) != c.killed {
				t.Errorf("%s: the script ended with %v", c.reason, err)
			}
		})
	}
}

func TestFullBatchLeaves(t *testing.T) {
	runner := &local{dir: t.TempDir()}
	m := New(runner, Options{Clock: clocktesting.NewFakeClock(time.Unix(0, 0))}) // which never gets to 50 ms
	var all sync.WaitGroup
	for range fullScripts {
		all.Go(func() {
			if _, err := m.Script(t.Context(), "echo"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := runner.count(); n != 1 {
		t.Errorf("%d round trips", n)
	}
}
