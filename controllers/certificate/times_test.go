// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"crypto/x509"
	"fmt"
	"math/big"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// TestRenewalTime goes by the life that was issued.
func TestRenewalTime(t *testing.T) {
	issued := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		reason      string
		life        time.Duration // from when it was issued
		asked       time.Duration
		before      time.Duration
		percentage  int32
		unmarked    bool // nobody knows when it was issued
		first, last time.Duration
		note        bool
	}{
		{reason: "two thirds by default, less the jitter", life: 30 * time.Hour, first: 18*time.Hour + 30*time.Minute, last: 20 * time.Hour},
		{reason: "what was asked for does not count", life: 3 * time.Hour, asked: 300 * time.Hour, first: 111 * time.Minute, last: 2 * time.Hour},
		{reason: "renewBefore", life: 30 * time.Hour, before: 5 * time.Hour, first: 23*time.Hour + 30*time.Minute, last: 25 * time.Hour},
		{reason: "renewBefore as long as the life: two thirds, and it says so", life: 5 * time.Hour, before: 5 * time.Hour, first: 185 * time.Minute, last: 200 * time.Minute, note: true},
		{reason: "renewBefore longer than the life", life: time.Hour, before: 720 * time.Hour, first: 37 * time.Minute, last: 40 * time.Minute, note: true},
		{reason: "backdating does not make a short life long", life: time.Minute, before: 90 * time.Second, first: 36 * time.Second, last: 40 * time.Second, note: true},
		{reason: "a quarter that is left", life: 40 * time.Hour, percentage: 25, first: 28 * time.Hour, last: 30 * time.Hour},
		{reason: "nearly all that is left: jitter does not make it due at once", life: 100 * time.Hour, percentage: 99, first: 54 * time.Minute, last: time.Hour},
		{reason: "nearly all of it before the end", life: 10 * time.Hour, before: 599 * time.Minute, first: 53 * time.Second, last: time.Minute},
		{reason: "one that somebody else had issued counts from its begin", life: 2 * time.Hour, unmarked: true, first: 72 * time.Minute, last: 80 * time.Minute},
	} {
		t.Run(c.reason, func(t *testing.T) {
			obj := &v1alpha1.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: "home", Name: "site"}}
			if c.before != 0 {
				obj.Spec.RenewBefore = &metav1.Duration{Duration: c.before}
			}
			if c.asked != 0 {
				obj.Spec.Duration = &metav1.Duration{Duration: c.asked}
			}
			obj.Spec.RenewBeforePercentage = c.percentage
			seen := map[time.Time]bool{}
			for serial := range int64(200) {
				m := &material{chain: []*x509.Certificate{{SerialNumber: big.NewInt(serial + 1), NotBefore: issued.Add(-time.Minute), NotAfter: issued.Add(c.life)}}}
				if m.marks.At = issued; c.unmarked {
					m.marks.At, m.chain[0].NotBefore = time.Time{}, issued
				}
				at, note := renewal(obj, m)
				if got := at.Sub(issued); got < c.first || got > c.last {
					t.Fatalf("it is renewed after %s, want %s to %s", got, c.first, c.last)
				}
				if (note != "") != c.note {
					t.Fatalf("it says %q", note)
				}
				if again, _ := renewal(obj, m); !again.Equal(at) {
					t.Fatalf("it is renewed at %s, then at %s", at, again)
				}
				seen[at] = true
			}
			if c.last-c.first > time.Minute && len(seen) < 30 {
				t.Errorf("200 certificates are renewed at %d different times", len(seen))
			}
		})
	}
}

// TestPlaces has machines named in the status found again.
func TestPlaces(t *testing.T) {
	for _, p := range []place{{guest: "web"}, {host: "phoenix", node: "pve-1"}} {
		if got, ok := parsePlace(p.String()); !ok || got != p {
			t.Errorf("%s was read as %+v", p, got)
		}
	}
	for _, text := range []string{"", "Guest", "Guest/", "Else/web"} {
		if got, ok := parsePlace(text); ok {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
	any, one, two := place{host: "phoenix"}, place{host: "phoenix", node: "a"}, place{host: "phoenix", node: "b"}
	for _, c := range []struct {
		a, b place
		want bool
	}{{any, one, true}, {one, one, true}, {one, two, false}, {any, place{guest: "phoenix"}, false}} {
		if got := c.a.covers(c.b); got != c.want {
			t.Errorf("%s covers %s: %t", c.a, c.b, got)
		}
	}
}

// TestBackoff doubles from a second to five minutes, for each thing alone, until what it depends on is another.
func TestBackoff(t *testing.T) {
	var m memory
	name, now := nameOf(&v1alpha1.Certificate{}), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	oops := &problem{reason: "Oops", err: fmt.Errorf("oops")}
	want := []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300}
	for i, seconds := range want {
		if p := m.failed(name, "a", "x", now, oops); p.after != seconds*time.Second {
			t.Errorf("failure %d is left alone for %s, want %d s", i+1, p.after, seconds)
		}
	}
	known := m.of(name)
	if p := known.early("a", "x", now.Add(299*time.Second)); p == nil || p.after != time.Second {
		t.Errorf("before its time: %+v", p)
	}
	for reason, p := range map[string]*problem{
		"its time has come":          known.early("a", "x", now.Add(300*time.Second)),
		"it depends on another":      known.early("a", "y", now),
		"nothing failed of the like": known.early("b", "x", now),
	} {
		if p != nil {
			t.Errorf("%s: %+v", reason, p)
		}
	}
	if p := m.failed(name, "a", "y", now, oops); p.after != time.Second {
		t.Errorf("the first failure of another is left alone for %s", p.after)
	}
	m.succeeded(name, "a")
	if len(m.all) != 0 {
		t.Errorf("%v is remembered of what succeeded", m.all)
	}
}
