// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"context"
	"errors"
	"fmt"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Remove returns the steps that take the files from the machines, revoke the certificate if that was asked for, and delete
// the Secret. A machine that is away holds up the end, but none of the rest.
func (k *Kind) Remove(c *v1alpha1.Certificate, seen Seen) []reconcile.Step {
	if !seen.known {
		return nil
	}
	steps := k.planDeliveries(c, seen)
	var problems []*problem
	if ours := seen.secret != nil && seen.secret.annotations[OwnerAnnotation] == c.Name && !seen.secret.deleting; ours {
		step, p := k.endStep(c, seen)
		if p == nil {
			steps = append(steps, step)
		} else {
			problems = append(problems, p)
		}
	}
	problems = append(problems, k.deliveryProblems(c, seen)...)
	return append(steps, restSteps(c, seen, problems)...)
}

// endStep deletes the Secret; before, it revokes the certificate, if that was asked for, is of use, and there is still
// somebody to ask.
func (k *Kind) endStep(c *v1alpha1.Certificate, seen Seen) (reconcile.Step, *problem) {
	name, held := "Secret/"+c.Spec.SecretName, seen.held()
	if !revokes(c) || seen.authority.gone || !held.fits() || !seen.now.Before(held.life().end) {
		return reconcile.Step{
			Reason: DeletingReason, Message: "delete " + name, Identity: name,
			Do: func(ctx context.Context) error { return k.deleteSecret(ctx, c, seen.secret) },
		}, nil
	}
	if p := seen.hindrance(c); p != nil {
		return reconcile.Step{}, notRevoked(p)
	}
	return reconcile.Step{
		Reason: RevokingReason, Message: fmt.Sprintf("revoke certificate %s and delete %s", held.serial(), name), Identity: name,
		Do: func(ctx context.Context) error {
			if err := k.revoke(ctx, c, &seen); err != nil {
				p := k.memory.failed(nameOf(c), theAuthority, seen.request(c), seen.now, k.issueProblem(seen, err))
				return outcome(c, notRevoked(p))
			}
			return k.deleteSecret(ctx, c, seen.secret)
		},
	}, nil
}

// notRevoked says how to do without.
func notRevoked(p *problem) *problem {
	with := *p.about("revokeOnDeletion")
	with.err = fmt.Errorf("revoke certificate: %w; set revokeOnDeletion to false to do without", p.err)
	return &with
}

// revoke revokes the certificate of the Secret. Without the provisioner's key nobody can any more.
func (k *Kind) revoke(ctx context.Context, c *v1alpha1.Certificate, seen *Seen) error {
	by := k.signerOf(ctx, c)
	if errors.Is(by.err, errNoProvisioner) {
		return nil
	}
	if by.err != nil {
		return by.err
	}
	ca, err := k.client(ctx, &seen.authority)
	if err != nil {
		return err
	}
	return ca.Revoke(ctx, by.Provisioner, seen.held().leaf().SerialNumber, "")
}
