// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

// Reasons of the steps of an authority.
const (
	// MakingRootReason, MakingIntermediateReason and MakingProvisionerReason: keys are made and put into Secrets.
	MakingRootReason         = "MakingRoot"
	MakingIntermediateReason = "MakingIntermediate"
	MakingProvisionerReason  = "MakingProvisioner"
	// RestoringReason: a Secret that is lost is read back from the machine, or from the status.
	RestoringReason = "Restoring"
	// RenewingIntermediateReason: two thirds of the intermediate's life are over.
	RenewingIntermediateReason = "RenewingIntermediate"
	// RotatingRootReason: a new root is made, which is trusted beside the old one.
	RotatingRootReason = "RotatingRoot"
	// SwitchingRootReason: every machine trusts the new root, and certificates are issued under it.
	SwitchingRootReason = "SwitchingRoot"
	// RetiringRootReason: it is written down until when an old root is trusted.
	RetiringRootReason = "RetiringRoot"
	// DroppingRootReason: an old root is trusted no more.
	DroppingRootReason = "DroppingRoot"
	// PublishingTrustReason and RemovingTrustReason: the ConfigMap with the roots is written, or removed.
	PublishingTrustReason = "PublishingTrust"
	RemovingTrustReason   = "RemovingTrust"
)

// NoAddressReason says that the Guest has no address yet, by which the authority would be reached.
const NoAddressReason = "NoAddress"

// Reasons of failures of an authority that are tried again.
const (
	// SecretInvalidReason: what a Secret holds cannot be used.
	SecretInvalidReason = "SecretInvalid"
	// AuthorityLostReason: keys that others trust are neither in the Secrets nor on the machine.
	AuthorityLostReason = "AuthorityLost"
	// AuthorityOverReason: the root or the intermediate has ended, and nothing can renew it.
	AuthorityOverReason = "AuthorityOver"
	// AuthorityAwayReason: it answers on its machine, but not to Phoenix.
	AuthorityAwayReason = "AuthorityAway"
)

// AuthorityExistsReason says that the machine has an authority with another root.
const AuthorityExistsReason = "AuthorityExists"

// Reasons of the condition IntermediateExpiring.
const (
	RootKeyAwayReason = "RootKeyAway" // the key that would sign its successor is away
	RootEndsReason    = "RootEnds"    // the root ends as soon, so that a successor would live no longer
)
