// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

// Package is a Debian package of the repository.
type Package struct {
	Version string
	Depends []string
	// Conflicts are packages that its installation removes.
	Conflicts []string
	// Origin is a part of the URLs of the apt sources that have it, such as docker;
	// "" are Debian's own.
	Origin string
	// Programs that it brings: names of programs that this simulator knows.
	Programs []string
	// Files that it brings. Configuration files survive its removal.
	Files []PackageFile
	// Users are system accounts that it makes: name -> number.
	Users map[string]int
	// Starts are units that are enabled and started when it is installed.
	Starts []string
	// Configure is a command that runs when it has been unpacked.
	Configure []string
}

// PackageFile is a file of a package. A path that ends in / is a folder, one
// with a Target a symbolic link.
type PackageFile struct {
	Path, Text, Target string
	// Mode; default 0644, 0755 for folders and for what lies in bin and sbin.
	Mode fs.FileMode
	// Conf marks a configuration file: the user's changes are kept.
	Conf bool
}

const (
	stateInstalled = "ii"
	stateRemoved   = "rc" // its configuration files are left
)

// installed is a package as dpkg knows it.
type installed struct {
	Package
	state string
	auto  bool              // came along with another one
	confs map[string]string // as they were shipped
}

// Packages are the installed packages, by name, with their versions.
func (m *Machine) Packages() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]string{}
	for name, one := range m.packages {
		if one.state == stateInstalled {
			out[name] = one.Version
		}
	}
	return out
}

func (m *Machine) hasPackage(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	one := m.packages[name]
	return one != nil && one.state == stateInstalled
}

func (m *Machine) packageNames() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]string, 0, len(m.packages))
	for name := range m.packages {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}

func (m *Machine) packageRecord(name string) *installed {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.packages[name]
}

// owns tells whether a file belongs to an installed package.
func (m *Machine) owns(name string) bool {
	_, err := m.stat(name)
	return err == nil
}

// ownerOf finds the package that brought a file.
func (m *Machine) ownerOf(name string) string {
	for _, owner := range m.packageNames() {
		one := m.packageRecord(owner)
		if one.state == stateInstalled && slices.ContainsFunc(one.Files, func(f PackageFile) bool { return strings.TrimSuffix(f.Path, "/") == name }) {
			return owner
		}
	}
	return ""
}

// wanted are a package and all that it depends on which is not installed, in
// the order in which they are unpacked.
func (m *Machine) wanted(name string, seen map[string]bool, preinstalled bool) ([]string, error) {
	if seen[name] || m.hasPackage(name) {
		return nil, nil
	}
	seen[name] = true
	p, known := m.opts.Repository[name]
	if !known || !preinstalled && !m.offers(name) {
		return nil, fmt.Errorf("Unable to locate package %s", name) //nolint:staticcheck // apt begins so
	}
	var out []string
	for _, dependency := range p.Depends {
		more, err := m.wanted(dependency, seen, preinstalled)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return append(out, name), nil
}

// preinstall puts a package there before the machine has ever run: its units
// are enabled and start with Boot.
func (m *Machine) preinstall(name string) {
	names, err := m.wanted(name, map[string]bool{}, true)
	if err != nil {
		return
	}
	for _, one := range names {
		if err := m.unpack(one, one != name, true); err == nil {
			m.newProcess(m.alive(), nil, nil, nil, nil).configure(one)
			m.sys.enablePackage(one)
		}
	}
}

// unpack puts a package's files there.
func (m *Machine) unpack(name string, auto, keepConf bool) error {
	p := m.opts.Repository[name]
	old := m.packageRecord(name)
	confs := map[string]string{}
	for user, id := range p.Users {
		m.addUser(user, id, "/nonexistent")
	}
	for _, f := range p.Files {
		if f.Conf {
			confs[f.Path] = f.Text
			if keep, err := m.keepsConf(f, old, keepConf); keep || err != nil {
				if err != nil {
					return err
				}
				continue
			}
		}
		m.placeFile(f)
	}
	m.mu.Lock()
	m.packages[name] = &installed{Package: p, state: stateInstalled, auto: auto, confs: confs}
	m.mu.Unlock()
	m.countWrite()
	return nil
}

// keepsConf decides what dpkg does with a configuration file that is there.
func (m *Machine) keepsConf(f PackageFile, old *installed, keep bool) (bool, error) {
	text, err := m.readFile(f.Path)
	if old != nil && old.confs[f.Path] == f.Text {
		return true, nil // what the user made of it, even nothing
	}
	if err != nil || text == f.Text {
		return false, nil
	}
	if keep {
		return true, nil
	}
	return false, fmt.Errorf("end of file on stdin at conffile prompt: %s", f.Path)
}

// placeFile puts one file of a package there.
func (m *Machine) placeFile(f PackageFile) {
	mode := f.Mode
	dir := path.Base(path.Dir(f.Path))
	if mode == 0 {
		mode = 0o644
		if strings.HasSuffix(f.Path, "/") || dir == "bin" || dir == "sbin" {
			mode = 0o755
		}
	}
	name := strings.TrimSuffix(f.Path, "/")
	_ = m.mkdirAll(path.Dir(name), 0o755) // a file there would be the test's
	switch {
	case f.Target != "":
		_ = m.symlink(f.Target, name) // it may be there
	case name != f.Path:
		_ = m.mkdir(name, mode) // it may be there
	default:
		_ = m.writeFile(name, f.Text, mode) // its folder is there
		_ = m.chmod(name, mode)             // it was written
	}
}

// takeOff removes a package's files; its configuration only when purged.
func (m *Machine) takeOff(name string, purge bool) {
	one := m.packageRecord(name)
	if one == nil {
		return
	}
	var folders []string
	for _, f := range one.Files {
		switch {
		case f.Conf && !purge:
		case strings.HasSuffix(f.Path, "/"):
			folders = append(folders, strings.TrimSuffix(f.Path, "/"))
		default:
			_ = m.remove(f.Path) // the user may have been faster
			folders = append(folders, path.Dir(f.Path))
		}
	}
	sort.Sort(sort.Reverse(sort.StringSlice(folders)))
	for _, folder := range slices.Compact(folders) {
		if !baseFolder[folder] {
			_ = m.remove(folder) // what is not empty stays, as with dpkg
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if purge || len(one.confs) == 0 {
		delete(m.packages, name)
	} else {
		gone := *one
		gone.state = stateRemoved
		m.packages[name] = &gone
	}
	m.countWrite()
}

// dependants are the installed packages that cannot do without one.
func (m *Machine) dependants(name string) []string {
	var out []string
	for _, other := range m.packageNames() {
		one := m.packageRecord(other)
		if one.state == stateInstalled && slices.Contains(one.Depends, name) {
			out = append(out, other)
		}
	}
	return out
}

// needless are packages that came along and that nothing depends on.
func (m *Machine) needless() []string {
	var out []string
	for _, name := range m.packageNames() {
		one := m.packageRecord(name)
		if one.state == stateInstalled && one.auto && len(m.dependants(name)) == 0 {
			out = append(out, name)
		}
	}
	return out
}

// furnish makes the files of a fresh Debian.
func (m *Machine) furnish() {
	for name, mode := range baseFolders() {
		_ = m.mkdirAll(name, 0o755)              // the tree is empty
		_ = m.disk.Chmod(name, mode&^fs.ModeDir) // it was made
	}
	m.runFolders()
	for link, target := range map[string]string{"/bin": "usr/bin", "/sbin": "usr/sbin", "/lib": "usr/lib", "/var/run": "/run", "/etc/mtab": "../proc/self/mounts"} {
		_ = m.disk.Symlink(target, link) // the tree is empty
	}
	for name := range m.base {
		_ = m.disk.WriteFile("/usr/bin/"+name, []byte("\x7fELF"), 0o755) // the folder was made
	}
	for name, text := range baseFiles(m.opts.Hostname) {
		_ = m.disk.WriteFile(name, []byte(text), 0o644) // the folder was made
	}
	_ = m.disk.Chmod("/etc/shadow", 0o640) // it was made
	_ = m.disk.Chown("/etc/shadow", 0, 42) // it was made
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		_ = m.disk.WriteFile("/dev/"+name, nil, 0o666) // the folder was made
		_ = m.disk.change("/dev/"+name, func(n *inode) { n.mode |= fs.ModeDevice | fs.ModeCharDevice })
	}
	m.Mount("/proc", procFiles{m: m})
}

// runFolders makes the folders that every boot makes.
func (m *Machine) runFolders() {
	for _, name := range []string{"/run", "/run/systemd", "/run/systemd/system", "/run/systemd/transient", "/run/lock"} {
		_ = m.disk.Mkdir(name, 0o755) // it may be there
	}
}

// procFiles is what little there is of /proc.
type procFiles struct {
	ReadOnly
	m *Machine
}

func (f procFiles) text(name string) (string, bool) {
	switch name {
	case "/mounts", "/self/mounts":
		return f.m.mountTable(), true
	case "/sys/kernel/random/boot_id":
		f.m.mu.Lock()
		defer f.m.mu.Unlock()
		return f.m.bootID + "\n", true
	case "/version":
		return "Linux version 6.1.0-28-amd64 (debian-kernel@lists.debian.org)\n", true
	}
	return "", false
}

// Lstat implements Files.
func (f procFiles) Lstat(name string) (Info, error) {
	if text, ok := f.text(name); ok {
		return Info{Base: path.Base(name), Perm: 0o444, Length: int64(len(text))}, nil
	}
	if pid, err := strconv.ParseInt(name[1:], 10, 64); err == nil {
		if _, runs := f.m.shells.Load(pid); runs {
			return Info{Base: path.Base(name), Perm: fs.ModeDir | 0o555}, nil
		}
	}
	for _, known := range []string{"/mounts", "/self/mounts", "/sys/kernel/random/boot_id", "/version"} {
		if name == "/" || strings.HasPrefix(known, name+"/") {
			return Info{Base: path.Base(name), Perm: fs.ModeDir | 0o555}, nil
		}
	}
	return Info{}, syscall.ENOENT
}

// ReadDir implements Files.
func (f procFiles) ReadDir(name string) ([]Info, error) {
	info, err := f.Lstat(name)
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	return nil, err
}

// ReadFile implements Files.
func (f procFiles) ReadFile(name string) ([]byte, error) {
	if text, ok := f.text(name); ok {
		return []byte(text), nil
	}
	return nil, syscall.ENOENT
}
