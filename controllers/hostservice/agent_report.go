// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// reportAgent writes what was seen of an agent to its status. What is not known stays as it is said there.
func reportAgent(s *v1alpha1.HostService, seen *agentSeen) []reconcile.Condition {
	s.Status.Service = "portainerAgent"
	if seen == nil || seen.machine == nil {
		return nil
	}
	s.Status.Machine = seen.machine.target.String()
	if !seen.machine.looked || !s.DeletionTimestamp.IsZero() || seen.parts.s == nil {
		return nil
	}
	if s.Status.PortainerAgent == nil {
		s.Status.PortainerAgent = &v1alpha1.PortainerAgentStatus{}
	}
	status := s.Status.PortainerAgent
	status.Environment, status.Address = environmentOf(s), seen.parts.place()
	if seen.asked {
		status.EnvironmentID = 0
		if seen.ours != nil {
			status.EnvironmentID = int32(seen.ours.ID)
		}
	}
	return []reconcile.Condition{seen.machine.serving(s), seen.registered()}
}

// registered says whether Portainer has the agent, and reaches it. DockerStacks wake up by conditions: which environment it
// is stands in the message.
func (seen *agentSeen) registered() reconcile.Condition {
	c := reconcile.Condition{Type: v1alpha1.RegisteredCondition, Status: metav1.ConditionFalse, Reason: NotRegisteredReason}
	name := environmentOf(seen.s)
	switch {
	case !seen.asked:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, PortainerAwayReason, seen.at.URL+" does not answer"
		if seen.away != nil {
			c.Message += ": " + seen.away.Error()
		}
	case seen.ours == nil || seen.ours.URL != seen.parts.url():
		c.Message = fmt.Sprintf("%s has no environment %s with %s yet", seen.at.URL, name, seen.parts.url())
	case seen.down != nil:
		c.Reason, c.Message = EnvironmentDownReason, seen.downText()
	default:
		c.Status, c.Reason = metav1.ConditionTrue, RegisteredReason
		c.Message = fmt.Sprintf("environment %d (%s) of %s reaches %s", seen.ours.ID, name, seen.at.URL, seen.parts.place())
	}
	return c
}
