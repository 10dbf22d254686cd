// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

func TestPatienceOfAProbe(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		reason        string
		failing, life time.Duration // how long it has not been delivered, and how long it has been there
		want          time.Duration
	}{
		"first":    {"it was delivered until now", 0, time.Hour, firstWait},
		"a while":  {"who does not serve it is asked less and less", 40 * time.Second, time.Hour, 40 * time.Second},
		"long":     {"but not less than that", 24 * time.Hour, 24 * time.Hour, lastWait},
		"renewed":  {"a new certificate is worth to be asked for at once, whatever was with the one before", time.Hour, 2 * time.Second, 2 * time.Second},
		"just now": {"not all the time", time.Hour, 0, firstWait},
	} {
		t.Run(name, func(t *testing.T) {
			c := &v1alpha1.Certificate{}
			if tc.failing > 0 {
				c.Status.Conditions = []metav1.Condition{{
					Type: v1alpha1.DeliveredCondition, Status: metav1.ConditionFalse, LastTransitionTime: metav1.NewTime(now.Add(-tc.failing)),
				}}
			}
			seen := Seen{now: now, secret: &secretSeen{held: &material{marks: marks{At: now.Add(-tc.life)}}}}
			if got := seen.patience(c); got != tc.want {
				t.Errorf("%s: asked again after %s, want %s", tc.reason, got, tc.want)
			}
		})
	}
}
