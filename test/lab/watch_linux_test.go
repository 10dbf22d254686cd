// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWatcher writes a file as an editor and as cp do, and sees what is told.
func TestWatcher(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	w, err := newWatcher(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	for _, tc := range []struct {
		reason string
		do     func() error
		want   []string
	}{
		{"a file is written and closed", func() error { return os.WriteFile(path, []byte("a"), 0o600) }, []string{path}},
		{"one takes the place of another; a hidden one is nobody's business", func() error {
			hidden := filepath.Join(dir, ".file")
			return errors.Join(os.WriteFile(hidden, []byte("b"), 0o600), os.Rename(hidden, path))
		}, []string{path}},
		{"a file goes", func() error { return os.Remove(path) }, []string{path}},
	} {
		if err := tc.do(); err != nil {
			t.Fatal(err)
		}
		var got []string
		for len(got) < len(tc.want) {
			more, err := w.next()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, more...)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tc.reason, diff)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := w.next(); err == nil {
		t.Errorf("a closed watcher tells of %v", got)
	}
	if _, err := newWatcher(filepath.Join(dir, "nothing")); err == nil {
		t.Error("a folder that is not there is watched")
	}
}
