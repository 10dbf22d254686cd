// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

func itoa(n int) string { return strconv.Itoa(n) }

// TestGrowth grows every kind of disk while the guest runs, and shrinks none.
func TestGrowth(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	for _, tc := range []struct{ name, base, first, then, key, from, to string }{
		{"rootfs", container, `rootDisk: {size: 4Gi}`, `rootDisk: {size: 6Gi}`, "rootfs", "4G", "6G"},
		{"volume", container, `mountPoints: [{path: /srv, volume: {size: 1Gi}}]`, `mountPoints: [{path: /srv, volume: {size: 3Gi}}]`, "mp0", "1G", "3G"},
		{"root-disk", vm, `rootDisk: {size: 1Gi}`, `rootDisk: {size: 2Gi}`, "scsi0", "1G", "2G"},
		{"disk", vm, `disks: [{device: virtio1, size: 1Gi}]`, `disks: [{device: virtio1, size: 1Ti}]`, "virtio1", "1G", "1T"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, set{site: pve.Options{Storages: []pve.Storage{
				pve.DefaultStorages()[0], {Name: "local-lvm", Type: "lvmthin", Content: []string{"rootdir", "images"}, Size: 4 << 40},
			}}})
			s.guest(tc.name, tc.base, tc.first)
			g, before := s.readyGuest(tc.name)
			if err := disagreement(before, []string{tc.key + " has size=" + tc.from}); err != nil {
				t.Error(err)
			}
			s.change(g, tc.then)
			g, after := s.readyGuest(tc.name)
			if err := grown(after, tc.key, tc.to); err != nil {
				t.Error(err)
			}
			if !after.Started.Equal(before.Started) {
				t.Error("growing restarted the guest")
			}
			if n := s.site.CountRequests("PUT", "/nodes/*/*/*/resize"); n != 1 {
				t.Errorf("%d resizes, want 1", n)
			}
			s.change(g, tc.first)
			s.says(g, "Ready", "False ShrinkRefused", "cannot shrink", tc.from)
			s.says(g, "Stalled", "True ShrinkRefused")
			if n := s.site.CountRequests("PUT", "/nodes/*/*/*/resize"); n != 1 {
				t.Errorf("%d resizes, want no further one", n)
			}
		})
	}
	s.ready(s.host())
}

// TestRemovedDisk takes disks out of the spec. Data is destroyed only where the policy says so, and after an approval.
func TestRemovedDisk(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, base, first, then, key string }{
		{"disk", vm, `disks: [{device: scsi1, size: 1Gi}, {device: scsi2, size: 1Gi}]`, `disks: [{device: scsi2, size: 1Gi}]`, "scsi1"},
		{"volume", container, `mountPoints: [{path: /a, volume: {size: 1Gi}}, {path: /b, volume: {size: 1Gi}}]`, `mountPoints: [{path: /b, volume: {size: 1Gi}}]`, "mp0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, set{})
			s.guest(tc.name, tc.base, tc.first)
			g, before := s.readyGuest(tc.name)
			volume, _, _ := strings.Cut(before.Options[tc.key], ",")

			s.change(g, tc.then)
			g, after := s.readyGuest(tc.name)
			s.agrees("taken out", after, []string{"no " + tc.key, "unused0=" + volume})
			if !slices.Contains(after.Volumes, volume) {
				t.Errorf("the data of %s is gone: %v", volume, after.Volumes)
			}

			s.change(g, `deletionPolicy: Delete`)
			s.says(g, "Ready", "False ApprovalRequired", volume, v1alpha1.ApproveAnnotation)
			s.kept(g, volume)
			i := slices.IndexFunc(g.Status.Plan, func(c v1alpha1.PlannedChange) bool { return c.Impact == v1alpha1.ImpactDestroy })
			if i < 0 || g.Status.Plan[i].Approve == "" || g.Status.Plan[i].From != volume {
				t.Fatalf("the plan offers no approval:\n%s", describe(g))
			}
			token := g.Status.Plan[i].Approve

			s.patch(g, `metadata: {annotations: {phoenix-hypervisor.io/approve: "0123456789abcdef"}}`)
			s.says(g, "Ready", "False ApprovalRequired")
			s.kept(g, volume)

			s.patch(g, `metadata: {annotations: {phoenix-hypervisor.io/approve: "`+token+`"}}`)
			g, after = s.readyGuest(tc.name)
			s.agrees("approved", after, []string{"no unused0"})
			if slices.Contains(after.Volumes, volume) {
				t.Errorf("an approved destruction left %s", volume)
			}
			if !slices.ContainsFunc(g.Status.Approvals, func(a v1alpha1.Approval) bool { return a.Token == token && a.ConsumedAt != nil }) {
				t.Errorf("the approval was not consumed: %+v", g.Status.Approvals)
			}
		})
	}
}

func (s *stage) kept(g *v1alpha1.Guest, volume string) {
	s.Helper()
	if now := s.outside(g); !slices.Contains(now.Volumes, volume) {
		s.Errorf("%s was destroyed without an approval", volume)
	}
}

// TestUndeclaredStays has devices of which the spec never said anything.
func TestUndeclaredStays(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	s.guest("machine", vm, `{cores: 1, rootDisk: {size: 1Gi}, networks: [{device: net0}]}`)
	g, state := s.readyGuest("machine")
	for key, value := range map[string]string{"scsi5": "local-lvm:3", "net7": "virtio,bridge=vmbr0", "onboot": "1", "tags": state.Options["tags"] + ";extra"} {
		if err := s.site.SetConfig(state.VMID, key, value); err != nil {
			t.Fatal(err)
		}
	}
	s.change(g, `{cores: 2, networks: []}`)
	_, state = s.readyGuest("machine")
	s.agrees("beside undeclared devices", state, []string{"cores=2", "no net0", "scsi5 has size=3G", "net7 has bridge=vmbr0", "onboot=1", "tags=extra;phoenix-"})
}
