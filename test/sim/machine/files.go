// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"io/fs"
	"path"
	"syscall"
	"time"
)

// Files are files that a machine shows below a folder. Paths are absolute and
// clean within it ("/" is the folder itself) and lead through no symbolic link.
// Errors are those of package syscall (ENOENT, ENOTDIR, EISDIR, EEXIST,
// ENOTEMPTY, EACCES, EROFS), so that programs can name them.
type Files interface {
	Lstat(name string) (Info, error)
	ReadDir(name string) ([]Info, error)
	ReadFile(name string) ([]byte, error)
	// WriteFile replaces a file's content, and makes the file with the mode when
	// it is not there.
	WriteFile(name string, data []byte, mode fs.FileMode) error
	Mkdir(name string, mode fs.FileMode) error
	Symlink(target, name string) error
	// Remove removes a file, a link or an empty folder.
	Remove(name string) error
	// Rename replaces what is at the target, at once.
	Rename(from, to string) error
	Chmod(name string, mode fs.FileMode) error
	Chown(name string, uid, gid int) error
	Chtimes(name string, at time.Time) error
}

// Info describes a file, a folder or a symbolic link.
type Info struct {
	// Base is the last part of the path.
	Base string
	// Perm holds type and permissions, set-id and sticky bits included.
	Perm     fs.FileMode
	UID, GID int
	Length   int64
	Changed  time.Time
	// Target of a symbolic link.
	Target string
	// Inode tells files apart; 0 where they have no numbers.
	Inode uint64
}

// Name implements fs.FileInfo.
func (i Info) Name() string { return i.Base }

// Size implements fs.FileInfo.
func (i Info) Size() int64 { return i.Length }

// Mode implements fs.FileInfo.
func (i Info) Mode() fs.FileMode { return i.Perm }

// ModTime implements fs.FileInfo.
func (i Info) ModTime() time.Time { return i.Changed }

// IsDir implements fs.FileInfo.
func (i Info) IsDir() bool { return i.Perm.IsDir() }

// Sys implements fs.FileInfo; the shell's tests want it so.
func (i Info) Sys() any {
	return &syscall.Stat_t{Uid: uint32(max(i.UID, 0)), Gid: uint32(max(i.GID, 0)), Ino: i.Inode} // ids are never negative
}

const modeBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// octal is a mode as chmod and stat write it.
func octal(mode fs.FileMode) uint32 {
	n := uint32(mode.Perm())
	for bit, value := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&bit != 0 {
			n |= value
		}
	}
	return n
}

func modeOf(n uint32) fs.FileMode {
	mode := fs.FileMode(n & 0o777)
	for bit, value := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if n&value != 0 {
			mode |= bit
		}
	}
	return mode
}

// below shows a folder of other files as files of its own.
type below struct {
	files  Files
	folder string
	ro     bool
}

func (b below) at(name string) string { return path.Join(b.folder, name) }

func (b below) writable() error {
	if b.ro {
		return syscall.EROFS
	}
	return nil
}

// Lstat implements Files.
func (b below) Lstat(name string) (Info, error) { return b.files.Lstat(b.at(name)) }

// ReadDir implements Files.
func (b below) ReadDir(name string) ([]Info, error) { return b.files.ReadDir(b.at(name)) }

// ReadFile implements Files.
func (b below) ReadFile(name string) ([]byte, error) { return b.files.ReadFile(b.at(name)) }

// WriteFile implements Files.
func (b below) WriteFile(name string, data []byte, mode fs.FileMode) error {
	if err := b.writable(); err != nil {
		return err
	}
	return b.files.WriteFile(b.at(name), data, mode)
}

// Mkdir implements Files.
func (b below) Mkdir(name string, mode fs.FileMode) error {
	if err := b.writable(); err != nil {
		return err
	}
	return b.files.Mkdir(b.at(name), mode)
}

// Symlink implements Files.
func (b below) Symlink(target, name string) error {
	if err := b.writable(); err != nil {
		return err
	}
	return b.files.Symlink(target, b.at(name))
}

// Remove implements Files.
func (b below) Remove(name string) error {
	if err := b.writable(); err != nil {
		return err
	}
	return b.files.Remove(b.at(name))
}

// Rename implements Files.
func (b below) Rename(from, to string) error {
	if err := b.writable(); err != nil {
		return err
	}
	return b.files.Rename(b.at(from), b.at(to))
}

// Chmod implements Files.
func (b below) Chmod(name string, mode fs.FileMode) error {
	if err := b.writable(); err != nil {
		return err
	}
	return b.files.Chmod(b.at(name), mode)
}

// Chown implements Files.
func (b below) Chown(name string, uid, gid int) error {
	if err := b.writable(); err != nil {
		return err
	}
	return b.files.Chown(b.at(name), uid, gid)
}

// Chtimes implements Files.
func (b below) Chtimes(name string, at time.Time) error {
	if err := b.writable(); err != nil {
		return err
	}
	return b.files.Chtimes(b.at(name), at)
}
