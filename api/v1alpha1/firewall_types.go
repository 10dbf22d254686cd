// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Flows says whether rules are made from what the objects declare of one another.
// +kubebuilder:validation:Enum=Derive;None
type Flows string

const (
	// FlowsDerive lets through exactly what the declared objects need of one another, beside the declared rules: every
	// guest may ask dnsmasq, the clients of an export may mount it, and so on. Guests then refuse all else that comes in.
	FlowsDerive Flows = "Derive"
	// FlowsNone makes no rule of its own. It is the default.
	FlowsNone Flows = "None"
)

// FirewallPolicy is what happens to a connection that no rule names.
// +kubebuilder:validation:Enum=Accept;Drop;Reject
type FirewallPolicy string

const (
	// FirewallAccept lets it through.
	FirewallAccept FirewallPolicy = "Accept"
	// FirewallDrop drops it without an answer.
	FirewallDrop FirewallPolicy = "Drop"
	// FirewallReject refuses it with an answer.
	FirewallReject FirewallPolicy = "Reject"
)

// FirewallDirection is the way of a connection as the machine sees it.
// +kubebuilder:validation:Enum=In;Out
type FirewallDirection string

const (
	// FirewallIn is to the machine.
	FirewallIn FirewallDirection = "In"
	// FirewallOut is from the machine.
	FirewallOut FirewallDirection = "Out"
)

// Firewall holds the rules of the Proxmox firewall. Its rules stand in security groups of their own, with one reference
// on each level, so that foreign rules stay untouched. What could cut Phoenix off is put back by a timer on the host unless
// new connections to it succeed; so the Host needs SSH.
type Firewall struct {
	// flows is Derive or None (default).
	// +optional
	Flows Flows `json:"flows,omitempty"`
	// exclusive moves our reference above foreign rules. Default: false; then one above ours shows as Shadowed.
	// +optional
	Exclusive *bool `json:"exclusive,omitempty"`
	// datacenter is the level of the whole site. Its rules count on every node.
	// +optional
	Datacenter *FirewallDatacenter `json:"datacenter,omitempty"`
	// nodes are the levels of single nodes.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Nodes []FirewallNode `json:"nodes,omitempty"`
	// guests are the levels of single Guests. Only interfaces with firewall: true are filtered.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Guests []FirewallGuest `json:"guests,omitempty"`
}

// FirewallDatacenter is the level of the whole site.
type FirewallDatacenter struct {
	// enabled turns the firewall of the whole site on or off. Unset: not touched.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
	// policyIn of the nodes. Unset: not touched; Proxmox's own default is Drop.
	// +optional
	PolicyIn FirewallPolicy `json:"policyIn,omitempty"`
	// policyOut of the nodes. Unset: not touched; Proxmox's own default is Accept.
	// +optional
	PolicyOut FirewallPolicy `json:"policyOut,omitempty"`
	// aliases are names for addresses and networks.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Aliases []FirewallAlias `json:"aliases,omitempty"`
	// ipSets are named sets of addresses and networks.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	IPSets []FirewallIPSet `json:"ipSets,omitempty"`
	// rules in their order; the first that fits counts.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Rules []FirewallRule `json:"rules,omitempty"`
}

// FirewallNode is the level of one node.
type FirewallNode struct {
	// name of the node.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$')",message="name must be the name of a node: letters, digits and -, for example pve1"
	Name string `json:"name,omitempty"`
	// enabled filters what comes to the node itself. Unset: not touched; Proxmox's own default is on.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
	// rules in their order; the first that fits counts. They come before the datacenter's.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Rules []FirewallRule `json:"rules,omitempty"`
}

// FirewallGuest is the level of one Guest.
type FirewallGuest struct {
	// name of the Guest.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// enabled filters the Guest's interfaces that have firewall: true. Unset: not touched, or on with flows: Derive.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
	// policyIn of the Guest. Unset: not touched, or Drop with flows: Derive.
	// +optional
	PolicyIn FirewallPolicy `json:"policyIn,omitempty"`
	// policyOut of the Guest. Unset: not touched.
	// +optional
	PolicyOut FirewallPolicy `json:"policyOut,omitempty"`
	// dhcp lets the Guest ask for an address. Unset: not touched.
	// +optional
	DHCP *bool `json:"dhcp,omitempty"`
	// macFilter drops packets with another MAC address than the interface's. Unset: not touched; Proxmox's own default is on.
	// +optional
	MACFilter *bool `json:"macFilter,omitempty"`
	// ipFilter drops packets with another source address than the Guest's own. Unset: not touched.
	// +optional
	IPFilter *bool `json:"ipFilter,omitempty"`
	// rules in their order; the first that fits counts.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Rules []FirewallRule `json:"rules,omitempty"`
}

// FirewallAlias is a name for an address or a network.
type FirewallAlias struct {
	// name of the alias.
	// +required
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z][-a-z0-9_]+$')",message="name must begin with a lower case letter, then lower case letters, digits, - and _, for example office"
	Name string `json:"name,omitempty"`
	// address or network.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="isIP(self) || (isCIDR(self) && cidr(self) == cidr(self).masked())",message="address must be an IP address or a network, for example 10.0.0.0/24"
	Address string `json:"address,omitempty"`
	// comment that stands beside it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[ -~]+$')",message="comment must be printable ASCII on one line"
	Comment string `json:"comment,omitempty"`
}

// FirewallIPSet is a named set of addresses and networks.
type FirewallIPSet struct {
	// name of the set.
	// +required
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z][-a-z0-9_]+$')",message="name must begin with a lower case letter, then lower case letters, digits, - and _, for example admins"
	Name string `json:"name,omitempty"`
	// entries of the set.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Entries []FirewallEntry `json:"entries,omitempty"` //nolint:kubeapilinter // a rule of the struct asks for one of its fields
	// comment that stands beside it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[ -~]+$')",message="comment must be printable ASCII on one line"
	Comment string `json:"comment,omitempty"`
}

// FirewallEntry is one entry of a set.
// +kubebuilder:validation:XValidation:rule="has(self.address) != has(self.guestRef)",message="an entry needs exactly one of address and guestRef"
type FirewallEntry struct {
	// address or network.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="isIP(self) || (isCIDR(self) && cidr(self) == cidr(self).masked())",message="address must be an IP address or a network, for example 10.0.0.0/24"
	Address string `json:"address,omitempty"`
	// guestRef names a Guest; its present addresses count.
	// +optional
	GuestRef *LocalReference `json:"guestRef,omitempty"`
	// except takes the entry out of a network that the set holds. Default: false.
	// +optional
	Except *bool `json:"except,omitempty"`
}

// FirewallRule lets connections through, or stops them.
// +kubebuilder:validation:XValidation:rule="!has(self.macro) || (!has(self.protocol) && !has(self.ports) && !has(self.sourcePorts) && !has(self.icmpType))",message="a macro has its own protocol and ports: leave those out, or the macro"
// +kubebuilder:validation:XValidation:rule="(!has(self.ports) && !has(self.sourcePorts)) || (has(self.protocol) && self.protocol in ['tcp', 'udp', 'sctp'])",message="ports and sourcePorts need protocol: tcp, udp or sctp"
// +kubebuilder:validation:XValidation:rule="!has(self.icmpType) || (has(self.protocol) && self.protocol in ['icmp', 'ipv6-icmp'])",message="icmpType needs protocol: icmp or ipv6-icmp"
type FirewallRule struct {
	// direction is In (default) or Out.
	// +optional
	Direction FirewallDirection `json:"direction,omitempty"`
	// action is Accept, Drop or Reject.
	// +required
	Action FirewallPolicy `json:"action,omitempty"`
	// macro of Proxmox, such as SSH or HTTPS.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]+$')",message="macro must be the name of a Proxmox firewall macro, for example SSH; see: pvesh get /cluster/firewall/macros"
	Macro string `json:"macro,omitempty"`
	// protocol is tcp, udp, sctp, icmp, ipv6-icmp, igmp, esp, ah or gre. Unset: any.
	// +optional
	// +kubebuilder:validation:Enum=tcp;udp;sctp;icmp;ipv6-icmp;igmp;esp;ah;gre
	Protocol string `json:"protocol,omitempty"`
	// source of the connection. Unset: any.
	// +optional
	Source *FirewallPeer `json:"source,omitempty"`
	// destination of the connection. Unset: any.
	// +optional
	Destination *FirewallPeer `json:"destination,omitempty"`
	// ports of the destination: numbers and ranges, such as 80,443 or 8000:8080.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]{1,5}(:[0-9]{1,5})?(,[0-9]{1,5}(:[0-9]{1,5})?)*$')",message="ports must be numbers and ranges without spaces, for example 80,443 or 8000:8080"
	Ports string `json:"ports,omitempty"`
	// sourcePorts are numbers and ranges, such as 1024:65535.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]{1,5}(:[0-9]{1,5})?(,[0-9]{1,5}(:[0-9]{1,5})?)*$')",message="sourcePorts must be numbers and ranges without spaces, for example 1024:65535"
	SourcePorts string `json:"sourcePorts,omitempty"`
	// icmpType is the name of an ICMP type, such as echo-request.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z][a-z0-9-]*$')",message="icmpType must be the name of an ICMP type, for example echo-request"
	ICMPType string `json:"icmpType,omitempty"`
	// interface is net0 to net31 of a Guest, or an interface of the node. Unset: all.
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z][-a-zA-Z0-9_.]+$')",message="interface must be the name of an interface, for example net0 or vmbr0"
	Interface string `json:"interface,omitempty"`
	// log level for connections that the rule fits. Unset: not logged.
	// +optional
	// +kubebuilder:validation:Enum=emerg;alert;crit;err;warning;notice;info;debug;nolog
	Log string `json:"log,omitempty"`
	// comment that stands beside the rule.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[ -~]+$')",message="comment must be printable ASCII on one line"
	Comment string `json:"comment,omitempty"`
	// enabled turns the rule on; one that is off stands there, but does not count. Default: true.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
}

// FirewallPeer is one end of a connection.
// +kubebuilder:validation:XValidation:rule="(has(self.address) ? 1 : 0) + (has(self.alias) ? 1 : 0) + (has(self.ipSet) ? 1 : 0) + (has(self.guestRef) ? 1 : 0) == 1",message="a peer needs exactly one of address, alias, ipSet and guestRef"
type FirewallPeer struct {
	// address or network.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="isIP(self) || (isCIDR(self) && cidr(self) == cidr(self).masked())",message="address must be an IP address or a network, for example 10.0.0.0/24"
	Address string `json:"address,omitempty"`
	// alias of the datacenter.
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z][-a-z0-9_]+$')",message="alias must be the name of an alias, for example office"
	Alias string `json:"alias,omitempty"`
	// ipSet of the datacenter.
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z][-a-z0-9_]+$')",message="ipSet must be the name of a set, for example admins"
	IPSet string `json:"ipSet,omitempty"`
	// guestRef names a Guest; its present addresses count.
	// +optional
	GuestRef *LocalReference `json:"guestRef,omitempty"`
}

// FirewallStatus is what was observed of the rules.
type FirewallStatus struct {
	// enabled says whether the firewall of the whole site is on.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
	// rules that are ours and count.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Rules *int32 `json:"rules,omitempty"`
	// shadowed names the levels on which a foreign rule stands above ours, such as datacenter, node/pve1 or guest/nginx.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=96
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=260
	Shadowed []string `json:"shadowed,omitempty"`
}
