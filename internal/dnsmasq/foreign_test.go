// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dnsmasq

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConflicts(t *testing.T) {
	for line, c := range map[string]struct{ reason, why string }{
		"address=/nas.lan/10.9.9.9":             {"it answers our name", "answers nas.lan, which is declared"},
		"address = /NAS/10.9.9.9  # mine":       {"spaces, capitals and comments change nothing", "answers nas, which is declared"},
		"# address=/nas.lan/10.9.9.9":           {"a comment says nothing", ""},
		"address=/other.lan/10.9.9.9":           {"it answers another name", ""},
		"address=/example.com/10.9.9.9":         {"it answers what is below as well", "answers all below example.com, which is declared"},
		"address=/*.example.com/10.9.9.9":       {"it answers the same", "answers all below example.com, which is declared"},
		"address=/a.example.com/10.9.9.9":       {"it answers one of them, and is longer", ""},
		"server=/example.com/10.9.9.9":          {"the name itself is none of ours", ""},
		"address=/a.lan/nas.lan/10.9.9.9":       {"one of its names is ours", "answers nas.lan, which is declared"},
		"address=/lan/10.9.9.9":                 {"what is not declared does not exist", "answers all of the domain lan"},
		"address=/#/10.9.9.9":                   {"it answers every name", "answers every name"},
		"address=/org/10.9.9.9":                 {"our names there are exact", ""},
		"host-record=x.lan,nas.lan,10.9.9.9":    {"its second name is ours", "answers nas.lan, which is declared"},
		"host-record=x.lan,10.9.9.9":            {"it answers another name", ""},
		"cname=www.lan,other.lan":               {"it answers our name", "answers www.lan, which is declared"},
		"cname=web.lan,nas.lan":                 {"our name is only its target", ""},
		"ptr-record=20.0.0.10.in-addr.arpa,x":   {"it answers our address", "answers the address 10.0.0.20, which is declared"},
		"ptr-record=21.0.0.10.in-addr.arpa,x":   {"it answers another address", ""},
		"txt-record=about.lan,hi":               {"it answers our name", "answers about.lan, which is declared"},
		"srv-host=_ldap._tcp.lan,x.lan,1":       {"it answers our name", "answers _ldap._tcp.lan, which is declared"},
		"server=8.8.8.8":                        {"only the upstreams are asked", "asks a server that is not one of the upstreams"},
		"server=9.9.9.9":                        {"it is one of the upstreams", ""},
		"server=/lan/10.0.0.99":                 {"our domain is here", "answers all of the domain lan"},
		"local=/lan/":                           {"we say so too", ""},
		"server=/168.192.in-addr.arpa/10.0.0.9": {"the zone has its servers", "asks another server for the zone 168.192.in-addr.arpa"},
		"server=/example.net/10.0.0.9":          {"it is another zone", ""},
		"domain=home":                           {"there is one domain", "sets another domain than lan"},
		"domain=lan":                            {"it is the same", ""},
		"domain=home,10.1.0.0/24":               {"it is one of another network", ""},
		"bind-interfaces":                       {"dnsmasq refuses both", "excludes bind-dynamic"},
		"port=5353":                             {"nobody would find it", "moves dnsmasq away from port 53"},
		"listen-address=127.0.0.1":              {"it listens there beside ours", ""},
		"dhcp-range=10.0.0.240,10.0.0.254,12h":  {"an address would be given twice", "hands out addresses of dhcp.ranges[0], which is from 10.0.0.200 to 10.0.0.250"},
		"dhcp-range=set:x,10.0.0.100,10.0.0.150": {
			"it hands out others", ""},
		"dhcp-host=BC:24:11:00:00:01,10.0.0.77": {"the client would have two addresses", "gives what dhcp.reservations[0] reserves"},
		"dhcp-host=00:00:00:00:00:01,10.0.0.31": {"two clients would have one address", "gives what dhcp.reservations[1] reserves"},
		"dhcp-host=00:00:00:00:00:01,10.0.0.77": {"it is another client", ""},
		"cache-size=10":                         {"it is of no account", ""},
	} {
		t.Run(line, func(t *testing.T) {
			got := site().Conflicts(map[string]string{"/etc/dnsmasq.d/hand.conf": "\n" + line + "\n"}, nil)
			var want []Conflict
			if c.why != "" {
				want = []Conflict{{"/etc/dnsmasq.d/hand.conf", 2, line, c.why}}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestOwnFilesDoNotConflict(t *testing.T) {
	f, err := site().Render()
	if err != nil {
		t.Fatal(err)
	}
	for n, line := range strings.Split(string(f.DropIn), "\n") {
		got := site().Conflicts(map[string]string{"other": line}, nil)
		key, _ := splitOption(line)
		answers := map[string]bool{"address": true, "cname": true, "txt-record": true, "srv-host": true, "dhcp-range": true}[key] || line == "local=/apps.example.org/"
		if (len(got) > 0) != answers {
			t.Errorf("line %d (%s): conflicts %v; what answers twice conflicts, what only says the same does not", n, line, got)
		}
	}
}

func TestHostsFiles(t *testing.T) {
	dropIns := map[string]string{"a": "addn-hosts=/etc/hosts.home\nhostsdir=/etc/hosts.d\naddn-hosts=$(x)\n", "b": "addn-hosts=/etc/hosts.home\n#hostsdir=/x\n"}
	if diff := cmp.Diff([]string{"/etc/hosts.d/*", "/etc/hosts.home"}, HostsFiles(dropIns)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got := site().Conflicts(nil, map[string]string{"/etc/hosts.home": "# old\n10.9.9.9 printer\n10.9.9.9 nas.lan nas # ours\n"})
	want := []Conflict{{"/etc/hosts.home", 3, "10.9.9.9 nas.lan nas # ours", "answers nas.lan, which is declared"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLost(t *testing.T) {
	hosts := "127.0.0.1 localhost\n10.0.0.13 phoenix.lan phoenix\n10.0.0.20 nas\nff02::1 ip6-allnodes\n"
	var got []int
	for _, f := range site().Lost(hosts) {
		got = append(got, f.Line)
	}
	if fmt.Sprint(got) != "[2]" {
		t.Errorf("lines %v are lost, want 2 alone: no-hosts takes away what is neither declared nor the machine's own", got)
	}
	for text, want := range map[string]bool{"": true, "no-hosts\n": false, "#no-hosts\n": true} {
		if got := ReadsHosts(map[string]string{"a": text}); got != want {
			t.Errorf("%q: /etc/hosts is read: %t, want %t", text, got, want)
		}
	}
}
