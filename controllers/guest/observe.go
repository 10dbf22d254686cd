// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Observe finds the guest and reads it. While a task runs for it, it is not read: the task will change it.
func (k *Kind) Observe(ctx context.Context, g *v1alpha1.Guest) (Seen, error) {
	seen, host, err := k.locate(ctx, g)
	if err != nil {
		return seen, err
	}
	switch seen.presence {
	case present:
		seen.vain = k.restarted.note(g, seen)
	case absent:
		if err := k.prepare(ctx, g, host, &seen); err != nil {
			return seen, err
		}
	}
	if err := errors.Join(k.readKeys(ctx, g, &seen), k.readExports(ctx, g, host, &seen), k.readSnippets(ctx, g, &seen)); err != nil {
		return seen, err
	}
	k.lookInside(ctx, g, &seen)
	return seen, k.settle(g, seen)
}

// Unseen says that it is not known whether the guest is there.
func (k *Kind) Unseen(g *v1alpha1.Guest) bool {
	c := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.RunningCondition)
	return c == nil || c.Status == metav1.ConditionUnknown
}

// Glance finds the guest and reads what others build on: its place, its power, its addresses.
func (k *Kind) Glance(ctx context.Context, g *v1alpha1.Guest) (Seen, error) {
	seen, _, err := k.locate(ctx, g)
	return seen, err
}

// locate finds the guest of a Host that was reached, and reads it where it is there.
func (k *Kind) locate(ctx context.Context, g *v1alpha1.Guest) (Seen, *v1alpha1.Host, error) {
	hostKey := types.NamespacedName{Namespace: g.Namespace, Name: g.Spec.HostRef.Name}
	host := &v1alpha1.Host{}
	if err := k.Reader.Get(ctx, hostKey, host); err != nil {
		return Seen{}, nil, fmt.Errorf("read Host/%s: %w", hostKey.Name, err)
	}
	site, ok := k.Sites(hostKey)
	if !ok {
		return Seen{}, nil, reconcile.Wait(HostNotReadyReason, shortly, fmt.Errorf("waiting for Host/%s: not connected yet", host.Name))
	}
	seen := Seen{host: factsOf(host), owner: ownerOf(host, g), now: k.Clock.Now(), site: site}
	before := g.Status.Task
	if err := follow(ctx, g, &seen); err != nil {
		return Seen{}, nil, err
	}
	f := finder{guest: g, seen: &seen, task: before}
	if err := f.find(ctx); err != nil {
		return seen, nil, err
	}
	switch seen.presence {
	case present:
		seen.shell, seen.hasShell = k.Shell(hostKey, seen.ref.Node)
		if err := read(ctx, &seen); err != nil {
			seen.presence = unknown // that it cannot be read says nothing of its power
			return seen, nil, err
		}
	case absent:
		if err := hidden(ctx, g, &seen); err != nil {
			return seen, nil, err
		}
	}
	return seen, host, nil
}

// lookInside looks at what the guest's machine has: all at once, so that it travels as one script.
func (k *Kind) lookInside(ctx context.Context, g *v1alpha1.Guest, seen *Seen) {
	var looks sync.WaitGroup
	var m *mounts
	var r *roots
	looks.Go(func() { m = k.readMounts(ctx, g, seen) })
	looks.Go(func() { r = k.readTrust(ctx, g, seen) })
	looks.Wait()
	seen.mounts, seen.trust = m, r
}

// read reads what the configuration does not say: what waits for a restart, power, addresses.
func read(ctx context.Context, seen *Seen) error {
	reader := seen.site.Reader
	var err error
	if seen.status, err = reader.Status(ctx, seen.ref); err != nil {
		return readFailure(seen, "status", err)
	}
	if seen.pending, err = reader.Pending(ctx, seen.ref); err != nil {
		return readFailure(seen, "pending changes", err)
	}
	if !seen.status.Running || seen.ref.Type == proxmox.QEMU && !seen.status.AgentEnabled {
		return nil
	}
	seen.interfaces, err = reader.Interfaces(ctx, seen.ref)
	var answer *proxmox.Error
	switch {
	case err == nil:
	case errors.Is(err, proxmox.ErrAgentAbsent), errors.As(err, &answer) && answer.Code == http.StatusInternalServerError:
		seen.silent = true // it boots, stops or has no agent: its addresses are not known, all else is
	default:
		return readFailure(seen, "addresses", err)
	}
	return nil
}

func readFailure(seen *Seen, what string, err error) error {
	return fmt.Errorf("read %s of %s %d: %w", what, nounOf(seen.ref.Type), seen.ref.VMID, failure(err))
}

// hidden says that the guest, which was there before, has not gone but is not shown to the token any more. It is neither
// made a second time nor believed to be gone.
func hidden(ctx context.Context, g *v1alpha1.Guest, seen *Seen) error {
	if g.Status.Node == "" || g.Status.VMID == nil {
		return nil
	}
	vmid := int(*g.Status.VMID)
	if len(listed(seen.list, vmid)) > 0 {
		return nil // somebody else's by now
	}
	_, err := seen.site.Reader.FreeVMID(ctx, vmid, vmid, nil)
	if err == nil {
		return nil
	}
	seen.presence = unknown
	if !errors.Is(err, proxmox.ErrRangeExhausted) {
		return fmt.Errorf("ask for VMID %d: %w", vmid, failure(err))
	}
	return reconcile.Fail(ForbiddenReason, fmt.Errorf(
		"guest %d exists, but is not shown to the token of Host/%s: give the token VM.Audit on /vms/%d", vmid, seen.host.name, vmid))
}

// prepare gathers what the making of the guest needs.
func (k *Kind) prepare(ctx context.Context, g *v1alpha1.Guest, host *v1alpha1.Host, seen *Seen) error {
	if !g.DeletionTimestamp.IsZero() {
		return nil
	}
	switch {
	case g.Spec.VMID != nil:
		seen.vmid = int(*g.Spec.VMID)
	case g.Status.VMID != nil:
		seen.vmid = int(*g.Status.VMID)
	default:
		vmid, err := k.choose(ctx, g, host, seen)
		if err != nil {
			return err
		}
		seen.vmid = vmid
	}
	if s := g.Spec.Source; s != nil && s.Clone != nil {
		if err := k.resolve(ctx, g, seen); err != nil {
			return err
		}
	}
	node, refused := placeOf(g, *seen)
	if refused != nil {
		seen.refusals = append(seen.refusals, *refused)
		return nil
	}
	seen.node = node
	return nil
}

// placeOf is the node on which the guest is made.
func placeOf(g *v1alpha1.Guest, seen Seen) (string, *refusal) {
	node := g.Spec.Node
	if node == "" {
		node = seen.host.defaults.Node
	}
	switch {
	case node == "" && seen.source != nil:
		return seen.source.Node, nil
	case node == "" && len(seen.host.nodes) == 1:
		return seen.host.nodes[0], nil
	case node == "":
		return "", stall(NodeMissingReason, "node", "node is not set and Host/%s has %d nodes: set spec.node, or defaults.node of the Host",
			seen.host.name, len(seen.host.nodes))
	}
	for _, known := range seen.host.nodes {
		if known == node {
			return node, nil
		}
	}
	return "", stall(NodeMissingReason, "node", "Host/%s has no node %s, only %v: correct spec.node", seen.host.name, node, seen.host.nodes)
}

// settle tells of a task that failed and left something to do. A guest that is as declared and was started is waited for,
// until it can be reached for the first time.
func (k *Kind) settle(g *v1alpha1.Guest, seen Seen) error {
	deleting := !g.DeletionTimestamp.IsZero()
	steps := k.Plan
	if deleting {
		steps = k.Remove
	}
	open := false
	for _, s := range steps(g, seen) {
		open = open || s.Held == ""
	}
	switch {
	case open && seen.failed != nil:
		return seen.failed
	case open || deleting:
		return nil
	}
	if err := seen.awaitAnswer(g); err != nil && g.Spec.Management != v1alpha1.ManagementObserve {
		return err
	}
	if err := seen.awaitMounts(g); err != nil {
		return err
	}
	return seen.awaitTrust(g)
}

// get reads an object of the Guest's namespace from the cache.
func (k *Kind) get(ctx context.Context, g *v1alpha1.Guest, name string, into client.Object) error {
	return k.Reader.Get(ctx, types.NamespacedName{Namespace: g.Namespace, Name: name}, into)
}
