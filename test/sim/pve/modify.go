// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"net/http"
	"strings"
)

// optionPrivileges are the privileges that changing an option needs.
var optionPrivileges = map[string]map[string]string{
	kindLXC: {
		"rootfs": "VM.Config.Disk", "mp": "VM.Config.Disk", "unused": "VM.Config.Disk",
		"cores": "VM.Config.CPU", "cpuunits": "VM.Config.CPU", "cpulimit": "VM.Config.CPU",
		"memory": "VM.Config.Memory", "swap": "VM.Config.Memory",
		"net": "VM.Config.Network", "nameserver": "VM.Config.Network", "searchdomain": "VM.Config.Network", "hostname": "VM.Config.Network",
	},
	kindQEMU: {
		"scsi": "VM.Config.Disk", "virtio": "VM.Config.Disk", "sata": "VM.Config.Disk", "ide": "VM.Config.Disk",
		"unused": "VM.Config.Disk", "efidisk0": "VM.Config.Disk", "tpmstate0": "VM.Config.Disk",
		"cores": "VM.Config.CPU", "sockets": "VM.Config.CPU", "cpu": "VM.Config.CPU", "cpuunits": "VM.Config.CPU", "cpulimit": "VM.Config.CPU",
		"numa": "VM.Config.CPU", "vcpus": "VM.Config.CPU", "affinity": "VM.Config.CPU",
		"memory": "VM.Config.Memory", "balloon": "VM.Config.Memory", "shares": "VM.Config.Memory", "hugepages": "VM.Config.Memory",
		"net": "VM.Config.Network", "ipconfig": "VM.Config.Cloudinit", "nameserver": "VM.Config.Cloudinit", "searchdomain": "VM.Config.Cloudinit",
		"cicustom": "VM.Config.Cloudinit", "cipassword": "VM.Config.Cloudinit", "citype": "VM.Config.Cloudinit", "ciuser": "VM.Config.Cloudinit",
		"sshkeys": "VM.Config.Cloudinit", "ciupgrade": "VM.Config.Cloudinit", "cdrom": "VM.Config.CDROM",
		"bios": "VM.Config.HWType", "machine": "VM.Config.HWType", "scsihw": "VM.Config.HWType", "vga": "VM.Config.HWType",
		"audio0": "VM.Config.HWType", "rng0": "VM.Config.HWType", "serial": "VM.Config.HWType", "usb": "VM.Config.HWType",
		"args": "", "lock": "", "hostpci": "", "parallel": "", "ivshmem": "", "hookscript": "", "virtiofs": "",
	},
}

// mayModify checks each option that a caller wants to set or delete. What only
// root@pam may do is refused to everybody else, tokens of root included.
func (c *call) mayModify(g *guest, set map[string]string, gone []string) error {
	if c.user.root() {
		return nil
	}
	keys := append(sortedNames(set), gone...)
	for _, key := range keys {
		if err := c.mayModifyOption(g, key, set[key]); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) mayModifyOption(g *guest, key, value string) error {
	if err := c.rootOnly(g, key, value); err != nil {
		return err
	}
	base := key
	if m := numbered.FindStringSubmatch(key); m != nil {
		base = m[1]
	}
	table := optionPrivileges[g.kind]
	privilege, ok := table[key]
	if !ok {
		privilege, ok = table[base]
	}
	if !ok {
		privilege = "VM.Config.Options"
	}
	if g.kind == kindQEMU && isCDROM(value) && privilege == "VM.Config.Disk" {
		privilege = "VM.Config.CDROM"
	}
	return c.need("/vms/"+c.params["vmid"], privilege)
}

// rootOnly refuses the options that Proxmox keeps for root@pam.
func (c *call) rootOnly(g *guest, key, value string) error {
	base := key
	if m := numbered.FindStringSubmatch(key); m != nil {
		base = m[1]
	}
	if g.kind == kindQEMU {
		if text, known := optionPrivileges[kindQEMU][base]; known && text == "" {
			return permError("only root can set '" + key + "' config")
		}
		return nil
	}
	switch {
	case key == "lock":
		return permError("changing the lock is only allowed for root@pam")
	case base == "dev" && base != key:
		return permError("configuring device passthrough is only allowed for root@pam")
	case key == "hookscript":
		return permError("changing the hookscript is only allowed for root@pam")
	case (base == "mp" || key == "rootfs") && value != "":
		return c.bindMount(g, key, value)
	case (base == "mp" && g.conf.main[key] != ""):
		return c.bindMount(g, key, g.conf.main[key])
	case key == "features":
		return c.mayChangeFeatures(g, value)
	}
	return nil
}

func (c *call) bindMount(g *guest, key, value string) error {
	f := optionFormat(g.kind, key)
	values, _ := f.parse(g.kind, key, value)
	source := values[f.defaultKey]
	switch {
	case strings.HasPrefix(source, "/dev/"):
		return permError("mount point type device is only allowed for root@pam")
	case strings.HasPrefix(source, "/"):
		return permError("mount point type bind is only allowed for root@pam")
	}
	return nil
}

// mayChangeFeatures allows nesting alone, and that for unprivileged containers.
func (c *call) mayChangeFeatures(g *guest, value string) error {
	unprivileged := g.conf.main["unprivileged"] == "1" || c.params["unprivileged"] == "1"
	if !unprivileged {
		return permError("changing feature flags for privileged container is only allowed for root@pam")
	}
	old, wanted := looseParse(g.conf.main["features"]), looseParse(value)
	for _, values := range []map[string]string{old, wanted} {
		for flag := range values {
			if flag != "" && flag != "nesting" && old[flag] != wanted[flag] {
				return permError("changing feature flags (except nesting) is only allowed for root@pam")
			}
		}
	}
	return nil
}

// skipLock refuses skiplock to everybody but root@pam.
func (c *call) skipLock() error {
	if c.params["skiplock"] == "1" && !c.user.root() {
		return &apiError{
			status: http.StatusBadRequest, reason: badParams,
			fields: fieldErrors{"skiplock": "Only root may use this option."},
		}
	}
	return nil
}

// maySpend checks the right to allocate on every storage that disks go to.
func (c *call) maySpend(kind string, params map[string]string) error {
	for _, storage := range newVolumesWanted(kind, params) {
		if c.storages[storage] == nil {
			return failf("storage '%s' does not exist", storage)
		}
		if err := c.need("/storage/"+storage, "Datastore.AllocateSpace"); err != nil {
			return err
		}
	}
	return nil
}
