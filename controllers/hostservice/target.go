// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// target is where a service runs.
type target struct {
	host  *v1alpha1.Host
	guest *v1alpha1.Guest // nil: on the node
	node  string          // of the Host; empty with a guest
}

// aim finds out where a service runs.
func (k *Kind) aim(ctx context.Context, s *v1alpha1.HostService) (target, error) {
	var t target
	name := hostRefOf(s)
	if s.Spec.GuestRef != nil {
		t.guest = &v1alpha1.Guest{}
		if err := k.Reader.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: s.Spec.GuestRef.Name}, t.guest); err != nil {
			return t, fmt.Errorf("read Guest/%s: %w", s.Spec.GuestRef.Name, err)
		}
		name = t.guest.Spec.HostRef.Name
	}
	t.host = &v1alpha1.Host{}
	if err := k.Reader.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: name}, t.host); err != nil {
		return t, fmt.Errorf("read Host/%s: %w", name, err)
	}
	if t.guest != nil {
		return t, nil
	}
	var err error
	t.node, err = NodeOf(s, t.host)
	return t, err
}

// NodeOf is the node of a Host on which a service with a hostRef runs. Its error is an outcome.
func NodeOf(s *v1alpha1.HostService, h *v1alpha1.Host) (string, error) {
	var nodes []string
	if h.Spec.SSH != nil {
		for _, n := range h.Spec.SSH.Nodes {
			nodes = append(nodes, n.Name)
		}
	}
	switch {
	case len(nodes) == 0:
		return "", reconcile.Fail(NoSSHReason, fmt.Errorf("reach the machine: Host/%s has no SSH: declare its nodes under ssh.nodes", h.Name))
	case s.Spec.Node == "" && len(nodes) == 1:
		return nodes[0], nil
	case s.Spec.Node == "":
		return "", reconcile.Stall(NodeMissingReason, fmt.Errorf("node is not set and Host/%s has %d nodes under ssh.nodes (%s): set spec.node",
			h.Name, len(nodes), strings.Join(nodes, ", ")))
	case !slices.Contains(nodes, s.Spec.Node):
		return "", reconcile.Fail(NoSSHReason, fmt.Errorf("reach node %s: Host/%s has no SSH for it: add the node to ssh.nodes of Host/%s", s.Spec.Node, h.Name, h.Name))
	}
	return s.Spec.Node, nil
}

// ownerOf is in whose name a machine is changed.
func (t target) ownerOf(s *v1alpha1.HostService) machine.Owner {
	id := cmp.Or(t.host.Spec.OwnerID, t.host.Namespace+"/"+t.host.Name)
	return machine.Owner(id + "/HostService/" + s.Namespace + "/" + s.Name)
}

// String names the machine as status.machine does.
func (t target) String() string {
	switch {
	case t.guest != nil:
		return "Guest/" + t.guest.Name
	case t.host.Spec.SSH != nil && len(t.host.Spec.SSH.Nodes) > 1:
		return "Host/" + t.host.Name + "/" + t.node
	}
	return "Host/" + t.host.Name
}

// addresses are those by which the machine is known: of the node under ssh.nodes, or of the Guest.
func (t target) addresses() []string {
	if t.guest != nil {
		return presentAddresses(t.guest)
	}
	for _, n := range t.host.Spec.SSH.Nodes {
		if n.Name != t.node {
			continue
		}
		address := n.Address
		if host, _, err := net.SplitHostPort(address); err == nil {
			address = host
		}
		return []string{strings.Trim(address, "[]")}
	}
	return nil
}

// siblings are the other services of the same machine, the oldest first. It tells who is older.
func (k *Kind) siblings(ctx context.Context, s *v1alpha1.HostService, t target) (older, younger []v1alpha1.HostService, err error) {
	var list v1alpha1.HostServiceList
	if err := k.Reader.List(ctx, &list, client.InNamespace(s.Namespace)); err != nil {
		return nil, nil, fmt.Errorf("list HostServices: %w", err)
	}
	slices.SortFunc(list.Items, func(a, b v1alpha1.HostService) int { return byAge(&a, &b) })
	for i := range list.Items {
		other := &list.Items[i]
		if other.Name == s.Name || !t.holds(other) {
			continue
		}
		if byAge(other, s) < 0 {
			older = append(older, *other)
		} else {
			younger = append(younger, *other)
		}
	}
	return older, younger, nil
}

// holds says whether another service of the namespace runs on the machine too.
func (t target) holds(other *v1alpha1.HostService) bool {
	if t.guest != nil || other.Spec.GuestRef != nil {
		return t.guest != nil && other.Spec.GuestRef != nil && other.Spec.GuestRef.Name == t.guest.Name
	}
	node, err := NodeOf(other, t.host)
	return hostRefOf(other) == t.host.Name && err == nil && node == t.node
}

// byAge orders objects of one kind, those of one second by name.
func byAge(a, b client.Object) int {
	return cmp.Or(a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time), cmp.Compare(a.GetName(), b.GetName()))
}

// presentAddresses are those that a Guest has, or, while none is known, those that it is declared to have: a Guest that
// restarts keeps its name.
func presentAddresses(g *v1alpha1.Guest) []string {
	if len(g.Status.Addresses) > 0 {
		return g.Status.Addresses
	}
	return declaredAddresses(g)
}

// declaredAddresses are the static ones of a Guest's spec.
func declaredAddresses(g *v1alpha1.Guest) []string {
	var found []string
	for _, n := range g.Spec.Networks {
		var texts []string
		if n.IPv4 != nil {
			texts = append(texts, n.IPv4.Address)
		}
		if n.IPv6 != nil {
			texts = append(texts, n.IPv6.Address)
		}
		for _, text := range texts {
			if p, err := netip.ParsePrefix(text); err == nil {
				found = append(found, p.Addr().String())
			}
		}
	}
	return found
}

// ownAddresses are those that a Guest's name is answered with: the first, and further ones that are declared. What else
// it has, as the bridges of a Docker engine, is not for others.
func ownAddresses(g *v1alpha1.Guest) []string {
	present, declared := presentAddresses(g), declaredAddresses(g)
	var found []string
	for i, a := range present {
		if (i == 0 || slices.Contains(declared, a)) && !slices.Contains(found, a) {
			found = append(found, a)
		}
	}
	return found
}
