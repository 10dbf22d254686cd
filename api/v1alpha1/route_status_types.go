// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RouteStatus is what was observed of a Route.
type RouteStatus struct {
	CommonStatus `json:",inline"`

	// url of the first host and path, such as https://blog.phoenix.lan/.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	URL string `json:"url,omitempty"`
	// hosts in short, such as blog.phoenix.lan +1.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=300
	Hosts string `json:"hosts,omitempty"`
	// backend in short, such as DockerStack/blog web +1.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Backend string `json:"backend,omitempty"`
	// servers that the router sends requests to, such as http://10.0.0.102:8081.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	Servers []string `json:"servers,omitempty"`
	// gatewayAddress at which clients come in, such as 10.0.0.153.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=45
	GatewayAddress string `json:"gatewayAddress,omitempty"`
	// holders are the HostServices on whose machines there may be files of the Route: those that it names, and those that it
	// named before and that could not be asked since. The Route is not gone while one of them may have any.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Holders []string `json:"holders,omitempty"`
	// refused is a keyed hash of what the router rejected: it is not tried again, and what was there before serves on.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Refused string `json:"refused,omitempty"`
	// refusal is what the router said of it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Refusal string `json:"refusal,omitempty"`
}

// Route is host names that are served from outside.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=proute,categories=phoenix
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Hosts",type=string,JSONPath=`.status.hosts`
// +kubebuilder:printcolumn:name="Backend",type=string,JSONPath=`.status.backend`
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.url`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type Route struct {
	metav1.TypeMeta `json:",inline"`
	// metadata of the object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec declares the route.
	// +required
	Spec RouteSpec `json:"spec,omitempty,omitzero"`
	// status is what was observed.
	// +optional
	Status RouteStatus `json:"status,omitempty,omitzero"`
}

// RouteList is a list of Routes.
// +kubebuilder:object:root=true
type RouteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Route `json:"items"`
}

// Common returns the part of the spec that every kind has.
func (r *Route) Common() *CommonSpec { return &r.Spec.CommonSpec }

// CommonStatus returns the part of the status that every kind has.
func (r *Route) CommonStatus() *CommonStatus { return &r.Status.CommonStatus }

// DefaultDeletionPolicy of a Route is Delete: no data stands behind it.
func (r *Route) DefaultDeletionPolicy() DeletionPolicy { return DeletionDelete }
