// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"context"
	"fmt"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Remove returns the steps that delete the stack, and the volumes that the spec names. Others are left as they are, and so
// is a stack that is not ours.
func (k *Kind) Remove(s *v1alpha1.DockerStack, seen Seen) []reconcile.Step {
	if !seen.known || seen.gone != "" {
		return nil
	}
	if p := seen.ongoing(); p != nil {
		return restSteps(s, []*problem{p})
	}
	if !seen.outside.ours(seen.owner) {
		return k.destroySteps(&seen)
	}
	if p := seen.memory.early(theRemoval, "", seen.now); p != nil {
		return restSteps(s, []*problem{p})
	}
	return []reconcile.Step{k.clearStep(s, &seen, RemovingReason, "remove stack "+seen.name())}
}

// clearStep deletes the record with its containers and networks, and what else bears our label.
func (k *Kind) clearStep(s *v1alpha1.DockerStack, seen *Seen, reason, message string) reconcile.Step {
	d := deployment{DockerStack: s.DeepCopy(), place: seen.place, project: seen.project, owner: seen.owner, adopt: true}
	diffs := []difference{{field: "stack", from: seen.name()}}
	return k.step(s, seen, reason, message, diffs, func(ctx context.Context) {
		if err := k.clear(ctx, &d); err != nil {
			k.memory.tried(nameOf(d.DockerStack), theRemoval, "", k.Clock.Now(), removalProblem(err))
			return
		}
		k.memory.succeeded(nameOf(d.DockerStack), theRemoval)
	})
}

func removalProblem(err error) *problem {
	reason := v1alpha1.FailedReason
	if kind := portainer.KindOf(err); kind != "" && kind != portainer.Failed && kind != portainer.Conflict {
		reason = reasonOf(kind)
	}
	return &problem{reason: reason, failure: true, err: err}
}

func (k *Kind) clear(ctx context.Context, d *deployment) error {
	if err := k.enter(ctx, &d.place, d.DockerStack, true); err != nil {
		return err
	}
	there, err := k.lookAgain(ctx, d)
	if err != nil || !there.ours(d.owner) {
		return err
	}
	if there.record != nil {
		err := d.place.portainer.DeleteStack(ctx, there.record.ID, d.place.environmentID)
		if err != nil && portainer.KindOf(err) != portainer.NotFound {
			return err
		}
	}
	all, err := look(ctx, d.place)
	if err != nil {
		return err
	}
	there = outsideOf(all, d.project)
	return d.remove(ctx, there, idsOf(there.labelled(d.owner)))
}

func idsOf(all []portainer.Container) []string {
	var ids []string
	for _, c := range all {
		ids = append(ids, c.ID)
	}
	return ids
}

// pruneStep removes the containers of services that are gone.
func (k *Kind) pruneStep(s *v1alpha1.DockerStack, seen *Seen) reconcile.Step {
	d := deployment{
		DockerStack: s.DeepCopy(), place: seen.place, project: seen.project, owner: seen.owner,
		adopt: s.Spec.AdoptionPolicy == v1alpha1.AdoptionIfUnowned, spoilt: idsOf(seen.orphans), trial: seen.trial(),
	}
	var diffs []difference
	for _, c := range seen.orphans {
		diffs = append(diffs, difference{field: "services[" + c.Service + "]", from: stateOf(c)})
	}
	message := fmt.Sprintf("remove %d containers of stack %s whose services are gone", len(seen.orphans), seen.name())
	return k.step(s, seen, PruningReason, message, diffs, func(ctx context.Context) {
		there, err := k.lookAgain(ctx, &d)
		if err == nil {
			err = d.remove(ctx, there, d.spoilt)
		}
		if err != nil {
			k.memory.tried(nameOf(d.DockerStack), theRemoval, d.trial, k.Clock.Now(), removalProblem(err))
			return
		}
		k.memory.succeeded(nameOf(d.DockerStack), theRemoval)
	})
}

// destroySteps destroy the volumes that the spec names, once nothing uses them.
func (k *Kind) destroySteps(seen *Seen) []reconcile.Step {
	var steps []reconcile.Step
	for _, v := range seen.volumes {
		identity := fmt.Sprintf("volume %s in %s", v.Name, seen.place.environment)
		engine := seen.place.engine
		steps = append(steps, reconcile.Step{
			Reason: DestroyingVolumeReason, Message: "destroy " + identity, Identity: identity,
			Changes: []reconcile.Change{{Field: "deleteVolumes[" + v.Short + "]", From: v.Name, Impact: v1alpha1.ImpactDestroy}},
			Do: func(ctx context.Context) error {
				if err := engine.RemoveVolume(ctx, v.Name); err != nil && portainer.KindOf(err) != portainer.NotFound {
					return err
				}
				return nil
			},
		})
	}
	return steps
}
