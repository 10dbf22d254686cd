// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"fmt"

	"github.com/phoenix-hypervisor/phoenix/internal/firewall"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
)

// FirewallLevels reads and writes options and rules. *proxmox.Client is one.
type FirewallLevels interface {
	FirewallOptions(ctx context.Context, l proxmox.FirewallLevel) (map[string]string, string, error)
	SetFirewallOptions(ctx context.Context, l proxmox.FirewallLevel, digest string, set map[string]string, del []string) error
	FirewallRules(ctx context.Context, l proxmox.FirewallLevel) ([]proxmox.FirewallRule, string, error)
	AddFirewallRule(ctx context.Context, l proxmox.FirewallLevel, digest string, pos int, rule proxmox.FirewallRule) error
	SetFirewallRule(ctx context.Context, l proxmox.FirewallLevel, digest string, pos int, rule proxmox.FirewallRule) error
	MoveFirewallRule(ctx context.Context, l proxmox.FirewallLevel, digest string, from, to int) error
	DeleteFirewallRule(ctx context.Context, l proxmox.FirewallLevel, digest string, pos int) error
}

// FirewallGroups reads and writes security groups and aliases. *proxmox.Client is one.
type FirewallGroups interface {
	FirewallGroups(ctx context.Context) ([]proxmox.FirewallGroup, string, error)
	CreateFirewallGroup(ctx context.Context, name, comment string) error
	DeleteFirewallGroup(ctx context.Context, name string) error
	FirewallAliases(ctx context.Context, l proxmox.FirewallLevel) ([]proxmox.FirewallAlias, string, error)
	CreateFirewallAlias(ctx context.Context, l proxmox.FirewallLevel, alias proxmox.FirewallAlias) error
	SetFirewallAlias(ctx context.Context, l proxmox.FirewallLevel, digest string, alias proxmox.FirewallAlias) error
	DeleteFirewallAlias(ctx context.Context, l proxmox.FirewallLevel, digest, name string) error
}

// FirewallSets reads and writes IP sets. *proxmox.Client is one.
type FirewallSets interface {
	FirewallIPSets(ctx context.Context, l proxmox.FirewallLevel) ([]proxmox.FirewallIPSet, string, error)
	CreateFirewallIPSet(ctx context.Context, l proxmox.FirewallLevel, name, comment string) error
	SetFirewallIPSetComment(ctx context.Context, l proxmox.FirewallLevel, digest, name, comment string) error
	DeleteFirewallIPSet(ctx context.Context, l proxmox.FirewallLevel, name string) error
}

// FirewallEntries reads and writes the entries of IP sets. *proxmox.Client is one.
type FirewallEntries interface {
	FirewallIPSetEntries(ctx context.Context, l proxmox.FirewallLevel, set string) ([]proxmox.FirewallIPSetEntry, string, error)
	AddFirewallIPSetEntry(ctx context.Context, l proxmox.FirewallLevel, set string, entry proxmox.FirewallIPSetEntry) error
	SetFirewallIPSetEntry(ctx context.Context, l proxmox.FirewallLevel, set, digest string, entry proxmox.FirewallIPSetEntry) error
	DeleteFirewallIPSetEntry(ctx context.Context, l proxmox.FirewallLevel, set, digest, cidr string) error
}

// FirewallDoor asks the API what is not of one level. *proxmox.Client is one.
type FirewallDoor interface {
	FirewallMacros(ctx context.Context) ([]string, error)
	// CheckNewConnection proves that the API answers over a connection of its own.
	CheckNewConnection(ctx context.Context) error
}

// FirewallAPI is the Proxmox firewall of one site.
type FirewallAPI interface {
	FirewallLevels
	FirewallGroups
	FirewallSets
	FirewallEntries
	FirewallDoor
}

// NodeShell runs commands as root on one node.
type NodeShell interface {
	Run(ctx context.Context, argv []string, stdin []byte) (machine.Result, error)
}

// FirewallSite is one Host's site as its firewall needs it. Every member is needed.
type FirewallSite struct {
	API FirewallAPI
	// Guests are all guests of the site by VMID: their node and type.
	Guests func(ctx context.Context) (map[int]proxmox.Resource, error)
	// Shell returns the shell of a node; false: the Host has no SSH for it. It must not block.
	Shell func(node string) (NodeShell, bool)
	// CheckNewSSH proves that a node's SSH answers over a connection of its own, which it closes.
	CheckNewSSH func(ctx context.Context, node string) error
}

// place is the driver's name of a level.
func place(l firewall.Level, guests map[int]proxmox.Resource) (proxmox.FirewallLevel, bool) {
	if node, ok := l.Node(); ok {
		return proxmox.FirewallLevel{Node: node}, true
	}
	vmid, ok := l.VMID()
	if !ok {
		return proxmox.FirewallLevel{}, true
	}
	r, there := guests[vmid]
	return proxmox.FirewallLevel{Guest: &r.Ref}, there
}

func fromDriver(r proxmox.FirewallRule) firewall.Rule {
	return firewall.Rule{
		Type: r.Type, Action: r.Action, Macro: r.Macro, Proto: r.Proto, Source: r.Source, Dest: r.Dest, SPort: r.SPort, DPort: r.DPort,
		Iface: r.Iface, ICMPType: r.ICMPType, Log: r.Log, Comment: r.Comment, Enable: r.Enabled,
	}
}

func toDriver(r firewall.Rule) proxmox.FirewallRule {
	return proxmox.FirewallRule{
		Type: r.Type, Action: r.Action, Macro: r.Macro, Proto: r.Proto, Source: r.Source, Dest: r.Dest, SPort: r.SPort, DPort: r.DPort,
		Iface: r.Iface, ICMPType: r.ICMPType, Log: r.Log, Comment: r.Comment, Enabled: r.Enable,
	}
}

// digests are what a level's options and rules were read with.
type digests struct{ options, rules string }

// readLevel reads a level in full.
func readLevel(ctx context.Context, api FirewallLevels, l proxmox.FirewallLevel) (firewall.LevelState, digests, error) {
	var d digests
	options, digest, err := api.FirewallOptions(ctx, l)
	if err != nil {
		return firewall.LevelState{}, d, fmt.Errorf("read firewall options of %s: %w", l, err)
	}
	d.options = digest
	rules, digest, err := readRules(ctx, api, l)
	d.rules = digest
	return firewall.LevelState{Options: options, Rules: rules}, d, err
}

func readRules(ctx context.Context, api FirewallLevels, l proxmox.FirewallLevel) ([]firewall.Rule, string, error) {
	rows, digest, err := api.FirewallRules(ctx, l)
	if err != nil {
		return nil, "", fmt.Errorf("read firewall rules of %s: %w", l, err)
	}
	var rules []firewall.Rule
	for _, row := range rows {
		rules = append(rules, fromDriver(row))
	}
	return rules, digest, nil
}

// perform makes one call.
func perform(ctx context.Context, api FirewallAPI, l proxmox.FirewallLevel, d digests, c firewall.Call) error {
	dc := proxmox.FirewallLevel{}
	entry := proxmox.FirewallIPSetEntry{CIDR: c.Entry.CIDR, NoMatch: c.Entry.NoMatch}
	alias := proxmox.FirewallAlias{Name: c.Name, CIDR: c.CIDR, Comment: c.Comment}
	switch c.Verb {
	case firewall.CreateGroup:
		return api.CreateFirewallGroup(ctx, c.Group, c.Comment)
	case firewall.DeleteGroup:
		return api.DeleteFirewallGroup(ctx, c.Group)
	case firewall.CreateAlias:
		return api.CreateFirewallAlias(ctx, dc, alias)
	case firewall.SetAlias:
		return api.SetFirewallAlias(ctx, dc, "", alias)
	case firewall.DeleteAlias:
		return api.DeleteFirewallAlias(ctx, dc, "", c.Name)
	case firewall.CreateSet:
		return api.CreateFirewallIPSet(ctx, dc, c.Name, c.Comment)
	case firewall.CommentSet:
		return api.SetFirewallIPSetComment(ctx, dc, "", c.Name, c.Comment)
	case firewall.DeleteSet:
		return api.DeleteFirewallIPSet(ctx, dc, c.Name)
	case firewall.AddEntry:
		return api.AddFirewallIPSetEntry(ctx, dc, c.Name, entry)
	case firewall.SetEntry:
		return api.SetFirewallIPSetEntry(ctx, dc, c.Name, "", entry)
	case firewall.DeleteEntry:
		return api.DeleteFirewallIPSetEntry(ctx, dc, c.Name, "", c.Entry.CIDR)
	}
	return performRule(ctx, api, l, d, c)
}

func performRule(ctx context.Context, api FirewallLevels, l proxmox.FirewallLevel, d digests, c firewall.Call) error {
	switch c.Verb {
	case firewall.SetOptions:
		return api.SetFirewallOptions(ctx, l, d.options, c.Set, c.Delete)
	case firewall.AddRule:
		return api.AddFirewallRule(ctx, l, "", 0, toDriver(c.Rule))
	case firewall.SetRule:
		return api.SetFirewallRule(ctx, l, d.rules, c.Pos, toDriver(c.Rule))
	case firewall.MoveRule:
		return api.MoveFirewallRule(ctx, l, d.rules, c.Pos, c.To)
	case firewall.DeleteRule:
		return api.DeleteFirewallRule(ctx, l, d.rules, c.Pos)
	}
	return fmt.Errorf("firewall: unknown call %q", c.Verb)
}
