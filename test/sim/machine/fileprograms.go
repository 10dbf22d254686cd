// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

func parentOf(name string) string { return path.Dir(path.Clean(name)) }

func runMkdir(_ context.Context, p *Process) int {
	f, ok := p.parse("p parents=p m: mode:=m v verbose=v")
	if !ok {
		return 1
	}
	exit := 0
	for _, name := range f.args {
		if err := p.mkdirOne(name, f); err != nil {
			exit = p.Errorf("cannot create directory ‘%s’: %s", name, reason(err))
		}
	}
	return exit
}

func (p *Process) mkdirOne(name string, f flags) error {
	at, mode := p.abs(name), 0o777&^p.Umask
	if f.has("p") {
		if info, err := p.M.stat(at); err == nil && info.IsDir() {
			return nil
		}
		if err := p.M.mkdirAll(parentOf(at), mode); err != nil {
			return err
		}
	}
	if f.has("m") {
		wanted, err := parseMode(f.last("m", ""), mode, true)
		if err != nil {
			return err
		}
		mode = wanted
	}
	return p.M.mkdir(at, mode)
}

func runRmdir(_ context.Context, p *Process) int {
	f, ok := p.parse("p parents=p ignore-fail-on-non-empty")
	if !ok {
		return 1
	}
	exit := 0
	for _, name := range f.args {
		info, err := p.M.lstat(p.abs(name))
		switch {
		case err == nil && !info.IsDir():
			err = syscall.ENOTDIR
		case err == nil:
			err = p.M.remove(p.abs(name))
		}
		if errors.Is(err, syscall.ENOTEMPTY) && f.has("ignore-fail-on-non-empty") {
			continue
		}
		if err != nil {
			exit = p.Errorf("failed to remove '%s': %s", name, reason(err))
		}
	}
	return exit
}

func runRm(_ context.Context, p *Process) int {
	f, ok := p.parse("r R=r recursive=r f force=f d dir=d v")
	if !ok {
		return 1
	}
	exit := 0
	for _, name := range f.args {
		err := p.rmOne(p.abs(name), f)
		if forgiven := f.has("f") && errors.Is(err, syscall.ENOENT); err != nil && !forgiven {
			exit = p.Errorf("cannot remove '%s': %s", name, reason(err))
		}
	}
	return exit
}

func (p *Process) rmOne(name string, f flags) error {
	info, err := p.M.lstat(name)
	switch {
	case err != nil:
		return err
	case info.IsDir() && f.has("r"):
		return p.M.removeAll(name)
	case info.IsDir() && !f.has("d"):
		return syscall.EISDIR
	}
	return p.M.remove(name)
}

// targets pairs sources with where they go: into a folder, or to the one name.
func (p *Process) targets(f flags) (pairs [][2]string, exit int) {
	args := f.args
	if dir := f.last("t", ""); dir != "" {
		args = append(args, dir)
	}
	if len(args) < 2 {
		return nil, p.Errorf("missing destination file operand")
	}
	target := args[len(args)-1]
	info, err := p.M.stat(p.abs(target))
	into := err == nil && info.IsDir() && !f.has("T")
	if !into && len(args) > 2 {
		return nil, p.Errorf("target '%s': Not a directory", target)
	}
	if !into && strings.HasSuffix(target, "/") {
		if source, err := p.M.stat(p.abs(args[0])); err != nil || !source.IsDir() {
			return nil, p.Errorf("cannot stat '%s': Not a directory", target)
		}
	}
	for _, source := range args[:len(args)-1] {
		to := target
		if into {
			to = path.Join(target, path.Base(source))
		}
		pairs = append(pairs, [2]string{source, to})
	}
	return pairs, 0
}

func runMv(_ context.Context, p *Process) int {
	f, ok := p.parse("f force=f T no-target-directory=T t: target-directory:=t n no-clobber=n v")
	if !ok {
		return 1
	}
	pairs, exit := p.targets(f)
	for _, pair := range pairs {
		from, to := p.abs(pair[0]), p.abs(pair[1])
		if _, err := p.M.lstat(from); err != nil {
			exit = p.Errorf("cannot stat '%s': %s", pair[0], reason(err))
			continue
		}
		if _, err := p.M.lstat(to); err == nil && f.has("n") {
			continue
		}
		err := p.M.rename(from, to)
		if errors.Is(err, syscall.EXDEV) {
			if err = p.copy(from, to, flags{set: map[string][]string{"r": {""}, "p": {""}, "P": {""}}}); err == nil {
				err = p.M.removeAll(from)
			}
		}
		if err != nil {
			exit = p.Errorf("cannot move '%s' to '%s': %s", pair[0], pair[1], reason(err))
		}
	}
	return exit
}

func runCp(_ context.Context, p *Process) int {
	f, ok := p.parse("r R=r recursive=r a archive=a p preserve=p P no-dereference=P d=P f force=f T no-target-directory=T t: target-directory:=t n no-clobber=n v L")
	if !ok {
		return 1
	}
	if f.has("a") {
		f.set["r"], f.set["p"], f.set["P"] = []string{""}, []string{""}, []string{""}
	}
	pairs, exit := p.targets(f)
	for _, pair := range pairs {
		to := p.abs(pair[1])
		if _, err := p.M.lstat(to); err == nil && f.has("n") {
			continue
		}
		info, err := p.M.stat(p.abs(pair[0]))
		if err == nil && info.IsDir() && !f.has("r") {
			exit = p.Errorf("-r not specified; omitting directory '%s'", pair[0])
			continue
		}
		if err := p.copy(p.abs(pair[0]), to, f); err != nil {
			exit = p.Errorf("cannot copy '%s' to '%s': %s", pair[0], pair[1], reason(err))
		}
	}
	return exit
}

// copy copies a file, a link or a folder.
func (p *Process) copy(from, to string, f flags) error {
	info, err := p.M.lstat(from)
	if err == nil && info.Perm&fs.ModeSymlink != 0 && !f.has("P") {
		info, err = p.M.stat(from)
	}
	if err != nil {
		return err
	}
	switch {
	case info.Perm&fs.ModeSymlink != 0:
		_ = p.M.remove(to) // it need not be there
		if err := p.M.symlink(info.Target, to); err != nil {
			return err
		}
		return p.M.chown(to, info.UID, info.GID, false)
	case info.IsDir():
		err = p.copyDir(from, to, f)
	default:
		var text string
		if text, err = p.M.readFile(from); err == nil {
			err = p.M.writeFile(to, text, info.Perm&modeBits&^p.Umask)
		}
	}
	if err != nil || !f.has("p") {
		return err
	}
	if err := p.M.chown(to, info.UID, info.GID, false); err != nil {
		return err
	}
	if err := p.M.chmod(to, info.Perm); err != nil {
		return err
	}
	return p.M.chtimes(to, info.Changed)
}

func (p *Process) copyDir(from, to string, f flags) error {
	if err := p.M.mkdir(to, 0o777&^p.Umask); err != nil && !errors.Is(err, syscall.EEXIST) {
		return err
	}
	entries, err := p.M.readDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := p.copy(path.Join(from, entry.Base), path.Join(to, entry.Base), f); err != nil {
			return err
		}
	}
	return nil
}

func runLn(_ context.Context, p *Process) int {
	f, ok := p.parse("s symbolic=s f force=f n no-dereference=n T no-target-directory=T t: v r")
	if !ok {
		return 1
	}
	if !f.has("s") {
		return p.Errorf("hard links are not simulated")
	}
	if len(f.args) == 1 {
		f.args = append(f.args, ".")
	}
	if len(f.args) == 2 && f.has("n") {
		if info, err := p.M.lstat(p.abs(f.args[1])); err == nil && info.Perm&fs.ModeSymlink != 0 {
			f.set["T"] = []string{""}
		}
	}
	pairs, exit := p.targets(f)
	for _, pair := range pairs {
		to := p.abs(pair[1])
		if f.has("f") {
			_ = p.M.remove(to) // it need not be there
		}
		if err := p.M.symlink(pair[0], to); err != nil {
			exit = p.Errorf("failed to create symbolic link '%s': %s", pair[1], reason(err))
		}
	}
	return exit
}

var symbolicMode = regexp.MustCompile(`^([ugoa]*)([-+=])([rwxXst]*)$`)

var errMode = errors.New("invalid mode")

// parseMode reads a mode as chmod does, octal or symbolic.
func parseMode(text string, now fs.FileMode, dir bool) (fs.FileMode, error) {
	if n, err := strconv.ParseUint(text, 8, 16); err == nil && n <= 0o7777 {
		return modeOf(uint32(n)), nil
	}
	bits := octal(now)
	for _, clause := range strings.Split(text, ",") {
		m := symbolicMode.FindStringSubmatch(clause)
		if m == nil {
			return 0, fmt.Errorf("%w: ‘%s’", errMode, text)
		}
		bits = applyClause(bits, m[1], m[2], m[3], dir)
	}
	return modeOf(bits), nil
}

func applyClause(bits uint32, who, operator, letters string, dir bool) uint32 {
	if who == "" || strings.Contains(who, "a") {
		who = "ugo"
	}
	for _, class := range who {
		shift := map[rune]uint32{'u': 6, 'g': 3, 'o': 0}[class]
		value := uint32(0)
		for _, letter := range letters {
			switch {
			case letter == 'X' && (dir || bits&0o111 != 0):
				value |= 1 << shift
			case letter == 's' && class != 'o':
				value |= map[rune]uint32{'u': 0o4000, 'g': 0o2000}[class]
			case letter == 't':
				value |= 0o1000
			default:
				value |= map[rune]uint32{'r': 4, 'w': 2, 'x': 1}[letter] << shift
			}
		}
		switch operator {
		case "+":
			bits |= value
		case "-":
			bits &^= value
		default:
			bits = bits&^(7<<shift) | value
		}
	}
	return bits
}

func runChmod(_ context.Context, p *Process) int {
	f, bad := flags{args: p.Args[1:]}, false
	if len(p.Args) > 1 && !symbolicMode.MatchString(p.Args[1]) {
		f, bad = p.parseChange()
	}
	if bad || len(f.args) < 2 {
		return p.Errorf("missing operand")
	}
	exit := 0
	for _, name := range f.args[1:] {
		err := p.each(p.abs(name), f.has("R"), func(at string, info Info) error {
			if info.Perm&fs.ModeSymlink != 0 {
				return nil
			}
			mode, err := parseMode(f.args[0], info.Perm, info.IsDir())
			if err != nil {
				return err
			}
			return p.M.chmod(at, mode)
		})
		switch {
		case errors.Is(err, errMode):
			return p.Errorf("%v", err)
		case err != nil:
			exit = p.Errorf("cannot access '%s': %s", name, reason(err))
		}
	}
	return exit
}

func (p *Process) parseChange() (flags, bool) {
	f, ok := p.parse("R recursive=R f silent=f h no-dereference=h v c reference:")
	return f, !ok
}

// each calls do for a path that leads to a file, and for what is below it.
func (p *Process) each(name string, recursive bool, do func(string, Info) error) error {
	info, err := p.M.lstat(name)
	if err == nil && info.Perm&fs.ModeSymlink != 0 && !recursive {
		info, err = p.M.stat(name)
	}
	if err != nil {
		return err
	}
	if err := do(name, info); err != nil || !recursive || !info.IsDir() {
		return err
	}
	entries, err := p.M.readDir(name)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := p.each(path.Join(name, entry.Base), true, do); err != nil {
			return err
		}
	}
	return nil
}

func runChown(_ context.Context, p *Process) int {
	f, bad := p.parseChange()
	if bad || len(f.args) < 2 {
		return p.Errorf("missing operand")
	}
	owner, group, both := strings.Cut(f.args[0], ":")
	if path.Base(p.Args[0]) == "chgrp" {
		owner, group, both = "", f.args[0], true
	}
	uid, gid := -1, -1
	if owner != "" {
		u, found := p.M.user(owner)
		if !found {
			return p.Errorf("invalid user: ‘%s’", f.args[0])
		}
		uid = u.uid
		if both && group == "" {
			gid = u.gid
		}
	}
	if group != "" {
		id, found := p.M.group(group)
		if !found {
			return p.Errorf("invalid group: ‘%s’", f.args[0])
		}
		gid = id
	}
	exit := 0
	for _, name := range f.args[1:] {
		err := p.each(p.abs(name), f.has("R"), func(at string, _ Info) error { return p.M.chown(at, uid, gid, !f.has("h")) })
		if err != nil {
			exit = p.Errorf("cannot access '%s': %s", name, reason(err))
		}
	}
	return exit
}
