// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package machine reaches Linux machines and holds them in a declared state.
// It runs commands over SSH, in containers of a node, and through the QEMU
// guest agent; on top of that it observes a State in one round trip, plans the
// difference, and makes it by one script that leaves nothing half done. It
// knows neither Kubernetes nor what a machine is for.
package machine

import (
	"context"
	"errors"
	"strings"
)

// Runner runs commands as root on one machine. The arguments reach a command
// as they are; secrets belong into stdin. An exit code is data: the error says
// that the command could not be run, or, when IsAway, that nobody knows.
// *Conn is a Runner.
type Runner interface {
	Run(ctx context.Context, argv []string, stdin []byte) (Result, error)
}

// Result is what a command did. That it exited with another code than 0 is no
// error: the caller knows what it means.
type Result struct {
	Stdout, Stderr []byte
	ExitCode       int // 128 + the signal's number when a signal ended it
}

// IsAway says of an error that the machine could not be reached, or that the
// connection broke or took too long: what the command did is unknown. It is
// worth a wait, not a complaint. A machine that shows a wrong host key or
// refuses the key is not away.
func IsAway(err error) bool {
	var away *awayError
	return errors.As(err, &away)
}

// Away marks an error as one of IsAway. Transports of other packages, such as
// an Agent, say so of theirs. Away(nil) is nil.
func Away(err error) error {
	if err == nil || IsAway(err) {
		return err
	}
	return &awayError{err}
}

// awayError marks what IsAway finds; it adds no words.
type awayError struct{ error }

func (a *awayError) Unwrap() error { return a.error }

// markAway marks an error of a transport, unless it says something of the
// machine's or the caller's configuration.
func markAway(err error) error {
	var shown *HostKeyError
	switch {
	case errors.As(err, &shown), errors.Is(err, ErrOutputTooLong), errors.Is(err, context.Canceled),
		strings.Contains(err.Error(), "unable to authenticate"):
		return err
	}
	return Away(err)
}
