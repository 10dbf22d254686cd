// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// TestGrowAndShrink: disks grow while the guest runs; a smaller size is refused and holds nothing else up.
func TestGrowAndShrink(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(container("web", webSpec))
	w.ready("web")
	started := w.state(103).Started
	w.change("web", func(g *v1alpha1.Guest) {
		g.Spec.RootDisk.Size = size("6Gi")
		g.Spec.MountPoints[0].Volume.Size = *size("2Gi")
	})
	w.ready("web")
	s := w.state(103)
	if !strings.Contains(s.Options["rootfs"], "size=6G") || !strings.Contains(s.Options["mp0"], "size=2G") || !s.Started.Equal(started) {
		t.Errorf("want larger disks without a restart:\n%s", s.Config)
	}
	w.change("web", func(g *v1alpha1.Guest) {
		g.Spec.RootDisk.Size = size("1Gi")
		g.Spec.Cores = ptr(int32(3))
	})
	w.until("it is refused", stalledBy(guest.ShrinkRefusedReason), "web")
	if w.state(103).Options["cores"] != "3" {
		t.Error("the refusal held up the cores")
	}
	if got := message(w.get("web")); !strings.Contains(got, "rootDisk.size") || !strings.Contains(got, "6Gi") {
		t.Errorf("message: %q", got)
	}
}

// TestDroppedVolume: a volume that the spec drops is kept unused, and destroyed only with deletionPolicy Delete and an
// approval.
func TestDroppedVolume(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(vm("db", func(s *v1alpha1.GuestSpec) {
		s.VMID = ptr(int32(200))
		s.Disks = []v1alpha1.Disk{{Device: "scsi1", Size: *size("3Gi")}}
		s.Networks = []v1alpha1.Network{{Device: "net0"}, {Device: "net1"}}
	}))
	w.ready("db")
	volume, _, _ := strings.Cut(w.state(200).Options["scsi1"], ",")
	if err := w.sim.SetConfig(200, "scsi5", "local-lvm:1"); err != nil { // somebody else's
		t.Fatal(err)
	}
	w.change("db", func(g *v1alpha1.Guest) { g.Spec.Disks, g.Spec.Networks = nil, g.Spec.Networks[:1] })
	w.ready("db")
	s := w.state(200)
	if s.Options["unused0"] != volume || s.Options["scsi1"] != "" || s.Options["net1"] != "" || s.Options["scsi5"] == "" {
		t.Errorf("want the volume unused, the network gone, the other disk there:\n%s", s.Config)
	}
	w.change("db", func(g *v1alpha1.Guest) { g.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
	w.until("it waits for an approval", because(v1alpha1.ApprovalRequiredReason), "db")
	if w.state(200).Options["unused0"] != volume {
		t.Fatal("it was destroyed without an approval")
	}
	w.change("db", func(g *v1alpha1.Guest) {
		metav1.SetMetaDataAnnotation(&g.ObjectMeta, v1alpha1.ApproveAnnotation, g.Status.Plan[0].Approve)
	})
	w.ready("db")
	if s := w.state(200); s.Options["unused0"] != "" || s.Options["scsi5"] == "" || strings.Contains(s.Options["description"], "detached") {
		t.Errorf("want that volume destroyed, and nothing else:\n%s", s.Config)
	}
}

// TestDroppedMounts: mount points leave a running container with its next restart; a bind mount leaves over SSH.
func TestDroppedMounts(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(container("web", webSpec))
	w.ready("web")
	volume, _, _ := strings.Cut(w.state(103).Options["mp0"], ",")
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.MountPoints = nil })
	w.until("the restart is shown", func(g *v1alpha1.Guest) bool {
		return isReady(g) && len(g.Status.Plan) == 2 && g.Status.Plan[0].Reason == guest.RestartRequiredReason
	}, "web")
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.RestartPolicy = v1alpha1.RestartWhenRequired })
	w.ready("web")
	s := w.state(103)
	if s.Options["mp0"] != "" || s.Options["mp1"] != "" || s.Options["unused0"] != volume {
		t.Errorf("want no mount points, and the volume unused:\n%s", s.Config)
	}
	if !strings.Contains(s.Options["description"], "slots=net0 detached="+volume) {
		t.Errorf("mark: %s", s.Options["description"])
	}
}

// TestVolumeTakenOutByHand: no empty volume takes the place of one with data that a person took out.
func TestVolumeTakenOutByHand(t *testing.T) {
	for _, c := range []struct {
		reason, slot string
		guest        *v1alpha1.Guest
	}{
		{"a mount point", "mp0", container("web", webSpec)},
		{"a disk", "scsi1", vm("web", func(s *v1alpha1.GuestSpec) {
			s.VMID, s.Disks = ptr(int32(103)), []v1alpha1.Disk{{Device: "scsi1", Size: *size("3Gi")}}
		})},
	} {
		t.Run(c.reason, func(t *testing.T) {
			w := newWorld(t, pve.Options{})
			w.create(c.guest)
			w.ready("web")
			volume, rest, _ := strings.Cut(w.state(103).Options[c.slot], ",")
			volumes := len(w.sim.Volumes("local-lvm", "phoenix"))
			if err := errors.Join(w.sim.Power(103, false), w.sim.DeleteConfig(103, c.slot)); err != nil {
				t.Fatal(err)
			}
			w.until("it says what is missing", stalledBy(guest.VolumeDetachedReason), "web")
			if got := w.get("web"); !strings.Contains(message(got), volume) {
				t.Errorf("the message does not name %s: %s", volume, message(got))
			}
			if n := len(w.sim.Volumes("local-lvm", "phoenix")); n != volumes {
				t.Errorf("%d volumes, want the %d from before", n, volumes)
			}
			if err := w.sim.SetConfig(103, c.slot, volume+","+rest); err != nil {
				t.Fatal(err)
			}
			w.until("it is Ready with the volume in its place", isReady, "web")
			if got := w.state(103).Options[c.slot]; !strings.HasPrefix(got, volume+",") {
				t.Errorf("%s = %s, want %s", c.slot, got, volume)
			}
			if err := errors.Join(w.sim.Power(103, false), w.sim.DeleteConfig(103, c.slot)); err != nil {
				t.Fatal(err)
			}
			w.until("it says so again", stalledBy(guest.VolumeDetachedReason), "web")
			if err := w.sim.DeleteConfig(103, "unused0"); err != nil {
				t.Fatal(err)
			}
			w.until("a new one is made once the old one is destroyed by hand", isReady, "web")
		})
	}
}

// TestDropTakenBack: what the spec drops and declares again before the restart stays: the volume with the data, not an
// empty one in its place.
func TestDropTakenBack(t *testing.T) {
	for _, c := range []struct {
		reason, slot, option string
		guest                *v1alpha1.Guest
	}{
		{"a mount point", "mp0", "", container("web", webSpec)},
		{"a mount point that comes back with another option", "mp0", "ro=1", container("web", webSpec)},
		{"a disk that cannot be unplugged", "scsi1", "", vm("web", func(s *v1alpha1.GuestSpec) {
			s.VMID, s.Disks = ptr(int32(103)), []v1alpha1.Disk{{Device: "scsi1", Size: *size("3Gi")}}
		})},
	} {
		t.Run(c.reason, func(t *testing.T) {
			w := newWorld(t, pve.Options{})
			w.create(c.guest)
			w.ready("web")
			if c.slot == "scsi1" {
				if err := w.sim.SetConfig(103, "hotplug", "0"); err != nil {
					t.Fatal(err)
				}
			}
			before, volumes := w.state(103), len(w.sim.Volumes("local-lvm", "phoenix"))
			volume, _, _ := strings.Cut(before.Options[c.slot], ",")
			spec := w.get("web").Spec
			w.change("web", func(g *v1alpha1.Guest) { g.Spec.MountPoints, g.Spec.Disks = nil, nil })
			w.until("the restart is shown", func(g *v1alpha1.Guest) bool {
				return isReady(g) && len(g.Status.Plan) > 0 && g.Status.Plan[0].Reason == guest.RestartRequiredReason
			}, "web")
			w.change("web", func(g *v1alpha1.Guest) {
				g.Spec.MountPoints, g.Spec.Disks = spec.MountPoints, spec.Disks
				if c.option != "" {
					g.Spec.MountPoints[0].ReadOnly = ptr(true)
				}
			})
			w.until("it is Ready", isReady, "web")
			if err := w.sim.Power(103, false); err != nil {
				t.Fatal(err)
			}
			w.until("it was restarted", func(g *v1alpha1.Guest) bool { return isReady(g) && w.state(103).Running }, "web")
			w.ready("web")
			s := w.state(103)
			if got := s.Options[c.slot]; !strings.HasPrefix(got, volume+",") || !strings.Contains(got, c.option) {
				t.Errorf("want %s in %s, got:\n%s", volume, c.slot, s.Config)
			}
			if n := len(w.sim.Volumes("local-lvm", "phoenix")); n != volumes || s.Options["unused0"] != "" || strings.Contains(s.Options["description"], "detached") {
				t.Errorf("want no other volume, got %d instead of %d:\n%s", n, volumes, s.Config)
			}
		})
	}
}

// TestRootOnly: without SSH the fields are named and nothing else is held up; with it they are set in one call.
func TestRootOnly(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.noShell.Store(true)
	w.create(container("web", webSpec))
	w.until("the fields are named", func(g *v1alpha1.Guest) bool {
		return because(guest.RootOnlyReason)(g) && strings.Contains(message(g), "mountPoints[/shared].bind.path") && strings.Contains(message(g), "features.keyctl")
	}, "web")
	if !w.state(103).Running {
		t.Error("it does not run")
	}
	if meta.IsStatusConditionTrue(w.get("web").Status.Conditions, v1alpha1.StalledCondition) {
		t.Error("SSH may come: it is not stalled")
	}
	w.noShell.Store(false)
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.RestartPolicy = v1alpha1.RestartWhenRequired })
	w.ready("web")
	if s := w.state(103); s.Options["mp1"] == "" && s.Options["mp0"] == "" || s.Options["features"] != "nesting=1,keyctl=1" {
		t.Errorf("as root:\n%s", s.Config)
	}
	calls := 0
	for _, c := range w.sim.SSHCommands() {
		if strings.Contains(c.Command, "pct") {
			calls++
		}
	}
	if calls != 1 {
		t.Errorf("want one call as root, got %d", calls)
	}
}

// TestNotAllowedPath: a directory that the Host does not allow: nothing is made.
func TestNotAllowedPath(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(container("web", func(s *v1alpha1.GuestSpec) {
		s.MountPoints = []v1alpha1.MountPoint{{Path: "/x", Bind: &v1alpha1.Bind{Path: "/etc"}}}
	}))
	w.until("it is refused", stalledBy(guest.PathNotAllowedReason), "web")
	if w.count() != 0 {
		t.Error("it was made")
	}
	w.host(func(h *v1alpha1.Host) { h.Spec.Allow.BindMountPaths = []string{"/etc"} })
	w.ready("web")
}

// TestReachable: a guest is Ready once it answers, and what is lost later does not take that back.
func TestReachable(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(vm("db", func(s *v1alpha1.GuestSpec) {
		s.VMID, s.Agent = ptr(int32(200)), ptr(true)
		s.Power = v1alpha1.PowerStopped
	}))
	w.ready("db")
	if err := w.sim.Behave(200, pve.Behaviour{NoAgent: true}); err != nil {
		t.Fatal(err)
	}
	w.change("db", func(g *v1alpha1.Guest) { g.Spec.Power = v1alpha1.PowerRunning })
	w.until("it waits for the agent", func(g *v1alpha1.Guest) bool {
		return because(guest.WaitingForAgentReason)(g) && meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ReachableCondition).Reason == guest.AgentAbsentReason
	}, "db")
	w.change("db", func(g *v1alpha1.Guest) { g.Spec.Agent = nil })
	w.ready("db") // undeclared: nothing waits for it
}
