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
	if s.Spec.StepCA != nil {
		seen, err := k.observeAuthority(ctx, s)
		return Seen{authority: seen}, err
	}
	seen, err := k.observeMachine(ctx, s)
	return Seen{machine: seen}, err
}

// Plan returns the steps to the spec.
func (k *Kind) Plan(s *v1alpha1.HostService, seen Seen) []reconcile.Step {
	if s.Spec.Firewall != nil {
		return k.planFirewall(s, seen.firewall)
	}
	if s.Spec.StepCA != nil {
		return k.planAuthority(s, seen.authority)
	}
	return planMachine(s, seen.machine)
}

// Remove returns the steps that leave the place as it was before.
func (k *Kind) Remove(s *v1alpha1.HostService, seen Seen) []reconcile.Step {
	if s.Spec.Firewall != nil {
		return k.removeFirewall(s, seen.firewall)
	}
	if s.Spec.StepCA != nil {
		return k.removeAuthority(s, seen.authority)
	}
	return clearMachine(seen.machine)
}

// Report writes what was seen to the status.
func (k *Kind) Report(s *v1alpha1.HostService, seen Seen) []reconcile.Condition {
	if s.Spec.Firewall != nil {
		return k.reportFirewall(s, seen.firewall)
	}
	if s.Spec.StepCA != nil {
		return reportAuthority(s, seen.authority)
	}
	return reportMachine(s, seen.machine)
}
