// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// HostServiceSpec declares one service on a Proxmox VE host or in a guest: exactly one of its blocks.
// +kubebuilder:validation:XValidation:rule="has(self.hostRef) != has(self.guestRef)",message="a HostService needs exactly one of hostRef and guestRef: the machine that it runs on"
// +kubebuilder:validation:XValidation:rule="!has(self.node) || has(self.hostRef)",message="node belongs to hostRef: a guest is followed to the node that it is on"
// +kubebuilder:validation:XValidation:rule="(has(self.dnsmasq) ? 1 : 0) + (has(self.docker) ? 1 : 0) + (has(self.firewall) ? 1 : 0) + (has(self.nfs) ? 1 : 0) + (has(self.nginx) ? 1 : 0) + (has(self.portainer) ? 1 : 0) + (has(self.portainerAgent) ? 1 : 0) + (has(self.stepCA) ? 1 : 0) + (has(self.traefik) ? 1 : 0) == 1",message="a HostService needs exactly one of dnsmasq, docker, firewall, nfs, nginx, portainer, portainerAgent, stepCA and traefik"
// +kubebuilder:validation:XValidation:rule="!has(self.firewall) || (has(self.hostRef) && !has(self.node))",message="firewall needs hostRef without node: it holds the rules of the whole Proxmox site"
// +kubebuilder:validation:XValidation:rule="!has(self.stepCA) || has(self.guestRef)",message="stepCA needs guestRef: an authority runs in a Guest of its own"
// +kubebuilder:validation:XValidation:rule="!has(self.nginx) || has(self.guestRef)",message="nginx needs guestRef: the entry of the site runs in a Guest"
// +kubebuilder:validation:XValidation:rule="!has(self.traefik) || has(self.guestRef)",message="traefik needs guestRef: the router of the site runs in a Guest"
// +kubebuilder:validation:XValidation:rule="!has(self.docker) || has(self.guestRef)",message="docker needs guestRef: containers do not run on the Proxmox host itself"
// +kubebuilder:validation:XValidation:rule="!has(self.portainer) || has(self.guestRef)",message="portainer needs guestRef: it runs in a Guest with a Docker engine"
// +kubebuilder:validation:XValidation:rule="!has(self.portainerAgent) || has(self.guestRef)",message="portainerAgent needs guestRef: it runs in a Guest with a Docker engine"
// +kubebuilder:validation:XValidation:rule="has(self.dnsmasq) == has(oldSelf.dnsmasq) && has(self.docker) == has(oldSelf.docker) && has(self.portainer) == has(oldSelf.portainer) && has(self.portainerAgent) == has(oldSelf.portainerAgent) && has(self.firewall) == has(oldSelf.firewall) && has(self.nfs) == has(oldSelf.nfs) && has(self.nginx) == has(oldSelf.nginx) && has(self.stepCA) == has(oldSelf.stepCA) && has(self.traefik) == has(oldSelf.traefik)",message="the service cannot be changed to another one: make a new HostService instead"
// +kubebuilder:validation:XValidation:rule="has(self.hostRef) == has(oldSelf.hostRef) && (!has(self.hostRef) || self.hostRef.name == oldSelf.hostRef.name)",message="hostRef cannot be changed: make a new HostService instead"
// +kubebuilder:validation:XValidation:rule="has(self.guestRef) == has(oldSelf.guestRef) && (!has(self.guestRef) || self.guestRef.name == oldSelf.guestRef.name)",message="guestRef cannot be changed: make a new HostService instead"
// +kubebuilder:validation:XValidation:rule="has(self.node) == has(oldSelf.node) && (!has(self.node) || self.node == oldSelf.node)",message="node cannot be changed: make a new HostService instead"
type HostServiceSpec struct {
	CommonSpec `json:",inline"`

	// hostRef names the Host on whose node the service runs. It cannot be changed.
	// +optional
	HostRef *LocalReference `json:"hostRef,omitempty"`
	// node of the Host. Default: the only one that the Host declares under ssh.nodes. It cannot be changed.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$')",message="node must be the name of a node: letters, digits and -, for example pve1"
	Node string `json:"node,omitempty"`
	// guestRef names the Guest in which the service runs. It cannot be changed.
	// +optional
	GuestRef *LocalReference `json:"guestRef,omitempty"`

	// dnsmasq answers names, and hands out addresses.
	// +optional
	Dnsmasq *Dnsmasq `json:"dnsmasq,omitempty"`
	// docker is a Docker engine.
	// +optional
	Docker *Docker `json:"docker,omitempty"`
	// firewall holds the rules of the Proxmox firewall: of the datacenter, the nodes and the guests.
	// +optional
	Firewall *Firewall `json:"firewall,omitempty"`
	// nfs exports directories.
	// +optional
	NFS *NFS `json:"nfs,omitempty"`
	// nginx is the gateway of the site: it ends TLS.
	// +optional
	Nginx *Nginx `json:"nginx,omitempty"`
	// portainer is a Portainer server: it deploys the DockerStacks.
	// +optional
	Portainer *Portainer `json:"portainer,omitempty"`
	// portainerAgent makes the Guest's Docker engine an environment of Portainer.
	// +optional
	PortainerAgent *PortainerAgent `json:"portainerAgent,omitempty"`
	// stepCA is a certificate authority.
	// +optional
	StepCA *StepCA `json:"stepCA,omitempty"`
	// traefik is the router of the site: it sends requests to the backends of Routes.
	// +optional
	Traefik *Traefik `json:"traefik,omitempty"`
}

// HostServiceStatus is what was observed of a HostService.
type HostServiceStatus struct {
	CommonStatus `json:",inline"`

	// service that the object declares: dnsmasq, docker, firewall, nfs, nginx, portainer, portainerAgent, stepCA or traefik.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Service string `json:"service,omitempty"`
	// machine on which it runs, such as Host/phoenix or Guest/step-ca.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=320
	Machine string `json:"machine,omitempty"`
	// exports that clients can mount, of an nfs service.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Exports []ExportStatus `json:"exports,omitempty"`
	// firewall is what was observed of the rules, of a firewall service.
	// +optional
	Firewall *FirewallStatus `json:"firewall,omitempty"`
	// portainer is what was observed of the server, of a portainer service.
	// +optional
	Portainer *PortainerStatus `json:"portainer,omitempty"`
	// portainerAgent is what was observed of the agent, of a portainerAgent service.
	// +optional
	PortainerAgent *PortainerAgentStatus `json:"portainerAgent,omitempty"`
	// stepCA is what was observed of the authority, of a stepCA service.
	// +optional
	StepCA *StepCAStatus `json:"stepCA,omitempty"`
	// traefik is what was observed of the router, of a traefik service.
	// +optional
	Traefik *TraefikStatus `json:"traefik,omitempty"`
}

// ExportStatus is one export that clients can mount.
type ExportStatus struct {
	// name of the export.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`
	// source that a client mounts, such as 10.0.0.13:/srv/data.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Source string `json:"source,omitempty"`
}

// HostService is one service on a Host or in a Guest.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=hs,categories=phoenix
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Service",type=string,JSONPath=`.status.service`
// +kubebuilder:printcolumn:name="Machine",type=string,JSONPath=`.status.machine`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type HostService struct {
	metav1.TypeMeta `json:",inline"`
	// metadata of the object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec declares the service.
	// +required
	Spec HostServiceSpec `json:"spec,omitempty,omitzero"` //nolint:kubeapilinter // rules of the struct ask for a machine and a service
	// status is what was observed.
	// +optional
	Status HostServiceStatus `json:"status,omitempty,omitzero"`
}

// HostServiceList is a list of HostServices.
// +kubebuilder:object:root=true
type HostServiceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []HostService `json:"items"`
}

// Common returns the part of the spec that every kind has.
func (s *HostService) Common() *CommonSpec { return &s.Spec.CommonSpec }

// CommonStatus returns the part of the status that every kind has.
func (s *HostService) CommonStatus() *CommonStatus { return &s.Status.CommonStatus }

// DefaultDeletionPolicy of a HostService is Delete: its data stays in any case.
func (s *HostService) DefaultDeletionPolicy() DeletionPolicy { return DeletionDelete }
