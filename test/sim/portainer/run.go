// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
)

// transcript is a log that may be written while it is read.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(b)
}

// String is what was written.
func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// Run makes a container and starts it. wait waits until it has ended for good,
// and gives its exit code: a container that its policy starts again has not.
func (m *Memory) Run(ctx context.Context, s Spec) (id string, wait func(context.Context) (int, error), err error) {
	if err := ctx.Err(); err != nil {
		return "", nil, err
	}
	id, err = m.Create(s)
	if err != nil {
		return "", nil, err
	}
	m.mu.Lock()
	l := m.containers[id]
	m.mu.Unlock()
	if err := m.Start(id); err != nil {
		if s.AutoRemove {
			_ = m.Remove(id, true, true) // it never ran, and nobody else knows it
		}
		return id, nil, err
	}
	return id, func(ctx context.Context) (int, error) { return m.wait(ctx, l) }, nil
}

// Wait waits until a container has ended for good, and gives its exit code.
func (m *Memory) Wait(ctx context.Context, ref string) (int, error) {
	m.mu.Lock()
	l, err := m.find(ref)
	m.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return m.wait(ctx, l)
}

func (m *Memory) wait(ctx context.Context, l *live) (int, error) {
	for {
		m.mu.Lock()
		state, code, ended := l.State, l.ExitCode, l.ended
		m.mu.Unlock()
		if state == stateExited || state == stateCreated {
			return code, nil
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Start starts a container; one that runs stays as it is.
func (m *Memory) Start(ref string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := m.find(ref)
	if err != nil {
		return err
	}
	if l.State == stateRunning {
		return nil
	}
	l.byHand = false
	return m.start(l)
}

// start starts a container that does not run. The caller holds the lock.
func (m *Memory) start(l *live) error {
	if err := m.publish(l); err != nil {
		l.Error = err.Error()
		return err
	}
	if kindOf(l.Image) == "broken" && m.program(l.Image) == nil {
		m.unpublish(l)
		file := strings.Join(append(l.Entrypoint, l.Command...), " ")
		if file == "" {
			file = "/broken"
		}
		l.ExitCode = 127
		l.Error = fmt.Sprintf("failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: %q: stat %s: no such file or directory: unknown", file, file)
		return badRequest("%s", l.Error)
	}
	l.State, l.Started, l.Finished, l.ExitCode, l.Error, l.Health = stateRunning, m.opts.Clock(), time.Time{}, 0, "", ""
	l.ended = make(chan struct{})
	if l.Healthcheck {
		l.Health = healthy
		if kindOf(l.Image) == "sick" {
			l.Health = unhealthy
		}
	}
	m.begin(l)
	return nil
}

// begin lets a container's program run. The caller holds the lock.
func (m *Memory) begin(l *live) {
	program := m.program(l.Image)
	if program == nil {
		switch kindOf(l.Image) {
		case "crash":
			m.finish(l, 1)
			m.follow(l, false)
		case "job":
			m.finish(l, 0)
			m.follow(l, false)
		}
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	process, ended := Process{Container: l.copied(), Stdout: &l.log, Stderr: &l.log}, l.ended
	go func() {
		defer cancel()
		code := program(ctx, process)
		m.mu.Lock()
		defer m.mu.Unlock()
		if l.ended != ended || l.State != stateRunning {
			return // it was given up before
		}
		m.finish(l, code)
		m.follow(l, true)
	}()
}

// program is what the containers of an image run; nil: nothing but a name.
func (m *Memory) program(image string) Program {
	if m.opts.Program == nil {
		return nil
	}
	return m.opts.Program(image)
}

// kindOf is the last part of an image's name.
func kindOf(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return ""
	}
	return path.Base(reference.Path(named))
}

// finish notes that a run is over. The caller holds the lock.
func (m *Memory) finish(l *live, code int) {
	l.State, l.ExitCode, l.Finished, l.Health, l.cancel = stateExited, code, m.opts.Clock(), "", nil
	m.unpublish(l)
	close(l.ended)
}

// endNow ends a run, and gives what waits until its program is gone, up to the
// usual time. The caller holds the lock; wait is called without it.
func (m *Memory) endNow(l *live, code int) (wait func()) {
	if l.State == stateRestarting {
		l.giveUp()
		return func() {}
	}
	cancel := l.cancel
	if cancel == nil {
		m.finish(l, code)
		return func() {}
	}
	ended := l.ended
	policy := l.byHand
	l.byHand = true
	cancel()
	return func() {
		timer := time.NewTimer(stopTime)
		defer timer.Stop()
		select {
		case <-ended:
		case <-timer.C:
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if l.ended == ended && l.State == stateRunning {
			m.finish(l, code)
		}
		l.byHand = policy
	}
}

// Stop ends a container's program: it is asked, and given up after the time of
// grace, 0 for ten seconds.
func (m *Memory) Stop(ctx context.Context, ref string, grace time.Duration) error {
	if grace == 0 {
		grace = stopTime
	}
	return m.end(ctx, ref, grace, 143)
}

// Kill ends a container's program at once.
func (m *Memory) Kill(ctx context.Context, ref string) error {
	m.mu.Lock()
	l, err := m.find(ref)
	running := err == nil && l.State == stateRunning
	m.mu.Unlock()
	if err != nil {
		return err
	}
	if !running {
		return conflict("Cannot kill container: %s: Container %s is not running", ref, l.ID)
	}
	return m.end(ctx, ref, 0, 137)
}

// Restart is Stop and Start.
func (m *Memory) Restart(ctx context.Context, ref string, grace time.Duration) error {
	if err := m.Stop(ctx, ref, grace); err != nil {
		return err
	}
	return m.Start(ref)
}

func (m *Memory) end(ctx context.Context, ref string, grace time.Duration, code int) error {
	m.mu.Lock()
	l, err := m.find(ref)
	if err != nil {
		m.mu.Unlock()
		return err
	}
	l.byHand = true
	if l.State == stateRestarting {
		l.giveUp()
	}
	if l.State != stateRunning {
		m.mu.Unlock()
		return nil
	}
	cancel, ended := l.cancel, l.ended
	if cancel == nil {
		m.finish(l, code)
		m.follow(l, false)
		m.mu.Unlock()
		return nil
	}
	m.mu.Unlock()
	cancel()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	case <-timer.C:
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.ended == ended && l.State == stateRunning {
		m.finish(l, 137)
		m.follow(l, false)
	}
	return nil
}

// follow does what comes after a run: removal, or what the policy says. again says that a new run may
// last longer than no time at all. The caller holds the lock.
func (m *Memory) follow(l *live, again bool) {
	if l.State != stateExited || m.containers[l.ID] != l {
		return
	}
	if l.AutoRemove {
		m.remove(l, true)
		return
	}
	if l.byHand || m.off || !l.restarts() {
		return
	}
	l.Restarts++
	l.State, l.ended = stateRestarting, make(chan struct{})
	if !again {
		return
	}
	ended := l.ended
	time.AfterFunc(100*time.Millisecond<<min(l.Restarts-1, 9), func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if l.State != stateRestarting || l.ended != ended {
			return
		}
		l.giveUp()
		_ = m.start(l) // the error stands in the container
	})
}

// giveUp ends the wait for a restart. The caller holds the lock.
func (l *live) giveUp() {
	l.State = stateExited
	close(l.ended)
}

// restarts says whether the policy starts a container again that has ended.
func (l *live) restarts() bool {
	policy, count, _ := strings.Cut(l.Restart, ":")
	switch policy {
	case "always", "unless-stopped":
		return true
	case "on-failure":
		most, err := strconv.Atoi(count)
		return l.ExitCode != 0 && (err != nil || most == 0 || l.Restarts < most)
	}
	return false
}

// Halt ends the engine: it answers nothing any more. Its containers end with it,
// unless live says that they outlive it.
func (m *Memory) Halt(live bool) {
	m.mu.Lock()
	m.off = true
	var waits []func()
	for _, l := range m.containers {
		if l.State != stateRunning && l.State != stateRestarting || live {
			continue
		}
		l.outlive = true
		waits = append(waits, m.endNow(l, 143))
	}
	m.mu.Unlock()
	for _, wait := range waits {
		wait()
	}
}

// Boot starts the engine again: containers that ran start if their policy says
// so, and those that were to be removed are gone.
func (m *Memory) Boot() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.off {
		return
	}
	m.off = false
	for _, l := range m.ordered() {
		ran := l.outlive
		l.outlive = false
		switch {
		case l.AutoRemove && l.State == stateExited:
			m.remove(l, true)
		case ran && !l.byHand && l.restarts(), strings.HasPrefix(l.Restart, "always") && l.State == stateExited:
			_ = m.start(l) // the error stands in the container
		}
	}
}

// publish takes a container's ports. The caller holds the lock.
func (m *Memory) publish(l *live) error {
	for i := range l.Ports {
		p := &l.Ports[i]
		if p.Protocol == "" {
			p.Protocol = "tcp"
		}
		if p.Published == 0 {
			p.Published = m.freePort(p.Protocol)
		}
		if err := m.publishOne(l, *p); err != nil {
			m.unpublish(l)
			return err
		}
	}
	return nil
}

func (m *Memory) publishOne(l *live, p Port) error {
	address := p.Address
	if address == "" {
		address = "0.0.0.0"
	}
	if m.taken(l, p) {
		return &EngineError{http.StatusInternalServerError, fmt.Sprintf("driver failed programming external connectivity on endpoint %s (%s): Bind for %s:%d failed: port is already allocated", l.Name, l.ID, address, p.Published)}
	}
	if m.opts.Bind == nil {
		return nil
	}
	release, err := m.opts.Bind(l.copied(), p)
	if err != nil {
		return &EngineError{http.StatusInternalServerError, fmt.Sprintf("driver failed programming external connectivity on endpoint %s (%s): Error starting userland proxy: %v", l.Name, l.ID, err)}
	}
	l.release = append(l.release, release)
	return nil
}

// taken says whether another running container has a port. The caller holds the lock.
func (m *Memory) taken(l *live, p Port) bool {
	for _, other := range m.containers {
		if other == l || other.State != stateRunning {
			continue
		}
		for _, q := range other.Ports {
			if q.Published == p.Published && q.Protocol == p.Protocol && (q.Address == p.Address || q.Address == "" || p.Address == "") {
				return true
			}
		}
	}
	return false
}

// freePort is one that no container has. The caller holds the lock.
func (m *Memory) freePort(protocol string) int {
	for port := 49153; ; port++ {
		if !m.taken(nil, Port{Published: port, Protocol: protocol}) {
			return port
		}
	}
}

func (m *Memory) unpublish(l *live) {
	for _, release := range l.release {
		release()
	}
	l.release = nil
}
