// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

func cloneGuest(c *call) (any, error) {
	g, err := c.guestAt()
	if err != nil {
		if c.kind == kindQEMU {
			return nil, failf("unable to find configuration file for VM %d on node '%s'", c.vmid, c.node)
		}
		return nil, err
	}
	if err := c.needQuorum(); err != nil {
		return nil, err
	}
	full := !g.isTemplate()
	if given, ok := c.params["full"]; ok {
		full = given == "1"
	}
	target := first(c.params["target"], c.node)
	if err := c.mayClone(g, full, target); err != nil {
		return nil, err
	}
	clone, err := c.claim(atoi(c.params["newid"]), c.kind, target, "clone")
	if err != nil {
		return nil, err
	}
	return c.spawn(c.user, c.cloning(g, clone, full)), nil
}

// cloning is the task that makes a clone; its UPID names the source.
func (c *call) cloning(g, clone *guest, full bool) work {
	takes, kind, word := time.Second, "qmclone", "linked"
	if full {
		takes, word = 4*time.Second, "full"
	}
	if c.kind == kindLXC {
		kind = "vzclone"
	}
	s, params := c.Server, c.params
	return work{
		node: c.node, kind: kind, id: fmt.Sprint(g.vmid),
		steps: []step{{takes: takes, do: func(t *task) error {
			if err := s.copyGuest(g, clone, params, full); err != nil {
				return failf("clone failed: %s", err)
			}
			t.logf("create %s clone of %s %d", word, g.word(), g.vmid)
			if p := s.pools[params["pool"]]; p != nil {
				p.guests[clone.vmid] = true
			}
			return nil
		}}},
		undo: func() { _ = s.discard(clone) }, // the failure is told already
	}
}

func (c *call) mayClone(g *guest, full bool, target string) error {
	if err := g.checkLock(); err != nil {
		return err
	}
	switch {
	case !full && c.params["storage"] != "":
		return failf("parameter 'storage' not allowed for linked clones")
	case c.nodes[target] == nil:
		return paramError("target", "no such cluster node '%s'", target)
	case g.kind == kindLXC && full && g.running && c.params["snapname"] == "":
		return failf("Cannot do full clones on a running container without snapshots")
	}
	for _, key := range g.conf.main.sortedKeys() {
		id := diskVolume(g.kind, key, g.conf.main[key])
		if id == "" || !isDiskKey(g.kind, key) || isCDROM(g.conf.main[key]) {
			continue
		}
		if err := c.mayCloneDisk(g, key, id, full, target); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) mayCloneDisk(g *guest, key, id string, full bool, target string) error {
	storage, _, _ := strings.Cut(id, ":")
	switch {
	case full || strings.Contains(id, "base-"):
	case g.kind == kindLXC:
		return failf("Linked clone feature for '%s' is not available", id)
	default:
		return failf("Linked clone feature is not supported for '%s' (%s)", id, key)
	}
	if err := c.need("/storage/"+first(c.params["storage"], storage), "Datastore.AllocateSpace"); err != nil {
		return err
	}
	if target != c.node && !c.storages[storage].Shared {
		return failf("can't clone VM to node '%s' (VM uses local storage)", target)
	}
	return nil
}

// notCloned are options that a clone does not inherit.
var notCloned = map[string]bool{"template": true, "lock": true, "parent": true, "snaptime": true, "vmgenid": true, "vmstate": true}

// copyGuest writes the clone's configuration: tags and notes of the source come
// along, addresses and identities are new.
func (s *Server) copyGuest(g, clone *guest, params map[string]string, full bool) error {
	c := clone.edit()
	for _, key := range g.conf.main.sortedKeys() {
		value := g.conf.main[key]
		if notCloned[key] || baseOf(key) == "unused" {
			continue
		}
		switch {
		case isDiskKey(g.kind, key):
			placed, err := s.copyDisk(g, clone, key, value, params, full)
			if err != nil {
				return err
			}
			value = placed
		case baseOf(key) == "net" && baseOf(key) != key:
			value = freshMAC(g.kind, key, value)
		case key == "smbios1":
			value = "uuid=" + randomUUID()
		}
		c.main[key] = value
	}
	if params["description"] != "" {
		c.main["description"] = params["description"]
	}
	if g.kind == kindLXC {
		c.main["hostname"] = first(params["hostname"], c.main["hostname"])
	} else {
		c.main["name"] = first(params["name"], "Copy-of-VM-"+first(c.main["name"], fmt.Sprint(g.vmid)))
		c.main["vmgenid"] = randomUUID()
	}
	delete(c.main, "lock")
	clone.behaviour = g.behaviour
	clone.save(c)
	s.storeFirewall(clone.firewall, g.firewall.text)
	return s.enter(clone)
}

func freshMAC(kind, key, value string) string {
	f := optionFormat(kind, key)
	values, _ := f.parse(kind, key, value)
	delete(values, "hwaddr")
	delete(values, "macaddr")
	return normaliseNet(kind, key, f.render(values))
}

func (s *Server) copyDisk(g, clone *guest, key, value string, params map[string]string, full bool) (string, error) {
	id := diskVolume(g.kind, key, value)
	if id == "" || !isOwned(id, g.vmid) {
		return value, nil // a directory, an empty drive, an image of everybody's
	}
	f := optionFormat(g.kind, key)
	values, _ := f.parse(g.kind, key, value)
	storage, _, _ := strings.Cut(id, ":")
	_, v := s.volumeByID(g.node, id)
	if v == nil {
		return "", failf("volume '%s' does not exist", id)
	}
	if strings.Contains(id, "cloudinit") {
		fresh, err := s.newCloudInit(clone, clone.node, first(params["storage"], storage))
		values[f.defaultKey] = fresh
		return f.render(values), err
	}
	parent := ""
	if full {
		storage = first(params["storage"], storage)
	} else {
		parent = id
	}
	fresh, err := s.allocate(storage, clone.node, clone, v.size, first(params["format"], v.format), parent)
	if err != nil {
		return "", err
	}
	values[f.defaultKey] = fresh.id
	values["size"] = formatSize(fresh.size)
	return f.render(values), nil
}

// makeTemplate turns a stopped guest into a template; its volumes become bases.
func makeTemplate(c *call) (any, error) {
	g, err := c.guestAt()
	if err != nil {
		return nil, err
	}
	if err := g.checkLock(); err != nil {
		return nil, err
	}
	switch {
	case g.isTemplate() && g.kind == kindLXC:
		return nil, failf("you can't convert a CT to template if the CT is a template")
	case g.isTemplate():
		return nil, failf("you can't convert a template to a template")
	case g.running && g.kind == kindLXC:
		return nil, failf("you can't convert a CT to template if the CT is running")
	case g.running:
		return nil, failf("you can't convert a VM to template if VM is running")
	}
	if g.kind == kindLXC {
		c.toTemplate(g)
		return nil, nil
	}
	return c.spawn(c.user, work{node: g.node, kind: "qmtemplate", id: fmt.Sprint(g.vmid), lock: g, steps: []step{{
		takes: 500 * time.Millisecond, do: func(*task) error { c.toTemplate(g); return nil },
	}}}), nil
}

func (s *Server) toTemplate(g *guest) {
	c := g.edit()
	for key, value := range c.main {
		id := diskVolume(g.kind, key, value)
		st, v := s.volumeByID(g.node, id)
		if v == nil || !isDiskKey(g.kind, key) || isCDROM(value) || !isOwned(id, g.vmid) {
			continue
		}
		base := strings.NewReplacer("vm-", "base-", "subvol-", "basevol-").Replace(id[strings.LastIndexAny(id, ":/")+1:])
		delete(st.on(g.node), id)
		v.id = id[:strings.LastIndexAny(id, ":/")+1] + base
		st.on(g.node)[v.id] = v
		c.main[key] = strings.Replace(value, id, v.id, 1)
	}
	c.main["template"] = "1"
	g.save(c)
}

func resizeGuest(c *call) (any, error) {
	if err := c.skipLock(); err != nil {
		return nil, err
	}
	g, err := c.guestAt()
	if err != nil {
		return nil, err
	}
	if err := c.checkDigest(g, change{digest: c.params["digest"]}); err != nil {
		return nil, err
	}
	disk := c.params["disk"]
	value := g.conf.main[disk]
	if value == "" {
		return nil, missingDisk(g, disk)
	}
	id := diskVolume(g.kind, disk, value)
	_, v := c.volumeByID(g.node, id)
	if v == nil || isCDROM(value) {
		return nil, failf("can't resize a volume that is not there: '%s'", id)
	}
	want, grow := c.params["size"], strings.HasPrefix(c.params["size"], "+")
	size, ok := parseSize(strings.TrimPrefix(want, "+"))
	if !ok {
		return nil, failf("unable to parse size '%s'", want)
	}
	if grow {
		size += v.size
	}
	switch {
	case size < v.size:
		return nil, failf("unable to shrink disk size")
	case size == v.size:
		return nil, failf("disk is already at specified size")
	}
	return c.spawn(c.user, work{node: g.node, kind: "resize", id: strconv.Itoa(g.vmid), lock: g, steps: []step{{
		takes: 500 * time.Millisecond, do: func(*task) error { return c.grow(g, disk, id, size) },
	}}}), nil
}

func missingDisk(g *guest, disk string) error {
	if g.kind == kindLXC {
		fields := fieldErrors{"volume": missingProperty}
		if disk != "rootfs" {
			fields["mp"] = missingProperty
		}
		return &apiError{status: http.StatusInternalServerError, reason: "format error", fields: fields}
	}
	return failf("disk '%s' does not exist", disk)
}

func (s *Server) grow(g *guest, disk, id string, size int64) error {
	st, v := s.volumeByID(g.node, id)
	if v == nil {
		return failf("volume '%s' does not exist", id)
	}
	if st.used(g.node)-v.size+size > st.Size {
		return failf("not enough free space on storage '%s'", st.Name)
	}
	v.size = size
	c := g.edit()
	f := optionFormat(g.kind, disk)
	values, _ := f.parse(g.kind, disk, c.main[disk])
	values["size"] = formatSize(size)
	c.main[disk] = f.render(values)
	g.save(c)
	return nil
}

func migrateGuest(c *call) (any, error) {
	g, err := c.guestAt()
	if err != nil {
		return nil, err
	}
	target := c.params["target"]
	n := c.nodes[target]
	switch {
	case target == c.node:
		return nil, paramError("target", "target is local node.")
	case n == nil:
		return nil, paramError("target", "no such cluster node '%s'", target)
	case !n.online:
		return nil, failf("node '%s' is offline", target)
	}
	if err := g.checkLock(); err != nil {
		return nil, err
	}
	restart := c.params["restart"] == "1" || c.params["online"] == "1"
	if g.running && !restart {
		if g.kind == kindLXC {
			return nil, failf("can't migrate running container without --online or --restart")
		}
		return nil, failf("can't migrate running VM without --online")
	}
	return c.guestTask("migrate", 4*time.Second, func(g *guest, _ *task) error {
		if err := g.checkLock(); err != nil {
			return err
		}
		c.move(g, target)
		return nil
	}), nil
}

// move takes a guest with its local volumes to another node.
func (s *Server) move(g *guest, target string) {
	for _, st := range s.storages {
		if st.Shared {
			continue
		}
		from, to := st.on(g.node), st.on(target)
		for id, v := range from {
			if isOwned(id, g.vmid) {
				to[id] = v
				delete(from, id)
			}
		}
	}
	g.node, g.touched = target, true
}
