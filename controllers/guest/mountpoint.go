// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const mountSlots = 256

// mountPoints declares a container's mount points. They are told apart by their path: the slots are Proxmox's business.
func (d *draft) mountPoints() {
	mounts := map[string]proxmox.MountPoint{}
	bySlot := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(d.now)) {
		if !mountSlot.MatchString(key) {
			continue
		}
		m, err := proxmox.ParseMountPoint(d.now[key])
		if err != nil {
			d.unreadable("mountPoints["+key+"]", err)
			d.keepMounts()
			return
		}
		mounts[path.Clean(m.Path)], bySlot[path.Clean(m.Path)] = m, key
	}
	for _, want := range d.guest.Spec.MountPoints {
		slot, exists := bySlot[want.Path]
		if !exists {
			slot = d.freeSlot()
		}
		d.slots[slot], d.declared[slot] = true, true
		now := mounts[want.Path]
		field := "mountPoints[" + want.Path + "]"
		switch {
		case want.Volume == nil:
			d.directory(field, slot, now, want, exists)
		case exists && now.IsBind():
			d.exchange(field, slot, now)
		default:
			d.volume(field, slot, now, want, exists)
		}
	}
}

// keepMounts leaves all mount points alone, where one cannot be read: it may be any of those that the spec declares, so
// none is made in its place and none is taken out.
func (d *draft) keepMounts() {
	for key := range d.now {
		if mountSlot.MatchString(key) {
			d.slots[key] = true
		}
	}
}

// freeSlot is the lowest slot that nothing is in, goes into or waits to leave.
func (d *draft) freeSlot() string {
	for n := range mountSlots {
		slot := fmt.Sprintf("mp%d", n)
		_, taken := d.now[slot]
		if !taken && !d.slots[slot] && !d.waits(slot) {
			return slot
		}
	}
	return "mp255" // 64 declared ones are the most: not reached
}

// exchange makes room where a volume is to become a bind mount, or the other way round, if the one before is ours.
func (d *draft) exchange(field, slot string, now proxmox.MountPoint) {
	delete(d.slots, slot)
	if !slices.Contains(d.seen.mark.slots, slot) {
		d.refuse(stall(DeviceTakenReason, field, "%s of container %d is already mounted from %s: choose another path, or take that mount out",
			now.Path, d.seen.ref.VMID, now.Volume))
		return
	}
	d.unmount(field, slot, now)
}

// unmount takes a mount point out of its slot: a volume is kept, a bind mount is only root's to touch.
func (d *draft) unmount(field, slot string, m proxmox.MountPoint) {
	if m.IsBind() {
		d.root.remove(slot, change(field, m.Volume, "", d.outage()))
		return
	}
	d.detach(field, slot, m.Volume)
}

// volume declares a mount point with a volume of its own.
func (d *draft) volume(field, slot string, now proxmox.MountPoint, want v1alpha1.MountPoint, exists bool) {
	size := want.Volume.Size.Value()
	if !exists {
		if d.astray(field, mountSlot.MatchString) {
			return
		}
		storage := d.storageFor(field+".volume", want.Volume.Storage)
		if storage == "" {
			return
		}
		now = proxmox.MountPoint{Volume: proxmox.NewVolume(storage, size), Path: want.Path}
	} else {
		d.held(field+".volume", slot, now.Storage(), want.Volume.Storage, now.Size, &want.Volume.Size)
	}
	var changes []reconcile.Change
	if want.ReadOnly != nil {
		changes = append(changes, sub(field+".readOnly", &now.ReadOnly, *want.ReadOnly, onOff, d.interrupts())...)
	}
	if want.Backup != nil {
		changes = append(changes, sub(field+".backup", &now.Backup, *want.Backup, onOff, v1alpha1.ImpactNone)...)
	}
	if !exists {
		changes = []reconcile.Change{change(field, "", sizeOn(size, now.Storage()), v1alpha1.ImpactNone)}
	}
	d.encoded(field, slot, now.Encode, changes)
}

// directory declares a mount point that is a directory of the node: one that the spec names, or that of an export.
func (d *draft) directory(field, slot string, now proxmox.MountPoint, want v1alpha1.MountPoint, exists bool) {
	named, find := field+".export", d.exported
	if want.Bind != nil {
		named, find = field+".bind.path", d.bound
	}
	dir, refused := find(named, want)
	switch {
	case refused != nil:
		d.refuse(refused.differs(now.Volume, dir)) // what is mounted there stays, whosever it is
		if !slices.Contains(d.seen.mark.slots, slot) {
			delete(d.slots, slot)
		}
	case exists && !now.IsBind():
		d.exchange(field, slot, now)
	default:
		d.bind(field, slot, now, want, sub(named, &now.Volume, dir, asText, d.interrupts()))
	}
}

// bind writes a mount point that is a directory of the node, with what else is declared of it.
func (d *draft) bind(field, slot string, now proxmox.MountPoint, want v1alpha1.MountPoint, changes []reconcile.Change) {
	now.Path = want.Path
	if want.ReadOnly != nil {
		changes = append(changes, sub(field+".readOnly", &now.ReadOnly, *want.ReadOnly, onOff, d.interrupts())...)
	}
	if len(changes) == 0 {
		return
	}
	value, err := now.Encode()
	if err != nil {
		d.unreadable(field, err)
		return
	}
	d.root.put(slot, value, changes...)
}

// bound is the directory that a bind mount names, if the Host allows it.
func (d *draft) bound(field string, want v1alpha1.MountPoint) (string, *refusal) {
	dir, allowed := want.Bind.Path, d.seen.host.bindPaths
	if !below(dir, allowed) {
		return dir, stall(PathNotAllowedReason, field, "Host/%s does not allow to bind %s: add it to allow.bindMountPaths of the Host%s",
			d.seen.host.name, dir, orBelow(allowed))
	}
	return dir, nil
}

// orBelow says which directories are allowed instead, if any.
func orBelow(allowed []string) string {
	if len(allowed) == 0 {
		return ", which allows none yet"
	}
	return ", or choose a path below " + strings.Join(allowed, " or ")
}

// below says whether a directory, or one above it, is among those that are allowed.
func below(dir string, allowed []string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool { return dir == a || strings.HasPrefix(dir, a+"/") })
}
