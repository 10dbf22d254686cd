// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// TestLoadedSince: a router that cannot read a file takes nothing any more, while its health checks go on.
func TestLoadedSince(t *testing.T) {
	answer := func(router, status string) []byte {
		return fmt.Appendf(nil, `{"routers":{%q:{"status":"enabled"}},"services":{"s@file":{"status":"enabled","serverStatus":{"http://10.0.0.1":%q}}}}`, router, status)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var last loaded
	for i, c := range []struct {
		reason string
		raw    []byte
		since  int
	}{
		{"the first answer", answer("a@file", "UP"), 0},
		{"the same again", answer("a@file", "UP"), 0},
		{"a server that goes down is no change of what is loaded", answer("a@file", "DOWN"), 0},
		{"another router is", answer("b@file", "DOWN"), 3},
		{"and that stays", answer("b@file", "UP"), 3},
	} {
		next, err := last.next(c.raw, at.Add(time.Duration(i)*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if got := int(next.since.Sub(at) / time.Second); got != c.since {
			t.Errorf("%s: it is loaded since second %d, want %d", c.reason, got, c.since)
		}
		last = next
	}
	if next, err := last.next([]byte("no JSON"), at); err == nil {
		t.Errorf("what is no answer says %v", next)
	}
}

func TestSlowWait(t *testing.T) {
	for _, c := range []struct {
		reason      string
		before      int
		least, most time.Duration
	}{
		{"at first", 0, time.Minute, 2 * time.Minute},
		{"again", 1, 2 * time.Minute, 4 * time.Minute},
		{"for the fifth time", 4, 16 * time.Minute, 32 * time.Minute},
		{"for ever", 1000, time.Hour, time.Hour},
	} {
		different := map[time.Duration]bool{}
		for range 50 {
			got := slowWait(c.before)
			if got < c.least || got > c.most {
				t.Errorf("%s: it waits for %s, want %s to %s", c.reason, got, c.least, c.most)
			}
			different[got] = true
		}
		if c.least != c.most && len(different) < 2 {
			t.Errorf("%s: all wait for the same time, and would meet again", c.reason)
		}
	}
}

// TestAnswerServes: no answer is believed for as long as a Route is given until it is put back.
func TestAnswerServes(t *testing.T) {
	for _, c := range []struct {
		reason string
		ask    ask
		want   time.Duration
	}{
		{"a quick answer", ask{took: 20 * time.Millisecond}, runtimeFor},
		{"a long one is not asked for all the time", ask{took: 200 * time.Millisecond}, 600 * time.Millisecond},
		{"one that waited for somebody else's question", ask{took: 4 * time.Second}, runtimeMost},
		{"none at all is no answer", ask{took: 20 * time.Second, err: errors.New("it timed out")}, runtimeFor},
	} {
		if got := c.ask.serves(); got != c.want || got >= pickUpLimit/2 {
			t.Errorf("%s: it serves for %s, want %s", c.reason, got, c.want)
		}
	}
}

// TestLastSight: a manager that is new believes the status until it has looked itself, if all was well with this spec.
func TestLastSight(t *testing.T) {
	for _, c := range []struct {
		reason    string
		published metav1.ConditionStatus
		reachable metav1.ConditionStatus
		publishes bool
		observed  int64
		want      bool
	}{
		{"all was well", metav1.ConditionTrue, metav1.ConditionTrue, true, 2, true},
		{"nobody is to answer the name", metav1.ConditionUnknown, metav1.ConditionTrue, false, 2, true},
		{"somebody is, and does not", metav1.ConditionFalse, metav1.ConditionTrue, true, 2, false},
		{"a backend was away", metav1.ConditionTrue, metav1.ConditionFalse, true, 2, false},
		{"another spec was", metav1.ConditionTrue, metav1.ConditionTrue, true, 1, false},
		{"it was never looked at", "", metav1.ConditionTrue, true, 2, false},
	} {
		r := &v1alpha1.Route{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
		r.Status.ObservedGeneration = c.observed
		for kind, status := range map[string]metav1.ConditionStatus{
			v1alpha1.CertificateMatchesCondition: metav1.ConditionTrue, v1alpha1.PublishedCondition: c.published, v1alpha1.BackendReachableCondition: c.reachable,
		} {
			if status != "" {
				meta.SetStatusCondition(&r.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: "Seen", Message: "as it was"})
			}
		}
		s, ok := lastSight(r, scene{publishes: c.publishes})
		if ok != c.want || ok && s.published.Message != "as it was" {
			t.Errorf("%s: %t %v, want %t", c.reason, ok, s, c.want)
		}
	}
}
