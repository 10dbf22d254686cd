// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"fmt"
	"regexp"
	"strings"
)

var newVolumePattern = regexp.MustCompile(`^[^/:\s]+:\d+(\.\d+)?$`)

// Disk is one drive of a VM: scsi[n], virtio[n], sata[n], ide[n], efidisk0. A
// zero member means that its key is not there.
type Disk struct {
	// Volume is "storage:name", or "storage:gigabytes" for one to be made (see
	// NewVolume), "storage:cloudinit" for the cloud-init drive, "none" for an
	// empty CD-ROM drive.
	Volume   string
	Size     int64 // bytes; Proxmox writes it, a change goes through Resize
	Format   string
	Media    string // "cdrom" or "disk"
	Cache    string
	Discard  string // "on" or "ignore"
	AIO      string
	Import   string // import-from: the volume or path that a new one is copied from
	Serial   string
	SSD      bool
	IOThread bool
	ReadOnly bool
	Backup   *bool // nil: Proxmox's default, which is to back up

	props Props
}

// ParseDisk reads a VM's drive.
func ParseDisk(s string) (Disk, error) {
	p, err := ParseProps(s, "file")
	if err != nil {
		return Disk{}, err
	}
	d := Disk{props: p}
	if err := decode(&p, d.fields()); err != nil {
		return Disk{}, fmt.Errorf("parse disk %q: %w", s, err)
	}
	return d, nil
}

// Encode renders the drive. What was parsed and did not change keeps its text
// and place, unknown keys included.
func (d Disk) Encode() (string, error) {
	p := d.props.Clone()
	p.defaultKey = "file"
	err := encode(&p, d.fields())
	return p.String(), err
}

// Storage is the storage that holds the volume; "" for none and for paths.
func (d Disk) Storage() string { return StorageOf(d.Volume) }

// IsNew says whether the volume is still to be made.
func (d Disk) IsNew() bool { return IsNewVolume(d.Volume) }

func (d *Disk) fields() []field {
	return []field{
		text("file", &d.Volume), text("aio", &d.AIO), maybeFlag("backup", &d.Backup), text("cache", &d.Cache),
		text("discard", &d.Discard), text("format", &d.Format), text("import-from", &d.Import),
		flag("iothread", &d.IOThread), text("media", &d.Media), flag("ro", &d.ReadOnly), text("serial", &d.Serial),
		size("size", &d.Size), flag("ssd", &d.SSD),
	}
}

// MountPoint is a container's rootfs (Path is empty) or mp[n]. A zero member
// means that its key is not there.
type MountPoint struct {
	// Volume is "storage:name", "storage:gigabytes" for one to be made, or an
	// absolute path or device on the node, which binds it.
	Volume   string
	Path     string // mp: where it is mounted in the container
	Size     int64  // bytes; Proxmox writes it, a change goes through Resize
	ReadOnly bool
	Backup   bool // Proxmox's default is not to back up a mount point
	Quota    bool
	Shared   bool
	ACL      *bool
	// Replicate nil is Proxmox's default, which is to replicate.
	Replicate *bool
	Options   []string // mountoptions, such as "noatime"

	props Props
}

// ParseMountPoint reads rootfs or mp[n].
func ParseMountPoint(s string) (MountPoint, error) {
	p, err := ParseProps(s, "volume")
	if err != nil {
		return MountPoint{}, err
	}
	m := MountPoint{props: p}
	if err := decode(&p, m.fields()); err != nil {
		return MountPoint{}, fmt.Errorf("parse mount point %q: %w", s, err)
	}
	return m, nil
}

// Encode renders rootfs or mp[n]. What was parsed and did not change keeps its
// text and place, unknown keys included.
func (m MountPoint) Encode() (string, error) {
	p := m.props.Clone()
	p.defaultKey = "volume"
	err := encode(&p, m.fields())
	return p.String(), err
}

// IsBind says whether a path of the node is mounted; only root may set that.
func (m MountPoint) IsBind() bool { return strings.HasPrefix(m.Volume, "/") }

// Storage is the storage that holds the volume; "" for a bind mount.
func (m MountPoint) Storage() string { return StorageOf(m.Volume) }

// IsNew says whether the volume is still to be made.
func (m MountPoint) IsNew() bool { return IsNewVolume(m.Volume) }

func (m *MountPoint) fields() []field {
	return []field{
		text("volume", &m.Volume), text("mp", &m.Path), maybeFlag("acl", &m.ACL), flag("backup", &m.Backup),
		list("mountoptions", ";", &m.Options), flag("quota", &m.Quota), maybeFlag("replicate", &m.Replicate),
		flag("ro", &m.ReadOnly), flag("shared", &m.Shared), size("size", &m.Size),
	}
}

// StorageOf returns the storage of a volume's name, "" where there is none.
func StorageOf(volume string) string {
	storage, _, found := strings.Cut(volume, ":")
	if !found || strings.HasPrefix(volume, "/") {
		return ""
	}
	return storage
}

// IsNewVolume says whether a volume's name asks for a new one:
// "storage:gigabytes".
func IsNewVolume(volume string) bool { return newVolumePattern.MatchString(volume) }
