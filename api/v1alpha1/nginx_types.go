// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Nginx is the entry of a site: it sends HTTP to HTTPS, and ends TLS for the names of its certificates. It refuses every
// other name.
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
