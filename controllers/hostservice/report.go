// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// reportMachine writes what was seen of a service on a machine to its status.
func reportMachine(s *v1alpha1.HostService, seen *machineSeen) []reconcile.Condition {
	switch s.Status.Service = "dnsmasq"; {
	case s.Spec.Docker != nil:
		s.Status.Service = "docker"
	case s.Spec.NFS != nil:
		s.Status.Service = "nfs"
	case s.Spec.Nginx != nil:
		s.Status.Service = "nginx"
	case s.Spec.Traefik != nil:
		s.Status.Service = "traefik"
	}
	if seen == nil {
		return nil
	}
	s.Status.Machine = seen.target.String()
	if !seen.looked || len(seen.design.want.Units) == 0 {
		return nil
	}
	serving := seen.serving(s)
	conditions := []reconcile.Condition{serving}
	if s.Spec.NFS != nil {
		conditions = append(conditions, seen.exported(s, serving))
	}
	return conditions
}

// serving says whether the service answers.
func (m *machineSeen) serving(s *v1alpha1.HostService) reconcile.Condition {
	c := reconcile.Condition{Type: v1alpha1.ServingCondition, Status: metav1.ConditionFalse}
	if c.Reason, c.Message = m.lacking(); c.Reason != "" {
		return c
	}
	if s.Spec.Nginx != nil {
		return m.gateway(s)
	}
	if s.Spec.Traefik != nil {
		return m.router(s)
	}
	if s.Spec.NFS == nil {
		if failed := m.silent(); failed != "" {
			c.Reason, c.Message = ProbeFailedReason, failed
			return c
		}
	}
	c.Status, c.Reason, c.Message = metav1.ConditionTrue, AnsweringReason, "the service answers"
	if len(m.design.notes) > 0 && s.Spec.NFS == nil {
		c.Message += "; left out for now: " + strings.Join(m.design.notes, "; ")
	}
	return c
}

// lacking says what of a service is not there, or does not run.
func (m *machineSeen) lacking() (reason, message string) {
	for _, name := range m.design.want.Packages {
		if _, ok := m.seen.Packages[name]; !ok {
			return NotInstalledReason, "package " + name + " is not installed"
		}
	}
	for _, a := range m.design.want.Artifacts {
		if _, ok := m.seen.Paths[a.Path]; !ok {
			return NotInstalledReason, a.Path + " is not there yet"
		}
	}
	for _, u := range m.design.want.Units {
		if !m.seen.Units[u.Name].Runs() {
			return NotRunningReason, u.Name + " does not run"
		}
	}
	return "", ""
}

// exported says whether every declared export can be mounted, and lists those that can.
func (m *machineSeen) exported(s *v1alpha1.HostService, serving reconcile.Condition) reconcile.Condition {
	c := reconcile.Condition{Type: v1alpha1.ExportedCondition, Status: metav1.ConditionFalse, Reason: serving.Reason, Message: serving.Message}
	s.Status.Exports = nil
	if serving.Status != metav1.ConditionTrue {
		return c
	}
	ready := m.applied(s)
	var missing []string
	for _, e := range m.design.exports {
		if e.probe < 0 && ready || e.probe >= 0 && m.seen.Probes[e.probe].OK {
			s.Status.Exports = append(s.Status.Exports, v1alpha1.ExportStatus{Name: e.name, Source: e.source})
		} else {
			missing = append(missing, e.name)
		}
	}
	if len(missing) > 0 {
		c.Reason, c.Message = NotExportedReason, fmt.Sprintf("%s does not export %s yet", m.target, strings.Join(missing, ", "))
		return c
	}
	// Guests wake up by conditions: what they mount stands in the message.
	var sources []string
	for _, e := range s.Status.Exports {
		sources = append(sources, e.Source)
	}
	c.Status, c.Reason, c.Message = metav1.ConditionTrue, ExportedReason, "every export can be mounted: "+strings.Join(sources, ", ")
	if len(m.design.notes) > 0 {
		c.Message += "; left out for now: " + strings.Join(m.design.notes, "; ")
	}
	return c
}

// applied says whether the machine is as declared.
func (m *machineSeen) applied(s *v1alpha1.HostService) bool {
	for _, step := range planMachine(s, m) {
		if _, left := leftOutReasons[step.Reason]; !left {
			return false
		}
	}
	return true
}

// leftOutReasons are the reasons of steps that change nothing.
var leftOutReasons = map[string]bool{
	DuplicateNameReason: true, DuplicatePathReason: true, TargetMissingReason: true, CertificateMissingReason: true, CertificateUnusableReason: true,
	KeyMismatchReason: true, CertificateExpiredReason: true, CertificateNotYetValidReason: true, NameNotCoveredReason: true, NamesMissingReason: true,
}
