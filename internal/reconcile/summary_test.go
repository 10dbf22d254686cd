// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

func TestClip(t *testing.T) {
	cases := map[string]struct {
		reason, in string
		n          int
		want       string
	}{
		"Short":  {"what fits stays", "abc", 3, "abc"},
		"Long":   {"what is cut says so, within the bound", "abcdefgh", 6, "abc…"},
		"Middle": {"no character is cut in two", "aäöü", 6, "aä…"},
		"Inside": {"no character is cut in two", "ääää", 6, "ä…"},
		"Empty":  {"nothing stays nothing", "", 0, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := clip(c.in, c.n)
			if got != c.want || len(got) > c.n || !utf8.ValidString(got) {
				t.Errorf("%s: %q (%d bytes), want %q", c.reason, got, len(got), c.want)
			}
		})
	}
}

func TestPlanned(t *testing.T) {
	long := strings.Repeat("x", 1000)
	many := Step{Reason: "Many"}
	for i := range 30 {
		many.Changes = append(many.Changes, Change{Field: fmt.Sprint(i)})
	}
	cases := map[string]struct {
		reason string
		steps  []Step
		want   []v1alpha1.PlannedChange
		length int
	}{
		"None":     {reason: "in sync is an empty plan", length: 0},
		"NoChange": {reason: "a step that names no change is shown all the same", steps: []Step{{Reason: "Mark"}}, want: []v1alpha1.PlannedChange{{Reason: "Mark", Impact: v1alpha1.ImpactNone}}, length: 1},
		"NoImpact": {reason: "the API server refuses an impact that is not said", steps: []Step{{Reason: "R", Changes: []Change{{"f", "1", "2", ""}}}}, want: []v1alpha1.PlannedChange{{Reason: "R", Field: "f", From: "1", To: "2", Impact: v1alpha1.ImpactNone}}, length: 1},
		"Many":     {reason: "the API server takes 20", steps: []Step{many, {Reason: "After"}}, length: 20},
		"Long": {
			reason: "the API server takes so many bytes", steps: []Step{{Reason: "R", Changes: []Change{{long, long, long, v1alpha1.ImpactReload}}}},
			want: []v1alpha1.PlannedChange{{Reason: "R", Field: clip(long, 256), From: clip(long, 512), To: clip(long, 512), Impact: v1alpha1.ImpactReload}}, length: 1,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := planned(c.steps)
			if len(got) != c.length {
				t.Errorf("%s: %d entries, want %d", c.reason, len(got), c.length)
			}
			if diff := cmp.Diff(c.want, got); c.want != nil && diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestLongMessagesAreCut(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca")
	w.kind.observe = failWith(errors.New(strings.Repeat("no route to host; ", 200)))
	w.must("ca")
	c := meta.FindStatusCondition(w.get("ca").Status.Conditions, v1alpha1.ReadyCondition)
	if len(c.Message) > maxMessage || !strings.HasSuffix(c.Message, "…") {
		t.Errorf("the message has %d bytes", len(c.Message))
	}
	if e := w.happened(); len(e) != 1 || len(e[0]) > maxNote+100 {
		t.Errorf("%d events, the first of %d bytes", len(e), len(e[0]))
	}
	w.must("ca")
	if e := w.happened(); len(e) != 0 {
		t.Errorf("a cut message is news again: %v", e)
	}
}

func TestReportComesBesideAnError(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.site.away = true
	w.passHost()
	h := w.getHost()
	if got, want := condition(h, v1alpha1.ReachableCondition), "False Unreachable: no route to host"; got != want {
		t.Errorf("Reachable = %q, want %q: a kind says how far it came", got, want)
	}
	if got, want := ready(h), "False Unreachable: no route to host"; got != want {
		t.Errorf("Ready = %q, want %q", got, want)
	}
}

func TestPlanStandsWhileNothingIsKnown(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca", managed(v1alpha1.ManagementObserve))
	w.must("ca")
	w.kind.observe = failWith(errors.New("cut"))
	w.must("ca")
	g := w.get("ca")
	if len(g.Status.Plan) != 1 || condition(g, v1alpha1.DriftedCondition) == "" {
		t.Errorf("the last plan is lost: %+v", g.Status)
	}
}

func TestConditionsKeepTheirTime(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.guest("ca")
	w.must("ca")
	first := meta.FindStatusCondition(w.get("ca").Status.Conditions, v1alpha1.ReadyCondition).LastTransitionTime
	w.after(interval)
	w.edit("ca", func(g *v1alpha1.Guest) { g.Spec.Cores = ptr(2) })
	w.must("ca")
	c := meta.FindStatusCondition(w.get("ca").Status.Conditions, v1alpha1.ReadyCondition)
	if !c.LastTransitionTime.Equal(&first) || c.ObservedGeneration != 2 {
		t.Errorf("Ready = %+v: it was True all the time, for generation 2 now", c)
	}
	w.after(interval)
	w.kind.plan = func(*v1alpha1.Guest, box) []Step {
		return []Step{{Reason: "R", Do: func(context.Context) error { return errors.New("cut") }}}
	}
	w.must("ca")
	c = meta.FindStatusCondition(w.get("ca").Status.Conditions, v1alpha1.ReadyCondition)
	if !c.LastTransitionTime.Time.Equal(w.clock.Now()) {
		t.Errorf("Ready changed at %s, want %s", c.LastTransitionTime, w.clock.Now())
	}
}

func TestOutcomesAreErrors(t *testing.T) {
	cause := errors.New("cause")
	for name, err := range map[string]error{
		"Wait": Wait("R", 0, cause), "Fail": Fail("R", cause), "Stall": Stall("R", fmt.Errorf("around: %w", cause)),
		"read": outcomeOf(fmt.Errorf("around: %w", Wait("R", 0, cause)), ""),
	} {
		if !errors.Is(err, cause) || !strings.HasSuffix(err.Error(), "cause") {
			t.Errorf("%s hides its cause: %v", name, err)
		}
	}
}
