// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dnsmasq

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Conflict is a line of a file made by hand that answers what is declared, or sets what is declared to something else.
type Conflict struct {
	Path string
	// Line counts from 1.
	Line int
	Text string
	// Why says what is in the way.
	Why string
}

// String names file, line and reason.
func (f Conflict) String() string {
	return fmt.Sprintf("%s line %d (%s) %s", f.Path, f.Line, f.Text, f.Why)
}

// Conflicts finds what contradicts the configuration in drop-ins and in hosts files, given by path. Lines that do not,
// stand beside it.
func (c Config) Conflicts(dropIns, hosts map[string]string) []Conflict {
	f := foreign{config: c, own: map[string]bool{}, addresses: map[netip.Addr]bool{}}
	for _, m := range c.claims() {
		f.own[m.name] = true
		for _, name := range c.names(m.name) {
			f.own[name] = true
		}
	}
	for _, h := range c.Hosts {
		for _, a := range h.Addresses {
			if address, err := netip.ParseAddr(a); err == nil {
				f.addresses[address] = true
			}
		}
	}
	var found []Conflict
	each(dropIns, func(path string, n int, line string) {
		if why := f.option(splitOption(line)); why != "" {
			found = append(found, Conflict{path, n, strings.TrimSpace(line), why})
		}
	})
	each(hosts, func(path string, n int, line string) {
		if why := f.hostsLine(line); why != "" {
			found = append(found, Conflict{path, n, strings.TrimSpace(line), why})
		}
	})
	return found
}

// each visits every line of every file, in order.
func each(files map[string]string, visit func(path string, n int, line string)) {
	for _, path := range slices.Sorted(maps.Keys(files)) {
		n := 0
		for line := range strings.SplitSeq(files[path], "\n") {
			n++
			visit(path, n, line)
		}
	}
}

// HostsFiles returns what drop-ins name as further files of hosts: files, and directories with a /* behind.
func HostsFiles(dropIns map[string]string) []string {
	var found []string
	each(dropIns, func(_ string, _ int, line string) {
		switch key, value := splitOption(line); {
		case !pathPattern.MatchString(value):
		case key == "addn-hosts":
			found = append(found, value)
		case key == "hostsdir":
			found = append(found, value+"/*")
		}
	})
	slices.Sort(found)
	return slices.Compact(found)
}

// ReadsHosts says whether dnsmasq answers the names of /etc/hosts with these drop-ins.
func ReadsHosts(dropIns map[string]string) bool {
	reads := true
	each(dropIns, func(_ string, _ int, line string) {
		if key, _ := splitOption(line); key == "no-hosts" {
			reads = false
		}
	})
	return reads
}

// Lost returns the lines of /etc/hosts whose names are answered no more, as no-hosts is set and they are not declared.
// Those of the machine's loopback are none.
func (c Config) Lost(hosts string) []Conflict {
	own := map[string]bool{}
	for _, h := range c.Hosts {
		for _, name := range c.names(h.Name) {
			own[name] = true
		}
	}
	var found []Conflict
	each(map[string]string{"/etc/hosts": hosts}, func(path string, n int, line string) {
		address, names, ok := splitHosts(line)
		if !ok || address.IsLoopback() || address.IsMulticast() || !address.IsGlobalUnicast() {
			return
		}
		if !slices.ContainsFunc(names, func(name string) bool { return own[strings.ToLower(name)] }) {
			found = append(found, Conflict{path, n, strings.TrimSpace(line), "is not declared"})
		}
	})
	return found
}

// splitOption reads a line as dnsmasq does: a # at the start or behind a space begins a comment, unless it is quoted.
func splitOption(line string) (key, value string) {
	quoted := false
	for i, r := range line {
		if r == '"' {
			quoted = !quoted
		}
		if r == '#' && !quoted && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			line = line[:i]
			break
		}
	}
	key, value, _ = strings.Cut(strings.TrimSpace(line), "=")
	return strings.TrimSpace(key), strings.TrimSpace(value)
}

func splitHosts(line string) (address netip.Addr, names []string, ok bool) {
	line, _, _ = strings.Cut(line, "#")
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return address, nil, false
	}
	address, err := netip.ParseAddr(fields[0])
	return address, fields[1:], err == nil
}

// foreign judges lines against one configuration.
type foreign struct {
	config    Config
	own       map[string]bool
	addresses map[netip.Addr]bool
}

// option says why an option is in the way; empty: it is not.
func (f foreign) option(key, value string) string {
	parts := strings.Split(value, ",")
	for i := range parts {
		parts[i] = strings.Trim(strings.TrimSpace(parts[i]), `"`)
	}
	switch key {
	case "bind-interfaces":
		return "excludes bind-dynamic"
	case "port":
		if value != "53" {
			return "moves dnsmasq away from port 53"
		}
	case "domain":
		if len(parts) == 1 && f.config.Domain != "" && value != f.config.Domain {
			return "sets another domain than " + f.config.Domain
		}
	case "address", "server", "local", "rev-server":
		return f.server(key, value)
	case "host-record", "txt-record", "srv-host", "ptr-record", "interface-name":
		return f.record(key, parts)
	case "cname":
		for _, name := range parts[:len(parts)-1] {
			if why := f.named(name); why != "" {
				return why
			}
		}
	case "dhcp-range", "dhcp-host":
		return f.dhcp(key, parts)
	}
	return ""
}

func (f foreign) named(name string) string {
	if f.own[strings.ToLower(name)] || f.own[f.config.Full(strings.ToLower(name))] {
		return "answers " + name + ", which is declared"
	}
	return ""
}

func (f foreign) record(key string, parts []string) string {
	if key == "ptr-record" {
		if a, ok := reverse(parts[0]); ok && f.addresses[a] {
			return "answers the address " + a.String() + ", which is declared"
		}
		return ""
	}
	if key != "host-record" {
		parts = parts[:1]
	}
	for _, name := range parts {
		if why := f.named(name); why != "" {
			return why
		}
	}
	return ""
}

// server judges /domain/.../what, and what alone.
func (f foreign) server(key, value string) string {
	if key == "rev-server" {
		return ""
	}
	inner, what, ok := cutDomains(value)
	if !ok {
		if key != "server" || slices.Contains(f.config.Upstreams, value) {
			return ""
		}
		return "asks a server that is not one of the upstreams"
	}
	for _, domain := range inner {
		domain = strings.ToLower(strings.TrimPrefix(strings.TrimPrefix(domain, "*"), "."))
		if why := f.below(key, domain, what); why != "" {
			return why
		}
	}
	return ""
}

// cutDomains splits /a/b/what.
func cutDomains(value string) (domains []string, what string, ok bool) {
	if !strings.HasPrefix(value, "/") {
		return nil, value, false
	}
	parts := strings.Split(value[1:], "/")
	return parts[:len(parts)-1], parts[len(parts)-1], true
}

// below judges what a line says of one domain and all below it.
func (f foreign) below(key, domain, what string) string {
	mine := f.config.Domain
	switch {
	case domain == "#" && key == "address":
		return "answers every name"
	case mine != "" && (domain == mine || strings.HasSuffix(mine, "."+domain)) && (key == "address" || domain == mine && what != ""):
		return "answers all of the domain " + mine
	case key == "address" && slices.ContainsFunc(f.config.Wildcards, func(w Wildcard) bool { return w.Domain == domain }):
		return "answers all below " + domain + ", which is declared"
	case key == "address":
		return f.named(domain)
	case slices.ContainsFunc(f.config.Zones, func(z Zone) bool { return z.Domain == domain && !slices.Contains(z.Servers, what) }):
		return "asks another server for the zone " + domain
	case slices.ContainsFunc(f.config.Hosts, func(h Host) bool { return h.Subdomains && f.config.Full(h.Name) == domain }):
		return "answers " + domain + ", which is declared with its subdomains"
	}
	return ""
}

func (f foreign) dhcp(key string, parts []string) string {
	d := f.config.DHCP
	if d == nil {
		return ""
	}
	if key == "dhcp-range" {
		return d.shares(parts)
	}
	for _, r := range d.Reservations {
		same := func(p string) bool { return strings.EqualFold(p, r.MAC) || p == r.Address }
		if slices.ContainsFunc(parts, same) {
			return "gives what " + r.Source + " reserves"
		}
	}
	return ""
}

// shares says which range another one, whose first two addresses are its ends, has addresses of.
func (d *DHCP) shares(parts []string) string {
	addresses := slices.DeleteFunc(slices.Clone(parts), func(p string) bool {
		_, err := netip.ParseAddr(p)
		return err != nil
	})
	if len(addresses) < 2 {
		return ""
	}
	for _, r := range d.Ranges {
		if overlap(addresses[0], addresses[1], r.First, r.Last) {
			return fmt.Sprintf("hands out addresses of %s, which is from %s to %s", r.Source, r.First, r.Last)
		}
	}
	return ""
}

func (f foreign) hostsLine(line string) string {
	_, names, ok := splitHosts(line)
	if !ok {
		return ""
	}
	for _, name := range names {
		if why := f.named(name); why != "" {
			return why
		}
	}
	return ""
}

// reverse reads the address of a name below in-addr.arpa; one below ip6.arpa is not read.
func reverse(name string) (netip.Addr, bool) {
	digits, ok := strings.CutSuffix(strings.ToLower(name), ".in-addr.arpa")
	if !ok {
		return netip.Addr{}, false
	}
	parts := strings.Split(digits, ".")
	slices.Reverse(parts)
	a, err := netip.ParseAddr(strings.Join(parts, "."))
	return a, err == nil
}
