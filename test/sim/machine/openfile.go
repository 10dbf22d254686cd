// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// openFile is a file that the shell has open.
type openFile struct {
	files  Files
	inside string
	reader *strings.Reader
	text   strings.Builder
	write  bool
	void   bool // /dev/null
}

// open opens a file as the process sees it.
func (p *Process) open(name string, flag int) (io.ReadWriteCloser, error) {
	write := flag&(os.O_WRONLY|os.O_RDWR) != 0
	if name == "/dev/stdin" && !write {
		text, err := p.input()
		return &openFile{reader: strings.NewReader(text)}, err
	}
	at, err := p.M.resolve(p.abs(name), true)
	if err != nil {
		return nil, err
	}
	info, err := p.M.lstat(at)
	switch {
	case err == nil && info.IsDir():
		return nil, syscall.EISDIR
	case err == nil && info.Perm&fs.ModeDevice != 0:
		return &openFile{void: true, write: write, reader: strings.NewReader("")}, nil
	case err != nil && !write:
		return nil, err
	case write:
		return p.openForWriting(at, flag)
	}
	text, err := p.M.readFile(at)
	return &openFile{reader: strings.NewReader(text)}, err
}

// openForWriting empties a file, or makes it. What others keep, such as /etc/pve,
// is not emptied: who reads it there sees the old text or the new one.
func (p *Process) openForWriting(at string, flag int) (io.ReadWriteCloser, error) {
	files, inside := p.M.place(at)
	f := &openFile{files: files, inside: inside, write: true}
	old, err := p.M.readFile(at)
	if err == nil && flag&os.O_APPEND != 0 {
		f.text.WriteString(old)
		return f, nil
	}
	if _, err := p.M.stat(parentOf(at)); err != nil {
		return nil, err
	}
	switch files.(type) {
	case *tree, below:
		old = ""
	}
	return f, p.M.writeFile(at, old, 0o666&^p.Umask)
}

// Read implements io.Reader.
func (f *openFile) Read(b []byte) (int, error) {
	if f.reader == nil {
		return 0, io.EOF
	}
	return f.reader.Read(b)
}

// Write implements io.Writer.
func (f *openFile) Write(b []byte) (int, error) {
	switch {
	case f.void:
		return len(b), nil
	case !f.write:
		return 0, syscall.EBADF
	}
	f.text.Write(b)
	return len(b), f.files.WriteFile(f.inside, []byte(f.text.String()), 0o644)
}

// Close implements io.Closer.
func (f *openFile) Close() error { return nil }
