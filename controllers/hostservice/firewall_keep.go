// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"slices"

	"github.com/phoenix-hypervisor/phoenix/internal/firewall"
)

// A control plane that was just made does not know where a stack is published until Portainer was asked. What is in force for
// the stack's Routes stays until it does: else they were cut off for that long.

// unknownBackends are the reasons for which somebody may come to a Guest at ports that are not known, by Guest.
func (d declared) unknownBackends() map[string][]string {
	out := map[string][]string{}
	for i := range d.routes {
		router := d.service(d.routes[i].Spec.RouterRef.Name)
		if router == nil || router.Spec.Traefik == nil {
			continue
		}
		for _, b := range d.routes[i].Spec.Backends {
			if b.Stack == nil || !d.unseenStack(b.Stack.Name) {
				continue
			}
			if at, _ := d.stackBackend(b.Stack); at.Guest != "" {
				out[at.Guest] = append(out[at.Guest], shortComment(whyOf(router, "backends")))
			}
		}
	}
	return out
}

// unseenStack says that nobody has looked yet at what a stack publishes.
func (d declared) unseenStack(name string) bool {
	for i := range d.stacks {
		if s := &d.stacks[i]; s.Name == name {
			return s.DeletionTimestamp.IsZero() && len(s.Status.Services) == 0
		}
	}
	return false
}

// keep adds to what is wanted what is in force for reasons of which more is not known yet.
func (w *wanted) keep(state firewall.State) {
	for l, reasons := range w.unknown {
		level, there := w.Levels[l]
		if !there {
			continue
		}
		now := inForce(state, l, w.Owner)
		all := slices.Clone(level.Rules)
		for _, rule := range now {
			if slices.Contains(reasons, rule.Comment) && !slices.Contains(all, rule) {
				all = append(all, rule)
			}
		}
		if sameRules(all, now) { // in the order in which they are in force, so that nothing is to be done
			all = now
		}
		level.Rules = all
		w.Levels[l] = level
	}
}

// inForce are the rules of the owner's groups on a level.
func inForce(state firewall.State, l firewall.Level, owner string) []firewall.Rule {
	var rules []firewall.Rule
	for _, ref := range state.Levels[l].Rules {
		if ref.Type != "group" || !firewall.Marked(ref.Comment, owner) {
			continue
		}
		for _, rule := range state.Groups[ref.Action].Rules {
			rule.Iface = ref.Iface
			rules = append(rules, rule)
		}
	}
	return rules
}

// sameRules says whether both have the same rules, in whatever order.
func sameRules(a, b []firewall.Rule) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(r firewall.Rule) bool { return !slices.Contains(b, r) })
}
