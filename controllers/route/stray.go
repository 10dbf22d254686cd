// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
)

// lookForStrays finds files of the Route on gateways and routers that it does not name any more. Those that do not serve now
// are asked later.
func (k *Kind) lookForStrays(ctx context.Context, r *v1alpha1.Route, from *reader, seen *Seen) error {
	names := r.Spec.GatewayRef.Name + " " + r.Spec.RouterRef.Name
	if seen.memory.swept == names {
		return nil
	}
	var list v1alpha1.HostServiceList
	err := k.Client.List(ctx, &list, client.InNamespace(r.Namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
	if err != nil {
		return fmt.Errorf("list HostServices: %w", err)
	}
	all := true
	for i := range list.Items {
		if options, ok := otherFolder(r, &list.Items[i]); ok {
			stray, known := k.strayAt(ctx, r, from, &list.Items[i], options, seen.now)
			if all = all && known && stray == nil; stray != nil {
				seen.strays = append(seen.strays, stray)
			}
		}
	}
	if all {
		k.memory.change(nameOf(r), func(known *remembered) { known.swept = names })
	}
	return nil
}

// strayAt is a side if files of the Route are left there; known says whether that could be found out.
func (k *Kind) strayAt(ctx context.Context, r *v1alpha1.Route, from *reader, s *v1alpha1.HostService,
	options func(*v1alpha1.HostService) machine.FolderOptions, now time.Time,
) (stray *side, known bool) {
	if !meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ServingCondition) {
		return nil, false
	}
	other, err := k.sideOf(ctx, r, from, s.Name, options)
	if err != nil {
		return nil, errors.Is(err, errGone)
	}
	there, err := k.folders.look(ctx, other, now)
	if err != nil || len(there.byPrefix[other.prefix]) == 0 {
		return nil, err == nil
	}
	return other, true
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
