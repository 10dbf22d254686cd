// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// claim is what a Route finds out about the others that have a host of its own.
type claim struct {
	// taken says why an older one has what this one wants; empty: nobody does.
	taken string
	// shared are hosts that an older one has too, on the same gateway.
	shared []string
}

// claimOf compares a Route with those that have a host in common, on the same gateway or on the same router.
func (k *Kind) claimOf(ctx context.Context, r *v1alpha1.Route) (claim, error) {
	var c claim
	for _, host := range r.Spec.Hosts {
		others, err := k.routesWith(ctx, r.Namespace, ByHost, host)
		if err != nil {
			return claim{}, err
		}
		c.with(r, host, others)
		for _, value := range []string{wildcardOf(host), below(host)} {
			if others, err = k.routesWith(ctx, r.Namespace, ByHost, value); err != nil {
				return claim{}, err
			}
			c.open(r, host, others)
		}
	}
	return c, nil
}

// open takes the Routes above and below a host into account, with which this one meets on the router alone. There a wildcard that
// everybody may ask for leads to what the other gateway keeps for the internal networks: that gateway alone knows the host.
func (c *claim) open(r *v1alpha1.Route, host string, others []v1alpha1.Route) {
	for i := range others {
		o := &others[i]
		if o.Name == r.Name || c.taken != "" || !claims(o) || !older(o, r) || beside(r, o) || !meet(r, o) || r.Spec.TCP != nil || o.Spec.TCP != nil {
			continue
		}
		wild, written := r, o
		if !strings.HasPrefix(host, "*.") {
			wild, written = o, r
		}
		if exposureOf(wild) == v1alpha1.ExposeExternal && exposureOf(written) == v1alpha1.ExposeInternal {
			c.taken = fmt.Sprintf("host %s: Route/%s%s, which is older, exposes it %s: choose another routerRef, or one expose", host, o.Name, wayOf(o), exposureOf(o))
		}
	}
}

// wayOf says how one comes to a Route that is on another gateway.
func wayOf(o *v1alpha1.Route) string {
	return fmt.Sprintf(" on HostService/%s, through HostService/%s", o.Spec.RouterRef.Name, o.Spec.GatewayRef.Name)
}

// exposed says whether the wildcard of another Route lets everybody in to what this one keeps for the internal networks, where
// the gateway does not know this one's hosts: the router alone tells the two apart.
func (k *Kind) exposed(ctx context.Context, r *v1alpha1.Route) (bool, error) {
	if exposureOf(r) != v1alpha1.ExposeInternal {
		return false, nil
	}
	for _, host := range r.Spec.Hosts {
		others, err := k.routesWith(ctx, r.Namespace, ByHost, wildcardOf(host))
		if err != nil {
			return false, err
		}
		for i := range others {
			if o := &others[i]; o.Name != r.Name && exposureOf(o) == v1alpha1.ExposeExternal && beside(r, o) && o.Spec.RouterRef == r.Spec.RouterRef {
				return true, nil
			}
		}
	}
	return false, nil
}

// routesWith lists the Routes with a value in an index. They are the cache's own copies: they are read only.
func (k *Kind) routesWith(ctx context.Context, namespace, index, value string) ([]v1alpha1.Route, error) {
	var list v1alpha1.RouteList
	err := k.Client.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{index: value}, client.UnsafeDisableDeepCopy,
		client.DisableReadYourWritesConsistency) // nothing that we write counts here, and to wait for all of it takes long
	if err != nil {
		return nil, fmt.Errorf("list Routes of %s: %w", value, err)
	}
	return list.Items, nil
}

// with takes the other Routes of a host into account.
func (c *claim) with(r *v1alpha1.Route, host string, others []v1alpha1.Route) {
	for i := range others {
		o := &others[i]
		if o.Name == r.Name || !claims(o) || !older(o, r) || !meet(r, o) {
			continue
		}
		if why := clash(r, o); why != "" && c.taken == "" {
			way := ""
			if !beside(r, o) {
				way = wayOf(o)
			}
			c.taken = fmt.Sprintf("host %s: Route/%s%s, which is older, %s", host, o.Name, way, why)
		}
		if beside(r, o) && !slices.Contains(c.shared, host) {
			c.shared = append(c.shared, host)
		}
	}
}

// claims says whether a Route serves its hosts, or is to: one that is being deleted gives them up, and one that is only
// observed never had them.
func claims(r *v1alpha1.Route) bool { return r.DeletionTimestamp.IsZero() && !observes(r) }

// older orders Routes by age, those of one second by name.
func older(a, b *v1alpha1.Route) bool {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name)) < 0
}

// beside says whether two Routes are on one gateway.
func beside(a, b *v1alpha1.Route) bool { return a.Spec.GatewayRef == b.Spec.GatewayRef }

// meet says whether two Routes are on one gateway or on one router.
func meet(a, b *v1alpha1.Route) bool { return beside(a, b) || a.Spec.RouterRef == b.Spec.RouterRef }

// clash says what an older Route of the same host has that this one cannot have beside it; empty: they go together. The
// gateway goes by the host alone, the router by paths too, and by connections apart from requests; whatever gateway a request
// comes through, the router does not ask.
func clash(r, o *v1alpha1.Route) string {
	beside, passed, passes := beside(r, o), o.Spec.TCP != nil, r.Spec.TCP != nil
	switch {
	case passed != passes && !beside:
		return ""
	case passed:
		return "passes its connections through: choose another host"
	case passes:
		return "serves it over HTTP: choose another host for tcp"
	case o.Spec.RouterRef != r.Spec.RouterRef:
		return fmt.Sprintf("sends it to HostService/%s: Routes of one host need one routerRef", o.Spec.RouterRef.Name)
	case exposureOf(o) != exposureOf(r):
		return fmt.Sprintf("exposes it %s: Routes of one host need one expose", exposureOf(o))
	case beside && o.Spec.TLS != nil && r.Spec.TLS != nil && !sameTLS(o, r):
		return "brings another certificate for it: leave tls away here, or make it the same"
	}
	for _, p := range pathsOf(o) {
		if slices.Contains(pathsOf(r), p) {
			return fmt.Sprintf("serves %s there: choose another path, another host, or a priority", p)
		}
	}
	return ""
}

func exposureOf(r *v1alpha1.Route) v1alpha1.RouteExposure {
	return cmp.Or(r.Spec.Expose, v1alpha1.ExposeInternal)
}

// sameTLS says whether two Routes serve one certificate.
func sameTLS(a, b *v1alpha1.Route) bool {
	return !issues(a) && !issues(b) && referred(a.Spec.TLS.CertificateRef) == referred(b.Spec.TLS.CertificateRef) &&
		referred(a.Spec.TLS.SecretRef) == referred(b.Spec.TLS.SecretRef)
}

func referred(ref *v1alpha1.LocalReference) string {
	if ref == nil {
		return ""
	}
	return ref.Name
}

// place is a path as the router compares it, with its priority.
type place struct {
	kind     v1alpha1.RoutePathType
	value    string
	priority int32
}

// String is how a person says it.
func (p place) String() string {
	text := p.value
	if p.kind != v1alpha1.PathPrefix {
		text = strings.ToLower(string(p.kind)) + " path " + text
	} else if text == "/" {
		text = "all paths"
	}
	return text
}

// pathsOf are the paths of a Route; all, when it declares none. Without a priority longer ones come first, so that those that
// differ never meet.
func pathsOf(r *v1alpha1.Route) []place {
	var priority int32
	if r.Spec.Priority != nil {
		priority = *r.Spec.Priority
	}
	if len(r.Spec.Paths) == 0 {
		return []place{{v1alpha1.PathPrefix, "/", priority}}
	}
	var all []place
	for _, p := range r.Spec.Paths {
		all = append(all, place{cmp.Or(p.Type, v1alpha1.PathPrefix), p.Value, priority})
	}
	return all
}
