// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// A control plane that was just made knows no address that a Guest did not declare. A service that went to work with that
// would take away the names, the exports and the rules of Guests that run, and give them back a second later. So one that
// was not in sync in this control plane yet waits until every Guest of which it needs more than is declared was looked at.
// One that was goes on: of a Guest that is new then, nothing can be lost.

// awaitGuests waits for the first of the Guests that matter and were not looked at.
func (k *Kind) awaitGuests(ctx context.Context, s *v1alpha1.HostService, guests []v1alpha1.Guest, matters func(*v1alpha1.Guest) bool) error {
	if !s.DeletionTimestamp.IsZero() || meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ReadyCondition) {
		return nil
	}
	for i := range guests {
		g := &guests[i]
		if !matters(g) || !unseen(g) {
			continue
		}
		away, err := k.hostAway(ctx, g)
		if err != nil {
			return err
		}
		if !away {
			return reconcile.Wait(v1alpha1.DependencyReason, later, fmt.Errorf("waiting for Guest/%s: it was not looked at yet", g.Name))
		}
	}
	return nil
}

// unseen says that it is not known whether a Guest is there, and that it will be: nobody looks at one that is Paused, and of
// one that stalls more is not known soon.
func unseen(g *v1alpha1.Guest) bool {
	if len(g.Status.Addresses) > 0 || g.Spec.Management == v1alpha1.ManagementPaused || meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.StalledCondition) {
		return false
	}
	c := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.RunningCondition)
	return c == nil || c.Status == metav1.ConditionUnknown
}

// hostAway says that a Guest cannot be looked at, as its Host is not there or was tried in vain.
func (k *Kind) hostAway(ctx context.Context, g *v1alpha1.Guest) (bool, error) {
	var host v1alpha1.Host
	err := k.Reader.Get(ctx, types.NamespacedName{Namespace: g.Namespace, Name: g.Spec.HostRef.Name}, &host)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read Host/%s: %w", g.Spec.HostRef.Name, err)
	}
	c := meta.FindStatusCondition(host.Status.Conditions, v1alpha1.ReachableCondition)
	return c != nil && c.Status == metav1.ConditionFalse, nil
}

// answered says of which Guests a dnsmasq service needs more than is declared: of those that it answers and that declare no
// address, and of those with a reservation, which names their MAC address.
func answered(s *v1alpha1.HostService, host string) func(*v1alpha1.Guest) bool {
	reserved := map[string]bool{}
	if s.Spec.Dnsmasq.DHCP != nil {
		for _, r := range s.Spec.Dnsmasq.DHCP.Reservations {
			reserved[r.GuestRef.Name] = true
		}
	}
	published := isTrue(s.Spec.Dnsmasq.PublishGuests, true)
	return func(g *v1alpha1.Guest) bool {
		return reserved[g.Name] || published && g.Spec.HostRef.Name == host && len(declaredAddresses(g)) == 0
	}
}

// mounting says of which Guests an nfs service needs more than is declared: of its clients, which may come from any address
// that they have.
func mounting(s *v1alpha1.HostService) func(*v1alpha1.Guest) bool {
	clients := map[string]bool{}
	for _, e := range s.Spec.NFS.Exports {
		for _, c := range e.Clients {
			if c.GuestRef != nil {
				clients[c.GuestRef.Name] = true
			}
		}
	}
	return func(g *v1alpha1.Guest) bool { return clients[g.Name] }
}

// awaitFlows waits for the Guests that rules let in and that declare no address: those of the Host, and those of other Hosts
// with a Portainer.
func (k *Kind) awaitFlows(ctx context.Context, s *v1alpha1.HostService, d declared) error {
	silent := func(g *v1alpha1.Guest) bool { return len(declaredAddresses(g)) == 0 }
	if err := k.awaitGuests(ctx, s, d.guests, silent); err != nil {
		return err
	}
	manage := map[string]bool{}
	for i := range d.farServices {
		if o := &d.farServices[i]; o.Spec.Portainer != nil && o.Spec.GuestRef != nil {
			manage[o.Spec.GuestRef.Name] = true
		}
	}
	return k.awaitGuests(ctx, s, d.farGuests, func(g *v1alpha1.Guest) bool { return manage[g.Name] && silent(g) })
}
