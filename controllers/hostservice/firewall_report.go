// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/firewall"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// report writes what was seen to the status. What was not read stays as it is said there.
func (seen *firewallSeen) report(s *v1alpha1.HostService) []reconcile.Condition {
	s.Status.Service, s.Status.Machine = "firewall", "Host/"+hostRefOf(s)
	if seen == nil || !seen.known {
		return nil
	}
	on := seen.on()
	rules := int32(firewall.Count(seen.want.Want, seen.state))
	s.Status.Firewall = &v1alpha1.FirewallStatus{Enabled: &on, Rules: &rules}
	for _, l := range firewall.Shadowed(seen.want.Want, seen.state) {
		s.Status.Firewall.Shadowed = append(s.Status.Firewall.Shadowed, seen.label(l))
	}
	conditions := []reconcile.Condition{seen.enforced()}
	if shadowed := s.Status.Firewall.Shadowed; len(shadowed) > 0 {
		return append(conditions, reconcile.Condition{
			Type: v1alpha1.ShadowedCondition, Status: metav1.ConditionTrue, Reason: FirewallForeignReason,
			Message: fmt.Sprintf("rules of somebody else stand above those of Phoenix at %s: exclusive: true moves those of Phoenix up",
				strings.Join(shadowed, ", ")),
		})
	}
	meta.RemoveStatusCondition(&s.Status.Conditions, v1alpha1.ShadowedCondition) // it stands only while it is true
	return conditions
}

// on says whether the firewall of the whole site is on.
func (seen *firewallSeen) on() bool {
	value := seen.state.Levels[firewall.Datacenter].Options[firewall.EnableOption]
	return value != "" && value != "0"
}

// label is a level as the status names it: by the Guest rather than by its VMID.
func (seen *firewallSeen) label(l firewall.Level) string {
	field, ok := seen.want.fields[l]
	name, isGuest := strings.CutPrefix(field, "guests[")
	if ok && isGuest {
		return "guest/" + strings.TrimSuffix(name, "]")
	}
	return string(l)
}

// enforced says whether what is declared is in force, and what people should know beside.
func (seen *firewallSeen) enforced() reconcile.Condition {
	no := func(reason, format string, args ...any) reconcile.Condition {
		return reconcile.Condition{
			Type: v1alpha1.EnforcedCondition, Status: metav1.ConditionFalse, Reason: reason, Message: fmt.Sprintf(format, args...),
		}
	}
	guard, _, refused := seen.refused()
	switch {
	case seen.armed() != "" || len(seen.rollingBack()) > 0:
		return no(FirewallUnconfirmedReason, "the last change is not confirmed yet")
	case refused && len(seen.plan.Guarded) > 0:
		return no(FirewallRolledBackReason, "this was taken back: %s", guard.Back.Text)
	case len(seen.plan.Prepare)+len(seen.plan.Open)+len(seen.plan.Guarded) > 0:
		return no(FirewallApplyingReason, "the rules differ from what is declared: see status.plan")
	case len(seen.away) > 0:
		return no(FirewallAwayReason, "not in force yet at %s", strings.Join(seen.away, ", "))
	case !seen.on():
		return no(FirewallOffReason, "the firewall of the site is off: nothing is filtered until datacenter.enabled is true")
	}
	message := "the rules are in force"
	if len(seen.want.notes) > 0 {
		message += "; " + strings.Join(seen.want.notes, "; ")
	}
	return reconcile.Condition{Type: v1alpha1.EnforcedCondition, Status: metav1.ConditionTrue, Reason: FirewallInForceReason, Message: message}
}
