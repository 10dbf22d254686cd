// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Nginx is the gateway of a site: it sends HTTP to HTTPS, ends TLS, and passes the names of the Routes that refer to it on to
// their router. Every other name gets nothing.
// +kubebuilder:validation:XValidation:rule="(has(self.httpPort) ? self.httpPort : 80) != (has(self.httpsPort) ? self.httpsPort : 443)",message="httpPort (80) and httpsPort (443) must differ from each other"
type Nginx struct {
	// packageName is Debian's package. Default: nginx-light.
	// +optional
	// +kubebuilder:validation:Enum=nginx;nginx-light;nginx-core;nginx-full;nginx-extras
	PackageName string `json:"packageName,omitempty"`
	// httpPort sends everybody to HTTPS. Default: 80.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	HTTPPort int32 `json:"httpPort,omitempty"`
	// httpsPort ends TLS. Default: 443.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	HTTPSPort int32 `json:"httpsPort,omitempty"`
	// servers are names with their certificate.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(s, !has(s.names) || s.names.all(n, self.exists_one(o, has(o.names) && n in o.names)))",message="servers[].names must differ from each other: one name is served by one server"
	Servers []NginxServer `json:"servers,omitempty"`
	// internalNetworks may come to Routes that are Internal. Default: the private networks (RFC 1918, RFC 4193) and loopback.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="self.all(n, isCIDR(n))",message="internalNetworks must be networks, for example 10.0.0.0/24"
	InternalNetworks []string `json:"internalNetworks,omitempty"`
	// proxy says how requests are passed on.
	// +optional
	Proxy *NginxProxy `json:"proxy,omitempty"`
	// securityHeaders are added to every answer of a Route that does not have them already.
	// +optional
	SecurityHeaders *NginxSecurityHeaders `json:"securityHeaders,omitempty"`
	// passThrough lets TCP Routes in: the TLS of their names goes to the router as it comes. It puts nginx's stream module
	// before everything on httpsPort.
	// +optional
	PassThrough *NginxPassThrough `json:"passThrough,omitempty"`
}

// NginxProxy says how requests are passed on. Websockets and streams work without any of it.
type NginxProxy struct {
	// maxBodySizeMiB is the most that a request may hold, in MiB; 0: any. Default: 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1048576
	MaxBodySizeMiB *int32 `json:"maxBodySizeMiB,omitempty"`
	// connectTimeout of the connection to the router. Default: 5s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('75s')",message="connectTimeout must be from 1s to 75s"
	ConnectTimeout *metav1.Duration `json:"connectTimeout,omitempty"`
	// idleTimeout between two bytes of a request, an answer or a websocket. Default: 1h.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="idleTimeout must be from 1s to 24h"
	IdleTimeout *metav1.Duration `json:"idleTimeout,omitempty"`
	// buffering keeps a request and its answer until they are whole, for backends that must not wait for slow clients.
	// Default: false: everything streams.
	// +optional
	Buffering *bool `json:"buffering,omitempty"`
}

// NginxSecurityHeaders are headers that have browsers take care.
type NginxSecurityHeaders struct {
	// hsts is how long browsers come by HTTPS alone (Strict-Transport-Security). Unset: not sent.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('17520h')",message="hsts must be at most 17520h (two years)"
	HSTS *metav1.Duration `json:"hsts,omitempty"`
	// contentTypeNosniff sends X-Content-Type-Options: nosniff. Default: true.
	// +optional
	ContentTypeNosniff *bool `json:"contentTypeNosniff,omitempty"`
	// frameOptions is X-Frame-Options. Unset: not sent.
	// +optional
	// +kubebuilder:validation:Enum=DENY;SAMEORIGIN
	FrameOptions string `json:"frameOptions,omitempty"`
	// referrerPolicy is Referrer-Policy. Unset: not sent.
	// +optional
	// +kubebuilder:validation:Enum=no-referrer;no-referrer-when-downgrade;origin;origin-when-cross-origin;same-origin;strict-origin;strict-origin-when-cross-origin;unsafe-url
	ReferrerPolicy string `json:"referrerPolicy,omitempty"`
}

// NginxPassThrough lets TCP Routes in.
type NginxPassThrough struct {
	// idleTimeout of a connection in which nothing is said. Default: 10m.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="idleTimeout must be from 1s to 24h"
	IdleTimeout *metav1.Duration `json:"idleTimeout,omitempty"`
}

// NginxServer is a set of names with their certificate.
// +kubebuilder:validation:XValidation:rule="has(self.certificateRef) != has(self.secretRef)",message="a server needs exactly one of certificateRef and secretRef"
type NginxServer struct {
	// name of the server within the service.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="name must be lower case letters, digits and -, for example site"
	Name string `json:"name,omitempty"`
	// names that it answers to; the first label may be *. Default: the DNS names in its certificate.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.all(n, n.matches('^([*][.])?([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])*[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))",message="names must be host names in lower case, for example www.phoenix.lan or *.phoenix.lan"
	Names []string `json:"names,omitempty"`
	// certificateRef names a Certificate. The server waits until it is Issued.
	// +optional
	CertificateRef *LocalReference `json:"certificateRef,omitempty"`
	// secretRef names a Secret of type kubernetes.io/tls, such as a public certificate of somebody else.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
}
