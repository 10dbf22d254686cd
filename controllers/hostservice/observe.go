// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// machineSeen is what was found on a service's machine.
type machineSeen struct {
	target target
	owner  machine.Owner
	design design
	// looked says that the machine was observed; else only the target is known.
	looked bool
	seen   machine.Seen
	hand   byHand
	run    *machine.Machine
}

// maxLooks bounds how often one pass observes a machine: once, unless files of others have to be read or rewritten that
// were not known before.
const maxLooks = 4

// observeMachine looks at the machine of a service. Of one that is being deleted, what is declared matters no more, when
// it cannot be made out.
func (k *Kind) observeMachine(ctx context.Context, s *v1alpha1.HostService) (*machineSeen, error) {
	t, err := k.aim(ctx, s)
	if err != nil {
		return nil, unlessNever(s, err)
	}
	seen := &machineSeen{target: t, owner: t.ownerOf(s)}
	seen.design, err = k.designFor(ctx, s, t)
	if err != nil && s.DeletionTimestamp.IsZero() {
		return seen, err
	}
	if err := k.lookAt(ctx, s, seen); err != nil {
		return seen, err
	}
	return seen, settled(s, seen)
}

// lookAt observes a machine by its design.
func (k *Kind) lookAt(ctx context.Context, s *v1alpha1.HostService, seen *machineSeen) error {
	var err error
	if seen.run, err = k.Machine(ctx, s); err != nil {
		return err
	}
	if err := k.lookAround(ctx, s, seen); err != nil {
		return machineFailure("", err)
	}
	seen.looked = true
	if !s.DeletionTimestamp.IsZero() && len(clearMachine(seen)) == 0 {
		k.handmade.note(client.ObjectKeyFromObject(s), handPaths{}) // nothing of it is left
	}
	return nil
}

// unlessNever lets go of a service that is being deleted and whose machine never was made out: nothing was done there.
func unlessNever(s *v1alpha1.HostService, err error) error {
	if !s.DeletionTimestamp.IsZero() && s.Status.Machine == "" {
		return nil
	}
	return err
}

// lookAround observes the machine together with the files of others that matter.
func (k *Kind) lookAround(ctx context.Context, s *v1alpha1.HostService, seen *machineSeen) error {
	name := client.ObjectKeyFromObject(s)
	paths := k.handmade.of(name)
	for range maxLooks {
		var err error
		if seen.seen, err = seen.run.Observe(ctx, seen.owner, paths.with(seen.design.want)); err != nil {
			return err
		}
		if more, err := seen.completed(); err != nil {
			return err
		} else if more {
			continue
		}
		seen.hand = readByHand(seen.design, about(s), seen.seen.Contents)
		next := handPaths{reads: seen.hand.reads}
		for _, f := range seen.rewrites(s) {
			next.rewrites = append(next.rewrites, f.Path)
		}
		k.handmade.note(name, next)
		if paths.covers(next) {
			return nil
		}
		paths = next
	}
	return errors.New("observe: the files of others change all the time")
}

// completed says whether the design is another one, now that files that it depends on were read: then it has to be observed.
func (m *machineSeen) completed() (bool, error) {
	if m.design.complete == nil {
		return false, nil
	}
	whole, err := m.design.complete(m.seen.Contents)
	if whole == nil || err != nil {
		return false, err
	}
	m.design = *whole
	return true, nil
}

func (m *machineSeen) rewrites(s *v1alpha1.HostService) []machine.File {
	return m.hand.rewrites(about(s), adopts(s), m.design.triggers, m.seen.Paths)
}

// wants is the whole State, with the files of others that are rewritten.
func (m *machineSeen) wants(s *v1alpha1.HostService) machine.State {
	want := m.design.want
	want.Files = append(want.Files[:len(want.Files):len(want.Files)], m.rewrites(s)...)
	return want
}

func adopts(s *v1alpha1.HostService) bool { return s.Spec.AdoptionPolicy == v1alpha1.AdoptionIfUnowned }

// settled tells of a service that has all it needs and does not answer.
func settled(s *v1alpha1.HostService, seen *machineSeen) error {
	if !s.DeletionTimestamp.IsZero() || s.Spec.Management == v1alpha1.ManagementObserve {
		return nil
	}
	if !seen.applied(s) {
		return nil
	}
	if failed := seen.silent(); failed != "" {
		return reconcile.Fail(ProbeFailedReason, fmt.Errorf("everything is as declared, but %s", failed))
	}
	return nil
}

// silent says which probe fails; empty: none does.
func (m *machineSeen) silent() string {
	for _, p := range m.seen.Probes {
		if !p.OK {
			return fmt.Sprintf("%s does not answer as it should: %s", p.Name, said(p))
		}
	}
	return ""
}

// said is what a probe was told.
func said(p machine.ProbeResult) string {
	if text := strings.TrimSpace(p.Output); text != "" {
		return text
	}
	return "no answer"
}
