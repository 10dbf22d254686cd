// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	"github.com/phoenix-hypervisor/phoenix/controllers/hostservice"
	"github.com/phoenix-hypervisor/phoenix/internal/firewall"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

func accept(ports string) v1alpha1.FirewallRule {
	return v1alpha1.FirewallRule{Action: v1alpha1.FirewallAccept, Protocol: "tcp", Ports: ports}
}

// site declares all three levels.
func site(s *v1alpha1.HostServiceSpec) {
	s.Firewall.Datacenter = &v1alpha1.FirewallDatacenter{
		Enabled: fwPtr(true), PolicyIn: v1alpha1.FirewallDrop,
		Aliases: []v1alpha1.FirewallAlias{{Name: "office", Address: "10.0.0.0/24"}},
		IPSets:  []v1alpha1.FirewallIPSet{{Name: "admins", Entries: []v1alpha1.FirewallEntry{{Address: "10.0.0.50"}, {GuestRef: &v1alpha1.LocalReference{Name: "nginx"}}}}},
		Rules: []v1alpha1.FirewallRule{
			{Action: v1alpha1.FirewallAccept, Macro: "ssh", Source: &v1alpha1.FirewallPeer{IPSet: "admins"}},
			{Action: v1alpha1.FirewallAccept, Protocol: "tcp", Ports: "8006", Source: &v1alpha1.FirewallPeer{Alias: "office"}},
		},
	}
	s.Firewall.Nodes = []v1alpha1.FirewallNode{{Name: "phoenix", Rules: []v1alpha1.FirewallRule{accept("9100")}}}
	s.Firewall.Guests = []v1alpha1.FirewallGuest{{Name: "nginx", Enabled: fwPtr(true), PolicyIn: v1alpha1.FirewallDrop, Rules: []v1alpha1.FirewallRule{accept("443")}}}
}

// TestFirewallKeepsWhatIsNotLookedAtYet: statuses are lost, as when a repository is applied to a new cluster. The guests
// are there, and keep their rules although no Guest has been looked at.
func TestFirewallKeepsWhatIsNotLookedAtYet(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	var h v1alpha1.Host
	var g v1alpha1.Guest
	for name, obj := range map[string]client.Object{"home": &h, "nginx": &g} {
		if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: fwNamespace, Name: name}, obj); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.sim.SetConfig(101, "tags", guest.Tag(&h, &g)); err != nil {
		t.Fatal(err)
	}
	w.declare(site)
	w.ready()
	g.Status.VMID, g.Status.Node = nil, ""
	if err := w.client.Status().Update(t.Context(), &g); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.sim.ForgetRequests()
	w.pass()
	if writes := w.sim.Writes(); len(writes) > 0 {
		t.Errorf("rules of a guest were touched before its Guest was looked at: %v", writes)
	}
}

// TestFirewallOfANewControlPlane: addresses that were not declared are not known before the Guests are looked at. Rules that
// let them in stay as they are.
func TestFirewallOfANewControlPlane(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	w.declare(site)
	w.ready()
	before := w.sim.Firewall()
	g, s := &v1alpha1.Guest{}, w.get()
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: fwNamespace, Name: "nginx"}, g); err != nil {
		t.Fatal(err)
	}
	known := g.Status
	update := func(o client.Object) {
		if err := w.client.Status().Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	g.Status, s.Status = v1alpha1.GuestStatus{}, v1alpha1.HostServiceStatus{}
	update(g)
	update(s)
	w.restart()
	w.sim.ForgetRequests()
	w.until("it waits", fwBecause(v1alpha1.DependencyReason))
	g.Status = known
	update(g)
	w.ready()
	if writes := w.sim.Writes(); len(writes) > 0 {
		t.Errorf("a new control plane wrote: %v", writes)
	}
	if diff := cmp.Diff(before, w.sim.Firewall(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("a new control plane changed the firewall (-before +after):\n%s", diff)
	}
}

// TestFirewall: a site is put in force, changed, drifts and is taken away again.
func TestFirewall(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	w.declare(site)
	w.ready()
	state := w.sim.Firewall()
	if state.Cluster.Options["enable"] != "1" || len(w.group(state.Cluster.Rules)) != 2 || len(w.group(state.Nodes["phoenix"].Rules)) != 1 ||
		len(w.group(state.Guests[101].Rules)) != 1 || state.Guests[101].Options["policy_in"] != "DROP" {
		t.Fatal(w.describe())
	}
	if c := w.condition(v1alpha1.EnforcedCondition); c == nil || c.Status != metav1.ConditionTrue {
		t.Errorf("Enforced: %+v", c)
	}
	if fw := w.get().Status.Firewall; fw == nil || !*fw.Enabled || *fw.Rules != 4 || len(fw.Shadowed) != 0 {
		t.Errorf("status: %+v", fw)
	}

	w.declare(func(s *v1alpha1.HostServiceSpec) {
		s.Firewall.Datacenter.Rules = append(s.Firewall.Datacenter.Rules, accept("443"))
	})
	w.ready()
	if state = w.sim.Firewall(); len(w.group(state.Cluster.Rules)) != 3 || len(state.Groups) != 3 {
		t.Fatal(w.describe())
	}

	s := w.get()
	if err := w.client.Delete(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.until("it is gone", func(s *v1alpha1.HostService) bool { return s == nil })
	state = w.sim.Firewall()
	if len(state.Groups)+len(state.Cluster.Options)+len(state.Cluster.Rules)+len(state.Cluster.Aliases)+len(state.Cluster.Sets)+
		len(state.Guests[101].Options)+len(state.Guests[101].Rules)+len(state.Nodes["phoenix"].Rules) != 0 {
		t.Errorf("something is left: %+v", state)
	}
	if _, err := w.sim.Machine("phoenix").ReadFile("/var/lib/phoenix/firewall-" + firewall.ID(fwOwner) + ".json"); err == nil {
		t.Error("a record is left")
	}
}

// byHand changes a level's rules as somebody does in Proxmox's own pages.
func (w *fwWorld) byHand(l proxmox.FirewallLevel, rule proxmox.FirewallRule) {
	w.t.Helper()
	if err := w.api.AddFirewallRule(w.t.Context(), l, "", 0, rule); err != nil {
		w.t.Fatal(err)
	}
}

// TestForeignRules: rules of somebody else stay; ours are below them, unless they are to be above, and then stay there.
func TestForeignRules(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	dc, theirs := proxmox.FirewallLevel{}, proxmox.FirewallRule{Type: "in", Action: "ACCEPT", Proto: "tcp", DPort: "8006", Enabled: true, Comment: "mine"}
	w.byHand(dc, theirs)
	w.declare(site)
	w.ready()
	rules := w.sim.Firewall().Cluster.Rules
	if len(rules) != 2 || rules[0].Comment != "mine" {
		t.Fatalf("ours stand above: %+v", rules)
	}
	if diff := cmp.Diff([]string{"datacenter"}, w.get().Status.Firewall.Shadowed); diff != "" {
		t.Error(diff)
	}
	if c := w.condition(v1alpha1.ShadowedCondition); c == nil || c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "exclusive: true") {
		t.Errorf("Shadowed: %+v", c)
	}
	w.declare(func(s *v1alpha1.HostServiceSpec) { s.Firewall.Exclusive = fwPtr(true) })
	w.ready()
	w.byHand(dc, theirs)
	w.byHand(proxmox.FirewallLevel{Node: "phoenix"}, theirs)
	w.ready()
	state := w.sim.Firewall()
	if state.Cluster.Rules[0].Type != "group" || state.Nodes["phoenix"].Rules[0].Type != "group" || len(state.Cluster.Rules) != 3 {
		t.Errorf("ours are not put back to the top: %+v", state)
	}
	if c := w.condition(v1alpha1.ShadowedCondition); c != nil {
		t.Errorf("Shadowed stands: %+v", c)
	}
	if err := w.client.Delete(t.Context(), w.get()); err != nil {
		t.Fatal(err)
	}
	w.until("it is gone", func(s *v1alpha1.HostService) bool { return s == nil })
	if state = w.sim.Firewall(); len(state.Cluster.Rules) != 2 || len(state.Nodes["phoenix"].Rules) != 1 || len(state.Groups) != 0 {
		t.Errorf("a rule of somebody else is gone, or one of ours is left: %+v", state)
	}
}

// TestDrift: what somebody changes is put back; what is not declared stays as they want it.
func TestDrift(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	guest := proxmox.FirewallLevel{Guest: &proxmox.Ref{Node: "phoenix", Type: proxmox.LXC, VMID: 101}}
	if err := w.api.SetFirewallOptions(t.Context(), guest, "", map[string]string{"policy_in": "ACCEPT", "ndp": "0"}, nil); err != nil {
		t.Fatal(err)
	}
	w.declare(site)
	w.ready()
	want := w.sim.Firewall()
	group := want.Guests[101].Rules[0].Action
	if err := w.api.DeleteFirewallRule(t.Context(), proxmox.FirewallLevel{Group: group}, "", 0); err != nil {
		t.Fatal(err)
	}
	if err := w.api.SetFirewallOptions(t.Context(), guest, "", map[string]string{"enable": "0", "log_level_in": "info"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.api.DeleteFirewallIPSetEntry(t.Context(), proxmox.FirewallLevel{}, "admins", "", "10.0.0.50"); err != nil {
		t.Fatal(err)
	}
	w.ready()
	got := w.sim.Firewall()
	if len(w.group(got.Guests[101].Rules)) != 1 || got.Guests[101].Options["enable"] != "1" || got.Guests[101].Options["log_level_in"] != "info" ||
		len(got.Cluster.Sets["admins"]) != 2 || len(got.Groups) != 3 {
		t.Fatal(w.describe())
	}
	w.restart() // the record is on the node, not in memory
	if err := w.client.Delete(t.Context(), w.get()); err != nil {
		t.Fatal(err)
	}
	w.until("it is gone", func(s *v1alpha1.HostService) bool { return s == nil })
	if diff := cmp.Diff(map[string]string{"policy_in": "ACCEPT", "ndp": "0", "log_level_in": "info"}, w.sim.Firewall().Guests[101].Options); diff != "" {
		t.Errorf("the options are not what they were: %s", diff)
	}
}

// TestObservedFirewall: under Observe everything is shown and nothing is written.
func TestObservedFirewall(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	files := w.sim.Machine("phoenix").Writes()
	w.declare(func(s *v1alpha1.HostServiceSpec) { site(s); s.Management = v1alpha1.ManagementObserve })
	w.until("it is Ready", fwReady)
	var fields []string
	for _, p := range w.get().Status.Plan {
		if p.Field != "" {
			fields = append(fields, p.Field)
		}
	}
	want := []string{"datacenter.aliases[office]", "datacenter.ipSets[admins]", "guests[nginx].rules", "guests[nginx].enabled", "guests[nginx].policyIn",
		"nodes[phoenix].rules", "datacenter.rules", "datacenter.enabled", "datacenter.policyIn"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Error(diff)
	}
	if len(w.sim.Writes()) != 0 || w.sim.Machine("phoenix").Writes() != files {
		t.Errorf("it wrote: %+v", w.sim.Writes())
	}
}

// TestNames: aliases and sets of somebody else are not touched, unless nobody owns them and that is asked for.
func TestNames(t *testing.T) {
	for _, c := range []struct {
		reason, comment string
		adopt           bool
		stalls          string
	}{
		{"nobody's", "by hand", false, hostservice.FirewallNotOwnedReason},
		{"nobody's, and adoption is asked for", "by hand", true, ""},
		{"another owner's", "phoenix other/HostService/lab/fw", true, hostservice.FirewallNotOwnedReason},
	} {
		t.Run(c.reason, func(t *testing.T) {
			w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
			if err := w.api.CreateFirewallAlias(t.Context(), proxmox.FirewallLevel{}, proxmox.FirewallAlias{Name: "office", CIDR: "10.9.0.0/24", Comment: c.comment}); err != nil {
				t.Fatal(err)
			}
			w.declare(func(s *v1alpha1.HostServiceSpec) {
				site(s)
				if c.adopt {
					s.AdoptionPolicy = v1alpha1.AdoptionIfUnowned
				}
			})
			if c.stalls == "" {
				w.ready()
				if got := w.sim.Firewall().Cluster.Aliases["office"]; got != "10.0.0.0/24" {
					t.Errorf("alias: %s", got)
				}
				return
			}
			w.until("it stalls", fwBecause(c.stalls))
			if got := w.sim.Firewall().Cluster.Aliases["office"]; got != "10.9.0.0/24" || !strings.Contains(w.message(), "alias office") {
				t.Errorf("alias %s, message %q", got, w.message())
			}
		})
	}
}

// TestMissingNames: a rule's alias or set must be declared or be there.
func TestMissingNames(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	w.declare(func(s *v1alpha1.HostServiceSpec) { site(s); s.Firewall.Datacenter.Aliases = nil })
	w.until("the alias is named", fwBecause(hostservice.InvalidFirewallReason))
	if !strings.Contains(w.message(), "datacenter.rules[1].source.alias: the datacenter has no alias office") {
		t.Error(w.message())
	}
	if err := w.api.CreateFirewallAlias(t.Context(), proxmox.FirewallLevel{}, proxmox.FirewallAlias{Name: "office", CIDR: "10.0.0.0/24"}); err != nil {
		t.Fatal(err)
	}
	w.ready()
}

// TestSecondFirewall: one HostService holds the firewall of a Host.
func TestSecondFirewall(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	older := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: fwNamespace, Name: "a-first-one"}}
	older.Spec.HostRef, older.Spec.Firewall = &v1alpha1.LocalReference{Name: "home"}, &v1alpha1.Firewall{}
	w.create(older)
	w.declare(site)
	w.until("the other one is named", fwBecause(hostservice.FirewallTakenReason))
	if !strings.Contains(w.message(), "HostService/a-first-one") || len(w.sim.Writes()) != 0 {
		t.Errorf("%q %v", w.message(), w.sim.Writes())
	}
}

// TestDerivedSite: with flows: Derive a Guest that changes its address is followed, and the one that Phoenix lives in is
// changed under guard only.
func TestDerivedSite(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"), fwGuest("kind", 102, "10.0.0.60"), fwGuest("app", 103, "10.0.0.61"))
	var host v1alpha1.Host
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: fwNamespace, Name: "home"}, &host); err != nil {
		t.Fatal(err)
	}
	host.Spec.ControlPlaneGuest = &v1alpha1.LocalReference{Name: "kind"}
	if err := w.client.Update(t.Context(), &host); err != nil {
		t.Fatal(err)
	}
	dns := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: fwNamespace, Name: "dns"}}
	dns.Spec.HostRef, dns.Spec.Dnsmasq = &v1alpha1.LocalReference{Name: "home"}, &v1alpha1.Dnsmasq{ListenAddresses: []string{"10.0.0.13"}}
	w.create(dns)
	w.declare(func(s *v1alpha1.HostServiceSpec) {
		s.Firewall.Flows = v1alpha1.FlowsDerive
		s.Firewall.Datacenter = &v1alpha1.FirewallDatacenter{Enabled: fwPtr(true)}
	})
	w.ready()
	sources := func() string { return w.group(w.sim.Firewall().Nodes["phoenix"].Rules)[0].Source }
	state := w.sim.Firewall()
	if sources() != "10.0.0.153,10.0.0.60,10.0.0.61" || state.Guests[101].Options["policy_in"] != "DROP" || state.Guests[102].Options["enable"] != "" {
		t.Fatal(w.describe())
	}
	var app v1alpha1.Guest
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: fwNamespace, Name: "app"}, &app); err != nil {
		t.Fatal(err)
	}
	app.Status.Addresses = []string{"10.0.0.77"}
	if err := w.client.Status().Update(t.Context(), &app); err != nil {
		t.Fatal(err)
	}
	w.ready()
	if sources() != "10.0.0.153,10.0.0.60,10.0.0.77" {
		t.Error(sources())
	}
	w.declare(func(s *v1alpha1.HostServiceSpec) {
		s.Firewall.Guests = []v1alpha1.FirewallGuest{{Name: "kind", Rules: []v1alpha1.FirewallRule{accept("6443")}}}
	})
	w.events()
	w.ready()
	if got := w.events(); !strings.Contains(got, hostservice.FirewallArmingReason) || !strings.Contains(got, hostservice.FirewallConfirmingReason) {
		t.Errorf("the guest that Phoenix lives in was changed without a way back: %s", got)
	}
	if got := w.sim.Firewall().Guests[102].Options["policy_in"]; got != "DROP" {
		t.Error(got)
	}
}
