// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// The interpreter knows no umask, no process number and no signals: they live
// in variables of these names, which subshells inherit and do not hand back.
const (
	varUmask = "SIM_UMASK"
	varPID   = "SIM_PID"
	varZero  = "SIM_ARG0"
)

// shell interprets one script.
type shell struct {
	p    *Process
	name string // how it complains: bash, sh
	dash bool   // it is /bin/sh, which knows less than bash
}

// runShell is sh -c SCRIPT [NAME ARGS...], sh FILE [ARGS...], or a script on the
// input.
func runShell(_ context.Context, p *Process) int {
	sh := &shell{p: p, name: path.Base(p.Args[0]), dash: path.Base(p.Args[0]) == "sh"}
	flags, rest := shellFlags(p.Args[1:])
	var script string
	zero, input := p.Args[0], false
	switch {
	case strings.Contains(flags, "c"):
		if len(rest) == 0 {
			return sh.complain("-c requires an argument", 2)
		}
		script, rest = rest[0], rest[1:]
		if len(rest) > 0 {
			zero, rest = rest[0], rest[1:]
		}
	case len(rest) > 0 && !strings.Contains(flags, "s"):
		text, err := p.ReadFile(rest[0])
		if err != nil {
			return sh.complain(fmt.Sprintf("%s: %s", rest[0], reason(err)), 127)
		}
		script, zero, rest = text, rest[0], rest[1:]
	default:
		text, err := p.input()
		if err != nil {
			return 1
		}
		script, input = text, true
	}
	if input {
		p.Stdin = nil // the script was all of it
	}
	return sh.interpret(script, zero, append(setFlags(flags), rest...))
}

func (sh *shell) complain(text string, exit int) int {
	fmt.Fprintf(sh.p.Stderr, "%s: %s\n", sh.name, text)
	return exit
}

// shellFlags takes the options off the arguments, as letters.
func shellFlags(args []string) (flags string, rest []string) {
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			break
		}
		if !strings.HasPrefix(arg, "--") { // such as --noprofile
			flags += arg[1:]
		}
	}
	return flags, args
}

// setFlags are the options that are the script's, as its parameters take them.
func setFlags(flags string) []string {
	out := []string{}
	for _, flag := range flags {
		if strings.ContainsRune("eux", flag) {
			out = append(out, "-"+string(flag))
		}
	}
	return append(out, "--")
}

// interpret runs a script statement by statement, as shells do: what stands
// before a syntax error has run.
func (sh *shell) interpret(script, zero string, params []string) int {
	p := sh.p
	p.M.shells.Store(p.pid, true)
	defer p.M.shells.Delete(p.pid)
	stdin, closeStdin := sh.stdin()
	defer closeStdin()
	runner, err := interp.New(append(sh.handlers(zero, stdin), interp.Params(params...))...)
	if err != nil {
		return sh.complain(err.Error(), 2)
	}
	runner.Reset()
	runner.Dir = p.Dir // a folder of this machine, which the option would look for elsewhere
	status := error(nil)
	for stmt, err := range syntax.NewParser(syntax.Variant(syntax.LangBash)).StmtsSeq(strings.NewReader(script)) {
		if err != nil {
			return sh.complain(fmt.Sprintf("%v", err), 2)
		}
		if refused := sh.refuse(stmt); refused != "" {
			return sh.complain(fmt.Sprintf("%d: Syntax error: %s", stmt.Pos().Line(), refused), 2)
		}
		prepare(stmt)
		status = runner.Run(p.ctx, stmt)
		if runner.Exited() || p.ctx.Err() != nil {
			return exitOf(status)
		}
	}
	return sh.end(runner, exitOf(status))
}

// end exits with the last status, which runs the EXIT trap.
func (sh *shell) end(runner *interp.Runner, status int) int {
	file, err := syntax.NewParser().Parse(strings.NewReader(fmt.Sprintf("exit %d", status)), "")
	if err != nil {
		return 2
	}
	return exitOf(runner.Run(sh.p.ctx, file))
}

// stdin gives the interpreter a file to read from, as it wants one.
func (sh *shell) stdin() (io.Reader, func()) {
	in := sh.p.Stdin
	if file, ok := in.(*os.File); ok || in == nil {
		if file == nil {
			return nil, func() {}
		}
		return file, func() {}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, func() {}
	}
	go func() {
		_, _ = io.Copy(w, in) // a script that ends early reads no further
		_ = w.Close()         // nothing is lost: a pipe has no buffer of ours
	}()
	return r, func() { _ = r.Close() } // closed twice at worst
}

func exitOf(err error) int {
	var status interp.ExitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	}
	return 137
}

// handlers bind the interpreter to the machine's files and programs.
func (sh *shell) handlers(zero string, stdin io.Reader) []interp.RunnerOption {
	p := sh.p
	env := append(append([]string{}, p.Env...), "PWD="+p.Dir, "UID=0", "EUID=0", "GID=0", "TMPDIR=/nonexistent",
		fmt.Sprintf("%s=%04o", varUmask, p.Umask), varPID+"="+strconv.FormatInt(p.pid, 10), varZero+"="+zero)
	if !sh.dash {
		env = append(env, "HOSTNAME="+p.M.Hostname())
	}
	return []interp.RunnerOption{
		interp.Env(expand.ListEnviron(env...)),
		interp.Dir("/"),
		interp.StdIO(stdin, p.Stdout, p.Stderr),
		interp.CallHandler(sh.call),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return sh.execute }),
		interp.OpenHandler(sh.open),
		interp.ReadDirHandler2(func(_ context.Context, name string) ([]fs.DirEntry, error) {
			entries, err := p.M.readDir(name)
			out := make([]fs.DirEntry, len(entries))
			for i, entry := range entries {
				out[i] = fs.FileInfoToDirEntry(entry)
			}
			return out, err
		}),
		interp.StatHandler(func(_ context.Context, name string, follow bool) (fs.FileInfo, error) {
			if follow {
				return p.M.stat(name)
			}
			return p.M.lstat(name)
		}),
		interp.AccessHandler(func(_ context.Context, name string, mode interp.AccessMode) error {
			info, err := p.M.stat(name)
			if err == nil && mode&interp.AccessExec != 0 && info.Perm&0o111 == 0 {
				return fs.ErrPermission
			}
			return err
		}),
	}
}

func (sh *shell) open(ctx context.Context, name string, flag int, _ fs.FileMode) (io.ReadWriteCloser, error) {
	hc := interp.HandlerCtx(ctx)
	c := *sh.p
	c.Dir, c.Stdin, c.Umask = hc.Dir, hc.Stdin, umaskOf(hc.Env)
	if name == "/dev/stdout" || name == "/dev/stderr" {
		w := hc.Stdout
		if name == "/dev/stderr" {
			w = hc.Stderr
		}
		return stream{w}, nil
	}
	f, err := c.open(name, flag)
	if err != nil {
		prefix := sh.name + ": line 1: "
		if sh.dash {
			prefix = sh.name + ": 1: cannot open "
		}
		return nil, &fs.PathError{Op: "open", Path: prefix + name, Err: errors.New(reason(err))}
	}
	return f, nil
}

func umaskOf(env expand.Environ) fs.FileMode {
	n, err := strconv.ParseUint(env.Get(varUmask).String(), 8, 16)
	if err != nil {
		return 0o022
	}
	return fs.FileMode(n & 0o777)
}

// execute runs a program of the machine; there are no others.
func (sh *shell) execute(ctx context.Context, args []string) error {
	hc := interp.HandlerCtx(ctx)
	c := sh.p.child(ctx)
	c.Dir, c.Stdin, c.Stdout, c.Stderr, c.Umask = hc.Dir, hc.Stdin, hc.Stdout, hc.Stderr, umaskOf(hc.Env)
	c.Env, c.Args = exported(hc.Env), args
	var exit int
	switch {
	case builtins[args[0]] != nil:
		exit = builtins[args[0]](sh, c)
	case c.M.find(args[0]) == nil && !c.exists(args[0]):
		if _, struck := c.M.faults.strike(ctx, strings.Join(args, " "), io.Discard); !struck {
			fmt.Fprintf(hc.Stderr, sh.notFound(), hc.Pos.Line(), args[0])
			return interp.ExitStatus(127)
		}
		exit = c.Exec(args)
	default:
		exit = c.Exec(args)
	}
	if err := sh.p.ctx.Err(); err != nil {
		return err
	}
	if exit != 0 {
		return interp.ExitStatus(uint8(exit)) // programs exit with 0 to 255
	}
	return nil
}

func (sh *shell) notFound() string {
	if sh.dash {
		return "sh: %d: %s: not found\n"
	}
	return "bash: line %d: %s: command not found\n"
}

// exists tells whether a name is a file to be run.
func (p *Process) exists(name string) bool {
	_, found := p.findScript(name)
	return found
}

// exported is the environment that children get.
func exported(env expand.Environ) []string {
	var out []string
	env.Each(func(name string, v expand.Variable) bool {
		hidden := strings.HasPrefix(name, "SIM_") || name == "UID" || name == "EUID" || name == "GID" || name == "TMPDIR" && v.String() == "/nonexistent"
		if v.Exported && v.Kind == expand.String && !hidden {
			out = append(out, name+"="+v.String())
		}
		return true
	})
	return out
}

// stream is a place to write that is open already.
type stream struct{ io.Writer }

// Read implements io.Reader.
func (stream) Read([]byte) (int, error) { return 0, io.EOF }

// Close implements io.Closer.
func (stream) Close() error { return nil }
