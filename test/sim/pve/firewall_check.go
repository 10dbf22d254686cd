// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What rules are checked as.
const (
	envCluster = "cluster"
	envHost    = "host"
	envGuest   = "ct"
	envGroup   = "group"

	maxGroupName = 18
	maxSetName   = 64

	notAnAddress = "value does not look like a valid IP address or CIDR network"
	zeroPrefix   = "a zero prefix is not allowed in ipset entries"
)

var (
	fwNameRE     = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9\-_]+$`)
	fwAliasRE    = regexp.MustCompile(`^(?:dc/|guest/)?[A-Za-z][A-Za-z0-9\-_]+$`)
	fwSetRefRE   = regexp.MustCompile(`^\+(?:guest/|dc/|sdn/)?([A-Za-z][A-Za-z0-9\-_]+)$`)
	zeroPrefixRE = regexp.MustCompile(`/0+$`)
	portRangeRE  = regexp.MustCompile(`^(\d+):(\d+)$`)
	guestNetRE   = regexp.MustCompile(`^net\d+$`)

	ruleTypes = map[string]bool{"in": true, "out": true, "forward": true, "group": true}
	envTypes  = map[string][]string{
		envGuest: {"in", "out", "group"}, envGroup: {"in", "out", "forward"},
		envCluster: {"in", "out", "forward", "group"}, envHost: {"in", "out", "forward", "group"},
	}
)

func init() {
	for name, check := range map[string]func(string) string{
		"pve-fw-addr-spec":      func(v string) string { _, problem := parseAddressList(v); return problem },
		"pve-fw-dport-spec":     func(v string) string { return parsePorts(v, true) },
		"pve-fw-sport-spec":     func(v string) string { return parsePorts(v, false) },
		"pve-fw-protocol-spec":  checkProtocol,
		"pve-fw-icmp-type-spec": checkICMPType,
		"IPorCIDR":              checkIPorCIDR,
		"IPorCIDRorAlias": func(v string) string {
			if fwAliasRE.MatchString(v) {
				return ""
			}
			return checkIPorCIDR(v)
		},
		"pve-fw-conntrack-helper": func(v string) string {
			for _, name := range strings.Split(v, ",") {
				if !conntrackHelpers[name] {
					return "unknown helper " + name
				}
			}
			return ""
		},
	} {
		formatChecks[name] = check
	}
}

// fwProblem is what is wrong with one part of a rule.
type fwProblem struct{ name, text string }

// ruleCheck looks at one rule. dc is the datacenter's file and own the level's;
// either may be nil.
type ruleCheck struct {
	rule    section
	env     string
	dc, own *fwConf
	version int
	found   []fwProblem
}

// checkRule says what is wrong with a rule, and notes in it the IP version that
// its addresses and protocol fix.
func checkRule(rule section, env string, dc, own *fwConf) []fwProblem {
	c := &ruleCheck{rule: rule, env: env, dc: dc, own: own}
	delete(rule, "ipversion")
	c.kind()
	c.iface()
	c.protocol()
	c.addresses("source")
	c.addresses("dest")
	if c.version > 0 {
		rule["ipversion"] = strconv.Itoa(c.version)
	}
	if rule["macro"] != "" && len(c.found) == 0 {
		c.macro()
	}
	return c.found
}

func (c *ruleCheck) add(name, format string, args ...any) {
	c.found = append(c.found, fwProblem{name, fmt.Sprintf(format, args...)})
}

func (c *ruleCheck) kind() {
	kind, action := c.rule["type"], c.rule["action"]
	if kind == "" {
		c.add("type", "missing property")
	}
	if action == "" {
		c.add("action", "missing property")
	}
	switch {
	case !slices.Contains(envTypes[c.env], kind):
		c.add("type", "invalid rule type '%s' for rule_env '%s'", kind, c.env)
	case kind == "group" && !fwNameRE.MatchString(action):
		c.add("action", "invalid characters in security group name")
	case kind == "group":
	case kind == "forward" && action == "REJECT":
		c.add("action", "cannot define REJECT rules on forward chain")
	case action != "ACCEPT" && action != "DROP" && action != "REJECT":
		c.add("action", "unknown action '%s'", action)
	}
}

func (c *ruleCheck) iface() {
	iface := c.rule["iface"]
	switch {
	case iface == "":
	case c.env == envGroup:
		c.add("type", "parameter -i not allowed for this rule type")
	case !ifaceRE.MatchString(iface):
		c.add("iface", "invalid network interface name '%s'", iface)
	case c.env == envGuest && !guestNetRE.MatchString(iface):
		c.add("iface", `value does not match the regex pattern 'net\d+'`)
	}
}

func isICMP(proto string) bool { return proto == "icmp" || proto == "icmpv6" || proto == "ipv6-icmp" }

var portProtocols = map[string]bool{
	"udp": true, "17": true, "udplite": true, "136": true, "tcp": true, "6": true, "dccp": true, "33": true, "sctp": true, "132": true,
}

func (c *ruleCheck) protocol() {
	if name := c.rule["macro"]; name != "" {
		if macro := findMacro(name); macro != nil {
			c.rule["macro"] = macro.name
		} else {
			c.add("macro", "unknown macro '%s'", name)
		}
	}
	proto := c.rule["proto"]
	if problem := checkProtocol(proto); problem != "" {
		c.add("proto", "%s", problem)
	}
	switch {
	case proto == "icmp":
		c.version = 4
	case isICMP(proto):
		c.version = 6
	}
	c.ports("dport", proto, isICMP(proto))
	c.icmpType(proto)
	c.ports("sport", proto, false)
}

func (c *ruleCheck) ports(key, proto string, icmp bool) {
	value := c.rule[key]
	if value == "" {
		return
	}
	if problem := parsePorts(value, icmp); problem != "" {
		c.add(key, "%s", problem)
	}
	switch {
	case proto == "":
		c.add("proto", "missing property - '%s' requires this property", key)
	case !portProtocols[proto] && !icmp:
		c.add(key, "protocol '%s' does not support ports", proto)
	}
}

func (c *ruleCheck) icmpType(proto string) {
	value := c.rule["icmp-type"]
	if value == "" {
		return
	}
	if !isICMP(proto) {
		c.add("proto", "missing property - 'icmp-type' requires this property")
	}
	if c.rule["dport"] != "" {
		c.add("icmp-type", "'icmp-type' cannot be specified together with 'dport'")
	}
	if (proto == "icmp" && !icmpTypes[value]) || (proto != "icmp" && isICMP(proto) && !icmpv6Types[value]) {
		c.add("icmp-type", "invalid icmp-type '%s' for proto '%s'", value, proto)
	}
}

// fix notes an IP version; false means that the rule has another one already.
func (c *ruleCheck) fix(version int) bool {
	if version == 0 {
		return true
	}
	if c.version != 0 && c.version != version {
		return false
	}
	c.version = version
	return true
}

func (c *ruleCheck) addresses(key string) {
	value := c.rule[key]
	if value == "" {
		return
	}
	version, problem := parseAddressList(value)
	if problem == "" && !c.fix(version) {
		problem = "detected mixed ipv4/ipv6 addresses in rule"
	}
	if problem != "" {
		c.add(key, "%s", problem)
		return
	}
	switch {
	case strings.HasPrefix(value, "+"):
		c.set(key, value)
	case fwAliasRE.MatchString(value):
		c.alias(key, value)
	}
}

func (c *ruleCheck) set(key, value string) {
	m := fwSetRefRE.FindStringSubmatch(value)
	switch {
	case m == nil:
		c.add(key, "invalid ipset name '%s'", value)
	case c.own.findSet(m[1]) == nil && c.dc.findSet(m[1]) == nil:
		c.add(key, "no such ipset '%s'", m[1])
	}
}

func (c *ruleCheck) alias(key, value string) {
	name := strings.ToLower(bareAlias(value))
	if c.own.alias(name) == nil && c.dc.alias(name) == nil {
		c.add(key, "no such alias '%s'", value)
		return
	}
	row := c.own.findAlias(value, c.dc)
	if row != nil && !c.fix(atoi(row["ipversion"])) {
		c.add(key, "detected mixed ipv4/ipv6 addresses in rule")
	}
}

func (c *ruleCheck) macro() {
	for _, part := range findMacro(c.rule["macro"]).parts(c.version) {
		for _, p := range [][2]string{{"proto", part.Proto}, {"dport", part.dport()}, {"sport", part.SPort}} {
			if own := c.rule[p[0]]; own != "" && p[1] != "" && own != p[1] {
				c.add(p[0], "parameter '%s' already define in macro (value = '%s')", p[0], p[1])
				return
			}
		}
	}
}

func bareAlias(ref string) string { return ref[strings.IndexByte(ref, '/')+1:] }

func (c *fwConf) alias(name string) section {
	if c == nil {
		return nil
	}
	return c.aliases[name].section
}

func (c *fwConf) findSet(name string) *fwList {
	if c == nil {
		return nil
	}
	return c.sets[name]
}

// findAlias resolves a reference: a level's own alias hides the datacenter's.
func (c *fwConf) findAlias(ref string, dc *fwConf) section {
	name := strings.ToLower(bareAlias(ref))
	if !strings.HasPrefix(ref, "dc/") || dc == nil || dc == c {
		if row := c.alias(name); row != nil {
			return row
		}
	}
	if strings.HasPrefix(ref, "guest/") {
		return nil
	}
	return dc.alias(name)
}

// entryAddress is an entry of a set as it is kept, and what is wrong with it.
func (c *fwConf) entryAddress(value string, dc *fwConf) (cidr, problem string) {
	if fwAliasRE.MatchString(value) {
		if c.findAlias(value, dc) == nil {
			return value, "no such alias '" + bareAlias(value) + "'"
		}
		return value, ""
	}
	cidr, version := plainCIDR(value)
	switch {
	case version == 0:
		return value, notAnAddress
	case zeroPrefixRE.MatchString(cidr):
		return cidr, zeroPrefix
	}
	return cidr, ""
}

// plainCIDR is an address or network as Proxmox keeps it, with its IP version;
// 0 means that it is neither.
func plainCIDR(value string) (cidr string, version int) {
	host, bits, isNet := strings.Cut(value, "/")
	addr, err := netip.ParseAddr(host)
	n, numErr := strconv.Atoi(bits)
	if err != nil || addr.Zone() != "" || (isNet && (numErr != nil || n < 0 || n > addr.BitLen())) {
		return value, 0
	}
	if n == addr.BitLen() {
		value = host
	}
	if addr.Is4() {
		return value, 4
	}
	return value, 6
}

// maskedCIDR clears the bits of the host.
func maskedCIDR(value string) string {
	if p, err := netip.ParsePrefix(value); err == nil && p.Bits() > 0 {
		return p.Masked().String()
	}
	return value
}

func checkIPorCIDR(v string) string {
	if _, version := plainCIDR(v); version == 0 {
		return notAnAddress
	}
	return ""
}

// parseAddressList reads what source and dest may be: a set, an alias, or
// addresses, networks or one range. Networks may have no bits of a host.
func parseAddressList(value string) (version int, problem string) {
	switch {
	case strings.HasPrefix(value, "+") && !strings.ContainsAny(value, " \t\n"):
		if len(value) > maxSetName+1 {
			return 0, "ipset name too long"
		}
		return 0, ""
	case fwAliasRE.MatchString(value):
		if len(value) > 64 {
			return 0, "alias name too long"
		}
		return 0, ""
	}
	items := strings.Split(value, ",")
	for _, item := range items {
		got, problem := addressVersion(item)
		switch {
		case item == "":
			return 0, "extraneous commas in list"
		case problem != "":
			return 0, "invalid IP address: " + problem
		case version != 0 && version != got:
			return 0, "detected mixed ipv4/ipv6 addresses in address list '" + value + "'"
		case strings.Contains(item, "-") && len(items) > 1:
			return 0, "you can't use a range in a list"
		}
		version = got
	}
	return version, ""
}

func addressVersion(item string) (version int, problem string) {
	from, to, isRange := strings.Cut(item, "-")
	if isRange {
		a, errA := netip.ParseAddr(from)
		b, errB := netip.ParseAddr(to)
		if errA != nil || errB != nil || a.Is4() != b.Is4() || b.Less(a) {
			return 0, "Invalid range " + item
		}
		_, version = plainCIDR(from)
		return version, ""
	}
	if _, version = plainCIDR(item); version == 0 {
		return 0, "Invalid address " + item
	}
	if p, err := netip.ParsePrefix(item); err == nil && p.Masked() != p {
		return 0, "Invalid prefix " + bitText(p.Addr()) + "/" + strconv.Itoa(p.Bits())
	}
	return version, ""
}

func bitText(a netip.Addr) string {
	var b strings.Builder
	for _, octet := range a.AsSlice() {
		fmt.Fprintf(&b, "%08b", octet)
	}
	return b.String()
}
