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
	m      *Machine
	path   string
	reader *strings.Reader
	text   strings.Builder
	write  bool
	live   bool // every write shows at once
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

func (p *Process) openForWriting(at string, flag int) (io.ReadWriteCloser, error) {
	files, _ := p.M.place(at)
	_, own := files.(*tree)
	f := &openFile{m: p.M, path: at, write: true, live: own}
	if flag&os.O_APPEND != 0 {
		text, err := p.M.readFile(at)
		if err == nil {
			f.text.WriteString(text)
			return f, nil
		}
	}
	if _, err := p.M.stat(parentOf(at)); err != nil {
		return nil, err
	}
	if !f.live {
		return f, nil
	}
	return f, p.M.writeFile(at, "", 0o666&^p.Umask)
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
	if f.live {
		return len(b), f.m.disk.store(f.path, f.text.String())
	}
	return len(b), nil
}

// Close implements io.Closer: what somebody else keeps is written then.
func (f *openFile) Close() error {
	if !f.write || f.void || f.live {
		return nil
	}
	return f.m.writeFile(f.path, f.text.String(), 0o644)
}
