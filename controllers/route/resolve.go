// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// target is a server that requests go to.
type target struct {
	// name of the backend, such as "Guest/web".
	name string
	// scheme is http, https or h2c; empty with tcp.
	scheme, host string
	port         int
	weight       int
	// guest on which it is, if it is known to be on one.
	guest string
}

func (t target) address() string { return net.JoinHostPort(t.host, strconv.Itoa(t.port)) }

// url is the target as the router has it.
func (t target) url() string {
	if t.scheme == "" {
		return t.address()
	}
	return t.scheme + "://" + t.address()
}

// ends are all servers of a Route, and what they say of themselves.
type ends struct {
	targets []target
	// roots verify those that bring their own authority; name is what their certificate is for.
	roots []string
	name  string
}

// resolve finds the servers of a Route's backends. Its errors are outcomes: a backend without an address is waited for.
func resolve(ctx context.Context, r *v1alpha1.Route, from *reader) (ends, error) {
	var all ends
	for i := range r.Spec.Backends {
		b := &r.Spec.Backends[i]
		var found []target
		var err error
		switch {
		case b.Guest != nil:
			found, err = guestTargets(ctx, from, b.Guest)
		case b.HostService != nil:
			found, err = all.serviceTargets(ctx, from, b.HostService)
		case b.Stack != nil:
			found, err = stackTargets(ctx, from, b.Stack)
		default:
			found, err = urlTargets(b.URL)
		}
		if err != nil {
			return ends{}, fmt.Errorf("backends[%d]: %w", i, err)
		}
		for _, t := range found {
			t.weight = 1
			if b.Weight != nil {
				t.weight = int(*b.Weight)
			}
			t.scheme = cmp.Or(t.scheme, schemeOf(r.Spec.Protocol))
			if r.Spec.TCP != nil {
				t.scheme = ""
			}
			all.targets = append(all.targets, t)
		}
	}
	return all, nil
}

func schemeOf(p v1alpha1.RouteProtocol) string {
	return strings.ToLower(string(cmp.Or(p, v1alpha1.ProtocolHTTP)))
}

// noAddress says what a backend waits for.
func noAddress(format string, values ...any) error {
	return reconcile.Wait(NoBackendAddressReason, missingFor, fmt.Errorf(format, values...))
}

// at is the address of a Guest that a backend is on.
func at(ctx context.Context, from *reader, name string) (string, error) {
	g, found, err := from.guest(ctx, name)
	switch {
	case err != nil:
		return "", err
	case !found:
		return "", noAddress("waiting for Guest/%s: not found", name)
	case addressOf(g) == "":
		return "", noAddress("waiting for Guest/%s: it has no address yet", name)
	}
	return addressOf(g), nil
}

func guestTargets(ctx context.Context, from *reader, b *v1alpha1.RouteGuestBackend) ([]target, error) {
	host, err := at(ctx, from, b.Name)
	return []target{{name: "Guest/" + b.Name, host: host, port: int(b.Port), guest: b.Name}}, err
}

// serviceTargets finds a HostService. A Portainer and an authority bring what they are verified with.
func (e *ends) serviceTargets(ctx context.Context, from *reader, b *v1alpha1.RouteServiceBackend) ([]target, error) {
	s, found, err := from.service(ctx, b.Name)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, noAddress("waiting for HostService/%s: not found", b.Name)
	}
	t := target{name: "HostService/" + b.Name, port: int(b.Port)}
	switch {
	case s.Spec.Portainer != nil:
		t.scheme, t.port = "https", cmp.Or(t.port, int(s.Spec.Portainer.Port), defaultPortainer)
		if s.Status.Portainer == nil {
			return nil, noAddress("waiting for HostService/%s: it does not serve yet", b.Name)
		}
		e.trust(s.Status.Portainer.CABundle, s.Status.Portainer.ServerName)
	case s.Spec.StepCA != nil:
		t.scheme, t.port = "https", cmp.Or(t.port, int(s.Spec.StepCA.Port), defaultAuthority)
		if s.Status.StepCA == nil || s.Status.StepCA.CABundle == "" {
			return nil, noAddress("waiting for HostService/%s: it has no root yet", b.Name)
		}
		e.trust(s.Status.StepCA.CABundle, "")
	case t.port == 0:
		return nil, reconcile.Stall(InvalidReason, fmt.Errorf("hostService: set port: HostService/%s has no usual one", b.Name))
	}
	if s.Spec.GuestRef != nil {
		t.guest = s.Spec.GuestRef.Name
		t.host, err = at(ctx, from, t.guest)
		return []target{t}, err
	}
	if s.Spec.HostRef == nil {
		return nil, noAddress("waiting for HostService/%s: it has no machine", b.Name)
	}
	h, _, err := from.host(ctx, s.Spec.HostRef.Name)
	if err != nil {
		return nil, err
	}
	if t.host = nodeAddress(s, h); t.host == "" {
		return nil, noAddress("waiting for Host/%s: the address of its node is not known: declare it under ssh.nodes", s.Spec.HostRef.Name)
	}
	return []target{t}, nil
}

// trust adds what servers are verified with.
func (e *ends) trust(roots, name string) {
	if roots != "" && !slices.Contains(e.roots, roots) {
		e.roots = append(e.roots, roots)
	}
	e.name = cmp.Or(e.name, name)
}

// stackTargets finds where a service of a DockerStack is published: once for each of its containers.
func stackTargets(ctx context.Context, from *reader, b *v1alpha1.RouteStackBackend) ([]target, error) {
	s := &v1alpha1.DockerStack{}
	found, err := from.get(ctx, "DockerStack", b.Name, s)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, noAddress("waiting for DockerStack/%s: not found", b.Name)
	}
	guest, err := engineOf(ctx, from, s)
	if err != nil {
		return nil, err
	}
	host, err := at(ctx, from, guest)
	if err != nil {
		return nil, err
	}
	ports, err := publishedBy(s, b, host)
	if err != nil {
		return nil, err
	}
	var targets []target
	for _, port := range ports {
		targets = append(targets, target{name: "DockerStack/" + b.Name + " " + b.Service, host: host, port: port, guest: guest})
	}
	return targets, nil
}

// engineOf is the Guest with the engine of a stack.
func engineOf(ctx context.Context, from *reader, s *v1alpha1.DockerStack) (string, error) {
	e := s.Spec.Environment
	if e.AgentRef == nil {
		return "", reconcile.Stall(NoServiceReason, fmt.Errorf(
			"DockerStack/%s runs in environment %s of Portainer, which Phoenix did not make, so that its machine is not known: name the guest and the port, or a url",
			s.Name, e.Name))
	}
	agent, found, err := from.service(ctx, e.AgentRef.Name)
	if err != nil {
		return "", err
	}
	if !found || agent.Spec.GuestRef == nil {
		return "", noAddress("waiting for HostService/%s: not found", e.AgentRef.Name)
	}
	return agent.Spec.GuestRef.Name, nil
}

// publishedBy are the ports at which a service is reached on its engine's machine.
func publishedBy(s *v1alpha1.DockerStack, b *v1alpha1.RouteStackBackend, host string) ([]int, error) {
	i := slices.IndexFunc(s.Status.Services, func(service v1alpha1.StackService) bool { return service.Name == b.Service })
	if i < 0 || s.Status.Services[i].State == "" {
		if i < 0 && meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.DeployedCondition) {
			return nil, noService("DockerStack/%s has no service %s: it has %s", s.Name, b.Service, strings.Join(namesOf(s), ", "))
		}
		return nil, noAddress("waiting for DockerStack/%s: %s does not run yet", s.Name, b.Service)
	}
	ports, targets := portsOf(s.Status.Services[i], b.Port, host)
	switch {
	case len(targets) > 1:
		return nil, noService("service %s of DockerStack/%s publishes more than one port: set port to the one within the container", b.Service, s.Name)
	case len(ports) == 0 && s.Status.Services[i].State != "running":
		return nil, noAddress("waiting for DockerStack/%s: %s is %s", s.Name, b.Service, s.Status.Services[i].State)
	case len(ports) == 0 && b.Port != 0:
		return nil, noService("service %s of DockerStack/%s does not publish its port %d at %s: add it to ports of the compose text", b.Service, s.Name, b.Port, host)
	case len(ports) == 0:
		return nil, noService("service %s of DockerStack/%s publishes no port at %s: add one to ports of the compose text", b.Service, s.Name, host)
	}
	return ports, nil
}

// portsOf are the ports at which a service is reached at an address, and which of the container they are.
func portsOf(service v1alpha1.StackService, port int32, host string) (ports, targets []int) {
	for _, p := range service.Ports {
		if p.Protocol != "tcp" || port != 0 && p.Target != port || p.Address != "" && p.Address != host {
			continue
		}
		if !slices.Contains(targets, int(p.Target)) {
			targets = append(targets, int(p.Target))
		}
		if !slices.Contains(ports, int(p.Published)) {
			ports = append(ports, int(p.Published))
		}
	}
	return ports, targets
}

func noService(format string, values ...any) error {
	return reconcile.Stall(NoServiceReason, fmt.Errorf(format, values...))
}

func namesOf(s *v1alpha1.DockerStack) []string {
	names := []string{}
	for _, service := range s.Status.Services {
		names = append(names, service.Name)
	}
	return names
}

// urlTargets reads the address of something that is not ours.
func urlTargets(text string) ([]target, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return nil, reconcile.Stall(InvalidReason, fmt.Errorf("url %.64q is none", text))
	}
	t := target{name: u.Scheme + "://" + u.Host, scheme: u.Scheme, host: strings.ToLower(u.Hostname()), port: defaultPlainPort}
	if u.Scheme == "https" {
		t.port = defaultSecurePort
	}
	if u.Port() != "" {
		if t.port, err = strconv.Atoi(u.Port()); err != nil || t.port < 1 || t.port > 65535 {
			return nil, reconcile.Stall(InvalidReason, fmt.Errorf("url %.64q has no port from 1 to 65535", text))
		}
	}
	return []target{t}, nil
}
