// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// program is a command of a node. It reads the node's files through the
// machine, never those of the computer that runs the simulator.
type program func(m *machine, args []string) (exit int)

// machine is a node as a running program sees it.
type machine struct {
	s              *Server
	node           string
	ctx            context.Context
	dir            string
	stdin          io.Reader
	stdout, stderr io.Writer
}

func programs() map[string]program {
	return map[string]program{
		"cat": runCat, "sha1sum": runSHA1, "hostname": runHostname, "sh": runShell, "bash": runShell,
		"pct": runPCT, "qm": runQM, "pve-firewall": runPVEFirewall, "command-v": runWhich,
	}
}

// shell runs a command line on a node and returns its exit status.
func (s *Server) shell(ctx context.Context, node, line string, in io.Reader, out, errs io.Writer) int {
	s.mu.Lock()
	index := len(s.commands)
	s.commands = append(s.commands, SSHCommand{Node: node, Command: line, Exit: -1})
	s.mu.Unlock()
	m := &machine{s: s, node: node, ctx: ctx, dir: "/root", stdin: in, stdout: out, stderr: errs}
	exit := m.interpret(line, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands[index].Exit = exit
	return exit
}

// interpret runs a script; params are its $0, $1 and so on.
func (m *machine) interpret(script string, params []string) int {
	name := "bash"
	if len(params) > 0 {
		name = params[0]
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(script), name)
	if err != nil {
		fmt.Fprintf(m.stderr, "%s: %v\n", name, err)
		return 2
	}
	if refused := unsupported(file); refused != "" {
		fmt.Fprintf(m.stderr, "%s: %s is not simulated\n", name, refused)
		return 2
	}
	options := m.handlers()
	if len(params) > 1 {
		options = append(options, interp.Params(append([]string{"--"}, params[1:]...)...))
	}
	runner, err := interp.New(options...)
	if err != nil {
		fmt.Fprintf(m.stderr, "%s: %v\n", name, err)
		return 2
	}
	runner.Reset()
	runner.Dir = m.dir // a folder of the node, which the option would look for here
	return exitOf(runner.Run(m.ctx, file))
}

// handlers bind the interpreter to the node's files and programs.
func (m *machine) handlers() []interp.RunnerOption {
	return []interp.RunnerOption{
		interp.Env(expand.ListEnviron("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash",
			"PWD="+m.dir, "TMPDIR=/tmp", "UID=0", "EUID=0", "GID=0", "HOSTNAME="+m.node)),
		interp.Dir("/"),
		interp.StdIO(m.stdin, m.stdout, m.stderr),
		interp.CallHandler(interceptBuiltins),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return m.execute }),
		interp.OpenHandler(func(ctx context.Context, name string, flag int, _ fs.FileMode) (io.ReadWriteCloser, error) {
			return m.s.openFile(m.node, absolute(interp.HandlerCtx(ctx).Dir, name), flag)
		}),
		interp.ReadDirHandler2(func(_ context.Context, name string) ([]fs.DirEntry, error) { return m.s.readDir(m.node, name) }),
		interp.StatHandler(func(_ context.Context, name string, _ bool) (fs.FileInfo, error) { return m.s.stat(m.node, name) }),
		interp.AccessHandler(func(_ context.Context, name string, _ interp.AccessMode) error {
			_, err := m.s.stat(m.node, name)
			return err
		}),
	}
}

func exitOf(err error) int {
	var status interp.ExitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	}
	return 130
}

// unsupported names a construct that the interpreter would serve with files of
// the computer that it runs on.
func unsupported(file *syntax.File) string {
	found := ""
	syntax.Walk(file, func(n syntax.Node) bool {
		if _, ok := n.(*syntax.ProcSubst); ok {
			found = "process substitution"
		}
		return found == ""
	})
	return found
}

// interceptBuiltins keeps the interpreter's own look-ups of programs away from
// the computer's PATH.
func interceptBuiltins(_ context.Context, args []string) ([]string, error) {
	switch args[0] {
	case "command":
		if len(args) > 1 && (args[1] == "-v" || args[1] == "-V") {
			return append([]string{"command-v"}, args[2:]...), nil
		}
	case "type", "hash", "which":
		return append([]string{"command-v"}, args[1:]...), nil
	}
	return args, nil
}

// execute runs a program of the node; there are no others.
func (m *machine) execute(ctx context.Context, args []string) error {
	hc := interp.HandlerCtx(ctx)
	run, ok := programs()[programName(args[0])]
	if !ok {
		fmt.Fprintf(hc.Stderr, "bash: line 1: %s: command not found\n", args[0])
		return interp.ExitStatus(127)
	}
	child := &machine{s: m.s, node: m.node, ctx: ctx, dir: hc.Dir, stdin: hc.Stdin, stdout: hc.Stdout, stderr: hc.Stderr}
	if exit := run(child, args); exit != 0 {
		return interp.ExitStatus(uint8(exit)) // programs exit with 0 to 255
	}
	return nil
}

func (m *machine) run(argv []string) int {
	run, ok := programs()[programName(argv[0])]
	if !ok {
		fmt.Fprintf(m.stderr, "%s: command not found\n", argv[0])
		return 127
	}
	return run(m, argv)
}

// programName is a program's name without the folders that hold programs.
func programName(arg string) string {
	switch path.Dir(arg) {
	case "/bin", "/sbin", "/usr/bin", "/usr/sbin":
		return path.Base(arg)
	}
	return arg
}

func runWhich(m *machine, args []string) int {
	exit := 0
	for _, name := range args[1:] {
		switch {
		case programs()[name] != nil:
			fmt.Fprintln(m.stdout, "/usr/bin/"+name)
		case interp.IsBuiltin(name):
			fmt.Fprintln(m.stdout, name)
		default:
			exit = 1
		}
	}
	return exit
}

// runShell is sh -c SCRIPT [NAME ARGS...], sh FILE, or a script on the input.
func runShell(m *machine, args []string) int {
	rest := args[1:]
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") && !strings.Contains(rest[0], "c") && rest[0] != "-s" {
		rest = rest[1:]
	}
	switch {
	case len(rest) > 1 && strings.HasPrefix(rest[0], "-"):
		return m.interpret(rest[1], append([]string{args[0]}, rest[min(3, len(rest)):]...))
	case len(rest) > 0 && rest[0] != "-s":
		text, err := m.s.readFile(m.node, absolute(m.dir, rest[0]))
		if err != nil {
			fmt.Fprintf(m.stderr, "%s: %s: No such file or directory\n", args[0], rest[0])
			return 127
		}
		return m.interpret(text, rest)
	}
	script, err := io.ReadAll(m.stdin)
	if err != nil {
		return 1
	}
	m.stdin = strings.NewReader("")
	return m.interpret(string(script), args[:1])
}

func runHostname(m *machine, _ []string) int {
	fmt.Fprintln(m.stdout, m.node)
	return 0
}

// eachFile calls do with every file that the arguments name, standard input for
// "-" or for none, and complains about those that are not there.
func (m *machine) eachFile(args []string, do func(name, text string)) int {
	names, exit := args[1:], 0
	if len(names) == 0 {
		names = []string{"-"}
	}
	for _, name := range names {
		if name == "--" {
			continue
		}
		text, err := m.readArgument(name)
		if err != nil {
			exit = 1
			fmt.Fprintf(m.stderr, "%s: %s: %s\n", args[0], name, reasonOf(err))
			continue
		}
		do(name, text)
	}
	return exit
}

func (m *machine) readArgument(name string) (string, error) {
	if name != "-" {
		return m.s.readFile(m.node, absolute(m.dir, name))
	}
	if m.stdin == nil {
		return "", nil
	}
	text, err := io.ReadAll(m.stdin)
	return string(text), err
}

func reasonOf(err error) string {
	switch {
	case errors.Is(err, errIsDir):
		return "Is a directory"
	case errors.Is(err, fs.ErrPermission):
		return "Permission denied"
	}
	return "No such file or directory"
}

func runCat(m *machine, args []string) int {
	return m.eachFile(args, func(_, text string) { _, _ = io.WriteString(m.stdout, text) }) // a reader that left is not cat's fault
}

func runSHA1(m *machine, args []string) int {
	return m.eachFile(args, func(name, text string) { fmt.Fprintf(m.stdout, "%s  %s\n", digestOf(text), name) })
}
