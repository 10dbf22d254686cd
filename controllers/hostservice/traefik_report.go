// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"encoding/json"
	"net"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// router says whether a traefik service answers, and writes down as what and where. Routes wake up by conditions: what they
// go by stands in the message.
func (m *machineSeen) router(s *v1alpha1.HostService) reconcile.Condition {
	if failed := m.silent(); failed != "" {
		return reconcile.Condition{Type: v1alpha1.ServingCondition, Status: metav1.ConditionFalse, Reason: ProbeFailedReason, Message: failed}
	}
	web, _ := traefikPorts(s.Spec.Traefik)
	status := &v1alpha1.TraefikStatus{
		Version: versionIn(m.seen.Probes[0].Output), URL: "http://" + net.JoinHostPort(trafficAddress(m.target.guest), strconv.Itoa(web)),
	}
	s.Status.Traefik = status
	c := reconcile.Condition{Type: v1alpha1.ServingCondition, Status: metav1.ConditionTrue, Reason: AnsweringReason}
	c.Message = "Traefik " + status.Version + " answers at " + status.URL
	if len(m.design.notes) > 0 {
		c.Message += "; nothing comes yet from " + strings.Join(m.design.notes, "; ")
	}
	return c
}

// versionIn is the version in the answer of /api/version.
func versionIn(answer string) string {
	const most = 64
	var said struct{ Version string }
	if json.Unmarshal([]byte(answer), &said) != nil {
		return ""
	}
	return said.Version[:min(len(said.Version), most)]
}
