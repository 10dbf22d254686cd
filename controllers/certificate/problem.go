// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// problem is something that is not as it should be and cannot be mended in this pass.
type problem struct {
	reason string
	// field of the spec that it is about, for the plan.
	field string
	// after is when it is worth another look.
	after time.Duration
	// failure says that it is worth an event, not a mere wait.
	failure bool
	// step is what is tried again later; nil: nothing is.
	step *reconcile.Step
	err  error
}

func (p *problem) Error() string { return p.err.Error() }

// about names the field.
func (p *problem) about(field string) *problem {
	with := *p
	with.field = field
	return &with
}

// restSteps say, once nothing else is left to do, what is not as it should be. Taking the first of them says all: it is
// one wait, as a stall would hold the renewal up. What is tried again later looks in the plan as it does when it is tried.
func restSteps(c *v1alpha1.Certificate, seen Seen, problems []*problem) []reconcile.Step {
	if len(problems) == 0 {
		return nil
	}
	first, after := problems[0], problems[0].after
	var said []error
	for _, p := range problems {
		after = min(after, p.after)
		if first.failure != p.failure && p.failure {
			first = p
		}
		said = append(said, p.err)
	}
	if until := seen.renewal.Sub(seen.now); until > 0 {
		after = min(after, until)
	}
	out := outcome(c, &problem{reason: first.reason, after: after, failure: first.failure, err: together(said)})
	var steps []reconcile.Step
	for _, p := range problems {
		step := reconcile.Step{Reason: WaitingReason, Message: p.Error(), Changes: []reconcile.Change{{Field: p.field, To: p.Error(), Impact: v1alpha1.ImpactNone}}}
		if p.step != nil {
			step = *p.step
			step.Reserve = nil
		}
		step.Do = func(context.Context) error { return out }
		steps = append(steps, step)
	}
	return steps
}

// together is several errors in one line.
func together(all []error) error {
	if len(all) == 1 {
		return all[0]
	}
	var said []string
	for _, err := range all {
		said = append(said, err.Error())
	}
	return errors.New(strings.Join(said, "; "))
}

// outcome is a failure the first time, so that an event tells of it, and a wait from then on: steps that have nothing to
// do with it are not held up.
func outcome(c *v1alpha1.Certificate, p *problem) error {
	ready := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ReadyCondition)
	if p.failure && (ready == nil || ready.Reason != p.reason) {
		return reconcile.Fail(p.reason, p.err)
	}
	return reconcile.Wait(p.reason, p.after, p.err)
}

// authorityProblem reads what an authority said. machine names where it runs.
func authorityProblem(machine string, err error) *problem {
	var e *stepca.Error
	if !errors.As(err, &e) {
		return &problem{reason: FailedReason, failure: true, err: err}
	}
	if e.ClockSkew != 0 && slices.Contains([]stepca.Kind{stepca.Unauthorized, stepca.Untrusted, stepca.Invalid}, e.Kind) {
		return &problem{reason: ClockSkewReason, failure: true, err: fmt.Errorf(
			"the clock of %s is %s: set it right, as tokens and certificates go by it: %w", machine, apart(e.ClockSkew), err)}
	}
	return &problem{reason: authorityReasons[e.Kind], failure: true, err: err}
}

// apart says in words how far the authority's clock is ahead.
func apart(skew time.Duration) string {
	if skew > 0 {
		return skew.String() + " ahead of the manager's"
	}
	return (-skew).String() + " behind the manager's"
}

// machineProblem reads an error of the machine's driver, or of the way to a machine.
func machineProblem(err error) *problem {
	var (
		pending *machine.PendingError
		changed *machine.ChangedError
		foreign *machine.ForeignError
	)
	switch {
	case machine.IsAway(err):
		return &problem{reason: MachineAwayReason, after: machineFor, err: err}
	case errors.As(err, &pending):
		return &problem{reason: MachineBusyReason, after: busyFor, err: err}
	case errors.As(err, &changed):
		return &problem{reason: ChangedReason, after: firstWait, err: err}
	case errors.As(err, new(*machine.UnitError)):
		return &problem{reason: UnitFailedReason, after: lastWait, failure: true, err: err}
	case errors.As(err, new(*machine.ValidateError)):
		return &problem{reason: FailedReason, after: lastWait, failure: true, err: err}
	case errors.As(err, &foreign):
		return &problem{reason: NotOwnedReason, after: refusedFor, failure: true, err: foreignHint(foreign, err)}
	case errors.As(err, new(*machine.UnsupportedError)):
		return &problem{reason: UnsupportedReason, after: refusedFor, failure: true, err: err}
	case errors.As(err, new(*machine.InvalidError)):
		return &problem{reason: InvalidReason, after: refusedFor, failure: true, err: err}
	}
	if reason := reconcile.ReasonOf(err); reason != "" {
		return &problem{reason: reason, after: machineFor, failure: reason != MachineAwayReason, err: err}
	}
	return &problem{reason: FailedReason, after: machineFor, failure: true, err: err}
}

func foreignHint(e *machine.ForeignError, err error) error {
	if e.Owner != "" {
		return err
	}
	return fmt.Errorf("%w: remove it, or set adoptionPolicy: IfUnowned to have it taken over", err)
}
