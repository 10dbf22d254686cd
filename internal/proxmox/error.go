// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/internal/pin"
)

var (
	// ErrAgentAbsent says that a VM's guest agent does not answer: it is not
	// installed, not started yet, or not configured.
	ErrAgentAbsent = errors.New("guest agent is not running")
	// ErrRangeExhausted says that every VMID of a range is taken.
	ErrRangeExhausted = errors.New("no free VMID in range")
	// ErrBreakerOpen says that a call was not made because the last ones to
	// the same endpoint or node all went unanswered.
	ErrBreakerOpen = errors.New("not tried: the last calls went unanswered")
)

// Statuses of Proxmox VE's proxy that Go's library does not name. Measured: a
// dead node is 595 with an empty body, after 0.01 s, 3 s or 21 s.
const (
	statusNoNode   = 595
	statusBroken   = 596
	statusTooLarge = 599
)

// Error is what every call returns that did not succeed. Its text holds
// neither parameters nor tokens.
type Error struct {
	Method, Path string
	// Code is the HTTP status; 0: there was no answer, and whether a write was
	// carried out is unknown.
	Code int
	// Reason is the text of the status line, Message the one of the body;
	// either may be empty.
	Reason, Message string
	// Fields are complaints about single parameters.
	Fields map[string]string
	// Err is why there was no usable answer.
	Err error
}

// Error renders the call, the status and what Proxmox VE said, each once.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", e.Method, e.Path)
	if e.Code != 0 {
		fmt.Fprintf(&b, ": %d", e.Code)
	}
	if said := e.said(); said != "" {
		b.WriteString(" " + said)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		fmt.Fprintf(&b, "; %s: %s", name, strings.Join(strings.Fields(e.Fields[name]), " "))
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap returns why there was no usable answer.
func (e *Error) Unwrap() error { return e.Err }

// said is the fuller one of reason and message: mostly they are the same.
func (e *Error) said() string {
	if e.Message == "" || strings.Contains(e.Reason, e.Message) {
		return e.Reason
	}
	if strings.Contains(e.Message, e.Reason) {
		return e.Message
	}
	return e.Reason + ": " + e.Message
}

// matches says whether reason, message or a field's complaint fits.
func (e *Error) matches(pattern *regexp.Regexp) bool {
	if pattern.MatchString(e.Reason) || pattern.MatchString(e.Message) {
		return true
	}
	for _, complaint := range e.Fields {
		if pattern.MatchString(complaint) {
			return true
		}
	}
	return false
}

// The texts that tell errors apart, as measured; the status alone does not.
var (
	textNotExist = regexp.MustCompile(`(?i)configuration file '[^']*' does not exist|unable to find configuration file`)
	textLocked   = regexp.MustCompile(`(?:CT|VM) (?:\d+ )?is locked|can't lock file`)
	textConflict = regexp.MustCompile(`detected modified configuration|checksum mismatch \(file change`)
	textExists   = regexp.MustCompile(`(?:CT|VM) \d+ already exists`)
	textRootOnly = regexp.MustCompile(`(?i)only allowed for root@pam|only root (?:can|may)`)
	textNoQuorum = regexp.MustCompile(`no quorum|unable to open file '[^']*' - Permission denied`)
	textAlready  = regexp.MustCompile(`(?:CT|VM) \d+ (?:is )?(?:already|not) running|disk is already at specified size`)
	textNoTask   = regexp.MustCompile(`no such task`)
	textNoAgent  = regexp.MustCompile(`(?i)QEMU guest agent is not running|no QEMU guest agent configured`)
)

// IsNotExist says that a guest's configuration is not on the node that was
// asked. Measured: status 500, also when the guest lives on another node.
func IsNotExist(err error) bool { return fits(err, textNotExist) }

// IsLocked says that the guest is locked by a task, or that another writer
// held its file for ten seconds.
func IsLocked(err error) bool { return fits(err, textLocked) }

// IsConflict says that the configuration changed since its digest was read.
func IsConflict(err error) bool { return fits(err, textConflict) }

// IsExists says that the VMID is taken, by a container or a VM on any node.
func IsExists(err error) bool { return fits(err, textExists) }

// IsRootOnly says that no API token may do this, only root's own session or
// the command line on the node. IsDenied mostly holds as well: ask this first.
func IsRootOnly(err error) bool { return fits(err, textRootOnly) }

// IsNoQuorum says that the cluster refuses writes for want of a quorum.
func IsNoQuorum(err error) bool { return fits(err, textNoQuorum) }

// IsAlready says that things are as the call wanted them: running, not
// running, or of that size.
func IsAlready(err error) bool { return fits(err, textAlready) }

// IsDenied says that the token lacks a privilege (403); the text names it.
func IsDenied(err error) bool { return hasCode(err, http.StatusForbidden) }

// IsUnauthorized says that the token is unknown, wrong or expired (401).
func IsUnauthorized(err error) bool { return hasCode(err, http.StatusUnauthorized) }

// IsInvalid says that a parameter was refused (400); Fields name it.
func IsInvalid(err error) bool { return hasCode(err, http.StatusBadRequest) }

// IsUntrusted says that the endpoint showed another certificate than the
// pinned one; pin.Shown tells which. IsUnreachable holds as well.
func IsUntrusted(err error) bool {
	_, shown := pin.Shown(err)
	return shown
}

// IsUnreachable says that there was no answer from the endpoint or the node,
// or that the call was not tried for that reason. A write may still have been
// carried out. A call that its caller gave up is not unreachable.
func IsUnreachable(err error) bool {
	var e *Error
	if !errors.As(err, &e) || errors.Is(err, context.Canceled) {
		return false
	}
	return e.Code == 0 || fromProxy(e.Code)
}

// fromProxy says whether a status means that a proxy got no answer.
func fromProxy(code int) bool {
	switch code {
	case statusNoNode, statusBroken, statusTooLarge,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func fits(err error, pattern *regexp.Regexp) bool {
	var e *Error
	return errors.As(err, &e) && e.matches(pattern)
}

func hasCode(err error, code int) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// Err returns nil while the task runs and when it succeeded, else an *Error
// that the functions above tell apart like the error of a call.
func (t Task) Err() error {
	switch t.State {
	case TaskRunning, TaskSucceeded:
		return nil
	case TaskFailed:
		return &Error{Method: "task", Path: string(t.UPID), Code: http.StatusInternalServerError, Reason: t.Exit}
	}
	return &Error{
		Method: "task", Path: string(t.UPID), Code: http.StatusInternalServerError, Reason: t.Exit,
		Err: errors.New("its outcome is unknown"),
	}
}
