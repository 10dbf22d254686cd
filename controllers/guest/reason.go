// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"fmt"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Reasons of steps: of the Ready condition while the step's task runs, of its event and its plan entries.
const (
	CreatingReason         = "Creating"
	CloningReason          = "Cloning"
	ConfiguringReason      = "Configuring"
	GrowingReason          = "Growing"
	RootConfiguringReason  = "ConfiguringAsRoot"
	StartingReason         = "Starting"
	StoppingReason         = "Stopping"
	RestartRequiredReason  = "RestartRequired"
	DestroyingReason       = "Destroying"
	DestroyingVolumeReason = "DestroyingVolume"
	MountingReason         = "Mounting"
	UnmountingReason       = "Unmounting"
)

// Reasons of waiting.
const (
	LockedReason          = "Locked"          // Proxmox holds the guest: a backup, a snapshot, a migration
	ChangedReason         = "Changed"         // somebody else changed the guest at the same time
	FrozenReason          = "Frozen"          // what the site shows is doubtful
	BusyReason            = "Busy"            // the Host's limits of tasks are reached
	NoQuorumReason        = "NoQuorum"        // the cluster takes no writes
	HostNotReadyReason    = "HostNotReady"    // the Host's site is not followed yet
	WaitingForAgentReason = "WaitingForAgent" // the guest agent does not answer yet
	MachineAwayReason     = "MachineAway"     // the node does not answer over SSH, or the VM through its agent
)

// Reasons of failures that are tried again.
const (
	UnauthorizedReason     = "Unauthorized"
	ForbiddenReason        = "Forbidden"
	RootOnlyReason         = "RootOnly"
	SecretMissingReason    = "SecretMissing"
	TemplateNotFoundReason = "TemplateNotFound"
	TemplateUnusableReason = "TemplateUnusable"
	RangeExhaustedReason   = "RangeExhausted"
	LinkedClonesReason     = "LinkedClones"
	HotplugFailedReason    = "HotplugFailed"
	UnreadableReason       = "Unreadable"
	NoSSHReason            = "NoSSH" // the Host has no SSH for the node that a container is on
	MountFailedReason      = "MountFailed"
	ForeignFileReason      = "ForeignFile"
)

// Reasons of stalls: only a new spec helps.
const (
	VMIDTakenReason         = "VMIDTaken"
	VMIDImmutableReason     = "VMIDImmutable"
	AlreadyExistsReason     = "AlreadyExists"
	ForeignOwnerReason      = "ForeignOwner"
	MarkCopiedReason        = "MarkCopied"
	TypeDiffersReason       = "TypeDiffers"
	NoSourceReason          = "NoSource"
	NodeMissingReason       = "NodeMissing"
	StorageMissingReason    = "StorageMissing"
	TemplateAmbiguousReason = "TemplateAmbiguous"
	ShrinkRefusedReason     = "ShrinkRefused"
	MoveRefusedReason       = "MoveRefused"
	DeviceTakenReason       = "DeviceTaken"
	VolumeDetachedReason    = "VolumeDetached"
	RootDiskMissingReason   = "RootDiskMissing"
	PathNotAllowedReason    = "PathNotAllowed"
	ExportMissingReason     = "ExportMissing"
	ExportElsewhereReason   = "ExportElsewhere"
	UnprivilegedReason      = "UnprivilegedDiffers"
	ProtectedReason         = "Protected"
	ControlPlaneReason      = "ControlPlaneGuest"
	UnsupportedReason       = "Unsupported"
	RefusedReason           = "Refused" // Proxmox, or the machine that the guest is, refused a value
)

// Reasons of the conditions Running, Reachable and Mounted.
const (
	RunningReason      = "Running"
	StoppedReason      = "Stopped"
	AbsentReason       = "Absent"
	AddressKnownReason = "AddressKnown"
	NotRunningReason   = "NotRunning"
	NoAddressReason    = "NoAddress"
	AgentAbsentReason  = "AgentAbsent"
	NoAgentReason      = "NoAgent"
	MountedReason      = "Mounted"
	NotMountedReason   = "NotMounted"
)

const (
	taskFallback = 15 * time.Second // how soon a task is looked at when nobody tells of its end
	soon         = time.Second
	shortly      = 10 * time.Second
	later        = 30 * time.Second
)

// failure gives an error of Proxmox the outcome that it deserves. What went unanswered is a plain error.
func failure(err error) error {
	switch {
	case err == nil:
		return nil
	case proxmox.IsUnauthorized(err):
		return reconcile.Fail(UnauthorizedReason, err)
	case proxmox.IsRootOnly(err):
		return reconcile.Fail(RootOnlyReason, err)
	case proxmox.IsDenied(err):
		return reconcile.Fail(ForbiddenReason, err)
	case proxmox.IsLocked(err):
		return reconcile.Wait(LockedReason, taskFallback, err)
	case proxmox.IsConflict(err):
		return reconcile.Wait(ChangedReason, soon, err)
	case proxmox.IsNoQuorum(err):
		return reconcile.Wait(NoQuorumReason, later, err)
	case proxmox.IsNotExist(err):
		return reconcile.Wait(ChangedReason, soon, err) // it moved or went since it was seen
	case hotplugFailed(err):
		return reconcile.Fail(HotplugFailedReason, err)
	case proxmox.IsInvalid(err):
		return reconcile.Stall(RefusedReason, err)
	}
	return err
}

// hotplugFailed says that a running guest could not take a change: the value may be right, the moment is not.
func hotplugFailed(err error) bool {
	var e *proxmox.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, complaint := range e.Fields {
		if hotplugText.MatchString(complaint) {
			return true
		}
	}
	return hotplugText.MatchString(e.Message) || hotplugText.MatchString(e.Reason)
}

// failedReason is the reason of a step whose task failed.
func failedReason(reason string) string {
	if name, ok := failedReasons[reason]; ok {
		return name
	}
	return reason + "Failed"
}

var failedReasons = map[string]string{
	CreatingReason: "CreateFailed", CloningReason: "CloneFailed", GrowingReason: "GrowFailed", StartingReason: "StartFailed",
	StoppingReason: "StopFailed", RestartRequiredReason: "RestartFailed", DestroyingReason: "DestroyFailed",
}

var verbs = map[string]string{
	CreatingReason: "create", CloningReason: "clone", GrowingReason: "grow a disk of", StartingReason: "start",
	StoppingReason: "stop", RestartRequiredReason: "restart", DestroyingReason: "destroy",
}

// taskText says what a task of a step does, the same words in every pass.
func taskText(reason string, g *v1alpha1.Guest) string {
	verb, ok := verbs[reason]
	if !ok {
		verb = "change"
	}
	return fmt.Sprintf("%s %s %d", verb, noun(g.Spec.Type), deref(g.Status.VMID))
}

func noun(t v1alpha1.GuestType) string {
	if t == v1alpha1.GuestVM {
		return "VM"
	}
	return "container"
}

func nounOf(t proxmox.GuestType) string {
	if t == proxmox.QEMU {
		return "VM"
	}
	return "container"
}

func driverType(t v1alpha1.GuestType) proxmox.GuestType {
	if t == v1alpha1.GuestVM {
		return proxmox.QEMU
	}
	return proxmox.LXC
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
