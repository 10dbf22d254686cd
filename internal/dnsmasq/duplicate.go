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
		if who := held.try(m); who != "" {
			twice = append(twice, Duplicate{m.name, who, m.source})
			lost[Duplicate{Name: m.name, Second: m.source}] = true
		}
	}
	out := func(source, name string) bool { return lost[Duplicate{Name: name, Second: source}] }
	c.Hosts = without(c.Hosts, func(h Host) bool { return out(h.Source, c.Full(h.Name)) })
	c.CNAMEs = without(c.CNAMEs, func(r CNAME) bool { return out(r.Source, c.Full(r.Name)) })
	c.Texts = without(c.Texts, func(r Text) bool { return out(r.Source, c.Full(r.Name)) })
	c.Services = without(c.Services, func(r Service) bool { return out(r.Source, c.service(r.Name)) })
	return c, twice
}

func without[T any](list []T, out func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), out)
}

// claim is what one source declares of one name.
type claim struct {
	source, name string
	rank         int
	kinds        []string
}

// claims are all that is declared, those that go first at the front.
func (c Config) claims() []claim {
	var all []claim
	for _, h := range c.Hosts {
		all = append(all, claim{h.Source, c.Full(h.Name), h.Rank, families(h.Addresses)})
	}
	for _, r := range c.CNAMEs {
		all = append(all, claim{r.Source, c.Full(r.Name), r.Rank, []string{kindCNAME}})
	}
	for _, r := range c.Texts {
		all = append(all, claim{r.Source, c.Full(r.Name), r.Rank, []string{kindTXT}})
	}
	for _, r := range c.Services {
		all = append(all, claim{r.Source, c.service(r.Name), r.Rank, []string{kindSRV}})
	}
	slices.SortStableFunc(all, func(a, b claim) int { return cmp.Compare(a.rank, b.rank) })
	return all
}

// taken is what was declared so far, by name.
type taken map[string][]claim

// try takes a name, or says who has it.
func (t taken) try(m claim) string {
	for _, other := range t[m.name] {
		if slices.ContainsFunc(other.kinds, func(k string) bool {
			return k == kindCNAME || slices.Contains(m.kinds, k) || slices.Contains(m.kinds, kindCNAME)
		}) {
			return other.source
		}
	}
	t[m.name] = append(t[m.name], m)
	return ""
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
		})
	}
	return slices.DeleteFunc(slices.Clone(c.CNAMEs), func(r CNAME) bool {
		target := c.Full(r.Target)
		return known[target] || below(target)
	})
}
