// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// making is the step that makes the guest: a clone or a creation. The VMID stands in the status before the call.
func (k *Kind) making(d *draft) reconcile.Step {
	g, seen := d.guest, d.seen
	reserve := func() {
		vmid := int32(seen.vmid)
		g.Status.VMID = &vmid
	}
	if d.cloning() {
		return k.clone(d, reserve)
	}
	return d.withSnippet(k.create(d, reserve), d.api.set["cicustom"])
}

// create is a creation that carries all that a token may write.
func (k *Kind) create(d *draft, reserve func()) reconcile.Step {
	g, seen := d.guest, d.seen
	params := d.api.set
	if !d.vm() {
		params["ostemplate"] = g.Spec.Source.Template
	}
	what := fmt.Sprintf("%s %d on %s", noun(g.Spec.Type), seen.vmid, seen.node)
	return reconcile.Step{
		Reason:  CreatingReason,
		Message: "create " + what,
		Changes: []reconcile.Change{change("", "", what, v1alpha1.ImpactNone)},
		Reserve: reserve,
		Do: func(ctx context.Context) error {
			return k.make(ctx, g, seen, CreatingReason, d.rootStorage(), 0, func() (proxmox.UPID, error) {
				return seen.site.Writer.Create(ctx, seen.node, d.typ(), seen.vmid, params)
			})
		},
	}
}

// rootStorage is the storage that a creation loads.
func (d *draft) rootStorage() string {
	key := rootDevice(d.guest)
	return cmp.Or(proxmox.StorageOf(d.api.set[key]), d.api.set["storage"], d.seen.host.defaults.Storage)
}

// clone copies a template. The call carries name and mark; tags and everything else are the first step after it.
func (k *Kind) clone(d *draft, reserve func()) reconcile.Step {
	g, seen := d.guest, d.seen
	source, spec := seen.source, g.Spec.Source.Clone
	m := mark{owner: seen.owner, vmid: seen.vmid, stage: stageClone}
	params := map[string]string{"description": writeMark(deref(g.Spec.Notes), m), "full": "1"}
	name := "hostname"
	if d.vm() {
		name = "name"
	}
	params[name] = hostname(g)
	if seen.node != source.Node {
		params["target"] = seen.node
	}
	storage := cmp.Or(spec.Storage, seen.host.defaults.Storage)
	switch {
	case spec.Mode == v1alpha1.CloneLinked:
		params["full"] = "0"
		storage = ""
	case storage != "":
		params["storage"] = storage
	}
	what := fmt.Sprintf("%s %d on %s, a clone of %d", noun(g.Spec.Type), seen.vmid, seen.node, source.VMID)
	return reconcile.Step{
		Reason:  CloningReason,
		Message: "make " + what,
		Changes: []reconcile.Change{change("", "", what, v1alpha1.ImpactNone)},
		Reserve: reserve,
		Do: func(ctx context.Context) error {
			return k.make(ctx, g, seen, CloningReason, storage, source.VMID, func() (proxmox.UPID, error) {
				return seen.site.Writer.Clone(ctx, source.Ref, seen.vmid, params)
			})
		},
	}
}

// make begins the making, unless the site is in doubt. A VMID that somebody took in the meantime is given up, if it was
// allocated.
func (k *Kind) make(
	ctx context.Context, g *v1alpha1.Guest, seen Seen, reason, storage string, template int, call func() (proxmox.UPID, error),
) error {
	if list, _ := seen.site.View.Snapshot(); list.Doubt != "" || seen.doubt != "" {
		return reconcile.Wait(FrozenReason, later, fmt.Errorf("%s: what Host/%s shows is doubtful: %s",
			taskText(reason, g), seen.host.name, cmp.Or(list.Doubt, seen.doubt)))
	}
	err := begin(g, seen, reason, storage, template, call)
	if !proxmox.IsExists(err) {
		return err
	}
	list, refreshErr := seen.site.View.Refresh(ctx)
	switch _, visible := list.Guests[seen.vmid]; {
	case refreshErr != nil:
		return fmt.Errorf("list guests: %w", failure(refreshErr))
	case visible:
		// It may be ours, from a call that went unanswered: the next observation judges it.
		return reconcile.Wait(VMIDTakenReason, soon, fmt.Errorf("VMID %d was taken in the meantime", seen.vmid))
	case g.Spec.VMID != nil:
		return reconcile.Stall(VMIDTakenReason, fmt.Errorf(
			"VMID %d is taken by a guest that the token of Host/%s cannot see: choose another vmid", seen.vmid, seen.host.name))
	}
	g.Status.VMID = nil
	k.reserved.drop(types.NamespacedName{Namespace: g.Namespace, Name: g.Spec.HostRef.Name},
		types.NamespacedName{Namespace: g.Namespace, Name: g.Name})
	return reconcile.Wait(VMIDTakenReason, soon, fmt.Errorf("VMID %s was taken in the meantime: another one is chosen", strconv.Itoa(seen.vmid)))
}
