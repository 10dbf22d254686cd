// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	"github.com/phoenix-hypervisor/phoenix/controllers/hostservice"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// services registers the kind HostService, and returns what sets its loop up once every kind is in the graph.
func (h *house) services() (setup func() error) {
	kind := hostservice.New(hostservice.Config{
		Reader: h.mgr.GetClient(), Writer: h.mgr.GetClient(), Machine: h.serviceMachine, Firewall: h.firewall, Mark: guest.Tag,
		StepCA: h.stepCA, Portainer: h.portainer, Clock: h.opts.Clock,
	})
	reconcile.Register(h.graph, "HostService", kind, newHostService, func() client.ObjectList { return &v1alpha1.HostServiceList{} })
	return func() error {
		names := newBell(func() client.Object { return newHostService() })
		return errors.Join(
			h.mgr.Add(names),
			h.hearNames(names),
			loop(h, "HostService", kind, newHostService, h.opts.HostServiceInterval).Setup(h.mgr, reconcile.SetupOptions{
				Concurrency: min(h.opts.Concurrency, 4), Outside: names.events,
			}),
		)
	}
}

// hearNames has the dnsmasq services looked at again that answer something else once a Route changed, and none for what
// becomes of a Route otherwise: each look is a round trip to a machine.
func (h *house) hearNames(bell *bell) error {
	return hear(h, "Route", newRoute(), func(before, after *v1alpha1.Route) {
		for _, name := range hostservice.Answering(before, after) {
			bell.ring(name)
		}
	})
}
