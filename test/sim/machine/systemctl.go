// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"
)

const systemctlSpec = "p: property:=p P: value now q quiet=q no-pager no-block no-legend plain a all=a t: type:=t state: f force=f l full=l " +
	"runtime no-reload no-ask-password system wait n: lines:=n s: signal:=s kill-whom: failed legend: no-warn"

type verb func(p *Process, f flags, names []string) int

var verbs map[string]verb

func init() { // the table refers to functions that refer to it
	verbs = map[string]verb{
		"show": ctlShow, "is-active": ctlIsActive, "is-failed": ctlIsFailed, "is-enabled": ctlIsEnabled, "status": ctlStatus, "cat": ctlCat,
		"start": ctlJobs, "stop": ctlJobs, "restart": ctlJobs, "reload": ctlJobs, "try-restart": ctlJobs, "reload-or-restart": ctlJobs,
		"try-reload-or-restart": ctlJobs, "enable": ctlEnable, "reenable": ctlEnable, "disable": ctlDisable, "mask": ctlMask, "unmask": ctlUnmask,
		"daemon-reload": ctlReload, "reset-failed": ctlReset, "list-units": ctlList, "list-timers": ctlTimers, "list-unit-files": ctlFiles,
		"is-system-running": ctlRunning, "kill": ctlKill,
	}
}

func runSystemctl(_ context.Context, p *Process) int {
	f, ok := p.parse(systemctlSpec)
	if !ok {
		return 1
	}
	if len(f.args) == 0 {
		f.args = []string{"list-units"}
	}
	do := verbs[f.args[0]]
	if do == nil {
		fmt.Fprintf(p.Stderr, "Unknown command verb %s.\n", f.args[0])
		return 1
	}
	offline := map[string]bool{"enable": true, "disable": true, "mask": true, "unmask": true, "is-enabled": true, "is-system-running": true}
	if !p.M.Running() && !offline[f.args[0]] {
		fmt.Fprintf(p.Stderr, "System has not been booted with systemd as init system (PID 1). Can't operate.\nFailed to connect to bus: Host is down\n")
		return 1
	}
	p.Args = append([]string{p.Args[0]}, f.args...) // the verb may stand behind options
	var names []string
	for _, name := range f.args[1:] {
		names = append(names, p.expandUnits(name)...)
	}
	return do(p, f, names)
}

// expandUnits turns a pattern into the names of loaded units.
func (p *Process) expandUnits(name string) []string {
	if !strings.ContainsAny(name, "*?[") {
		if strings.HasPrefix(name, "/") {
			return []string{unitEscape(name) + ".mount"}
		}
		return []string{fullName(name)}
	}
	var out []string
	for _, u := range p.M.sys.sorted() {
		if hit, err := path.Match(name, u.name); err == nil && hit {
			out = append(out, u.name)
		}
	}
	return out
}

func (p *Process) jobFailed(action, name string, err error) int {
	var bad settingError
	switch {
	case errors.Is(err, errNotFound) && action == "stop":
		fmt.Fprintf(p.Stderr, "Failed to stop %s: Unit %s not loaded.\n", name, name)
		return 5
	case errors.Is(err, errNotFound):
		fmt.Fprintf(p.Stderr, "Failed to %s %s: Unit %s not found.\n", action, name, name)
		return 5
	case errors.Is(err, errMasked):
		fmt.Fprintf(p.Stderr, "Failed to %s %s: Unit %s is masked.\n", action, name, name)
	case errors.As(err, &bad):
		fmt.Fprintf(p.Stderr, "Failed to %s %s: Unit %s has a bad unit file setting.\nSee system logs and 'systemctl status %s' for details.\n", action, name, name, name)
	case strings.HasPrefix(err.Error(), "dependency"):
		fmt.Fprintf(p.Stderr, "A dependency job for %s failed. See 'journalctl -xe' for details.\n", name)
	default:
		fmt.Fprintf(p.Stderr, "Job for %s %v.\nSee \"systemctl status %s\" and \"journalctl -xeu %s\" for details.\n", name, err, name, name)
	}
	return 1
}

func ctlJobs(p *Process, f flags, names []string) int {
	exit := 0
	for _, name := range names {
		if p.M.sys.stale(p.M.sys.get(name)) {
			fmt.Fprintf(p.Stderr, "Warning: The unit file, source configuration file or drop-ins of %s changed on disk. Run 'systemctl daemon-reload' to reload units.\n", name)
		}
		if f.has("no-block") {
			verb := f.args[0]
			go p.ctlJob(verb, name)
			continue
		}
		exit = max(exit, p.ctlJob(f.args[0], name))
	}
	return exit
}

// ctlJob does one job; it runs to its end even when systemctl is killed.
func (p *Process) ctlJob(action, name string) int {
	s, ctx := p.M.sys, p.M.alive()
	active := s.isActive(name)
	switch {
	case action == "try-restart" && !active, action == "try-reload-or-restart" && !active:
		return 0
	case action == "reload" || strings.HasSuffix(action, "reload-or-restart") && active && s.canReload(name):
		return p.ctlReloadUnit(name, active)
	case strings.HasSuffix(action, "reload-or-restart"), action == "try-restart":
		action = "restart"
	}
	var err error
	var needy []string
	if action == "stop" || action == "restart" {
		needy = s.stopNeedy(name)
		err = s.stop(name)
	}
	if action == "start" || action == "restart" {
		s.byHand(name)
		err = s.start(ctx, name)
	}
	if action == "restart" {
		for _, other := range needy {
			_ = s.start(ctx, other) // it shows as failed
		}
	}
	if err != nil {
		return p.jobFailed(action, name, err)
	}
	if socket := strings.TrimSuffix(name, ".service") + ".socket"; action == "stop" && s.isActive(socket) && socket != name {
		fmt.Fprintf(p.Stderr, "Warning: Stopping %s, but it can still be activated by:\n  %s\n", name, socket)
	}
	return 0
}

func (p *Process) ctlReloadUnit(name string, active bool) int {
	s := p.M.sys
	switch {
	case s.get(name).def().load == "not-found":
		return p.jobFailed("reload", name, errNotFound)
	case !s.canReload(name):
		fmt.Fprintf(p.Stderr, "Failed to reload %s: Job type reload is not applicable for unit %s.\n", name, name)
		return 1
	case !active:
		fmt.Fprintf(p.Stderr, "%s is not active, cannot reload.\n", name)
		return 1
	}
	if err := s.reloadUnit(p.M.alive(), name); err != nil {
		return p.jobFailed("reload", name, err)
	}
	return 0
}

func (s *manager) isActive(name string) bool { return s.stateOf(name) == "active" }

func (s *manager) stateOf(name string) string {
	u := s.get(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	return u.active
}

func (s *manager) canReload(name string) bool {
	return len(s.get(name).def().file["Service.ExecReload"]) > 0
}

func ctlIsActive(p *Process, f flags, names []string) int {
	exit := 3
	for _, name := range names {
		state := p.M.sys.stateOf(name)
		if state == "active" || state == "reloading" {
			exit = 0
		}
		if !f.has("q") {
			p.Printf("%s\n", state)
		}
	}
	return exit
}

func ctlIsFailed(p *Process, f flags, names []string) int {
	exit := 1
	for _, name := range names {
		state := p.M.sys.stateOf(name)
		if state == "failed" {
			exit = 0
		}
		if !f.has("q") {
			p.Printf("%s\n", state)
		}
	}
	return exit
}

func ctlIsEnabled(p *Process, f flags, names []string) int {
	exit := 1
	for _, name := range names {
		state := p.M.unitState(name)
		switch state {
		case "":
			fmt.Fprintf(p.Stderr, "Failed to get unit file state for %s: No such file or directory\n", name)
			continue
		case "enabled", "static", "alias":
			exit = 0
		}
		if !f.has("q") {
			p.Printf("%s\n", state)
		}
	}
	return exit
}

func ctlEnable(p *Process, f flags, names []string) int {
	exit := 0
	for _, name := range names {
		if f.args[0] == "reenable" {
			_, _ = p.M.sys.disable(name) // it need not be enabled
		}
		made, err := p.M.sys.enable(name)
		for _, link := range made {
			if !f.has("q") {
				fmt.Fprintf(p.Stderr, "Created symlink %s → %s.\n", link[0], link[1])
			}
		}
		switch {
		case errors.Is(err, syscall.ENOENT):
			fmt.Fprintf(p.Stderr, "Failed to enable unit: Unit file %s does not exist.\n", name)
			exit = 1
		case errors.Is(err, errMasked):
			fmt.Fprintf(p.Stderr, "Failed to enable unit: Unit file /etc/systemd/system/%s is masked.\n", name)
			exit = 1
		case err != nil:
			fmt.Fprintf(p.Stderr, "Failed to enable unit: %s\n", reason(err))
			exit = 1
		}
	}
	p.M.sys.reload()
	if exit != 0 || !f.has("now") {
		return exit
	}
	f.args = append([]string{"start"}, names...)
	return ctlJobs(p, f, names)
}

func ctlDisable(p *Process, f flags, names []string) int {
	exit := 0
	for _, name := range names {
		gone, err := p.M.sys.disable(name)
		for _, link := range gone {
			if !f.has("q") {
				fmt.Fprintf(p.Stderr, "Removed %q.\n", link)
			}
		}
		if err != nil {
			fmt.Fprintf(p.Stderr, "Failed to disable unit: Unit file %s does not exist.\n", name)
			exit = 1
		}
	}
	p.M.sys.reload()
	if exit != 0 || !f.has("now") {
		return exit
	}
	f.args = append([]string{"stop"}, names...)
	return ctlJobs(p, f, names)
}

func ctlMask(p *Process, f flags, names []string) int {
	for _, name := range names {
		link := "/etc/systemd/system/" + name
		if info, err := p.M.lstat(link); err == nil {
			if info.Target == "/dev/null" {
				continue
			}
			fmt.Fprintf(p.Stderr, "Failed to mask unit: File %s already exists.\n", link)
			return 1
		}
		if err := p.M.symlink("/dev/null", link); err != nil {
			fmt.Fprintf(p.Stderr, "Failed to mask unit: %s\n", reason(err))
			return 1
		}
		fmt.Fprintf(p.Stderr, "Created symlink %s → /dev/null.\n", link)
	}
	p.M.sys.reload()
	if f.has("now") {
		for _, name := range names {
			_ = p.M.sys.stop(name) // it need not run
		}
	}
	return 0
}

func ctlUnmask(p *Process, _ flags, names []string) int {
	for _, name := range names {
		link := "/etc/systemd/system/" + name
		if info, err := p.M.lstat(link); err == nil && info.Target == "/dev/null" {
			_ = p.M.remove(link) // it was there
			fmt.Fprintf(p.Stderr, "Removed %q.\n", link)
		}
	}
	p.M.sys.reload()
	return 0
}

func ctlReload(p *Process, _ flags, _ []string) int {
	p.M.sys.reload()
	return 0
}

func ctlReset(p *Process, _ flags, names []string) int {
	exit := 0
	if len(names) == 0 {
		for _, u := range p.M.sys.sorted() {
			names = append(names, u.name)
		}
	}
	for _, name := range names {
		u := p.M.sys.get(name)
		if u.def().load == "not-found" && p.M.sys.stateOf(name) != "failed" {
			fmt.Fprintf(p.Stderr, "Failed to reset failed state of unit %s: Unit %s not loaded.\n", name, name)
			exit = 1
			continue
		}
		p.M.sys.set(u, func() {
			if u.active == "failed" {
				u.active, u.sub, u.result = "inactive", "dead", "success"
			}
		})
		p.M.sys.forget(u)
	}
	return exit
}

func ctlKill(p *Process, _ flags, names []string) int {
	for _, name := range names {
		if err := p.M.Crash(name); err != nil {
			fmt.Fprintf(p.Stderr, "Failed to kill unit %s: Unit %s not loaded.\n", name, name)
			return 1
		}
	}
	return 0
}

func ctlRunning(p *Process, _ flags, _ []string) int {
	state := "running"
	if !p.M.Running() {
		state = "offline"
	}
	for _, u := range p.M.sys.sorted() {
		if p.M.sys.stateOf(u.name) == "failed" {
			state = "degraded"
		}
	}
	p.Printf("%s\n", state)
	return bitOf(state != "running")
}
