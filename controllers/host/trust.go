// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/authority"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// nodeTrust is what was seen of the authorities that one node trusts.
type nodeTrust struct {
	node  string
	store *authority.Store
	// err is why the node could not be looked at.
	err error
}

// looked is a node's trust store that was as it should be, or waited for an authority alone.
type looked struct {
	store *authority.Store
	at    time.Time
}

// authorities are those that the nodes are to trust: none when the Host goes.
func authorities(host *v1alpha1.Host) []v1alpha1.TrustAuthority {
	if !host.DeletionTimestamp.IsZero() {
		return nil
	}
	return host.Spec.TrustAuthorities
}

// trusting says whether there may be something of ours in the trust stores of the nodes: the condition is there from the
// first look to the last root's end.
func trusting(host *v1alpha1.Host) bool {
	return len(authorities(host)) > 0 || meta.FindStatusCondition(host.Status.Conditions, v1alpha1.TrustedCondition) != nil
}

// readTrust looks at the trust stores of all nodes under ssh.nodes at the same time. Away says why one cannot be looked at.
func (k *Kind) readTrust(ctx context.Context, host *v1alpha1.Host, away map[string]error) ([]nodeTrust, error) {
	if !trusting(host) {
		return nil, nil
	}
	if host.Spec.SSH == nil {
		return []nodeTrust{}, nil
	}
	want, err := k.Authorities.Want(ctx, host.Namespace, authorities(host))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, sshTimeout)
	defer cancel()
	found := make([]nodeTrust, len(host.Spec.SSH.Nodes))
	var looks sync.WaitGroup
	for i, n := range host.Spec.SSH.Nodes {
		found[i] = nodeTrust{node: n.Name, store: k.recallTrust(host, n.Name, want), err: away[n.Name]}
		if found[i].err == nil && found[i].store == nil {
			looks.Go(func() { found[i].store, found[i].err = k.lookAtNode(ctx, host, n.Name) })
		}
	}
	looks.Wait()
	return found, nil
}

// lookAtNode looks at the trust store of one node.
func (k *Kind) lookAtNode(ctx context.Context, host *v1alpha1.Host, node string) (*authority.Store, error) {
	run, err := k.Machine(ctx, host, node)
	if err != nil {
		return nil, err
	}
	id := cmp.Or(host.Spec.OwnerID, host.Namespace+"/"+host.Name)
	store, err := k.Authorities.Look(ctx, host.Namespace, authorities(host), authority.Place{
		Name: "node " + node, Machine: run, Owner: machine.Owner(id + "/Host/" + host.Namespace + "/" + host.Name + "/trust"),
		Adopt: host.Spec.AdoptionPolicy == v1alpha1.AdoptionIfUnowned,
	})
	k.rememberTrust(host, node, store)
	return store, err
}

// recallTrust returns a look at a node that is young enough and wanted the same: every change of a Guest brings a pass of
// its Host.
func (k *Kind) recallTrust(host *v1alpha1.Host, node string, want authority.Want) *authority.Store {
	k.mu.Lock()
	defer k.mu.Unlock()
	last, ok := k.trust[nameOf(host)][node]
	if !ok || len(authorities(host)) == 0 || !last.store.Wants(want) || k.Clock.Since(last.at) >= k.TrustInterval {
		return nil
	}
	return last.store
}

func (k *Kind) rememberTrust(host *v1alpha1.Host, node string, store *authority.Store) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if store == nil || !store.Settled() {
		delete(k.trust[nameOf(host)], node)
		return
	}
	nodes := k.trust[nameOf(host)]
	if nodes == nil {
		nodes = map[string]looked{}
		if k.trust == nil {
			k.trust = map[types.NamespacedName]map[string]looked{}
		}
		k.trust[nameOf(host)] = nodes
	}
	nodes[node] = looked{store, k.Clock.Now()}
}

// unfit says which nodes cannot be looked at, and why: those that are off, and those whose SSH has a problem.
func unfit(a answers) map[string]error {
	away := map[string]error{}
	for _, n := range a.nodes {
		if !n.Online {
			away[n.Name] = machine.Away(errors.New("it is off"))
		}
	}
	for _, p := range a.ssh {
		away[p.node] = machine.Away(p.problem)
	}
	return away
}

// absent are the nodes that could not be looked at; why is the outcome for all of them.
func absent(found []nodeTrust) (nodes []string, why error) {
	var list []error
	for _, n := range found {
		if n.err != nil {
			nodes = append(nodes, n.node)
			list = append(list, fmt.Errorf("node %s: %w", n.node, n.err))
		}
	}
	return nodes, worst(list)
}

// worst is one outcome for several errors of nodes, with the words of all: what does not pass by itself comes first.
func worst(list []error) error {
	list = slices.DeleteFunc(list, func(err error) bool { return err == nil })
	slices.SortStableFunc(list, func(a, b error) int { return rank(a) - rank(b) })
	var all error
	for _, err := range list {
		if one := outcome(err); all == nil {
			all = one
		} else {
			all = fmt.Errorf("%w; %w", all, one)
		}
	}
	return all
}

func rank(err error) int {
	if authority.Passes(err) {
		return 1
	}
	return 0
}

// outcome is the one of a single node's error.
func outcome(err error) error {
	if machine.IsAway(err) {
		return reconcile.Wait(authority.MachineAwayReason, awayFor, err)
	}
	if o := authority.Failure(authority.TrustingReason, err); reconcile.ReasonOf(o) != "" {
		return o
	}
	return reconcile.Fail(v1alpha1.FailedReason, err)
}
