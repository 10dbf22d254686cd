// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const snippet = "/var/lib/vz/snippets/phoenix-200.yaml"

func reachableFromBirth(s *v1alpha1.GuestSpec) {
	s.VMID, s.CloudInit, s.Agent, s.DeletionPolicy = ptr(int32(200)), &v1alpha1.CloudInit{}, ptr(true), v1alpha1.DeletionDelete
	s.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPDHCP}}}
}

// TestSnippet: a VM that Phoenix makes finds the guest agent in its vendor snippet, which lives as long as the VM.
func TestSnippet(t *testing.T) {
	for _, c := range []struct {
		reason string
		guest  *v1alpha1.Guest
	}{
		{"a clone", vm("db", reachableFromBirth)},
		{"a VM that is made from nothing", object("db", v1alpha1.GuestVM, nil, reachableFromBirth)},
	} {
		t.Run(c.reason, func(t *testing.T) {
			w := newWorld(t, pve.Options{})
			w.create(c.guest)
			w.ready("db")
			if got := w.state(200).Options["cicustom"]; got != "vendor=local:snippets/phoenix-200.yaml" {
				t.Errorf("cicustom: got %q", got)
			}
			text, err := w.sim.File("phoenix", snippet)
			if err != nil || !strings.Contains(text, "qemu-guest-agent") {
				t.Errorf("the snippet: %v, %q", err, text)
			}
			w.delete("db")
			w.until("it is gone", gone, "db")
			if text, err := w.sim.File("phoenix", snippet); err == nil {
				t.Errorf("the snippet goes with the VM: got %q", text)
			}
		})
	}
}

// TestNoSnippet: where none can be placed, or the spec does not ask for it, a VM is made as it always was.
func TestNoSnippet(t *testing.T) {
	storages := pve.DefaultStorages()
	storages[0].Content = []string{"iso", "vztmpl"}
	for _, c := range []struct {
		reason string
		sim    pve.Options
		guest  *v1alpha1.Guest
		reads  int
		shell  bool
	}{
		{"no storage for snippets", pve.Options{Storages: storages}, vm("db", reachableFromBirth), 1, true},
		{"no SSH", pve.Options{}, vm("db", reachableFromBirth), 0, false},
		{"no cloud-init", pve.Options{}, vm("db", func(s *v1alpha1.GuestSpec) { s.VMID, s.Agent = ptr(int32(200)), ptr(true) }), 0, true},
		{"no agent", pve.Options{}, vm("db", func(s *v1alpha1.GuestSpec) { s.VMID, s.CloudInit = ptr(int32(200)), &v1alpha1.CloudInit{} }), 0, true},
	} {
		t.Run(c.reason, func(t *testing.T) {
			w := newWorld(t, c.sim)
			w.noShell.Store(!c.shell)
			w.create(c.guest)
			w.ready("db")
			if got, there := w.state(200).Options["cicustom"]; there {
				t.Errorf("cicustom: got %q", got)
			}
			if n := w.sim.CountRequests("GET", "/storage"); n != c.reads {
				t.Errorf("want %d looks for a storage, got %d", c.reads, n)
			}
		})
	}
}

// TestSnippetMissing: a snippet that is not there any more would keep the VM from starting; it is placed again.
func TestSnippetMissing(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(vm("db", reachableFromBirth))
	w.ready("db")
	w.change("db", func(g *v1alpha1.Guest) { g.Spec.Power = v1alpha1.PowerStopped })
	w.ready("db")
	shell, _ := w.loop.Kind.(*guest.Kind).Shell(types.NamespacedName{}, "phoenix")
	if result, err := shell.Run(t.Context(), []string{"rm", snippet}, nil); err != nil || result.ExitCode != 0 {
		t.Fatalf("remove the snippet: %v, %+v", err, result)
	}
	w.change("db", func(g *v1alpha1.Guest) { g.Spec.Power = v1alpha1.PowerRunning })
	w.ready("db")
	if _, err := w.sim.File("phoenix", snippet); err != nil {
		t.Errorf("the snippet: %v", err)
	}
}

// TestSnippetOfTheTemplate: a snippet that came with the template, or that is somebody else's.
func TestSnippetOfTheTemplate(t *testing.T) {
	for _, c := range []struct{ reason, cicustom, want string }{
		{"the template's own one goes with the template", "vendor=local:snippets/phoenix-9001.yaml", "vendor=local:snippets/phoenix-200.yaml"},
		{"somebody else's is left alone", "user=local:snippets/ours.yaml", "user=local:snippets/ours.yaml"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			w := newWorld(t, pve.Options{Guests: []pve.GuestSpec{{VMID: 9001, Kind: "qemu", Config: "agent: 1\ncicustom: " + c.cicustom +
				"\nmemory: 512\nname: tpl\nscsi0: local-lvm:vm-9001-disk-0,size=2G\ntemplate: 1\n"}}})
			w.create(vm("db", func(s *v1alpha1.GuestSpec) {
				reachableFromBirth(s)
				s.Source.Clone.VMID = ptr(int32(9001))
			}))
			w.ready("db")
			if got := w.state(200).Options["cicustom"]; got != c.want {
				t.Errorf("cicustom: want %q, got %q", c.want, got)
			}
		})
	}
}

// TestSnippetNodeAway: a node that does not answer is waited for.
func TestSnippetNodeAway(t *testing.T) {
	w := newWorld(t, pve.Options{})
	door := w.sim.SSH[0].Address
	w.sim.SSH[0].Address = "127.0.0.1:1"
	w.manager = w.start()
	w.create(vm("db", reachableFromBirth))
	w.until("it waits", because(guest.MachineAwayReason), "db")
	w.sim.SSH[0].Address = door
	w.manager = w.start()
	w.ready("db")
}
