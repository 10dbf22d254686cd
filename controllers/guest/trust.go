// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"cmp"
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/authority"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// roots are what was seen of the authorities that a guest trusts.
type roots struct {
	store *authority.Store
	// err is why the guest could not be looked at.
	err error
}

// readTrust looks into a guest that runs and can be reached, if its spec has or had trustAuthorities.
func (k *Kind) readTrust(ctx context.Context, g *v1alpha1.Guest, seen *Seen) *roots {
	declared := len(g.Spec.TrustAuthorities) > 0
	if !declared && !seen.mark.trust || !g.DeletionTimestamp.IsZero() || !seen.enterable(g) {
		return nil
	}
	inside, err := k.enter(ctx, g, seen)
	if err != nil {
		return &roots{err: err}
	}
	store, err := k.Authorities.Look(ctx, g.Namespace, g.Spec.TrustAuthorities, authority.Place{
		Name: fmt.Sprintf("%s %d", nounOf(seen.ref.Type), seen.ref.VMID), Machine: inside,
		Owner: machine.Owner(seen.owner.id + "/Guest/" + seen.owner.guest + "/trust"),
		Adopt: g.Spec.AdoptionPolicy == v1alpha1.AdoptionIfUnowned,
	})
	return &roots{store, err}
}

// enterable says whether it can be expected that a guest is worked in.
func (s *Seen) enterable(g *v1alpha1.Guest) bool {
	return s.presence == present && !s.template && s.status.Running && wantsRunning(g) && s.reachable(g).Status == metav1.ConditionTrue &&
		(s.ref.Type != proxmox.QEMU || !s.silent && s.status.AgentEnabled)
}

// enter returns the machine that a guest is.
func (k *Kind) enter(ctx context.Context, g *v1alpha1.Guest, seen *Seen) (*machine.Machine, error) {
	placed := g.DeepCopy() // the status may not say yet where the guest is
	vmid := int32(seen.ref.VMID)
	placed.Status.VMID, placed.Status.Node = &vmid, seen.ref.Node
	return k.Machine(ctx, placed)
}

// keepsTrust says whether the mark has to name that the guest trusts authorities.
func (d *draft) keepsTrust() bool {
	return len(d.guest.Spec.TrustAuthorities) > 0 || d.seen.mark.trust && (d.seen.trust == nil || !d.seen.trust.store.Cleared())
}

// trusting are the steps in the guest, and those that say what cannot be had. Its machine is not Proxmox's: no lock of the
// guest holds them up.
func (s *Seen) trusting() (do, refused []reconcile.Step) {
	if s.trust == nil || s.trust.err != nil {
		return nil, nil
	}
	return s.trust.store.Steps()
}

// failedToTrust says that the last step that was tried was one of these, and failed.
func failedToTrust(g *v1alpha1.Guest) bool {
	ready := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ReadyCondition)
	return ready != nil && ready.Reason == authority.TrustFailedReason
}

// awaitTrust waits until a guest that trusts authorities can be looked at.
func (s *Seen) awaitTrust(g *v1alpha1.Guest) error {
	what := fmt.Sprintf("trustAuthorities of %s %d", nounOf(s.ref.Type), s.ref.VMID)
	switch {
	case len(g.Spec.TrustAuthorities) == 0 && (s.trust == nil || s.trust.err == nil):
		return nil
	case s.presence != present || s.template || !s.status.Running || !wantsRunning(g):
		return nil
	case s.trust == nil:
		return reconcile.Wait(MachineAwayReason, later, fmt.Errorf("%s cannot be looked at: %s", what, s.reachable(g).Message))
	case s.trust.err != nil:
		return authority.Failure(authority.TrustingReason, fmt.Errorf("look at %s: %w", what, s.trust.err))
	}
	return nil
}

// trusted is the condition Trusted; none of a Guest without trustAuthorities.
func (s *Seen) trusted(g *v1alpha1.Guest) []reconcile.Condition {
	if len(g.Spec.TrustAuthorities) == 0 {
		meta.RemoveStatusCondition(&g.Status.Conditions, v1alpha1.TrustedCondition)
		return nil
	}
	c := reconcile.Condition{Type: v1alpha1.TrustedCondition, Status: metav1.ConditionUnknown, Reason: MachineAwayReason}
	switch {
	case s.presence != present || !s.status.Running:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, NotRunningReason, "the guest does not run"
	case s.trust == nil:
		c.Message = "the guest cannot be looked at: " + s.reachable(g).Message
	case s.trust.err != nil:
		c.Message = s.trust.err.Error()
		c.Reason = cmp.Or(reconcile.ReasonOf(authority.Failure(authority.TrustingReason, s.trust.err)), v1alpha1.FailedReason)
	default:
		c = s.trust.store.Condition()
	}
	return []reconcile.Condition{c}
}
