// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dnsmasq

import (
	"fmt"
	"net/netip"
	"strings"
)

// Files are the files of one dnsmasq.
type Files struct {
	// DropIn belongs into /etc/dnsmasq.d. A change takes effect with a restart.
	DropIn []byte
	// Hosts belongs into Config.HostsDir. A change takes effect with SIGHUP.
	Hosts []byte
	// Reservations belongs at DHCP.HostsFile; nil without DHCP. A change takes effect with SIGHUP.
	Reservations []byte
}

// Render returns the files. The same configuration always renders to the same bytes. The error joins a *FieldError for
// every value that does not fit, and then there are no files.
func (c Config) Render() (Files, error) {
	if err := c.check(); err != nil {
		return Files{}, err
	}
	f := Files{DropIn: c.dropIn(), Hosts: c.hosts()}
	if c.DHCP != nil {
		f.Reservations = c.reservations()
	}
	return f, nil
}

// text is a file that is written line by line.
type text struct{ strings.Builder }

func (t *text) line(format string, args ...any) {
	fmt.Fprintf(t, format, args...)
	t.WriteByte('\n')
}

func (c Config) begin() *text {
	t := &text{}
	t.line("# %s", c.About)
	t.line("# Made by Phoenix: what is changed here by hand is put back.")
	return t
}

func (c Config) dropIn() []byte {
	t := c.begin()
	// Addresses that come later, as those of a bridge do, are listened on as soon as they are there.
	t.line("bind-dynamic")
	for _, l := range c.Listen {
		t.line("listen-address=%s", canonical(l))
	}
	// What is answered is what is declared: neither the machine's resolv.conf nor its /etc/hosts has a say.
	t.line("no-resolv")
	t.line("no-hosts")
	if c.Domain != "" {
		t.line("domain=%s", c.Domain)
		t.line("local=/%s/", c.Domain)
		t.line("domain-needed")
	}
	for _, u := range c.Upstreams {
		t.line("server=%s", canonical(u))
	}
	if len(c.Upstreams) == 0 {
		t.line("local=/#/")
	}
	for _, z := range c.Zones {
		for _, s := range z.Servers {
			t.line("server=/%s/%s", z.Domain, canonical(s))
		}
	}
	t.line("hostsdir=%s", c.HostsDir)
	c.records(t)
	if c.DHCP != nil {
		c.dhcp(t)
	}
	return []byte(t.String())
}

func (c Config) records(t *text) {
	for _, h := range c.Hosts {
		if !h.Subdomains {
			continue
		}
		t.line("local=/%s/", c.Full(h.Name))
		for _, a := range h.Addresses {
			t.line("address=/%s/%s", c.Full(h.Name), canonical(a))
		}
	}
	for _, w := range c.Wildcards {
		t.line("local=/*.%s/", w.Domain)
		for _, a := range w.Addresses {
			t.line("address=/*.%s/%s", w.Domain, canonical(a))
		}
	}
	for _, r := range c.CNAMEs {
		t.line("cname=%s,%s", strings.Join(c.names(r.Name), ","), c.Full(r.Target))
	}
	for _, r := range c.Texts {
		for _, name := range c.names(r.Name) {
			t.line(`txt-record=%s,"%s"`, name, strings.Join(r.Strings, `","`))
		}
	}
	for _, r := range c.Services {
		t.line("srv-host=%s,%s,%d,%d,%d", c.service(r.Name), c.Full(r.Target), r.Port, r.Priority, r.Weight)
	}
}

func (c Config) dhcp(t *text) {
	for _, r := range c.DHCP.Ranges {
		t.line("dhcp-range=%s,%s,%ds", r.First, r.Last, int64(r.Lease.Seconds()))
	}
	if c.DHCP.Gateway != "" {
		t.line("dhcp-option=option:router,%s", c.DHCP.Gateway)
	}
	t.line("dhcp-hostsfile=%s", c.DHCP.HostsFile)
}

// hosts is the hosts file. The first name of a line is the one that its address is answered with.
func (c Config) hosts() []byte {
	t := c.begin()
	for _, h := range c.Hosts {
		for _, a := range h.Addresses {
			t.line("%s %s", canonical(a), strings.Join(c.names(h.Name), " "))
		}
	}
	return []byte(t.String())
}

func (c Config) reservations() []byte {
	t := c.begin()
	for _, r := range c.DHCP.Reservations {
		line := strings.ToLower(r.MAC) + "," + r.Address
		if r.Name != "" {
			line += "," + r.Name
		}
		t.line("%s", line)
	}
	return []byte(t.String())
}

// canonical is the one text of an address that was checked.
func canonical(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	return a.String()
}
