// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"
)

// What systemd says a process ended with that it could not start.
const (
	exitChdir     = 200
	exitExec      = 203
	exitGroup     = 216
	exitUser      = 217
	exitNamespace = 226
	exitState     = 238
)

var stepNames = map[int]string{
	exitChdir: "CHDIR", exitExec: "EXEC", exitGroup: "GROUP", exitUser: "USER", exitNamespace: "NAMESPACE", exitState: "STATE_DIRECTORY",
}

// statusName is how systemd writes the exit status of a process.
func statusName(exit int) string {
	if name := stepNames[exit]; name != "" {
		return fmt.Sprintf("%d/%s", exit, name)
	}
	return fmt.Sprintf("%d/FAILURE", exit)
}

// confine makes a process what its unit says: its user, and what it may write.
// An exit other than 0 is that of a process that could not be started.
func (s *manager) confine(u *unit, p *Process) int {
	file := u.def().file
	if name := file.get("Service.User", ""); name != "" {
		who, known := s.m.user(name)
		if !known {
			return s.spawnFailed(u, p, exitUser, "Failed to determine user credentials: No such process", syscall.ESRCH)
		}
		p.user = who
	}
	if name := file.get("Service.Group", ""); name != "" {
		gid, known := s.m.group(name)
		if !known {
			return s.spawnFailed(u, p, exitGroup, "Failed to determine group credentials: No such process", syscall.ESRCH)
		}
		p.user.gid = gid
	}
	for _, name := range file.words("Service.StateDirectory") {
		if err := s.stateDirectory(p, "/var/lib/"+name); err != nil {
			return s.spawnFailed(u, p, exitState, "Failed to set up special execution directory in /var/lib: "+reason(err), err)
		}
	}
	return s.seal(u, p)
}

// stateDirectory makes the folder of a unit's state, and gives it to its user.
func (s *manager) stateDirectory(p *Process, dir string) error {
	if err := s.m.mkdirAll(dir, 0o755); err != nil {
		return err
	}
	p.opened = append(p.opened, dir)
	return s.m.chown(dir, p.user.uid, p.user.gid, true)
}

// seal closes the file system but for what the unit opens.
func (s *manager) seal(u *unit, p *Process) int {
	file := u.def().file
	p.sealed = file.get("Service.ProtectSystem", "no") == "strict"
	if p.sealed {
		p.opened = append(p.opened, "/tmp", "/var/tmp", "/dev", "/proc", "/sys")
	}
	for _, name := range file.words("Service.ReadWritePaths") {
		optional := strings.HasPrefix(name, "-")
		name = strings.TrimLeft(name, "-+")
		if _, err := s.m.stat(name); err != nil && !optional {
			return s.spawnFailed(u, p, exitNamespace, "Failed to set up mount namespacing: "+name+": "+reason(err), err)
		}
		p.opened = append(p.opened, path.Clean(name))
	}
	if info, err := s.m.stat(p.Dir); err != nil || !info.IsDir() {
		return s.spawnFailed(u, p, exitChdir, "Changing to the requested working directory failed: No such file or directory", syscall.ENOENT)
	}
	p.bind = p.user.uid == 0 || slices.Contains(file.words("Service.AmbientCapabilities"), "CAP_NET_BIND_SERVICE")
	return 0
}

func (s *manager) spawnFailed(u *unit, p *Process, exit int, why string, err error) int {
	s.log(u.name, u.name+": "+why)
	return s.stepFailed(u, p.Args[0], exit, err)
}

func (s *manager) stepFailed(u *unit, program string, exit int, err error) int {
	s.log(u.name, fmt.Sprintf("%s: Failed at step %s spawning %s: %s", u.name, stepNames[exit], program, reason(err)))
	return exit
}

// executes tells whether systemd can execute a unit's program: 0 or 203.
func (s *manager) executes(u *unit, p *Process) int {
	name := p.Args[0]
	if !strings.HasPrefix(name, "/") {
		return 0 // it is looked for
	}
	info, err := s.m.stat(name)
	switch {
	case err != nil:
		s.log(u.name, fmt.Sprintf("%s: Failed to locate executable %s: %s", u.name, name, reason(err)))
	case info.IsDir() || info.Perm&0o111 == 0:
		err = syscall.EACCES
	case s.m.lookup(name) == nil && s.m.daemonFor(p.Args) == nil && !s.m.isScript(name):
		err = syscall.ENOEXEC
	default:
		if err = s.m.allowed(p.user, name, mayExecute); err == nil {
			return 0
		}
	}
	return s.stepFailed(u, name, exitExec, err)
}

func (m *Machine) isScript(name string) bool {
	text, err := m.readFile(name)
	return err == nil && strings.HasPrefix(text, "#!")
}
