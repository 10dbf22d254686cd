// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Traefik is a router in a Guest: it takes requests from the gateways of the site alone, and sends them to the backends of
// the Routes. What it routes is in one file for each Route.
// +kubebuilder:validation:XValidation:rule="[has(self.webPort) ? self.webPort : 80, has(self.webSecurePort) ? self.webSecurePort : 443, has(self.apiPort) ? self.apiPort : 8080, has(self.metricsPort) ? self.metricsPort : 0].all(p, [has(self.webPort) ? self.webPort : 80, has(self.webSecurePort) ? self.webSecurePort : 443, has(self.apiPort) ? self.apiPort : 8080, has(self.metricsPort) ? self.metricsPort : 0].exists_one(o, o == p))",message="webPort (80), webSecurePort (443), apiPort (8080) and metricsPort must differ from each other"
type Traefik struct {
	// artifact is the program traefik as a release. Another one is an upgrade: it is rolled back when the new version does
	// not come up.
	// +required
	Artifact Artifact `json:"artifact,omitempty,omitzero"`
	// gatewayRefs name the nginx HostServices that send requests here. They alone may come in, and they alone are believed
	// what they say of the client (X-Forwarded-For and its kin).
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	GatewayRefs []LocalReference `json:"gatewayRefs,omitempty"`
	// webPort takes HTTP from the gateways. Default: 80.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	WebPort int32 `json:"webPort,omitempty"`
	// webSecurePort takes TLS that the gateways pass through for TCP Routes. Default: 443.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	WebSecurePort int32 `json:"webSecurePort,omitempty"`
	// apiPort of loopback, where Phoenix asks what Traefik made of the Routes. Default: 8080.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	APIPort int32 `json:"apiPort,omitempty"`
	// metricsPort serves Prometheus at /metrics to the networks that the firewall lets in. Unset: no metrics.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	MetricsPort int32 `json:"metricsPort,omitempty"`
	// accessLog is written to the journal of the unit. Default: false.
	// +optional
	AccessLog *bool `json:"accessLog,omitempty"`
	// logLevel of Traefik. Default: INFO.
	// +optional
	// +kubebuilder:validation:Enum=DEBUG;INFO;WARN;ERROR
	LogLevel string `json:"logLevel,omitempty"`
}

// TraefikStatus is what was observed of a router.
type TraefikStatus struct {
	// version that answers.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Version string `json:"version,omitempty"`
	// url at which the gateways reach it, such as http://10.0.0.12:80.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	URL string `json:"url,omitempty"`
}
