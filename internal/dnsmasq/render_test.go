// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dnsmasq

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// site is a configuration with one of everything.
func site() Config {
	return Config{
		About: "HostService home/dns", Listen: []string{"10.0.0.13", "fd00::13"}, Upstreams: []string{"9.9.9.9"}, Domain: "lan",
		HostsDir: "/etc/phoenix/dnsmasq/dns/hosts",
		Hosts: []Host{
			{Source: "records[0]", Rank: 0, Name: "nas", Addresses: []string{"10.0.0.20", "FD00::20"}},
			{Source: "records[1]", Rank: 1, Name: "apps.example.org", Addresses: []string{"10.0.0.12"}, Subdomains: true},
			{Source: "Guest/step-ca", Rank: 100, Name: "step-ca", Addresses: []string{"10.0.0.10"}},
			{Source: "Route/blog", Rank: 101, Name: "blog.lan", Addresses: []string{"10.0.0.153"}, Agrees: true},
		},
		Wildcards: []Wildcard{{Source: "Route/blog", Rank: 101, Domain: "example.com", Addresses: []string{"10.0.0.153", "FD00::99"}}},
		CNAMEs:    []CNAME{{Source: "records[2]", Rank: 2, Name: "www", Target: "nas"}},
		Texts:     []Text{{Source: "records[3]", Rank: 3, Name: "about", Strings: []string{"hello, world", "#2"}}},
		Services:  []Service{{Source: "records[4]", Rank: 4, Name: "_ldap._tcp", Target: "nas", Port: 389, Priority: 1, Weight: 2}},
		Zones:     []Zone{{Source: "zones[0]", Domain: "168.192.in-addr.arpa", Servers: []string{"192.168.1.1", "fd01::1"}}},
		DHCP: &DHCP{
			Ranges:  []Range{{Source: "dhcp.ranges[0]", First: "10.0.0.200", Last: "10.0.0.250", Lease: time.Hour}},
			Gateway: "10.0.0.1", HostsFile: "/etc/phoenix/dnsmasq/dns/dhcp-hosts",
			Reservations: []Reservation{
				{Source: "dhcp.reservations[0]", MAC: "BC:24:11:00:00:01", Address: "10.0.0.30", Name: "app"},
				{Source: "dhcp.reservations[1]", MAC: "bc:24:11:00:00:02", Address: "10.0.0.31"},
			},
		},
	}
}

// Real dnsmasq 2.90 accepted these files and answered from them as the package's comment says.
const (
	wantDropIn = `# HostService home/dns
# Made by Phoenix: what is changed here by hand is put back.
bind-dynamic
listen-address=10.0.0.13
listen-address=fd00::13
no-resolv
no-hosts
domain=lan
local=/lan/
domain-needed
server=9.9.9.9
server=/168.192.in-addr.arpa/192.168.1.1
server=/168.192.in-addr.arpa/fd01::1
hostsdir=/etc/phoenix/dnsmasq/dns/hosts
local=/apps.example.org/
address=/apps.example.org/10.0.0.12
local=/*.example.com/
address=/*.example.com/10.0.0.153
address=/*.example.com/fd00::99
cname=www.lan,www,nas.lan
txt-record=about.lan,"hello, world","#2"
txt-record=about,"hello, world","#2"
srv-host=_ldap._tcp.lan,nas.lan,389,1,2
dhcp-range=10.0.0.200,10.0.0.250,3600s
dhcp-option=option:router,10.0.0.1
dhcp-hostsfile=/etc/phoenix/dnsmasq/dns/dhcp-hosts
`
	wantHosts = `# HostService home/dns
# Made by Phoenix: what is changed here by hand is put back.
10.0.0.20 nas.lan nas
fd00::20 nas.lan nas
10.0.0.12 apps.example.org
10.0.0.10 step-ca.lan step-ca
10.0.0.153 blog.lan blog
`
	wantReservations = `# HostService home/dns
# Made by Phoenix: what is changed here by hand is put back.
bc:24:11:00:00:01,10.0.0.30,app
bc:24:11:00:00:02,10.0.0.31
`
)

func TestRender(t *testing.T) {
	f, err := site().Render()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		want string
		got  []byte
	}{"drop-in": {wantDropIn, f.DropIn}, "hosts": {wantHosts, f.Hosts}, "reservations": {wantReservations, f.Reservations}} {
		if diff := cmp.Diff(c.want, string(c.got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestRenderVariants(t *testing.T) {
	for name, c := range map[string]struct {
		reason    string
		change    func(*Config)
		has, lack []string
	}{
		"no upstreams": {
			reason: "what is not declared does not exist: REFUSED would send clients to the next server",
			change: func(c *Config) { c.Upstreams = nil }, has: []string{"\nlocal=/#/\n"}, lack: []string{"\nserver=9.9.9.9\n"},
		},
		"no domain": {
			reason: "names without a dot stand for themselves",
			change: func(c *Config) { c.Domain = "" },
			has:    []string{"\ncname=www,nas\n", "\n10.0.0.10 step-ca\n", "srv-host=_ldap._tcp,nas,"}, lack: []string{"domain", "local=/lan/"},
		},
		"no DHCP": {
			reason: "no addresses are handed out",
			change: func(c *Config) { c.DHCP = nil }, lack: []string{"dhcp", "bc:24"},
		},
		"full name of the domain": {
			reason: "a name right below the domain is answered in short too, however it is declared",
			change: func(c *Config) { c.Hosts[0].Name = "nas.lan" }, has: []string{"\n10.0.0.20 nas.lan nas\n"},
		},
		"deeper below the domain": {
			reason: "it has no short name",
			change: func(c *Config) { c.Hosts[0].Name = "nas.home.lan" }, has: []string{"\n10.0.0.20 nas.home.lan\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := site()
			c.change(&config)
			f, err := config.Render()
			if err != nil {
				t.Fatal(err)
			}
			all := string(f.DropIn) + string(f.Hosts) + string(f.Reservations)
			for _, text := range c.has {
				if !strings.Contains(all, text) {
					t.Errorf("%s: %q is not in\n%s", c.reason, text, all)
				}
			}
			for _, text := range c.lack {
				if strings.Contains(all, text) {
					t.Errorf("%s: %q is in\n%s", c.reason, text, all)
				}
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		change func(*Config)
		field  string
	}{
		"a line in a name":      {"it would answer every name", func(c *Config) { c.Hosts[0].Name = "x\naddress=/#/1.2.3.4" }, "records[0].name"},
		"a quote in a name":     {"it would end the word", func(c *Config) { c.Hosts[0].Name = `x"y` }, "records[0].name"},
		"a shell in a name":     {"it is no name", func(c *Config) { c.Hosts[0].Name = "$(reboot)" }, "records[0].name"},
		"a dash before a name":  {"it would be an option", func(c *Config) { c.Hosts[0].Name = "-x" }, "records[0].name"},
		"a slash in a name":     {"it would be another domain", func(c *Config) { c.Hosts[1].Name = "a/b" }, "records[1].name"},
		"a comma in a name":     {"it would be another name", func(c *Config) { c.CNAMEs[0].Name = "a,b" }, "records[2].name"},
		"an address as a name":  {"it would be answered as a name", func(c *Config) { c.Hosts[0].Name = "10.0.0.1" }, "records[0].name"},
		"a long name":           {"DNS has no room for it", func(c *Config) { c.Hosts[0].Name = strings.Repeat("a.", 126) + "a" + "" }, ""},
		"too long a name":       {"DNS has no room for it", func(c *Config) { c.Hosts[0].Name = strings.Repeat("a.", 127) + "a" }, "records[0].name"},
		"a zone of an address":  {"it may hold anything", func(c *Config) { c.Hosts[0].Addresses[0] = "fe80::1%x\naddress=/#/1.2.3.4" }, "records[0].addresses[0]"},
		"a mapped address":      {"it is written in two ways", func(c *Config) { c.Hosts[0].Addresses[0] = "::ffff:10.0.0.1" }, "records[0].addresses[0]"},
		"no address":            {"nothing is answered", func(c *Config) { c.Hosts[0].Addresses = nil }, "records[0].addresses"},
		"a target with a line":  {"it would be a line of its own", func(c *Config) { c.CNAMEs[0].Target = "a\nno-resolv" }, "records[2].cname"},
		"its own target":        {"it leads nowhere", func(c *Config) { c.CNAMEs[0].Target = "www.lan" }, "records[2].cname"},
		"a quote in a text":     {"it would end the text", func(c *Config) { c.Texts[0].Strings[0] = `a",b` }, "records[3].text[0]"},
		"a backslash in a text": {"it would quote the end", func(c *Config) { c.Texts[0].Strings[0] = `a\` }, "records[3].text[0]"},
		"a line in a text":      {"it would be a line of its own", func(c *Config) { c.Texts[0].Strings[1] = "a\nserver=1.2.3.4" }, "records[3].text[1]"},
		"no service":            {"it is no name of one", func(c *Config) { c.Services[0].Name = "ldap" }, "records[4].name"},
		"no port":               {"there is none", func(c *Config) { c.Services[0].Port = 0 }, "records[4].srv.port"},
		"a high weight":         {"it has 16 bits", func(c *Config) { c.Services[0].Weight = 65536 }, "records[4].srv.weight"},
		"a zone with a line":    {"it would be a line of its own", func(c *Config) { c.Zones[0].Domain = "a\n" }, "zones[0].domain"},
		"no server of a zone":   {"nobody could be asked", func(c *Config) { c.Zones[0].Servers = nil }, "zones[0].servers"},
		"itself for a zone":     {"it would ask itself for ever", func(c *Config) { c.Zones[0].Servers[1] = "FD00:0::13" }, "zones[0].servers[1]"},
		"itself upstream":       {"it would ask itself for ever", func(c *Config) { c.Upstreams[0] = "10.0.0.13" }, "upstreams[0]"},
		"the machine upstream":  {"it would ask itself for ever", func(c *Config) { c.Own, c.Upstreams[0] = []string{"10.0.1.13"}, "10.0.1.13" }, "upstreams[0]"},
		"loopback upstream":     {"it would ask itself for ever", func(c *Config) { c.Upstreams[0] = "127.0.0.53" }, "upstreams[0]"},
		"everywhere":            {"it answers on its addresses alone", func(c *Config) { c.Listen[0] = "0.0.0.0" }, "listenAddresses[0]"},
		"nowhere":               {"nobody could ask", func(c *Config) { c.Listen = nil }, "listenAddresses"},
		"a domain with a line":  {"it would be a line of its own", func(c *Config) { c.Domain = "lan\nno-hosts" }, "domain"},
		"a comment with a line": {"it would be a line of its own", func(c *Config) { c.About = "a\nserver=1.2.3.4" }, "about"},
		"a path with a line":    {"it would be a line of its own", func(c *Config) { c.HostsDir = "/a\nb" }, "hostsDir"},
		"a range upside down":   {"it holds nothing", func(c *Config) { c.DHCP.Ranges[0].Last = "10.0.0.100" }, "dhcp.ranges[0].last"},
		"a range of IPv6":       {"only IPv4 is handed out", func(c *Config) { c.DHCP.Ranges[0].First = "fd00::1" }, "dhcp.ranges[0].first"},
		"a lease of a minute":   {"dnsmasq makes it two", func(c *Config) { c.DHCP.Ranges[0].Lease = time.Minute }, "dhcp.ranges[0].lease"},
		"two ranges in one": {"an address would be given twice", func(c *Config) {
			c.DHCP.Ranges = append(c.DHCP.Ranges, Range{"dhcp.ranges[1]", "10.0.0.250", "10.0.0.251", time.Hour})
		}, "dhcp.ranges[1].first"},
		"a MAC with a comma":      {"it would be an option", func(c *Config) { c.DHCP.Reservations[0].MAC = "bc:24:11:00:00:01,ignore" }, "dhcp.reservations[0].mac"},
		"a reservation of a name": {"it is no address", func(c *Config) { c.DHCP.Reservations[0].Address = "ignore" }, "dhcp.reservations[0].address"},
		"a gateway with a line":   {"it would be a line of its own", func(c *Config) { c.DHCP.Gateway = "10.0.0.1\n" }, "dhcp.gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			config := site()
			c.change(&config)
			f, err := config.Render()
			if c.field == "" {
				if err != nil {
					t.Errorf("%s: refused: %v", c.reason, err)
				}
				return
			}
			var refused *FieldError
			if !errors.As(err, &refused) || refused.Field != c.field {
				t.Fatalf("%s: error %v, want one of %s", c.reason, err, c.field)
			}
			if f.DropIn != nil || f.Hosts != nil {
				t.Error("there are files beside the error")
			}
			if strings.Contains(refused.Error(), "\n") {
				t.Errorf("the message %q breaks its line", refused)
			}
		})
	}
}

func TestEveryRefusalIsNamed(t *testing.T) {
	config := site()
	config.Hosts[0].Name, config.Upstreams[0], config.Texts[0].Strings[0] = "A", "x", ""
	_, err := config.Render()
	for _, field := range []string{"records[0].name", "upstreams[0]", "records[3].text[0]"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v does not name %s", err, field)
		}
	}
}
