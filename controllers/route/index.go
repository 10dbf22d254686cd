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
	// ByHost are a Route's gateway with each of its hosts.
	ByHost = "spec.hosts"
	// ByTarget are the names that a Route's backends lead to.
	ByTarget = "spec.backends.url"
)

// HostsOf are the values of a Route in the index ByHost.
func HostsOf(o client.Object) []string {
	r := o.(*v1alpha1.Route)
	values := make([]string, 0, len(r.Spec.Hosts))
	for _, host := range r.Spec.Hosts {
		values = append(values, hostKey(r.Spec.GatewayRef.Name, host))
	}
	return values
}

// TargetsOf are the values of a Route in the index ByTarget.
func TargetsOf(o client.Object) []string {
	var values []string
	for _, b := range o.(*v1alpha1.Route).Spec.Backends {
		if u, err := url.Parse(b.URL); err == nil && u.Hostname() != "" {
			values = append(values, strings.ToLower(u.Hostname()))
		}
	}
	return values
}

// hostKey is a host of a gateway.
func hostKey(gateway, host string) string { return gateway + "/" + host }

// Neighbours are what Routes have to hear of when one of them comes, changes or goes: values of ByHost and of ByTarget.
// before and after are the same Route; nil: it was not there, or is not any more. Nothing: nobody has to hear.
func Neighbours(before, after *v1alpha1.Route) (hosts, targets []string) {
	if before != nil && after != nil && before.Generation == after.Generation && before.DeletionTimestamp.IsZero() == after.DeletionTimestamp.IsZero() {
		return nil, nil
	}
	for _, r := range []*v1alpha1.Route{before, after} {
		if r == nil {
			continue
		}
		for i, value := range HostsOf(r) {
			if !slices.Contains(hosts, value) {
				hosts = append(hosts, value)
			}
			if !slices.Contains(targets, r.Spec.Hosts[i]) {
				targets = append(targets, r.Spec.Hosts[i])
			}
		}
	}
	return hosts, targets
}

// wildcardOf is the host with a wildcard that a name fits: *.phoenix.lan of blog.phoenix.lan.
func wildcardOf(name string) string {
	_, above, _ := strings.Cut(name, ".")
	return "*." + above
}
