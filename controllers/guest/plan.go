// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Plan returns the steps to the spec: make the guest, write what one call can carry, grow disks, write what only root may,
// switch it on or off, restart it, destroy what it no longer needs, have it trust authorities, mount in it what it mounts
// over the network. What cannot be had comes last, so that it holds nothing else up; a guest that is yet to be made is not
// made before all of it can be had.
func (k *Kind) Plan(g *v1alpha1.Guest, seen Seen) []reconcile.Step {
	if seen.presence == unknown {
		return nil
	}
	d := newDraft(g, seen)
	var steps []reconcile.Step
	if seen.presence == absent {
		if len(d.refusals) == 0 {
			d.checkSource()
		}
		if len(d.refusals) == 0 {
			return []reconcile.Step{k.making(d)}
		}
	} else {
		if !d.api.empty() {
			steps = append(steps, d.configure())
		}
		for _, grow := range d.grows {
			steps = append(steps, d.grow(grow))
		}
		if step := d.asRoot(); step != nil {
			steps = append(steps, *step)
		}
		steps = append(steps, d.power()...)
		steps = append(steps, d.destroyVolumes()...)
	}
	trusting, untrusted := seen.trusting()
	inside := [][]reconcile.Step{trusting, d.mounting()}
	if failedToTrust(g) { // one of the two does not keep the other back for ever
		slices.Reverse(inside)
	}
	steps = slices.Concat(d.whileLocked(steps), inside[0], inside[1])
	for _, r := range d.refusals {
		steps = append(steps, r.step())
	}
	return append(steps, untrusted...)
}

// checkSource refuses a guest that cannot be made for want of something to make it from.
func (d *draft) checkSource() {
	if d.guest.Spec.Source == nil && !d.vm() {
		d.refuse(stall(NoSourceReason, "source", "container %d does not exist, and there is no source to make it from: set spec.source, or correct spec.vmid",
			d.seen.vmid))
	}
}

// configure is the one call that writes everything that a token may write.
func (d *draft) configure() reconcile.Step {
	seen, e := d.seen, d.api
	what := fmt.Sprintf("set %s of %s %d", fieldsOf(e.changes), nounOf(seen.ref.Type), seen.ref.VMID)
	message := what
	if len(d.detached) > 0 {
		message += "; kept as unused: " + strings.Join(d.detached, ", ")
	}
	return d.withSnippet(reconcile.Step{
		Reason:  ConfiguringReason,
		Message: message,
		Changes: e.changes,
		Do: func(ctx context.Context) error {
			err := seen.site.Writer.SetConfig(ctx, seen.ref, seen.config.Digest, e.set, e.del)
			if err != nil {
				return fmt.Errorf("%s: %w", what, failure(err))
			}
			return nil
		},
	}, e.set["cicustom"])
}

// grow is the task that makes one disk larger.
func (d *draft) grow(v grow) reconcile.Step {
	g, seen := d.guest, d.seen
	to := proxmox.FormatSize(v.to)
	return reconcile.Step{
		Reason:  GrowingReason,
		Message: fmt.Sprintf("grow %s of %s %d to %s", v.slot, nounOf(seen.ref.Type), seen.ref.VMID, to),
		Changes: []reconcile.Change{change(v.field, proxmox.FormatSize(v.from), to, v1alpha1.ImpactNone)},
		Do: func(ctx context.Context) error {
			return begin(g, seen, GrowingReason, v.storage, 0, func() (proxmox.UPID, error) {
				return seen.site.Writer.Resize(ctx, seen.ref, v.slot, to, seen.config.Digest)
			})
		},
	}
}

// destroyVolumes destroys the volumes that came out of slots of ours, if deletionPolicy says so. Each waits for an
// approval. The digest makes sure that the mark is still as it was read.
func (d *draft) destroyVolumes() []reconcile.Step {
	if !destroysVolumes(d.guest) || !d.seen.marked {
		return nil
	}
	var steps []reconcile.Step
	for _, slot := range d.leftovers() {
		seen, volume := d.seen, d.now[slot]
		steps = append(steps, reconcile.Step{
			Reason:   DestroyingVolumeReason,
			Message:  fmt.Sprintf("destroy volume %s of %s %d", volume, nounOf(seen.ref.Type), seen.ref.VMID),
			Identity: "volume " + volume,
			Held:     heldUntilSafe(seen),
			Changes:  []reconcile.Change{change(slot, volume, "", v1alpha1.ImpactDestroy)},
			Do: func(ctx context.Context) error {
				if err := seen.site.Writer.SetConfig(ctx, seen.ref, seen.config.Digest, nil, []string{slot}); err != nil {
					return fmt.Errorf("destroy volume %s: %w", volume, failure(err))
				}
				return nil
			},
		})
	}
	return steps
}

// heldUntilSafe keeps an approval from being spent on a call that would be refused.
func heldUntilSafe(seen Seen) string {
	switch {
	case seen.doubt != "":
		return "what the site shows is doubtful: " + seen.doubt
	case seen.status.Lock != "":
		return lockText(seen)
	}
	return ""
}

func lockText(seen Seen) string {
	return fmt.Sprintf("%s %d is locked (%s)", nounOf(seen.ref.Type), seen.ref.VMID, seen.status.Lock)
}

// whileLocked makes every step wait while Proxmox holds the guest: it would accept some calls and let their tasks fail.
func (d *draft) whileLocked(steps []reconcile.Step) []reconcile.Step {
	if d.seen.status.Lock == "" {
		return steps
	}
	for i := range steps {
		steps[i].Do = func(context.Context) error {
			return reconcile.Wait(LockedReason, taskFallback, errors.New(lockText(d.seen)))
		}
	}
	return steps
}

// fieldsOf names the fields of changes, the first four of them.
func fieldsOf(changes []reconcile.Change) string {
	const most = 4
	var fields []string
	for _, c := range changes {
		if !slices.Contains(fields, c.Field) {
			fields = append(fields, c.Field)
		}
	}
	if len(fields) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(fields[:most], ", "), len(fields)-most)
	}
	return strings.Join(fields, ", ")
}
