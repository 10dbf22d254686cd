// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/hostservice"
	"github.com/phoenix-hypervisor/phoenix/controllers/site"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// soonThere is how soon a machine is asked for again that is not there yet.
const soonThere = 10 * time.Second

// place is where a machine is: a node, or a guest.
type place struct {
	host types.NamespacedName
	node string // of a node; empty for a guest
	vmid int
}

// machines keeps one Machine for each place, so that what is done for one machine at a time travels together.
type machines struct {
	clock clock.Clock

	mu  sync.Mutex
	all map[place]reached
}

// reached is a machine and the way to it. It is made anew when the way changes.
type reached struct {
	site *site.Site
	node string // on which a guest is
	kind v1alpha1.GuestType
	*machine.Machine
}

// of returns the machine of a place; open is called when there is none on this way.
func (m *machines) of(p place, way reached, open func() machine.Runner) *machine.Machine {
	m.mu.Lock()
	defer m.mu.Unlock()
	if had, ok := m.all[p]; ok && had.site == way.site && had.node == way.node && had.kind == way.kind {
		return had.Machine
	}
	if m.all == nil {
		m.all = map[place]reached{}
	}
	way.Machine = machine.New(open(), machine.Options{Clock: m.clock})
	m.all[p] = way
	return way.Machine
}

// drop forgets the machines of a Host that is gone.
func (m *machines) drop(host types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := range m.all {
		if p.host == host {
			delete(m.all, p)
		}
	}
}

// serviceMachine is the machine that a HostService runs on. Its error is an outcome.
func (h *house) serviceMachine(ctx context.Context, s *v1alpha1.HostService) (*machine.Machine, error) {
	if s.Spec.GuestRef != nil {
		var g v1alpha1.Guest
		if err := h.mgr.GetClient().Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: s.Spec.GuestRef.Name}, &g); err != nil {
			return nil, fmt.Errorf("read Guest/%s: %w", s.Spec.GuestRef.Name, err)
		}
		return h.guestMachine(ctx, &g)
	}
	if s.Spec.HostRef == nil {
		return nil, reconcile.Stall(hostservice.InvalidReason, errors.New("set hostRef or guestRef: the machine that the service runs on"))
	}
	name := types.NamespacedName{Namespace: s.Namespace, Name: s.Spec.HostRef.Name}
	var host v1alpha1.Host
	if err := h.mgr.GetClient().Get(ctx, name, &host); err != nil {
		return nil, fmt.Errorf("read Host/%s: %w", name.Name, err)
	}
	node, err := hostservice.NodeOf(s, &host)
	if err != nil {
		return nil, err
	}
	return h.nodeMachine(ctx, &host, node)
}

// nodeMachine is the machine that a node of a Host is, over SSH. Its error is an outcome.
func (h *house) nodeMachine(_ context.Context, host *v1alpha1.Host, node string) (*machine.Machine, error) {
	name := types.NamespacedName{Namespace: host.Namespace, Name: host.Name}
	way, err := h.door(name, node)
	if err != nil {
		return nil, err
	}
	return h.machines.of(place{host: name, node: node}, reached{site: way.site}, func() machine.Runner { return way }), nil
}

// guestMachine is the machine that a Guest is, on the node that it is on now: a container through its node, a VM through
// its guest agent. Its error is an outcome.
func (h *house) guestMachine(_ context.Context, g *v1alpha1.Guest) (*machine.Machine, error) {
	if g.Status.VMID == nil || g.Status.Node == "" {
		return nil, reconcile.Wait(hostservice.MachineAwayReason, soonThere, fmt.Errorf("waiting for Guest/%s: it does not exist yet", g.Name))
	}
	host := types.NamespacedName{Namespace: g.Namespace, Name: g.Spec.HostRef.Name}
	vmid := int(*g.Status.VMID)
	at := place{host: host, vmid: vmid}
	if g.Spec.Type == v1alpha1.GuestVM {
		s, ok := h.connections(host)
		if !ok {
			return nil, notConnected(host.Name)
		}
		way := reached{site: s, node: g.Status.Node, kind: g.Spec.Type}
		agent := vmAgent{s.API().Client(), proxmox.Ref{Node: g.Status.Node, Type: proxmox.QEMU, VMID: vmid}}
		return h.machines.of(at, way, func() machine.Runner { return machine.OverAgent(agent, h.opts.Clock) }), nil
	}
	node, err := h.door(host, g.Status.Node)
	if err != nil {
		return nil, err
	}
	way := reached{site: node.site, node: g.Status.Node, kind: g.Spec.Type}
	return h.machines.of(at, way, func() machine.Runner { return machine.Attach(node, vmid) }), nil
}

func notConnected(host string) error {
	return reconcile.Wait(hostservice.MachineAwayReason, soonThere, fmt.Errorf("waiting for Host/%s: not connected yet", host))
}

// door is the SSH door of a node. Its error is an outcome.
func (h *house) door(host types.NamespacedName, node string) (nodeDoor, error) {
	s, ok := h.connections(host)
	if !ok {
		return nodeDoor{}, notConnected(host.Name)
	}
	if !s.HasSSH(node) {
		return nodeDoor{}, reconcile.Fail(hostservice.NoSSHReason, fmt.Errorf("reach node %s: Host/%s has no SSH for it: add the node to ssh.nodes of Host/%s",
			node, host.Name, host.Name))
	}
	return nodeDoor{shell{s, node}}, nil
}

// nodeDoor is a shell that names what the Secret with the key lacks.
type nodeDoor struct{ shell }

// Run runs a command as root on the node.
func (d nodeDoor) Run(ctx context.Context, argv []string, stdin []byte) (machine.Result, error) {
	result, err := d.shell.Run(ctx, argv, stdin)
	var lacking *site.Error
	if errors.As(err, &lacking) {
		return result, reconcile.Fail(lacking.Reason(), err)
	}
	return result, err
}

// vmAgent is the guest agent of one VM.
type vmAgent struct {
	client *proxmox.Client
	ref    proxmox.Ref
}

// AgentExec starts a program in the VM.
func (a vmAgent) AgentExec(ctx context.Context, command []string, input []byte) (int, error) {
	pid, err := a.client.AgentExec(ctx, a.ref, command, input)
	return pid, agentFailure(err)
}

// AgentExecStatus says how a program is.
func (a vmAgent) AgentExecStatus(ctx context.Context, pid int) (machine.AgentStatus, error) {
	s, err := a.client.AgentExecStatus(ctx, a.ref, pid)
	return machine.AgentStatus{
		Exited: s.Exited, ExitCode: s.ExitCode, Signal: s.Signal, Stdout: []byte(s.Stdout), Stderr: []byte(s.Stderr), Truncated: s.Truncated,
	}, agentFailure(err)
}

// agentFailure tells a VM that is away from a token that may not use its agent.
func agentFailure(err error) error {
	switch {
	case err == nil:
		return nil
	case proxmox.IsUnauthorized(err):
		return reconcile.Fail(unauthorizedReason, err)
	case proxmox.IsDenied(err):
		return reconcile.Fail(forbiddenReason, err)
	case proxmox.IsInvalid(err):
		return err
	}
	return machine.Away(err)
}

// Reasons for which a guest agent cannot be used, the same words as those of a Guest.
const (
	unauthorizedReason = "Unauthorized"
	forbiddenReason    = "Forbidden"
)
