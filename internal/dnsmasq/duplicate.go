// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dnsmasq

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Duplicate is a name that two sources declare. The second one is not answered.
type Duplicate struct{ Name, First, Second string }

// String names both.
func (d Duplicate) String() string {
	return fmt.Sprintf("%s and %s both declare %s", d.First, d.Second, d.Name)
}

// kinds of answers; a CNAME stands alone at its name.
const (
	kindA     = "A"
	kindAAAA  = "AAAA"
	kindCNAME = "CNAME"
	kindTXT   = "TXT"
	kindSRV   = "SRV"
)

// Distinct returns the configuration with each name declared once for each kind of answer, and what was left out.
func (c Config) Distinct() (Config, []Duplicate) {
	var twice []Duplicate
	lost := map[Duplicate]bool{}
	held := taken{}
	for _, m := range c.claims() {
		other := held.try(m)
		if other == nil {
			continue
		}
		lost[Duplicate{Name: m.name, Second: m.source}] = true
		if !m.repeats(*other) {
			twice = append(twice, Duplicate{m.name, other.source, m.source})
		}
	}
	out := func(source, name string) bool { return lost[Duplicate{Name: name, Second: source}] }
	c.Hosts = without(c.Hosts, func(h Host) bool { return out(h.Source, c.Full(h.Name)) })
	c.CNAMEs = without(c.CNAMEs, func(r CNAME) bool { return out(r.Source, c.Full(r.Name)) })
	c.Texts = without(c.Texts, func(r Text) bool { return out(r.Source, c.Full(r.Name)) })
	c.Services = without(c.Services, func(r Service) bool { return out(r.Source, c.service(r.Name)) })
	c.Wildcards, twice = c.distinctWildcards(twice)
	return c, twice
}

// distinctWildcards returns each wildcard once, and adds to what was left out.
func (c Config) distinctWildcards(twice []Duplicate) ([]Wildcard, []Duplicate) {
	held := map[string]claim{}
	for _, z := range c.Zones {
		held[z.Domain] = claim{source: z.Source}
	}
	for _, h := range c.Hosts {
		if h.Subdomains {
			held[c.Full(h.Name)] = claim{source: h.Source, addresses: canonicals(h.Addresses)}
		}
	}
	var kept []Wildcard
	for _, w := range slices.SortedStableFunc(slices.Values(c.Wildcards), func(a, b Wildcard) int { return cmp.Compare(a.Rank, b.Rank) }) {
		m := claim{source: w.Source, addresses: canonicals(w.Addresses), agrees: true}
		other, taken := held[w.Domain]
		switch {
		case !taken:
			held[w.Domain] = m
			kept = append(kept, w)
		case !m.repeats(other):
			twice = append(twice, Duplicate{"*." + w.Domain, other.source, w.Source})
		}
	}
	slices.SortFunc(kept, func(a, b Wildcard) int { return cmp.Compare(a.Domain, b.Domain) })
	return kept, twice
}

func without[T any](list []T, out func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), out)
}

// claim is what one source declares of one name.
type claim struct {
	source, name string
	rank         int
	kinds        []string
	addresses    []string // of a host; in order
	agrees       bool
}

// repeats says that two claims are one answer, and may be.
func (m claim) repeats(other claim) bool {
	return (m.agrees || other.agrees) && len(m.addresses) > 0 && slices.Equal(m.addresses, other.addresses)
}

// canonicals are the texts of addresses that were not checked yet, in order, each once.
func canonicals(addresses []string) []string {
	all := make([]string, 0, len(addresses))
	for _, a := range addresses {
		all = append(all, canonical(a))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// claims are all that is declared, those that go first at the front.
func (c Config) claims() []claim {
	var all []claim
	for _, h := range c.Hosts {
		all = append(all, claim{h.Source, c.Full(h.Name), h.Rank, families(h.Addresses), canonicals(h.Addresses), h.Agrees})
	}
	for _, r := range c.CNAMEs {
		all = append(all, claim{source: r.Source, name: c.Full(r.Name), rank: r.Rank, kinds: []string{kindCNAME}})
	}
	for _, r := range c.Texts {
		all = append(all, claim{source: r.Source, name: c.Full(r.Name), rank: r.Rank, kinds: []string{kindTXT}})
	}
	for _, r := range c.Services {
		all = append(all, claim{source: r.Source, name: c.service(r.Name), rank: r.Rank, kinds: []string{kindSRV}})
	}
	slices.SortStableFunc(all, func(a, b claim) int { return cmp.Compare(a.rank, b.rank) })
	return all
}

// taken is what was declared so far, by name.
type taken map[string][]claim

// try takes a name, or returns who has it.
func (t taken) try(m claim) *claim {
	for _, other := range t[m.name] {
		if slices.ContainsFunc(other.kinds, func(k string) bool {
			return k == kindCNAME || slices.Contains(m.kinds, k) || slices.Contains(m.kinds, kindCNAME)
		}) {
			return &other
		}
	}
	t[m.name] = append(t[m.name], m)
	return nil
}

func families(addresses []string) []string {
	var found []string
	for _, text := range addresses {
		a, err := netip.ParseAddr(text)
		kind := kindAAAA
		if err == nil && a.Is4() {
			kind = kindA
		}
		if !slices.Contains(found, kind) {
			found = append(found, kind)
		}
	}
	return found
}

// Dangling returns the CNAMEs whose target is not declared: dnsmasq answers a CNAME only for names that it knows itself.
func (c Config) Dangling() []CNAME {
	known := map[string]bool{}
	for _, h := range c.Hosts {
		known[c.Full(h.Name)] = true
	}
	for _, r := range c.CNAMEs {
		known[c.Full(r.Name)] = true
	}
	below := func(name string) bool {
		return slices.ContainsFunc(c.Hosts, func(h Host) bool {
			return h.Subdomains && strings.HasSuffix(name, "."+c.Full(h.Name))
		}) || slices.ContainsFunc(c.Wildcards, func(w Wildcard) bool { return strings.HasSuffix(name, "."+w.Domain) })
	}
	return slices.DeleteFunc(slices.Clone(c.CNAMEs), func(r CNAME) bool {
		target := c.Full(r.Target)
		return known[target] || below(target)
	})
}
