// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// OutsideAuthority is a step-ca that is not Phoenix's.
type OutsideAuthority struct {
	// url of the authority.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=320
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() == 'https' && url(self).getEscapedPath() == ''",message="url must be https without a path, for example https://10.0.0.10"
	URL string `json:"url,omitempty"`
	// fingerprint is the SHA-256 of its root certificate, 64 hexadecimal digits: step certificate fingerprint root_ca.crt.
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{64}$')",message="fingerprint must be 64 hexadecimal digits in lower case, as step certificate fingerprint prints them"
	Fingerprint string `json:"fingerprint,omitempty"`
}

// TrustAuthority is an authority whose root a machine trusts.
// +kubebuilder:validation:XValidation:rule="has(self.serviceRef) != has(self.outside)",message="a trusted authority needs exactly one of serviceRef and outside"
type TrustAuthority struct {
	// serviceRef names a stepCA HostService. Nothing waits for it: a guest may trust the authority that will run in it.
	// +optional
	ServiceRef *LocalReference `json:"serviceRef,omitempty"`
	// outside is a step-ca that is not Phoenix's.
	// +optional
	Outside *OutsideAuthority `json:"outside,omitempty"`
}
