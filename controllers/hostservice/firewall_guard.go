// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/internal/firewall"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
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
			return g.Change.Token
		}
	}
	return ""
}

// unready are the nodes that would not take the present change back. Once it has begun, a node that was not made ready before
// cannot be any more: its copies would be of the new rules, and it would put those back.
func (seen *firewallSeen) unready() []string {
	token, begun := seen.armed(), false
	for _, node := range seen.nodes {
		begun = begun || seen.looks[node].Guard.Begun
	}
	var nodes []string
	for _, node := range seen.nodes {
		g := seen.looks[node].Guard
		if g.Stopped() || !g.Armed && !begun && (token == "" || token == seen.token) {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// rollingBack names the nodes that take a change back just now, or will because another one did. What a node took back in an
// earlier attempt says nothing of this one.
func (seen *firewallSeen) rollingBack() []string {
	back := map[string]int{}
	for _, node := range seen.nodes {
		if g := seen.looks[node].Guard; g.Back.Token != "" {
			back[g.Back.Token] = max(back[g.Back.Token], g.Back.Attempt)
		}
	}
	var nodes []string
	for _, node := range seen.nodes {
		g := seen.looks[node].Guard
		attempt, known := back[g.Change.Token]
		if g.Running || g.Armed && known && attempt >= g.Change.Attempt {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// attempt is how often what is declared was armed, this time included.
func (seen *firewallSeen) attempt() int {
	attempt := 1
	for _, node := range seen.nodes {
		g := seen.looks[node].Guard
		if g.Armed && g.Change.Token == seen.token {
			return g.Change.Attempt
		}
		if g.Back.Token == seen.token {
			attempt = max(attempt, g.Back.Attempt+1)
		}
	}
	return attempt
}

// refused says in words what was taken back for good, if it is what is declared.
func (seen *firewallSeen) refused() (g firewall.Guard, node string, ok bool) {
	for _, node := range seen.nodes {
		if g := seen.looks[node].Guard; g.Refused(seen.token) {
			return g, node, true
		}
	}
	return firewall.Guard{}, "", false
}

// toJudge are the nodes that took back what is declared after this very process armed it, tried to get in and did not
// succeed. A rollback that nobody saw says nothing of the rules: the process that armed them was killed, or away.
func (seen *firewallSeen) toJudge() []string {
	var nodes []string
	for _, node := range seen.nodes {
		g := seen.looks[node].Guard
		if g.Back.Token == seen.token && g.Back.Session == seen.session && !g.Judged && seen.memory.tried[seen.token] {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// judge notes on the nodes that with these rules Phoenix does not get in.
func (seen *firewallSeen) judge(ctx context.Context) error {
	for _, node := range seen.toJudge() {
		if _, _, err := run(ctx, seen.site, node, firewall.JudgeScript(seen.want.Owner, seen.looks[node].Guard.Back)); err != nil {
			return fmt.Errorf("note the rollback: %w", err)
		}
	}
	return nil
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
	m, token := seen.memory, cmp.Or(seen.armed(), seen.token)
	delete(m.applied, token)
	delete(m.tried, token)
	m.armed, m.armedAt = token, seen.now
	change := firewall.Change{Token: seen.token, Session: seen.session, Attempt: seen.attempt(), Text: seen.guardedText()}
	script := firewall.ArmScript(seen.want.Owner, change, seen.guardedFiles(), len(seen.allNodes) == 1)
	for _, node := range seen.unready() {
		if seen.looks[node].Guard.Armed {
			continue
		}
		m.clean[node] = false
		if _, _, err := run(ctx, seen.site, node, script); err != nil {
			return fmt.Errorf("arm the rollback: %w", err)
		}
	}
	return seen.rearm(ctx)
}

// rearm starts the timers again that should run and do not.
func (seen *firewallSeen) rearm(ctx context.Context) error {
	for _, node := range seen.nodes {
		if !seen.looks[node].Guard.Stopped() {
			continue
		}
		if _, _, err := run(ctx, seen.site, node, firewall.RearmScript(seen.want.Owner, seen.session)); err != nil {
			return fmt.Errorf("arm the rollback again: %w", err)
		}
	}
	return nil
}

// confirm proves that Phoenix gets in with the rules that are in force now, and stops the timers.
func (seen *firewallSeen) confirm(ctx context.Context) error {
	if err := seen.inForce(); err != nil {
		return err
	}
	if err := seen.prove(ctx); err != nil {
		seen.memory.tried[seen.armed()] = true
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
	delete(seen.memory.tried, seen.armed())
	seen.memory.armed = ""
	return nil
}

// confirmedTooLate is ConfirmScript's exit code.
const confirmedTooLate = 4

// inForce waits until the nodes' daemons have put the files in force.
func (seen *firewallSeen) inForce() error {
	nftables := false
	for _, node := range seen.nodes {
		if seen.looks[node].Guard.Halted {
			return reconcile.Wait(FirewallUnconfirmedReason, inForceEvery, fmt.Errorf(
				"the new rules are not in force on node %s: its firewall does not run: start pve-firewall.service there", node))
		}
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

// cutOff takes down that Phoenix does not reach the site with rules that it armed and that are not confirmed.
func (seen *firewallSeen) cutOff(err error) {
	m := seen.memory
	unconfirmed := m.armed != "" && seen.now.Sub(m.armedAt) <= firewall.GuardSeconds*time.Second
	if unconfirmed && (machine.IsAway(err) || proxmox.IsUnreachable(err)) {
		m.tried[m.armed] = true
	}
}
