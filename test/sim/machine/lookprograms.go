// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func runStat(_ context.Context, p *Process) int {
	f, ok := p.parse("c: format:=c printf: L dereference=L f t")
	if !ok {
		return 1
	}
	exit := 0
	for _, name := range f.args {
		info, err := p.M.lstat(p.abs(name))
		if err == nil && f.has("L") {
			info, err = p.M.stat(p.abs(name))
		}
		if err != nil {
			exit = p.Errorf("cannot statx '%s': %s", name, reason(err))
			continue
		}
		switch {
		case f.has("printf"):
			p.Printf("%s", strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\0`, "\x00").Replace(p.statLine(f.last("printf", ""), name, info)))
		case f.has("c"):
			p.Printf("%s\n", p.statLine(f.last("c", ""), name, info))
		default:
			p.Printf("%s\n", p.statLine("  File: %n\n  Size: %s\t%F\nAccess: (%a/%A)  Uid: (%u/%U)   Gid: (%g/%G)\nModify: %y", name, info))
		}
	}
	return exit
}

func (p *Process) statLine(format, name string, i Info) string {
	target := ""
	if i.Perm&fs.ModeSymlink != 0 {
		target = fmt.Sprintf(" -> '%s'", i.Target)
	}
	return strings.NewReplacer(
		"%%", "%", "%n", name, "%N", "'"+name+"'"+target, "%s", strconv.FormatInt(i.Length, 10), "%F", fileKind(i),
		"%a", strconv.FormatUint(uint64(octal(i.Perm)), 8), "%A", modeText(i.Perm), "%u", strconv.Itoa(i.UID), "%g", strconv.Itoa(i.GID),
		"%U", p.M.userName(i.UID), "%G", p.M.groupName(i.GID), "%Y", strconv.FormatInt(i.Changed.Unix(), 10),
		"%y", i.Changed.UTC().Format("2006-01-02 15:04:05.000000000 -0700"), "%i", strconv.FormatUint(i.Inode, 10), "%h", "1",
		"%f", strconv.FormatUint(uint64(rawMode(i.Perm)), 16), "%Z", strconv.FormatInt(i.Changed.Unix(), 10), "%X", strconv.FormatInt(i.Changed.Unix(), 10),
	).Replace(format)
}

func rawMode(mode fs.FileMode) uint32 {
	kind := uint32(0o100000)
	switch {
	case mode.IsDir():
		kind = 0o040000
	case mode&fs.ModeSymlink != 0:
		kind = 0o120000
	case mode&fs.ModeCharDevice != 0:
		kind = 0o020000
	}
	return kind | octal(mode)
}

func fileKind(i Info) string {
	switch {
	case i.Perm.IsDir():
		return "directory"
	case i.Perm&fs.ModeSymlink != 0:
		return "symbolic link"
	case i.Perm&fs.ModeDevice != 0:
		return "character special file"
	case i.Length == 0:
		return "regular empty file"
	}
	return "regular file"
}

func modeText(mode fs.FileMode) string {
	text := []byte(mode.Perm().String())
	switch {
	case mode.IsDir():
		text[0] = 'd'
	case mode&fs.ModeSymlink != 0:
		text[0] = 'l'
	case mode&fs.ModeDevice != 0:
		text[0] = 'c'
	}
	for _, bit := range []struct {
		bit fs.FileMode
		at  int
		set byte
	}{{fs.ModeSetuid, 3, 's'}, {fs.ModeSetgid, 6, 's'}, {fs.ModeSticky, 9, 't'}} {
		if mode&bit.bit != 0 {
			if text[bit.at] == '-' {
				bit.set -= 'a' - 'A'
			}
			text[bit.at] = bit.set
		}
	}
	return string(text)
}

func runLs(_ context.Context, p *Process) int {
	f, ok := p.parse("l 1 a all=a A almost-all=A d directory=d n R t r h i p F")
	if !ok {
		return 2
	}
	names, exit := f.args, 0
	if len(names) == 0 {
		names = []string{"."}
	}
	for _, name := range names {
		info, err := p.M.stat(p.abs(name))
		if err != nil {
			info, err = p.M.lstat(p.abs(name))
		}
		if err != nil {
			p.Errorf("cannot access '%s': %s", name, reason(err))
			exit = 2
			continue
		}
		if !info.IsDir() || f.has("d") {
			p.lsLine(f, name, info)
			continue
		}
		if len(names) > 1 {
			p.Printf("%s:\n", name)
		}
		exit = max(exit, p.lsFolder(f, name))
	}
	return exit
}

func (p *Process) lsFolder(f flags, name string) int {
	entries, err := p.M.readDir(p.abs(name))
	if err != nil {
		return p.Errorf("cannot open directory '%s': %s", name, reason(err))
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Base, ".") || f.has("a") || f.has("A") {
			p.lsLine(f, entry.Base, entry)
		}
	}
	return 0
}

func (p *Process) lsLine(f flags, name string, i Info) {
	if !f.has("l") {
		p.Printf("%s\n", name)
		return
	}
	if i.Perm&fs.ModeSymlink != 0 {
		name += " -> " + i.Target
	}
	owner, group := p.M.userName(i.UID), p.M.groupName(i.GID)
	if f.has("n") {
		owner, group = strconv.Itoa(i.UID), strconv.Itoa(i.GID)
	}
	p.Printf("%s 1 %s %s %d %s %s\n", modeText(i.Perm), owner, group, i.Length, i.Changed.UTC().Format("Jan _2 15:04"), name)
}

// finder is a find with the tests that it was given.
type finder struct {
	p              *Process
	min, max       int
	kind           string
	broken         bool // links to nowhere alone
	names, paths   []string
	targets        []string
	zero, del      bool
	mounted, empty bool
}

func runFind(_ context.Context, p *Process) int {
	args := p.Args[1:]
	var roots []string
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		roots, args = append(roots, args[0]), args[1:]
	}
	if len(roots) == 0 {
		roots = []string{"."}
	}
	find := &finder{p: p, max: 1 << 20}
	for len(args) > 0 {
		var bad string
		if args, bad = find.test(args); bad != "" {
			return p.Errorf("%s", bad)
		}
	}
	exit := 0
	for _, root := range roots {
		info, err := p.M.lstat(p.abs(root))
		if err != nil {
			exit = p.Errorf("‘%s’: %s", root, reason(err))
			continue
		}
		find.walk(root, info, 0)
	}
	return exit
}

func (f *finder) test(args []string) (rest []string, bad string) {
	value := ""
	if len(args) > 1 {
		value = args[1]
	}
	switch args[0] {
	case "-maxdepth":
		f.max = atoi(value)
	case "-mindepth":
		f.min = atoi(value)
	case "-type":
		f.kind = value
	case "-xtype":
		if value != "l" {
			return nil, "unsupported argument to `-xtype': " + value
		}
		f.broken = true
	case "-lname":
		f.targets = append(f.targets, value)
	case "-name":
		f.names = append(f.names, value)
	case "-path":
		f.paths = append(f.paths, value)
	case "-print", "-print0", "-delete", "-xdev", "-mount", "-empty":
		f.zero = f.zero || args[0] == "-print0"
		f.del = f.del || args[0] == "-delete"
		f.empty = f.empty || args[0] == "-empty"
		f.mounted = f.mounted || args[0] == "-xdev" || args[0] == "-mount"
		return args[1:], ""
	default:
		return nil, "unknown predicate `" + args[0] + "'"
	}
	if len(args) < 2 {
		return nil, "missing argument to `" + args[0] + "'"
	}
	return args[2:], ""
}

func (f *finder) walk(name string, i Info, depth int) {
	foreign := f.mounted && depth > 0 && f.p.M.busy(f.p.abs(name))
	if i.IsDir() && depth < f.max && !foreign {
		entries, _ := f.p.M.readDir(f.p.abs(name)) // it was there a moment ago
		if !f.del {
			f.report(name, i, depth)
		}
		for _, entry := range entries {
			f.walk(strings.TrimSuffix(name, "/")+"/"+entry.Base, entry, depth+1)
		}
		if f.del {
			f.report(name, i, depth)
		}
		return
	}
	f.report(name, i, depth)
}

func (f *finder) report(name string, i Info, depth int) {
	if depth < f.min || !f.matches(name, i) {
		return
	}
	switch {
	case f.del:
		if err := f.p.M.remove(f.p.abs(name)); err != nil {
			f.p.Errorf("cannot delete ‘%s’: %s", name, reason(err))
		}
	case f.zero:
		f.p.Printf("%s\x00", name)
	default:
		f.p.Printf("%s\n", name)
	}
}

func (f *finder) matches(name string, i Info) bool {
	kind := "f"
	switch {
	case i.IsDir():
		kind = "d"
	case i.Perm&fs.ModeSymlink != 0:
		kind = "l"
	}
	if f.kind != "" && !strings.Contains(f.kind, kind) {
		return false
	}
	if f.empty && !f.isEmpty(name, i) || f.broken && !f.isBroken(name, i) {
		return false
	}
	if len(f.targets) > 0 && kind != "l" || !allMatch(f.targets, i.Target) || !allMatch(f.paths, name) {
		return false
	}
	for _, pattern := range f.names {
		if hit, err := path.Match(pattern, path.Base(name)); err != nil || !hit {
			return false
		}
	}
	return true
}

func allMatch(patterns []string, text string) bool {
	return !slices.ContainsFunc(patterns, func(pattern string) bool { return !glob(pattern).MatchString(text) })
}

func (f *finder) isEmpty(name string, i Info) bool {
	if !i.IsDir() {
		return i.Length == 0
	}
	entries, err := f.p.M.readDir(f.p.abs(name))
	return err == nil && len(entries) == 0
}

func (f *finder) isBroken(name string, i Info) bool {
	_, err := f.p.M.stat(f.p.abs(name))
	return i.Perm&fs.ModeSymlink != 0 && err != nil
}

func runReadlink(_ context.Context, p *Process) int {
	f, ok := p.parse("f canonicalize=f e m n no-newline=n q s")
	if !ok {
		return 1
	}
	canonical := f.has("f") || f.has("e") || f.has("m") || path.Base(p.Args[0]) == "realpath"
	exit := 0
	for _, name := range f.args {
		target, err := p.link(name, canonical, f.has("e"))
		if err != nil {
			exit = 1
			continue
		}
		p.Printf("%s", target)
		if !f.has("n") {
			p.Printf("\n")
		}
	}
	return exit
}

// link reads a link, or finds where a path leads to in the end.
func (p *Process) link(name string, canonical, existing bool) (string, error) {
	if name == "/proc/self/cwd" {
		return p.M.resolve(p.abs("."), true)
	}
	if !canonical {
		info, err := p.M.lstat(p.abs(name))
		if err == nil && info.Target == "" {
			err = syscall.EINVAL
		}
		return info.Target, err
	}
	target, err := p.M.resolve(p.abs(name), true)
	if err == nil && existing {
		_, err = p.M.lstat(target)
	}
	return target, err
}

func runMktemp(_ context.Context, p *Process) int {
	f, ok := p.parse("d directory=d p: tmpdir:=p t q quiet=q u suffix:")
	if !ok {
		return 1
	}
	template := "tmp.XXXXXXXXXX"
	dir := f.last("p", "")
	if len(f.args) > 0 {
		template = f.args[0]
		if f.has("t") && dir == "" {
			dir = "/tmp"
		}
	} else if dir == "" {
		dir = "/tmp"
	}
	stem := strings.TrimRight(template, "X")
	if len(template)-len(stem) < 3 {
		return p.Errorf("too few X's in template ‘%s’", template)
	}
	name := stem + randomText(len(template)-len(stem)) + f.last("suffix", "")
	if dir != "" {
		name = path.Join(dir, name)
	}
	var err error
	if f.has("d") {
		err = p.M.mkdir(p.abs(name), 0o700)
	} else {
		err = p.M.writeFile(p.abs(name), "", 0o600)
	}
	if err != nil {
		return p.Errorf("failed to create file via template ‘%s’: %s", template, reason(err))
	}
	p.Printf("%s\n", name)
	return 0
}

func runTouch(_ context.Context, p *Process) int {
	f, ok := p.parse("c no-create=c d: date:=d m a r: t:")
	if !ok {
		return 1
	}
	at := p.M.now()
	if text := f.last("d", ""); text != "" {
		parsed, err := parseTime(text, at)
		if err != nil {
			return p.Errorf("invalid date format ‘%s’", text)
		}
		at = parsed
	}
	exit := 0
	for _, name := range f.args {
		if _, err := p.M.stat(p.abs(name)); err != nil {
			if f.has("c") {
				continue
			}
			if err := p.M.writeFile(p.abs(name), "", 0o666&^p.Umask); err != nil {
				exit = p.Errorf("cannot touch '%s': %s", name, reason(err))
				continue
			}
		}
		if err := p.M.chtimes(p.abs(name), at); err != nil {
			exit = p.Errorf("setting times of '%s': %s", name, reason(err))
		}
	}
	return exit
}

func parseTime(text string, now time.Time) (time.Time, error) {
	if seconds, ok := strings.CutPrefix(text, "@"); ok {
		n, err := strconv.ParseInt(seconds, 10, 64)
		return time.Unix(n, 0), err
	}
	if text == "now" {
		return now, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return now, errors.New("unknown form of a date")
}
