// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// HostSpec declares one Proxmox VE endpoint: a single node or a whole cluster.
// +kubebuilder:validation:XValidation:rule="!has(self.trustAuthorities) || has(self.ssh)",message="trustAuthorities needs ssh: the nodes' trust stores are reached over SSH"
type HostSpec struct {
	CommonSpec `json:",inline"`

	// url of the Proxmox VE API, such as https://10.0.0.13:8006.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() == 'https' && url(self).getHost() != '' && url(self).getEscapedPath() in ['', '/'] && !self.contains('@') && !self.contains('?') && !self.contains('#')",message="url must be https://HOST:PORT without a path, a user or a query, for example https://10.0.0.13:8006"
	URL string `json:"url,omitempty"`
	// tls says which certificate the endpoint must show. There is no way to trust any certificate.
	// +required
	TLS HostTLS `json:"tls,omitempty,omitzero"`
	// tokenSecretRef names the Secret that holds the API token: entries tokenID (USER@REALM!NAME) and tokenSecret.
	// +required
	TokenSecretRef LocalReference `json:"tokenSecretRef,omitempty,omitzero"`
	// ssh opens what the API refuses to every token: bind mounts and container features other than nesting, and lets
	// changes be seen within a minute. Without it such a field is answered with reason RootOnly.
	// +optional
	SSH *HostSSH `json:"ssh,omitempty"`
	// ownerID stands in the owner marks of everything that is made through this Host. Two Phoenixes that manage one
	// Proxmox site need different ones. Default: NAMESPACE/NAME of the Host. It cannot be changed.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9._/]*[A-Za-z0-9])?$')",message="ownerID must have letters, digits and - . _ / only, with a letter or digit at both ends, for example home/site"
	OwnerID string `json:"ownerID,omitempty"`
	// vmidRange bounds the VMIDs that are allocated to Guests without a vmid of their own. Default: 10000 to 10999.
	// +optional
	VMIDRange *VMIDRange `json:"vmidRange,omitempty"`
	// defaults stand in for fields that a Guest leaves out when it is created.
	// +optional
	Defaults *HostDefaults `json:"defaults,omitempty"`
	// limits protect the host from too much work at once.
	// +optional
	Limits *HostLimits `json:"limits,omitempty"`
	// safety bounds what can be destroyed.
	// +optional
	Safety *HostSafety `json:"safety,omitempty"`
	// trustAuthorities are certificate authorities whose roots the nodes under ssh.nodes trust.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	TrustAuthorities []TrustAuthority `json:"trustAuthorities,omitempty"` //nolint:kubeapilinter // a rule of the struct asks for one of its fields
	// allow bounds what the users of this Host may reach on its machines.
	// +optional
	Allow *HostAllow `json:"allow,omitempty"`
	// controlPlaneGuest names the Guest in which this control plane itself runs. It is never stopped or destroyed.
	// +optional
	ControlPlaneGuest *LocalReference `json:"controlPlaneGuest,omitempty"`
}

// HostTLS pins the certificate of a Proxmox VE endpoint.
// +kubebuilder:validation:XValidation:rule="has(self.caSecretRef) != has(self.fingerprint)",message="tls needs exactly one of caSecretRef and fingerprint; the fingerprint is shown by: pvenode cert info"
type HostTLS struct {
	// caSecretRef names the entry of a Secret with the PEM certificates of the authorities to trust, such as /etc/pve/pve-root-ca.pem.
	// +optional
	CASecretRef *SecretKeyReference `json:"caSecretRef,omitempty"`
	// fingerprint is the SHA-256 of the endpoint's certificate in hex, with or without colons.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=95
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}$')",message="fingerprint must be the SHA-256 of the certificate: 64 hex digits, with or without colons"
	Fingerprint string `json:"fingerprint,omitempty"`
}

// HostSSH says how the nodes are reached over SSH.
type HostSSH struct {
	// keySecretRef names the entry of a Secret with the private key in OpenSSH or PEM form, without a passphrase.
	// +required
	KeySecretRef SecretKeyReference `json:"keySecretRef,omitempty,omitzero"`
	// user to log in as. Default: root. It must be able to run pct and qm.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z_][a-z0-9_-]*$')",message="user must be a Linux user name: lower case letters, digits, _ and -, for example root"
	User string `json:"user,omitempty"`
	// nodes lists the nodes that are reachable over SSH.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Nodes []HostSSHNode `json:"nodes,omitempty"`
}

// HostSSHNode is one node's SSH door.
type HostSSHNode struct {
	// name of the node as Proxmox knows it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$')",message="name must be the name of a node: letters, digits and -, for example pve1"
	Name string `json:"name,omitempty"`
	// address as HOST or HOST:PORT. Default port: 22.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=259
	// +kubebuilder:validation:XValidation:rule="isIP(self) || self.matches('^([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|[[][0-9A-Fa-f:]+[]])(:[0-9]{1,5})?$')",message="address must be HOST or HOST:PORT without a user, for example 10.0.0.13, pve1.lan:22 or [fd00::13]:22"
	Address string `json:"address,omitempty"`
	// hostKeys lists the public host keys to accept, as ssh-keyscan prints them without the host: "ssh-ed25519 AAAA...".
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=2048
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^(ssh-|ecdsa-|sk-)[-a-z0-9@.]+ [A-Za-z0-9+/]+=*( .*)?$')",message="a host key must be TYPE BASE64 without the host name before it, for example ssh-ed25519 AAAAC3Nza..., as in /etc/ssh/ssh_host_ed25519_key.pub"
	HostKeys []string `json:"hostKeys,omitempty"`
}

// VMIDRange is a range of VMIDs, both ends included.
// +kubebuilder:validation:XValidation:rule="self.first <= self.last",message="vmidRange.first must not be above vmidRange.last"
type VMIDRange struct {
	// first VMID of the range.
	// +required
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=999999999
	First int32 `json:"first,omitempty"`
	// last VMID of the range.
	// +required
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=999999999
	Last int32 `json:"last,omitempty"`
}

// HostDefaults stand in for fields that a Guest leaves out when it is created.
type HostDefaults struct {
	// node on which Guests are created. Default: the only node; with several, a Guest must name one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$')",message="node must be the name of a node: letters, digits and -, for example pve1"
	Node string `json:"node,omitempty"`
	// storage for disks, such as local-lvm.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][-A-Za-z0-9._]*[A-Za-z0-9]$')",message="storage must be the name of a Proxmox storage, for example local-lvm; see: pvesm status"
	Storage string `json:"storage,omitempty"`
	// bridge for networks. Default: vmbr0.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][-A-Za-z0-9._]*$')",message="bridge must be the name of a bridge of the node, for example vmbr0"
	Bridge string `json:"bridge,omitempty"`
	// gateway is the IPv4 gateway of net0 when it has a static IPv4 address and none of its own.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 4",message="gateway must be an IPv4 address, for example 10.0.0.1"
	Gateway string `json:"gateway,omitempty"`
	// nameservers for guests that name none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:items:XValidation:rule="isIP(self)",message="a nameserver must be an IP address, for example 10.0.0.13"
	Nameservers []string `json:"nameservers,omitempty"`
	// domain is the DNS search domain for guests that name none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$')",message="domain must be a DNS domain, for example lan or example.org"
	Domain string `json:"domain,omitempty"`
}

// HostLimits protect the host from too much work at once.
type HostLimits struct {
	// requestsPerSecond to the API, on average. Default: 20.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	RequestsPerSecond *int32 `json:"requestsPerSecond,omitempty"`
	// tasks that run at the same time. Default: 4.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Tasks *int32 `json:"tasks,omitempty"`
	// tasksPerStorage that run at the same time: creations, clones and growing disks. Default: 2.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	TasksPerStorage *int32 `json:"tasksPerStorage,omitempty"`
	// clonesPerTemplate that run at the same time. Default: 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	ClonesPerTemplate *int32 `json:"clonesPerTemplate,omitempty"`
}

// HostSafety bounds what can be destroyed.
type HostSafety struct {
	// destructionsPerHour is how many guests and volumes may be destroyed within an hour, whoever asks. Default: 3.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	DestructionsPerHour *int32 `json:"destructionsPerHour,omitempty"`
}

// HostAllow bounds what the users of a Host may reach on its machines. What is not listed is refused.
type HostAllow struct {
	// bindMountPaths are the directories on the nodes that containers may mount, each with all that is below it.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^(/[-A-Za-z0-9._]+)+$') && !self.contains('/../') && !self.endsWith('/..') && !self.contains('/./') && !self.endsWith('/.')",message="a path must be absolute and not /, without '.' and '..', of letters, digits and - . _, for example /srv/data"
	BindMountPaths []string `json:"bindMountPaths,omitempty"`
	// exportPaths are the directories on the nodes that an nfs HostService may export, each with all that is below it.
	// Containers may mount such an export by its name.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^(/[-A-Za-z0-9._]+)+$') && !self.contains('/../') && !self.endsWith('/..') && !self.contains('/./') && !self.endsWith('/.')",message="a path must be absolute and not /, without '.' and '..', of letters, digits and - . _, for example /srv/data"
	ExportPaths []string `json:"exportPaths,omitempty"`
	// certificatePaths are the directories on the nodes to which a Certificate may deliver files, each with all that is below it.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^(/[-A-Za-z0-9._]+)+$') && !self.contains('/../') && !self.endsWith('/..') && !self.contains('/./') && !self.endsWith('/.')",message="a path must be absolute and not /, without '.' and '..', of letters, digits and - . _, for example /etc/ssl/site"
	CertificatePaths []string `json:"certificatePaths,omitempty"`
}

// HostNode is a node of the Proxmox site as observed.
type HostNode struct {
	// name of the node.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`
	// online says whether the cluster sees the node.
	// +required
	Online *bool `json:"online,omitempty"`
	// cpus is the number of processors.
	// +optional
	CPUs int32 `json:"cpus,omitempty"`
	// memory of the node.
	// +optional
	Memory *resource.Quantity `json:"memory,omitempty"`
}

// HostGuests counts the guests of a Host.
type HostGuests struct {
	// managed guests bear the owner mark of one of this Host's Guests.
	// +required
	// +kubebuilder:validation:Minimum=0
	Managed *int32 `json:"managed,omitempty"`
	// unmanaged guests are all others; templates count.
	// +required
	// +kubebuilder:validation:Minimum=0
	Unmanaged *int32 `json:"unmanaged,omitempty"`
}

// HostStatus is what was observed of a Host.
type HostStatus struct {
	CommonStatus `json:",inline"`

	// version of Proxmox VE.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Version string `json:"version,omitempty"`
	// nodes of the site.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Nodes []HostNode `json:"nodes,omitempty"`
	// nodesOnline is the number of nodes that the cluster sees.
	// +optional
	NodesOnline *int32 `json:"nodesOnline,omitempty"`
	// guests counts the guests that are managed through this Host, and the others.
	// +optional
	Guests *HostGuests `json:"guests,omitempty"`
	// destructions lists the guests and volumes that were destroyed within the last hour. It is written before each of them.
	// +optional
	// +listType=map
	// +listMapKey=what
	// +kubebuilder:validation:MaxItems=1000
	Destructions []Destruction `json:"destructions,omitempty"`
}

// Destruction records that a guest or a volume was destroyed.
type Destruction struct {
	// what was destroyed.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	What string `json:"what,omitempty"`
	// at which time it was begun.
	// +required
	At metav1.Time `json:"at,omitempty,omitzero"`
}

// Host is one Proxmox VE endpoint: a node or a cluster.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=phoenix
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name="Nodes",type=integer,JSONPath=`.status.nodesOnline`
// +kubebuilder:printcolumn:name="Guests",type=integer,JSONPath=`.status.guests.managed`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type Host struct {
	metav1.TypeMeta `json:",inline"`
	// metadata of the object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec declares the endpoint.
	// +required
	// +kubebuilder:validation:XValidation:rule="has(self.ownerID) == has(oldSelf.ownerID) && (!has(self.ownerID) || self.ownerID == oldSelf.ownerID)",message="ownerID cannot be changed: it stands in the owner marks of the guests; make a new Host instead"
	Spec HostSpec `json:"spec,omitempty,omitzero"`
	// status is what was observed.
	// +optional
	Status HostStatus `json:"status,omitempty,omitzero"`
}

// HostList is a list of Hosts.
// +kubebuilder:object:root=true
type HostList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Host `json:"items"`
}

// Common returns the part of the spec that every kind has.
func (h *Host) Common() *CommonSpec { return &h.Spec.CommonSpec }

// CommonStatus returns the part of the status that every kind has.
func (h *Host) CommonStatus() *CommonStatus { return &h.Status.CommonStatus }

// DefaultDeletionPolicy of a Host is Delete: a Host owns nothing outside but the roots that its nodes trust.
func (h *Host) DefaultDeletionPolicy() DeletionPolicy { return DeletionDelete }
