// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
)

// What a user may want to do with a file.
const (
	mayExecute = 1
	mayWrite   = 2
	mayRead    = 4
)

// allowed tells whether a user may do something with a path: every folder on the
// way must let it through. Root may do everything.
func (m *Machine) allowed(who user, name string, want fs.FileMode) error {
	at, err := m.resolve(name, true)
	if err != nil {
		return err
	}
	if who.uid == 0 {
		_, err := m.lstat(at)
		return err
	}
	for dir := path.Dir(at); ; dir = path.Dir(dir) {
		if info, err := m.lstat(dir); err != nil || !m.grants(who, info, mayExecute) {
			return syscall.EACCES
		}
		if dir == "/" {
			break
		}
	}
	info, err := m.lstat(at)
	switch {
	case err != nil:
		return err
	case !m.grants(who, info, want):
		return syscall.EACCES
	}
	return nil
}

// grants looks at the bits of a file that are meant for a user.
func (m *Machine) grants(who user, info Info, want fs.FileMode) bool {
	bits := info.Perm.Perm()
	switch {
	case info.UID == who.uid:
		bits >>= 6
	case info.GID == who.gid || slices.Contains(m.groupsOf(who.name), info.GID):
		bits >>= 3
	}
	return bits&want == want
}

// groupsOf are the groups that name a user as a member.
func (m *Machine) groupsOf(name string) []int {
	var out []int
	for _, r := range m.records("/etc/group", 4) {
		if slices.Contains(strings.Split(r[3], ","), name) {
			out = append(out, atoi(r[2]))
		}
	}
	return out
}

// readAs reads a file as the process's user.
func (p *Process) readAs(name string) ([]byte, error) {
	name = p.abs(name)
	if err := p.M.allowed(p.user, name, mayRead); err != nil {
		return nil, err
	}
	text, err := p.M.readFile(name)
	return []byte(text), err
}

// keepAs writes a file that nobody but the process's user can read. The folder
// is made when fresh, inside of what the unit may write to.
func (p *Process) keepAs(name string, data []byte, fresh bool) error {
	name = p.abs(name)
	dir := path.Dir(name)
	if fresh {
		if err := p.makeAs(dir); err != nil {
			return err
		}
	}
	if err := p.writable(dir); err != nil {
		return err
	}
	if err := p.M.writeFile(name, string(data), 0o600); err != nil {
		return err
	}
	return p.M.chown(name, p.user.uid, p.user.gid, true)
}

// makeAs makes a folder with those above it.
func (p *Process) makeAs(dir string) error {
	if info, err := p.M.stat(dir); err == nil {
		if !info.IsDir() {
			return syscall.ENOTDIR
		}
		return nil
	}
	if err := p.makeAs(path.Dir(dir)); err != nil {
		return err
	}
	if err := p.writable(path.Dir(dir)); err != nil {
		return err
	}
	if err := p.M.mkdir(dir, 0o700); err != nil {
		return err
	}
	return p.M.chown(dir, p.user.uid, p.user.gid, true)
}

// writable tells whether the process may make files in a folder: its user must,
// and its unit too.
func (p *Process) writable(dir string) error {
	if p.sealed && !slices.ContainsFunc(p.opened, func(one string) bool { return dir == one || strings.HasPrefix(dir, one+"/") }) {
		return syscall.EROFS
	}
	return p.M.allowed(p.user, dir, mayWrite|mayExecute)
}
