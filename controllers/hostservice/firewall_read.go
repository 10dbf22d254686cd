// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/internal/firewall"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
)

// reading reads what changed since the last pass.
type reading struct {
	*firewallSeen
	ctx    context.Context
	digest map[string]string // of files
}

// levels are those that are declared, and all others on which something of the owner stands. What cannot be reached is left
// out.
func (r *reading) levels(ours map[string]bool) []firewall.Level {
	all := map[firewall.Level]bool{firewall.Datacenter: true}
	for _, n := range r.nodes {
		all[firewall.Node(n)] = true
	}
	for l := range r.want.Levels {
		all[l] = true
	}
	for l := range r.record.Options {
		all[l] = true
	}
	for file := range ours {
		if l, ok := firewall.LevelOf(file); ok {
			all[l] = true
		}
	}
	var levels []firewall.Level
	for _, l := range slices.Sorted(maps.Keys(all)) {
		switch why := r.unreachable(l); {
		case why == "":
			levels = append(levels, l)
		case r.matters(l, ours[l.File()]):
			r.away = append(r.away, fmt.Sprintf("%s (%s)", r.label(l), why))
		}
	}
	return levels
}

// unreachable says why a level cannot be read now.
func (r *reading) unreachable(l firewall.Level) string {
	node, bound := l.Node()
	if vmid, guest := l.VMID(); guest {
		resource, there := r.guests[vmid]
		if !there {
			return "the list of guests does not show it; if it is gone for good, delete /etc/pve/" + l.File()
		}
		node, bound = resource.Node, true
	}
	if bound && !slices.Contains(r.nodes, node) {
		return "node " + node + " is offline"
	}
	return ""
}

// matters says whether a level that cannot be reached is waited for: something is to be put there, or ours is there still.
// A guest that is gone took its rules and its options with it, and so did a node that the site does not have any more.
func (r *reading) matters(l firewall.Level, ours bool) bool {
	if _, wanted := r.want.Levels[l]; wanted || ours {
		node, isNode := l.Node()
		return wanted || !isNode || slices.Contains(r.allNodes, node)
	}
	vmid, _ := l.VMID()
	_, there := r.guests[vmid]
	node, isNode := l.Node()
	return there || isNode && slices.Contains(r.allNodes, node)
}

// level reads one level, unless its file is the one that was read before, or is not there.
func (r *reading) level(l firewall.Level) error {
	digest := r.digest[l.File()]
	known, ok := r.memory.levels[l]
	dirty := r.memory.dirty[l]
	switch {
	case ok && known.digest == digest && !dirty:
		return nil
	case digest == "" && !dirty:
		r.memory.levels[l] = levelMemory{}
		return nil
	}
	at, there := place(l, r.guests)
	if !there {
		return nil
	}
	state, _, err := readLevel(r.ctx, r.site.API, at)
	if err != nil {
		return firewallFailure(err)
	}
	r.memory.levels[l] = levelMemory{digest: digest, state: state}
	delete(r.memory.dirty, l)
	return nil
}

// names reads groups, aliases and sets, which stand in the datacenter's file.
func (r *reading) names() error {
	key := r.digest[firewall.Datacenter.File()] + " " + strings.Join(slices.Sorted(maps.Keys(r.want.Sets)), " ")
	if r.memory.site.key == key {
		return nil
	}
	read := siteMemory{key: key, groups: map[string]firewall.Group{}, aliases: map[string]firewall.Alias{}, sets: map[string]firewall.Set{}}
	for _, part := range []func(*siteMemory) error{r.groups, r.aliases, r.sets} {
		if err := part(&read); err != nil {
			return firewallFailure(err)
		}
	}
	r.memory.site = read
	return nil
}

func (r *reading) groups(into *siteMemory) error {
	groups, _, err := r.site.API.FirewallGroups(r.ctx)
	if err != nil {
		return fmt.Errorf("read security groups: %w", err)
	}
	for _, g := range groups {
		group := firewall.Group{Comment: g.Comment}
		if firewall.Marked(g.Comment, r.want.Owner) {
			if group.Rules, _, err = readRules(r.ctx, r.site.API, proxmox.FirewallLevel{Group: g.Name}); err != nil {
				return err
			}
		}
		into.groups[g.Name] = group
	}
	return nil
}

func (r *reading) aliases(into *siteMemory) error {
	aliases, _, err := r.site.API.FirewallAliases(r.ctx, proxmox.FirewallLevel{})
	if err != nil {
		return fmt.Errorf("read aliases: %w", err)
	}
	for _, a := range aliases {
		into.aliases[strings.ToLower(a.Name)] = firewall.Alias{CIDR: a.CIDR, Comment: a.Comment}
	}
	return nil
}

// sets reads the entries of the declared sets and of the owner's.
func (r *reading) sets(into *siteMemory) error {
	sets, _, err := r.site.API.FirewallIPSets(r.ctx, proxmox.FirewallLevel{})
	if err != nil {
		return fmt.Errorf("read IP sets: %w", err)
	}
	for _, s := range sets {
		set := firewall.Set{Comment: s.Comment}
		if _, wanted := r.want.Sets[s.Name]; wanted || firewall.Marked(s.Comment, r.want.Owner) {
			entries, _, err := r.site.API.FirewallIPSetEntries(r.ctx, proxmox.FirewallLevel{}, s.Name)
			if err != nil {
				return fmt.Errorf("read IP set %s: %w", s.Name, err)
			}
			for _, e := range entries {
				set.Entries = append(set.Entries, firewall.Entry{CIDR: e.CIDR, NoMatch: e.NoMatch})
			}
		}
		into.sets[s.Name] = set
	}
	return nil
}

// all reads everything that is needed for a plan.
func (r *reading) all(ours map[string]bool) error {
	levels := r.levels(ours)
	if err := r.names(); err != nil {
		return err
	}
	for _, l := range levels {
		if err := r.level(l); err != nil {
			return err
		}
	}
	r.state = r.memory.stateOf(levels)
	return nil
}

// usesMissing names the first alias or set that a rule refers to and that is neither declared nor there.
func (r *reading) usesMissing() error {
	for _, ref := range r.want.refs {
		var comment string
		var there, wanted bool
		switch ref.kind {
		case "alias":
			var a firewall.Alias
			a, there = r.state.Aliases[ref.name]
			_, wanted = r.want.Aliases[ref.name]
			comment = a.Comment
		default:
			var s firewall.Set
			s, there = r.state.Sets[ref.name]
			_, wanted = r.want.Sets[ref.name]
			comment = s.Comment
		}
		if !wanted && (!there || firewall.Marked(comment, r.want.Owner)) { // one of ours that is not declared any more goes
			return invalid(fmt.Errorf("%s: the datacenter has no %s %s, and none is declared here", ref.field, ref.kind, ref.name))
		}
	}
	return nil
}
