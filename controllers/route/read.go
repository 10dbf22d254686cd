// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

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
)

// dependency is an object that a Route was found to depend on.
type dependency struct{ kind, namespace, name string }

// reader reads the objects of a namespace from the cache, and notes which. What it returns is the cache's own: it is read only.
type reader struct {
	client    client.Client
	namespace string
	read      map[dependency]bool
}

func (k *Kind) reader(namespace string) *reader {
	return &reader{client: k.Client, namespace: namespace, read: map[dependency]bool{}}
}

// get reads an object; found says whether it is there.
func (r *reader) get(ctx context.Context, kind, name string, into client.Object) (found bool, err error) {
	r.read[dependency{kind, r.namespace, name}] = true
	err = r.client.Get(ctx, types.NamespacedName{Namespace: r.namespace, Name: name}, into, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s/%s: %w", kind, name, err)
	}
	return true, nil
}

func (r *reader) service(ctx context.Context, name string) (*v1alpha1.HostService, bool, error) {
	s := &v1alpha1.HostService{}
	found, err := r.get(ctx, "HostService", name, s)
	return s, found, err
}

// services are all of the namespace. Of none is noted that it was read.
func (r *reader) services(ctx context.Context) ([]v1alpha1.HostService, error) {
	var list v1alpha1.HostServiceList
	err := r.client.List(ctx, &list, client.InNamespace(r.namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
	if err != nil {
		return nil, fmt.Errorf("list HostServices: %w", err)
	}
	return list.Items, nil
}

func (r *reader) guest(ctx context.Context, name string) (*v1alpha1.Guest, bool, error) {
	g := &v1alpha1.Guest{}
	found, err := r.get(ctx, "Guest", name, g)
	return g, found, err
}

func (r *reader) host(ctx context.Context, name string) (*v1alpha1.Host, bool, error) {
	h := &v1alpha1.Host{}
	found, err := r.get(ctx, "Host", name, h)
	return h, found, err
}

// addressOf is where a Guest is reached by others: at the first static address that it declares, which a restart does not
// change, else at the first that it has; empty: none is known.
func addressOf(g *v1alpha1.Guest) string {
	if declared := declaredOf(g); len(declared) > 0 {
		return declared[0]
	}
	if len(g.Status.Addresses) > 0 {
		return g.Status.Addresses[0]
	}
	return ""
}

// addressesOf are all by which a Guest may be reached.
func addressesOf(g *v1alpha1.Guest) []string {
	all := declaredOf(g)
	for _, a := range g.Status.Addresses {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// declaredOf are the static addresses of a Guest's spec.
func declaredOf(g *v1alpha1.Guest) []string {
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

// nodeAddress is where the node of a HostService with a hostRef is reached; empty: it is not known.
func nodeAddress(s *v1alpha1.HostService, h *v1alpha1.Host) string {
	if h.Spec.SSH == nil {
		return ""
	}
	for _, n := range h.Spec.SSH.Nodes {
		if s.Spec.Node != "" && n.Name != s.Spec.Node || s.Spec.Node == "" && len(h.Spec.SSH.Nodes) > 1 {
			continue
		}
		if host, _, err := net.SplitHostPort(n.Address); err == nil {
			return host
		}
		return strings.Trim(n.Address, "[]")
	}
	return ""
}

// ownerID is in whose name the machines of a Host are changed.
func ownerID(h *v1alpha1.Host) string {
	return cmp.Or(h.Spec.OwnerID, h.Namespace+"/"+h.Name)
}
