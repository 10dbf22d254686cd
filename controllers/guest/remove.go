// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Remove returns the steps that stop and destroy the guest; none when it is gone, or when its notes do not say that it is
// this object's: what is not provably ours is not destroyed.
func (k *Kind) Remove(g *v1alpha1.Guest, seen Seen) []reconcile.Step {
	if seen.presence != present || !seen.marked {
		return nil
	}
	d := &draft{guest: g, seen: seen, now: seen.config.Values}
	switch {
	case d.isControlPlane():
		d.refuse(d.keepsControlPlane("destroyed"))
	case seen.config.Values["protection"] == "1":
		d.refuse(stall(ProtectedReason, "protection", "%s %d is protected: take the protection off in Proxmox, or set deletionPolicy: Retain",
			nounOf(seen.ref.Type), seen.ref.VMID))
	default:
		var steps []reconcile.Step
		if d.running() {
			steps = append(steps, d.proven(d.stop()))
		}
		return d.whileLocked(append(steps, d.proven(d.withoutSnippet(d.destroy()))))
	}
	return []reconcile.Step{d.refusals[0].step()}
}

// destroy is the task that destroys the guest with its volumes.
func (d *draft) destroy() reconcile.Step {
	g, seen := d.guest, d.seen
	what := fmt.Sprintf("%s %d", nounOf(seen.ref.Type), seen.ref.VMID)
	return reconcile.Step{
		Reason:   DestroyingReason,
		Message:  "destroy " + what,
		Identity: fmt.Sprintf("guest %d", seen.ref.VMID),
		Changes:  []reconcile.Change{change("", what, "", v1alpha1.ImpactDestroy)},
		Do: func(ctx context.Context) error {
			storage := proxmox.StorageOf(d.now[rootDevice(g)])
			err := begin(g, seen, DestroyingReason, storage, 0, func() (proxmox.UPID, error) {
				return seen.site.Writer.Destroy(ctx, seen.ref)
			})
			var answer *proxmox.Error
			if errors.As(err, &answer) && inUseText.MatchString(answer.Error()) {
				return reconcile.Fail(LinkedClonesReason, fmt.Errorf("destroy %s: its disks are shared by linked clones: %w", what, answer))
			}
			return err
		},
	}
}

// proven makes a step read the mark again right before it acts, and wait while the site is in doubt.
func (d *draft) proven(s reconcile.Step) reconcile.Step {
	seen, do := d.seen, s.Do
	s.Do = func(ctx context.Context) error {
		list, err := seen.site.View.Refresh(ctx)
		if err != nil {
			return fmt.Errorf("list guests: %w", failure(err))
		}
		if doubt := list.DoubtAbout(seen.ref.VMID); doubt != "" {
			return reconcile.Wait(FrozenReason, later, fmt.Errorf("%s: what Host/%s shows is doubtful: %s", s.Message, seen.host.name, doubt))
		}
		config, err := seen.site.Reader.Config(ctx, seen.ref)
		if err != nil {
			return fmt.Errorf("read the mark of %s %d: %w", nounOf(seen.ref.Type), seen.ref.VMID, failure(err))
		}
		whose, _ := seen.owner.judge(seen.ref.VMID, config.Values["description"], proxmox.ParseTags(config.Values["tags"]))
		if whose != ours {
			return reconcile.Wait(ChangedReason, soon, fmt.Errorf("%s: its owner mark changed in the meantime", s.Message))
		}
		return do(ctx)
	}
	return s
}
