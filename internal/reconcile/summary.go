// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// ownConditions are the loop's: a kind does not report them.
var ownConditions = []string{v1alpha1.ReadyCondition, v1alpha1.ReconcilingCondition, v1alpha1.StalledCondition, v1alpha1.DriftedCondition}

const (
	maxPlan    = 20
	maxField   = 256
	maxValue   = 512
	maxMessage = 1024
	maxNote    = 1000 // the API server takes 1024
)

// summarise writes the pass's result into the status: the plan, the kind's conditions, and Ready, which is their summary.
// It is the only place that writes conditions.
func (p *pass[T, S]) summarise(o *outcome) {
	status := p.obj.CommonStatus()
	p.report()
	if p.planned {
		status.Plan = p.plan
	}
	status.ObservedGeneration = p.obj.GetGeneration()
	p.ready(o)
	p.flag(v1alpha1.ReconcilingCondition, o, o != nil && (o.verdict == failed || o.verdict == waiting))
	p.flag(v1alpha1.StalledCondition, o, o != nil && o.verdict == stalled)
	p.drifted()
}

// report writes what was seen. What could not be looked at, because the way to it is away, is Unknown in every condition
// of the kind's own, so that nothing is built on what was true before.
func (p *pass[T, S]) report() {
	switch {
	case p.seen != nil:
		for _, c := range p.Kind.Report(p.obj, *p.seen) {
			p.set(c.Type, c.Status, c.Reason, c.Message)
		}
	case p.blind != nil:
		for _, c := range slices.Clone(p.obj.CommonStatus().Conditions) {
			if !slices.Contains(ownConditions, c.Type) {
				p.set(c.Type, metav1.ConditionUnknown, v1alpha1.DependencyReason, p.blind.Error())
			}
		}
	}
}

// ready sets the Ready condition.
func (p *pass[T, S]) ready(o *outcome) {
	switch {
	case o == nil && len(p.plan) > 0:
		p.set(v1alpha1.ReadyCondition, metav1.ConditionTrue, v1alpha1.DriftedReason, "differs from the spec: see status.plan")
	case o == nil:
		p.set(v1alpha1.ReadyCondition, metav1.ConditionTrue, v1alpha1.InSyncReason, "the outside agrees with the spec")
	case o.verdict == kept:
		p.keep(o)
	default:
		p.set(v1alpha1.ReadyCondition, o.ready, o.reason, o.Error())
	}
}

// keep leaves the status of Ready as it was. A pause is named; what else is kept keeps its words too.
func (p *pass[T, S]) keep(o *outcome) {
	last := meta.FindStatusCondition(p.obj.CommonStatus().Conditions, v1alpha1.ReadyCondition)
	switch {
	case last == nil:
		p.set(v1alpha1.ReadyCondition, metav1.ConditionUnknown, o.reason, o.Error())
	case o.reason == v1alpha1.PausedReason:
		p.set(v1alpha1.ReadyCondition, last.Status, o.reason, o.Error())
	}
}

// flag sets a condition that stands only while it is true.
func (p *pass[T, S]) flag(condition string, o *outcome, stands bool) {
	if !stands {
		meta.RemoveStatusCondition(&p.obj.CommonStatus().Conditions, condition)
		return
	}
	p.set(condition, metav1.ConditionTrue, o.reason, o.Error())
}

func (p *pass[T, S]) drifted() {
	status := p.obj.CommonStatus()
	if p.obj.Common().Management != v1alpha1.ManagementObserve || len(status.Plan) == 0 {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.DriftedCondition)
		return
	}
	p.set(v1alpha1.DriftedCondition, metav1.ConditionTrue, v1alpha1.DriftedReason, fmt.Sprintf("%d changes would be made: see status.plan", len(status.Plan)))
}

func (p *pass[T, S]) set(condition string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&p.obj.CommonStatus().Conditions, metav1.Condition{
		Type: condition, Status: status, Reason: reason, Message: clip(message, maxMessage),
		ObservedGeneration: p.obj.GetGeneration(), LastTransitionTime: metav1.NewTime(p.now),
	})
}

// news says whether the outcome is a failure that the status did not name yet; only then it is worth an event.
func (p *pass[T, S]) news(o *outcome) bool {
	if o == nil || (o.verdict != failed && o.verdict != stalled && o.reason != v1alpha1.ApprovalRequiredReason) {
		return false
	}
	last := meta.FindStatusCondition(p.base.CommonStatus().Conditions, v1alpha1.ReadyCondition)
	return last == nil || last.Reason != o.reason || last.Message != clip(o.Error(), maxMessage)
}

// planned turns steps into the plan that status shows: the first 20 changes.
func planned(steps []Step) []v1alpha1.PlannedChange {
	var plan []v1alpha1.PlannedChange
	for _, s := range steps {
		changes := s.Changes
		if len(changes) == 0 {
			changes = []Change{{Impact: v1alpha1.ImpactNone}}
		}
		for _, c := range changes {
			if len(plan) == maxPlan {
				return plan
			}
			plan = append(plan, entry(s, c))
		}
	}
	return plan
}

func entry(s Step, c Change) v1alpha1.PlannedChange {
	return v1alpha1.PlannedChange{
		Reason: s.Reason, Field: clip(c.Field, maxField), From: clip(c.From, maxValue), To: clip(c.To, maxValue), Impact: cmp.Or(c.Impact, v1alpha1.ImpactNone),
	}
}

// contains says whether one of the changes is what the plan entry shows.
func contains(changes []Change, e v1alpha1.PlannedChange) bool {
	for _, c := range changes {
		if clip(c.Field, maxField) == e.Field && clip(c.From, maxValue) == e.From && clip(c.To, maxValue) == e.To && c.Impact == e.Impact {
			return true
		}
	}
	return false
}

// clip cuts a text to at most n bytes, at the end of a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	cut := n - len("…")
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

func lower(kind string) string { return strings.ToLower(kind) }
