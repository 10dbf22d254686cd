// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"time"
)

func version(*call) (any, error) {
	return map[string]any{"release": "9.2", "version": "9.2.11", "repoid": "14a22df3d0c1b2a3"}, nil
}

func nextID(c *call) (any, error) {
	if wanted := c.params["vmid"]; wanted != "" {
		if c.guests[atoi(wanted)] != nil {
			return nil, paramError("vmid", "VM %s already exists", wanted)
		}
		return wanted, nil
	}
	for id := 100; ; id++ {
		if c.guests[id] == nil {
			return fmt.Sprint(id), nil
		}
	}
}

func clusterResources(c *call) (any, error) {
	rows := []map[string]any{}
	for _, part := range []struct {
		kind string
		rows func() []map[string]any
	}{{"pool", c.poolResources}, {"vm", c.guestResources}, {"node", c.nodeResources}, {"storage", c.storageResources}} {
		if want := c.params["type"]; want == "" || want == part.kind {
			rows = append(rows, part.rows()...)
		}
	}
	return rows, nil
}

func (c *call) poolResources() []map[string]any {
	var rows []map[string]any
	for _, name := range sortedNames(c.pools) {
		if c.can("/pool/"+name, "Pool.Audit") {
			rows = append(rows, map[string]any{"id": "/pool/" + name, "pool": name, "type": "pool"})
		}
	}
	return rows
}

func (c *call) guestResources() []map[string]any {
	var rows []map[string]any
	for _, g := range c.sortedGuests() {
		if c.can(fmt.Sprintf("/vms/%d", g.vmid), "VM.Audit") {
			rows = append(rows, c.guestResource(g))
		}
	}
	return rows
}

func (c *call) nodeResources() []map[string]any {
	var rows []map[string]any
	for _, name := range c.order {
		rows = append(rows, c.nodeResource(c.nodes[name]))
	}
	return rows
}

// guestResource is a guest's row: node, type, lock and tags are fresh, all else
// is what the last status round broadcast.
func (c *call) guestResource(g *guest) map[string]any {
	row := map[string]any{
		"id": fmt.Sprintf("%s/%d", g.kind, g.vmid), "type": g.kind, "vmid": g.vmid, "node": g.node,
		"status": "unknown", "template": bit(g.isTemplate()),
	}
	if tags := g.conf.main["tags"]; tags != "" {
		row["tags"] = tags
	}
	if lock := g.lock(); lock != "" {
		row["lock"] = lock
	}
	for _, name := range sortedNames(c.pools) {
		if c.pools[name].guests[g.vmid] {
			row["pool"] = name
		}
	}
	if entry := c.ha[haID(g)]; entry != nil {
		row["hastate"] = first(fmt.Sprint(entry["state"]), "started")
	}
	if !g.seen.known {
		return row
	}
	row["status"], row["name"] = g.seen.status, g.seen.name
	row["maxmem"], row["maxdisk"], row["maxcpu"] = g.seen.maxmem, g.seen.maxdisk, g.seen.maxcpu
	for _, key := range []string{"cpu", "mem", "memhost", "disk", "diskread", "diskwrite", "netin", "netout", "uptime"} {
		row[key] = 0
	}
	if g.seen.status == "running" {
		row["uptime"] = int64(c.now.Sub(g.seen.started) / time.Second)
		row["mem"] = g.seen.maxmem / 4
		row["memhost"] = g.seen.maxmem / 4
	}
	return row
}

func (c *call) nodeResource(n *node) map[string]any {
	row := map[string]any{"id": "node/" + n.name, "type": "node", "node": n.name, "level": "", "status": "online", "cgroup-mode": 2}
	if !n.listed {
		row["status"] = "offline"
		return row
	}
	if c.can("/nodes/"+n.name, "Sys.Audit") {
		row["maxcpu"], row["cpu"] = n.cores, 0.05
		row["maxmem"], row["mem"] = n.memory, n.memory/8
		row["maxdisk"], row["disk"] = n.disk, n.disk/10
		row["uptime"] = int64(c.now.Sub(c.born) / time.Second)
	}
	return row
}

func (c *call) storageResources() []map[string]any {
	var rows []map[string]any
	for _, name := range c.order {
		for _, id := range sortedNames(c.storages) {
			st := c.storages[id]
			path := "/storage/" + id
			if !st.isOn(name) || (!c.can(path, "Datastore.Audit") && !c.can(path, "Datastore.AllocateSpace")) {
				continue
			}
			status := "available"
			if !c.nodes[name].listed {
				status = "unknown"
			}
			full := st.row(name)
			rows = append(rows, map[string]any{
				"id": "storage/" + name + "/" + id, "type": "storage", "storage": id, "node": name, "status": status,
				"shared": full["shared"], "content": full["content"], "plugintype": st.Type, "maxdisk": st.Size, "disk": full["used"],
			})
		}
	}
	return rows
}

func clusterStatus(c *call) (any, error) {
	rows := []map[string]any{}
	if len(c.order) > 1 {
		rows = append(rows, map[string]any{
			"type": "cluster", "id": "cluster", "name": "sim", "version": len(c.order), "nodes": len(c.order), "quorate": bit(c.quorum),
		})
	}
	for i, name := range c.order {
		rows = append(rows, map[string]any{
			"type": "node", "id": "node/" + name, "name": name, "nodeid": i + 1, "ip": "127.0.0.1",
			"online": bit(c.nodes[name].listed), "local": bit(i == 0), "level": "",
		})
	}
	return rows, nil
}

func listHA(c *call) (any, error) {
	rows := []map[string]any{}
	for _, sid := range sortedNames(c.ha) {
		rows = append(rows, c.ha[sid])
	}
	return rows, nil
}

// haSID completes a bare VMID to the resource's name.
func (c *call) haSID() (string, *guest) {
	sid := c.params["sid"]
	for _, g := range c.guests {
		if sid == haID(g) || sid == fmt.Sprint(g.vmid) {
			return haID(g), g
		}
	}
	return sid, nil
}

func addHA(c *call) (any, error) {
	sid, g := c.haSID()
	if g == nil {
		return nil, failf("unable to add resource '%s': no such guest", sid)
	}
	if c.ha[sid] != nil {
		return nil, failf("resource ID '%s' already defined", sid)
	}
	entry := map[string]any{"sid": sid, "type": sid[:2], "state": first(c.params["state"], "started"), "digest": digestOf(sid)}
	if comment := c.params["comment"]; comment != "" {
		entry["comment"] = comment
	}
	c.ha[sid] = entry
	return nil, nil
}

func getHA(c *call) (any, error) {
	sid, _ := c.haSID()
	if c.ha[sid] == nil {
		return nil, failf("no such resource '%s'", sid)
	}
	return c.ha[sid], nil
}

func removeHA(c *call) (any, error) {
	sid, _ := c.haSID()
	if c.ha[sid] == nil {
		return nil, failf("cannot delete service '%s', not HA managed!", sid)
	}
	delete(c.ha, sid)
	return nil, nil
}

func migrateHA(c *call) (any, error) {
	sid, g := c.haSID()
	if g == nil || c.ha[sid] == nil {
		return nil, failf("no such resource '%s'", sid)
	}
	target := c.params["node"]
	if c.nodes[target] == nil {
		return nil, paramError("node", "no such cluster node '%s'", target)
	}
	kind := "qmigrate"
	if g.kind == kindLXC {
		kind = "vzmigrate"
	}
	c.spawn(&principal{user: "root@pam"}, work{node: g.node, kind: kind, id: fmt.Sprint(g.vmid), steps: []step{{
		takes: 4 * time.Second, do: func(*task) error { c.move(g, target); return nil },
	}}})
	return map[string]any{"sid": sid, "requested-node": target}, nil
}

func haStatus(c *call) (any, error) {
	rows := []map[string]any{{"id": "quorum", "type": "quorum", "node": c.order[0], "status": "OK", "quorate": bit(c.quorum)}}
	for _, sid := range sortedNames(c.ha) {
		rows = append(rows, map[string]any{"id": "service:" + sid, "type": "service", "sid": sid, "state": c.ha[sid]["state"], "status": c.ha[sid]["state"]})
	}
	return rows, nil
}
