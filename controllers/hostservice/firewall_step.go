// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/firewall"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// maxCalls bounds the calls of one operation.
const maxCalls = 400

// steps lead from what was seen to what is wanted. What could cut Phoenix off comes after all that could not, and only
// while every node is ready to take it back.
func (seen *firewallSeen) steps() []reconcile.Step {
	if seen == nil || !seen.known {
		return nil
	}
	if nodes := seen.rollingBack(); len(nodes) > 0 {
		return append([]reconcile.Step{seen.awaitRollback(nodes)}, seen.open()...)
	}
	if seen.armed() != "" {
		return append(seen.underGuard(), seen.open()...)
	}
	steps := seen.open()
	if len(seen.plan.Guarded) == 0 {
		return append(steps, seen.cleaning()...)
	}
	changes := seen.operations(FirewallApplyingReason, seen.plan.Guarded)
	if nodes := seen.toJudge(); len(nodes) > 0 {
		return append(steps, reconcile.Step{
			Reason: FirewallRollingBackReason, Message: "note on " + strings.Join(nodes, ", ") + " that Phoenix does not get in with these rules", Do: seen.judge,
		})
	}
	if guard, node, ok := seen.refused(); ok {
		return append(steps, seen.refuseAgain(guard, node, changes))
	}
	return append(append(steps, seen.arming()), changes...)
}

// open are the steps that cannot cut Phoenix off.
func (seen *firewallSeen) open() []reconcile.Step {
	steps := seen.operations(FirewallPreparingReason, seen.plan.Prepare)
	if seen.plan.Record != nil {
		steps = append(steps, seen.keep(FirewallRecordingReason, "take down what the options were", *seen.plan.Record))
	}
	return append(steps, seen.operations(FirewallApplyingReason, seen.plan.Open)...)
}

// underGuard are the steps while the nodes wait to take back a change. Of what was not begun yet, only what belongs to this
// very change is done: a rollback would take away the groups that anything else would refer to.
func (seen *firewallSeen) underGuard() []reconcile.Step {
	var steps []reconcile.Step
	if len(seen.unready()) > 0 {
		steps = append(steps, seen.arming())
	}
	if seen.armed() == seen.token && len(seen.plan.Prepare) == 0 && seen.plan.Record == nil {
		steps = append(steps, seen.operations(FirewallApplyingReason, seen.plan.Guarded)...)
	}
	return append(steps, reconcile.Step{
		Reason: FirewallConfirmingReason, Message: "confirm the rules over new connections, and stop the rollback", Do: seen.confirm,
	})
}

func (seen *firewallSeen) arming() reconcile.Step {
	message := fmt.Sprintf("make %s ready to put the old rules back after %d s", strings.Join(seen.unready(), ", "), firewall.GuardSeconds)
	if attempt := seen.attempt(); attempt > 1 {
		message = fmt.Sprintf("the last change was taken back, and nobody was there to confirm it: try again (%d of %d); %s", attempt, firewall.MaxAttempts, message)
	}
	return reconcile.Step{Reason: FirewallArmingReason, Message: message, Do: seen.arm}
}

func (seen *firewallSeen) awaitRollback(nodes []string) reconcile.Step {
	return reconcile.Step{
		Reason: FirewallRollingBackReason, Message: "wait for the old rules on " + strings.Join(nodes, ", "),
		Do: func(ctx context.Context) error {
			if err := seen.rearm(ctx); err != nil {
				return err
			}
			return reconcile.Wait(FirewallUnconfirmedReason, shortly, fmt.Errorf("node %s puts the old rules back", strings.Join(nodes, ", ")))
		},
	}
}

// awaitAway waits for what cannot be reached now, once all else is in force.
func (seen *firewallSeen) awaitAway() reconcile.Step {
	return reconcile.Step{
		Reason: FirewallAwayReason, Message: "wait for " + strings.Join(seen.away, ", "),
		Do: func(context.Context) error {
			return reconcile.Wait(FirewallUnconfirmedReason, later, fmt.Errorf("not as it is to be at %s", strings.Join(seen.away, ", ")))
		},
	}
}

// refuseAgain stands for a change that the nodes took back. It is shown in the plan and not tried again.
func (seen *firewallSeen) refuseAgain(guard firewall.Guard, node string, changes []reconcile.Step) reconcile.Step {
	why := fmt.Sprintf("no new connection to the API and SSH confirmed it within %d s", firewall.GuardSeconds)
	if !guard.Judged {
		why = fmt.Sprintf("%d times nobody was there to confirm it within %d s", guard.Back.Attempt, firewall.GuardSeconds)
	}
	step := reconcile.Step{
		Reason: FirewallRolledBackReason, Message: "put in force what was taken back",
		Do: func(context.Context) error {
			return reconcile.Stall(FirewallRolledBackReason, fmt.Errorf(
				"this was taken back, because %s: %s; change the spec so that Phoenix gets in, or try the same again by deleting %s on node %s",
				why, guard.Back.Text, firewall.RolledBackFile(seen.want.Owner), node))
		},
	}
	for _, c := range changes {
		step.Changes = append(step.Changes, c.Changes...)
	}
	return step
}

// cleaning takes away what is not needed any more, once everything else is done.
func (seen *firewallSeen) cleaning() []reconcile.Step {
	if len(seen.away) > 0 { // what is not seen may refer to it
		return []reconcile.Step{seen.awaitAway()}
	}
	steps := seen.operations(FirewallCleaningReason, seen.plan.Clean)
	if seen.plan.Forget != nil {
		steps = append(steps, seen.keep(FirewallCleaningReason, "forget what the options were", *seen.plan.Forget))
	}
	var stale []string
	for _, node := range seen.nodes {
		if g := seen.looks[node].Guard; g.Back.Token != "" && !g.Refused(seen.token) {
			stale = append(stale, node)
		}
	}
	if len(steps) == 0 && len(stale) > 0 {
		steps = append(steps, reconcile.Step{
			Reason: FirewallCleaningReason, Message: "forget the rollback on " + strings.Join(stale, ", "),
			Do: func(ctx context.Context) error {
				return seen.onNodes(ctx, stale, firewall.ForgetScript(seen.want.Owner))
			},
		})
	}
	return steps
}

// keep writes the record on every node, so that the loss of one is no loss.
func (seen *firewallSeen) keep(reason, message string, record firewall.Record) reconcile.Step {
	return reconcile.Step{
		Reason: reason, Message: message,
		Do: func(ctx context.Context) error {
			if err := seen.onNodes(ctx, seen.nodes, firewall.RecordScript(record)); err != nil {
				return err
			}
			seen.memory.record = record
			return nil
		},
	}
}

func (seen *firewallSeen) onNodes(ctx context.Context, nodes []string, script string) error {
	for _, node := range nodes {
		if _, _, err := run(ctx, seen.site, node, script); err != nil {
			return err
		}
	}
	return nil
}

// operations are the steps of a part of the plan.
func (seen *firewallSeen) operations(reason string, ops []firewall.Op) []reconcile.Step {
	var steps []reconcile.Step
	for _, op := range ops {
		step := reconcile.Step{
			Reason: reason, Message: op.Message, Changes: seen.changes(op),
			Do: func(ctx context.Context) error { return seen.execute(ctx, op) },
		}
		steps = append(steps, step)
	}
	return steps
}

// optionFields are the names that the spec has for Proxmox's options.
var optionFields = map[string]string{
	firewall.EnableOption: "enabled", "policy_in": "policyIn", "policy_out": "policyOut", "macfilter": "macFilter", "ipfilter": "ipFilter",
}

func (seen *firewallSeen) changes(op firewall.Op) []reconcile.Change {
	prefix, impact := "datacenter.", v1alpha1.ImpactNone
	if op.Kind == firewall.PutLevel {
		prefix, impact = seen.field(op.Level)+".", v1alpha1.ImpactReload
	}
	var changes []reconcile.Change
	for _, d := range op.Diffs {
		part := d.Part
		if name, ok := optionFields[part]; ok {
			part = name
		}
		changes = append(changes, reconcile.Change{Field: prefix + part, From: d.From, To: d.To, Impact: impact})
	}
	return changes
}

// field is a level's field in the spec, or what it is outside.
func (seen *firewallSeen) field(l firewall.Level) string {
	if field, ok := seen.want.fields[l]; ok {
		return field
	}
	return string(l)
}

// execute makes the calls of one operation. A level is read again before each of them: positions move, and a digest says
// that nobody else changed it meanwhile.
func (seen *firewallSeen) execute(ctx context.Context, op firewall.Op) error {
	l := firewall.Datacenter
	if op.Kind == firewall.PutLevel {
		l = op.Level
	}
	at, there := place(l, seen.guests)
	if !there {
		return reconcile.Wait(FirewallChangedReason, soon, fmt.Errorf("%s is gone", l))
	}
	seen.memory.touch(l)
	state, d := seen.state, digests{}
	var err error
	for range maxCalls {
		if op.Kind == firewall.PutLevel {
			if state, d, err = reread(ctx, seen.site.API, at, l, state); err != nil {
				return firewallFailure(err)
			}
		}
		call := firewall.Next(op, seen.want.Want, state, seen.record)
		if call == nil {
			return nil
		}
		if err := seen.call(ctx, at, d, state, *call); err != nil {
			return fmt.Errorf("%s: %w", op.Message, firewallFailure(err))
		}
		if op.Kind != firewall.PutLevel {
			state = firewall.Apply(state, *call)
		}
	}
	return fmt.Errorf("%s: it was not done after %d calls", op.Message, maxCalls)
}

func reread(ctx context.Context, api FirewallLevels, at proxmox.FirewallLevel, l firewall.Level, s firewall.State) (firewall.State, digests, error) {
	level, d, err := readLevel(ctx, api, at)
	levels := map[firewall.Level]firewall.LevelState{}
	for other, state := range s.Levels {
		levels[other] = state
	}
	levels[l] = level
	s.Levels = levels
	return s, d, err
}

// call makes one call. A rule of a group is deleted only out of the rules that were seen.
func (seen *firewallSeen) call(ctx context.Context, at proxmox.FirewallLevel, d digests, state firewall.State, c firewall.Call) error {
	if c.Group != "" {
		at = proxmox.FirewallLevel{Group: c.Group}
	}
	if c.Group != "" && c.Verb == firewall.DeleteRule {
		rules, digest, err := readRules(ctx, seen.site.API, at)
		if err != nil {
			return err
		}
		if !slices.Equal(rules, state.Groups[c.Group].Rules) {
			return reconcile.Wait(FirewallChangedReason, soon, errors.New("security group "+c.Group+" was changed by somebody else"))
		}
		d.rules = digest
	}
	return perform(ctx, seen.site.API, at, d, c)
}
