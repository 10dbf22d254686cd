// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// RootDisk is the disk that a guest boots from.
type RootDisk struct {
	// device of a VM's root disk. Default: scsi0.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="self.matches('^(scsi([0-9]|[12][0-9]|30)|virtio([0-9]|1[0-5])|sata[0-5]|ide[0-3])$')",message="device must be scsi0 to scsi30, virtio0 to virtio15, sata0 to sata5 or ide0 to ide3"
	Device string `json:"device,omitempty"`
	// storage on which the disk is made. Default: the Host's. A disk that exists is not moved.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][-A-Za-z0-9._]*[A-Za-z0-9]$')",message="storage must be the name of a Proxmox storage, for example local-lvm; see: pvesm status"
	Storage string `json:"storage,omitempty"`
	// size of the disk in whole MiB; a new disk is made in whole GiB. It can grow while the guest runs, and never shrinks.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^[1-9][0-9]{0,6}(Mi|Gi|Ti)$')",message="size must be whole Mi, Gi or Ti, for example 8Gi"
	Size *Size `json:"size,omitempty"`
}

// Disk is a further disk of a VM.
type Disk struct {
	// device of the disk, such as scsi1.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="self.matches('^(scsi([0-9]|[12][0-9]|30)|virtio([0-9]|1[0-5])|sata[0-5]|ide[0-3])$')",message="device must be scsi0 to scsi30, virtio0 to virtio15, sata0 to sata5 or ide0 to ide3"
	Device string `json:"device,omitempty"`
	// storage on which the disk is made. Default: the Host's. A disk that exists is not moved.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][-A-Za-z0-9._]*[A-Za-z0-9]$')",message="storage must be the name of a Proxmox storage, for example local-lvm; see: pvesm status"
	Storage string `json:"storage,omitempty"`
	// size of the disk in whole GiB. It can grow while the VM runs, and never shrinks.
	// +required
	// +kubebuilder:validation:XValidation:rule="self.matches('^[1-9][0-9]{0,6}(Gi|Ti)$')",message="size must be whole Gi or Ti, for example 8Gi"
	Size Size `json:"size,omitempty,omitzero"`
	// discard passes freed blocks on to the storage.
	// +optional
	Discard *bool `json:"discard,omitempty"`
	// ssd shows the disk to the VM as a solid-state one.
	// +optional
	SSD *bool `json:"ssd,omitempty"`
	// backup includes the disk in backups.
	// +optional
	Backup *bool `json:"backup,omitempty"`
}

// MountPoint mounts a volume or a directory of the node into a container.
// +kubebuilder:validation:XValidation:rule="(has(self.volume) ? 1 : 0) + (has(self.bind) ? 1 : 0) + (has(self.export) ? 1 : 0) == 1",message="a mount point needs exactly one of volume, bind and export"
// +kubebuilder:validation:XValidation:rule="has(self.volume) || !has(self.backup)",message="backup is for a volume; a bind mount is never backed up"
type MountPoint struct {
	// path in the container.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^(/[-A-Za-z0-9._]+)+$') && !self.contains('/../') && !self.endsWith('/..') && !self.contains('/./') && !self.endsWith('/.')",message="path must be absolute and not /, without '.' and '..', of letters, digits and - . _, for example /var/lib/data"
	Path string `json:"path,omitempty"`
	// volume is storage of the container's own.
	// +optional
	Volume *Volume `json:"volume,omitempty"`
	// bind is a directory of the node. It is refused to API tokens and is set over SSH.
	// +optional
	Bind *Bind `json:"bind,omitempty"`
	// export is an export of an nfs HostService on the same Host, mounted as the directory that it is on the node. It is set
	// over SSH, once it is Exported. An export on another machine is for a VM.
	// +optional
	Export *ExportReference `json:"export,omitempty"`
	// readOnly mounts it read-only.
	// +optional
	ReadOnly *bool `json:"readOnly,omitempty"`
	// backup includes the volume in backups.
	// +optional
	Backup *bool `json:"backup,omitempty"`
}

// Volume is storage that a container owns.
type Volume struct {
	// storage on which the volume is made. Default: the Host's. A volume that exists is not moved.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][-A-Za-z0-9._]*[A-Za-z0-9]$')",message="storage must be the name of a Proxmox storage, for example local-lvm; see: pvesm status"
	Storage string `json:"storage,omitempty"`
	// size of the volume in whole GiB. It can grow while the container runs, and never shrinks.
	// +required
	// +kubebuilder:validation:XValidation:rule="self.matches('^[1-9][0-9]{0,6}(Gi|Ti)$')",message="size must be whole Gi or Ti, for example 8Gi"
	Size Size `json:"size,omitempty,omitzero"`
}

// Bind is a directory of the node that a container mounts.
type Bind struct {
	// path on the node, within the Host's allow.bindMountPaths.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^(/[-A-Za-z0-9._]+)+$') && !self.contains('/../') && !self.endsWith('/..') && !self.contains('/./') && !self.endsWith('/.')",message="path must be absolute and not /, without '.' and '..', of letters, digits and - . _, for example /srv/data"
	Path string `json:"path,omitempty"`
}

// Network is one network interface of a guest.
type Network struct {
	// device is the slot in Proxmox: net0 to net31.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:XValidation:rule="self.matches('^net([0-9]|[12][0-9]|3[01])$')",message="device must be net0 to net31"
	Device string `json:"device,omitempty"`
	// name of the interface in a container. Default: eth and the number of the device, when it is made.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][-A-Za-z0-9_.]+$')",message="name must be an interface name of two or more letters, digits and - _ . that begins with a letter, for example eth0"
	Name string `json:"name,omitempty"`
	// bridge that it is plugged into. Default: the Host's, else vmbr0, when it is made.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][-A-Za-z0-9._]*$')",message="bridge must be the name of a bridge of the node, for example vmbr0"
	Bridge string `json:"bridge,omitempty"`
	// model of a VM's card. Default: virtio, when it is made.
	// +optional
	// +kubebuilder:validation:Enum=virtio;e1000;e1000e;rtl8139;vmxnet3
	Model string `json:"model,omitempty"`
	// vlan tag.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4094
	VLAN *int32 `json:"vlan,omitempty"`
	// mac address. Unset: Proxmox gives one, which stands in status.networks.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=17
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$')",message="mac must be a unicast address in colon form, for example BC:24:11:00:00:01"
	MAC string `json:"mac,omitempty"`
	// mtu of the interface. For a VM, 1 means the bridge's.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65520
	MTU *int32 `json:"mtu,omitempty"`
	// rateMBps limits the throughput in megabytes per second.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	RateMBps *int32 `json:"rateMBps,omitempty"`
	// firewall lets the Proxmox firewall filter this interface.
	// +optional
	Firewall *bool `json:"firewall,omitempty"`
	// ipv4 of the interface. Unset: not touched.
	// +optional
	IPv4 *IPv4 `json:"ipv4,omitempty"`
	// ipv6 of the interface. Unset: not touched.
	// +optional
	IPv6 *IPv6 `json:"ipv6,omitempty"`
}

// IPMethod says how an interface comes by its address.
type IPMethod string

const (
	// IPStatic is the address that the spec names.
	IPStatic IPMethod = "Static"
	// IPDHCP asks a DHCP server.
	IPDHCP IPMethod = "DHCP"
	// IPAuto is IPv6's stateless address configuration.
	IPAuto IPMethod = "Auto"
)

// IPv4 configuration of an interface.
// +kubebuilder:validation:XValidation:rule="has(self.address) == (self.method == 'Static')",message="ipv4.address belongs to method: Static, and must stand there"
// +kubebuilder:validation:XValidation:rule="!has(self.gateway) || self.method == 'Static'",message="ipv4.gateway belongs to method: Static"
// +kubebuilder:validation:XValidation:rule="!has(self.gateway) || !has(self.address) || !isCIDR(self.address) || !isIP(self.gateway) || self.address.endsWith('/32') || cidr(self.address).containsIP(self.gateway)",message="ipv4.gateway must lie in the network of ipv4.address, unless that is a /32"
type IPv4 struct {
	// method is Static or DHCP.
	// +required
	// +kubebuilder:validation:Enum=Static;DHCP
	Method IPMethod `json:"method,omitempty"`
	// address with its prefix length, such as 10.0.0.10/24.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=18
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self).ip().family() == 4 && !self.endsWith('.0/24')",message="address must be a machine's IPv4 address with its prefix length, for example 10.0.0.10/24; 10.0.0.0/24 is a network"
	Address string `json:"address,omitempty"`
	// gateway of the network.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 4",message="gateway must be an IPv4 address, for example 10.0.0.1"
	Gateway string `json:"gateway,omitempty"`
}

// IPv6 configuration of an interface.
// +kubebuilder:validation:XValidation:rule="has(self.address) == (self.method == 'Static')",message="ipv6.address belongs to method: Static, and must stand there"
// +kubebuilder:validation:XValidation:rule="!has(self.gateway) || self.method == 'Static'",message="ipv6.gateway belongs to method: Static"
type IPv6 struct {
	// method is Static, DHCP or Auto.
	// +required
	// +kubebuilder:validation:Enum=Static;DHCP;Auto
	Method IPMethod `json:"method,omitempty"`
	// address with its prefix length, such as fd00::10/64.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self).ip().family() == 6",message="address must be an IPv6 address with its prefix length, for example fd00::10/64"
	Address string `json:"address,omitempty"`
	// gateway of the network.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=39
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 6",message="gateway must be an IPv6 address, for example fd00::1"
	Gateway string `json:"gateway,omitempty"`
}

// Features of a container. A feature that is not set is not touched.
type Features struct {
	// nesting lets the container run containers, and systemd run well.
	// +optional
	Nesting *bool `json:"nesting,omitempty"`
	// keyctl allows the keyctl system call, which Docker needs in an unprivileged container.
	// +optional
	Keyctl *bool `json:"keyctl,omitempty"`
	// fuse allows FUSE file systems.
	// +optional
	FUSE *bool `json:"fuse,omitempty"`
	// mknod allows the making of device nodes.
	// +optional
	Mknod *bool `json:"mknod,omitempty"`
}

// CloudInit configures a VM at its first boot. Addresses stand in networks.
type CloudInit struct {
	// storage for the cloud-init drive. Default: the Host's, when the drive is made.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][-A-Za-z0-9._]*[A-Za-z0-9]$')",message="storage must be the name of a Proxmox storage, for example local-lvm; see: pvesm status"
	Storage string `json:"storage,omitempty"`
	// user that is made. Default: the image's.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z_][a-z0-9_-]*$')",message="user must be a Linux user name: lower case letters, digits, _ and -, for example root"
	User string `json:"user,omitempty"`
	// sshKeysSecretRef names the entry of a Secret with public keys, one on a line, that may log in as the user.
	// +optional
	SSHKeysSecretRef *SecretKeyReference `json:"sshKeysSecretRef,omitempty"`
}

// Startup says whether and in which order a guest starts with its node.
type Startup struct {
	// onBoot starts the guest with its node.
	// +optional
	OnBoot *bool `json:"onBoot,omitempty"`
	// order among the guests of the node; shutdown goes the other way.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Order *int32 `json:"order,omitempty"`
	// upDelaySeconds to wait after this guest before the next one starts.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	UpDelaySeconds *int32 `json:"upDelaySeconds,omitempty"`
	// downDelaySeconds to wait for this guest to shut down before the next one is.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	DownDelaySeconds *int32 `json:"downDelaySeconds,omitempty"`
}
