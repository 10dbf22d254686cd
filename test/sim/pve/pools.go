// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import "fmt"

type pool struct {
	comment  string
	guests   map[int]bool
	storages map[string]bool
}

func listPools(c *call) (any, error) {
	rows := []map[string]any{}
	for _, name := range sortedNames(c.pools) {
		if want := c.params["poolid"]; want != "" && want != name {
			continue
		}
		if c.can("/pool/"+name, "Pool.Audit") {
			rows = append(rows, c.poolRow(name, c.params["poolid"] != ""))
		}
	}
	return rows, nil
}

func (c *call) poolRow(name string, members bool) map[string]any {
	row := map[string]any{"poolid": name}
	if c.pools[name].comment != "" {
		row["comment"] = c.pools[name].comment
	}
	if !members {
		return row
	}
	list := []map[string]any{}
	for _, g := range c.sortedGuests() {
		if c.pools[name].guests[g.vmid] {
			list = append(list, c.guestResource(g))
		}
	}
	row["members"] = list
	return row
}

func getPool(c *call) (any, error) {
	name := c.params["poolid"]
	if c.pools[name] == nil {
		return nil, failf("pool '%s' does not exist", name)
	}
	row := c.poolRow(name, true)
	delete(row, "poolid")
	return row, nil
}

func createPool(c *call) (any, error) {
	name := c.params["poolid"]
	if c.pools[name] != nil {
		return nil, failf("create pool failed: pool '%s' already exists", name)
	}
	c.pools[name] = &pool{comment: c.params["comment"], guests: map[int]bool{}, storages: map[string]bool{}}
	return nil, nil
}

func updatePool(c *call) (any, error) {
	p := c.pools[c.params["poolid"]]
	if p == nil {
		return nil, failf("pool '%s' does not exist", c.params["poolid"])
	}
	in := c.params["delete"] != "1"
	for _, id := range splitList(c.params["vms"]) {
		if c.guests[atoi(id)] == nil {
			return nil, failf("VM %s does not exist", id)
		}
		if err := c.need(fmt.Sprintf("/vms/%s", id), "Permissions.Modify"); err != nil {
			return nil, err
		}
		p.guests[atoi(id)] = in
	}
	for _, id := range splitList(c.params["storage"]) {
		p.storages[id] = in
	}
	if comment, ok := c.params["comment"]; ok {
		p.comment = comment
	}
	return nil, nil
}

func deletePool(c *call) (any, error) {
	name := c.params["poolid"]
	p := c.pools[name]
	if p == nil {
		return nil, failf("delete pool failed: pool '%s' does not exist", name)
	}
	for _, in := range p.guests {
		if in {
			return nil, failf("delete pool failed: pool '%s' is not empty", name)
		}
	}
	delete(c.pools, name)
	return nil, nil
}
