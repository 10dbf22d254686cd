// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/firewall"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

var guestInterface = regexp.MustCompile("^net[0-9]+$")

// wantBuilder turns the spec and what it refers to into what is wanted on each level.
type wantBuilder struct {
	service *v1alpha1.HostService
	d       declared
	want    firewall.Want
	fields  map[firewall.Level]string // of the spec, for people
	refs    []nameRef
	macros  []string // that Proxmox has
	notes   []string
	unknown map[firewall.Level][]string // see wanted
}

// wanted is what a HostService declares, with the aliases and sets that have to be there before it may be made so.
type wanted struct {
	firewall.Want
	fields map[firewall.Level]string
	refs   []nameRef
	notes  []string // what people should know beside
	// unknown are the reasons of rules that are not known yet: the comments of those that are in force.
	unknown map[firewall.Level][]string
}

// wantOf renders a spec. Errors are the spec's, or say what has to be there first.
func wantOf(s *v1alpha1.HostService, d declared, owner string, macros []string) (wanted, error) {
	spec := s.Spec.Firewall
	b := &wantBuilder{service: s, d: d, macros: macros, fields: map[firewall.Level]string{firewall.Datacenter: "datacenter"}, want: firewall.Want{
		Owner: owner, Exclusive: spec.Exclusive != nil && *spec.Exclusive, Adopt: s.Spec.AdoptionPolicy == v1alpha1.AdoptionIfUnowned,
		Levels: map[firewall.Level]firewall.LevelWant{}, Aliases: map[string]firewall.Alias{}, Sets: map[string]firewall.Set{},
		Lifeline: lifelineOf(d),
	}, unknown: map[firewall.Level][]string{}}
	for _, part := range []func() error{b.datacenter, b.nodes, b.declaredGuests, b.derive} {
		if err := part(); err != nil {
			return wanted{}, err
		}
	}
	return wanted{b.want, b.fields, b.refs, b.notes, b.unknown}, nil
}

// usesMacros says whether a spec names any macro.
func usesMacros(f *v1alpha1.Firewall) bool {
	named := func(rules []v1alpha1.FirewallRule) bool {
		return slices.ContainsFunc(rules, func(r v1alpha1.FirewallRule) bool { return r.Macro != "" })
	}
	return f.Datacenter != nil && named(f.Datacenter.Rules) ||
		slices.ContainsFunc(f.Nodes, func(n v1alpha1.FirewallNode) bool { return named(n.Rules) }) ||
		slices.ContainsFunc(f.Guests, func(g v1alpha1.FirewallGuest) bool { return named(g.Rules) })
}

// lifelineOf are the levels of guests that Phoenix lives in.
func lifelineOf(d declared) []firewall.Level {
	if d.host.Spec.ControlPlaneGuest == nil {
		return nil
	}
	for i := range d.guests {
		if g := &d.guests[i]; g.Name == d.host.Spec.ControlPlaneGuest.Name && g.Status.VMID != nil {
			return []firewall.Level{firewall.Guest(int(*g.Status.VMID))}
		}
	}
	return nil
}

// invalid is what only another spec can make right.
func invalid(err error) error { return reconcile.Stall(InvalidFirewallReason, err) }

func (b *wantBuilder) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(b.notes, text) {
		b.notes = append(b.notes, text)
	}
}

// guest finds a Guest of the Host.
func (b *wantBuilder) guest(field, name string) (*v1alpha1.Guest, error) {
	for i := range b.d.guests {
		if b.d.guests[i].Name == name {
			return &b.d.guests[i], nil
		}
	}
	return nil, reconcile.Wait(FirewallGuestMissingReason, later, fmt.Errorf("%s: Host/%s has no Guest/%s", field, b.d.host.Name, name))
}

func (b *wantBuilder) datacenter() error {
	dc := b.service.Spec.Firewall.Datacenter
	if dc == nil {
		return nil
	}
	for _, a := range dc.Aliases {
		b.want.Aliases[a.Name] = firewall.Alias{CIDR: plain(a.Address), Comment: firewall.MarkedComment(a.Comment, b.want.Owner)}
	}
	for i, s := range dc.IPSets {
		set, err := b.set(fmt.Sprintf("datacenter.ipSets[%d]", i), s)
		if err != nil {
			return err
		}
		b.want.Sets[s.Name] = set
	}
	rules, err := b.rules("datacenter", dc.Rules, false)
	if err != nil {
		return err
	}
	options := map[string]string{}
	putBool(options, firewall.EnableOption, dc.Enabled)
	putPolicy(options, "policy_in", dc.PolicyIn)
	putPolicy(options, "policy_out", dc.PolicyOut)
	b.want.Levels[firewall.Datacenter] = firewall.LevelWant{Options: options, Rules: rules}
	return nil
}

// plain is an address without the length of a whole address, as Proxmox keeps it.
func plain(cidr string) string {
	if strings.Contains(cidr, ":") {
		return strings.TrimSuffix(cidr, "/128")
	}
	return strings.TrimSuffix(cidr, "/32")
}

func (b *wantBuilder) set(field string, s v1alpha1.FirewallIPSet) (firewall.Set, error) {
	set := firewall.Set{Comment: firewall.MarkedComment(s.Comment, b.want.Owner)}
	for i, e := range s.Entries {
		where := fmt.Sprintf("%s.entries[%d]", field, i)
		addresses, err := b.entry(where, e)
		if err != nil {
			return set, err
		}
		for _, a := range addresses {
			entry := firewall.Entry{CIDR: a, NoMatch: e.Except != nil && *e.Except}
			switch at := slices.IndexFunc(set.Entries, func(o firewall.Entry) bool { return o.CIDR == a }); {
			case at < 0:
				set.Entries = append(set.Entries, entry)
			case set.Entries[at] != entry:
				return set, invalid(fmt.Errorf("%s: %s is in the set already, once with except and once without", where, a))
			}
		}
	}
	return set, nil
}

// entry returns the addresses of one entry of a set.
func (b *wantBuilder) entry(where string, e v1alpha1.FirewallEntry) ([]string, error) {
	switch {
	case strings.HasSuffix(e.Address, "/0"):
		return nil, invalid(fmt.Errorf("%s: Proxmox takes no network of everything in an IP set: leave the peer of the rule out instead", where))
	case e.GuestRef == nil:
		return []string{plain(e.Address)}, nil
	}
	g, err := b.guest(where+".guestRef", e.GuestRef.Name)
	if err != nil {
		return nil, err
	}
	addresses := addressesOf(g)
	if len(addresses) == 0 {
		b.note("%s waits for an address of Guest/%s", where, g.Name)
	}
	return addresses, nil
}

func (b *wantBuilder) nodes() error {
	known := nodesOf(b.d.host)
	for i, n := range b.service.Spec.Firewall.Nodes {
		field := fmt.Sprintf("nodes[%s]", n.Name)
		if !slices.Contains(known, n.Name) {
			return invalid(fmt.Errorf("nodes[%d].name: Host/%s has no node %s, only %s", i, b.d.host.Name, n.Name, strings.Join(known, ", ")))
		}
		if _, twice := b.want.Levels[firewall.Node(n.Name)]; twice {
			return invalid(fmt.Errorf("nodes[%d].name: %s is declared twice", i, n.Name))
		}
		rules, err := b.rules(field, n.Rules, false)
		if err != nil {
			return err
		}
		options := map[string]string{}
		putBool(options, firewall.EnableOption, n.Enabled)
		b.put(firewall.Node(n.Name), field, firewall.LevelWant{Options: options, Rules: rules})
	}
	return nil
}

func (b *wantBuilder) put(l firewall.Level, field string, w firewall.LevelWant) {
	b.want.Levels[l], b.fields[l] = w, field
}

func (b *wantBuilder) declaredGuests() error {
	seen := map[string]bool{}
	for i, g := range b.service.Spec.Firewall.Guests {
		field := fmt.Sprintf("guests[%s]", g.Name)
		if seen[g.Name] {
			return invalid(fmt.Errorf("guests[%d].name: %s is declared twice", i, g.Name))
		}
		seen[g.Name] = true
		guest, err := b.guest(fmt.Sprintf("guests[%d].name", i), g.Name)
		if err != nil {
			return err
		}
		rules, err := b.rules(field, g.Rules, true)
		if err != nil {
			return err
		}
		l, ok := b.levelOf(guest)
		if !ok {
			continue
		}
		options := map[string]string{}
		putBool(options, firewall.EnableOption, g.Enabled)
		putPolicy(options, "policy_in", g.PolicyIn)
		putPolicy(options, "policy_out", g.PolicyOut)
		putBool(options, "dhcp", g.DHCP)
		putBool(options, "macfilter", g.MACFilter)
		putBool(options, "ipfilter", g.IPFilter)
		b.put(l, field, firewall.LevelWant{Options: options, Rules: rules})
		b.unfiltered(guest)
	}
	return nil
}

// levelOf is the level of a Guest that exists outside.
func (b *wantBuilder) levelOf(g *v1alpha1.Guest) (firewall.Level, bool) {
	if g.Status.VMID == nil || g.Status.Node == "" {
		b.note("Guest/%s does not exist on the Host yet", g.Name)
		return "", false
	}
	return firewall.Guest(int(*g.Status.VMID)), true
}

// unfiltered names the interfaces of a Guest that Proxmox does not filter.
func (b *wantBuilder) unfiltered(g *v1alpha1.Guest) {
	for _, n := range g.Spec.Networks {
		if n.Firewall == nil || !*n.Firewall {
			b.note("%s of Guest/%s is not filtered: set firewall: true there", n.Device, g.Name)
		}
	}
}

func putBool(options map[string]string, key string, value *bool) {
	if value != nil {
		options[key] = map[bool]string{true: "1", false: "0"}[*value]
	}
}

func putPolicy(options map[string]string, key string, p v1alpha1.FirewallPolicy) {
	if p != "" {
		options[key] = strings.ToUpper(string(p))
	}
}

// nodesOf are the names of a Host's nodes.
func nodesOf(h *v1alpha1.Host) []string {
	var names []string
	for _, n := range h.Status.Nodes {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	return names
}
