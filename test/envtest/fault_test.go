// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// TestWriteFaults has every kind of write go wrong once, in one way after the other: the end is the same, nothing twice.
func TestWriteFaults(t *testing.T) {
	t.Parallel()
	writes := []struct{ method, path string }{
		{"POST", "/nodes/*/lxc"},
		{"POST", "/nodes/*/qemu/9000/clone"},
		{"PUT", "/nodes/*/qemu/*/config"},
		{"PUT", "/nodes/*/*/*/resize"},
		{"POST", "/nodes/*/*/*/status/start"},
		{"POST", "/nodes/*/*/*/status/shutdown"},
		{"DELETE", "/nodes/*/*/*"},
	}
	for how, f := range map[string]pve.Fault{
		"refused by the server":            {Status: 500, Reason: "got timeout"},
		"refused by a proxy":               {Status: 503, Reason: "Service Unavailable"},
		"cut before it was looked at":      {Cut: pve.CutBefore},
		"cut after it was accepted":        {Cut: pve.CutAfter},
		"cut three times after acceptance": {Cut: pve.CutAfter, To: 3},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, set{site: pve.Options{NoSSH: true}})
			for _, w := range writes {
				f.Method, f.Path, f.From, f.To = w.method, w.path, 1, max(f.To, 1)
				s.site.Inject(f)
			}
			s.life()
		})
	}
}

// life makes a container and a clone, grows and changes them, and deletes them; whatever goes wrong, nothing is there twice.
func (s *stage) life() {
	s.Helper()
	s.guest("box", container, `{deletionPolicy: Delete, rootDisk: {size: 4Gi}, shutdownTimeout: 10s}`)
	s.guest("machine", vm, `{deletionPolicy: Delete, source: {clone: {vmid: 9000}}, cores: 2, rootDisk: {size: 4Gi}, shutdownTimeout: 10s}`)
	box, boxed := s.readyGuest("box")
	machine, cloned := s.readyGuest("machine")
	if n := len(s.site.Guests()); n != 3 {
		s.Errorf("%d guests, want two and the template", n)
	}
	if len(boxed.Volumes) != 1 || len(cloned.Volumes) != 1 || !boxed.Running || !cloned.Running {
		s.Errorf("not what was asked for:\n%+v\n%+v", boxed, cloned)
	}
	s.agrees("cloned", cloned, []string{"cores=2", "scsi0 has size=4G"})
	s.change(box, `rootDisk: {size: 5Gi}`)
	s.change(machine, `rootDisk: {size: 5Gi}`)
	_, boxed = s.readyGuest("box")
	_, cloned = s.readyGuest("machine")
	s.agrees("grown", boxed, []string{"rootfs has size=5G"})
	s.agrees("grown", cloned, []string{"scsi0 has size=5G"})
	s.remove(box)
	s.remove(machine)
	s.gone(box)
	s.gone(machine)
	s.absent(boxed.VMID)
	s.absent(cloned.VMID)
	made := 0
	for _, task := range s.site.Tasks() {
		if (task.Kind == "vzcreate" || task.Kind == "qmclone") && task.Exit == "OK" {
			made++
		}
	}
	if made != 2 {
		s.Errorf("%d guests were made in all, want 2: %v", made, s.site.Tasks())
	}
}

// TestTaskFaults has tasks fail, warn and get lost.
func TestTaskFaults(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault pve.TaskFault
		// reason that Ready shows meanwhile; empty: none.
		reason string
		// jump lets the manager's clock go ahead, for what takes ten minutes.
		jump time.Duration
	}{
		"create fails":  {pve.TaskFault{Kind: "vzcreate", Times: 1, Fail: "no space left on device"}, "CreateFailed", 0},
		"clone fails":   {pve.TaskFault{Kind: "qmclone", Times: 1, Fail: "storage is not online"}, "CloneFailed", 0},
		"resize fails":  {pve.TaskFault{Kind: "resize", Times: 1, Fail: "got timeout"}, "GrowFailed", 0},
		"start fails":   {pve.TaskFault{Kind: "vzstart", Times: 1, Fail: "startup for container failed"}, "StartFailed", 0},
		"destroy fails": {pve.TaskFault{Kind: "vzdestroy", Times: 1, Fail: "got timeout"}, "DestroyFailed", 0},
		"create warns":  {pve.TaskFault{Kind: "vzcreate", Times: 1, Warnings: 2}, "", 0},
		"create fails after its effect": {
			pve.TaskFault{Kind: "vzcreate", Times: 1, Fail: "interrupted by signal", AfterEffect: true}, "", 0,
		},
		"clone fails after its effect": {
			pve.TaskFault{Kind: "qmclone", Times: 1, Fail: "interrupted by signal", AfterEffect: true}, "", 0,
		},
		"create is lost": {pve.TaskFault{Kind: "vzcreate", Times: 1, Lost: true}, "", 11 * time.Minute},
		"start is lost":  {pve.TaskFault{Kind: "vzstart", Times: 1, Lost: true}, "", 11 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ahead := &jumping{}
			s := newStage(t, set{options: func(o *controllers.Options) { often(o); o.Clock = ahead }, site: pve.Options{NoSSH: true}})
			s.site.InjectTask(tc.fault)
			if tc.jump > 0 {
				ahead.whenLost(s, tc.jump)
			}
			watched := s.watchReasons("box", "machine")
			s.lifeAfterTask(tc.fault)
			if seen := watched(); tc.reason != "" && !strings.Contains(seen, tc.reason) {
				t.Errorf("no event says %s: %s", tc.reason, seen)
			}
		})
	}
}

// lifeAfterTask is life, but a task that failed may have made what was then made again in its place.
func (s *stage) lifeAfterTask(f pve.TaskFault) {
	s.Helper()
	s.guest("box", container, `{deletionPolicy: Delete, rootDisk: {size: 4Gi}}`)
	s.guest("machine", vm, `{deletionPolicy: Delete, source: {clone: {vmid: 9000}}, cores: 2, rootDisk: {size: 4Gi}}`)
	box, boxed := s.readyGuest("box")
	machine, cloned := s.readyGuest("machine")
	if n := len(s.site.Guests()); n != 3 {
		s.Errorf("after %+v: %d guests, want two and the template", f, n)
	}
	if len(boxed.Volumes) != 1 || len(cloned.Volumes) != 1 || !boxed.Running || !cloned.Running {
		s.Errorf("not what was asked for:\n%+v\n%+v", boxed, cloned)
	}
	s.agrees("cloned", cloned, []string{"cores=2", "scsi0 has size=4G", "tags=phoenix-"})
	s.remove(box)
	s.remove(machine)
	s.gone(box)
	s.gone(machine)
	s.absent(boxed.VMID)
	s.absent(cloned.VMID)
}

// watchReasons returns the reasons of all events about objects that may be gone by then.
func (s *stage) watchReasons(names ...string) func() string {
	return func() string {
		var all []string
		for _, name := range names {
			all = append(all, s.events(s.named(name))...)
		}
		return strings.Join(all, " ")
	}
}

// jumping is a clock that goes ahead at once.
type jumping struct {
	clock.RealClock
	mu    sync.Mutex
	ahead time.Duration
}

func (j *jumping) Now() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return time.Now().Add(j.ahead)
}

func (j *jumping) Since(t time.Time) time.Duration { return j.Now().Sub(t) }

// whenLost goes ahead once the site was asked about a task that it does not know any more.
func (j *jumping) whenLost(s *stage, by time.Duration) {
	done := make(chan struct{})
	s.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		for s.Context().Err() == nil {
			for _, r := range s.site.Requests() {
				if strings.Contains(r.Path, "/tasks/") && strings.HasSuffix(r.Path, "/status") && r.Status >= 400 {
					j.mu.Lock()
					j.ahead = by
					j.mu.Unlock()
					return
				}
			}
			time.Sleep(tick)
		}
	}()
}

// TestLocked has a guest that Proxmox holds.
func TestLocked(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	s.guest("box", container, `cores: 1`)
	g, state := s.readyGuest("box")
	if err := s.site.SetLock(state.VMID, "backup"); err != nil {
		t.Fatal(err)
	}
	s.change(g, `deletionPolicy: Retain`) // a new generation with nothing to do
	s.ready(g)
	s.change(g, `cores: 2`)
	s.says(g, "Ready", "False Locked", "backup")
	s.site.ForgetRequests()
	if err := s.site.SetLock(state.VMID, ""); err != nil {
		t.Fatal(err)
	}
	_, state = s.readyGuest("box")
	s.agrees("unlocked", state, []string{"cores=2"})
}

// TestBusyFile has a guest whose configuration somebody else writes to.
func TestBusyFile(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{options: often})
	s.guest("box", container, `cores: 1`)
	g, state := s.readyGuest("box")
	release, err := s.site.HoldFileLock(state.VMID)
	if err != nil {
		t.Fatal(err)
	}
	s.change(g, `cores: 2`)
	s.until("a write meets the lock", func() error {
		return atLeast(1, s.site.CountRequests("PUT", "/nodes/*/lxc/*/config"))
	})
	release()
	_, state = s.readyGuest("box")
	s.agrees("after the lock", state, []string{"cores=2"})
}

// TestHotplugFails has a change that Proxmox cannot apply to the running guest.
func TestHotplugFails(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	s.guest("box", container, `networks: [{device: net0}]`)
	g, state := s.readyGuest("box")
	s.change(g, `networks: [{device: net0, bridge: vmbr9}]`)
	s.says(g, "Ready", "False HotplugFailed", "bridge 'vmbr9' does not exist")
	s.change(g, `networks: [{device: net0, bridge: vmbr0}]`)
	_, now := s.readyGuest("box")
	if now.Options["net0"] != state.Options["net0"] {
		t.Errorf("net0 is %q, was %q", now.Options["net0"], state.Options["net0"])
	}
}
