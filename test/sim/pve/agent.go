// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
)

var errNoAgent = failf("QEMU guest agent is not running")

func (g *guest) agentEnabled() bool {
	values := looseParse(g.conf.main["agent"])
	return values[""] == "1" || values["enabled"] == "1"
}

// agentUp finds a VM whose guest agent answers: enabled, installed, booted.
func (c *call) agentUp() (*guest, error) {
	g, err := c.guestAt()
	switch {
	case err != nil:
		return nil, err
	case !g.running:
		return nil, failf("VM %d is not running", g.vmid)
	case !g.agentEnabled():
		return nil, failf("No QEMU guest agent configured")
	case !c.agentAnswers(g):
		return nil, errNoAgent
	}
	return g, nil
}

// agentAnswers asks what stands behind a running VM. The site must be locked; it
// is not while somebody is asked.
func (s *Server) agentAnswers(g *guest) bool {
	switch {
	case s.opts.Backend != nil:
		if !g.answers {
			g.answers = s.unlocked(func() bool {
				exit, err := s.opts.Backend.Exec(s.ctx, g.vmid, []string{"true"}, nil, io.Discard, io.Discard)
				return err == nil && exit == 0
			})
		}
		return g.answers
	case time.Now().Before(g.booted):
		return false
	case !g.entered:
		return !g.behaviour.NoAgent
	}
	return s.unlocked(func() bool {
		m := s.follow(g)
		return m != nil && m.Unit("qemu-guest-agent").Active == "active"
	})
}

// unlocked asks something without the site's lock, which must be held.
func (s *Server) unlocked(ask func() bool) bool {
	s.mu.Unlock()
	defer s.mu.Lock()
	return ask()
}

func agentPing(c *call) (any, error) {
	if _, err := c.agentUp(); err != nil {
		return nil, err
	}
	return map[string]any{"result": map[string]any{}}, nil
}

func agentHostName(c *call) (any, error) {
	g, err := c.agentUp()
	if err != nil {
		return nil, err
	}
	return map[string]any{"result": map[string]any{"host-name": g.name()}}, nil
}

func agentOSInfo(c *call) (any, error) {
	if _, err := c.agentUp(); err != nil {
		return nil, err
	}
	return map[string]any{"result": map[string]any{
		"id": "debian", "name": "Debian GNU/Linux", "pretty-name": "Debian GNU/Linux 12 (bookworm)", "version": "12 (bookworm)",
		"version-id": "12", "machine": "x86_64", "kernel-release": "6.1.0-28-cloud-amd64", "kernel-version": "#1 SMP",
	}}, nil
}

func agentInterfaces(c *call) (any, error) {
	g, err := c.agentUp()
	if err != nil {
		return nil, err
	}
	rows := []map[string]any{{
		"name": "lo", "hardware-address": "00:00:00:00:00:00",
		"ip-addresses": []map[string]any{agentAddress(netip.MustParsePrefix("127.0.0.1/8")), agentAddress(netip.MustParsePrefix("::1/128"))},
	}}
	if c.opts.Backend != nil {
		more, err := c.backendInterfaces(g, "hardware-address")
		return map[string]any{"result": append(rows, more...)}, err
	}
	for n := range 32 {
		net := g.conf.main[fmt.Sprintf("net%d", n)]
		if net == "" {
			continue
		}
		values, _ := optionFormat(kindQEMU, "net0").parse(kindQEMU, "net0", net)
		addresses := []map[string]any{}
		for _, prefix := range g.addresses(fmt.Sprintf("ipconfig%d", n)) {
			addresses = append(addresses, agentAddress(prefix))
		}
		rows = append(rows, map[string]any{
			"name": fmt.Sprintf("eth%d", n), "hardware-address": strings.ToLower(values["macaddr"]), "ip-addresses": addresses,
		})
	}
	return map[string]any{"result": rows}, nil
}

func agentAddress(p netip.Prefix) map[string]any {
	kind := "ipv6"
	if p.Addr().Is4() {
		kind = "ipv4"
	}
	return map[string]any{"ip-address": p.Addr().String(), "ip-address-type": kind, "prefix": p.Bits()}
}

// addresses are what a network option (net0 of a container, ipconfig0 of a VM)
// gives the guest; a leased one is made up from the VMID.
func (g *guest) addresses(key string) []netip.Prefix {
	values := looseParse(g.conf.main[key])
	var out []netip.Prefix
	for _, family := range []string{"ip", "ip6"} {
		switch value := values[family]; value {
		case "", "manual", "auto":
		case "dhcp":
			if family == "ip" {
				out = append(out, g.lease(key))
			}
		default:
			if p, err := netip.ParsePrefix(value); err == nil {
				out = append(out, p)
			}
		}
	}
	if len(out) == 0 && g.kind == kindQEMU && g.conf.main[key] == "" {
		out = append(out, g.lease(key)) // cloud images ask DHCP when not told
	}
	return out
}

// lease is a DHCP address: the declared one, or one of 10.0.128.0/17.
func (g *guest) lease(key string) netip.Prefix {
	if p, err := netip.ParsePrefix(g.behaviour.DHCP); err == nil {
		return p
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 10<<24|128<<8|(uint32(g.vmid)*4+uint32(atoi(key[len(key)-1:])))&0x7fff) // a VMID is at most 999999999
	return netip.PrefixFrom(netip.AddrFrom4(b), 16)
}

func containerInterfaces(c *call) (any, error) {
	g, err := c.guestAt()
	if err != nil {
		return nil, err
	}
	if !g.running {
		return nil, failf("CT %d not running", g.vmid)
	}
	rows := []map[string]any{{
		"name": "lo", "hwaddr": "00:00:00:00:00:00", "hardware-address": "00:00:00:00:00:00", "inet": "127.0.0.1/8", "inet6": "::1/128",
		"ip-addresses": []map[string]any{agentAddress(netip.MustParsePrefix("127.0.0.1/8")), agentAddress(netip.MustParsePrefix("::1/128"))},
	}}
	if c.opts.Backend != nil {
		more, err := c.backendInterfaces(g, "hwaddr")
		return append(rows, more...), err
	}
	for n := range 32 {
		key := fmt.Sprintf("net%d", n)
		values := looseParse(g.conf.main[key])
		if g.conf.main[key] == "" {
			continue
		}
		mac := strings.ToLower(values["hwaddr"])
		row := map[string]any{"name": values["name"], "hwaddr": mac, "hardware-address": mac}
		addresses := []map[string]any{}
		for _, prefix := range g.addresses(key) {
			addresses = append(addresses, agentAddress(prefix))
			if prefix.Addr().Is4() {
				row["inet"] = prefix.String()
			} else {
				row["inet6"] = prefix.String()
			}
		}
		row["ip-addresses"] = addresses
		rows = append(rows, row)
	}
	return rows, nil
}

// backendInterfaces asks the backend; key "hwaddr" is the form of a container's.
func (c *call) backendInterfaces(g *guest, key string) ([]map[string]any, error) {
	var list []Interface
	var err error
	c.unlocked(func() bool {
		list, err = c.opts.Backend.Interfaces(c.ctx, g.vmid)
		return err == nil
	})
	if err != nil {
		return nil, failf("%v", err)
	}
	rows := []map[string]any{}
	for _, one := range list {
		addresses := []map[string]any{}
		row := map[string]any{"name": one.Name, "hardware-address": one.MAC}
		for _, prefix := range one.Addresses {
			addresses = append(addresses, agentAddress(prefix))
			family := "inet6"
			if prefix.Addr().Is4() {
				family = "inet"
			}
			if key == "hwaddr" && row[family] == nil {
				row[family] = prefix.String()
			}
		}
		row[key], row["ip-addresses"] = one.MAC, addresses
		rows = append(rows, row)
	}
	return rows, nil
}
