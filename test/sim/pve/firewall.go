// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"maps"
	"strings"
	"time"
)

// firewall is one firewall file: the datacenter's, a node's or a guest's. The
// file is all that is kept; it is read anew for each call, as Proxmox does.
type firewall struct{ text string }

func newFirewall() *firewall { return &firewall{} }

// fwLevel is what a firewall file is of.
type fwLevel string

const (
	fwCluster fwLevel = "cluster.fw"
	fwHost    fwLevel = "host.fw"
	fwGuest   fwLevel = "guest.fw"
)

// has tells whether a level's file may have a part.
func (l fwLevel) has(part string) bool {
	switch part {
	case "options", "rules":
		return true
	case "group":
		return l == fwCluster
	}
	return l != fwHost
}

// env is what a level's own rules are checked as.
func (l fwLevel) env() string {
	return map[fwLevel]string{fwCluster: envCluster, fwHost: envHost, fwGuest: envGuest}[l]
}

// fwConf is a firewall file, taken apart.
type fwConf struct {
	level    fwLevel
	options  section
	aliases  map[string]fwRow // by lower-case name
	sets     map[string]*fwList
	rules    *fwList
	groups   map[string]*fwList
	warnings []string
}

// fwList is the rules of a level or group, or the entries of a set.
type fwList struct {
	comment string
	rows    []fwRow
}

// fwRow is a rule, an entry or an alias. One with errors is never applied.
type fwRow struct{ section, errors section }

func newFWConf(level fwLevel) *fwConf {
	return &fwConf{
		level: level, options: section{}, aliases: map[string]fwRow{}, sets: map[string]*fwList{},
		rules: &fwList{}, groups: map[string]*fwList{},
	}
}

// digestLines is what Proxmox's digests are over.
func digestLines(s section) string {
	var b strings.Builder
	for _, key := range s.sortedKeys() {
		fmt.Fprintf(&b, "%s:%s\n", key, s[key])
	}
	return b.String()
}

func digestRows(rows []fwRow) string {
	var b strings.Builder
	for _, row := range rows {
		b.WriteString(digestLines(row.section))
	}
	return digestOf(b.String())
}

// fwNumbers are the keys of rows that are numbers in JSON.
var fwNumbers = map[string]bool{"enable": true, "ipversion": true, "nomatch": true, "pos": true}

// json is a row as the API shows it.
func (r fwRow) json(digest string) map[string]any {
	out := map[string]any{}
	for key, value := range r.section {
		out[key] = value
		if fwNumbers[key] {
			out[key] = atoi(value)
		}
	}
	if len(r.errors) > 0 {
		out["errors"] = r.errors
	}
	if digest != "" {
		out["digest"] = digest
	}
	return out
}

func rowsJSON(rows []fwRow) []map[string]any {
	digest, out := digestRows(rows), []map[string]any{}
	for _, row := range rows {
		out = append(out, row.json(digest))
	}
	return out
}

// fwCall is a call about one level's firewall.
type fwCall struct {
	*call
	file *firewall
	conf *fwConf
	dc   *fwConf // nil at the datacenter's level
}

// fw reads the file that a call is about.
func (c *call) fw() (*fwCall, error) {
	f := &fwCall{call: c, file: c.firewall}
	level := fwCluster
	switch {
	case c.params["vmid"] != "":
		g := c.guests[c.vmid]
		if g == nil || g.kind != c.kind {
			return nil, failf("Configuration file '%s' does not exist", confPath(c.node, c.kind, c.vmid))
		}
		f.file, level = g.firewall, fwGuest
	case c.node != "":
		f.file, level = c.nodes[c.node].firewall, fwHost
	}
	if level != fwCluster {
		f.dc = parseFirewall(fwCluster, c.firewall.text, nil)
	}
	f.conf = parseFirewall(level, f.file.text, f.dc)
	return f, nil
}

// fwWrite is fw for writers: without quorum they block, then fail.
func (c *call) fwWrite() (*fwCall, error) {
	if !c.quorum {
		c.mu.Unlock()
		c.pause(nil, c.scaled(10*time.Second))
		c.mu.Lock()
		return nil, failf("cfs-lock 'firewall' error: no quorum!")
	}
	return c.fw()
}

// unmodified refuses when the call's digest is another one.
func (c *call) unmodified(digest string) error {
	if want := c.params["digest"]; want != "" && want != digest {
		return failf("detected modified configuration - file changed by other user? Try again.")
	}
	return nil
}

// save writes the file of the call.
func (f *fwCall) save() (any, error) {
	f.storeFirewall(f.file, f.conf.render())
	return nil, nil
}

// fwRead answers a GET.
func fwRead(answer func(*fwCall) (any, error)) handler {
	return func(c *call) (any, error) {
		f, err := c.fw()
		if err != nil {
			return nil, err
		}
		return answer(f)
	}
}

// fwEdit makes a change and saves it.
func fwEdit(edit func(*fwCall) error) handler {
	return func(c *call) (any, error) {
		f, err := c.fwWrite()
		if err != nil {
			return nil, err
		}
		if err := edit(f); err != nil {
			return nil, err
		}
		return f.save()
	}
}

func getFirewallOptions(f *fwCall) (any, error) {
	out := map[string]any{"digest": digestOf(digestLines(f.conf.options))}
	props := f.optionProps()
	for key, value := range f.conf.options {
		out[key] = value
		if p := props[key]; p != nil && (p.Type == "boolean" || p.Type == "integer") {
			out[key] = atoi(value)
		}
	}
	return out, nil
}

// optionProps are the options that a level has.
func (f *fwCall) optionProps() map[string]*property {
	_, path, _ := strings.Cut(f.m.key, " ")
	update, _ := loadSchema().find("PUT", strings.Split(strings.Trim(path, "/"), "/"))
	props := maps.Clone(update.Props)
	for _, other := range []string{"node", "vmid", "digest", "delete"} {
		delete(props, other)
	}
	return props
}

func putFirewallOptions(f *fwCall) error {
	if err := f.unmodified(digestOf(digestLines(f.conf.options))); err != nil {
		return err
	}
	props := f.optionProps()
	for _, key := range splitList(f.params["delete"]) {
		if props[key] == nil {
			return paramError("delete", "no such option '%s'", key)
		}
		delete(f.conf.options, key)
	}
	for key := range props {
		if value, set := f.params[key]; set {
			f.conf.options[key] = value
		}
	}
	if f.conf.level == fwCluster && atoi(f.params["enable"]) > 1 {
		f.conf.options["enable"] = fmt.Sprint(f.now.Unix())
	}
	return nil
}
