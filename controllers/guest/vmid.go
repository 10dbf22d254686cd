// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const (
	firstVMID, lastVMID = 10000, 10999
	// reservationLife bridges the time until a reservation in a Guest's status is seen by all workers.
	reservationLife = time.Minute
)

// reservations keep two workers from choosing the same VMID at the same time.
type reservations struct {
	clock clock.PassiveClock

	mu    sync.Mutex
	hosts map[types.NamespacedName]*hostReservations
}

type hostReservations struct {
	mu  sync.Mutex
	ids map[int]reservation
}

type reservation struct {
	guest types.NamespacedName
	at    time.Time
}

func newReservations(c clock.PassiveClock) *reservations {
	return &reservations{clock: c, hosts: map[types.NamespacedName]*hostReservations{}}
}

func (r *reservations) of(host types.NamespacedName) *hostReservations {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, ok := r.hosts[host]
	if !ok {
		h = &hostReservations{ids: map[int]reservation{}}
		r.hosts[host] = h
	}
	return h
}

// drop forgets what was chosen for a guest, so that the next choice is another one.
func (r *reservations) drop(host, guest types.NamespacedName) {
	h := r.of(host)
	h.mu.Lock()
	defer h.mu.Unlock()
	for vmid, res := range h.ids {
		if res.guest == guest {
			delete(h.ids, vmid)
		}
	}
}

// choose returns the lowest free VMID of the Host's range: free in Proxmox, not named by any other Guest of the Host, and
// not chosen for another Guest within the last minute. The same Guest gets the same one while it stays free. It waits while
// a guest of the range is being made that nobody is known to have begun: after a loss of the status it may be this one's.
func (k *Kind) choose(ctx context.Context, g *v1alpha1.Guest, host *v1alpha1.Host, seen *Seen) (int, error) {
	named, err := k.named(ctx, g)
	if err != nil {
		return 0, err
	}
	first, last := firstVMID, lastVMID
	if r := host.Spec.VMIDRange; r != nil {
		first, last = int(r.First), int(r.Last)
	}
	self := client.ObjectKeyFromObject(g)
	h := k.reserved.of(client.ObjectKeyFromObject(host))
	h.mu.Lock()
	defer h.mu.Unlock()
	now := k.Clock.Now()
	for vmid, res := range h.ids {
		if now.Sub(res.at) > reservationLife {
			delete(h.ids, vmid)
		}
	}
	taken := func(vmid int) bool {
		res, chosen := h.ids[vmid]
		return named[vmid] || chosen && res.guest != self
	}
	for _, vmid := range slices.Sorted(maps.Keys(seen.list.Guests)) {
		if vmid >= first && vmid <= last && !taken(vmid) && unclaimed(seen.list.Guests[vmid], g) {
			return 0, reconcile.Wait(CreatingReason, shortly, fmt.Errorf(
				"%s %d is being made and does not say yet for whom: it may be for this object, whose status was lost", noun(g.Spec.Type), vmid))
		}
	}
	vmid, err := seen.site.Reader.FreeVMID(ctx, first, last, taken)
	if errors.Is(err, proxmox.ErrRangeExhausted) {
		return 0, reconcile.Fail(RangeExhaustedReason, fmt.Errorf(
			"choose a VMID: %w: widen vmidRange of Host/%s, or set spec.vmid", err, host.Name))
	}
	if err != nil {
		return 0, fmt.Errorf("choose a VMID: %w", failure(err))
	}
	h.ids[vmid] = reservation{guest: self, at: now}
	return vmid, nil
}

// unclaimed says that a guest like this one is being made and bears no mark yet.
func unclaimed(r proxmox.Resource, g *v1alpha1.Guest) bool {
	return inTheMaking(r.Lock) && r.Type == driverType(g.Spec.Type) && !slices.ContainsFunc(r.Tags, markTag.MatchString)
}

// named are the VMIDs that other Guests of the same Host ask for or have.
func (k *Kind) named(ctx context.Context, g *v1alpha1.Guest) (map[int]bool, error) {
	var all v1alpha1.GuestList
	if err := k.Reader.List(ctx, &all, client.InNamespace(g.Namespace)); err != nil {
		return nil, fmt.Errorf("list guests: %w", err)
	}
	ids := map[int]bool{}
	for i := range all.Items {
		other := &all.Items[i]
		if other.Name == g.Name || other.Spec.HostRef != g.Spec.HostRef {
			continue
		}
		for _, id := range []*int32{other.Spec.VMID, other.Status.VMID} {
			if id != nil {
				ids[int(*id)] = true
			}
		}
	}
	return ids, nil
}
