// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

func basePrograms() map[string]Program {
	return map[string]Program{
		"sh": runShell, "bash": runShell, "dash": runShell, "cat": runCat, "mkdir": runMkdir, "rmdir": runRmdir, "rm": runRm, "mv": runMv, "cp": runCp,
		"ln": runLn, "chmod": runChmod, "chown": runChown, "chgrp": runChown, "stat": runStat, "sha1sum": sum(sha1Of), "sha256sum": sum(sha256Of),
		"base64": runBase64, "readlink": runReadlink, "realpath": runReadlink, "mktemp": runMktemp, "ls": runLs, "find": runFind, "head": runHead, "tail": runTail,
		"cut": runCut, "tr": runTr, "sort": runSort, "uniq": runUniq, "wc": runWc, "grep": runGrep, "egrep": runGrep, "fgrep": runGrep, "sed": runSed,
		"date": runDate, "sleep": runSleep, "timeout": runTimeout, "id": runID, "getent": runGetent, "hostname": runHostname, "uname": runUname,
		"tee": runTee, "sync": runNothing, "touch": runTouch, "xargs": runXargs, "env": runEnv, "nproc": runNproc, "cmp": runCmp, "install": runInstall,
		"true": runNothing, "false": func(context.Context, *Process) int { return 1 }, "basename": runBasename, "dirname": runBasename,
		"echo": byShell(`echo "$@"`), "printf": byShell(`printf "$@"`), "test": byShell(`test "$@"`), "[": byShell(`[ "$@"`), "setsid": runPrefix, "nohup": runPrefix,
		"dpkg": runDpkgQuery, "dpkg-query": runDpkgQuery, "apt-get": runAptGet, "apt-cache": runAptCache,
		"systemctl": runSystemctl, "systemd-run": runSystemdRun, "journalctl": runJournalctl, "systemd-escape": runEscape, "logger": runLogger,
		"start-stop-daemon": runNothing, "tar": runTar, "useradd": runUseradd, "groupadd": runGroupadd,
		"mount": runMount, "umount": runUmount, "mountpoint": runMountpoint, "findmnt": runFindmnt,
	}
}

func runNothing(context.Context, *Process) int { return 0 }

// byShell is a program that is a builtin of the shell.
func byShell(script string) Program {
	return func(_ context.Context, p *Process) int {
		return (&shell{p: p, name: path.Base(p.Args[0])}).interpret(script, p.Args[0], append([]string{"--"}, p.Args[1:]...))
	}
}

// runPrefix runs its arguments.
func runPrefix(_ context.Context, p *Process) int {
	args := p.Args[1:]
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		args = args[1:]
	}
	return p.Exec(args)
}

func runSleep(ctx context.Context, p *Process) int {
	total := time.Duration(0)
	for _, arg := range p.Args[1:] {
		d, ok := span(arg)
		if !ok {
			return p.Errorf("invalid time interval ‘%s’", arg)
		}
		total += d
	}
	if total <= 0 {
		return 0
	}
	timer := time.NewTimer(total)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return 0
}

func runTimeout(ctx context.Context, p *Process) int {
	f, ok := p.parseLeading("k: kill-after:=k s: signal:=s foreground preserve-status v")
	if !ok || len(f.args) < 2 {
		return 125
	}
	limit, ok := span(f.args[0])
	if !ok {
		p.Errorf("invalid time interval ‘%s’", f.args[0])
		return 125
	}
	if limit <= 0 {
		return p.Exec(f.args[1:])
	}
	short, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	exit := p.child(short).Exec(f.args[1:])
	if short.Err() != nil && ctx.Err() == nil {
		return 124
	}
	return exit
}

func runHostname(_ context.Context, p *Process) int {
	f, ok := p.parse("f fqdn=f s short=s I i d A all-ip-addresses=I")
	if !ok {
		return 1
	}
	name := p.M.Hostname()
	switch {
	case f.has("I"), f.has("i"):
		var out []string
		for _, a := range p.M.Addresses() {
			out = append(out, a.String())
		}
		p.Printf("%s \n", strings.Join(out, " "))
		return 0
	case len(f.args) > 0:
		p.M.mu.Lock()
		p.M.hostname = f.args[0]
		p.M.mu.Unlock()
		return 0
	case f.has("s"):
		name, _, _ = strings.Cut(name, ".")
	}
	p.Printf("%s\n", name)
	return 0
}

func runUname(_ context.Context, p *Process) int {
	f, ok := p.parse("a s n r m v o")
	if !ok {
		return 1
	}
	parts := []struct{ flag, text string }{
		{"s", "Linux"}, {"n", p.M.Hostname()}, {"r", "6.1.0-28-amd64"}, {"v", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1"}, {"m", "x86_64"}, {"o", "GNU/Linux"},
	}
	var out []string
	for _, part := range parts {
		if f.has(part.flag) || f.has("a") || len(f.set) == 0 && part.flag == "s" {
			out = append(out, part.text)
		}
	}
	p.Printf("%s\n", strings.Join(out, " "))
	return 0
}

var dateForms = strings.NewReplacer("%s", "\x00s", "%Y", "2006", "%m", "01", "%d", "02", "%H", "15", "%M", "04", "%S", "05", "%F", "2006-01-02",
	"%T", "15:04:05", "%z", "-0700", "%Z", "MST", "%N", "000000000", "%b", "Jan", "%a", "Mon", "%%", "%")

func runDate(_ context.Context, p *Process) int {
	f, ok := p.parse("u utc=u d: date:=d I R iso-8601=I r:")
	if !ok {
		return 1
	}
	at := p.M.now().UTC()
	if text := f.last("d", ""); text != "" {
		parsed, err := parseTime(text, at)
		if err != nil {
			return p.Errorf("invalid date ‘%s’", text)
		}
		at = parsed.UTC()
	}
	format := "+%a %b %d %H:%M:%S %Z %Y"
	if f.has("I") {
		format = "+%F"
	}
	if len(f.args) > 0 {
		format = f.args[0]
	}
	text := at.Format(dateForms.Replace(strings.TrimPrefix(format, "+")))
	p.Printf("%s\n", strings.ReplaceAll(text, "\x00s", strconv.FormatInt(at.Unix(), 10)))
	return 0
}

func runXargs(_ context.Context, p *Process) int {
	f, ok := p.parseLeading("0 null=0 r no-run-if-empty=r n: max-args:=n I: d: delimiter:=d P: t")
	if !ok {
		return 1
	}
	text, err := p.input()
	if err != nil {
		return 1
	}
	words := strings.Fields(text)
	switch {
	case f.has("0"):
		words = strings.Split(strings.TrimSuffix(text, "\x00"), "\x00")
	case f.has("I"):
		words = lines(text)
	case f.has("d"):
		words = strings.Split(strings.TrimSuffix(text, "\n"), strings.ReplaceAll(f.last("d", ""), `\n`, "\n"))
	}
	if text == "" {
		words = nil
	}
	argv := f.args
	if len(argv) == 0 {
		argv = []string{"echo"}
	}
	if len(words) == 0 && (f.has("r") || f.has("I")) {
		return 0
	}
	exit := 0
	for _, argv := range batches(f, argv, words) {
		c := p.child(p.ctx)
		c.Stdin = nil
		if code := c.Exec(argv); code != 0 {
			exit = 123
			if code == 126 || code == 127 {
				return code
			}
		}
	}
	return exit
}

// batches are the command lines that xargs makes.
func batches(f flags, argv, words []string) [][]string {
	var out [][]string
	if f.has("I") {
		for _, word := range words {
			line := make([]string, len(argv))
			for i, arg := range argv {
				line[i] = strings.ReplaceAll(arg, f.last("I", "{}"), word)
			}
			out = append(out, line)
		}
		return out
	}
	size := len(words)
	if f.has("n") {
		size = max(atoi(f.last("n", "1")), 1)
	}
	for {
		n := min(size, len(words))
		out = append(out, append(append([]string{}, argv...), words[:n]...))
		if words = words[n:]; len(words) == 0 {
			return out
		}
	}
}

func runEnv(_ context.Context, p *Process) int {
	f, ok := p.parseLeading("i ignore-environment=i u: unset:=u C: chdir:=C")
	if !ok {
		return 125
	}
	c := p.child(p.ctx)
	if f.has("i") || len(f.args) > 0 && f.args[0] == "-" {
		c.Env = nil
	}
	gone := map[string]bool{}
	for _, name := range f.set["u"] {
		gone[name] = true
	}
	env := []string{}
	for _, entry := range c.Env {
		if name, _, _ := strings.Cut(entry, "="); !gone[name] {
			env = append(env, entry)
		}
	}
	args := f.args
	for len(args) > 0 && (strings.Contains(args[0], "=") || args[0] == "-") {
		if args[0] != "-" {
			env = append(env, args[0])
		}
		args = args[1:]
	}
	c.Env, c.Dir = env, p.abs(f.last("C", p.Dir))
	if len(args) > 0 {
		return c.Exec(args)
	}
	for _, entry := range env {
		p.Printf("%s\n", entry)
	}
	return 0
}

func runNproc(_ context.Context, p *Process) int {
	p.Printf("2\n")
	return 0
}

func runBasename(_ context.Context, p *Process) int {
	if len(p.Args) < 2 {
		return p.Errorf("missing operand")
	}
	if path.Base(p.Args[0]) == "dirname" {
		p.Printf("%s\n", path.Dir(p.Args[1]))
		return 0
	}
	name := path.Base(p.Args[1])
	if len(p.Args) > 2 && name != p.Args[2] {
		name = strings.TrimSuffix(name, p.Args[2])
	}
	p.Printf("%s\n", name)
	return 0
}

// runInstall is install -d, and install of files.
func runInstall(_ context.Context, p *Process) int {
	f, ok := p.parse("d directory=d D m: mode:=m o: owner:=o g: group:=g T no-target-directory=T t: target-directory:=t v C")
	if !ok {
		return 1
	}
	if f.has("d") {
		return p.installFolders(f)
	}
	pairs, exit := p.targets(f)
	for _, pair := range pairs {
		if err := p.installFile(pair[0], p.abs(pair[1]), f); err != nil {
			exit = p.Errorf("cannot install '%s' to '%s': %s", pair[0], pair[1], reason(err))
		}
	}
	return exit
}

func (p *Process) installFolders(f flags) int {
	for _, name := range f.args {
		at := p.abs(name)
		if err := p.M.mkdirAll(at, 0o755); err != nil {
			return p.Errorf("cannot create directory ‘%s’: %s", name, reason(err))
		}
		if err := p.dress(at, f); err != nil {
			return p.Errorf("%v", err)
		}
	}
	return 0
}

func (p *Process) installFile(from, to string, f flags) error {
	text, err := p.ReadFile(from)
	if err != nil {
		return err
	}
	if f.has("D") {
		if err := p.M.mkdirAll(path.Dir(to), 0o755); err != nil {
			return err
		}
	}
	_ = p.M.remove(to) // it need not be there
	if err := p.M.writeFile(to, text, 0o600); err != nil {
		return err
	}
	return p.dress(to, f)
}

// dress gives a file the owner and the mode that install was told.
func (p *Process) dress(name string, f flags) error {
	uid, gid := -1, -1
	if owner := f.last("o", ""); owner != "" {
		u, found := p.M.user(owner)
		if !found {
			return fmt.Errorf("invalid user: ‘%s’", owner)
		}
		uid = u.uid
	}
	if group := f.last("g", ""); group != "" {
		id, found := p.M.group(group)
		if !found {
			return fmt.Errorf("invalid group: ‘%s’", group)
		}
		gid = id
	}
	if err := p.M.chown(name, uid, gid, true); err != nil {
		return err
	}
	mode, err := parseMode(f.last("m", "755"), 0, false)
	if err != nil {
		return err
	}
	return p.M.chmod(name, mode)
}

func runEscape(_ context.Context, p *Process) int {
	f, ok := p.parse("p path=p suffix: u unescape=u")
	if !ok {
		return 1
	}
	var out []string
	for _, name := range f.args {
		if f.has("p") && !strings.HasPrefix(name, "/") {
			name = "/" + name
		}
		name = unitEscape(name)
		if suffix := f.last("suffix", ""); suffix != "" {
			name += "." + suffix
		}
		out = append(out, name)
	}
	p.Printf("%s\n", strings.Join(out, " "))
	return 0
}

func runLogger(_ context.Context, p *Process) int {
	f, ok := p.parse("t: tag:=t p: priority:=p s")
	if !ok {
		return 1
	}
	p.M.sys.write("", f.last("t", "root"), p.pid, strings.Join(f.args, " "))
	return 0
}
