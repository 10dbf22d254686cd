// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"net/http"
	"sort"
	"strings"
	"time"
)

// canSnapshot tells whether every volume of a guest can be snapshotted.
func (s *Server) canSnapshot(g *guest) bool {
	for key, value := range g.conf.main {
		id := diskVolume(g.kind, key, value)
		if !isDiskKey(g.kind, key) || id == "" || isCDROM(value) {
			continue
		}
		st, v := s.volumeByID(g.node, id)
		if v == nil || (st.isDir() && v.format != "qcow2") {
			return false
		}
	}
	return true
}

func hasFeature(c *call) (any, error) {
	g, err := c.guestAt()
	if err != nil {
		return nil, err
	}
	has := false
	switch c.params["feature"] {
	case "snapshot":
		has = c.canSnapshot(g)
	case "clone":
		has = g.isTemplate()
	case "copy":
		has = g.kind == kindQEMU || !g.running
	}
	out := map[string]any{"hasFeature": bit(has)}
	if g.kind == kindQEMU {
		nodes := []string{}
		if has {
			nodes = []string{g.node}
		}
		out["nodes"] = nodes
	}
	return out, nil
}

func listSnapshots(c *call) (any, error) {
	g, err := c.guestAt()
	if err != nil {
		return nil, err
	}
	rows := []map[string]any{}
	for _, name := range sortedNames(g.conf.snapshots) {
		snap := g.conf.snapshots[name]
		row := map[string]any{"name": name, "snaptime": atoi(snap["snaptime"]), "description": strings.TrimRight(snap["description"], "\n")}
		if g.kind == kindQEMU {
			row["vmstate"] = bit(snap["vmstate"] != "")
		}
		if parent := snap["parent"]; parent != "" {
			row["parent"] = parent
		}
		rows = append(rows, row)
	}
	sort.SliceStable(rows, func(i, j int) bool { return rows[i]["snaptime"].(int) < rows[j]["snaptime"].(int) })
	current := map[string]any{"name": "current", "running": bit(g.running), "digest": g.digest(), "description": "You are here!"}
	if parent := g.conf.main["parent"]; parent != "" {
		current["parent"] = parent
	}
	return append(rows, current), nil
}

func (c *call) snapshotTask(action string, lock string, do func(*guest, *conf, *task) error) (any, error) {
	g, err := c.guestAt()
	if err != nil {
		return nil, err
	}
	return c.guestTask(action, time.Second, func(_ *guest, t *task) error {
		if err := g.checkLock(); err != nil {
			return err
		}
		if lock == "snapshot" && !c.canSnapshot(g) {
			return failf("snapshot feature is not available")
		}
		conf := g.edit()
		if err := do(g, conf, t); err != nil {
			return err
		}
		g.save(conf)
		return nil
	}), nil
}

func createSnapshot(c *call) (any, error) {
	name, notes := c.params["snapname"], c.params["description"]
	if name == "current" {
		return nil, failf("unable to use snapshot name 'current' (reserved name)")
	}
	return c.snapshotTask("snapshot", "snapshot", func(_ *guest, conf *conf, _ *task) error {
		if conf.snapshots[name] != nil {
			return failf("snapshot name '%s' already used", name)
		}
		snap := conf.main.clone()
		snap["snaptime"] = fmt.Sprint(time.Now().Unix())
		delete(snap, "description")
		if notes != "" {
			snap["description"] = notes
		}
		conf.snapshots[name] = snap
		conf.main["parent"] = name
		return nil
	})
}

func getSnapshotConfig(c *call) (any, error) {
	g, err := c.guestAt()
	if err != nil {
		return nil, err
	}
	snap := g.conf.snapshots[c.params["snapname"]]
	if snap == nil {
		return nil, failf("snapshot '%s' does not exist", c.params["snapname"])
	}
	return g.document(snap, nil), nil
}

func deleteSnapshot(c *call) (any, error) {
	name := c.params["snapname"]
	return c.snapshotTask("delsnapshot", "", func(_ *guest, conf *conf, _ *task) error {
		snap := conf.snapshots[name]
		if snap == nil {
			return failf("snapshot '%s' does not exist", name)
		}
		delete(conf.snapshots, name)
		for _, s := range append([]section{conf.main}, sections(conf.snapshots)...) {
			if s["parent"] != name {
				continue
			}
			delete(s, "parent")
			if snap["parent"] != "" {
				s["parent"] = snap["parent"]
			}
		}
		return nil
	})
}

func sections(m map[string]section) []section {
	out := make([]section, 0, len(m))
	for _, name := range sortedNames(m) {
		out = append(out, m[name])
	}
	return out
}

func rollbackSnapshot(c *call) (any, error) {
	name := c.params["snapname"]
	return c.snapshotTask("rollback", "", func(g *guest, conf *conf, _ *task) error {
		snap := conf.snapshots[name]
		if snap == nil {
			return failf("snapshot '%s' does not exist", name)
		}
		conf.main = snap.clone()
		for _, key := range []string{"snaptime", "vmstate"} {
			delete(conf.main, key)
		}
		conf.main["parent"] = name
		return c.halt(g, true)
	})
}

// unlinkDisks detaches a VM's disks, or with force removes their volumes.
func unlinkDisks(c *call) (any, error) {
	c.params["delete"] = c.params["idlist"]
	force := c.params["force"] == "1"
	delete(c.params, "idlist")
	delete(c.params, "force")
	g, err := c.guestAt()
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, key := range splitList(c.params["delete"]) {
		ids = append(ids, diskVolume(g.kind, key, g.conf.main[key]))
	}
	if err := c.update(); err != nil || !force {
		return nil, err
	}
	conf := g.edit()
	for key, value := range conf.main {
		for _, id := range ids {
			if strings.HasPrefix(key, "unused") && value == id {
				if err := c.freeVolume(g.node, id); err != nil {
					return nil, &apiError{status: http.StatusInternalServerError, reason: err.Error()}
				}
				delete(conf.main, key)
			}
		}
	}
	g.save(conf)
	return nil, nil
}

// dumpCloudInit renders what a VM's cloud-init drive says, in brief.
func dumpCloudInit(c *call) (any, error) {
	g, err := c.guestAt()
	if err != nil {
		return nil, err
	}
	m := g.conf.main
	switch c.params["type"] {
	case "user":
		return fmt.Sprintf("#cloud-config\nhostname: %s\nmanage_etc_hosts: true\nuser: %s\n", g.name(), first(m["ciuser"], "debian")), nil
	case "network":
		return fmt.Sprintf("version: 1\nconfig:\n    # %s\n", m["ipconfig0"]), nil
	}
	return fmt.Sprintf("instance-id: %s\n", digestOf(g.text)), nil
}
