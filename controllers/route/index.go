// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"net/url"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// The indexes of Routes that Config.Client must know.
const (
	// ByHost are a Route's hosts, and of each the wildcard that it is below.
	ByHost = "spec.hosts"
	// ByTarget are the names that a Route's backends and those who let its clients in are asked by, and the hosts with a
	// wildcard that they fit.
	ByTarget = "spec.backends.url"
)

// HostsOf are the values of a Route in the index ByHost. They name no gateway: Routes meet on their router too.
func HostsOf(o client.Object) []string {
	var values []string
	for _, host := range o.(*v1alpha1.Route).Spec.Hosts {
		values = append(values, host)
		if above := wildcardOf(host); above != host {
			values = append(values, below(above))
		}
	}
	return values
}

// below is the value of those in ByHost that have a host which a wildcard is for too.
func below(wildcard string) string { return "below " + wildcard }

// TargetsOf are the values of a Route in the index ByTarget.
func TargetsOf(o client.Object) []string {
	r := o.(*v1alpha1.Route)
	var values []string
	for _, text := range append(authURLsOf(r), backendURLsOf(r)...) {
		if u, err := url.Parse(text); err == nil && u.Hostname() != "" {
			name := strings.ToLower(u.Hostname())
			values = append(values, name, wildcardOf(name))
		}
	}
	return values
}

func backendURLsOf(r *v1alpha1.Route) []string {
	var all []string
	for _, b := range r.Spec.Backends {
		all = append(all, b.URL)
	}
	return all
}

// authURLsOf are the servers that are asked whether requests may pass.
func authURLsOf(r *v1alpha1.Route) []string {
	var all []string
	for _, m := range r.Spec.Middlewares {
		if m.ForwardAuth != nil {
			all = append(all, m.ForwardAuth.URL)
		}
	}
	return all
}

// Neighbours are what Routes have to hear of when one of them comes, changes or goes: values of ByHost, those of its hosts and of
// what is above and below them, and of ByTarget. before and after are the same Route; nil: it was not there, or is not any more.
// Nothing: nobody has to hear.
func Neighbours(before, after *v1alpha1.Route) (hosts, targets []string) {
	if before != nil && after != nil && before.Generation == after.Generation && before.DeletionTimestamp.IsZero() == after.DeletionTimestamp.IsZero() {
		return nil, nil
	}
	for _, r := range []*v1alpha1.Route{before, after} {
		if r == nil {
			continue
		}
		for _, host := range r.Spec.Hosts {
			hosts, targets = append(hosts, host, wildcardOf(host), below(host)), append(targets, host)
		}
	}
	slices.Sort(hosts)
	slices.Sort(targets)
	return slices.Compact(hosts), slices.Compact(targets)
}

// wildcardOf is the host with a wildcard that a name fits: *.phoenix.lan of blog.phoenix.lan.
func wildcardOf(name string) string {
	_, above, _ := strings.Cut(name, ".")
	return "*." + above
}
