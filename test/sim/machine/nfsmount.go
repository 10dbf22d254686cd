// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"strings"
	"syscall"
	"time"
)

var errUnreachable = errors.New("Connection timed out") //nolint:staticcheck // mount.nfs writes it so

// serverOf finds the machine behind a name, and its address.
func (m *Machine) serverOf(host string) (*Machine, netip.Addr, error) {
	addresses, err := m.resolveName(strings.Trim(host, "[]"))
	if err != nil {
		return nil, netip.Addr{}, err
	}
	for _, a := range addresses {
		if server := m.reach(a); server != nil {
			return server, a, nil
		}
	}
	return nil, addresses[0], errUnreachable
}

// grant is what a server allows a client: a folder of its own, and how.
type grant struct {
	folder       string
	ro, squashed bool
}

// exports tells what a server gives a client that asks for a folder by version.
func (m *Machine) exports(client netip.Addr, folder, version string) (grant, error) {
	if !m.Running() {
		return grant{}, errUnreachable
	}
	if g := m.ganesha(); g != nil {
		if strings.HasPrefix(version, "3") {
			return grant{}, errors.New("requested NFS version or transport protocol is not supported")
		}
		return g.grant(client, folder)
	}
	if !m.kernelServes() {
		return grant{}, errors.New("Connection refused") //nolint:staticcheck // mount.nfs writes it so
	}
	best, known := m.bestExport(client, folder)
	switch {
	case best.path == "" && known:
		return grant{}, syscall.EACCES
	case best.path == "":
		return grant{}, syscall.ENOENT
	}
	squash := !best.has("no_root_squash") || best.has("all_squash")
	return grant{folder: folder, ro: !best.has("rw"), squashed: squash}, nil
}

// bestExport finds the export that counts for a client; known tells whether the
// folder is exported to anybody.
func (m *Machine) bestExport(client netip.Addr, folder string) (best export, known bool) {
	for _, e := range m.table() {
		if folder != e.path && !strings.HasPrefix(folder, strings.TrimSuffix(e.path, "/")+"/") {
			continue
		}
		known = true
		if m.clientMatches(e.client, client) && len(e.path) >= len(best.path) && (best.path != e.path || narrower(e.client, best.client)) {
			best = e
		}
	}
	return best, known
}

// narrower tells whether one client is named more exactly than another.
func narrower(a, b string) bool {
	bits := func(client string) int {
		if p, err := netip.ParsePrefix(client); err == nil {
			return p.Bits() - p.Addr().BitLen()
		}
		if client == "*" {
			return -1000
		}
		return 0
	}
	return bits(a) > bits(b)
}

// clientMatches tells whether an address is one that an export names.
func (m *Machine) clientMatches(spec string, client netip.Addr) bool {
	if spec == "*" || spec == "<world>" {
		return true
	}
	if p, err := netip.ParsePrefix(spec); err == nil {
		return p.Contains(client)
	}
	addresses, err := m.resolveName(spec)
	if err != nil {
		return false
	}
	for _, a := range addresses {
		if a == client {
			return true
		}
	}
	return false
}

// attachNFS mounts a folder of another machine.
func (m *Machine) attachNFS(what, where, kind, options string) string {
	kind = first(kind, "nfs")
	if m.lookup("mount."+kind) == nil {
		return fmt.Sprintf("mount: %s: bad option; for several filesystems (e.g. nfs, cifs) you might need a /sbin/mount.<type> helper program.", where)
	}
	host, folder, ok := strings.Cut(what, ":/")
	if !ok {
		return "mount.nfs: remote share not in 'host:dir' format"
	}
	folder = path.Clean("/" + folder)
	version := nfsVersion(kind, options)
	server, address, err := m.serverOf(host)
	if errors.Is(err, errNoName) {
		return fmt.Sprintf("mount.nfs: Failed to resolve server %s: Name or service not known", host)
	}
	files := &nfsFiles{client: m.source(address), server: server, folder: folder, version: version, ro: hasOption(options, "ro")}
	if err == nil {
		_, err = files.granted()
	}
	switch {
	case errors.Is(err, syscall.EACCES):
		return fmt.Sprintf("mount.nfs: access denied by server while mounting %s", what)
	case errors.Is(err, syscall.ENOENT):
		return fmt.Sprintf("mount.nfs: mounting %s failed, reason given by server: No such file or directory", what)
	case err != nil:
		return fmt.Sprintf("mount.nfs: %v for %s on %s", err, what, where)
	}
	shown := "rw"
	if files.ro {
		shown = "ro"
	}
	if version == "" {
		version = "4.2"
	}
	kind = "nfs4"
	if strings.HasPrefix(version, "3") {
		kind = "nfs"
	}
	m.mount(mount{point: where, files: files, source: what, kind: kind, options: fmt.Sprintf("%s,relatime,vers=%s,hard,proto=tcp,clientaddr=%s,addr=%s", shown, version, files.client, address)})
	m.countWrite()
	return ""
}

func hasOption(options, name string) bool { return strings.Contains(","+options+",", ","+name+",") }

func nfsVersion(kind, options string) string {
	for _, option := range strings.Split(options, ",") {
		for _, key := range []string{"vers=", "nfsvers="} {
			if v, ok := strings.CutPrefix(option, key); ok {
				return v
			}
		}
	}
	if kind == "nfs4" {
		return "4.2"
	}
	return ""
}

// nfsFiles are files of another machine, as far as it gives them to this one.
type nfsFiles struct {
	client  netip.Addr
	server  *Machine
	folder  string
	version string
	ro      bool
}

// granted asks the server anew: an export may have gone since.
func (f *nfsFiles) granted() (grant, error) {
	g, err := f.server.exports(f.client, f.folder, f.version)
	if err != nil {
		return g, err
	}
	info, err := f.server.stat(g.folder)
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	g.ro = g.ro || f.ro
	return g, err
}

func (f *nfsFiles) read(name string) (Files, string, error) {
	g, err := f.granted()
	if err != nil {
		return nil, "", syscall.ESTALE
	}
	return anchored{f.server}, path.Join(g.folder, name), nil
}

// nobody is who a client's root is on a server that squashes it.
const nobody = 65534

// write asks whether a change may be made at a path: by a squashed root only
// where everybody may, or where nobody is the owner.
func (f *nfsFiles) write(name string, created bool) (files Files, at string, squashed bool, err error) {
	g, err := f.granted()
	switch {
	case err != nil:
		return nil, "", false, syscall.ESTALE
	case g.ro:
		return nil, "", false, syscall.EROFS
	}
	at = path.Join(g.folder, name)
	judged := at
	if created {
		judged = path.Dir(at)
	}
	info, err := f.server.stat(judged)
	if err != nil {
		return nil, "", false, err
	}
	allowed := info.Perm&0o002 != 0 || info.UID == nobody && info.Perm&0o200 != 0
	if g.squashed && !allowed {
		return nil, "", false, syscall.EACCES
	}
	return anchored{f.server}, at, g.squashed, nil
}

// Lstat implements Files.
func (f *nfsFiles) Lstat(name string) (Info, error) {
	files, at, err := f.read(name)
	if err != nil {
		return Info{}, err
	}
	return files.Lstat(at)
}

// ReadDir implements Files.
func (f *nfsFiles) ReadDir(name string) ([]Info, error) {
	files, at, err := f.read(name)
	if err != nil {
		return nil, err
	}
	return files.ReadDir(at)
}

// ReadFile implements Files.
func (f *nfsFiles) ReadFile(name string) ([]byte, error) {
	files, at, err := f.read(name)
	if err != nil {
		return nil, err
	}
	return files.ReadFile(at)
}

// change makes a change and gives what is new to nobody where root is squashed.
func (f *nfsFiles) change(name string, created bool, do func(Files, string) error) error {
	files, at, squashed, err := f.write(name, created)
	if err != nil {
		return err
	}
	if err := do(files, at); err != nil || !squashed || !created {
		return err
	}
	if _, err := files.Lstat(at); err != nil {
		return nil // it was removed
	}
	return files.Chown(at, nobody, nobody)
}

// WriteFile implements Files.
func (f *nfsFiles) WriteFile(name string, data []byte, mode fs.FileMode) error {
	_, err := f.Lstat(name)
	return f.change(name, err != nil, func(files Files, at string) error { return files.WriteFile(at, data, mode) })
}

// Mkdir implements Files.
func (f *nfsFiles) Mkdir(name string, mode fs.FileMode) error {
	return f.change(name, true, func(files Files, at string) error { return files.Mkdir(at, mode) })
}

// Symlink implements Files.
func (f *nfsFiles) Symlink(target, name string) error {
	return f.change(name, true, func(files Files, at string) error { return files.Symlink(target, at) })
}

// Remove implements Files.
func (f *nfsFiles) Remove(name string) error {
	return f.change(name, true, func(files Files, at string) error { return files.Remove(at) })
}

// Rename implements Files.
func (f *nfsFiles) Rename(from, to string) error {
	_, target, _, err := f.write(to, true)
	if err != nil {
		return err
	}
	return f.change(from, true, func(files Files, at string) error { return files.Rename(at, target) })
}

// Chmod implements Files.
func (f *nfsFiles) Chmod(name string, mode fs.FileMode) error {
	return f.change(name, false, func(files Files, at string) error { return files.Chmod(at, mode) })
}

// Chown implements Files: a squashed root may not.
func (f *nfsFiles) Chown(name string, uid, gid int) error {
	files, at, squashed, err := f.write(name, false)
	switch {
	case err != nil:
		return err
	case squashed:
		return syscall.EPERM
	}
	return files.Chown(at, uid, gid)
}

// Chtimes implements Files.
func (f *nfsFiles) Chtimes(name string, at time.Time) error {
	return f.change(name, false, func(files Files, inside string) error { return files.Chtimes(inside, at) })
}
