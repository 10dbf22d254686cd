// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// dnsAnswer is what a DNS server says.
type dnsAnswer struct {
	rcode   string // NOERROR, NXDOMAIN, REFUSED
	records []record
	own     bool // the server's own knowledge
}

var (
	errNoAnswer = errors.New("timed out")
	errRefused  = errors.New("connection refused")
)

// ask asks the DNS server at an address.
func (m *Machine) ask(server netip.AddrPort, name, kind string, depth int) (dnsAnswer, error) {
	if names := m.net.outside(server.Addr()); names != nil {
		return outsideAnswer(names, name, kind), nil
	}
	target := m.reach(server.Addr())
	if target == nil || depth > 8 {
		return dnsAnswer{}, errNoAnswer
	}
	d := target.resolver()
	if d == nil || !d.listens(server.Addr(), int(server.Port())) {
		return dnsAnswer{}, errRefused
	}
	return d.answer(strings.ToLower(strings.TrimSuffix(name, ".")), kind, depth)
}

// Outside puts a DNS server on the network that is no machine: it knows these
// names and no others.
func (n *Network) Outside(server netip.Addr, names map[string]netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.servers == nil {
		n.servers = map[netip.Addr]map[string]netip.Addr{}
	}
	n.servers[server] = names
}

func (n *Network) outside(server netip.Addr) map[string]netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.servers[server]
}

func outsideAnswer(names map[string]netip.Addr, name, kind string) dnsAnswer {
	addr, known := names[strings.ToLower(strings.TrimSuffix(name, "."))]
	if !known {
		return dnsAnswer{rcode: "NXDOMAIN"}
	}
	out := dnsAnswer{rcode: "NOERROR"}
	if family(addr) == kind {
		out.records = []record{{name, kind, addr.String()}}
	}
	return out
}

func family(addr netip.Addr) string {
	if addr.Unmap().Is4() {
		return "A"
	}
	return "AAAA"
}

// answer is what dnsmasq says: its own records, then its rules for domains, the
// longest one first.
func (d *dnsmasqDaemon) answer(name, kind string, depth int) (dnsAnswer, error) {
	if found := d.records(name, kind, 0); len(found) > 0 {
		return dnsAnswer{rcode: "NOERROR", records: found, own: true}, nil
	}
	plain := !strings.Contains(name, ".") && (kind == "A" || kind == "AAAA")
	if d.conf.flags["domain-needed"] && plain || d.conf.flags["bogus-priv"] && privateReverse(name) {
		return d.nothing(name), nil
	}
	for _, domain := range domainsAbove(name) {
		if out, done, err := d.rule(domain, name, kind, depth); done {
			return out, err
		}
	}
	return d.forward(d.upstreams(), name, kind, depth)
}

// domainsAbove are a name and what is above it, the longest first: of each but the name
// itself, all below it comes before it with all below.
func domainsAbove(name string) []string {
	domains := []string{name}
	for name != "" {
		_, name, _ = strings.Cut(name, ".")
		domains = append(domains, "*."+name, name)
	}
	return domains
}

// nothing is the answer about a name that nobody else is asked for: it does not
// exist, or has no record of the kind.
func (d *dnsmasqDaemon) nothing(name string) dnsAnswer {
	for _, kind := range []string{"A", "AAAA", "TXT", "SRV", "PTR"} {
		if len(d.records(name, kind, 0)) > 0 {
			return dnsAnswer{rcode: "NOERROR", own: true}
		}
	}
	return dnsAnswer{rcode: "NXDOMAIN", own: true}
}

// rule applies the rules of exactly one domain; none of them may be about the
// question.
func (d *dnsmasqDaemon) rule(domain, name, kind string, depth int) (out dnsAnswer, done bool, err error) {
	out = dnsAnswer{rcode: "NOERROR", own: true}
	var servers []netip.AddrPort
	local, standard, other := false, false, false
	for _, r := range d.conf.rules {
		switch {
		case r.domain != domain:
		case r.kind == ruleAddress && family(r.addr) == kind:
			out.records = append(out.records, record{name, kind, r.addr.String()})
		case r.kind == ruleZeros && (kind == "A" || kind == "AAAA"):
			out.records = append(out.records, record{name, kind, map[string]string{"A": "0.0.0.0", "AAAA": "::"}[kind]})
		case r.kind == ruleAddress:
			other = true
		case r.kind == ruleLocal:
			local = true
		case r.kind == ruleServer:
			servers = append(servers, r.server)
		case r.kind == ruleDefault:
			standard = true
		}
	}
	switch {
	case len(out.records) > 0 || local && other:
		return out, true, nil
	case local:
		return d.nothing(name), true, nil
	case standard:
		out, err = d.forward(d.upstreams(), name, kind, depth)
		return out, true, err
	case len(servers) > 0 && domain != "":
		out, err = d.forward(servers, name, kind, depth)
		return out, true, err
	}
	return out, false, nil
}

// upstreams are the servers of every domain.
func (d *dnsmasqDaemon) upstreams() []netip.AddrPort {
	var out []netip.AddrPort
	for _, r := range d.conf.rules {
		if r.kind == ruleServer && r.domain == "" {
			out = append(out, r.server)
		}
	}
	if d.conf.flags["no-resolv"] {
		return out
	}
	for _, addr := range d.m.nameservers(d.conf.resolv) {
		if own := d.m.Addresses(); !addr.IsLoopback() && !slices.Contains(own, addr) {
			out = append(out, netip.AddrPortFrom(addr, 53))
		}
	}
	return out
}

func (d *dnsmasqDaemon) forward(servers []netip.AddrPort, name, kind string, depth int) (dnsAnswer, error) {
	if len(servers) == 0 {
		return dnsAnswer{rcode: "REFUSED"}, nil
	}
	for _, server := range servers {
		if out, err := d.m.ask(server, name, kind, depth+1); err == nil {
			out.own = false
			return out, nil
		}
	}
	return dnsAnswer{}, errNoAnswer
}

// nameservers are those of a file such as /etc/resolv.conf.
func (m *Machine) nameservers(file string) []netip.Addr {
	text, err := m.readFile(file)
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, line := range lines(text) {
		if w := strings.Fields(line); len(w) > 1 && w[0] == "nameserver" {
			if addr, err := netip.ParseAddr(w[1]); err == nil {
				out = append(out, addr)
			}
		}
	}
	return out
}

// records are the daemon's own records of a name.
func (d *dnsmasqDaemon) records(name, kind string, depth int) []record {
	var out []record
	if target := d.conf.cnames[name]; target != "" && depth < 10 {
		if kind == "CNAME" {
			return []record{{name, "CNAME", target + "."}}
		}
		if d.knows(target, depth+1) {
			return append([]record{{name, "CNAME", target + "."}}, d.records(target, kind, depth+1)...)
		}
	}
	for _, r := range d.conf.records {
		if r.name == name && r.kind == kind {
			out = append(out, r)
		}
	}
	switch {
	case kind == "A" || kind == "AAAA":
		return append(out, d.addresses(name, kind)...)
	case kind == "PTR" && len(out) == 0:
		return d.pointer(name)
	}
	return out
}

// addresses are the addresses of a name, of one family.
func (d *dnsmasqDaemon) addresses(name, kind string) []record {
	var out []record
	for _, line := range d.lines() {
		for _, one := range line.names {
			if one == name && family(line.address) == kind {
				out = append(out, record{name, kind, line.address.String()})
			}
		}
	}
	return out
}

// pointer is the first name of an address.
func (d *dnsmasqDaemon) pointer(name string) []record {
	addr, ok := reverseAddr(name)
	if !ok {
		return nil
	}
	for _, line := range d.lines() {
		if line.address.Unmap() == addr {
			return []record{{name, "PTR", line.names[0] + "."}}
		}
	}
	return nil
}

// knows tells whether a name has an address here; only then an alias leads to it.
func (d *dnsmasqDaemon) knows(name string, depth int) bool {
	return len(d.records(name, "A", depth))+len(d.records(name, "AAAA", depth)) > 0
}

// reverseAddr reads a name below in-addr.arpa or ip6.arpa.
func reverseAddr(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		labels := strings.Split(rest, ".")
		slices.Reverse(labels)
		addr, err := netip.ParseAddr(strings.Join(labels, "."))
		return addr, err == nil
	}
	rest, ok := strings.CutSuffix(name, ".ip6.arpa")
	digits := strings.Split(rest, ".")
	if !ok || len(digits) != 32 {
		return netip.Addr{}, false
	}
	slices.Reverse(digits)
	var b [16]byte
	for i := range b {
		n, err := strconv.ParseUint(digits[2*i]+digits[2*i+1], 16, 8)
		if err != nil {
			return netip.Addr{}, false
		}
		b[i] = byte(n)
	}
	return netip.AddrFrom16(b), true
}

// reverseName is the name of an address below in-addr.arpa or ip6.arpa.
func reverseName(addr netip.Addr) string {
	if addr.Is4() {
		labels := strings.Split(addr.String(), ".")
		slices.Reverse(labels)
		return strings.Join(labels, ".") + ".in-addr.arpa"
	}
	var digits []string
	for _, b := range addr.As16() {
		digits = append(digits, strconv.FormatUint(uint64(b>>4), 16), strconv.FormatUint(uint64(b&15), 16))
	}
	slices.Reverse(digits)
	return strings.Join(digits, ".") + ".ip6.arpa"
}

func privateReverse(name string) bool {
	addr, ok := reverseAddr(name)
	return ok && addr.IsPrivate()
}
