// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RouteMiddleware changes requests or answers: exactly one of its fields.
// +kubebuilder:validation:XValidation:rule="(has(self.redirect) ? 1 : 0) + (has(self.stripPrefix) ? 1 : 0) + (has(self.addPrefix) ? 1 : 0) + (has(self.headers) ? 1 : 0) + (has(self.basicAuth) ? 1 : 0) + (has(self.ipAllowList) ? 1 : 0) + (has(self.rateLimit) ? 1 : 0) + (has(self.compress) ? 1 : 0) + (has(self.retry) ? 1 : 0) + (has(self.forwardAuth) ? 1 : 0) == 1",message="a middleware needs exactly one of redirect, stripPrefix, addPrefix, headers, basicAuth, ipAllowList, rateLimit, compress, retry and forwardAuth"
type RouteMiddleware struct {
	// redirect sends the client elsewhere.
	// +optional
	Redirect *RouteRedirect `json:"redirect,omitempty"`
	// stripPrefix takes the beginning of the path away.
	// +optional
	StripPrefix *RouteStripPrefix `json:"stripPrefix,omitempty"`
	// addPrefix puts something before the path.
	// +optional
	AddPrefix *RouteAddPrefix `json:"addPrefix,omitempty"`
	// headers sets and removes headers.
	// +optional
	Headers *RouteHeaders `json:"headers,omitempty"`
	// basicAuth asks for a user and a password.
	// +optional
	BasicAuth *RouteBasicAuth `json:"basicAuth,omitempty"`
	// ipAllowList lets some addresses in, as the gateway saw them.
	// +optional
	IPAllowList *RouteIPAllowList `json:"ipAllowList,omitempty"`
	// rateLimit bounds the requests of each client address.
	// +optional
	RateLimit *RouteRateLimit `json:"rateLimit,omitempty"`
	// compress compresses answers.
	// +optional
	Compress *RouteCompress `json:"compress,omitempty"`
	// retry asks again when a backend cannot be reached.
	// +optional
	Retry *RouteRetry `json:"retry,omitempty"`
	// forwardAuth asks another server whether the request may pass.
	// +optional
	ForwardAuth *RouteForwardAuth `json:"forwardAuth,omitempty"`
}

// RouteRedirect sends the client elsewhere.
type RouteRedirect struct {
	// regex that the whole URL must fit (Go, RE2).
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-_a-~]+$')",message="regex must be printable ASCII without spaces and backticks"
	Regex string `json:"regex,omitempty"`
	// replacement is the new URL; ${1} is the first group of the regex.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-_a-~]+$')",message="replacement must be printable ASCII without spaces and backticks"
	// +kubebuilder:validation:XValidation:rule="self.matches('^(https?://|/|[$])')",message="replacement must begin with http://, https://, / or a group of the regex, for example https://www.phoenix.lan/${1}"
	Replacement string `json:"replacement,omitempty"`
	// permanent has browsers remember it (308 in place of 307). Default: false.
	// +optional
	Permanent *bool `json:"permanent,omitempty"`
}

// RouteStripPrefix takes the beginning of the path away.
type RouteStripPrefix struct {
	// prefixes of which the first that fits is taken away. X-Forwarded-Prefix tells the backend.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.all(p, p.matches('^/[-A-Za-z0-9._~!$&()*+,;=:@%/]*$'))",message="prefixes must begin with /, for example /api"
	Prefixes []string `json:"prefixes,omitempty"`
}

// RouteAddPrefix puts something before the path.
type RouteAddPrefix struct {
	// prefix that is put before it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^/[-A-Za-z0-9._~!$&()*+,;=:@%/]*$')",message="prefix must begin with /, for example /app"
	Prefix string `json:"prefix,omitempty"`
}

// RouteHeaders sets and removes headers.
// +kubebuilder:validation:XValidation:rule="has(self.request) || has(self.response)",message="headers needs request or response"
type RouteHeaders struct {
	// request headers that the backend gets.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(h, self.exists_one(o, o.name.lowerAscii() == h.name.lowerAscii()))",message="request must name each header once: capitals make no difference"
	Request []RouteHeader `json:"request,omitempty"`
	// response headers that the client gets.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(h, self.exists_one(o, o.name.lowerAscii() == h.name.lowerAscii()))",message="response must name each header once: capitals make no difference"
	Response []RouteHeader `json:"response,omitempty"`
}

// RouteHeader is a header that is set, or removed.
type RouteHeader struct {
	// name of the header.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9-]+$')",message="name must be letters, digits and -, for example X-Frame-Options"
	Name string `json:"name,omitempty"`
	// value that it gets. Unset: the header is removed.
	// +optional
	// +kubebuilder:validation:MinLength=0
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[ -~]*$')",message="value must be printable ASCII"
	Value *string `json:"value,omitempty"`
}

// RouteBasicAuth asks for a user and a password.
type RouteBasicAuth struct {
	// usersSecretRef is an entry of a Secret with lines as htpasswd writes them: user:hash, with bcrypt (htpasswd -B), MD5 or SHA1.
	// +required
	UsersSecretRef SecretKeyReference `json:"usersSecretRef,omitempty,omitzero"`
	// realm that the browser shows. Default: the Route's first host.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[] !#-[^-~]+$')",message="realm must be printable ASCII without double quotes and backslashes"
	Realm string `json:"realm,omitempty"`
	// userHeader tells the backend who it is, by a header of this name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9-]+$')",message="userHeader must be letters, digits and -, for example X-Webauth-User"
	UserHeader string `json:"userHeader,omitempty"`
	// keepHeader hands the Authorization header on to the backend. Default: false.
	// +optional
	KeepHeader *bool `json:"keepHeader,omitempty"`
}

// RouteIPAllowList lets some addresses in.
type RouteIPAllowList struct {
	// networks that may come: networks, or addresses.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="self.all(n, isCIDR(n) || isIP(n))",message="networks must be networks or addresses, for example 10.0.0.0/24"
	Networks []string `json:"networks,omitempty"`
}

// RouteRateLimit bounds the requests of each client address.
type RouteRateLimit struct {
	// average number of requests in a period.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Average int32 `json:"average,omitempty"`
	// period of the average. Default: 1s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="period must be from 1s to 1h"
	Period *metav1.Duration `json:"period,omitempty"`
	// burst that is let through at once. Default: average.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Burst int32 `json:"burst,omitempty"`
}

// RouteCompress compresses answers.
type RouteCompress struct {
	// minBodySize in bytes from which on an answer is compressed. Default: 1024.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1048576
	MinBodySize int32 `json:"minBodySize,omitempty"`
}

// RouteRetry asks again when a backend cannot be reached. What a backend has answered is never asked again.
type RouteRetry struct {
	// attempts in all.
	// +required
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=10
	Attempts int32 `json:"attempts,omitempty"`
	// initialInterval before the second attempt; it grows. Default: 100ms.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('10s')",message="initialInterval must be from 1ms to 10s"
	InitialInterval *metav1.Duration `json:"initialInterval,omitempty"`
}

// RouteForwardAuth asks another server whether the request may pass.
type RouteForwardAuth struct {
	// url of the server.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?([.][A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?(/[-A-Za-z0-9._~!$&()*+,;=:@%/?]*)?$')",message="url must begin with http:// or https:// and hold a host, a port from 1 to 65535 and no credentials, for example http://10.0.0.20:9091/api/authz/forward-auth"
	URL string `json:"url,omitempty"`
	// authorityRef names a stepCA HostService that signed the server's certificate. Default: what the router's machine trusts.
	// +optional
	AuthorityRef *LocalReference `json:"authorityRef,omitempty"`
	// responseHeaders of the server's answer that the backend gets.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.all(h, h.matches('^[A-Za-z0-9-]+$'))",message="responseHeaders must be header names, for example Remote-User"
	ResponseHeaders []string `json:"responseHeaders,omitempty"`
}
