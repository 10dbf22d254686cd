// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package wall

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

var local = netip.MustParsePrefix("10.0.0.0/24")

func datacenter(scope pve.FirewallScope) pve.FirewallState {
	if scope.Options == nil {
		scope.Options = map[string]string{}
	}
	scope.Options["enable"] = "1"
	return pve.FirewallState{Cluster: scope, Nodes: map[string]pve.FirewallNode{"phoenix": {}}, Guests: map[int]pve.FirewallGuest{}}
}

// TestRules goes through what a rule may say: the lines that one incoming rule of a node becomes.
func TestRules(t *testing.T) {
	scope := pve.FirewallScope{
		Aliases: map[string]string{"office": "192.0.2.0/24", "six": "2001:db8::1"},
		Sets: map[string][]pve.FirewallEntry{
			"admins": {{CIDR: "192.0.2.7"}, {CIDR: "office"}, {CIDR: "192.0.2.128/25", NoMatch: true}, {CIDR: "192.0.2.200"}},
			"mixed":  {{CIDR: "10.1.0.0/16"}, {CIDR: "2001:db8::/32"}},
			"wrong":  {{CIDR: "10.1.0.0/16", Errors: map[string]string{"cidr": "no"}}},
			"empty":  {},
		},
	}
	for _, tc := range []struct {
		reason string
		rule   pve.FirewallRule
		want   []string
	}{
		{"nothing is restricted", pve.FirewallRule{}, []string{"accept"}},
		{"a protocol alone", pve.FirewallRule{Proto: "udp"}, []string{"meta l4proto udp accept"}},
		{"a protocol that nftables has no name for", pve.FirewallRule{Proto: "vrrp"}, []string{"meta l4proto 112 accept"}},
		{"ports, ranges and names", pve.FirewallRule{Proto: "tcp", DPort: "80,8000:8010,ssh"}, []string{"tcp dport { 80, 8000-8010, 22 } accept"}},
		{"both ports", pve.FirewallRule{Proto: "udp", SPort: "53", DPort: "1024:65535"}, []string{"udp sport 53 udp dport 1024-65535 accept"}},
		{"a message of ICMP", pve.FirewallRule{Proto: "icmp", ICMPType: "echo-request"}, []string{"icmp type echo-request accept"}},
		{"a message of ICMP by its code", pve.FirewallRule{Proto: "icmp", ICMPType: "fragmentation-needed"},
			[]string{"icmp type destination-unreachable icmp code frag-needed accept"}},
		{"a message of ICMPv6", pve.FirewallRule{Proto: "icmpv6", ICMPType: "router-solicitation"}, []string{"icmpv6 type nd-router-solicit accept"}},
		{"source and destination", pve.FirewallRule{Source: "10.0.0.5", Dest: "10.0.0.13", Proto: "tcp", DPort: "22"},
			[]string{"ip saddr 10.0.0.5 ip daddr 10.0.0.13 tcp dport 22 accept"}},
		{"a list that touches is joined, as nftables wants it", pve.FirewallRule{Source: "10.0.0.0/25,10.0.0.128/25,10.0.0.7,10.2.0.1-10.2.0.6"},
			[]string{"ip saddr { 10.0.0.0/24, 10.2.0.1-10.2.0.6 } accept"}},
		{"families are told apart", pve.FirewallRule{Source: "10.0.0.5,2001:db8::5"}, []string{"ip saddr 10.0.0.5 accept", "ip6 saddr 2001:db8::5 accept"}},
		{"families do not mix", pve.FirewallRule{Source: "+mixed", Dest: "dc/six"}, []string{"ip6 saddr 2001:db8::/32 ip6 daddr 2001:db8::1 accept"}},
		{"an alias, of any case", pve.FirewallRule{Source: "OFFICE"}, []string{"ip saddr 192.0.2.0/24 accept"}},
		{"the alias that every site has", pve.FirewallRule{Source: "local_network"}, []string{"ip saddr 10.0.0.0/24 accept"}},
		{"of a set's members the smallest decides", pve.FirewallRule{Source: "+dc/admins"}, []string{"ip saddr { 192.0.2.0/25, 192.0.2.200 } accept"}},
		{"an empty set matches nothing", pve.FirewallRule{Source: "+empty"}, nil},
		{"a member that is wrong counts for nothing", pve.FirewallRule{Source: "+wrong"}, nil},
		{"a macro of two services", pve.FirewallRule{Macro: "DNS"}, []string{"udp dport 53 accept", "tcp dport 53 accept"}},
		{"a macro with a source", pve.FirewallRule{Macro: "Ping", Source: "10.0.0.5"}, []string{"ip saddr 10.0.0.5 icmp type echo-request accept"}},
		{"an interface", pve.FirewallRule{Iface: "vmbr0"}, []string{`iifname "vmbr0" accept`}},
		{"a TCP connection is refused by a reset", pve.FirewallRule{Action: "REJECT", Proto: "tcp", DPort: "25"},
			[]string{"tcp dport 25 reject with tcp reset"}},
		{"what may be anything is refused in two ways", pve.FirewallRule{Action: "REJECT", Source: "10.0.0.5"},
			[]string{"ip saddr 10.0.0.5 meta l4proto tcp reject with tcp reset", "ip saddr 10.0.0.5 reject"}},
		{"a rule of the other direction", pve.FirewallRule{Type: "out"}, nil},
		{"a rule that Proxmox finds wrong", pve.FirewallRule{Errors: map[string]string{"source": "no such alias"}}, nil},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			tr := &translation{site: datacenter(scope), local: []netip.Prefix{local}}
			c := &chain{direction: "in"}
			tc.rule.Enable = true
			if tc.rule.Type == "" {
				tc.rule.Type = "in"
			}
			if tc.rule.Action == "" {
				tc.rule.Action = "ACCEPT"
			}
			tr.rules(c, []pve.FirewallRule{tc.rule})
			if err := tr.problems(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, c.lines); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestDisabledRule(t *testing.T) {
	c := &chain{direction: "in"}
	(&translation{}).rules(c, []pve.FirewallRule{{Type: "in", Action: "ACCEPT"}})
	if len(c.lines) > 0 {
		t.Errorf("a rule that is off became %q", c.lines)
	}
}

func TestProblems(t *testing.T) {
	for _, tc := range []struct {
		reason string
		rule   pve.FirewallRule
		says   string
	}{
		{"a group that is not there", pve.FirewallRule{Type: "group", Action: "nobody"}, "no such security group"},
		{"a set that is not there", pve.FirewallRule{Type: "in", Action: "ACCEPT", Source: "+nobody"}, "no IP set nobody"},
		{"an alias that is not there", pve.FirewallRule{Type: "in", Action: "ACCEPT", Source: "nobody"}, "no alias nobody"},
		{"a macro that is not there", pve.FirewallRule{Type: "in", Action: "ACCEPT", Macro: "Nobody"}, "no macro Nobody"},
		{"a port that cannot be", pve.FirewallRule{Type: "in", Action: "ACCEPT", Proto: "tcp", DPort: "70000"}, `port "70000"`},
		{"a message that would be more than one word of nftables", pve.FirewallRule{Type: "in", Action: "ACCEPT", Proto: "icmp", ICMPType: "any;drop"}, "message"},
	} {
		tc.rule.Enable = true
		s := datacenter(pve.FirewallScope{})
		s.Nodes["phoenix"] = pve.FirewallNode{FirewallScope: pve.FirewallScope{Rules: []pve.FirewallRule{tc.rule}}}
		text, err := Node(s, "phoenix", local)
		if err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: got %v", tc.reason, err)
		}
		if without, _ := Node(datacenter(pve.FirewallScope{}), "phoenix", local); text != without {
			t.Errorf("%s: the rule left something behind:\n%s", tc.reason, cmp.Diff(without, text))
		}
	}
}

const nodeTable = `table inet pve {
	chain group-web-in {
		tcp dport 443 accept
	}
	chain group-web-out {
	}
	chain input {
		type filter hook input priority 0; policy accept;
		iifname "lo" accept
		ct state invalid drop
		ct state established,related accept
		ip protocol igmp accept
		icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept
		tcp dport 9 drop
		jump group-web-in
		ip saddr { 10.0.0.0/24, 192.0.2.1 } tcp dport { 22, 3128, 5900-5999, 8006 } accept
		ip saddr { 10.0.0.0/24, 192.0.2.1 } tcp dport 60000-60050 accept
		ip saddr 10.0.0.0/24 udp dport 5405-5412 accept
		tcp dport 43 reject with tcp reset
		fib daddr type { broadcast, anycast, multicast } drop
		icmp type destination-unreachable icmp code frag-needed accept
		icmp type time-exceeded accept
		icmpv6 type { destination-unreachable, packet-too-big, time-exceeded } accept
		drop
	}
	chain output {
		type filter hook output priority 0; policy accept;
		oifname "lo" accept
		ct state invalid drop
		ct state established,related accept
		ip protocol igmp accept
		icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept
		jump group-web-out
		ip daddr 10.0.0.0/24 tcp dport { 22, 3128, 5900-5999, 8006 } accept
		ip daddr 10.0.0.0/24 udp dport 5405-5412 accept
		accept
	}
}
`

// TestNode shows the order: the node's own rules, those of the datacenter, what is built in, the policy.
func TestNode(t *testing.T) {
	s := datacenter(pve.FirewallScope{
		Rules: []pve.FirewallRule{{Type: "group", Action: "web", Enable: true}},
		Sets:  map[string][]pve.FirewallEntry{"management": {{CIDR: "192.0.2.1"}}},
	})
	s.Groups = map[string]pve.FirewallGroup{"web": {Rules: []pve.FirewallRule{
		{Type: "in", Action: "ACCEPT", Proto: "tcp", DPort: "443", Enable: true}, {Type: "group", Action: "web", Enable: true},
	}}}
	s.Nodes["phoenix"] = pve.FirewallNode{FirewallScope: pve.FirewallScope{
		Rules: []pve.FirewallRule{{Type: "in", Action: "DROP", Proto: "tcp", DPort: "9", Enable: true}},
	}}
	got, err := Node(s, "phoenix", local)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(nodeTable, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

const guestTable = `table inet pve {
	chain in {
		ct state invalid drop
		ct state established,related accept
		icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
		icmpv6 type nd-router-advert accept
		iifname "eth1" tcp dport 80 accept
		accept
	}
	chain out {
		ct state invalid drop
		ct state established,related accept
		icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
		icmpv6 type nd-router-advert drop
		accept
	}
	chain prerouting {
		type filter hook prerouting priority -150; policy accept;
		iifname { "eth1" } jump in
	}
	chain output {
		type filter hook output priority 0; policy accept;
		oifname { "eth1" } jump out
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
		oifname { "eth1" } jump out
	}
}
`

// TestGuest shows that only the cards with the flag are filtered, and by which names.
func TestGuest(t *testing.T) {
	s := datacenter(pve.FirewallScope{})
	s.Guests[1001] = pve.FirewallGuest{
		Kind: "qemu", Node: "phoenix", NICs: []pve.FirewallNIC{{Name: "net0"}, {Name: "net1", Firewall: true}},
		FirewallScope: pve.FirewallScope{
			Options: map[string]string{"enable": "1", "policy_in": "ACCEPT"},
			Rules:   []pve.FirewallRule{{Type: "in", Action: "ACCEPT", Proto: "tcp", DPort: "80", Iface: "net1", Enable: true}},
		},
	}
	got, err := Guest(s, 1001)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(guestTable, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestOff goes through the switches that leave everything open.
func TestOff(t *testing.T) {
	on := map[string]string{"enable": "1"}
	card := []pve.FirewallNIC{{Name: "net0", Device: "eth0", Firewall: true}}
	for _, tc := range []struct {
		reason string
		state  pve.FirewallState
		node   bool
		guest  bool
	}{
		{"all is on", pve.FirewallState{Cluster: pve.FirewallScope{Options: on}, Guests: map[int]pve.FirewallGuest{
			101: {FirewallScope: pve.FirewallScope{Options: on}, NICs: card}}}, true, true},
		{"the datacenter's is not on by itself", pve.FirewallState{Guests: map[int]pve.FirewallGuest{
			101: {FirewallScope: pve.FirewallScope{Options: on}, NICs: card}}}, false, false},
		{"the guest's is not on by itself", pve.FirewallState{Cluster: pve.FirewallScope{Options: on}, Guests: map[int]pve.FirewallGuest{
			101: {NICs: card}}}, true, false},
		{"no card has the flag", pve.FirewallState{Cluster: pve.FirewallScope{Options: on}, Guests: map[int]pve.FirewallGuest{
			101: {FirewallScope: pve.FirewallScope{Options: on}, NICs: []pve.FirewallNIC{{Name: "net0", Device: "eth0"}}}}}, true, false},
		{"the node's is off", pve.FirewallState{Cluster: pve.FirewallScope{Options: on}, Nodes: map[string]pve.FirewallNode{
			"phoenix": {FirewallScope: pve.FirewallScope{Options: map[string]string{"enable": "0"}}}}}, false, false},
		{"the node's service is stopped", pve.FirewallState{Cluster: pve.FirewallScope{Options: on},
			Nodes:  map[string]pve.FirewallNode{"phoenix": {Stopped: true}},
			Guests: map[int]pve.FirewallGuest{101: {Node: "phoenix", FirewallScope: pve.FirewallScope{Options: on}, NICs: card}}}, false, false},
	} {
		node, err := Node(tc.state, "phoenix", local)
		if err != nil || (node != "") != tc.node {
			t.Errorf("%s: the node's table is %q (%v)", tc.reason, node, err)
		}
		guest, err := Guest(tc.state, 101)
		if err != nil || (guest != "") != tc.guest {
			t.Errorf("%s: the guest's table is %q (%v)", tc.reason, guest, err)
		}
	}
}

func TestLoad(t *testing.T) {
	if got, want := Load("table inet pve {\n}\n"), "table inet pve\ndelete table inet pve\ntable inet pve {\n}\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
