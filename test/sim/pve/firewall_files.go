// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	clusterFirewallFile = "/etc/pve/firewall/cluster.fw"
	guestFirewallDir    = "/etc/pve/firewall/"
)

// firewallFiles are the firewall files of a node by path; those that hold
// nothing are not there. Every node of a cluster has all of them. The site must
// be locked.
func (s *Server) firewallFiles(node string) map[string]string {
	out := map[string]string{}
	add := func(name string, f *firewall) {
		if f.text != "" {
			out[name] = f.text
		}
	}
	if s.nodes[node] == nil {
		return out
	}
	add(clusterFirewallFile, s.firewall)
	for _, n := range s.nodes {
		add("/etc/pve/nodes/"+n.name+"/host.fw", n.firewall)
	}
	for _, g := range s.guests {
		add(guestFirewallDir+strconv.Itoa(g.vmid)+".fw", g.firewall)
	}
	return out
}

// isFirewallFile tells whether a path is one that writeFirewallFile takes. The
// site must be locked.
func (s *Server) isFirewallFile(path string) bool { return s.firewallAt(path) != nil }

func (s *Server) firewallAt(path string) *firewall {
	if path == clusterFirewallFile {
		return s.firewall
	}
	if rest, ok := strings.CutPrefix(path, "/etc/pve/nodes/"); ok {
		if name, isHost := strings.CutSuffix(rest, "/host.fw"); isHost && s.nodes[name] != nil {
			return s.nodes[name].firewall
		}
		return nil
	}
	rest, inDir := strings.CutPrefix(path, guestFirewallDir)
	id, isFile := strings.CutSuffix(rest, ".fw")
	vmid, err := strconv.Atoi(id)
	if g := s.guests[vmid]; inDir && isFile && err == nil && g != nil {
		return g.firewall
	}
	return nil
}

// writeFirewallFile replaces a firewall file by what somebody wrote by hand. As
// on a real node the text stays as it is until the API writes the file, and
// lines that cannot be read count for nothing. An empty text removes the file.
// The site must be locked.
func (s *Server) writeFirewallFile(path, text string) error {
	f := s.firewallAt(path)
	if f == nil {
		return &fs.PathError{Op: "write", Path: path, Err: fs.ErrPermission}
	}
	s.storeFirewall(f, text)
	return nil
}

// fwReader reads a firewall file line by line.
type fwReader struct {
	conf, dc *fwConf
	part     string // options, aliases, ipset, rules, group; "" before the first header
	name     string // of the set or group
}

var fwHeaderRE = regexp.MustCompile(`(?i)^\[(options|aliases|rules|group|ipset)(?:\s+(\S+))?\]\s*(?:#\s*(.*?)\s*)?$`)

// parseFirewall reads a file of a level; dc is the datacenter's file, nil when
// that is what is read.
func parseFirewall(level fwLevel, text string, dc *fwConf) *fwConf {
	r := &fwReader{conf: newFWConf(level), dc: dc}
	if dc == nil {
		r.dc = r.conf
	}
	for i, line := range strings.Split(text, "\n") {
		line = strings.Trim(line, " \t\r")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if problem := r.line(line); problem != "" {
			r.conf.warnings = append(r.conf.warnings, fmt.Sprintf("%s (line %d): %s", level, i+1, problem))
		}
	}
	return r.conf
}

// line takes one line and says what is wrong with it.
func (r *fwReader) line(line string) string {
	if m := fwHeaderRE.FindStringSubmatch(line); m != nil && r.conf.level.has(strings.ToLower(m[1])) {
		return r.header(strings.ToLower(m[1]), strings.ToLower(m[2]), m[3])
	}
	switch r.part {
	case "options":
		return r.option(line)
	case "aliases":
		return r.alias(line)
	case "ipset":
		return r.entry(line)
	case "rules", "group":
		return r.rule(line)
	}
	return "skip line - no section"
}

// header begins a section. Names of groups and sets are read as lower case.
func (r *fwReader) header(part, name, comment string) string {
	r.part, r.name = part, name
	if part != "group" && part != "ipset" {
		return ""
	}
	limit := map[string]int{"group": maxGroupName, "ipset": maxSetName}[part]
	if !fwNameRE.MatchString(name) || len(name) > limit {
		r.part = ""
		return fmt.Sprintf("invalid %s name '%s'", part, name)
	}
	if part == "group" {
		r.conf.groups[name] = &fwList{comment: comment}
	} else {
		r.conf.sets[name] = &fwList{comment: comment}
	}
	return ""
}

const fwLogLevels = `(?:emerg|alert|crit|err|warning|notice|info|debug|nolog)?`

// fwOptionRE are the lines that each level's options may have.
var fwOptionRE = map[fwLevel]*regexp.Regexp{
	fwCluster: regexp.MustCompile(`(?i)^(?:(enable):\s*(\d+)|(ebtables):\s*([01])|(policy_(?:in|out|forward)):\s*(ACCEPT|DROP|REJECT)|(log_ratelimit):\s*(\S+))$`),
	fwHost: regexp.MustCompile(`(?i)^(?:(enable|nosmurfs|tcpflags|ndp|log_nf_conntrack|nf_conntrack_allow_invalid|protection_synflood|nftables):\s*([01])` +
		`|(log_level_(?:in|out|forward)|tcp_flags_log_level|smurf_log_level):\s*(` + fwLogLevels + `)|(nf_conntrack_helpers):\s*(\S+)` +
		`|(nf_conntrack_max|nf_conntrack_tcp_timeout_established|nf_conntrack_tcp_timeout_syn_recv|protection_synflood_rate|protection_synflood_burst):\s*(\d+))$`),
	fwGuest: regexp.MustCompile(`(?i)^(?:(enable|dhcp|ndp|radv|macfilter|ipfilter|ips):\s*([01])|(log_level_(?:in|out)):\s*(` + fwLogLevels + `)` +
		`|(policy_(?:in|out)):\s*(ACCEPT|DROP|REJECT)|(ips_queues):\s*(\d+(?::\d+)?)|(layer2_protocols):\s*(\S+))$`),
}

func (r *fwReader) option(line string) string {
	m := fwOptionRE[r.conf.level].FindStringSubmatch(line)
	if m == nil {
		return "can't parse option '" + line + "'"
	}
	for i := 1; i < len(m); i += 2 {
		if m[i] == "" {
			continue
		}
		key, value := strings.ToLower(m[i]), m[i+1]
		switch {
		case strings.HasPrefix(key, "policy_"):
			value = strings.ToUpper(value)
		case strings.Contains(key, "log_level"), key == "nf_conntrack_helpers":
			value = strings.ToLower(value)
		case key == "enable" && atoi(value) > 1 && time.Now().Unix()-int64(atoi(value)) > 60:
			value = "0" // the probation of somebody who enabled it with a time is over
		}
		r.conf.options[key] = value
	}
	return ""
}

// cutComment takes the comment off a line's end.
func cutComment(line string) (rest, comment string) {
	rest, comment, _ = strings.Cut(line, "#")
	return strings.TrimSpace(rest), strings.TrimSpace(comment)
}

func (r *fwReader) alias(line string) string {
	rest, comment := cutComment(line)
	parts := strings.Fields(rest)
	if len(parts) != 2 {
		return "can't parse alias '" + line + "'"
	}
	cidr, version := plainCIDR(parts[1])
	if version == 0 {
		return notAnAddress
	}
	r.conf.aliases[strings.ToLower(parts[0])] = fwRow{section: compact(section{
		"name": parts[0], "cidr": cidr, "ipversion": strconv.Itoa(version), "comment": comment,
	})}
	return ""
}

// entry is a line of a set. One that is wrong is kept, with what is wrong.
func (r *fwReader) entry(line string) string {
	rest, comment := cutComment(line)
	value, negated := strings.CutPrefix(rest, "!")
	row := fwRow{section: compact(section{"cidr": strings.TrimSpace(value), "comment": comment}), errors: section{}}
	if negated {
		row.section["nomatch"] = "1"
	}
	set := r.conf.sets[r.name]
	cidr, problem := r.conf.entryAddress(row.section["cidr"], r.dc)
	row.section["cidr"] = cidr
	for _, other := range set.rows {
		if other.section["cidr"] == cidr {
			problem = "duplicate ipset entry for '" + cidr + "'"
		}
	}
	if problem != "" {
		row.errors["cidr"] = problem
	}
	set.rows = append(set.rows, row)
	return ""
}

var (
	fwRuleRE   = regexp.MustCompile(`^(\S+)\s+(\S+)\s*`)
	fwMacroRE  = regexp.MustCompile(`^(\S+)\((ACCEPT|DROP|REJECT)\)$`)
	fwParamRE  = regexp.MustCompile(`^(?:-(i)|-{1,2}(p|proto|dport|sport|source|dest|log|icmp-type)) (\S+)\s*`)
	fwParamKey = map[string]string{"i": "iface", "p": "proto"}
)

func (r *fwReader) rule(line string) string {
	rest, comment := cutComment(line)
	rule := section{"enable": "1", "comment": comment}
	if text, off := strings.CutPrefix(rest, "|"); off {
		rest, rule["enable"] = text, "0"
	}
	m := fwRuleRE.FindStringSubmatch(rest)
	if m == nil {
		return "unable to parse rule: " + rest
	}
	rule["type"], rule["action"] = strings.ToLower(m[1]), m[2]
	if macro := fwMacroRE.FindStringSubmatch(m[2]); macro != nil && rule["type"] != "group" {
		rule["macro"], rule["action"] = macro[1], macro[2]
	}
	for rest = rest[len(m[0]):]; rest != ""; {
		p := fwParamRE.FindStringSubmatch(rest)
		if p == nil || (rule["type"] == "group" && p[1] == "") {
			return "unable to parse rule parameters: " + rest
		}
		rule[first(fwParamKey[p[1]+p[2]], p[1]+p[2])] = p[3]
		rest = rest[len(p[0]):]
	}
	return r.keep(compact(rule))
}

// keep puts a rule into its list. One that is wrong is kept and never applied.
func (r *fwReader) keep(rule section) string {
	env, own := r.conf.level.env(), r.conf
	if r.part == "group" {
		env, own = envGroup, nil
	}
	row := fwRow{section: rule, errors: section{}}
	for _, p := range checkRule(rule, env, r.dc, own) {
		if row.errors[p.name] == "" {
			row.errors[p.name] = p.text
		}
	}
	if row.errors["type"] != "" && !ruleTypes[rule["type"]] {
		return "unknown rule type '" + rule["type"] + "'"
	}
	if r.part == "group" {
		r.conf.groups[r.name].rows = append(r.conf.groups[r.name].rows, row)
	} else {
		r.conf.rules.rows = append(r.conf.rules.rows, row)
	}
	return ""
}

// compact leaves out what is empty.
func compact(s section) section {
	for key, value := range s {
		if value == "" {
			delete(s, key)
		}
	}
	return s
}
