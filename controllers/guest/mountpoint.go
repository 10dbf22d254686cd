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
		case exists && now.IsBind() != (want.Bind != nil):
			d.exchange(field, slot, now)
		case want.Bind != nil:
			d.bind(field, slot, now, want)
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

// bind declares a mount point that is a directory of the node. The Host says which directories may be bound.
func (d *draft) bind(field, slot string, now proxmox.MountPoint, want v1alpha1.MountPoint) {
	if !d.mayBind(want.Bind.Path) {
		d.refuse(stall(PathNotAllowedReason, field+".bind.path", "Host/%s does not allow to bind %s: add it to allow.bindMountPaths of the Host%s",
			d.seen.host.name, want.Bind.Path, d.otherPaths()).differs(now.Volume, want.Bind.Path))
		return
	}
	now.Path = want.Path
	changes := sub(field+".bind.path", &now.Volume, want.Bind.Path, asText, d.interrupts())
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

// otherPaths says which directories may be bound instead, if any.
func (d *draft) otherPaths() string {
	if len(d.seen.host.bindPaths) == 0 {
		return ", which allows none yet"
	}
	return ", or choose a path below " + strings.Join(d.seen.host.bindPaths, " or ")
}

// mayBind says whether a directory, or one above it, is allowed.
func (d *draft) mayBind(dir string) bool {
	return slices.ContainsFunc(d.seen.host.bindPaths, func(allowed string) bool {
		return dir == allowed || strings.HasPrefix(dir, allowed+"/")
	})
}
