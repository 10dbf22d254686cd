// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"errors"
	"fmt"
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
		pending  *machine.PendingError
		changed  *machine.ChangedError
		refused  *machine.ValidateError
		silent   *machine.ProbeError
		unit     *machine.UnitError
		job      *machine.JobError
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
	case errors.As(err, &changed):
		return reconcile.Wait(ChangedReason, machineAgainFor, err)
	case errors.As(err, &refused):
		return reconcile.Fail(ValidationFailedReason, undone(refused.Undone, err))
	case errors.As(err, &silent):
		return reconcile.Fail(ProbeFailedReason, undone(silent.Undone, err))
	case errors.As(err, &unit):
		return reconcile.Fail(UnitFailedReason, undone(unit.Undone, err))
	case errors.As(err, &job):
		return reconcile.Fail(InstallFailedReason, err)
	case errors.As(err, new(*machine.UnsupportedError)):
		return reconcile.Stall(UnsupportedReason, err)
	case errors.As(err, new(*machine.ForeignError)):
		return reconcile.Stall(NotOwnedReason, err)
	case errors.As(err, new(*machine.InvalidError)):
		return reconcile.Stall(InvalidReason, err)
	}
	return err
}

// undone says first what matters most to those who use the service.
func undone(u machine.Undone, err error) error {
	if u.Complete {
		return fmt.Errorf("rolled back: %w", err)
	}
	return fmt.Errorf("not rolled back in full: %w", err)
}
