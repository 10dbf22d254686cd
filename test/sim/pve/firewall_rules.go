// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import "slices"

// ruleKeys are what a rule consists of.
var ruleKeys = []string{
	"type", "action", "macro", "proto", "source", "dest", "sport", "dport", "iface", "icmp-type", "log", "enable", "comment",
}

// rules are the rules that a call is about, and what they are checked as.
func (f *fwCall) rules() (list *fwList, env string, err error) {
	name, isGroup := f.params["group"]
	if !isGroup {
		return f.conf.rules, f.conf.level.env(), nil
	}
	group := f.conf.groups[name]
	if group == nil {
		return nil, "", failf("no such security group '%s'", name)
	}
	return group, envGroup, nil
}

func listRules(f *fwCall) (any, error) {
	list, _, err := f.rules()
	if err != nil {
		return nil, err
	}
	rows := rowsJSON(list.rows)
	for pos := range rows {
		rows[pos]["pos"] = pos
	}
	return rows, nil
}

// rulePos finds the rule that a call is about.
func (f *fwCall) rulePos(list *fwList) (int, error) {
	pos := atoi(f.params["pos"])
	if pos >= len(list.rows) {
		return 0, failf("no rule at position %d", pos)
	}
	return pos, nil
}

func getRule(f *fwCall) (any, error) {
	list, _, err := f.rules()
	if err != nil {
		return nil, err
	}
	pos, err := f.rulePos(list)
	if err != nil {
		return nil, err
	}
	row := list.rows[pos].json(digestRows(list.rows))
	row["pos"] = f.params["pos"]
	return row, nil
}

// fill takes the call's values into a rule: an empty one and "-" delete.
func (f *fwCall) fill(rule section) {
	for _, key := range ruleKeys {
		value, given := f.params[key]
		switch {
		case !given:
		case value == "" || value == "-":
			delete(rule, key)
		default:
			rule[key] = value
		}
	}
}

// addRule puts a rule before all others: pos is not looked at (measured), and
// neither is the digest (by Proxmox's source).
func addRule(f *fwCall) error {
	list, env, err := f.rules()
	if err != nil {
		return err
	}
	rule := section{}
	f.fill(rule)
	if err := f.check(rule, env); err != nil {
		return err
	}
	if rule["enable"] == "" {
		rule["enable"] = "0"
	}
	list.rows = slices.Insert(list.rows, 0, fwRow{section: rule})
	return nil
}

func (f *fwCall) check(rule section, env string) error {
	own := f.conf
	if found := checkRule(rule, env, f.dc, own); len(found) > 0 {
		return paramError(found[0].name, "%s", found[0].text)
	}
	return nil
}

// putRule changes a rule or moves it before the one that is at moveto now.
func putRule(f *fwCall) error {
	list, env, err := f.rules()
	if err != nil {
		return err
	}
	if err := f.unmodified(digestRows(list.rows)); err != nil {
		return err
	}
	pos, err := f.rulePos(list)
	if err != nil {
		return err
	}
	if text, given := f.params["moveto"]; given && atoi(text) != pos {
		list.move(pos, atoi(text))
		return nil
	}
	rule := list.rows[pos].section.clone()
	f.fill(rule)
	for _, key := range splitList(f.params["delete"]) {
		switch {
		case !slices.Contains(ruleKeys, key):
			return paramError("delete", "no such property ('%s')", key)
		case key == "type" || key == "action":
			return paramError("delete", "unable to delete required property '%s'", key)
		}
		delete(rule, key)
	}
	if err := f.check(rule, env); err != nil {
		return err
	}
	list.rows[pos] = fwRow{section: rule}
	return nil
}

func (l *fwList) move(from, to int) {
	row := l.rows[from]
	to = min(to, len(l.rows))
	l.rows = slices.Insert(l.rows, to, row)
	if to <= from {
		from++
	}
	l.rows = slices.Delete(l.rows, from, from+1)
}

func deleteRule(f *fwCall) error {
	list, _, err := f.rules()
	if err != nil {
		return err
	}
	if err := f.unmodified(digestRows(list.rows)); err != nil {
		return err
	}
	pos, err := f.rulePos(list)
	if err != nil {
		return err
	}
	list.rows = slices.Delete(list.rows, pos, pos+1)
	return nil
}

// groupRows are the groups as a list.
func (f *fwCall) groupRows() []fwRow { return listRows("group", f.conf.groups) }

func listRows(key string, lists map[string]*fwList) []fwRow {
	rows := []fwRow{}
	for _, name := range sortedNames(lists) {
		rows = append(rows, fwRow{section: compact(section{key: name, "comment": lists[name].comment})})
	}
	return rows
}

func listGroups(f *fwCall) (any, error) { return rowsJSON(f.groupRows()), nil }

// createGroup makes a group, or renames one with all references to it.
func createGroup(f *fwCall) error {
	name, old := f.params["group"], f.params["rename"]
	comment, commented := f.params["comment"]
	if old == "" {
		if f.conf.groups[name] != nil {
			return paramError("group", "Security group '%s' already exists", name)
		}
		f.conf.groups[name] = &fwList{comment: comment}
		return nil
	}
	if err := f.unmodified(digestRows(f.groupRows())); err != nil {
		return err
	}
	group := f.conf.groups[old]
	switch {
	case group == nil:
		return paramError("group", "Security group '%s' does not exist", old)
	case f.conf.groups[name] != nil && name != old:
		return paramError("group", "Security group '%s' does already exist", name)
	case commented:
		group.comment = comment
	}
	if name == old {
		return nil
	}
	f.conf.groups[name] = group
	delete(f.conf.groups, old)
	f.conf.rules.rename(old, name)
	f.renameInOthers(old, name)
	return nil
}

// renameInOthers renames a group in the rules of all nodes and guests.
func (f *fwCall) renameInOthers(old, name string) {
	each := func(level fwLevel, file *firewall) {
		conf := parseFirewall(level, file.text, f.conf)
		if conf.rules.rename(old, name) {
			f.storeFirewall(file, conf.render())
		}
	}
	for _, n := range f.nodes {
		each(fwHost, n.firewall)
	}
	for _, g := range f.guests {
		each(fwGuest, g.firewall)
	}
}

func (l *fwList) rename(old, name string) (changed bool) {
	for i, row := range l.rows {
		if row.section["type"] == "group" && row.section["action"] == old {
			l.rows[i].section["action"], changed = name, true
		}
	}
	return changed
}

// deleteGroup removes a group without rules, whoever refers to it.
func deleteGroup(f *fwCall) error {
	list, _, err := f.rules()
	if err != nil {
		return err
	}
	if len(list.rows) > 0 {
		return failf("Security group '%s' is not empty", f.params["group"])
	}
	delete(f.conf.groups, f.params["group"])
	return nil
}
