// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// mounts are what was seen in a VM of what nfsMounts want of it.
type mounts struct {
	owner machine.Owner
	want  machine.State
	seen  machine.Seen
	vm    *machine.Machine
	// err is why the VM could not be looked at.
	err error
}

// readMounts looks into a VM that runs and can be reached, if its spec has or had nfsMounts: in one round trip.
func (k *Kind) readMounts(ctx context.Context, g *v1alpha1.Guest, seen *Seen) *mounts {
	declared := len(g.Spec.NFSMounts) > 0
	switch {
	case !declared && !seen.mark.mounts, !g.DeletionTimestamp.IsZero(), g.Spec.Type != v1alpha1.GuestVM:
		return nil
	case !seen.enterable(g):
		return nil
	}
	for _, m := range g.Spec.NFSMounts {
		if unmountable("", m.Export, seen.exports[m.Export]) != nil {
			return nil // what is mounted stays until all of it is known
		}
	}
	found := &mounts{
		owner: machine.Owner(seen.owner.id + "/Guest/" + seen.owner.guest),
		want:  mountState(g.Spec.NFSMounts, seen.exports),
	}
	if found.vm, found.err = k.enter(ctx, g, seen); found.err == nil {
		found.seen, found.err = found.vm.Observe(ctx, found.owner, found.want)
	}
	return found
}

// cleared says that nothing of nfsMounts is left in the VM.
func (m *mounts) cleared() bool {
	return m != nil && m.err == nil && len(m.want.Files) == 0 && len(machine.Clear(m.owner, m.seen)) == 0
}

// keepsMounts says whether the mark has to name that there are mounts in the VM.
func (d *draft) keepsMounts() bool {
	return len(d.guest.Spec.NFSMounts) > 0 || d.seen.mark.mounts && !d.seen.mounts.cleared()
}

// mounting are the steps in the VM. Its machine is not Proxmox's: no lock of the guest holds them up.
func (d *draft) mounting() []reconcile.Step {
	m := d.seen.mounts
	if m == nil || m.err != nil {
		return nil
	}
	reason, todo := UnmountingReason, machine.Clear(m.owner, m.seen)
	if len(m.want.Files) > 0 {
		var refused *refusal
		reason = MountingReason
		if todo, refused = d.planMounts(m); refused != nil {
			d.refuse(refused)
			return nil
		}
	}
	var steps []reconcile.Step
	for _, s := range todo {
		changes := m.changes(d.guest.Spec.NFSMounts, s.Changes)
		what := fmt.Sprintf("set %s in VM %d", fieldsOf(changes), d.seen.ref.VMID)
		if s.Reason == machine.ReasonInstall || s.Reason == machine.ReasonRemove {
			what = fmt.Sprintf("%s in VM %d", s.Message, d.seen.ref.VMID)
		}
		steps = append(steps, reconcile.Step{
			Reason: reason, Message: what, Changes: changes,
			Do: func(ctx context.Context) error {
				if err := s.Do(ctx, m.vm); err != nil {
					return mountFailure(reason, fmt.Errorf("%s: %w", what, inShort(err)))
				}
				return nil
			},
		})
	}
	if missing := m.missing(); len(steps) == 0 && len(missing) > 0 {
		d.refuse(fail(MountFailedReason, "nfsMounts", "not mounted, although all is as it should be: %s; see what is mounted there by hand", strings.Join(missing, ", ")))
	}
	return steps
}

// planMounts plans what nfsMounts want. What is mounted by fstab or by hand stays, unless it is to be taken over.
func (d *draft) planMounts(m *mounts) ([]machine.Step, *refusal) {
	adopt := d.guest.Spec.AdoptionPolicy == v1alpha1.AdoptionIfUnowned
	if taken := m.taken(); len(taken) > 0 && !adopt {
		return nil, fail(ForeignFileReason, "nfsMounts", "mounted already, and not by Phoenix: %s: unmount it in VM %d, or set adoptionPolicy: IfUnowned to have it replaced",
			strings.Join(taken, ", "), d.seen.ref.VMID)
	}
	todo, err := machine.Plan(m.owner, m.want, m.seen, machine.PlanOptions{Adopt: adopt})
	if err != nil {
		return nil, d.unmounted(err)
	}
	return todo, nil
}

// unmounted refuses what cannot be planned.
func (d *draft) unmounted(err error) *refusal {
	var foreign *machine.ForeignError
	var unsupported *machine.UnsupportedError
	switch {
	case errors.As(err, &foreign):
		return fail(ForeignFileReason, "nfsMounts", "%w: remove it in VM %d, or set adoptionPolicy: IfUnowned to take it over", err, d.seen.ref.VMID)
	case errors.As(err, &unsupported):
		return stall(UnsupportedReason, "nfsMounts", "%w", err)
	}
	return stall(RefusedReason, "nfsMounts", "%w", err)
}

// changes shows the changes of a step by the mounts that they concern. A mount that is made anew is gone for a moment.
func (m *mounts) changes(declared []v1alpha1.NFSMount, of []machine.Change) []reconcile.Change {
	byName := map[string]string{}
	for _, d := range declared {
		unit := mountUnit(d.Path)
		for _, name := range []string{unitFolder + unit, unitFolder + unit + " mode and owner", "unit " + unit, d.Path} {
			byName[name] = "nfsMounts[" + d.Path + "]"
		}
	}
	var changes []reconcile.Change
	for _, c := range of {
		field, ours := byName[c.What]
		from, to, impact := c.From, c.To, v1alpha1.Impact(c.Impact)
		if !ours {
			field, to = "nfsMounts", strings.TrimSpace(c.What+" "+c.To)
		}
		if impact == v1alpha1.ImpactRestart {
			impact = v1alpha1.ImpactOutage
		}
		if was, is := sourceOf(m.seen.Contents[c.What]), sourceOf(m.file(c.What)); was != is {
			from, to = was, is
		}
		changes = append(changes, change(field, from, to, impact))
	}
	return changes
}

// file is the content that a file is to have.
func (m *mounts) file(path string) []byte {
	for _, f := range m.want.Files {
		if f.Path == path {
			return f.Content
		}
	}
	return nil
}

// taken names what else is mounted on the paths that no unit file of /etc speaks for: an entry of fstab, or a mount by hand.
func (m *mounts) taken() []string {
	var taken []string
	for _, p := range m.seen.Probes {
		if _, written := m.seen.Contents[unitFolder+mountUnit(p.Name)]; !written && !p.OK && p.ExitCode == 0 && p.Output != "" {
			taken = append(taken, fmt.Sprintf("%s on %s", excerpt(p.Output), p.Name))
		}
	}
	return taken
}

// missing are the paths on which the wanted source is not mounted.
func (m *mounts) missing() []string {
	var paths []string
	for _, p := range m.seen.Probes {
		if !p.OK {
			paths = append(paths, p.Name)
		}
	}
	return paths
}

// inShort leaves of what systemd says of a mount what mount says of it: the rest is not the same twice.
func inShort(err error) error {
	var unit *machine.UnitError
	if !errors.As(err, &unit) {
		return err
	}
	short := *unit
	for line := range strings.Lines(unit.Output) {
		if strings.HasPrefix(line, "mount") && strings.Contains(line, ": ") && !strings.Contains(line, ".mount: ") {
			short.Output = strings.TrimSpace(line)
		}
	}
	return &short
}

// mountFailure gives an error of the VM's machine the outcome that it deserves.
func mountFailure(reason string, err error) error {
	var pending *machine.PendingError
	var changed *machine.ChangedError
	var job *machine.JobError
	var unit *machine.UnitError
	var probe *machine.ProbeError
	switch {
	case errors.As(err, &pending):
		return reconcile.Wait(reason, shortly, err)
	case machine.IsAway(err):
		return reconcile.Wait(MachineAwayReason, shortly, err)
	case errors.As(err, &changed):
		return reconcile.Wait(ChangedReason, soon, err)
	case errors.As(err, &job), errors.As(err, &unit), errors.As(err, &probe):
		return reconcile.Fail(MountFailedReason, err)
	}
	return err
}

// awaitMounts waits until a VM with nfsMounts can be looked at.
func (s Seen) awaitMounts(g *v1alpha1.Guest) error {
	switch {
	case len(g.Spec.NFSMounts) == 0 && (s.mounts == nil || s.mounts.err == nil):
		return nil
	case s.presence != present || s.template || !s.status.Running || !wantsRunning(g):
		return nil
	case s.mounts == nil:
		return reconcile.Wait(MachineAwayReason, later, fmt.Errorf("nfsMounts of VM %d cannot be looked at: %s", s.ref.VMID, s.reachable(g).Message))
	case s.mounts.err != nil:
		return mountFailure(MountingReason, fmt.Errorf("look at nfsMounts of VM %d: %w", s.ref.VMID, s.mounts.err))
	}
	return nil
}

// mounted is the condition Mounted; none of a Guest without nfsMounts.
func (s Seen) mounted(g *v1alpha1.Guest) []reconcile.Condition {
	if len(g.Spec.NFSMounts) == 0 {
		meta.RemoveStatusCondition(&g.Status.Conditions, v1alpha1.MountedCondition)
		return nil
	}
	c := reconcile.Condition{Type: v1alpha1.MountedCondition, Status: metav1.ConditionTrue, Reason: MountedReason}
	var paths []string
	for _, m := range g.Spec.NFSMounts {
		paths = append(paths, m.Path)
	}
	c.Message = "mounted: " + strings.Join(paths, ", ")
	switch m := s.mounts; {
	case s.presence != present || !s.status.Running:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, NotRunningReason, "the guest does not run"
	case m == nil:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, MachineAwayReason, "the VM cannot be looked at"
	case m.err != nil:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, MachineAwayReason, m.err.Error()
	case len(m.missing()) > 0:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, NotMountedReason, "not mounted: "+strings.Join(m.missing(), ", ")
	}
	return []reconcile.Condition{c}
}
