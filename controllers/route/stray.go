// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// maxHolders is what the status has room for.
const maxHolders = 64

// errIdle says of a service that it is not asked while it does not serve.
var errIdle = errors.New("it does not serve")

// lookForStrays finds files of the Route on gateways and routers that it does not name any more, and notes in the status who may
// have any. Those that do not serve now are asked later, and at the latest when the Route is being deleted: a manager that is
// new knows them by the status.
func (k *Kind) lookForStrays(ctx context.Context, r *v1alpha1.Route, from *reader, seen *Seen) error {
	named := []string{r.Spec.GatewayRef.Name, r.Spec.RouterRef.Name}
	former := slices.DeleteFunc(slices.Clone(r.Status.Holders), func(name string) bool { return slices.Contains(named, name) })
	holders := named
	if observes(r) || !r.DeletionTimestamp.IsZero() { // nothing is written
		holders = slices.DeleteFunc(slices.Clone(named), func(name string) bool { return !slices.Contains(r.Status.Holders, name) })
	}
	if swept := strings.Join(named, " "); seen.memory.swept != swept || len(former) > 0 {
		held, all, err := k.sweep(ctx, r, from, former, seen)
		if err != nil {
			return err
		}
		if all {
			k.memory.change(nameOf(r), func(known *remembered) { known.swept = swept })
		}
		holders = append(slices.Clone(holders), held...)
	}
	holders = slices.Compact(slices.Sorted(slices.Values(holders)))
	r.Status.Holders = holders[:min(len(holders), maxHolders)]
	return nil
}

// sweep asks all services that the Route does not name. held are those that have files of it, and those among the former ones
// of which that is not known; all says that nobody has any.
func (k *Kind) sweep(ctx context.Context, r *v1alpha1.Route, from *reader, former []string, seen *Seen) (held []string, all bool, err error) {
	services, err := from.services(ctx)
	if err != nil {
		return nil, false, err
	}
	all = true
	for i := range services {
		s := &services[i]
		options, ok := otherFolder(r, s)
		if !ok {
			continue
		}
		mayHold := slices.Contains(former, s.Name)
		stray, err := k.strayAt(ctx, r, from, s, options, mayHold && !r.DeletionTimestamp.IsZero(), seen)
		all = all && err == nil && stray == nil
		switch {
		case stray != nil:
			seen.strays, held = append(seen.strays, stray), append(held, s.Name)
		case err != nil && mayHold:
			held = append(held, s.Name)
			seen.unasked = append(seen.unasked, &problem{reason: cmp.Or(reconcile.ReasonOf(err), FailedReason), after: awayFor, err: err})
		}
	}
	return held, all, nil
}

// strayAt is a side if files of the Route are left there. One that does not serve is asked only if that is due.
func (k *Kind) strayAt(ctx context.Context, r *v1alpha1.Route, from *reader, s *v1alpha1.HostService,
	options func(*v1alpha1.HostService) machine.FolderOptions, due bool, seen *Seen,
) (*side, error) {
	if !due && !meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ServingCondition) {
		return nil, errIdle
	}
	other, there, err := k.leftAt(ctx, r, from, s.Name, options, seen)
	if err != nil || len(there) == 0 {
		return nil, err
	}
	return other, nil
}

// otherFolder is where a service that the Route does not name would have files of it.
func otherFolder(r *v1alpha1.Route, s *v1alpha1.HostService) (func(*v1alpha1.HostService) machine.FolderOptions, bool) {
	switch {
	case s.Spec.Nginx != nil && s.Name != r.Spec.GatewayRef.Name:
		return gatewayFolder, true
	case s.Spec.Traefik != nil && s.Name != r.Spec.RouterRef.Name:
		return routerFolder, true
	}
	return nil, false
}
