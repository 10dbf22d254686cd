// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// propertyFormats are the property strings, one key a line:
//
//	[*]key[!] type[(bounds or values)]
//
// A star marks the default key (its value may stand without the key), an
// exclamation mark a key that must be there.
var propertyFormats = map[string]string{
	"lxc.net": `name! str[-_.\w\d]+
bridge str[-_.\w\d]+
hwaddr format(mac-addr)
mtu int(64,65535)
ip format(pve-ipv4-config)
gw format(ipv4)
ip6 format(pve-ipv6-config)
gw6 format(ipv6)
firewall bool
host-managed bool
tag int(1,4094)
trunks str\d+(?:;\d+)*
rate num(0)
type enum(veth)
link_down bool`,
	"lxc.rootfs": lxcVolume,
	"lxc.mp":     lxcVolume + "\nbackup bool\nkeepattrs bool\nmp! format(lxc-mp-path)",
	"lxc.unused": "*volume! format(pve-volume-id)",
	"lxc.features": `force_rw_sys bool
fuse bool
keyctl bool
mknod bool
mount str\w+(?:;\w+)*
nesting bool`,
	"lxc.dev": `*path format(pve-lxc-dev-string)
deny-write bool
gid int(0)
mode str0[0-7]{3}
uid int(0)`,
	"qemu.net": `*model! enum(e1000|e1000-82540em|e1000-82544gc|e1000-82545em|e1000e|i82551|i82557b|i82559er|ne2k_isa|ne2k_pci|pcnet|rtl8139|virtio|vmxnet3)
macaddr format(mac-addr)
bridge str[-_.\w\d]+
queues int(0,64)
rate num(0)
tag int(1,4094)
trunks str\d+(?:-\d+)?(?:;\d+(?:-\d+)?)*
firewall bool
link_down bool
host-managed bool
mtu int(1,65520)`,
	"qemu.scsi": qemuDrive, "qemu.virtio": qemuDrive, "qemu.sata": qemuDrive, "qemu.ide": qemuDrive,
	"qemu.efidisk0": `*file! format(pve-volume-id-or-qm-path)
efitype enum(2m|4m)
format enum(raw|qcow|qed|qcow2|vmdk|cloop)
import-from str.+
ms-cert enum(2011|2023|2023w|2023k)
pre-enrolled-keys bool
size format(disk-size)`,
	"qemu.tpmstate0": `*file! format(pve-volume-id-or-qm-path)
format enum(raw|qcow2|vmdk)
import-from str.+
size format(disk-size)
version enum(v1.2|v2.0)`,
	"qemu.unused": "*file! format(pve-volume-id)",
	"qemu.agent": `*enabled! bool
freeze-fs-on-backup bool
fstrim_cloned_disks bool
guest-fsfreeze bool
type enum(virtio|isa)`,
	"qemu.memory": "*current! int(16)",
	"qemu.machine": `*type str(pc|pc(-i440fx)?-\d+(\.\d+)+(\+pve\d+)?(\.pxe)?|q35|pc-q35-\d+(\.\d+)+(\+pve\d+)?(\.pxe)?|virt(?:-\d+(\.\d+)+)?(\+pve\d+)?)
aw-bits num(32,64)
enable-s3 bool
enable-s4 bool
viommu enum(intel|virtio)`,
	"qemu.vga": `*type enum(cirrus|qxl|qxl2|qxl3|qxl4|none|serial0|serial1|serial2|serial3|std|virtio|virtio-gl|vmware)
clipboard enum(vnc)
memory int(4,512)`,
	"qemu.audio0":  "device! enum(ich9-intel-hda|intel-hda|AC97)\ndriver enum(spice|none)",
	"qemu.usb":     "*host str.+\nmapping str.+\nusb3 bool",
	"qemu.ivshmem": "size! int(1)\nname str[a-zA-Z0-9\\-]+",
	"qemu.numa": `cpus! str[\d;-]+
hostnodes str[\d;-]+
memory num
policy enum(preferred|bind|interleave)`,
	"qemu.spice_enhancements": "foldersharing bool\nvideostreaming enum(off|all|filter)",
	"qemu.virtiofs": `*dirid! str[A-Za-z][\w\-.]*
cache enum(auto|always|metadata|never)
direct-io bool
expose-acl bool
expose-xattr bool`,
	".log_ratelimit": `*enable! bool
burst int(0)
rate str[1-9][0-9]*/(?:second|minute|hour|day)`,
	"pve-vm-cpu-conf": `*cputype str[-+.\w]+
flags str[-+;.\w]+
guest-phys-bits int(32,64)
hidden bool
hv-vendor-id str[a-zA-Z0-9]{1,12}
phys-bits strhost|\d+
reported-model str[-.\w]+`,
	"pve-qm-ipconfig": `ip format(pve-ipv4-config)
gw format(ipv4)
ip6 format(pve-ipv6-config)
gw6 format(ipv6)`,
	"pve-qm-cicustom": `meta format(pve-volume-id)
network format(pve-volume-id)
user format(pve-volume-id)
vendor format(pve-volume-id)`,
	"pve-qm-boot":     "*legacy str[acdn]{1,4}\norder str[\\w;]*",
	"pve-qm-watchdog": "*model enum(i6300esb|ib700)\naction enum(reset|shutdown|poweroff|pause|debug|none)",
	"pve-qm-rng":      "*source! enum(/dev/urandom|/dev/random|/dev/hwrng)\nmax_bytes int(0)\nperiod int(0)",
	"pve-qm-smbios1": `base64 bool
family str[A-Za-z0-9+/]+={0,2}
manufacturer str[A-Za-z0-9+/]+={0,2}
product str[A-Za-z0-9+/]+={0,2}
serial str[A-Za-z0-9+/]+={0,2}
sku str[A-Za-z0-9+/]+={0,2}
uuid str[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}
version str[A-Za-z0-9+/]+={0,2}`,
	"pve-qm-ide": qemuDrive,
	"pve-qm-hostpci": `*host str.+
device-id str.+
legacy-igd bool
mapping str.+
mdev str.+
pcie bool
rombar bool
romfile str.+
sub-device-id str.+
sub-vendor-id str.+
vendor-id str.+
x-vga bool`,
	"pve-qemu-sev-fmt": `*type! enum(std|es|snp)
allow-smt bool
kernel-hashes bool
no-debug bool
no-key-sharing bool`,
	"pve-qemu-tdx-fmt": "*type! enum(tdx)\nattestation bool\nvsock-cid int(2)\nvsock-port int(0)",
}

const lxcVolume = `*volume! format(pve-lxc-mp-string)
acl bool
mountoptions str(?:discard|lazytime|noatime|nodev|noexec|nosuid|idmap)(?:;(?:discard|lazytime|noatime|nodev|noexec|nosuid))*
quota bool
replicate bool
ro bool
shared bool
idmap str.+
size format(disk-size)`

const qemuDrive = `*file! format(pve-volume-id-or-qm-path)
aio enum(native|threads|io_uring)
backup bool
bps int(0)
bps_rd int(0)
bps_wr int(0)
cache enum(none|writethrough|writeback|unsafe|directsync)
detect_zeroes bool
discard enum(ignore|on)
format enum(raw|qcow|qed|qcow2|vmdk|cloop)
import-from str.+
iops int(0)
iops_max int(0)
iops_rd int(0)
iops_rd_max int(0)
iops_wr int(0)
iops_wr_max int(0)
iothread bool
mbps num(0)
mbps_max num(0)
mbps_rd num(0)
mbps_rd_max num(0)
mbps_wr num(0)
mbps_wr_max num(0)
media enum(cdrom|disk)
model str.+
product str.+
queues int(2)
replicate bool
rerror enum(ignore|report|stop)
ro bool
scsiblock bool
serial str[^,]{1,60}
shared bool
size format(disk-size)
snapshot bool
ssd bool
vendor str.+
werror enum(enospc|ignore|report|stop)
wwn str0x[0-9a-fA-F]{16}`

// propertyFormat is a parsed entry of propertyFormats.
type propertyFormat struct {
	keys       map[string]*property
	order      []string
	defaultKey string
}

var parsedFormats = sync.OnceValue(func() map[string]*propertyFormat {
	out := make(map[string]*propertyFormat, len(propertyFormats))
	for name, text := range propertyFormats {
		out[name] = parseFormat(text)
	}
	return out
})

var formatLine = regexp.MustCompile(`^(\*?)([\w-]+)(!?) (bool|int|num|enum|format|str)(.*)$`)

func parseFormat(text string) *propertyFormat {
	f := &propertyFormat{keys: map[string]*property{}}
	for _, line := range strings.Split(text, "\n") {
		match := formatLine.FindStringSubmatch(line)
		if match == nil {
			panic("property format line " + strconv.Quote(line))
		}
		p := &property{Optional: 1, defaultKey: match[1] != ""}
		if match[3] != "" {
			p.Optional = 0
		}
		p.setType(match[4], match[5])
		if p.defaultKey {
			f.defaultKey = match[2]
		}
		f.keys[match[2]] = p
		f.order = append(f.order, match[2])
	}
	return f
}

func (p *property) setType(name, detail string) {
	bounds := strings.Split(strings.Trim(detail, "()"), ",")
	switch name {
	case "bool":
		p.Type = "boolean"
	case "int", "num":
		p.Type = map[string]string{"int": "integer", "num": "number"}[name]
		if bounds[0] != "" {
			p.Minimum = bounds[0]
		}
		if len(bounds) > 1 {
			p.Maximum = bounds[1]
		}
	case "enum":
		p.Type, p.Enum = "string", strings.Split(strings.Trim(detail, "()"), "|")
	case "format":
		p.Type, p.Format = "string", strings.Trim(detail, "()")
	default:
		p.Type, p.Pattern = "string", detail
	}
	p.compile()
}

// propertyString is a parsed property string.
type propertyString map[string]string

// parse reads a property string; problems name each key with path in front.
func (f *propertyFormat) parse(kind, path, value string) (propertyString, string) {
	out := propertyString{}
	for _, part := range strings.Split(value, ",") {
		if part == "" {
			continue
		}
		key, val, found := strings.Cut(part, "=")
		switch {
		case !found && f.defaultKey == "":
			return nil, "value without key, but schema does not define a default key\n"
		case !found:
			key, val = f.defaultKey, part
		case f.keys[key] == nil && f.isModel(key):
			out[f.defaultKey] = key
			key = "macaddr"
		case f.keys[key] == nil && f.defaultKey != "" && strings.ContainsAny(key, "/:"):
			key, val = f.defaultKey, part
		}
		if _, twice := out[key]; twice {
			return nil, fmt.Sprintf("duplicate key in comma-separated list property: %s\n", key)
		}
		out[key] = val
	}
	return out, f.problems(kind, path, out)
}

// isModel tells whether a key of a VM's network is its model (virtio=MAC).
func (f *propertyFormat) isModel(key string) bool {
	p := f.keys["model"]
	return p != nil && p.defaultKey && p.checkText(key) == ""
}

func (f *propertyFormat) problems(kind, path string, values propertyString) string {
	errs := fieldErrors{}
	for key, value := range values {
		p := f.keys[key]
		if p == nil {
			errs[path+"."+key] = unknownProperty
			continue
		}
		clean, problem := p.check(value, kind, "", path+"."+key)
		if problem != "" {
			errs[path+"."+key] = problem
			continue
		}
		values[key] = clean
	}
	for key, p := range f.keys {
		if _, present := values[key]; !present && p.Optional == 0 {
			errs[path+"."+key] = missingProperty
		}
	}
	if len(errs) == 0 {
		return ""
	}
	var text strings.Builder
	text.WriteString("format error\n")
	for _, name := range errs.sorted() {
		text.WriteString(name + ": " + errs[name] + "\n")
	}
	return text.String()
}
