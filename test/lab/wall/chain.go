// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package wall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// chain is a list of rules of nftables for one direction.
type chain struct {
	direction string // in or out
	lines     []string
}

func (c *chain) add(parts ...string) {
	parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" })
	c.lines = append(c.lines, strings.Join(parts, " "))
}

// block is a chain with its head, as text.
type block struct{ name, text string }

func plain(name string, c *chain) block { return block{name, body("", c)} }

func hooked(name, hook string, priority int, c *chain) block {
	return block{name, body(fmt.Sprintf("\t\ttype filter hook %s priority %d; policy accept;\n", hook, priority), c)}
}

func body(head string, c *chain) string {
	var b strings.Builder
	b.WriteString(head)
	for _, line := range c.lines {
		b.WriteString("\t\t" + line + "\n")
	}
	return b.String()
}

// translation is the table of one machine in the making.
type translation struct {
	site  pve.FirewallState
	own   pve.FirewallScope // the guest's own level, with its aliases and sets
	guest bool
	local []netip.Prefix
	// names of a guest's interfaces by key, and those that are filtered.
	names    map[string]string
	filtered []string

	groups map[string]*chain // by name and direction
	errs   []error
}

// problems are the rules that were left out.
func (t *translation) problems() error { return errors.Join(t.errs...) }

// table is the whole table; chains stand before those that use them.
func (t *translation) table(blocks ...block) string {
	var b strings.Builder
	b.WriteString("table inet " + Table + " {\n")
	var names []string
	for name := range t.groups {
		names = append(names, name)
	}
	sort.Strings(names)
	var all []block
	for _, name := range names {
		all = append(all, plain(name, t.groups[name]))
	}
	for _, x := range append(all, blocks...) {
		fmt.Fprintf(&b, "\tchain %s {\n%s\t}\n", x.name, x.text)
	}
	return b.String() + "}\n"
}

// nodeChain begins the chain of a node: what is let through whatever the rules say.
func (t *translation) nodeChain(direction string) *chain {
	c := &chain{direction: direction}
	c.add(c.iface("lo"), "accept")
	connections(c)
	c.add("ip protocol igmp accept")
	c.add("icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept")
	return c
}

// guestChain begins the chain of a guest.
func (t *translation) guestChain(direction string) *chain {
	c := &chain{direction: direction}
	connections(c)
	if on(t.own, "dhcp", false) {
		server, client := "udp sport 67", "udp dport 68"
		if direction == "out" {
			server, client = "udp dport 67", "udp sport 68"
		}
		c.add(server, client, "accept")
	}
	if on(t.own, "ndp", true) {
		c.add("icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept")
	}
	if direction == "in" {
		c.add("icmpv6 type nd-router-advert accept")
	} else if !on(t.own, "radv", false) {
		c.add("icmpv6 type nd-router-advert drop")
	}
	return c
}

func connections(c *chain) {
	c.add("ct state invalid drop")
	c.add("ct state established,related accept")
}

// jump leads what passes a filtered interface to a chain.
func (t *translation) jump(key, to string) *chain {
	c := &chain{}
	names := make([]string, 0, len(t.filtered))
	for _, name := range t.filtered {
		names = append(names, `"`+name+`"`)
	}
	c.add(key, "{ "+strings.Join(names, ", ")+" } jump", to)
	return c
}

// iface matches the interface by which a packet comes or goes.
func (c *chain) iface(name string) string {
	if c.direction == "in" {
		return `iifname "` + name + `"`
	}
	return `oifname "` + name + `"`
}

// blacklist drops what comes from the set of that name.
func (t *translation) blacklist(c *chain) {
	if c.direction == "in" && len(t.site.Cluster.Sets["blacklist"]) > 0 {
		t.rule(c, pve.FirewallRule{Type: "in", Action: "DROP", Source: "+dc/blacklist"})
	}
}

// management lets those manage the node who stand beside it or in the set of that name, and nodes talk to one another.
func (t *translation) management(c *chain) {
	const ports = "tcp dport { 22, 3128, 5900-5999, 8006 }"
	var from matcher
	for _, p := range t.local {
		from.add(spanOf(p))
	}
	if c.direction == "in" {
		cluster := from
		if err := t.addSet(&from, t.site.Cluster, "management"); err != nil {
			t.errs = append(t.errs, fmt.Errorf("management: %w", err))
		}
		for _, m := range from.matches("saddr") {
			c.add(m, ports, "accept")
			c.add(m, "tcp dport 60000-60050 accept")
		}
		for _, m := range cluster.matches("saddr") {
			c.add(m, "udp dport 5405-5412 accept")
		}
		return
	}
	for _, m := range from.matches("daddr") {
		c.add(m, ports, "accept")
		c.add(m, "udp dport 5405-5412 accept")
	}
}

// policy ends a chain: what no rule was about.
func (t *translation) policy(c *chain, level pve.FirewallScope) {
	policy := level.Options["policy_"+c.direction]
	if policy == "" {
		policy = map[string]string{"in": "DROP", "out": "ACCEPT"}[c.direction]
	}
	if policy != "ACCEPT" {
		c.add("tcp dport 43 reject with tcp reset")
		c.add("fib daddr type { broadcast, anycast, multicast } drop")
		c.add("icmp type destination-unreachable icmp code frag-needed accept")
		c.add("icmp type time-exceeded accept")
		c.add("icmpv6 type { destination-unreachable, packet-too-big, time-exceeded } accept")
	}
	for _, v := range verdicts(policy, "") {
		c.add(v)
	}
}

// verdicts are what an action does to a packet of a protocol; one that may be anything is refused in the way of its own.
func verdicts(action, proto string) []string {
	switch {
	case action != "REJECT":
		return []string{strings.ToLower(action)}
	case proto == "tcp":
		return []string{"reject with tcp reset"}
	case proto != "":
		return []string{"reject"}
	}
	return []string{"meta l4proto tcp reject with tcp reset", "reject"}
}
