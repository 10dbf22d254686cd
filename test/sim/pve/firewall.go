// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// firewall is one firewall file: of the cluster, a node or a guest.
type firewall struct {
	options section
	rules   []section
	sets    map[string][]section
}

func newFirewall() *firewall {
	return &firewall{options: section{}, sets: map[string][]section{}}
}

// digest is over the part that was asked for, as Proxmox does it; an empty part
// has the digest of nothing.
func (s section) line() string {
	var b strings.Builder
	for _, key := range s.sortedKeys() {
		fmt.Fprintf(&b, "%s: %s\n", key, s[key])
	}
	return b.String()
}

func digestAll(list []section) string {
	var b strings.Builder
	for _, s := range list {
		b.WriteString(s.line() + "\n")
	}
	return digestOf(b.String())
}

func (c *call) fw() (*firewall, error) {
	switch {
	case c.params["vmid"] != "":
		g := c.guests[c.vmid]
		if g == nil || g.kind != c.kind {
			return nil, failf("Configuration file '%s' does not exist", confPath(c.node, c.kind, c.vmid))
		}
		return g.firewall, nil
	case c.node != "":
		return c.nodes[c.node].firewall, nil
	}
	return c.firewall, nil
}

// fwWrite is fw for writers: without quorum they block, then fail.
func (c *call) fwWrite(digest string) (*firewall, error) {
	f, err := c.fw()
	if err != nil {
		return nil, err
	}
	if !c.quorum {
		c.mu.Unlock()
		c.pause(nil, c.scaled(10*time.Second))
		c.mu.Lock()
		return nil, failf("cfs-lock 'firewall' error: no quorum!")
	}
	if want := c.params["digest"]; want != "" && want != digest {
		return nil, failf("detected modified configuration - file changed by other user? Try again.")
	}
	return f, nil
}

var fwMeta = map[string]bool{"node": true, "vmid": true, "digest": true, "delete": true, "pos": true, "moveto": true, "name": true, "rename": true}

func getFirewallOptions(c *call) (any, error) {
	f, err := c.fw()
	if err != nil {
		return nil, err
	}
	out := map[string]any{"digest": digestOf(f.options.line())}
	update, _ := loadSchema().find("PUT", strings.Split(strings.TrimPrefix(c.m.key, "GET /"), "/"))
	for key, value := range f.options {
		out[key] = value
		if p := update.Props[key]; p != nil && (p.Type == "boolean" || p.Type == "integer") {
			out[key] = atoi(value)
		}
	}
	return out, nil
}

func putFirewallOptions(c *call) (any, error) {
	f, err := c.fw()
	if err != nil {
		return nil, err
	}
	if f, err = c.fwWrite(digestOf(f.options.line())); err != nil {
		return nil, err
	}
	for _, key := range splitList(c.params["delete"]) {
		delete(f.options, key)
	}
	for key, value := range c.params {
		if !fwMeta[key] {
			f.options[key] = value
		}
	}
	return nil, nil
}

func (f *firewall) ruleRow(pos int) map[string]any {
	out := map[string]any{"pos": pos, "digest": digestAll(f.rules)}
	for key, value := range f.rules[pos] {
		out[key] = value
	}
	out["enable"] = atoi(f.rules[pos]["enable"])
	for _, key := range []string{"source", "dest"} {
		if p, err := netip.ParsePrefix(f.rules[pos][key]); err == nil {
			out["ipversion"] = map[bool]int{true: 4, false: 6}[p.Addr().Is4()]
		}
	}
	return out
}

func listRules(c *call) (any, error) {
	f, err := c.fw()
	if err != nil {
		return nil, err
	}
	rows := []map[string]any{}
	for pos := range f.rules {
		rows = append(rows, f.ruleRow(pos))
	}
	return rows, nil
}

// checkRule says what Proxmox says about a rule's parts.
func checkRule(rule section) error {
	action := rule["action"]
	switch {
	case rule["type"] == "":
		return paramError("type", missingProperty)
	case action == "":
		return paramError("action", missingProperty)
	case rule["type"] != "group" && action != "ACCEPT" && action != "DROP" && action != "REJECT":
		return paramError("action", "unknown action '%s'", action)
	}
	for _, key := range []string{"dport", "sport"} {
		if rule[key] != "" && rule["proto"] == "" && rule["macro"] == "" {
			return paramError("proto", "missing property - '%s' requires this property", key)
		}
	}
	return nil
}

func addRule(c *call) (any, error) {
	f, err := c.fw()
	if err != nil {
		return nil, err
	}
	if f, err = c.fwWrite(digestAll(f.rules)); err != nil {
		return nil, err
	}
	rule := section{"enable": "0"}
	for key, value := range c.params {
		if !fwMeta[key] {
			rule[key] = value
		}
	}
	if err := checkRule(rule); err != nil {
		return nil, err
	}
	pos := min(atoi(c.params["pos"]), len(f.rules))
	f.rules = slices.Insert(f.rules, pos, rule)
	return nil, nil
}

func (c *call) rulePos(f *firewall) (int, error) {
	pos := atoi(c.params["pos"])
	if pos >= len(f.rules) {
		return 0, failf("no rule at position %d", pos)
	}
	return pos, nil
}

func getRule(c *call) (any, error) {
	f, err := c.fw()
	if err != nil {
		return nil, err
	}
	pos, err := c.rulePos(f)
	if err != nil {
		return nil, err
	}
	row := f.ruleRow(pos)
	row["pos"] = strconv.Itoa(pos)
	return row, nil
}

func putRule(c *call) (any, error) {
	f, err := c.fw()
	if err != nil {
		return nil, err
	}
	if f, err = c.fwWrite(digestAll(f.rules)); err != nil {
		return nil, err
	}
	pos, err := c.rulePos(f)
	if err != nil {
		return nil, err
	}
	if text, ok := c.params["moveto"]; ok {
		rule := f.rules[pos]
		to := min(atoi(text), len(f.rules))
		f.rules = slices.Insert(f.rules, to, rule)
		if to <= pos {
			pos++
		}
		f.rules = slices.Delete(f.rules, pos, pos+1)
		return nil, nil
	}
	rule := f.rules[pos].clone()
	for _, key := range splitList(c.params["delete"]) {
		delete(rule, key)
	}
	for key, value := range c.params {
		if !fwMeta[key] {
			rule[key] = value
		}
	}
	if err := checkRule(rule); err != nil {
		return nil, err
	}
	f.rules[pos] = rule
	return nil, nil
}

func deleteRule(c *call) (any, error) {
	f, err := c.fw()
	if err != nil {
		return nil, err
	}
	if f, err = c.fwWrite(digestAll(f.rules)); err != nil {
		return nil, err
	}
	pos, err := c.rulePos(f)
	if err != nil {
		return nil, err
	}
	f.rules = slices.Delete(f.rules, pos, pos+1)
	return nil, nil
}

func listSets(c *call) (any, error) {
	f, err := c.fw()
	if err != nil {
		return nil, err
	}
	rows := []map[string]any{}
	for _, name := range sortedNames(f.sets) {
		rows = append(rows, map[string]any{"name": name, "digest": digestAll(f.sets[name])})
	}
	return rows, nil
}

func createSet(c *call) (any, error) {
	f, err := c.fwWrite(c.params["digest"])
	if err != nil {
		return nil, err
	}
	name := c.params["name"]
	if _, there := f.sets[name]; there {
		return nil, paramError("name", "IPSet '%s' already exists", name)
	}
	f.sets[name] = []section{}
	return nil, nil
}

func (c *call) set() (*firewall, []section, error) {
	f, err := c.fw()
	if err != nil {
		return nil, nil, err
	}
	set, there := f.sets[c.params["name"]]
	if !there {
		return nil, nil, failf("no such IPSet '%s'", c.params["name"])
	}
	return f, set, nil
}

func getSet(c *call) (any, error) {
	_, set, err := c.set()
	if err != nil {
		return nil, err
	}
	rows := []map[string]any{}
	for _, entry := range set {
		row := map[string]any{"digest": digestAll(set)}
		for key, value := range entry {
			row[key] = value
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func addToSet(c *call) (any, error) {
	f, set, err := c.set()
	if err != nil {
		return nil, err
	}
	cidr := c.params["cidr"]
	for _, entry := range set {
		if entry["cidr"] == cidr {
			return nil, paramError("cidr", "address '%s' already exists", cidr)
		}
	}
	entry := section{"cidr": cidr}
	for _, key := range []string{"comment", "nomatch"} {
		if value := c.params[key]; value != "" {
			entry[key] = value
		}
	}
	f.sets[c.params["name"]] = append(set, entry)
	return nil, nil
}

func removeFromSet(c *call) (any, error) {
	f, set, err := c.set()
	if err != nil {
		return nil, err
	}
	f.sets[c.params["name"]] = slices.DeleteFunc(set, func(s section) bool { return s["cidr"] == c.params["cidr"] })
	return nil, nil
}

func deleteSet(c *call) (any, error) {
	f, set, err := c.set()
	if err != nil {
		return nil, err
	}
	if len(set) > 0 && c.params["force"] != "1" {
		return nil, failf("IPSet '%s' is not empty", c.params["name"])
	}
	delete(f.sets, c.params["name"])
	return nil, nil
}
