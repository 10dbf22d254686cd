// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/utils/clock"
)

const (
	// agentPiece is how many bytes travel as one input: 60 KB in base64, where
	// the API takes 64 KiB.
	agentPiece = 45_000
	// agentInput is the longest input that travels with the command itself.
	agentInput = 60_000
	// A command is asked after quickly at first, then once a second.
	agentFirstPause = 50 * time.Millisecond
	agentLastPause  = time.Second
)

// Agent starts programs in a VM by its guest agent. Errors of a VM that cannot
// be reached, or that no longer knows the program, are marked by Away.
type Agent interface {
	// AgentExec starts a program with an input of at most 64 KiB of ASCII.
	AgentExec(ctx context.Context, command []string, input []byte) (pid int, err error)
	// AgentExecStatus says how it is. That it exited may be told only once.
	AgentExecStatus(ctx context.Context, pid int) (AgentStatus, error)
}

// AgentStatus is how a program is that the guest agent started.
type AgentStatus struct {
	Exited         bool
	ExitCode       int
	Signal         int // that ended it, 0 for none
	Stdout, Stderr []byte
	Truncated      bool // only the beginning of an output is there
}

// OverAgent runs commands by a VM's guest agent. An input that is long or not
// ASCII goes there first in pieces, into a file below /run that only root can
// read and that is gone before the command begins. The agent cannot be told to
// end a command: when the context ends first, it goes on.
func OverAgent(a Agent, c clock.Clock) Runner {
	if c == nil {
		c = clock.RealClock{}
	}
	return overAgent{a, c}
}

type overAgent struct {
	agent Agent
	clock clock.Clock
}

// Run runs a command in the VM.
func (o overAgent) Run(ctx context.Context, argv []string, stdin []byte) (Result, error) {
	if len(argv) == 0 || argv[0] == "" {
		return Result{}, errors.New("run command: there is none")
	}
	result, err := o.run(ctx, argv, stdin)
	if err != nil {
		return Result{}, fmt.Errorf("run %s by the guest agent: %w", argv[0], err)
	}
	return result, nil
}

func (o overAgent) run(ctx context.Context, argv []string, stdin []byte) (Result, error) {
	strange := func(b byte) bool { return b == 0 || b >= 0x80 }
	if len(stdin) <= agentInput && !slices.ContainsFunc(stdin, strange) {
		return o.exec(ctx, argv, stdin)
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	file := "/run/phoenix-input-" + hex.EncodeToString(id[:])
	for piece := range slices.Chunk(stdin, agentPiece) {
		if err := o.send(ctx, file, piece); err != nil {
			o.forget(ctx, file)
			return Result{}, fmt.Errorf("send input: %w", err)
		}
	}
	// The file is open when its name goes, so that nothing stays behind.
	open := []string{"sh", "-c", `file=$1; shift; { rm -f "$file"; "$@"; } <"$file"`, "sh", file}
	result, err := o.exec(ctx, append(open, argv...), nil)
	if err != nil {
		o.forget(ctx, file)
	}
	return result, err
}

// send adds a piece to the file.
func (o overAgent) send(ctx context.Context, file string, piece []byte) error {
	encoded := []byte(base64.StdEncoding.EncodeToString(piece))
	result, err := o.exec(ctx, []string{"sh", "-c", `umask 077 && base64 -d >>"$1"`, "sh", file}, encoded)
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("exit code %d: %s", result.ExitCode, tail(string(result.Stderr), 300))
	}
	return err
}

// forget removes what may be there of the file, also when the caller has left.
// What it cannot remove goes with the next boot.
func (o overAgent) forget(ctx context.Context, file string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	_, _ = o.exec(ctx, []string{"rm", "-f", file}, nil)
}

// exec starts a command and follows it to its end.
func (o overAgent) exec(ctx context.Context, argv []string, input []byte) (Result, error) {
	pid, err := o.agent.AgentExec(ctx, argv, input)
	if err != nil {
		return Result{}, err
	}
	for pause := agentFirstPause; ; pause = min(2*pause, agentLastPause) {
		timer := o.clock.NewTimer(pause)
		select {
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			return Result{}, markAway(context.Cause(ctx))
		}
		status, err := o.agent.AgentExecStatus(ctx, pid)
		switch {
		case err != nil:
			return Result{}, Away(fmt.Errorf("follow process %d, outcome unknown: %w", pid, err))
		case status.Exited:
			return status.result()
		}
	}
}

func (s AgentStatus) result() (Result, error) {
	if s.Truncated || len(s.Stdout) > maxOutput || len(s.Stderr) > maxOutput {
		return Result{}, ErrOutputTooLong
	}
	if s.Signal != 0 {
		s.ExitCode = 128 + s.Signal
	}
	return Result{Stdout: bytes.Clone(s.Stdout), Stderr: bytes.Clone(s.Stderr), ExitCode: s.ExitCode}, nil
}
