// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"
)

// guest is one container or virtual machine.
type guest struct {
	vmid int
	kind string
	node string

	text string // the configuration file
	conf *conf  // the same, taken apart; replaced with every save

	running bool
	paused  bool
	pid     int
	started time.Time
	booted  time.Time // when the guest agent answers

	behaviour Behaviour
	seen      figures // what the last status round broadcast
	flock     chan struct{}
	firewall  *firewall
	execs     map[int]*agentExec

	inside  inside
	entered bool   // something stands behind the guest
	told    string // what the backend knows
	touched bool   // it is not as it was when that was told
	answers bool   // its agent answered since the last start
}

// figures are the readings that a status round carries through the cluster.
type figures struct {
	known   bool
	status  string
	name    string
	maxmem  int64
	maxdisk int64
	maxcpu  float64
	started time.Time
}

func newGuest(vmid int, kind, node string) *guest {
	return &guest{
		vmid: vmid, kind: kind, node: node, conf: newConf(kind), flock: make(chan struct{}, 1),
		firewall: newFirewall(), execs: map[int]*agentExec{},
	}
}

// save writes the configuration, as a file: what cannot be written is lost.
func (g *guest) save(c *conf) {
	g.text = c.text()
	g.conf = parseConf(g.kind, g.text)
	g.touched = true
}

// edit returns a copy of the configuration to be changed and saved.
func (g *guest) edit() *conf { return parseConf(g.kind, g.text) }

func (g *guest) digest() string { return digestOf(g.text) }

func (g *guest) lock() string { return g.conf.main["lock"] }

func (g *guest) setLock(name string) {
	c := g.edit()
	if name == "" {
		delete(c.main, "lock")
	} else {
		c.main["lock"] = name
	}
	g.save(c)
}

// word is how Proxmox calls the guest in messages.
func (g *guest) word() string { return kindWord(g.kind) }

func kindWord(kind string) string {
	if kind == kindLXC {
		return "CT"
	}
	return "VM"
}

// checkLock refuses when the configuration carries a lock.
func (g *guest) checkLock() error {
	if lock := g.lock(); lock != "" {
		return failf("%s is locked (%s)", g.word(), lock)
	}
	return nil
}

func confPath(node, kind string, vmid int) string {
	dir := "qemu-server"
	if kind == kindLXC {
		dir = "lxc"
	}
	return fmt.Sprintf("nodes/%s/%s/%d.conf", node, dir, vmid)
}

func (g *guest) isTemplate() bool { return g.conf.main["template"] == "1" }

func (g *guest) name() string {
	if g.kind == kindLXC {
		if name := g.conf.main["hostname"]; name != "" {
			return name
		}
		return fmt.Sprintf("CT%d", g.vmid)
	}
	if name := g.conf.main["name"]; name != "" {
		return name
	}
	return fmt.Sprintf("VM %d", g.vmid)
}

func (g *guest) status() string {
	if g.running {
		return "running"
	}
	return "stopped"
}

func (g *guest) maxmem() int64 {
	fallback := "512"
	n, err := strconv.ParseInt(strings.TrimPrefix(first(g.conf.main["memory"], fallback), "current="), 10, 64)
	if err != nil {
		n = 512
	}
	return n << 20
}

func (g *guest) maxcpu() float64 {
	cores := atof(first(g.conf.main["cores"], "1"))
	if g.kind == kindQEMU {
		cores *= atof(first(g.conf.main["sockets"], "1"))
	}
	return cores
}

func (g *guest) maxdisk() int64 {
	key := "rootfs"
	if g.kind == kindQEMU {
		key = g.bootDisk()
	}
	size, _ := parseSize(looseParse(g.conf.main[key])["size"])
	return size
}

// bootDisk is the first disk of a VM's boot order, or its first disk at all.
func (g *guest) bootDisk() string {
	order := strings.TrimPrefix(g.conf.main["boot"], "order=")
	for _, key := range strings.Split(order, ";") {
		if isDiskKey(kindQEMU, key) && !isCDROM(g.conf.main[key]) && g.conf.main[key] != "" {
			return key
		}
	}
	for _, key := range g.conf.main.sortedKeys() {
		if isDiskKey(kindQEMU, key) && !isCDROM(g.conf.main[key]) {
			return key
		}
	}
	return ""
}

func (g *guest) uptime(now time.Time) int64 {
	if !g.running {
		return 0
	}
	return int64(now.Sub(g.started) / time.Second)
}

// look takes the figures that a status round broadcasts.
func (g *guest) look() figures {
	return figures{
		known: true, status: g.status(), name: g.name(), maxmem: g.maxmem(), maxdisk: g.maxdisk(),
		maxcpu: g.maxcpu(), started: g.started,
	}
}

// looseParse splits a property string without judging it; a value without a
// key goes under "".
func looseParse(value string) map[string]string {
	out := map[string]string{}
	for _, part := range strings.Split(value, ",") {
		key, val, ok := strings.Cut(part, "=")
		if !ok {
			key, val = "", part
		}
		if _, twice := out[key]; !twice {
			out[key] = val
		}
	}
	return out
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func atof(text string) float64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return n
}

func atoi(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}

func isCDROM(value string) bool { return strings.Contains(value, "media=cdrom") }

// isDiskKey tells whether an option holds a volume.
func isDiskKey(kind, key string) bool {
	base := key
	if m := numbered.FindStringSubmatch(key); m != nil {
		base = m[1]
	}
	if kind == kindLXC {
		return key == "rootfs" || base == "mp"
	}
	switch base {
	case "scsi", "virtio", "sata", "ide":
		return base != key
	}
	return key == "efidisk0" || key == "tpmstate0"
}

// sortedGuests are a site's guests by VMID.
func (s *Server) sortedGuests() []*guest {
	out := make([]*guest, 0, len(s.guests))
	for _, g := range s.guests {
		out = append(out, g)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].vmid < out[j].vmid })
	return out
}
