// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// FirewallRule is one rule. An empty member restricts nothing.
type FirewallRule struct {
	Type   string // in, out, forward or group
	Action string // ACCEPT, DROP, REJECT, or the name of the group
	// Macro stands for protocols and ports, such as "SSH". Proxmox VE takes its
	// name in any case and keeps its own.
	Macro string
	Proto string // tcp, udp, icmp, ...
	// Source and Dest are an address, a network without bits of a host, a range
	// a-b, several of the first two with commas, an alias "name", or a set
	// "+name". "dc/" and "guest/" before a name choose between the levels.
	Source, Dest string
	SPort, DPort string // numbers, ranges from:to and names of services, with commas; need Proto
	// Iface is net0, net1, ... for a guest, an interface for a node and the
	// datacenter. Rules of groups have none; a reference to a group may have.
	Iface    string
	ICMPType string // a name such as echo-request; Proxmox VE refuses numbers; needs Proto
	Log      string // emerg, alert, crit, err, warning, notice, info, debug, nolog
	Comment  string // one line
	Enabled  bool

	// Pos is where the rule is in its list. Read only, as are the next two.
	Pos int
	// IPVersion is 4 or 6 where addresses or protocol fix it, else 0.
	IPVersion int
	// Errors are what is wrong with the rule, by part, such as an alias that is
	// not there any more. Proxmox VE keeps such a rule and does not apply it.
	Errors map[string]string
}

// Equal says whether two rules mean the same, wherever they stand.
func (r FirewallRule) Equal(o FirewallRule) bool {
	return r.Type == o.Type && strings.EqualFold(r.Macro, o.Macro) && r.Enabled == o.Enabled &&
		slices.Equal(r.texts(), o.texts())
}

func (r FirewallRule) texts() []string {
	return []string{r.Action, r.Proto, r.Source, r.Dest, r.SPort, r.DPort, r.Iface, r.ICMPType, r.Log, strings.TrimSpace(r.Comment)}
}

// params are a rule as parameters; what it leaves open is in open. Only "1"
// and "0" are sent for enable: a rule is made disabled unless it is said, and a
// boolean that is left out when false could never disable one.
func (r FirewallRule) params() (params map[string]string, open []string) {
	params = map[string]string{"type": r.Type, "action": r.Action, "enable": "0"}
	if r.Enabled {
		params["enable"] = "1"
	}
	for _, part := range [][2]string{
		{"macro", r.Macro}, {"proto", r.Proto}, {"source", r.Source}, {"dest", r.Dest}, {"sport", r.SPort}, {"dport", r.DPort},
		{"iface", r.Iface}, {"icmp-type", r.ICMPType}, {"log", r.Log}, {"comment", strings.TrimSpace(r.Comment)},
	} {
		if part[1] == "" {
			open = append(open, part[0])
			continue
		}
		params[part[0]] = part[1]
	}
	return params, open
}

// firewallRow is a rule in an answer. Measured: pos is a number in a list, a
// string in the answer about one rule.
type firewallRow struct {
	Type     scalar            `json:"type"`
	Action   scalar            `json:"action"`
	Macro    scalar            `json:"macro"`
	Proto    scalar            `json:"proto"`
	Source   scalar            `json:"source"`
	Dest     scalar            `json:"dest"`
	SPort    scalar            `json:"sport"`
	DPort    scalar            `json:"dport"`
	Iface    scalar            `json:"iface"`
	ICMPType scalar            `json:"icmp-type"`
	Log      scalar            `json:"log"`
	Comment  scalar            `json:"comment"`
	Enable   integer           `json:"enable"`
	Pos      integer           `json:"pos"`
	Version  integer           `json:"ipversion"`
	Errors   map[string]scalar `json:"errors"`
	Digest   scalar            `json:"digest"`
}

func (r firewallRow) rule() FirewallRule {
	return FirewallRule{
		Type: string(r.Type), Action: string(r.Action), Macro: string(r.Macro), Proto: string(r.Proto),
		Source: string(r.Source), Dest: string(r.Dest), SPort: string(r.SPort), DPort: string(r.DPort),
		Iface: string(r.Iface), ICMPType: string(r.ICMPType), Log: string(r.Log), Comment: string(r.Comment),
		Enabled: r.Enable != 0, Pos: int(r.Pos), IPVersion: int(r.Version), Errors: complaints(r.Errors),
	}
}

func complaints(errors map[string]scalar) map[string]string {
	if len(errors) == 0 {
		return nil
	}
	out := make(map[string]string, len(errors))
	for name, text := range errors {
		out[name] = clip(string(text))
	}
	return out
}

// FirewallRules reads a level's or group's rules in their order, and the
// digest of them all, which each write of a rule takes.
func (c *Client) FirewallRules(ctx context.Context, l FirewallLevel) ([]FirewallRule, string, error) {
	path, err := l.path("/rules")
	if err != nil {
		return nil, "", err
	}
	var rows []firewallRow
	if err := c.get(ctx, path, nil, &rows); err != nil {
		return nil, "", err
	}
	digest := EmptyFirewallDigest
	rules := make([]FirewallRule, 0, len(rows))
	for _, row := range rows {
		digest = string(row.Digest)
		rules = append(rules, row.rule())
	}
	slices.SortStableFunc(rules, func(a, b FirewallRule) int { return cmp.Compare(a.Pos, b.Pos) })
	return rules, digest, nil
}

// AddFirewallRule puts a rule before the one that is at pos; a negative pos is
// behind all others. If the digest is not that of the rules any more it adds
// nothing (IsConflict); an empty digest adds in any case.
//
// Measured: Proxmox VE puts every new rule at position 0, whatever it is asked;
// and by its source it does not look at the digest. So this reads the rules first, and another
// writer within those milliseconds goes unnoticed. For another position than 0
// the rule is added disabled, moved, and then enabled, each with the digest; an
// error between them leaves a disabled rule at position 0 or at pos.
func (c *Client) AddFirewallRule(ctx context.Context, l FirewallLevel, digest string, pos int, rule FirewallRule) error {
	pos, err := c.addPosition(ctx, l, digest, pos)
	if err != nil {
		return err
	}
	first := rule
	first.Enabled = rule.Enabled && pos == 0
	params, _ := first.params()
	if err := c.writeFirewall(ctx, http.MethodPost, l, "/rules", "", params); err != nil || pos == 0 {
		return err
	}
	digest, err = c.ruleStands(ctx, l, 0, first)
	if err == nil {
		err = c.MoveFirewallRule(ctx, l, digest, 0, pos)
	}
	if err != nil {
		return fmt.Errorf("move the new rule of %s from 0 to %d: %w", l, pos, err)
	}
	if !rule.Enabled {
		return nil
	}
	digest, err = c.ruleStands(ctx, l, pos, first)
	if err == nil {
		err = c.SetFirewallRule(ctx, l, digest, pos, rule)
	}
	if err != nil {
		return fmt.Errorf("enable the new rule of %s at %d: %w", l, pos, err)
	}
	return nil
}

// addPosition is where a rule is to be added, once the digest was compared.
func (c *Client) addPosition(ctx context.Context, l FirewallLevel, digest string, pos int) (int, error) {
	if pos == 0 && digest == "" {
		return 0, nil
	}
	path, err := l.path("/rules")
	if err != nil {
		return 0, err
	}
	rules, current, err := c.FirewallRules(ctx, l)
	switch {
	case err != nil:
		return 0, err
	case digest != "" && digest != current:
		return 0, firewallConflict(http.MethodPost, path)
	case pos < 0:
		return len(rules), nil
	case pos > len(rules):
		return 0, fmt.Errorf("add rule to %s at %d of %d: %w", l, pos, len(rules), errNoPosition)
	}
	return pos, nil
}

// ruleStands returns the digest of the rules if a rule is where it should be,
// else a conflict.
func (c *Client) ruleStands(ctx context.Context, l FirewallLevel, pos int, rule FirewallRule) (string, error) {
	path, err := l.path("/rules/" + strconv.Itoa(pos))
	if err != nil {
		return "", err
	}
	rules, digest, err := c.FirewallRules(ctx, l)
	if err != nil {
		return "", err
	}
	if pos >= len(rules) || !rules[pos].Equal(rule) {
		return "", firewallConflict(http.MethodPut, path)
	}
	return digest, nil
}

// SetFirewallRule makes the rule at pos what is given: what it leaves open is
// open afterwards.
func (c *Client) SetFirewallRule(ctx context.Context, l FirewallLevel, digest string, pos int, rule FirewallRule) error {
	params, open := rule.params()
	if len(open) > 0 {
		params["delete"] = strings.Join(open, ",")
	}
	return c.writeFirewall(ctx, http.MethodPut, l, "/rules/"+strconv.Itoa(pos), digest, params)
}

// MoveFirewallRule moves the rule at from so that it is at to afterwards.
// Proxmox VE counts the target before the rule is taken out, and takes a move
// of a rule to where it is for a change of the rule; so that is no call here.
func (c *Client) MoveFirewallRule(ctx context.Context, l FirewallLevel, digest string, from, to int) error {
	if from < 0 || to < 0 {
		return fmt.Errorf("move rule of %s from %d to %d: %w", l, from, to, errNoPosition)
	}
	if from == to {
		return nil
	}
	if to > from {
		to++
	}
	params := map[string]string{"moveto": strconv.Itoa(to)}
	return c.writeFirewall(ctx, http.MethodPut, l, "/rules/"+strconv.Itoa(from), digest, params)
}

// DeleteFirewallRule deletes the rule at pos. Always give the digest: without
// it a rule that moved meanwhile is not the one that is deleted.
func (c *Client) DeleteFirewallRule(ctx context.Context, l FirewallLevel, digest string, pos int) error {
	return c.writeFirewall(ctx, http.MethodDelete, l, "/rules/"+strconv.Itoa(pos), digest, nil)
}

// FirewallGroup is a security group of the site.
type FirewallGroup struct{ Name, Comment string }

// FirewallGroups lists the security groups and the digest of the list.
func (c *Client) FirewallGroups(ctx context.Context) ([]FirewallGroup, string, error) {
	var rows []struct {
		Group   scalar `json:"group"`
		Comment scalar `json:"comment"`
		Digest  scalar `json:"digest"`
	}
	if err := c.get(ctx, "/cluster/firewall/groups", nil, &rows); err != nil {
		return nil, "", err
	}
	digest, groups := EmptyFirewallDigest, make([]FirewallGroup, 0, len(rows))
	for _, row := range rows {
		digest = string(row.Digest)
		groups = append(groups, FirewallGroup{Name: string(row.Group), Comment: string(row.Comment)})
	}
	return groups, digest, nil
}

// maxFirewallGroup is how long a group's name may be.
const maxFirewallGroup = 18

// CreateFirewallGroup makes a group without rules; IsFirewallExists when there
// is one. The name has lower case letters, digits, - and _, at most 18.
func (c *Client) CreateFirewallGroup(ctx context.Context, name, comment string) error {
	return c.postGroup(ctx, "", map[string]string{"group": name, "comment": strings.TrimSpace(comment)})
}

// SetFirewallGroupComment changes a group's comment.
func (c *Client) SetFirewallGroupComment(ctx context.Context, digest, name, comment string) error {
	return c.postGroup(ctx, digest, map[string]string{"group": name, "rename": name, "comment": strings.TrimSpace(comment)})
}

func (c *Client) postGroup(ctx context.Context, digest string, params map[string]string) error {
	const path = "/cluster/firewall/groups"
	if err := checkFirewallName(http.MethodPost, path, "group", params["group"], maxFirewallGroup, firewallName); err != nil {
		return err
	}
	return c.writeFirewall(ctx, http.MethodPost, FirewallLevel{}, "/groups", digest, params)
}

// DeleteFirewallGroup deletes a group that has no rules (else
// IsFirewallNotEmpty). Proxmox VE does not look whether rules refer to it:
// those stay and do nothing, so take them away first.
func (c *Client) DeleteFirewallGroup(ctx context.Context, name string) error {
	path := "/cluster/firewall/groups/" + name
	if err := checkFirewallName(http.MethodDelete, path, "group", name, maxFirewallGroup, firewallAlias); err != nil {
		return err
	}
	return c.writeFirewall(ctx, http.MethodDelete, FirewallLevel{}, "/groups/"+name, "", nil)
}
