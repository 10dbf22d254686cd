// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// draft is what has to be written so that a configuration says what the spec declares. The same draft serves the making of
// a guest, which begins with an empty configuration, and the putting back of drift.
type draft struct {
	guest *v1alpha1.Guest
	seen  Seen
	now   map[string]string
	// making says that the guest is being made: the Host's defaults stand in for what the spec leaves out.
	making bool

	api  edit // what an API token may write
	root edit // what only root may write
	// grows are the disks that are too small.
	grows []grow
	// detached are volumes that come out of slots of ours with this draft.
	detached []string
	// recalled are devices that wait to leave and are declared again.
	recalled []proxmox.PendingChange
	// missed are slots of ours that somebody else emptied, and that are not filled anew.
	missed []string
	// slots are the devices that the spec declares.
	slots map[string]bool
	// declared are the configuration's keys that the spec has something to say of.
	declared map[string]bool
	refusals []refusal
}

// edit is one write of a configuration.
type edit struct {
	set     map[string]string
	del     []string
	changes []reconcile.Change
}

func (e *edit) empty() bool { return len(e.set) == 0 && len(e.del) == 0 }

// grow is one disk that is to become larger.
type grow struct {
	slot, field, storage string
	from, to             int64
}

// refusal is something that the spec asks for and that cannot be had.
type refusal struct {
	reason  string
	changes []reconcile.Change
	err     error
	stalls  bool
}

// stall is a refusal that only a new spec ends.
func stall(reason, field, format string, args ...any) *refusal {
	r := fail(reason, field, format, args...)
	r.stalls = true
	return r
}

// fail is a refusal that may end without a new spec.
func fail(reason, field, format string, args ...any) *refusal {
	return &refusal{
		reason: reason, err: fmt.Errorf(format, args...),
		changes: []reconcile.Change{{Field: field, Impact: v1alpha1.ImpactNone}},
	}
}

// differs says what is there and what is asked for.
func (r *refusal) differs(from, to string) *refusal {
	r.changes[0].From, r.changes[0].To = from, to
	return r
}

// step shows the refusal in the plan. Taking it returns its error.
func (r refusal) step() reconcile.Step {
	return reconcile.Step{
		Reason: r.reason, Message: r.err.Error(), Changes: r.changes,
		Do: func(context.Context) error {
			if r.stalls {
				return reconcile.Stall(r.reason, r.err)
			}
			return reconcile.Fail(r.reason, r.err)
		},
	}
}

// newDraft compares a spec with a configuration.
func newDraft(g *v1alpha1.Guest, seen Seen) *draft {
	d := &draft{
		guest: g, seen: seen, now: seen.config.Values,
		making: seen.presence == absent || seen.mark.stage == stageClone,
		api:    edit{set: map[string]string{}}, root: edit{set: map[string]string{}},
		slots: map[string]bool{}, declared: map[string]bool{},
	}
	d.refusals = append(d.refusals, seen.refusals...)
	d.recall()
	d.scalars()
	d.networks()
	if g.Spec.Type == v1alpha1.GuestVM {
		d.disks()
		d.cloudInit()
		d.vendor()
		d.nfsMounts()
	} else {
		d.rootfs()
		d.mountPoints()
		d.features()
	}
	d.drop()
	d.stay()
	d.marks()
	return d
}

func (d *draft) refuse(r *refusal) { d.refusals = append(d.refusals, *r) }

func (d *draft) vm() bool { return d.guest.Spec.Type == v1alpha1.GuestVM }

func (d *draft) typ() proxmox.GuestType { return driverType(d.guest.Spec.Type) }

// running says whether a change meets a running guest.
func (d *draft) running() bool { return d.seen.status.Running }

// interrupts is the impact of a change that interrupts a running guest's service for a moment.
func (d *draft) interrupts() v1alpha1.Impact {
	if d.running() {
		return v1alpha1.ImpactReload
	}
	return v1alpha1.ImpactNone
}

// outage is the impact of taking something out of a guest.
func (d *draft) outage() v1alpha1.Impact {
	if d.running() {
		return v1alpha1.ImpactOutage
	}
	return v1alpha1.ImpactNone
}

// put writes a key and shows the change.
func (e *edit) put(key, value string, changes ...reconcile.Change) {
	e.set[key] = value
	e.changes = append(e.changes, changes...)
}

// remove deletes a key and shows the change.
func (e *edit) remove(key string, change reconcile.Change) {
	e.del = append(e.del, key)
	e.changes = append(e.changes, change)
}

func change(field, from, to string, impact v1alpha1.Impact) reconcile.Change {
	return reconcile.Change{Field: field, From: from, To: to, Impact: impact}
}

// text declares a key as it stands.
func (d *draft) text(field, key, want string) {
	d.declared[key] = true
	if now := d.now[key]; now != want {
		d.api.put(key, want, change(field, now, want, v1alpha1.ImpactNone))
	}
}

// number declares a key with a whole number.
func (d *draft) number(field, key string, want int64) {
	d.declared[key] = true
	now, err := strconv.ParseInt(d.now[key], 10, 64)
	if err == nil && now == want {
		return
	}
	to := strconv.FormatInt(want, 10)
	d.api.put(key, to, change(field, d.now[key], to, v1alpha1.ImpactNone))
}

// flag declares a key with a boolean; an absent one is off.
func (d *draft) flag(field, key string, want *bool) {
	if want == nil {
		return
	}
	d.declared[key] = true
	if now := d.now[key] == "1"; now != *want {
		d.api.put(key, digit(*want), change(field, onOff(now), onOff(*want), v1alpha1.ImpactNone))
	}
}

func digit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func onOff(b bool) string { return strconv.FormatBool(b) }

// sub compares one sub-key of a property string, sets it, and returns the change.
func sub[T comparable](field string, have *T, want T, show func(T) string, impact v1alpha1.Impact) []reconcile.Change {
	if *have == want {
		return nil
	}
	c := change(field, show(*have), show(want), impact)
	*have = want
	return []reconcile.Change{c}
}

func asText(s string) string { return s }

func asNumber(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// after is the configuration as it stands once the API's edit is written.
func (d *draft) after() map[string]string {
	m := maps.Clone(d.now)
	if m == nil {
		m = map[string]string{}
	}
	for _, key := range d.api.del {
		delete(m, key)
	}
	maps.Copy(m, d.api.set)
	return m
}

// waits says whether a key has a pending change.
func (d *draft) waits(key string) bool {
	return slices.ContainsFunc(d.seen.pending, func(p proxmox.PendingChange) bool { return p.Key == key })
}
