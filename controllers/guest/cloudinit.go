// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
)

// cloudInit declares what a VM is told at its first boot.
func (d *draft) cloudInit() {
	c := d.guest.Spec.CloudInit
	if c == nil {
		return
	}
	d.cloudInitDrive(c)
	if c.User != "" {
		d.text("cloudInit.user", "ciuser", c.User)
	}
	d.sshKeys()
	for _, n := range d.guest.Spec.Networks {
		if n.IPv4 != nil || n.IPv6 != nil {
			d.ipConfig(n)
		}
	}
}

// cloudInitDrive gives the VM its drive, unless it has one.
func (d *draft) cloudInitDrive(c *v1alpha1.CloudInit) {
	if d.cloning() {
		return // the template may have one
	}
	for _, key := range slices.Sorted(maps.Keys(d.now)) {
		if diskSlot.MatchString(key) && strings.Contains(d.now[key], "cloudinit") {
			return
		}
	}
	storage := cmp.Or(c.Storage, d.seen.host.defaults.Storage)
	if root, err := proxmox.ParseDisk(d.now[rootDevice(d.guest)]); storage == "" && err == nil {
		storage = root.Storage()
	}
	if storage == "" {
		d.storageFor("cloudInit", "")
		return
	}
	for _, slot := range []string{"ide2", "ide0", "ide1", "ide3"} {
		if _, taken := d.now[slot]; !taken && !d.slots[slot] && slot != rootDevice(d.guest) {
			value := storage + ":cloudinit"
			d.api.put(slot, value, change("cloudInit", "", "drive "+slot+" on "+storage, v1alpha1.ImpactNone))
			return
		}
	}
	d.refuse(stall(DeviceTakenReason, "cloudInit", "VM %d has no free ide0 to ide3 for the cloud-init drive: free one", d.seen.ref.VMID))
}

// sshKeys declares the public keys. The plan shows their number and a hash.
func (d *draft) sshKeys() {
	if len(d.seen.keys) == 0 {
		return
	}
	d.declared["sshkeys"] = true
	now, err := proxmox.DecodeSSHKeys(d.now["sshkeys"])
	if err == nil && slices.Equal(now, d.seen.keys) {
		return
	}
	d.api.put("sshkeys", proxmox.EncodeSSHKeys(d.seen.keys),
		change("cloudInit.sshKeysSecretRef", keysText(now), keysText(d.seen.keys), v1alpha1.ImpactNone))
}

func keysText(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.Join(keys, "\n")))
	return fmt.Sprintf("%d keys (%s)", len(keys), hex.EncodeToString(sum[:4]))
}

// ipConfig declares the addresses of one interface.
func (d *draft) ipConfig(n v1alpha1.Network) {
	key := "ipconfig" + strings.TrimPrefix(n.Device, "net")
	field := "networks[" + n.Device + "]"
	d.declared[key] = true
	now, err := proxmox.ParseIPConfig(d.now[key])
	if err != nil {
		d.unreadable(field, err)
		return
	}
	changes := d.addressChanges(field, n, addresses{&now.IP, &now.GW, &now.IP6, &now.GW6})
	d.encoded(field, key, now.Encode, changes)
}
