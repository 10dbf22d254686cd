// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

type user struct {
	name     string
	uid, gid int
	line     string
}

// records are the lines of a file of the form a:b:c, taken apart.
func (m *Machine) records(name string, fields int) [][]string {
	text, err := m.readFile(name)
	if err != nil {
		return nil
	}
	var out [][]string
	for line := range strings.Lines(text) {
		parts := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(parts) >= fields {
			out = append(out, parts)
		}
	}
	return out
}

// user finds an account by its name or number; a number without an account is
// itself, in the group of the same number.
func (m *Machine) user(name string) (user, bool) {
	for _, r := range m.records("/etc/passwd", 7) {
		if r[0] == name || r[2] == name {
			return user{name: r[0], uid: atoi(r[2]), gid: atoi(r[3]), line: strings.Join(r, ":")}, true
		}
	}
	n, err := strconv.Atoi(name)
	return user{uid: n, gid: n}, err == nil && n >= 0
}

func (m *Machine) group(name string) (int, bool) {
	for _, r := range m.records("/etc/group", 4) {
		if r[0] == name || r[2] == name {
			return atoi(r[2]), true
		}
	}
	n, err := strconv.Atoi(name)
	return n, err == nil && n >= 0
}

func (m *Machine) userName(uid int) string { return m.nameOf("/etc/passwd", uid) }

func (m *Machine) groupName(gid int) string { return m.nameOf("/etc/group", gid) }

func (m *Machine) nameOf(file string, id int) string {
	for _, r := range m.records(file, 3) {
		if r[2] == strconv.Itoa(id) {
			return r[0]
		}
	}
	return "UNKNOWN"
}

func atoi(text string) int {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return 0
	}
	return n
}

// addUser makes a system account with a group of its name, as packages do.
func (m *Machine) addUser(name string, uid int, home string) {
	if _, there := m.user(name); there {
		return
	}
	passwd, _ := m.readFile("/etc/passwd") // furnished with the machine
	group, _ := m.readFile("/etc/group")   // furnished with the machine
	_ = m.disk.WriteFile("/etc/passwd", fmt.Appendf(nil, "%s%s:x:%d:%d::%s:/usr/sbin/nologin\n", passwd, name, uid, uid, home), 0o644)
	_ = m.disk.WriteFile("/etc/group", fmt.Appendf(nil, "%s%s:x:%d:\n", group, name, uid), 0o644)
}

func runID(_ context.Context, p *Process) int {
	f, ok := p.parse("u user=u g group=g n name=n r G")
	if !ok {
		return 1
	}
	name := "root"
	if len(f.args) > 0 {
		name = f.args[0]
	}
	u, found := p.M.user(name)
	if !found || u.name == "" {
		return p.Errorf("‘%s’: no such user", name)
	}
	switch {
	case f.has("u") && f.has("n"):
		p.Printf("%s\n", u.name)
	case f.has("u"):
		p.Printf("%d\n", u.uid)
	case f.has("g") && f.has("n"):
		p.Printf("%s\n", p.M.groupName(u.gid))
	case f.has("g") || f.has("G"):
		p.Printf("%d\n", u.gid)
	default:
		group := p.M.groupName(u.gid)
		p.Printf("uid=%d(%s) gid=%d(%s) groups=%d(%s)\n", u.uid, u.name, u.gid, group, u.gid, group)
	}
	return 0
}

// runGetent is getent passwd, group and hosts.
func runGetent(_ context.Context, p *Process) int {
	if len(p.Args) < 2 {
		return p.Errorf("wrong number of arguments")
	}
	exit, keys := 0, p.Args[2:]
	switch p.Args[1] {
	case "passwd", "group":
		return p.getentRecords("/etc/"+p.Args[1], keys)
	case "hosts", "ahosts", "ahostsv4":
		for _, key := range keys {
			if !p.getentHost(key) {
				exit = 2
			}
		}
		return exit
	}
	fmt.Fprintf(p.Stderr, "Unknown database: %s\n", p.Args[1])
	return 1
}

func (p *Process) getentRecords(file string, keys []string) int {
	rows := p.M.records(file, 3)
	if len(keys) == 0 {
		for _, r := range rows {
			p.Printf("%s\n", strings.Join(r, ":"))
		}
	}
	exit := 0
	for _, key := range keys {
		found := false
		for _, r := range rows {
			if !found && (r[0] == key || r[2] == key) {
				p.Printf("%s\n", strings.Join(r, ":"))
				found = true
			}
		}
		if !found {
			exit = 2
		}
	}
	return exit
}

func (p *Process) getentHost(key string) bool {
	if address, err := netip.ParseAddr(key); err == nil {
		for _, row := range hostLines(p.M, "/etc/hosts") {
			if row.address == address {
				p.Printf("%-15s %s\n", address, strings.Join(row.names, " "))
				return true
			}
		}
		return false
	}
	addresses, err := p.M.resolveName(key)
	for _, a := range addresses {
		p.Printf("%-15s %s\n", a, key)
	}
	return err == nil && len(addresses) > 0
}
