// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"slices"
	"strings"
)

func (f *fwCall) aliasRows() []fwRow {
	rows := []fwRow{}
	for _, name := range sortedNames(f.conf.aliases) {
		rows = append(rows, f.conf.aliases[name])
	}
	return rows
}

func listAliases(f *fwCall) (any, error) { return rowsJSON(f.aliasRows()), nil }

func getAlias(f *fwCall) (any, error) {
	row, there := f.conf.aliases[strings.ToLower(f.params["name"])]
	if !there {
		return nil, paramError("name", "no such alias")
	}
	return row.json(""), nil
}

func (f *fwCall) aliasOf(name string) fwRow {
	return fwRow{section: compact(section{"name": name, "cidr": f.params["cidr"], "comment": f.params["comment"]})}
}

func createAlias(f *fwCall) error {
	name := f.params["name"]
	if _, there := f.conf.aliases[strings.ToLower(name)]; there {
		return paramError("name", "alias '%s' already exists", name)
	}
	f.conf.aliases[strings.ToLower(name)] = f.aliasOf(name)
	return nil
}

// putAlias replaces an alias: a comment that is not given is gone.
func putAlias(f *fwCall) error {
	if err := f.unmodified(digestRows(f.aliasRows())); err != nil {
		return err
	}
	name := strings.ToLower(f.params["name"])
	if _, there := f.conf.aliases[name]; !there {
		return paramError("name", "no such alias")
	}
	f.conf.aliases[name] = f.aliasOf(f.params["name"])
	rename := f.params["rename"]
	if to := strings.ToLower(rename); to != "" && to != name {
		if _, there := f.conf.aliases[to]; there {
			return paramError("name", "alias '%s' already exists", rename)
		}
		delete(f.conf.aliases, name)
		f.conf.aliases[to] = f.aliasOf(rename)
	}
	return nil
}

// deleteAlias removes an alias; one that is not there is fine.
func deleteAlias(f *fwCall) error {
	if err := f.unmodified(digestRows(f.aliasRows())); err != nil {
		return err
	}
	delete(f.conf.aliases, strings.ToLower(f.params["name"]))
	return nil
}

func (f *fwCall) setRows() []fwRow { return listRows("name", f.conf.sets) }

func listSets(f *fwCall) (any, error) { return rowsJSON(f.setRows()), nil }

// createSet makes a set, or renames one; references to it stay as they are.
func createSet(f *fwCall) error {
	name, old := f.params["name"], f.params["rename"]
	comment, commented := f.params["comment"]
	if old == "" {
		if f.conf.sets[name] != nil {
			return paramError("name", "IPSet '%s' already exists", name)
		}
		f.conf.sets[name] = &fwList{comment: comment}
		return nil
	}
	if err := f.unmodified(digestRows(f.setRows())); err != nil {
		return err
	}
	set := f.conf.sets[old]
	switch {
	case set == nil:
		return paramError("name", "IPSet '%s' does not exist", old)
	case f.conf.sets[name] != nil && name != old:
		return paramError("name", "IPSet '%s' does already exist", name)
	case commented:
		set.comment = comment
	}
	delete(f.conf.sets, old)
	f.conf.sets[name] = set
	return nil
}

// set is the set that a call is about.
func (f *fwCall) set() (*fwList, error) {
	set := f.conf.sets[f.params["name"]]
	if set == nil {
		return nil, failf("no such IPSet '%s'", f.params["name"])
	}
	return set, nil
}

func getSet(f *fwCall) (any, error) {
	set, err := f.set()
	if err != nil {
		return nil, err
	}
	return rowsJSON(set.rows), nil
}

func deleteSet(f *fwCall) error {
	set, err := f.set()
	if err != nil {
		return err
	}
	if len(set.rows) > 0 && f.params["force"] != "1" {
		return failf("IPSet '%s' is not empty", f.params["name"])
	}
	delete(f.conf.sets, f.params["name"])
	return nil
}

func addToSet(f *fwCall) error {
	set, err := f.set()
	if err != nil {
		return err
	}
	cidr := f.params["cidr"]
	if fwAliasRE.MatchString(cidr) {
		if f.conf.findAlias(cidr, f.dc) == nil {
			return failf("no such alias '%s'", bareAlias(cidr))
		}
	} else {
		cidr, _ = plainCIDR(maskedCIDR(cidr))
	}
	if set.entry(cidr) >= 0 {
		return paramError("cidr", "address '%s' already exists", cidr)
	}
	if zeroPrefixRE.MatchString(cidr) {
		return paramError("cidr", "%s", zeroPrefix)
	}
	row := fwRow{section: compact(section{"cidr": cidr, "comment": f.params["comment"]})}
	if f.params["nomatch"] == "1" {
		row.section["nomatch"] = "1"
	}
	set.rows = slices.Insert(set.rows, 0, row)
	return nil
}

// entry is the index of an address in a set, or -1.
func (l *fwList) entry(cidr string) int {
	return slices.IndexFunc(l.rows, func(row fwRow) bool { return row.section["cidr"] == cidr })
}

func getSetEntry(f *fwCall) (any, error) {
	set, err := f.set()
	if err != nil {
		return nil, err
	}
	i := set.entry(f.params["cidr"])
	if i < 0 {
		return nil, paramError("cidr", "no such IP/Network")
	}
	return set.rows[i].json(digestRows(set.rows)), nil
}

// putSetEntry sets comment and nomatch; what is not given is gone.
func putSetEntry(f *fwCall) error {
	set, err := f.set()
	if err != nil {
		return err
	}
	if err := f.unmodified(digestRows(set.rows)); err != nil {
		return err
	}
	i := set.entry(f.params["cidr"])
	if i < 0 {
		return paramError("cidr", "no such IP/Network")
	}
	row := section{"cidr": f.params["cidr"], "comment": f.params["comment"]}
	if f.params["nomatch"] == "1" {
		row["nomatch"] = "1"
	}
	set.rows[i] = fwRow{section: compact(row)}
	return nil
}

// removeFromSet removes an address; one that is not there is fine.
func removeFromSet(f *fwCall) error {
	set, err := f.set()
	if err != nil {
		return err
	}
	if err := f.unmodified(digestRows(set.rows)); err != nil {
		return err
	}
	set.rows = slices.DeleteFunc(set.rows, func(row fwRow) bool { return row.section["cidr"] == f.params["cidr"] })
	return nil
}

// listRefs are what a level's rules may refer to: its own and the datacenter's.
func listRefs(f *fwCall) (any, error) {
	rows := []map[string]any{}
	scope := "dc"
	if f.dc != nil {
		rows, scope = append(rows, f.dc.refs(f.params["type"], "dc")...), "guest"
	}
	return append(rows, f.conf.refs(f.params["type"], scope)...), nil
}

func (c *fwConf) refs(kind, scope string) []map[string]any {
	var rows []map[string]any
	add := func(kind, name, ref, comment string) {
		row := map[string]any{"type": kind, "name": name, "ref": ref, "scope": scope}
		if comment != "" {
			row["comment"] = comment
		}
		rows = append(rows, row)
	}
	if kind != "alias" {
		for _, name := range sortedNames(c.sets) {
			add("ipset", name, "+"+name, c.sets[name].comment)
		}
	}
	if kind != "ipset" {
		for _, name := range sortedNames(c.aliases) {
			add("alias", name, name, c.aliases[name].section["comment"])
		}
	}
	return rows
}

// firewallLog is the log of a firewall that logged nothing.
func firewallLog(*fwCall) (any, error) {
	return list{data: []map[string]any{{"n": 1, "t": "no content"}}, total: 1}, nil
}
