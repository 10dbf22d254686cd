// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
)

var phoenix = types.NamespacedName{Namespace: "ns", Name: "phoenix"}

// guestOn is a Guest of a Host with the VMIDs of its spec and status; 0 is none.
func guestOn(namespace, host, name string, spec, status int32) *v1alpha1.Guest {
	g := &v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	g.Spec.HostRef.Name = host
	if spec != 0 {
		g.Spec.VMID = ptr.To(spec)
	}
	if status != 0 {
		g.Status.VMID = ptr.To(status)
	}
	return g
}

// readerOf is a cache with the Guests and the index.
func readerOf(t *testing.T, guests ...client.Object) client.Client {
	t.Helper()
	scheme, err := Scheme()
	if err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(guests...).WithIndex(&v1alpha1.Guest{}, byHost, hostOf).Build()
}

// startRelay runs a relay until the test ends.
func startRelay(t *testing.T, reader client.Reader) *relay {
	t.Helper()
	r := newRelay(reader)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run the relay: %v", err)
		}
	})
	return r
}

// next is the name of the object of the next event.
func next(t *testing.T, events <-chan event.GenericEvent) string {
	t.Helper()
	select {
	case e := <-events:
		return e.Object.GetNamespace() + "/" + e.Object.GetName()
	case <-time.After(20 * time.Second):
		t.Fatal("no event came")
		return ""
	}
}

func TestRelay(t *testing.T) {
	r := startRelay(t, readerOf(t,
		guestOn("ns", "phoenix", "declared", 101, 0),
		guestOn("ns", "phoenix", "allocated", 0, 10000),
		guestOn("ns", "phoenix", "untouched", 102, 102),
		guestOn("ns", "other", "of-another-host", 101, 101),
		guestOn("elsewhere", "phoenix", "of-another-namespace", 101, 101),
	))
	r.tell(phoenix, []int{101, 10000, 4711})
	if got := next(t, r.hosts); got != "ns/phoenix" {
		t.Errorf("event for Host %s, want ns/phoenix: its counts may differ", got)
	}
	got := []string{next(t, r.guests), next(t, r.guests)}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"ns/allocated", "ns/declared"}, got); diff != "" {
		t.Errorf("events for Guests (-want +got):\n%s", diff)
	}
	r.tell(phoenix, []int{102})
	next(t, r.hosts)
	if got := next(t, r.guests); got != "ns/untouched" {
		t.Errorf("event for Guest %s, want ns/untouched: nothing else is left over from before", got)
	}
}

func TestRelayCallsThoseThatWaitForRoom(t *testing.T) {
	var objects []client.Object
	for i := range atOnce + 2 {
		g := guestOn("ns", "phoenix", fmt.Sprintf("g%02d", i), int32(200+i), 0)
		g.CreationTimestamp = metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 100-i, 0, time.UTC)) // the last is the oldest
		g.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ReadyCondition, Status: metav1.ConditionFalse, Reason: guest.BusyReason}}
		objects = append(objects, g)
	}
	objects = append(objects, guestOn("ns", "phoenix", "done", 300, 300))
	oldest := []string{"ns/g09", "ns/g08", "ns/g07", "ns/g06", "ns/g05", "ns/g04", "ns/g03", "ns/g02"}
	for _, tc := range []struct {
		reason  string
		changed []int
		called  int
	}{
		{"one task may have ended, and its room may be of no use to the oldest", []int{300}, 2},
		{"as many as changed, and one more", []int{300, 401, 402}, 4},
		{"not all at once", []int{300, 401, 402, 403, 404, 405, 406, 407, 408, 409}, atOnce},
	} {
		r := startRelay(t, readerOf(t, objects...))
		r.tell(phoenix, tc.changed)
		next(t, r.hosts)
		var got []string
		for range tc.called + 1 {
			got = append(got, next(t, r.guests))
		}
		if diff := cmp.Diff(append([]string{"ns/done"}, oldest[:tc.called]...), got); diff != "" {
			t.Errorf("events (-want +got): the changed one, then the oldest of those that wait: %s\n%s", tc.reason, diff)
		}
		r.tell(phoenix, []int{9999}) // what comes next is of the next change
		next(t, r.hosts)
	}
}

func TestTellDoesNotBlock(t *testing.T) {
	r := newRelay(readerOf(t)) // nobody takes anything from it
	for vmid := range 10000 {
		r.tell(phoenix, []int{vmid})
	}
	if n := len(r.changed[phoenix]); n != 10000 {
		t.Errorf("%d changes are noted, want 10000", n)
	}
}
