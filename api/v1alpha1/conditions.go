// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Conditions that every kind has.
const (
	// ReadyCondition is True when the outside agrees with the spec, or, under Observe, when it was read.
	// It is Unknown while the outside cannot be read. Its message says in words what it waits for.
	ReadyCondition = "Ready"
	// ReconcilingCondition stands while Phoenix works on the object or waits for something that will come by itself.
	ReconcilingCondition = "Reconciling"
	// StalledCondition stands while only a change of the spec helps.
	StalledCondition = "Stalled"
	// DriftedCondition stands under Observe while the plan is not empty.
	DriftedCondition = "Drifted"
)

// Conditions of a Host and of a Guest.
const (
	// ReachableCondition of a Host: its API answers with the pinned certificate and the token is accepted.
	// Of a Guest: it runs and its network answers for it (the container's interfaces, or the VM's guest agent).
	ReachableCondition = "Reachable"
	// CapableCondition of a Host: the token has every privilege that the features in use need.
	CapableCondition = "Capable"
	// RunningCondition of a Guest: its power is on.
	RunningCondition = "Running"
)

// Conditions of a HostService, and of a Guest that mounts an export.
const (
	// ServingCondition of a HostService: the service answers.
	ServingCondition = "Serving"
	// ExportedCondition of an nfs HostService: every declared export can be mounted.
	ExportedCondition = "Exported"
	// EnforcedCondition of a firewall HostService: its rules are in force, and Phoenix still reaches the Host.
	EnforcedCondition = "Enforced"
	// ShadowedCondition of a firewall HostService stands while a foreign rule is above ours.
	ShadowedCondition = "Shadowed"
	// IntermediateExpiringCondition of a stepCA HostService stands while its intermediate certificate should be renewed and
	// the root's key is away.
	IntermediateExpiringCondition = "IntermediateExpiring"
	// MountedCondition of a Guest with nfsMounts: all of them are mounted.
	MountedCondition = "Mounted"
)

// Conditions of a portainerAgent HostService, and of a DockerStack.
const (
	// RegisteredCondition of a portainerAgent HostService: Portainer has it as an environment that answers.
	RegisteredCondition = "Registered"
	// DeployedCondition of a DockerStack: what runs was made of the present text and values.
	DeployedCondition = "Deployed"
	// HealthyCondition of a DockerStack: every container runs, and none says that it is not healthy.
	HealthyCondition = "Healthy"
)

// Conditions of a Route.
const (
	// ProgrammedCondition: the router has the Route as it is declared, and says that it is enabled.
	ProgrammedCondition = "Programmed"
	// PublishedCondition: the host names resolve to the gateway on the router's machine.
	PublishedCondition = "Published"
	// CertificateMatchesCondition: what the gateway serves for the host names covers them, and is valid.
	CertificateMatchesCondition = "CertificateMatches"
	// BackendReachableCondition: the backends answer the router's machine.
	BackendReachableCondition = "BackendReachable"
)

// Conditions of a Certificate, and of machines that trust authorities.
const (
	// IssuedCondition of a Certificate: its Secret holds a valid certificate that fits the spec.
	IssuedCondition = "Issued"
	// DeliveredCondition of a Certificate with deliverTo: every machine has it, and every probe was answered with it.
	DeliveredCondition = "Delivered"
	// TrustedCondition of a Guest or Host with trustAuthorities: the roots of all of them are trusted there.
	TrustedCondition = "Trusted"
)

// Reasons of the Ready condition that the loop itself gives. A kind adds its own.
const (
	// InSyncReason: the outside agrees with the spec.
	InSyncReason = "InSync"
	// DriftedReason: under Observe, the outside differs from the spec.
	DriftedReason = "Drifted"
	// PausedReason: management is Paused.
	PausedReason = "Paused"
	// ProgressingReason: steps are being taken.
	ProgressingReason = "Progressing"
	// DependencyReason: something that this object refers to is not there yet.
	DependencyReason = "DependencyNotReady"
	// InUseReason: the object is being deleted while others still refer to it.
	InUseReason = "InUse"
	// ApprovalRequiredReason: a step that destroys data waits for phoenix-hypervisor.io/approve.
	ApprovalRequiredReason = "ApprovalRequired"
	// BudgetReason: the Host's destructionsPerHour are used up.
	BudgetReason = "DestructionBudget"
	// CycleReason: the hard references lead back to the object itself.
	CycleReason = "ReferenceCycle"
	// FailedReason: a call to the outside did not succeed; it is tried again.
	FailedReason = "Failed"
)

const (
	// Finalizer keeps an object until what it stands for outside is released or removed.
	Finalizer = "phoenix-hypervisor.io/finalizer"
	// InUseFinalizer keeps a Secret until the last object that needs it for its clean-up is gone.
	InUseFinalizer = "phoenix-hypervisor.io/in-use"
	// ApproveAnnotation carries the approval token of a step that destroys data.
	ApproveAnnotation = "phoenix-hypervisor.io/approve"
	// RenewAnnotation has a Certificate renewed once for each new value, such as the present time.
	RenewAnnotation = "phoenix-hypervisor.io/renew"
)

// Object is what every kind of this package is to the loop.
// +kubebuilder:object:generate=false
type Object interface {
	// Common returns the part of the spec that every kind has.
	Common() *CommonSpec
	// CommonStatus returns the part of the status that every kind has.
	CommonStatus() *CommonStatus
	// DefaultDeletionPolicy is what an unset deletionPolicy means for the kind.
	DefaultDeletionPolicy() DeletionPolicy
}
