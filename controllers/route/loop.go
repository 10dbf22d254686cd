// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

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
}

func gatewayDoor(s *side) door {
	return door{name: "the gateway " + s.String(), guest: s.guest.Name, addresses: parsed(addressesOf(s.guest)), ports: gatewayPorts(s.service)}
}

func routerDoor(s *side) door {
	return door{
		name: "the router " + s.String(), guest: s.guest.Name, addresses: parsed(addressesOf(s.guest)), ports: routerPorts(s.service),
		local: []int{apiPort(s.service)}, inside: true,
	}
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

// circle is what is needed to tell whether a backend leads back.
type circle struct {
	doors []door
	// route names the Route that has a name as its host on the same gateway; empty: none does.
	route func(name string) (string, error)
	// lookup finds the addresses of a name as the router's machine sees it.
	lookup func(name string) []string
}

// check says which server leads back to the gateway or the router. Its error is an outcome.
func (c circle) check(targets []target) error {
	for _, t := range targets {
		at := parsed([]string{t.host})
		if len(at) == 0 {
			if err := c.byName(t); err != nil {
				return err
			}
			at = parsed(c.lookup(t.host))
		}
		for _, d := range c.doors {
			if d.takes(t, at) {
				return loop("backend %s (%s) leads back to %s", t.name, t.address(), d.name)
			}
		}
	}
	return nil
}

// byName looks for a Route that would take the requests for a name.
func (c circle) byName(t target) error {
	if !slices.Contains(c.doors[0].ports, t.port) {
		return nil
	}
	name, err := c.route(t.host)
	if err != nil || name == "" {
		return err
	}
	return loop("backend %s leads back to %s: %s is a host of Route/%s", t.name, c.doors[0].name, t.host, name)
}

func loop(format string, values ...any) error {
	return reconcile.Stall(LoopReason, fmt.Errorf(format+": name what really answers", values...))
}

// routeOf names a Route that has a name as its host on the gateway or on the router of r, itself included; empty: none does.
func (k *Kind) routeOf(ctx context.Context, r *v1alpha1.Route, name string) (string, error) {
	for _, host := range []string{name, wildcardOf(name)} {
		found, err := k.routesWith(ctx, r.Namespace, ByHost, host)
		if err != nil {
			return "", err
		}
		for i := range found {
			if found[i].Name == r.Name || claims(&found[i]) && meet(r, &found[i]) {
				return found[i].Name, nil
			}
		}
	}
	return "", nil
}
