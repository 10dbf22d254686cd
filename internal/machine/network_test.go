// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestNetworkFileSystem looks at places on network file systems. Those of a
// server that is away do not exist here and stat says nothing of them: only
// the table of mounts speaks for them, as it does where looking would hang.
func TestNetworkFileSystem(t *testing.T) {
	dir, m := newFolder(t)
	f := m.runner.(*folder)
	f.replace = strings.NewReplacer(append([]string{"/proc/mounts", dir + "/mounts"}, f.pairs...)...)
	tool, err := exec.LookPath("stat")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"mounts":   "server:/x DIR/app/away nfs4 rw 0 0\nserver:/y DIR/app/here nfs rw 0 0\nlocal DIR/app ext4 rw 0 0\n",
		"bin/stat": "#!/bin/sh\nfor p; do\n\tcase $p in\n\tDIR/app/away | DIR/app/away/*) echo \"$p\" >>DIR/looked; exit 124 ;;\n\tesac\ndone\nexec REAL \"$@\"\n",
	} {
		text = strings.NewReplacer("DIR", dir, "REAL", tool).Replace(text)
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(dir+"/app/here/below", 0o750); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, kind, mode, reason string }{
		{"/app/away", "directory", "0755", "its server is away"},
		{"/app/here", "directory", "0750", "its server answers"},
		{"/app/here/below", "directory", "0750", "its server answers for what is below"},
		{"/app/away2", "", "", "it is on none"},
	} {
		seen, err := m.Observe(t.Context(), planOwner, State{Dirs: []Dir{{Path: dir + c.path}}})
		if got := seen.Paths[dir+c.path]; err != nil || got.Kind != c.kind || got.Mode != c.mode {
			t.Errorf("%s: %s is %+v, %v", c.reason, c.path, got, err)
		}
		if got := seen.Paths[dir+"/app"]; got.Kind != "directory" {
			t.Errorf("%s: above it is %+v", c.reason, got)
		}
	}
	var pending *PendingError
	if _, err := m.Observe(t.Context(), planOwner, State{Files: []File{{Path: dir + "/app/away/file"}}}); !errors.As(err, &pending) {
		t.Errorf("below one whose server is away: %v", err)
	}
	if looked, err := os.ReadFile(dir + "/looked"); err != nil || strings.Contains(string(looked), "file") {
		t.Errorf("looked at:\n%s%v", looked, err)
	}
}
