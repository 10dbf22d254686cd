// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"io/fs"
	"path"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

// The cluster file system gives every file to root and this group.
const wwwData = 33

// clusterFiles is /etc/pve as a node shows it: the configurations of all guests
// and the firewall's files, which may be edited, and what people put beside them.
type clusterFiles struct {
	s    *Server
	node string
}

// stray is a file that the cluster file system keeps without a meaning.
type stray struct {
	text    string
	changed time.Time
}

// links of the cluster file system; they lead to the node's own folders.
func (f *clusterFiles) link(name string) string {
	switch name {
	case "/local":
		return "nodes/" + f.node
	case "/lxc", "/qemu-server":
		return "nodes/" + f.node + name
	}
	return ""
}

// isFolder tells whether a path is a folder. The site must be locked.
func (f *clusterFiles) isFolder(name string) bool {
	switch name {
	case "/", "/nodes", "/firewall", "/priv":
		return true
	}
	parts := strings.Split(strings.TrimPrefix(name, "/nodes/"), "/")
	if !strings.HasPrefix(name, "/nodes/") || f.s.nodes[parts[0]] == nil || len(parts) > 2 {
		return false
	}
	return len(parts) == 1 || parts[1] == "lxc" || parts[1] == "qemu-server"
}

// guest finds the guest whose configuration a path names, or nil. The site must
// be locked.
func (f *clusterFiles) guest(name string) *guest {
	id, isConf := strings.CutSuffix(path.Base(name), ".conf")
	vmid, err := strconv.Atoi(id)
	if !isConf || err != nil {
		return nil
	}
	if g := f.s.guests[vmid]; g != nil && name == "/"+confPath(g.node, g.kind, g.vmid) {
		return g
	}
	return nil
}

// text is a file's content. The site must be locked.
func (f *clusterFiles) text(name string) (string, bool) {
	if g := f.guest(name); g != nil {
		return g.text, true
	}
	if f.s.isFirewallFile("/etc/pve" + name) {
		text := f.s.firewallAt("/etc/pve" + name).text
		return text, text != ""
	}
	one, there := f.s.strays[name]
	return one.text, there
}

// Lstat implements machine.Files.
func (f *clusterFiles) Lstat(name string) (machine.Info, error) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	return f.lstat(name)
}

func (f *clusterFiles) lstat(name string) (machine.Info, error) {
	info := machine.Info{Base: path.Base(name), GID: wwwData, Changed: f.s.born}
	if target := f.link(name); target != "" {
		info.Perm, info.Target = fs.ModeSymlink|0o755, target
		return info, nil
	}
	if f.isFolder(name) {
		info.Perm = fs.ModeDir | 0o755
		return info, nil
	}
	text, there := f.text(name)
	if !there {
		return info, syscall.ENOENT
	}
	info.Perm, info.Length, info.Changed = 0o640, int64(len(text)), f.s.strays[name].changed
	return info, nil
}

// names are all files. The site must be locked.
func (f *clusterFiles) names() []string {
	out := []string{"/local", "/lxc", "/qemu-server", "/nodes", "/firewall", "/priv"}
	for _, node := range f.s.order {
		out = append(out, "/nodes/"+node, "/nodes/"+node+"/lxc", "/nodes/"+node+"/qemu-server")
	}
	for _, g := range f.s.guests {
		out = append(out, "/"+confPath(g.node, g.kind, g.vmid))
	}
	for name := range f.s.firewallFiles(f.node) {
		out = append(out, strings.TrimPrefix(name, "/etc/pve"))
	}
	for name := range f.s.strays {
		out = append(out, name)
	}
	return out
}

// ReadDir implements machine.Files.
func (f *clusterFiles) ReadDir(name string) ([]machine.Info, error) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if !f.isFolder(name) {
		if _, err := f.lstat(name); err != nil {
			return nil, err
		}
		return nil, syscall.ENOTDIR
	}
	var out []machine.Info
	for _, one := range f.names() {
		if path.Dir(one) == name {
			if info, err := f.lstat(one); err == nil {
				out = append(out, info)
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Base < out[j].Base })
	return out, nil
}

// ReadFile implements machine.Files.
func (f *clusterFiles) ReadFile(name string) ([]byte, error) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.isFolder(name) {
		return nil, syscall.EISDIR
	}
	text, there := f.text(name)
	if !there {
		return nil, syscall.ENOENT
	}
	return []byte(text), nil
}

// WriteFile implements machine.Files: a guest's configuration may be edited, not
// made; firewall files may be both.
func (f *clusterFiles) WriteFile(name string, data []byte, _ fs.FileMode) error {
	defer f.s.flush()
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	return f.write(name, string(data))
}

func (f *clusterFiles) write(name, text string) error {
	switch g := f.guest(name); {
	case !f.s.quorum:
		return syscall.EACCES
	case g != nil:
		g.text, g.conf = text, parseConf(g.kind, text)
		g.touched = true
		return nil
	case f.s.isFirewallFile("/etc/pve" + name):
		if err := f.s.writeFirewallFile("/etc/pve"+name, text); err != nil {
			return syscall.EACCES
		}
		return nil
	case f.isFolder(name):
		return syscall.EISDIR
	case !f.isFolder(path.Dir(name)):
		return syscall.ENOENT
	case strings.HasSuffix(name, ".conf") && strings.HasPrefix(name, "/nodes/"):
		return syscall.EACCES // a guest is made by the API alone
	}
	f.s.strays[name] = stray{text: text, changed: time.Now()}
	return nil
}

// Remove implements machine.Files.
func (f *clusterFiles) Remove(name string) error {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if !f.s.quorum {
		return syscall.EACCES
	}
	return f.remove(name)
}

func (f *clusterFiles) remove(name string) error {
	if _, there := f.s.strays[name]; there {
		delete(f.s.strays, name)
		return nil
	}
	_, there := f.text(name)
	switch {
	case f.isFolder(name) || f.guest(name) != nil:
		return syscall.EACCES
	case !there:
		return syscall.ENOENT
	case f.s.writeFirewallFile("/etc/pve"+name, "") != nil:
		return syscall.EACCES
	}
	return nil
}

// Rename implements machine.Files: what was written beside a file takes its
// place.
func (f *clusterFiles) Rename(from, to string) error {
	defer f.s.flush()
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	text, there := f.text(from)
	switch {
	case !there:
		return syscall.ENOENT
	case f.guest(from) != nil || !f.s.quorum:
		return syscall.EACCES
	}
	if err := f.write(to, text); err != nil {
		return err
	}
	return f.remove(from)
}

// Mkdir implements machine.Files.
func (f *clusterFiles) Mkdir(name string, _ fs.FileMode) error {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.isFolder(name) {
		return syscall.EEXIST
	}
	return syscall.EACCES
}

// Symlink implements machine.Files.
func (f *clusterFiles) Symlink(string, string) error { return syscall.EPERM }

// Chmod implements machine.Files: modes are what they are.
func (f *clusterFiles) Chmod(name string, mode fs.FileMode) error {
	info, err := f.Lstat(name)
	if err == nil && info.Perm.Perm() != mode.Perm() {
		err = syscall.EPERM
	}
	return err
}

// Chown implements machine.Files: owners are what they are.
func (f *clusterFiles) Chown(name string, uid, gid int) error {
	_, err := f.Lstat(name)
	if err == nil && (uid > 0 || gid >= 0 && gid != wwwData) {
		err = syscall.EPERM
	}
	return err
}

// Chtimes implements machine.Files.
func (f *clusterFiles) Chtimes(name string, _ time.Time) error {
	_, err := f.Lstat(name)
	return err
}

// ReadFile reads a file of a node.
func (s *Server) ReadFile(node, name string) (string, error) {
	m := s.Machine(node)
	if m == nil {
		return "", fs.ErrNotExist
	}
	return m.ReadFile(name)
}

// WriteFile writes a file of a node by hand, such as a firewall file below
// /etc/pve; an empty firewall file is removed.
func (s *Server) WriteFile(node, name, text string) error {
	m := s.Machine(node)
	if m == nil {
		return fs.ErrNotExist
	}
	return m.Edit(name, text)
}

// File reads a file of a node.
func (s *Server) File(node, name string) (string, error) { return s.ReadFile(node, name) }
