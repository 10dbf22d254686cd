// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package wall says what a Proxmox VE firewall lets through, as rules of nftables: what pve-firewall does on a real node, for
// the machines of the lab. It is pure: from the declared firewall to the text of one table for every machine.
package wall

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// Table is the name of the nftables table that a machine gets, in the family inet.
const Table = "pve"

// Node is the table of a node: empty when nothing is filtered. local are the networks that the node stands in: their machines
// may always manage it. A rule that cannot be resolved is left out, and named in the error.
func Node(s pve.FirewallState, node string, local ...netip.Prefix) (string, error) {
	level := s.Nodes[node]
	if level.Stopped || !on(s.Cluster, "enable", false) || !on(level.FirewallScope, "enable", true) {
		return "", nil
	}
	t := &translation{site: s, local: local}
	in, out := t.nodeChain("in"), t.nodeChain("out")
	rules := slices.Concat(level.Rules, s.Cluster.Rules)
	for _, c := range []*chain{in, out} {
		t.blacklist(c)
		t.rules(c, rules)
		t.management(c)
		t.policy(c, s.Cluster)
	}
	return t.table(hooked("input", "input", 0, in), hooked("output", "output", 0, out)), t.problems()
}

// Guest is the table of a guest: empty when nothing is filtered, which takes the firewall of the datacenter, that of the
// guest, and that of a card to be on. Unlike a node's it stands before address translation, as the real one stands outside
// of the guest: a published port of a container inside is filtered as what it is from outside.
func Guest(s pve.FirewallState, vmid int) (string, error) {
	guest := s.Guests[vmid]
	if s.Nodes[guest.Node].Stopped || !on(s.Cluster, "enable", false) || !on(guest.FirewallScope, "enable", false) {
		return "", nil
	}
	t := &translation{site: s, own: guest.FirewallScope, guest: true, names: map[string]string{}}
	for _, n := range guest.NICs {
		device := n.Device
		if guest.Kind == "qemu" {
			device = "eth" + strings.TrimPrefix(n.Name, "net")
		}
		t.names[n.Name] = device
		if n.Firewall {
			t.filtered = append(t.filtered, device)
		}
	}
	if len(t.filtered) == 0 {
		return "", nil
	}
	in, out := t.guestChain("in"), t.guestChain("out")
	for _, c := range []*chain{in, out} {
		t.blacklist(c)
		t.rules(c, guest.Rules)
		t.policy(c, guest.FirewallScope)
	}
	return t.table(
		plain("in", in), plain("out", out),
		hooked("prerouting", "prerouting", -150, t.jump("iifname", "in")),
		hooked("output", "output", 0, t.jump("oifname", "out")),
		hooked("forward", "forward", 0, t.jump("oifname", "out")),
	), t.problems()
}

// Load is the script by which nft replaces a machine's table in one step; an empty table removes it.
func Load(table string) string {
	return "table inet " + Table + "\ndelete table inet " + Table + "\n" + table
}

// on reads an option that is a flag.
func on(l pve.FirewallScope, key string, unset bool) bool {
	switch value := l.Options[key]; value {
	case "":
		return unset
	default:
		return value != "0" && !strings.EqualFold(value, "no")
	}
}
