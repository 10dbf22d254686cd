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
	// ByHost are a Route's hosts.
	ByHost = "spec.hosts"
	// ByTarget are the names that a Route's backends and those who let its clients in are asked by, and the hosts with a
	// wildcard that they fit.
	ByTarget = "spec.backends.url"
)

// HostsOf are the values of a Route in the index ByHost. They name no gateway: Routes meet on their router too.
func HostsOf(o client.Object) []string { return o.(*v1alpha1.Route).Spec.Hosts }

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

// Neighbours are the hosts of a Route that comes, changes or goes, of which others have to hear: those that have one of them in
// ByHost or in ByTarget. before and after are the same Route; nil: it was not there, or is not any more. Nothing: nobody has to
// hear.
func Neighbours(before, after *v1alpha1.Route) []string {
	if before != nil && after != nil && before.Generation == after.Generation && before.DeletionTimestamp.IsZero() == after.DeletionTimestamp.IsZero() {
		return nil
	}
	var hosts []string
	for _, r := range []*v1alpha1.Route{before, after} {
		if r != nil {
			hosts = append(hosts, r.Spec.Hosts...)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// wildcardOf is the host with a wildcard that a name fits: *.phoenix.lan of blog.phoenix.lan.
func wildcardOf(name string) string {
	_, above, _ := strings.Cut(name, ".")
	return "*." + above
}
