// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"errors"
	"fmt"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Remove returns the steps that take the Route away: from the gateway first, so that nobody is let in to nobody, then from
// the router (see withdrawSteps), then its Certificate. What it named before and cannot be asked now is waited for in the end.
func (k *Kind) Remove(r *v1alpha1.Route, seen Seen) []reconcile.Step {
	if !seen.known {
		return nil
	}
	steps := k.withdrawSteps(r, &seen, false)
	for _, s := range seen.strays {
		steps = append(steps, k.withdrawStep(s, "files on "+s.String()+", which is not named any more"))
	}
	if seen.own.left(r) {
		steps = append(steps, k.unissueStep(seen.own))
	}
	return append(steps, restSteps(r, seen.unasked)...)
}

// lookBack looks for what is left of a Route that is being deleted. A machine that is gone took it along.
func (k *Kind) lookBack(ctx context.Context, r *v1alpha1.Route, from *reader, seen *Seen) (err error) {
	if seen.own, err = k.ownCertificateOf(ctx, r, from); reconcile.ReasonOf(err) == NotOwnedReason {
		err = nil
	}
	if err != nil {
		return err
	}
	if seen.exposed, err = k.exposed(ctx, r); err != nil {
		return err
	}
	if seen.gateway, seen.atGateway, err = k.leftAt(ctx, r, from, r.Spec.GatewayRef.Name, gatewayFolder, seen); err != nil {
		return err
	}
	if seen.router, seen.atRouter, err = k.leftAt(ctx, r, from, r.Spec.RouterRef.Name, routerFolder, seen); err != nil {
		return err
	}
	return k.lookForStrays(ctx, r, from, seen)
}

// leftAt looks for what is left on one side; nil: it is gone, and all with it.
func (k *Kind) leftAt(ctx context.Context, r *v1alpha1.Route, from *reader, name string, options func(*v1alpha1.HostService) machine.FolderOptions,
	seen *Seen,
) (*side, files, error) {
	s, err := k.sideOf(ctx, r, from, name, options)
	if errors.Is(err, errGone) || s != nil && s.guest.Status.VMID == nil && err != nil {
		return nil, nil, nil
	}
	unknown := func(err error) error {
		return machineError(fmt.Errorf("HostService/%s may still have files of the Route: %w", name, err))
	}
	if err != nil {
		return nil, nil, unknown(err)
	}
	there, err := k.folders.look(ctx, s, seen.now)
	if missing := new(machine.MissingError); errors.As(err, &missing) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, unknown(err)
	}
	return s, there.byPrefix[s.prefix], nil
}
