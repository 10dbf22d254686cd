// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// MaxAgentInput is how many bytes AgentExec takes as input, by the schema.
const MaxAgentInput = 64 << 10

// ErrNoAgentProcess says that the guest agent does not know a process. It
// tells how one ended a single time, so that an answer that was lost on its
// way is lost for good.
var ErrNoAgentProcess = errors.New("guest agent knows no such process")

var (
	textNoProcess = regexp.MustCompile(`(?i)PID \w+ does not exist`)
	textVMStopped = regexp.MustCompile(`VM \d+ is not running`)
)

// AgentStatus is how a process that AgentExec started is now.
type AgentStatus struct {
	Exited   bool
	ExitCode int
	// Signal that ended the process, 0 for none.
	Signal         int
	Stdout, Stderr string
	// Truncated says that the agent kept only the beginning of an output.
	Truncated bool
}

// AgentExec has a VM's guest agent start a program and returns its process ID.
// The command holds the arguments as the program gets them: no shell reads
// them. The input becomes the program's standard input; it must be ASCII,
// which is all that passes Proxmox VE unchanged, and at most MaxAgentInput
// long. Without an agent the error is ErrAgentAbsent. The call is sent once:
// when it goes unanswered (IsUnreachable) the program may run.
func (c *Client) AgentExec(ctx context.Context, r Ref, command []string, input []byte) (pid int, err error) {
	switch {
	case len(command) == 0 || command[0] == "":
		return 0, errors.New("run command by the guest agent: there is none")
	case slices.ContainsFunc(command, func(word string) bool { return strings.ContainsRune(word, 0) }):
		return 0, fmt.Errorf("run %s by the guest agent: an argument holds a NUL byte", command[0])
	case len(input) > MaxAgentInput:
		return 0, fmt.Errorf("run %s by the guest agent: input is longer than %d bytes", command[0], MaxAgentInput)
	case slices.ContainsFunc(input, func(b byte) bool { return b == 0 || b >= 0x80 }):
		return 0, fmt.Errorf("run %s by the guest agent: input is not ASCII", command[0])
	}
	params := map[string]string{"command": array(command)}
	if len(input) > 0 {
		params["input-data"] = string(input)
	}
	var answer struct {
		PID integer `json:"pid"`
	}
	if err := c.call(ctx, http.MethodPost, r.path("/agent/exec"), params, &answer); err != nil {
		return 0, agentError(err)
	}
	if answer.PID <= 0 {
		return 0, fmt.Errorf("run %s by the guest agent: the answer holds no process ID", command[0])
	}
	return int(answer.PID), nil
}

// AgentExecStatus asks how a process is that AgentExec started. That it exited
// is told once: afterwards, and after a restart of the agent, the error is
// ErrNoAgentProcess.
func (c *Client) AgentExecStatus(ctx context.Context, r Ref, pid int) (AgentStatus, error) {
	var answer struct {
		Exited       truth   `json:"exited"`
		ExitCode     integer `json:"exitcode"`
		Signal       integer `json:"signal"`
		Out          string  `json:"out-data"`
		Err          string  `json:"err-data"`
		OutTruncated truth   `json:"out-truncated"`
		ErrTruncated truth   `json:"err-truncated"`
	}
	err := c.get(ctx, r.path("/agent/exec-status"), map[string]string{"pid": strconv.Itoa(pid)}, &answer)
	if err != nil {
		return AgentStatus{}, agentError(err)
	}
	return AgentStatus{
		Exited: bool(answer.Exited), ExitCode: int(answer.ExitCode), Signal: int(answer.Signal), Stdout: answer.Out, Stderr: answer.Err,
		Truncated: bool(answer.OutTruncated || answer.ErrTruncated),
	}, nil
}

// agentError tells the answers apart that say there is nobody to run anything.
func agentError(err error) error {
	switch {
	case fits(err, textNoAgent), fits(err, textVMStopped):
		return fmt.Errorf("%w: %w", ErrAgentAbsent, err)
	case fits(err, textNoProcess):
		return fmt.Errorf("%w: %w", ErrNoAgentProcess, err)
	}
	return err
}
