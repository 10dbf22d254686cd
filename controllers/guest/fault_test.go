// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// TestCallFaults: whatever becomes of single calls, one guest comes of it.
func TestCallFaults(t *testing.T) {
	small := func(s *v1alpha1.GuestSpec) {
		s.VMID = ptr(int32(103))
		s.RootDisk = &v1alpha1.RootDisk{Size: size("8Gi")}
	}
	cases := []struct {
		reason string
		guest  *v1alpha1.Guest
		fault  pve.Fault
		shown  string // the reason that Ready shows meanwhile; "" for any
	}{
		{"an answer of 500 to the creation", container("web", small), pve.Fault{Method: "POST", Path: "/nodes/*/lxc", To: 1, Status: 500, Reason: "got no worker upid - start worker failed"}, "Failed"},
		{"the creation is accepted and the connection cut", container("web", small), pve.Fault{Method: "POST", Path: "/nodes/*/lxc", To: 1, Cut: pve.CutAfter}, ""},
		{"the connection is cut before the creation is read", container("web", small), pve.Fault{Method: "POST", Path: "/nodes/*/lxc", To: 1, Cut: pve.CutBefore}, "Failed"},
		{"the clone is accepted and the connection cut", vm("web", small), pve.Fault{Method: "POST", Path: "/nodes/*/qemu/9000/clone", To: 1, Cut: pve.CutAfter}, ""},
		{"an answer of 500 to the clone", vm("web", small), pve.Fault{Method: "POST", Path: "/nodes/*/qemu/9000/clone", To: 1, Status: 500, Reason: "broken"}, "Failed"},
		{"the first write is carried out and the connection cut", vm("web", small), pve.Fault{Method: "PUT", Path: "/nodes/*/qemu/*/config", To: 1, Cut: pve.CutAfter}, ""},
		{"the growth is accepted and the connection cut", vm("web", small), pve.Fault{Method: "PUT", Path: "/nodes/*/qemu/*/resize", To: 1, Cut: pve.CutAfter}, ""},
		{"the start is accepted and the connection cut", container("web", small), pve.Fault{Method: "POST", Path: "/nodes/*/lxc/*/status/start", To: 1, Cut: pve.CutAfter}, ""},
		{"every third reading goes unanswered", container("web", small), pve.Fault{Method: "GET", Path: "/nodes/*/lxc/*/**", From: 2, To: 3, Cut: pve.CutBefore}, ""},
		{"the node's proxy does not answer for the state of tasks", container("web", small), pve.Fault{Method: "GET", Path: "/nodes/*/tasks/**", To: 4, Status: 596}, ""},
		{"the token is refused for a while", container("web", small), pve.Fault{Method: "POST", Path: "/nodes/*/lxc", To: 2, Status: 401, Reason: "Authentication failed!"}, guest.UnauthorizedReason},
		{"a privilege is missing for a while", container("web", small), pve.Fault{Method: "POST", Path: "/nodes/*/lxc", To: 2, Status: 403, Reason: "Permission check failed (/vms/103, VM.Allocate)"}, guest.ForbiddenReason},
		{"somebody else writes at the same time", vm("web", small), pve.Fault{Method: "PUT", Path: "/nodes/*/qemu/*/config", To: 1, Status: 500, Reason: "checksum mismatch (file change by other user?)"}, guest.ChangedReason},
		{"there is no quorum for a while", container("web", small), pve.Fault{Method: "POST", Path: "/nodes/*/lxc", To: 1, Status: 500, Reason: "cluster not ready - no quorum?"}, guest.NoQuorumReason},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			w := newWorld(t, pve.Options{})
			w.sim.Inject(c.fault)
			w.create(c.guest)
			if c.shown != "" {
				w.until("the fault is shown", because(c.shown), "web")
			}
			w.ready("web")
			s := w.state(103)
			disk := s.Options["rootfs"] + s.Options["scsi0"]
			if w.count() != 1 || !strings.Contains(disk, "size=8G") || !s.Running {
				t.Errorf("want one guest with 8 GiB that runs:\n%s", w.describe("web"))
			}
			made := w.sim.CountRequests("POST", "/nodes/*/lxc") + w.sim.CountRequests("POST", "/nodes/*/qemu/9000/clone")
			if c.fault.Cut == pve.CutAfter && made != 1 {
				t.Errorf("what was accepted is not asked for again: %d calls", made)
			}
		})
	}
}

// TestTaskFaults: a task that fails is told of and tried again; one that is lost is judged by the guest.
func TestTaskFaults(t *testing.T) {
	cases := []struct {
		reason string
		guest  *v1alpha1.Guest
		fault  pve.TaskFault
		shown  string
		says   string
	}{
		{"a creation fails", container("web", nil), pve.TaskFault{Kind: "vzcreate", Times: 1, Fail: "unable to create CT - no space left"}, "CreateFailed", "no space left"},
		{"a clone fails", vm("web", nil), pve.TaskFault{Kind: "qmclone", Times: 1, Fail: "clone failed: no space left"}, "CloneFailed", "no space left"},
		{"a start fails", container("web", nil), pve.TaskFault{Kind: "vzstart", Times: 1, Fail: "startup for container failed"}, "StartFailed", "startup for container failed"},
		{"a start is told to have failed, but the guest runs", vm("web", nil), pve.TaskFault{Kind: "qmstart", Times: 1, Fail: "start failed: got timeout", AfterEffect: true}, "", ""},
		{"a creation is lost after its effect", container("web", nil), pve.TaskFault{Kind: "vzcreate", Times: 1, Lost: true}, "", ""},
		{"a clone is lost after its effect", vm("web", nil), pve.TaskFault{Kind: "qmclone", Times: 1, Lost: true}, "", ""},
		{"a start is lost", container("web", nil), pve.TaskFault{Kind: "vzstart", Times: 1, Lost: true}, "", ""},
		{"warnings are a success", container("web", nil), pve.TaskFault{Kind: "vzcreate", Times: 1, Warnings: 2}, "", ""},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			w := newWorld(t, pve.Options{})
			w.sim.InjectTask(c.fault)
			w.create(c.guest)
			if c.shown != "" {
				w.until("the failure is shown", because(c.shown), "web")
				if !strings.Contains(message(w.get("web")), c.says) {
					t.Errorf("want the task's own words, got %q", message(w.get("web")))
				}
			}
			w.ready("web")
			if w.count() != 1 {
				t.Errorf("want one guest:\n%s", w.describe("web"))
			}
		})
	}
}

// TestManagerDies: another manager goes on where the first one was killed, at every step.
func TestManagerDies(t *testing.T) {
	for _, kind := range []string{"vzcreate", "resize", "vzstart", "vzshutdown", "vzdestroy"} {
		t.Run("during "+kind, func(t *testing.T) {
			w := newWorld(t, pve.Options{})
			release := w.sim.HoldTasks(kind)
			defer release()
			g := container("web", func(s *v1alpha1.GuestSpec) {
				s.VMID, s.DeletionPolicy = ptr(int32(103)), v1alpha1.DeletionDelete
				s.RootDisk = &v1alpha1.RootDisk{Size: size("4Gi")}
			})
			w.create(g)
			runs := func(g *v1alpha1.Guest) bool {
				return g.Status.Task != nil && strings.Contains(g.Status.Task.UPID, ":"+kind+":")
			}
			switch kind {
			case "resize":
				w.ready("web")
				w.change("web", func(g *v1alpha1.Guest) { g.Spec.RootDisk.Size = size("6Gi") })
			case "vzshutdown", "vzdestroy":
				w.ready("web")
				w.delete("web")
			}
			w.until("the task runs", runs, "web")
			w.manager = w.start()
			w.pass("web")
			release()
			if kind == "vzshutdown" || kind == "vzdestroy" {
				w.until("it is gone", gone, "web")
				if w.count() != 0 {
					t.Errorf("want no guest:\n%s", w.describe("web"))
				}
				return
			}
			w.ready("web")
			if w.count() != 1 || w.sim.CountRequests("POST", "/nodes/*/lxc") != 1 {
				t.Errorf("want one guest, made once:\n%s", w.describe("web"))
			}
		})
	}
}

// TestTwoManagers: two that work at once make every guest once.
func TestTwoManagers(t *testing.T) {
	w := newWorld(t, pve.Options{})
	second := *w
	second.manager = w.start()
	names := []string{"a", "b", "c"}
	for _, name := range names {
		w.create(container(name, nil))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 40 {
			for i := range names {
				second.pass(names[len(names)-1-i])
			}
		}
	}()
	w.until("all are Ready", isReady, names...)
	<-done
	w.ready(names...)
	ids := map[int32]bool{}
	for _, name := range names {
		ids[*w.get(name).Status.VMID] = true
	}
	if w.count() != 3 || len(ids) != 3 {
		t.Errorf("want three guests, got:\n%s", w.describe("a"))
	}
}

// TestVMIDRaces: a VMID that somebody takes between the choice and the creation.
func TestVMIDRaces(t *testing.T) {
	foreign := pve.GuestSpec{VMID: 10000, Kind: "qemu", Config: "name: theirs\nmemory: 512\n"}
	t.Run("an allocated one: another is chosen", func(t *testing.T) {
		w := newWorld(t, pve.Options{})
		w.create(container("web", nil))
		// The list that the choice is made from does not show it yet; the creation meets it.
		w.sim.Inject(pve.Fault{Method: "POST", Path: "/nodes/*/lxc", To: 1, Status: 500, Reason: "VM 10000 already exists on node 'phoenix'"})
		w.until("it is given up", because(guest.VMIDTakenReason), "web")
		if err := w.sim.Add(foreign); err != nil {
			t.Fatal(err)
		}
		w.ready("web")
		if id := *w.get("web").Status.VMID; id == 10000 {
			t.Error("it took the foreign guest's VMID")
		}
	})
	t.Run("a reserved one, before the creation: another is chosen", func(t *testing.T) {
		w := newWorld(t, pve.Options{})
		g := container("web", nil)
		w.create(g)
		g.Status.VMID = ptr(int32(10000))
		if err := w.client.Status().Update(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		if err := w.sim.Add(foreign); err != nil {
			t.Fatal(err)
		}
		w.ready("web")
		if id := *w.get("web").Status.VMID; id == 10000 || w.state(10000).Options["name"] != "theirs" {
			t.Error("it took the foreign guest")
		}
	})
	t.Run("a declared one that the token cannot see", func(t *testing.T) {
		w := newWorld(t, pve.Options{})
		w.create(container("web", func(s *v1alpha1.GuestSpec) { s.VMID = ptr(int32(150)) }))
		w.sim.Inject(pve.Fault{Method: "POST", Path: "/nodes/*/lxc", Status: 500, Reason: "VM 150 already exists on node 'phoenix'"})
		w.until("it stalls", func(g *v1alpha1.Guest) bool {
			return because(guest.VMIDTakenReason)(g) && meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.StalledCondition)
		}, "web")
	})
}

// TestLocked: a guest that a backup holds is not touched; when it is in sync it stays Ready.
func TestLocked(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(container("web", func(s *v1alpha1.GuestSpec) { s.VMID, s.Cores = ptr(int32(103)), ptr(int32(1)) }))
	w.ready("web")
	if err := w.sim.SetLock(103, "backup"); err != nil {
		t.Fatal(err)
	}
	w.ready("web")
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.Cores = ptr(int32(2)) })
	writes := len(w.sim.Writes())
	w.until("it waits for the lock", because(guest.LockedReason), "web")
	if got := message(w.get("web")); got != "container 103 is locked (backup)" || len(w.sim.Writes()) != writes {
		t.Errorf("message %q, writes %v", got, w.sim.Writes()[writes:])
	}
	if err := w.sim.SetLock(103, ""); err != nil {
		t.Fatal(err)
	}
	w.ready("web")
}

// TestAway: while the site does not answer nothing is known, and nothing is lost.
func TestAway(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(container("web", nil))
	w.ready("web")
	before := w.get("web")
	w.sim.Suspend()
	w.until("nothing is known", func(g *v1alpha1.Guest) bool {
		return meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ReadyCondition).Status == "Unknown"
	}, "web")
	if g := w.get("web"); *g.Status.VMID != *before.Status.VMID || g.Status.Node == "" {
		t.Errorf("status was lost:\n%s", w.describe("web"))
	}
	if err := w.sim.Resume(); err != nil {
		t.Fatal(err)
	}
	w.ready("web")
}

// TestHotplugFails: a bridge that is not there is told of, with Proxmox's own words.
func TestHotplugFails(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(container("web", func(s *v1alpha1.GuestSpec) {
		s.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPDHCP}}}
	}))
	w.ready("web")
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.Networks[0].Bridge = "vmbr77" })
	w.until("it is told of", because(guest.HotplugFailedReason), "web")
	if !strings.Contains(message(w.get("web")), "bridge 'vmbr77' does not exist") {
		t.Errorf("message: %q", message(w.get("web")))
	}
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.Networks[0].Bridge = "vmbr0" })
	w.ready("web")
}

// TestFrozen: while what the site shows is doubtful, nothing is made.
func TestFrozen(t *testing.T) {
	w := newWorld(t, pve.Options{Nodes: []string{"pve1", "pve2"}})
	w.sim.SetQuorum(false)
	w.create(container("web", func(s *v1alpha1.GuestSpec) { s.Node = "pve1" }))
	w.until("it waits", because(guest.FrozenReason), "web")
	if n := w.sim.CountRequests("POST", "/nodes/*/lxc"); n != 0 {
		t.Errorf("%d creations were asked for", n)
	}
	w.sim.SetQuorum(true)
	w.ready("web")
}

// TestBusy: the Host's limits of tasks are kept, and waited for.
func TestBusy(t *testing.T) {
	w := newWorld(t, pve.Options{})
	release := w.sim.HoldTasks("qmclone")
	defer release()
	w.create(vm("a", nil), vm("b", nil))
	w.until("one clone runs", func(g *v1alpha1.Guest) bool { return g.Status.Task != nil }, "a")
	w.until("the other waits", because(guest.BusyReason), "b") // one clone of a template at a time
	if n := w.sim.CountRequests("POST", "/nodes/*/qemu/9000/clone"); n != 1 {
		t.Errorf("want one call, got %d", n)
	}
	release()
	w.ready("a", "b")
}

// TestUnreadable: that a guest cannot be read says nothing of its power.
func TestUnreadable(t *testing.T) {
	for _, path := range []string{"/nodes/*/lxc/*/status/current", "/nodes/*/lxc/*/pending", "/nodes/*/lxc/*/interfaces"} {
		t.Run(path, func(t *testing.T) {
			w := newWorld(t, pve.Options{})
			w.create(container("web", nil))
			w.ready("web")
			defer w.sim.Inject(pve.Fault{Method: "GET", Path: path, Status: 595})()
			w.until("nothing is known", func(g *v1alpha1.Guest) bool {
				return meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ReadyCondition).Status == "Unknown"
			}, "web")
			g := w.get("web")
			if g.Status.Power != v1alpha1.PowerRunning || g.Status.StartedAt == nil || !meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.RunningCondition) {
				t.Errorf("what was known of it is lost:\n%s", w.describe("web"))
			}
		})
	}
}

// TestStatusLostWhileMade: a creation that is under way when every status is lost is found again, not begun a second time.
func TestStatusLostWhileMade(t *testing.T) {
	declared := func(s *v1alpha1.GuestSpec) { s.VMID = ptr(int32(103)) }
	for _, c := range []struct {
		reason, task string
		guest        *v1alpha1.Guest
	}{
		{"a container", "vzcreate", container("web", nil)},
		{"a container with a declared VMID", "vzcreate", container("web", declared)},
		{"a clone", "qmclone", vm("web", nil)},
		{"a clone with a declared VMID", "qmclone", vm("web", declared)},
	} {
		t.Run(c.reason, func(t *testing.T) {
			w := newWorld(t, pve.Options{})
			release := w.sim.HoldTasks(c.task)
			defer release()
			w.create(c.guest)
			w.until("it is being made", func(g *v1alpha1.Guest) bool { return g.Status.Task != nil }, "web")
			g := w.get("web")
			g.Status = v1alpha1.GuestStatus{}
			if err := w.client.Status().Update(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			w.manager = w.start()
			for range 3 {
				w.pass("web")
			}
			if !because(guest.CreatingReason)(w.get("web")) && !because(guest.CloningReason)(w.get("web")) {
				t.Errorf("it waits for what is under way:\n%s", w.describe("web"))
			}
			release()
			w.ready("web")
			if w.count() != 1 {
				t.Errorf("want one guest:\n%s", w.describe("web"))
			}
		})
	}
}

// TestHidden: a guest that the token may not see any more is neither made a second time nor believed to be gone.
func TestHidden(t *testing.T) {
	w := newWorld(t, pve.Options{})
	const user = "ops@pve"
	w.sim.AddUser(user, "unused")
	w.sim.Grant("/", user, "Administrator")
	w.sim.TokenID, w.sim.TokenSecret = w.sim.AddToken(user, "phoenix", false)
	w.manager = w.start()
	w.create(container("web", func(s *v1alpha1.GuestSpec) { s.DeletionPolicy = v1alpha1.DeletionDelete }))
	w.ready("web")
	vmid := int(*w.get("web").Status.VMID)
	w.sim.Grant(fmt.Sprintf("/vms/%d", vmid), user, "NoAccess")
	says := func(g *v1alpha1.Guest) bool {
		return because(guest.ForbiddenReason)(g) && strings.Contains(message(g), "VM.Audit")
	}
	w.until("the privilege is named", says, "web")
	for range 3 {
		w.pass("web")
	}
	if g := w.get("web"); !says(g) || int(*g.Status.VMID) != vmid || g.Status.Node == "" || w.count() != 1 {
		t.Errorf("it is the one guest still:\n%s", w.describe("web"))
	}
	w.delete("web")
	w.pass("web")
	if g := w.get("web"); g == nil || !says(g) {
		t.Errorf("the object goes only when the guest is proven gone:\n%s", w.describe("web"))
	}
}

// stubborn is a site on which what waits for a restart outlasts it.
type stubborn struct {
	guest.Reader
	pending atomic.Bool
}

func (s *stubborn) Pending(ctx context.Context, r proxmox.Ref) ([]proxmox.PendingChange, error) {
	if s.pending.Load() {
		return []proxmox.PendingChange{{Key: "cores", Value: "1", Pending: "4"}}, nil
	}
	return s.Reader.Pending(ctx, r)
}

// TestRestartInVain: a guest is restarted once for what Proxmox then does not apply, not over and over.
func TestRestartInVain(t *testing.T) {
	w := newWorld(t, pve.Options{})
	site := guest.On(w.site)
	reader := &stubborn{Reader: site.Reader}
	site.Reader = reader
	w.loop.Kind.(*guest.Kind).Sites = func(types.NamespacedName) (guest.Site, bool) { return site, true }
	w.create(vm("db", func(s *v1alpha1.GuestSpec) {
		s.VMID, s.Cores, s.RestartPolicy = ptr(int32(200)), ptr(int32(4)), v1alpha1.RestartWhenRequired
	}))
	w.ready("db")
	reader.pending.Store(true)
	w.until("it is told of", because("RestartFailed"), "db")
	for range 5 {
		w.pass("db")
	}
	if n := w.sim.CountRequests("POST", "/nodes/*/qemu/200/status/reboot"); n != 1 || !because("RestartFailed")(w.get("db")) {
		t.Errorf("want one restart, got %d:\n%s", n, w.describe("db"))
	}
	reader.pending.Store(false)
	w.ready("db")
}
