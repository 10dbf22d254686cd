// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"fmt"
	"slices"
)

// netModels are the network cards that QEMU offers on Proxmox VE 9.2. In a
// VM's net[n] a model may stand as a key with the MAC address as its value.
var netModels = []string{
	"virtio", "e1000", "e1000-82540em", "e1000-82544gc", "e1000-82545em", "e1000e", "i82551", "i82557b",
	"i82559er", "ne2k_isa", "ne2k_pci", "pcnet", "rtl8139", "vmxnet3",
}

// Net is one network interface, net[n], of a container or a VM. A zero member
// means that its key is not there.
type Net struct {
	Name     string  // containers: the interface in the guest, such as "eth0"
	Type     string  // containers: "veth"
	Model    string  // VMs: the card, such as "virtio"
	MAC      string  // "BC:24:11:..": Proxmox chooses one when it is empty
	Bridge   string  // such as "vmbr0"
	Tag      int     // VLAN
	MTU      int     // bytes; VMs: 1 means the bridge's
	Rate     float64 // megabytes a second; 0 is no limit
	Firewall bool    // whether the guest's firewall rules apply here
	LinkDown bool
	Queues   int    // VMs: packet queues
	IP, GW   string // containers: "10.0.0.10/24", "dhcp" or "manual"; gateway
	IP6, GW6 string // containers: also "auto"

	props Props // as parsed: order, spelling, unknown keys
}

// ParseNet reads net[n] of a guest of the given type. For a VM both forms are
// read: "virtio=MAC,bridge=..." and "model=virtio,macaddr=MAC,bridge=...".
func ParseNet(t GuestType, s string) (Net, error) {
	p, err := ParseProps(s, netDefaultKey(t))
	if err != nil {
		return Net{}, err
	}
	n := Net{props: p}
	if err := decode(&p, slices.Concat(n.fields(t), n.card(t))); err != nil {
		return Net{}, fmt.Errorf("parse network %q: %w", s, err)
	}
	if model := modelKey(&p); t == QEMU && model != "" {
		n.Model = model
		n.MAC, _ = p.Get(model)
	}
	return n, nil
}

// Encode renders net[n] for a guest of the given type. What was parsed and did
// not change keeps its text and place, unknown keys included. It returns an
// error when a member holds what the format cannot carry.
func (n Net) Encode(t GuestType) (string, error) {
	p := n.props.Clone()
	p.defaultKey = netDefaultKey(t)
	if t == QEMU {
		if err := n.encodeModel(&p); err != nil {
			return "", err
		}
	}
	if err := encode(&p, n.fields(t)); err != nil {
		return "", err
	}
	return p.String(), nil
}

// encodeModel settles the two members that one key may carry: "virtio=MAC".
func (n Net) encodeModel(p *Props) error {
	if n.Model == "" {
		return fmt.Errorf("encode network: a VM's network card needs a model")
	}
	if old := modelKey(p); old != "" {
		if mac, _ := p.Get(old); old == n.Model && foldText("", &n.MAC).same(mac) {
			return nil
		}
		if n.MAC == "" {
			return p.rename(old, "model", n.Model)
		}
		return p.rename(old, n.Model, n.MAC)
	}
	if _, spelled := p.Get("macaddr"); spelled || n.MAC == "" {
		return encode(p, n.card(QEMU))
	}
	if _, alone := p.Get("model"); alone {
		return p.rename("model", n.Model, n.MAC)
	}
	return p.Set(n.Model, n.MAC)
}

func (n *Net) fields(t GuestType) []field {
	common := []field{
		text("bridge", &n.Bridge), number("tag", &n.Tag), number("mtu", &n.MTU), decimal("rate", &n.Rate),
		flag("firewall", &n.Firewall), flag("link_down", &n.LinkDown),
	}
	if t == QEMU {
		return append(common, number("queues", &n.Queues))
	}
	head := []field{text("name", &n.Name)}
	tail := []field{
		foldText("hwaddr", &n.MAC), text("ip", &n.IP), text("gw", &n.GW), text("ip6", &n.IP6), text("gw6", &n.GW6),
		text("type", &n.Type),
	}
	return slices.Concat(head, common, tail)
}

// card are the fields of a VM's network card when they have keys of their own.
func (n *Net) card(t GuestType) []field {
	if t != QEMU {
		return nil
	}
	return []field{text("model", &n.Model), foldText("macaddr", &n.MAC)}
}

func netDefaultKey(t GuestType) string {
	if t == QEMU {
		return "model"
	}
	return ""
}

func modelKey(p *Props) string {
	for _, key := range p.Keys() {
		if slices.Contains(netModels, key) {
			return key
		}
	}
	return ""
}

// IPConfig is one ipconfig[n] of a VM's cloud-init drive.
type IPConfig struct {
	IP, GW   string // "10.0.0.10/24" or "dhcp"; gateway
	IP6, GW6 string // also "auto"

	props Props
}

// ParseIPConfig reads ipconfig[n].
func ParseIPConfig(s string) (IPConfig, error) {
	p, err := ParseProps(s, "")
	if err != nil {
		return IPConfig{}, err
	}
	c := IPConfig{props: p}
	return c, decode(&p, c.fields())
}

// Encode renders ipconfig[n].
func (c IPConfig) Encode() (string, error) {
	p := c.props.Clone()
	err := encode(&p, c.fields())
	return p.String(), err
}

func (c *IPConfig) fields() []field {
	return []field{text("ip", &c.IP), text("gw", &c.GW), text("ip6", &c.IP6), text("gw6", &c.GW6)}
}
