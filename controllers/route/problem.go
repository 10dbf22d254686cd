// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"errors"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// problem is something that is not as it should be and cannot be mended in this pass.
type problem struct {
	reason string
	// after is when it is worth another look.
	after time.Duration
	// failure says that it is worth an event, not a mere wait.
	failure bool
	// changes are what would be done if it were not for the problem.
	changes []reconcile.Change
	err     error
	// outcome is what is returned instead, if it is set.
	outcome error
}

// problemOf is an outcome that holds up nothing but itself.
func problemOf(err error) *problem {
	return &problem{reason: reconcile.ReasonOf(err), err: err, outcome: err}
}

// restSteps say, once nothing else is left to do, what is not as it should be. Taking the first of them says all.
func restSteps(r *v1alpha1.Route, problems []*problem) []reconcile.Step {
	if len(problems) == 0 {
		return nil
	}
	out := allOf(r, problems)
	var steps []reconcile.Step
	for _, p := range problems {
		step := reconcile.Step{Reason: WaitingReason, Message: p.err.Error(), Changes: p.changes, Do: func(context.Context) error { return out }}
		if len(step.Changes) == 0 {
			step.Changes = []reconcile.Change{{To: p.err.Error(), Impact: v1alpha1.ImpactNone}}
		}
		steps = append(steps, step)
	}
	return steps
}

// allOf is what all problems come to.
func allOf(r *v1alpha1.Route, problems []*problem) error {
	first, after := problems[0], problems[0].after
	var said []string
	for _, p := range problems {
		if p.outcome != nil {
			return p.outcome
		}
		after = min(after, p.after)
		if !first.failure && p.failure {
			first = p
		}
		said = append(said, p.err.Error())
	}
	return outcome(r, &problem{reason: first.reason, after: after, failure: first.failure, err: errors.New(strings.Join(said, "; "))})
}

// outcome is a failure the first time, so that an event tells of it, and a wait from then on.
func outcome(r *v1alpha1.Route, p *problem) error {
	ready := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ReadyCondition)
	if p.failure && (ready == nil || ready.Reason != p.reason) {
		return reconcile.Fail(p.reason, p.err)
	}
	return reconcile.Wait(p.reason, p.after, p.err)
}
