// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"cmp"
	"net/netip"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// networks declares the network interfaces, each with the sub-keys that the spec names: the rest stays, the MAC address
// that Proxmox gave among it.
func (d *draft) networks() {
	for _, n := range d.guest.Spec.Networks {
		d.declared[n.Device], d.slots[n.Device] = true, true
		d.network(n)
	}
}

func (d *draft) network(n v1alpha1.Network) {
	field := "networks[" + n.Device + "]"
	text, exists := d.now[n.Device]
	net, err := proxmox.ParseNet(d.typ(), text)
	if err != nil {
		d.unreadable(field, err)
		return
	}
	if !exists {
		d.newNet(&net, n.Device)
	}
	changes := d.linkChanges(field, &net, n)
	if !d.vm() {
		changes = append(changes, d.addressChanges(field, n, containerIP(&net))...)
	}
	if exists {
		d.encoded(field, n.Device, func() (string, error) { return net.Encode(d.typ()) }, changes)
		return
	}
	value, err := net.Encode(d.typ())
	if err != nil {
		d.unreadable(field, err)
		return
	}
	d.api.put(n.Device, value, change(field, "", value, v1alpha1.ImpactNone))
}

// newNet gives a new interface what it cannot be without.
func (d *draft) newNet(net *proxmox.Net, device string) {
	net.Bridge = cmp.Or(d.seen.host.defaults.Bridge, "vmbr0")
	if d.vm() {
		net.Model = "virtio"
		return
	}
	net.Name = "eth" + strings.TrimPrefix(device, "net")
}

// linkChanges sets everything but addresses.
func (d *draft) linkChanges(field string, net *proxmox.Net, n v1alpha1.Network) []reconcile.Change {
	var changes []reconcile.Change
	word := func(name string, have *string, want string) {
		if want != "" {
			changes = append(changes, sub(field+"."+name, have, want, asText, d.interrupts())...)
		}
	}
	number := func(name string, have *int, want *int32) {
		if want != nil {
			changes = append(changes, sub(field+"."+name, have, int(*want), asNumber, d.interrupts())...)
		}
	}
	word("name", &net.Name, n.Name)
	word("bridge", &net.Bridge, n.Bridge)
	word("model", &net.Model, n.Model)
	if !strings.EqualFold(net.MAC, n.MAC) {
		word("mac", &net.MAC, strings.ToUpper(n.MAC))
	}
	number("vlan", &net.Tag, n.VLAN)
	number("mtu", &net.MTU, n.MTU)
	if n.RateMBps != nil {
		show := func(r float64) string { return asNumber(int(r)) }
		changes = append(changes, sub(field+".rateMBps", &net.Rate, float64(*n.RateMBps), show, v1alpha1.ImpactNone)...)
	}
	if n.Firewall != nil {
		changes = append(changes, sub(field+".firewall", &net.Firewall, *n.Firewall, onOff, v1alpha1.ImpactNone)...)
	}
	return changes
}

// addresses are the four sub-keys that carry an interface's addresses, in a container's net and in a VM's ipconfig.
type addresses struct{ ip, gw, ip6, gw6 *string }

func containerIP(net *proxmox.Net) addresses {
	return addresses{&net.IP, &net.GW, &net.IP6, &net.GW6}
}

// addressChanges sets the addresses that the spec declares.
func (d *draft) addressChanges(field string, n v1alpha1.Network, a addresses) []reconcile.Change {
	var changes []reconcile.Change
	if v4 := n.IPv4; v4 != nil {
		gateway := v4.Gateway
		if gateway == "" && *a.gw == "" && d.making && n.Device == "net0" && within(v4.Address, d.seen.host.defaults.Gateway) {
			gateway = d.seen.host.defaults.Gateway
		}
		changes = append(changes, d.family(field+".ipv4", v4.Method, v4.Address, gateway, a.ip, a.gw)...)
	}
	if v6 := n.IPv6; v6 != nil {
		changes = append(changes, d.family(field+".ipv6", v6.Method, v6.Address, v6.Gateway, a.ip6, a.gw6)...)
	}
	return changes
}

// family sets one address family. A gateway belongs to a static address alone.
func (d *draft) family(field string, method v1alpha1.IPMethod, address, gateway string, ip, gw *string) []reconcile.Change {
	want := address
	if method != v1alpha1.IPStatic {
		want = strings.ToLower(string(method)) // dhcp, auto
	}
	var changes []reconcile.Change
	if !sameAddress(*ip, want) {
		changes = append(changes, sub(field+".address", ip, want, asText, d.interrupts())...)
	}
	switch {
	case method != v1alpha1.IPStatic:
		changes = append(changes, sub(field+".gateway", gw, "", asText, d.interrupts())...)
	case gateway != "" && !sameAddress(*gw, gateway):
		changes = append(changes, sub(field+".gateway", gw, gateway, asText, d.interrupts())...)
	}
	return changes
}

// sameAddress says whether two spellings are the same address.
func sameAddress(a, b string) bool {
	if a == b {
		return true
	}
	if pa, err := netip.ParsePrefix(a); err == nil {
		pb, err := netip.ParsePrefix(b)
		return err == nil && pa == pb
	}
	ia, err := netip.ParseAddr(a)
	if err != nil {
		return false
	}
	ib, err := netip.ParseAddr(b)
	return err == nil && ia == ib
}

// within says whether a gateway lies in an address's network.
func within(address, gateway string) bool {
	p, err := netip.ParsePrefix(address)
	if err != nil {
		return false
	}
	g, err := netip.ParseAddr(gateway)
	return err == nil && p.Contains(g)
}

// staticAddress is the first address that the spec declares; false: none.
func staticAddress(g *v1alpha1.Guest) (netip.Addr, bool) {
	for _, n := range g.Spec.Networks {
		var texts []string
		if n.IPv4 != nil {
			texts = append(texts, n.IPv4.Address)
		}
		if n.IPv6 != nil {
			texts = append(texts, n.IPv6.Address)
		}
		for _, text := range texts {
			if p, err := netip.ParsePrefix(text); err == nil {
				return p.Addr(), true
			}
		}
	}
	return netip.Addr{}, false
}
