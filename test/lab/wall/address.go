// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package wall

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// span is a range of addresses of one family, both ends included.
type span struct{ from, to netip.Addr }

func spanOf(p netip.Prefix) span {
	p = p.Masked()
	to := p.Addr().AsSlice()
	for bit := p.Bits(); bit < p.Addr().BitLen(); bit++ {
		to[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(to) // it has the length of an address
	return span{p.Addr(), last}
}

// bits are the bits that all addresses of a network have in common.
func (s span) bits() int {
	for bits := range s.from.BitLen() + 1 {
		if spanOf(netip.PrefixFrom(s.from, bits)) == s {
			return bits
		}
	}
	return -1 // not a network
}

// String is the span as nftables writes it.
func (s span) String() string {
	switch bits := s.bits(); bits {
	case -1:
		return s.from.String() + "-" + s.to.String()
	case s.from.BitLen():
		return s.from.String()
	default:
		return netip.PrefixFrom(s.from, bits).String()
	}
}

// matcher is a set of addresses of both families.
type matcher []span

func (m *matcher) add(s span) { *m = append(*m, s) }

// remove takes a span out.
func (m *matcher) remove(s span) {
	var out matcher
	for _, x := range *m {
		if x.from.Is4() != s.from.Is4() || x.to.Less(s.from) || s.to.Less(x.from) {
			out.add(x)
			continue
		}
		if x.from.Less(s.from) {
			out.add(span{x.from, s.from.Prev()})
		}
		if s.to.Less(x.to) {
			out.add(span{s.to.Next(), x.to})
		}
	}
	*m = out
}

// matches are the conditions, one for every family that there are addresses of.
func (m matcher) matches(key string) []string {
	var out []string
	for _, family := range []string{"ip", "ip6"} {
		if spans := only(m, func(s span) bool { return s.from.Is4() == (family == "ip") }); len(spans) > 0 {
			out = append(out, family+" "+key+" "+set(spans))
		}
	}
	return out
}

func only(spans []span, keep func(span) bool) []span {
	var out []span
	for _, s := range spans {
		if keep(s) {
			out = append(out, s)
		}
	}
	return merge(out)
}

// merge joins spans that overlap or touch: nftables refuses them in one set.
func merge(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(a.from.Compare(b.from), a.to.Compare(b.to)) })
	var out []span
	for _, s := range spans {
		if n := len(out) - 1; n >= 0 && (s.from.Compare(out[n].to) <= 0 || s.from == out[n].to.Next()) {
			if out[n].to.Less(s.to) {
				out[n].to = s.to
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

func set(spans []span) string {
	if len(spans) == 1 {
		return spans[0].String()
	}
	texts := make([]string, 0, len(spans))
	for _, s := range spans {
		texts = append(texts, s.String())
	}
	return "{ " + strings.Join(texts, ", ") + " }"
}

// peers are the conditions on the addresses of a rule: one line for every family; an empty line when there are none.
func (t *translation) peers(r pve.FirewallRule) ([]string, error) {
	source, err := t.matcher(r.Source)
	if err != nil {
		return nil, err
	}
	dest, err := t.matcher(r.Dest)
	if err != nil {
		return nil, err
	}
	from, to := source.matches("saddr"), dest.matches("daddr")
	switch {
	case r.Source == "" && r.Dest == "":
		return []string{""}, nil
	case r.Dest == "":
		return from, nil
	case r.Source == "":
		return to, nil
	}
	var out []string
	for _, f := range from {
		for _, d := range to {
			if strings.HasPrefix(f, "ip6 ") == strings.HasPrefix(d, "ip6 ") {
				out = append(out, f+" "+d)
			}
		}
	}
	return out, nil
}

// matcher resolves the source or destination of a rule.
func (t *translation) matcher(text string) (*matcher, error) {
	m := &matcher{}
	if text == "" {
		return m, nil
	}
	if name, ok := strings.CutPrefix(text, "+"); ok {
		level, name := t.scope(name, func(l pve.FirewallScope, name string) bool { _, there := l.Sets[name]; return there })
		if _, there := level.Sets[name]; !there {
			return nil, fmt.Errorf("there is no IP set %s", name)
		}
		return m, t.addSet(m, level, name)
	}
	for _, item := range strings.Split(text, ",") {
		s, err := t.span(strings.TrimSpace(item))
		if err != nil {
			return nil, err
		}
		m.add(s)
	}
	return m, nil
}

// scope finds the level that a name is of: dc/ and guest/ say so; else the guest's own come first.
func (t *translation) scope(name string, has func(pve.FirewallScope, string) bool) (pve.FirewallScope, string) {
	if rest, ok := strings.CutPrefix(name, "dc/"); ok {
		return t.site.Cluster, rest
	}
	if rest, ok := strings.CutPrefix(name, "guest/"); ok {
		return t.own, rest
	}
	if has(t.own, name) {
		return t.own, name
	}
	return t.site.Cluster, name
}

// addSet adds the members of an IP set: of those that an address is in, the smallest one decides.
func (t *translation) addSet(m *matcher, level pve.FirewallScope, name string) error {
	type member struct {
		span
		no bool
	}
	var members []member
	for _, e := range level.Sets[name] {
		if len(e.Errors) > 0 {
			continue
		}
		s, err := t.span(e.CIDR)
		if err != nil {
			return fmt.Errorf("IP set %s: %w", name, err)
		}
		members = append(members, member{s, e.NoMatch})
	}
	slices.SortStableFunc(members, func(a, b member) int { return cmp.Compare(a.bits(), b.bits()) })
	for _, x := range members {
		if x.no {
			m.remove(x.span)
		} else {
			m.add(x.span)
		}
	}
	return nil
}

// span reads an address, a network, a range or an alias.
func (t *translation) span(text string) (span, error) {
	if low, high, isRange := strings.Cut(text, "-"); isRange {
		from, err := netip.ParseAddr(low)
		to, err2 := netip.ParseAddr(high)
		if err == nil && err2 == nil && from.Is4() == to.Is4() && from.Compare(to) <= 0 {
			return span{from, to}, nil
		}
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return span{a, a}, nil
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return spanOf(p), nil
	}
	level, name := t.scope(text, func(l pve.FirewallScope, name string) bool {
		_, there := l.Aliases[strings.ToLower(name)]
		return there
	})
	value, there := level.Aliases[strings.ToLower(name)]
	if !there && name == "local_network" && len(t.local) > 0 {
		return spanOf(t.local[0]), nil
	}
	if !there {
		return span{}, fmt.Errorf("there is no alias %s", text)
	}
	if a, err := netip.ParseAddr(value); err == nil {
		return span{a, a}, nil
	}
	p, err := netip.ParsePrefix(value)
	if err != nil {
		return span{}, fmt.Errorf("alias %s: %w", text, err)
	}
	return spanOf(p), nil
}
