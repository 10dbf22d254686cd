// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// door is where a service takes what would come round in a circle.
type door struct {
	name      string // "the gateway HostService/nginx"
	guest     string
	addresses []netip.Addr
	ports     []int
	// local are ports at which it is reached from its own machine alone.
	local []int
	// inside says that backends are reached from its machine.
	inside bool
	// gateway is the HostService's name if it is one; routers are those to whom what comes in here goes.
	gateway string
	routers []string
}

// doors are all gateways and routers of the namespace. Those on no machine take nothing.
func (k *Kind) doors(ctx context.Context, r *v1alpha1.Route, from *reader) ([]door, error) {
	services, err := from.services(ctx)
	if err != nil {
		return nil, err
	}
	var all []door
	for i := range services {
		s := &services[i]
		if s.Spec.Nginx == nil && s.Spec.Traefik == nil || s.Spec.GuestRef == nil {
			continue
		}
		g, found, err := from.guest(ctx, s.Spec.GuestRef.Name)
		if err != nil {
			return nil, err
		}
		if found {
			all = append(all, doorOf(s, g, services, r.Spec.RouterRef.Name))
		}
	}
	return all, nil
}

// doorOf is the door of a gateway or a router, among all services.
func doorOf(s *v1alpha1.HostService, g *v1alpha1.Guest, among []v1alpha1.HostService, router string) door {
	d := door{guest: g.Name, addresses: parsed(addressesOf(g))}
	if s.Spec.Traefik != nil {
		d.name, d.ports, d.routers = "the router HostService/"+s.Name, routerPorts(s), []string{s.Name}
		if d.inside = s.Name == router; d.inside {
			d.local = []int{apiPort(s)}
		}
		return d
	}
	d.name, d.ports, d.gateway = "the gateway HostService/"+s.Name, gatewayPorts(s), s.Name
	for i := range among {
		if t := among[i].Spec.Traefik; t != nil && slices.Contains(t.GatewayRefs, v1alpha1.LocalReference{Name: s.Name}) {
			d.routers = append(d.routers, among[i].Name)
		}
	}
	return d
}

func parsed(texts []string) []netip.Addr {
	var all []netip.Addr
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			all = append(all, a.Unmap().WithZone(""))
		}
	}
	return all
}

// takes says whether a server is the door.
func (d door) takes(t target, at []netip.Addr) bool {
	ports := d.ports
	if t.guest == d.guest && t.guest != "" {
		return slices.Contains(ports, t.port)
	}
	for _, a := range at {
		switch {
		case slices.Contains(d.addresses, a) && slices.Contains(ports, t.port):
			return true
		case d.inside && (a.IsLoopback() || a.IsUnspecified()) && (slices.Contains(ports, t.port) || slices.Contains(d.local, t.port)):
			return true
		}
	}
	return false
}

// circle is what is needed to tell whether a Route leads back to its gateway or its router.
type circle struct {
	route *v1alpha1.Route
	doors []door
	// named finds a Route that has a name as its host on the gateway or the router; nil: none does.
	named func(name string) (*v1alpha1.Route, error)
	// serves finds the Route that answers for a name and a path on the gateway or the router of another one; nil: none does.
	serves func(of *v1alpha1.Route, name, path string) (*v1alpha1.Route, error)
	// onward are the Routes that send on what comes in at a door for some names, with where to.
	onward func(d door, names []string) ([]onward, error)
	// lookup finds the addresses of a name as the router's machine sees it.
	lookup func(name string) []string
}

// onward is a Route beyond a door.
type onward struct {
	*v1alpha1.Route
	targets []target
}

// check says which server leads back to the gateway or the router. Its error is an outcome.
func (c circle) check(targets []target) error {
	for _, t := range targets {
		if err := c.byName(t); err != nil {
			return err
		}
		at := c.at(t)
		for _, d := range c.doors {
			if !d.takes(t, at) {
				continue
			}
			if way, err := c.back(d, carried(c.route, c.route.Spec.Hosts, t), map[string]bool{}); err != nil || way != "" {
				return cmp.Or(err, loop("backend %s (%s) leads back to %s", t.name, t.address(), way))
			}
		}
	}
	return nil
}

// at are the addresses of a server.
func (c circle) at(t target) []netip.Addr {
	if at := parsed([]string{t.host}); len(at) > 0 {
		return at
	}
	return parsed(c.lookup(t.host))
}

// leads says whether a door leads straight to the router or the gateway of the Route.
func (c circle) leads(d door) bool {
	return d.gateway == c.route.Spec.GatewayRef.Name || slices.Contains(d.routers, c.route.Spec.RouterRef.Name)
}

// back says how a door leads back with what is asked for by some names: by itself, or through Routes that send it on; empty: it
// does not.
func (c circle) back(d door, names []string, seen map[string]bool) (string, error) {
	switch router := c.route.Spec.RouterRef.Name; {
	case d.gateway == c.route.Spec.GatewayRef.Name, d.gateway == "" && slices.Contains(d.routers, router):
		return d.name, nil
	case c.leads(d):
		return fmt.Sprintf("%s, which sends to HostService/%s too", d.name, router), nil
	}
	beyond, err := c.onward(d, names)
	if err != nil {
		return "", err
	}
	for _, o := range beyond {
		if seen[o.Name] {
			continue
		}
		seen[o.Name] = true
		if way, err := c.backBy(o, names, seen); err != nil || way != "" {
			return way, err
		}
	}
	return "", nil
}

// backBy says how a Route beyond a door leads back.
func (c circle) backBy(o onward, names []string, seen map[string]bool) (string, error) {
	for _, t := range o.targets {
		for _, next := range c.doors {
			next.inside = false // loopback is its own machine's there
			if !next.takes(t, c.at(t)) {
				continue
			}
			if way, err := c.back(next, carried(o.Route, names, t), seen); err != nil || way != "" {
				return way + " by Route/" + o.Name, err
			}
		}
	}
	return "", nil
}

// carried are the names that a server is asked by, for what was asked for by some.
func carried(r *v1alpha1.Route, names []string, t target) []string {
	if p := r.Spec.PassHostHeader; p != nil && !*p {
		return []string{t.host}
	}
	return names
}

// answers says whether a host is for one of the names, each of which may have a wildcard itself.
func answers(host string, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return host == name || host == wildcardOf(name) || wildcardOf(host) == name
	})
}

// byName looks for a Route that would take the requests for a name.
func (c circle) byName(t target) error {
	if len(parsed([]string{t.host})) > 0 || !c.listens(t.port) {
		return nil
	}
	o, err := c.named(t.host)
	if err != nil || o == nil {
		return err
	}
	return loop("backend %s leads back to the gateway HostService/%s: %s is a host of Route/%s", t.name, o.Spec.GatewayRef.Name, t.host, o.Name)
}

// listens says whether a way back is open at a port.
func (c circle) listens(port int) bool {
	return slices.ContainsFunc(c.doors, func(d door) bool { return c.leads(d) && slices.Contains(d.ports, port) })
}

func loop(format string, values ...any) error {
	return reconcile.Stall(LoopReason, fmt.Errorf(format+": name what really answers", values...))
}

// routeOf finds a Route that has a name as its host on the gateway or on the router of r, itself included; nil: none does.
func (k *Kind) routeOf(ctx context.Context, r *v1alpha1.Route, name string) (*v1alpha1.Route, error) {
	for _, host := range []string{name, wildcardOf(name)} {
		found, err := k.routesWith(ctx, r.Namespace, ByHost, host)
		if err != nil {
			return nil, err
		}
		for i := range found {
			if o := &found[i]; o.Name == r.Name || claims(o) && meet(r, o) {
				return o, nil
			}
		}
	}
	return nil, nil
}

// beyond finds the Routes that send on what comes in at a door for some names. Few backends lead to one, so that it may look at
// all.
func (k *Kind) beyond(ctx context.Context, r *v1alpha1.Route, d door, names []string, from *reader) ([]onward, error) {
	var list v1alpha1.RouteList
	err := k.Client.List(ctx, &list, client.InNamespace(r.Namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
	if err != nil {
		return nil, fmt.Errorf("list Routes: %w", err)
	}
	var all []onward
	for i := range list.Items {
		o := &list.Items[i]
		if !claims(o) || d.gateway != "" && d.gateway != o.Spec.GatewayRef.Name || !slices.Contains(d.routers, o.Spec.RouterRef.Name) ||
			!slices.ContainsFunc(o.Spec.Hosts, func(host string) bool { return answers(host, names) }) {
			continue
		}
		if to, err := resolve(ctx, o, from); err == nil { // one that leads nowhere yet does not lead back
			all = append(all, onward{o, to.targets})
		}
	}
	return all, nil
}
