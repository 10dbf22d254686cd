// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"fmt"
	"slices"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// finder looks for a Guest's guest: by the VMIDs that status and spec name, by its tag in the list, by its name. What it
// finds is ours by the line in its notes; a stored VMID alone proves nothing.
type finder struct {
	guest *v1alpha1.Guest
	seen  *Seen
	task  *v1alpha1.GuestTask // that the status named before this pass
	list  proxmox.Snapshot
	fresh bool // the list was asked for in this pass
	// problem is why a guest at a VMID that status or spec name is not ours.
	problem error
}

// find sets seen's presence, and for a guest that is there its place, configuration and mark. The list may be some seconds
// old: that a guest is not there is believed only of a fresh one.
func (f *finder) find(ctx context.Context) error {
	view := f.seen.site.View
	list, ok := view.Snapshot()
	if ok {
		f.list = list
		if found, err := f.search(ctx); found && err == nil {
			return nil // anything else is said of a fresh list only
		}
	}
	list, err := view.Refresh(ctx)
	if err != nil {
		return fmt.Errorf("list guests: %w", failure(err))
	}
	f.list, f.fresh, f.problem = list, true, nil
	found, err := f.search(ctx)
	switch {
	case found || err != nil:
		return err
	case !f.guest.DeletionTimestamp.IsZero():
		f.problem = nil // what is not ours is not removed
		if list.Doubt != "" {
			return f.frozen()
		}
	case f.problem != nil:
		return f.problem
	}
	f.seen.presence, f.seen.doubt, f.seen.list = absent, list.Doubt, list
	return nil
}

func (f *finder) frozen() error {
	return reconcile.Wait(FrozenReason, later, fmt.Errorf("what Host/%s shows is doubtful: %s", f.seen.host.name, f.list.Doubt))
}

// search looks at every candidate in turn.
func (f *finder) search(ctx context.Context) (bool, error) {
	for _, vmid := range f.candidates() {
		found, err := f.look(ctx, f.list.Guests[vmid])
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// candidates are the VMIDs that may be the guest's, the likeliest first.
func (f *finder) candidates() []int {
	var ids, named []int
	for _, id := range []*int32{f.guest.Status.VMID, f.guest.Spec.VMID} {
		if id != nil {
			named = append(named, int(*id))
		}
	}
	tag, name := f.seen.owner.tag(), hostname(f.guest)
	var byName []int
	for vmid, r := range f.list.Guests {
		switch {
		case slices.Contains(r.Tags, tag):
			ids = append(ids, vmid)
		case (r.Name == name || f.list.Doubt == "" && nameless(r)) && r.Type == driverType(f.guest.Spec.Type) && !slices.ContainsFunc(r.Tags, markTag.MatchString):
			byName = append(byName, vmid)
		}
	}
	slices.Sort(ids)
	slices.Sort(byName)
	var all []int
	for _, vmid := range slices.Concat(named, ids, byName) {
		if _, listed := f.list.Guests[vmid]; listed && !slices.Contains(all, vmid) {
			all = append(all, vmid)
		}
	}
	return all
}

// nameless says that a guest is listed without its name, or with the one that Proxmox gives to those without: so is a new
// guest for a while. While a site starts, all are; then nothing is made, and there is no need to read them all.
func nameless(r proxmox.Resource) bool {
	return r.Name == "" || r.Name == fmt.Sprintf("VM %d", r.VMID) || r.Name == fmt.Sprintf("CT%d", r.VMID)
}

// look reads one candidate and says whether it is the guest.
func (f *finder) look(ctx context.Context, r proxmox.Resource) (bool, error) {
	config, err := f.seen.site.Reader.Config(ctx, r.Ref)
	switch {
	case proxmox.IsNotExist(err) && !f.fresh:
		return false, nil // it moved or went: a fresh list tells
	case proxmox.IsNotExist(err):
		// It moves or goes at this very moment: nothing is made or let go because of that.
		return false, reconcile.Wait(ChangedReason, soon, fmt.Errorf("%s %d is not on %s any more", nounOf(r.Type), r.VMID, r.Node))
	}
	if err != nil {
		return false, fmt.Errorf("read configuration of %s %d: %w", nounOf(r.Type), r.VMID, failure(err))
	}
	whose, m := f.seen.owner.judge(r.VMID, config.Values["description"], proxmox.ParseTags(config.Values["tags"]))
	mine, err := f.weigh(r, config, whose, m)
	if !mine || err != nil {
		return false, err
	}
	if err := f.suits(r); err != nil {
		return false, err
	}
	s := f.seen
	s.presence, s.ref, s.config = present, r.Ref, config
	s.template = r.Template || config.Values["template"] == "1"
	s.marked, s.mark = whose == ours, m
	if whose != ours {
		s.mark = mark{owner: s.owner, vmid: r.VMID}
		if f.begunHere(r.VMID) && s.failed == nil {
			f.guest.Status.Task = f.task // the proof that it is ours, until the mark stands
			s.mark.stage = f.stage()
		}
	}
	s.doubt = f.list.DoubtAbout(r.VMID)
	return true, nil
}

// suits says why a guest that is ours cannot be what the spec asks for.
func (f *finder) suits(r proxmox.Resource) error {
	switch {
	case !f.guest.DeletionTimestamp.IsZero():
		return nil
	case r.Type != driverType(f.guest.Spec.Type):
		return reconcile.Stall(TypeDiffersReason, fmt.Errorf("the guest of this object is %s %d: spec.type %s is another", nounOf(r.Type), r.VMID, f.guest.Spec.Type))
	case f.guest.Spec.VMID != nil && int(*f.guest.Spec.VMID) != r.VMID:
		return reconcile.Stall(VMIDImmutableReason, fmt.Errorf(
			"the guest of this object is %s %d: a VMID cannot be changed; set spec.vmid to %d or leave it out", nounOf(r.Type), r.VMID, r.VMID))
	}
	return nil
}

// asked says whether spec.vmid names this guest; reserved, whether status.vmid does.
func (f *finder) asked(vmid int) bool    { return int(deref(f.guest.Spec.VMID)) == vmid }
func (f *finder) reserved(vmid int) bool { return int(deref(f.guest.Status.VMID)) == vmid }

// weigh says whether a candidate is the guest, or is about to be.
func (f *finder) weigh(r proxmox.Resource, config proxmox.Config, whose claim, m mark) (bool, error) {
	named := f.reserved(r.VMID) || f.asked(r.VMID) || whose != unmarked
	if lock := config.Values["lock"]; named && whose != foreign && inTheMaking(lock) {
		return false, reconcile.Wait(f.making(), taskFallback, fmt.Errorf(
			"%s %d is locked (%s): its making is under way", nounOf(r.Type), r.VMID, lock))
	}
	switch whose {
	case ours:
		return true, nil
	case tagged:
		if f.asked(r.VMID) || f.reserved(r.VMID) || f.alone(r.VMID) {
			return true, nil
		}
		f.problem = reconcile.Stall(MarkCopiedReason, fmt.Errorf(
			"%s %d bears this object's tag, and so does another one; neither bears its mark: set spec.vmid to the right one", nounOf(r.Type), r.VMID))
		return false, nil
	case copied:
		return f.weighCopy(r, m)
	case foreign:
		return f.weighForeign(r, m)
	}
	return f.weighUnmarked(r)
}

// inTheMaking says whether a lock is that of a guest that is being made: it does not bear all its marks yet.
func inTheMaking(lock string) bool { return lock == "create" || lock == "clone" }

func (f *finder) making() string {
	if s := f.guest.Spec.Source; s != nil && s.Clone != nil {
		return CloningReason
	}
	return CreatingReason
}

func (f *finder) stage() string {
	if f.making() == CloningReason {
		return stageClone
	}
	return ""
}

// alone says that no other guest bears our tag.
func (f *finder) alone(vmid int) bool {
	for other, r := range f.list.Guests {
		if other != vmid && slices.Contains(r.Tags, f.seen.owner.tag()) {
			return false
		}
	}
	return true
}
