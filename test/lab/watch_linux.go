// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// watcher tells of files that were written and closed, came, or went. What is still being written is not told of: a file
// that was just emptied to be written anew is not an empty one.
type watcher struct {
	file    *os.File
	folders map[int32]string
}

func newWatcher(folders ...string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch folders: %w", err)
	}
	w := &watcher{file: os.NewFile(uintptr(fd), "inotify"), folders: map[int32]string{}}
	for _, folder := range folders {
		id, err := unix.InotifyAddWatch(fd, folder, unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO|unix.IN_MOVED_FROM|unix.IN_DELETE)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("watch %s: %w", folder, err), w.Close())
		}
		w.folders[int32(id)] = folder
	}
	return w, nil
}

// Close ends next.
func (w *watcher) Close() error { return w.file.Close() }

// next waits for files to change and names them; an error says that the watcher is closed.
func (w *watcher) next() ([]string, error) {
	buf := make([]byte, 64<<10)
	n, err := w.file.Read(buf)
	if err != nil {
		return nil, err
	}
	var out []string
	for rest := buf[:n]; len(rest) >= unix.SizeofInotifyEvent; {
		id := int32(binary.NativeEndian.Uint32(rest))
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(rest[12:]))
		name := string(bytes.TrimRight(rest[unix.SizeofInotifyEvent:size], "\x00"))
		if folder := w.folders[id]; folder != "" && name != "" && !strings.HasPrefix(name, ".") {
			out = append(out, filepath.Join(folder, name))
		}
		rest = rest[size:]
	}
	return out, nil
}
