// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
)

var (
	errMasked   = errors.New("is masked")
	errNotFound = errors.New("not found")
	errJob      = errors.New("failed because the control process exited with error code")
)

// settingError says that a unit has a bad setting.
type settingError struct{ why string }

// Error implements error.
func (e settingError) Error() string { return e.why }

// set changes a unit's state under the lock.
func (s *manager) set(u *unit, do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := u.active
	do()
	now := s.m.now()
	if before != u.active {
		u.changed = now
		if u.active == "active" {
			u.entered = now
		}
	}
}

// start starts a unit and waits until it is up, or has run when it is oneshot.
func (s *manager) start(ctx context.Context, name string) error {
	u := s.get(name)
	u.job.Lock()
	defer u.job.Unlock()
	s.mu.Lock()
	load, why, active, sub := u.def().load, u.def().why, u.active, u.sub
	s.mu.Unlock()
	switch {
	case load == "masked":
		return errMasked
	case load == "not-found":
		return errNotFound
	case load != "loaded":
		return settingError{why}
	case active == "active" || active == "activating" && sub != subAgain:
		return nil
	}
	if err := s.startOthers(ctx, u); err != nil {
		return err
	}
	s.m.countWrite()
	s.set(u, func() {
		u.invocation, u.result, u.code, u.status, u.pid = randomHex(16), "success", 0, 0, 0
		u.active, u.sub = "activating", "start"
		u.started, u.finished, u.due = s.m.now(), time.Time{}, time.Time{}
		u.starts = append(u.starts, u.started)
		u.done = make(chan struct{})
	})
	s.log(u.name, "Starting "+u.description()+"...")
	switch path.Ext(u.name) {
	case ".mount":
		return s.startMount(u)
	case ".timer":
		return s.startTimer(u)
	case ".service":
		return s.startService(u)
	}
	s.set(u, func() {
		u.active, u.sub = "active", map[bool]string{true: "listening", false: "active"}[path.Ext(u.name) == ".socket"]
	})
	return nil
}

// startOthers starts what a unit requires and wants.
func (s *manager) startOthers(ctx context.Context, u *unit) error {
	for _, needed := range s.needs(u) {
		if err := s.start(ctx, needed); err != nil {
			s.log(u.name, "Dependency failed for "+u.description()+".")
			return fmt.Errorf("dependency: %w", err)
		}
	}
	for _, wanted := range u.def().file.words("Unit.Wants") {
		_ = s.start(ctx, wanted) // what is wanted may be missing
	}
	return nil
}

func (u *unit) description() string {
	return u.name + " - " + u.def().file.get("Unit.Description", u.name)
}

// startService runs a service's commands.
func (s *manager) startService(u *unit) error {
	live, cancel := context.WithCancel(s.m.alive())
	s.set(u, func() { u.cancel = cancel })
	for _, line := range u.def().file["Service.ExecStartPre"] {
		if exit := s.command(live, u, line); exit != 0 {
			return s.fail(u, exit, "start-pre")
		}
	}
	commands := u.def().file["Service.ExecStart"]
	if u.def().file.get("Service.Type", "simple") == "oneshot" {
		return s.oneshot(live, u, commands)
	}
	argv := s.argv(u, strings.TrimLeft(commands[0], "-@:+!"))
	p := s.process(live, u, argv)
	exit := s.confine(u, p)
	if exit == 0 {
		exit = s.executes(u, p)
	}
	if exit != 0 {
		return s.broke(u, exit)
	}
	if run := s.m.daemonFor(argv); run != nil {
		return s.startDaemon(live, u, p, run)
	}
	s.set(u, func() { u.active, u.sub, u.pid = "active", "running", p.pid })
	s.log(u.name, "Started "+u.description()+".")
	go func() { s.ended(u, p.Exec(argv)) }()
	return nil
}

func (s *manager) startDaemon(ctx context.Context, u *unit, p *Process, run daemonProgram) error {
	var d daemon
	exit, struck := s.m.faults.strike(ctx, strings.Join(p.Args, " "), p.Stderr)
	if !struck {
		d, exit = run(p)
	}
	if exit != 0 {
		return s.broke(u, exit)
	}
	s.set(u, func() { u.active, u.sub, u.daemon, u.pid = "active", "running", d, p.pid })
	s.log(u.name, "Started "+u.description()+".")
	return s.post(ctx, u)
}

// broke is what becomes of a unit whose main process ended at once. Of a simple
// service systemd has said before that it started: who starts it learns nothing.
// It is started again and again where Restart= says so, until systemd has enough
// of it, which here it has at once.
func (s *manager) broke(u *unit, exit int) error {
	if u.def().file.get("Service.Type", "simple") != "simple" {
		return s.fail(u, exit, "start")
	}
	s.log(u.name, "Started "+u.description()+".")
	_ = s.fail(u, exit, "main") // it shows in the unit
	switch u.def().file.get("Service.Restart", "no") {
	case "always", "on-failure":
		s.log(u.name, u.name+": Start request repeated too quickly.")
		s.log(u.name, "Failed to start "+u.description()+".")
	}
	return nil
}

func (s *manager) post(ctx context.Context, u *unit) error {
	for _, line := range u.def().file["Service.ExecStartPost"] {
		if exit := s.command(ctx, u, line); exit != 0 {
			return s.fail(u, exit, "start-post")
		}
	}
	return nil
}

// oneshot runs commands to their end.
func (s *manager) oneshot(ctx context.Context, u *unit, commands []string) error {
	for _, line := range commands {
		if exit := s.command(ctx, u, line); exit != 0 {
			return s.fail(u, exit, "start")
		}
	}
	s.log(u.name, "Finished "+u.description()+".")
	s.set(u, func() {
		u.active, u.sub, u.code, u.finished = "inactive", "dead", 1, s.m.now()
		if u.def().file.remains() {
			u.active, u.sub = "active", "exited"
		}
	})
	s.forget(u)
	s.over(u)
	return s.post(ctx, u)
}

// ended notes that a service's main process is over.
func (s *manager) ended(u *unit, exit int) {
	s.mu.Lock()
	stopped := u.active == "deactivating" || s.units[u.name] != u
	remains := exit == 0 && u.def().file.remains()
	s.mu.Unlock()
	if !stopped && s.again(u, exit) {
		return
	}
	if exit != 0 && !stopped {
		_ = s.fail(u, exit, "main") // it shows in the unit
		return
	}
	s.set(u, func() {
		u.active, u.sub, u.code, u.status, u.finished = "inactive", "dead", 1, exit, s.m.now()
		if remains {
			u.active, u.sub = "active", "exited"
		}
		if stopped {
			u.code, u.status = 2, 15
		}
	})
	s.log(u.name, u.name+": Deactivated successfully.")
	s.forget(u)
	s.over(u)
}

// over tells who waits that the main process has ended, and all is settled.
func (s *manager) over(u *unit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-u.done:
	default:
		close(u.done)
	}
}

// fail puts a unit into the state failed.
func (s *manager) fail(u *unit, exit int, phase string) error {
	if s.stopping(u) {
		return errJob
	}
	what := "Control"
	if phase == "start" || phase == "main" {
		what = "Main"
	}
	result, code := "exit-code", 1
	if exit > 128 && stepNames[exit] == "" {
		result, code, exit = "signal", 2, exit-128
	}
	s.log(u.name, fmt.Sprintf("%s: %s process exited, code=exited, status=%s", u.name, what, statusName(exit)))
	s.log(u.name, fmt.Sprintf("%s: Failed with result '%s'.", u.name, result))
	s.set(u, func() {
		u.active, u.sub, u.result, u.code, u.status, u.daemon, u.finished = "failed", "failed", result, code, exit, nil, s.m.now()
	})
	if phase != "main" {
		s.log(u.name, "Failed to start "+u.description()+".")
	}
	s.forget(u)
	s.over(u)
	return errJob
}

// stopping settles a unit whose job ended because it is to stop.
func (s *manager) stopping(u *unit) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.active != "deactivating" {
		return false
	}
	u.active, u.sub, u.code, u.status, u.finished = "inactive", "dead", 2, 15, s.m.now()
	select {
	case <-u.done:
	default:
		close(u.done)
	}
	return true
}

// forget lets systemd drop a transient unit that is over; a failed one only
// when it is to be collected.
func (s *manager) forget(u *unit) {
	s.mu.Lock()
	over := u.transient && (u.active == "inactive" || u.active == "failed" && u.collect) && s.units[u.name] == u
	if over {
		delete(s.units, u.name)
	}
	s.mu.Unlock()
	if over {
		_ = s.m.disk.Remove("/run/systemd/transient/" + u.name) // it was written with the unit
	}
}

// stop stops a unit.
func (s *manager) stop(name string) error {
	u := s.get(name)
	s.mu.Lock()
	cancel, done, active := u.cancel, u.done, u.active
	if active == "inactive" {
		load := u.def().load
		s.mu.Unlock()
		if load == "not-found" {
			return errNotFound
		}
		return nil
	}
	if u.sub == subAgain {
		u.active, u.sub, u.due = "inactive", "dead", time.Time{}
		s.mu.Unlock()
		return nil
	}
	if u.daemon == nil && u.sub != "exited" && active != "failed" {
		u.active, u.sub = "deactivating", "stop-sigterm"
	}
	s.mu.Unlock()
	s.m.countWrite()
	if active == "activating" && cancel != nil {
		cancel() // its job ends with that
	}
	u.job.Lock()
	defer u.job.Unlock()
	switch path.Ext(u.name) {
	case ".mount":
		return s.stopMount(u)
	case ".service":
		s.stopService(u, cancel, done)
		return nil
	}
	s.set(u, func() { u.active, u.sub, u.due = "inactive", "dead", time.Time{} })
	s.forget(u)
	return nil
}

func (s *manager) stopService(u *unit, cancel context.CancelFunc, done chan struct{}) {
	for _, line := range u.def().file["Service.ExecStop"] {
		s.command(s.m.alive(), u, line)
	}
	s.mu.Lock()
	d, running := u.daemon, u.active == "deactivating"
	s.mu.Unlock()
	if d != nil {
		d.stop()
	}
	if cancel != nil {
		cancel()
	}
	if running && done != nil {
		<-done
	}
	for _, line := range u.def().file["Service.ExecStopPost"] {
		s.command(s.m.alive(), u, line)
	}
	s.set(u, func() {
		if u.active != "failed" {
			u.active, u.sub = "inactive", "dead"
		}
		u.daemon = nil
	})
	s.log(u.name, "Stopped "+u.description()+".")
	s.forget(u)
}

// reloadUnit makes a service read its configuration again.
func (s *manager) reloadUnit(ctx context.Context, name string) error {
	u := s.get(name)
	u.job.Lock()
	defer u.job.Unlock()
	s.m.countWrite()
	for _, line := range u.def().file["Service.ExecReload"] {
		if strings.Contains(line, "kill -HUP") || strings.Contains(line, "kill -s HUP") {
			s.mu.Lock()
			d := u.daemon
			s.mu.Unlock()
			if d != nil {
				if err := d.reload(); err != nil {
					s.log(u.name, err.Error())
				}
			}
			continue
		}
		if exit := s.command(ctx, u, line); exit != 0 {
			s.log(u.name, fmt.Sprintf("%s: Control process exited, code=exited, status=%d/FAILURE", u.name, exit))
			s.log(u.name, "Reload failed for "+u.description()+".")
			return errJob
		}
	}
	s.log(u.name, "Reloaded "+u.description()+".")
	return nil
}

// command runs one command of a unit; a failure of one that begins with - does
// not count.
func (s *manager) command(ctx context.Context, u *unit, line string) int {
	flags := line[:len(line)-len(strings.TrimLeft(line, "-@:+!"))]
	argv := s.argv(u, line[len(flags):])
	exit := s.process(ctx, u, argv).Exec(argv)
	if strings.Contains(flags, "-") {
		return 0
	}
	return exit
}

func (s *manager) argv(u *unit, line string) []string {
	env := s.environment(u)
	var argv []string
	for _, word := range splitCommand(line) {
		if name, whole := strings.CutPrefix(word, "$"); whole && variable.MatchString(name) {
			argv = append(argv, strings.Fields(valueOf(env, name))...) // as many words as it has, even none
			continue
		}
		argv = append(argv, expandWord(word, env))
	}
	if len(argv) > 0 && argv[0] != "" && strings.HasPrefix(argv[0], "/") {
		if at, err := s.m.resolve(argv[0], true); err == nil {
			argv[0] = at
		}
	}
	return argv
}

// expandWord puts variables in their places: ${NAME}. \x01 stands for the line break that a unit file cannot hold.
func expandWord(word string, env []string) string {
	var b strings.Builder
	for i := 0; i < len(word); i++ {
		rest := word[i:]
		switch {
		case strings.HasPrefix(rest, "$$"), strings.HasPrefix(rest, "%%"):
			b.WriteByte(word[i])
			i++
		case strings.HasPrefix(rest, "${") && strings.IndexByte(rest, '}') > 0:
			end := strings.IndexByte(rest, '}')
			for _, entry := range env {
				if name, value, _ := strings.Cut(entry, "="); name == rest[2:end] {
					b.WriteString(value)
				}
			}
			i += end
		case word[i] == 1:
			b.WriteByte('\n')
		default:
			b.WriteByte(word[i])
		}
	}
	return b.String()
}

func (s *manager) environment(u *unit) []string {
	var out []string
	for _, line := range u.def().file["Service.Environment"] {
		out = append(out, splitCommand(line)...)
	}
	for _, name := range u.def().file["Service.EnvironmentFile"] {
		text, err := s.m.readFile(strings.TrimPrefix(name, "-"))
		if err != nil {
			continue
		}
		for _, line := range lines(text) {
			if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
				out = append(out, key+"="+strings.Trim(value, `"'`))
			}
		}
	}
	return out
}

// process is a process of a unit: its output goes to the journal.
func (s *manager) process(ctx context.Context, u *unit, argv []string) *Process {
	out := &journalWriter{s: s, unit: u.name}
	if len(argv) > 0 {
		out.tag = path.Base(argv[0])
	}
	p := s.m.newProcess(ctx, argv, nil, out, out)
	p.Env = append([]string{"PATH=" + searchPath, "LANG=C.UTF-8", "INVOCATION_ID=" + u.invocation}, s.environment(u)...)
	p.Dir = u.def().file.get("Service.WorkingDirectory", "/")
	out.pid = p.pid
	return p
}
