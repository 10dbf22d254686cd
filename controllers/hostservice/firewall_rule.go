// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"fmt"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/firewall"
)

const maxComment = 128

// rules renders the declared rules of one level. One becomes several where Proxmox takes only addresses of one family.
func (b *wantBuilder) rules(field string, declared []v1alpha1.FirewallRule, guest bool) ([]firewall.Rule, error) {
	var out []firewall.Rule
	for i, r := range declared {
		where := fmt.Sprintf("%s.rules[%d]", field, i)
		if err := checkRule(where, r, guest); err != nil {
			return nil, invalid(err)
		}
		macro, err := b.macro(where, r.Macro)
		if err != nil {
			return nil, err
		}
		r.Macro = macro
		rules, err := b.rule(where, r)
		if err != nil {
			return nil, err
		}
		out = append(out, rules...)
	}
	return out, nil
}

// macro returns a macro's name as Proxmox spells it.
func (b *wantBuilder) macro(where, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	at := slices.IndexFunc(b.macros, func(m string) bool { return strings.EqualFold(m, name) })
	if at < 0 {
		return "", invalid(fmt.Errorf("%s.macro: Proxmox has no macro %s; see: pvesh get /cluster/firewall/macros", where, name))
	}
	return b.macros[at], nil
}

func checkRule(where string, r v1alpha1.FirewallRule, guest bool) error {
	if err := checkPorts(where+".ports", r.Ports); err != nil {
		return err
	}
	if err := checkPorts(where+".sourcePorts", r.SourcePorts); err != nil {
		return err
	}
	if guest && r.Interface != "" && !guestInterface.MatchString(r.Interface) {
		return fmt.Errorf("%s.interface: %s is no interface of a guest: name one as Proxmox does, net0 to net31", where, r.Interface)
	}
	return nil
}

func (b *wantBuilder) rule(where string, r v1alpha1.FirewallRule) ([]firewall.Rule, error) {
	sources, err := b.peer(where+".source", r.Source)
	if err != nil {
		return nil, err
	}
	destinations, err := b.peer(where+".destination", r.Destination)
	if err != nil {
		return nil, err
	}
	rule := firewall.Rule{
		Type: "in", Action: strings.ToUpper(string(r.Action)), Macro: r.Macro, Proto: r.Protocol, DPort: r.Ports, SPort: r.SourcePorts,
		ICMPType: r.ICMPType, Iface: r.Interface, Log: r.Log, Comment: strings.TrimSpace(r.Comment), Enable: r.Enabled == nil || *r.Enabled,
	}
	if r.Direction == v1alpha1.FirewallOut {
		rule.Type = "out"
	}
	return spread(rule, sources, destinations), nil
}

// spread makes one rule of each source and destination that can meet.
func spread(rule firewall.Rule, sources, destinations []string) []firewall.Rule {
	var out []firewall.Rule
	for _, source := range sources {
		for _, destination := range destinations {
			a, z := family(source), family(destination)
			if a != 0 && z != 0 && a != z {
				continue
			}
			rule.Source, rule.Dest = source, destination
			out = append(out, rule)
		}
	}
	return out
}

// derive adds the rules of the flows, below the declared ones, and makes every Guest refuse the rest.
func (b *wantBuilder) derive() error {
	if b.service.Spec.Firewall.Flows != v1alpha1.FlowsDerive {
		return nil
	}
	for i := range b.d.guests {
		b.close(&b.d.guests[i])
	}
	flows := flowsOf(b.d)
	for len(flows) > 0 {
		first := flows[0]
		end := slices.IndexFunc(flows, func(f flow) bool {
			return f.To != first.To || f.Protocol != first.Protocol || f.Port != first.Port || f.Why != first.Why
		})
		if end < 0 {
			end = len(flows)
		}
		b.admit(flows[:end])
		flows = flows[end:]
	}
	for name, reasons := range b.d.unknownBackends() {
		if l, ok := b.levelOf(guestNamed(b.d.guests, name)); ok {
			b.unknown[l] = reasons
		}
	}
	return nil
}

// close makes a Guest refuse what no rule lets in, unless its entry says otherwise. The one that Phoenix lives in is left
// alone unless it has an entry: no object declares who reaches the Kubernetes API in it.
func (b *wantBuilder) close(g *v1alpha1.Guest) {
	l, ok := b.levelOf(g)
	if !ok {
		return
	}
	w, declared := b.want.Levels[l]
	if !declared && slices.Contains(b.want.Lifeline, l) {
		return
	}
	if !declared {
		w.Options = map[string]string{}
		b.unfiltered(g)
	}
	defaults := map[string]string{firewall.EnableOption: "1", "policy_in": "DROP"}
	if slices.ContainsFunc(g.Spec.Networks, func(n v1alpha1.Network) bool { return n.IPv4 != nil && n.IPv4.Method == v1alpha1.IPDHCP }) {
		defaults["dhcp"] = "1"
	}
	for key, value := range defaults {
		if _, set := w.Options[key]; !set {
			w.Options[key] = value
		}
	}
	b.put(l, fmt.Sprintf("guests[%s]", g.Name), w)
}

// admit adds one rule for flows that differ only in where they begin.
func (b *wantBuilder) admit(flows []flow) {
	l, ok := b.receiver(flows[0].To)
	if !ok {
		return
	}
	sources := b.begins(flows)
	rule := firewall.Rule{
		Type: "in", Action: "ACCEPT", Proto: flows[0].Protocol, DPort: fmt.Sprint(flows[0].Port), Comment: shortComment(flows[0].Why), Enable: true,
	}
	w := b.want.Levels[l]
	w.Rules = append(w.Rules, spread(rule, sources, []string{""})...)
	b.want.Levels[l] = w
}

// shortComment is a reason as a rule bears it.
func shortComment(why string) string { return why[:min(len(why), maxComment)] }

// begins are the sources of flows; an open beginning is everybody.
func (b *wantBuilder) begins(flows []flow) []string {
	var addresses []string
	for _, f := range flows {
		switch {
		case f.From == flowEnd{}:
			return []string{""}
		case f.From.CIDR != "":
			addresses = append(addresses, f.From.CIDR)
		default:
			at := slices.IndexFunc(b.d.guests, func(g v1alpha1.Guest) bool { return g.Name == f.From.Guest })
			if at >= 0 {
				addresses = append(addresses, addressesOf(&b.d.guests[at])...)
			}
		}
	}
	slices.Sort(addresses)
	return lists(slices.Compact(addresses))
}

// receiver is the level on which flows arrive.
func (b *wantBuilder) receiver(to flowEnd) (firewall.Level, bool) {
	if to.Node != "" {
		l := firewall.Node(to.Node)
		known := slices.Contains(nodesOf(b.d.host), to.Node)
		if _, declared := b.want.Levels[l]; known && !declared {
			b.put(l, fmt.Sprintf("nodes[%s]", to.Node), firewall.LevelWant{Options: map[string]string{}})
		}
		return l, known
	}
	for i := range b.d.guests {
		if g := &b.d.guests[i]; g.Name == to.Guest {
			l, ok := b.levelOf(g)
			_, declared := b.want.Levels[l]
			return l, ok && declared
		}
	}
	return "", false
}
