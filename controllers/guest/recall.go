// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
)

// recall counts a device as there that only waits for a restart to leave, if the spec declares it again: a change that was
// taken back must not put an empty volume in the place of the one with the data.
func (d *draft) recall() {
	for _, p := range d.seen.pending {
		if _, there := d.now[p.Key]; !p.Delete || there || d.recalledAs(p) == "" {
			continue
		}
		if len(d.recalled) == 0 {
			d.now = maps.Clone(d.now)
		}
		d.now[p.Key] = p.Value
		d.recalled = append(d.recalled, p)
	}
}

// recalledAs is the field of the spec that declares a leaving device; empty: none does.
func (d *draft) recalledAs(p proxmox.PendingChange) string {
	spec := d.guest.Spec
	switch {
	case netSlot.MatchString(p.Key):
		if slices.ContainsFunc(spec.Networks, func(n v1alpha1.Network) bool { return n.Device == p.Key }) {
			return "networks[" + p.Key + "]"
		}
	case d.vm() && diskSlot.MatchString(p.Key):
		if slices.ContainsFunc(spec.Disks, func(v v1alpha1.Disk) bool { return v.Device == p.Key }) {
			return "disks[" + p.Key + "]"
		}
	case mountSlot.MatchString(p.Key):
		m, err := proxmox.ParseMountPoint(p.Value)
		// A bind mount holds no data of its own: it is made anew.
		if err == nil && !m.IsBind() && slices.ContainsFunc(spec.MountPoints, func(v v1alpha1.MountPoint) bool {
			return v.Volume != nil && v.Path == path.Clean(m.Path)
		}) {
			return "mountPoints[" + path.Clean(m.Path) + "]"
		}
	}
	return ""
}

// stay writes that the recalled devices stay, where nothing else is written of them: that alone would keep them.
func (d *draft) stay() {
	var keys []string
	for _, p := range d.recalled {
		_, written := d.api.set[p.Key]
		if written || slices.Contains(d.api.del, p.Key) || slices.Contains(d.root.del, p.Key) {
			continue
		}
		keys = append(keys, p.Key)
		d.api.changes = append(d.api.changes, change(d.recalledAs(p), "leaves with the next restart", excerpt(p.Value), v1alpha1.ImpactNone))
	}
	if len(keys) > 0 {
		d.api.set["revert"] = strings.Join(keys, ",")
	}
}

// stays says whether a device is one of the recalled.
func (d *draft) stays(key string) bool {
	return slices.ContainsFunc(d.recalled, func(p proxmox.PendingChange) bool { return p.Key == key })
}

// leaving says whether a volume waits for a restart to leave its slot, and is not declared again.
func (d *draft) leaving(volume string) bool {
	return slices.ContainsFunc(d.seen.pending, func(p proxmox.PendingChange) bool {
		return p.Delete && !d.stays(p.Key) && strings.HasPrefix(p.Value, volume)
	})
}

// astray refuses to make a volume where one of ours is missing that somebody else took out, and the guest still has
// volumes that may be it: an empty one would stand in for the data.
func (d *draft) astray(field string, ofKind func(slot string) bool) bool {
	var missed []string
	for _, slot := range d.seen.mark.slots {
		if _, there := d.now[slot]; ofKind(slot) && !there && !d.waits(slot) {
			missed = append(missed, slot)
		}
	}
	var unused []string
	for _, key := range slices.Sorted(maps.Keys(d.now)) {
		if unusedSlot.MatchString(key) && !slices.Contains(d.seen.mark.detached, d.now[key]) {
			unused = append(unused, d.now[key])
		}
	}
	if len(missed) == 0 || len(unused) == 0 {
		return false
	}
	d.missed = append(d.missed, missed...) // the mark goes on to name them
	d.refuse(stall(VolumeDetachedReason, field,
		"%s was taken out by somebody else, and there are unused volumes: %s; attach the right one there again in Proxmox, or destroy them there, or take %s out of the spec",
		field, strings.Join(unused, ", "), field))
	return true
}
