// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

type verdict int

const (
	failed   verdict = iota // tried again with backoff
	waiting                 // something will come by itself
	stalled                 // only a new spec helps
	resting                 // a person has to act, nothing is wrong
	kept                    // nothing was looked at: the last status stands
	released                // the object is gone
)

// outcome is an error that says how a pass ended.
type outcome struct {
	verdict verdict
	ready   metav1.ConditionStatus
	reason  string
	after   time.Duration
	err     error
	// undone says that a step did not succeed: no step is taken again before its time, whatever brings a pass.
	undone bool
}

func (o *outcome) Error() string {
	if o.err == nil {
		return o.reason
	}
	return o.err.Error()
}

func (o *outcome) Unwrap() error { return o.err }

// Wait says that something has to come by itself first: a task runs, a guest is locked. It is not a failure. The object
// is looked at again after that time at the latest; Ready is False with the reason.
func Wait(reason string, after time.Duration, err error) error {
	return &outcome{verdict: waiting, ready: metav1.ConditionFalse, reason: reason, after: after, err: err}
}

// Stall says that only a new spec helps: what it asks for is refused for good, or belongs to somebody else. It is looked at
// again like an object in sync, for what somebody mends outside.
func Stall(reason string, err error) error {
	return &outcome{verdict: stalled, ready: metav1.ConditionFalse, reason: reason, err: err}
}

// Fail gives a failure that is tried again with backoff a reason of its own, and makes Ready False.
func Fail(reason string, err error) error {
	return &outcome{verdict: failed, ready: metav1.ConditionFalse, reason: reason, err: err}
}

// Undone is Fail for what a step began and what did not succeed, seen by Observe. Like a Do that fails, it keeps further
// steps back until the failure's time is over, also when an event brings a pass before: a creation that fails for want of
// space comes and goes in the list of guests, and each time would begin the next one.
func Undone(reason string, err error) error {
	return &outcome{verdict: failed, ready: metav1.ConditionFalse, reason: reason, err: err, undone: true}
}

// unknown is a wait during which nothing can be said about the outside.
func unknown(reason string, after time.Duration, err error) error {
	return &outcome{verdict: waiting, ready: metav1.ConditionUnknown, reason: reason, after: after, err: err}
}

func rest(ready metav1.ConditionStatus, reason, format string, args ...any) error {
	return &outcome{verdict: resting, ready: ready, reason: reason, err: fmt.Errorf(format, args...)}
}

// outcomeOf reads an error; what is no outcome yet is a failure during which Ready is as given.
func outcomeOf(err error, ready metav1.ConditionStatus) *outcome {
	if err == nil {
		return nil
	}
	var o *outcome
	if errors.As(err, &o) {
		whole := *o
		whole.err = err
		return &whole
	}
	return &outcome{verdict: failed, ready: ready, reason: v1alpha1.FailedReason, err: err}
}

// ReasonOf is the reason that an outcome gives; empty when err is none.
func ReasonOf(err error) string {
	var o *outcome
	if errors.As(err, &o) {
		return o.reason
	}
	return ""
}
