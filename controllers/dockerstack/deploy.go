// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// deployment is what a job needs to know of a stack: the object itself belongs to the passes.
type deployment struct {
	*v1alpha1.DockerStack
	place          place
	project, owner string
	adopt          bool
	vault          vault
	release        *release
	// spoilt are containers that are removed before: those that compose would keep, and of services that are gone. They may
	// have ports and names that the new ones need.
	spoilt []string
	// frozen are containers that are stopped before.
	frozen []string
	hidden hidden
	trial  string
	why    []difference
	// before is what the record had, where the Secret does not tell what ran.
	before *portainer.StackChange
	// asked says that Portainer was asked to deploy: what went wrong before is not to be blamed on the text.
	asked bool
}

// step is a step that a job takes.
func (k *Kind) step(s *v1alpha1.DockerStack, seen *Seen, reason, message string, diffs []difference, run func(context.Context)) reconcile.Step {
	of := job{reason: reason, message: message, place: seen.place.key(), limit: seen.place.jobs(), generation: s.Generation}
	name := nameOf(s)
	of.run = func(ctx context.Context) {
		defer k.memory.change(name, func(known *remembered) { known.after, known.file = k.sights.now(), fileSeen{} })
		run(ctx)
	}
	return reconcile.Step{Reason: reason, Message: message, Changes: changesOf(diffs), Do: func(context.Context) error {
		of.begun = k.Clock.Now()
		if !k.jobs.begin(name, of) {
			return reconcile.Wait(BusyReason, busyFor, fmt.Errorf("waiting to %s: %d others are worked on in this environment", message, of.limit))
		}
		return reconcile.Wait(reason, jobFor, errors.New(message))
	}}
}

// pullStep pulls images. If that does not succeed, all stays as it is.
func (k *Kind) pullStep(s *v1alpha1.DockerStack, seen *Seen, names []string) reconcile.Step {
	var diffs []difference
	var shown []string
	for _, name := range names {
		shown = append(shown, seen.target.shown(name))
		diffs = append(diffs, difference{reason: NotDeployedReason, field: "image", to: seen.target.shown(name)})
	}
	at, engine, hash, hide := nameOf(s), seen.place.engine, seen.target.hash, seen.hidden
	message := fmt.Sprintf("pull %s for stack %s", strings.Join(shown, ", "), seen.name())
	return k.step(s, seen, PullingReason, message, diffs, func(ctx context.Context) {
		for _, name := range names {
			err := engine.Pull(ctx, name)
			if errors.Is(context.Cause(ctx), context.Canceled) {
				return
			}
			if err != nil {
				k.memory.tried(at, thePull, hash, k.Clock.Now(), &problem{reason: PullFailedReason, failure: true, err: hide.err(err)})
				return
			}
		}
		k.memory.change(at, func(known *remembered) {
			known.pulled, known.pulledAt = hash, k.Clock.Now()
			delete(known.tries, thePull)
		})
	})
}

// deployStep deploys the target.
func (k *Kind) deployStep(s *v1alpha1.DockerStack, seen *Seen) reconcile.Step {
	d := deployment{
		DockerStack: s.DeepCopy(), place: seen.place, project: seen.project, owner: seen.owner, vault: seen.vault, release: seen.target,
		adopt: s.Spec.AdoptionPolicy == v1alpha1.AdoptionIfUnowned, hidden: seen.hidden, trial: seen.trial(), why: seen.diffs,
	}
	d.frozen, d.spoilt = seen.before()
	reason, message := RedeployingReason, fmt.Sprintf("deploy stack %s again: %s", seen.name(), said(seen.diffs))
	switch {
	case seen.isRefused():
		reason, message = RollingBackReason, fmt.Sprintf("deploy what ran before of stack %s", seen.name())
	case seen.diffs[0].reason == NotDeployedReason:
		reason, message = DeployingReason, "deploy stack "+seen.name()
	}
	return k.step(s, seen, reason, message, seen.diffs, func(ctx context.Context) { k.deploy(ctx, d) })
}

// deploy deploys a release, and notes how that ended.
func (k *Kind) deploy(ctx context.Context, d deployment) {
	err := k.send(ctx, &d)
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return // the manager ends, or the stack is to go: who looks next sees that it may go on
	}
	p := &problem{failure: true, reason: DeployFailedReason}
	kind := portainer.KindOf(err)
	switch {
	case err == nil:
		k.ended(ctx, &d)
		p.reason = d.why[0].reason
		p.err = fmt.Errorf("stack %s was deployed, and is again not as it should be: %s", d.project, said(d.why))
	case d.asked && (kind == portainer.Failed || kind == portainer.Invalid):
		k.refuse(ctx, &d, err)
		p.err = d.hidden.err(err)
	default:
		if !d.asked || kind != portainer.Away {
			k.ended(ctx, &d)
		}
		if p.reason = reconcile.ReasonOf(err); p.reason == "" {
			p.reason = reasonOf(kind)
		}
		p.err = d.hidden.err(err)
	}
	k.memory.tried(nameOf(d.DockerStack), theDeployment, d.trial, k.Clock.Now(), p)
}

// ended notes that nothing of a deployment goes on: Portainer has answered, or was not asked. A manager that is killed before
// the Secret says so, or cannot write it, leaves a deployment to the next one that is taken for one that may go on.
func (k *Kind) ended(ctx context.Context, d *deployment) {
	if d.vault.Attempt == nil {
		return
	}
	begun := d.vault.Attempt.At
	k.memory.change(nameOf(d.DockerStack), func(known *remembered) { known.ended = begun })
	d.vault.Attempt = nil
	_ = k.write(ctx, d.DockerStack, d.vault) // this manager knows it, and the next write says it
}

// reasonOf is the reason of an error of Portainer.
func reasonOf(kind portainer.Kind) string {
	switch kind {
	case portainer.Away, portainer.Untrusted, portainer.Limited, portainer.Locked:
		return PortainerAwayReason
	case portainer.Unauthorized, portainer.Forbidden:
		return UnauthorizedReason
	}
	return DeployFailedReason
}

// refuse notes that a release failed. What ran before with the same text and values is not to blame; what did not come back
// is tried for again, with the release.
func (k *Kind) refuse(ctx context.Context, d *deployment, err error) {
	if d.isNew() {
		back := k.putBack(ctx, d)
		if portainer.KindOf(back) == portainer.Away {
			return // that may go on
		}
		if back == nil {
			d.vault.Refused = &refused{Hash: d.release.hash, At: k.Clock.Now().UTC(), Why: d.hidden.err(err).Error()}
		}
	}
	k.ended(ctx, d)
}

// send has Portainer deploy a release: only what is still ours, and after the Secret says so.
func (k *Kind) send(ctx context.Context, d *deployment) error {
	if err := k.enter(ctx, &d.place, d.DockerStack, true); err != nil {
		return err
	}
	if err := k.confirm(ctx, &d.place); err != nil {
		return err
	}
	there, err := k.lookAgain(ctx, d)
	if err != nil {
		return err
	}
	if err := d.remember(ctx, there); err != nil {
		return err
	}
	d.vault.Made = nil
	if err := k.begin(ctx, d); err != nil {
		return err
	}
	if err := each(ctx, there, d.frozen, d.place.engine.Stop); err != nil {
		return err
	}
	if err := d.remove(ctx, there, d.spoilt); err != nil {
		return err
	}
	d.asked = true
	if there.record == nil {
		return d.create(ctx, there)
	}
	return d.place.portainer.UpdateStack(ctx, there.record.ID, d.place.environmentID, portainer.StackChange{
		Text: d.release.text, Env: d.release.variables(d.owner), Plain: d.release.plain(),
	})
}

// begin has the Secret say that a deployment goes on from now on.
func (k *Kind) begin(ctx context.Context, d *deployment) error {
	before := d.vault.Attempt
	d.vault.Attempt = &attempt{At: k.Clock.Now()}
	k.memory.change(nameOf(d.DockerStack), func(known *remembered) { known.ended, known.lost = time.Time{}, lost{} })
	err := k.write(ctx, d.DockerStack, d.vault)
	if err != nil {
		d.vault.Attempt = before
	}
	return err
}

// create makes the stack at Portainer.
func (d *deployment) create(ctx context.Context, there outside) error {
	made := portainer.NewStack{Name: d.project, Text: d.release.text, Env: d.release.variables(d.owner), Plain: d.release.plain()}
	_, err := d.place.portainer.CreateStack(ctx, d.place.environmentID, made)
	if portainer.KindOf(err) != portainer.Conflict || len(there.containers) == 0 {
		return err
	}
	// A stack of another environment has the name, and Portainer takes containers of it for that one's: ours go first.
	var all []string
	for _, c := range there.containers {
		all = append(all, c.ID)
	}
	if err := d.remove(ctx, there, all); err != nil {
		return err
	}
	_, err = d.place.portainer.CreateStack(ctx, d.place.environmentID, made)
	return err
}

// lookAgain reads the marks right before something is changed.
func (k *Kind) lookAgain(ctx context.Context, d *deployment) (outside, error) {
	all, err := look(ctx, d.place)
	if err != nil {
		return outside{}, err
	}
	there := outsideOf(all, d.project)
	if there.record != nil && there.recordMark() == "" {
		if there.text, err = d.place.portainer.StackFile(ctx, there.record.ID); err != nil {
			return there, err
		}
	}
	return there, there.notOurs(d.owner, d.project, d.adopt)
}

// remove removes containers that are still there.
func (d *deployment) remove(ctx context.Context, there outside, ids []string) error {
	return each(ctx, there, ids, d.place.engine.Remove)
}

// each does something with containers that are still there.
func each(ctx context.Context, there outside, ids []string, do func(context.Context, string) error) error {
	for _, c := range there.containers {
		if !slices.Contains(ids, c.ID) {
			continue
		}
		if err := do(ctx, c.ID); err != nil && portainer.KindOf(err) != portainer.NotFound {
			return err
		}
	}
	return nil
}
