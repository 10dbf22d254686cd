// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Observe looks at the machine, or at the firewall of the site.
func (k *Kind) Observe(ctx context.Context, s *v1alpha1.HostService) (Seen, error) {
	if s.Spec.Firewall != nil {
		seen, err := k.observeFirewall(ctx, s)
		return Seen{firewall: seen}, err
	}
	seen, err := k.observeMachine(ctx, s)
	return Seen{machine: seen}, err
}

// Plan returns the steps to the spec.
func (k *Kind) Plan(s *v1alpha1.HostService, seen Seen) []reconcile.Step {
	if s.Spec.Firewall != nil {
		return k.planFirewall(s, seen.firewall)
	}
	return planMachine(s, seen.machine)
}

// Remove returns the steps that leave the place as it was before.
func (k *Kind) Remove(s *v1alpha1.HostService, seen Seen) []reconcile.Step {
	if s.Spec.Firewall != nil {
		return k.removeFirewall(s, seen.firewall)
	}
	return clearMachine(seen.machine)
}

// Report writes what was seen to the status.
func (k *Kind) Report(s *v1alpha1.HostService, seen Seen) []reconcile.Condition {
	if s.Spec.Firewall != nil {
		return k.reportFirewall(s, seen.firewall)
	}
	return reportMachine(s, seen.machine)
}
