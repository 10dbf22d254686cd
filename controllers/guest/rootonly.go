// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// rootTimeout bounds a command on a node: pct takes up to a second, and waits 10 s for a lock.
const rootTimeout = 30 * time.Second

// features declares a container's features. A token may change nesting alone, and nothing of a privileged container.
func (d *draft) features() {
	want := d.guest.Spec.Features
	if want == nil {
		return
	}
	d.declared["features"] = true
	now, err := proxmox.ParseFeatures(d.now["features"])
	if err != nil {
		d.unreadable("features", err)
		return
	}
	flags := []feature{{"nesting", &now.Nesting, want.Nesting}, {"keyctl", &now.KeyCtl, want.Keyctl}, {"fuse", &now.FUSE, want.FUSE}, {"mknod", &now.MkNod, want.Mknod}}
	nesting := featureChanges(flags[:1])
	alone := now // what a token may write
	rest := featureChanges(flags[1:])
	// With root's help one call carries both; without it, and at the creation, nesting goes by itself.
	byToken := d.unprivilegedNow() && (d.seen.presence == absent || len(rest) == 0 || !d.seen.hasShell)
	if byToken {
		d.setFeatures(&d.api, alone, nesting)
	} else {
		rest = append(nesting, rest...)
	}
	d.setFeatures(&d.root, now, rest)
}

// feature is one flag as it is and as it is declared.
type feature struct {
	name string
	have *bool
	want *bool
}

func featureChanges(flags []feature) []reconcile.Change {
	var changes []reconcile.Change
	for _, f := range flags {
		if f.want != nil {
			changes = append(changes, sub("features."+f.name, f.have, *f.want, onOff, v1alpha1.ImpactNone)...)
		}
	}
	return changes
}

// unprivilegedNow says whether the container is, or is made, unprivileged.
func (d *draft) unprivilegedNow() bool {
	if d.seen.presence == present {
		return d.now["unprivileged"] == "1"
	}
	want := d.guest.Spec.Unprivileged
	return want == nil || *want
}

func (d *draft) setFeatures(e *edit, f proxmox.Features, changes []reconcile.Change) {
	if len(changes) == 0 {
		return
	}
	value, err := f.Encode()
	if err != nil {
		d.unreadable("features", err)
		return
	}
	e.put("features", cmp.Or(value, "nesting=0"), changes...) // deleting the key takes more rights than writing it
}

// asRoot is the step that writes what only root may write, over SSH to the node that the guest is on now.
func (d *draft) asRoot() *reconcile.Step {
	if len(d.root.changes) == 0 {
		return nil
	}
	if !d.seen.hasShell {
		fields := make([]string, 0, len(d.root.changes))
		for _, c := range d.root.changes {
			fields = append(fields, c.Field)
		}
		r := fail(RootOnlyReason, "", "%s can be set by root alone, and Host/%s has no SSH for node %s: add the node to ssh.nodes of the Host",
			strings.Join(fields, ", "), d.seen.host.name, d.seen.ref.Node)
		r.changes = d.root.changes
		d.refuse(r)
		return nil
	}
	seen, root := d.seen, d.root
	return &reconcile.Step{
		Reason:  RootConfiguringReason,
		Message: fmt.Sprintf("set %s of %s %d as root", fieldsOf(root.changes), nounOf(seen.ref.Type), seen.ref.VMID),
		Changes: root.changes,
		Do: func(ctx context.Context) error {
			command := proxmox.SetCommand(seen.ref, seen.config.Digest, root.set, root.del)
			return runAsRoot(ctx, seen.shell, command)
		},
	}
}

// runAsRoot runs a command on the node; what it complains of is read like an answer of the API.
func runAsRoot(ctx context.Context, shell Shell, command []string) error {
	ctx, cancel := context.WithTimeout(ctx, rootTimeout)
	defer cancel()
	name := strings.Join(command[:3], " ")
	result, err := shell.Run(ctx, command, nil)
	if err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	if result.ExitCode == 0 {
		return nil
	}
	said := strings.TrimSpace(string(result.Stderr))
	complaint := fmt.Errorf("run %s: exit %d: %s", name, result.ExitCode, said)
	answer := &proxmox.Error{Code: 1, Reason: said}
	switch {
	case proxmox.IsLocked(answer):
		return reconcile.Wait(LockedReason, taskFallback, complaint)
	case proxmox.IsConflict(answer):
		return reconcile.Wait(ChangedReason, soon, complaint)
	case hotplugFailed(answer):
		return reconcile.Fail(HotplugFailedReason, complaint)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return complaint
	}
	return reconcile.Fail(RootOnlyReason, complaint)
}
