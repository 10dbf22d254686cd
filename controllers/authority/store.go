// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/trust"
)

// Place is a machine that is to trust authorities.
type Place struct {
	// Name of the machine for people, such as "container 103".
	Name    string
	Owner   machine.Owner
	Machine *machine.Machine
	// Adopt takes over files of other content where a root's file goes.
	Adopt bool
}

// Store is a machine's trust store as it was seen.
type Store struct {
	Place
	want  Want
	seen  *trust.Store
	clear bool // nothing is to be trusted
}

// Look looks at the trust store of a machine, in one round trip. A root that is pinned and not known yet is looked for on
// the machine first, then at the authority; then it takes two. Its errors are the machine's, for [Failure].
func (b *Book) Look(ctx context.Context, namespace string, list []v1alpha1.TrustAuthority, p Place) (*Store, error) {
	want, err := b.Want(ctx, namespace, list)
	if err != nil {
		return nil, err
	}
	seen, err := trust.Look(ctx, p.Machine, p.Owner, want.Roots)
	if err != nil {
		return nil, err
	}
	if len(want.outside) > 0 {
		if want, err = b.resolve(ctx, namespace, list, want, seen.Ours()); err != nil {
			return nil, err
		}
		if len(want.Roots) > len(seen.Wanted) {
			if seen, err = trust.Look(ctx, p.Machine, p.Owner, want.Roots); err != nil {
				return nil, err
			}
		}
	}
	return &Store{Place: p, want: want, seen: seen, clear: len(list) == 0}, nil
}

// resolve finds the roots of outside authorities that are not known yet.
func (b *Book) resolve(ctx context.Context, namespace string, list []v1alpha1.TrustAuthority, before Want, there []trust.Root) (Want, error) {
	for _, root := range there {
		for _, o := range before.outside {
			if o.Fingerprint == root.Fingerprint {
				b.learn(root)
			}
		}
	}
	problems := b.ask(ctx, before.outside)
	want, err := b.Want(ctx, namespace, list)
	want.Problems, want.outside = append(want.Problems, problems...), nil
	return want, err
}

// Steps are those that bring the machine to trust what is to be trusted, and then those that say what cannot be had. They
// are pure.
func (s *Store) Steps() (do, refused []reconcile.Step) {
	reason := TrustingReason
	if s.clear {
		reason = DistrustingReason
	}
	planned, err := s.seen.Plan(trust.Options{Keep: len(s.want.Problems) > 0, Adopt: s.Adopt})
	if err != nil {
		failed := Failure(reason, fmt.Errorf("trustAuthorities of %s: %w", s.Name, err))
		refused = append(refused, refusal(reconcile.ReasonOf(failed), failed))
	}
	for _, step := range planned {
		do = append(do, s.step(reason, step))
	}
	for _, p := range s.want.Problems {
		refused = append(refused, refusal(p.Reason, p.outcome()))
	}
	return do, refused
}

// refusal shows in the plan what cannot be had. Taking it returns the error.
func refusal(reason string, outcome error) reconcile.Step {
	return reconcile.Step{
		Reason: reason, Message: outcome.Error(), Changes: []reconcile.Change{{Field: field, Impact: v1alpha1.ImpactNone}},
		Do: func(context.Context) error { return outcome },
	}
}

// field of the spec that all of this is about.
const field = "trustAuthorities"

// step is a step of the machine as the loop takes it.
func (s *Store) step(reason string, step machine.Step) reconcile.Step {
	what := step.Message + " on " + s.Name
	changes := make([]reconcile.Change, 0, len(step.Changes))
	for _, c := range step.Changes {
		from, to := s.seen.Describe(c)
		changes = append(changes, reconcile.Change{Field: field, From: from, To: to, Impact: v1alpha1.Impact(c.Impact)})
	}
	run := s.Machine
	return reconcile.Step{
		Reason: reason, Message: what, Changes: changes,
		Do: func(ctx context.Context) error {
			if err := step.Do(ctx, run); err != nil {
				return Failure(reason, fmt.Errorf("%s: %w", what, err))
			}
			return nil
		},
	}
}

// Settled says that nothing can be done and nothing failed: all is as it should be, or waits for an authority.
func (s *Store) Settled() bool {
	do, refused := s.Steps()
	return len(do) == 0 && len(refused) == len(s.want.Problems)
}

// Cleared says that nothing is to be trusted, and that nothing of ours is left on the machine.
func (s *Store) Cleared() bool { return s != nil && s.clear && s.Settled() }

// Wants says whether the store was looked at for just that.
func (s *Store) Wants(w Want) bool { return len(w.outside) == 0 && s.want.key() == w.key() }

// Fingerprints are those of the roots that the machine is to trust, as far as they are known.
func (s *Store) Fingerprints() []string { return trust.Fingerprints(s.seen.Wanted) }

// Condition is the condition Trusted of this machine alone.
func (s *Store) Condition() reconcile.Condition {
	c := reconcile.Condition{Type: v1alpha1.TrustedCondition, Status: metav1.ConditionFalse}
	if len(s.want.Problems) > 0 {
		c.Reason = s.want.Problems[0].Reason
		var texts []string
		for _, p := range s.want.Problems {
			texts = append(texts, p.Err.Error())
		}
		c.Message = strings.Join(texts, "; ")
		return c
	}
	if missing := s.seen.Missing(); len(missing) > 0 {
		var names []string
		for _, r := range missing {
			names = append(names, r.String())
		}
		c.Reason, c.Message = NotTrustedReason, "not trusted yet: "+strings.Join(names, ", ")
		return c
	}
	c.Status, c.Reason, c.Message = metav1.ConditionTrue, TrustedReason, Message(s.Fingerprints())
	return c
}

// Message of the condition Trusted that is True. An authority that replaces its root waits until the new fingerprint
// stands in it everywhere.
func Message(fingerprints []string) string { return "trusted: " + strings.Join(fingerprints, ", ") }
