// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/firewall"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const (
	// scriptTimeout bounds one script on a node.
	scriptTimeout = 30 * time.Second
	maxStderr     = 300
)

// nodeName is what may stand in a path of a script.
var nodeName = regexp.MustCompile("^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$")

// guardNodes are the nodes that have to put rules back when a change cuts Phoenix off: all that are online. A node without
// SSH among them refuses the whole service.
func guardNodes(host *v1alpha1.Host, site FirewallSite) ([]string, error) {
	var nodes []string
	for _, n := range host.Status.Nodes {
		if n.Online == nil || !*n.Online {
			continue
		}
		if _, ok := site.Shell(n.Name); !ok || !nodeName.MatchString(n.Name) {
			return nil, reconcile.Fail(FirewallRequiresSSHReason, fmt.Errorf(
				"reach node %s: Host/%s has no SSH for it, and so nothing could put back rules that cut Phoenix off: add the node to ssh.nodes of the Host",
				n.Name, host.Name))
		}
		nodes = append(nodes, n.Name)
	}
	if len(nodes) == 0 {
		return nil, reconcile.Wait(FirewallHostReason, shortly, fmt.Errorf("waiting for Host/%s: no node of it is online", host.Name))
	}
	slices.Sort(nodes)
	return nodes, nil
}

// run runs a script as root on a node. Its exit code is returned; one that is not among the allowed ones is an error.
func run(ctx context.Context, site FirewallSite, node, script string, allowed ...int) (string, int, error) {
	shell, ok := site.Shell(node)
	if !ok {
		return "", 0, reconcile.Fail(FirewallRequiresSSHReason, fmt.Errorf("node %s has no SSH any more: add it to ssh.nodes of the Host", node))
	}
	ctx, cancel := context.WithTimeout(ctx, scriptTimeout)
	defer cancel()
	result, err := shell.Run(ctx, []string{"sh"}, []byte(script))
	switch {
	case machine.IsAway(err):
		return "", 0, reconcile.Wait(FirewallAwayReason, shortly, fmt.Errorf("reach node %s: %w", node, err))
	case err != nil:
		return "", 0, fmt.Errorf("run script on node %s: %w", node, err)
	}
	if result.ExitCode != 0 && !slices.Contains(allowed, result.ExitCode) {
		said := strings.Join(strings.Fields(string(result.Stderr)), " ")
		return "", result.ExitCode, fmt.Errorf("run script on node %s: exit code %d: %.*s", node, result.ExitCode, maxStderr, said)
	}
	return string(result.Stdout), result.ExitCode, nil
}

// looks are what the nodes said.
type looks map[string]firewall.Look

// first is any node's: the files are the same on all.
func (l looks) first() firewall.Look {
	for _, node := range slices.Sorted(maps.Keys(l)) {
		return l[node]
	}
	return firewall.Look{}
}

// look asks nodes that were not asked yet.
func look(ctx context.Context, site FirewallSite, owner string, nodes []string, into looks) error {
	for _, node := range nodes {
		if _, done := into[node]; done {
			continue
		}
		text, _, err := run(ctx, site, node, firewall.LookScript(owner))
		if err != nil {
			return err
		}
		l, err := firewall.ParseLook(text)
		if err != nil {
			return fmt.Errorf("look at node %s: %w", node, err)
		}
		into[node] = l
	}
	return nil
}

// firstLook asks one node, and all on which something may wait to be put back. With everything in sync that is one round
// trip.
func firstLook(ctx context.Context, site FirewallSite, owner string, nodes []string, m *firewallMemory) (looks, error) {
	seen := looks{}
	wanted := slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return m.clean[n] })
	if len(wanted) == 0 {
		wanted = nodes[:1]
	}
	fresh := len(m.clean) == 0
	if err := look(ctx, site, owner, wanted, seen); err != nil {
		return nil, err
	}
	if fresh {
		m.record = firewall.Record{Owner: owner}
	}
	for node, l := range seen {
		m.clean[node] = !l.Guard.Armed && !l.Guard.Running && l.Guard.Back.Token == ""
		r, err := firewall.ParseRecord(owner, l.Record)
		if err != nil {
			return nil, fmt.Errorf("read the record on node %s: %w", node, err)
		}
		if r.Serial > m.record.Serial {
			m.record = r
		}
	}
	return seen, nil
}

// errRolledBackMeanwhile says that a confirmation came too late.
var errRolledBackMeanwhile = errors.New("a node took the change back while it was being confirmed")
