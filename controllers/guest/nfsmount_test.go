// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"net/netip"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	simulated "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const filmsUnit = "/etc/systemd/system/mnt-media.mount"

// client is a VM with nfsMounts, and the machine behind it; server is what exports.
type nfsWorld struct {
	*world
	client *inside
	server *simulated.Machine
}

func (w *nfsWorld) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func newNFSWorld(t *testing.T, client simulated.Options) *nfsWorld {
	t.Helper()
	w := &nfsWorld{world: newWorld(t, pve.Options{})}
	w.noShell.Store(true)
	client.Network = simulated.NewNetwork()
	client.Addresses = []netip.Addr{netip.MustParseAddr("10.0.0.111")}
	w.server = simulated.New(simulated.Options{
		Hostname: "phoenix", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.13")}, Network: client.Network, Installed: []string{"nfs-kernel-server"},
	})
	w.must(w.server.WriteFile("/exports/media/film", "moving pictures", 0o644))
	w.must(w.server.WriteFile("/exports/films/film", "more of them", 0o644))
	w.must(w.server.WriteFile("/etc/exports", "/exports/media 10.0.0.0/24(rw,sync)\n/exports/films 10.0.0.0/24(rw,sync)\n", 0o644))
	w.server.Boot()
	w.client = w.behind(200, simulated.New(client))
	w.client.Boot()
	t.Cleanup(w.client.Halt)
	t.Cleanup(w.server.Halt)
	w.nfs()
	w.exported("10.0.0.13", nil)
	w.create(vm("db", func(s *v1alpha1.GuestSpec) {
		s.VMID, s.CloudInit, s.Agent = ptr(int32(200)), &v1alpha1.CloudInit{}, ptr(true)
		s.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.111/24"}}}
		s.NFSMounts = []v1alpha1.NFSMount{{Path: "/mnt/media", Export: exportOf("media")}}
	}))
	return w
}

func mounted(status metav1.ConditionStatus) func(*v1alpha1.Guest) bool {
	return func(g *v1alpha1.Guest) bool {
		c := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.MountedCondition)
		return c != nil && c.Status == status
	}
}

// TestNFSMount: an export is mounted in a VM, kept mounted, followed when it moves, and let go of without a loss.
func TestNFSMount(t *testing.T) {
	w := newNFSWorld(t, simulated.Options{})
	w.ready("db")
	film := func() string {
		text, err := w.client.ReadFile("/mnt/media/film")
		w.must(err)
		return text
	}
	if g := w.get("db"); !mounted(metav1.ConditionTrue)(g) || film() != "moving pictures" {
		t.Errorf("want it mounted, got %q:\n%s", film(), w.describe("db"))
	}
	if unit := w.client.Unit("mnt-media.mount"); unit.Active != "active" || unit.Enabled != "enabled" {
		t.Errorf("unit: %+v", unit)
	}
	if !strings.Contains(w.state(200).Options["description"], "mounts=nfs") {
		t.Errorf("the mark names the mounts: %s", w.state(200).Options["description"])
	}

	trips, writes := w.client.trips.Load(), w.client.Writes()
	w.pass("db")
	if n := w.client.trips.Load() - trips; n != 1 || w.client.Writes() != writes {
		t.Errorf("a pass in sync is one round trip and no write: got %d and %d", n, w.client.Writes()-writes)
	}

	for reason, drift := range map[string]string{
		"unmounted by hand": "umount /mnt/media", "stopped": "systemctl stop mnt-media.mount", "disabled": "systemctl disable mnt-media.mount",
		"edited": "sed -i s/rw,/ro,/ " + filmsUnit, "removed": "rm " + filmsUnit + " && systemctl daemon-reload",
	} {
		if exit := w.client.Shell(t.Context(), drift, strings.NewReader(""), t.Output(), t.Output()); exit != 0 {
			t.Fatalf("%s: exit %d", drift, exit)
		}
		w.ready("db")
		unit, err := w.client.ReadFile(filmsUnit)
		w.must(err)
		if u := w.client.Unit("mnt-media.mount"); u.Active != "active" || u.Enabled != "enabled" || film() != "moving pictures" || !strings.Contains(unit, "Options=rw,") {
			t.Errorf("%s: want it put back, got %+v\n%s", reason, u, unit)
		}
	}

	w.change("db", func(g *v1alpha1.Guest) { g.Spec.Management = v1alpha1.ManagementObserve })
	w.exported("10.0.0.13", func(s *v1alpha1.HostService) { s.Spec.NFS.Exports[0].Path = "/exports/films" })
	w.until("the move is shown as an outage", func(g *v1alpha1.Guest) bool {
		for _, p := range g.Status.Plan {
			if p.Field == "nfsMounts[/mnt/media]" && p.From == "10.0.0.13:/exports/media" && p.To == "10.0.0.13:/exports/films" {
				return p.Impact == v1alpha1.ImpactOutage && mounted(metav1.ConditionFalse)(g)
			}
		}
		return false
	}, "db")
	w.change("db", func(g *v1alpha1.Guest) { g.Spec.Management = v1alpha1.ManagementEnforce })
	w.ready("db")
	if film() != "more of them" {
		t.Errorf("want the other directory, got %q", film())
	}

	w.change("db", func(g *v1alpha1.Guest) { g.Spec.NFSMounts = nil })
	w.until("nothing of it is left", func(g *v1alpha1.Guest) bool {
		return isReady(g) && !strings.Contains(w.state(200).Options["description"], "mounts=")
	}, "db")
	_, noUnit := w.client.ReadFile(filmsUnit)
	_, noFolder := w.client.Stat("/mnt/media")
	text, err := w.server.ReadFile("/exports/films/film")
	if noUnit == nil || noFolder == nil || err != nil || text != "more of them" || meta.FindStatusCondition(w.get("db").Status.Conditions, v1alpha1.MountedCondition) != nil {
		t.Errorf("the unit and the empty directory go, the data stays: %v, %v, %q, %v", noUnit, noFolder, text, err)
	}
	trips = w.client.trips.Load()
	w.pass("db")
	if n := w.client.trips.Load() - trips; n != 0 {
		t.Errorf("a VM without nfsMounts is not looked into: %d round trips", n)
	}
}

// TestNFSMountFaults: what goes wrong in a VM, and is put right.
func TestNFSMountFaults(t *testing.T) {
	deny := "/exports/media 10.9.9.9(rw)\n"
	for _, c := range []struct {
		reason string
		before func(*nfsWorld)
		shown  func(*v1alpha1.Guest) bool
		after  func(*nfsWorld)
	}{
		{"the server does not let the VM in", func(w *nfsWorld) {
			w.must(w.server.WriteFile("/etc/exports", deny, 0o644))
			w.server.Shell(t.Context(), "systemctl reload nfs-server", strings.NewReader(""), t.Output(), t.Output())
		}, because(guest.MountFailedReason), func(w *nfsWorld) {
			w.must(w.server.WriteFile("/etc/exports", "/exports/media 10.0.0.111(rw)\n", 0o644))
			w.server.Shell(t.Context(), "systemctl reload nfs-server", strings.NewReader(""), t.Output(), t.Output())
		}},
		{"the VM does not answer", func(w *nfsWorld) { w.client.away.Store(true) }, because(guest.MachineAwayReason), func(w *nfsWorld) { w.client.away.Store(false) }},
		{"somebody else works with packages", func(w *nfsWorld) { w.client.HoldDpkg(true) }, because(guest.MountingReason), func(w *nfsWorld) { w.client.HoldDpkg(false) }},
		{"a unit of somebody else", func(w *nfsWorld) {
			w.must(w.client.WriteFile(filmsUnit, "[Mount]\nWhat=tmpfs\nWhere=/mnt/media\nType=tmpfs\n", 0o644))
		},
			because(guest.ForeignFileReason), func(w *nfsWorld) {
				w.change("db", func(g *v1alpha1.Guest) { g.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned })
			}},
		{"something else is mounted there", func(w *nfsWorld) {
			w.client.Shell(t.Context(), "mkdir -p /mnt/media && mount -t tmpfs theirs /mnt/media && echo data >/mnt/media/theirs", strings.NewReader(""), t.Output(), t.Output())
		}, func(g *v1alpha1.Guest) bool {
			return because(guest.ForeignFileReason)(g) && strings.Contains(meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ReadyCondition).Message, "theirs on /mnt/media")
		}, func(w *nfsWorld) {
			if text, err := w.client.ReadFile("/mnt/media/theirs"); err != nil || text != "data\n" {
				t.Errorf("it stays: %q, %v", text, err)
			}
			w.client.Shell(t.Context(), "umount /mnt/media", strings.NewReader(""), t.Output(), t.Output())
		}},
		{"no Debian", func(w *nfsWorld) { w.must(w.client.WriteFile("/etc/os-release", "ID=fedora\n", 0o644)) },
			stalledBy(guest.UnsupportedReason), func(w *nfsWorld) {
				w.must(w.client.WriteFile("/etc/os-release", "ID=debian\nVERSION_ID=12\n", 0o644))
			}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			w := newNFSWorld(t, simulated.Options{})
			c.before(w)
			w.until("it is shown", func(g *v1alpha1.Guest) bool { return c.shown(g) && !mounted(metav1.ConditionTrue)(g) }, "db")
			c.after(w)
			w.ready("db")
			if text, err := w.client.ReadFile("/mnt/media/film"); err != nil || text != "moving pictures" {
				t.Errorf("want it mounted: %q, %v\n%s", text, err, w.describe("db"))
			}
		})
	}
}

// TestNFSMountRetained: deleting the Guest, or switching the VM off, touches nothing in it.
func TestNFSMountRetained(t *testing.T) {
	w := newNFSWorld(t, simulated.Options{})
	w.ready("db")
	trips := w.client.trips.Load()
	w.change("db", func(g *v1alpha1.Guest) { g.Spec.Power = v1alpha1.PowerStopped })
	w.ready("db")
	if !mounted(metav1.ConditionFalse)(w.get("db")) {
		t.Errorf("a VM that is off mounts nothing:\n%s", w.describe("db"))
	}
	w.delete("db")
	w.until("it is gone", gone, "db")
	if n := w.client.trips.Load() - trips; n != 0 {
		t.Errorf("%d round trips", n)
	}
	if _, err := w.client.ReadFile(filmsUnit); err != nil {
		t.Errorf("the unit stays: %v", err)
	}
}

// TestNFSMountManagerDies: another manager that finds no status changes nothing.
func TestNFSMountManagerDies(t *testing.T) {
	w := newNFSWorld(t, simulated.Options{})
	w.ready("db")
	writes := w.client.Writes()
	g := w.get("db")
	g.Status = v1alpha1.GuestStatus{}
	w.must(w.world.client.Status().Update(t.Context(), g))
	before := w.inside
	w.manager = w.start()
	w.inside = before
	w.ready("db")
	if w.client.Writes() != writes || !mounted(metav1.ConditionTrue)(w.get("db")) {
		t.Errorf("%d writes:\n%s", w.client.Writes()-writes, w.describe("db"))
	}
}
