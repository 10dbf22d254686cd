// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// pace is how long a Guest in sync is left alone: not long where only a look tells of a change, long where the list of all
// guests tells of its power and place, the digests of its configuration, and its addresses do not change by themselves.
func (h *house) pace(g *v1alpha1.Guest) time.Duration {
	if !static(g) || len(g.Spec.NFSMounts) > 0 { // what is inside a VM tells nobody
		return h.opts.GuestInterval
	}
	s, ok := h.connections(types.NamespacedName{Namespace: g.Namespace, Name: g.Spec.HostRef.Name})
	if !ok {
		return h.opts.GuestInterval
	}
	if list, ok := s.API().Snapshot(); !ok || list.DigestsAt.IsZero() {
		return h.opts.GuestInterval
	}
	return h.opts.WatchedInterval
}

// static says whether every address of a Guest is one that its spec names.
func static(g *v1alpha1.Guest) bool {
	for _, n := range g.Spec.Networks {
		v4 := n.IPv4 != nil && n.IPv4.Method == v1alpha1.IPStatic
		v6 := n.IPv6 != nil && n.IPv6.Method == v1alpha1.IPStatic
		if !v4 && !v6 || n.IPv4 != nil && !v4 || n.IPv6 != nil && !v6 {
			return false
		}
	}
	return len(g.Spec.Networks) > 0
}
