// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// trouble is what is in the way of every step; nil: nothing is.
func (seen *portainerSeen) trouble() error {
	pair := seen.parts.pair
	if len(seen.keys.problems) > 0 {
		return reconcile.Fail(SecretInvalidReason, errors.New(strings.Join(seen.keys.problems, "; ")))
	}
	if pair.leaf == nil {
		return reconcile.Wait(pair.problem.reason, leftOutFor, errors.New(pair.problem.text))
	}
	if seen.at.ServerName == "" {
		return reconcile.Fail(NameNotCoveredReason, fmt.Errorf("the certificate has neither a DNS name nor %s: put one into it", seen.parts.address))
	}
	// A server without an administrator is anybody's who comes first: it is not started before there is one to make.
	if seen.keys.apiKey == "" && !seen.machine.seen.Units[seen.parts.container().unit()].Runs() {
		return seen.complaint()
	}
	return nil
}

// planPortainer returns the steps: first the secret that the machine needs, then the machine's, and last those at the server.
func (k *Kind) planPortainer(s *v1alpha1.HostService, seen *portainerSeen) []reconcile.Step {
	if seen == nil || seen.machine == nil || !seen.machine.looked || seen.parts == nil {
		return nil
	}
	if err := seen.trouble(); err != nil {
		return []reconcile.Step{inTheWay(err)}
	}
	steps := append(k.agentSecretStep(seen), planMachine(s, seen.machine)...)
	if portainerSaid(seen.away, portainer.Locked) {
		return append(steps, restartStep(seen))
	}
	if seen.status == nil || seen.away != nil {
		return steps
	}
	if seen.accepted {
		return append(steps, seen.settingsStep()...)
	}
	return append(steps, k.adminSteps(seen)...)
}

// restartStep restarts a server that got no administrator in time: it does nothing any more until then.
func restartStep(seen *portainerSeen) reconcile.Step {
	unit := seen.parts.container().unit()
	return reconcile.Step{
		Reason: RestartingReason, Message: "restart " + unit + ", which waited for an administrator in vain", Identity: "unit " + unit,
		Changes: []reconcile.Change{{Field: "unit " + unit, From: "locked", To: "active", Impact: v1alpha1.ImpactRestart}},
		Do: func(ctx context.Context) error {
			result, err := seen.machine.run.Script(ctx, "systemctl restart "+unit+"\n")
			switch {
			case err != nil:
				return machineFailure("", err)
			case result.ExitCode != 0:
				return reconcile.Fail(UnitFailedReason, fmt.Errorf("restart %s: exit code %d", unit, result.ExitCode))
			}
			return reconcile.Wait(RestartingReason, machineBusyFor, fmt.Errorf("waiting for %s to answer", seen.at.URL))
		},
	}
}

// inTheWay is the step that says why none can be taken.
func inTheWay(err error) reconcile.Step {
	return reconcile.Step{
		Reason: reconcile.ReasonOf(err), Message: err.Error(), Changes: []reconcile.Change{{To: err.Error(), Impact: v1alpha1.ImpactNone}},
		Do: func(context.Context) error { return err },
	}
}

// secretStep is a step that writes one Secret.
func secretStep(reason, name, message string, do func(ctx context.Context) error) reconcile.Step {
	return reconcile.Step{
		Reason: reason, Message: message + " in Secret " + name, Identity: "Secret " + name, Do: do,
		Changes: []reconcile.Change{{Field: "Secret " + name, To: message, Impact: v1alpha1.ImpactNone}},
	}
}

// agentSecretStep makes the secret of agents, or brings it back from the machine.
func (k *Kind) agentSecretStep(seen *portainerSeen) []reconcile.Step {
	if seen.keys.agent != "" {
		return nil
	}
	name, value := agentSecretOf(seen.s.Name), []byte(seen.parts.agent)
	reason, message := RestoringReason, "bring the secret of agents back from "+seen.machine.target.String()
	if len(value) == 0 {
		reason, message, value = MakingAgentSecretReason, "make the secret of agents", byChance()
	}
	return []reconcile.Step{secretStep(reason, name, message, func(ctx context.Context) error {
		return k.writeSecret(ctx, seen.s, seen.keys.agentSecret, name, map[string][]byte{agentSecretEntry: value})
	})}
}

// adminSteps lead to a key of the API.
func (k *Kind) adminSteps(seen *portainerSeen) []reconcile.Step {
	var steps []reconcile.Step
	name := adminSecretOf(seen.s)
	if seen.hasAdmin != nil && !*seen.hasAdmin {
		if !seen.keys.adminThere && seen.s.Spec.Portainer.AdminSecretRef == nil {
			steps = append(steps, secretStep(MakingAdminReason, name, "make the administrator's password", func(ctx context.Context) error {
				return k.writeSecret(ctx, seen.s, nil, name, map[string][]byte{usernameEntry: []byte(defaultAdmin), passwordEntry: byChance()})
			}))
		} else if !seen.keys.usable() {
			return nil
		}
		steps = append(steps, reconcile.Step{
			Reason: InitialisingAdminReason, Message: "make the administrator of " + seen.at.URL, Identity: "server " + seen.at.URL,
			Changes: []reconcile.Change{{Field: "administrator", To: "as Secret " + name, Impact: v1alpha1.ImpactNone}},
			Do:      func(ctx context.Context) error { return k.initAdmin(ctx, seen) },
		})
	} else if !seen.keys.usable() {
		return nil
	}
	secret := apiKeySecretOf(seen.s.Name)
	return append(steps, secretStep(MakingAPIKeyReason, secret, "make a key of the API of "+seen.at.URL, func(ctx context.Context) error {
		return k.makeAPIKey(ctx, seen)
	}))
}

// initAdmin makes the administrator. That there is one already may be our own doing, whose answer was lost: who can sign in
// by the Secret is ours.
func (k *Kind) initAdmin(ctx context.Context, seen *portainerSeen) error {
	err := seen.server.InitAdmin(ctx, seen.keys.admin.username, seen.keys.admin.password)
	switch {
	case err == nil:
		return nil
	case portainerSaid(err, portainer.Conflict):
		_, err := k.signIn(ctx, seen)
		return err
	case portainerSaid(err, portainer.Invalid):
		return reconcile.Fail(SecretInvalidReason, fmt.Errorf("use Secret %s: %w", adminSecretOf(seen.s), err))
	}
	return portainerFailure(err)
}

// maxDescription is how long the description of a key may be at Portainer.
const maxDescription = 120

// keyDescription marks a key of ours.
func keyDescription(owner string) string {
	text := "phoenix " + owner
	if len(text) <= maxDescription {
		return text
	}
	sum := sha256.Sum256([]byte(owner))
	return text[:maxDescription-17] + " " + hex.EncodeToString(sum[:8])
}

// makeAPIKey makes a key, and puts it into its Secret. Keys of ours that nobody knows any more go first.
func (k *Kind) makeAPIKey(ctx context.Context, seen *portainerSeen) error {
	session, err := k.signIn(ctx, seen)
	if err != nil {
		return err
	}
	description := keyDescription(string(seen.machine.owner))
	keys, err := session.Keys(ctx)
	if err != nil {
		return portainerFailure(err)
	}
	for _, key := range keys {
		if key.Description != description {
			continue
		}
		if err := session.DeleteKey(ctx, key.ID); err != nil && !portainerSaid(err, portainer.NotFound) {
			return portainerFailure(err)
		}
	}
	raw, err := session.MakeKey(ctx, description, seen.keys.admin.password)
	if portainerSaid(err, portainer.Limited) {
		return seen.signIns.limited(seen.now, err)
	}
	if err != nil {
		return portainerFailure(err)
	}
	return k.writeSecret(ctx, seen.s, seen.keys.apiKeySecret, apiKeySecretOf(seen.s.Name), map[string][]byte{apiKeyEntry: []byte(raw)})
}

// settingsStep sets what is declared and differs.
func (seen *portainerSeen) settingsStep() []reconcile.Step {
	declared := seen.s.Spec.Portainer.Settings
	if declared == nil || seen.settings == nil {
		return nil
	}
	var change portainer.SettingsChange
	var changes []reconcile.Change
	note := func(name, from, to string) {
		changes = append(changes, reconcile.Change{Field: "portainer.settings." + name, From: from, To: to, Impact: v1alpha1.ImpactNone})
	}
	if d := declared.SessionTimeout; d != nil && d.Duration != seen.settings.SessionTimeout {
		change.SessionTimeout = &d.Duration
		note("sessionTimeout", seen.settings.SessionTimeout.String(), d.Duration.String())
	}
	if d := declared.SnapshotInterval; d != nil && d.Duration != seen.settings.SnapshotInterval {
		change.SnapshotInterval = &d.Duration
		note("snapshotInterval", seen.settings.SnapshotInterval.String(), d.Duration.String())
	}
	if d := declared.Telemetry; d != nil && *d != seen.settings.Telemetry {
		change.Telemetry = d
		note("telemetry", strconv.FormatBool(seen.settings.Telemetry), strconv.FormatBool(*d))
	}
	if len(changes) == 0 {
		return nil
	}
	return []reconcile.Step{{
		Reason: SettingReason, Message: fmt.Sprintf("set %d settings of %s", len(changes), seen.at.URL), Identity: "server " + seen.at.URL, Changes: changes,
		Do: func(ctx context.Context) error {
			err := seen.server.Settings(seen.keys.apiKey).SetSettings(ctx, change)
			switch {
			case err == nil:
				return nil
			case portainerSaid(err, portainer.Invalid):
				return reconcile.Stall(InvalidReason, err)
			}
			return portainerFailure(err)
		},
	}}
}

// removePortainer returns the steps that clear the machine, and says what stays.
func removePortainer(s *v1alpha1.HostService, seen *portainerSeen) []reconcile.Step {
	if seen == nil {
		return nil
	}
	steps := clearMachine(seen.machine)
	for i := range steps {
		steps[i].Message += fmt.Sprintf("; the data stays in %s, and the keys in the Secrets %s, %s and %s",
			portainerData(s.Spec.Portainer), adminSecretOf(s), apiKeySecretOf(s.Name), agentSecretOf(s.Name))
	}
	return steps
}
