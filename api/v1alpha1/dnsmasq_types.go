// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Dnsmasq answers the names of the site from one machine, with one view for all who ask.
// +kubebuilder:validation:XValidation:rule="!has(self.upstreams) || self.upstreams.all(u, !(u in self.listenAddresses))",message="upstreams must not hold one of listenAddresses: dnsmasq would ask itself"
// +kubebuilder:validation:XValidation:rule="!has(self.zones) || self.zones.all(z, z.servers.all(u, !(u in self.listenAddresses)))",message="zones[].servers must not hold one of listenAddresses: dnsmasq would ask itself"
type Dnsmasq struct {
	// listenAddresses of the machine on which it answers; no others.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) && !ip(self).isUnspecified()",message="a listen address must be an IP address of the machine, for example 10.0.0.13"
	ListenAddresses []string `json:"listenAddresses,omitempty"`
	// upstreams that are asked for all names that are not declared here. None: such names do not exist.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) && !ip(self).isUnspecified() && !ip(self).isLoopback()",message="an upstream must be the IP address of another machine, for example 9.9.9.9"
	Upstreams []string `json:"upstreams,omitempty"`
	// domain of the site. Names without a dot are answered within it, and what is not declared in it does not exist.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$')",message="domain must be a DNS domain in lower case, for example lan or home.example.org"
	Domain string `json:"domain,omitempty"`
	// publishGuests answers the name of every Guest of the same Host with its address. Default: true.
	// +optional
	PublishGuests *bool `json:"publishGuests,omitempty"`
	// records that are answered beside the Guests' names. A name declared twice is an error.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Records []DNSRecord `json:"records,omitempty"`
	// zones are domains that other servers are asked for.
	// +optional
	// +listType=map
	// +listMapKey=domain
	// +kubebuilder:validation:MaxItems=32
	Zones []DNSZone `json:"zones,omitempty"`
	// dhcp hands out addresses. Unset: none are.
	// +optional
	DHCP *DHCP `json:"dhcp,omitempty"`
}

// DNSRecord is what one name is answered with.
// +kubebuilder:validation:XValidation:rule="(has(self.addresses) ? 1 : 0) + (has(self.cname) ? 1 : 0) + (has(self.text) ? 1 : 0) + (has(self.srv) ? 1 : 0) == 1",message="a record needs exactly one of addresses, cname, text and srv"
// +kubebuilder:validation:XValidation:rule="!has(self.subdomains) || has(self.addresses)",message="subdomains belongs to addresses"
// +kubebuilder:validation:XValidation:rule="!has(self.srv) || self.name.startsWith('_')",message="the name of an srv record must begin with the service and the protocol, for example _ldap._tcp"
type DNSRecord struct {
	// name that is asked for; without a dot, it is one of the domain. This exact name only, unless subdomains is set.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?([.][a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?)*$')",message="name must be a DNS name in lower case: letters, digits, - and _ in labels of at most 63 characters, for example nas or nas.home.example.org"
	Name string `json:"name,omitempty"`
	// addresses of the name: A and AAAA records, and the PTR record of each. They change without a restart.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:items:XValidation:rule="isIP(self)",message="an address must be an IP address, for example 10.0.0.20"
	Addresses []string `json:"addresses,omitempty"`
	// subdomains answers every name below this one with the same addresses. It changes with a restart of dnsmasq.
	// +optional
	Subdomains *bool `json:"subdomains,omitempty"`
	// cname is the name that this one stands for; dnsmasq must answer that one itself. It changes with a restart of dnsmasq.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?([.][a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?)*$')",message="cname must be a DNS name in lower case, for example nginx or nginx.home.example.org"
	CNAME string `json:"cname,omitempty"`
	// text of TXT records, printable ASCII. It changes with a restart of dnsmasq.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[ !#-~]+$') && !self.contains('\\\\')",message="a text must be printable ASCII without the double quote and the backslash"
	Text []string `json:"text,omitempty"`
	// srv is the place of a service. It changes with a restart of dnsmasq.
	// +optional
	SRV *DNSService `json:"srv,omitempty"`
}

// DNSService is the place of a service, as an SRV record has it.
type DNSService struct {
	// target is the name of the machine.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?([.][a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?)*$')",message="target must be a DNS name in lower case, for example nas or nas.home.example.org"
	Target string `json:"target,omitempty"`
	// port of the service.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// priority of the place; lower ones are used first. Default: 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Priority *int32 `json:"priority,omitempty"`
	// weight among those of one priority. Default: 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Weight *int32 `json:"weight,omitempty"`
}

// DNSZone is a domain that other servers are asked for.
type DNSZone struct {
	// domain with all names below it, such as example.org or 168.192.in-addr.arpa.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?([.][a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?)*$')",message="domain must be a DNS domain in lower case, for example example.org"
	Domain string `json:"domain,omitempty"`
	// servers that are asked.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) && !ip(self).isUnspecified() && !ip(self).isLoopback()",message="a server must be the IP address of another machine, for example 192.168.1.1"
	Servers []string `json:"servers,omitempty"`
}

// DHCP hands out IPv4 addresses in the networks of the machine.
type DHCP struct {
	// ranges that addresses are taken from.
	// +required
	// +listType=map
	// +listMapKey=first
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Ranges []DHCPRange `json:"ranges,omitempty"`
	// gateway that clients are told. Default: the address of the machine in their network.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 4",message="gateway must be an IPv4 address, for example 10.0.0.1"
	Gateway string `json:"gateway,omitempty"`
	// reservations give a Guest the same address always. They change without a restart.
	// +optional
	// +listType=map
	// +listMapKey=address
	// +kubebuilder:validation:MaxItems=256
	Reservations []DHCPReservation `json:"reservations,omitempty"`
}

// DHCPRange is a range of addresses, both ends included.
type DHCPRange struct {
	// first address of the range.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 4",message="first must be an IPv4 address, for example 10.0.0.200"
	First string `json:"first,omitempty"`
	// last address of the range.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 4",message="last must be an IPv4 address, for example 10.0.0.250"
	Last string `json:"last,omitempty"`
	// lease is how long an address is given for, at least 2m. Default: 1h.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('2m') && duration(self) <= duration('8760h')",message="lease must be from 2m to 8760h, for example 12h"
	Lease *metav1.Duration `json:"lease,omitempty"`
}

// DHCPReservation gives one interface of a Guest the same address always.
type DHCPReservation struct {
	// guestRef names the Guest.
	// +required
	GuestRef LocalReference `json:"guestRef,omitempty,omitzero"`
	// device of the Guest: net0 to net31. Default: net0.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:XValidation:rule="self.matches('^net([0-9]|[12][0-9]|3[01])$')",message="device must be net0 to net31"
	Device string `json:"device,omitempty"`
	// address that it is given.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 4",message="address must be an IPv4 address, for example 10.0.0.30"
	Address string `json:"address,omitempty"`
}
