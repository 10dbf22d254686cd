// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/internal/firewall"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const (
	// inForceEvery is how often it is looked whether rules are in force. The node's daemon looks every ten seconds.
	inForceEvery = 3 * time.Second
	// nftablesRound is within which the nftables daemon puts rules in force; it tells nobody that it did.
	nftablesRound = 12 * time.Second
	// proofTimeout bounds one new connection: a firewall that drops says nothing.
	proofTimeout = 10 * time.Second
)

// armed is the token of the change that the nodes are to take back, empty when there is none.
func (seen *firewallSeen) armed() string {
	for _, node := range seen.nodes {
		if g := seen.looks[node].Guard; g.Armed {
			return g.Content
		}
	}
	return ""
}

// unready are the nodes that would not take the present change back.
func (seen *firewallSeen) unready() []string {
	var nodes []string
	for _, node := range seen.nodes {
		if g := seen.looks[node].Guard; !g.Armed || !g.Ticking {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// rollingBack names the nodes that take a change back just now, or will because another one did.
func (seen *firewallSeen) rollingBack() []string {
	token := seen.armed()
	var nodes []string
	for _, node := range seen.nodes {
		g := seen.looks[node].Guard
		if g.Running || token != "" && g.RolledBack == token {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// rolledBack says in words what was taken back, if it is what is declared.
func (seen *firewallSeen) rolledBack() (text, node string, ok bool) {
	for _, node := range seen.nodes {
		if g := seen.looks[node].Guard; g.RolledBack == seen.token {
			return g.Text, node, true
		}
	}
	return "", "", false
}

// guardedFiles are the files that a rollback puts back: all that may cut Phoenix off.
func (seen *firewallSeen) guardedFiles() []string {
	files := []string{firewall.Datacenter.File()}
	for _, node := range seen.nodes {
		files = append(files, firewall.Node(node).File())
	}
	for _, l := range seen.want.Lifeline {
		files = append(files, l.File())
	}
	return files
}

// guardedText says what is about to change.
func (seen *firewallSeen) guardedText() string {
	var parts []string
	for _, op := range seen.plan.Guarded {
		var diffs []string
		for _, d := range op.Diffs {
			diffs = append(diffs, d.Part)
		}
		text := strings.Join(diffs, ", ")
		if op.Kind == firewall.PutLevel {
			text = fmt.Sprintf("%s of %s", text, op.Level)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// arm makes every node ready to take back what follows. Nodes that are ready stay as they are.
func (seen *firewallSeen) arm(ctx context.Context) error {
	script := firewall.ArmScript(seen.want.Owner, seen.token, seen.guardedText(), seen.guardedFiles())
	for _, node := range seen.unready() {
		seen.memory.clean[node] = false
		todo := script
		if seen.looks[node].Guard.Armed {
			todo = firewall.RearmScript(seen.want.Owner)
		}
		if _, _, err := run(ctx, seen.site, node, todo); err != nil {
			return fmt.Errorf("arm the rollback: %w", err)
		}
	}
	delete(seen.memory.applied, seen.token)
	return nil
}

// confirm proves that Phoenix gets in with the rules that are in force now, and stops the timers.
func (seen *firewallSeen) confirm(ctx context.Context) error {
	if err := seen.inForce(); err != nil {
		return err
	}
	if err := seen.prove(ctx); err != nil {
		return reconcile.Fail(FirewallCutOffReason, fmt.Errorf("%w; unless a new connection succeeds, the old rules come back within %d s",
			err, firewall.GuardSeconds))
	}
	for _, node := range seen.nodes {
		if !seen.looks[node].Guard.Armed {
			continue
		}
		_, code, err := run(ctx, seen.site, node, firewall.ConfirmScript(seen.want.Owner), confirmedTooLate)
		if err != nil {
			return fmt.Errorf("stop the rollback: %w", err)
		}
		if code == confirmedTooLate {
			return reconcile.Wait(FirewallRollingBackReason, shortly, errRolledBackMeanwhile)
		}
	}
	return nil
}

// confirmedTooLate is ConfirmScript's exit code.
const confirmedTooLate = 4

// inForce waits until the nodes' daemons have put the files in force.
func (seen *firewallSeen) inForce() error {
	nftables := false
	for _, node := range seen.nodes {
		if seen.looks[node].Guard.Pending {
			return reconcile.Wait(FirewallUnconfirmedReason, inForceEvery, fmt.Errorf("the new rules are not in force on node %s yet", node))
		}
		nftables = nftables || seen.state.Levels[firewall.Node(node)].Options["nftables"] == "1"
	}
	since, ok := seen.memory.applied[seen.armed()]
	if !ok {
		since = seen.now
		seen.memory.applied[seen.armed()] = since
	}
	if nftables && seen.now.Sub(since) < nftablesRound {
		return reconcile.Wait(FirewallUnconfirmedReason, inForceEvery, errors.New("the nftables daemon has not had its round yet"))
	}
	return nil
}

// prove makes new connections.
func (seen *firewallSeen) prove(ctx context.Context) error {
	try := func(what string, connect func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, proofTimeout)
		defer cancel()
		if err := connect(ctx); err != nil {
			return fmt.Errorf("make a new connection to %s: %w", what, err)
		}
		return nil
	}
	if err := try("the API", seen.site.API.CheckNewConnection); err != nil {
		return err
	}
	for _, node := range slices.Sorted(slices.Values(seen.nodes)) {
		if err := try("SSH of node "+node, func(ctx context.Context) error { return seen.site.CheckNewSSH(ctx, node) }); err != nil {
			return err
		}
	}
	return nil
}
