// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phoenix-hypervisor/phoenix/test/lab/image"
)

// controlGroups are where the kernel's control groups are mounted.
const controlGroups = "/sys/fs/cgroup"

// groupPrefix begins the names of the control groups of a lab's machines.
const groupPrefix = "phoenix-lab-"

// place is a lab's folder: everything that the lab writes is in it. A lock is held on it as long as the lab lives.
type place struct {
	dir  string
	lock *os.File
}

// record is what a lab leaves to those who clean up after it.
type record struct {
	// PID is the first process of the lab's namespaces, Started tells it from another one of this number.
	PID     int    `json:"pid"`
	Started string `json:"started"`
	// Namespace is the one in which PID is the process's number.
	Namespace string `json:"namespace"`
}

// running is the folder of the folders of labs.
func running() (string, error) {
	folder, err := image.Folder()
	return filepath.Join(folder, "run"), err
}

func newPlace() (*place, error) {
	folder, err := running()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(folder, "")
	if err != nil {
		return nil, err
	}
	p, err := openPlace(dir)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, fmt.Errorf("lock %s: somebody removes it", dir)
	}
	return p, os.Chmod(dir, 0o755) // the machines' own users look for their files below it
}

// openPlace locks a lab's folder; nil means that its lab lives.
func openPlace(dir string) (*place, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // it was not locked
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return &place{dir: dir, lock: f}, nil
}

// record writes down the first process inside.
func (p *place) record(pid int) error {
	started, err := startOf(pid)
	if err != nil {
		return err
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return err
	}
	text, err := json.Marshal(record{PID: pid, Started: started, Namespace: namespace})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir, "state.json"), text, 0o600)
}

// remove ends what lives in the place and removes all of it.
func (p *place) remove() error {
	err := p.kill()
	if err == nil {
		err = errors.Join(removeGroups(groupPrefix+filepath.Base(p.dir)+"-"), os.RemoveAll(p.dir))
	}
	return errors.Join(err, p.lock.Close())
}

// kill ends the first process inside, and with it all others.
func (p *place) kill() error {
	text, err := os.ReadFile(filepath.Join(p.dir, "state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was started yet
	}
	var r record
	if err := errors.Join(err, json.Unmarshal(text, &r)); err != nil {
		return fmt.Errorf("read what a lab left: %w", err)
	}
	if namespace, err := os.Readlink("/proc/self/ns/pid"); err != nil || namespace != r.Namespace {
		return err // it died with the namespace that it was started in
	}
	for range 500 {
		if started, err := startOf(r.PID); err != nil || started != r.Started {
			return nil // it is gone, or another one has its number
		}
		if err := unix.Kill(r.PID, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end process %d of a dead lab: %w", r.PID, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("process %d of a dead lab does not end", r.PID)
}

// startOf is when a process was started, in the kernel's ticks; an error when there is none, or only its remains.
func startOf(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name before it may hold anything
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" {
		return "", fmt.Errorf("process %d has ended", pid)
	}
	return fields[19], nil
}

// sweep removes what dead labs left.
func sweep() error {
	folder, err := running()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, e := range entries {
		p, err := openPlace(filepath.Join(folder, e.Name()))
		if err == nil && p != nil {
			err = p.remove()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("clean up after lab %s: %w", e.Name(), err))
		}
	}
	return errors.Join(errs...)
}

// removeGroups removes the control groups whose path goes on with this text after a slash, in every hierarchy, with those
// below them: empty ones, as their processes have ended.
func removeGroups(begin string) error {
	var found []string
	err := filepath.WalkDir(controlGroups, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // a group may end while we look
		}
		if strings.Contains(path+"/", "/"+begin) {
			found = append(found, path)
		}
		return nil
	})
	slices.Reverse(found) // what is below comes first
	end := time.Now().Add(5 * time.Second)
	for _, path := range found {
		if e := removeGroup(path, end); e != nil {
			return errors.Join(err, e)
		}
	}
	return err
}

// removeGroup waits for the kernel, which lets go of a group's last process a moment after its end.
func removeGroup(path string, end time.Time) error {
	for {
		err := unix.Rmdir(path)
		switch {
		case err == nil || errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.EBUSY) || time.Now().After(end):
			return fmt.Errorf("remove control group %s: %w", path, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
