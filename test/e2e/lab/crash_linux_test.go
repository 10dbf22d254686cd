// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/lab/image"
)

// lifeOf is another lab, as those outside of it see it.
type lifeOf struct {
	cmd *exec.Cmd
	dir string // its folder
}

// startVictim starts a lab in a process of its own and waits until it is up, with a guest.
func startVictim(t *testing.T) *lifeOf {
	t.Helper()
	before := places(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PHOENIX_LAB_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, victimVariable+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended, unless the test failed
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "up\n" {
		t.Fatalf("another lab does not come up: %q, %v", line, err)
	}
	v := &lifeOf{cmd: cmd}
	for dir := range places(t) {
		if !before[dir] {
			v.dir = dir
		}
	}
	if v.dir == "" || len(v.processes(t)) < 2 || len(v.groups(t)) == 0 {
		t.Fatalf("there is no trace of a lab that is up: folder %q, processes %v", v.dir, v.processes(t))
	}
	return v
}

// places are the folders of labs.
func places(t *testing.T) map[string]bool {
	t.Helper()
	folder, err := image.Folder()
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(folder, "run", "*"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, dir := range found {
		out[dir] = true
	}
	return out
}

// processes are those in the lab's control groups.
func (v *lifeOf) processes(t *testing.T) []int {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, path := range found {
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), "/phoenix-lab-"+filepath.Base(v.dir)) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			out = append(out, pid)
		}
	}
	return out
}

// groups are the lab's control groups.
func (v *lifeOf) groups(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), "phoenix-lab-"+filepath.Base(v.dir)) {
			out = append(out, path)
		}
		return nil // a group may end while we look
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// gone proves that nothing is left.
func (v *lifeOf) gone(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(v.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder %s is left: %v", v.dir, err)
	}
	if left := v.processes(t); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	if left := v.groups(t); len(left) > 0 {
		t.Errorf("control groups are left: %v", left)
	}
}

// ended waits until the kernel has ended all of the lab's processes.
func (v *lifeOf) ended(t *testing.T) {
	t.Helper()
	until(t, "the lab's processes end", func() error {
		if left := v.processes(t); len(left) > 0 {
			return fmt.Errorf("processes %v run", left)
		}
		return nil
	})
}

// childOf is a process's only child.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // of every thread
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		text, _ := os.ReadFile(list) // a thread may end
		if child, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			return child
		}
	}
	t.Fatalf("process %d has no child", pid)
	return 0
}

// TestEnds ends labs in every way that there is: each leaves nothing, one that was killed as a whole nothing after the next
// start.
func TestEnds(t *testing.T) {
	t.Run("asked to", func(t *testing.T) {
		v := startVictim(t)
		if err := v.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := v.cmd.Wait(); err != nil {
			t.Error(err)
		}
		v.gone(t)
	})
	t.Run("killed inside", func(t *testing.T) {
		v := startVictim(t)
		if err := syscall.Kill(childOf(t, v.cmd.Process.Pid), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := v.cmd.Wait(); err == nil {
			t.Error("it ended as if all were well")
		}
		v.gone(t)
	})
	t.Run("killed", func(t *testing.T) {
		v := startVictim(t)
		if err := v.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = v.cmd.Wait() // it was killed
		v.ended(t)
		if _, err := os.Stat(v.dir); err != nil {
			t.Fatalf("there is nothing to clean up: %v", err)
		}
		next := startVictim(t)
		v.gone(t)
		if err := next.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := next.cmd.Wait(); err != nil {
			t.Error(err)
		}
		next.gone(t)
	})
}
