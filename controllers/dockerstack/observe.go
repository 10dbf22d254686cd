// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Seen is what one observation of a DockerStack found. It holds Secrets, and is never printed.
type Seen struct {
	now time.Time
	// known says that all of the rest was read, but for want and what follows of a stack that is being deleted.
	known bool
	// gone names what is not there any more, so that nothing is left to clean up.
	gone string
	// job runs now, and nothing was read.
	job *job
	// refusal says why nothing is done.
	refusal error

	project, owner string
	place          place
	vault          vault
	memory         remembered
	outside        outside
	hidden         hidden
	// want is what the spec asks for, target what is brought about: want, or, while that is refused, what was good before;
	// nil: nothing.
	want, target *release
	diffs        []difference
	// orphans are containers of services that the target does not have.
	orphans []portainer.Container
	// images are IDs by names, as far as they were asked for; empty: the engine does not have it.
	images map[string]string
	// volumes of the project, of a stack that is being deleted.
	volumes []portainer.Volume
	// problems that hold up nothing but themselves.
	problems []*problem
}

// Observe reads the stack's environment, and all that the stack is made of.
func (k *Kind) Observe(ctx context.Context, s *v1alpha1.DockerStack) (Seen, error) {
	seen := Seen{now: k.Clock.Now(), project: projectOf(s), images: map[string]string{}}
	if running, ok := k.jobs.of(nameOf(s)); ok {
		left := running.left(s, seen.now)
		if left <= 0 {
			k.jobs.drop(nameOf(s))
			left = jobFor
		}
		seen.job = &running
		return seen, reconcile.Wait(running.reason, left, errors.New(running.message))
	}
	seen.memory = k.memory.of(nameOf(s)) // after the jobs: the end of one is in it
	err := k.around(ctx, s, &seen)
	if err == nil && seen.gone == "" {
		if s.DeletionTimestamp.IsZero() {
			err = k.compare(ctx, s, &seen)
		} else {
			err = k.lookBack(ctx, s, &seen)
		}
	}
	if err != nil {
		seen.refusal = err
		return seen, err
	}
	seen.known = true
	return seen, nil
}

// around reads what is there, whatever the spec asks for.
func (k *Kind) around(ctx context.Context, s *v1alpha1.DockerStack, seen *Seen) (err error) {
	if s.DeletionTimestamp.IsZero() {
		if err := cmp.Or(tooLong(seen.project), k.taken(ctx, s)); err != nil {
			return err
		}
	}
	if seen.place, err = k.placeOf(ctx, s); err != nil || seen.place.gone != "" {
		seen.gone = seen.place.gone
		return err
	}
	seen.owner = seen.place.owner(s)
	if seen.vault, err = k.readVault(ctx, s); err != nil {
		return err
	}
	seen.vault.hidden(&seen.hidden)
	if a := seen.vault.Attempt; a != nil {
		seen.memory.lost = k.memory.notice(nameOf(s), a.At, seen.now)
	}
	all, err := k.sights.of(ctx, seen.place, seen.now, seen.memory.after)
	if err != nil {
		return portainerError(&seen.place, err)
	}
	seen.outside = outsideOf(all, seen.project)
	return k.readText(ctx, s, seen)
}

// readText reads the text that Portainer has, once for each version of its record.
func (k *Kind) readText(ctx context.Context, s *v1alpha1.DockerStack, seen *Seen) error {
	record := seen.outside.record
	if record == nil {
		return nil
	}
	if f := seen.memory.file; f.known && f.id == record.ID && f.updated == record.Updated {
		seen.outside.text = f.text
		return nil
	}
	text, err := seen.place.portainer.StackFile(ctx, record.ID)
	switch kind := portainer.KindOf(err); {
	case kind == portainer.Failed && seen.outside.recordMark() != "": // it lost the text, and knows whose it is
	case err != nil && kind != portainer.NotFound:
		return portainerError(&seen.place, err)
	}
	if err == nil {
		k.memory.change(nameOf(s), func(known *remembered) { known.file = fileSeen{record.ID, record.Updated, text, true} })
	}
	seen.outside.text = text
	return nil
}

// compare reads what the stack is made of, and finds what is not so.
func (k *Kind) compare(ctx context.Context, s *v1alpha1.DockerStack, seen *Seen) error {
	adopt := s.Spec.AdoptionPolicy == v1alpha1.AdoptionIfUnowned
	if err := seen.outside.notOurs(seen.owner, seen.project, adopt); err != nil {
		return err
	}
	from, err := k.gather(ctx, s)
	if err != nil {
		return err
	}
	seen.hidden.add(from.hidden...)
	if from.problem != nil {
		seen.problems = append(seen.problems, from.problem)
	}
	if seen.want, err = want(s, seen.owner, from); err != nil {
		return err
	}
	seen.want.sealed(seen.vault.key)
	seen.aim()
	if seen.target == nil {
		return nil
	}
	if err := k.lookAtImages(ctx, s, seen, seen.suspicious(seen.target)); err != nil {
		return err
	}
	if seen.diffs = seen.differences(seen.target); len(seen.diffs) == 0 {
		k.memory.succeeded(nameOf(s), theDeployment)
	} else if err := k.lookAtImages(ctx, s, seen, seen.target.imageNames()); err != nil {
		return err
	}
	if prunes(s) {
		seen.orphans = seen.orphansOf(seen.target)
	}
	return nil
}

// aim picks what is brought about.
func (seen *Seen) aim() {
	seen.target = seen.want
	if !seen.isRefused() {
		return
	}
	if seen.target = nil; len(seen.vault.Services) > 0 {
		seen.target = seen.vault.good
	}
}

// isRefused says that what the spec asks for failed, and is not tried again yet.
func (seen *Seen) isRefused() bool {
	r := seen.vault.Refused
	return r != nil && seen.want != nil && r.Hash == seen.want.hash && seen.now.Before(r.At.Add(refusedFor))
}

// lookAtImages asks the engine for images that it was not asked for yet.
func (k *Kind) lookAtImages(ctx context.Context, s *v1alpha1.DockerStack, seen *Seen, names []string) error {
	for _, name := range names {
		if _, looked := seen.images[name]; looked {
			continue
		}
		info, found, err := seen.place.engine.Image(ctx, name)
		if err != nil {
			return portainerError(&seen.place, seen.hidden.err(err))
		}
		seen.images[name] = ""
		if found {
			seen.images[name] = info.ID
		}
	}
	k.memory.change(nameOf(s), func(known *remembered) {
		for _, c := range seen.outside.containers {
			known.keep(names, seen.images, c)
		}
	})
	return nil
}

// keep remembers the names of a container's image.
func (known *remembered) keep(names []string, images map[string]string, c portainer.Container) {
	for _, name := range names {
		if images[name] == c.ImageID {
			known.images[imageKey(name, c)] = true
		}
	}
}

func (r *release) imageNames() []string {
	var names []string
	for _, i := range r.images {
		names = append(names, i.Name)
	}
	return names
}

// orphansOf are containers of services that a release does not have, or does not start.
func (seen *Seen) orphansOf(r *release) []portainer.Container {
	active := map[string]bool{}
	for _, service := range r.services {
		active[service.Name] = service.Containers > 0
	}
	var all []portainer.Container
	for _, c := range seen.outside.containers {
		if !active[c.Service] {
			all = append(all, c)
		}
	}
	return all
}

func prunes(s *v1alpha1.DockerStack) bool { return s.Spec.Prune == nil || *s.Spec.Prune }

// lookBack reads what a stack that is being deleted leaves behind.
func (k *Kind) lookBack(ctx context.Context, s *v1alpha1.DockerStack, seen *Seen) (err error) {
	ran := s.Status.Deployed != "" || seen.vault.good != nil
	if len(s.Spec.DeleteVolumes) == 0 || !ran || seen.outside.record != nil || len(seen.outside.containers) > 0 {
		return nil
	}
	if seen.volumes, err = seen.place.engine.Volumes(ctx, seen.project); err != nil {
		return portainerError(&seen.place, err)
	}
	seen.volumes = slices.DeleteFunc(seen.volumes, func(v portainer.Volume) bool { return !slices.Contains(s.Spec.DeleteVolumes, v.Short) })
	return nil
}
