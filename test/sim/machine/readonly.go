// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"io/fs"
	"syscall"
	"time"
)

// ReadOnly refuses every change with EACCES; Files that are only read embed it.
type ReadOnly struct{}

// WriteFile implements Files.
func (ReadOnly) WriteFile(string, []byte, fs.FileMode) error { return syscall.EACCES }

// Mkdir implements Files.
func (ReadOnly) Mkdir(string, fs.FileMode) error { return syscall.EACCES }

// Symlink implements Files.
func (ReadOnly) Symlink(string, string) error { return syscall.EACCES }

// Remove implements Files.
func (ReadOnly) Remove(string) error { return syscall.EACCES }

// Rename implements Files.
func (ReadOnly) Rename(string, string) error { return syscall.EACCES }

// Chmod implements Files.
func (ReadOnly) Chmod(string, fs.FileMode) error { return syscall.EPERM }

// Chown implements Files.
func (ReadOnly) Chown(string, int, int) error { return syscall.EPERM }

// Chtimes implements Files.
func (ReadOnly) Chtimes(string, time.Time) error { return syscall.EPERM }
