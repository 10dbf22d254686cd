// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
)

// guest is a VM's guest agent: what it runs, it runs on a simulated machine.
type guest struct {
	w        *world
	programs [][]string
	inputs   []string
	ended    map[int]AgentStatus
	polls    int // before a program has ended
	fail     string
	lost     bool // forgets how programs ended
}

func (g *guest) AgentExec(ctx context.Context, command []string, input []byte) (int, error) {
	g.programs, g.inputs = append(g.programs, command), append(g.inputs, string(input))
	if len(input) > 64<<10 || bytes.ContainsFunc(input, func(r rune) bool { return r >= 0x80 }) {
		return 0, errors.New("input-data: not what the API takes")
	}
	if g.fail != "" && strings.Contains(strings.Join(command, " "), g.fail) {
		return 0, Away(errors.New("guest agent is not running"))
	}
	var out, errs bytes.Buffer
	exit := g.w.sim.Run(ctx, command, bytes.NewReader(input), &out, &errs)
	pid := len(g.programs)
	g.ended[pid] = AgentStatus{Exited: true, ExitCode: exit, Stdout: out.Bytes(), Stderr: errs.Bytes()}
	return pid, nil
}

func (g *guest) AgentExecStatus(_ context.Context, pid int) (AgentStatus, error) {
	status, ok := g.ended[pid]
	if !ok || g.lost {
		return AgentStatus{}, errors.New("PID ld does not exist")
	}
	if g.polls > 0 {
		g.polls--
		return AgentStatus{}, nil
	}
	delete(g.ended, pid)
	return status, nil
}

func newGuest(t *testing.T) *guest {
	t.Helper()
	return &guest{w: newWorld(t), ended: map[int]AgentStatus{}}
}

func TestOverAgent(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	cases := map[string]struct {
		reason string
		argv   []string
		stdin  []byte
		want   Result
		execs  int
	}{
		"short":     {"the input travels along", []string{"cat"}, []byte("hello\n"), Result{Stdout: []byte("hello\n")}, 1},
		"exit code": {"is data", []string{"sh", "-c", "echo no >&2; exit 3"}, nil, Result{Stderr: []byte("no\n"), ExitCode: 3}, 1},
		"not ASCII": {"goes in base64", []string{"cat"}, []byte("Grüße \x00\xff"), Result{Stdout: []byte("Grüße \x00\xff")}, 2},
		"long":      {"goes in pieces", []string{"cat"}, long, Result{Stdout: long}, 5},
		"arguments": {"stay as they are, behind the file, too", []string{"printf", "%s|", "a b", "$HOME", "it's"}, []byte("ü"), Result{Stdout: []byte("a b|$HOME|it's|")}, 2},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t)
			g.polls = 3
			got, err := OverAgent(g, instant{}).Run(t.Context(), c.argv, c.stdin)
			if err != nil || !bytes.Equal(got.Stdout, c.want.Stdout) || !bytes.Equal(got.Stderr, c.want.Stderr) || got.ExitCode != c.want.ExitCode {
				t.Fatalf("%s: %v, exit code %d, %d bytes, %q", c.reason, err, got.ExitCode, len(got.Stdout), got.Stderr)
			}
			if len(g.programs) != c.execs {
				t.Errorf("%s: took %d programs: %.300q", c.reason, len(g.programs), g.programs)
			}
			if left := g.w.sh("ls -A /run | grep phoenix"); left != "" {
				t.Errorf("%s: left behind: %s", c.reason, left)
			}
		})
	}
}

func TestOverAgentFails(t *testing.T) {
	secret := bytes.Repeat([]byte("hünter2"), 10_000)
	cases := map[string]struct {
		reason string
		fault  func(*guest)
		away   bool
	}{
		"absent": {"nothing ran", func(g *guest) { g.fail = "cat" }, true},
		"reaped": {"how it ended is lost", func(g *guest) { g.lost = true }, true},
		"full":   {"the input does not get there", func(g *guest) { g.w.sim.Fail("base64 *", 1, 1, "No space left on device") }, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t)
			c.fault(g)
			_, err := OverAgent(g, instant{}).Run(t.Context(), []string{"cat"}, secret)
			if err == nil || IsAway(err) != c.away || strings.Contains(err.Error(), "nter2") {
				t.Errorf("%s: %v", c.reason, err)
			}
			if left := g.w.sh("ls -A /run | grep phoenix"); left != "" {
				t.Errorf("%s: the input stays there: %s", c.reason, left)
			}
			for _, argv := range g.programs {
				if strings.Contains(strings.Join(argv, " "), "nter2") {
					t.Errorf("%s: the input stands in an argument", c.reason)
				}
			}
		})
	}
	g := newGuest(t)
	g.polls = 1 << 30
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(context.DeadlineExceeded)
	if _, err := OverAgent(g, nil).Run(ctx, []string{"true"}, nil); !IsAway(err) {
		t.Errorf("a program that goes on when the time is over: %v", err)
	}
	for _, s := range []AgentStatus{{Truncated: true}, {Stdout: make([]byte, maxOutput+1)}} {
		if _, err := s.result(); !errors.Is(err, ErrOutputTooLong) {
			t.Errorf("an output that is not whole: %v", err)
		}
	}
	if r, err := (AgentStatus{Signal: 9}).result(); err != nil || r.ExitCode != 137 {
		t.Errorf("a signal: %+v, %v", r, err)
	}
}

// TestStateOverAgent holds a VM in a state, with no other way in.
func TestStateOverAgent(t *testing.T) {
	g := newGuest(t)
	w := g.w
	w.m = New(OverAgent(g, instant{}), Options{Clock: instant{}})
	w.converge(service("one"))
	w.isAsWanted("over the guest agent")
	writes := w.sim.Writes()
	if more, err := w.pass(service("one"), w.planner(service("one"))); more || err != nil || w.sim.Writes() != writes {
		t.Errorf("a second pass: %v", err)
	}
	w.clear()
}
