// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Report writes what was seen to the status.
func (k *Kind) Report(c *v1alpha1.Certificate, seen Seen) []reconcile.Condition {
	if !seen.known {
		return nil
	}
	c.Status.SecretName = c.Spec.SecretName
	if err := seen.secret.notOurs(c, seen.taken); err != nil && reconcile.ReasonOf(err) != SecretDeletedReason {
		reportTimes(c, nil, seen)
		return []reconcile.Condition{{Type: v1alpha1.IssuedCondition, Status: metav1.ConditionFalse, Reason: reconcile.ReasonOf(err), Message: err.Error()}}
	}
	reportTimes(c, seen.held(), seen)
	conditions := []reconcile.Condition{issued(c, seen)}
	if seen.looked {
		reportDeliveries(c, seen)
	}
	return append(conditions, delivered(c, seen)...)
}

// reportTimes writes what there is to say of the certificate.
func reportTimes(c *v1alpha1.Certificate, held *material, seen Seen) {
	s := &c.Status
	if !held.fits() {
		s.SerialNumber, s.RootFingerprint, s.NotBefore, s.NotAfter, s.RenewalTime = "", "", nil, nil, nil
		return
	}
	if serial := held.serial(); s.SerialNumber != serial {
		s.SerialNumber = serial
		s.Revision++
	}
	l := held.life()
	at, _ := renewal(c, held)
	s.RootFingerprint, s.RenewRequested = seen.rootOf(held), held.marks.Renewed
	s.NotBefore, s.NotAfter, s.RenewalTime = when(held.leaf().NotBefore), when(l.end), when(at)
}

func when(at time.Time) *metav1.Time {
	out := metav1.NewTime(at.Local().Truncate(time.Second))
	return &out
}

// issued says whether the Secret holds a valid certificate that fits the spec. Its message changes with the certificate,
// so that those who use it wake up.
func issued(c *v1alpha1.Certificate, seen Seen) reconcile.Condition {
	out := reconcile.Condition{Type: v1alpha1.IssuedCondition, Status: metav1.ConditionFalse}
	held := seen.held()
	if found := judge(c, held, seen); found.useless {
		out.Reason, out.Message = found.reason, found.text
		return out
	}
	at, note := renewal(c, held)
	said := []string{fmt.Sprintf("Secret/%s holds certificate %s until %s, and it is renewed at %s", c.Spec.SecretName, held.serial(), stamp(held.life().end), stamp(at))}
	if asked := durationOf(c); asked != 0 && held.marks.Duration == asked.String() && clamped(asked, held.life().length()) {
		said = append(said, fmt.Sprintf("of the %s that were asked for, %s gave %s", asked, seen.authority.name, held.life().length().Round(time.Second)))
	}
	if note != "" {
		said = append(said, note)
	}
	out.Status, out.Reason, out.Message = metav1.ConditionTrue, IssuedReason, strings.Join(said, "; ")
	return out
}

// clamped says whether a life is another one than was asked for, and not by the time that it takes to ask.
func clamped(asked, given time.Duration) bool {
	return (asked - given).Abs() > max(asked/50, 2*time.Second)
}

// reportDeliveries writes what the machines have. One that may have files stays until they are cleared.
func reportDeliveries(c *v1alpha1.Certificate, seen Seen) {
	var all []v1alpha1.DeliveryStatus
	for _, d := range seen.deliveries {
		if d.spec == nil {
			if !d.done {
				all = append(all, v1alpha1.DeliveryStatus{Name: d.name, Machine: d.at.String(), SerialNumber: last(c, d).SerialNumber})
			}
			continue
		}
		entry := v1alpha1.DeliveryStatus{Name: d.name, SerialNumber: d.there}
		if d.spec.Probe != nil && d.served != "" {
			entry.SerialNumber = d.served
		}
		if d.files() && d.done {
			entry.Machine = d.at.String()
		} else if d.files() {
			entry.Machine = last(c, d).Machine
		}
		all = append(all, entry)
	}
	c.Status.Deliveries = all
}

// last is what the status has of a delivery on its machine.
func last(c *v1alpha1.Certificate, d *delivery) v1alpha1.DeliveryStatus {
	for _, had := range c.Status.Deliveries {
		if at, ok := parsePlace(had.Machine); ok && had.Name == d.name && d.at.covers(at) {
			return had
		}
	}
	return v1alpha1.DeliveryStatus{}
}

// delivered says whether every machine has the certificate, and every server shows it.
func delivered(c *v1alpha1.Certificate, seen Seen) []reconcile.Condition {
	if len(c.Spec.DeliverTo) == 0 {
		meta.RemoveStatusCondition(&c.Status.Conditions, v1alpha1.DeliveredCondition)
		return nil
	}
	if !seen.looked {
		return nil
	}
	out := reconcile.Condition{Type: v1alpha1.DeliveredCondition, Status: metav1.ConditionTrue, Reason: DeliveredReason}
	var said, has []string
	for _, d := range seen.deliveries {
		switch {
		case d.problem != nil:
			if said == nil {
				out.Status, out.Reason = metav1.ConditionFalse, d.problem.reason
			}
			said = append(said, d.problem.Error())
		case len(d.steps) > 0:
			if said == nil {
				out.Status, out.Reason = metav1.ConditionFalse, DeliveringReason
			}
			said = append(said, d.String()+": not delivered yet")
		case d.spec != nil:
			has = append(has, d.String())
		}
	}
	if out.Message = strings.Join(said, "; "); said == nil {
		out.Message = fmt.Sprintf("certificate %s is at %s", seen.held().serial(), strings.Join(has, ", "))
	}
	return []reconcile.Condition{out}
}
