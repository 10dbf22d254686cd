// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"fmt"
	"slices"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// planAgent returns the steps: the machine's first, as Portainer takes only an agent that answers.
func planAgent(s *v1alpha1.HostService, seen *agentSeen) []reconcile.Step {
	if seen == nil || seen.machine == nil || !seen.machine.looked {
		return nil
	}
	steps := planMachine(s, seen.machine)
	if !seen.asked {
		return steps
	}
	name, url := environmentOf(s), seen.parts.url()
	takes := seen.ours == nil && seen.other != nil && adopts(s) && seen.otherIsFree
	switch {
	case seen.other != nil && !takes:
		return append(steps, seen.notOurs(name))
	case takes:
		return append(steps, seen.reregister(*seen.other, name, url)...)
	case seen.ours != nil:
		return append(steps, seen.reregister(*seen.ours, name, url)...)
	}
	return append(steps, reconcile.Step{
		Reason: RegisteringReason, Message: fmt.Sprintf("register environment %s at %s", name, seen.at.URL), Identity: "environment " + name,
		Changes: []reconcile.Change{{Field: "environment", To: name + " " + url, Impact: v1alpha1.ImpactNone}},
		Do: func(ctx context.Context) error {
			return seen.marked(ctx, func(as PortainerEnvironments, tag int) error {
				_, err := as.MakeEnvironment(ctx, portainer.NewEnvironment{Name: name, URL: url, Agent: true, TagIDs: []int{tag}})
				return err
			})
		},
	})
}

// notOurs is the step that cannot be taken, as the name is taken.
func (r *registry) notOurs(name string) reconcile.Step {
	remedy := "rename it in Portainer, or name another one in a new HostService"
	if r.otherIsFree && r.ours == nil {
		remedy += ", or set adoptionPolicy: IfUnowned to have it taken over"
	}
	err := fmt.Errorf("register environment %s at %s: there is one of that name (%s) that is not of this HostService: %s", name, r.at.URL, r.other.URL, remedy)
	return reconcile.Step{
		Reason: NotOwnedReason, Message: err.Error(), Changes: []reconcile.Change{{Field: "environment", From: name + " " + r.other.URL, Impact: v1alpha1.ImpactNone}},
		Do: func(context.Context) error { return reconcile.Stall(NotOwnedReason, err) },
	}
}

// reregister is the step that names, marks and reaches an environment as it should be; none when it is so.
func (r *registry) reregister(e portainer.Environment, name, url string) []reconcile.Step {
	var change portainer.EnvironmentChange
	var changes []reconcile.Change
	if e.Name != name {
		change.Name = &name
		changes = append(changes, reconcile.Change{Field: "environment", From: e.Name, To: name, Impact: v1alpha1.ImpactNone})
	}
	if e.URL != url {
		change.URL = &url
		changes = append(changes, reconcile.Change{Field: "address", From: e.URL, To: url, Impact: v1alpha1.ImpactNone})
	}
	unmarked := r.tag == 0 || !slices.Contains(e.TagIDs, r.tag)
	if unmarked {
		changes = append(changes, reconcile.Change{Field: "tag", To: r.mark, Impact: v1alpha1.ImpactNone})
	}
	if len(changes) == 0 {
		return nil
	}
	return []reconcile.Step{{
		Reason: ReregisteringReason, Message: fmt.Sprintf("set environment %d (%s) at %s right", e.ID, e.Name, r.at.URL), Identity: fmt.Sprintf("environment %d", e.ID),
		Changes: changes,
		Do: func(ctx context.Context) error {
			return r.marked(ctx, func(as PortainerEnvironments, tag int) error {
				if unmarked {
					change.TagIDs = append(slices.Clone(e.TagIDs), tag)
				}
				return as.UpdateEnvironment(ctx, e.ID, change)
			})
		},
	}}
}

// marked does something with the tag of ours, which is made when it is not there.
func (r *registry) marked(ctx context.Context, do func(as PortainerEnvironments, tag int) error) error {
	as := r.server.Environments(r.apiKey)
	tag := r.tag
	if tag == 0 {
		var err error
		if tag, err = as.MakeTag(ctx, r.mark); err != nil {
			return registryFailure(err)
		}
	}
	return registryFailure(do(as, tag))
}

// registryFailure gives an error the outcome that it means. That there is one already, or none any more, is looked at again.
func registryFailure(err error) error {
	switch {
	case err == nil:
		return nil
	case portainerSaid(err, portainer.Conflict, portainer.NotFound):
		return reconcile.Wait(ChangedReason, machineAgainFor, err)
	}
	return portainerFailure(err)
}

// removeAgent returns the steps that remove the environment, then what is on the machine.
func removeAgent(s *v1alpha1.HostService, seen *agentSeen) []reconcile.Step {
	if seen == nil {
		return nil
	}
	var steps []reconcile.Step
	if seen.asked && seen.tag != 0 {
		steps = append(steps, seen.unregister(environmentOf(s)))
	}
	return append(steps, clearMachine(seen.machine)...)
}

// unregister is the step that removes the environment, and the tag.
func (r *registry) unregister(name string) reconcile.Step {
	return reconcile.Step{
		Reason: UnregisteringReason, Message: fmt.Sprintf("remove environment %s from %s", name, r.at.URL), Identity: "environment " + name,
		Do: func(ctx context.Context) error {
			as := r.server.Environments(r.apiKey)
			if r.ours != nil {
				if err := as.DeleteEnvironment(ctx, r.ours.ID); err != nil && !portainerSaid(err, portainer.NotFound) {
					return portainerFailure(err)
				}
			}
			if err := as.DeleteTag(ctx, r.tag); err != nil && !portainerSaid(err, portainer.NotFound) {
				return portainerFailure(err)
			}
			return nil
		},
	}
}
