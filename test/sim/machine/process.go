// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Program is what a command does. It reads and writes through the process alone
// and returns its exit status, 0 to 255.
type Program func(ctx context.Context, p *Process) int

// Process is a running program as it sees itself.
type Process struct {
	M    *Machine
	Args []string
	// Env are NAME=value, Dir the current folder.
	Env   []string
	Dir   string
	Umask fs.FileMode
	// Stdin may be nil: there is nothing to read.
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	ctx     context.Context
	pid     int64
	session *session

	// What follows is told of the processes of units; others are root's.
	user   user
	sealed bool     // it may write below opened only
	opened []string // folders
	bind   bool     // it may listen on ports below 1024
}

// session is what the processes of one connection share.
type session struct {
	kill       func()
	ignorePipe atomic.Bool
}

// guard makes a writer whose other end is gone end the session, as SIGPIPE does
// unless it is ignored.
func (s *session) guard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return &guarded{w: w, s: s}
}

type guarded struct {
	mu sync.Mutex
	w  io.Writer
	s  *session
}

// Write implements io.Writer.
func (g *guarded) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, err := g.w.Write(b)
	if err != nil && !g.s.ignorePipe.Load() && g.s.kill != nil {
		g.s.kill()
	}
	return n, err
}

// gone is a connection that broke.
type gone struct{}

// Write implements io.Writer.
func (gone) Write([]byte) (int, error) { return 0, syscall.EPIPE }

const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func rootEnv() []string {
	return []string{"PATH=" + searchPath, "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash", "LANG=C.UTF-8"}
}

func (m *Machine) newProcess(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) *Process {
	if stdout == nil {
		stdout = io.Discard
	}
	if stderr == nil {
		stderr = io.Discard
	}
	return &Process{
		M: m, Args: argv, Env: rootEnv(), Dir: "/root", Umask: 0o022, Stdin: stdin, Stdout: stdout, Stderr: stderr,
		ctx: ctx, pid: m.pids.Add(1), session: &session{},
	}
}

// child is a process that inherits everything.
func (p *Process) child(ctx context.Context) *Process {
	c := *p
	c.ctx, c.pid = ctx, p.M.pids.Add(1)
	return &c
}

// Getenv is a variable of the environment, "" when there is none.
func (p *Process) Getenv(name string) string {
	for _, entry := range slices.Backward(p.Env) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// Errorf prints a complaint behind the program's name and returns 1.
func (p *Process) Errorf(format string, args ...any) int {
	fmt.Fprintf(p.Stderr, path.Base(p.Args[0])+": "+format+"\n", args...)
	return 1
}

// Printf prints on standard output.
func (p *Process) Printf(format string, args ...any) { fmt.Fprintf(p.Stdout, format, args...) }

// abs is a path as the process means it.
func (p *Process) abs(name string) string {
	if !path.IsAbs(name) {
		name = path.Join(p.Dir, name)
	}
	return name
}

// ReadFile reads a file, standard input for "-" and /dev/stdin.
func (p *Process) ReadFile(name string) (string, error) {
	if name == "-" || name == "/dev/stdin" {
		return p.input()
	}
	return p.M.readFile(p.abs(name))
}

func (p *Process) input() (string, error) {
	if p.Stdin == nil {
		return "", nil
	}
	var buf bytes.Buffer
	_, err := buf.ReadFrom(p.Stdin)
	return buf.String(), err
}

// Exec runs a program by its name or path as a child with these arguments.
func (p *Process) Exec(argv []string) int {
	if len(argv) == 0 || argv[0] == "" {
		return p.missing(argv)
	}
	c := p.child(p.ctx)
	c.Args = argv
	if exit, struck := p.M.faults.strike(p.ctx, strings.Join(argv, " "), c.Stderr); struck {
		return exit
	}
	if p.ctx.Err() != nil {
		return 137
	}
	if run := p.M.find(argv[0]); run != nil {
		exit := run(c.ctx, c)
		if c.ctx.Err() != nil {
			return 137
		}
		return exit
	}
	return c.script()
}

func (p *Process) missing(argv []string) int {
	name := ""
	if len(argv) > 0 {
		name = argv[0]
	}
	fmt.Fprintf(p.Stderr, "%s: command not found\n", name)
	return 127
}

// script runs a file that begins with #!, if there is one.
func (p *Process) script() int {
	name, found := p.findScript(p.Args[0])
	if !found {
		return p.missing(p.Args)
	}
	info, err := p.M.stat(name)
	if err != nil || info.IsDir() || info.Perm&0o111 == 0 {
		fmt.Fprintf(p.Stderr, "%s: Permission denied\n", p.Args[0])
		return 126
	}
	text, err := p.M.readFile(name)
	if err != nil {
		return p.Errorf("%s", reason(err))
	}
	line, _, _ := strings.Cut(text, "\n")
	interpreter := strings.Fields(strings.TrimPrefix(line, "#!"))
	if !strings.HasPrefix(line, "#!") || len(interpreter) == 0 || p.M.lookup(interpreter[0]) == nil {
		fmt.Fprintf(p.Stderr, "%s: cannot execute: required file not found\n", p.Args[0])
		return 126
	}
	return p.Exec(append(append(interpreter, name), p.Args[1:]...))
}

func (p *Process) findScript(name string) (string, bool) {
	if strings.Contains(name, "/") {
		_, err := p.M.stat(p.abs(name))
		return p.abs(name), err == nil
	}
	for _, dir := range strings.Split(searchPath, ":") {
		if info, err := p.M.stat(path.Join(dir, name)); err == nil && !info.IsDir() && info.Perm&0o111 != 0 {
			if text, err := p.M.readFile(path.Join(dir, name)); err == nil && strings.HasPrefix(text, "#!") {
				return path.Join(dir, name), true
			}
		}
	}
	return "", false
}

// lookup finds a program of the machine: one that was added, one of its base or
// one of an installed package.
func (m *Machine) lookup(name string) Program {
	if dir := path.Dir(name); strings.Contains(name, "/") {
		if run, ok := helpers[name]; ok && m.owns(name) {
			return run
		}
		if run := m.released(name); run != nil {
			return run
		}
		switch dir {
		case "/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin":
			name = path.Base(name)
		default:
			return nil
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if run := m.added[name]; run != nil {
		return run
	}
	if run := m.base[name]; run != nil {
		return run
	}
	for _, one := range m.packages {
		if one.state == stateInstalled && slices.Contains(one.Programs, name) {
			return packaged[name]
		}
	}
	return nil
}

// released is the program in a file that is one of a release, whatever its name.
func (m *Machine) released(name string) Program {
	switch {
	case m.isStepCA(name):
		return runStepCA
	case m.isTraefik(name):
		return runTraefik
	}
	return nil
}

// find is lookup for a program that a shell looks for, too.
func (m *Machine) find(name string) Program {
	run := m.lookup(name)
	if run == nil && !strings.Contains(name, "/") {
		if at := m.inPath(name); at != "" {
			run = m.released(at)
		}
	}
	return run
}

// reason is an error as programs print it.
func reason(err error) string {
	var number syscall.Errno
	if errors.As(err, &number) {
		if text, ok := reasons[number]; ok {
			return text
		}
		return number.Error()
	}
	return err.Error()
}

var reasons = map[syscall.Errno]string{
	syscall.ENOENT: "No such file or directory", syscall.ENOTDIR: "Not a directory", syscall.EISDIR: "Is a directory",
	syscall.EEXIST: "File exists", syscall.ENOTEMPTY: "Directory not empty", syscall.EACCES: "Permission denied",
	syscall.EPERM: "Operation not permitted", syscall.EROFS: "Read-only file system", syscall.EXDEV: "Invalid cross-device link",
	syscall.EBUSY: "Device or resource busy", syscall.EINVAL: "Invalid argument", syscall.ELOOP: "Too many levels of symbolic links",
	syscall.ESRCH: "No such process", syscall.ENOEXEC: "Exec format error",
	syscall.ENOSPC: "No space left on device", syscall.ENOSYS: "Function not implemented", syscall.ESTALE: "Stale file handle",
}
