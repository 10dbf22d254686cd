// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"io/fs"
	"path"
	"sort"
	"strings"
	"syscall"
	"time"
)

const maxLinks = 40

// mount is a place where other files are shown.
type mount struct {
	point                 string
	files                 Files
	source, kind, options string
}

// Mount shows files that somebody else keeps below a folder, which is made when
// it is not there. A later mount of the same folder takes the first one's place.
func (m *Machine) Mount(point string, files Files) {
	m.mount(mount{point: path.Clean(point), files: files, source: "none", kind: "fuse", options: "rw,relatime"})
}

// Bind shows a folder of another machine, as a bind mount of a container does.
// The folder must exist there when it is used, not now.
func (m *Machine) Bind(point string, other *Machine, folder string, readOnly bool) {
	options := "rw,relatime"
	if readOnly {
		options = "ro,relatime"
	}
	m.mount(mount{point: path.Clean(point), files: below{files: anchored{other}, folder: path.Clean(folder), ro: readOnly}, source: folder, kind: "ext4", options: options})
}

func (m *Machine) mount(one mount) {
	_ = m.mkdirAll(one.point, 0o755) // a point that cannot be made shows nothing
	m.mountMu.Lock()
	defer m.mountMu.Unlock()
	kept := m.mounts[:0:0]
	for _, other := range m.mounts {
		if other.point != one.point {
			kept = append(kept, other)
		}
	}
	m.mounts = append(kept, one)
	sort.Slice(m.mounts, func(i, j int) bool { return m.mounts[i].point < m.mounts[j].point })
}

// Unmount takes a mount away; false when there is none.
func (m *Machine) Unmount(point string) bool {
	m.mountMu.Lock()
	defer m.mountMu.Unlock()
	for i, one := range m.mounts {
		if one.point == path.Clean(point) {
			m.mounts = append(m.mounts[:i:i], m.mounts[i+1:]...)
			return true
		}
	}
	return false
}

// mountAt is the mount whose point is a folder.
func (m *Machine) mountAt(point string) (mount, bool) {
	m.mountMu.RLock()
	defer m.mountMu.RUnlock()
	for _, one := range m.mounts {
		if one.point == point {
			return one, true
		}
	}
	return mount{}, false
}

// place finds who keeps a path, and how it is called there.
func (m *Machine) place(name string) (Files, string) {
	m.mountMu.RLock()
	defer m.mountMu.RUnlock()
	for i := len(m.mounts) - 1; i >= 0; i-- { // a longer point sorts behind a shorter one that it begins with
		one := m.mounts[i]
		if name == one.point || one.point == "/" {
			return one.files, path.Join("/", strings.TrimPrefix(name, one.point))
		}
		if strings.HasPrefix(name, one.point+"/") {
			return one.files, strings.TrimPrefix(name, one.point)
		}
	}
	return m.disk, name
}

// resolve follows symbolic links; the last part's only if follow. The last part
// need not exist, the others must.
func (m *Machine) resolve(name string, follow bool) (string, error) {
	rest, at := strings.Split(path.Clean("/"+name), "/")[1:], "/"
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == "" || part == "." {
			continue
		}
		next := path.Join(at, part)
		files, inside := m.place(next)
		info, err := files.Lstat(inside)
		switch {
		case err != nil && len(rest) == 0:
			return next, nil
		case err != nil:
			return "", err
		case info.Perm&fs.ModeSymlink != 0 && (follow || len(rest) > 0):
			if links++; links > maxLinks {
				return "", syscall.ELOOP
			}
			rest, at = climb(info.Target, rest, at)
			continue
		case len(rest) > 0 && !info.IsDir():
			return "", syscall.ENOTDIR
		}
		at = next
	}
	return at, nil
}

// climb puts a link's target in front of what is left, and serves the .. at its
// beginning.
func climb(target string, rest []string, at string) ([]string, string) {
	if path.IsAbs(target) {
		at = "/"
	}
	rest = append(strings.Split(strings.Trim(target, "/"), "/"), rest...)
	for len(rest) > 0 && (rest[0] == ".." || rest[0] == "." || rest[0] == "") {
		if rest[0] == ".." {
			at = path.Dir(at)
		}
		rest = rest[1:]
	}
	return rest, at
}

// on does something with a path, where it is kept.
func on[T any](m *Machine, name string, follow bool, do func(Files, string) (T, error)) (T, error) {
	var none T
	at, err := m.resolve(name, follow)
	if err != nil {
		return none, err
	}
	files, inside := m.place(at)
	return do(files, inside)
}

// write is on for a change, which is counted when it succeeds.
func (m *Machine) write(name string, follow bool, do func(Files, string) error) error {
	_, err := on(m, name, follow, func(f Files, inside string) (struct{}, error) { return struct{}{}, do(f, inside) })
	if err == nil {
		m.countWrite()
	}
	return err
}

func (m *Machine) lstat(name string) (Info, error) {
	return on(m, name, false, func(f Files, n string) (Info, error) { return f.Lstat(n) })
}

func (m *Machine) stat(name string) (Info, error) {
	return on(m, name, true, func(f Files, n string) (Info, error) { return f.Lstat(n) })
}

func (m *Machine) readDir(name string) ([]Info, error) {
	return on(m, name, true, func(f Files, n string) ([]Info, error) { return f.ReadDir(n) })
}

func (m *Machine) readFile(name string) (string, error) {
	data, err := on(m, name, true, func(f Files, n string) ([]byte, error) { return f.ReadFile(n) })
	return string(data), err
}

func (m *Machine) writeFile(name, text string, mode fs.FileMode) error {
	return m.write(name, true, func(f Files, n string) error { return f.WriteFile(n, []byte(text), mode) })
}

func (m *Machine) mkdir(name string, mode fs.FileMode) error {
	return m.write(name, false, func(f Files, n string) error { return f.Mkdir(n, mode) })
}

func (m *Machine) mkdirAll(name string, mode fs.FileMode) error {
	if info, err := m.stat(name); err == nil {
		if info.IsDir() {
			return nil
		}
		return syscall.ENOTDIR
	}
	if err := m.mkdirAll(path.Dir(name), mode); err != nil {
		return err
	}
	return m.mkdir(name, mode)
}

func (m *Machine) symlink(target, name string) error {
	return m.write(name, false, func(f Files, n string) error { return f.Symlink(target, n) })
}

func (m *Machine) remove(name string) error {
	if m.busy(name) {
		return syscall.EBUSY
	}
	return m.write(name, false, func(f Files, n string) error { return f.Remove(n) })
}

// busy tells whether something is mounted at a path.
func (m *Machine) busy(name string) bool {
	at, err := m.resolve(name, false)
	if err != nil {
		return false
	}
	_, mounted := m.mountAt(at)
	return mounted
}

func (m *Machine) removeAll(name string) error {
	info, err := m.lstat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		entries, err := m.readDir(name)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if err := m.removeAll(path.Join(name, entry.Base)); err != nil {
				return err
			}
		}
	}
	return m.remove(name)
}

// rename fails across mounts, as the system call does.
func (m *Machine) rename(from, to string) error {
	target, err := m.resolve(to, false)
	if err != nil {
		return err
	}
	files, inside := m.place(target)
	if m.busy(from) || m.busy(to) {
		return syscall.EBUSY
	}
	return m.write(from, false, func(f Files, n string) error {
		if f != files {
			return syscall.EXDEV
		}
		return f.Rename(n, inside)
	})
}

func (m *Machine) chmod(name string, mode fs.FileMode) error {
	return m.write(name, true, func(f Files, n string) error { return f.Chmod(n, mode) })
}

func (m *Machine) chown(name string, uid, gid int, follow bool) error {
	return m.write(name, follow, func(f Files, n string) error { return f.Chown(n, uid, gid) })
}

func (m *Machine) chtimes(name string, at time.Time) error {
	return m.write(name, true, func(f Files, n string) error { return f.Chtimes(n, at) })
}

// anchored are all files of a machine, links and mounts followed.
type anchored struct{ m *Machine }

// Lstat implements Files.
func (a anchored) Lstat(name string) (Info, error) { return a.m.lstat(name) }

// ReadDir implements Files.
func (a anchored) ReadDir(name string) ([]Info, error) { return a.m.readDir(name) }

// ReadFile implements Files.
func (a anchored) ReadFile(name string) ([]byte, error) {
	text, err := a.m.readFile(name)
	return []byte(text), err
}

// WriteFile implements Files.
func (a anchored) WriteFile(name string, data []byte, mode fs.FileMode) error {
	return a.m.writeFile(name, string(data), mode)
}

// Mkdir implements Files.
func (a anchored) Mkdir(name string, mode fs.FileMode) error { return a.m.mkdir(name, mode) }

// Symlink implements Files.
func (a anchored) Symlink(target, name string) error { return a.m.symlink(target, name) }

// Remove implements Files.
func (a anchored) Remove(name string) error { return a.m.remove(name) }

// Rename implements Files.
func (a anchored) Rename(from, to string) error { return a.m.rename(from, to) }

// Chmod implements Files.
func (a anchored) Chmod(name string, mode fs.FileMode) error { return a.m.chmod(name, mode) }

// Chown implements Files.
func (a anchored) Chown(name string, uid, gid int) error { return a.m.chown(name, uid, gid, false) }

// Chtimes implements Files.
func (a anchored) Chtimes(name string, at time.Time) error { return a.m.chtimes(name, at) }
