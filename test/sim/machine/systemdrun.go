// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"path"
	"strings"
)

const systemdRunSpec = "u: unit:=u on-active: on-boot: timer-property: G collect=G p: property:=p wait q quiet=q service-type: r remain-after-exit=r " +
	"setenv: E:=setenv description: no-block no-ask-password system P pipe=P slice: working-directory: uid: gid: nice: t pty=t"

// runSystemdRun makes a transient unit, and a timer for it if it is to wait.
func runSystemdRun(ctx context.Context, p *Process) int {
	f, ok := p.parseLeading(systemdRunSpec)
	if !ok {
		return 1
	}
	if !p.M.Running() {
		fmt.Fprintf(p.Stderr, "Failed to connect to bus: Host is down\n")
		return 1
	}
	if len(f.args) == 0 {
		fmt.Fprintf(p.Stderr, "Command line to execute required.\n")
		return 1
	}
	name := f.last("u", "run-r"+randomHex(16))
	for _, suffix := range []string{".service", ".timer"} {
		name = strings.TrimSuffix(name, suffix)
	}
	at := p.executable(f.args[0])
	if at == "" {
		fmt.Fprintf(p.Stderr, "Failed to find executable %s: No such file or directory\n", f.args[0])
		return 1
	}
	f.args[0] = at
	timer := f.has("on-active") || f.has("on-boot")
	kinds := []string{".service"}
	if timer {
		kinds = []string{".timer", ".service"}
	}
	for _, kind := range kinds {
		if p.M.sys.taken(name + kind) {
			fmt.Fprintf(p.Stderr, "Failed to start transient %s unit: Unit %s already exists.\n", strings.TrimPrefix(kinds[0], "."), name+kind)
			return 1
		}
	}
	p.M.sys.transient(name+".service", serviceText(f), f.has("G"))
	if timer {
		return p.runTimer(f, name)
	}
	return p.runTransient(ctx, f, name+".service")
}

// executable finds a program as the manager does.
func (p *Process) executable(name string) string {
	if strings.HasPrefix(name, "/") {
		if p.M.lookup(name) == nil && !p.exists(name) {
			return ""
		}
		return name
	}
	if p.M.lookup(name) != nil {
		return p.M.whereIs(name)
	}
	if at, found := p.findScript(name); found {
		return at
	}
	return ""
}

// taken tells whether systemd holds a unit of a name, or a file of it lies there.
func (s *manager) taken(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.units[name]
	if u != nil && (u.active != "inactive" || u.transient) {
		return true
	}
	fragment, _, _ := s.m.unitText(name)
	return fragment != ""
}

// transient puts a unit there that lives in /run alone.
func (s *manager) transient(name, text string, collect bool) {
	_ = s.m.disk.WriteFile("/run/systemd/transient/"+name, []byte(text), 0o644) // the folder is made at boot
	u := &unit{name: name, active: "inactive", sub: "dead", result: "success", transient: true, collect: collect}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read(u)
	s.units[name] = u
	s.m.countWrite()
}

func quoteUnitWord(word string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(word) + `"`
}

func serviceText(f flags) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[Unit]\nDescription=%s\n[Service]\n", strings.ReplaceAll(f.last("description", strings.Join(f.args, " ")), "\n", " "))
	if kind := f.last("service-type", ""); kind != "" {
		fmt.Fprintf(&b, "Type=%s\n", kind)
	}
	if f.has("r") {
		b.WriteString("RemainAfterExit=yes\n")
	}
	if dir := f.last("working-directory", ""); dir != "" {
		fmt.Fprintf(&b, "WorkingDirectory=%s\n", dir)
	}
	for _, one := range f.set["setenv"] {
		fmt.Fprintf(&b, "Environment=%s\n", quoteUnitWord(one))
	}
	for _, one := range f.set["p"] {
		b.WriteString(one + "\n")
	}
	words := make([]string, len(f.args))
	for i, word := range f.args {
		words[i] = quoteUnitWord(strings.ReplaceAll(word, "\n", "\x01"))
	}
	// A line break cannot stand in a unit file; systemd gets the words over the bus.
	fmt.Fprintf(&b, "ExecStart=%s\n", strings.Join(words, " "))
	return b.String()
}

func (p *Process) runTimer(f flags, name string) int {
	s := p.M.sys
	after := f.last("on-active", f.last("on-boot", ""))
	if _, ok := span(after); !ok {
		fmt.Fprintf(p.Stderr, "Failed to parse timer value: %s\n", after)
		return 1
	}
	s.transient(name+".timer", fmt.Sprintf("[Unit]\nDescription=%s\n[Timer]\nOnActiveSec=%s\nRemainAfterElapse=no\n%s\n",
		path.Base(f.args[0]), after, strings.Join(f.set["timer-property"], "\n")), f.has("G"))
	if err := s.start(p.M.alive(), name+".timer"); err != nil {
		return p.jobFailed("start", name+".timer", err)
	}
	if !f.has("q") {
		fmt.Fprintf(p.Stderr, "Running timer as unit: %s.timer\nWill run service as unit: %s.service\n", name, name)
	}
	return 0
}

// runTransient starts the service and, with --wait, waits for its end.
func (p *Process) runTransient(ctx context.Context, f flags, name string) int {
	s := p.M.sys
	u := s.get(name)
	oneshot := u.def().file.get("Service.Type", "simple") == "oneshot"
	if oneshot && f.has("no-block") {
		go func() { _ = s.start(p.M.alive(), name) }() // it shows in the unit
	} else if err := s.start(p.M.alive(), name); err != nil && !f.has("wait") {
		return p.jobFailed("start", name, err)
	}
	if !f.has("q") {
		fmt.Fprintf(p.Stderr, "Running as unit: %s\n", name)
	}
	if !f.has("wait") {
		return 0
	}
	s.mu.Lock()
	done := u.done
	s.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
		return 137
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !f.has("q") {
		fmt.Fprintf(p.Stderr, "Finished with result: %s\nMain processes terminated with: code=exited/status=%d\n", u.result, u.status)
	}
	return u.status
}
