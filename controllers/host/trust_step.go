// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/authority"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// awayFor is how soon a node that is away is looked at again.
const awayFor = time.Minute

// trustSteps are those that change the trust stores of nodes, and those that say what cannot be had.
func (s Seen) trustSteps() (do, refused []reconcile.Step) {
	if s.trust == nil {
		return nil, nil
	}
	var nodes []reconcile.Step
	for _, n := range s.trust {
		if n.err != nil {
			continue
		}
		steps, cannot := n.store.Steps()
		if len(steps) > 0 {
			nodes = append(nodes, onNode(n.node, len(s.trust), steps))
		}
		for _, r := range cannot {
			if !slices.ContainsFunc(refused, func(other reconcile.Step) bool { return other.Message == r.Message }) {
				refused = append(refused, r)
			}
		}
	}
	if len(nodes) > 0 {
		do = append(do, s.together(nodes))
	}
	return do, refused
}

// onNode is the first of the steps for one node, which shows what all of them change.
func onNode(node string, of int, steps []reconcile.Step) reconcile.Step {
	first := steps[0]
	first.Changes = nil
	for _, step := range steps {
		for _, c := range step.Changes {
			if of > 1 {
				c.Field += " (node " + node + ")"
			}
			first.Changes = append(first.Changes, c)
		}
	}
	return first
}

// together makes one step of those of several nodes: each is taken, whatever becomes of the others.
func (s Seen) together(nodes []reconcile.Step) reconcile.Step {
	all := reconcile.Step{Reason: nodes[0].Reason}
	var texts []string
	for _, n := range nodes {
		texts = append(texts, n.Message)
		all.Changes = append(all.Changes, n.Changes...)
	}
	all.Message = strings.Join(texts, "; ")
	all.Do = func(ctx context.Context) error {
		failed := make([]error, len(nodes))
		var steps sync.WaitGroup
		for i, n := range nodes {
			steps.Go(func() { failed[i] = n.Do(ctx) })
		}
		steps.Wait()
		return s.beside(worst(failed))
	}
	return all
}

// beside adds to what became of a step what else is wrong with the Host, which comes first.
func (s Seen) beside(err error) error {
	if err == nil || len(s.complaints) == 0 {
		return err
	}
	p := unite(s.complaints)
	return reconcile.Fail(p.reason, fmt.Errorf("%w; %w", p, err))
}

// settle says what is wrong with a Host once all is done that can be.
func (s Seen) settle(host *v1alpha1.Host) error {
	do, _ := s.trustSteps()
	switch {
	case len(do) > 0 && host.Spec.Management != v1alpha1.ManagementObserve:
		return nil
	case len(s.complaints) > 0:
		p := unite(s.complaints)
		return reconcile.Fail(p.reason, p)
	}
	return s.awaitNodes("")
}

// awaitNodes waits for nodes that could not be looked at.
func (s Seen) awaitNodes(hint string) error {
	if s.trust == nil {
		return nil
	}
	if _, why := absent(s.trust); why != nil {
		return fmt.Errorf("look at trustAuthorities: %w%s", why, hint)
	}
	return nil
}

// letGo is what a person can do about a node that keeps a deleted Host waiting.
const letGo = "; until then its roots stay trusted there: set deletionPolicy: Retain to let the Host go as it is"

// trustedCondition is the condition Trusted; none of a Host without trustAuthorities whose nodes trust nothing of ours.
func (s Seen) trustedCondition(host *v1alpha1.Host) []reconcile.Condition {
	switch {
	case s.trust == nil: // nothing was looked at
		return nil
	case len(authorities(host)) == 0:
		return s.distrusted(host)
	}
	c := reconcile.Condition{Type: v1alpha1.TrustedCondition, Status: metav1.ConditionTrue}
	for _, n := range s.trust {
		if n.err != nil || c.Status == metav1.ConditionFalse {
			continue
		}
		if c = n.store.Condition(); c.Reason == authority.NotTrustedReason {
			c.Message = "node " + n.node + ": " + c.Message
		}
	}
	if nodes, why := absent(s.trust); why != nil && c.Status == metav1.ConditionTrue {
		c.Status, c.Reason = metav1.ConditionUnknown, cmp.Or(reconcile.ReasonOf(why), authority.MachineAwayReason)
		c.Message = "it is not known what is trusted on " + strings.Join(nodes, ", ")
	}
	return []reconcile.Condition{c}
}

// distrusted says on which nodes there is, or may be, still something of ours.
func (s Seen) distrusted(host *v1alpha1.Host) []reconcile.Condition {
	var left []string
	for _, n := range s.trust {
		if n.err != nil || !n.store.Cleared() {
			left = append(left, n.node)
		}
	}
	if len(left) == 0 {
		meta.RemoveStatusCondition(&host.Status.Conditions, v1alpha1.TrustedCondition)
		return nil
	}
	return []reconcile.Condition{{
		Type: v1alpha1.TrustedCondition, Status: metav1.ConditionFalse, Reason: authority.DistrustingReason,
		Message: "roots of authorities that are no longer declared may still be trusted on " + strings.Join(left, ", "),
	}}
}
