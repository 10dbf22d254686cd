// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const (
	dc    = "/cluster/firewall"
	host  = "/nodes/pve1/firewall"
	guest = "/nodes/pve1/lxc/101/firewall"
	null  = `{"data":null}`
)

func firewalled(t *testing.T, o pve.Options) *pve.Server {
	t.Helper()
	o.Nodes = []string{"pve1"}
	o.Guests = []pve.GuestSpec{{VMID: 101, Kind: "lxc", Config: traceContainer, Running: true}}
	return start(t, o)
}

// TestFirewall goes through what the traces do not have, step after step.
func TestFirewall(t *testing.T) {
	s := firewalled(t, pve.Options{NoSSH: true})
	a := asRootToken(t, s)
	for _, tc := range []struct {
		reason, request string
		params          []string
		want            string
	}{
		{"a rule of a missing set", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "source=+web"}, `"source":"no such ipset 'web'"`},
		{"a rule of a missing alias", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "dest=gw"}, `"dest":"no such alias 'gw'"`},
		{"a rule of a missing group is accepted", "POST " + dc + "/rules", []string{"type=group", "action=nosuch"}, null},
		{"it is there, disabled", "GET " + dc + "/rules", nil, `"enable":0`},
		{"it is deleted", "DELETE " + dc + "/rules/0", nil, null},
		{"a set", "POST " + dc + "/ipset", []string{"name=Web", "comment=entries"}, null},
		{"its name is read as lower case", "GET " + dc + "/ipset", nil, `"name":"web"`},
		{"its comment", "GET " + dc + "/ipset", nil, `"comment":"entries"`},
		{"a rule of the set", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "source=+web", "enable=1"}, null},
		{"a set in use goes, too", "DELETE " + dc + "/ipset/web", nil, null},
		{"the rule shows what is wrong", "GET " + dc + "/rules/0", nil, `"errors":{"source":"no such ipset 'web'"}`},
		{"and can be deleted", "DELETE " + dc + "/rules/0", nil, null},
		{"a missing set", "GET " + dc + "/ipset/web", nil, "no such IPSet 'web'"},
		{"another set", "POST " + dc + "/ipset", []string{"name=a1"}, null},
		{"is renamed", "POST " + dc + "/ipset", []string{"name=a2", "rename=a1", "comment=new"}, null},
		{"to its new name", "GET " + dc + "/ipset", nil, `"name":"a2"`},
		{"but not if it is missing", "POST " + dc + "/ipset", []string{"name=a3", "rename=a1"}, "IPSet 'a1' does not exist"},
		{"a network's host bits are cleared", "POST " + dc + "/ipset/a2", []string{"cidr=10.0.0.7/24", "nomatch=1", "comment=not these"}, null},
		{"it is shown so", "GET " + dc + "/ipset/a2", nil, `"nomatch":1`},
		{"a single address loses its prefix", "POST " + dc + "/ipset/a2", []string{"cidr=10.0.0.9/32"}, null},
		{"it is found without it", "GET " + dc + "/ipset/a2/10.0.0.9", nil, `"cidr":"10.0.0.9"`},
		{"a change", "PUT " + dc + "/ipset/a2/10.0.0.9", []string{"comment=one"}, null},
		{"is kept", "GET " + dc + "/ipset/a2/10.0.0.9", nil, `"comment":"one"`},
		{"everything is no entry", "POST " + dc + "/ipset/a2", []string{"cidr=0.0.0.0/0"}, "a zero prefix is not allowed in ipset entries"},
		{"nonsense is no entry", "POST " + dc + "/ipset/a2", []string{"cidr=10.0.0.0/33"}, "IP address or CIDR network"},
		{"an unknown alias is no entry", "POST " + dc + "/ipset/a2", []string{"cidr=dc/gw"}, "no such alias 'gw'"},
		{"a missing entry goes in silence", "DELETE " + dc + "/ipset/a2/10.9.9.9", nil, null},
		{"a network with its slash goes", "DELETE " + dc + "/ipset/a2/10.0.0.0/24", nil, null},
		{"a stale digest", "DELETE " + dc + "/ipset/a2/10.0.0.9", []string{"digest=00"}, "detected modified configuration"},
		{"force empties a set", "DELETE " + dc + "/ipset/a2", []string{"force=1"}, null},
		{"an alias", "POST " + dc + "/aliases", []string{"name=GW", "cidr=10.0.0.1/32", "comment=router"}, null},
		{"keeps its case and loses the prefix", "GET " + dc + "/aliases/gw", nil, `"cidr":"10.0.0.1"`},
		{"its name is taken in any case", "POST " + dc + "/aliases", []string{"name=gw", "cidr=10.0.0.2"}, "alias 'gw' already exists"},
		{"a change drops the comment", "PUT " + dc + "/aliases/gw", []string{"cidr=10.0.0.3"}, null},
		{"it is dropped", "GET " + dc + "/aliases", nil, `[{"cidr":"10.0.0.3","digest":"`},
		{"a rename", "PUT " + dc + "/aliases/gw", []string{"cidr=10.0.0.3", "rename=router"}, null},
		{"the old name is gone", "GET " + dc + "/aliases/gw", nil, `"name":"no such alias"`},
		{"a guest may use it", "POST " + guest + "/rules", []string{"type=out", "action=REJECT", "dest=dc/router", "log=info"}, null},
		{"with its version", "GET " + guest + "/rules/0", nil, `"ipversion":4`},
		{"what a guest may refer to", "GET " + guest + "/refs", []string{"type=alias"}, `"scope":"dc"`},
		{"a missing alias goes in silence", "DELETE " + dc + "/aliases/nosuch", nil, null},
		{"an IPv6 rule with an IPv4 address", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "proto=ipv6-icmp", "source=10.0.0.1"}, "detected mixed ipv4/ipv6 addresses in rule"},
		{"a list of both", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "source=10.0.0.1,fd00::1"}, "detected mixed ipv4/ipv6"},
		{"a network with host bits", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "source=10.0.0.1/24"}, "invalid IP address: Invalid prefix 00001010000000000000000000000001/24"},
		{"a range", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "source=10.0.0.1-10.0.0.9", "iface=vmbr0"}, null},
		{"a range in a list", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "source=10.0.0.1-10.0.0.9,10.0.1.1"}, "you can't use a range in a list"},
		{"ports backwards", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "proto=tcp", "dport=90:80"}, "backwards range '90:80' not allowed"},
		{"too many ports", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "proto=tcp", "dport=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16"}, "too many entries in port list"},
		{"ports by name", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "proto=tcp", "dport=https,8000:8010"}, null},
		{"ports of a protocol without any", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "proto=gre", "dport=80"}, "protocol 'gre' does not support ports"},
		{"an unknown protocol", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "proto=foo"}, "unknown protocol 'foo'"},
		{"a type of ICMP needs ICMP", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "proto=tcp", "icmp-type=echo-request"}, "'icmp-type' requires this property"},
		{"a type of ICMP is a name", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "proto=icmp", "icmp-type=8"}, "invalid icmp-type value '8'"},
		{"a ping", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "proto=icmp", "icmp-type=echo-request"}, null},
		{"an unknown macro", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "macro=Nosuch"}, "unknown macro 'Nosuch'"},
		{"a macro against its own port", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "macro=SSH", "proto=tcp", "dport=23"}, "parameter 'dport' already define in macro (value = '22')"},
		{"a macro in another case", "POST " + dc + "/rules", []string{"type=in", "action=ACCEPT", "macro=ssh"}, null},
		{"becomes its own", "GET " + dc + "/rules/0", nil, `"macro":"SSH"`},
		{"a rule can be switched off", "PUT " + dc + "/rules/0", []string{"enable=0", "delete=macro"}, null},
		{"it is off", "GET " + dc + "/rules/0", nil, `"enable":0`},
		{"its type stays", "PUT " + dc + "/rules/0", []string{"delete=type"}, "unable to delete required property 'type'"},
		{"no unknown part", "PUT " + dc + "/rules/0", []string{"delete=nosuch"}, "no such property ('nosuch')"},
		{"a guest's device", "POST " + guest + "/rules", []string{"type=in", "action=ACCEPT", "iface=eth0"}, `value does not match the regex pattern 'net\\d+'`},
		{"a guest has no forward rules", "POST " + guest + "/rules", []string{"type=forward", "action=ACCEPT"}, "invalid rule type 'forward' for rule_env 'ct'"},
		{"forwarding does not reject", "POST " + host + "/rules", []string{"type=forward", "action=REJECT"}, "cannot define REJECT rules on forward chain"},
		{"a group's name is short", "POST " + dc + "/groups", []string{"group=nineteen-characters"}, "value may only be 18 characters long"},
		{"a group", "POST " + dc + "/groups", []string{"group=web", "comment=what a web server needs"}, null},
		{"once", "POST " + dc + "/groups", []string{"group=web"}, "Security group 'web' already exists"},
		{"its rules have no interface", "POST " + dc + "/groups/web", []string{"type=in", "action=ACCEPT", "iface=net0"}, "parameter -i not allowed for this rule type"},
		{"nor other groups", "POST " + dc + "/groups/web", []string{"type=group", "action=other"}, "invalid rule type 'group' for rule_env 'group'"},
		{"a rule", "POST " + dc + "/groups/web", []string{"type=in", "action=ACCEPT", "macro=Web", "enable=1"}, null},
		{"another", "POST " + dc + "/groups/web", []string{"type=in", "action=DROP"}, null},
		{"moves", "PUT " + dc + "/groups/web/0", []string{"moveto=2"}, null},
		{"to the end", "GET " + dc + "/groups/web/1", nil, `"action":"DROP"`},
		{"goes", "DELETE " + dc + "/groups/web/1", nil, null},
		{"a guest refers to the group", "POST " + guest + "/rules", []string{"type=group", "action=web", "iface=net0", "enable=1"}, null},
		{"so does a node", "POST " + host + "/rules", []string{"type=group", "action=web", "enable=1"}, null},
		{"the group is renamed", "POST " + dc + "/groups", []string{"group=www", "rename=web"}, null},
		{"with what refers to it", "GET " + guest + "/rules/0", nil, `"action":"www"`},
		{"on the node, too", "GET " + host + "/rules/0", nil, `"action":"www"`},
		{"its comment is kept", "GET " + dc + "/groups", nil, `"comment":"what a web server needs"`},
		{"and changed", "POST " + dc + "/groups", []string{"group=www", "rename=www", "comment=web"}, null},
		{"a group with rules stays", "DELETE " + dc + "/groups/www", nil, "Security group 'www' is not empty"},
		{"it is emptied", "DELETE " + dc + "/groups/www/0", nil, null},
		{"an empty group goes although it is referred to", "DELETE " + dc + "/groups/www", nil, null},
		{"a missing group", "GET " + dc + "/groups/www", nil, "no such security group 'www'"},
		{"macros", "GET " + dc + "/macros", nil, `"macro":"HTTPS"`},
		{"a log", "GET " + guest + "/log", nil, `"t":"no content"`},
		{"an option that is none", "PUT " + guest + "/options", []string{"delete=nosuch"}, "no such option 'nosuch'"},
		{"an option of another level", "PUT " + guest + "/options", []string{"tcpflags=1"}, "property is not defined in schema"},
		{"an option of a node", "PUT " + host + "/options", []string{"tcpflags=1", "log_level_in=info"}, null},
		{"is shown", "GET " + host + "/options", nil, `"tcpflags":1`},
		{"and deleted", "PUT " + host + "/options", []string{"delete=tcpflags,log_level_in"}, null},
		{"a helper that is none", "PUT " + host + "/options", []string{"nf_conntrack_helpers=foo"}, "unknown helper foo"},
		{"a VM's firewall", "PUT /nodes/pve1/qemu/9000/firewall/options", []string{"enable=1"}, null},
		{"goes with its clone", "POST /nodes/pve1/qemu/9000/clone", []string{"newid=202"}, "qmclone"},
		{"a limit of the log", "PUT " + dc + "/options", []string{"log_ratelimit=enable=1,rate=5/minute"}, null},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			a.t = t
			got := a.ask(tc.request, tc.params...)
			if !strings.Contains(got.body, tc.want) {
				t.Errorf("%s %v: %s %s, want %q in it", tc.request, tc.params, got.status, got.body, tc.want)
			}
			if upid, isTask := got.data.(string); isTask {
				a.wait(upid)
			}
		})
	}
	if got := s.Firewall().Guests[202].Options["enable"]; got != "1" {
		t.Errorf("the clone's firewall has enable %q", got)
	}
}

func TestFirewallState(t *testing.T) {
	told := make(chan struct{}, 100)
	s := firewalled(t, pve.Options{NoSSH: true, OnFirewall: func() { told <- struct{}{} }})
	a := asRootToken(t, s)
	for _, step := range [][]string{
		{"PUT " + dc + "/options", "enable=1"},
		{"POST " + dc + "/ipset", "name=web"},
		{"POST " + dc + "/ipset/web", "cidr=10.1.0.0/16", "nomatch=1"},
		{"POST " + dc + "/aliases", "name=gw", "cidr=10.0.0.1"},
		{"POST " + dc + "/groups", "group=sg1", "comment=ours"},
		{"POST " + dc + "/groups/sg1", "type=in", "action=ACCEPT", "proto=tcp", "dport=443", "enable=1"},
		{"POST " + guest + "/rules", "type=group", "action=sg1", "enable=1"},
		{"PUT " + guest + "/options", "enable=1", "policy_in=DROP"},
	} {
		if got := a.ask(step[0], step[1:]...); got.body != null {
			t.Fatalf("%v: %s", step, got.body)
		}
	}
	<-told
	empty := pve.FirewallScope{Options: map[string]string{}, Rules: []pve.FirewallRule{}, Aliases: map[string]string{}, Sets: map[string][]pve.FirewallEntry{}}
	cluster, inGuest := empty, empty
	cluster.Options = map[string]string{"enable": "1"}
	cluster.Aliases = map[string]string{"gw": "10.0.0.1"}
	cluster.Sets = map[string][]pve.FirewallEntry{"web": {{CIDR: "10.1.0.0/16", NoMatch: true}}}
	inGuest.Options = map[string]string{"enable": "1", "policy_in": "DROP"}
	inGuest.Rules = []pve.FirewallRule{{Type: "group", Action: "sg1", Enable: true}}
	want := pve.FirewallState{
		Cluster: cluster,
		Groups: map[string]pve.FirewallGroup{
			"sg1": {Comment: "ours", Rules: []pve.FirewallRule{{Type: "in", Action: "ACCEPT", Proto: "tcp", DPort: "443", Enable: true}}},
		},
		Nodes: map[string]pve.FirewallNode{"pve1": {FirewallScope: empty, Enabled: true}},
		Guests: map[int]pve.FirewallGuest{9000: s.Firewall().Guests[9000], 101: {
			FirewallScope: inGuest, Kind: "lxc", Node: "pve1", Name: "ct101", Running: true,
			NICs: []pve.FirewallNIC{{
				Name: "net0", Device: "eth0", MAC: "BC:24:11:5D:6E:BF", Bridge: "vmbr0", Firewall: true,
				Addresses: []netip.Prefix{netip.MustParsePrefix("10.99.0.101/24")},
			}},
		}},
	}
	if diff := cmp.Diff(want, s.Firewall(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("Firewall() (-want +got):\n%s", diff)
	}
	parts := []pve.MacroPart{{Proto: "udp", DPort: "53"}, {Proto: "tcp", DPort: "53"}}
	if diff := cmp.Diff(parts, pve.Macro("dns", 4)); diff != "" {
		t.Errorf("Macro() (-want +got):\n%s", diff)
	}
}

// TestFirewallVerdict is about what a node lets in, once it is in effect.
func TestFirewallVerdict(t *testing.T) {
	enabled := []string{"PUT " + dc + "/options", "enable=1"}
	rule := func(path string, params ...string) []string {
		return append([]string{"POST " + path, "enable=1", "type=in"}, params...)
	}
	group := func(params ...string) [][]string {
		return [][]string{
			enabled, {"POST " + dc + "/groups", "group=sg1"}, rule(dc+"/groups/sg1", params...),
			{"POST " + host + "/rules", "type=group", "action=sg1", "enable=1"},
		}
	}
	for _, tc := range []struct {
		reason, from string
		port         int
		steps        [][]string
		want         string
	}{
		{"a firewall that is off", "192.0.2.1", 8006, nil, "ACCEPT"},
		{"enabled, from the nodes' network: built in", "10.0.0.50", 8006, [][]string{enabled}, "ACCEPT"},
		{"the same over SSH", "10.0.0.50", 22, [][]string{enabled}, "ACCEPT"},
		{"not for other services", "10.0.0.50", 80, [][]string{enabled}, "DROP"},
		{"nor from outside", "192.0.2.1", 8006, [][]string{enabled}, "DROP"},
		{"loopback stands for the manager, which is inside", "127.0.0.1", 8006, [][]string{enabled}, "ACCEPT"},
		{"a policy", "192.0.2.1", 8006, [][]string{{"PUT " + dc + "/options", "enable=1", "policy_in=REJECT"}}, "REJECT"},
		{"a policy of letting in", "192.0.2.1", 8006, [][]string{{"PUT " + dc + "/options", "enable=1", "policy_in=ACCEPT"}}, "ACCEPT"},
		{"a node that does not filter", "192.0.2.1", 8006, [][]string{enabled, {"PUT " + host + "/options", "enable=0"}}, "ACCEPT"},
		{"a rule comes before what is built in", "10.0.0.50", 8006, [][]string{enabled, rule(host+"/rules", "action=DROP")}, "DROP"},
		{"the node's rules come before the datacenter's", "10.0.0.50", 8006, [][]string{enabled, rule(host+"/rules", "action=REJECT"), rule(dc+"/rules", "action=ACCEPT")}, "REJECT"},
		{"a rule that is off", "10.0.0.50", 8006, [][]string{enabled, rule(host+"/rules", "action=DROP"), {"PUT " + host + "/rules/0", "enable=0"}}, "ACCEPT"},
		{"a rule of going out", "10.0.0.50", 8006, [][]string{enabled, {"POST " + host + "/rules", "enable=1", "type=out", "action=DROP"}}, "ACCEPT"},
		{"a macro", "192.0.2.1", 22, [][]string{enabled, rule(dc+"/rules", "action=ACCEPT", "macro=SSH")}, "ACCEPT"},
		{"a macro of another port", "192.0.2.1", 8006, [][]string{enabled, rule(dc+"/rules", "action=ACCEPT", "macro=SSH")}, "DROP"},
		{"a list of ports", "192.0.2.1", 8006, [][]string{enabled, rule(dc+"/rules", "action=ACCEPT", "proto=tcp", "dport=ssh,8000:8010")}, "ACCEPT"},
		{"another protocol", "192.0.2.1", 8006, [][]string{enabled, rule(dc+"/rules", "action=ACCEPT", "proto=udp", "dport=8006")}, "DROP"},
		{"a source", "192.0.2.1", 8006, [][]string{enabled, rule(dc+"/rules", "action=ACCEPT", "source=192.0.2.0/24")}, "ACCEPT"},
		{"a range", "192.0.2.1", 8006, [][]string{enabled, rule(dc+"/rules", "action=ACCEPT", "source=192.0.2.2-192.0.2.9")}, "DROP"},
		{"another destination", "192.0.2.1", 8006, [][]string{enabled, rule(dc+"/rules", "action=ACCEPT", "dest=10.0.0.99")}, "DROP"},
		{"another interface", "192.0.2.1", 8006, [][]string{enabled, rule(dc+"/rules", "action=ACCEPT", "iface=vmbr7")}, "DROP"},
		{"an alias", "192.0.2.1", 8006, [][]string{enabled, {"POST " + dc + "/aliases", "name=me", "cidr=192.0.2.1"}, rule(dc+"/rules", "action=ACCEPT", "source=me")}, "ACCEPT"},
		{"IPv6 against a rule of IPv4", "fd00::1", 8006, [][]string{enabled, rule(dc+"/rules", "action=ACCEPT", "source=0.0.0.0/0")}, "DROP"},
		{"a set of management", "192.0.2.1", 8006, [][]string{enabled, {"POST " + dc + "/ipset", "name=management"}, {"POST " + dc + "/ipset/management", "cidr=192.0.2.0/24"}}, "ACCEPT"},
		{"but not what it excepts", "192.0.2.1", 8006, [][]string{
			enabled, {"POST " + dc + "/ipset", "name=management"},
			{"POST " + dc + "/ipset/management", "cidr=192.0.2.0/24"}, {"POST " + dc + "/ipset/management", "cidr=192.0.2.1", "nomatch=1"},
		}, "DROP"},
		{"a local network of one's own", "10.0.0.50", 8006, [][]string{enabled, {"POST " + dc + "/aliases", "name=local_network", "cidr=10.7.0.0/16"}}, "DROP"},
		{"a group", "192.0.2.1", 8006, group("action=ACCEPT", "proto=tcp", "dport=8006"), "ACCEPT"},
		{"a group that does not fit", "192.0.2.1", 8006, group("action=ACCEPT", "proto=tcp", "dport=22"), "DROP"},
		{"a group that refuses", "10.0.0.50", 8006, group("action=REJECT"), "REJECT"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			s := firewalled(t, pve.Options{NoSSH: true})
			a := asRootToken(t, s)
			for _, step := range tc.steps {
				if got := a.ask(step[0], step[1:]...); got.body != null {
					t.Fatalf("%v: %s", step, got.body)
				}
			}
			var out strings.Builder
			if exit := s.RunTool(t.Context(), "pve1", []string{"pve-firewall", "restart"}, strings.NewReader(""), &out, &out); exit != 0 {
				t.Fatalf("pve-firewall restart: %d %s", exit, out.String())
			}
			if got := s.Admits("pve1", netip.MustParseAddr(tc.from), tc.port); got != tc.want {
				t.Errorf("Admits(%s, %d) = %s, want %s", tc.from, tc.port, got, tc.want)
			}
		})
	}
}

// TestFirewallCutsOff changes the firewall so that the manager cannot come back.
func TestFirewallCutsOff(t *testing.T) {
	for _, tc := range []struct{ reason, policy string }{
		{"dropped connections get no answer", "DROP"}, {"rejected ones get one", "REJECT"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			s := firewalled(t, pve.Options{TaskTime: 20 * time.Millisecond, ManagerAddress: netip.MustParseAddr("192.0.2.7")})
			status := func() string {
				out, errs, exit := s.Run(t.Context(), "pve1", "pve-firewall status")
				return strings.TrimSpace(out+errs) + map[bool]string{false: " failed"}[exit == 0]
			}
			if got := status(); got != "Status: disabled/running" {
				t.Errorf("at first: %q", got)
			}
			kept := asRootToken(t, s)
			if got := kept.ask("PUT "+dc+"/options", "enable=1", "policy_in="+tc.policy); got.body != null {
				t.Fatalf("enabling: %s", got.body)
			}
			eventually(t, func() bool { return status() == "Status: enabled/running" })
			if got := kept.ask("GET " + dc + "/options"); got.status != "200 OK" {
				t.Errorf("an open connection: %s", got.status)
			}
			if err := fresh(t, s); err == nil {
				t.Error("a new connection to the API was let in")
			}
			if err := dial(s.SSH[0].Address); err == nil {
				t.Error("a new connection to SSH was let in")
			}
			if out, errs, exit := s.Run(t.Context(), "pve1", "pve-firewall stop"); exit != 0 {
				t.Fatalf("pve-firewall stop: %d %s%s", exit, out, errs)
			}
			if got := status(); got != "Status: enabled/stopped" {
				t.Errorf("stopped: %q", got)
			}
			if err := fresh(t, s); err != nil {
				t.Errorf("with the firewall stopped: %v", err)
			}
			if err := dial(s.SSH[0].Address); err != nil {
				t.Errorf("SSH with the firewall stopped: %v", err)
			}
		})
	}
}

// TestFirewallPending is about the time between a change and its effect.
func TestFirewallPending(t *testing.T) {
	s := firewalled(t, pve.Options{TaskTime: time.Hour, ManagerAddress: netip.MustParseAddr("192.0.2.7")})
	a := asRootToken(t, s)
	if got := a.ask("PUT "+dc+"/options", "enable=1"); got.body != null {
		t.Fatal(got.body)
	}
	for _, tc := range []struct{ reason, command, status, verdict string }{
		{"a change waits for the next round", "true", "Status: enabled/running (pending changes)\n", "ACCEPT"},
		{"a restart puts it into effect", "pve-firewall restart", "Status: enabled/running\n", "DROP"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			out, errs, exit := s.Run(t.Context(), "pve1", tc.command+" && pve-firewall status")
			if out != tc.status || exit != 0 {
				t.Errorf("%s: %q %s, want %q", tc.command, out, errs, tc.status)
			}
			if got := s.Admits("pve1", netip.MustParseAddr("127.0.0.1"), 22); got != tc.verdict {
				t.Errorf("Admits() = %s, want %s", got, tc.verdict)
			}
		})
	}
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	pause := time.NewTicker(2 * time.Millisecond)
	defer pause.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !done() {
		select {
		case <-pause.C:
		case <-ctx.Done():
			t.Fatal("it never came true")
		}
	}
}

// fresh asks the API for its version over a new connection.
func fresh(t *testing.T, s *pve.Server) error {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CAPEM)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api2/json/version", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// dial makes a connection and waits for the first byte, as SSH sends one.
func dial(address string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_, err = c.Read(make([]byte, 1))
	return err
}
