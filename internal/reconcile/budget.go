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
	// budgetWindow is the time over which destructionsPerHour counts.
	budgetWindow = time.Hour
	// defaultDestructions is destructionsPerHour where the Host does not say.
	defaultDestructions = 3
	// maxWhat is how long an identity may be in the Host's status.
	maxWhat = 256
)

// spend records a destruction on the object's Host before it is made, or says until when it has to wait. Spending on the
// same thing again within the window costs nothing, so that a destruction that is tried again counts once.
func (p *pass[T, S]) spend(ctx context.Context, s Step) (*outcome, error) {
	if s.Identity == "" {
		return outcomeOf(Stall(v1alpha1.FailedReason, fmt.Errorf("%s destroys, but does not say what", s.Reason)), ""), nil
	}
	name, ok := p.host()
	if !ok {
		return nil, nil
	}
	var host v1alpha1.Host
	if err := p.Live.Get(ctx, name, &host); err != nil {
		return nil, fmt.Errorf("read destruction budget: %w", err)
	}
	base, what := host.DeepCopy(), ledger(s.Identity)
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

// ledger is an identity as it stands in the Host's status: whole, or its beginning and a hash where it is too long.
func ledger(identity string) string {
	if len(identity) <= maxWhat {
		return identity
	}
	sum := sha256.Sum256([]byte(identity))
	hash := hex.EncodeToString(sum[:8])
	return clip(identity, maxWhat-len(hash)) + hash
}

func exhausted(recent []v1alpha1.Destruction, limit int, host string, now time.Time) error {
	after := budgetWindow
	for _, d := range recent {
		after = min(after, d.At.Add(budgetWindow).Sub(now))
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
