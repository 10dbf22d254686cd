// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/compose"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Plan returns the steps to the spec: the images first, then the deployment, then what is left over, then what cannot be
// mended now.
func (k *Kind) Plan(s *v1alpha1.DockerStack, seen Seen) []reconcile.Step {
	if !seen.known || seen.gone != "" {
		return nil
	}
	steps, problems := k.planTarget(s, &seen)
	if seen.isRefused() {
		problems = append(problems, seen.refusedProblem())
	}
	if len(steps) == 0 && len(seen.diffs) == 0 && seen.target != nil {
		problems = append(problems, seen.ailments()...)
	}
	problems = append(problems, seen.problems...)
	if len(steps) == 0 && seen.unrecorded(s) {
		steps = append(steps, k.recordStep(s, seen))
	}
	return append(steps, restSteps(s, problems)...)
}

// planTarget returns the steps that bring the target about, and what is in their way.
func (k *Kind) planTarget(s *v1alpha1.DockerStack, seen *Seen) (steps []reconcile.Step, problems []*problem) {
	t := seen.target
	if t == nil {
		return k.planNothing(s, seen)
	}
	due := len(seen.diffs) > 0
	if p := seen.ongoing(); due && p != nil {
		return nil, []*problem{p.with(seen.diffs)}
	}
	if p := seen.absent(); due && p != nil {
		return nil, []*problem{p.with(seen.diffs)}
	}
	if pulls := k.pulls(s, seen); len(pulls) > 0 {
		if p := seen.memory.early(thePull, t.hash, seen.now); p != nil {
			return nil, []*problem{p.with(seen.diffs)}
		}
		steps = append(steps, k.pullStep(s, seen, pulls))
	}
	switch {
	case due:
		if p := seen.memory.early(theDeployment, seen.trial(), seen.now); p != nil {
			return nil, []*problem{p.with(seen.diffs)}
		}
		steps = append(steps, k.deployStep(s, seen))
	case len(seen.orphans) > 0:
		if p := seen.memory.early(theRemoval, seen.trial(), seen.now); p != nil {
			return steps, []*problem{p}
		}
		steps = append(steps, k.pruneStep(s, seen))
	}
	return steps, nil
}

// planNothing clears what a first deployment left that failed.
func (k *Kind) planNothing(s *v1alpha1.DockerStack, seen *Seen) ([]reconcile.Step, []*problem) {
	if !seen.outside.ours(seen.owner) || seen.vault.good != nil || seen.ranBefore() { // that is not cleared, whatever it asks for
		return nil, nil
	}
	if p := seen.memory.early(theRemoval, "", seen.now); p != nil {
		return nil, []*problem{p}
	}
	return []reconcile.Step{k.clearStep(s, seen, RollingBackReason, "remove what is left of stack "+seen.name())}, nil
}

// ranBefore says that the record is of something else than what failed: of a stack whose Secret is lost, or that was taken over.
func (seen *Seen) ranBefore() bool {
	return seen.outside.record != nil && slices.ContainsFunc(seen.recordDifferences(seen.want), func(d difference) bool { return d.field != "state" })
}

// name is the stack as people know it.
func (seen *Seen) name() string { return seen.project + " in " + seen.place.environment }

// trial is what tries to deploy depend on: another kind of difference is tried at once.
func (seen *Seen) trial() string {
	parts := []string{seen.target.hash}
	for _, d := range seen.diffs {
		parts = append(parts, d.reason+" "+d.field)
	}
	return strings.Join(parts, ";")
}

// ongoing says that a deployment may still go on whose answer was lost: a second one would be in its way, and it would make
// anew what is removed. How long it has gone on nobody knows, so that its time begins when this manager first sees it.
func (seen *Seen) ongoing() *problem {
	a := seen.vault.Attempt
	if a == nil || seen.memory.ended.Equal(a.At) || seen.now.Sub(a.At) >= jobLimit+settleFor {
		return nil
	}
	if lost := seen.memory.lost; lost.begun.Equal(a.At) && seen.now.Sub(lost.seen).Abs() >= settleFor {
		return nil
	}
	return &problem{reason: DeployingReason, after: settleLook, err: fmt.Errorf(
		"a deployment of stack %s was begun at %s and may still go on", seen.name(), stamp(a.At))}
}

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// absent says which images are not there, and may not be pulled.
func (seen *Seen) absent() *problem {
	var names []string
	for _, i := range seen.target.images {
		if id, looked := seen.images[i.Name]; i.PullPolicy == compose.PullNever && looked && id == "" {
			names = append(names, seen.target.shown(i.Name))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return &problem{reason: ImageMissingReason, after: ailingFor, failure: true, err: fmt.Errorf(
		"environment %s does not have image %s, and the pull policy is never: load it there, or set pullPolicy", seen.place.environment, strings.Join(names, ", "))}
}

// pulls are the images to pull: those that a deployment lacks, and those that are always to be the newest.
func (k *Kind) pulls(s *v1alpha1.DockerStack, seen *Seen) []string {
	fresh := seen.memory.pulled == seen.target.hash && seen.now.Sub(seen.memory.pulledAt) < k.PullInterval
	idle := len(seen.diffs) == 0 && s.Spec.Management == v1alpha1.ManagementObserve
	var names []string
	for _, i := range seen.target.images {
		id, looked := seen.images[i.Name]
		switch {
		case i.PullPolicy == compose.PullAlways && !fresh && !idle:
			names = append(names, i.Name)
		case i.PullPolicy == compose.PullMissing && len(seen.diffs) > 0 && looked && id == "":
			names = append(names, i.Name)
		}
	}
	return names
}

// refusedProblem says what failed, and when it is tried again.
func (seen *Seen) refusedProblem() *problem {
	r := seen.vault.Refused
	again := r.At.Add(refusedFor)
	p := &problem{reason: RolledBackReason, after: again.Sub(seen.now), failure: true}
	if p.err = fmt.Errorf("deploying was rolled back to what ran before: %s; it is tried again at %s, or when text or values change", r.Why, stamp(again)); seen.target == nil {
		p.reason = DeployFailedReason
		p.err = fmt.Errorf("deploying did not succeed: %s; it is tried again at %s, or when text or values change", r.Why, stamp(again))
	}
	p.changes = []reconcile.Change{{Field: "compose", To: brief(seen.vault.key, seen.want.text), Impact: v1alpha1.ImpactRestart}}
	return p
}

// ailments are containers that are there, and not well.
func (seen *Seen) ailments() []*problem {
	var sick, starting []difference
	for _, service := range seen.target.services {
		if service.Containers == 0 {
			continue
		}
		for _, c := range seen.outside.of(service.Name) {
			d := difference{field: "services[" + service.Name + "].health", from: c.Health, to: "healthy"}
			switch {
			case c.State == "restarting":
				d.field, d.from, d.to = "services["+service.Name+"].state", fmt.Sprintf("restarting (%d)", c.ExitCode), "running"
				sick = append(sick, d)
			case c.Health == "unhealthy":
				sick = append(sick, d)
			case c.Health == "starting":
				starting = append(starting, d)
			}
		}
	}
	var all []*problem
	if len(sick) > 0 {
		all = append(all, (&problem{reason: UnhealthyReason, after: ailingFor, failure: true, err: errors.New(said(sick))}).with(sick))
	}
	if len(starting) > 0 {
		all = append(all, (&problem{reason: StartingReason, after: settleLook, err: errors.New(said(starting))}).with(starting))
	}
	return all
}

// said is a list of differences in words.
func said(all []difference) string {
	var parts []string
	for _, d := range all {
		text := d.field
		if d.reason != "" {
			text = d.reason + " (" + d.field + ")"
		} else if d.from != "" {
			text += " is " + d.from
		}
		if !slices.Contains(parts, text) {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, ", ")
}

// unrecorded says that what runs is as it should be, and the Secret does not say so yet.
func (seen *Seen) unrecorded(s *v1alpha1.DockerStack) bool {
	t, v := seen.target, &seen.vault
	if t == nil || len(seen.diffs) > 0 || len(seen.ailments()) > 0 || s.Spec.Management == v1alpha1.ManagementObserve {
		return false
	}
	return v.good == nil || v.good.hash != t.hash || v.Attempt != nil || v.Refused != nil && !seen.isRefused() ||
		v.Commit != t.commit || v.Project != seen.project || v.Place != seen.place.environment || !maps.Equal(v.Made, seen.made())
}

// made is what compose says that the containers of each service were made of.
func (seen *Seen) made() map[string]string {
	made := map[string]string{}
	for _, service := range seen.target.services {
		if there := seen.outside.of(service.Name); service.Containers > 0 && len(there) > 0 && there[0].ConfigHash != "" {
			made[service.Name] = there[0].ConfigHash
		}
	}
	return made
}

// recordStep keeps what runs, to come back to it.
func (k *Kind) recordStep(s *v1alpha1.DockerStack, seen Seen) reconcile.Step {
	v := vault{key: seen.vault.key, good: seen.target, notes: notes{
		Project: seen.project, Place: seen.place.environment, Commit: seen.target.commit, Made: seen.made(),
		Services: seen.target.services, Images: seen.target.images,
	}}
	if seen.isRefused() {
		v.Refused = seen.vault.Refused
	}
	return reconcile.Step{
		Reason: RecordingReason, Message: "keep what runs in Secret/" + vaultOf(s),
		Changes: []reconcile.Change{{Field: "status.deployed", From: s.Status.Deployed, To: seen.target.hash, Impact: v1alpha1.ImpactNone}},
		Do:      func(ctx context.Context) error { return k.write(ctx, s, v) },
	}
}
