// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// absent proves that nothing of a guest is left.
func (s *stage) absent(vmid int) {
	s.Helper()
	if state, there := s.site.Guest(vmid); there {
		s.Errorf("guest %d is still there:\n%s", vmid, state.Config)
	}
	for _, v := range s.site.Volumes("local-lvm", "phoenix") {
		if strings.Contains(v, "vm-"+itoa(vmid)+"-") {
			s.Errorf("volume %s is still there", v)
		}
	}
}

// TestRetain leaves the guest when the object goes, and finds it when the object comes back.
func TestRetain(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	s.guest("box", container, `cores: 2`)
	g, before := s.readyGuest("box")
	s.site.ForgetRequests()
	s.remove(g)
	s.gone(g)
	s.guest("box", container, `cores: 2`)
	_, after := s.readyGuest("box")
	if writes := s.site.Writes(); len(writes) > 0 {
		t.Errorf("going and coming back wrote to the site: %v", writes)
	}
	if after.VMID != before.VMID || after.Config != before.Config || !after.Running {
		t.Errorf("another guest, or a changed one:\n%s\nafter\n%s", after.Config, before.Config)
	}
}

// TestDelete destroys the guest with the object.
func TestDelete(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	t.Run("types", func(t *testing.T) {
		for name, tc := range map[string]struct{ base, patch string }{
			"container": {container, `{deletionPolicy: Delete, mountPoints: [{path: /srv, volume: {size: 1Gi}}]}`},
			"vm":        {vm, `{deletionPolicy: Delete, source: {clone: {vmid: 9000}}, disks: [{device: scsi1, size: 1Gi}], cloudInit: {}}`},
			"stopped":   {vm, `{deletionPolicy: Delete, power: Stopped, rootDisk: {size: 1Gi}}`},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := s.with(t)
				s.guest(name, tc.base, tc.patch)
				g, state := s.readyGuest(name)
				s.remove(g)
				s.gone(g)
				s.absent(state.VMID)
			})
		}
	})
}

// TestDeleteAwaitsTasks has the object stay while its tasks run.
func TestDeleteAwaitsTasks(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	s.guest("box", container, `deletionPolicy: Delete`)
	g, state := s.readyGuest("box")
	release := s.site.HoldTasks("vzshutdown")
	releaseDestroy := s.site.HoldTasks("vzdestroy")
	s.remove(g)
	s.says(g, "Ready", "False Stopping")
	s.kstatus(g, status.TerminatingStatus)
	release()
	s.says(g, "Ready", "False Destroying")
	if _, there := s.site.Guest(state.VMID); !there {
		t.Error("the guest went before its task")
	}
	releaseDestroy()
	s.gone(g)
	s.absent(state.VMID)
}

// TestDeleteRefused has guests that are not destroyed.
func TestDeleteRefused(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{host: `controlPlaneGuest: {name: cluster}`, site: pve.Options{TaskTime: 0}})
	for _, tc := range []struct {
		name, base, patch string
		begin             string
		parts             []string
		// then lets it go.
		then func(s *stage, vmid int)
	}{
		{
			"protected", container, `{deletionPolicy: Delete, protection: true}`, "False Protected", []string{"protected", "deletionPolicy: Retain"},
			func(s *stage, vmid int) { s.drift(vmid, "protection=0") },
		},
		{
			"cluster", vm, `{deletionPolicy: Delete, rootDisk: {size: 1Gi}}`, "False ControlPlaneGuest", []string{"control plane"},
			func(s *stage, _ int) { s.change(s.named("cluster"), `deletionPolicy: Retain`) },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, set{host: `controlPlaneGuest: {name: cluster}`})
			s.guest(tc.name, tc.base, tc.patch)
			g, state := s.readyGuest(tc.name)
			s.remove(g)
			s.says(g, "Ready", tc.begin, tc.parts...)
			if now, there := s.site.Guest(state.VMID); !there || !now.Running {
				t.Error("a refused guest was stopped or destroyed")
			}
			tc.then(s, state.VMID)
			s.gone(g)
		})
	}
	s.ready(s.host())
}

// TestControlPlaneGuest is never stopped either.
func TestControlPlaneGuest(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{host: `controlPlaneGuest: {name: cluster}`})
	s.guest("cluster", vm, `{cores: 1, rootDisk: {size: 1Gi}}`)
	g, state := s.readyGuest("cluster")
	s.change(g, `power: Stopped`)
	s.says(g, "Ready", "False ControlPlaneGuest", "control plane")
	s.change(g, `{power: Running, cores: 2}`)
	s.says(g, "Ready", "True RestartRequired", "by hand")
	if now := s.outside(g); !now.Started.Equal(state.Started) {
		t.Error("the guest of the control plane was restarted")
	}
}

// TestRetainWhileDeleting lets go of a guest whose deletion cannot be finished.
func TestRetainWhileDeleting(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	s.guest("box", container, `deletionPolicy: Delete`)
	g, state := s.readyGuest("box")
	if err := s.site.SetLock(state.VMID, "backup"); err != nil {
		t.Fatal(err)
	}
	s.remove(g)
	s.says(g, "Ready", "False Locked", "backup")
	s.change(g, `deletionPolicy: Retain`)
	s.gone(g)
	if now, there := s.site.Guest(state.VMID); !there || !now.Running {
		t.Error("a retained guest was touched")
	}
}

// TestNotOursAnyMore has a person who took the mark away before the deletion.
func TestNotOursAnyMore(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{idle: true})
	stop := s.manager(nil)
	s.guest("box", container, `deletionPolicy: Delete`)
	g, state := s.readyGuest("box")
	stop()
	if err := errors.Join(s.site.DeleteConfig(state.VMID, "tags"), s.site.SetConfig(state.VMID, "description", "mine now")); err != nil {
		t.Fatal(err)
	}
	s.site.ForgetRequests()
	s.remove(g)
	s.run(nil)
	s.gone(g)
	if now, there := s.site.Guest(state.VMID); !there || !now.Running {
		t.Error("what is not provably ours was destroyed")
	}
	if writes := s.site.Writes(); len(writes) > 0 {
		t.Errorf("what is not provably ours was written to: %v", writes)
	}
}

// TestTemplate has a template and the guests that share its disks.
func TestTemplate(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	s.guest("golden", vm, `{vmid: 9000, adoptionPolicy: IfUnowned, deletionPolicy: Delete}`)
	template := s.named("golden")
	s.ready(template)
	if state := s.outside(template); state.Running {
		t.Error("a template was started")
	}
	s.guest("named", vm, `{deletionPolicy: Delete, source: {clone: {guestRef: {name: golden}, mode: Linked}}}`)
	named, _ := s.readyGuest("named")
	s.guest("stranger", vm, `{deletionPolicy: Delete, source: {clone: {vmid: 9000, mode: Linked}}}`)
	stranger, _ := s.readyGuest("stranger")

	s.remove(template)
	s.says(template, "Ready", "False InUse", "Guest/named")
	s.remove(named)
	s.gone(named)
	s.says(template, "Ready", "False LinkedClones", "9000")
	if _, there := s.site.Guest(9000); !there {
		t.Error("a template with linked clones was destroyed")
	}
	s.remove(stranger)
	s.gone(stranger)
	s.gone(template)
	s.absent(9000)
}

// TestHostWaits has a Host that goes after its Guests, and Secrets that go after the Host.
func TestHostWaits(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	s.guest("box", container, `deletionPolicy: Delete`)
	g, state := s.readyGuest("box")
	host := s.host()
	token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "token", Namespace: s.namespace}}
	if err := kube.Delete(context.Background(), token); err != nil {
		t.Fatal(err)
	}
	s.remove(host)
	s.says(host, "Ready", "False InUse", "Guest/box")
	s.remove(g)
	s.gone(g)
	s.absent(state.VMID)
	s.gone(host)
	s.until("the token's Secret is gone", func() error {
		if err := kube.Get(context.Background(), client.ObjectKeyFromObject(token), token); client.IgnoreNotFound(err) == nil && err != nil {
			return nil
		}
		return errors.New("it is held by " + strings.Join(token.Finalizers, ", "))
	})
}

// TestDependents has Guests that stand on one another.
func TestDependents(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	s.guest("web", container, `{deletionPolicy: Delete, dependsOn: [{kind: Guest, name: db}]}`)
	web := s.named("web")
	s.says(web, "Ready", "False DependencyNotReady", "Guest/db")
	if writes := s.site.Writes(); len(writes) > 0 {
		t.Errorf("made before what it depends on: %v", writes)
	}
	s.guest("db", container, `deletionPolicy: Delete`)
	s.readyGuest("web")
	db, _ := s.readyGuest("db")
	s.remove(db)
	s.says(db, "Ready", "False InUse", "Guest/web")
	s.remove(web)
	s.gone(web)
	s.gone(db)
}

// TestBudget has more deletions than the Host allows in an hour.
func TestBudget(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{host: `safety: {destructionsPerHour: 1}`})
	for _, name := range []string{"one", "two"} {
		s.guest(name, vm, `{deletionPolicy: Delete, power: Stopped, rootDisk: {size: 1Gi}}`)
	}
	one, _ := s.readyGuest("one")
	two, state := s.readyGuest("two")
	s.remove(one)
	s.gone(one)
	s.remove(two)
	s.says(two, "Ready", "False DestructionBudget", "destructionsPerHour")
	if _, there := s.site.Guest(state.VMID); !there {
		t.Error("destroyed beyond the budget")
	}
	host := s.host()
	s.get(host)
	if len(host.Status.Destructions) != 1 || host.Status.Destructions[0].What == "" {
		t.Errorf("destructions %+v", host.Status.Destructions)
	}
	s.change(host, `safety: {destructionsPerHour: 2}`)
	s.gone(two)
	s.absent(state.VMID)
}
