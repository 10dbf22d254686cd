// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"io/fs"
	"path"
	"time"
)

// ReadFile reads a file, as a person on the machine would.
func (m *Machine) ReadFile(name string) (string, error) { return m.readFile(name) }

// WriteFile writes a file by hand, with the folders that it needs; a file that
// is there keeps its owner and gets the mode.
func (m *Machine) WriteFile(name, text string, mode fs.FileMode) error {
	if err := m.mkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := m.writeFile(name, text, mode); err != nil {
		return err
	}
	return m.chmod(name, mode)
}

// Stat describes what is at a path; of a symbolic link, the link itself.
func (m *Machine) Stat(name string) (Info, error) { return m.lstat(name) }

// Remove removes a file, or a folder with all that is in it.
func (m *Machine) Remove(name string) error { return m.removeAll(name) }

// Chown gives a file to a user and a group, by their names.
func (m *Machine) Chown(name, owner, group string) error {
	u, found := m.user(owner)
	gid, there := m.group(group)
	if !found || !there {
		return fs.ErrNotExist
	}
	return m.chown(name, u.uid, gid, true)
}

// OwnerOf names the owner and the group of a file.
func (m *Machine) OwnerOf(i Info) (owner, group string) {
	return m.userName(i.UID), m.groupName(i.GID)
}

// UnitState is what systemd knows about a unit, as systemctl show names it.
type UnitState struct {
	Load, Active, Sub, Result string
	// Enabled is its UnitFileState: enabled, disabled, static, masked ...
	Enabled string
	// Invocation changes with every start.
	Invocation string
	// Status is ExecMainStatus.
	Status int
	// NeedsReload: its files changed since they were loaded.
	NeedsReload bool
	// Due is when a timer fires.
	Due time.Time
}

// Unit looks at a unit.
func (m *Machine) Unit(name string) UnitState {
	have := m.sys.properties(fullName(name))
	u := m.sys.get(name)
	m.sys.mu.Lock()
	defer m.sys.mu.Unlock()
	return UnitState{
		Load: have["LoadState"], Active: u.active, Sub: u.sub, Result: u.result, Enabled: have["UnitFileState"], Invocation: u.invocation,
		Status: u.status, NeedsReload: have["NeedDaemonReload"] == "yes", Due: u.due,
	}
}

// Edit changes a file's content by hand, or makes the file: owner and mode of
// one that is there stay.
func (m *Machine) Edit(name, text string) error { return m.writeFile(name, text, 0o644) }

// Knows tells whether the machine has a program, by its name or path.
func (m *Machine) Knows(name string) bool {
	p := m.newProcess(m.alive(), []string{name}, nil, nil, nil)
	return p.executable(name) != ""
}
