// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const useraddSpec = "r system=r U user-group=U N no-user-group=N M no-create-home=M m create-home=m d: home-dir:=d s: shell:=s g: gid:=g u: uid:=u c: comment:=c l no-log-init=l"

var accountName = regexp.MustCompile(`^[a-z_][a-z0-9_-]*\$?$`)

// runUseradd is useradd: its exit statuses are those of useradd(8).
func runUseradd(_ context.Context, p *Process) int {
	f, ok := p.parse(useraddSpec)
	if !ok || len(f.args) != 1 {
		fmt.Fprint(p.Stderr, "Usage: useradd [options] LOGIN\n       useradd -D\n       useradd -D [options]\n")
		return 2
	}
	name, shell := f.args[0], f.last("s", "/bin/sh")
	switch {
	case !accountName.MatchString(name) || len(name) > 32:
		p.Errorf("invalid user name '%s': use --badname to ignore", name)
		return 3
	case !path.IsAbs(shell):
		p.Errorf("invalid shell '%s'", shell)
		return 3
	case p.M.listed("/etc/passwd", name):
		p.Errorf("user '%s' already exists", name)
		return 9
	}
	own := !f.has("g") && !f.has("N")
	if own && p.M.listed("/etc/group", name) {
		p.Errorf("group %s exists - if you want to add this user to that group, use -g.", name)
		return 9
	}
	return p.addAccount(f, name, shell, own)
}

// addAccount writes the lines of a new account.
func (p *Process) addAccount(f flags, name, shell string, own bool) int {
	id, ok := p.freeID(f)
	if !ok {
		p.Errorf("UID %s is not unique", f.last("u", ""))
		return 4
	}
	gid, known := p.M.group(f.last("g", "100"))
	if f.has("g") && (!known || !p.M.listedID("/etc/group", gid)) {
		p.Errorf("group '%s' does not exist", f.last("g", ""))
		return 6
	}
	home := f.last("d", "/home/"+name)
	var err error
	if own {
		gid = id
		err = p.M.appendLine("/etc/group", fmt.Sprintf("%s:x:%d:", name, gid))
	}
	if err == nil {
		err = p.M.appendLine("/etc/passwd", fmt.Sprintf("%s:x:%d:%d:%s:%s:%s", name, id, gid, f.last("c", ""), home, shell))
	}
	if err == nil {
		err = p.M.appendLine("/etc/shadow", fmt.Sprintf("%s:!:%d::::::", name, p.M.now().Unix()/int64(24*time.Hour/time.Second)))
	}
	if err == nil && f.has("m") && !f.has("M") && !p.exists(home) {
		if err = p.M.mkdirAll(home, 0o755); err == nil {
			err = p.M.chown(home, id, gid, true)
		}
	}
	if err != nil {
		p.Errorf("cannot open /etc/passwd")
		return 1
	}
	return 0
}

// freeID is the number that was asked for, or the next one: system accounts
// count down from 999, others up from 1000. Neither a user nor a group has it.
func (p *Process) freeID(f flags) (int, bool) {
	taken := func(id int) bool { return p.M.listedID("/etc/passwd", id) || p.M.listedID("/etc/group", id) }
	if asked := f.last("u", f.last("g", "")); asked != "" && (f.has("u") || path.Base(p.Args[0]) == "groupadd") {
		return atoi(asked), !taken(atoi(asked))
	}
	id, step := 1000, 1
	if f.has("r") {
		id, step = 999, -1
	}
	for taken(id) {
		id += step
	}
	return id, id > 100
}

// runGroupadd is groupadd.
func runGroupadd(_ context.Context, p *Process) int {
	f, ok := p.parse("r system=r f force=f g: gid:=g")
	if !ok || len(f.args) != 1 {
		fmt.Fprint(p.Stderr, "Usage: groupadd [options] GROUP\n")
		return 2
	}
	name := f.args[0]
	switch {
	case !accountName.MatchString(name) || len(name) > 32:
		p.Errorf("'%s' is not a valid group name", name)
		return 3
	case p.M.listed("/etc/group", name) && f.has("f"):
		return 0
	case p.M.listed("/etc/group", name):
		p.Errorf("group '%s' already exists", name)
		return 9
	}
	id, ok := p.freeID(f)
	if !ok {
		p.Errorf("GID '%s' already exists", f.last("g", ""))
		return 4
	}
	if err := p.M.appendLine("/etc/group", fmt.Sprintf("%s:x:%d:", name, id)); err != nil {
		p.Errorf("cannot open /etc/group")
		return 10
	}
	return 0
}

func (m *Machine) listed(file, name string) bool {
	return slices.ContainsFunc(m.records(file, 3), func(r []string) bool { return r[0] == name })
}

func (m *Machine) listedID(file string, id int) bool {
	return slices.ContainsFunc(m.records(file, 3), func(r []string) bool { return r[2] == strconv.Itoa(id) })
}

// appendLine adds a line to a file that is there, and keeps its mode.
func (m *Machine) appendLine(name, line string) error {
	text, err := m.readFile(name)
	if err != nil {
		return err
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return m.writeFile(name, text+line+"\n", 0o644)
}
