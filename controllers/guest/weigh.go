// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// weighCopy judges a guest whose line names us and another VMID: a clone or a restore made by hand.
func (f *finder) weighCopy(r proxmox.Resource, m mark) (bool, error) {
	if f.begunHere(r.VMID) {
		return true, nil // cloned from a guest of ours by us
	}
	if _, there := f.list.Guests[m.vmid]; there {
		if f.asked(r.VMID) {
			f.problem = reconcile.Stall(MarkCopiedReason, fmt.Errorf(
				"%s %d is a copy of guest %d, which is this object's: set spec.vmid to %d, or destroy that one first",
				nounOf(r.Type), r.VMID, m.vmid, m.vmid))
		}
		return false, nil
	}
	if f.asked(r.VMID) {
		return true, nil
	}
	return false, f.orAbsent(reconcile.Stall(MarkCopiedReason, fmt.Errorf(
		"%s %d bears the mark of this object's guest %d, which is gone: set spec.vmid to %d to go on with it, or take the mark out of its notes",
		nounOf(r.Type), r.VMID, m.vmid, r.VMID)))
}

// orAbsent is the error, unless the object is being deleted: then what is not provably ours is left alone.
func (f *finder) orAbsent(err error) error {
	if !f.guest.DeletionTimestamp.IsZero() {
		return nil
	}
	return err
}

// weighForeign judges a guest that somebody else owns.
func (f *finder) weighForeign(r proxmox.Resource, m mark) (bool, error) {
	switch {
	case f.begunHere(r.VMID):
		return true, nil // our clone, which came with its template's mark
	case f.asked(r.VMID), f.reserved(r.VMID) && f.guest.Status.Node != "":
		f.problem = reconcile.Stall(ForeignOwnerReason, fmt.Errorf(
			"%s %d belongs to %s: choose another vmid, or delete that object with deletionPolicy: Retain and take its mark out of the notes",
			nounOf(r.Type), r.VMID, m.owner))
	case f.reserved(r.VMID):
		f.letGo() // somebody was faster: the reservation was never used
	}
	return false, nil
}

// weighUnmarked judges a guest that nobody owns.
func (f *finder) weighUnmarked(r proxmox.Resource) (bool, error) {
	if !f.asked(r.VMID) && !f.reserved(r.VMID) {
		return false, nil
	}
	if f.begunHere(r.VMID) {
		return true, nil
	}
	if !f.asked(r.VMID) && f.guest.Status.Node == "" {
		f.letGo() // somebody was faster: what we make bears the mark from its first moment, or a lock
		return false, nil
	}
	if r.Type != driverType(f.guest.Spec.Type) {
		if f.asked(r.VMID) {
			f.problem = reconcile.Stall(VMIDTakenReason, fmt.Errorf(
				"VMID %d belongs to %s %q: choose another vmid", r.VMID, nounOf(r.Type), r.Name))
		} else {
			f.letGo()
		}
		return false, nil
	}
	if f.guest.Spec.AdoptionPolicy == v1alpha1.AdoptionIfUnowned && f.asked(r.VMID) {
		return f.guest.DeletionTimestamp.IsZero(), nil
	}
	if !f.asked(r.VMID) { // who allocated a VMID did not ask for what a stranger put there later
		f.problem = reconcile.Stall(AlreadyExistsReason, fmt.Errorf(
			"%s %d %q is where this object's guest was and bears no owner mark: set spec.vmid to %d and adoptionPolicy: IfUnowned to take it over, or destroy it",
			nounOf(r.Type), r.VMID, r.Name, r.VMID))
		return false, nil
	}
	f.problem = reconcile.Stall(AlreadyExistsReason, fmt.Errorf(
		"%s %d %q exists already and bears no owner mark: set adoptionPolicy: IfUnowned to take it over, or choose another vmid",
		nounOf(r.Type), r.VMID, r.Name))
	return false, nil
}

// begunHere says that the guest at the reserved VMID was begun by a task of ours that this pass saw end: what it bears came
// with its template.
func (f *finder) begunHere(vmid int) bool {
	return f.reserved(vmid) && f.task != nil && (f.task.Reason == CloningReason || f.task.Reason == CreatingReason)
}

// letGo gives a reserved VMID up, so that another is chosen.
func (f *finder) letGo() {
	if f.guest.DeletionTimestamp.IsZero() && f.guest.Spec.VMID == nil {
		f.guest.Status.VMID = nil
	}
}
