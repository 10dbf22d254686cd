// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"
	"time"
)

var errIsDir = errors.New("is a directory")

func absolute(dir, name string) string {
	if !path.IsAbs(name) {
		name = path.Join(dir, name)
	}
	return path.Clean(name)
}

// resolve follows the links of Proxmox's cluster file system.
func resolve(node, name string) string {
	name = path.Clean(name)
	for link, target := range map[string]string{
		"/etc/pve/local": "/etc/pve/nodes/" + node, "/etc/pve/lxc": "/etc/pve/nodes/" + node + "/lxc",
		"/etc/pve/qemu-server": "/etc/pve/nodes/" + node + "/qemu-server",
	} {
		if name == link || strings.HasPrefix(name, link+"/") {
			return target + strings.TrimPrefix(name, link)
		}
	}
	return name
}

// guestFile finds the guest whose configuration a path names, or nil. The site
// must be locked.
func (s *Server) guestFile(name string) *guest {
	parts := strings.Split(strings.TrimPrefix(name, "/etc/pve/nodes/"), "/")
	if !strings.HasPrefix(name, "/etc/pve/nodes/") || len(parts) != 3 {
		return nil
	}
	id, isConf := strings.CutSuffix(parts[2], ".conf")
	vmid, err := strconv.Atoi(id)
	if !isConf || err != nil {
		return nil
	}
	g := s.guests[vmid]
	if g == nil || name != "/etc/pve/"+confPath(g.node, g.kind, g.vmid) || parts[0] != g.node {
		return nil
	}
	return g
}

// tree is a node's file system: path -> content. The site must be locked.
func (s *Server) tree(node string) map[string]string {
	out := map[string]string{"/etc/hostname": node + "\n"}
	for name, text := range s.files[node] {
		out[name] = text
	}
	for _, g := range s.guests {
		out["/etc/pve/"+confPath(g.node, g.kind, g.vmid)] = g.text
	}
	return out
}

// folders are the folders of a node's file system, with those of its files.
func (s *Server) folders(tree map[string]string) map[string]bool {
	out := map[string]bool{"/": true}
	add := func(name string) {
		for ; name != "/"; name = path.Dir(name) {
			out[name] = true
		}
	}
	for _, name := range []string{"/root", "/tmp", "/etc/pve", "/var/lib/vz/snippets", "/usr/bin"} {
		add(name)
	}
	for _, name := range s.order {
		add("/etc/pve/nodes/" + name + "/lxc")
		add("/etc/pve/nodes/" + name + "/qemu-server")
	}
	for name := range tree {
		add(path.Dir(name))
	}
	return out
}

func (s *Server) readFile(node, name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = resolve(node, name)
	tree := s.tree(node)
	if text, ok := tree[name]; ok {
		return text, nil
	}
	if s.folders(tree)[name] {
		return "", errIsDir
	}
	return "", fs.ErrNotExist
}

// writeFile writes a node's file. A guest's configuration may be edited so, as
// on a real node; new ones may not be made.
func (s *Server) writeFile(node, name, text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = resolve(node, name)
	if strings.HasPrefix(name, "/etc/pve/") {
		g := s.guestFile(name)
		if g == nil || !s.quorum {
			return fs.ErrPermission
		}
		g.text, g.conf = text, parseConf(g.kind, text)
		return nil
	}
	if s.files[node] == nil {
		s.files[node] = map[string]string{}
	}
	s.files[node][name] = text
	return nil
}

// File reads a file of a node.
func (s *Server) File(node, name string) (string, error) { return s.readFile(node, name) }

// memFile is an open file.
type memFile struct {
	s          *Server
	node, name string
	buf        bytes.Buffer
	write      bool
}

// Read implements io.Reader.
func (f *memFile) Read(p []byte) (int, error) {
	if f.write {
		return 0, io.EOF
	}
	return f.buf.Read(p)
}

// Write implements io.Writer.
func (f *memFile) Write(p []byte) (int, error) {
	if !f.write {
		return 0, fs.ErrPermission
	}
	return f.buf.Write(p)
}

// Close implements io.Closer: what was written stands in the file then.
func (f *memFile) Close() error {
	if !f.write || f.name == "/dev/null" {
		return nil
	}
	return f.s.writeFile(f.node, f.name, f.buf.String())
}

func (s *Server) openFile(node, name string, flag int) (io.ReadWriteCloser, error) {
	f := &memFile{s: s, node: node, name: name, write: flag&(os.O_WRONLY|os.O_RDWR) != 0}
	if name == "/dev/null" {
		return f, nil
	}
	info, err := s.stat(node, name)
	switch {
	case err == nil && info.IsDir():
		return nil, &fs.PathError{Op: "open", Path: name, Err: errIsDir}
	case err != nil && !f.write:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case f.write:
		if _, err := s.stat(node, path.Dir(name)); err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
	}
	if !f.write || flag&os.O_APPEND != 0 {
		text, err := s.readFile(node, name)
		if err != nil && !f.write {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		f.buf.WriteString(text)
	}
	return f, nil
}

// memInfo describes a file or a folder.
type memInfo struct {
	name string
	size int
	dir  bool
}

// Name implements fs.FileInfo.
func (i memInfo) Name() string { return i.name }

// Size implements fs.FileInfo.
func (i memInfo) Size() int64 { return int64(i.size) }

// Mode implements fs.FileInfo.
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o640
}

// ModTime implements fs.FileInfo.
func (i memInfo) ModTime() time.Time { return time.Time{} }

// IsDir implements fs.FileInfo.
func (i memInfo) IsDir() bool { return i.dir }

// Sys implements fs.FileInfo.
func (i memInfo) Sys() any { return nil }

func (s *Server) stat(node, name string) (fs.FileInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = resolve(node, name)
	tree := s.tree(node)
	if text, ok := tree[name]; ok {
		return memInfo{name: path.Base(name), size: len(text)}, nil
	}
	if s.folders(tree)[name] {
		return memInfo{name: path.Base(name), dir: true}, nil
	}
	return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
}

func (s *Server) readDir(node, name string) ([]fs.DirEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = resolve(node, name)
	tree := s.tree(node)
	folders := s.folders(tree)
	if !folders[name] {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	var out []fs.DirEntry
	for folder := range folders {
		if folder != "/" && path.Dir(folder) == name {
			out = append(out, fs.FileInfoToDirEntry(memInfo{name: path.Base(folder), dir: true}))
		}
	}
	for file, text := range tree {
		if path.Dir(file) == name {
			out = append(out, fs.FileInfoToDirEntry(memInfo{name: path.Base(file), size: len(text)}))
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name() < out[j].Name() })
	return out, nil
}
