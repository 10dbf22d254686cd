// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"errors"
	"time"

	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/trust"
)

// Reasons of steps.
const (
	TrustingReason    = "Trusting"
	DistrustingReason = "Distrusting"
)

// Reasons for which a machine does not trust an authority yet.
const (
	WaitingForAuthorityReason = "WaitingForAuthority" // the authority does not say what its roots are
	NoAuthorityReason         = "NoAuthority"         // the HostService is no certificate authority
	AuthorityInvalidReason    = "AuthorityInvalid"    // what the authority says is no root, or not the pinned one
	MachineAwayReason         = "MachineAway"         // the machine cannot be looked at
	TrustFailedReason         = "TrustFailed"         // update-ca-certificates failed, or its package cannot be had
	ForeignFileReason         = "ForeignFile"         // a file of a root's name is there and not ours
	UnsupportedReason         = "Unsupported"         // the machine is no Debian or Ubuntu with systemd
	ChangedReason             = "Changed"             // somebody changed the machine at the same time
)

// Reasons of the condition Trusted.
const (
	TrustedReason    = "Trusted"
	NotTrustedReason = "NotTrusted"
)

const (
	soon    = time.Second
	shortly = 10 * time.Second
	// working is how soon a job of the machine is looked at, such as an installation.
	working = 5 * time.Second
	// Later is how soon something is looked at again that does not tell when it changes.
	Later = 30 * time.Second
)

// Failure gives an error of a machine the outcome that it deserves. Reason is the step's.
func Failure(reason string, err error) error {
	switch {
	case err == nil:
		return nil
	case machine.IsAway(err):
		return reconcile.Wait(MachineAwayReason, shortly, err)
	case errors.As(err, new(*machine.PendingError)):
		return reconcile.Wait(reason, working, err)
	case errors.As(err, new(*machine.ChangedError)):
		return reconcile.Wait(ChangedReason, soon, err)
	case errors.As(err, new(*machine.JobError)), errors.As(err, new(*machine.RefreshError)), errors.As(err, new(*machine.ProbeError)),
		errors.As(err, new(*trust.RefreshError)):
		return reconcile.Fail(TrustFailedReason, err)
	case errors.As(err, new(*machine.ForeignError)):
		return reconcile.Fail(ForeignFileReason, err)
	case errors.As(err, new(*machine.InvalidError)): // two roots whose fingerprints begin with the same digits
		return reconcile.Fail(AuthorityInvalidReason, err)
	case errors.As(err, new(*machine.UnsupportedError)):
		return reconcile.Fail(UnsupportedReason, err)
	}
	return err
}

// Passes says whether an error of a machine is one that passes by itself, such as a machine that is away.
func Passes(err error) bool {
	return machine.IsAway(err) || reconcile.ReasonOf(err) == MachineAwayReason || errors.As(err, new(*machine.PendingError)) || errors.As(err, new(*machine.ChangedError))
}
