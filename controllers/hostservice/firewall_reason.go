// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"time"

	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Reasons of the steps of a firewall.
const (
	// FirewallPreparingReason: groups, aliases and sets are made that no rule refers to yet.
	FirewallPreparingReason = "PreparingRules"
	// FirewallRecordingReason: the nodes take down what options were before.
	FirewallRecordingReason = "RecordingOptions"
	// FirewallApplyingReason: rules and options of a level are put in force.
	FirewallApplyingReason = "ApplyingRules"
	// FirewallArmingReason: the nodes copy their rules and start the timer that puts them back.
	FirewallArmingReason = "ArmingRollback"
	// FirewallConfirmingReason: new connections succeeded, and the timers are stopped.
	FirewallConfirmingReason = "ConfirmingRules"
	// FirewallCleaningReason: what nothing refers to any more is deleted.
	FirewallCleaningReason = "CleaningRules"
)

// Reasons for which a firewall waits.
const (
	// FirewallUnconfirmedReason: the rules are not in force everywhere yet.
	FirewallUnconfirmedReason = "Unconfirmed"
	// FirewallRollingBackReason: a node is putting the old rules back.
	FirewallRollingBackReason = "RollingBack"
	// FirewallGuestMissingReason: a Guest that the spec names is not there.
	FirewallGuestMissingReason = "GuestMissing"
	// FirewallChangedReason: somebody else changed the firewall at the same time.
	FirewallChangedReason = "FirewallChanged"
	// FirewallNoQuorumReason: the cluster takes no writes.
	FirewallNoQuorumReason = "NoQuorum"
	// FirewallHostReason: the Host's site is not followed yet.
	FirewallHostReason = "HostNotReady"
	// FirewallAwayReason: a node cannot be reached over SSH.
	FirewallAwayReason = "NodeAway"
)

// Reasons of failures of a firewall that are tried again.
const (
	// FirewallRequiresSSHReason: a node has no SSH, so that nothing could put its rules back.
	FirewallRequiresSSHReason = "RequiresSSH"
	// FirewallCutOffReason: with the new rules a new connection does not succeed.
	FirewallCutOffReason = "CutOff"
	// FirewallUnauthorizedReason and FirewallForbiddenReason: Proxmox refuses the token, or the token lacks a privilege.
	FirewallUnauthorizedReason = "Unauthorized"
	FirewallForbiddenReason    = "Forbidden"
)

// Reasons of stalls of a firewall: only a new spec helps.
const (
	// FirewallRolledBackReason: the nodes took the change back, because it was not confirmed in time.
	FirewallRolledBackReason = "RolledBack"
	// InvalidFirewallReason: the spec asks for what cannot be.
	InvalidFirewallReason = "InvalidFirewall"
	// FirewallNotOwnedReason: an alias or a set of that name is somebody else's.
	FirewallNotOwnedReason = "NotOwned"
	// FirewallTakenReason: another HostService holds the firewall of the Host.
	FirewallTakenReason = "FirewallTaken"
	// FirewallRefusedReason: Proxmox refused a value.
	FirewallRefusedReason = "Refused"
)

// Reasons of the conditions Enforced and Shadowed.
const (
	FirewallInForceReason = "InForce"
	FirewallOffReason     = "FirewallOff"
	FirewallForeignReason = "ForeignRules"
)

const (
	soon    = time.Second
	shortly = 10 * time.Second
	later   = 30 * time.Second
)

// firewallFailure gives an error of the driver the outcome that it means.
func firewallFailure(err error) error {
	switch {
	case err == nil:
		return nil
	case proxmox.IsUnauthorized(err):
		return reconcile.Fail(FirewallUnauthorizedReason, err)
	case proxmox.IsDenied(err):
		return reconcile.Fail(FirewallForbiddenReason, err)
	case proxmox.IsConflict(err), proxmox.IsFirewallAbsent(err), proxmox.IsFirewallExists(err), proxmox.IsFirewallNotEmpty(err),
		proxmox.IsNotExist(err), proxmox.IsLocked(err):
		return reconcile.Wait(FirewallChangedReason, soon, err)
	case proxmox.IsNoQuorum(err):
		return reconcile.Wait(FirewallNoQuorumReason, later, err)
	case proxmox.IsInvalid(err):
		return reconcile.Stall(FirewallRefusedReason, err)
	}
	return err
}
