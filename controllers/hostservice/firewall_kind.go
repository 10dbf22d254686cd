// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// A firewall is one HostService for the whole site of a Host. What it declares, with the flows between the declared objects,
// is rendered level by level (firewall_want.go, firewall_rule.go, firewall_flow.go); the package firewall compares that with
// what was read (firewall_read.go) and orders the calls; and nothing that can cut Phoenix off is done before every node is
// ready to take it back (firewall_guard.go).

// firewallRefs: all work goes through the Host. Guests and services are followed, because rules hold their addresses and
// their ports, and so are Routes and stacks where flows are derived from them; nothing waits for them.
func (k *Kind) firewallRefs(s *v1alpha1.HostService) []reconcile.Ref {
	refs := []reconcile.Ref{
		reconcile.Through("Host", hostRefOf(s), v1alpha1.ReachableCondition), reconcile.Every("Guest"), reconcile.Every("HostService"),
	}
	if s.Spec.Firewall.Flows == v1alpha1.FlowsDerive {
		refs = append(refs, reconcile.Every("Route"), reconcile.Every("DockerStack"))
	}
	return refs
}

// planFirewall returns the steps to the spec.
func (k *Kind) planFirewall(_ *v1alpha1.HostService, seen *firewallSeen) []reconcile.Step {
	return seen.steps()
}

// removeFirewall returns the steps that take everything of the owner away and give the options back what they were.
func (k *Kind) removeFirewall(_ *v1alpha1.HostService, seen *firewallSeen) []reconcile.Step {
	return seen.steps() // what is being deleted was observed as wanting nothing
}

// reportFirewall writes what was seen to the status.
func (k *Kind) reportFirewall(s *v1alpha1.HostService, seen *firewallSeen) []reconcile.Condition {
	return seen.report(s)
}
