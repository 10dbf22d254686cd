// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dnsmasq

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// FuzzRender declares values of all sorts. What is refused is refused; what is rendered reads as exactly what was
// declared, with not a line more.
func FuzzRender(f *testing.F) {
	for _, seed := range []string{"nas", "x\naddress=/#/1.2.3.4", `a"b`, "$(id)", "-x", "a,b", "a/b", "a b", "a#b", "10.0.0.1", "fe80::1%x\ny", "ä", "\x00", "a.b.c", "_x._y", ""} {
		f.Add(seed, seed, "10.0.0.20", "text", "bc:24:11:00:00:01")
		f.Add("nas", "www", seed, seed, seed)
	}
	f.Fuzz(func(t *testing.T, name, target, address, text, mac string) {
		c := Config{
			About: "HostService home/dns", Listen: []string{"10.0.0.13"}, Upstreams: []string{"9.9.9.9"}, Domain: "lan", HostsDir: "/h",
			Hosts: []Host{
				{Source: "records[0]", Name: name, Addresses: []string{address}, Subdomains: true},
				{Source: "records[1]", Name: target, Addresses: []string{address, "10.0.0.99"}},
			},
			Wildcards: []Wildcard{{Source: "Route/x", Domain: name, Addresses: []string{address}}},
			CNAMEs:    []CNAME{{Source: "records[2]", Name: name, Target: target}},
			Texts:     []Text{{Source: "records[3]", Name: name, Strings: []string{text, text}}},
			Services:  []Service{{Source: "records[4]", Name: "_" + name, Target: target, Port: 1}},
			Zones:     []Zone{{Source: "zones[0]", Domain: name, Servers: []string{address}}},
			DHCP: &DHCP{
				Ranges:  []Range{{Source: "r", First: "10.0.0.1", Last: "10.0.0.9", Lease: time.Hour}},
				Gateway: address, HostsFile: "/d", Reservations: []Reservation{{Source: "d", MAC: mac, Address: address, Name: name}},
			},
		}
		for _, drop := range []func(){func() {}, func() { c.Services, c.Zones = nil, nil }, func() { c.DHCP = nil }, func() { c.CNAMEs, c.Texts = nil, nil }} {
			drop()
			files, err := c.Render()
			if err != nil {
				continue
			}
			if diff := cmp.Diff(declared(c), read(t, files)); diff != "" {
				t.Fatalf("what is read is not what was declared (-declared +read):\n%s", diff)
			}
		}
	})
}

// declared are the facts of a configuration, one a line, without the order.
func declared(c Config) map[string]int {
	facts := map[string]int{
		"bind-dynamic": 1, "no-resolv": 1, "no-hosts": 1, "domain-needed": 1, "listen-address 10.0.0.13": 1, "server 9.9.9.9": 1,
		"domain lan": 1, "local lan": 1, "hostsdir /h": 1,
	}
	for _, h := range c.Hosts {
		for _, a := range h.Addresses {
			for _, name := range c.names(h.Name) {
				facts["host "+name+" "+canonical(a)]++
			}
			if h.Subdomains {
				facts["address "+c.Full(h.Name)+" "+canonical(a)]++
			}
		}
		if h.Subdomains {
			facts["local "+c.Full(h.Name)]++
		}
	}
	for _, w := range c.Wildcards {
		facts["local *."+w.Domain]++
		for _, a := range w.Addresses {
			facts["address *."+w.Domain+" "+canonical(a)]++
		}
	}
	for _, r := range c.CNAMEs {
		for _, name := range c.names(r.Name) {
			facts["cname "+name+" "+c.Full(r.Target)]++
		}
	}
	for _, r := range c.Texts {
		for _, name := range c.names(r.Name) {
			facts[fmt.Sprintf("txt %s %q", name, r.Strings)]++
		}
	}
	for _, r := range c.Services {
		facts[fmt.Sprintf("srv %s %s %d,%d,%d", c.service(r.Name), c.Full(r.Target), r.Port, r.Priority, r.Weight)]++
	}
	for _, z := range c.Zones {
		for _, s := range z.Servers {
			facts["server "+z.Domain+" "+canonical(s)]++
		}
	}
	if d := c.DHCP; d != nil {
		facts["range 10.0.0.1,10.0.0.9,3600s"]++
		facts["option option:router,"+d.Gateway]++
		facts["dhcp-hostsfile /d"]++
		for _, r := range d.Reservations {
			facts["reserve "+strings.ToLower(r.MAC)+","+r.Address+","+r.Name]++
		}
	}
	return facts
}

// read takes rendered files apart as dnsmasq does, knowing nothing of how they were made.
func read(t *testing.T, files Files) map[string]int {
	facts := map[string]int{}
	for line := range strings.SplitSeq(string(files.DropIn), "\n") {
		key, value := splitOption(line)
		if key == "" {
			continue
		}
		words := splitWords(t, value)
		domains, what, scoped := cutDomains(value)
		scoped = scoped && (key == "server" || key == "local" || key == "address")
		switch {
		case key == "cname":
			for _, name := range words[:len(words)-1] {
				facts["cname "+name+" "+words[len(words)-1]]++
			}
		case key == "txt-record":
			facts[fmt.Sprintf("txt %s %q", words[0], words[1:])]++
		case key == "srv-host":
			facts["srv "+words[0]+" "+words[1]+" "+strings.Join(words[2:], ",")]++
		case key == "dhcp-range":
			facts["range "+value]++
		case key == "dhcp-option":
			facts["option "+value]++
		case scoped:
			for _, d := range domains {
				facts[strings.TrimSpace(key+" "+d+" "+what)]++
			}
		default:
			facts[strings.TrimSpace(key+" "+value)]++
		}
	}
	for line := range strings.SplitSeq(string(files.Hosts), "\n") {
		address, names, ok := splitHosts(line)
		if !ok && line != "" && line[0] != '#' {
			t.Fatalf("the hosts file has a line %q", line)
		}
		for _, name := range names {
			facts["host "+name+" "+address.String()]++
		}
	}
	for line := range strings.SplitSeq(string(files.Reservations), "\n") {
		if line != "" && line[0] != '#' {
			facts["reserve "+line]++
		}
	}
	return facts
}

// splitWords splits at commas that are not quoted.
func splitWords(t *testing.T, value string) []string {
	var words []string
	var word strings.Builder
	quoted := false
	for _, r := range value {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ',' && !quoted:
			words = append(words, word.String())
			word.Reset()
		default:
			word.WriteRune(r)
		}
	}
	if quoted {
		t.Fatalf("a quote is left open in %q", value)
	}
	return append(words, word.String())
}
