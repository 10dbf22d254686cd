// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// approvalLife is how long a token can be used after it was offered.
const approvalLife = 24 * time.Hour

// token names one step of one object, offered at one time.
func (p *pass[T, S]) token(s Step, offered time.Time) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q %q %d", p.Name, p.obj.GetNamespace(), p.obj.GetName(), s.Reason, s.Identity, offered.Unix())
	for _, c := range s.Changes {
		fmt.Fprintf(h, " %q %q %q", c.Field, c.From, c.To)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// offered returns the approval that was offered for the step and can still be used.
func (p *pass[T, S]) offered(s Step) *v1alpha1.Approval {
	approvals := p.obj.CommonStatus().Approvals
	for i, a := range approvals {
		if a.ConsumedAt == nil && p.now.Sub(a.OfferedAt.Time) < approvalLife && a.Token == p.token(s, a.OfferedAt.Time) {
			return &approvals[i]
		}
	}
	return nil
}

func (p *pass[T, S]) approved(s Step) bool {
	a := p.offered(s)
	return a != nil && p.obj.GetAnnotations()[v1alpha1.ApproveAnnotation] == a.Token
}

// offer puts a token for the step into the plan, and says how to approve it.
func (p *pass[T, S]) offer(s Step) *outcome {
	a := p.offered(s)
	if a == nil {
		a = p.mint(s)
	}
	for i := range p.plan {
		if p.plan[i].Reason == s.Reason && p.plan[i].Impact == v1alpha1.ImpactDestroy && contains(s.Changes, p.plan[i]) {
			p.plan[i].Approve = a.Token
		}
	}
	return outcomeOf(rest(metav1.ConditionFalse, v1alpha1.ApprovalRequiredReason,
		"%s destroys data; approve it with: kubectl annotate --overwrite -n %s %s.%s/%s %s=%s", clip(s.Message, maxValue),
		p.obj.GetNamespace(), lower(p.Name), v1alpha1.GroupVersion.Group, p.obj.GetName(), v1alpha1.ApproveAnnotation, a.Token), "")
}

// mint makes a new token and forgets those that have ended.
func (p *pass[T, S]) mint(s Step) *v1alpha1.Approval {
	status := p.obj.CommonStatus()
	at := p.now.Truncate(time.Second)
	live := status.Approvals[:0:0]
	for _, a := range status.Approvals {
		if p.now.Sub(a.OfferedAt.Time) >= approvalLife {
			continue
		}
		live = append(live, a)
		if a.Token == p.token(s, at) { // consumed within this very second
			at = at.Add(time.Second)
		}
	}
	if len(live) == maxPlan {
		live = live[1:]
	}
	status.Approvals = append(live, v1alpha1.Approval{Token: p.token(s, at), OfferedAt: metav1.NewTime(at)})
	return &status.Approvals[len(status.Approvals)-1]
}

// consume records that the step's token has been used, and returns it; empty when there was none.
func (p *pass[T, S]) consume(s Step) string {
	a := p.offered(s)
	if a == nil {
		return ""
	}
	at := metav1.NewTime(p.now.Truncate(time.Second))
	a.ConsumedAt = &at
	return a.Token
}

// restore makes a used token good again, after it turned out that nothing was done with it.
func (p *pass[T, S]) restore(token string) {
	approvals := p.obj.CommonStatus().Approvals
	for i := range approvals {
		if approvals[i].Token == token {
			approvals[i].ConsumedAt = nil
		}
	}
}
