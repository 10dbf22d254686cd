// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"sort"
	"strings"
	"time"
)

// createOnly are parameters of a creation that are no options of the guest.
var createOnly = map[string]bool{
	"node": true, "vmid": true, "ostemplate": true, "restore": true, "force": true, "start": true, "storage": true,
	"password": true, "ssh-public-keys": true, "pool": true, "bwlimit": true, "unique": true, "ignore-unpack-errors": true,
	"archive": true, "live-restore": true, "import-working-storage": true, "ha-managed": true,
}

// claim reserves a VMID, or says who has it.
func (s *Server) claim(vmid int, kind, node, lock string) (*guest, error) {
	if g := s.guests[vmid]; g != nil {
		return nil, failf("%s %d already exists on node '%s'", g.word(), vmid, g.node)
	}
	g := newGuest(vmid, kind, node)
	c := newConf(kind)
	c.main["lock"] = lock
	g.save(c)
	s.guests[vmid] = g
	return g, nil
}

func (s *Server) needQuorum() error {
	if !s.quorum {
		return failf("cluster not ready - no quorum?")
	}
	return nil
}

func createGuest(c *call) (any, error) {
	vmid := atoi(c.params["vmid"])
	c.vmid = vmid
	if err := c.mayCreate(vmid); err != nil {
		return nil, err
	}
	options, err := c.createOptions(vmid)
	if err != nil {
		return nil, err
	}
	g, err := c.claim(vmid, c.kind, c.node, "create")
	if err != nil {
		if c.kind == kindQEMU {
			return nil, failf("unable to create VM %d - %s", vmid, err)
		}
		return nil, err
	}
	return c.spawn(c.user, c.creation(g, options)), nil
}

// createOptions are the options of a guest that may be created.
func (c *call) createOptions(vmid int) (section, error) {
	if err := c.needQuorum(); err != nil {
		return nil, err
	}
	if pool := c.params["pool"]; pool != "" && c.pools[pool] == nil {
		return nil, failf("pool '%s' does not exist", pool)
	}
	options := section{}
	for key, value := range c.params {
		if !createOnly[key] {
			options[key] = value
		}
	}
	probe := newGuest(vmid, c.kind, c.node)
	if err := c.mayModify(probe, options, nil); err != nil {
		return nil, err
	}
	if c.kind == kindLXC {
		storage := first(c.params["storage"], "local")
		if options["rootfs"] == "" {
			options["rootfs"] = storage + ":4"
		}
	}
	if err := c.maySpend(c.kind, options); err != nil {
		return nil, err
	}
	return options, c.checkStorages(options)
}

func (c *call) mayCreate(vmid int) error {
	if c.can(fmt.Sprintf("/vms/%d", vmid), "VM.Allocate") {
		return nil
	}
	if pool := c.params["pool"]; pool != "" && c.can("/pool/"+pool, "VM.Allocate") {
		return nil
	}
	return permError("")
}

// checkStorages refuses storages that cannot hold this kind of guest.
func (c *call) checkStorages(options section) error {
	content := "images"
	if c.kind == kindLXC {
		content = "rootdir"
	}
	for _, storage := range newVolumesWanted(c.kind, options) {
		if _, err := c.storageFor(storage, c.node, content); err != nil {
			return err
		}
	}
	return nil
}

// creation is the task that makes a guest: first the lock alone, then the whole
// configuration under the lock, at the end without it.
func (c *call) creation(g *guest, options section) work {
	kind, params := "vzcreate", c.params
	if g.kind == kindQEMU {
		kind = "qmcreate"
	}
	s, user, pool := c.Server, c.user, c.params["pool"]
	steps := []step{
		{takes: time.Second, do: func(t *task) error {
			if err := s.build(g, options, params); err != nil {
				return fmt.Errorf("unable to create %s %d - %w", g.word(), g.vmid, err)
			}
			t.logf("created the disks of %s %d", g.word(), g.vmid)
			return nil
		}},
		{takes: 2 * time.Second, do: func(*task) error {
			g.setLock("")
			if p := s.pools[pool]; p != nil {
				p.guests[g.vmid] = true
			}
			if params["start"] == "1" {
				s.spawn(user, s.startWork(g))
			}
			return nil
		}},
	}
	return work{
		node: g.node, kind: kind, id: fmt.Sprint(g.vmid), steps: steps,
		undo: func() { _ = s.discard(g) }, // the failure is told already
	}
}

// build writes a new guest's configuration.
func (s *Server) build(g *guest, options section, params map[string]string) error {
	c := g.edit()
	if g.kind == kindLXC {
		if err := s.unpack(g.node, params, c); err != nil {
			return err
		}
	}
	for _, key := range inOrder(options) {
		value := normalise(g.kind, key, options[key])
		if isDiskKey(g.kind, key) {
			placed, err := s.placeDisk(g, g.node, key, value)
			if err != nil {
				return err
			}
			value = placed
		}
		c.main[key] = value
	}
	c.main["lock"] = "create"
	if g.kind == kindLXC {
		lxcDefaults(g.vmid, c)
	} else {
		qemuDefaults(c, time.Now())
	}
	g.save(c)
	return s.enter(g)
}

// inOrder are the options in the order in which volumes are made: the root disk
// first, numbered ones by their number.
func inOrder(options section) []string {
	keys := options.sortedKeys()
	rank := func(key string) (string, int) {
		if key == "rootfs" {
			return "", 0
		}
		if m := numbered.FindStringSubmatch(key); m != nil {
			return m[1], atoi(m[2])
		}
		return key, 0
	}
	sort.SliceStable(keys, func(i, j int) bool {
		a, n := rank(keys[i])
		b, m := rank(keys[j])
		return a < b || (a == b && n < m)
	})
	return keys
}

// unpack reads what a container's template says about itself.
func (s *Server) unpack(node string, params map[string]string, c *conf) error {
	template := params["ostemplate"]
	if params["restore"] == "1" {
		return nil
	}
	if _, v := s.volumeByID(node, template); v == nil {
		return failf("volume '%s' does not exist", template)
	}
	name := template[strings.LastIndexByte(template, '/')+1:]
	c.main["ostype"] = "unmanaged"
	for _, known := range []string{"debian", "ubuntu", "alpine", "centos", "fedora", "archlinux", "opensuse", "gentoo", "devuan"} {
		if strings.HasPrefix(name, known) {
			c.main["ostype"] = known
		}
	}
	return nil
}

func lxcDefaults(vmid int, c *conf) {
	setDefault(c.main, "arch", "amd64")
	setDefault(c.main, "memory", "512")
	setDefault(c.main, "swap", "512")
	setDefault(c.main, "hostname", fmt.Sprintf("CT%d", vmid))
}

func qemuDefaults(c *conf, at time.Time) {
	setDefault(c.main, "smbios1", "uuid="+randomUUID())
	setDefault(c.main, "vmgenid", randomUUID())
	setDefault(c.main, "meta", fmt.Sprintf("creation-qemu=10.0.13,ctime=%d", at.Unix()))
	if c.main["boot"] == "" {
		order := defaultBoot(c)
		if len(order) > 0 {
			c.main["boot"] = "order=" + strings.Join(order, ";")
		}
	}
}

// defaultBoot is the first disk, the first CD-ROM and the first network.
func defaultBoot(c *conf) []string {
	var disk, cdrom, net string
	for _, prefix := range []string{"net", "ide", "sata", "virtio", "scsi"} {
		for n := 31; n >= 0; n-- {
			key := fmt.Sprintf("%s%d", prefix, n)
			switch value := c.main[key]; {
			case value == "":
			case prefix == "net":
				net = key
			case isCDROM(value):
				cdrom = key
			default:
				disk = key
			}
		}
	}
	var order []string
	for _, key := range []string{disk, cdrom, net} {
		if key != "" {
			order = append(order, key)
		}
	}
	return order
}

func setDefault(s section, key, value string) {
	if s[key] == "" {
		s[key] = value
	}
}

// discard removes a guest and everything that it has.
func (s *Server) discard(g *guest) error {
	for _, v := range s.ownedVolumes(g) {
		_ = s.freeVolume(g.node, v) // a base volume in use was refused before
	}
	if s.guests[g.vmid] == g {
		delete(s.guests, g.vmid)
	}
	for _, p := range s.pools {
		delete(p.guests, g.vmid)
	}
	s.left = append(s.left, g)
	if !g.entered {
		return nil
	}
	g.entered = false
	return s.outside(g, func(b Guests, info GuestInfo) error { return b.Destroy(s.ctx, info.VMID) })
}

// ownedVolumes are the volumes of a guest, referenced or not.
func (s *Server) ownedVolumes(g *guest) []string {
	var out []string
	for _, name := range sortedNames(s.storages) {
		vols := s.storages[name].on(g.node)
		for _, id := range sortedNames(vols) {
			if isOwned(id, g.vmid) {
				out = append(out, id)
			}
		}
	}
	return out
}
