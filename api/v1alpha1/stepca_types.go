// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Artifact is a program that is downloaded by the machine on which it will run.
type Artifact struct {
	// url of the release, or of a copy of it on a mirror. Without https, sha256 still pins what is taken.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/[-A-Za-z0-9._~/%+,=:?&@]*$')",message="url must begin with http:// or https:// and hold no credentials, for example https://mirror.lan/step-ca_linux_0.30.2_amd64.tar.gz"
	URL string `json:"url,omitempty"`
	// sha256 of what the URL gives, 64 hexadecimal digits.
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{64}$')",message="sha256 must be 64 hexadecimal digits in lower case, as sha256sum prints them"
	SHA256 string `json:"sha256,omitempty"`
	// member of a .tar.gz or .tar that is the program, such as step-ca_0.30.2/step-ca. Unset: the URL gives the program itself.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._][-A-Za-z0-9._/]*$') && !self.contains('..')",message="member must be a path within the archive, for example step-ca_0.30.2/step-ca"
	Member string `json:"member,omitempty"`
}

// StepCADatabase is where step-ca keeps what it issued.
// +kubebuilder:validation:Enum=Badger;None
type StepCADatabase string

const (
	// StepCABadger keeps it in files of the guest. It is the default.
	StepCABadger StepCADatabase = "Badger"
	// StepCANoDatabase keeps nothing over a restart: no ACME, no revocation, and a one-time token can be used again after one.
	StepCANoDatabase StepCADatabase = "None"
)

// StepCA is a certificate authority in a Guest.
//
// Its keys are made by the manager and kept in Secrets of the namespace, with NAME the name of the HostService:
// NAME-root (tls.crt), NAME-root-key (tls.key; may be exported and removed), NAME-intermediate (tls.crt, tls.key) and
// NAME-provisioner (jwk.json). What stands in them beforehand is used: so an existing step-ca is imported. They outlive the HostService,
// as who loses them has to trust a new root everywhere.
// +kubebuilder:validation:XValidation:rule="has(self.artifact) != has(self.packageName)",message="stepCA needs exactly one of artifact and packageName"
// +kubebuilder:validation:XValidation:rule="!has(self.acme) || !has(self.database) || self.database != 'None'",message="acme needs a database: leave database out, or set it to Badger"
type StepCA struct {
	// artifact is the program step-ca as a release.
	// +optional
	Artifact *Artifact `json:"artifact,omitempty"`
	// packageName is a package of the machine's repositories that has the program step-ca.
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9][a-z0-9+.-]+$')",message="packageName must be the name of a Debian package, for example step-ca"
	PackageName string `json:"packageName,omitempty"`
	// port on which it answers. Default: 443.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// dnsNames of the authority's own certificate, beside the Guest's host name and addresses, which are always in it.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.all(n, n.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])*[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))",message="dnsNames must be host names in lower case, for example ca.phoenix.lan"
	DNSNames []string `json:"dnsNames,omitempty"`
	// root says what the root certificate is like when it is made.
	// +optional
	Root *AuthorityCertificate `json:"root,omitempty"`
	// intermediate says what the intermediate certificate is like. It is renewed when two thirds of its life are over.
	// +optional
	Intermediate *AuthorityCertificate `json:"intermediate,omitempty"`
	// rootGeneration counts the roots: add one to replace the root. Both roots are trusted until the last certificate of the old one is over.
	// Default: 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	RootGeneration int32 `json:"rootGeneration,omitempty"`
	// claims bound the lives of certificates.
	// +optional
	Claims *StepCAClaims `json:"claims,omitempty"`
	// acme lets machines of the site get certificates by ACME.
	// +optional
	ACME *StepCAACME `json:"acme,omitempty"`
	// database is Badger (default) or None.
	// +optional
	Database StepCADatabase `json:"database,omitempty"`
}

// AuthorityCertificate says what a certificate of the authority itself is like.
type AuthorityCertificate struct {
	// commonName of the subject. Default: the HostService's name with "Root CA" or "Intermediate CA".
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	CommonName string `json:"commonName,omitempty"`
	// duration of its life. Default: 87600h (ten years) of a root, 43800h (five years) of an intermediate.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1m')",message="duration must be at least 1m"
	Duration *metav1.Duration `json:"duration,omitempty"`
}

// StepCAClaims bound the lives of the certificates that an authority issues.
// +kubebuilder:validation:XValidation:rule="!has(self.minDuration) || !has(self.maxDuration) || duration(self.minDuration) <= duration(self.maxDuration)",message="minDuration must not be longer than maxDuration"
// +kubebuilder:validation:XValidation:rule="!has(self.defaultDuration) || !has(self.maxDuration) || duration(self.defaultDuration) <= duration(self.maxDuration)",message="defaultDuration must not be longer than maxDuration"
// +kubebuilder:validation:XValidation:rule="!has(self.defaultDuration) || !has(self.minDuration) || duration(self.defaultDuration) >= duration(self.minDuration)",message="defaultDuration must not be shorter than minDuration"
type StepCAClaims struct {
	// minDuration of a certificate. Default: 5m.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="minDuration must be at least 1s"
	MinDuration *metav1.Duration `json:"minDuration,omitempty"`
	// maxDuration of a certificate. Default: 2160h (90 days).
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="maxDuration must be at least 1s"
	MaxDuration *metav1.Duration `json:"maxDuration,omitempty"`
	// defaultDuration of one that asks for none. Default: 24h.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="defaultDuration must be at least 1s"
	DefaultDuration *metav1.Duration `json:"defaultDuration,omitempty"`
}

// StepCAACME is the authority's ACME provisioner.
type StepCAACME struct {
	// name of the provisioner, a part of its URL: https://ADDRESS/acme/NAME/directory.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self != 'phoenix'",message="name must be lower case letters, digits and -, and not phoenix, for example acme"
	Name string `json:"name,omitempty"`
}

// StepCAStatus is what was observed of a certificate authority.
type StepCAStatus struct {
	// url by which it is reached: by address, as names may depend on it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=320
	URL string `json:"url,omitempty"`
	// caBundle is the roots that have to be trusted, as PEM, the present one first. The ConfigMap NAME-trust holds it as ca.crt.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	CABundle string `json:"caBundle,omitempty"`
	// roots that have to be trusted, the present one first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Roots []RootStatus `json:"roots,omitempty"`
	// issuerFingerprint is the SHA-256 of the root under which certificates are issued now.
	// +optional
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	IssuerFingerprint string `json:"issuerFingerprint,omitempty"`
	// rootKey is Present, or Away when its Secret was removed.
	// +optional
	// +kubebuilder:validation:Enum=Present;Away
	RootKey string `json:"rootKey,omitempty"`
	// rootGeneration that the present root was made for.
	// +optional
	// +kubebuilder:validation:Minimum=1
	RootGeneration int32 `json:"rootGeneration,omitempty"`
	// intermediateNotAfter is when the intermediate certificate ends.
	// +optional
	IntermediateNotAfter *metav1.Time `json:"intermediateNotAfter,omitempty"`
	// intermediateRenewalTime is when the intermediate certificate is renewed.
	// +optional
	IntermediateRenewalTime *metav1.Time `json:"intermediateRenewalTime,omitempty"`
}

// RootStatus is one root certificate.
type RootStatus struct {
	// fingerprint is the SHA-256 of the certificate.
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	Fingerprint string `json:"fingerprint,omitempty"`
	// notAfter is when it ends.
	// +required
	NotAfter metav1.Time `json:"notAfter,omitempty,omitzero"`
	// trustedUntil is when an old root stops being trusted: when the last certificate under it is over.
	// +optional
	TrustedUntil *metav1.Time `json:"trustedUntil,omitempty"`
}
