// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const (
	// sshTimeout bounds the check of one node.
	sshTimeout = 20 * time.Second
	// partingTimeout bounds the look at a Host that is being deleted: an endpoint that is away must not hold it.
	partingTimeout = 5 * time.Second
)

// Seen is what could be observed of a Host. A zero member is not known.
type Seen struct {
	// API says whether the endpoint can be worked with; nil: not known.
	API *Verdict
	// Version of Proxmox VE.
	Version string
	Nodes   []proxmox.Node
	// Judged says that Missing is known: the privileges that the token lacks.
	Judged  bool
	Missing []Missing
	Guests  *Count

	// complaints are what is wrong although the API answers, the worst first.
	complaints []*problem
	// trust is what was seen of the authorities that the nodes trust; nil: nothing was looked at.
	trust []nodeTrust
}

// Verdict is a condition's reason and message.
type Verdict struct {
	OK              bool
	Reason, Message string
}

// Count of the guests of a site.
type Count struct{ Managed, Unmanaged int }

// answers of a site.
type answers struct {
	version     string
	nodes       []proxmox.Node
	permissions proxmox.Permissions
	quorate     bool
	ssh         []nodeProblem
}

// nodeProblem is what is wrong with one node's SSH.
type nodeProblem struct {
	node string
	*problem
}

// Observe asks the endpoint who it is, what it has and what the token may do, and every node's SSH for a sign of life. What
// the nodes trust is looked at afterwards: nothing of the others waits for it.
func (k *Kind) Observe(ctx context.Context, host *v1alpha1.Host) (Seen, error) {
	if !host.DeletionTimestamp.IsZero() {
		return k.part(ctx, host)
	}
	seen, a, err := k.observe(ctx, host)
	var p *problem
	if errors.As(err, &p) {
		return seen, reconcile.Fail(p.reason, p)
	}
	if err != nil {
		return seen, err
	}
	if seen.trust, err = k.readTrust(ctx, host, unfit(a)); err != nil {
		return seen, err
	}
	return seen, seen.settle(host)
}

// part observes a Host that is being deleted. An endpoint that is away does not keep it: all that is to be cleaned up is
// what its nodes trust.
func (k *Kind) part(ctx context.Context, host *v1alpha1.Host) (Seen, error) {
	looking, cancel := context.WithTimeout(ctx, partingTimeout)
	defer cancel()
	seen, _, _ := k.observe(looking, host)
	var err error
	if seen.trust, err = k.readTrust(ctx, host, nil); err != nil {
		return seen, err
	}
	if do, _ := seen.trustSteps(); len(do) > 0 {
		return seen, nil
	}
	return seen, seen.awaitNodes(letGo)
}

func (k *Kind) observe(ctx context.Context, host *v1alpha1.Host) (Seen, answers, error) {
	var seen Seen
	site, err := k.Connect(ctx, host)
	if err != nil {
		return seen, answers{}, seen.unreached(judge(host, err))
	}
	a, known := k.recall(host, site)
	if !known {
		if a, err = ask(ctx, site); err != nil {
			return seen, a, seen.unreached(judge(host, err))
		}
		a.ssh = checkSSH(ctx, host, site, a.nodes)
	}
	listed, err := site.Guests(ctx)
	if err != nil {
		return seen, a, seen.unreached(judge(host, err))
	}
	guests, err := k.Guests(ctx, host)
	if err != nil {
		return seen, a, fmt.Errorf("list Guests: %w", err)
	}
	services, err := k.Services(ctx, host)
	if err != nil {
		return seen, a, fmt.Errorf("list HostServices: %w", err)
	}
	seen.API = &Verdict{true, Answering, "the API answers with the pinned certificate and accepts the token"}
	seen.Version, seen.Nodes = a.version, a.nodes
	seen.Missing, seen.Judged = missing(host, objects{guests, services}, a.version, a.permissions), true
	if a.permissions.Has("/vms", "VM.Audit") {
		seen.Guests = k.count(host, guests, listed)
	}
	if !known && a.quorate && len(a.ssh) == 0 {
		k.remember(host, site, a)
	}
	seen.complaints = complaints(a, seen.Missing)
	return seen, a, nil
}

// unreached notes a problem that makes the Host unreachable, and passes it on. Of any other error nothing is concluded.
func (s *Seen) unreached(err error) error {
	var p *problem
	if errors.As(err, &p) {
		s.API = &Verdict{false, p.reason, p.text}
	}
	return err
}

// ask puts the questions that every token may ask, and the one for the quorum when it may.
func ask(ctx context.Context, site Site) (a answers, err error) {
	if a.version, err = site.Version(ctx); err != nil {
		return a, err
	}
	if a.nodes, err = site.Nodes(ctx); err != nil {
		return a, err
	}
	if a.permissions, err = site.Permissions(ctx); err != nil {
		return a, err
	}
	a.quorate = true
	if a.permissions.Has("/", "Sys.Audit") {
		a.quorate, err = site.Quorate(ctx)
	}
	return a, err
}

// checkSSH returns what is wrong with the declared nodes, in their order. A node that is known to be off is not asked.
func checkSSH(ctx context.Context, host *v1alpha1.Host, site Site, nodes []proxmox.Node) []nodeProblem {
	if host.Spec.SSH == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, sshTimeout)
	defer cancel()
	declared := host.Spec.SSH.Nodes
	found := make([]nodeProblem, len(declared))
	var checks sync.WaitGroup
	for i, d := range declared {
		found[i].node = d.Name
		at := slices.IndexFunc(nodes, func(n proxmox.Node) bool { return n.Name == d.Name })
		switch {
		case at < 0:
			found[i].problem = &problem{UnknownNode, fmt.Sprintf("spec.ssh.nodes names node %s, but the site has %s", d.Name, names(nodes)), nil}
		case nodes[at].Online:
			checks.Go(func() { found[i].problem = judgeSSH(host, d, site.CheckSSH(ctx, d.Name)) })
		}
	}
	checks.Wait()
	return slices.DeleteFunc(found, func(p nodeProblem) bool { return p.problem == nil })
}

func names(nodes []proxmox.Node) string {
	list := make([]string, 0, len(nodes))
	for _, n := range nodes {
		list = append(list, n.Name)
	}
	return strings.Join(list, ", ")
}

// complaints are what is wrong although the API answers, the worst first.
func complaints(a answers, lacking []Missing) []*problem {
	var list []*problem
	if !a.quorate {
		list = append(list, &problem{NoQuorum, "the cluster has no quorum: it refuses every change until most of its nodes are back", nil})
	}
	if len(lacking) > 0 {
		list = append(list, &problem{MissingPrivileges, describe(lacking), nil})
	}
	for _, p := range a.ssh {
		list = append(list, p.problem)
	}
	return list
}

// unite makes one problem of several: it has the first one's reason and all texts.
func unite(list []*problem) *problem {
	texts := make([]string, 0, len(list))
	for _, p := range list {
		texts = append(texts, p.text)
	}
	return &problem{list[0].reason, strings.Join(texts, "; "), list[0].err}
}

// count tells the guests that bear the mark of one of the Host's Guests from the others.
func (k *Kind) count(host *v1alpha1.Host, guests []v1alpha1.Guest, listed map[int]proxmox.Resource) *Count {
	marks := make(map[string]bool, len(guests))
	for i := range guests {
		marks[k.Mark(host, &guests[i])] = true
	}
	c := &Count{}
	for _, r := range listed {
		if slices.ContainsFunc(r.Tags, func(tag string) bool { return marks[tag] }) {
			c.Managed++
		} else {
			c.Unmanaged++
		}
	}
	return c
}
