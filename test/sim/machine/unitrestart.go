// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// subAgain is the state of a service that waits to be started again.
const subAgain = "auto-restart"

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// valueOf is a variable of an environment; "" when there is none.
func valueOf(env []string, name string) string {
	for _, entry := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// again lets a service whose main process ended by itself wait for its next
// start, where Restart= says so and it was not started too often before.
func (s *manager) again(u *unit, exit int) bool {
	file := u.def().file
	if !file.restarts(exit) || !s.m.Running() {
		return false
	}
	if s.tooOften(u) {
		_ = s.fail(u, exit, "main") // it shows in the unit
		s.log(u.name, u.name+": Start request repeated too quickly.")
		s.log(u.name, "Failed to start "+u.description()+".")
		return true
	}
	pause, ok := span(file.get("Service.RestartSec", "100ms"))
	if !ok {
		pause = 100 * time.Millisecond
	}
	if exit != 0 {
		s.log(u.name, fmt.Sprintf("%s: Main process exited, code=exited, status=%s", u.name, statusName(exit)))
	}
	if !file.success(exit) {
		s.log(u.name, u.name+": Failed with result 'exit-code'.")
	}
	s.set(u, func() {
		u.active, u.sub, u.result, u.code, u.status, u.finished = "activating", subAgain, "success", 1, exit, s.m.now()
		if exit != 0 && !file.success(exit) {
			u.result = "exit-code"
		}
		u.due = u.finished.Add(pause)
	})
	s.over(u)
	s.arm()
	return true
}

// restarts tells whether a service is started again after its main process ended
// with a status.
func (f unitFile) restarts(exit int) bool {
	switch f.get("Service.Restart", "no") {
	case "always":
		return true
	case "on-success":
		return f.success(exit)
	case "on-failure":
		return !f.success(exit)
	case "on-abnormal", "on-abort":
		return exit > 128 && stepNames[exit] == ""
	}
	return false
}

// success tells whether a status is as good as 0.
func (f unitFile) success(exit int) bool {
	return exit == 0 || slices.Contains(f.words("Service.SuccessExitStatus"), strconv.Itoa(exit))
}

// tooOften tells whether a service was started more often than StartLimitBurst=
// allows.
func (s *manager) tooOften(u *unit) bool {
	get := func(fallback string, keys ...string) string {
		for _, key := range keys { // older units have them among those of the service
			fallback = u.def().file.get("Service."+key, u.def().file.get("Unit."+key, fallback))
		}
		return fallback
	}
	interval, ok := span(get("10s", "StartLimitInterval", "StartLimitIntervalSec"))
	if !ok || interval == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	since := s.m.now().Add(-interval)
	u.starts = slices.DeleteFunc(u.starts, func(at time.Time) bool { return at.Before(since) })
	return len(u.starts) >= atoi(get("5", "StartLimitBurst"))
}

// startAgain starts a service that has waited for it.
func (s *manager) startAgain(u *unit) {
	s.mu.Lock()
	due := u.sub == subAgain && s.units[u.name] == u
	if due {
		u.restarts++
	}
	count := u.restarts
	s.mu.Unlock()
	if !due || !s.m.Running() {
		return
	}
	s.log(u.name, fmt.Sprintf("%s: Scheduled restart job, restart counter is at %d.", u.name, count))
	_ = s.start(s.m.alive(), u.name) // it shows as failed
}

// byHand forgets how often a service was started by itself.
func (s *manager) byHand(name string) {
	u := s.get(name)
	s.set(u, func() { u.restarts, u.starts = 0, nil })
}

// needs are the units without which a unit does not run: those that it requires,
// and the mounts of the folders that it wants.
func (s *manager) needs(u *unit) []string {
	file := u.def().file
	out := append(file.words("Unit.Requires"), file.words("Unit.BindsTo")...)
	for _, folder := range file.words("Unit.RequiresMountsFor") {
		for dir := path.Clean(folder); dir != "/" && path.IsAbs(dir); dir = path.Dir(dir) {
			if name := unitEscape(dir) + ".mount"; s.m.unitState(name) != "" && name != u.name {
				out = append(out, name)
			}
		}
	}
	return out
}

// stopNeedy stops the units that cannot do without one that is to stop, and tells
// which they were: the last one stopped is to be started first.
func (s *manager) stopNeedy(name string) []string {
	name = s.get(name).name
	var out []string
	for _, u := range s.sorted() {
		s.mu.Lock()
		runs := u.active == "active" || u.active == "activating"
		s.mu.Unlock()
		if !runs || u.name == name || path.Ext(u.name) == ".target" || !slices.Contains(s.needs(u), name) {
			continue
		}
		further := s.stopNeedy(u.name)
		_ = s.stop(u.name) // it ran a moment ago
		out = append(append(out, u.name), further...)
	}
	return out
}
