// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	// gather is how long a script waits for others to travel with.
	gather = 50 * time.Millisecond
	// A batch that is this big waits for no more.
	fullScripts, fullBytes = 32, 1 << 20
	// scriptPatience bounds a script whose caller sets no other time.
	scriptPatience = 2 * time.Minute
)

// Options of a machine.
type Options struct {
	Clock clock.Clock // nil: the real one
}

// Machine is one Linux machine. Whoever works on it shares one Machine, so
// that scripts which come within 50 ms travel as one. It is safe for
// concurrent use and needs no closing.
type Machine struct {
	runner Runner
	clock  clock.Clock

	mu      sync.Mutex
	open    *batch // takes more scripts; nil when there is none
	folders map[string]*Folder
}

// New returns the machine that a Runner reaches. It makes no connection.
func New(r Runner, o Options) *Machine {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	return &Machine{runner: r, clock: o.Clock}
}

// Script runs a script by sh and returns when it, and those that travel with
// it, have ended. Nothing of it stands in an argument; its own standard input
// is empty. A cut connection does not stop it: it ignores HUP and PIPE. When
// the context ends first it is killed, unless others travel with it.
func (m *Machine) Script(ctx context.Context, script string) (Result, error) {
	return m.carry(ctx, &passenger{script: script, patience: scriptPatience})
}

// passenger is one script of a batch.
type passenger struct {
	script   string
	patience time.Duration
	// reads says that the script changes nothing and may be run again; firm
	// that it must come to its end although its caller has left.
	reads, firm bool

	batch  *batch
	left   bool
	result Result
	err    error
}

// batch is what travels as one script.
type batch struct {
	passengers []*passenger
	size       int
	leave      chan struct{} // closed when there is no room for more
	ended      chan struct{} // closed when every result is there
	ctx        context.Context
	cancel     context.CancelFunc
}

// carry takes a script along and waits for its result.
func (m *Machine) carry(ctx context.Context, p *passenger) (Result, error) {
	if strings.ContainsRune(p.script, 0) {
		return Result{}, errors.New("run script: it holds a NUL byte")
	}
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("run script: %w", markAway(err))
	}
	m.board(p)
	select {
	case <-p.batch.ended:
		return p.result, p.err
	case <-ctx.Done():
		m.leave(p)
		return Result{}, fmt.Errorf("run script: %w", markAway(context.Cause(ctx)))
	}
}

// board finds a script a batch, a new one if there is none with room.
func (m *Machine) board(p *passenger) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.open
	if b == nil {
		b = &batch{leave: make(chan struct{}), ended: make(chan struct{})}
		b.ctx, b.cancel = context.WithCancel(context.Background()) // it is not one caller's
		m.open = b
		go m.travel(b)
	}
	p.batch = b
	b.passengers = append(b.passengers, p)
	b.size += len(p.script)
	if len(b.passengers) >= fullScripts || b.size >= fullBytes {
		close(b.leave)
		m.open = nil
	}
}

// leave gives up a script; a batch that nobody waits for ends.
func (m *Machine) leave(p *passenger) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p.left = true
	for _, other := range p.batch.passengers {
		if other.firm || !other.left {
			return
		}
	}
	p.batch.cancel()
	if m.open == p.batch {
		m.open = nil
	}
}

// travel waits for company, runs the scripts and hands out the results.
func (m *Machine) travel(b *batch) {
	defer b.cancel()
	defer close(b.ended)
	timer := m.clock.NewTimer(gather)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-b.leave:
	case <-b.ctx.Done():
		return
	}
	m.mu.Lock()
	if m.open == b {
		m.open = nil
	}
	m.mu.Unlock()
	m.run(b.ctx, b.passengers)
}

// run runs scripts as one.
func (m *Machine) run(ctx context.Context, passengers []*passenger) {
	var patience time.Duration
	scripts := make([]string, len(passengers))
	for i, p := range passengers {
		scripts[i] = p.script
		patience += p.patience
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	mark := newMark()
	result, err := m.runner.Run(limited, []string{"sh"}, []byte(together(mark, scripts)))
	if errors.Is(err, ErrOutputTooLong) && len(passengers) > 1 {
		m.runApart(ctx, passengers)
		return
	}
	for i, p := range passengers {
		p.result, p.err = Result{}, err
		if err == nil {
			p.result, p.err = apart(mark, i, result)
		}
	}
}

// runApart is for scripts that say too much together: those that only read run
// one by one, what the others did is unknown.
func (m *Machine) runApart(ctx context.Context, passengers []*passenger) {
	for _, p := range passengers {
		if !p.reads {
			p.err = Away(errors.New("run script: what it did is unknown: others that travelled with it said too much"))
			continue
		}
		m.run(ctx, []*passenger{p})
	}
}

// newMark is a word that no script's output can hold: it is made up now.
func newMark() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	return "PHOENIX_" + hex.EncodeToString(id[:])
}

// together renders scripts as one. Each is run by a shell of its own, which
// has read all of it before it begins; after each a line with the mark stands
// in both outputs. The whole is one command, so that a text which arrives in
// part does nothing at all.
func together(mark string, scripts []string) string {
	var s script
	s.line("{")
	s.line("trap '' HUP PIPE")
	s.line("export PATH=%s HOME=/root LC_ALL=C", word(searchPath))
	for i, text := range scripts {
		s.line("sh <<'%s'", mark)
		s.line("{ :")
		s.line("%s", text)
		s.line("} </dev/null")
		s.line("%s", mark)
		s.line("code=$?")
		s.line(`printf '\n%%s %%d %%d\n' %s %d "$code"`, mark, i)
		s.line(`printf '\n%%s %%d %%d\n' %s %d "$code" >&2`, mark, i)
	}
	s.line("exit 0")
	s.line("}")
	return s.String()
}

// apart returns what the script at an index did.
func apart(mark string, index int, all Result) (Result, error) {
	stdout, rest, ok := between(all.Stdout, mark, index)
	code, _, ended := strings.Cut(rest, "\n")
	exit, err := strconv.Atoi(code)
	if ok && ended && err == nil {
		stderr, _, _ := between(all.Stderr, mark, index)
		return Result{Stdout: stdout, Stderr: stderr, ExitCode: exit}, nil
	}
	last := all.Stderr
	if at := bytes.LastIndex(last, []byte(mark)); at >= 0 {
		_, last, _ = bytes.Cut(last[at:], []byte("\n"))
	}
	err = fmt.Errorf("run script: the shell ended before it did (exit code %d): %s", all.ExitCode, tail(string(last), 300))
	if all.ExitCode == 126 || all.ExitCode == 127 { // there was no shell
		return Result{}, err
	}
	return Result{}, Away(err)
}

// between cuts the output of one script out of that of all. The rest is what
// follows its mark and index.
func between(output []byte, mark string, index int) (own []byte, rest string, ok bool) {
	if index > 0 {
		_, after, found := bytes.Cut(output, fmt.Appendf(nil, "\n%s %d ", mark, index-1))
		if !found {
			return nil, "", false
		}
		_, output, _ = bytes.Cut(after, []byte("\n"))
	}
	own, after, found := bytes.Cut(output, fmt.Appendf(nil, "\n%s %d ", mark, index))
	return own, string(after), found
}
