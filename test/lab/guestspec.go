// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// guestSpec is what the lab makes of a guest's configuration.
type guestSpec struct {
	vmid        int
	vm          bool
	hostname    string
	nics        []nic
	nameservers []string
	search      string
	mounts      []mount
	// user is the cloud-init user of a VM, with the keys that may log in.
	user string
	keys []string
}

// nic is one network card.
type nic struct {
	name, mac, bridge string
	addresses         []netip.Prefix
	gateways          []netip.Addr
	dhcp, firewall    bool
	down              bool
	mtu               int
}

// mount is a folder of the host, or a volume, inside a container.
type mount struct {
	// source is a path on the host, or a volume's ID.
	source   string
	target   string
	readOnly bool
}

// isVolume says whether the source is a volume of the site and not a folder of the host.
func (m mount) isVolume() bool { return !strings.HasPrefix(m.source, "/") }

// parseGuest reads a guest's configuration. What it does not know has no meaning for a guest of the lab.
func parseGuest(g pve.GuestInfo) (guestSpec, error) {
	s := guestSpec{vmid: g.VMID, vm: g.Kind == "qemu", hostname: g.Name, search: g.Config["searchdomain"]}
	for _, key := range []string{"hostname", "name"} {
		if g.Config[key] != "" {
			s.hostname = g.Config[key]
		}
	}
	s.nameservers = strings.FieldsFunc(g.Config["nameserver"], func(r rune) bool { return r == ' ' || r == ',' || r == ';' })
	for _, key := range numberedKeys(g.Config, "net") {
		n, err := parseNIC(g, key)
		if err != nil {
			return s, err
		}
		s.nics = append(s.nics, n)
	}
	for _, key := range numberedKeys(g.Config, "mp") {
		p := properties(g.Config[key], "volume")
		s.mounts = append(s.mounts, mount{source: p["volume"], target: p["mp"], readOnly: p["ro"] == "1"})
	}
	if !s.vm {
		return s, nil
	}
	s.user = g.Config["ciuser"]
	text, err := url.PathUnescape(g.Config["sshkeys"])
	if err != nil {
		return s, fmt.Errorf("read sshkeys of guest %d: %w", g.VMID, err)
	}
	s.keys = strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	return s, nil
}

// parseNIC reads netN of a container, or netN and ipconfigN of a VM.
func parseNIC(g pve.GuestInfo, key string) (nic, error) {
	number := strings.TrimPrefix(key, "net")
	p := properties(g.Config[key], "model")
	n := nic{name: p["name"], mac: p["hwaddr"], bridge: p["bridge"], firewall: p["firewall"] == "1", down: p["link_down"] == "1"}
	n.mtu, _ = strconv.Atoi(p["mtu"]) // none is 0
	network := p
	if g.Kind == "qemu" {
		n.name = "eth" + number
		n.mac = p["macaddr"]
		for _, model := range []string{"virtio", "e1000", "e1000e", "rtl8139", "vmxnet3"} {
			if p[model] != "" {
				n.mac = p[model]
			}
		}
		network = properties(g.Config["ipconfig"+number], "ip")
		n.dhcp = g.Config["ipconfig"+number] == "" // cloud images ask for an address when they are not told one
	}
	for _, family := range []struct{ address, gateway string }{{"ip", "gw"}, {"ip6", "gw6"}} {
		if err := n.addFamily(network[family.address], network[family.gateway]); err != nil {
			return n, fmt.Errorf("read %s of guest %d: %w", key, g.VMID, err)
		}
	}
	return n, nil
}

func (n *nic) addFamily(address, gateway string) error {
	switch address {
	case "", "manual", "auto":
	case "dhcp":
		n.dhcp = true
	default:
		p, err := netip.ParsePrefix(address)
		if err != nil {
			return err
		}
		n.addresses = append(n.addresses, p)
	}
	if gateway == "" {
		return nil
	}
	a, err := netip.ParseAddr(gateway)
	n.gateways = append(n.gateways, a)
	return err
}

// numberedKeys are the keys of a name with a number, in the order of the numbers.
func numberedKeys(config map[string]string, name string) []string {
	var numbers []int
	for key := range config {
		rest, ok := strings.CutPrefix(key, name)
		if number, err := strconv.Atoi(rest); ok && err == nil {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	var keys []string
	for _, number := range numbers {
		keys = append(keys, name+strconv.Itoa(number))
	}
	return keys
}

// properties splits a property string; the value without a key gets the given one.
func properties(text, first string) map[string]string {
	out := map[string]string{}
	for _, part := range strings.Split(text, ",") {
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			key, value = first, part
		}
		out[key] = value
	}
	return out
}
