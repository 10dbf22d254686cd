// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// TestNewControlPlane: one that knows only what is declared writes nothing to a machine that is as declared, neither before
// the Guests were looked at, nor then.
func TestNewControlPlane(t *testing.T) {
	for name, c := range map[string]struct {
		reason  string
		service func() *v1alpha1.HostService
		kept    func(w *svcWorld) string // what must stay all the time
	}{
		"names": {
			"an address from DHCP is not declared", func() *v1alpha1.HostService { return svcDNS(nil) },
			func(w *svcWorld) string { return w.dig("app.lan A") },
		},
		"reservations": {
			"a MAC address is not declared", func() *v1alpha1.HostService {
				return svcDNS(func(s *v1alpha1.HostService) {
					s.Spec.Dnsmasq.PublishGuests = new(bool)
					s.Spec.Dnsmasq.DHCP = &v1alpha1.DHCP{
						Ranges:       []v1alpha1.DHCPRange{{First: "10.0.0.200", Last: "10.0.0.250"}},
						Reservations: []v1alpha1.DHCPReservation{{GuestRef: v1alpha1.LocalReference{Name: "app"}, Address: "10.0.0.30"}},
					}
				})
			},
			func(w *svcWorld) string {
				return w.shell("grep -c bc:24:11:00:00:01,10.0.0.30 /etc/phoenix/dnsmasq/dns/dhcp-hosts")
			},
		},
		"exports": {
			"a client comes from any address that it has", func() *v1alpha1.HostService { return svcNFS(nil) },
			func(w *svcWorld) string { return w.shell("exportfs -s | grep -c 10.0.0.102/32") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			guest := func(known bool) *v1alpha1.Guest {
				g := svcGuest("app")
				if g.Status = (v1alpha1.GuestStatus{}); known {
					svcLook(g, "10.0.0.102")
					g.Status.Networks = []v1alpha1.GuestNetwork{{Device: "net0", MAC: "BC:24:11:00:00:01"}}
				}
				return g
			}
			w := newSVCWorld(t, nil, guest(true))
			service := c.service()
			w.create(service)
			w.ready(service.Name)
			kept, writes := c.kept(w), w.sim.Writes()

			w.move(guest(false), c.service())
			s := w.until(service.Name, "False DependencyNotReady", "waiting for Guest/app: it was not looked at yet")
			if len(s.Status.Plan) > 0 || w.sim.Writes() != writes || c.kept(w) != kept {
				t.Errorf("%s: %d writes, plan %+v, and %q became %q", c.reason, w.sim.Writes()-writes, s.Status.Plan, kept, c.kept(w))
			}
			g := guest(true)
			if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(g), g); err != nil {
				t.Fatal(err)
			}
			g.Status = guest(true).Status
			if err := w.client.Status().Update(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			w.ready(service.Name)
			if got := c.kept(w); w.sim.Writes() != writes || got != kept || strings.Contains(got, "exit") || got == "" {
				t.Errorf("%s: %d writes, and %q became %q", c.reason, w.sim.Writes()-writes, kept, got)
			}
		})
	}
}

// TestGuestsThatNobodyAwaits: what will not be known soon, or cannot take anything away, keeps no service.
func TestGuestsThatNobodyAwaits(t *testing.T) {
	condition := func(g *v1alpha1.Guest, kind string, status metav1.ConditionStatus) {
		meta.SetStatusCondition(&g.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: "Because"})
	}
	for name, c := range map[string]struct {
		reason string
		edit   func(*v1alpha1.Guest)
		waits  bool
	}{
		"new":       {"it may run with an address that is not known", func(*v1alpha1.Guest) {}, true},
		"doubtful":  {"its Host was away", func(g *v1alpha1.Guest) { condition(g, v1alpha1.RunningCondition, metav1.ConditionUnknown) }, true},
		"absent":    {"there is none", func(g *v1alpha1.Guest) { condition(g, v1alpha1.RunningCondition, metav1.ConditionFalse) }, false},
		"stalled":   {"it takes another spec to know more", func(g *v1alpha1.Guest) { condition(g, v1alpha1.StalledCondition, metav1.ConditionTrue) }, false},
		"paused":    {"nobody looks at it", func(g *v1alpha1.Guest) { g.Spec.Management = v1alpha1.ManagementPaused }, false},
		"elsewhere": {"it is not of this site", func(g *v1alpha1.Guest) { g.Spec.HostRef.Name = "other" }, false},
		"declared": {"its address is known", func(g *v1alpha1.Guest) {
			g.Spec.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.102/24"}}}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := svcGuest("app")
			g.Status = v1alpha1.GuestStatus{}
			c.edit(g)
			w := newSVCWorld(t, []string{"dnsmasq", "bind9-dnsutils"}, g)
			w.create(svcDNS(nil))
			want := "True InSync"
			if c.waits {
				want = "False DependencyNotReady"
			}
			w.until("dns", want, "")
		})
	}
	t.Run("later", func(t *testing.T) {
		w := newSVCWorld(t, nil)
		w.create(svcDNS(nil))
		w.ready("dns")
		g := svcGuest("app")
		g.Status = v1alpha1.GuestStatus{}
		w.create(g)
		w.quiet("dns") // of a Guest that comes later nothing is there that could be taken away
	})
}
