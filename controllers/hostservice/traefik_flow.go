// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"slices"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// traefikFlows: its gateways may come in, and nobody else.
func traefikFlows(d declared, s *v1alpha1.HostService, at flowEnd) []flow {
	if s.Spec.Traefik == nil {
		return nil
	}
	var flows []flow
	web, secure := traefikPorts(s.Spec.Traefik)
	for _, ref := range s.Spec.Traefik.GatewayRefs {
		gateway := d.service(ref.Name)
		if gateway == nil || gateway.Spec.Nginx == nil || gateway.Spec.GuestRef == nil {
			continue
		}
		for _, from := range d.ends(gateway.Spec.GuestRef.Name) {
			flows = append(
				flows, flow{From: from, To: at, Protocol: "tcp", Port: web, Why: whyOf(s, "requests")},
				flow{From: from, To: at, Protocol: "tcp", Port: secure, Why: whyOf(s, "connections")},
			)
		}
	}
	return flows
}

// service finds a service by its name, on whichever Host.
func (d declared) service(name string) *v1alpha1.HostService {
	for _, list := range [][]v1alpha1.HostService{d.services, d.farServices} {
		if i := slices.IndexFunc(list, func(s v1alpha1.HostService) bool { return s.Name == name }); i >= 0 {
			return &list[i]
		}
	}
	return nil
}

// routeFlows: the routers of Routes may come to the backends that are on this Host.
func routeFlows(d declared) []flow {
	var flows []flow
	for i := range d.routes {
		r := &d.routes[i]
		router := d.service(r.Spec.RouterRef.Name)
		if router == nil || router.Spec.Traefik == nil || router.Spec.GuestRef == nil {
			continue
		}
		for _, b := range r.Spec.Backends {
			to, ports := d.backend(b)
			for _, port := range ports {
				for _, from := range d.ends(router.Spec.GuestRef.Name) {
					flows = append(flows, flow{From: from, To: to, Protocol: "tcp", Port: port, Why: whyOf(router, "backends")})
				}
			}
		}
	}
	return flows
}

// backend is where a backend of this Host receives; without ports, it is none, or not known yet. What a url leads to is
// nobody's whom a rule could name.
func (d declared) backend(b v1alpha1.RouteBackend) (at flowEnd, ports []int) {
	switch {
	case b.Guest != nil && guestNamed(d.guests, b.Guest.Name) != nil:
		return flowEnd{Guest: b.Guest.Name}, []int{int(b.Guest.Port)}
	case b.HostService != nil:
		return d.serviceBackend(b.HostService)
	case b.Stack != nil:
		return d.stackBackend(b.Stack)
	}
	return flowEnd{}, nil
}

func (d declared) serviceBackend(b *v1alpha1.RouteServiceBackend) (at flowEnd, ports []int) {
	i := slices.IndexFunc(d.services, func(s v1alpha1.HostService) bool { return s.Name == b.Name })
	if i < 0 {
		return flowEnd{}, nil
	}
	s, port := &d.services[i], int(b.Port)
	switch {
	case s.Spec.Portainer != nil:
		port = cmp.Or(port, portainerPort(s.Spec.Portainer))
	case s.Spec.StepCA != nil:
		port = cmp.Or(port, caPort(s.Spec.StepCA))
	}
	at, ok := placeOf(d.host, s)
	if !ok || port == 0 {
		return flowEnd{}, nil
	}
	return at, []int{port}
}

// stackBackend are the ports at which a stack's service is published, on the machine of the agent by which it was deployed.
func (d declared) stackBackend(b *v1alpha1.RouteStackBackend) (at flowEnd, ports []int) {
	i := slices.IndexFunc(d.stacks, func(s v1alpha1.DockerStack) bool { return s.Name == b.Name })
	if i < 0 || d.stacks[i].Spec.Environment.AgentRef == nil {
		return flowEnd{}, nil
	}
	agent := d.service(d.stacks[i].Spec.Environment.AgentRef.Name)
	if agent == nil || agent.Spec.GuestRef == nil || guestNamed(d.guests, agent.Spec.GuestRef.Name) == nil {
		return flowEnd{}, nil
	}
	for _, service := range d.stacks[i].Status.Services {
		for _, p := range service.Ports {
			if service.Name == b.Service && p.Protocol == "tcp" && (b.Port == 0 || p.Target == b.Port) {
				ports = append(ports, int(p.Published))
			}
		}
	}
	return flowEnd{Guest: agent.Spec.GuestRef.Name}, ports
}
