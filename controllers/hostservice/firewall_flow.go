// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// flowEnd is one end of a flow: a Guest, a node, or a network. Empty, as the beginning: everybody.
type flowEnd struct{ Guest, Node, CIDR string }

// flow is a connection that one declared object needs of another.
type flow struct {
	From, To flowEnd
	Protocol string
	Port     int
	Why      string
}

// declared are the objects of one Host.
type declared struct {
	host     *v1alpha1.Host
	guests   []v1alpha1.Guest
	services []v1alpha1.HostService // on the Host's nodes and in its Guests
	// farGuests and farServices are those of other Hosts.
	farGuests   []v1alpha1.Guest
	farServices []v1alpha1.HostService
	// routes and stacks of the namespace, whose machines may be anywhere.
	routes []v1alpha1.Route
	stacks []v1alpha1.DockerStack
}

// flowSources say which flows a service needs, one function a service. A service that is not listed needs none.
var flowSources = []func(d declared, s *v1alpha1.HostService, at flowEnd) []flow{dnsmasqFlows, nfsFlows, nginxFlows, stepCAFlows, portainerFlows, agentFlows, traefikFlows}

// flowsOf are the flows that the objects of a Host need of one another, in a fixed order, each once.
func flowsOf(d declared) []flow {
	var flows []flow
	for i := range d.services {
		s := &d.services[i]
		at, ok := placeOf(d.host, s)
		if !ok {
			continue
		}
		for _, source := range flowSources {
			flows = append(flows, source(d, s, at)...)
		}
	}
	flows = append(flows, routeFlows(d)...)
	flows = slices.DeleteFunc(flows, func(f flow) bool { return f.From == f.To })
	slices.SortFunc(flows, func(a, b flow) int {
		return cmp.Or(compareEnds(a.To, b.To), cmp.Compare(a.Why, b.Why), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port),
			compareEnds(a.From, b.From))
	})
	return slices.Compact(flows)
}

func compareEnds(a, b flowEnd) int {
	return cmp.Or(cmp.Compare(a.Guest, b.Guest), cmp.Compare(a.Node, b.Node), cmp.Compare(a.CIDR, b.CIDR))
}

// placeOf is where a service receives; false: that is not clear.
func placeOf(host *v1alpha1.Host, s *v1alpha1.HostService) (flowEnd, bool) {
	switch {
	case s.Spec.GuestRef != nil:
		return flowEnd{Guest: s.Spec.GuestRef.Name}, true
	case s.Spec.Node != "":
		return flowEnd{Node: s.Spec.Node}, true
	case host.Spec.SSH != nil && len(host.Spec.SSH.Nodes) == 1:
		return flowEnd{Node: host.Spec.SSH.Nodes[0].Name}, true
	}
	return flowEnd{}, false
}

func whyOf(s *v1alpha1.HostService, what string) string {
	return fmt.Sprintf("%s of HostService/%s", what, s.Name)
}

// dnsmasqFlows: every Guest may ask for names, and everybody for an address where some are handed out.
func dnsmasqFlows(d declared, s *v1alpha1.HostService, at flowEnd) []flow {
	if s.Spec.Dnsmasq == nil {
		return nil
	}
	var flows []flow
	for _, g := range d.guests {
		for _, protocol := range []string{"tcp", "udp"} {
			flows = append(flows, flow{From: flowEnd{Guest: g.Name}, To: at, Protocol: protocol, Port: 53, Why: whyOf(s, "names")})
		}
	}
	if s.Spec.Dnsmasq.DHCP != nil { // who asks for an address has none yet
		flows = append(flows, flow{To: at, Protocol: "udp", Port: 67, Why: whyOf(s, "addresses")})
	}
	return flows
}

// nfsFlows: the clients of an export may mount it. NFS 4 needs one port.
func nfsFlows(_ declared, s *v1alpha1.HostService, at flowEnd) []flow {
	if s.Spec.NFS == nil {
		return nil
	}
	var flows []flow
	for _, e := range s.Spec.NFS.Exports {
		for _, c := range e.Clients {
			from := flowEnd{CIDR: c.CIDR}
			if c.GuestRef != nil {
				from = flowEnd{Guest: c.GuestRef.Name}
			}
			flows = append(flows, flow{From: from, To: at, Protocol: "tcp", Port: 2049, Why: whyOf(s, "exports")})
		}
	}
	return flows
}

// nginxFlows: everybody may come in, by HTTP and by HTTPS.
func nginxFlows(_ declared, s *v1alpha1.HostService, at flowEnd) []flow {
	if s.Spec.Nginx == nil {
		return nil
	}
	http, https := nginxPorts(s.Spec.Nginx)
	return []flow{
		{To: at, Protocol: "tcp", Port: http, Why: whyOf(s, "HTTP")}, {To: at, Protocol: "tcp", Port: https, Why: whyOf(s, "HTTPS")},
	}
}

// stepCAFlows: the site's machines may ask for certificates.
func stepCAFlows(d declared, s *v1alpha1.HostService, at flowEnd) []flow {
	if s.Spec.StepCA == nil {
		return nil
	}
	var flows []flow
	for _, f := range d.machines() {
		flows = append(flows, flow{From: f, To: at, Protocol: "tcp", Port: caPort(s.Spec.StepCA), Why: whyOf(s, "certificates")})
	}
	return flows
}

// machines are those of the site: every Guest, and the nodes, through which Phoenix may come.
func (d declared) machines() []flowEnd {
	var from []flowEnd
	for _, g := range d.guests {
		from = append(from, flowEnd{Guest: g.Name})
	}
	if d.host.Spec.SSH != nil {
		for _, n := range d.host.Spec.SSH.Nodes {
			for _, address := range ipsOf((target{host: d.host, node: n.Name}).addresses()) {
				from = append(from, flowEnd{CIDR: address})
			}
		}
	}
	return from
}

// portainerFlows: the site's machines may come in: what sends people there by name, and the nodes, through which Phoenix
// comes.
func portainerFlows(d declared, s *v1alpha1.HostService, at flowEnd) []flow {
	if s.Spec.Portainer == nil {
		return nil
	}
	var flows []flow
	for _, f := range d.machines() {
		flows = append(flows, flow{From: f, To: at, Protocol: "tcp", Port: portainerPort(s.Spec.Portainer), Why: whyOf(s, "Portainer")})
	}
	return flows
}

// agentFlows: an agent is for the Guest alone in which its Portainer runs.
func agentFlows(d declared, s *v1alpha1.HostService, at flowEnd) []flow {
	if s.Spec.PortainerAgent == nil {
		return nil
	}
	services := slices.Concat(d.services, d.farServices)
	i := slices.IndexFunc(services, func(o v1alpha1.HostService) bool { return o.Name == s.Spec.PortainerAgent.PortainerRef.Name })
	if i < 0 || services[i].Spec.Portainer == nil || services[i].Spec.GuestRef == nil {
		return nil
	}
	var flows []flow
	for _, f := range d.ends(services[i].Spec.GuestRef.Name) {
		flows = append(flows, flow{From: f, To: at, Protocol: "tcp", Port: agentPort(s.Spec.PortainerAgent), Why: whyOf(s, "agent")})
	}
	return flows
}

// ends are a Guest of the Host, or the addresses of one of another Host.
func (d declared) ends(guest string) []flowEnd {
	if guestNamed(d.guests, guest) != nil {
		return []flowEnd{{Guest: guest}}
	}
	var ends []flowEnd
	if far := guestNamed(d.farGuests, guest); far != nil {
		for _, address := range addressesOf(far) {
			ends = append(ends, flowEnd{CIDR: address})
		}
	}
	return ends
}
