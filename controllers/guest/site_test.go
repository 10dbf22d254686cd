// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

func webSpec(s *v1alpha1.GuestSpec) {
	s.VMID = ptr(int32(103))
	s.Cores, s.Memory, s.Swap = ptr(int32(1)), size("512Mi"), size("0")
	s.RootDisk = &v1alpha1.RootDisk{Size: size("4Gi")}
	s.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.10/24"}}}
	s.Features = &v1alpha1.Features{Nesting: ptr(true), Keyctl: ptr(true)}
	s.MountPoints = []v1alpha1.MountPoint{
		{Path: "/data", Volume: &v1alpha1.Volume{Size: *size("1Gi")}},
		{Path: "/shared", Bind: &v1alpha1.Bind{Path: "/srv/shared"}},
	}
	s.Startup = &v1alpha1.Startup{OnBoot: ptr(true), Order: ptr(int32(1))}
	s.Tags, s.Notes = []string{"web"}, ptr("The web server")
}

func TestContainerFromTemplate(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(container("web", webSpec))
	w.ready("web")
	s := w.state(103)
	for key, want := range map[string]string{
		"hostname": "web", "cores": "1", "memory": "512", "swap": "0", "mp1": "/srv/shared,mp=/shared", "features": "nesting=1,keyctl=1",
		"onboot": "1", "startup": "order=1", "unprivileged": "1", "nameserver": "10.0.0.13", "searchdomain": "lan",
	} {
		if s.Options[key] != want {
			t.Errorf("%s: want %q, got %q", key, want, s.Options[key])
		}
	}
	if !strings.HasPrefix(s.Options["description"], "The web server\n\n<!-- phoenix-hypervisor.io owner=lab/home guest=lab/web vmid=103 slots=mp0,mp1,net0 -->") {
		t.Errorf("notes: got %q", s.Options["description"])
	}
	g := w.get("web")
	if g.Status.Power != v1alpha1.PowerRunning || g.Status.Node != "phoenix" || g.Status.Addresses[0] != "10.0.0.10" || g.Status.StartedAt == nil ||
		*g.Status.VMID != 103 || len(g.Status.Networks) != 1 || g.Status.Networks[0].MAC == "" {
		t.Errorf("status:\n%s", w.describe("web"))
	}
	if n := w.sim.CountRequests("POST", "/nodes/*/lxc"); n != 1 {
		t.Errorf("want one creation, got %d", n)
	}
	if n := w.sim.CountRequests("PUT", "/nodes/*/lxc/103/config"); n != 0 {
		t.Errorf("the creation carries everything that a token may write: got %d further writes", n)
	}
}

func TestVMFromClone(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(vm("portainer", func(s *v1alpha1.GuestSpec) {
		s.VMID, s.Cores, s.Memory, s.Agent = ptr(int32(1001)), ptr(int32(2)), size("2Gi"), ptr(true)
		s.RootDisk = &v1alpha1.RootDisk{Size: size("8Gi")}
		s.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.111/24"}}}
		s.CloudInit = &v1alpha1.CloudInit{User: "debian"}
		s.Disks = []v1alpha1.Disk{{Device: "scsi1", Size: *size("3Gi"), SSD: ptr(true)}}
	}))
	w.ready("portainer")
	s := w.state(1001)
	for key, want := range map[string]string{
		"name": "portainer", "cores": "2", "memory": "2048", "ciuser": "debian", "ipconfig0": "ip=10.0.0.111/24,gw=10.0.0.1", "nameserver": "10.0.0.13",
	} {
		if s.Options[key] != want {
			t.Errorf("%s: want %q, got %q", key, want, s.Options[key])
		}
	}
	if !strings.Contains(s.Options["scsi0"], "size=8G") || !strings.Contains(s.Options["scsi1"], "size=3G") {
		t.Errorf("disks: got %q and %q", s.Options["scsi0"], s.Options["scsi1"])
	}
	if strings.Contains(s.Options["description"], "stage=") {
		t.Errorf("the mark is final: got %q", s.Options["description"])
	}
	if n := w.sim.CountRequests("PUT", "/nodes/*/qemu/1001/config"); n != 1 {
		t.Errorf("one call carries the configuration after the clone: got %d", n)
	}
	if g := w.get("portainer"); g.Status.Addresses[0] != "10.0.0.111" {
		t.Errorf("status:\n%s", w.describe("portainer"))
	}
}

// TestDriftIsPutBack: a change in Proxmox's own interface is seen and undone, live where that goes.
func TestDriftIsPutBack(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(container("web", webSpec))
	w.ready("web")
	before := w.state(103)
	for _, c := range []struct{ reason, key, value string }{
		{"cores", "cores", "4"}, {"memory", "memory", "1024"}, {"bridge and addresses", "net0", "name=eth0,bridge=vmbr0,ip=dhcp,type=veth,hwaddr=BC:24:11:00:00:01"},
		{"tags", "tags", "mine"}, {"notes", "description", "mine"}, {"order", "startup", "order=9,up=5"}, {"start at boot", "onboot", "0"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			w.t = t
			if err := w.sim.SetConfig(103, c.key, c.value); err != nil {
				t.Fatal(err)
			}
			if c.key == "description" { // a mark that is cut out comes back by the tag
				w.until("the mark is back", func(*v1alpha1.Guest) bool {
					return strings.Contains(w.state(103).Options["description"], "guest=lab/web")
				}, "web")
			}
			w.ready("web")
			got := w.state(103).Options[c.key]
			want := before.Options[c.key]
			switch c.key {
			case "net0":
				if !strings.Contains(got, "hwaddr=BC:24:11:00:00:01") || !strings.Contains(got, "ip=10.0.0.10/24") {
					t.Errorf("want the declared address and the MAC address that was there, got %q", got)
				}
				return
			case "startup":
				want = "order=1,up=5"
			}
			if strings.TrimSpace(got) != strings.TrimSpace(want) {
				t.Errorf("%s: want %q, got %q", c.key, want, got)
			}
		})
	}
	w.t = t
	if !w.state(103).Running || !w.state(103).Started.Equal(before.Started) {
		t.Error("it was restarted for what goes live")
	}
}

// TestObserveOnly: under Observe the plan shows what would change, and nothing is written.
func TestObserveOnly(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(container("web", webSpec))
	w.ready("web")
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.Management = v1alpha1.ManagementObserve })
	if err := w.sim.SetConfig(103, "cores", "4"); err != nil {
		t.Fatal(err)
	}
	writes := len(w.sim.Writes())
	w.until("the drift is shown", func(g *v1alpha1.Guest) bool {
		return isReady(g) && len(g.Status.Plan) == 1 && g.Status.Plan[0].Field == "cores"
	}, "web")
	if got := len(w.sim.Writes()); got != writes {
		t.Errorf("observing wrote %d times", got-writes)
	}
}

// TestRestart: what only a restart applies is shown, and applied by one only where that is allowed.
func TestRestart(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(vm("db", func(s *v1alpha1.GuestSpec) { s.VMID, s.Cores = ptr(int32(200)), ptr(int32(1)) }))
	w.ready("db")
	started := w.state(200).Started
	w.change("db", func(g *v1alpha1.Guest) { g.Spec.Cores = ptr(int32(4)) })
	w.until("the restart is shown", func(g *v1alpha1.Guest) bool {
		return isReady(g) && len(g.Status.Plan) == 1 && g.Status.Plan[0].Reason == guest.RestartRequiredReason &&
			len(g.Status.PendingRestart) == 1 && g.Status.PendingRestart[0] == "cores"
	}, "db")
	if !w.state(200).Started.Equal(started) {
		t.Error("it was restarted although restartPolicy is Never")
	}
	w.change("db", func(g *v1alpha1.Guest) { g.Spec.RestartPolicy = v1alpha1.RestartWhenRequired })
	w.until("it was restarted", func(g *v1alpha1.Guest) bool { return isReady(g) && len(g.Status.Plan) == 0 }, "db")
	if s := w.state(200); s.Options["cores"] != "4" || !s.Running || s.Started.Equal(started) {
		t.Errorf("want 4 cores after a restart, got %v", s.Options)
	}
	w.ready("db")
}

// TestPower: it is switched off gracefully, or by force after the timeout.
func TestPower(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(container("web", webSpec))
	w.ready("web")
	if err := w.sim.Behave(103, pve.Behaviour{IgnoresShutdown: true}); err != nil {
		t.Fatal(err)
	}
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.Power = v1alpha1.PowerStopped })
	w.ready("web")
	if w.state(103).Running || w.get("web").Status.Power != v1alpha1.PowerStopped {
		t.Error("it is on")
	}
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.Power = v1alpha1.PowerRunning })
	w.ready("web")
	if err := w.sim.Power(103, false); err != nil { // somebody switches it off
		t.Fatal(err)
	}
	w.until("it is on again", func(g *v1alpha1.Guest) bool { return isReady(g) && w.state(103).Running }, "web")
}

// TestAllocation: Guests without a VMID get different ones from the Host's range.
func TestAllocation(t *testing.T) {
	w := newWorld(t, pve.Options{Guests: []pve.GuestSpec{{VMID: 501, Kind: "lxc", Config: "hostname: other\nrootfs: local-lvm:vm-501-disk-0,size=1G\n"}}})
	w.host(func(h *v1alpha1.Host) { h.Spec.VMIDRange = &v1alpha1.VMIDRange{First: 500, Last: 504} })
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		w.create(container(name, nil))
	}
	w.ready("a", "b", "c", "d")
	w.until("the range is exhausted", because(guest.RangeExhaustedReason), "e")
	seen := map[int32]bool{501: true}
	for _, name := range []string{"a", "b", "c", "d"} {
		id := *w.get(name).Status.VMID
		if seen[id] {
			t.Errorf("VMID %d is used twice", id)
		}
		seen[id] = true
	}
	if w.count() != 5 {
		t.Errorf("want 5 guests, got %d", w.count())
	}
}

// TestStatusLost: a restore from git into an empty cluster finds everything again and changes nothing.
func TestStatusLost(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(container("web", webSpec), container("any", nil), vm("db", nil))
	w.ready("web", "any", "db")
	before := map[int]string{}
	for _, s := range w.sim.Guests() {
		before[s.VMID] = s.Config
	}
	w.sim.ForgetRequests()
	for _, name := range []string{"web", "any", "db"} {
		g := w.get(name)
		g.Status = v1alpha1.GuestStatus{}
		if err := w.client.Status().Update(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	w.manager = w.start()
	w.ready("web", "any", "db")
	if writes := w.sim.Writes(); len(writes) != 0 {
		t.Errorf("re-attaching wrote to the site: %v", writes)
	}
	for _, s := range w.sim.Guests() {
		if before[s.VMID] != s.Config {
			t.Errorf("guest %d changed:\n%s", s.VMID, s.Config)
		}
	}
}

// TestMoved: a guest that somebody moves to another node is followed.
func TestMoved(t *testing.T) {
	w := newWorld(t, pve.Options{Nodes: []string{"pve1", "pve2"}})
	w.create(container("web", func(s *v1alpha1.GuestSpec) { s.Node, s.Cores = "pve1", ptr(int32(1)) }))
	w.ready("web")
	vmid := int(*w.get("web").Status.VMID)
	if err := w.sim.Move(vmid, "pve2"); err != nil {
		t.Fatal(err)
	}
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.Cores = ptr(int32(2)) })
	w.until("it is followed", func(g *v1alpha1.Guest) bool { return isReady(g) && g.Status.Node == "pve2" }, "web")
	if w.state(vmid).Options["cores"] != "2" || w.count() != 1 {
		t.Errorf("want one guest with 2 cores, got:\n%s", w.describe("web"))
	}
}

// TestDelete: it is stopped, destroyed, and proven gone; with Retain it is left alone.
func TestDelete(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(container("web", webSpec), vm("db", func(s *v1alpha1.GuestSpec) { s.VMID = ptr(int32(200)) }))
	w.ready("web", "db")
	w.delete("db") // deletionPolicy is unset: Retain
	w.until("it is released", gone, "db")
	if !w.state(200).Running {
		t.Error("Retain touched the guest")
	}
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
	w.delete("web")
	w.until("it is gone", gone, "web")
	if _, there := w.sim.Guest(103); there {
		t.Error("the guest is still there")
	}
	for _, v := range w.sim.Volumes("local-lvm", "phoenix") {
		if strings.Contains(v, "-103-") {
			t.Errorf("volume %s is left", v)
		}
	}
}
