// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

const (
	// maxPeer is how long a list of addresses may be; Proxmox takes 512 characters.
	maxPeer = 500
	// maxScoped is how long a name may be that is written with its scope; Proxmox takes 64 characters in all.
	maxScoped = 61
)

// nameRef is an alias or a set that a rule refers to.
type nameRef struct{ field, kind, name string }

// addressesOf are a Guest's addresses for others, in a fixed order.
func addressesOf(g *v1alpha1.Guest) []string {
	var out []netip.Addr
	for _, text := range ownAddresses(g) {
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, a.Unmap())
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	var texts []string
	for _, a := range slices.Compact(out) {
		texts = append(texts, a.String())
	}
	return texts
}

// lists joins addresses to as few values of a rule as Proxmox takes: none mixes IPv4 and IPv6, none is too long.
func lists(addresses []string) []string {
	var out []string
	for _, six := range []bool{false, true} {
		text := ""
		for _, a := range addresses {
			switch {
			case strings.Contains(a, ":") != six:
			case text == "":
				text = a
			case len(text)+1+len(a) > maxPeer:
				out = append(out, text)
				text = a
			default:
				text += "," + a
			}
		}
		if text != "" {
			out = append(out, text)
		}
	}
	return out
}

// family is 4 or 6 for a value of addresses, 0 for one that may hold either.
func family(value string) int {
	first, _, _ := strings.Cut(value, ",")
	first, _, _ = strings.Cut(first, "/")
	a, err := netip.ParseAddr(first)
	switch {
	case err != nil:
		return 0
	case a.Is4():
		return 4
	}
	return 6
}

// scoped is a name of the datacenter's, so that a guest's own of the same name does not hide it.
func scoped(name string) string {
	if len(name) > maxScoped {
		return name
	}
	return "dc/" + name
}

// peer returns the values of a rule's source or destination: one rule is needed for each. None: it is a Guest without an
// address, and the rule has to wait.
func (b *wantBuilder) peer(field string, p *v1alpha1.FirewallPeer) ([]string, error) {
	switch {
	case p == nil:
		return []string{""}, nil
	case p.Address != "":
		return []string{p.Address}, nil
	case p.Alias != "":
		b.refs = append(b.refs, nameRef{field + ".alias", "alias", p.Alias})
		return []string{scoped(p.Alias)}, nil
	case p.IPSet != "":
		b.refs = append(b.refs, nameRef{field + ".ipSet", "IP set", p.IPSet})
		return []string{"+" + scoped(p.IPSet)}, nil
	case p.GuestRef == nil:
		return nil, fmt.Errorf("%s: needs exactly one of address, alias, ipSet and guestRef", field)
	}
	g, err := b.guest(field+".guestRef", p.GuestRef.Name)
	if err != nil {
		return nil, err
	}
	addresses := addressesOf(g)
	if len(addresses) == 0 {
		b.note("%s waits for an address of Guest/%s", field, g.Name)
	}
	return lists(addresses), nil
}

// checkPorts refuses ports that do not exist.
func checkPorts(field, ports string) error {
	if ports == "" {
		return nil
	}
	for _, item := range strings.Split(ports, ",") {
		from, to, isRange := strings.Cut(item, ":")
		first, err := port(from)
		last := first
		if err == nil && isRange {
			last, err = port(to)
		}
		switch {
		case err != nil:
			return fmt.Errorf("%s: %q: %w", field, item, err)
		case last < first:
			return fmt.Errorf("%s: %q: the range ends before it begins", field, item)
		}
	}
	return nil
}

func port(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 65535 {
		return 0, errors.New("a port is a number from 1 to 65535")
	}
	return n, nil
}
