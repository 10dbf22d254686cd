// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const wantConfig = `lxc.uts.name = nginx
lxc.rootfs.path = dir:/x/root
lxc.cgroup.dir = phoenix-lab-7/101
lxc.apparmor.profile = unconfined
lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed
lxc.signal.halt = SIGRTMIN+3
lxc.tty.max = 0
lxc.pty.max = 1024
lxc.console.path = none
lxc.cap.drop = mac_admin mac_override sys_time sys_module sys_rawio
lxc.net.0.type = veth
lxc.net.0.link = vmbr0
lxc.net.0.name = eth0
lxc.net.0.flags = up
lxc.net.0.hwaddr = bc:24:11:00:00:01
lxc.net.0.mtu = 1400
lxc.net.0.ipv4.address = 10.0.0.153/24 10.0.0.255
lxc.net.0.ipv6.address = 2001:db8::9/64
lxc.net.0.ipv4.gateway = 10.0.0.1
lxc.net.0.ipv6.gateway = 2001:db8::1
lxc.net.1.type = veth
lxc.net.1.link = vmbr1
lxc.net.1.name = eth1
lxc.mount.entry = /a\040folder/\134x data none bind,create=dir,ro 0 0
`

func TestLXCConfig(t *testing.T) {
	c := container{
		hostname: "nginx", root: "/x/root", groups: "phoenix-lab-7/101",
		nics: []nic{
			{
				name: "eth0", mac: "BC:24:11:00:00:01", bridge: "vmbr0", mtu: 1400,
				addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.153/24"), netip.MustParsePrefix("2001:db8::9/64")},
				gateways:  []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")},
			},
			{name: "eth1", bridge: "vmbr1", down: true, mtu: 1},
		},
		binds: []bind{{source: `/a folder/\x`, target: "/data", readOnly: true}},
	}
	if diff := cmp.Diff(wantConfig, c.lxcConfig()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestPowers proves that a machine of its own may do more than a container, and has the control groups for it.
func TestPowers(t *testing.T) {
	got := container{hostname: "vm", root: "/x/root", groups: "x", powers: true}.lxcConfig()
	for _, want := range []string{"lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed:force\n", "lxc.cap.drop = \n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestBroadcast(t *testing.T) {
	for prefix, want := range map[string]string{"10.0.0.5/24": "10.0.0.255", "10.1.2.3/9": "10.127.255.255", "192.0.2.1/32": "192.0.2.1"} {
		if got := broadcast(netip.MustParsePrefix(prefix)).String(); got != want {
			t.Errorf("%s: got %s, want %s", prefix, got, want)
		}
	}
}
