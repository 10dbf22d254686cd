// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// shown renders steps as "Reason [held] field: from -> to (Impact)".
func stepTexts(steps []reconcile.Step) []string {
	var out []string
	for _, s := range steps {
		held := ""
		if s.Held != "" {
			held = " held"
		}
		out = append(out, s.Reason+held+" "+strings.Join(texts(s.Changes), "; "))
	}
	return out
}

// TestSteps: which steps are planned, in which order.
func TestSteps(t *testing.T) {
	stopped := func(s *v1alpha1.GuestSpec) { s.Power = v1alpha1.PowerStopped }
	bind := func(s *v1alpha1.GuestSpec) {
		s.MountPoints = []v1alpha1.MountPoint{{Path: "/data", Bind: &v1alpha1.Bind{Path: "/srv/data"}, ReadOnly: ptr(true)}}
	}
	exported := func(s *v1alpha1.GuestSpec) {
		s.MountPoints = []v1alpha1.MountPoint{{Path: "/media", Export: exportedMedia, ReadOnly: ptr(true)}}
	}
	exports := func(e export) func(*Seen) {
		return func(s *Seen) { s.exports = map[v1alpha1.ExportReference]export{*exportedMedia: e} }
	}
	media := export{path: "/exports/media", host: "home", node: "phoenix"}
	runs := func(s *Seen) { s.status.Running = true }
	shell := func(s *Seen) { s.status.Running, s.hasShell = true, true }
	cases := []struct {
		reason string
		typ    v1alpha1.GuestType
		spec   func(*v1alpha1.GuestSpec)
		now    config
		slots  []string
		seen   func(*Seen)
		want   []string
	}{
		{reason: "in sync", typ: ct, seen: runs},
		{reason: "it is off and should run", typ: ct, want: []string{"Starting power: Stopped -> Running (None)"}},
		{reason: "it runs and should be off", typ: vm, spec: stopped, seen: runs, want: []string{"Stopping power: Running -> Stopped (Outage)"}},
		{reason: "it is off, as it should be", typ: vm, spec: stopped},
		{reason: "a template has no power", typ: vm, seen: func(s *Seen) { s.template = true }},
		{reason: "the control plane's own guest is not stopped", typ: vm, spec: stopped,
			seen: func(s *Seen) { s.status.Running, s.host.controlPlane = true, "web" }, want: []string{"ControlPlaneGuest power: Running -> Stopped (None)"}},
		{reason: "the order: write, grow, root, power; what cannot be had last", typ: ct, seen: func(s *Seen) { s.hasShell = true },
			spec: func(s *v1alpha1.GuestSpec) {
				s.Cores, s.RootDisk = ptr(int32(2)), &v1alpha1.RootDisk{Storage: "tank", Size: size("8Gi")}
				bind(s)
			}, now: config{"rootfs": "local:1,size=4G"},
			want: []string{"Configuring cores:  -> 2 (None)", "Growing rootDisk.size: 4G -> 8G (None)",
				"ConfiguringAsRoot mountPoints[/data].bind.path:  -> /srv/data (None); mountPoints[/data].readOnly: false -> true (None)",
				"Starting power: Stopped -> Running (None)", "MoveRefused rootDisk.storage: local -> tank (None)"}},
		{reason: "a disk cannot shrink", typ: ct, seen: runs, spec: func(s *v1alpha1.GuestSpec) { s.RootDisk = &v1alpha1.RootDisk{Size: size("4Gi")} }, now: config{"rootfs": "local:1,size=8G"},
			want: []string{"ShrinkRefused rootDisk.size: 8G -> 4G (None)"}},
		{reason: "a disk that was made in whole GiB is large enough", typ: ct, seen: runs, spec: func(s *v1alpha1.GuestSpec) { s.RootDisk = &v1alpha1.RootDisk{Size: size("1536Mi")} }, now: config{"rootfs": "local:1,size=2G"}},
		{reason: "a size that is not known is not compared", typ: ct, seen: runs, spec: func(s *v1alpha1.GuestSpec) { s.RootDisk = &v1alpha1.RootDisk{Size: size("8Gi")} }, now: config{"rootfs": "local:1"}},
		{reason: "every disk grows by itself", typ: vm, seen: runs, slots: []string{"scsi1"}, spec: func(s *v1alpha1.GuestSpec) {
			s.RootDisk = &v1alpha1.RootDisk{Size: size("8Gi")}
			s.Disks = []v1alpha1.Disk{{Device: "scsi1", Size: *size("3Gi")}}
		}, now: config{"scsi0": "local:1,size=2G", "scsi1": "tank:1,size=1G"},
			want: []string{"Growing rootDisk.size: 2G -> 8G (None)", "Growing disks[scsi1].size: 1G -> 3G (None)"}},
		{reason: "a mount point's volume grows", typ: ct, seen: runs, slots: []string{"mp0"}, spec: func(s *v1alpha1.GuestSpec) {
			s.MountPoints = []v1alpha1.MountPoint{{Path: "/data", Volume: &v1alpha1.Volume{Size: *size("8Gi")}}}
		}, now: config{"mp0": "local:1,mp=/data,size=4G"}, want: []string{"Growing mountPoints[/data].volume.size: 4G -> 8G (None)"}},
		{reason: "the root disk is elsewhere in the template", typ: vm, seen: runs, spec: func(s *v1alpha1.GuestSpec) { s.RootDisk = &v1alpha1.RootDisk{Size: size("8Gi")} },
			now: config{"virtio0": "local:1,size=2G", "ide2": "none,media=cdrom"}, want: []string{"RootDiskMissing rootDisk.device:  ->  (None)"}},
		{reason: "a disk cannot be where a CD-ROM drive is", typ: vm, seen: runs, spec: func(s *v1alpha1.GuestSpec) { s.Disks = []v1alpha1.Disk{{Device: "ide2", Size: *size("1Gi")}} },
			now: config{"ide2": "none,media=cdrom"}, want: []string{"DeviceTaken disks[ide2].device:  ->  (None)"}},

		{reason: "a bind mount is root's to write", typ: ct, spec: bind, seen: shell,
			want: []string{"ConfiguringAsRoot mountPoints[/data].bind.path:  -> /srv/data (Reload); mountPoints[/data].readOnly: false -> true (Reload)"}},
		{reason: "without SSH it is named, and holds nothing up", typ: ct, spec: bind,
			want: []string{"Starting power: Stopped -> Running (None)", "RootOnly mountPoints[/data].bind.path:  -> /srv/data (None); mountPoints[/data].readOnly: false -> true (None)"}},
		{reason: "a bind mount in sync", typ: ct, spec: bind, seen: runs, slots: []string{"mp0"}, now: config{"mp0": "/srv/data,mp=/data,ro=1"}},
		{reason: "a path that the Host does not allow", typ: ct, seen: shell,
			spec: func(s *v1alpha1.GuestSpec) {
				s.MountPoints = []v1alpha1.MountPoint{{Path: "/data", Bind: &v1alpha1.Bind{Path: "/srvx"}}}
			}, want: []string{"PathNotAllowed mountPoints[/data].bind.path:  -> /srvx (None)"}},
		{reason: "features with root's help go in one call", typ: ct, seen: shell, spec: func(s *v1alpha1.GuestSpec) {
			s.Features = &v1alpha1.Features{Nesting: ptr(true), Keyctl: ptr(true), FUSE: ptr(true), Mknod: ptr(false)}
		}, want: []string{"ConfiguringAsRoot features.nesting: false -> true (None); features.keyctl: false -> true (None); features.fuse: false -> true (None)"}},
		{reason: "without it, nesting goes by itself", typ: ct, seen: runs, spec: func(s *v1alpha1.GuestSpec) { s.Features = &v1alpha1.Features{Nesting: ptr(true), Keyctl: ptr(true)} },
			want: []string{"Configuring features.nesting: false -> true (None)", "RootOnly features.keyctl: false -> true (None)"}},
		{reason: "a privileged container's nesting is root's", typ: ct, seen: shell, spec: func(s *v1alpha1.GuestSpec) { s.Features = &v1alpha1.Features{Nesting: ptr(true)} },
			now: config{"unprivileged": "0"}, want: []string{"ConfiguringAsRoot features.nesting: false -> true (None)"}},
		{reason: "unprivileged cannot be changed", typ: ct, seen: runs, spec: func(s *v1alpha1.GuestSpec) { s.Unprivileged = ptr(false) },
			want: []string{"UnprivilegedDiffers unprivileged: true -> false (None)"}},

		{reason: "dropped by the spec: a network goes, a volume is kept", typ: ct, seen: runs, slots: []string{"mp0", "net1"},
			now:  config{"mp0": "local:vm-103-disk-1,mp=/data,size=1G", "net1": "name=eth1,bridge=vmbr0", "net2": "name=eth2,bridge=vmbr0"},
			want: []string{"Configuring mountPoints[/data]: local:vm-103-disk-1 -> unused: the data is kept (Outage); networks[net1]: name=eth1,bridge=vmbr0 ->  (Outage)"}},
		{reason: "dropped by the spec: a disk is kept; a CD-ROM drive and the root disk are not touched", typ: vm, slots: []string{"ide2", "scsi0", "scsi1"},
			now:  config{"scsi0": "local:0,size=1G", "scsi1": "local:1,size=1G", "ide2": "none,media=cdrom"},
			want: []string{"Configuring disks[scsi1]: local:1 -> unused: the data is kept (None)", "Starting power: Stopped -> Running (None)"}},
		{reason: "dropped by the spec: a bind mount is root's to take out", typ: ct, seen: shell, slots: []string{"mp0"}, now: config{"mp0": "/srv/data,mp=/data"},
			want: []string{"ConfiguringAsRoot mountPoints[/data]: /srv/data ->  (Outage)"}},
		{reason: "a volume becomes a bind mount: first it is taken out", typ: ct, seen: shell, spec: bind, slots: []string{"mp0"}, now: config{"mp0": "local:1,mp=/data,size=1G"},
			want: []string{"Configuring mountPoints[/data]: local:1 -> unused: the data is kept (Outage)"}},
		{reason: "a bind mount becomes a volume: first it is taken out", typ: ct, seen: shell, slots: []string{"mp0"}, now: config{"mp0": "/srv/data,mp=/data"},
			spec: func(s *v1alpha1.GuestSpec) {
				s.MountPoints = []v1alpha1.MountPoint{{Path: "/data", Volume: &v1alpha1.Volume{Size: *size("1Gi")}}}
			}, want: []string{"ConfiguringAsRoot mountPoints[/data]: /srv/data ->  (Outage)"}},
		{reason: "somebody else's mount is in the way", typ: ct, spec: bind, seen: shell, now: config{"mp0": "local:1,mp=/data,size=1G"},
			want: []string{"DeviceTaken mountPoints[/data]:  ->  (None)"}},

		{reason: "an export is mounted as the directory that it is, by root", typ: ct, spec: exported, seen: all(shell, exports(media)),
			want: []string{"ConfiguringAsRoot mountPoints[/media].export:  -> /exports/media (Reload); mountPoints[/media].readOnly: false -> true (Reload)"}},
		{reason: "an export in sync", typ: ct, spec: exported, seen: all(runs, exports(media)), slots: []string{"mp0"}, now: config{"mp0": "/exports/media,mp=/media,ro=1"}},
		{reason: "an export that was moved to another directory", typ: ct, spec: exported, seen: all(shell, exports(media)), slots: []string{"mp0"}, now: config{"mp0": "/exports/old,mp=/media,ro=1"},
			want: []string{"ConfiguringAsRoot mountPoints[/media].export: /exports/old -> /exports/media (Reload)"}},
		{reason: "an export without SSH is named, and holds nothing up", typ: ct, spec: exported, seen: exports(media),
			want: []string{"Starting power: Stopped -> Running (None)", "RootOnly mountPoints[/media].export:  -> /exports/media (None); mountPoints[/media].readOnly: false -> true (None)"}},
		{reason: "a volume becomes an export: first it is taken out", typ: ct, seen: all(shell, exports(media)), spec: exported, slots: []string{"mp0"}, now: config{"mp0": "local:1,mp=/media,size=1G"},
			want: []string{"Configuring mountPoints[/media]: local:1 -> unused: the data is kept (Outage)"}},
		{reason: "an export that cannot be had: what is mounted stays", typ: ct, seen: all(shell, exports(export{missing: "no"})), spec: exported, slots: []string{"mp0"}, now: config{"mp0": "local:1,mp=/media,size=1G"},
			want: []string{"ExportMissing mountPoints[/media].export: local:1 ->  (None)"}},
		{reason: "an export in a guest is no directory of the node", typ: ct, seen: all(shell, exports(export{path: "/exports/media"})), spec: exported,
			want: []string{"ExportElsewhere mountPoints[/media].export:  ->  (None)"}},
		{reason: "an export of another Host", typ: ct, seen: all(shell, exports(export{path: "/exports/media", host: "away", node: "phoenix"})), spec: exported,
			want: []string{"ExportElsewhere mountPoints[/media].export:  ->  (None)"}},
		{reason: "an export of another node", typ: ct, seen: all(shell, exports(export{path: "/exports/media", host: "home", node: "pve2"})), spec: exported,
			want: []string{"ExportElsewhere mountPoints[/media].export:  ->  (None)"}},
		{reason: "a path that may be bound may not be exported", typ: ct, seen: all(shell, exports(export{path: "/srv/media", host: "home", node: "phoenix"})), spec: exported,
			want: []string{"PathNotAllowed mountPoints[/media].export:  -> /srv/media (None)"}},

		{reason: "dropped and declared again before the restart: a network keeps its MAC address", typ: vm, slots: []string{"net1"},
			spec: func(s *v1alpha1.GuestSpec) { s.Networks = []v1alpha1.Network{{Device: "net1"}} },
			seen: func(s *Seen) {
				runs(s)
				s.pending = []proxmox.PendingChange{{Key: "net1", Value: "virtio=BC:24:11:00:00:01,bridge=vmbr0", Delete: true}}
			}, want: []string{"Configuring networks[net1]: leaves with the next restart -> virtio=BC:24:11:00:00:01,bridge=vmbr0 (None)"}},
		{reason: "dropped and declared again: a bind mount is made anew", typ: ct, spec: bind,
			seen: func(s *Seen) {
				shell(s)
				s.pending = []proxmox.PendingChange{{Key: "mp0", Value: "/srv/data,mp=/data", Delete: true}}
			},
			want: []string{"ConfiguringAsRoot mountPoints[/data].bind.path:  -> /srv/data (Reload); mountPoints[/data].readOnly: false -> true (Reload)"}},
		{reason: "a mount point that cannot be read: none is made in its place, none taken out", typ: ct, seen: runs, slots: []string{"mp0", "mp1"},
			now: config{"mp0": "local:vm-103-disk-1,mp=/data,ro=perhaps", "mp1": "local:vm-103-disk-2,mp=/other"},
			spec: func(s *v1alpha1.GuestSpec) {
				s.MountPoints = []v1alpha1.MountPoint{{Path: "/data", Volume: &v1alpha1.Volume{Size: *size("1Gi")}}}
			}, want: []string{"Unreadable mountPoints[mp0]:  ->  (None)"}},

		{reason: "pending: a restart is shown and held", typ: vm, spec: func(s *v1alpha1.GuestSpec) { s.Cores = ptr(int32(2)) }, now: config{"cores": "2"},
			seen: func(s *Seen) { runs(s); s.pending = []proxmox.PendingChange{{Key: "cores", Value: "1", Pending: "2"}} },
			want: []string{"RestartRequired held cores: 1 -> 2 (Restart)"}},
		{reason: "pending: a restart that is allowed", typ: vm, spec: func(s *v1alpha1.GuestSpec) {
			s.Cores, s.RestartPolicy = ptr(int32(2)), v1alpha1.RestartWhenRequired
		}, now: config{"cores": "2"}, seen: func(s *Seen) { runs(s); s.pending = []proxmox.PendingChange{{Key: "cores", Value: "1", Pending: "2"}} },
			want: []string{"RestartRequired cores: 1 -> 2 (Restart)"}},
		{reason: "pending, and a restart did not apply it: not again", typ: vm, spec: func(s *v1alpha1.GuestSpec) {
			s.Cores, s.RestartPolicy = ptr(int32(2)), v1alpha1.RestartWhenRequired
		}, now: config{"cores": "2"}, seen: func(s *Seen) {
			runs(s)
			s.vain, s.pending = true, []proxmox.PendingChange{{Key: "cores", Value: "1", Pending: "2"}}
		}, want: []string{"RestartFailed cores: 1 -> 2 (Restart)"}},
		{reason: "pending, but of nothing that is declared", typ: vm, seen: func(s *Seen) { runs(s); s.pending = []proxmox.PendingChange{{Key: "cores", Value: "1", Pending: "2"}} }},
		{reason: "pending in the control plane's own guest", typ: vm, spec: func(s *v1alpha1.GuestSpec) {
			s.Cores, s.RestartPolicy = ptr(int32(2)), v1alpha1.RestartWhenRequired
		}, now: config{"cores": "2"}, seen: func(s *Seen) {
			runs(s)
			s.host.controlPlane, s.pending = "web", []proxmox.PendingChange{{Key: "cores", Value: "1", Pending: "2"}}
		}, want: []string{"RestartRequired held cores: 1 -> 2 (Restart)"}},
		{reason: "a device that waits to leave", typ: ct, slots: []string{"mp0"}, seen: func(s *Seen) {
			runs(s)
			s.pending = []proxmox.PendingChange{{Key: "mp0", Value: "local:1,mp=/data", Delete: true}}
		}, want: []string{"RestartRequired held mp0: local:1,mp=/data ->  (Restart)"}},

		{reason: "an unused volume of ours is kept", typ: ct, seen: func(s *Seen) { runs(s); s.mark.detached = nil }, now: config{"unused0": "local:1"}},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			seen := presentSeen(c.typ, c.now, c.slots...)
			if c.seen != nil {
				c.seen(&seen)
			}
			got := stepTexts(new(Kind).Plan(newGuest(c.typ, c.spec), seen))
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

// TestMaking: how a guest is made, and what keeps it from being made.
func TestMaking(t *testing.T) {
	template := &proxmox.Resource{Ref: proxmox.Ref{Node: "phoenix", Type: proxmox.QEMU, VMID: 9000}, Template: true}
	clone := func(s *v1alpha1.GuestSpec) {
		s.Source = &v1alpha1.GuestSource{Clone: &v1alpha1.CloneSource{VMID: ptr(int32(9000))}}
		s.RootDisk = &v1alpha1.RootDisk{Size: size("8Gi")}
		s.CloudInit = &v1alpha1.CloudInit{}
	}
	cases := []struct {
		reason string
		typ    v1alpha1.GuestType
		spec   func(*v1alpha1.GuestSpec)
		seen   func(*Seen)
		want   []string
	}{
		{reason: "from a template", typ: ct, spec: func(s *v1alpha1.GuestSpec) { s.Source = &v1alpha1.GuestSource{Template: "local:vztmpl/x"} },
			want: []string{"Creating :  -> container 103 on phoenix (None)"}},
		{reason: "from nothing", typ: vm, want: []string{"Creating :  -> VM 103 on phoenix (None)"}},
		{reason: "a clone", typ: vm, spec: clone, seen: func(s *Seen) { s.source = template }, want: []string{"Cloning :  -> VM 103 on phoenix, a clone of 9000 (None)"}},
		{reason: "a container to be adopted that is not there", typ: ct, want: []string{"NoSource source:  ->  (None)"}},
		{reason: "no storage", typ: ct, spec: func(s *v1alpha1.GuestSpec) {
			s.Source = &v1alpha1.GuestSource{Template: "local:vztmpl/x"}
			s.MountPoints = []v1alpha1.MountPoint{{Path: "/data", Volume: &v1alpha1.Volume{Size: *size("1Gi")}}}
		}, seen: func(s *Seen) { s.host.defaults.Storage = "" },
			want: []string{"StorageMissing rootDisk.storage:  ->  (None)", "StorageMissing mountPoints[/data].volume.storage:  ->  (None)"}},
		{reason: "no storage for a VM", typ: vm, spec: func(s *v1alpha1.GuestSpec) {
			s.RootDisk, s.CloudInit = &v1alpha1.RootDisk{}, &v1alpha1.CloudInit{}
			s.Disks = []v1alpha1.Disk{{Device: "scsi1", Size: *size("1Gi")}}
		}, seen: func(s *Seen) { s.host.defaults.Storage = "" },
			want: []string{"StorageMissing rootDisk.storage:  ->  (None)", "StorageMissing disks[scsi1].storage:  ->  (None)", "StorageMissing cloudInit.storage:  ->  (None)"}},
		{reason: "an export of another node: nothing is made", typ: ct, spec: func(s *v1alpha1.GuestSpec) {
			s.Source = &v1alpha1.GuestSource{Template: "local:vztmpl/x"}
			s.MountPoints = []v1alpha1.MountPoint{{Path: "/media", Export: exportedMedia}}
		}, seen: func(s *Seen) {
			s.exports = map[v1alpha1.ExportReference]export{*exportedMedia: {path: "/exports/media", host: "home", node: "pve2"}}
		}, want: []string{"ExportElsewhere mountPoints[/media].export:  ->  (None)"}},
		{reason: "a path that is not allowed: nothing is made", typ: ct, spec: func(s *v1alpha1.GuestSpec) {
			s.Source = &v1alpha1.GuestSource{Template: "local:vztmpl/x"}
			s.MountPoints = []v1alpha1.MountPoint{{Path: "/data", Bind: &v1alpha1.Bind{Path: "/etc"}}}
		}, want: []string{"PathNotAllowed mountPoints[/data].bind.path:  -> /etc (None)"}},
		{reason: "what was refused while observing", typ: vm, seen: func(s *Seen) { s.refusals = []refusal{*fail(SecretMissingReason, "cloudInit.sshKeysSecretRef", "x")} },
			want: []string{"SecretMissing cloudInit.sshKeysSecretRef:  ->  (None)"}},
		{reason: "no room for a cloud-init drive", typ: vm, spec: func(s *v1alpha1.GuestSpec) {
			s.CloudInit = &v1alpha1.CloudInit{}
			s.RootDisk = &v1alpha1.RootDisk{Device: "ide0"}
			s.Disks = []v1alpha1.Disk{{Device: "ide1", Size: *size("1Gi")}, {Device: "ide2", Size: *size("1Gi")}, {Device: "ide3", Size: *size("1Gi")}}
		}, want: []string{"DeviceTaken cloudInit:  ->  (None)"}},
		{reason: "nothing was looked at", typ: vm, seen: func(s *Seen) { s.presence = unknown }},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			seen := absentSeen()
			if c.seen != nil {
				c.seen(&seen)
			}
			got := stepTexts(new(Kind).Plan(newGuest(c.typ, c.spec), seen))
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAfterClone: the first write after a clone is like a creation: the Host's defaults stand in.
func TestAfterClone(t *testing.T) {
	m := mark{owner: testOwner, vmid: 103, stage: stageClone}
	seen := presentSeen(vm, config{"description": m.line(), "tags": "old;phoenix-000000000000", "name": "web",
		"scsi0": "tank:base,size=2G", "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0"})
	g := newGuest(vm, func(s *v1alpha1.GuestSpec) {
		s.RootDisk = &v1alpha1.RootDisk{Size: size("8Gi")}
		s.CloudInit = &v1alpha1.CloudInit{}
		s.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.111/24"}}}
	})
	d := newDraft(g, seen)
	want := config{
		"description": mark{owner: testOwner, vmid: 103, slots: []string{"net0"}}.line(), "tags": "old;" + testOwner.tag(),
		"nameserver": "10.0.0.13", "searchdomain": "lan", "ide2": "local-lvm:cloudinit", "ipconfig0": "ip=10.0.0.111/24,gw=10.0.0.1",
	}
	if diff := cmp.Diff(want, d.api.set); diff != "" {
		t.Errorf("first write (-want +got):\n%s", diff)
	}
	if len(d.grows) != 1 || d.grows[0].slot != "scsi0" {
		t.Errorf("the root disk grows to the declared size: got %v", d.grows)
	}
}

// TestMarkFollowsDevices: the mark names the declared devices that are there, and volumes that came out of them.
func TestMarkFollowsDevices(t *testing.T) {
	ours := func(slots, detached []string) config {
		return config{"description": mark{owner: testOwner, vmid: 103, slots: slots, detached: detached}.line()}
	}
	cases := []struct {
		reason  string
		spec    func(*v1alpha1.GuestSpec)
		now     config
		old     mark
		running bool
		pending []proxmox.PendingChange
		want    config // set by the API; nil: nothing
		root    config
	}{
		{reason: "adopted devices are taken into the mark", spec: func(s *v1alpha1.GuestSpec) {
			s.MountPoints = []v1alpha1.MountPoint{{Path: "/x", Volume: &v1alpha1.Volume{Size: *size("1Gi")}}}
		}, now: config{"mp4": "local:1,mp=/x,size=1G"}, want: ours([]string{"mp4"}, nil)},
		{reason: "a bind mount is marked by the call that makes it", spec: func(s *v1alpha1.GuestSpec) {
			s.MountPoints = []v1alpha1.MountPoint{{Path: "/x", Bind: &v1alpha1.Bind{Path: "/srv/x"}}}
		}, root: config{"mp0": "/srv/x,mp=/x", "description": ours([]string{"mp0"}, nil)["description"]}},
		{reason: "a volume that is taken out is remembered", old: mark{slots: []string{"mp0"}}, now: config{"mp0": "local:1,mp=/x,size=1G"}, want: ours(nil, []string{"local:1"})},
		{reason: "in a running guest its slot too: it may wait for a restart", running: true, old: mark{slots: []string{"mp0"}}, now: config{"mp0": "local:1,mp=/x,size=1G"},
			want: ours([]string{"mp0"}, []string{"local:1"})},
		{reason: "it waits for a restart", running: true, old: mark{slots: []string{"mp0"}, detached: []string{"local:1"}},
			pending: []proxmox.PendingChange{{Key: "mp0", Value: "local:1,mp=/x,size=1G", Delete: true}}},
		{reason: "it is out: its slot is forgotten, its volume is not", running: true, old: mark{slots: []string{"mp0"}, detached: []string{"local:1"}}, now: config{"unused0": "local:1"},
			want: ours(nil, []string{"local:1"})},
		{reason: "the volume is gone, or used again: it is forgotten", old: mark{detached: []string{"local:1"}}, want: ours(nil, nil)},
		{reason: "a bind mount that is taken out is forgotten by the same call", old: mark{slots: []string{"mp0"}}, now: config{"mp0": "/srv/x,mp=/x"},
			root: config{"description": ours(nil, nil)["description"]}},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			old := c.old
			old.owner, old.vmid = testOwner, 103
			now := config{"description": old.line() + "\n"}
			for k, v := range c.now {
				now[k] = v
			}
			seen := presentSeen(ct, now)
			seen.status.Running, seen.pending = c.running, c.pending
			d := newDraft(newGuest(ct, c.spec), seen)
			if diff := cmp.Diff(c.want, d.api.set, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("by the API (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.root, d.root.set, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("as root (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNotes: a person's text and the mark live in one field.
func TestNotes(t *testing.T) {
	line := mark{owner: testOwner, vmid: 103}.line()
	cases := []struct {
		reason string
		notes  *string
		now    string
		want   string // "" for no write
	}{
		{"undeclared text stays", nil, "Mine\n\n" + line + "\n", ""},
		{"a person wrote below the mark", nil, line + "\nMine\n", "Mine\n\n" + line},
		{"the mark was cut out, the tag is left", nil, "Mine\n", "Mine\n\n" + line},
		{"declared text is put back", ptr("Hello"), "Other\n\n" + line + "\n", "Hello\n\n" + line},
		{"declared text in sync, with another end", ptr("Hello\n"), "Hello\n\n" + line + "\n", ""},
		{"declared as empty", ptr(""), "Other\n\n" + line, line},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			seen := presentSeen(ct, config{"description": c.now})
			seen.marked = strings.Contains(c.now, fence)
			d := newDraft(newGuest(ct, func(s *v1alpha1.GuestSpec) { s.Notes = c.notes }), seen)
			if got := d.api.set["description"]; got != c.want {
				t.Errorf("notes: want %q, got %q", c.want, got)
			}
			if (c.want != "") != (len(d.api.changes) > 0) {
				t.Errorf("a write is shown in the plan: got %v", texts(d.api.changes))
			}
		})
	}
}

// TestUnreadable: a value that cannot be read is named, and stays.
func TestUnreadable(t *testing.T) {
	cases := []struct {
		reason, field string
		typ           v1alpha1.GuestType
		spec          func(*v1alpha1.GuestSpec)
		now           config
	}{
		{"memory", "memory", vm, func(s *v1alpha1.GuestSpec) { s.Memory = size("1Gi") }, config{"memory": "a=1,a=2"}},
		{"startup", "startup", ct, func(s *v1alpha1.GuestSpec) { s.Startup = &v1alpha1.Startup{Order: ptr(int32(1))} }, config{"startup": "order=x"}},
		{"agent", "agent", vm, func(s *v1alpha1.GuestSpec) { s.Agent = ptr(true) }, config{"agent": "x"}},
		{"network", "networks[net0]", ct, func(s *v1alpha1.GuestSpec) { s.Networks = []v1alpha1.Network{{Device: "net0"}} }, config{"net0": "x"}},
		{"root disk of a container", "rootDisk", ct, func(s *v1alpha1.GuestSpec) { s.RootDisk = &v1alpha1.RootDisk{} }, config{"rootfs": "a=1,a=2"}},
		{"root disk of a VM", "rootDisk", vm, func(s *v1alpha1.GuestSpec) { s.RootDisk = &v1alpha1.RootDisk{} }, config{"scsi0": "local:1,size=x"}},
		{"disk", "disks[scsi1]", vm, func(s *v1alpha1.GuestSpec) { s.Disks = []v1alpha1.Disk{{Device: "scsi1", Size: *size("1Gi")}} }, config{"scsi1": "a=1,a=2"}},
		{"mount point", "mountPoints[mp0]", ct, nil, config{"mp0": "local:1,size=x"}},
		{"features", "features", ct, func(s *v1alpha1.GuestSpec) { s.Features = &v1alpha1.Features{Nesting: ptr(true)} }, config{"features": "nesting=x"}},
		{"addresses of a VM", "networks[net0]", vm, func(s *v1alpha1.GuestSpec) {
			s.CloudInit = &v1alpha1.CloudInit{}
			s.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPDHCP}}}
		}, config{"ipconfig0": "x", "net0": "virtio=BC:24:11:73:4C:0A", "ide2": "x:cloudinit"}},
		{"a value that the format cannot carry", "networks[net0]", ct, func(s *v1alpha1.GuestSpec) { s.Networks = []v1alpha1.Network{{Device: "net0", Bridge: "a,b=c"}} }, nil},
		{"the same in an interface that is there", "networks[net0]", ct, func(s *v1alpha1.GuestSpec) { s.Networks = []v1alpha1.Network{{Device: "net0", Bridge: "a,b=c"}} }, config{"net0": "name=eth0,bridge=vmbr0"}},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			d := newDraft(newGuest(c.typ, c.spec), presentSeen(c.typ, c.now))
			if len(d.refusals) == 0 || d.refusals[0].reason != UnreadableReason || d.refusals[0].changes[0].Field != c.field {
				t.Fatalf("want %s refused as unreadable, got %v", c.field, d.refusals)
			}
			for key := range c.now {
				if _, written := d.api.set[key]; written {
					t.Errorf("%s is written although it could not be read", key)
				}
			}
		})
	}
}

// TestDestroyVolumes: a volume of ours that the spec dropped is destroyed only where deletionPolicy says so, by a step that
// needs an approval and that names it.
func TestDestroyVolumes(t *testing.T) {
	m := mark{owner: testOwner, vmid: 103, detached: []string{"local:1"}}
	now := config{"description": m.line(), "unused0": "local:1", "unused1": "local:2"}
	cases := []struct {
		reason string
		policy v1alpha1.DeletionPolicy
		seen   func(*Seen)
		want   []string
		held   string
	}{
		{reason: "unset is Retain"},
		{reason: "Retain", policy: v1alpha1.DeletionRetain},
		{reason: "Delete: ours, and nobody else's", policy: v1alpha1.DeletionDelete, want: []string{"DestroyingVolume unused0: local:1 ->  (Destroy)"}},
		{reason: "while locked it is shown only: no approval is spent", policy: v1alpha1.DeletionDelete, seen: func(s *Seen) { s.status.Lock = "backup" },
			want: []string{"DestroyingVolume held unused0: local:1 ->  (Destroy)"}, held: "container 103 is locked (backup)"},
		{reason: "while the site is in doubt too", policy: v1alpha1.DeletionDelete, seen: func(s *Seen) { s.doubt = "no quorum" },
			want: []string{"DestroyingVolume held unused0: local:1 ->  (Destroy)"}, held: "what the site shows is doubtful: no quorum"},
		{reason: "not before the mark is right", policy: v1alpha1.DeletionDelete, seen: func(s *Seen) { s.marked = false }},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			seen := presentSeen(ct, now)
			seen.status.Running = true
			if c.seen != nil {
				c.seen(&seen)
			}
			steps := new(Kind).Plan(newGuest(ct, func(s *v1alpha1.GuestSpec) { s.DeletionPolicy = c.policy }), seen)
			if diff := cmp.Diff(c.want, stepTexts(steps), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if len(steps) == 1 && (steps[0].Identity != "volume local:1" || steps[0].Held != c.held) {
				t.Errorf("identity %q, held %q", steps[0].Identity, steps[0].Held)
			}
		})
	}
}

// TestRemoveSteps: what is not provably ours is not destroyed.
func TestRemoveSteps(t *testing.T) {
	cases := []struct {
		reason string
		now    config
		seen   func(*Seen)
		want   []string
	}{
		{reason: "it runs", seen: func(s *Seen) { s.status.Running = true },
			want: []string{"Stopping power: Running -> Stopped (Outage)", "Destroying : container 103 ->  (Destroy)"}},
		{reason: "it is off", want: []string{"Destroying : container 103 ->  (Destroy)"}},
		{reason: "it is gone", seen: func(s *Seen) { s.presence = absent }},
		{reason: "its mark is not right", seen: func(s *Seen) { s.marked = false }},
		{reason: "it is protected", now: config{"protection": "1"}, want: []string{"Protected protection:  ->  (None)"}},
		{reason: "this control plane runs in it", seen: func(s *Seen) { s.host.controlPlane = "web" }, want: []string{"ControlPlaneGuest power:  ->  (None)"}},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			seen := presentSeen(ct, c.now)
			if c.seen != nil {
				c.seen(&seen)
			}
			got := new(Kind).Remove(newGuest(ct, nil), seen)
			if diff := cmp.Diff(c.want, stepTexts(got), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLocked: nothing is begun with a guest that Proxmox holds; in sync, it has nothing to wait for.
func TestLocked(t *testing.T) {
	seen := presentSeen(ct, config{"cores": "1"})
	seen.status.Lock = "backup"
	for _, s := range new(Kind).Plan(newGuest(ct, func(s *v1alpha1.GuestSpec) { s.Cores = ptr(int32(2)) }), seen) {
		err := s.Do(t.Context())
		if err == nil || err.Error() != "container 103 is locked (backup)" {
			t.Errorf("%s: want a wait for the lock, got %v", s.Reason, err)
		}
	}
	seen.status.Running = true
	if steps := new(Kind).Plan(newGuest(ct, nil), seen); len(steps) != 0 {
		t.Errorf("in sync and locked: want no steps, got %v", stepTexts(steps))
	}
}

// TestRefs: the graph of a Guest.
func TestRefs(t *testing.T) {
	host := reconcile.Through("Host", "home", v1alpha1.ReachableCondition)
	from := func(mode v1alpha1.CloneMode) func(*v1alpha1.GuestSpec) {
		return func(s *v1alpha1.GuestSpec) {
			s.Source = &v1alpha1.GuestSource{Clone: &v1alpha1.CloneSource{GuestRef: &v1alpha1.LocalReference{Name: "base"}, Mode: mode}}
		}
	}
	cases := []struct {
		reason string
		spec   func(*v1alpha1.GuestSpec)
		edit   func(*v1alpha1.Guest)
		want   []reconcile.Ref
	}{
		{reason: "its Host", want: []reconcile.Ref{host}},
		{reason: "the template until it exists", spec: from(v1alpha1.CloneFull), want: []reconcile.Ref{host, reconcile.Hard("Guest", "base", v1alpha1.ReadyCondition)}},
		{reason: "a full clone stands alone", spec: from(v1alpha1.CloneFull), edit: func(g *v1alpha1.Guest) { g.Status.Node = "phoenix" }, want: []reconcile.Ref{host}},
		{reason: "a linked clone keeps its template", spec: from(v1alpha1.CloneLinked), edit: func(g *v1alpha1.Guest) { g.Status.Node = "phoenix" },
			want: []reconcile.Ref{host, {Kind: "Guest", Name: "base", Keeps: true}}},
		{reason: "one that is deleted before it existed waits for nothing", spec: from(v1alpha1.CloneFull),
			edit: func(g *v1alpha1.Guest) { g.DeletionTimestamp = ptr(metav1.NewTime(time.Unix(0, 0))) }, want: []reconcile.Ref{host}},
		{reason: "the Secret with its keys", spec: func(s *v1alpha1.GuestSpec) {
			s.CloudInit = &v1alpha1.CloudInit{SSHKeysSecretRef: &v1alpha1.SecretKeyReference{Name: "keys", Key: "k"}}
		}, want: []reconcile.Ref{host, reconcile.Soft("Secret", "keys")}},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			g := newGuest(vm, c.spec)
			if c.edit != nil {
				c.edit(g)
			}
			if diff := cmp.Diff(c.want, new(Kind).Refs(g)); diff != "" {
				t.Errorf("refs (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRefusalsName: an error names field and remedy.
func TestRefusalsName(t *testing.T) {
	seen := presentSeen(ct, config{"rootfs": "local:1,size=8G"})
	g := newGuest(ct, func(s *v1alpha1.GuestSpec) {
		s.RootDisk = &v1alpha1.RootDisk{Storage: "tank", Size: size("4Gi")}
		s.Power = v1alpha1.PowerStopped
	})
	want := []string{
		"rootDisk is on local, the spec says tank: move it in Proxmox (Hardware > Disk Action > Move Storage), or change the spec",
		"rootDisk has 8G, the spec says 4G: a disk cannot shrink; set rootDisk.size to at least 8Gi",
	}
	var got []string
	for _, s := range new(Kind).Plan(g, seen) {
		err := s.Do(t.Context())
		if errors.Unwrap(err) == nil {
			t.Errorf("%s: want an outcome, got %v", s.Reason, err)
		}
		got = append(got, err.Error())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}

// TestPathNotAllowed: what is said where the Host allows other directories, and where it allows none.
func TestPathNotAllowed(t *testing.T) {
	for _, c := range []struct {
		reason  string
		allowed []string
		want    string
	}{
		{"none", nil, "Host/home does not allow to bind /etc: add it to allow.bindMountPaths of the Host, which allows none yet"},
		{"two", []string{"/srv", "/mnt/nas"}, "Host/home does not allow to bind /etc: add it to allow.bindMountPaths of the Host, or choose a path below /srv or /mnt/nas"},
	} {
		seen := presentSeen(ct, config{})
		seen.host.bindPaths = c.allowed
		d := newDraft(newGuest(ct, func(s *v1alpha1.GuestSpec) {
			s.MountPoints = []v1alpha1.MountPoint{{Path: "/data", Bind: &v1alpha1.Bind{Path: "/etc"}}}
		}), seen)
		if len(d.refusals) != 1 || d.refusals[0].err.Error() != c.want {
			t.Errorf("%s: want %q, got %v", c.reason, c.want, d.refusals)
		}
	}
}
