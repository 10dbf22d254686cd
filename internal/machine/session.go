// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/crypto/ssh"
)

// run runs a command line in a session and gives its place back when the
// session has ended, which may be later than the return.
func (c *Conn) run(ctx context.Context, session *ssh.Session, line string, stdin []byte) (Result, error) {
	full := make(chan struct{})
	overflow := sync.OnceFunc(func() { close(full) })
	stdout, stderr := &bounded{overflow: overflow}, &bounded{overflow: overflow}
	session.Stdout, session.Stderr = stdout, stderr
	ended := make(chan error, 1)
	go func() {
		defer func() { <-c.room }()
		ended <- carryOut(session, line, stdin)
		_ = session.Close()
	}()
	select {
	case err := <-ended:
		if stdout.over || stderr.over {
			return Result{}, ErrOutputTooLong
		}
		var exit *ssh.ExitError
		if errors.As(err, &exit) {
			return Result{Stdout: stdout.data, Stderr: stderr.data, ExitCode: exit.ExitStatus()}, nil
		}
		return Result{Stdout: stdout.data, Stderr: stderr.data}, err
	case <-full:
		kill(session)
		return Result{}, ErrOutputTooLong
	case <-ctx.Done():
		kill(session)
		return Result{}, context.Cause(ctx)
	}
}

// carryOut starts the command, feeds it and waits for its end.
func carryOut(session *ssh.Session, line string, stdin []byte) error {
	// A pipe of our own: a command that ends without reading all of its input
	// has not failed.
	input, err := session.StdinPipe()
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err := session.Start(line); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	go func() {
		_, _ = input.Write(stdin)
		_ = input.Close()
	}()
	err = session.Wait()
	var exit *ssh.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("connection broke, outcome unknown: %w", err)
	}
	return err
}

// kill ends a command without waiting for a machine that may not answer.
func kill(session *ssh.Session) {
	go func() {
		_ = session.Signal(ssh.SIGKILL)
		_ = session.Close()
	}()
}

// bounded keeps an output of up to maxOutput bytes.
type bounded struct {
	data     []byte
	over     bool
	overflow func()
}

// Write takes what fits and refuses the rest.
func (b *bounded) Write(p []byte) (int, error) {
	if len(b.data)+len(p) > maxOutput {
		b.over = true
		b.overflow()
		return 0, ErrOutputTooLong
	}
	b.data = append(b.data, p...)
	return len(p), nil
}
