// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Result is what a program in the lab did.
type Result struct {
	// Exit is its status; 128 and more for a signal.
	Exit int
	// Stdout and Stderr are what it printed, in full.
	Stdout, Stderr string
}

// command runs a program of this machine; the error says what it complained about.
func command(ctx context.Context, stdin io.Reader, name string, args ...string) error {
	_, err := output(ctx, stdin, name, args...)
	return err
}

// output is command with what the program printed.
func output(ctx context.Context, stdin io.Reader, name string, args ...string) (string, error) {
	r, err := capture(ctx, stdin, name, args...)
	if err != nil {
		return "", err
	}
	if r.Exit != 0 {
		return "", fmt.Errorf("run %s %s: exit %d: %s", name, strings.Join(args, " "), r.Exit, strings.TrimSpace(r.Stderr+r.Stdout))
	}
	return r.Stdout, nil
}

// capture runs a program of this machine; an exit status is no error.
func capture(ctx context.Context, stdin io.Reader, name string, args ...string) (Result, error) {
	var out, errs bytes.Buffer
	exit, err := stream(ctx, stdin, &out, &errs, nil, name, args...)
	return Result{Exit: exit, Stdout: out.String(), Stderr: errs.String()}, err
}

// stream runs a program of this machine with the given input and output. It does not wait for input that does not end, nor
// for long for output that somebody holds open. When ctx ends, the program is killed, with what it started.
func stream(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, env []string, name string, args ...string) (int, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = stdout, stderr, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	var pipe io.WriteCloser
	if f, ok := stdin.(*os.File); ok {
		cmd.Stdin = f
	} else if stdin != nil {
		var err error
		if pipe, err = cmd.StdinPipe(); err != nil {
			return 0, err
		}
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", name, err)
	}
	if pipe != nil {
		go func() {
			_, _ = io.Copy(pipe, stdin) // the program need not read all
			_ = pipe.Close()            // as above
		}()
	}
	err := cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return status(err)
}
