// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/firewall"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// firewallSeen is a firewall as observed.
type firewallSeen struct {
	name     types.NamespacedName
	site     FirewallSite
	memory   *firewallMemory
	session  string   // of this process
	nodes    []string // that are online
	allNodes []string
	guests   map[int]proxmox.Resource
	want     wanted
	state    firewall.State
	looks    looks
	record   firewall.Record
	plan     firewall.Plan
	token    string   // of what is declared
	away     []string // levels that cannot be reached now
	now      time.Time
	// known says that all of it was read.
	known bool
}

// observeFirewall reads the firewall of the HostService's Host.
func (k *Kind) observeFirewall(ctx context.Context, s *v1alpha1.HostService) (*firewallSeen, error) {
	d, err := k.declaredFor(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := k.awaitFlows(ctx, s, d); err != nil {
		return nil, err
	}
	name := client.ObjectKeyFromObject(s)
	site, ok := k.Firewall(client.ObjectKeyFromObject(d.host))
	if !ok {
		return nil, reconcile.Wait(FirewallHostReason, shortly, fmt.Errorf("waiting for Host/%s: not connected yet", d.host.Name))
	}
	seen := &firewallSeen{name: name, site: site, memory: k.firewalls.of(name), session: k.session, now: k.Clock.Now(), allNodes: nodesOf(d.host)}
	if seen.nodes, err = guardNodes(d.host, site); err != nil {
		if !s.DeletionTimestamp.IsZero() && s.Status.Firewall == nil {
			return nil, nil // it never was read, so nothing was done
		}
		return nil, err
	}
	if seen.guests, err = site.Guests(ctx); err != nil {
		return nil, fmt.Errorf("list guests: %w", firewallFailure(err))
	}
	k.locate(d, seen.guests)
	if err := seen.declare(ctx, s, d); err != nil {
		return nil, err
	}
	if err := seen.read(ctx); err != nil {
		seen.cutOff(err)
		return seen, err
	}
	if !s.DeletionTimestamp.IsZero() && len(seen.steps()) == 0 {
		k.firewalls.forget(seen.name)
	}
	return seen, nil
}

// locate finds the Guests by their marks that were not looked at since their statuses were lost: they have their rules, and
// keep them.
func (k *Kind) locate(d declared, guests map[int]proxmox.Resource) {
	for i := range d.guests {
		g := &d.guests[i]
		if g.Status.VMID != nil && g.Status.Node != "" {
			continue
		}
		mark := k.Mark(d.host, g)
		for vmid, r := range guests {
			if slices.Contains(r.Tags, mark) {
				id := int32(vmid)
				g.Status.VMID, g.Status.Node = &id, r.Node
			}
		}
	}
}

// declare renders the spec. What is being deleted wants nothing.
func (seen *firewallSeen) declare(ctx context.Context, s *v1alpha1.HostService, d declared) error {
	owner := firewallOwner(d.host, s)
	if !s.DeletionTimestamp.IsZero() {
		seen.token = tokenOf("removal")
		seen.want.Want = firewall.Want{Owner: owner, Lifeline: lifelineOf(d)}
		return nil
	}
	if err := onlyOne(s, d); err != nil {
		return err
	}
	if usesMacros(s.Spec.Firewall) && seen.memory.macros == nil {
		macros, err := seen.site.API.FirewallMacros(ctx)
		if err != nil {
			return fmt.Errorf("list macros: %w", firewallFailure(err))
		}
		seen.memory.macros = macros
	}
	seen.token = tokenOf(s.Spec.Firewall)
	var err error
	seen.want, err = wantOf(s, d, owner, seen.memory.macros)
	return err
}

// read reads the outside and compares it with what is wanted.
func (seen *firewallSeen) read(ctx context.Context) error {
	owner := seen.want.Owner
	var err error
	if seen.looks, err = firstLook(ctx, seen.site, owner, seen.nodes, seen.memory); err != nil {
		return err
	}
	seen.record = seen.memory.record
	first := seen.looks.first()
	r := &reading{firewallSeen: seen, ctx: ctx, digest: first.Digests}
	if err := r.all(first.Ours); err != nil {
		return err
	}
	if err := r.usesMissing(); err != nil {
		return err
	}
	seen.want.keep(seen.state)
	if conflicts := firewall.Conflicts(seen.want.Want, seen.state); len(conflicts) > 0 {
		return reconcile.Stall(FirewallNotOwnedReason, fmt.Errorf(
			"%s: rename it here, or take over what nobody owns with adoptionPolicy: IfUnowned", strings.Join(conflicts, "; ")))
	}
	seen.plan = firewall.Make(seen.want.Want, seen.state, seen.record)
	if len(seen.plan.Guarded) > 0 || seen.armed() != "" {
		if err := look(ctx, seen.site, owner, seen.nodes, seen.looks); err != nil {
			return err
		}
	}
	seen.known = true
	return nil
}

// declaredFor gathers the Host of a HostService, its Guests and its services.
func (k *Kind) declaredFor(ctx context.Context, s *v1alpha1.HostService) (declared, error) {
	if s.Spec.HostRef == nil {
		return declared{}, invalid(errors.New("firewall needs hostRef: it holds the rules of a whole Proxmox site"))
	}
	d := declared{host: &v1alpha1.Host{}}
	key := types.NamespacedName{Namespace: s.Namespace, Name: s.Spec.HostRef.Name}
	if err := k.Reader.Get(ctx, key, d.host); err != nil {
		return d, fmt.Errorf("read Host/%s: %w", key.Name, err)
	}
	var guests v1alpha1.GuestList
	if err := k.Reader.List(ctx, &guests, client.InNamespace(s.Namespace)); err != nil {
		return d, fmt.Errorf("list Guests: %w", err)
	}
	here := map[string]bool{}
	for _, g := range guests.Items {
		if g.Spec.HostRef.Name == d.host.Name {
			d.guests, here[g.Name] = append(d.guests, g), true
		} else {
			d.farGuests = append(d.farGuests, g)
		}
	}
	slices.SortFunc(d.guests, func(a, b v1alpha1.Guest) int { return cmp.Compare(a.Name, b.Name) })
	var services v1alpha1.HostServiceList
	if err := k.Reader.List(ctx, &services, client.InNamespace(s.Namespace)); err != nil {
		return d, fmt.Errorf("list HostServices: %w", err)
	}
	d.place(services.Items, here)
	slices.SortFunc(d.services, func(a, b v1alpha1.HostService) int { return cmp.Compare(a.Name, b.Name) })
	var err error
	if s.Spec.Firewall.Flows == v1alpha1.FlowsDerive {
		d.routes, d.stacks, err = k.declaredRoutes(ctx, s.Namespace)
	}
	return d, err
}

// place tells the services on the Host and in its Guests from those of others.
func (d *declared) place(services []v1alpha1.HostService, here map[string]bool) {
	for _, o := range services {
		if o.Spec.HostRef != nil && o.Spec.HostRef.Name == d.host.Name || o.Spec.GuestRef != nil && here[o.Spec.GuestRef.Name] {
			d.services = append(d.services, o)
		} else {
			d.farServices = append(d.farServices, o)
		}
	}
}

// declaredRoutes are the Routes of a namespace, and the stacks that they may lead to.
func (k *Kind) declaredRoutes(ctx context.Context, namespace string) ([]v1alpha1.Route, []v1alpha1.DockerStack, error) {
	var routes v1alpha1.RouteList
	if err := k.Reader.List(ctx, &routes, client.InNamespace(namespace)); err != nil {
		return nil, nil, fmt.Errorf("list Routes: %w", err)
	}
	var stacks v1alpha1.DockerStackList
	if err := k.Reader.List(ctx, &stacks, client.InNamespace(namespace)); err != nil {
		return nil, nil, fmt.Errorf("list DockerStacks: %w", err)
	}
	return routes.Items, stacks.Items, nil
}

// onlyOne refuses a second firewall of a Host: two would put back each other's options for ever. The older one stays.
func onlyOne(s *v1alpha1.HostService, d declared) error {
	for i := range d.services {
		o := &d.services[i]
		if o.Spec.Firewall == nil || o.Name == s.Name {
			continue
		}
		if byAge(o, s) < 0 {
			return reconcile.Stall(FirewallTakenReason, fmt.Errorf(
				"HostService/%s holds the firewall of Host/%s already: put the rules there, or delete one of the two", o.Name, d.host.Name))
		}
	}
	return nil
}

// firewallOwner is the text that marks what belongs to a firewall.
func firewallOwner(h *v1alpha1.Host, s *v1alpha1.HostService) string {
	id := h.Spec.OwnerID
	if id == "" {
		id = h.Namespace + "/" + h.Name
	}
	return id + "/HostService/" + s.Namespace + "/" + s.Name
}

// tokenOf is a short name of what is declared.
func tokenOf(declared any) string {
	text, err := json.Marshal(declared)
	if err != nil { // an API object: cannot be
		panic(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])[:12]
}
