// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"errors"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Reasons of steps on machines: of the Ready condition while the step goes on, of its event and its plan entries.
const (
	InstallingReason  = "Installing"
	RemovingReason    = "Removing" // packages that were installed for the service
	ConfiguringReason = "Configuring"
	ClearingReason    = "Clearing"
)

// Reasons of waiting for a machine.
const (
	MachineAwayReason = "MachineAway" // it cannot be reached, or the connection broke
	MachineBusyReason = "MachineBusy" // somebody else works with packages, or an earlier change goes on
	ChangedReason     = "Changed"     // somebody else changed the machine at the same time
	// Everything else is done; these say what is left out until another object changes.
	DuplicateNameReason = "DuplicateName"
	DuplicatePathReason = "DuplicatePath"
	TargetMissingReason = "TargetMissing"
)

// Reasons of failures on a machine that are tried again.
const (
	NoSSHReason            = "NoSSH"
	ValidationFailedReason = "ValidationFailed"
	ProbeFailedReason      = "ProbeFailed"
	UnitFailedReason       = "UnitFailed"
	InstallFailedReason    = "InstallFailed"
	ImageFailedReason      = "ImageFailed" // an image could not be pulled or loaded
	NoEngineReason         = "NoEngine"    // the machine has no Docker engine that answers
)

// Reasons of stalls on a machine: only a new spec helps.
const (
	InvalidReason        = "Invalid"
	NodeMissingReason    = "NodeMissing"
	NotOwnedReason       = "NotOwned"
	UnsupportedReason    = "Unsupported"
	PathNotAllowedReason = "PathNotAllowed"
	AlreadyServedReason  = "AlreadyServed" // another HostService is that service of the machine
)

// Reasons of the conditions Serving and Exported.
const (
	AnsweringReason    = "Answering"
	NotInstalledReason = "NotInstalled"
	NotRunningReason   = "NotRunning"
	ExportedReason     = "Exported"
	NotExportedReason  = "NotExported"
)

const (
	machineAwayFor  = 15 * time.Second
	machineBusyFor  = 5 * time.Second
	machineAgainFor = time.Second
	leftOutFor      = 5 * time.Minute
)

// stepReasons are the reasons of a machine's steps.
var stepReasons = map[string]string{
	machine.ReasonInstall: InstallingReason, machine.ReasonRemove: RemovingReason,
	machine.ReasonApply: ConfiguringReason, machine.ReasonClear: ClearingReason,
}

// machineFailure gives an error of the driver the outcome that it means. step is the reason of the step that met it, empty
// for an observation.
func machineFailure(step string, err error) error {
	var (
		image    *machine.ImageError
		pending  *machine.PendingError
		packages = step == InstallingReason || step == RemovingReason
	)
	switch {
	case err == nil:
		return nil
	case machine.IsAway(err):
		return reconcile.Wait(MachineAwayReason, machineAwayFor, err)
	case errors.As(err, &pending) && packages:
		return reconcile.Wait(step, machineBusyFor, err)
	case errors.As(err, &pending) && strings.HasPrefix(pending.What, "phoenix-"):
		return reconcile.Wait(InstallingReason, machineBusyFor, err)
	case errors.As(err, &pending):
		return reconcile.Wait(MachineBusyReason, machineBusyFor, err)
	case errors.As(err, new(*machine.ChangedError)):
		return reconcile.Wait(ChangedReason, machineAgainFor, err)
	case errors.As(err, new(*machine.ValidateError)):
		return reconcile.Fail(ValidationFailedReason, err)
	case errors.As(err, new(*machine.ProbeError)):
		return reconcile.Fail(ProbeFailedReason, err)
	case errors.As(err, new(*machine.UnitError)):
		return reconcile.Fail(UnitFailedReason, err)
	case errors.As(err, new(*machine.JobError)):
		return reconcile.Fail(InstallFailedReason, err)
	case errors.As(err, &image) && image.NoEngine:
		return reconcile.Fail(NoEngineReason, err)
	case errors.As(err, &image):
		return reconcile.Fail(ImageFailedReason, err)
	case errors.As(err, new(*machine.UnsupportedError)):
		return reconcile.Stall(UnsupportedReason, err)
	case errors.As(err, new(*machine.ForeignError)):
		return reconcile.Stall(NotOwnedReason, err)
	case errors.As(err, new(*machine.InvalidError)):
		return reconcile.Stall(InvalidReason, err)
	}
	return err
}
