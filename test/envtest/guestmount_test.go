// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

const (
	bound   = `mountPoints: [{path: /mnt/data, export: {serviceRef: {name: exports}, name: data}}]`
	mounted = `{source: {clone: {vmid: 9000}}, agent: true, cloudInit: {user: debian}, nfsMounts: [{path: /mnt/data, export: {serviceRef: {name: exports}, name: data}}], networks: [{device: net0, ipv4: {method: Static, address: 10.0.5.7/24}}]}`
)

// TestGuestMounts has a container and a VM wait for an export, and see what is in it.
func TestGuestMounts(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{host: `allow: {exportPaths: [/srv], bindMountPaths: null}`, options: func(o *controllers.Options) {
		o.GuestInterval, o.HostServiceInterval = 500*time.Millisecond, 500*time.Millisecond
	}}, exporter...)
	s.guest("box", container, bound)
	s.guest("machine", vm, mounted)
	box, mounts := s.named("box"), s.named("machine")
	s.says(box, "Ready", "False DependencyNotReady", "HostService/exports")
	s.says(mounts, "Ready", "False DependencyNotReady", "HostService/exports")
	if n := len(s.site.Guests()); n != 1 {
		t.Errorf("%d guests were made before the export", n-1)
	}

	o := s.service("exports", nfs, `nfs: {exports: [{name: data, path: /srv/data, clients: [{cidr: 10.0.5.0/24}, {guestRef: {name: machine}}]}]}`)
	s.ready(o)
	_, state := s.readyGuest("box")
	s.agrees("made", state, []string{"mp0 has mp=/mnt/data"})
	s.readyGuest("machine")
	s.says(mounts, "Mounted", "True")
	node := s.node()
	if err := node.WriteFile("/srv/data/hello", "from the host\n", 0o644); err != nil {
		t.Fatal(err)
	}
	s.get(box)
	inBox, inVM := s.inside(box), s.inside(mounts)
	for name, m := range map[string]*machine.Machine{"the container": inBox, "the VM": inVM} {
		if got := s.shell(m, "cat /mnt/data/hello"); got != "from the host\n" {
			t.Errorf("%s reads %q", name, got)
		}
	}
	s.rest([]*machine.Machine{node, inBox, inVM}, o, box, mounts)

	s.shell(inVM, "systemctl disable --now mnt-data.mount")
	s.until("an unmounted export is mounted again", func() error {
		if u := inVM.Unit("mnt-data.mount"); u.Active != "active" || u.Enabled != "enabled" {
			return fmt.Errorf("%+v", u)
		}
		return nil
	})
	s.readyGuest("machine")
	s.says(mounts, "Mounted", "True")

	// The service is in use: it goes after its users.
	s.change(o, `deletionPolicy: Delete`)
	s.remove(o)
	s.says(o, "Ready", "False InUse", "Guest/box", "Guest/machine")
	if file(node, "/srv/data/hello") == "" || !strings.Contains(s.shell(node, "exportfs -s"), "/srv/data") {
		t.Error("an export in use was withdrawn")
	}
	s.change(box, `mountPoints: null`)
	s.change(mounts, `nfsMounts: null`)
	s.gone(o)
	s.readyGuest("box")
	s.readyGuest("machine")
	if file(node, "/srv/data/hello") == "" {
		t.Error("the data is gone")
	}
	if u := inVM.Unit("mnt-data.mount"); u.Active == "active" {
		t.Errorf("the VM still mounts what is not exported: %+v", u)
	}
}

// TestMountElsewhere has exports that a Guest cannot mount.
func TestMountElsewhere(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{}, exporter...)
	s.guest("server", container, addressed("10.0.0.40"))
	server, _ := s.readyGuest("server")
	s.install(s.inside(server), exporter...)
	node := s.service("exports", nfs, ``)
	inside := s.service("inside", nfs, `{hostRef: null, guestRef: {name: server}, nfs: {address: null}}`)
	s.ready(node)
	s.ready(inside)
	names := s.service("names", dnsmasq, `management: Paused`)
	for i, tc := range []struct {
		reason, base, patch, begin string
		parts                      []string
	}{
		{"an export that is not declared", container, `mountPoints: [{path: /mnt/a, export: {serviceRef: {name: exports}, name: music}}]`, "False ExportMissing", []string{"mountPoints[/mnt/a].export", "music", "only data"}},
		{"an export in a guest, bound by a container", container, `mountPoints: [{path: /mnt/a, export: {serviceRef: {name: inside}, name: data}}]`, "False ExportElsewhere", []string{"mountPoints[/mnt/a].export", "hostRef site"}},
		{"a service that is none of NFS", container, `mountPoints: [{path: /mnt/a, export: {serviceRef: {name: names}, name: data}}]`, "False DependencyNotReady", []string{"HostService/names"}},
		{"a service that is not there", container, `mountPoints: [{path: /mnt/a, export: {serviceRef: {name: nobody}, name: data}}]`, "False DependencyNotReady", []string{"HostService/nobody", "not found"}},
		{"an export that is not declared, in a VM", vm, `{agent: true, nfsMounts: [{path: /mnt/a, export: {serviceRef: {name: exports}, name: music}}]}`, "False ExportMissing", []string{"nfsMounts[/mnt/a].export", "music", "only data"}},
	} {
		name := fmt.Sprintf("bad-%d", i)
		s.guest(name, tc.base, tc.patch)
		s.says(s.named(name), "Ready", tc.begin, tc.parts...)
	}
	if n := len(s.site.Guests()); n != 2 {
		t.Errorf("%d guests, want the template and the server: %v", n, errors.New("a guest was made without its export"))
	}
	s.get(names)
}
