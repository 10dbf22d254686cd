// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"slices"
	"strings"
)

// render writes a firewall file as Proxmox does: what a level does not have is
// left out, and a file without anything is empty.
func (c *fwConf) render() string {
	var b strings.Builder
	if len(c.options) > 0 {
		b.WriteString("[OPTIONS]\n\n")
		for _, key := range c.options.sortedKeys() {
			b.WriteString(key + ": " + c.options[key] + "\n")
		}
		b.WriteString("\n")
	}
	if len(c.aliases) > 0 {
		b.WriteString("[ALIASES]\n\n")
		for _, name := range sortedNames(c.aliases) {
			row := c.aliases[name].section
			b.WriteString(row["name"] + " " + row["cidr"] + commentEnd(row) + "\n")
		}
		b.WriteString("\n")
	}
	for _, name := range sortedNames(c.sets) {
		b.WriteString("[IPSET " + name + "]" + headerEnd(c.sets[name]) + "\n\n" + c.sets[name].entries() + "\n")
	}
	if len(c.rules.rows) > 0 {
		b.WriteString("[RULES]\n\n" + c.rules.lines(true) + "\n")
	}
	for _, name := range sortedNames(c.groups) {
		b.WriteString("[group " + name + "]" + headerEnd(c.groups[name]) + "\n\n" + c.groups[name].lines(false) + "\n")
	}
	return b.String()
}

func headerEnd(l *fwList) string {
	if l.comment == "" {
		return ""
	}
	return " # " + l.comment
}

func commentEnd(row section) string {
	if strings.TrimSpace(row["comment"]) == "" {
		return ""
	}
	return " # " + row["comment"]
}

// entries are a set's lines, by address, each address once.
func (l *fwList) entries() string {
	rows := slices.Clone(l.rows)
	slices.SortStableFunc(rows, func(a, b fwRow) int { return strings.Compare(a.section["cidr"], b.section["cidr"]) })
	var b strings.Builder
	last := ""
	for _, row := range rows {
		if row.section["cidr"] == last {
			continue
		}
		last = row.section["cidr"]
		if row.section["nomatch"] == "1" {
			b.WriteString("!")
		}
		b.WriteString(last + commentEnd(row.section) + "\n")
	}
	return b.String()
}

// lines are rules as they stand in the file; in a group they have no interface.
func (l *fwList) lines(ifaces bool) string {
	var b strings.Builder
	for _, row := range l.rows {
		rule := row.section
		if rule["enable"] == "0" {
			b.WriteString("|")
		}
		b.WriteString(strings.ToUpper(rule["type"]) + " ")
		if rule["macro"] != "" {
			b.WriteString(rule["macro"] + "(" + rule["action"] + ")")
		} else {
			b.WriteString(rule["action"])
		}
		for _, p := range [][2]string{
			{"iface", "-i"}, {"source", "-source"}, {"dest", "-dest"}, {"proto", "-p"},
			{"dport", "-dport"}, {"sport", "-sport"}, {"log", "-log"}, {"icmp-type", "-icmp-type"},
		} {
			skip := rule[p[0]] == "" || (p[0] == "iface" && !ifaces) || (p[0] != "iface" && rule["type"] == "group")
			if !skip {
				b.WriteString(" " + p[1] + " " + rule[p[0]])
			}
		}
		b.WriteString(commentEnd(rule) + "\n")
	}
	return b.String()
}
