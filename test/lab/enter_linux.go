// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// The stages of a process with a lab: it starts itself again as the first process of new namespaces, which prepares them and
// starts itself once more as what was asked for.
const (
	stageVariable  = "PHOENIX_LAB_STAGE"
	folderVariable = "PHOENIX_LAB_FOLDER"
	pidVariable    = "PHOENIX_LAB_PID"

	stageFirst  = "first"
	stageInside = "inside"
)

// Main runs what needs a lab: run is called in a process of its own, with this one's arguments, inside the lab's namespaces.
// It returns run's exit status. Call it first in main or TestMain, with nothing started yet.
func Main(run func() int) int {
	var exit int
	var err error
	switch os.Getenv(stageVariable) {
	case stageInside:
		return run()
	case stageFirst:
		exit, err = first()
	default:
		exit, err = outside()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	return exit
}

// inside names the lab's folder and the process by which others enter the lab; an error outside of one.
func inside() (folder string, pid int, err error) {
	if os.Getenv(stageVariable) != stageInside {
		return "", 0, errors.New("not inside the lab's namespaces: begin with lab.Main")
	}
	pid, err = strconv.Atoi(os.Getenv(pidVariable))
	return os.Getenv(folderVariable), pid, err
}

// outside removes what dead labs left, starts the first process inside, waits for it, and removes what it left.
func outside() (exit int, err error) {
	if os.Getuid() != 0 {
		return 1, errors.New("only root can have a lab")
	}
	if err := sweep(); err != nil {
		return 1, err
	}
	p, err := newPlace()
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, p.remove()) }()
	tell, told, err := os.Pipe()
	if err != nil {
		return 1, err
	}
	// A terminal's Ctrl-C reaches the processes inside as well; the end of this one must come last.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	// The kernel kills the child when the thread ends that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := again(stageFirst, folderVariable+"="+p.dir)
	cmd.ExtraFiles = []*os.File{tell}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
	}
	err = cmd.Start()
	_ = tell.Close() // the child has its own
	if err != nil {
		_ = told.Close() // nobody reads
		return 1, fmt.Errorf("enter namespaces: %w", err)
	}
	err = p.record(cmd.Process.Pid)
	_, werr := fmt.Fprint(told, cmd.Process.Pid)
	err = errors.Join(err, werr, told.Close())
	exit, werr = wait(cmd, signals)
	return exit, errors.Join(err, werr)
}

// again is this program with another stage.
func again(stage string, env ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...) // it is ended by signals
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(append(os.Environ(), stageVariable+"="+stage), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

// wait passes SIGTERM on and returns the child's exit status.
func wait(cmd *exec.Cmd, signals <-chan os.Signal) (int, error) {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGTERM {
				_ = cmd.Process.Signal(s) // it may have ended
			}
		case err := <-ended:
			return status(err)
		}
	}
}

// status is a shell's: 128 and more for a signal.
func status(err error) (int, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	if w := exit.Sys().(syscall.WaitStatus); w.Signaled() {
		return 128 + int(w.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// first prepares the namespaces and runs the program inside. It is the first process there: it takes in orphans, and all
// others end with it.
func first() (int, error) {
	pipe := os.NewFile(3, "pid")
	pid, err := io.ReadAll(pipe)
	err = errors.Join(err, pipe.Close())
	if err != nil {
		return 1, err
	}
	if err := prepare(); err != nil {
		return 1, err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	cmd := again(stageInside, pidVariable+"="+string(pid))
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	go func() {
		for s := range signals {
			if s == syscall.SIGTERM {
				_ = cmd.Process.Signal(s) // it may have ended
			}
		}
	}()
	return reap(cmd.Process.Pid)
}

// reap waits for every child, adopted ones too, until the given one has ended.
func reap(pid int) (int, error) {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 1, fmt.Errorf("wait for the program inside: %w", err)
		case got != pid:
		case ws.Signaled():
			return 128 + int(ws.Signal()), nil
		default:
			return ws.ExitStatus(), nil
		}
	}
}

// prepare gives the new namespaces their own /proc, /sys and /run, and a loopback.
func prepare() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	steps := []func() error{
		func() error {
			return unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		},
		func() error { return unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755") },
		freshSysfs,
		func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644) },
		func() error { return command(context.Background(), nil, "ip", "link", "set", "lo", "up") },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("prepare namespaces: %w", err)
		}
	}
	return nil
}

// freshSysfs shows the network devices of the new namespace in /sys, with the control groups that were there.
func freshSysfs() error {
	const groups = "/sys/fs/cgroup"
	kept := "/run/cgroup"
	if err := os.MkdirAll(kept, 0o755); err != nil {
		return err
	}
	err := unix.Mount(groups, kept, "", unix.MS_BIND|unix.MS_REC, "")
	if err == nil {
		err = unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
	if err == nil {
		err = unix.Mount(kept, groups, "", unix.MS_BIND|unix.MS_REC, "")
	}
	if err == nil {
		err = unix.Unmount(kept, unix.MNT_DETACH)
	}
	return errors.Join(err, os.Remove(kept))
}
