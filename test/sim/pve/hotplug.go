// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"strings"
)

// lxcLive are the options of a running container that change at once.
var lxcLive = map[string]bool{
	"description": true, "onboot": true, "startup": true, "protection": true, "hostname": true, "hookscript": true,
	"cores": true, "tags": true, "lock": true, "memory": true, "swap": true, "cpulimit": true, "cpuunits": true,
}

// qemuLive are the options of a running VM that change at once.
var qemuLive = map[string]bool{
	"description": true, "hookscript": true, "lock": true, "migrate_downtime": true, "migrate_speed": true, "name": true,
	"onboot": true, "protection": true, "shares": true, "startup": true, "tags": true, "vmstatestorage": true,
	"hotplug": true, "autostart": true, "freeze": true, "cpuunits": true, "cpulimit": true, "balloon": true, "affinity": true,
}

// hotplug applies to a running guest what waits and can be applied at once. What
// fails is named in errs and forgotten; the rest goes on waiting.
func (s *Server) hotplug(g *guest, c *conf, errs fieldErrors) {
	for key := range c.deletions() {
		if s.canUnplug(g, c, key) {
			s.removeOption(g, c, key)
		}
	}
	for _, key := range c.pending.sortedKeys() {
		if key == "delete" || !s.canPlug(g, c, key) {
			continue
		}
		value := c.pending[key]
		if problem := s.plugProblem(g, key, value); problem != "" {
			errs[key] = hotplugText(g.kind, key, problem)
			c.revert(key)
			continue
		}
		s.setOption(g, c, key, value)
	}
}

func hotplugText(kind, key, problem string) string {
	if kind == kindLXC {
		return fmt.Sprintf("unable to hotplug %s: %s\n", key, problem)
	}
	return fmt.Sprintf("hotplug problem - %s\n", problem)
}

func baseOf(key string) string {
	if m := numbered.FindStringSubmatch(key); m != nil {
		return m[1]
	}
	return key
}

func (s *Server) canPlug(g *guest, c *conf, key string) bool {
	base := baseOf(key)
	if g.kind == kindLXC {
		if base == "mp" {
			return c.main[key] == "" // a mounted one is not changed underneath
		}
		return lxcLive[key] || base == "net"
	}
	switch base {
	case "net":
		return hasHotplug(c, "network")
	case "scsi", "virtio", "sata":
		return hasHotplug(c, "disk") && (c.main[key] == "" || sameVolume(key, c.main[key], c.pending[key]))
	case "ide":
		return isCDROM(c.pending[key]) && isCDROM(c.main[key])
	case "unused":
		return true
	case "usb":
		return hasHotplug(c, "usb")
	}
	switch key {
	case "memory":
		return hasHotplug(c, "memory") && c.main["numa"] == "1"
	case "cores", "sockets", "vcpus":
		return false
	}
	return qemuLive[key]
}

func (s *Server) canUnplug(g *guest, c *conf, key string) bool {
	base := baseOf(key)
	if g.kind == kindLXC {
		return (lxcLive[key] && key != "memory") || base == "net" || base == "unused"
	}
	switch base {
	case "net":
		return hasHotplug(c, "network")
	case "scsi", "virtio":
		return hasHotplug(c, "disk")
	case "usb":
		return hasHotplug(c, "usb")
	case "unused":
		return true
	}
	return qemuLive[key]
}

// hasHotplug tells whether a VM's hotplug option names a feature.
func hasHotplug(c *conf, feature string) bool {
	switch value := first(c.main["hotplug"], "network,disk,usb"); value {
	case "0":
		return false
	case "1":
		return strings.Contains("network,disk,usb", feature)
	default:
		return strings.Contains(value, feature)
	}
}

func sameVolume(key, a, b string) bool {
	return diskVolume(kindQEMU, key, a) == diskVolume(kindQEMU, key, b)
}

// plugProblem says why an option cannot be plugged in, or "".
func (s *Server) plugProblem(g *guest, key, value string) string {
	if text := s.faults.hotplugText(g.vmid, key); text != "" {
		return text
	}
	if baseOf(key) == "net" {
		return s.bridgeProblem(g, value)
	}
	return ""
}

func (s *Server) bridgeProblem(g *guest, value string) string {
	bridge := looseParse(value)["bridge"]
	if bridge == "" {
		return ""
	}
	for _, known := range s.nodes[g.node].bridges {
		if known == bridge {
			return ""
		}
	}
	return fmt.Sprintf("bridge '%s' does not exist", bridge)
}
