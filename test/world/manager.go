// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// stopTimeout is how long the manager may take to end before it is killed.
const stopTimeout = 15 * time.Second

// process is a child that ends with its parent.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended, once done is closed
}

// StartManager starts the manager. Its log goes to manager.log in the world's folder.
func (w *World) StartManager(flags ...string) error {
	log, err := os.OpenFile(w.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open manager's log: %w", err)
	}
	defer func() { _ = log.Close() }() // the child has its own
	args := append([]string{"--health-probe-bind-address=127.0.0.1:0", "--metrics-bind-address=0", "--leader-elect=false"}, flags...)
	cmd := exec.CommandContext(context.Background(), w.opts.Manager, args...) // it outlives the call; StopManager ends it
	cmd.Env = append(os.Environ(), "KUBECONFIG="+w.managerKubeconfig())
	if w.proxy != nil {
		cmd.Env = append(cmd.Env, w.proxy.environment()...)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childOnly()
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel kills the child when the thread ends that started it, not only with the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start manager: %w", err)
	}
	w.manager = p
	w.say("manager        pid %d, log in %s", cmd.Process.Pid, w.LogFile())
	return nil
}

// LogFile is where the manager's log goes.
func (w *World) LogFile() string { return filepath.Join(w.opts.Dir, "manager.log") }

// ManagerEnded is closed when the manager has ended by itself.
func (w *World) ManagerEnded() <-chan struct{} { return w.manager.done }

// ManagerError says how the manager ended, once it has.
func (w *World) ManagerError() error {
	return fmt.Errorf("the manager ended (%w): see %s", w.manager.err, w.LogFile())
}

// KillManager ends the manager at once, as a power cut would.
func (w *World) KillManager() error {
	p := w.manager
	w.manager = nil
	if p == nil {
		return nil
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill manager: %w", err)
	}
	<-p.done
	return nil
}

// StopManager asks the manager to end, and waits for it.
func (w *World) StopManager() error {
	p := w.manager
	if p == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop manager: %w", err)
	}
	select {
	case <-p.done:
		w.manager = nil
		return nil
	case <-time.After(stopTimeout):
		return errors.Join(fmt.Errorf("manager did not stop within %s", stopTimeout), w.KillManager())
	}
}
