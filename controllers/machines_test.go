// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/site"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
)

// nowhere is a runner that is never asked.
type nowhere struct{}

func (nowhere) Run(context.Context, []string, []byte) (machine.Result, error) {
	return machine.Result{}, errors.New("nobody is there")
}

func TestMachinesAreShared(t *testing.T) {
	m := &machines{clock: clock.RealClock{}}
	home := types.NamespacedName{Namespace: "lab", Name: "home"}
	first, second := &site.Site{}, &site.Site{}
	opened := 0
	of := func(p place, way reached) *machine.Machine {
		return m.of(p, way, func() machine.Runner { opened++; return nowhere{} })
	}
	node, guest := place{host: home, node: "pve1"}, place{host: home, vmid: 103}
	lxc := reached{site: first, node: "pve1", kind: v1alpha1.GuestContainer}
	a := of(node, reached{site: first})
	for name, c := range map[string]struct {
		reason string
		got    *machine.Machine
		same   bool
	}{
		"again":        {"all who work on one machine share it", of(node, reached{site: first}), true},
		"another node": {"it is another machine", of(place{host: home, node: "pve2"}, reached{site: first}), false},
		"a guest":      {"it is another machine", of(guest, lxc), false},
	} {
		if (c.got == a) != c.same {
			t.Errorf("%s: the same machine: %t; %s", name, c.got == a, c.reason)
		}
	}
	g := of(guest, lxc)
	moved := lxc
	moved.node = "pve2"
	if of(guest, moved) == g {
		t.Error("a guest that moved is reached through the node that it was on")
	}
	if of(node, reached{site: second}) == a {
		t.Error("a Host with other connections is reached over the old ones")
	}
	if opened != 5 {
		t.Errorf("%d ways were opened, want 5", opened)
	}
	m.drop(home)
	if len(m.all) != 0 {
		t.Errorf("%d machines of a Host that is gone are kept", len(m.all))
	}
}

func TestAgentFailures(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		err    error
		away   bool
	}{
		"no agent":   {"it may come", proxmox.ErrAgentAbsent, true},
		"no answer":  {"nobody knows what was done", &proxmox.Error{Code: 595}, true},
		"refused":    {"a wrong call is a fault", &proxmox.Error{Code: 400}, false},
		"no token":   {"the token has to be put right", &proxmox.Error{Code: 401}, false},
		"no right":   {"so has its privilege", &proxmox.Error{Code: 403}, false},
		"not really": {"no error is none", nil, false},
	} {
		if got := agentFailure(c.err); machine.IsAway(got) != c.away || (got == nil) != (c.err == nil) {
			t.Errorf("%s: %v is away: %t; %s", name, got, machine.IsAway(got), c.reason)
		}
	}
}
