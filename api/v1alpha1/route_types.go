// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RouteSpec declares host names that are served from outside: through a gateway, by a router, from backends.
// +kubebuilder:validation:XValidation:rule="!has(self.tcp) || !(has(self.paths) || has(self.priority) || has(self.middlewares) || has(self.sticky) || has(self.healthCheck) || has(self.tls) || has(self.protocol) || has(self.backendTLS) || has(self.passHostHeader))",message="tcp passes connections through as they come: paths, priority, middlewares, sticky, healthCheck, tls, protocol, backendTLS and passHostHeader are for HTTP"
// +kubebuilder:validation:XValidation:rule="!has(self.tcp) || self.backends.all(b, !has(b.url))",message="tcp needs backends with an address and a port: guest, hostService or stack"
// +kubebuilder:validation:XValidation:rule="!has(self.backendTLS) || (has(self.protocol) && self.protocol == 'HTTPS') || self.backends.exists(b, has(b.hostService) || (has(b.url) && b.url.startsWith('https://')))",message="backendTLS belongs to backends that are spoken to over TLS: set protocol: HTTPS"
type RouteSpec struct {
	CommonSpec `json:",inline"`

	// gatewayRef names the nginx HostService through which clients come.
	// +required
	GatewayRef LocalReference `json:"gatewayRef,omitempty,omitzero"`
	// routerRef names the traefik HostService that sends them on. It must list the gateway.
	// +required
	RouterRef LocalReference `json:"routerRef,omitempty,omitzero"`
	// hosts are the host names; the first label may be *. Of two Routes for the same host and path the older one serves.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.all(n, n.matches('^([*][.])?([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$'))",message="hosts must be host names in lower case, for example blog.phoenix.lan or *.apps.phoenix.lan"
	// +kubebuilder:validation:XValidation:rule="self.all(n, !isIP(n))",message="hosts must be names, not addresses: for example blog.phoenix.lan"
	Hosts []string `json:"hosts,omitempty"`
	// paths that are served, any of them. Default: all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Paths []RoutePath `json:"paths,omitempty"`
	// priority among the Routes of one host: the highest that fits a request serves it. Default: longer paths come first.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	Priority *int32 `json:"priority,omitempty"`
	// expose says who is let in: Internal, the gateway's internalNetworks, or External, everybody. Default: Internal.
	// +optional
	Expose RouteExposure `json:"expose,omitempty"`

	// backends take the requests, by weight.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Backends []RouteBackend `json:"backends,omitempty"` //nolint:kubeapilinter // a rule of the struct asks for one of its fields
	// protocol that backends speak: HTTP, HTTPS, or H2C (HTTP/2 without TLS, as for gRPC). A url says it itself, and a
	// portainer HostService speaks HTTPS. Default: HTTP.
	// +optional
	Protocol RouteProtocol `json:"protocol,omitempty"`
	// backendTLS says how backends that speak HTTPS are verified. Default: by what the router's machine trusts; a portainer
	// HostService by its own authority.
	// +optional
	BackendTLS *RouteBackendTLS `json:"backendTLS,omitempty"`
	// passHostHeader hands the client's Host header on to the backends. Default: true.
	// +optional
	PassHostHeader *bool `json:"passHostHeader,omitempty"`
	// healthCheck takes backends out that do not answer.
	// +optional
	HealthCheck *RouteHealthCheck `json:"healthCheck,omitempty"`
	// sticky sends a client back to the backend that it had, by a cookie.
	// +optional
	Sticky *RouteSticky `json:"sticky,omitempty"`
	// middlewares change requests and answers, in this order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Middlewares []RouteMiddleware `json:"middlewares,omitempty"` //nolint:kubeapilinter // a rule of the struct asks for one of its fields

	// tls is the certificate that the gateway serves for the hosts. Default: that of the gateway's server which covers them.
	// +optional
	TLS *RouteTLS `json:"tls,omitempty"`
	// tcp passes the TLS connections of the hosts (by SNI) through to the backends as they come. The gateway needs passThrough.
	// +optional
	TCP *RouteTCP `json:"tcp,omitempty"`
	// dnsRefs name dnsmasq HostServices that answer the hosts with the gateway's address.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	DNSRefs []LocalReference `json:"dnsRefs,omitempty"`
}

// RouteExposure says who is let in.
// +kubebuilder:validation:Enum=Internal;External
type RouteExposure string

const (
	// ExposeInternal lets the gateway's internalNetworks in. It is the default.
	ExposeInternal RouteExposure = "Internal"
	// ExposeExternal lets everybody in.
	ExposeExternal RouteExposure = "External"
)

// RouteProtocol is what a backend speaks.
// +kubebuilder:validation:Enum=HTTP;HTTPS;H2C
type RouteProtocol string

const (
	// ProtocolHTTP is HTTP/1.1. It is the default.
	ProtocolHTTP RouteProtocol = "HTTP"
	// ProtocolHTTPS is HTTP over TLS.
	ProtocolHTTPS RouteProtocol = "HTTPS"
	// ProtocolH2C is HTTP/2 without TLS.
	ProtocolH2C RouteProtocol = "H2C"
)

// RoutePathType says how a path is compared.
// +kubebuilder:validation:Enum=Prefix;Exact;Regex
type RoutePathType string

const (
	// PathPrefix fits every path that begins with the value. It is the default.
	PathPrefix RoutePathType = "Prefix"
	// PathExact fits the value alone.
	PathExact RoutePathType = "Exact"
	// PathRegex is a regular expression of Go (RE2).
	PathRegex RoutePathType = "Regex"
)

// RoutePath is a path that is served.
// +kubebuilder:validation:XValidation:rule="(has(self.type) && self.type == 'Regex') || self.value.matches('^/[-A-Za-z0-9._~!$&()*+,;=:@%/]*$')",message="value must begin with / and hold nothing that a URL's path cannot, for example /api; for patterns set type: Regex"
type RoutePath struct {
	// type is Prefix, Exact or Regex. Default: Prefix.
	// +optional
	Type RoutePathType `json:"type,omitempty"`
	// value that the path is compared with.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-_a-~]+$')",message="value must be printable ASCII without spaces and backticks"
	Value string `json:"value,omitempty"`
}

// RouteBackend is where requests go: exactly one of guest, hostService, stack and url.
// +kubebuilder:validation:XValidation:rule="(has(self.guest) ? 1 : 0) + (has(self.hostService) ? 1 : 0) + (has(self.stack) ? 1 : 0) + (has(self.url) ? 1 : 0) == 1",message="a backend needs exactly one of guest, hostService, stack and url"
type RouteBackend struct {
	// guest and the port on which it answers. Its address is followed.
	// +optional
	Guest *RouteGuestBackend `json:"guest,omitempty"`
	// hostService and the port on which it answers.
	// +optional
	HostService *RouteServiceBackend `json:"hostService,omitempty"`
	// stack is a service of a DockerStack. Its published port is followed.
	// +optional
	Stack *RouteStackBackend `json:"stack,omitempty"`
	// url of something that Phoenix does not hold: http://, https:// or h2c:// with a host, and a port if it is not the usual one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^(http|https|h2c)://([A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?([.][A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*|\\\\[[0-9A-Fa-f:.]+\\\\])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?/?$')",message="url must be http://, https:// or h2c:// with a host and a port from 1 to 65535, without a path, for example http://10.0.0.9:8080"
	URL string `json:"url,omitempty"`
	// weight among the backends; 0 takes it out. Default: 1.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Weight *int32 `json:"weight,omitempty"`
}

// RouteGuestBackend is a port of a Guest.
type RouteGuestBackend struct {
	// name of the Guest.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// port on which it answers.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
}

// RouteServiceBackend is a port of a HostService.
type RouteServiceBackend struct {
	// name of the HostService.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// port on which it answers. Default: that of a portainer or stepCA HostService; others need it.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
}

// RouteStackBackend is a port of a service of a DockerStack.
type RouteStackBackend struct {
	// name of the DockerStack.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// service of the compose text.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Service string `json:"service,omitempty"`
	// port within the container. Where it is published is looked up. Default: the only one that is published.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
}

// RouteBackendTLS says how backends that speak HTTPS are verified.
// +kubebuilder:validation:XValidation:rule="!(has(self.authorityRef) && has(self.caSecretRef))",message="set authorityRef or caSecretRef, not both"
type RouteBackendTLS struct {
	// authorityRef names a stepCA HostService that signed the backend's certificate.
	// +optional
	AuthorityRef *LocalReference `json:"authorityRef,omitempty"`
	// caSecretRef is an entry of a Secret with the roots, in PEM.
	// +optional
	CASecretRef *SecretKeyReference `json:"caSecretRef,omitempty"`
	// serverName that the backend's certificate must have. Default: the host of a url, else the address.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])*[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="serverName must be a host name in lower case, for example portainer.phoenix.lan"
	ServerName string `json:"serverName,omitempty"`
}

// RouteHealthCheck asks every backend again and again.
type RouteHealthCheck struct {
	// path that is asked for.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^/[-A-Za-z0-9._~!$&()*+,;=:@%/?]*$')",message="path must begin with /, for example /healthz"
	Path string `json:"path,omitempty"`
	// interval between two questions. Default: 30s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="interval must be from 1s to 1h"
	Interval *metav1.Duration `json:"interval,omitempty"`
	// timeout of one. Default: 5s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms') && duration(self) <= duration('1m')",message="timeout must be from 100ms to 1m"
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// status that is right. Default: any from 200 to 399.
	// +optional
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=599
	Status int32 `json:"status,omitempty"`
}

// RouteSticky is the cookie by which a client comes back to its backend.
type RouteSticky struct {
	// cookie is its name. Default: phoenix_backend.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_-]+$')",message="cookie must be letters, digits, - and _"
	Cookie string `json:"cookie,omitempty"`
	// sameSite of the cookie. Default: Lax.
	// +optional
	// +kubebuilder:validation:Enum=None;Lax;Strict
	SameSite string `json:"sameSite,omitempty"`
	// maxAge of the cookie. Default: until the browser ends.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('8760h')",message="maxAge must be from 1s to 8760h"
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`
}

// RouteTLS is the certificate that the gateway serves: exactly one of certificateRef, secretRef and issue.
// +kubebuilder:validation:XValidation:rule="(has(self.certificateRef) ? 1 : 0) + (has(self.secretRef) ? 1 : 0) + (has(self.issue) && self.issue ? 1 : 0) == 1",message="tls needs exactly one of certificateRef, secretRef and issue: true"
// +kubebuilder:validation:XValidation:rule="(has(self.issue) && self.issue) == has(self.authorityRef)",message="tls.issue and tls.authorityRef belong together: the authority that signs"
type RouteTLS struct {
	// certificateRef names a Certificate.
	// +optional
	CertificateRef *LocalReference `json:"certificateRef,omitempty"`
	// secretRef names a Secret of type kubernetes.io/tls.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
	// issue makes a Certificate for the hosts, called route-NAME, which goes with the Route.
	// +optional
	Issue *bool `json:"issue,omitempty"`
	// authorityRef names the stepCA HostService that signs it.
	// +optional
	AuthorityRef *LocalReference `json:"authorityRef,omitempty"`
}

// RouteTCP passes connections through.
type RouteTCP struct {
	// proxyProtocol tells backends who the client is, in this version of the PROXY protocol. Unset: they are not told.
	// +optional
	// +kubebuilder:validation:Enum=1;2
	ProxyProtocol int32 `json:"proxyProtocol,omitempty"`
}
