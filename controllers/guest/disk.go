// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const gibi = 1 << 30

var (
	diskSlot   = regexp.MustCompile("^(scsi|virtio|sata|ide)[0-9]+$")
	netSlot    = regexp.MustCompile("^net[0-9]+$")
	mountSlot  = regexp.MustCompile("^mp[0-9]+$")
	unusedSlot = regexp.MustCompile("^unused[0-9]+$")
)

// rootDevice is the slot of the disk that the guest boots from.
func rootDevice(g *v1alpha1.Guest) string {
	if g.Spec.Type == v1alpha1.GuestContainer {
		return "rootfs"
	}
	if r := g.Spec.RootDisk; r != nil && r.Device != "" {
		return r.Device
	}
	return "scsi0"
}

// storageFor is the storage on which something new is made; "" with a refusal when nobody names one.
func (d *draft) storageFor(field, named string) string {
	storage := cmp.Or(named, d.seen.host.defaults.Storage)
	if storage == "" {
		d.refuse(stall(StorageMissingReason, field+".storage", "%s has no storage: set %s.storage, or defaults.storage of Host/%s",
			field, field, d.seen.host.name))
	}
	return storage
}

// wholeGiB rounds up: a new volume is made in whole GiB.
func wholeGiB(bytes int64) int64 { return (bytes + gibi - 1) / gibi * gibi }

// cloning says that the guest is about to be cloned: its disks come with it.
func (d *draft) cloning() bool {
	return d.seen.presence == absent && d.guest.Spec.Source != nil && d.guest.Spec.Source.Clone != nil
}

// rootfs declares a container's root disk.
func (d *draft) rootfs() {
	root := d.guest.Spec.RootDisk
	if d.cloning() {
		return
	}
	if d.seen.presence == absent {
		d.newRootfs(deref(root))
		return
	}
	if root == nil {
		return
	}
	m, err := proxmox.ParseMountPoint(d.now["rootfs"])
	if err != nil {
		d.unreadable("rootDisk", err)
		return
	}
	d.held("rootDisk", "rootfs", m.Storage(), root.Storage, m.Size, root.Size)
}

// newRootfs gives a container that is made its root disk. Without a size, Proxmox gives it 4 GiB.
func (d *draft) newRootfs(root v1alpha1.RootDisk) {
	storage := d.storageFor("rootDisk", root.Storage)
	switch {
	case storage == "":
	case root.Size == nil:
		d.api.set["storage"] = storage
	default:
		d.api.set["rootfs"] = proxmox.NewVolume(storage, wholeGiB(root.Size.Value()))
	}
}

// held compares a volume that exists with what is declared of it: it grows, but neither shrinks nor moves.
func (d *draft) held(field, slot, onStorage, storage string, has int64, size *v1alpha1.Size) {
	d.declared[slot] = true
	if storage != "" && onStorage != storage {
		d.refuse(stall(MoveRefusedReason, field+".storage",
			"%s is on %s, the spec says %s: move it in Proxmox (Hardware > Disk Action > Move Storage), or change the spec",
			field, onStorage, storage).differs(onStorage, storage))
	}
	if size == nil || has == 0 {
		return
	}
	switch want := size.Value(); {
	case has < want:
		d.grows = append(d.grows, grow{slot: slot, field: field + ".size", storage: onStorage, from: has, to: want})
	case has > wholeGiB(want):
		d.refuse(stall(ShrinkRefusedReason, field+".size",
			"%s has %s, the spec says %s: a disk cannot shrink; set %s.size to at least %s",
			field, proxmox.FormatSize(has), proxmox.FormatSize(want), field, quantityText(has)).
			differs(proxmox.FormatSize(has), proxmox.FormatSize(want)))
	}
}

func quantityText(bytes int64) string {
	return resource.NewQuantity(bytes, resource.BinarySI).String()
}

// disks declares a VM's disks.
func (d *draft) disks() {
	d.rootDisk()
	for _, disk := range d.guest.Spec.Disks {
		d.slots[disk.Device], d.declared[disk.Device] = true, true
		d.disk(disk)
	}
}

func (d *draft) rootDisk() {
	root, slot := d.guest.Spec.RootDisk, rootDevice(d.guest)
	if root == nil || d.cloning() {
		return
	}
	text, exists := d.now[slot]
	if !exists && d.seen.presence == absent {
		size := int64(8 * gibi)
		if root.Size != nil {
			size = wholeGiB(root.Size.Value())
		}
		if storage := d.storageFor("rootDisk", root.Storage); storage != "" {
			d.api.set[slot] = proxmox.NewVolume(storage, size)
		}
		return
	}
	now, err := proxmox.ParseDisk(text)
	switch {
	case !exists:
		d.refuse(stall(RootDiskMissingReason, "rootDisk.device", "VM %d has no disk %s, only %s: set rootDisk.device",
			d.seen.ref.VMID, slot, strings.Join(disksOf(d.now), ", ")))
	case err != nil:
		d.unreadable("rootDisk", err)
	default:
		d.held("rootDisk", slot, now.Storage(), root.Storage, now.Size, root.Size)
	}
}

// disksOf lists the slots of a VM's disks.
func disksOf(config map[string]string) []string {
	var slots []string
	for _, key := range slices.Sorted(maps.Keys(config)) {
		if disk, err := proxmox.ParseDisk(config[key]); diskSlot.MatchString(key) && err == nil && disk.Media != "cdrom" {
			slots = append(slots, key)
		}
	}
	return slots
}

func (d *draft) disk(want v1alpha1.Disk) {
	field := "disks[" + want.Device + "]"
	text, exists := d.now[want.Device]
	now, err := proxmox.ParseDisk(text)
	if err != nil {
		d.unreadable(field, err)
		return
	}
	if exists && now.Media == "cdrom" {
		delete(d.slots, want.Device) // not ours
		d.refuse(stall(DeviceTakenReason, field+".device", "%s of VM %d is a CD-ROM drive: choose another device", want.Device, d.seen.ref.VMID))
		return
	}
	if !exists {
		if d.astray(field, func(slot string) bool { return slot == want.Device }) {
			return
		}
		storage := d.storageFor(field, want.Storage)
		if storage == "" {
			return
		}
		now.Volume = proxmox.NewVolume(storage, want.Size.Value())
	} else {
		d.held(field, want.Device, now.Storage(), want.Storage, now.Size, &want.Size)
	}
	changes := d.diskOptions(field, &now, want)
	if !exists {
		changes = []reconcile.Change{change(field, "", proxmox.FormatSize(want.Size.Value())+" on "+now.Storage(), v1alpha1.ImpactNone)}
	}
	d.encoded(field, want.Device, now.Encode, changes)
}

func (d *draft) diskOptions(field string, now *proxmox.Disk, want v1alpha1.Disk) []reconcile.Change {
	var changes []reconcile.Change
	if want.Discard != nil {
		if on := now.Discard == "on"; on != *want.Discard {
			changes = append(changes, change(field+".discard", onOff(on), onOff(*want.Discard), v1alpha1.ImpactNone))
			now.Discard = map[bool]string{true: "on", false: "ignore"}[*want.Discard]
		}
	}
	if want.SSD != nil {
		changes = append(changes, sub(field+".ssd", &now.SSD, *want.SSD, onOff, v1alpha1.ImpactNone)...)
	}
	if want.Backup != nil {
		if on := now.Backup == nil || *now.Backup; on != *want.Backup {
			changes = append(changes, change(field+".backup", onOff(on), onOff(*want.Backup), v1alpha1.ImpactNone))
			now.Backup = want.Backup
		}
	}
	return changes
}

// drop takes out what the mark says that the spec declared, and the spec declares no more. Data is kept: a volume becomes
// an unused one.
func (d *draft) drop() {
	for _, slot := range d.seen.mark.slots {
		text, there := d.now[slot]
		if d.slots[slot] || !there || slot == rootDevice(d.guest) || slices.Contains(d.api.del, slot) || slices.Contains(d.root.del, slot) {
			continue
		}
		switch {
		case netSlot.MatchString(slot):
			d.api.remove(slot, change("networks["+slot+"]", text, "", d.outage()))
		case mountSlot.MatchString(slot):
			m, err := proxmox.ParseMountPoint(text)
			if err != nil {
				d.unreadable("mountPoints["+slot+"]", err)
				continue
			}
			d.unmount("mountPoints["+m.Path+"]", slot, m)
		case diskSlot.MatchString(slot) && d.vm():
			disk, err := proxmox.ParseDisk(text)
			if err != nil || disk.Media == "cdrom" {
				continue
			}
			d.detach("disks["+slot+"]", slot, disk.Volume)
		}
	}
}

// detach takes a volume out of its slot and keeps it.
func (d *draft) detach(field, slot, volume string) {
	d.detached = append(d.detached, volume)
	d.api.remove(slot, change(field, volume, "unused: the data is kept", d.outage()))
}

// lasting are the volumes that came out of slots of ours and still exist.
func (d *draft) lasting(fresh []string) []string {
	volumes := slices.Clone(fresh)
	for _, volume := range d.seen.mark.detached {
		if _, unused := d.unused(volume); unused || d.leaving(volume) {
			volumes = append(volumes, volume)
		}
	}
	slices.Sort(volumes)
	return slices.Compact(volumes)
}

// unused finds the slot of an unused volume.
func (d *draft) unused(volume string) (string, bool) {
	for _, key := range slices.Sorted(maps.Keys(d.now)) {
		if unusedSlot.MatchString(key) && d.now[key] == volume {
			return key, true
		}
	}
	return "", false
}

// leftovers are the volumes of ours that are unused, with their slots.
func (d *draft) leftovers() []string {
	var slots []string
	for _, volume := range d.seen.mark.detached {
		if slot, ok := d.unused(volume); ok {
			slots = append(slots, slot)
		}
	}
	return slots
}

func sizeOn(size int64, storage string) string {
	return fmt.Sprintf("%s on %s", proxmox.FormatSize(size), storage)
}
