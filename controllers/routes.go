// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/route"
	"github.com/phoenix-hypervisor/phoenix/internal/pin"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// routesAtOnce is how many Routes are worked on at the same time. They wait for machines nearly all of the time, and what they
// write travels together: the more there are, the fewer reloads.
const routesAtOnce = 512

func newRoute() *v1alpha1.Route { return &v1alpha1.Route{} }

// routes registers the kind Route, and returns what sets its loop up once every kind is in the graph.
func (h *house) routes() (setup func() error, err error) {
	bell := newBell(func() client.Object { return newRoute() })
	kind := route.New(route.Config{
		Client: h.mgr.GetClient(), Machine: h.guestMachine, Wake: bell.ring, Interval: h.opts.RouteInterval, Clock: h.opts.Clock,
		Served: func(ctx context.Context, address, serverName string) ([]*x509.Certificate, error) {
			return pin.Served(ctx, h.opts.Dial, address, serverName)
		},
	})
	for index, values := range map[string]client.IndexerFunc{route.ByHost: route.HostsOf, route.ByTarget: route.TargetsOf} {
		if err := h.mgr.GetFieldIndexer().IndexField(context.Background(), newRoute(), index, values); err != nil {
			return nil, fmt.Errorf("index Routes by %s: %w", index, err)
		}
	}
	if err := errors.Join(h.mgr.Add(kind), h.mgr.Add(bell)); err != nil {
		return nil, fmt.Errorf("add to manager: %w", err)
	}
	reconcile.Register(h.graph, "Route", kind, newRoute, func() client.ObjectList { return &v1alpha1.RouteList{} })
	return func() error {
		if err := errors.Join(h.hearRoutes(kind, bell), h.hearBackends(kind, bell)); err != nil {
			return err
		}
		return loop(h, "Route", kind, newRoute, h.opts.RouteInterval).Setup(h.mgr, reconcile.SetupOptions{
			Concurrency: max(routesAtOnce, h.opts.Concurrency), Outside: bell.events,
		})
	}, nil
}

// hear calls a function for every change of the objects of a kind; of one that was not there, or is not any more, one of the
// two is nil.
func hear[T client.Object](h *house, kind string, empty T, changed func(before, after T)) error {
	informer, err := h.mgr.GetCache().GetInformer(context.Background(), empty, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch %s objects: %w", kind, err)
	}
	of := func(o any) T {
		if last, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
			o = last.Obj
		}
		obj, _ := o.(T)
		return obj
	}
	var none T
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { changed(none, of(o)) },
		UpdateFunc: func(before, after any) { changed(of(before), of(after)) },
		DeleteFunc: func(o any) { changed(of(o), none) },
	})
	if err != nil {
		return fmt.Errorf("watch %s objects: %w", kind, err)
	}
	return nil
}

// hearRoutes has those Routes looked at again that have a host in common with one that comes, changes or goes. A reference from
// every Route to every other would have all of them looked at for each.
func (h *house) hearRoutes(kind *route.Kind, bell *bell) error {
	return hear(h, "Route", newRoute(), func(before, after *v1alpha1.Route) {
		one := after
		if after == nil {
			one = before
			kind.Forget(client.ObjectKeyFromObject(one))
		}
		hosts, targets := route.Neighbours(before, after)
		for index, values := range map[string][]string{route.ByHost: hosts, route.ByTarget: targets} {
			for _, value := range values {
				h.ringRoutes(bell, one, index, value)
			}
		}
	})
}

// ringRoutes has the Routes with a value in an index looked at again, but for the one that changed.
func (h *house) ringRoutes(bell *bell, changed *v1alpha1.Route, index, value string) {
	var others v1alpha1.RouteList
	err := h.mgr.GetCache().List(context.Background(), &others, client.InNamespace(changed.Namespace), client.MatchingFields{index: value}, client.UnsafeDisableDeepCopy)
	if err != nil { // their own interval brings them back
		log.Log.Error(err, "find the Routes beside one that changed", "index", index, "value", value)
		return
	}
	for i := range others.Items {
		if others.Items[i].Name != changed.Name {
			bell.ring(client.ObjectKeyFromObject(&others.Items[i]))
		}
	}
}

// hearBackends has Routes follow what they depend on without naming it: the Guest behind a stack or a service, the node of a
// Host, the Certificate of a gateway's server.
func (h *house) hearBackends(kind *route.Kind, bell *bell) error {
	ring := func(of string, name types.NamespacedName) {
		for _, user := range kind.Users(of, name) {
			bell.ring(user)
		}
	}
	return errors.Join(
		hear(h, "Guest", newGuest(), func(before, after *v1alpha1.Guest) {
			if before == nil || after == nil || before.Generation != after.Generation ||
				!slices.Equal(before.Status.Addresses, after.Status.Addresses) {
				ring("Guest", nameOfEither(before, after))
			}
		}),
		hear(h, "Host", newHost(), func(before, after *v1alpha1.Host) {
			if before == nil || after == nil || before.Generation != after.Generation {
				ring("Host", nameOfEither(before, after))
			}
		}),
		hear(h, "HostService", newHostService(), func(before, after *v1alpha1.HostService) {
			if before == nil || after == nil || before.Generation != after.Generation {
				ring("HostService", nameOfEither(before, after))
			}
		}),
		hear(h, "Certificate", newCertificate(), func(before, after *v1alpha1.Certificate) {
			if before == nil || after == nil || before.Generation != after.Generation {
				ring("Certificate", nameOfEither(before, after))
			}
		}),
	)
}

// nameOfEither is the name of an object that was there, or is.
func nameOfEither[T interface {
	comparable
	client.Object
}](before, after T) types.NamespacedName {
	var none T
	if after != none {
		return client.ObjectKeyFromObject(after)
	}
	return client.ObjectKeyFromObject(before)
}
