// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
)

// place names a machine: a Guest, or a node of a Host.
type place struct{ guest, host, node string }

// placeOf is the machine of a delivery; the node may be left to the Host.
func placeOf(d *v1alpha1.CertificateDelivery) place {
	if d.GuestRef != nil {
		return place{guest: d.GuestRef.Name}
	}
	if d.HostRef != nil {
		return place{host: d.HostRef.Name, node: d.Node}
	}
	return place{}
}

// String is how the status names the machine.
func (p place) String() string {
	switch {
	case p.guest != "":
		return "Guest/" + p.guest
	case p.node != "":
		return "Host/" + p.host + "/" + p.node
	}
	return "Host/" + p.host
}

// parsePlace reads what String wrote.
func parsePlace(text string) (place, bool) {
	kind, name, ok := strings.Cut(text, "/")
	switch {
	case !ok || name == "":
		return place{}, false
	case kind == "Guest":
		return place{guest: name}, true
	case kind == "Host":
		host, node, _ := strings.Cut(name, "/")
		return place{host: host, node: node}, true
	}
	return place{}, false
}

// target is a machine with its objects.
type target struct {
	place
	hostObject  *v1alpha1.Host
	guestObject *v1alpha1.Guest // nil: a node
}

// find reads the objects of a machine. gone says that there is none to clean up any more.
func (k *Kind) find(ctx context.Context, namespace string, at place) (t target, gone bool, err error) {
	t = target{place: at}
	host := at.host
	if at.guest != "" {
		t.guestObject = &v1alpha1.Guest{}
		if gone, err := k.get(ctx, namespace, at.guest, "Guest", t.guestObject); err != nil {
			return t, gone, err
		}
		host, gone = t.guestObject.Spec.HostRef.Name, vanishes(t.guestObject)
	}
	t.hostObject = &v1alpha1.Host{}
	if absent, err := k.get(ctx, namespace, host, "Host", t.hostObject); err != nil {
		return t, absent, err
	}
	if at.guest != "" {
		return t, gone, nil
	}
	nodes := nodesOf(t.hostObject)
	if at.node == "" && len(nodes) == 1 {
		t.node = nodes[0]
	}
	return t, !slices.Contains(nodes, t.node), nodeProblem(t, nodes)
}

// get reads an object; absent says that it is not there.
func (k *Kind) get(ctx context.Context, namespace, name, kind string, into client.Object) (absent bool, err error) {
	err = k.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, into)
	if apierrors.IsNotFound(err) {
		return true, machine.Away(fmt.Errorf("waiting for %s/%s: not found", kind, name))
	}
	if err != nil {
		return false, fmt.Errorf("read %s/%s: %w", kind, name, err)
	}
	return false, nil
}

// vanishes says whether a guest is on its way out itself.
func vanishes(g *v1alpha1.Guest) bool {
	policy := cmp.Or(g.Spec.DeletionPolicy, g.DefaultDeletionPolicy())
	return !g.DeletionTimestamp.IsZero() && policy == v1alpha1.DeletionDelete && g.Spec.Management != v1alpha1.ManagementObserve
}

func nodesOf(h *v1alpha1.Host) []string {
	var nodes []string
	if h.Spec.SSH != nil {
		for _, n := range h.Spec.SSH.Nodes {
			nodes = append(nodes, n.Name)
		}
	}
	return nodes
}

// nodeProblem says why a node cannot be reached by what the Host declares.
func nodeProblem(t target, nodes []string) error {
	p := &problem{reason: NoSSHReason, after: refusedFor, failure: true}
	switch host := t.hostObject.Name; {
	case len(nodes) == 0:
		p.err = fmt.Errorf("reach the machine: Host/%s has no SSH: declare its nodes under ssh.nodes", host)
	case t.node == "":
		p.reason = NodeMissingReason
		p.err = fmt.Errorf("node is not set and Host/%s has %d nodes under ssh.nodes (%s): set node of the delivery", host, len(nodes), strings.Join(nodes, ", "))
	case !slices.Contains(nodes, t.node):
		p.err = fmt.Errorf("reach node %s: Host/%s has no SSH for it: add the node to ssh.nodes of Host/%s", t.node, host, host)
	default:
		return nil
	}
	return p
}

// open returns the machine.
func (k *Kind) open(ctx context.Context, t target) (*machine.Machine, error) {
	if t.guestObject != nil {
		return k.GuestMachine(ctx, t.guestObject)
	}
	return k.NodeMachine(ctx, t.hostObject, t.node)
}

// ownerOf is in whose name a machine is changed.
func (t target) ownerOf(c *v1alpha1.Certificate, delivery string) machine.Owner {
	id := cmp.Or(t.hostObject.Spec.OwnerID, t.hostObject.Namespace+"/"+t.hostObject.Name)
	return machine.Owner(id + "/Certificate/" + c.Namespace + "/" + c.Name + "/" + delivery)
}

// address is the first by which the machine is known; empty: none is known yet.
func (t target) address() string {
	if t.guestObject != nil {
		return guestAddress(t.guestObject)
	}
	for _, n := range t.hostObject.Spec.SSH.Nodes {
		if n.Name != t.node {
			continue
		}
		if host, _, err := net.SplitHostPort(n.Address); err == nil {
			return host
		}
		return strings.Trim(n.Address, "[]")
	}
	return ""
}

// guestAddress is the first that a Guest has, or, while none is known, that it is declared to have.
func guestAddress(g *v1alpha1.Guest) string {
	if len(g.Status.Addresses) > 0 {
		return g.Status.Addresses[0]
	}
	for _, n := range g.Spec.Networks {
		var texts []string
		if n.IPv4 != nil {
			texts = append(texts, n.IPv4.Address)
		}
		if n.IPv6 != nil {
			texts = append(texts, n.IPv6.Address)
		}
		for _, text := range texts {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				return prefix.Addr().String()
			}
		}
	}
	return ""
}
