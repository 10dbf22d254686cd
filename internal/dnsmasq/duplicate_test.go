// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dnsmasq

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDistinct(t *testing.T) {
	host := func(source string, rank int, name string, addresses ...string) Host {
		return Host{Source: source, Rank: rank, Name: name, Addresses: addresses}
	}
	agreeing := func(source string, rank int, name string, addresses ...string) Host {
		return Host{Source: source, Rank: rank, Name: name, Addresses: addresses, Agrees: true}
	}
	for name, c := range map[string]struct {
		reason string
		config Config
		want   []string // the duplicates
		left   string   // sources that are answered
	}{
		"none": {"two names are two names", Config{Hosts: []Host{host("a", 0, "x", "10.0.0.1"), host("b", 1, "y", "10.0.0.1")}}, nil, "a b"},
		"short and full": {
			"both are one name", Config{Domain: "lan", Hosts: []Host{host("records[2]", 2, "step-ca.lan", "10.0.0.1"), host("Guest/step-ca", 9, "step-ca", "10.0.0.2")}},
			[]string{"records[2] and Guest/step-ca both declare step-ca.lan"}, "records[2]",
		},
		"rank": {
			"the lower rank is answered, wherever it stands", Config{Hosts: []Host{host("young", 9, "x", "10.0.0.1"), host("old", 8, "x", "10.0.0.2")}},
			[]string{"old and young both declare x"}, "old",
		},
		"three": {
			"each names the one that is answered", Config{Hosts: []Host{host("a", 0, "x", "10.0.0.1"), host("b", 1, "x", "10.0.0.2"), host("c", 2, "x", "10.0.0.3")}},
			[]string{"a and b both declare x", "a and c both declare x"}, "a",
		},
		"families": {"A and AAAA are two answers", Config{Hosts: []Host{host("a", 0, "x", "10.0.0.1"), host("b", 1, "x", "fd00::1")}}, nil, "a b"},
		"both families": {
			"one that is there is enough", Config{Hosts: []Host{host("a", 0, "x", "10.0.0.1"), host("b", 1, "x", "fd00::1", "10.0.0.2")}},
			[]string{"a and b both declare x"}, "a",
		},
		"text beside": {"TXT stands beside an address", Config{Hosts: []Host{host("a", 0, "x", "10.0.0.1")}, Texts: []Text{{Source: "t", Rank: 1, Name: "x"}}}, nil, "a t"},
		"cname after": {
			"a CNAME stands alone", Config{Hosts: []Host{host("a", 5, "x", "10.0.0.1")}, CNAMEs: []CNAME{{"c", 6, "x", "y"}}},
			[]string{"a and c both declare x"}, "a",
		},
		"cname before": {
			"a CNAME stands alone", Config{Hosts: []Host{host("a", 5, "x", "10.0.0.1")}, CNAMEs: []CNAME{{"c", 4, "x", "y"}}},
			[]string{"c and a both declare x"}, "c",
		},
		"texts": {"one record has all texts", Config{Texts: []Text{{Source: "s", Name: "x"}, {Source: "t", Rank: 1, Name: "x"}}}, []string{"s and t both declare x"}, "s"},
		"routes of one name": {
			"they say the same", Config{Hosts: []Host{agreeing("Route/a", 5, "x", "10.0.0.1", "fd00::1"), agreeing("Route/b", 6, "x", "FD00::1", "10.0.0.1")}}, nil, "Route/a",
		},
		"routes to two gateways": {
			"one name has one answer", Config{Hosts: []Host{agreeing("Route/a", 6, "x", "10.0.0.1"), agreeing("Route/b", 5, "x", "10.0.0.2")}},
			[]string{"Route/b and Route/a both declare x"}, "Route/b",
		},
		"a route of a guest's name": {
			"the older one is answered", Config{Hosts: []Host{host("Guest/x", 6, "x", "10.0.0.2"), agreeing("Route/x", 5, "x", "10.0.0.1")}},
			[]string{"Route/x and Guest/x both declare x"}, "Route/x",
		},
		"a route of the gateway's name": {
			"both say the same, whoever is older", Config{Hosts: []Host{host("Guest/x", 6, "x", "10.0.0.1"), agreeing("Route/x", 5, "x", "10.0.0.1")}}, nil, "Route/x",
		},
		"two guests of one address": {
			"only Routes may agree", Config{Hosts: []Host{host("a", 5, "x", "10.0.0.1"), host("b", 6, "x", "10.0.0.1")}}, []string{"a and b both declare x"}, "a",
		},
		"a route of another name's": {
			"a CNAME stands alone", Config{Hosts: []Host{agreeing("Route/x", 5, "x", "10.0.0.1")}, CNAMEs: []CNAME{{"c", 4, "x", "y"}}},
			[]string{"c and Route/x both declare x"}, "c",
		},
		"services": {"one name is one place", Config{Domain: "lan", Services: []Service{{Source: "s", Name: "_a._tcp"}, {Source: "t", Rank: 1, Name: "_a._tcp.lan"}}}, []string{"s and t both declare _a._tcp.lan"}, "s"},
	} {
		t.Run(name, func(t *testing.T) {
			config, twice := c.config.Distinct()
			var got, left []string
			for _, d := range twice {
				got = append(got, d.String())
			}
			for _, m := range config.claims() {
				left = append(left, m.source)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if got := strings.Join(left, " "); got != c.left {
				t.Errorf("%s: %q is answered, want %q", c.reason, got, c.left)
			}
			if _, again := config.Distinct(); len(again) > 0 {
				t.Errorf("what is left has duplicates: %v", again)
			}
		})
	}
}

func TestDistinctWildcards(t *testing.T) {
	wild := func(source string, rank int, domain string, addresses ...string) Wildcard {
		return Wildcard{Source: source, Rank: rank, Domain: domain, Addresses: addresses}
	}
	for name, c := range map[string]struct {
		reason string
		config Config
		want   []string // the duplicates
		left   string   // sources that are answered
	}{
		"two domains":        {"each has its own", Config{Wildcards: []Wildcard{wild("b", 1, "y", "10.0.0.1"), wild("a", 2, "x", "10.0.0.1")}}, nil, "a b"},
		"one within another": {"the longer one is answered there", Config{Wildcards: []Wildcard{wild("a", 1, "x", "10.0.0.1"), wild("b", 2, "y.x", "10.0.0.2")}}, nil, "a b"},
		"the name itself":    {"it is another one", Config{Hosts: []Host{{Source: "h", Name: "x.lan", Addresses: []string{"10.0.0.2"}}}, Wildcards: []Wildcard{wild("a", 1, "x.lan", "10.0.0.1")}}, nil, "a"},
		"the same":           {"it is one answer", Config{Wildcards: []Wildcard{wild("a", 1, "x", "10.0.0.1"), wild("b", 2, "x", "10.0.0.1")}}, nil, "a"},
		"two answers": {
			"the older one is given", Config{Wildcards: []Wildcard{wild("a", 2, "x", "10.0.0.1"), wild("b", 1, "x", "10.0.0.2")}},
			[]string{"b and a both declare *.x"}, "b",
		},
		"subdomains of a record": {
			"the record is declared", Config{Hosts: []Host{{Source: "records[0]", Name: "x.lan", Addresses: []string{"10.0.0.2"}, Subdomains: true}}, Wildcards: []Wildcard{wild("a", 1, "x.lan", "10.0.0.1")}},
			[]string{"records[0] and a both declare *.x.lan"}, "",
		},
		"subdomains of a record at the same address": {
			"they say the same", Config{Hosts: []Host{{Source: "records[0]", Name: "x.lan", Addresses: []string{"10.0.0.1"}, Subdomains: true}}, Wildcards: []Wildcard{wild("a", 1, "x.lan", "10.0.0.1")}},
			nil, "",
		},
		"a zone": {
			"other servers are asked for it", Config{Zones: []Zone{{"zones[x]", "x", []string{"10.0.0.9"}}}, Wildcards: []Wildcard{wild("a", 1, "x", "10.0.0.1")}},
			[]string{"zones[x] and a both declare *.x"}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			config, twice := c.config.Distinct()
			var got, left []string
			for _, d := range twice {
				got = append(got, d.String())
			}
			for _, w := range config.Wildcards {
				left = append(left, w.Source)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if got := strings.Join(left, " "); got != c.left {
				t.Errorf("%s: %q is answered, want %q", c.reason, got, c.left)
			}
			if _, again := config.Distinct(); len(again) > 0 {
				t.Errorf("what is left has duplicates: %v", again)
			}
		})
	}
}

func TestDangling(t *testing.T) {
	c := Config{
		Domain: "lan",
		Hosts:  []Host{{Name: "nas", Addresses: []string{"10.0.0.1"}}, {Name: "apps", Addresses: []string{"10.0.0.2"}, Subdomains: true}},
		CNAMEs: []CNAME{
			{Source: "there", Name: "a", Target: "nas.lan"}, {Source: "chain", Name: "b", Target: "a"}, {Source: "below", Name: "c", Target: "x.apps.lan"},
			{Source: "gone", Name: "d", Target: "nose"}, {Source: "outside", Name: "e", Target: "example.org"},
			{Source: "wild", Name: "f", Target: "y.wild.lan"}, {Source: "above", Name: "g", Target: "wild.lan"},
		},
		Wildcards: []Wildcard{{Domain: "wild.lan"}},
	}
	var got []string
	for _, r := range c.Dangling() {
		got = append(got, r.Source)
	}
	if diff := cmp.Diff([]string{"gone", "outside", "above"}, got); diff != "" {
		t.Errorf("dnsmasq answers a CNAME only for names of its own (-want +got):\n%s", diff)
	}
}
