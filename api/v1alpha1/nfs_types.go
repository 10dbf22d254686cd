// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// NFSServer is the program that serves NFS.
// +kubebuilder:validation:Enum=Kernel;Ganesha
type NFSServer string

const (
	// NFSKernel is the server of the Linux kernel. It is the default.
	NFSKernel NFSServer = "Kernel"
	// NFSGanesha is the server in user space, for machines whose kernel has none.
	NFSGanesha NFSServer = "Ganesha"
)

// NFSSquash says whose rights a client's user has.
// +kubebuilder:validation:Enum=Root;All;None
type NFSSquash string

const (
	// SquashRoot makes a client's root nobody. It is the default.
	SquashRoot NFSSquash = "Root"
	// SquashAll makes every user of a client nobody.
	SquashAll NFSSquash = "All"
	// SquashNone lets a client's root be root.
	SquashNone NFSSquash = "None"
)

// NFS exports directories of the machine. The data in them is never changed and never removed.
type NFS struct {
	// server is Kernel (default) or Ganesha.
	// +optional
	Server NFSServer `json:"server,omitempty"`
	// address by which clients reach the machine. Default: the address of the Host's node under ssh.nodes, or the Guest's.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self) && !ip(self).isUnspecified()",message="address must be an IP address of the machine, for example 10.0.0.13"
	Address string `json:"address,omitempty"`
	// exports of the machine.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(e, self.exists_one(f, f.path == e.path))",message="exports[].path must differ from each other: one directory has one list of clients"
	// +kubebuilder:validation:XValidation:rule="self.all(e, !self.exists(f, e.path.startsWith(f.path + '/')))",message="exports[].path must not lie within another: whoever may write the outer directory could put another one in place of the inner"
	Exports []NFSExport `json:"exports,omitempty"`
}

// NFSExport is one exported directory.
type NFSExport struct {
	// name by which Guests refer to the export.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="name must be lower case letters, digits and -, for example media"
	Name string `json:"name,omitempty"`
	// path of the directory; on a Host, within its allow.exportPaths. It is made when it is absent.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^(/[-A-Za-z0-9._]+)+$') && !self.contains('/../') && !self.endsWith('/..') && !self.contains('/./') && !self.endsWith('/.')",message="path must be absolute and not /, without '.' and '..', of letters, digits and - . _, for example /srv/data"
	Path string `json:"path,omitempty"`
	// owner of the directory itself, a user's name or number. Unset: not touched.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z_][-a-z0-9_]*|[0-9]{1,9})$')",message="owner must be a user's name or number, for example nobody or 100000"
	Owner string `json:"owner,omitempty"`
	// group of the directory itself, a group's name or number. Unset: not touched.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z_][-a-z0-9_]*|[0-9]{1,9})$')",message="group must be a group's name or number, for example nogroup or 100000"
	Group string `json:"group,omitempty"`
	// mode of the directory itself in octal. Unset: 0755 when it is made, else not touched.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:XValidation:rule="self.matches('^0?[0-3]?[0-7]{3}$')",message="mode must be octal, for example 0755 or 2770"
	Mode string `json:"mode,omitempty"`
	// clients that may mount it.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Clients []NFSClient `json:"clients,omitempty"` //nolint:kubeapilinter // a rule of the struct asks for one of its fields
}

// NFSClient is who may mount an export, and how.
// +kubebuilder:validation:XValidation:rule="has(self.guestRef) != has(self.cidr)",message="a client needs exactly one of guestRef and cidr"
type NFSClient struct {
	// guestRef names a Guest; its present addresses count.
	// +optional
	GuestRef *LocalReference `json:"guestRef,omitempty"`
	// cidr is a network, or a machine with its full prefix length.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="cidr must be a network, for example 10.0.0.0/24, or one machine, for example 10.0.0.102/32"
	CIDR string `json:"cidr,omitempty"`
	// readOnly lets the client read only. Default: false.
	// +optional
	ReadOnly *bool `json:"readOnly,omitempty"`
	// squash is Root (default), All or None.
	// +optional
	Squash NFSSquash `json:"squash,omitempty"`
	// async answers a write before it is on the disk: faster, and a crash of the server may lose it. Default: false.
	// +optional
	Async *bool `json:"async,omitempty"`
}

// ExportReference names an export of an nfs HostService.
type ExportReference struct {
	// serviceRef names the HostService.
	// +required
	ServiceRef LocalReference `json:"serviceRef,omitempty,omitzero"`
	// name of the export.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`
}

// NFSMount mounts an export in a VM.
type NFSMount struct {
	// path in the VM.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^(/[-A-Za-z0-9._]+)+$') && !self.contains('/../') && !self.endsWith('/..') && !self.contains('/./') && !self.endsWith('/.')",message="path must be absolute and not /, without '.' and '..', of letters, digits and - . _, for example /mnt/data"
	Path string `json:"path,omitempty"`
	// export that is mounted. The VM waits until it is Exported.
	// +required
	Export ExportReference `json:"export,omitempty,omitzero"`
	// readOnly mounts it read-only. Default: false.
	// +optional
	ReadOnly *bool `json:"readOnly,omitempty"`
}
