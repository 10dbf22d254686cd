// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
)

// relay turns what changed on a site into events for the objects that stand for it. Sites tell it without waiting; what
// they tell twice before it is passed on is passed on once.
type relay struct {
	reader client.Reader
	hosts  chan event.GenericEvent
	guests chan event.GenericEvent
	wake   chan struct{}

	mu      sync.Mutex
	changed map[types.NamespacedName]map[int]bool
}

func newRelay(reader client.Reader) *relay {
	return &relay{
		reader: reader, hosts: make(chan event.GenericEvent), guests: make(chan event.GenericEvent), wake: make(chan struct{}, 1),
		changed: map[types.NamespacedName]map[int]bool{},
	}
}

// tell notes that guests of a Host changed outside. It does not block.
func (r *relay) tell(host types.NamespacedName, vmids []int) {
	r.mu.Lock()
	if r.changed[host] == nil {
		r.changed[host] = map[int]bool{}
	}
	for _, vmid := range vmids {
		r.changed[host][vmid] = true
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// NeedLeaderElection says that only the leader has something to pass on.
func (r *relay) NeedLeaderElection() bool { return true }

// Start passes on what changed until the context ends.
func (r *relay) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		}
		r.mu.Lock()
		changed := r.changed
		r.changed = map[types.NamespacedName]map[int]bool{}
		r.mu.Unlock()
		for host, vmids := range changed {
			if err := r.pass(ctx, host, vmids); err != nil && ctx.Err() == nil {
				// The next drift interval finds what was not passed on.
				log.FromContext(ctx).Error(err, "find the objects of changed guests", "host", host.String())
			}
		}
	}
}

// atOnce bounds how many Guests that wait for room are looked at again when guests change: one for each, as a task of it
// may have ended, and one more, as not every room is of use to everyone.
const atOnce = 8

// pass sends an event for the Host, whose counts may differ, for every Guest that has or wants one of the VMIDs, and for
// those that have waited longest for room to begin a task.
func (r *relay) pass(ctx context.Context, host types.NamespacedName, vmids map[int]bool) error {
	about := metav1.ObjectMeta{Namespace: host.Namespace, Name: host.Name}
	if err := send(ctx, r.hosts, &v1alpha1.Host{ObjectMeta: about}); err != nil {
		return err
	}
	guests, err := guestsOf(ctx, r.reader, host)
	if err != nil {
		return err
	}
	for _, g := range slices.Concat(having(guests, vmids), waiting(guests, min(len(vmids)+1, atOnce))) {
		if err := send(ctx, r.guests, g); err != nil {
			return err
		}
	}
	return nil
}

// having are the Guests that have or want one of the VMIDs.
func having(guests []v1alpha1.Guest, vmids map[int]bool) []*v1alpha1.Guest {
	var found []*v1alpha1.Guest
	for i := range guests {
		ids := []*int32{guests[i].Status.VMID, guests[i].Spec.VMID}
		if slices.ContainsFunc(ids, func(id *int32) bool { return id != nil && vmids[int(*id)] }) {
			found = append(found, &guests[i])
		}
	}
	return found
}

// waiting are the oldest of the Guests that wait for room.
func waiting(guests []v1alpha1.Guest, most int) []*v1alpha1.Guest {
	var found []*v1alpha1.Guest
	for i := range guests {
		ready := meta.FindStatusCondition(guests[i].Status.Conditions, v1alpha1.ReadyCondition)
		if ready != nil && ready.Reason == guest.BusyReason {
			found = append(found, &guests[i])
		}
	}
	slices.SortStableFunc(found, func(a, b *v1alpha1.Guest) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	return found[:min(len(found), most)]
}

func send(ctx context.Context, to chan<- event.GenericEvent, obj client.Object) error {
	select {
	case to <- event.GenericEvent{Object: obj}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// hostOf is the value of a Guest in the index byHost.
func hostOf(o client.Object) []string { return []string{o.(*v1alpha1.Guest).Spec.HostRef.Name} }

// guestsOf lists the Guests that name a Host.
func guestsOf(ctx context.Context, reader client.Reader, host types.NamespacedName) ([]v1alpha1.Guest, error) {
	var list v1alpha1.GuestList
	if err := reader.List(ctx, &list, client.InNamespace(host.Namespace), client.MatchingFields{byHost: host.Name}); err != nil {
		return nil, fmt.Errorf("list Guests of Host/%s: %w", host.Name, err)
	}
	return list.Items, nil
}

// servicesOf lists the HostServices that run on a Host or in one of its Guests.
func servicesOf(ctx context.Context, reader client.Reader, host types.NamespacedName) ([]v1alpha1.HostService, error) {
	guests, err := guestsOf(ctx, reader, host)
	if err != nil {
		return nil, err
	}
	var list v1alpha1.HostServiceList
	if err := reader.List(ctx, &list, client.InNamespace(host.Namespace)); err != nil {
		return nil, fmt.Errorf("list HostServices: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(s v1alpha1.HostService) bool {
		if on := s.Spec.HostRef; on != nil {
			return on.Name != host.Name
		}
		return !slices.ContainsFunc(guests, func(g v1alpha1.Guest) bool { return s.Spec.GuestRef != nil && g.Name == s.Spec.GuestRef.Name })
	}), nil
}
