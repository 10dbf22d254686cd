// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net/netip"
	"strings"
)

// container is what LXC needs to know of a machine.
type container struct {
	hostname string
	// root is the folder with the machine's file system.
	root string
	// groups is the name of its control groups.
	groups string
	// powers: it may do what a machine of its own may, such as to run containers.
	powers bool
	nics   []nic
	binds  []bind
}

// bind is a folder of this machine inside a container.
type bind struct {
	source, target string
	readOnly       bool
}

// limits of a container: those of Debian's own configuration.
const limits = `lxc.cap.drop = mac_admin mac_override sys_time sys_module sys_rawio
`

// lxcConfig is the container's configuration file.
func (c container) lxcConfig() string {
	var b strings.Builder
	set := func(key, value string) { fmt.Fprintf(&b, "lxc.%s = %s\n", key, value) }
	set("uts.name", c.hostname)
	set("rootfs.path", "dir:"+c.root)
	set("cgroup.dir", c.groups)
	set("apparmor.profile", "unconfined")
	set("mount.auto", c.mounts())
	set("signal.halt", "SIGRTMIN+3")
	set("tty.max", "0")
	set("pty.max", "1024")
	set("console.path", "none")
	if c.powers {
		set("cap.drop", "")
	} else {
		b.WriteString(limits)
	}
	for i, n := range c.nics {
		n.lxcConfig(i, set)
	}
	for _, m := range c.binds {
		options := "bind,create=dir"
		if m.readOnly {
			options += ",ro"
		}
		set("mount.entry", fmt.Sprintf("%s %s none %s 0 0", escaped(m.source), escaped(strings.TrimPrefix(m.target, "/")), options))
	}
	return b.String()
}

// mounts are the kernel's file systems. Where a container's systemd mounts the control groups, it wants cpu and cpuacct as one,
// and gets neither from a kernel that has each on its own; who runs containers needs them to limit those.
func (c container) mounts() string {
	if c.powers {
		return "proc:mixed sys:mixed cgroup:mixed:force"
	}
	return "proc:mixed sys:mixed cgroup:mixed"
}

func (n nic) lxcConfig(index int, set func(key, value string)) {
	net := fmt.Sprintf("net.%d.", index)
	set(net+"type", "veth")
	set(net+"link", n.bridge)
	set(net+"name", n.name)
	if !n.down {
		set(net+"flags", "up")
	}
	if n.mac != "" {
		set(net+"hwaddr", strings.ToLower(n.mac))
	}
	if n.mtu > 1 { // 1 is "the bridge's"
		set(net+"mtu", fmt.Sprint(n.mtu))
	}
	for _, a := range n.addresses {
		if a.Addr().Is4() {
			set(net+"ipv4.address", a.String()+" "+broadcast(a).String()) // LXC's own is wrong
		} else {
			set(net+"ipv6.address", a.String())
		}
	}
	for _, g := range n.gateways {
		if g.Is4() {
			set(net+"ipv4.gateway", g.String())
		} else {
			set(net+"ipv6.gateway", g.String())
		}
	}
}

// broadcast is the last address of a network.
func broadcast(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}

// escaped writes a path as fstab does.
func escaped(path string) string {
	return strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`).Replace(path)
}
