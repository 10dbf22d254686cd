// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/hostservice"
)

// hearNames has the dnsmasq services looked at again that answer something else once a Route changed, and none for what
// becomes of a Route otherwise: each look is a round trip to a machine.
func (h *house) hearNames(bell *bell) error {
	return hear(h, "Route", newRoute(), func(before, after *v1alpha1.Route) {
		for _, name := range hostservice.Answering(before, after) {
			bell.ring(name)
		}
	})
}
