// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/dnsmasq"
)

// The hosts of Routes are answered with the address of their gateway. No reference leads from a dnsmasq service to all Routes:
// each change of any would be a look at its machine. It hears of those alone that change what it answers ([Answering]).

// routed is a Route whose hosts a dnsmasq service answers.
type routed struct {
	route *v1alpha1.Route
	// gateway is the Guest to which its names lead; nil: missing says why.
	gateway *v1alpha1.Guest
	missing string
}

// designNames turns a dnsmasq service into the state of its machine, with the Routes that name it.
func (k *Kind) designNames(ctx context.Context, s *v1alpha1.HostService, t target, guests []v1alpha1.Guest, older []v1alpha1.HostService) (design, error) {
	routes, err := k.routedBy(ctx, s, guests)
	if err != nil {
		return design{}, err
	}
	own := answered(s, t.host.Name)
	matters := func(g *v1alpha1.Guest) bool {
		return own(g) || len(declaredAddresses(g)) == 0 &&
			slices.ContainsFunc(routes, func(r routed) bool { return r.gateway != nil && r.gateway.Name == g.Name })
	}
	if err := k.awaitGuests(ctx, s, guests, matters); err != nil {
		return design{}, err
	}
	return designDnsmasq(s, t, guests, routes, older)
}

// routedBy are the Routes of the namespace that name a dnsmasq service, in the order of their names.
func (k *Kind) routedBy(ctx context.Context, s *v1alpha1.HostService, guests []v1alpha1.Guest) ([]routed, error) {
	var list v1alpha1.RouteList
	if err := k.Reader.List(ctx, &list, client.InNamespace(s.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Routes: %w", err)
	}
	gateways := map[string]routed{}
	var found []routed
	for i := range list.Items {
		r := &list.Items[i]
		if !slices.Contains(answeredBy(r), s.Name) {
			continue
		}
		to, known := gateways[r.Spec.GatewayRef.Name]
		if !known {
			var err error
			if to, err = k.gatewayOf(ctx, r, guests); err != nil {
				return nil, err
			}
			gateways[r.Spec.GatewayRef.Name] = to
		}
		to.route = r
		found = append(found, to)
	}
	slices.SortFunc(found, func(a, b routed) int { return cmp.Compare(a.route.Name, b.route.Name) })
	return found, nil
}

// gatewayOf finds the Guest of a Route's gateway.
func (k *Kind) gatewayOf(ctx context.Context, r *v1alpha1.Route, guests []v1alpha1.Guest) (routed, error) {
	name := r.Spec.GatewayRef.Name
	var gateway v1alpha1.HostService
	err := k.Reader.Get(ctx, types.NamespacedName{Namespace: r.Namespace, Name: name}, &gateway)
	switch {
	case apierrors.IsNotFound(err):
		return routed{missing: "HostService/" + name + " is not there"}, nil
	case err != nil:
		return routed{}, fmt.Errorf("read HostService/%s: %w", name, err)
	case gateway.Spec.Nginx == nil || gateway.Spec.GuestRef == nil:
		return routed{missing: "HostService/" + name + " is no gateway"}, nil
	}
	g := guestNamed(guests, gateway.Spec.GuestRef.Name)
	if g == nil {
		return routed{missing: "Guest/" + gateway.Spec.GuestRef.Name + " is not there"}, nil
	}
	return routed{gateway: g}, nil
}

// addresses are those that the names lead to: the declared ones of the gateway's Guest, or those that it has.
func (r routed) addresses() []string {
	if r.gateway == nil {
		return nil
	}
	if declared := ipsOf(declaredAddresses(r.gateway)); len(declared) > 0 {
		return declared
	}
	return ipsOf(ownAddresses(r.gateway))
}

// still says that nothing is changed for a Route: its names stay as they are.
func (r routed) still() bool {
	return r.route.Spec.Management == v1alpha1.ManagementObserve || r.route.Spec.Management == v1alpha1.ManagementPaused
}

// answeredBy are the dnsmasq services that answer a Route's hosts; none any more once it is being deleted with all that it made.
func answeredBy(r *v1alpha1.Route) []string {
	if r == nil || !r.DeletionTimestamp.IsZero() && cmp.Or(r.Spec.DeletionPolicy, r.DefaultDeletionPolicy()) == v1alpha1.DeletionDelete {
		return nil
	}
	names := make([]string, 0, len(r.Spec.DNSRefs))
	for _, ref := range r.Spec.DNSRefs {
		names = append(names, ref.Name)
	}
	return names
}

// Answering are the dnsmasq services that answer something else once a Route changed. before and after are the same Route;
// nil: it was not there, or is not any more.
func Answering(before, after *v1alpha1.Route) []types.NamespacedName {
	was, is := answeredBy(before), answeredBy(after)
	same := before != nil && after != nil && before.Spec.GatewayRef == after.Spec.GatewayRef && before.Spec.Management == after.Spec.Management &&
		slices.Equal(before.Spec.Hosts, after.Spec.Hosts)
	var changed []types.NamespacedName
	for _, name := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(was, is)))) {
		if same && slices.Contains(was, name) == slices.Contains(is, name) {
			continue
		}
		of := after
		if of == nil {
			of = before
		}
		changed = append(changed, types.NamespacedName{Namespace: of.Namespace, Name: name})
	}
	return changed
}

// publishRoutes answers the hosts of Routes, behind all other names: an address leads back to the first name that it has.
func publishRoutes(config *dnsmasq.Config, routes []routed, d *design) {
	for _, r := range routes {
		source, addresses := "Route/"+r.route.Name, r.addresses()
		if len(addresses) == 0 {
			d.notes = append(d.notes, source+": "+cmp.Or(r.missing, "its gateway has no address yet"))
			continue
		}
		for _, host := range slices.Sorted(slices.Values(r.route.Spec.Hosts)) {
			domain, all := strings.CutPrefix(host, "*.")
			switch {
			case !answerable(config, domain):
				d.notes = append(d.notes, fmt.Sprintf("%s: its host %q is no name that can be answered", source, host))
			case all:
				config.Wildcards = append(config.Wildcards, dnsmasq.Wildcard{Source: source, Rank: rankOf(r.route), Domain: domain, Addresses: addresses})
			default:
				config.Hosts = append(config.Hosts, dnsmasq.Host{Source: source, Rank: rankOf(r.route), Name: host, Addresses: addresses, Agrees: true})
			}
		}
	}
}

// answerable says whether a name can be written, so that one that cannot leaves the others alone.
func answerable(config *dnsmasq.Config, name string) bool {
	_, err := netip.ParseAddr(name)
	return err != nil && hostLabel.MatchString(name) && len(config.Full(name)) <= 253
}

// rankOf is the rank of what an object answers: behind every record, the older ones first.
func rankOf(o client.Object) int {
	return guestRank + int(max(0, o.GetCreationTimestamp().Unix()))
}

// stillAnswered are the Routes with those hosts alone that are answered for them now, as the machine's files have it.
func stillAnswered(routes []routed, at dnsmasqPlaces, contents map[string][]byte) []routed {
	answers := map[[2]string]bool{} // a name and an address
	for line := range strings.Lines(string(contents[at.hosts])) {
		if fields := strings.Fields(line); len(fields) > 1 {
			for _, name := range fields[1:] {
				answers[[2]string{name, fields[0]}] = true
			}
		}
	}
	for line := range strings.Lines(string(contents[at.dropIn])) {
		if rest, found := strings.CutPrefix(line, "address=/*."); found {
			domain, address, _ := strings.Cut(strings.TrimSpace(rest), "/")
			answers[[2]string{"*." + domain, address}] = true
		}
	}
	var kept []routed
	for _, r := range routes {
		one := r.route.DeepCopy()
		one.Spec.Hosts = slices.DeleteFunc(one.Spec.Hosts, func(host string) bool {
			return !slices.ContainsFunc(r.addresses(), func(address string) bool { return answers[[2]string{host, address}] })
		})
		if len(one.Spec.Hosts) > 0 {
			r.route = one
			kept = append(kept, r)
		}
	}
	return kept
}
