// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// planDeliveries returns the steps that clear what is in the spec no more, and bring the files to their machines.
func (k *Kind) planDeliveries(c *v1alpha1.Certificate, seen Seen) []reconcile.Step {
	var clears, brings []*delivery
	for _, d := range seen.deliveries {
		switch {
		case len(d.steps) == 0:
		case d.spec == nil:
			clears = append(clears, d)
		default:
			brings = append(brings, d)
		}
	}
	var steps []reconcile.Step
	if len(clears) > 0 {
		steps = append(steps, k.clearStep(c, clears))
	}
	if len(brings) > 0 {
		steps = append(steps, k.bringStep(c, seen, brings))
	}
	return steps
}

func (k *Kind) clearStep(c *v1alpha1.Certificate, all []*delivery) reconcile.Step {
	return k.machinesStep(c, ClearingReason, "clear", all)
}

func (k *Kind) bringStep(c *v1alpha1.Certificate, seen Seen, all []*delivery) reconcile.Step {
	step := k.machinesStep(c, DeliveringReason, "deliver certificate "+serialOf(seen.held())+" to", all)
	step.Reserve = reserve(c, all)
	return step
}

// deliveryProblems are what is in the way of deliveries.
func (k *Kind) deliveryProblems(c *v1alpha1.Certificate, seen Seen) []*problem {
	var all []*problem
	for _, d := range seen.deliveries {
		if d.problem == nil {
			continue
		}
		p := *d.problem
		if len(d.later) > 0 {
			step := k.bringStep(c, seen, []*delivery{d})
			if d.spec == nil {
				step = k.clearStep(c, []*delivery{d})
			}
			p.step = &step
		}
		all = append(all, &p)
	}
	return all
}

func serialOf(m *material) string {
	if !m.fits() {
		return ""
	}
	return m.serial()
}

// reserve notes in the status which machines will have files, so that they are found again whatever happens; nil: it is
// noted.
func reserve(c *v1alpha1.Certificate, brings []*delivery) func() {
	var news []v1alpha1.DeliveryStatus
	for _, d := range brings {
		if last(c, d).Name == "" {
			news = append(news, v1alpha1.DeliveryStatus{Name: d.name, Machine: d.at.String()})
		}
	}
	if len(news) == 0 {
		return nil
	}
	return func() { c.Status.Deliveries = append(c.Status.Deliveries, news...) }
}

// machinesStep works on all machines at once: one that fails does not hold up the others.
func (k *Kind) machinesStep(c *v1alpha1.Certificate, reason, verb string, all []*delivery) reconcile.Step {
	var said []string
	var changes []reconcile.Change
	for _, d := range all {
		for _, step := range slices.Concat(d.steps, d.later) {
			said = append(said, d.String()+": "+step.Message)
			for _, change := range step.Changes {
				changes = append(changes, reconcile.Change{
					Field: "deliverTo[" + d.name + "] " + change.What, From: change.From, To: change.To, Impact: v1alpha1.Impact(change.Impact),
				})
			}
		}
	}
	return reconcile.Step{
		Reason: reason, Message: verb + " " + strings.Join(said, "; "), Changes: changes,
		Do: func(ctx context.Context) error { return k.workOn(ctx, c, all) },
	}
}

// workOn takes the steps on all machines: at once, but one after the other on the same machine.
func (k *Kind) workOn(ctx context.Context, c *v1alpha1.Certificate, all []*delivery) error {
	byMachine := map[string][]*delivery{}
	for _, d := range all {
		byMachine[d.at.String()] = append(byMachine[d.at.String()], d)
	}
	var work sync.WaitGroup
	for _, there := range byMachine {
		work.Go(func() {
			for _, d := range there {
				k.work(ctx, c, d)
			}
		})
	}
	work.Wait()
	var first *problem
	var said []error
	for _, d := range all {
		if d.problem == nil {
			continue
		}
		said = append(said, d.problem.err)
		if first == nil || d.problem.failure && !first.failure {
			first = d.problem
		}
	}
	if first == nil {
		return nil
	}
	return outcome(c, &problem{reason: first.reason, after: first.after, failure: first.failure, err: together(said)})
}

// work takes the steps on one machine, and remembers a failure.
func (k *Kind) work(ctx context.Context, c *v1alpha1.Certificate, d *delivery) {
	what, of := d.trial(c)
	for _, step := range d.steps {
		if err := step.Do(ctx, d.run); err != nil {
			d.fail(machineProblem(err))
			if d.problem.failure {
				d.problem = k.memory.failed(nameOf(c), what, of, k.Clock.Now(), d.problem)
			}
			return
		}
	}
	k.memory.succeeded(nameOf(c), what)
}
