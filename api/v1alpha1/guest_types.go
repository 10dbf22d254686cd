// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GuestType says what a Guest is.
// +kubebuilder:validation:Enum=Container;VM
type GuestType string

const (
	// GuestContainer is a system container (LXC).
	GuestContainer GuestType = "Container"
	// GuestVM is a virtual machine (QEMU).
	GuestVM GuestType = "VM"
)

// Power is whether a Guest runs.
// +kubebuilder:validation:Enum=Running;Stopped
type Power string

const (
	// PowerRunning keeps the Guest running. It is the default.
	PowerRunning Power = "Running"
	// PowerStopped keeps the Guest off.
	PowerStopped Power = "Stopped"
)

// RestartPolicy says whether a Guest may be restarted for changes that only a restart applies.
// +kubebuilder:validation:Enum=Never;WhenRequired
type RestartPolicy string

const (
	// RestartNever leaves such changes pending until somebody else restarts the Guest. It is the default.
	RestartNever RestartPolicy = "Never"
	// RestartWhenRequired restarts the Guest once such changes are pending.
	RestartWhenRequired RestartPolicy = "WhenRequired"
)

// GuestSpec declares one container or virtual machine.
//
// A field that is not set is not touched, whatever stands outside. Memory, swap and disk sizes are Kubernetes quantities
// in whole Mi, Gi or Ti: 512Mi, 2Gi.
//
// +kubebuilder:validation:XValidation:rule="self.type != 'Container' || !has(self.balloon)",message="balloon is for a VM; a container has swap"
// +kubebuilder:validation:XValidation:rule="self.type != 'Container' || !has(self.disks)",message="disks is for a VM; give a container mountPoints with a volume"
// +kubebuilder:validation:XValidation:rule="self.type != 'Container' || !has(self.cloudInit)",message="cloudInit is for a VM"
// +kubebuilder:validation:XValidation:rule="self.type != 'Container' || !has(self.agent)",message="agent is for a VM; a container needs none"
// +kubebuilder:validation:XValidation:rule="self.type != 'VM' || !has(self.swap)",message="swap is for a container; a VM has balloon"
// +kubebuilder:validation:XValidation:rule="self.type != 'VM' || !has(self.mountPoints)",message="mountPoints is for a container; give a VM disks"
// +kubebuilder:validation:XValidation:rule="self.type != 'Container' || !has(self.nfsMounts)",message="nfsMounts is for a VM; an unprivileged container cannot mount NFS, give it mountPoints[].export"
// +kubebuilder:validation:XValidation:rule="!has(self.trustAuthorities) || self.type == 'Container' || (has(self.agent) && self.agent)",message="trustAuthorities of a VM needs agent: true: the VM is reached through its guest agent"
// +kubebuilder:validation:XValidation:rule="!has(self.nfsMounts) || (has(self.agent) && self.agent)",message="nfsMounts needs agent: true: the VM is reached through its guest agent"
// +kubebuilder:validation:XValidation:rule="self.type != 'VM' || !has(self.features)",message="features is for a container"
// +kubebuilder:validation:XValidation:rule="self.type != 'VM' || !has(self.unprivileged)",message="unprivileged is for a container"
// +kubebuilder:validation:XValidation:rule="self.type != 'VM' || !has(self.source) || !has(self.source.template)",message="source.template is for a container; a VM is made with source.clone or without a source"
// +kubebuilder:validation:XValidation:rule="self.type != 'Container' || has(self.source) || (has(self.vmid) && has(self.adoptionPolicy) && self.adoptionPolicy == 'IfUnowned')",message="a container needs source.template or source.clone, unless an existing one is adopted by vmid and adoptionPolicy: IfUnowned"
// +kubebuilder:validation:XValidation:rule="self.type != 'Container' || !has(self.rootDisk) || !has(self.rootDisk.device)",message="rootDisk.device is for a VM; a container's root disk is always rootfs"
// +kubebuilder:validation:XValidation:rule="self.type != 'Container' || !has(self.networks) || self.networks.all(n, !has(n.model))",message="networks[].model is for a VM"
// +kubebuilder:validation:XValidation:rule="self.type != 'VM' || !has(self.networks) || self.networks.all(n, !has(n.name))",message="networks[].name is for a container; a VM names its interfaces itself"
// +kubebuilder:validation:XValidation:rule="self.type != 'VM' || has(self.cloudInit) || !has(self.networks) || self.networks.all(n, !has(n.ipv4) && !has(n.ipv6))",message="networks[].ipv4 and ipv6 of a VM are set by cloud-init: add cloudInit, or leave them out"
// +kubebuilder:validation:XValidation:rule="self.type != 'VM' || has(self.cloudInit) || (!has(self.nameservers) && !has(self.searchDomain))",message="nameservers and searchDomain of a VM are set by cloud-init: add cloudInit, or leave them out"
// +kubebuilder:validation:XValidation:rule="self.type != 'Container' || !has(self.networks) || self.networks.all(n, !has(n.mtu) || n.mtu >= 64)",message="networks[].mtu of a container must be from 64 to 65520; leave it out for the bridge's"
// +kubebuilder:validation:XValidation:rule="!has(self.networks) || self.networks.all(n, !has(n.mtu) || !has(n.model) || n.model == 'virtio')",message="networks[].mtu of a VM needs model: virtio"
// +kubebuilder:validation:XValidation:rule="!has(self.networks) || self.networks.all(n, !has(n.name) || self.networks.exists_one(m, has(m.name) && m.name == n.name))",message="networks[].name must differ from each other: one container cannot have two interfaces of one name"
// +kubebuilder:validation:XValidation:rule="!has(self.networks) || self.networks.all(n, !has(n.mac) || self.networks.exists_one(m, has(m.mac) && m.mac.lowerAscii() == n.mac.lowerAscii()))",message="networks[].mac must differ from each other; leave mac out to have Proxmox choose"
// +kubebuilder:validation:XValidation:rule="self.type == oldSelf.type",message="type cannot be changed: make a new Guest instead"
// +kubebuilder:validation:XValidation:rule="self.hostRef.name == oldSelf.hostRef.name",message="hostRef cannot be changed: make a new Guest instead"
// +kubebuilder:validation:XValidation:rule="has(self.unprivileged) == has(oldSelf.unprivileged) && (!has(self.unprivileged) || self.unprivileged == oldSelf.unprivileged)",message="unprivileged cannot be changed: the files in the container belong to other user IDs; make a new Guest instead"
// +kubebuilder:validation:XValidation:rule="!has(self.balloon) || !has(self.memory) || !isQuantity(self.balloon) || !isQuantity(self.memory) || quantity(self.balloon).compareTo(quantity(self.memory)) <= 0",message="balloon must not be above memory"
// +kubebuilder:validation:XValidation:rule="!has(self.disks) || !has(self.rootDisk) || self.disks.all(d, d.device != (has(self.rootDisk.device) ? self.rootDisk.device : 'scsi0'))",message="disks[].device must differ from the root disk's (rootDisk.device, default scsi0)"
type GuestSpec struct {
	CommonSpec `json:",inline"`

	// hostRef names the Host. It cannot be changed.
	// +required
	HostRef LocalReference `json:"hostRef,omitempty,omitzero"`
	// type is Container or VM. It cannot be changed.
	// +required
	Type GuestType `json:"type,omitempty"`
	// vmid of the guest, unique in the Proxmox cluster. Unset: one is allocated from the Host's vmidRange and stands in
	// status.vmid. The VMID of a guest that exists cannot be changed.
	// +optional
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=999999999
	VMID *int32 `json:"vmid,omitempty"`
	// node on which the guest is made. Default: the Host's. A guest that is moved later is followed, not moved back.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$')",message="node must be the name of a node: letters, digits and -, for example pve1"
	Node string `json:"node,omitempty"`
	// source is what the guest is made from. It has no meaning once the guest exists.
	// +optional
	Source *GuestSource `json:"source,omitempty"`
	// hostname of a container, name of a VM. Default: the name of this object, when it is made.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?([.][A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*$')",message="hostname must be a DNS name: letters, digits and '-' in labels of at most 63 characters, for example step-ca or step-ca.lan"
	Hostname string `json:"hostname,omitempty"`
	// cores of the guest.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=8192
	Cores *int32 `json:"cores,omitempty"`
	// memory of the guest in whole MiB, at least 16Mi.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]+(Mi|Gi|Ti)$') && quantity(self).asInteger() >= 16777216 && quantity(self).asInteger() <= 17592186044416",message="memory must be whole Mi, Gi or Ti from 16Mi to 16Ti, for example 512Mi or 2Gi"
	Memory *Size `json:"memory,omitempty"`
	// swap of a container in whole MiB; 0 for none.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^(0|[0-9]+(Mi|Gi|Ti))$') && quantity(self).asInteger() <= 17592186044416",message="swap must be 0 or whole Mi, Gi or Ti up to 16Ti, for example 512Mi"
	Swap *Size `json:"swap,omitempty"`
	// balloon is the least memory that ballooning may leave to a VM, in whole MiB; 0 turns ballooning off.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^(0|[0-9]+(Mi|Gi|Ti))$') && quantity(self).asInteger() <= 17592186044416",message="balloon must be 0 or whole Mi, Gi or Ti up to 16Ti, for example 512Mi"
	Balloon *Size `json:"balloon,omitempty"`
	// rootDisk of the guest.
	// +optional
	RootDisk *RootDisk `json:"rootDisk,omitempty"`
	// disks of a VM beside the root disk.
	// +optional
	// +listType=map
	// +listMapKey=device
	// +kubebuilder:validation:MaxItems=30
	Disks []Disk `json:"disks,omitempty"`
	// mountPoints of a container.
	// +optional
	// +listType=map
	// +listMapKey=path
	// +kubebuilder:validation:MaxItems=64
	MountPoints []MountPoint `json:"mountPoints,omitempty"`
	// nfsMounts of a VM: exports of nfs HostServices that it mounts. It needs agent: true.
	// +optional
	// +listType=map
	// +listMapKey=path
	// +kubebuilder:validation:MaxItems=16
	NFSMounts []NFSMount `json:"nfsMounts,omitempty"`
	// trustAuthorities are certificate authorities whose roots the guest trusts. It must be reachable: a VM needs agent: true.
	// Nothing that stands on the guest waits for them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	TrustAuthorities []TrustAuthority `json:"trustAuthorities,omitempty"` //nolint:kubeapilinter // a rule of the struct asks for one of its fields
	// networks of the guest.
	// +optional
	// +listType=map
	// +listMapKey=device
	// +kubebuilder:validation:MaxItems=32
	Networks []Network `json:"networks,omitempty"`
	// nameservers that the guest asks. Default: the Host's, when the guest is made.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:items:XValidation:rule="isIP(self)",message="a nameserver must be an IP address, for example 10.0.0.13"
	Nameservers []string `json:"nameservers,omitempty"`
	// searchDomain of the guest. Default: the Host's domain, when the guest is made.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$')",message="searchDomain must be a DNS domain, for example lan or example.org"
	SearchDomain string `json:"searchDomain,omitempty"`
	// features of a container. All but nesting are refused to API tokens and are set over SSH.
	// +optional
	Features *Features `json:"features,omitempty"`
	// unprivileged maps a container's users to unprivileged ones of the node. Default: true. It cannot be changed.
	// +optional
	Unprivileged *bool `json:"unprivileged,omitempty"`
	// cloudInit configures a VM at its first boot.
	// +optional
	CloudInit *CloudInit `json:"cloudInit,omitempty"`
	// agent turns the QEMU guest agent on or off for a VM.
	// +optional
	Agent *bool `json:"agent,omitempty"`
	// tags of the guest, all of them: others are removed, the owner mark stays.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[a-z0-9_][-a-z0-9_+.]*$') && !self.startsWith('phoenix-')",message="a tag has lower case letters, digits and _ - + . only, and does not begin with phoenix-, which marks ownership"
	Tags []string `json:"tags,omitempty"`
	// notes of the guest in Markdown. The owner mark stands below them.
	// +optional
	// +kubebuilder:validation:MaxLength=7000
	// +kubebuilder:validation:XValidation:rule="!self.contains('phoenix-hypervisor.io')",message="notes must not contain phoenix-hypervisor.io, which stands in the owner mark"
	Notes *string `json:"notes,omitempty"`
	// protection makes Proxmox refuse to destroy the guest and its disks. A protected Guest is not destroyed.
	// +optional
	Protection *bool `json:"protection,omitempty"`
	// startup says whether and in which order the guest starts with its node.
	// +optional
	Startup *Startup `json:"startup,omitempty"`
	// power is Running (default) or Stopped.
	// +optional
	Power Power `json:"power,omitempty"`
	// shutdownTimeout is how long the guest may take to shut down before it is stopped, from 1s to 1h in whole seconds. Default: 60s.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+(s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="shutdownTimeout must be whole seconds from 1s to 1h, for example 90s"
	ShutdownTimeout *metav1.Duration `json:"shutdownTimeout,omitempty"`
	// restartPolicy says whether the guest may be restarted for changes that only a restart applies: Never (default) or WhenRequired.
	// +optional
	RestartPolicy RestartPolicy `json:"restartPolicy,omitempty"`
}

// GuestSource is what a guest is made from.
// +kubebuilder:validation:XValidation:rule="has(self.template) != has(self.clone)",message="source needs exactly one of template and clone"
type GuestSource struct {
	// template is the volume of a container template, such as local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][-A-Za-z0-9._]*:vztmpl/[A-Za-z0-9][-A-Za-z0-9._+~]*$')",message="template must be STORAGE:vztmpl/FILE, for example local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"
	Template string `json:"template,omitempty"`
	// clone copies a template guest.
	// +optional
	Clone *CloneSource `json:"clone,omitempty"`
}

// CloneMode says how a template guest is copied.
// +kubebuilder:validation:Enum=Full;Linked
type CloneMode string

const (
	// CloneFull copies every disk. It is the default.
	CloneFull CloneMode = "Full"
	// CloneLinked shares the template's disks and stores differences only.
	CloneLinked CloneMode = "Linked"
)

// CloneSource names the template guest to copy.
// +kubebuilder:validation:XValidation:rule="[has(self.vmid), has(self.name), has(self.guestRef)].filter(x, x).size() == 1",message="clone needs exactly one of vmid, name and guestRef"
// +kubebuilder:validation:XValidation:rule="!has(self.storage) || !has(self.mode) || self.mode == 'Full'",message="clone.storage is for mode Full; a linked clone stays on its template's storage"
type CloneSource struct {
	// vmid of the template guest.
	// +optional
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=999999999
	VMID *int32 `json:"vmid,omitempty"`
	// name of the template guest in Proxmox. It must be the only template of that name and type.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// guestRef names a Guest of the same Host that is copied; it must be stopped or a template.
	// +optional
	GuestRef *LocalReference `json:"guestRef,omitempty"`
	// mode is Full (default) or Linked.
	// +optional
	Mode CloneMode `json:"mode,omitempty"`
	// storage for the disks of a full clone. Default: the Host's default storage, else the template's own.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][-A-Za-z0-9._]*[A-Za-z0-9]$')",message="storage must be the name of a Proxmox storage, for example local-lvm; see: pvesm status"
	Storage string `json:"storage,omitempty"`
}

// GuestTask is a Proxmox task that was begun for a guest.
type GuestTask struct {
	// upid of the task.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	UPID string `json:"upid,omitempty"`
	// reason of the step that began it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
}

// GuestNetwork is one network interface as observed.
type GuestNetwork struct {
	// device is the slot in Proxmox.
	// +required
	// +kubebuilder:validation:MinLength=4
	// +kubebuilder:validation:MaxLength=5
	Device string `json:"device,omitempty"`
	// mac address of the interface.
	// +optional
	// +kubebuilder:validation:MinLength=17
	// +kubebuilder:validation:MaxLength=17
	MAC string `json:"mac,omitempty"`
}

// GuestStatus is what was observed of a Guest.
type GuestStatus struct {
	CommonStatus `json:",inline"`

	// vmid of the guest; it is reserved here before the guest is made.
	// +optional
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=999999999
	VMID *int32 `json:"vmid,omitempty"`
	// node that the guest is on now.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Node string `json:"node,omitempty"`
	// power as observed.
	// +optional
	Power Power `json:"power,omitempty"`
	// addresses that the guest has, without loopback and link-local ones; the declared one comes first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=2
	// +kubebuilder:validation:items:MaxLength=45
	Addresses []string `json:"addresses,omitempty"`
	// networks of the guest.
	// +optional
	// +listType=map
	// +listMapKey=device
	// +kubebuilder:validation:MaxItems=32
	Networks []GuestNetwork `json:"networks,omitempty"`
	// startedAt is when the guest was started, to within some seconds.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// pendingRestart lists what takes effect only with the next restart, by Proxmox's names.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	PendingRestart []string `json:"pendingRestart,omitempty"`
	// task that runs for the guest.
	// +optional
	Task *GuestTask `json:"task,omitempty"`
}

// Guest is one container or virtual machine.
// +kubebuilder:validation:XValidation:rule="has(self.spec.hostname) || self.metadata.name.size() <= 63",message="metadata.name is the hostname too, and longer than 63 characters: shorten it, or set spec.hostname"
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=phoenix,shortName=gu
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="VMID",type=integer,JSONPath=`.status.vmid`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.status.node`
// +kubebuilder:printcolumn:name="IP",type=string,JSONPath=`.status.addresses[0]`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type Guest struct {
	metav1.TypeMeta `json:",inline"`
	// metadata of the object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec declares the guest.
	// +required
	Spec GuestSpec `json:"spec,omitempty,omitzero"`
	// status is what was observed.
	// +optional
	Status GuestStatus `json:"status,omitempty,omitzero"`
}

// GuestList is a list of Guests.
// +kubebuilder:object:root=true
type GuestList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Guest `json:"items"`
}

// Common returns the part of the spec that every kind has.
func (g *Guest) Common() *CommonSpec { return &g.Spec.CommonSpec }

// CommonStatus returns the part of the status that every kind has.
func (g *Guest) CommonStatus() *CommonStatus { return &g.Status.CommonStatus }

// DefaultDeletionPolicy of a Guest is Retain: it holds data.
func (g *Guest) DefaultDeletionPolicy() DeletionPolicy { return DeletionRetain }
