// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Plan returns the steps to the spec: its own Certificate, the router, the gateway, what is left over, and then what cannot
// be mended now.
func (k *Kind) Plan(r *v1alpha1.Route, seen Seen) []reconcile.Step {
	switch {
	case !seen.known:
		return nil
	case seen.taken != "":
		steps := append(k.withdrawSteps(r, &seen, true), k.strayingSteps(&seen)...)
		return append(steps, stallStep(HostTakenReason, errors.New(seen.taken)))
	case seen.own.due(r):
		return []reconcile.Step{k.issueStep(r, seen.own)}
	case seen.rejected(r):
		return []reconcile.Step{k.rollBackStep(r, &seen)}
	}
	steps, problems := k.planRouter(r, &seen)
	gateway := k.planGateway(r, &seen)
	switch {
	case seen.exposed:
		steps = append(gateway, steps...)
	case seen.absent() && !observes(r) && len(steps) == 1 && len(gateway) == 1:
		steps = []reconcile.Step{atOnce(steps[0], gateway[0])}
	default:
		steps = append(steps, gateway...)
	}
	if seen.serves() {
		steps = append(steps, k.strayingSteps(&seen)...)
		if seen.own.left(r) {
			steps = append(steps, k.unissueStep(seen.own))
		}
		problems = append(problems, seen.ailments(k.Interval)...)
	}
	return append(steps, restSteps(r, problems)...)
}

// strayingSteps take away what is where the Route is not to be any more.
func (k *Kind) strayingSteps(seen *Seen) []reconcile.Step {
	var steps []reconcile.Step
	for _, s := range seen.strays {
		steps = append(steps, k.withdrawStep(s, "files on "+s.String()+", which is not named any more"))
	}
	return steps
}

// absent says that neither the router nor the gateway has anything of the Route: whichever of them hears first of it, nobody
// is worse off meanwhile than without it.
func (seen *Seen) absent() bool { return len(seen.atRouter) == 0 && len(seen.atGateway) == 0 }

// refused says that what the router is to have was rejected, and is not tried again yet.
func (seen *Seen) refused(r *v1alpha1.Route) bool {
	return r.Status.Refused == seen.want.hash && seen.want.hash != "" && seen.now.Before(seen.memory.again) && !seen.programmed()
}

// late says that the router has not taken the file in time, although it has answered all the while and taken nothing else.
func (seen *Seen) late() bool {
	since := seen.memory.missedAt
	if seen.lastChange.After(since) {
		since = seen.lastChange
	}
	return !seen.state.Loaded && seen.memory.missed == seen.router.sum(seen.want.routerSums) && seen.now.Sub(since) >= pickUpLimit
}

// rejected says that the file is there, that the router does not want it, and that something better can be put in its place:
// what was good before, or nothing. A file that was good once, and is not any more, stays.
func (seen *Seen) rejected(r *v1alpha1.Route) bool {
	want := seen.router.sum(seen.want.routerSums)
	if !seen.asked || !seen.atRouter.same(seen.want.routerSums) || seen.memory.good == want {
		return false
	}
	if len(seen.state.Errors) == 0 && seen.state.Loaded || !seen.state.Loaded && !seen.late() {
		return false
	}
	return seen.kept || !meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ProgrammedCondition)
}

// words are what the router says against the file.
func (seen *Seen) words() string {
	if seen.state.Loaded {
		return strings.Join(seen.state.Errors, "; ")
	}
	return fmt.Sprintf("it did not take the file within %s", pickUpLimit)
}

// planRouter returns the step that tells the router, or what it is waited for.
func (k *Kind) planRouter(r *v1alpha1.Route, seen *Seen) ([]reconcile.Step, []*problem) {
	switch {
	case seen.refused(r):
		return nil, []*problem{refusedProblem(r, seen)}
	case !seen.atRouter.same(seen.want.routerSums):
		return []reconcile.Step{k.programStep(r, seen)}, nil
	case seen.routerProblem != nil:
		return nil, []*problem{problemOf(seen.routerProblem)}
	case seen.asked && seen.state.Loaded && len(seen.state.Errors) > 0:
		return nil, []*problem{{reason: RejectedByRouterReason, after: missingFor, failure: true, err: fmt.Errorf(
			"%s had it, and rejects it now: %s", seen.router, seen.words())}}
	case !seen.programmed() && seen.asked:
		return nil, []*problem{{reason: ProgrammingReason, after: pickUp, err: fmt.Errorf("waiting for %s to take the Route", seen.router)}}
	}
	return nil, nil
}

func refusedProblem(r *v1alpha1.Route, seen *Seen) *problem {
	left := "nothing is served"
	if len(seen.atRouter) > 0 {
		left = "what was there before serves on"
	}
	return &problem{
		reason: RejectedByRouterReason, after: seen.memory.again.Sub(seen.now), failure: true,
		err: fmt.Errorf("%s rejects it: %s; %s; it is tried again at %s, or when the Route changes", seen.router, r.Status.Refusal, left,
			seen.memory.again.UTC().Format(time.RFC3339)),
		changes: []reconcile.Change{routerChange(seen)},
	}
}

// planGateway returns the step that lets clients in. Where a Route is changed that serves already, the gateway hears of it
// when the router has it; where a wildcard would let everybody in, before the router does.
func (k *Kind) planGateway(r *v1alpha1.Route, seen *Seen) []reconcile.Step {
	good := seen.programmed() || seen.memory.good == seen.router.sum(seen.want.routerSums)
	switch {
	case seen.refused(r):
		if len(seen.atRouter) == 0 && len(seen.atGateway) > 0 { // nobody would answer
			return []reconcile.Step{k.withdrawStep(seen.gateway, "nothing is served")}
		}
		return nil
	case seen.atGateway.same(seen.want.gatewaySums), len(seen.atGateway) > 0 && !good && !observes(r) && !seen.exposed:
		return nil
	}
	return []reconcile.Step{k.admitStep(seen)}
}

// ailments are what is wrong with what is served.
func (seen *Seen) ailments(interval time.Duration) []*problem {
	if seen.sightProblem != nil {
		return []*problem{problemOf(seen.sightProblem)}
	}
	if seen.sight == nil || seen.sight.wrong.IsZero() {
		return nil
	}
	var all []*problem
	for _, c := range []reconcile.Condition{seen.sight.certificate, seen.sight.published, seen.sight.reachable} {
		if c.Status == metav1.ConditionFalse {
			after := seen.sight.patience(seen.now, interval)
			all = append(all, &problem{reason: c.Reason, after: after, failure: after > firstWait, err: errors.New(c.Message)})
		}
	}
	return all
}

// stallStep says, once all before it is done, that only another spec helps.
func stallStep(reason string, err error) reconcile.Step {
	return reconcile.Step{
		Reason: WaitingReason, Message: err.Error(), Changes: []reconcile.Change{{To: err.Error(), Impact: v1alpha1.ImpactNone}},
		Do: func(context.Context) error { return reconcile.Stall(reason, err) },
	}
}
