// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

// Reasons of an nginx service that does all it can: what the machine has is served on.
const (
	// CertificateMissingReason: a Certificate or a Secret that a server names is not there.
	CertificateMissingReason = "CertificateMissing"
	// CertificateUnusableReason: a Secret lacks a part, or it cannot be read.
	CertificateUnusableReason = "CertificateUnusable"
	// KeyMismatchReason: the key of a Secret is not that of its certificate.
	KeyMismatchReason = "KeyMismatch"
	// CertificateExpiredReason and CertificateNotYetValidReason: a certificate is over, or not valid yet.
	CertificateExpiredReason     = "CertificateExpired"
	CertificateNotYetValidReason = "CertificateNotYetValid"
	// NameNotCoveredReason: a server has a name that is not in its certificate.
	NameNotCoveredReason = "NameNotCovered"
	// NamesMissingReason: a server has no name, nor has its certificate one that no other server has.
	NamesMissingReason = "NamesMissing"
)
