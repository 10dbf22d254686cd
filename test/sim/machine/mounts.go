// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"path"
	"strings"
)

// mountTable is /proc/mounts.
func (m *Machine) mountTable() string {
	var b strings.Builder
	b.WriteString("/dev/sda1 / ext4 rw,relatime 0 0\n")
	for _, one := range m.mountList() {
		fmt.Fprintf(&b, "%s %s %s %s 0 0\n", one.source, one.point, one.kind, one.options)
	}
	return b.String()
}

func (m *Machine) mountList() []mount {
	m.mountMu.RLock()
	defer m.mountMu.RUnlock()
	return append([]mount(nil), m.mounts...)
}

// unmountNetwork takes away what comes from other machines, and what was mounted
// by hand: a boot begins without.
func (m *Machine) unmountNetwork() {
	for _, one := range m.mountList() {
		if strings.HasPrefix(one.kind, "nfs") || one.kind == "tmpfs" || one.kind == "bind" {
			m.Unmount(one.point)
		}
	}
}

// attach mounts something; the text says why it does not, as mount prints it.
func (m *Machine) attach(what, where, kind, options string) string {
	if m.opts.Container {
		return "mount: " + where + ": permission denied."
	}
	if info, err := m.stat(where); err != nil || !info.IsDir() {
		return "mount: " + where + ": mount point does not exist."
	}
	at, err := m.resolve(where, true)
	if err != nil {
		return "mount: " + where + ": " + reason(err)
	}
	if one, mounted := m.mountAt(at); mounted && one.source == what {
		return "mount: " + where + ": " + what + " already mounted on " + at + "."
	}
	all := "," + options + ","
	switch {
	case strings.HasPrefix(kind, "nfs") || kind == "" && strings.Contains(what, ":/"):
		return m.attachNFS(what, at, kind, options)
	case kind == "tmpfs":
		m.mount(mount{point: at, files: newTree(m.now), source: what, kind: kind, options: first(options, "rw,relatime")})
	case strings.Contains(all, ",bind,") || strings.Contains(all, ",rbind,"):
		folder, err := m.resolve(what, true)
		if err != nil {
			return "mount: " + where + ": special device " + what + " does not exist."
		}
		if _, err := m.stat(folder); err != nil {
			return "mount: " + where + ": special device " + what + " does not exist."
		}
		files, inside := m.place(folder)
		m.mount(mount{point: at, files: below{files: files, folder: inside, ro: strings.Contains(all, ",ro,")}, source: what, kind: "bind", options: "rw,relatime"})
	default:
		return "mount: " + where + ": unknown filesystem type '" + kind + "'."
	}
	m.countWrite()
	return ""
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// startMount mounts what a mount unit says.
func (s *manager) startMount(u *unit) error {
	file := u.def().file
	where := file.get("Mount.Where", "")
	_ = s.m.mkdirAll(where, 0o755) // systemd makes the folder; what stands in its way is told below
	line := fmt.Sprintf("mount %s %s", file.get("Mount.What", ""), where)
	problem := s.m.attach(file.get("Mount.What", ""), where, file.get("Mount.Type", ""), file.get("Mount.Options", ""))
	if exit, struck := s.m.faults.strike(s.m.alive(), line, &journalWriter{s: s, unit: u.name, tag: "mount"}); struck && exit != 0 {
		s.m.Unmount(where)
		problem = "mount: failed"
	}
	if problem != "" {
		s.write(u.name, "mount", s.m.pids.Add(1), problem)
		return s.fail(u, 32, "mount")
	}
	s.set(u, func() { u.active, u.sub = "active", "mounted" })
	s.log(u.name, "Mounted "+u.description()+".")
	return nil
}

func (s *manager) stopMount(u *unit) error {
	if where, err := s.m.resolve(u.def().file.get("Mount.Where", ""), true); err == nil {
		s.m.Unmount(where)
	}
	s.set(u, func() { u.active, u.sub, u.finished = "inactive", "dead", s.m.now() })
	s.log(u.name, "Unmounted "+u.description()+".")
	return nil
}

func runMount(_ context.Context, p *Process) int {
	f, ok := p.parse("t: types:=t o: options:=o a all=a r v B bind=B rbind=B")
	if !ok {
		return 1
	}
	options := strings.Join(f.set["o"], ",")
	if f.has("B") {
		options += ",bind"
	}
	switch {
	case f.has("a"):
		return p.mountAll(f)
	case len(f.args) == 0:
		for _, line := range lines(p.M.mountTable()) {
			w := strings.Fields(line)
			p.Printf("%s on %s type %s (%s)\n", w[0], w[1], w[2], w[3])
		}
		return 0
	case len(f.args) == 1:
		for _, line := range p.M.fstab() {
			if line[1] == path.Clean(f.args[0]) {
				return p.mountOne(line[0], line[1], line[2], line[3])
			}
		}
		p.Errorf("%s: can't find in /etc/fstab.", f.args[0])
		return 1
	}
	return p.mountOne(f.args[0], p.abs(f.args[1]), f.last("t", ""), options)
}

func (p *Process) mountOne(what, where, kind, options string) int {
	if problem := p.M.attach(what, where, kind, options); problem != "" {
		fmt.Fprintln(p.Stderr, problem)
		return 32
	}
	return 0
}

// fstab are the lines of /etc/fstab: what, where, type, options.
func (m *Machine) fstab() [][]string {
	text, err := m.readFile("/etc/fstab")
	if err != nil {
		return nil
	}
	var out [][]string
	for _, line := range lines(text) {
		if w := strings.Fields(line); len(w) >= 4 && !strings.HasPrefix(w[0], "#") {
			out = append(out, w)
		}
	}
	return out
}

func (p *Process) mountAll(f flags) int {
	exit := 0
	for _, line := range p.M.fstab() {
		_, mounted := p.M.mountAt(line[1])
		if mounted || strings.Contains(line[3], "noauto") || f.has("t") && f.last("t", "") != line[2] {
			continue
		}
		exit = max(exit, p.mountOne(line[0], line[1], line[2], line[3]))
	}
	return exit
}

func runUmount(_ context.Context, p *Process) int {
	f, ok := p.parse("l lazy=l f force=f R q quiet=q")
	if !ok {
		return 1
	}
	exit := 0
	for _, name := range f.args {
		at, err := p.M.resolve(p.abs(name), true)
		if err != nil || !p.M.Unmount(at) {
			fmt.Fprintf(p.Stderr, "umount: %s: not mounted.\n", name)
			exit = 32
			continue
		}
		p.M.countWrite()
		p.M.sys.unmounted(at)
	}
	return exit
}

// unmounted tells the unit of a mount that somebody else took it away.
func (s *manager) unmounted(where string) {
	u := s.get(unitEscape(where) + ".mount")
	s.set(u, func() {
		if u.active == "active" {
			u.active, u.sub = "inactive", "dead"
		}
	})
}

func runMountpoint(_ context.Context, p *Process) int {
	f, ok := p.parse("q quiet=q d n")
	if !ok || len(f.args) != 1 {
		return 1
	}
	at, err := p.M.resolve(p.abs(f.args[0]), true)
	if err == nil {
		_, err = p.M.lstat(at)
	}
	if err != nil {
		if !f.has("q") {
			p.Errorf("%s: %s", f.args[0], reason(err))
		}
		return 1
	}
	_, mounted := p.M.mountAt(at)
	mounted = mounted || at == "/"
	text, exit := "is a mountpoint", 0
	if !mounted {
		text, exit = "is not a mountpoint", 32
	}
	if !f.has("q") {
		p.Printf("%s %s\n", f.args[0], text)
	}
	return exit
}

func runFindmnt(_ context.Context, p *Process) int {
	f, ok := p.parse("n noheadings=n o: output:=o t: types:=t T: target:=T M: mountpoint:=M S: source:=S r raw=r l list=l P J")
	if !ok {
		return 1
	}
	columns := strings.Split(strings.ToUpper(f.last("o", "TARGET,SOURCE,FSTYPE,OPTIONS")), ",")
	wanted := f.last("M", f.last("T", ""))
	if len(f.args) > 0 {
		wanted = f.args[0]
	}
	var rows [][]string
	for _, line := range lines(p.M.mountTable()) {
		w := strings.Fields(line)
		have := map[string]string{"SOURCE": w[0], "TARGET": w[1], "FSTYPE": w[2], "OPTIONS": w[3]}
		if wanted != "" && have["TARGET"] != path.Clean(wanted) && have["SOURCE"] != wanted ||
			f.has("t") && !strings.Contains(","+f.last("t", "")+",", ","+have["FSTYPE"]+",") || f.has("S") && have["SOURCE"] != f.last("S", "") {
			continue
		}
		var row []string
		for _, c := range columns {
			row = append(row, have[c])
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return 1
	}
	if !f.has("n") {
		p.Printf("%s\n", strings.Join(columns, " "))
	}
	for _, row := range rows {
		p.Printf("%s\n", strings.Join(row, " "))
	}
	return 0
}
