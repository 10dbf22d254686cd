// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const defaultShutdown = time.Minute

func shutdownTimeout(g *v1alpha1.Guest) time.Duration {
	if t := g.Spec.ShutdownTimeout; t != nil {
		return t.Duration
	}
	return defaultShutdown
}

func wantsRunning(g *v1alpha1.Guest) bool { return g.Spec.Power != v1alpha1.PowerStopped }

// power switches the guest on or off, or restarts it. A template has no power.
func (d *draft) power() []reconcile.Step {
	switch running, wanted := d.running(), wantsRunning(d.guest); {
	case d.seen.template:
		return nil
	case wanted && !running:
		return []reconcile.Step{d.startable(d.start())}
	case !wanted && running && d.isControlPlane():
		d.refuse(d.keepsControlPlane("stopped").differs(string(v1alpha1.PowerRunning), string(v1alpha1.PowerStopped)))
		return nil
	case !wanted && running:
		return []reconcile.Step{d.stop()}
	case running:
		return d.restart()
	}
	return nil
}

func (d *draft) isControlPlane() bool { return d.seen.host.controlPlane == d.guest.Name }

func (d *draft) keepsControlPlane(what string) *refusal {
	return stall(ControlPlaneReason, "power", "this control plane runs in %s %d (controlPlaneGuest of Host/%s): it is not %s from here",
		nounOf(d.seen.ref.Type), d.seen.ref.VMID, d.seen.host.name, what)
}

func (d *draft) start() reconcile.Step {
	g, seen := d.guest, d.seen
	return reconcile.Step{
		Reason:  StartingReason,
		Message: fmt.Sprintf("start %s %d", nounOf(seen.ref.Type), seen.ref.VMID),
		Changes: []reconcile.Change{change("power", string(v1alpha1.PowerStopped), string(v1alpha1.PowerRunning), v1alpha1.ImpactNone)},
		Do: func(ctx context.Context) error {
			return begin(g, seen, StartingReason, "", 0, func() (proxmox.UPID, error) { return seen.site.Switch.Start(ctx, seen.ref) })
		},
	}
}

// stop shuts the guest down, and switches it off when it does not react in time.
func (d *draft) stop() reconcile.Step {
	g, seen := d.guest, d.seen
	return reconcile.Step{
		Reason:  StoppingReason,
		Message: fmt.Sprintf("stop %s %d", nounOf(seen.ref.Type), seen.ref.VMID),
		Changes: []reconcile.Change{change("power", string(v1alpha1.PowerRunning), string(v1alpha1.PowerStopped), v1alpha1.ImpactOutage)},
		Do: func(ctx context.Context) error {
			return begin(g, seen, StoppingReason, "", 0, func() (proxmox.UPID, error) {
				return seen.site.Switch.Shutdown(ctx, seen.ref, shutdownTimeout(g))
			})
		},
	}
}

// restart applies what only a restart applies, as far as the spec has something to say of it.
func (d *draft) restart() []reconcile.Step {
	var changes []reconcile.Change
	for _, p := range d.seen.pending {
		if !d.declared[p.Key] && !slices.Contains(d.seen.mark.slots, p.Key) || d.stays(p.Key) {
			continue
		}
		changes = append(changes, change(p.Key, shown(p.Key, p.Value), shown(p.Key, p.Pending), v1alpha1.ImpactRestart))
	}
	if len(changes) == 0 {
		return nil
	}
	g, seen := d.guest, d.seen
	if seen.vain && g.Spec.RestartPolicy == v1alpha1.RestartWhenRequired && !d.isControlPlane() {
		r := fail(failedReason(RestartRequiredReason), "", "%s %d was restarted, but Proxmox did not apply %s: see the log of its start",
			nounOf(seen.ref.Type), seen.ref.VMID, fieldsOf(changes))
		r.changes = changes
		d.refuse(r)
		return nil
	}
	held := ""
	switch {
	case d.isControlPlane():
		held = "this control plane runs in it; waits for a restart by hand"
	case g.Spec.RestartPolicy != v1alpha1.RestartWhenRequired:
		held = "restartPolicy is Never; waits for a restart by hand"
	}
	return []reconcile.Step{{
		Reason:  RestartRequiredReason,
		Message: fmt.Sprintf("restart %s %d to apply %s", nounOf(seen.ref.Type), seen.ref.VMID, fieldsOf(changes)),
		Held:    held,
		Changes: changes,
		Do: func(ctx context.Context) error {
			return begin(g, seen, RestartRequiredReason, "", 0, func() (proxmox.UPID, error) {
				return seen.site.Switch.Reboot(ctx, seen.ref, shutdownTimeout(g))
			})
		},
	}}
}

// shown is a value as a plan may show it.
func shown(key, value string) string {
	switch {
	case key == "sshkeys":
		keys, err := proxmox.DecodeSSHKeys(value)
		if err != nil {
			return "unreadable"
		}
		return keysText(keys)
	case strings.Contains(key, "password"):
		return ""
	}
	return excerpt(value)
}
