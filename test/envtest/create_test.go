// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// TestSources makes a guest from everything that a guest can be made from.
func TestSources(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{
		host: `defaults: {bridge: vmbr1, gateway: 10.0.0.1, nameservers: [10.0.0.13], domain: phoenix.lan}`,
		site: pve.Options{Bridges: []string{"vmbr0", "vmbr1"}, Guests: []pve.GuestSpec{{VMID: 9001, Kind: "lxc", Config: `arch: amd64
hostname: golden
memory: 256
ostype: debian
rootfs: local-lvm:base-9001-disk-0,size=2G
template: 1
unprivileged: 1
`}}},
	})
	s.ready(s.host())
	s.guest("golden", vm, `{vmid: 150, power: Stopped, rootDisk: {size: 3Gi}}`)
	t.Run("sources", func(t *testing.T) {
		for name, tc := range map[string]struct {
			base, patch string
			want        []string
		}{
			"container-from-template": {
				container, `{cores: 2, rootDisk: {size: 6Gi}, networks: [{device: net0, ipv4: {method: Static, address: 10.0.0.31/24}}]}`,
				[]string{
					"hostname=container-from-template", "cores=2", "rootfs has size=6G", "unprivileged=1", "net0 has bridge=vmbr1", "net0 has gw=10.0.0.1",
					"nameserver=10.0.0.13", "searchdomain=phoenix.lan", "tags=phoenix-", "description=<!-- phoenix-hypervisor.io owner=",
				},
			},
			"privileged-container": {container, `unprivileged: false`, []string{"unprivileged=0", "rootfs has size=4G"}},
			"container-clone":      {container, `source: {template: null, clone: {vmid: 9001}}`, []string{"hostname=container-clone", "no template", "memory=256", "tags=phoenix-"}},
			"container-linked":     {container, `source: {template: null, clone: {vmid: 9001, mode: Linked}}`, []string{"rootfs=local-lvm:base-9001-disk-0/vm-"}},
			"empty-vm":             {vm, `{rootDisk: {size: 2Gi}, networks: [{device: net0}]}`, []string{"name=empty-vm", "scsi0 has size=2G", "net0 has bridge=vmbr1", "no nameserver"}},
			"vm-clone-by-vmid": {
				vm, `{source: {clone: {vmid: 9000}}, cores: 2, memory: 2Gi, rootDisk: {size: 8Gi}, cloudInit: {user: debian}, networks: [{device: net0, ipv4: {method: Static, address: 10.0.0.32/24}}]}`,
				[]string{"name=vm-clone-by-vmid", "cores=2", "memory=2048", "scsi0 has size=8G", "ciuser=debian", "ipconfig0 has gw=10.0.0.1", "nameserver=10.0.0.13", "no template"},
			},
			"vm-clone-by-name":  {vm, `source: {clone: {name: debian-12-cloud}}`, []string{"name=vm-clone-by-name", "scsi0 has size=2G", "tags=phoenix-"}},
			"vm-clone-linked":   {vm, `source: {clone: {name: debian-12-cloud, mode: Linked}}`, []string{"scsi0=local-lvm:base-9000-disk-0/vm-"}},
			"vm-clone-of-guest": {vm, `source: {clone: {guestRef: {name: golden}}}`, []string{"name=vm-clone-of-guest", "scsi0 has size=3G", "tags=phoenix-"}},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := s.with(t)
				s.guest(name, tc.base, tc.patch)
				g, state := s.readyGuest(name)
				s.agrees("made", state, tc.want)
				if !state.Running || g.Status.Power != "Running" || g.Status.StartedAt == nil || g.Status.Node != "phoenix" {
					t.Errorf("running %v, status %+v", state.Running, g.Status)
				}
				if n := strings.Count(state.Options["tags"], "phoenix-"); n != 1 {
					t.Errorf("%d owner tags in %q", n, state.Options["tags"])
				}
				if n := strings.Count(state.Options["description"], "phoenix-hypervisor.io"); n != 1 {
					t.Errorf("%d owner marks in %q", n, state.Options["description"])
				}
			})
		}
	})
}

// TestStatus has the facts of a status: what the guest has, not what the spec wants.
func TestStatus(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	s.guest("box", container, `{vmid: 103, networks: [{device: net0, ipv4: {method: Static, address: 10.0.0.10/24}, ipv6: {method: Static, address: "fd00::10/64"}}]}`)
	g, state := s.readyGuest("box")
	if diff := cmp.Diff([]string{"10.0.0.10", "fd00::10"}, g.Status.Addresses); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if len(g.Status.Networks) != 1 || !strings.Contains(state.Options["net0"], "hwaddr="+g.Status.Networks[0].MAC) {
		t.Errorf("networks %v of %q", g.Status.Networks, state.Options["net0"])
	}
	if off := g.Status.StartedAt.Sub(state.Started).Abs(); off > 10*time.Second {
		t.Errorf("startedAt %v, started %v", g.Status.StartedAt, state.Started)
	}
	if g.Status.Task != nil || *g.Status.VMID != 103 {
		t.Errorf("status %+v", g.Status)
	}
	s.says(g, "Running", "True Running")
	s.says(g, "Reachable", "True AddressKnown")
	reasons := s.events(g)
	slices.Sort(reasons)
	if diff := cmp.Diff([]string{"Creating", "Starting"}, reasons); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	host := s.host()
	s.until("the Host counts its guests", func() error {
		s.get(host)
		if n := host.Status.Guests; n == nil || *n.Managed != 1 || *n.Unmanaged != 1 {
			return fmt.Errorf("guests %+v", n)
		}
		return nil
	})
	if host.Status.Version == "" || *host.Status.NodesOnline != 1 || len(host.Status.Nodes) != 1 || host.Status.Nodes[0].CPUs != 8 {
		t.Errorf("Host status %+v", host.Status)
	}
}

// TestSecondPass proves that looking again at what is in sync writes nothing anywhere.
func TestSecondPass(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{options: func(o *controllers.Options) {
		o.GuestInterval, o.HostInterval = 200*time.Millisecond, 200*time.Millisecond
	}})
	s.guest("box", container, everyContainerField)
	s.guest("machine", vm, everyVMField)
	s.guest("idle", vm, `{power: Stopped, rootDisk: {size: 1Gi}}`)
	objects := []object{s.host(), s.named("box"), s.named("machine"), s.named("idle")}
	for _, o := range objects {
		s.ready(o)
	}
	var versions []string
	var known int
	passes := func() int {
		return s.site.CountRequests("GET", "/nodes/*/qemu/*/pending") + s.site.CountRequests("GET", "/nodes/*/lxc/*/pending")
	}
	s.until("everything rests", func() error { // the Host counts its guests once they are there
		before := s.versions(objects)
		seen := passes()
		s.until("two more passes", func() error { return atLeast(seen+6, passes()) })
		versions, known = s.versions(objects), len(s.events(objects[1]))+len(s.events(objects[2]))
		if diff := cmp.Diff(before, versions); diff != "" {
			return fmt.Errorf("objects still change:\n%s", diff)
		}
		return nil
	})
	s.site.ForgetRequests()
	s.until("many passes", func() error { return atLeast(15, passes()) })
	if writes := s.site.Writes(); len(writes) > 0 {
		t.Errorf("passes over objects in sync wrote to the site: %v", writes)
	}
	if diff := cmp.Diff(versions, s.versions(objects)); diff != "" {
		t.Errorf("passes over objects in sync wrote to the API server:\n%s", diff)
	}
	if now := len(s.events(objects[1])) + len(s.events(objects[2])); now != known {
		t.Errorf("%d events after %d", now, known)
	}
}

const (
	everyContainerField = `
cores: 2
memory: 512Mi
swap: 256Mi
rootDisk: {storage: local-lvm, size: 4Gi}
mountPoints: [{path: /srv, volume: {size: 1Gi}, readOnly: false, backup: true}, {path: /mnt, bind: {path: /srv/data/a}, readOnly: true}]
networks: [{device: net0, name: eth0, bridge: vmbr0, vlan: 7, mac: "BC:24:11:00:00:01", mtu: 1400, rateMBps: 100, firewall: true, ipv4: {method: Static, address: 10.0.0.10/24, gateway: 10.0.0.1}, ipv6: {method: Auto}}]
nameservers: [10.0.0.13, "fd00::13"]
searchDomain: phoenix.lan
features: {nesting: true, keyctl: true, fuse: false, mknod: false}
unprivileged: true
tags: [web, prod]
notes: "The **authority**.\n\nIt stands first.\n"
protection: true
startup: {onBoot: true, order: 1, upDelaySeconds: 30, downDelaySeconds: 60}`
	everyVMField = `
source: {clone: {vmid: 9000}}
cores: 2
memory: 2Gi
balloon: 1Gi
rootDisk: {storage: local-lvm, size: 8Gi}
disks: [{device: scsi1, size: 1Gi, discard: true, ssd: true, backup: false}, {device: virtio3, size: 2Gi}]
networks: [{device: net0, bridge: vmbr0, model: virtio, mtu: 1, firewall: false, ipv4: {method: Static, address: 10.0.0.11/24, gateway: 10.0.0.1}}]
nameservers: [10.0.0.13]
searchDomain: phoenix.lan
cloudInit: {user: debian}
agent: true
tags: [db]
notes: ""
startup: {onBoot: false, order: 2}`
)

func atLeast(want, got int) error {
	if got < want {
		return fmt.Errorf("%d of %d", got, want)
	}
	return nil
}

// versions are the objects' resource versions.
func (s *stage) versions(objects []object) []string {
	s.Helper()
	var versions []string
	for _, o := range objects {
		s.get(o)
		versions = append(versions, o.GetName()+" "+o.GetResourceVersion())
	}
	return versions
}

// TestOneCall proves that all changes that one call can carry go in one call.
func TestOneCall(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	s.guest("box", container, `{cores: 1, networks: [{device: net0}]}`)
	g, _ := s.readyGuest("box")
	s.site.ForgetRequests()
	s.change(g, `{cores: 2, memory: 1Gi, swap: 1Gi, notes: text, tags: [a, b], startup: {onBoot: true}, networks: [{device: net0, vlan: 5}, {device: net1}]}`)
	s.readyGuest("box")
	if writes := s.site.Writes(); len(writes) != 1 || writes[0].Params["digest"] == "" {
		t.Errorf("%d writes, want one with a digest: %v", len(writes), writes)
	}
}
