// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// planMachine returns the steps that bring a machine to the spec. What is in the way of all of them comes first, what had
// to be left out comes last.
func planMachine(s *v1alpha1.HostService, seen *machineSeen) []reconcile.Step {
	if seen == nil || !seen.looked {
		return nil
	}
	var steps []reconcile.Step
	if lines := seen.hand.inTheWay(adopts(s)); len(lines) > 0 {
		steps = append(steps, notOwned(lines))
	}
	if seen.design.blocked != nil {
		if err := seen.design.blocked(seen); err != nil {
			return append(steps, inTheWay(reconcile.Stall(NotOwnedReason, err)))
		}
	}
	want := seen.wants(s)
	planned, err := machine.Plan(seen.owner, want, seen.seen, machine.PlanOptions{Adopt: adopts(s)})
	if err != nil {
		return append(steps, refused(err))
	}
	for _, step := range planned {
		steps = append(steps, seen.step(step, s, want))
	}
	return append(steps, leftOutSteps(seen.design.left)...)
}

// clearMachine returns the steps that leave a machine as it was before.
func clearMachine(seen *machineSeen) []reconcile.Step {
	if seen == nil || !seen.looked {
		return nil
	}
	var steps []reconcile.Step
	for _, step := range machine.Clear(seen.owner, seen.seen) {
		steps = append(steps, seen.step(step, nil, machine.State{}))
	}
	return steps
}

// step is a step of the machine as the loop takes it.
func (m *machineSeen) step(step machine.Step, s *v1alpha1.HostService, want machine.State) reconcile.Step {
	reason := stepReasons[step.Reason]
	var changes []reconcile.Change
	if s != nil && step.Reason == machine.ReasonApply {
		changes = m.lostNames(s)
	}
	for _, c := range step.Changes {
		changes = append(changes, m.changesOf(c, want)...)
	}
	run := m.run
	return reconcile.Step{
		Reason: reason, Message: step.Message + " on " + m.target.String(), Identity: "machine " + m.target.String(), Changes: changes,
		Do: func(ctx context.Context) error { return machineFailure(reason, step.Do(ctx, run)) },
	}
}

// changesOf shows a change of the machine: of a file whose content is known, line by line.
func (m *machineSeen) changesOf(c machine.Change, want machine.State) []reconcile.Change {
	impact := v1alpha1.Impact(c.Impact)
	whole := reconcile.Change{Field: c.What, From: c.From, To: c.To, Impact: impact}
	for _, f := range want.Files {
		before, known := m.seen.Contents[f.Path]
		if f.Path != c.What || f.Secret || !known && m.seen.Paths[f.Path].Kind != "" {
			continue
		}
		field := func(line string) string {
			if f.Replaces {
				return f.Path
			}
			return m.design.fields(f.Path, line)
		}
		changes, rest := lineChanges(string(before), string(f.Content), field, impact)
		if rest || len(changes) == 0 {
			changes = append(changes, whole)
		}
		return changes
	}
	return []reconcile.Change{whole}
}

// lineChanges are the lines that go and come. A line that goes stands with one that comes for the same field. rest says
// that there are others, which no field of the spec declares.
func lineChanges(before, after string, field func(line string) string, impact v1alpha1.Impact) (changes []reconcile.Change, rest bool) {
	was, is := countLines(before), countLines(after)
	note := func(line string, change reconcile.Change) {
		if change.Field = field(line); change.Field == "" {
			rest = true
			return
		}
		change.Impact = impact
		changes = pair(changes, change)
	}
	for line := range strings.SplitSeq(before, "\n") {
		if was[line] > is[line] {
			was[line]--
			note(line, reconcile.Change{From: line})
		}
	}
	was = countLines(before)
	for line := range strings.SplitSeq(after, "\n") {
		if is[line] > was[line] {
			is[line]--
			note(line, reconcile.Change{To: line})
		}
	}
	return changes, rest
}

// pair joins a line that comes with one that goes for the same field.
func pair(changes []reconcile.Change, came reconcile.Change) []reconcile.Change {
	for i := range changes {
		if came.To != "" && changes[i].Field == came.Field && changes[i].To == "" {
			changes[i].To = came.To
			return changes
		}
	}
	return append(changes, came)
}

// countLines counts the lines that say something.
func countLines(text string) map[string]int {
	counts := map[string]int{}
	for line := range strings.SplitSeq(text, "\n") {
		if trimmed := strings.TrimSpace(line); trimmed != "" && (trimmed[0] != '#' || strings.HasPrefix(trimmed, "#(HostService ")) {
			counts[line]++
		}
	}
	return counts
}

// notOwned is the step that cannot be taken, as somebody configured something else by hand.
func notOwned(lines []handLine) reconcile.Step {
	var changes []reconcile.Change
	var said []string
	for _, l := range lines {
		changes = append(changes, reconcile.Change{Field: fmt.Sprintf("%s line %d", l.path, l.at()), From: l.text, Impact: v1alpha1.ImpactNone})
		if len(said) < 5 {
			said = append(said, fmt.Sprintf("%s line %d (%s) %s", l.path, l.at(), l.text, l.why))
		}
	}
	if more := len(lines) - len(said); more > 0 {
		said = append(said, fmt.Sprintf("and %d lines more", more))
	}
	err := fmt.Errorf("%s: take it out there, or set adoptionPolicy: IfUnowned to have it taken over", strings.Join(said, "; "))
	return reconcile.Step{
		Reason: NotOwnedReason, Message: err.Error(), Changes: changes,
		Do: func(context.Context) error { return reconcile.Stall(NotOwnedReason, err) },
	}
}

// refused is the step that says why the machine cannot be brought to the spec at all.
func refused(err error) reconcile.Step {
	var foreign *machine.ForeignError
	var changes []reconcile.Change
	reason := InvalidReason
	var unfit *machine.UnsupportedError
	switch {
	case errors.As(err, &unfit):
		reason = UnsupportedReason
	case errors.As(err, &foreign):
		reason = NotOwnedReason
		for _, path := range foreign.Paths {
			changes = append(changes, reconcile.Change{Field: path, From: "not ours", Impact: v1alpha1.ImpactNone})
		}
		if foreign.Owner == "" {
			err = fmt.Errorf("%w: remove it, or set adoptionPolicy: IfUnowned to have it taken over", err)
		}
	}
	return reconcile.Step{
		Reason: reason, Message: err.Error(), Changes: changes,
		Do: func(context.Context) error { return reconcile.Stall(reason, err) },
	}
}

// leftOutSteps say, once nothing else is left to do, what was left out.
func leftOutSteps(left []leftOut) []reconcile.Step {
	if len(left) == 0 {
		return nil
	}
	var changes []reconcile.Change
	var said []string
	for _, l := range left {
		said = append(said, l.text)
		changes = append(changes, reconcile.Change{To: l.text, Impact: v1alpha1.ImpactNone})
	}
	reason, err := left[0].reason, errors.New(strings.Join(said, "; "))
	return []reconcile.Step{{
		Reason: reason, Message: err.Error(), Changes: changes,
		Do: func(context.Context) error { return reconcile.Wait(reason, leftOutFor, err) },
	}}
}
