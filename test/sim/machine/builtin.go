// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// builtins are commands of the shell that the interpreter lacks, or that it
// would answer with what it finds on the computer that it runs on.
var builtins map[string]func(sh *shell, p *Process) int

func init() { // the table refers to functions that refer to it
	builtins = map[string]func(sh *shell, p *Process) int{
		"sim-which": runWhich, "sim-umask": showUmask, "sim-echo": dashEcho, "sim-refuse": refuseBuiltin,
	}
}

// call changes what the interpreter would do by itself.
func (sh *shell) call(ctx context.Context, args []string) ([]string, error) {
	switch args[0] {
	case "command":
		if len(args) > 1 && (args[1] == "-v" || args[1] == "-V") {
			return append([]string{"sim-which"}, args[2:]...), nil
		}
	case "type", "hash", "which":
		return append([]string{"sim-which"}, args[1:]...), nil
	case "umask":
		return umaskCall(args), nil
	case "trap":
		return sh.trap(ctx, args), nil
	case "echo":
		if sh.dash {
			return append([]string{"sim-echo"}, args[1:]...), nil
		}
	case "eval":
		return sh.withPID(ctx, args), nil
	case "test", "[":
		if slices.Contains(args, "-O") || slices.Contains(args, "-G") || slices.Contains(args, "-t") {
			return []string{"sim-refuse", args[0]}, nil
		}
	case "kill", "ulimit", "jobs", "bg", "fg", "newgrp", "fc", "history", "suspend", "times":
		return append([]string{"sim-refuse"}, args...), nil
	case "set":
		if sh.dash && slices.Contains(args, "pipefail") {
			return []string{"sim-refuse", "set", "Illegal option -o pipefail"}, nil
		}
	}
	return args, nil
}

func refuseBuiltin(sh *shell, p *Process) int {
	text := "this use of it is not simulated"
	if len(p.Args) > 2 && strings.HasPrefix(p.Args[2], "Illegal") {
		text = p.Args[2]
	}
	fmt.Fprintf(p.Stderr, "%s: 1: %s: %s\n", sh.name, p.Args[1], text)
	return 2
}

// umaskCall keeps the mask in a variable, so that it is the subshell's own.
func umaskCall(args []string) []string {
	if len(args) != 2 {
		return []string{"sim-umask"}
	}
	n, err := strconv.ParseUint(args[1], 8, 16)
	if err != nil || n > 0o777 {
		return []string{"sim-refuse", "umask"}
	}
	return []string{"eval", fmt.Sprintf("%s=%04o", varUmask, n)}
}

func showUmask(_ *shell, p *Process) int {
	p.Printf("%04o\n", p.Umask)
	return 0
}

// withPID puts the shell's number in the place of $$, which the interpreter
// answers with its own in text that it parses itself.
func (sh *shell) withPID(ctx context.Context, args []string) []string {
	pid := interp.HandlerCtx(ctx).Env.Get(varPID).String()
	out := slices.Clone(args)
	for i := range out[1:] {
		out[i+1] = strings.ReplaceAll(out[i+1], "$$", pid)
	}
	return out
}

// trap keeps the conditions that the interpreter knows. Ignoring PIPE lets a
// script go on when its reader is gone; other signals never come.
func (sh *shell) trap(ctx context.Context, args []string) []string {
	args = sh.withPID(ctx, args)
	rest := args[1:]
	if len(rest) > 0 && rest[0] == "--" {
		rest = rest[1:]
	}
	if len(rest) < 2 {
		return []string{"trap", "-", "EXIT"}
	}
	action, known := rest[0], []string{"trap", rest[0]}
	for _, name := range rest[1:] {
		switch name = strings.TrimPrefix(name, "SIG"); name {
		case "EXIT", "0":
			known = append(known, "EXIT")
		case "ERR":
			known = append(known, "ERR")
		case "PIPE", "13":
			sh.p.session.ignorePipe.Store(action == "")
		case "HUP", "INT", "TERM", "QUIT", "1", "2", "3", "15", "USR1", "USR2":
		default:
			return []string{"sim-refuse", "trap"}
		}
	}
	if len(known) == 2 {
		return []string{":"}
	}
	return known
}

// runWhich is command -v and its like.
func runWhich(sh *shell, p *Process) int {
	exit := 0
	for _, name := range p.Args[1:] {
		switch {
		case p.M.find(name) != nil && !strings.Contains(name, "/"):
			p.Printf("%s\n", p.M.whereIs(name))
		case interp.IsBuiltin(name):
			p.Printf("%s\n", name)
		case p.M.lookup(name) != nil || p.exists(name):
			p.Printf("%s\n", name)
		default:
			exit = 1
			if sh.dash {
				exit = 127
			}
		}
	}
	return exit
}

func (m *Machine) whereIs(name string) string {
	for _, dir := range []string{"/usr/local/sbin/", "/usr/local/bin/", "/usr/sbin/", "/usr/bin/"} {
		if _, err := m.stat(dir + name); err == nil {
			return dir + name
		}
	}
	return "/usr/bin/" + name
}

// dashEcho is the echo of /bin/sh, which gives backslashes a meaning.
func dashEcho(_ *shell, p *Process) int {
	args, newline := p.Args[1:], "\n"
	if len(args) > 0 && args[0] == "-n" {
		args, newline = args[1:], ""
	}
	text := strings.Join(args, " ")
	if before, _, stop := strings.Cut(text, `\c`); stop {
		text, newline = before, ""
	}
	text = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\t`, "\t", `\a`, "\a", `\b`, "\b", `\f`, "\f", `\r`, "\r", `\v`, "\v").Replace(text)
	p.Printf("%s", text+newline)
	return 0
}

// prepare puts variables in the place of what the interpreter answers with the
// process that it is itself.
func prepare(stmt *syntax.Stmt) {
	syntax.Walk(stmt, func(n syntax.Node) bool {
		if x, ok := n.(*syntax.ParamExp); ok && x.Param != nil {
			switch x.Param.Value {
			case "$":
				x.Param.Value = varPID
			case "0":
				x.Param.Value = varZero
			}
		}
		return true
	})
}

// refuse names a construct that would reach the computer that runs the
// simulator, or that /bin/sh of Debian does not know.
func (sh *shell) refuse(stmt *syntax.Stmt) string {
	found := ""
	bodies := map[syntax.Node]bool{} // of here-documents: braces stand for themselves there
	syntax.Walk(stmt, func(n syntax.Node) bool {
		if redirect, ok := n.(*syntax.Redirect); ok && redirect.Hdoc != nil {
			bodies[redirect.Hdoc] = true
		}
		if found == "" && n != nil && !bodies[n] {
			found = foreign(n)
			if found == "" && sh.dash {
				found = bashism(n)
			}
		}
		return found == ""
	})
	return found
}

func foreign(n syntax.Node) string {
	switch n.(type) {
	case *syntax.ProcSubst:
		return "process substitution is not simulated"
	case *syntax.CoprocClause:
		return "coproc is not simulated"
	}
	return ""
}

// bashism names what dash does not understand, or understands otherwise.
func bashism(n syntax.Node) string {
	switch n := n.(type) {
	case *syntax.TestClause:
		return "[[ is bash's"
	case *syntax.ArithmCmd:
		return "((...)) is bash's"
	case *syntax.LetClause:
		return "let is bash's"
	case *syntax.ArrayExpr:
		return `"(" unexpected`
	case *syntax.CStyleLoop:
		return "Bad for loop variable"
	case *syntax.ExtGlob:
		return `"(" unexpected`
	case *syntax.FuncDecl:
		if n.RsrvWord {
			return `"(" unexpected`
		}
	case *syntax.SglQuoted:
		if n.Dollar {
			return "$'...' is bash's"
		}
	case *syntax.ParamExp:
		if n.Slice != nil || n.Repl != nil || n.Names != 0 || n.Excl || n.Index != nil {
			return "Bad substitution"
		}
	}
	return bashOperator(n)
}

func bashOperator(n syntax.Node) string {
	switch n := n.(type) {
	case *syntax.Redirect:
		switch n.Op {
		case syntax.WordHdoc, syntax.RdrAll, syntax.AppAll:
			return "redirection unexpected"
		}
	case *syntax.BinaryCmd:
		if n.Op == syntax.PipeAll {
			return `"&" unexpected`
		}
	case *syntax.DeclClause:
		switch n.Variant.Value {
		case "declare", "typeset", "nameref":
			return n.Variant.Value + " is bash's"
		}
	case *syntax.CmdSubst:
		if word := n.Stmts; len(word) == 1 && word[0].Cmd == nil && len(word[0].Redirs) == 1 {
			return "$(<file) is bash's"
		}
	case *syntax.Word:
		if braces(n) {
			return "brace expansion is bash's"
		}
	}
	return ""
}

// braces tells whether bash would expand a word to several.
func braces(w *syntax.Word) bool {
	for _, part := range w.Parts {
		if lit, ok := part.(*syntax.Lit); ok {
			open := strings.IndexByte(lit.Value, '{')
			if open >= 0 && strings.IndexByte(lit.Value[open:], '}') > 0 && strings.ContainsAny(lit.Value[open:], ",") {
				return true
			}
		}
	}
	return false
}
