// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

var compare = []cmp.Option{
	cmp.AllowUnexported(guestSpec{}, nic{}, mount{}), cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.EquateEmpty(),
}

func TestParseGuest(t *testing.T) {
	for _, tc := range []struct {
		reason string
		info   pve.GuestInfo
		want   guestSpec
	}{
		{
			"a container with all that the lab knows",
			pve.GuestInfo{VMID: 101, Kind: "lxc", Name: "CT101", Config: map[string]string{
				"hostname": "nginx", "nameserver": "10.0.0.13 10.0.0.1", "searchdomain": "lan",
				"net0": "name=eth0,bridge=vmbr0,firewall=1,gw=10.0.0.1,hwaddr=BC:24:11:00:00:01,ip=10.0.0.153/24,type=veth",
				"net1": "name=eth1,bridge=vmbr0,hwaddr=BC:24:11:00:00:02,ip=dhcp,link_down=1,mtu=1400,type=veth",
				"mp0":  "/srv/data,mp=/data,ro=1", "mp10": "local-lvm:vm-101-disk-1,mp=/var/lib/x,size=1G", "mp2": "/srv/b,mp=/b",
				"rootfs": "local-lvm:vm-101-disk-0,size=8G", "network": "not a card", "mp": "not a mount point",
			}},
			guestSpec{
				vmid: 101, hostname: "nginx", nameservers: []string{"10.0.0.13", "10.0.0.1"}, search: "lan",
				nics: []nic{
					{
						name: "eth0", mac: "BC:24:11:00:00:01", bridge: "vmbr0", firewall: true,
						addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.153/24")}, gateways: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
					},
					{name: "eth1", mac: "BC:24:11:00:00:02", bridge: "vmbr0", dhcp: true, down: true, mtu: 1400},
				},
				mounts: []mount{
					{source: "/srv/data", target: "/data", readOnly: true}, {source: "/srv/b", target: "/b"},
					{source: "local-lvm:vm-101-disk-1", target: "/var/lib/x"},
				},
			},
		},
		{
			"a virtual machine with cloud-init",
			pve.GuestInfo{VMID: 1001, Kind: "qemu", Name: "portainer", Config: map[string]string{
				"name": "portainer", "net0": "virtio=BC:24:11:00:00:03,bridge=vmbr0,firewall=1", "ipconfig0": "gw=10.0.0.1,ip=10.0.0.111/24",
				"ciuser": "admin", "sshkeys": "ssh-ed25519%20AAAA%20me%40example%0Assh-ed25519%20BBBB%2B%0A", "mp0": "/x,mp=/x",
			}},
			guestSpec{
				vmid: 1001, vm: true, hostname: "portainer", user: "admin", keys: []string{"ssh-ed25519 AAAA me@example", "ssh-ed25519 BBBB+"},
				nics: []nic{{
					name: "eth0", mac: "BC:24:11:00:00:03", bridge: "vmbr0", firewall: true,
					addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.111/24")}, gateways: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
				}},
				mounts: []mount{{source: "/x", target: "/x"}},
			},
		},
		{
			"a cloud image that is not told an address asks for one, and a MAC may have a key of its own",
			pve.GuestInfo{VMID: 1002, Kind: "qemu", Name: "VM 1002", Config: map[string]string{"net0": "model=e1000,macaddr=BC:24:11:00:00:04,bridge=vmbr1"}},
			guestSpec{vmid: 1002, vm: true, hostname: "VM 1002", nics: []nic{{name: "eth0", mac: "BC:24:11:00:00:04", bridge: "vmbr1", dhcp: true}}},
		},
		{
			"both families of addresses",
			pve.GuestInfo{VMID: 102, Kind: "lxc", Name: "six", Config: map[string]string{
				"net0": "name=eth0,bridge=vmbr0,ip=10.0.0.9/24,ip6=2001:db8::9/64,gw6=2001:db8::1"}},
			guestSpec{vmid: 102, hostname: "six", nics: []nic{{
				name: "eth0", bridge: "vmbr0", gateways: []netip.Addr{netip.MustParseAddr("2001:db8::1")},
				addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.9/24"), netip.MustParsePrefix("2001:db8::9/64")},
			}}},
		},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			got, err := parseGuest(tc.info)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, compare...); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestParseGuestRefuses(t *testing.T) {
	for _, tc := range []struct{ reason, key, value string }{
		{"an address without a length", "net0", "name=eth0,bridge=vmbr0,ip=10.0.0.9"},
		{"a gateway that is none", "net0", "name=eth0,bridge=vmbr0,ip=10.0.0.9/24,gw=nobody"},
	} {
		if _, err := parseGuest(pve.GuestInfo{VMID: 101, Kind: "lxc", Config: map[string]string{tc.key: tc.value}}); err == nil {
			t.Errorf("%s was taken", tc.reason)
		}
	}
	if _, err := parseGuest(pve.GuestInfo{VMID: 1001, Kind: "qemu", Config: map[string]string{"sshkeys": "%zz"}}); err == nil {
		t.Error("keys that are not escaped were taken")
	}
}

func TestIsVolume(t *testing.T) {
	if (mount{source: "/srv"}).isVolume() || !(mount{source: "local:vm-1-disk-0"}).isVolume() {
		t.Error("a folder and a volume are not told apart")
	}
}
