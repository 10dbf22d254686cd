// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

func ptr[T any](v T) *T { return &v }

func size(s string) *v1alpha1.Size { return ptr(v1alpha1.MustParseSize(s)) }

// config is a configuration, or a part of one.
type config = map[string]string

// testOwner is whose the guests of these tests are.
var testOwner = owner{id: "lab/home", guest: "lab/web"}

func newGuest(t v1alpha1.GuestType, edit func(*v1alpha1.GuestSpec)) *v1alpha1.Guest {
	g := &v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Namespace: "lab", Name: "web"}}
	g.Spec.Type = t
	g.Spec.HostRef.Name = "home"
	if edit != nil {
		edit(&g.Spec)
	}
	return g
}

func testFacts() facts {
	return facts{
		name: "home", nodes: []string{"phoenix"}, bindPaths: []string{"/srv"}, exportPaths: []string{"/exports"},
		defaults: v1alpha1.HostDefaults{
			Storage: "local-lvm", Bridge: "vmbr9", Gateway: "10.0.0.1", Nameservers: []string{"10.0.0.13"}, Domain: "lan",
		},
	}
}

// absentSeen is the observation of a guest that is yet to be made.
func absentSeen() Seen {
	return Seen{presence: absent, host: testFacts(), owner: testOwner, vmid: 103, node: "phoenix"}
}

// presentSeen is the observation of a guest with a configuration; slots are the devices that its mark names.
func presentSeen(t v1alpha1.GuestType, now config, slots ...string) Seen {
	m := mark{owner: testOwner, vmid: 103, slots: slots}
	values := config{"tags": testOwner.tag(), "description": m.line() + "\n"}
	if t == v1alpha1.GuestContainer {
		values["unprivileged"] = "1"
	}
	maps.Copy(values, now)
	_, marks := readMarks(values["description"])
	if len(marks) > 0 {
		m = marks[0]
	}
	return Seen{
		presence: present, host: testFacts(), owner: testOwner, marked: true, mark: m,
		ref:    proxmox.Ref{Node: "phoenix", Type: driverType(t), VMID: 103},
		config: proxmox.Config{Digest: "d1", Values: values},
	}
}

// texts renders changes as "field: from -> to (Impact)".
func texts(changes []reconcile.Change) []string {
	var out []string
	for _, c := range changes {
		out = append(out, fmt.Sprintf("%s: %s -> %s (%s)", c.Field, c.From, c.To, c.Impact))
	}
	return out
}

const (
	ct = v1alpha1.GuestContainer
	vm = v1alpha1.GuestVM
)

// TestCreateParameters: every field of the spec is carried by the creation, as far as a token may write it.
func TestCreateParameters(t *testing.T) {
	cases := []struct {
		reason string
		typ    v1alpha1.GuestType
		spec   func(*v1alpha1.GuestSpec)
		want   config // beside the ones that every guest of the type gets
	}{
		{"nothing declared: the Host's defaults", ct, nil, nil},
		{"a hostname of its own", ct, func(s *v1alpha1.GuestSpec) { s.Hostname = "www.lan" }, config{"hostname": "www.lan"}},
		{"cores", ct, func(s *v1alpha1.GuestSpec) { s.Cores = ptr(int32(2)) }, config{"cores": "2"}},
		{"memory in MiB", ct, func(s *v1alpha1.GuestSpec) { s.Memory = size("2Gi") }, config{"memory": "2048"}},
		{"swap, none at all", ct, func(s *v1alpha1.GuestSpec) { s.Swap = size("0") }, config{"swap": "0"}},
		{"a root disk is made in whole GiB", ct, func(s *v1alpha1.GuestSpec) { s.RootDisk = &v1alpha1.RootDisk{Size: size("1536Mi")} },
			config{"rootfs": "local-lvm:2", "storage": ""}},
		{"a root disk on a storage of its own", ct, func(s *v1alpha1.GuestSpec) { s.RootDisk = &v1alpha1.RootDisk{Storage: "tank", Size: size("8Gi")} },
			config{"rootfs": "tank:8", "storage": ""}},
		{"a root disk of no declared size", ct, func(s *v1alpha1.GuestSpec) { s.RootDisk = &v1alpha1.RootDisk{Storage: "tank"} }, config{"storage": "tank"}},
		{"a privileged container", ct, func(s *v1alpha1.GuestSpec) { s.Unprivileged = ptr(false) }, config{"unprivileged": "0"}},
		{"nesting is a token's to write", ct, func(s *v1alpha1.GuestSpec) { s.Features = &v1alpha1.Features{Nesting: ptr(true)} }, config{"features": "nesting=1"}},
		{"the other features are not: they follow as root", ct, func(s *v1alpha1.GuestSpec) {
			s.Features = &v1alpha1.Features{Nesting: ptr(true), Keyctl: ptr(true), FUSE: ptr(true), Mknod: ptr(true)}
		}, config{"features": "nesting=1"}},
		{"no feature of a privileged container is a token's to write", ct, func(s *v1alpha1.GuestSpec) {
			s.Unprivileged, s.Features = ptr(false), &v1alpha1.Features{Nesting: ptr(true)}
		}, config{"unprivileged": "0"}},
		{"a network with the Host's bridge and gateway", ct, func(s *v1alpha1.GuestSpec) {
			s.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.10/24"}}}
		}, config{"net0": "name=eth0,bridge=vmbr9,ip=10.0.0.10/24,gw=10.0.0.1"}},
		{"the Host's gateway is for its own network", ct, func(s *v1alpha1.GuestSpec) {
			s.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "192.168.7.10/24"}}}
		}, config{"net0": "name=eth0,bridge=vmbr9,ip=192.168.7.10/24"}},
		{"the Host's gateway is for net0", ct, func(s *v1alpha1.GuestSpec) {
			s.Networks = []v1alpha1.Network{{Device: "net1", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.10/24"}}}
		}, config{"net1": "name=eth1,bridge=vmbr9,ip=10.0.0.10/24"}},
		{"a network with everything", ct, func(s *v1alpha1.GuestSpec) {
			s.Networks = []v1alpha1.Network{{
				Device: "net2", Name: "lan0", Bridge: "vmbr1", VLAN: ptr(int32(7)), MAC: "bc:24:11:00:00:01", MTU: ptr(int32(1400)),
				RateMBps: ptr(int32(50)), Firewall: ptr(true),
				IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.7.0.2/24", Gateway: "10.7.0.254"},
				IPv6: &v1alpha1.IPv6{Method: v1alpha1.IPStatic, Address: "fd00::2/64", Gateway: "fd00::1"},
			}}
		}, config{"net2": "name=lan0,bridge=vmbr1,tag=7,mtu=1400,rate=50,firewall=1,hwaddr=BC:24:11:00:00:01,ip=10.7.0.2/24,gw=10.7.0.254,ip6=fd00::2/64,gw6=fd00::1"}},
		{"DHCP and router advertisements", ct, func(s *v1alpha1.GuestSpec) {
			s.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPDHCP}, IPv6: &v1alpha1.IPv6{Method: v1alpha1.IPAuto}}}
		}, config{"net0": "name=eth0,bridge=vmbr9,ip=dhcp,ip6=auto"}},
		{"mount points get the lowest slots; a bind mount follows as root", ct, func(s *v1alpha1.GuestSpec) {
			s.MountPoints = []v1alpha1.MountPoint{
				{Path: "/data", Volume: &v1alpha1.Volume{Size: *size("4Gi")}, Backup: ptr(true)},
				{Path: "/shared", Bind: &v1alpha1.Bind{Path: "/srv/shared"}},
				{Path: "/ro", Volume: &v1alpha1.Volume{Storage: "tank", Size: *size("1Gi")}, ReadOnly: ptr(true)},
			}
		}, config{"mp0": "local-lvm:4,mp=/data,backup=1", "mp2": "tank:1,mp=/ro,ro=1"}},
		{"name servers and domain", ct, func(s *v1alpha1.GuestSpec) {
			s.Nameservers, s.SearchDomain = []string{"1.1.1.1", "fd00::53"}, "example.org"
		},
			config{"nameserver": "1.1.1.1 fd00::53", "searchdomain": "example.org"}},
		{"tags are sorted, the mark among them", ct, func(s *v1alpha1.GuestSpec) { s.Tags = []string{"web", "a"} }, config{"tags": "a;" + testOwner.tag() + ";web"}},
		{"notes stand above the mark", ct, func(s *v1alpha1.GuestSpec) { s.Notes = ptr("Hello\n") },
			config{"description": "Hello\n\n" + mark{owner: testOwner, vmid: 103}.line()}},
		{"protection", ct, func(s *v1alpha1.GuestSpec) { s.Protection = ptr(true) }, config{"protection": "1"}},
		{"start with the node", ct, func(s *v1alpha1.GuestSpec) {
			s.Startup = &v1alpha1.Startup{OnBoot: ptr(true), Order: ptr(int32(1)), UpDelaySeconds: ptr(int32(30)), DownDelaySeconds: ptr(int32(60))}
		}, config{"onboot": "1", "startup": "order=1,up=30,down=60"}},

		{"a VM: no resolver without cloud-init", vm, nil, nil},
		{"a VM's name, cores and memory", vm, func(s *v1alpha1.GuestSpec) {
			s.Hostname, s.Cores, s.Memory, s.Balloon = "big", ptr(int32(4)), size("4Gi"), size("0")
		}, config{"name": "big", "cores": "4", "memory": "4096", "balloon": "0"}},
		{"a VM's root disk", vm, func(s *v1alpha1.GuestSpec) { s.RootDisk = &v1alpha1.RootDisk{Device: "virtio0", Storage: "tank"} }, config{"virtio0": "tank:8"}},
		{"a VM's disks with their options", vm, func(s *v1alpha1.GuestSpec) {
			s.RootDisk = &v1alpha1.RootDisk{Size: size("20Gi")}
			s.Disks = []v1alpha1.Disk{
				{Device: "scsi1", Size: *size("10Gi"), Discard: ptr(true), SSD: ptr(true), Backup: ptr(false)},
				{Device: "sata0", Storage: "tank", Size: *size("1Gi"), Discard: ptr(false), SSD: ptr(false), Backup: ptr(true)},
			}
		}, config{"scsi0": "local-lvm:20", "scsi1": "local-lvm:10,backup=0,discard=on,ssd=1", "sata0": "tank:1"}},
		{"a VM's network card", vm, func(s *v1alpha1.GuestSpec) {
			s.Networks = []v1alpha1.Network{{Device: "net0"}, {Device: "net1", Model: "e1000", MAC: "BC:24:11:00:00:02", Bridge: "vmbr0", VLAN: ptr(int32(5))}}
		}, config{"net0": "virtio,bridge=vmbr9", "net1": "e1000=BC:24:11:00:00:02,bridge=vmbr0,tag=5"}},
		{"the guest agent", vm, func(s *v1alpha1.GuestSpec) { s.Agent = ptr(true) }, config{"agent": "1"}},
		{"cloud-init: drive, user, addresses, the Host's resolver", vm, func(s *v1alpha1.GuestSpec) {
			s.CloudInit = &v1alpha1.CloudInit{User: "debian", Storage: "tank"}
			s.Networks = []v1alpha1.Network{{Device: "net0",
				IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.111/24"}, IPv6: &v1alpha1.IPv6{Method: v1alpha1.IPDHCP}}}
		}, config{"ide2": "tank:cloudinit", "ciuser": "debian", "net0": "virtio,bridge=vmbr9", "ipconfig0": "ip=10.0.0.111/24,gw=10.0.0.1,ip6=dhcp",
			"nameserver": "10.0.0.13", "searchdomain": "lan"}},
		{"the cloud-init drive steps aside", vm, func(s *v1alpha1.GuestSpec) {
			s.CloudInit = &v1alpha1.CloudInit{}
			s.Disks = []v1alpha1.Disk{{Device: "ide2", Size: *size("1Gi")}}
		}, config{"ide0": "local-lvm:cloudinit", "ide2": "local-lvm:1", "nameserver": "10.0.0.13", "searchdomain": "lan"}},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			g := newGuest(c.typ, c.spec)
			want := config{"name": "web", "tags": testOwner.tag(), "ostype": "l26", "scsihw": "virtio-scsi-single"}
			if c.typ == ct {
				g.Spec.Source = &v1alpha1.GuestSource{Template: "local:vztmpl/debian.tar.zst"}
				want = config{"hostname": "web", "tags": testOwner.tag(), "unprivileged": "1", "storage": "local-lvm", "nameserver": "10.0.0.13", "searchdomain": "lan"}
			}
			maps.Copy(want, c.want)
			maps.DeleteFunc(want, func(_, v string) bool { return v == "" })
			d := newDraft(g, absentSeen())
			if _, said := c.want["description"]; !said {
				delete(d.api.set, "description")
			}
			if diff := cmp.Diff(want, d.api.set); diff != "" {
				t.Errorf("create parameters (-want +got):\n%s", diff)
			}
			if len(d.refusals) != 0 {
				t.Errorf("refused: %v", d.refusals[0].err)
			}
		})
	}
}

// TestDrift: what is declared is put back, sub-key by sub-key; what is not declared is not touched.
func TestDrift(t *testing.T) {
	cases := []struct {
		reason  string
		typ     v1alpha1.GuestType
		spec    func(*v1alpha1.GuestSpec)
		now     config
		slots   []string
		running bool
		want    config
		changes []string
	}{
		{reason: "nothing declared, everything there: nothing to do", typ: ct, now: config{
			"hostname": "other", "cores": "8", "memory": "512", "swap": "512", "rootfs": "local:101/vm-101-disk-0.raw,size=1G", "features": "nesting=1,keyctl=1",
			"net0": "name=eth0,bridge=vmbr0,ip=dhcp", "mp0": "local:1,mp=/x,size=1G", "nameserver": "9.9.9.9", "onboot": "1", "startup": "order=2", "protection": "1",
		}},
		{reason: "nothing declared of a VM either", typ: vm, now: config{
			"name": "other", "memory": "4096", "balloon": "0", "scsi0": "local:1", "agent": "1", "ide2": "local:cloudinit", "ciuser": "x", "ipconfig0": "ip=dhcp",
			"sshkeys": "ssh-ed25519%20AAAA", "searchdomain": "x", "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0",
		}},
		{reason: "hostname", typ: ct, spec: func(s *v1alpha1.GuestSpec) { s.Hostname = "www" }, now: config{"hostname": "mine"},
			want: config{"hostname": "www"}, changes: []string{"hostname: mine -> www (None)"}},
		{reason: "cores", typ: ct, spec: func(s *v1alpha1.GuestSpec) { s.Cores = ptr(int32(2)) }, now: config{"cores": "4"},
			want: config{"cores": "2"}, changes: []string{"cores: 4 -> 2 (None)"}},
		{reason: "cores in sync", typ: ct, spec: func(s *v1alpha1.GuestSpec) { s.Cores = ptr(int32(2)) }, now: config{"cores": "2"}},
		{reason: "no cores is no limit, which differs", typ: ct, spec: func(s *v1alpha1.GuestSpec) { s.Cores = ptr(int32(2)) },
			want: config{"cores": "2"}, changes: []string{"cores:  -> 2 (None)"}},
		{reason: "memory and swap", typ: ct, spec: func(s *v1alpha1.GuestSpec) { s.Memory, s.Swap = size("1Gi"), size("0") }, now: config{"memory": "512", "swap": "512"},
			want: config{"memory": "1024", "swap": "0"}, changes: []string{"memory: 512Mi -> 1024Mi (None)", "swap: 512Mi -> 0Mi (None)"}},
		{reason: "a VM's memory in its long form keeps what else it says", typ: vm, spec: func(s *v1alpha1.GuestSpec) { s.Memory = size("1Gi") }, now: config{"memory": "current=512"},
			want: config{"memory": "current=1024"}, changes: []string{"memory: 512Mi -> 1024Mi (None)"}},
		{reason: "a VM's memory in sync, as text", typ: vm, spec: func(s *v1alpha1.GuestSpec) { s.Memory, s.Balloon = size("1Gi"), size("512Mi") }, now: config{"memory": "1024", "balloon": "512"}},
		{reason: "balloon", typ: vm, spec: func(s *v1alpha1.GuestSpec) { s.Balloon = size("512Mi") }, now: config{"balloon": "0"},
			want: config{"balloon": "512"}, changes: []string{"balloon: 0Mi -> 512Mi (None)"}},
		{reason: "resolver", typ: ct, spec: func(s *v1alpha1.GuestSpec) { s.Nameservers, s.SearchDomain = []string{"10.0.0.13"}, "lan" },
			now:  config{"nameserver": "1.1.1.1", "searchdomain": "home"},
			want: config{"nameserver": "10.0.0.13", "searchdomain": "lan"}, changes: []string{"nameservers: 1.1.1.1 -> 10.0.0.13 (None)", "searchDomain: home -> lan (None)"}},
		{reason: "an absent flag is off", typ: ct, spec: func(s *v1alpha1.GuestSpec) {
			s.Protection, s.Startup = ptr(false), &v1alpha1.Startup{OnBoot: ptr(false)}
		}},
		{reason: "flags", typ: ct, spec: func(s *v1alpha1.GuestSpec) {
			s.Protection, s.Startup = ptr(false), &v1alpha1.Startup{OnBoot: ptr(true)}
		},
			now:  config{"protection": "1", "onboot": "0"},
			want: config{"protection": "0", "onboot": "1"}, changes: []string{"startup.onBoot: false -> true (None)", "protection: true -> false (None)"}},
		{reason: "startup keeps the delays that are not declared", typ: ct, spec: func(s *v1alpha1.GuestSpec) { s.Startup = &v1alpha1.Startup{Order: ptr(int32(1))} },
			now:  config{"startup": "order=5,up=30"},
			want: config{"startup": "order=1,up=30"}, changes: []string{"startup.order: 5 -> 1 (None)"}},
		{reason: "an order of zero is an order", typ: ct, spec: func(s *v1alpha1.GuestSpec) {
			s.Startup = &v1alpha1.Startup{Order: ptr(int32(0)), DownDelaySeconds: ptr(int32(9))}
		},
			want: config{"startup": "order=0,down=9"}, changes: []string{"startup.order:  -> 0 (None)", "startup.downDelaySeconds:  -> 9 (None)"}},
		{reason: "tags are exact where declared", typ: ct, spec: func(s *v1alpha1.GuestSpec) { s.Tags = []string{"web"} }, now: config{"tags": "old;" + testOwner.tag()},
			want: config{"tags": testOwner.tag() + ";web"}, changes: []string{"tags: old;" + testOwner.tag() + " -> " + testOwner.tag() + ";web (None)"}},
		{reason: "an empty list of tags is declared too", typ: ct, spec: func(s *v1alpha1.GuestSpec) { s.Tags = []string{} }, now: config{"tags": "old;" + testOwner.tag()},
			want: config{"tags": testOwner.tag()}, changes: []string{"tags: old;" + testOwner.tag() + " -> " + testOwner.tag() + " (None)"}},
		{reason: "undeclared tags stay, ours comes back, the template's owner goes", typ: ct, now: config{"tags": "old;phoenix-000000000000"},
			want: config{"tags": "old;" + testOwner.tag()}, changes: []string{"tags: old;phoenix-000000000000 -> old;" + testOwner.tag() + " (None)"}},

		{reason: "one sub-key of a network; the MAC address that Proxmox gave stays", typ: ct, slots: []string{"net0"}, running: true,
			spec: func(s *v1alpha1.GuestSpec) { s.Networks = []v1alpha1.Network{{Device: "net0", Bridge: "vmbr0"}} },
			now:  config{"net0": "name=eth0,bridge=vmbr5,firewall=1,hwaddr=BC:24:11:5D:6E:BF,ip=dhcp,type=veth"},
			want: config{"net0": "name=eth0,bridge=vmbr0,firewall=1,hwaddr=BC:24:11:5D:6E:BF,ip=dhcp,type=veth"}, changes: []string{"networks[net0].bridge: vmbr5 -> vmbr0 (Reload)"}},
		{reason: "the same values in another spelling are no drift", typ: ct, slots: []string{"net0"}, spec: func(s *v1alpha1.GuestSpec) {
			s.Networks = []v1alpha1.Network{{Device: "net0", MAC: "bc:24:11:5d:6e:bf", Firewall: ptr(false), IPv6: &v1alpha1.IPv6{Method: v1alpha1.IPStatic, Address: "fd00:0::2/64"}}}
		}, now: config{"net0": "name=eth0,bridge=vmbr5,hwaddr=BC:24:11:5D:6E:BF,firewall=0,ip6=fd00::2/64"}},
		{reason: "every sub-key of a network", typ: ct, slots: []string{"net0"}, spec: func(s *v1alpha1.GuestSpec) {
			s.Networks = []v1alpha1.Network{{Device: "net0", Name: "lan0", VLAN: ptr(int32(7)), MAC: "BC:24:11:00:00:01", MTU: ptr(int32(1400)), RateMBps: ptr(int32(50)), Firewall: ptr(true),
				IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.10/24", Gateway: "10.0.0.1"}, IPv6: &v1alpha1.IPv6{Method: v1alpha1.IPStatic, Address: "fd00::2/64", Gateway: "fd00::1"}}}
		}, now: config{"net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:5D:6E:BF,ip=dhcp"},
			want: config{"net0": "name=lan0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,ip=10.0.0.10/24,tag=7,mtu=1400,rate=50,firewall=1,gw=10.0.0.1,ip6=fd00::2/64,gw6=fd00::1"},
			changes: []string{"networks[net0].name: eth0 -> lan0 (None)", "networks[net0].mac: BC:24:11:5D:6E:BF -> BC:24:11:00:00:01 (None)", "networks[net0].vlan:  -> 7 (None)",
				"networks[net0].mtu:  -> 1400 (None)", "networks[net0].rateMBps:  -> 50 (None)", "networks[net0].firewall: false -> true (None)",
				"networks[net0].ipv4.address: dhcp -> 10.0.0.10/24 (None)", "networks[net0].ipv4.gateway:  -> 10.0.0.1 (None)",
				"networks[net0].ipv6.address:  -> fd00::2/64 (None)", "networks[net0].ipv6.gateway:  -> fd00::1 (None)"}},
		{reason: "DHCP has no gateway", typ: ct, slots: []string{"net0"}, spec: func(s *v1alpha1.GuestSpec) {
			s.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPDHCP}, IPv6: &v1alpha1.IPv6{Method: v1alpha1.IPAuto}}}
		}, now: config{"net0": "name=eth0,bridge=vmbr0,ip=10.0.0.1/24,gw=10.0.0.254"},
			want: config{"net0": "name=eth0,bridge=vmbr0,ip=dhcp,ip6=auto"}, changes: []string{"networks[net0].ipv4.address: 10.0.0.1/24 -> dhcp (None)",
				"networks[net0].ipv4.gateway: 10.0.0.254 ->  (None)", "networks[net0].ipv6.address:  -> auto (None)"}},
		{reason: "an undeclared gateway stays: the Host's is for new guests", typ: ct, slots: []string{"net0"}, spec: func(s *v1alpha1.GuestSpec) {
			s.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.10/24"}}}
		}, now: config{"net0": "name=eth0,bridge=vmbr0,ip=10.0.0.10/24"}},
		{reason: "a network that was taken out comes back", typ: ct, slots: []string{"net1"}, spec: func(s *v1alpha1.GuestSpec) { s.Networks = []v1alpha1.Network{{Device: "net1"}} },
			want: config{"net1": "name=eth1,bridge=vmbr9"}, changes: []string{"networks[net1]:  -> name=eth1,bridge=vmbr9 (None)"}},
		{reason: "a VM's network card", typ: vm, slots: []string{"net0"}, running: true, spec: func(s *v1alpha1.GuestSpec) {
			s.Networks = []v1alpha1.Network{{Device: "net0", Model: "e1000", VLAN: ptr(int32(3))}}
		}, now: config{"net0": "virtio=BC:24:11:73:4C:0A,bridge=vmbr0"}, want: config{"net0": "e1000=BC:24:11:73:4C:0A,bridge=vmbr0,tag=3"},
			changes: []string{"networks[net0].model: virtio -> e1000 (Reload)", "networks[net0].vlan:  -> 3 (Reload)"}},

		{reason: "agent", typ: vm, spec: func(s *v1alpha1.GuestSpec) { s.Agent = ptr(true) }, now: config{"agent": "0,fstrim_cloned_disks=1"},
			want: config{"agent": "1,fstrim_cloned_disks=1"}, changes: []string{"agent: false -> true (None)"}},
		{reason: "no agent is no agent", typ: vm, spec: func(s *v1alpha1.GuestSpec) { s.Agent = ptr(false) }},
		{reason: "disk options keep what else the disk says", typ: vm, slots: []string{"scsi1"}, spec: func(s *v1alpha1.GuestSpec) {
			s.Disks = []v1alpha1.Disk{{Device: "scsi1", Size: *size("1Gi"), Discard: ptr(false), SSD: ptr(true), Backup: ptr(true)}}
		}, now: config{"scsi1": "local-lvm:vm-103-disk-1,iothread=1,backup=0,discard=on,size=1G"},
			want:    config{"scsi1": "local-lvm:vm-103-disk-1,iothread=1,backup=1,discard=ignore,size=1G,ssd=1"},
			changes: []string{"disks[scsi1].discard: true -> false (None)", "disks[scsi1].ssd: false -> true (None)", "disks[scsi1].backup: false -> true (None)"}},
		{reason: "disk options in sync", typ: vm, slots: []string{"scsi1"}, spec: func(s *v1alpha1.GuestSpec) {
			s.Disks = []v1alpha1.Disk{{Device: "scsi1", Size: *size("1Gi"), Discard: ptr(true), SSD: ptr(false), Backup: ptr(true)}}
		}, now: config{"scsi1": "local-lvm:vm-103-disk-1,discard=on,size=1G"}},
		{reason: "a further disk that is not there is made", typ: vm, slots: []string{"scsi1"}, spec: func(s *v1alpha1.GuestSpec) {
			s.Disks = []v1alpha1.Disk{{Device: "scsi1", Size: *size("3Gi")}}
		}, want: config{"scsi1": "local-lvm:3"}, changes: []string{"disks[scsi1]:  -> 3G on local-lvm (None)"}},
		{reason: "cloud-init: drive, user, resolver and addresses", typ: vm, spec: func(s *v1alpha1.GuestSpec) {
			s.CloudInit = &v1alpha1.CloudInit{User: "debian"}
			s.Nameservers = []string{"10.0.0.13"}
			s.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPDHCP}}}
		}, slots: []string{"net0"}, now: config{"scsi0": "tank:vm-103-disk-0,size=8G", "ciuser": "root", "ipconfig0": "ip=10.0.0.5/24,gw=10.0.0.1,ip6=auto", "net0": "virtio=BC:24:11:73:4C:0A,bridge=vmbr0"},
			want: config{"ide2": "local-lvm:cloudinit", "ciuser": "debian", "ipconfig0": "ip=dhcp,ip6=auto", "nameserver": "10.0.0.13"},
			changes: []string{"nameservers:  -> 10.0.0.13 (None)", "cloudInit:  -> drive ide2 on local-lvm (None)", "cloudInit.user: root -> debian (None)",
				"networks[net0].ipv4.address: 10.0.0.5/24 -> dhcp (None)", "networks[net0].ipv4.gateway: 10.0.0.1 ->  (None)"}},
		{reason: "cloud-init in sync: a drive is a drive, wherever it is", typ: vm, spec: func(s *v1alpha1.GuestSpec) { s.CloudInit = &v1alpha1.CloudInit{User: "debian"} },
			now: config{"sata1": "local:103/vm-103-cloudinit.qcow2,media=cdrom", "ciuser": "debian"}},

		{reason: "a mount point's options", typ: ct, slots: []string{"mp3"}, running: true, spec: func(s *v1alpha1.GuestSpec) {
			s.MountPoints = []v1alpha1.MountPoint{{Path: "/data", Volume: &v1alpha1.Volume{Size: *size("4Gi")}, ReadOnly: ptr(true), Backup: ptr(false)}}
		}, now: config{"mp3": "local-lvm:vm-103-disk-1,mp=/data,acl=1,backup=1,size=4G"}, want: config{"mp3": "local-lvm:vm-103-disk-1,mp=/data,acl=1,size=4G,ro=1"},
			changes: []string{"mountPoints[/data].readOnly: false -> true (Reload)", "mountPoints[/data].backup: true -> false (None)"}},
		{reason: "a new mount point takes a free slot", typ: ct, slots: []string{"mp1"}, spec: func(s *v1alpha1.GuestSpec) {
			s.MountPoints = []v1alpha1.MountPoint{{Path: "/data", Volume: &v1alpha1.Volume{Size: *size("4Gi")}}}
		}, now: config{"mp0": "local:1,mp=/somebody/elses,size=1G"}, want: config{"mp1": "local-lvm:4,mp=/data"}, changes: []string{"mountPoints[/data]:  -> 4G on local-lvm (None)"}},
		{reason: "nesting alone is a token's to write", typ: ct, spec: func(s *v1alpha1.GuestSpec) { s.Features = &v1alpha1.Features{Nesting: ptr(true), Keyctl: ptr(true)} },
			now: config{"features": "keyctl=1"}, want: config{"features": "keyctl=1,nesting=1"}, changes: []string{"features.nesting: false -> true (None)"}},
		{reason: "the last feature turned off leaves a value", typ: ct, spec: func(s *v1alpha1.GuestSpec) { s.Features = &v1alpha1.Features{Nesting: ptr(false)} },
			now: config{"features": "nesting=1"}, want: config{"features": "nesting=0"}, changes: []string{"features.nesting: true -> false (None)"}},
		{reason: "features in sync", typ: ct, spec: func(s *v1alpha1.GuestSpec) { s.Features = &v1alpha1.Features{Nesting: ptr(true), FUSE: ptr(false)} }, now: config{"features": "nesting=1"}},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			seen := presentSeen(c.typ, c.now, c.slots...)
			seen.status.Running = c.running
			d := newDraft(newGuest(c.typ, c.spec), seen)
			if diff := cmp.Diff(c.want, d.api.set, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("set (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.changes, texts(d.api.changes), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			if len(d.api.del) > 0 || !d.root.empty() || len(d.grows) > 0 || len(d.refusals) > 0 {
				t.Errorf("more than was asked for: delete %v, root %v, grow %v, refuse %v", d.api.del, d.root, d.grows, d.refusals)
			}
		})
	}
}

// TestSSHKeys: public keys are compared as keys and shown as a hash.
func TestSSHKeys(t *testing.T) {
	seen := presentSeen(vm, config{"ide2": "x:cloudinit", "sshkeys": proxmox.EncodeSSHKeys([]string{"ssh-ed25519 AAAA a"})})
	g := newGuest(vm, func(s *v1alpha1.GuestSpec) { s.CloudInit = &v1alpha1.CloudInit{} })
	seen.keys = []string{"ssh-ed25519 AAAA a"}
	if d := newDraft(g, seen); !d.api.empty() {
		t.Errorf("the same keys: got %v", d.api.set)
	}
	seen.keys = append(seen.keys, "ssh-ed25519 BBBB b")
	d := newDraft(g, seen)
	if diff := cmp.Diff(config{"sshkeys": "ssh-ed25519%20AAAA%20a%0Assh-ed25519%20BBBB%20b"}, d.api.set); diff != "" {
		t.Errorf("another key (-want +got):\n%s", diff)
	}
	shown := strings.Join(texts(d.api.changes), "")
	if strings.Contains(shown, "BBBB") || !strings.Contains(shown, "1 keys (") || !strings.Contains(shown, "2 keys (") {
		t.Errorf("the plan shows number and hash of the keys: got %s", shown)
	}
}
