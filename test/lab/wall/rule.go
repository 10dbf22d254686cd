// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package wall

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// rules translates the rules of a level in their order.
func (t *translation) rules(c *chain, rules []pve.FirewallRule) {
	for _, r := range rules {
		if r.Enable && len(r.Errors) == 0 {
			t.rule(c, r)
		}
	}
}

// rule translates one rule, when it is of the chain's direction.
func (t *translation) rule(c *chain, r pve.FirewallRule) {
	var err error
	switch r.Type {
	case "group":
		err = t.group(c, r)
	case c.direction:
		err = t.single(c, r)
	}
	if err != nil {
		t.errs = append(t.errs, fmt.Errorf("%s %s: %w", r.Type, r.Action, err))
	}
}

// group leads to the chain of a security group.
func (t *translation) group(c *chain, r pve.FirewallRule) error {
	group, there := t.site.Groups[r.Action]
	if !there {
		return errors.New("there is no such security group")
	}
	name := "group-" + r.Action + "-" + c.direction
	if t.groups == nil {
		t.groups = map[string]*chain{}
	}
	if t.groups[name] == nil {
		g := &chain{direction: c.direction}
		t.groups[name] = g
		t.rules(g, slices.DeleteFunc(slices.Clone(group.Rules), func(r pve.FirewallRule) bool { return r.Type == "group" }))
	}
	iface, err := t.iface(c, r.Iface)
	if err != nil {
		return err
	}
	c.add(iface, "jump", name)
	return nil
}

func (t *translation) iface(c *chain, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	if t.guest {
		inside, there := t.names[name]
		if !there {
			return "", fmt.Errorf("there is no interface %s", name)
		}
		name = inside
	}
	return c.iface(name), nil
}

// single is a rule with an action of its own: a line for every service of its macro, and for every family of addresses.
func (t *translation) single(c *chain, r pve.FirewallRule) error {
	services, err := servicesOf(r)
	if err != nil {
		return err
	}
	iface, err := t.iface(c, r.Iface)
	if err != nil {
		return err
	}
	peers, err := t.peers(r)
	if err != nil {
		return err
	}
	var lines []string
	for _, s := range services {
		match, err := s.match()
		if err != nil {
			return err
		}
		for _, p := range peers {
			for _, v := range verdicts(r.Action, s.proto) {
				lines = append(lines, join(iface, p, match, v))
			}
		}
	}
	for _, line := range lines { // all or none
		c.add(line)
	}
	return nil
}

func join(parts ...string) string {
	var c chain
	c.add(parts...)
	return c.lines[0]
}

// service is what a packet is for.
type service struct{ proto, sport, dport, icmp string }

// servicesOf are the services of a rule: its own, or those of its macro with what the rule adds.
func servicesOf(r pve.FirewallRule) ([]service, error) {
	if r.Macro == "" {
		return []service{{proto: r.Proto, sport: r.SPort, dport: r.DPort, icmp: r.ICMPType}}, nil
	}
	parts := pve.Macro(r.Macro, r.IPVersion)
	if parts == nil {
		return nil, fmt.Errorf("there is no macro %s", r.Macro)
	}
	var out []service
	for _, p := range parts {
		out = append(out, service{
			proto: cmp.Or(r.Proto, p.Proto), sport: cmp.Or(r.SPort, p.SPort), dport: cmp.Or(r.DPort, p.DPort), icmp: cmp.Or(r.ICMPType, p.ICMPType),
		})
	}
	return out, nil
}

// protocols that nftables knows by another name, or by number alone.
var protocols = map[string]string{
	"icmpv6": "ipv6-icmp", "igmp": "2", "ipencap": "4", "ipip": "4", "ipv6": "41", "gre": "47", "ospf": "89", "pim": "103", "vrrp": "112",
}

// match is what nftables looks for.
func (s service) match() (string, error) {
	if s.proto == "" {
		return "", nil
	}
	if s.proto == "icmp" || s.proto == "icmpv6" || s.proto == "ipv6-icmp" {
		return s.control()
	}
	var parts []string
	for _, p := range []struct{ key, list string }{{"sport", s.sport}, {"dport", s.dport}} {
		if p.list == "" {
			continue
		}
		set, err := portSet(p.list)
		if err != nil {
			return "", err
		}
		parts = append(parts, s.proto, p.key, set)
	}
	if len(parts) > 0 {
		return strings.Join(parts, " "), nil
	}
	name := s.proto
	if other, ok := protocols[name]; ok {
		name = other
	}
	return "meta l4proto " + name, nil
}

// codes are messages that Proxmox VE calls by the name of their code.
var codes = map[string]string{
	"network-unreachable": "net-unreachable", "host-unreachable": "host-unreachable", "protocol-unreachable": "prot-unreachable",
	"port-unreachable": "port-unreachable", "fragmentation-needed": "frag-needed", "network-prohibited": "net-prohibited",
	"host-prohibited": "host-prohibited", "communication-prohibited": "admin-prohibited",
}

// messages that nftables calls otherwise.
var messages = map[string]string{
	"router-solicitation": "nd-router-solicit", "router-advertisement": "nd-router-advert",
	"neighbor-solicitation": "nd-neighbor-solicit", "neighbour-solicitation": "nd-neighbor-solicit",
	"neighbor-advertisement": "nd-neighbor-advert", "neighbour-advertisement": "nd-neighbor-advert",
}

// control matches messages of ICMP; older rules have the message as the port.
func (s service) control() (string, error) {
	protocol, word := "icmp", "icmp"
	if s.proto != "icmp" {
		protocol, word = "ipv6-icmp", "icmpv6"
	}
	message := s.icmp
	if message == "" {
		message = s.dport
	}
	switch {
	case message == "" || message == "any":
		return "meta l4proto " + protocol, nil
	case protocol == "icmp" && codes[message] != "":
		return "icmp type destination-unreachable icmp code " + codes[message], nil
	case strings.Trim(message, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return "", fmt.Errorf("message %q is not known", message)
	}
	return word + " type " + cmp.Or(messages[message], message), nil
}

// ports is a list of ports as nftables writes it.
func portSet(list string) (string, error) {
	var out []string
	for _, item := range strings.Split(list, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(item), ":")
		from, err := port(low)
		if err != nil {
			return "", err
		}
		text := strconv.Itoa(from)
		if isRange {
			to, err := port(high)
			if err != nil {
				return "", err
			}
			text = fmt.Sprintf("%d-%d", from, to)
		}
		out = append(out, text)
	}
	if len(out) == 1 {
		return out[0], nil
	}
	return "{ " + strings.Join(out, ", ") + " }", nil
}

// ports are services that a rule may name.
var ports = map[string]int{
	"ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "whois": 43, "domain": 53, "tftp": 69, "http": 80, "pop3": 110, "sunrpc": 111, "ntp": 123,
	"imap2": 143, "snmp": 161, "ldap": 389, "https": 443, "submissions": 465, "syslog": 514, "submission": 587, "ldaps": 636, "domain-s": 853,
	"rsync": 873, "imaps": 993, "pop3s": 995, "nfs": 2049, "mysql": 3306, "postgresql": 5432, "http-alt": 8080,
}

func port(text string) (int, error) {
	if n, err := strconv.ParseUint(text, 10, 16); err == nil {
		return int(n), nil
	}
	if n, ok := ports[text]; ok {
		return n, nil
	}
	return 0, fmt.Errorf("port %q is not known", text)
}
