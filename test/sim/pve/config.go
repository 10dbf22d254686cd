// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// guestAt finds the guest of a request on the node that was asked.
func (c *call) guestAt() (*guest, error) {
	g := c.guests[c.vmid]
	if g == nil || g.kind != c.kind || g.node != c.node {
		return nil, failf("Configuration file '%s' does not exist", confPath(c.node, c.kind, c.vmid))
	}
	return g, nil
}

// typed gives an option's value the JSON type that Proxmox gives it: a number
// for integers and booleans, a string for all else.
func typed(kind, key, value string) any {
	m, _ := loadSchema().find("PUT", []string{"nodes", "n", kind, "1", "config"})
	p, _ := m.prop(key)
	if p == nil && (key == "template" || key == "unprivileged" || key == "snaptime" || key == "running") {
		p = &property{Type: "integer"}
	}
	if p != nil && (p.Type == "integer" || p.Type == "boolean") {
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			return n
		}
	}
	return value
}

func (g *guest) document(s section, raw [][2]string) map[string]any {
	out := map[string]any{}
	for key, value := range s {
		out[key] = typed(g.kind, key, value)
	}
	if len(raw) > 0 {
		out["lxc"] = raw
	}
	if out["cipassword"] != nil {
		out["cipassword"] = "**********"
	}
	return out
}

func getConfig(c *call) (any, error) {
	g, err := c.guestAt()
	if err != nil {
		return nil, err
	}
	if snap := c.params["snapshot"]; snap != "" {
		values, ok := g.conf.snapshots[snap]
		if !ok {
			return nil, failf("snapshot '%s' does not exist", snap)
		}
		out := g.document(values, nil)
		out["digest"] = g.digest()
		return out, nil
	}
	values := g.conf.merged()
	if c.params["current"] == "1" {
		values = g.conf.main
	}
	out := g.document(values, g.conf.raw)
	out["digest"] = g.digest()
	return out, nil
}

func getPending(c *call) (any, error) {
	g, err := c.guestAt()
	if err != nil {
		return nil, err
	}
	rows := []map[string]any{{"key": "digest", "value": g.digest()}}
	gone := g.conf.deletions()
	for _, key := range g.conf.main.sortedKeys() {
		row := map[string]any{"key": key, "value": typed(g.kind, key, g.conf.main[key])}
		if waiting, ok := g.conf.pending[key]; ok {
			row["pending"] = typed(g.kind, key, waiting)
		}
		if gone[key] {
			row["delete"] = 1
		}
		rows = append(rows, row)
	}
	for _, key := range g.conf.pending.sortedKeys() {
		if _, known := g.conf.main[key]; !known && key != "delete" {
			rows = append(rows, map[string]any{"key": key, "pending": typed(g.kind, key, g.conf.pending[key])})
		}
	}
	return rows, nil
}

// change is what a caller wants of a configuration.
type change struct {
	set    section
	gone   []string
	revert []string
	digest string
}

// updateOnly are parameters of an update that are no options of the guest.
var updateOnly = map[string]bool{
	"node": true, "vmid": true, "delete": true, "revert": true, "digest": true, "skiplock": true, "force": true,
	"background_delay": true, "import-working-storage": true,
}

func splitList(text string) []string { return strings.FieldsFunc(text, isListSeparator) }

func changeOf(params map[string]string) change {
	ch := change{set: section{}, gone: splitList(params["delete"]), revert: splitList(params["revert"]), digest: params["digest"]}
	for key, value := range params {
		if !updateOnly[key] {
			ch.set[key] = value
		}
	}
	return ch
}

// check refuses what contradicts itself.
func (ch change) check(kind string) error {
	if len(ch.set)+len(ch.gone)+len(ch.revert) == 0 {
		return failf("no options specified")
	}
	update, _ := loadSchema().find("PUT", []string{"nodes", "n", kind, "1", "config"})
	for _, list := range []struct {
		param string
		keys  []string
	}{{"delete", ch.gone}, {"revert", ch.revert}} {
		for _, key := range list.keys {
			if p, _ := update.prop(key); (p == nil || updateOnly[key]) && !numbered.MatchString(key) {
				return paramError(list.param, "unknown option '%s'", key)
			}
			if _, both := ch.set[key]; both {
				return paramError(list.param, "you can't use '-%s' and -%s %s' at the same time", key, list.param, key)
			}
		}
	}
	return nil
}

func putConfig(c *call) (any, error) { return nil, c.update() }

// postConfig changes a VM's configuration in a task.
func postConfig(c *call) (any, error) {
	ch := changeOf(c.params)
	g, err := c.prepare(ch)
	if err != nil {
		return nil, err
	}
	return c.spawn(c.user, work{
		node: g.node, kind: "qmconfig", id: fmt.Sprint(g.vmid), lock: g,
		steps: []step{{takes: 100 * time.Millisecond, do: func(t *task) error {
			t.logf("update VM %d:%s", g.vmid, commandLine(ch.set))
			return c.apply(g, ch)
		}}},
	}), nil
}

func commandLine(set section) string {
	var b strings.Builder
	for _, key := range set.sortedKeys() {
		fmt.Fprintf(&b, " -%s %s", key, set[key])
	}
	return b.String()
}

func (c *call) update() error {
	ch := changeOf(c.params)
	g, err := c.prepare(ch)
	if err != nil {
		return err
	}
	return c.apply(g, ch)
}

// prepare makes every check of an update, in Proxmox's order.
func (c *call) prepare(ch change) (*guest, error) {
	if err := c.skipLock(); err != nil {
		return nil, err
	}
	if err := ch.check(c.kind); err != nil {
		return nil, err
	}
	g, err := c.guestAt()
	if err != nil {
		return nil, err
	}
	if c.kind == kindLXC && slices.Contains(ch.gone, "rootfs") {
		return nil, failf("unable to remove required option 'rootfs'")
	}
	if err := c.mayModify(g, ch.set, append(ch.gone, ch.revert...)); err != nil {
		return nil, err
	}
	if err := c.maySpend(c.kind, ch.set); err != nil {
		return nil, err
	}
	if !c.quorum {
		return nil, failf("unable to open file '/etc/pve/%s.tmp.%d' - Permission denied", confPath(g.node, g.kind, g.vmid), 1000)
	}
	return g, c.checkDigest(g, ch)
}

func (c *call) checkDigest(g *guest, ch change) error {
	if c.params["skiplock"] != "1" {
		if err := g.checkLock(); err != nil {
			return err
		}
	}
	if ch.digest == "" || ch.digest == g.digest() {
		return nil
	}
	if g.kind == kindQEMU {
		return failf("checksum mismatch (file change by other user?)")
	}
	return failf("detected modified configuration - file changed by other user? Try again.")
}

// apply carries an update out. Everything becomes pending first; what the guest
// can take at once, or everything when it does not run, is applied then.
func (s *Server) apply(g *guest, ch change) error {
	c := g.edit()
	for _, key := range ch.revert {
		c.revert(key)
	}
	if err := s.wantGone(g, c, ch.gone); err != nil {
		return err
	}
	made, err := s.wantSet(g, c, ch.set)
	if err != nil {
		return err
	}
	errs := fieldErrors{}
	if g.running {
		s.hotplug(g, c, errs)
	} else {
		s.applyPending(g, c)
	}
	c.tidyPending()
	g.save(c)
	if len(errs) == 0 {
		return nil
	}
	for _, id := range made {
		if !strings.Contains(g.text, id) {
			_ = s.freeVolume(g.node, id) // just made: nothing stands on it
		}
	}
	return &apiError{status: http.StatusBadRequest, reason: badParams, fields: errs}
}

// wantGone makes deletions wait; an unused volume goes at once.
func (s *Server) wantGone(g *guest, c *conf, keys []string) error {
	for _, key := range keys {
		id := diskVolume(g.kind, key, c.main[key])
		if !strings.HasPrefix(key, "unused") || id == "" {
			c.deletePending(key)
			continue
		}
		if err := s.freeVolume(g.node, id); err != nil {
			return err
		}
		delete(c.main, key)
	}
	return nil
}

// wantSet makes new values wait and returns the volumes that it made for them.
func (s *Server) wantSet(g *guest, c *conf, set section) (made []string, err error) {
	for _, key := range inOrder(set) {
		value := normalise(g.kind, key, set[key])
		if isDiskKey(g.kind, key) {
			fresh := newVolumeRE.MatchString(looseParse(value)[""])
			if value, err = s.placeDisk(g, g.node, key, value); err != nil {
				return made, err
			}
			if fresh {
				made = append(made, diskVolume(g.kind, key, value))
			}
		}
		c.setPending(key, keepMAC(g.kind, key, set[key], value, c.main[key]))
	}
	return made, nil
}

// keepMAC keeps a network's address when an update does not give one.
func keepMAC(kind, key, given, value, before string) string {
	if !strings.HasPrefix(key, "net") || before == "" || numbered.FindStringSubmatch(key) == nil {
		return value
	}
	f := optionFormat(kind, key)
	macKey := "hwaddr"
	if kind == kindQEMU {
		macKey = "macaddr"
	}
	asked, _ := f.parse(kind, key, given)
	old, _ := f.parse(kind, key, before)
	if asked[macKey] != "" || old[macKey] == "" {
		return value
	}
	asked[macKey] = old[macKey]
	if kind == kindLXC {
		asked["type"] = "veth"
		return f.render(asked)
	}
	asked["model"] += "=" + asked[macKey]
	delete(asked, macKey)
	return f.render(asked)
}

// applyPending makes everything that waits so.
func (s *Server) applyPending(g *guest, c *conf) {
	gone := c.deletions()
	names := make([]string, 0, len(gone))
	for key := range gone {
		names = append(names, key)
	}
	sort.Strings(names)
	for _, key := range names {
		s.removeOption(g, c, key)
	}
	for _, key := range c.pending.sortedKeys() {
		if key != "delete" {
			s.setOption(g, c, key, c.pending[key])
		}
	}
	c.pending = section{}
}

// removeOption takes an option away; a guest's own volume becomes unused.
func (s *Server) removeOption(g *guest, c *conf, key string) {
	s.detach(g, c, key)
	delete(c.main, key)
	c.revert(key)
}

func (s *Server) setOption(g *guest, c *conf, key, value string) {
	if diskVolume(g.kind, key, c.main[key]) != diskVolume(g.kind, key, value) {
		s.detach(g, c, key)
	}
	c.main[key] = value
	if id := diskVolume(g.kind, key, value); id != "" && isDiskKey(g.kind, key) {
		for other, held := range c.main {
			if strings.HasPrefix(other, "unused") && held == id {
				delete(c.main, other)
			}
		}
	}
	c.revert(key)
}

func (s *Server) detach(g *guest, c *conf, key string) {
	if !isDiskKey(g.kind, key) {
		return
	}
	id := diskVolume(g.kind, key, c.main[key])
	switch {
	case id == "" || !isOwned(id, g.vmid):
	case strings.Contains(id, "cloudinit"):
		_ = s.freeVolume(g.node, id) // nothing stands on a cloud-init drive
	default:
		addUnused(c, id)
	}
}
