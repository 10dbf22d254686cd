// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// alike says whether two errors are the same outcome with the same words.
func alike(a, b error) bool { return fmt.Sprintf("%#v", a) == fmt.Sprintf("%#v", b) }

// TestFailure: which outcome an answer of Proxmox deserves.
func TestFailure(t *testing.T) {
	answer := func(code int, text string) error { return &proxmox.Error{Code: code, Reason: text} }
	cases := []struct {
		reason string
		err    error
		want   func(error) error
	}{
		{"a wrong token may be put right", answer(401, "Authentication failed!"), func(e error) error { return reconcile.Fail(UnauthorizedReason, e) }},
		{"so may a missing privilege", answer(403, "Permission check failed (/vms/103, VM.Clone)"), func(e error) error { return reconcile.Fail(ForbiddenReason, e) }},
		{"what is root's alone is named so", answer(403, "Permission check failed (mount point type bind is only allowed for root@pam)"), func(e error) error { return reconcile.Fail(RootOnlyReason, e) }},
		{"a lock ends by itself", answer(500, "CT is locked (backup)"), func(e error) error { return reconcile.Wait(LockedReason, taskFallback, e) }},
		{"a changed file is read again", answer(500, "checksum mismatch (file change by other user?)"), func(e error) error { return reconcile.Wait(ChangedReason, soon, e) }},
		{"a guest that moved is looked for", answer(500, "Configuration file 'nodes/a/lxc/1.conf' does not exist"), func(e error) error { return reconcile.Wait(ChangedReason, soon, e) }},
		{"a quorum comes back", answer(500, "cluster not ready - no quorum?"), func(e error) error { return reconcile.Wait(NoQuorumReason, later, e) }},
		{"a hot-plug may go later", &proxmox.Error{Code: 400, Fields: map[string]string{"net0": "unable to hotplug net0: bridge 'x' does not exist"}},
			func(e error) error { return reconcile.Fail(HotplugFailedReason, e) }},
		{"a VM's hot-plug too", &proxmox.Error{Code: 400, Fields: map[string]string{"net0": "hotplug problem - bridge 'x' does not exist"}},
			func(e error) error { return reconcile.Fail(HotplugFailedReason, e) }},
		{"a refused value needs a new spec", answer(400, "Parameter verification failed."), func(e error) error { return reconcile.Stall(RefusedReason, e) }},
		{"what went unanswered is no more than an error", answer(595, ""), func(e error) error { return e }},
		{"so is what nobody knows", errors.New("x"), func(e error) error { return e }},
		{"nothing", nil, func(error) error { return nil }},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			if got, want := failure(c.err), c.want(c.err); !alike(got, want) {
				t.Errorf("want %#v, got %#v", want, got)
			}
		})
	}
}

// node is a shell that answers every command alike.
type node struct {
	result machine.Result
	err    error
	argv   []string
}

func (n *node) Run(_ context.Context, argv []string, _ []byte) (machine.Result, error) {
	n.argv = argv
	return n.result, n.err
}

// TestAsRoot: what the node complains of is read like an answer of the API.
func TestAsRoot(t *testing.T) {
	said := func(text string) *node {
		return &node{result: machine.Result{ExitCode: 255, Stderr: []byte(text + "\n")}}
	}
	cases := []struct {
		reason string
		node   *node
		want   func(error) error
		says   string
	}{
		{"done", &node{}, nil, ""},
		{"locked", said("CT is locked (backup)"), func(e error) error { return reconcile.Wait(LockedReason, taskFallback, e) }, "run pct set 103: exit 255: CT is locked (backup)"},
		{"changed", said("detected modified configuration - file changed by other user? Try again."), func(e error) error { return reconcile.Wait(ChangedReason, soon, e) },
			"run pct set 103: exit 255: detected modified configuration - file changed by other user? Try again."},
		{"not to be mounted now", said("unable to hotplug mp0: no"), func(e error) error { return reconcile.Fail(HotplugFailedReason, e) }, "run pct set 103: exit 255: unable to hotplug mp0: no"},
		{"anything else", said("no such directory"), func(e error) error { return reconcile.Fail(RootOnlyReason, e) }, "run pct set 103: exit 255: no such directory"},
		{"the connection broke", &node{err: errors.New("broken")}, func(e error) error { return e }, "run pct set 103: broken"},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			seen := presentSeen(ct, nil)
			seen.hasShell, seen.shell = true, c.node
			g := newGuest(ct, func(s *v1alpha1.GuestSpec) {
				s.Power = v1alpha1.PowerStopped
				s.MountPoints = []v1alpha1.MountPoint{{Path: "/x", Bind: &v1alpha1.Bind{Path: "/srv/x"}}}
			})
			err := new(Kind).Plan(g, seen)[0].Do(t.Context())
			if c.want == nil {
				want := []string{"pct", "set", "103", "--description", mark{owner: testOwner, vmid: 103, slots: []string{"mp0"}}.line(), "--mp0", "/srv/x,mp=/x", "--digest", "d1"}
				if diff := cmp.Diff(want, c.node.argv); diff != "" || err != nil {
					t.Errorf("error %v, command (-want +got):\n%s", err, diff)
				}
				return
			}
			if err == nil || err.Error() != c.says {
				t.Fatalf("want %q, got %v", c.says, err)
			}
			if inner := errors.Unwrap(err); c.node.err == nil && !alike(err, c.want(inner)) {
				t.Errorf("want %#v, got %#v", c.want(inner), err)
			}
		})
	}
}

// TestTexts: what a plan shows of values, and how tasks are called.
func TestTexts(t *testing.T) {
	long := strings.Repeat("ä", 100)
	cases := []struct{ reason, got, want string }{
		{"a long value is cut at a character", excerpt(long), strings.Repeat("ä", 80) + "…"},
		{"keys are hashed", shown("sshkeys", proxmox.EncodeSSHKeys([]string{"ssh-ed25519 AAAA"})), keysText([]string{"ssh-ed25519 AAAA"})},
		{"keys that cannot be read are not shown", shown("sshkeys", "%zz"), "unreadable"},
		{"a password is not shown", shown("cipassword", "secret"), ""},
		{"another value is", shown("cores", "2"), "2"},
		{"the first four fields", fieldsOf([]reconcile.Change{{Field: "a"}, {Field: "b"}, {Field: "a"}, {Field: "c"}, {Field: "d"}, {Field: "e"}}), "a, b, c, d and 1 more"},
		{"a task of a reason that is not known", taskText("Odd", newGuest(ct, nil)), "change container 0"},
		{"its failure", failedReason("Odd"), "OddFailed"},
	}
	for _, c := range cases {
		if c.got != c.want {
			t.Errorf("%s: want %q, got %q", c.reason, c.want, c.got)
		}
	}
	g := newGuest(vm, func(s *v1alpha1.GuestSpec) { s.ShutdownTimeout = &metav1.Duration{Duration: 90 * time.Second} })
	if got := shutdownTimeout(g); got != 90*time.Second {
		t.Errorf("shutdown timeout: got %v", got)
	}
}

// crowd is a site whose list shows no guest, and whose nextid knows some.
type crowd struct {
	Reader
	taken map[int]bool
}

func (c crowd) FreeVMID(_ context.Context, first, last int, taken func(int) bool) (int, error) {
	for vmid := first; vmid <= last; vmid++ {
		if !c.taken[vmid] && !taken(vmid) {
			return vmid, nil
		}
	}
	return 0, proxmox.ErrRangeExhausted
}

// TestChoose: two workers do not choose the same VMID, and a choice is not lost between two passes.
func TestChoose(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	guests := map[string]*v1alpha1.Guest{}
	var objects []client.Object
	for _, name := range []string{"a", "b", "declared", "reserved", "elsewhere"} {
		g := newGuest(ct, nil)
		g.Name = name
		guests[name] = g
		objects = append(objects, g)
	}
	guests["declared"].Spec.VMID = ptr(int32(501))
	guests["reserved"].Status.VMID = ptr(int32(502))
	guests["elsewhere"].Spec.VMID, guests["elsewhere"].Spec.HostRef.Name = ptr(int32(503)), "other"
	host := &v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Namespace: "lab", Name: "home"}}
	host.Spec.VMIDRange = &v1alpha1.VMIDRange{First: 500, Last: 505}
	now := clocktesting.NewFakePassiveClock(noon)
	k := New(Config{Reader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build(), Clock: now})
	seen := Seen{site: Site{Reader: crowd{taken: map[int]bool{500: true}}}}
	choose := func(name string) int {
		t.Helper()
		vmid, err := k.choose(t.Context(), guests[name], host, &seen)
		if err != nil {
			t.Fatal(err)
		}
		return vmid
	}
	if got := choose("a"); got != 503 {
		t.Errorf("500 is taken, 501 declared, 502 reserved: want 503, got %d", got)
	}
	if got := choose("a"); got != 503 {
		t.Errorf("the same Guest gets the same one: got %d", got)
	}
	if got := choose("b"); got != 504 {
		t.Errorf("another Guest gets another one: got %d", got)
	}
	k.reserved.drop(types.NamespacedName{Namespace: "lab", Name: "home"}, types.NamespacedName{Namespace: "lab", Name: "a"})
	if got := choose("b"); got != 503 {
		t.Errorf("what was given up is free: got %d", got)
	}
	now.SetTime(noon.Add(2 * reservationLife))
	if got := choose("a"); got != 503 {
		t.Errorf("a choice that was not used ends: got %d", got)
	}
	for _, c := range []struct {
		reason string
		vmid   int
		box    box
		waits  bool
	}{
		{"one that is being made, nobody knows for whom", 505, box{typ: proxmox.LXC, lock: "create"}, true},
		{"one that is being cloned", 505, box{typ: proxmox.LXC, lock: "clone"}, true},
		{"one that is made already", 505, box{typ: proxmox.LXC}, false},
		{"a VM", 505, box{typ: proxmox.QEMU, lock: "create"}, false},
		{"one that bears a mark", 505, box{typ: proxmox.LXC, lock: "create", tags: "phoenix-000000000000"}, false},
		{"one that another Guest reserved", 502, box{typ: proxmox.LXC, lock: "create"}, false},
		{"one outside of the range", 506, box{typ: proxmox.LXC, lock: "create"}, false},
	} {
		seen.list = (&shelf{guests: map[int]box{c.vmid: c.box}}).list()
		if _, err := k.choose(t.Context(), guests["b"], host, &seen); (err != nil) != c.waits {
			t.Errorf("%s: waits %v, got %v", c.reason, c.waits, err)
		}
	}
}

// TestRestarts: which restarts were in vain.
func TestRestarts(t *testing.T) {
	k := New(Config{Clock: clocktesting.NewFakePassiveClock(noon)})
	cores := []proxmox.PendingChange{{Key: "cores", Value: "1", Pending: "2"}}
	memory := []proxmox.PendingChange{{Key: "memory", Value: "512", Pending: "1024"}}
	web, mail := newGuest(vm, nil), newGuest(vm, nil)
	mail.Name = "mail"
	for _, c := range []struct {
		reason    string
		guest     *v1alpha1.Guest
		pending   []proxmox.PendingChange
		restarted bool
		want      bool
	}{
		{"it waits for its first restart", web, cores, false, false},
		{"a restart left it", web, cores, true, true},
		{"nothing changed since", web, cores, false, true},
		{"another guest has not been restarted", mail, cores, false, false},
		{"something else waits now", web, memory, false, false},
		{"that was applied", web, nil, true, false},
		{"and comes again", web, cores, false, false},
	} {
		if got := k.restarted.note(c.guest, Seen{pending: c.pending, restarted: c.restarted}); got != c.want {
			t.Errorf("%s: want %v, got %v", c.reason, c.want, got)
		}
	}
}
