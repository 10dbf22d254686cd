// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"crypto/x509"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// reportAuthority writes what was seen of an authority to its status. What is not known stays as it is said there.
func reportAuthority(s *v1alpha1.HostService, seen *authoritySeen) []reconcile.Condition {
	s.Status.Service = "stepCA"
	if seen == nil || seen.machine == nil {
		return nil
	}
	s.Status.Machine = seen.machine.target.String()
	if !seen.machine.looked || !s.DeletionTimestamp.IsZero() {
		return nil
	}
	trouble := seen.trouble()
	conditions := []reconcile.Condition{seen.serving(trouble)}
	meta.RemoveStatusCondition(&s.Status.Conditions, v1alpha1.IntermediateExpiringCondition) // it stands only while it is true
	if c := seen.expiring(); c != nil {
		conditions = append(conditions, *c)
	}
	if len(seen.vault.roots) > 0 && (trouble == nil || trouble.reason != AuthorityExistsReason) {
		seen.report(s)
	}
	return conditions
}

// report writes the facts. The roots are told to others as soon as they are there: who will need the authority trusts it
// before it serves.
func (seen *authoritySeen) report(s *v1alpha1.HostService) {
	if s.Status.StepCA == nil {
		s.Status.StepCA = &v1alpha1.StepCAStatus{}
	}
	status, v := s.Status.StepCA, &seen.vault
	status.URL, status.CABundle = seen.url, string(stepca.EncodeChain(v.roots))
	status.RootGeneration, status.RootKey = seen.generation(), "Away"
	if v.keyOf(v.roots[0]) != nil {
		status.RootKey = "Present"
	}
	status.Roots = nil
	for i, root := range v.roots {
		one := v1alpha1.RootStatus{Fingerprint: stepca.Fingerprint(root), NotAfter: *timeOf(root.NotAfter)}
		if at := seen.until(root); i > 0 && !at.IsZero() {
			one.TrustedUntil = timeOf(at)
		}
		status.Roots = append(status.Roots, one)
	}
	if v.pair != nil && v.pair.root != nil {
		status.IssuerFingerprint = stepca.Fingerprint(v.pair.root)
		status.IntermediateNotAfter, status.IntermediateRenewalTime = timeOf(seen.ends()), timeOf(renewalOf(v.pair.chain))
	}
}

func timeOf(t time.Time) *metav1.Time {
	at := metav1.NewTime(t.UTC())
	return &at
}

// serving says whether the authority answers. Guests, Hosts and Certificates wake up by conditions: what they go by stands
// in the message.
func (seen *authoritySeen) serving(t *trouble) reconcile.Condition {
	c := reconcile.Condition{Type: v1alpha1.ServingCondition, Status: metav1.ConditionFalse}
	v := &seen.vault
	switch {
	case v.whole():
		c = seen.machine.serving(seen.s)
	case t != nil:
		c.Reason, c.Message = t.reason, t.err.Error()
	default:
		c.Reason, c.Message = NotRunningReason, "its keys are not there yet"
	}
	if c.Status == metav1.ConditionTrue {
		c.Message = seen.url + " answers"
	}
	if seen.asked && seen.health != nil {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, AuthorityAwayReason, "it answers on its machine, but not to Phoenix: "+seen.health.Error()
	}
	if len(v.roots) > 0 {
		c.Message += "; roots " + strings.Join(fingerprints(v.roots), ", ")
	}
	if v.pair != nil && v.pair.root != nil {
		c.Message += "; issues under " + stepca.Fingerprint(v.pair.root)
	}
	return c
}

// shortened are fingerprints for people.
func shortened(certs []*x509.Certificate) []string {
	all := fingerprints(certs)
	for i := range all {
		all[i] = all[i][:16]
	}
	return all
}
