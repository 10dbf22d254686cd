// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"time"
)

func listNodes(c *call) (any, error) {
	rows := []map[string]any{}
	for _, name := range c.order {
		row := c.nodeResource(c.nodes[name])
		delete(row, "cgroup-mode")
		row["ssl_fingerprint"] = c.Fingerprint
		rows = append(rows, row)
	}
	return rows, nil
}

func subdirs(names ...string) handler {
	return func(*call) (any, error) {
		rows := make([]map[string]string, len(names))
		for i, name := range names {
			rows[i] = map[string]string{"subdir": name}
		}
		return rows, nil
	}
}

func nodeStatus(c *call) (any, error) {
	n := c.nodes[c.node]
	return map[string]any{
		"pveversion": "pve-manager/9.2.11/14a22df3d0c1b2a3", "kversion": "Linux 6.17.2-1-pve #1 SMP", "uptime": int64(c.now.Sub(c.born) / time.Second),
		"loadavg": []string{"0.05", "0.03", "0.01"}, "cpu": 0.05, "wait": 0, "idle": 0,
		"cpuinfo": map[string]any{"cpus": n.cores, "cores": n.cores, "sockets": 1, "model": "Simulated CPU", "mhz": "3000.000", "hvm": "1", "user_hz": 100, "flags": "fpu"},
		"memory":  map[string]any{"total": n.memory, "used": n.memory / 8, "free": n.memory - n.memory/8, "available": n.memory - n.memory/8},
		"swap":    map[string]any{"total": 0, "used": 0, "free": 0},
		"rootfs":  map[string]any{"total": n.disk, "used": n.disk / 10, "avail": n.disk - n.disk/10, "free": n.disk - n.disk/10},
		"ksm":     map[string]any{"shared": 0}, "boot-info": map[string]any{"mode": "efi", "secureboot": 0},
		"current-kernel": map[string]any{"sysname": "Linux", "release": "6.17.2-1-pve", "version": "#1 SMP", "machine": "x86_64"},
	}, nil
}

func nodeNetwork(c *call) (any, error) {
	rows := []map[string]any{{"iface": "eno1", "type": "eth", "active": 1, "exists": 1, "method": "manual", "method6": "manual", "families": []string{"inet"}, "priority": 3}}
	for i, bridge := range c.nodes[c.node].bridges {
		rows = append(rows, bridgeRow(bridge, c.nodes[c.node].machine.Addresses()[0].String(), i))
	}
	kind := c.params["type"]
	if kind == "" {
		return rows, nil
	}
	out := []map[string]any{}
	for _, row := range rows {
		if row["type"] == kind || (kind == "any_bridge" && row["type"] == "bridge") {
			out = append(out, row)
		}
	}
	return out, nil
}

func bridgeRow(name, address string, index int) map[string]any {
	return map[string]any{
		"iface": name, "type": "bridge", "active": 1, "autostart": 1, "method": "static", "method6": "manual", "families": []string{"inet"},
		"bridge_ports": "eno1", "bridge_stp": "off", "bridge_fd": "0", "priority": 4 + index,
		"address": address, "netmask": "24", "cidr": address + "/24", "gateway": "10.0.0.1",
	}
}

func nodeInterface(c *call) (any, error) {
	for i, bridge := range c.nodes[c.node].bridges {
		if bridge == c.params["iface"] {
			return bridgeRow(bridge, c.nodes[c.node].machine.Addresses()[0].String(), i), nil
		}
	}
	return nil, paramError("iface", "interface does not exist")
}

func listGuests(c *call) (any, error) {
	rows := []map[string]any{}
	for _, g := range c.sortedGuests() {
		if g.kind == c.kind && g.node == c.node && c.can(fmt.Sprintf("/vms/%d", g.vmid), "VM.Audit") {
			row := c.current(g)
			delete(row, "ha")
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func currentStatus(c *call) (any, error) {
	g, err := c.guestAt()
	if err != nil {
		return nil, err
	}
	return c.current(g), nil
}

// current are a guest's readings as its node takes them now.
func (c *call) current(g *guest) map[string]any {
	row := map[string]any{
		"vmid": g.vmid, "status": g.status(), "name": g.name(), "cpus": g.maxcpu(), "maxmem": g.maxmem(), "maxdisk": g.maxdisk(),
		"uptime": g.uptime(c.now), "ha": map[string]any{"managed": bit(c.ha[haID(g)] != nil)},
	}
	for _, key := range []string{"cpu", "mem", "memhost", "disk", "diskread", "diskwrite", "netin", "netout"} {
		row[key] = 0
	}
	if tags := g.conf.main["tags"]; tags != "" {
		row["tags"] = tags
	}
	if lock := g.lock(); lock != "" {
		row["lock"] = lock
	}
	if g.isTemplate() {
		row["template"] = 1
	}
	if g.running {
		row["pid"], row["mem"], row["memhost"] = g.pid, g.maxmem()/4, g.maxmem()/4
		for _, key := range []string{"pressurecpusome", "pressurecpufull", "pressureiosome", "pressureiofull", "pressurememorysome", "pressurememoryfull"} {
			row[key] = 0
		}
	}
	if g.kind == kindLXC {
		row["type"] = "lxc"
		row["swap"], row["maxswap"] = 0, int64(atoi(first(g.conf.main["swap"], "512")))<<20
		return row
	}
	row["qmpstatus"] = g.status()
	if g.paused {
		row["qmpstatus"] = "paused"
	}
	if g.agentEnabled() {
		row["agent"] = 1
	}
	if g.running {
		row["balloon"] = g.maxmem()
	} else {
		row["serial"] = nil
	}
	return row
}
