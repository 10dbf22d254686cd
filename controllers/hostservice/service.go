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
	var seen Seen
	var err error
	switch {
	case s.Spec.Firewall != nil:
		seen.firewall, err = k.observeFirewall(ctx, s)
	case s.Spec.StepCA != nil:
		seen.authority, err = k.observeAuthority(ctx, s)
	case s.Spec.Portainer != nil:
		seen.portainer, err = k.observePortainer(ctx, s)
	case s.Spec.PortainerAgent != nil:
		seen.agent, err = k.observeAgent(ctx, s)
	default:
		seen.machine, err = k.observeMachine(ctx, s)
	}
	return seen, err
}

// Plan returns the steps to the spec.
func (k *Kind) Plan(s *v1alpha1.HostService, seen Seen) []reconcile.Step {
	switch {
	case s.Spec.Firewall != nil:
		return k.planFirewall(s, seen.firewall)
	case s.Spec.StepCA != nil:
		return k.planAuthority(s, seen.authority)
	case s.Spec.Portainer != nil:
		return k.planPortainer(s, seen.portainer)
	case s.Spec.PortainerAgent != nil:
		return planAgent(s, seen.agent)
	}
	return planMachine(s, seen.machine)
}

// Remove returns the steps that leave the place as it was before.
func (k *Kind) Remove(s *v1alpha1.HostService, seen Seen) []reconcile.Step {
	switch {
	case s.Spec.Firewall != nil:
		return k.removeFirewall(s, seen.firewall)
	case s.Spec.StepCA != nil:
		return k.removeAuthority(s, seen.authority)
	case s.Spec.Portainer != nil:
		return removePortainer(s, seen.portainer)
	case s.Spec.PortainerAgent != nil:
		return removeAgent(s, seen.agent)
	}
	return clearMachine(seen.machine)
}

// Report writes what was seen to the status.
func (k *Kind) Report(s *v1alpha1.HostService, seen Seen) []reconcile.Condition {
	switch {
	case s.Spec.Firewall != nil:
		return k.reportFirewall(s, seen.firewall)
	case s.Spec.StepCA != nil:
		return reportAuthority(s, seen.authority)
	case s.Spec.Portainer != nil:
		return reportPortainer(s, seen.portainer)
	case s.Spec.PortainerAgent != nil:
		return reportAgent(s, seen.agent)
	}
	return reportMachine(s, seen.machine)
}
