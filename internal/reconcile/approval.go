// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

const (
	// approvalLife is how long a token can be used after it was offered.
	approvalLife = 24 * time.Hour
	// budgetWindow is the time over which destructionsPerHour counts.
	budgetWindow = time.Hour
	// defaultDestructions is destructionsPerHour where the Host does not say.
	defaultDestructions = 3
)

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
		"%s destroys data; approve it with: kubectl annotate --overwrite %s %s %s=%s",
		s.Message, lower(p.Name), p.obj.GetName(), v1alpha1.ApproveAnnotation, a.Token), "")
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

// consume records that the step's token has been used.
func (p *pass[T, S]) consume(s Step) {
	if a := p.offered(s); a != nil {
		at := metav1.NewTime(p.now.Truncate(time.Second))
		a.ConsumedAt = &at
	}
}

// spend records a destruction on the object's Host before it is made, or says until when it has to wait. Spending on the
// same thing again within the window costs nothing, so that a destruction that is tried again counts once.
func (p *pass[T, S]) spend(ctx context.Context, what string) (*outcome, error) {
	var host v1alpha1.Host
	name, ok := p.host()
	if !ok {
		return nil, nil
	}
	if err := p.Live.Get(ctx, name, &host); err != nil {
		return nil, fmt.Errorf("read destruction budget: %w", err)
	}
	base := host.DeepCopy()
	recent := make([]v1alpha1.Destruction, 0, len(host.Status.Destructions)+1)
	for _, d := range host.Status.Destructions {
		if p.now.Sub(d.At.Time) >= budgetWindow {
			continue
		}
		if d.What == what {
			return nil, nil
		}
		recent = append(recent, d)
	}
	if limit := budget(&host); len(recent) >= limit {
		return outcomeOf(exhausted(recent, limit, name.Name, p.now), ""), nil
	}
	host.Status.Destructions = append(recent, v1alpha1.Destruction{What: what, At: metav1.NewTime(p.now.Truncate(time.Second))})
	if err := p.Client.Status().Patch(ctx, &host, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		return nil, fmt.Errorf("record destruction of %s: %w", what, err)
	}
	return nil, nil
}

func exhausted(recent []v1alpha1.Destruction, limit int, host string, now time.Time) error {
	after := budgetWindow
	if len(recent) > 0 {
		after = recent[0].At.Add(budgetWindow).Sub(now)
	}
	return Wait(v1alpha1.BudgetReason, after, fmt.Errorf(
		"%d of %d destructions within an hour are used up on Host/%s: wait, or raise spec.safety.destructionsPerHour", len(recent), limit, host))
}

func budget(host *v1alpha1.Host) int {
	if s := host.Spec.Safety; s != nil && s.DestructionsPerHour != nil {
		return int(*s.DestructionsPerHour)
	}
	return defaultDestructions
}

// host is the Host that the object stands on.
func (p *pass[T, S]) host() (types.NamespacedName, bool) {
	for _, r := range p.refs() {
		if r.Kind == "Host" && r.Needed {
			return types.NamespacedName{Namespace: p.obj.GetNamespace(), Name: r.Name}, true
		}
	}
	return types.NamespacedName{}, false
}
