// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"time"

	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// Reasons of steps: of their events and their entries in the plan.
const (
	IssuingReason    = "Issuing"    // the first certificate
	RenewingReason   = "Renewing"   // one in the place of one that was fine
	ReissuingReason  = "Reissuing"  // one in the place of one that was not
	WritingReason    = "Writing"    // the Secret, without a new certificate
	DeliveringReason = "Delivering" // to machines
	ClearingReason   = "Clearing"   // what was delivered
	RevokingReason   = "Revoking"   // and deleting the Secret
	DeletingReason   = "Deleting"   // the Secret
	WaitingReason    = "Waiting"    // for what the plan's entries say; the condition Ready has a reason of its own
)

// Reasons for which a certificate is issued anew. Those that make the present one of no use are reasons of the condition
// Issued, too.
const (
	SecretMissingReason = "SecretMissing"
	KeyMismatchReason   = "KeyMismatch"
	ExpiredReason       = "Expired"
	NamesChangedReason  = "NamesChanged"
	KeyChangedReason    = "KeyChanged"
	UsagesChangedReason = "UsagesChanged"
	RootRotatedReason   = "RootRotated"
	RevokedReason       = "Revoked"
	RequestedReason     = "Requested"
	ExpiringReason      = "Expiring"
)

// Reasons of the conditions Issued and Delivered when they are True.
const (
	IssuedReason    = "Issued"
	DeliveredReason = "Delivered"
)

// Reasons of stalls: the Secret is somebody else's.
const (
	NotOwnedReason    = "NotOwned"
	SecretTakenReason = "SecretTaken"
)

// Reasons of what is in the way of a certificate.
const (
	AuthorityAwayReason      = "AuthorityAway"
	AuthorityUntrustedReason = "AuthorityUntrusted" // who answers is not the authority with the pinned roots
	ClockSkewReason          = "ClockSkew"
	UnauthorizedReason       = "Unauthorized"
	ForbiddenReason          = "Forbidden"
	RefusedReason            = "Refused" // the request makes no sense to the authority, or what it gave to us
	ProvisionerMissingReason = "ProvisionerMissing"
	PasswordMissingReason    = "PasswordMissing"
	UsagesDifferReason       = "UsagesDiffer"
	SecretDeletedReason      = "SecretDeleted" // somebody deletes it, and somebody's finalizer keeps it
)

// Reasons of what is in the way of a delivery, the same words as those of a HostService.
const (
	MachineAwayReason    = "MachineAway"
	MachineBusyReason    = "MachineBusy"
	ChangedReason        = "Changed"
	UnitFailedReason     = "UnitFailed"
	FailedReason         = "Failed"
	UnsupportedReason    = "Unsupported"
	InvalidReason        = "Invalid"
	NodeMissingReason    = "NodeMissing"
	NoSSHReason          = "NoSSH"
	PathNotAllowedReason = "PathNotAllowed"
	NotServedReason      = "NotServed"
	ProbeFailedReason    = "ProbeFailed"
)

const (
	// firstWait and lastWait bound the waits between tries, which double.
	firstWait = time.Second
	lastWait  = 5 * time.Minute
	// machineFor is how long what a machine lacks is waited for, unless an event tells before.
	machineFor = 15 * time.Second
	// refusedFor is how long what only a change of objects can mend is left alone, unless an event tells before.
	refusedFor = 5 * time.Minute
	// busyFor is how long somebody else's work on a machine is waited for.
	busyFor = 5 * time.Second
)

// authorityReasons are the reasons of an authority's errors.
var authorityReasons = map[stepca.Kind]string{
	stepca.Away: AuthorityAwayReason, stepca.Untrusted: AuthorityUntrustedReason, stepca.Unauthorized: UnauthorizedReason,
	stepca.Forbidden: ForbiddenReason, stepca.Invalid: RefusedReason, stepca.TooLong: ForbiddenReason, stepca.TooShort: ForbiddenReason,
	stepca.Revoked: RevokedReason,
}
