// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/firewall"
)

func pointer[T any](v T) *T { return &v }

// referenceSite are the objects of a site with a resolver, an NFS server, two containers and two VMs.
func referenceSite() declared {
	d := declared{host: &v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Namespace: "lab", Name: "home"}}}
	d.host.Spec.SSH = &v1alpha1.HostSSH{Nodes: []v1alpha1.HostSSHNode{{Name: "phoenix", Address: "10.0.0.13:22"}}}
	d.host.Status.Nodes = []v1alpha1.HostNode{{Name: "phoenix", Online: pointer(true)}}
	for i, g := range []struct{ name, address string }{
		{"drphoenix", "10.0.0.102"}, {"nginx", "10.0.0.153"}, {"portainer", "10.0.0.111"}, {"step-ca", "10.0.0.10"},
	} {
		guest := v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Namespace: "lab", Name: g.name}}
		guest.Spec.HostRef.Name = "home"
		guest.Spec.Networks = []v1alpha1.Network{{Device: "net0", Firewall: pointer(g.name != "portainer")}}
		guest.Status.VMID, guest.Status.Node, guest.Status.Addresses = pointer(int32(101+i)), "phoenix", []string{g.address}
		d.guests = append(d.guests, guest)
	}
	d.guests[0].Spec.Networks[0].IPv4 = &v1alpha1.IPv4{Method: v1alpha1.IPDHCP}
	service := func(name string) *v1alpha1.HostService {
		s := v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: "lab", Name: name}}
		s.Spec.HostRef = &v1alpha1.LocalReference{Name: "home"}
		d.services = append(d.services, s)
		return &d.services[len(d.services)-1]
	}
	service("dns").Spec.Dnsmasq = &v1alpha1.Dnsmasq{ListenAddresses: []string{"10.0.0.13"}, DHCP: &v1alpha1.DHCP{}}
	service("files").Spec.NFS = &v1alpha1.NFS{Exports: []v1alpha1.NFSExport{
		{Name: "a", Clients: []v1alpha1.NFSClient{{GuestRef: &v1alpha1.LocalReference{Name: "drphoenix"}}, {CIDR: "10.1.0.0/16"}}},
		{Name: "b", Clients: []v1alpha1.NFSClient{{GuestRef: &v1alpha1.LocalReference{Name: "drphoenix"}}}},
	}}
	inGuest := service("zone")
	inGuest.Spec.HostRef, inGuest.Spec.GuestRef = nil, &v1alpha1.LocalReference{Name: "step-ca"}
	inGuest.Spec.Dnsmasq = &v1alpha1.Dnsmasq{ListenAddresses: []string{"10.0.0.10"}}
	authority := service("pki")
	authority.Spec.HostRef, authority.Spec.GuestRef = nil, &v1alpha1.LocalReference{Name: "step-ca"}
	authority.Spec.StepCA = &v1alpha1.StepCA{Port: 8443}
	return d
}

// TestFlows: which connections the declared objects need of one another.
func TestFlows(t *testing.T) {
	var got []string
	for _, f := range flowsOf(referenceSite()) {
		got = append(got, fmt.Sprintf("%s%s -> %s%s %s %d: %s", f.From.Guest, f.From.CIDR, f.To.Node, f.To.Guest, f.Protocol, f.Port, f.Why))
	}
	want := []string{
		" -> phoenix udp 67: addresses of HostService/dns",
		"10.1.0.0/16 -> phoenix tcp 2049: exports of HostService/files",
		"drphoenix -> phoenix tcp 2049: exports of HostService/files",
		"drphoenix -> phoenix tcp 53: names of HostService/dns",
		"nginx -> phoenix tcp 53: names of HostService/dns",
		"portainer -> phoenix tcp 53: names of HostService/dns",
		"step-ca -> phoenix tcp 53: names of HostService/dns",
		"drphoenix -> phoenix udp 53: names of HostService/dns",
		"nginx -> phoenix udp 53: names of HostService/dns",
		"portainer -> phoenix udp 53: names of HostService/dns",
		"step-ca -> phoenix udp 53: names of HostService/dns",
		"10.0.0.13 -> step-ca tcp 8443: certificates of HostService/pki",
		"drphoenix -> step-ca tcp 8443: certificates of HostService/pki",
		"nginx -> step-ca tcp 8443: certificates of HostService/pki",
		"portainer -> step-ca tcp 8443: certificates of HostService/pki",
		"drphoenix -> step-ca tcp 53: names of HostService/zone",
		"nginx -> step-ca tcp 53: names of HostService/zone",
		"portainer -> step-ca tcp 53: names of HostService/zone",
		"drphoenix -> step-ca udp 53: names of HostService/zone",
		"nginx -> step-ca udp 53: names of HostService/zone",
		"portainer -> step-ca udp 53: names of HostService/zone",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func firewallService(f v1alpha1.Firewall) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: "lab", Name: "fw"}}
	s.Spec.HostRef, s.Spec.Firewall = &v1alpha1.LocalReference{Name: "home"}, &f
	return s
}

// text renders what is wanted, a line a rule.
func (w wanted) text() string {
	var b strings.Builder
	for _, l := range []firewall.Level{firewall.Datacenter, firewall.Node("phoenix"), firewall.Guest(101), firewall.Guest(102), firewall.Guest(103), firewall.Guest(104)} {
		level, there := w.Levels[l]
		if !there {
			continue
		}
		fmt.Fprintf(&b, "%s %v\n", l, level.Options)
		for _, r := range level.Rules {
			fmt.Fprintf(&b, "  %s %s %s%s from %s to %s port %s; %s\n", r.Type, r.Action, r.Macro, r.Proto, r.Source, r.Dest, r.DPort, r.Comment)
		}
	}
	for _, n := range w.notes {
		b.WriteString(n + "\n")
	}
	return b.String()
}

// TestDerive: flows become the least that has to be let in, below what is declared; Guests refuse the rest.
func TestDerive(t *testing.T) {
	d := referenceSite()
	d.host.Spec.ControlPlaneGuest = &v1alpha1.LocalReference{Name: "portainer"}
	w, err := wantOf(firewallService(v1alpha1.Firewall{
		Flows: v1alpha1.FlowsDerive,
		Nodes: []v1alpha1.FirewallNode{{Name: "phoenix", Rules: []v1alpha1.FirewallRule{{Action: v1alpha1.FirewallReject, Protocol: "tcp", Ports: "111"}}}},
		Guests: []v1alpha1.FirewallGuest{{Name: "nginx", PolicyIn: v1alpha1.FirewallReject, Rules: []v1alpha1.FirewallRule{
			{Action: v1alpha1.FirewallAccept, Macro: "https"},
			{Direction: v1alpha1.FirewallOut, Action: v1alpha1.FirewallDrop, Destination: &v1alpha1.FirewallPeer{GuestRef: &v1alpha1.LocalReference{Name: "step-ca"}}},
		}}},
	}), d, "o", []string{"HTTPS", "SSH"})
	if err != nil {
		t.Fatal(err)
	}
	want := `node/phoenix map[]
  in REJECT tcp from  to  port 111; 
  in ACCEPT udp from  to  port 67; addresses of HostService/dns
  in ACCEPT tcp from 10.0.0.102,10.1.0.0/16 to  port 2049; exports of HostService/files
  in ACCEPT tcp from 10.0.0.10,10.0.0.102,10.0.0.111,10.0.0.153 to  port 53; names of HostService/dns
  in ACCEPT udp from 10.0.0.10,10.0.0.102,10.0.0.111,10.0.0.153 to  port 53; names of HostService/dns
guest/101 map[dhcp:1 enable:1 policy_in:DROP]
guest/102 map[enable:1 policy_in:REJECT]
  in ACCEPT HTTPS from  to  port ; 
  out DROP  from  to 10.0.0.10 port ; 
guest/104 map[enable:1 policy_in:DROP]
  in ACCEPT tcp from 10.0.0.102,10.0.0.111,10.0.0.13,10.0.0.153 to  port 8443; certificates of HostService/pki
  in ACCEPT tcp from 10.0.0.102,10.0.0.111,10.0.0.153 to  port 53; names of HostService/zone
  in ACCEPT udp from 10.0.0.102,10.0.0.111,10.0.0.153 to  port 53; names of HostService/zone
`
	if diff := cmp.Diff(want, w.text()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]firewall.Level{firewall.Guest(103)}, w.Lifeline); diff != "" {
		t.Errorf("the guest that Phoenix lives in: %s", diff)
	}
}

// TestPeers: one rule becomes as many as Proxmox needs.
func TestPeers(t *testing.T) {
	d := referenceSite()
	for i := range d.guests {
		d.guests[i].Spec.Networks = nil
	}
	d.guests[1].Spec.Networks = []v1alpha1.Network{{IPv6: &v1alpha1.IPv6{Address: "fd00::53/64"}}}
	d.guests[1].Status.Addresses = []string{"10.0.0.153", "fd00::53"}
	d.guests[2].Status.Addresses = nil
	peer := func(guest string) *v1alpha1.FirewallPeer {
		return &v1alpha1.FirewallPeer{GuestRef: &v1alpha1.LocalReference{Name: guest}}
	}
	long := strings.Repeat("x", 62)
	cases := []struct {
		reason string
		rule   v1alpha1.FirewallRule
		want   []string
	}{
		{"both families of a Guest", v1alpha1.FirewallRule{Source: peer("nginx")}, []string{"10.0.0.153 > ", "fd00::53 > "}},
		{"only what can meet", v1alpha1.FirewallRule{Source: peer("nginx"), Destination: &v1alpha1.FirewallPeer{Address: "fd00::/8"}}, []string{"fd00::53 > fd00::/8"}},
		{"an alias of the datacenter", v1alpha1.FirewallRule{Source: &v1alpha1.FirewallPeer{Alias: "office"}}, []string{"dc/office > "}},
		{"a set of the datacenter", v1alpha1.FirewallRule{Destination: &v1alpha1.FirewallPeer{IPSet: "admins"}}, []string{" > +dc/admins"}},
		{"a name too long for its scope", v1alpha1.FirewallRule{Source: &v1alpha1.FirewallPeer{IPSet: long}}, []string{"+" + long + " > "}},
		{"a Guest without an address waits", v1alpha1.FirewallRule{Source: peer("portainer")}, nil},
	}
	for _, c := range cases {
		c.rule.Action = v1alpha1.FirewallAccept
		w, err := wantOf(firewallService(v1alpha1.Firewall{Datacenter: &v1alpha1.FirewallDatacenter{Rules: []v1alpha1.FirewallRule{c.rule}}}), d, "o", nil)
		if err != nil {
			t.Fatalf("%s: %v", c.reason, err)
		}
		var got []string
		for _, r := range w.Levels[firewall.Datacenter].Rules {
			got = append(got, r.Source+" > "+r.Dest)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.reason, diff)
		}
		if c.want == nil && (len(w.notes) != 1 || !strings.Contains(w.notes[0], "datacenter.rules[0].source waits for an address of Guest/portainer")) {
			t.Errorf("%s: %v", c.reason, w.notes)
		}
	}
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf("10.0.%d.100", i))
	}
	total := 0
	for _, list := range lists(many) {
		if len(list) > 512 {
			t.Errorf("a list of %d characters", len(list))
		}
		total += strings.Count(list, ",") + 1
	}
	if total != len(many) {
		t.Errorf("%d of %d addresses are in lists", total, len(many))
	}
}

// TestWrongFirewalls: what cannot be is named by its field.
func TestWrongFirewalls(t *testing.T) {
	rule := func(r v1alpha1.FirewallRule) v1alpha1.Firewall {
		r.Action = v1alpha1.FirewallAccept
		return v1alpha1.Firewall{Datacenter: &v1alpha1.FirewallDatacenter{Rules: []v1alpha1.FirewallRule{{Action: v1alpha1.FirewallDrop}, r}}}
	}
	guest := func(g ...v1alpha1.FirewallGuest) v1alpha1.Firewall { return v1alpha1.Firewall{Guests: g} }
	ref := func(name string) *v1alpha1.LocalReference { return &v1alpha1.LocalReference{Name: name} }
	set := func(e ...v1alpha1.FirewallEntry) v1alpha1.Firewall {
		return v1alpha1.Firewall{Datacenter: &v1alpha1.FirewallDatacenter{IPSets: []v1alpha1.FirewallIPSet{{Name: "admins", Entries: e}}}}
	}
	cases := []struct {
		reason string
		spec   v1alpha1.Firewall
		says   []string
	}{
		{"no such node", v1alpha1.Firewall{Nodes: []v1alpha1.FirewallNode{{Name: "pve9"}}}, []string{"nodes[0].name", "pve9", "phoenix"}},
		{"a node twice", v1alpha1.Firewall{Nodes: []v1alpha1.FirewallNode{{Name: "phoenix"}, {Name: "phoenix"}}}, []string{"nodes[1].name", "twice"}},
		{"no such Guest, or of another Host", guest(v1alpha1.FirewallGuest{Name: "other"}), []string{"guests[0].name", "Host/home has no Guest/other"}},
		{"a Guest twice", guest(v1alpha1.FirewallGuest{Name: "nginx"}, v1alpha1.FirewallGuest{Name: "nginx"}), []string{"guests[1].name", "twice"}},
		{"no such macro", rule(v1alpha1.FirewallRule{Macro: "Sesame"}), []string{"datacenter.rules[1].macro", "Sesame", "pvesh get"}},
		{"a port above all", rule(v1alpha1.FirewallRule{Protocol: "tcp", Ports: "80,70000"}), []string{"datacenter.rules[1].ports", "70000"}},
		{"port 0", rule(v1alpha1.FirewallRule{Protocol: "tcp", SourcePorts: "0"}), []string{"datacenter.rules[1].sourcePorts", "1 to 65535"}},
		{"a range backwards", rule(v1alpha1.FirewallRule{Protocol: "tcp", Ports: "90:80"}), []string{"datacenter.rules[1].ports", "before it begins"}},
		{"a peer that is no Guest", rule(v1alpha1.FirewallRule{Source: &v1alpha1.FirewallPeer{GuestRef: ref("x")}}), []string{"datacenter.rules[1].source.guestRef", "Guest/x"}},
		{"an interface of the node in a guest", guest(v1alpha1.FirewallGuest{Name: "nginx", Rules: []v1alpha1.FirewallRule{{Action: v1alpha1.FirewallAccept, Interface: "vmbr0"}}}),
			[]string{"guests[nginx].rules[0].interface", "net0"}},
		{"everything in a set", set(v1alpha1.FirewallEntry{Address: "0.0.0.0/0"}), []string{"datacenter.ipSets[0].entries[0]"}},
		{"in a set and not in it", set(v1alpha1.FirewallEntry{Address: "10.0.0.1"}, v1alpha1.FirewallEntry{Address: "10.0.0.1/32", Except: pointer(true)}),
			[]string{"datacenter.ipSets[0].entries[1]", "except"}},
	}
	for _, c := range cases {
		_, err := wantOf(firewallService(c.spec), referenceSite(), "o", []string{"SSH"})
		if err == nil {
			t.Errorf("%s: no error", c.reason)
			continue
		}
		for _, part := range c.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not name %q", c.reason, err, part)
			}
		}
	}
}
