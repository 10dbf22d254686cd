// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"context"
	"fmt"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Plan returns the steps to the spec: the Secret first, then the machines, then what cannot be mended now.
func (k *Kind) Plan(c *v1alpha1.Certificate, seen Seen) []reconcile.Step {
	if !seen.known {
		return nil
	}
	if err := seen.secret.notOurs(c, seen.taken); err != nil {
		reason := reconcile.ReasonOf(err)
		return []reconcile.Step{{
			Reason: reason, Message: err.Error(), Changes: []reconcile.Change{{Field: "secretName", From: "not ours", Impact: v1alpha1.ImpactNone}},
			Do: func(context.Context) error { return err },
		}}
	}
	steps := k.planSecret(c, seen)
	steps = append(steps, k.planDeliveries(c, seen)...)
	steps = append(steps, restSteps(c, seen, k.problems(c, seen))...)
	return append(steps, usagesStep(c, seen)...)
}

// planSecret returns the step that brings the Secret to the spec; none when it is, or when nothing can be done now.
func (k *Kind) planSecret(c *v1alpha1.Certificate, seen Seen) []reconcile.Step {
	if fresh := seen.memory.fresh; fresh.fits() && judge(c, fresh, seen).reason == "" {
		return k.writeStep(c, seen, fresh)
	}
	held := seen.held()
	if found := judge(c, held, seen); found.reason != "" && seen.hindrance(c) == nil {
		return []reconcile.Step{k.issueStep(c, seen, found)}
	}
	if !held.fits() {
		return nil
	}
	return k.writeStep(c, seen, held)
}

// writeStep writes the Secret, if it is not as it is to be.
func (k *Kind) writeStep(c *v1alpha1.Certificate, seen Seen, m *material) []reconcile.Step {
	w, err := seen.want(c, m)
	if err != nil {
		return nil // a problem of its own
	}
	changes := w.differences(seen.secret)
	if len(changes) == 0 {
		return nil
	}
	return []reconcile.Step{{
		Reason: WritingReason, Message: fmt.Sprintf("write Secret/%s with certificate %s", c.Spec.SecretName, m.serial()), Changes: changes,
		Do: func(ctx context.Context) error { return k.write(ctx, c, seen, m) },
	}}
}

// issueStep has a certificate issued, and writes it to the Secret.
func (k *Kind) issueStep(c *v1alpha1.Certificate, seen Seen, found finding) reconcile.Step {
	reason, verb := ReissuingReason, "issue certificate anew"
	switch {
	case found.reason == SecretMissingReason && c.Status.Revision == 0:
		reason, verb = IssuingReason, "issue certificate"
	case !found.useless:
		reason, verb = RenewingReason, "renew certificate"
	}
	change := reconcile.Change{Field: "certificate", To: found.reason, Impact: v1alpha1.ImpactNone}
	if held := seen.held(); held.fits() {
		change.From = held.serial()
	}
	return reconcile.Step{
		Reason: reason, Message: fmt.Sprintf("%s (%s: %s)", verb, found.reason, found.text), Changes: []reconcile.Change{change},
		Do: func(ctx context.Context) error { return k.issue(ctx, c, seen, found) },
	}
}

// usagesStep says what an authority decided otherwise when it was asked.
func usagesStep(c *v1alpha1.Certificate, seen Seen) []reconcile.Step {
	held := seen.held()
	if !held.fits() {
		return nil
	}
	text := usagesDiffer(c, held)
	if text == "" {
		return nil
	}
	return []reconcile.Step{{
		Reason: UsagesDifferReason, Message: text, Held: seen.authority.name + " decides that itself",
		Changes: []reconcile.Change{{Field: "usages", From: listed(issuedUsages(held)), To: listed(usagesOf(c)), Impact: v1alpha1.ImpactNone}},
	}}
}

// hindrance says why the authority cannot be asked now; nil: it can.
func (s Seen) hindrance(c *v1alpha1.Certificate) *problem {
	if s.authority.away != "" {
		return &problem{reason: AuthorityAwayReason, after: lastWait, failure: true, err: fmt.Errorf("waiting for %s: %s", s.authority.name, s.authority.away)}
	}
	return s.memory.early(theAuthority, s.request(c), s.now)
}

// request is what a try at the authority depends on: another spec, another value of the annotation, or an authority that
// came back is worth to ask again at once.
func (s Seen) request(c *v1alpha1.Certificate) string {
	return fmt.Sprint(c.Generation, requestOf(c), s.authority.url, s.authority.issuer, s.authority.state, s.signer.version)
}

// problems are all that is not as it should be and cannot be mended in this pass.
func (k *Kind) problems(c *v1alpha1.Certificate, seen Seen) []*problem {
	var all []*problem
	held := seen.held()
	if found := judge(c, held, seen); found.reason != "" {
		if p := seen.hindrance(c); p != nil {
			p, step := seen.overdue(p, found), k.issueStep(c, seen, found)
			p.step = &step
			all = append(all, p)
		}
	}
	if seen.authority.lost != nil && len(seen.bundle()) == 0 {
		p := authorityProblem(seen.authority.machine, seen.authority.lost)
		p.after = lastWait
		all = append(all, p.about("authority"))
	}
	for _, store := range seen.stores {
		if store.missing != nil {
			all = append(all, store.missing)
		}
	}
	if held.fits() {
		if _, err := seen.want(c, held); err != nil {
			all = append(all, &problem{reason: InvalidReason, field: "keystores", after: refusedFor, failure: true, err: err})
		}
	}
	return append(all, k.deliveryProblems(c, seen)...)
}

// overdue says what is not done, and how long the present certificate lives on.
func (s Seen) overdue(p *problem, found finding) *problem {
	what := fmt.Sprintf("a certificate is to be issued (%s: %s)", found.reason, found.text)
	if held := s.held(); held.fits() && s.now.Before(held.life().end) {
		what += "; the present one lives until " + stamp(held.life().end)
	}
	with := *p.about("certificate")
	with.err = fmt.Errorf("%w; %s", p.err, what)
	return &with
}
