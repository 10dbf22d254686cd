// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import "time"

// Reasons of steps: of their events and their entries in the plan.
const (
	IssuingReason       = "Issuing"       // a Certificate of its own
	ProgrammingReason   = "Programming"   // the router's file; and while Traefik has not taken it yet
	AdmittingReason     = "Admitting"     // the gateway's files
	RollingBackReason   = "RollingBack"   // the router's file, which Traefik rejected
	WithdrawingReason   = "Withdrawing"   // files, of a Route that may not serve, or that is being deleted
	UnissuingReason     = "Unissuing"     // the Certificate, which is not needed any more
	WaitingReason       = "Waiting"       // for what the plan's entries say; the condition Ready has a reason of its own
	LookingReason       = "Looking"       // at what is served
	ProgrammedReason    = "Programmed"    // of the condition, when it is True
	PublishedReason     = "Published"     // likewise
	MatchesReason       = "Matches"       // likewise
	ReachableReason     = "Reachable"     // likewise
	NotDeclaredReason   = "NotDeclared"   // Published of a Route without dnsRefs
	PassedThroughReason = "PassedThrough" // CertificateMatches of a TCP Route: the certificate is the backend's
)

// Reasons of stalls.
const (
	InvalidReason       = "Invalid"
	WrongServiceReason  = "WrongService"  // a reference names a HostService of another sort
	NotListedReason     = "NotListed"     // the router does not list the gateway
	NoPassThroughReason = "NoPassThrough" // a TCP Route, and a gateway that takes none
	HostTakenReason     = "HostTaken"     // by an older Route
	LoopReason          = "Loop"          // a backend leads back to the gateway or the router
	NoServiceReason     = "NoService"     // a stack has no such service, or publishes no such port
	NoCertificateReason = "NoCertificate" // the gateway has none for a host
	NotOwnedReason      = "NotOwned"      // the Certificate of its own is somebody else's
)

// Reasons of what is in the way of a Route.
const (
	NoBackendAddressReason    = "NoBackendAddress"
	SourceMissingReason       = "SourceMissing" // a Secret, an entry, or the roots of an authority
	CertificateMissingReason  = "CertificateMissing"
	CertificateUnusableReason = "CertificateUnusable"
	MachineAwayReason         = "MachineAway"
	MachineBusyReason         = "MachineBusy"
	RouterAwayReason          = "RouterAway"    // Traefik's API does not answer
	FolderMissingReason       = "FolderMissing" // its service has not made it yet
	RejectedByRouterReason    = "RejectedByRouter"
	RejectedByGatewayReason   = "RejectedByGateway"
	HandingOverReason         = "HandingOver" // another Route still has a host in the gateway
	NotPublishedReason        = "NotPublished"
	WrongCertificateReason    = "WrongCertificate"
	NotServedReason           = "NotServed" // no certificate at all
	BackendUnreachableReason  = "BackendUnreachable"
	FailedReason              = "Failed"
)

const (
	// pickUp is how often Traefik is asked whether it has taken a file.
	pickUp = 200 * time.Millisecond
	// pickUpLimit is how long it may take. What it has not taken then, it never will.
	pickUpLimit = 5 * time.Second
	// slowFor is how long what it did not take in time is not tried again.
	slowFor = time.Minute
	// routerFor is how often a router is asked that does not answer.
	routerFor = 2 * time.Second
	// staleAfter is how long what was seen in a folder may stand for what is there when that is about to be written anyway.
	staleAfter = 10 * time.Minute
	// refusedFor is how long what was rejected is not tried again.
	refusedFor = time.Hour
	// firstWait is the first of the growing waits while something is not as it should be.
	firstWait = 10 * time.Second
	// awayFor is how often a machine is tried that is away, unless an event tells before.
	awayFor = 30 * time.Second
	// busyFor is how often a machine is tried on which something has to end first.
	busyFor = 2 * time.Second
	// missingFor is how long what another object must bring is waited for, unless its event tells before.
	missingFor = 5 * time.Minute
	// handOver is how long another Route is given to hand a host over.
	handOver = time.Second
	// lookFor is how long a pass waits for what is asked beside it.
	lookFor = time.Second
	// lookAgain is the least time between two looks at what is served.
	lookAgain = 2 * time.Second
	// firstLook is the first of the growing waits while what is served is not as it should be.
	firstLook = time.Second
)
