// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"
)

// journalLimit bounds the journal: the older half goes when it is full.
const journalLimit = 20_000

type journalEntry struct {
	at         time.Time
	unit, tag  string
	invocation string
	pid        int64
	text       string
}

// log writes a line of systemd's own about a unit.
func (s *manager) log(unit, text string) { s.write(unit, "systemd", 1, text) }

func (s *manager) write(unit, tag string, pid int64, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.journal) >= journalLimit {
		s.journal = append([]journalEntry(nil), s.journal[journalLimit/2:]...)
	}
	e := journalEntry{at: s.m.now(), unit: unit, tag: tag, pid: pid, text: text}
	if u := s.units[unit]; u != nil {
		e.invocation = u.invocation
	}
	s.journal = append(s.journal, e)
}

// Journal is what a unit wrote, and systemd about it.
func (m *Machine) Journal(unit string) []string {
	var out []string
	for _, e := range m.sys.entries(fullName(unit), "") {
		out = append(out, e.text)
	}
	return out
}

func (s *manager) entries(unit, invocation string) []journalEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []journalEntry
	for _, e := range s.journal {
		if (unit == "" || e.unit == unit) && (invocation == "" || e.invocation == invocation) {
			out = append(out, e)
		}
	}
	return out
}

// journalWriter takes what a unit's processes print.
type journalWriter struct {
	s         *manager
	unit, tag string
	pid       int64

	mu   sync.Mutex
	rest string
}

// Write implements io.Writer.
func (w *journalWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := w.rest + string(b)
	for {
		line, rest, whole := strings.Cut(text, "\n")
		if !whole {
			w.rest = text
			return len(b), nil
		}
		w.s.write(w.unit, w.tag, w.pid, line)
		text = rest
	}
}

func runJournalctl(_ context.Context, p *Process) int {
	f, ok := p.parse("u: unit:=u n: lines:=n o: output:=o no-pager q quiet=q b: S: since:=S U: until:=U t: identifier:=t p: e x r reverse=r no-hostname k a")
	if !ok {
		return 1
	}
	unit, invocation := "", ""
	if name := f.last("u", ""); name != "" {
		unit = fullName(name)
	}
	for _, match := range f.args {
		if id, ok := strings.CutPrefix(match, "_SYSTEMD_INVOCATION_ID="); ok {
			invocation = id
		}
		if id, ok := strings.CutPrefix(match, "INVOCATION_ID="); ok {
			invocation = id
		}
	}
	rows := p.M.sys.entries(unit, invocation)
	if since := f.last("S", ""); since != "" {
		rows = sinceTime(rows, since, p.M.now())
	}
	if n := f.last("n", ""); n != "" && n != "all" {
		rows = rows[max(len(rows)-atoi(n), 0):]
	}
	if len(rows) == 0 && !f.has("q") {
		p.Printf("-- No entries --\n")
	}
	for _, e := range rows {
		if f.last("o", "short") == "cat" {
			p.Printf("%s\n", e.text)
			continue
		}
		p.Printf("%s %s %s[%d]: %s\n", e.at.UTC().Format("Jan 02 15:04:05"), p.M.Hostname(), e.tag, e.pid, e.text)
	}
	return 0
}

func sinceTime(rows []journalEntry, text string, now time.Time) []journalEntry {
	at, err := parseTime(text, now)
	if ago, ok := strings.CutPrefix(text, "-"); ok {
		d, _ := span(ago) // what cannot be read is now
		at = now.Add(-d)
	} else if err != nil {
		return nil
	}
	for i, e := range rows {
		if !e.at.Before(at) {
			return rows[i:]
		}
	}
	return nil
}

// startTimer arms a timer.
func (s *manager) startTimer(u *unit) error {
	text := u.def().file.get("Timer.OnActiveSec", u.def().file.get("Timer.OnBootSec", ""))
	d, ok := span(text)
	s.set(u, func() {
		u.active, u.sub = "active", "waiting"
		if ok && text != "" {
			u.due = s.m.now().Add(d)
		}
	})
	s.log(u.name, "Started "+u.description()+".")
	s.arm()
	return nil
}

// arm wakes the manager when the next timer is due.
func (s *manager) arm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := time.Time{}
	for _, u := range s.units {
		if !u.due.IsZero() && (next.IsZero() || u.due.Before(next)) {
			next = u.due
		}
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	if !next.IsZero() {
		s.timer = time.AfterFunc(max(next.Sub(s.m.now()), time.Millisecond), s.tick)
	}
}

// tick starts what timers are due for.
func (s *manager) tick() {
	s.mu.Lock()
	now := s.m.now()
	var due []*unit
	for _, u := range s.units {
		if !u.due.IsZero() && !u.due.After(now) {
			due = append(due, u)
			u.due = time.Time{}
			if path.Ext(u.name) == ".timer" {
				u.sub = "elapsed"
			}
		}
	}
	s.mu.Unlock()
	for _, u := range due {
		if path.Ext(u.name) != ".timer" {
			s.startAgain(u)
			continue
		}
		target := u.def().file.get("Timer.Unit", strings.TrimSuffix(u.name, path.Ext(u.name))+".service")
		_ = s.start(s.m.alive(), target) // it shows as failed
		if u.transient {
			s.set(u, func() { u.active, u.sub = "inactive", "dead" })
			s.forget(u)
		}
	}
	s.arm()
}

// Crash kills the main process of a service, as a fault does; Restart= decides
// whether it comes back.
func (m *Machine) Crash(name string) error {
	u := m.sys.get(name)
	m.sys.mu.Lock()
	d, running := u.daemon, u.active == "active" && u.daemon != nil
	m.sys.mu.Unlock()
	if !running {
		return fmt.Errorf("crash %s: it does not run", name)
	}
	d.stop()
	_ = m.sys.fail(u, 128+9, "main") // it shows in the unit
	switch u.def().file.get("Service.Restart", "no") {
	case "always", "on-failure", "on-abnormal", "on-abort":
		return m.sys.start(m.alive(), u.name)
	}
	return nil
}
