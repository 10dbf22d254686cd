// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"path"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// manager is systemd.
type manager struct {
	m *Machine

	mu      sync.Mutex
	units   map[string]*unit
	journal []journalEntry
	timer   *time.Timer
}

// unit is a unit that systemd has loaded.
type unit struct {
	name string
	job  sync.Mutex // one job at a time

	loaded atomic.Pointer[definition]

	// What follows is the manager's, under its lock.
	active, sub       string
	result            string
	code, status      int
	pid               int64
	invocation        string
	changed, entered  time.Time
	started, finished time.Time
	transient         bool
	collect           bool
	daemon            daemon
	cancel            context.CancelFunc
	done              chan struct{} // closed when the main process ends
	due               time.Time     // of a timer, or of a service that starts again
	starts            []time.Time   // of a service, see again
	restarts          int
}

// definition is what systemd has read of a unit.
type definition struct {
	fragment, text string
	dropins        []string
	file           unitFile
	load, why      string
}

// def is the unit's definition; it is replaced, never changed.
func (u *unit) def() *definition { return u.loaded.Load() }

// daemon is a service that runs.
type daemon interface {
	reload() error
	stop()
}

// idle is a daemon without a behaviour that anybody here sees.
type idle struct{}

func (idle) reload() error { return nil }
func (idle) stop()         {}

func newManager(m *Machine) *manager { return &manager{m: m, units: map[string]*unit{}} }

// fullName adds .service where a unit's name has no type.
func fullName(name string) string {
	switch path.Ext(name) {
	case ".service", ".timer", ".mount", ".target", ".socket", ".path", ".slice", ".automount", ".swap", ".scope":
		return name
	}
	return name + ".service"
}

// get finds a unit, loading it when systemd does not hold it.
func (s *manager) get(name string) *unit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.getLocked(s.m.canonical(fullName(name)))
}

// canonical is the name of the unit that a name stands for: a link to another
// unit's file is a second name of that unit.
func (m *Machine) canonical(name string) string {
	for _, folder := range unitFolders {
		info, err := m.lstat(folder + "/" + name)
		if err != nil {
			continue
		}
		if other := path.Base(info.Target); info.Target != "" && info.Target != "/dev/null" && path.Ext(other) == path.Ext(name) {
			return other
		}
		return name
	}
	return name
}

func (s *manager) getLocked(name string) *unit {
	u := s.units[name]
	if u != nil && (u.active != "inactive" || u.transient || u.def().load == "loaded" && s.m.unitState(name) == "enabled") {
		return u
	}
	fresh := &unit{name: name, active: "inactive", sub: "dead", result: "success"}
	if u != nil {
		fresh = u
		fresh.invocation, fresh.status, fresh.code, fresh.result = "", 0, 0, "success"
	}
	s.read(fresh)
	s.units[name] = fresh
	return fresh
}

// read loads a unit's file.
func (s *manager) read(u *unit) {
	d := &definition{load: "loaded"}
	d.fragment, d.text, d.dropins = s.m.unitText(u.name)
	d.file = parseUnit(d.text)
	switch {
	case d.fragment == "" && strings.HasSuffix(u.name, ".target"):
		if u.active == "inactive" {
			u.active, u.sub = "active", "active"
		}
	case d.fragment == "":
		d.load = "not-found"
	case d.fragment == "/dev/null":
		d.load = "masked"
	default:
		d.load, d.why = judge(u.name, d.file)
	}
	u.loaded.Store(d)
}

// judge says whether systemd accepts a unit's settings.
func judge(name string, file unitFile) (load, why string) {
	load = "bad-setting"
	switch path.Ext(name) {
	case ".service":
		why = judgeService(file)
	case ".mount":
		where := file.get("Mount.Where", "")
		switch {
		case where == "":
			why = "Where= setting is missing. Refusing."
		case unitEscape(where)+".mount" != name:
			why = "Where= setting doesn't match unit name. Refusing."
		case file.get("Mount.What", "") == "":
			why = "What= setting is missing. Refusing."
		}
	}
	if why == "" {
		load = "loaded"
	}
	return load, why
}

func judgeService(file unitFile) string {
	commands, oneshot := file["Service.ExecStart"], file.get("Service.Type", "simple") == "oneshot"
	switch {
	case len(commands) == 0 && (!oneshot || len(file["Service.ExecStop"]) == 0 && !file.remains()):
		return "Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing."
	case len(commands) > 1 && !oneshot:
		return "Service has more than one ExecStart= setting, which is only allowed for Type=oneshot services. Refusing."
	}
	for _, line := range commands {
		argv := splitCommand(strings.TrimLeft(line, "-@:+!"))
		if len(argv) == 0 || !strings.HasPrefix(argv[0], "/") && strings.Contains(argv[0], "/") {
			return "Neither a valid executable name nor an absolute path: " + line
		}
	}
	return ""
}

// unitState is whether a unit is enabled, by the links that say so.
func (m *Machine) unitState(name string) string {
	if other := m.canonical(name); other != name {
		return "alias"
	}
	fragment, text, _ := m.unitText(name)
	switch {
	case fragment == "":
		return ""
	case fragment == "/dev/null":
		return "masked"
	case strings.HasPrefix(fragment, "/run/systemd/transient/"):
		return "transient"
	}
	if len(m.wantsLinks(name)) > 0 {
		return "enabled"
	}
	file := parseUnit(text)
	if len(file.words("Install.WantedBy"))+len(file.words("Install.RequiredBy"))+len(file.words("Install.Alias"))+len(file.words("Install.Also")) > 0 {
		return "disabled"
	}
	return "static"
}

// wantsLinks are the links that enable a unit.
func (m *Machine) wantsLinks(name string) []string {
	var out []string
	entries, err := m.readDir("/etc/systemd/system")
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Base, ".wants") && !strings.HasSuffix(entry.Base, ".requires") {
			continue
		}
		link := "/etc/systemd/system/" + entry.Base + "/" + name
		if _, err := m.lstat(link); err == nil {
			out = append(out, link)
		}
	}
	return out
}

// stale tells whether the unit's files changed since they were loaded.
func (s *manager) stale(u *unit) bool {
	_, text, _ := s.m.unitText(u.name)
	return text != u.def().text && u.def().load != "not-found"
}

// reload is daemon-reload.
func (s *manager) reload() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, u := range s.units {
		if u.active == "inactive" && !u.transient {
			delete(s.units, name)
			continue
		}
		s.read(u)
	}
}

// enable makes the links that the unit's file asks for, and tells which.
func (s *manager) enable(name string) (made [][2]string, err error) {
	name = s.m.canonical(name)
	fragment, text, _ := s.m.unitText(name)
	switch fragment {
	case "":
		return nil, syscall.ENOENT
	case "/dev/null":
		return nil, errMasked
	}
	file := parseUnit(text)
	for _, kind := range [][2]string{{"Install.WantedBy", ".wants/"}, {"Install.RequiredBy", ".requires/"}} {
		for _, target := range file.words(kind[0]) {
			link := "/etc/systemd/system/" + target + kind[1] + name
			if _, err := s.m.lstat(link); err == nil {
				continue
			}
			if err := errors.Join(s.m.mkdirAll(path.Dir(link), 0o755), s.m.symlink(fragment, link)); err != nil {
				return made, err
			}
			made = append(made, [2]string{link, fragment})
		}
	}
	for _, other := range file.words("Install.Also") {
		more, err := s.enable(other)
		if err != nil {
			return made, err
		}
		made = append(made, more...)
	}
	return made, nil
}

// disable takes the links away.
func (s *manager) disable(name string) (gone []string, err error) {
	name = s.m.canonical(name)
	if fragment, _, _ := s.m.unitText(name); fragment == "" && len(s.m.wantsLinks(name)) == 0 {
		return nil, syscall.ENOENT
	}
	for _, link := range s.m.wantsLinks(name) {
		if err := s.m.remove(link); err != nil {
			return gone, err
		}
		_ = s.m.disk.Remove(path.Dir(link)) // stays when others are in it
		gone = append(gone, link)
	}
	return gone, nil
}

// enablePackage enables the units of a package that start with it, as its
// installation does the first time.
func (s *manager) enablePackage(name string) {
	s.reload()
	for _, one := range s.m.packageRecord(name).Starts {
		_, _ = s.enable(one) // a masked one stays so
	}
}

func (s *manager) startPackage(name string) {
	if !s.m.Running() {
		return
	}
	for _, one := range s.m.packageRecord(name).Starts {
		_ = s.start(s.m.alive(), one) // an installation does not fail with its service
	}
}

// stopPackage stops what a package's units run, before it is removed.
func (s *manager) stopPackage(name string) {
	one := s.m.packageRecord(name)
	for _, f := range one.Files {
		if strings.HasPrefix(f.Path, "/usr/lib/systemd/system/") {
			s.stopNeedy(path.Base(f.Path))
			_ = s.stop(path.Base(f.Path)) // it need not run
		}
	}
}

// boot starts what is enabled.
func (s *manager) boot() {
	entries, err := s.m.readDir("/etc/systemd/system")
	if err != nil {
		return
	}
	for _, folder := range entries {
		if !strings.HasSuffix(folder.Base, ".target.wants") {
			continue
		}
		wanted, err := s.m.readDir("/etc/systemd/system/" + folder.Base)
		if err != nil {
			continue
		}
		for _, link := range wanted {
			if s.get(link.Base).active == "inactive" {
				_ = s.start(s.m.alive(), link.Base) // it shows as failed
			}
		}
	}
}

// powerOff forgets everything that ran.
func (s *manager) powerOff() {
	s.mu.Lock()
	old := s.units
	s.units = map[string]*unit{}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	for _, u := range old {
		s.mu.Lock()
		d := u.daemon
		u.daemon, u.active = nil, "inactive"
		s.mu.Unlock()
		if d != nil {
			d.stop()
		}
	}
}

// sorted are the loaded units by name.
func (s *manager) sorted() []*unit {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*unit, 0, len(s.units))
	for _, u := range s.units {
		out = append(out, u)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}

func randomText(n int) string { return randomHex(n)[:n] }

func newUUID() string {
	t := randomHex(16)
	return t[:8] + "-" + t[8:12] + "-4" + t[13:16] + "-a" + t[17:20] + "-" + t[20:]
}
