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
	return &outcome{waiting, metav1.ConditionFalse, reason, after, err}
}

// Stall says that only a new spec helps: what it asks for is refused for good, or belongs to somebody else.
func Stall(reason string, err error) error {
	return &outcome{stalled, metav1.ConditionFalse, reason, 0, err}
}

// Fail gives a failure that is tried again with backoff a reason of its own, and makes Ready False.
func Fail(reason string, err error) error {
	return &outcome{failed, metav1.ConditionFalse, reason, 0, err}
}

// unknown is a wait during which nothing can be said about the outside.
func unknown(reason string, after time.Duration, err error) error {
	return &outcome{waiting, metav1.ConditionUnknown, reason, after, err}
}

func rest(ready metav1.ConditionStatus, reason, format string, args ...any) error {
	return &outcome{resting, ready, reason, 0, fmt.Errorf(format, args...)}
}

// outcomeOf reads an error; what is no outcome yet is a failure during which Ready is as given.
func outcomeOf(err error, ready metav1.ConditionStatus) *outcome {
	if err == nil {
		return nil
	}
	var o *outcome
	if errors.As(err, &o) {
		return &outcome{o.verdict, o.ready, o.reason, o.after, err}
	}
	return &outcome{failed, ready, v1alpha1.FailedReason, 0, err}
}
