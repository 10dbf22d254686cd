// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// reportPortainer writes what was seen of a Portainer server to its status. What is not known stays as it is said there.
func reportPortainer(s *v1alpha1.HostService, seen *portainerSeen) []reconcile.Condition {
	s.Status.Service = "portainer"
	if seen == nil || seen.machine == nil {
		return nil
	}
	s.Status.Machine = seen.machine.target.String()
	if !seen.machine.looked || !s.DeletionTimestamp.IsZero() || seen.parts == nil {
		return nil
	}
	if s.Status.Portainer == nil {
		s.Status.Portainer = &v1alpha1.PortainerStatus{}
	}
	status := s.Status.Portainer
	status.URL = seen.at.URL
	if seen.at.ServerName != "" {
		status.ServerName, status.CABundle = seen.at.ServerName, seen.at.CABundle
	}
	if seen.status != nil {
		status.Version, status.InstanceID = seen.status.Version, seen.status.InstanceID
	}
	if seen.accepted {
		status.APIKeySecret = apiKeySecretOf(s.Name)
	}
	if seen.keys.agent != "" {
		status.AgentSecret = agentSecretOf(s.Name)
	}
	return []reconcile.Condition{seen.serving()}
}

// serving says whether the server answers, and lets Phoenix in. Agents and DockerStacks wake up by conditions: which server
// it is stands in the message.
func (seen *portainerSeen) serving() reconcile.Condition {
	c := reconcile.Condition{Type: v1alpha1.ServingCondition, Status: metav1.ConditionFalse}
	c.Reason, c.Message = seen.machine.lacking()
	switch {
	case c.Reason != "":
	case seen.status == nil && seen.away == nil:
		c.Reason, c.Message = ProbeFailedReason, cmp.Or(seen.machine.silent(), "it was not asked yet")
	case seen.away != nil:
		c.Reason, c.Message = PortainerAwayReason, "it answers on its machine, but not to Phoenix: "+seen.away.Error()
	case !seen.accepted:
		c.Reason, c.Message = APIKeyRefusedReason, "it has no key of the API for Phoenix yet"
		if seen.refused != nil {
			c.Message = "it refuses the key of Secret " + apiKeySecretOf(seen.s.Name) + ": " + seen.refused.Error()
		}
	default:
		c.Status, c.Reason = metav1.ConditionTrue, AnsweringReason
		c.Message = seen.at.URL + " answers: version " + seen.status.Version + ", instance " + seen.status.InstanceID
	}
	return c
}
