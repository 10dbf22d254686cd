// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"io/fs"
	"path"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tree is a file system in memory.
type tree struct {
	clock func() time.Time

	mu    sync.Mutex
	root  *inode
	count uint64
}

type inode struct {
	number   uint64
	mode     fs.FileMode
	uid, gid int
	changed  time.Time
	data     []byte
	target   string
	children map[string]*inode
	watchers []*watcher // of what is in the folder
}

// watcher is told that something in a folder has changed.
type watcher struct{ changed func() }

// watch calls changed after every change of what is in a folder, whatever name
// the folder has then. It must not wait, nor use the tree.
func (t *tree) watch(name string, changed func()) (stop func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.find(name)
	switch {
	case err != nil:
		return nil, err
	case !n.mode.IsDir():
		return nil, syscall.ENOTDIR
	}
	w := &watcher{changed}
	n.watchers = append(n.watchers, w)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		n.watchers = without(n.watchers, w)
	}, nil
}

// tell tells those who watch a folder. The caller holds the lock.
func (n *inode) tell() {
	for _, w := range n.watchers {
		w.changed()
	}
}

func newTree(clock func() time.Time) *tree {
	t := &tree{clock: clock}
	t.root = t.make(fs.ModeDir | 0o755)
	return t
}

func (t *tree) make(mode fs.FileMode) *inode {
	t.count++
	n := &inode{number: t.count, mode: mode, changed: t.clock()}
	if mode.IsDir() {
		n.children = map[string]*inode{}
	}
	return n
}

func (n *inode) info(name string) Info {
	i := Info{Base: path.Base(name), Perm: n.mode, UID: n.uid, GID: n.gid, Length: int64(len(n.data)), Changed: n.changed, Target: n.target, Inode: n.number}
	switch {
	case n.mode.IsDir():
		i.Length = 4096
	case n.mode&fs.ModeSymlink != 0:
		i.Length = int64(len(n.target))
	}
	return i
}

// find walks to an entry.
func (t *tree) find(name string) (*inode, error) {
	n := t.root
	for _, part := range strings.Split(strings.Trim(name, "/"), "/") {
		if part == "" {
			continue
		}
		if !n.mode.IsDir() {
			return nil, syscall.ENOTDIR
		}
		if n = n.children[part]; n == nil {
			return nil, syscall.ENOENT
		}
	}
	return n, nil
}

// parent is the folder that holds, or may hold, an entry.
func (t *tree) parent(name string) (*inode, string, error) {
	dir, err := t.find(path.Dir(name))
	switch {
	case err != nil:
		return nil, "", err
	case !dir.mode.IsDir():
		return nil, "", syscall.ENOTDIR
	case path.Clean(name) == "/":
		return nil, "", syscall.EBUSY
	}
	return dir, path.Base(name), nil
}

// Lstat implements Files.
func (t *tree) Lstat(name string) (Info, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.find(name)
	if err != nil {
		return Info{}, err
	}
	return n.info(name), nil
}

// ReadDir implements Files.
func (t *tree) ReadDir(name string) ([]Info, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.find(name)
	switch {
	case err != nil:
		return nil, err
	case !n.mode.IsDir():
		return nil, syscall.ENOTDIR
	}
	out := make([]Info, 0, len(n.children))
	for name, child := range n.children {
		out = append(out, child.info(name))
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Base < out[j].Base })
	return out, nil
}

// ReadFile implements Files.
func (t *tree) ReadFile(name string) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.find(name)
	switch {
	case err != nil:
		return nil, err
	case n.mode.IsDir():
		return nil, syscall.EISDIR
	}
	return append([]byte(nil), n.data...), nil
}

// WriteFile implements Files.
func (t *tree) WriteFile(name string, data []byte, mode fs.FileMode) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	dir, base, err := t.parent(name)
	if err != nil {
		return err
	}
	n := dir.children[base]
	switch {
	case n == nil:
		n = t.make(mode & modeBits)
		dir.children[base] = n
		dir.changed = n.changed
	case n.mode.IsDir():
		return syscall.EISDIR
	}
	n.data = append([]byte(nil), data...)
	n.changed = t.clock()
	dir.tell()
	return nil
}

func (t *tree) put(name string, n *inode) error {
	dir, base, err := t.parent(name)
	switch {
	case err != nil:
		return err
	case dir.children[base] != nil:
		return syscall.EEXIST
	}
	dir.children[base] = n
	dir.changed = n.changed
	dir.tell()
	return nil
}

// Mkdir implements Files.
func (t *tree) Mkdir(name string, mode fs.FileMode) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.put(name, t.make(fs.ModeDir|mode&modeBits))
}

// Symlink implements Files.
func (t *tree) Symlink(target, name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.make(fs.ModeSymlink | 0o777)
	n.target = target
	return t.put(name, n)
}

// Remove implements Files.
func (t *tree) Remove(name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	dir, base, err := t.parent(name)
	if err != nil {
		return err
	}
	n := dir.children[base]
	switch {
	case n == nil:
		return syscall.ENOENT
	case len(n.children) > 0:
		return syscall.ENOTEMPTY
	}
	delete(dir.children, base)
	dir.changed = t.clock()
	dir.tell()
	return nil
}

// Rename implements Files.
func (t *tree) Rename(from, to string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	source, base, err := t.parent(from)
	if err != nil {
		return err
	}
	target, other, err := t.parent(to)
	if err != nil {
		return err
	}
	n, old := source.children[base], target.children[other]
	switch {
	case n == nil:
		return syscall.ENOENT
	case n == old:
		return nil
	case strings.HasPrefix(path.Clean(to)+"/", path.Clean(from)+"/"):
		return syscall.EINVAL
	case old != nil && old.mode.IsDir() && !n.mode.IsDir():
		return syscall.EISDIR
	case old != nil && !old.mode.IsDir() && n.mode.IsDir():
		return syscall.ENOTDIR
	case old != nil && len(old.children) > 0:
		return syscall.ENOTEMPTY
	}
	delete(source.children, base)
	target.children[other] = n
	source.changed = t.clock()
	target.changed = source.changed
	source.tell()
	target.tell()
	return nil
}

func (t *tree) change(name string, do func(*inode)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.find(name)
	if err != nil {
		return err
	}
	do(n)
	if dir, _, err := t.parent(name); err == nil {
		dir.tell()
	}
	return nil
}

// Chmod implements Files.
func (t *tree) Chmod(name string, mode fs.FileMode) error {
	return t.change(name, func(n *inode) { n.mode = n.mode&^modeBits | mode&modeBits })
}

// Chown implements Files.
func (t *tree) Chown(name string, uid, gid int) error {
	return t.change(name, func(n *inode) {
		if uid >= 0 {
			n.uid = uid
		}
		if gid >= 0 {
			n.gid = gid
		}
	})
}

// Chtimes implements Files.
func (t *tree) Chtimes(name string, at time.Time) error {
	return t.change(name, func(n *inode) { n.changed = at })
}

// empty removes everything inside a folder.
func (t *tree) empty(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n, err := t.find(name); err == nil && n.mode.IsDir() {
		n.children = map[string]*inode{}
		n.tell()
	}
}
