// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"maps"
	"net/netip"
	"sort"
	"strings"
)

// FirewallState is the firewall of a site as it is configured: what the files
// say, effective or not yet.
type FirewallState struct {
	// Cluster is the datacenter's level. Its rules are for every node, after the
	// node's own; guests do not have them.
	Cluster FirewallScope
	// Groups are the security groups by name.
	Groups map[string]FirewallGroup
	Nodes  map[string]FirewallNode
	Guests map[int]FirewallGuest
}

// FirewallScope is one level. Options hold what is set, no defaults.
type FirewallScope struct {
	Options map[string]string
	Rules   []FirewallRule
	// Aliases and Sets are by lower-case name; nodes have none of their own. A
	// guest's hide the datacenter's.
	Aliases map[string]string
	Sets    map[string][]FirewallEntry
}

// FirewallNode is a node's level.
type FirewallNode struct {
	FirewallScope
	// Stopped tells that somebody stopped the service: nothing is filtered.
	Stopped bool
	// Enabled tells whether the node's own traffic is filtered by what is
	// configured: the datacenter says yes, the node does not say no.
	Enabled bool
}

// FirewallGuest is a guest's level, and what it is applied to.
type FirewallGuest struct {
	FirewallScope
	Kind, Node, Name string
	Running          bool
	NICs             []FirewallNIC
}

// FirewallNIC is a guest's network device.
type FirewallNIC struct {
	// Name is the option (net0), Device the name within a container (eth0).
	Name, Device, MAC, Bridge string
	// Firewall is the device's flag: without it nothing is filtered.
	Firewall bool
	// Addresses are the fixed ones of the configuration.
	Addresses []netip.Prefix
}

// FirewallGroup is a security group.
type FirewallGroup struct {
	Comment string
	Rules   []FirewallRule
}

// FirewallRule is a rule; what it does not restrict is "".
type FirewallRule struct {
	// Type is in, out, forward or group; a group's name is the Action.
	Type, Action, Macro, Proto, Source, Dest, SPort, DPort, Iface, ICMPType, Log, Comment string
	Enable                                                                                bool
	// IPVersion is 4 or 6 where addresses or protocol fix it, else 0.
	IPVersion int
	// Errors tell what is wrong with a rule by part. Such a rule is not applied.
	Errors map[string]string
}

// FirewallEntry is an address, a network or an alias of a set; NoMatch takes it
// out of a larger network of the same set.
type FirewallEntry struct {
	CIDR    string
	NoMatch bool
	Comment string
	Errors  map[string]string
}

// Firewall returns the firewall of the whole site.
func (s *Server) Firewall() FirewallState {
	s.mu.Lock()
	defer s.mu.Unlock()
	dc := parseFirewall(fwCluster, s.firewall.text, nil)
	out := FirewallState{
		Cluster: dc.scope(), Groups: map[string]FirewallGroup{}, Nodes: map[string]FirewallNode{}, Guests: map[int]FirewallGuest{},
	}
	for name, group := range dc.groups {
		out.Groups[name] = FirewallGroup{Comment: group.comment, Rules: group.rules()}
	}
	for _, n := range s.nodes {
		host := parseFirewall(fwHost, n.firewall.text, dc)
		out.Nodes[n.name] = FirewallNode{
			FirewallScope: host.scope(), Stopped: s.fw.of(n.name).stopped,
			Enabled: filters(dc, host),
		}
	}
	for _, g := range s.guests {
		out.Guests[g.vmid] = FirewallGuest{
			FirewallScope: parseFirewall(fwGuest, g.firewall.text, dc).scope(),
			Kind:          g.kind, Node: g.node, Name: g.name(), Running: g.running, NICs: g.nics(),
		}
	}
	return out
}

// filters tells whether a node's own traffic is filtered.
func filters(dc, host *fwConf) bool {
	return atoi(dc.options["enable"]) > 0 && host.options["enable"] != "0"
}

func (c *fwConf) scope() FirewallScope {
	out := FirewallScope{
		Options: maps.Clone(c.options), Rules: c.rules.rules(), Aliases: map[string]string{}, Sets: map[string][]FirewallEntry{},
	}
	for name, row := range c.aliases {
		out.Aliases[name] = row.section["cidr"]
	}
	for name, set := range c.sets {
		entries := []FirewallEntry{}
		for _, row := range set.rows {
			entries = append(entries, FirewallEntry{
				CIDR: row.section["cidr"], NoMatch: row.section["nomatch"] == "1",
				Comment: row.section["comment"], Errors: problems(row),
			})
		}
		out.Sets[name] = entries
	}
	return out
}

func (l *fwList) rules() []FirewallRule {
	out := []FirewallRule{}
	for _, row := range l.rows {
		r := row.section
		out = append(out, FirewallRule{
			Type: r["type"], Action: r["action"], Macro: r["macro"], Proto: r["proto"], Source: r["source"], Dest: r["dest"],
			SPort: r["sport"], DPort: r["dport"], Iface: r["iface"], ICMPType: r["icmp-type"], Log: r["log"], Comment: r["comment"],
			Enable: r["enable"] != "0", IPVersion: atoi(r["ipversion"]), Errors: problems(row),
		})
	}
	return out
}

func problems(row fwRow) map[string]string {
	if len(row.errors) == 0 {
		return nil
	}
	return maps.Clone(row.errors)
}

// nics are a guest's network devices with the addresses of its configuration.
func (g *guest) nics() []FirewallNIC {
	var out []FirewallNIC
	for key, value := range g.conf.main {
		number, isNet := strings.CutPrefix(key, "net")
		if !isNet || number == "" || strings.Trim(number, "0123456789") != "" {
			continue
		}
		values, _ := parsedFormats()[g.kind+".net"].parse(g.kind, key, value)
		nic := FirewallNIC{
			Name: key, Device: values["name"], MAC: strings.ToUpper(first(values["hwaddr"], values["macaddr"])),
			Bridge: values["bridge"], Firewall: values["firewall"] == "1",
		}
		if g.kind == kindQEMU {
			values, _ = parsedFormats()["pve-qm-ipconfig"].parse(g.kind, "", g.conf.main["ipconfig"+number])
		}
		for _, text := range []string{values["ip"], values["ip6"]} {
			if p, err := netip.ParsePrefix(text); err == nil {
				nic.Addresses = append(nic.Addresses, p)
			}
		}
		out = append(out, nic)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}
