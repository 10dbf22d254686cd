// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const mebi = 1 << 20

// scalars declares what is no device.
func (d *draft) scalars() {
	spec := d.guest.Spec
	d.name()
	if spec.Cores != nil {
		d.number("cores", "cores", int64(*spec.Cores))
	}
	d.memory()
	d.quantity("swap", "swap", spec.Swap)
	d.quantity("balloon", "balloon", spec.Balloon)
	d.resolver()
	d.flag("startup.onBoot", "onboot", deref(spec.Startup).OnBoot)
	d.startup()
	d.flag("protection", "protection", spec.Protection)
	d.agent()
	d.unprivileged()
	if d.vm() && d.seen.presence == absent && spec.Source == nil {
		// What Proxmox itself proposes for a new VM; there is no field for either.
		d.api.set["ostype"], d.api.set["scsihw"] = "l26", "virtio-scsi-single"
	}
}

// name is declared by the spec; the object's own name is only given to a guest that is made.
func (d *draft) name() {
	key := "hostname"
	if d.vm() {
		key = "name"
	}
	if d.guest.Spec.Hostname != "" || d.making {
		d.text("hostname", key, hostname(d.guest))
	}
}

// memory of a VM is a property string with the figure under its default key.
func (d *draft) memory() {
	if !d.vm() {
		d.quantity("memory", "memory", d.guest.Spec.Memory)
		return
	}
	if d.guest.Spec.Memory == nil {
		return
	}
	d.declared["memory"] = true
	want := fmt.Sprint(d.guest.Spec.Memory.Value() / mebi)
	props, err := proxmox.ParseProps(d.now["memory"], "current")
	if err != nil {
		d.unreadable("memory", err)
		return
	}
	if now, _ := props.Get("current"); now != want {
		if err := props.Set("current", want); err != nil {
			d.unreadable("memory", err)
			return
		}
		d.api.put("memory", props.String(), change("memory", mebibytes(now), mebibytes(want), v1alpha1.ImpactNone))
	}
}

func mebibytes(figure string) string {
	if figure == "" {
		return ""
	}
	return figure + "Mi"
}

func (d *draft) quantity(field, key string, q *v1alpha1.Size) {
	if q == nil {
		return
	}
	d.declared[key] = true
	if want := fmt.Sprint(q.Value() / mebi); d.now[key] != want {
		d.api.put(key, want, change(field, mebibytes(d.now[key]), mebibytes(want), v1alpha1.ImpactNone))
	}
}

// resolver declares the DNS settings. The Host's stand in when a guest is made, for a VM only with cloud-init.
func (d *draft) resolver() {
	spec, defaults := d.guest.Spec, d.seen.host.defaults
	servers, domain := spec.Nameservers, spec.SearchDomain
	if d.making && (!d.vm() || spec.CloudInit != nil) {
		if len(servers) == 0 {
			servers = defaults.Nameservers
		}
		if domain == "" {
			domain = defaults.Domain
		}
	}
	if len(servers) > 0 {
		d.text("nameservers", "nameserver", strings.Join(servers, " "))
	}
	if domain != "" {
		d.text("searchDomain", "searchdomain", domain)
	}
}

func (d *draft) startup() {
	s := d.guest.Spec.Startup
	if s == nil || s.Order == nil && s.UpDelaySeconds == nil && s.DownDelaySeconds == nil {
		return
	}
	d.declared["startup"] = true
	now, err := proxmox.ParseStartup(d.now["startup"])
	if err != nil {
		d.unreadable("startup", err)
		return
	}
	var changes []reconcile.Change
	for _, f := range []struct {
		name string
		have **int
		want *int32
	}{{"order", &now.Order, s.Order}, {"upDelaySeconds", &now.Up, s.UpDelaySeconds}, {"downDelaySeconds", &now.Down, s.DownDelaySeconds}} {
		if f.want == nil || *f.have != nil && **f.have == int(*f.want) {
			continue
		}
		from := ""
		if *f.have != nil {
			from = fmt.Sprint(**f.have)
		}
		want := int(*f.want)
		*f.have = &want
		changes = append(changes, change("startup."+f.name, from, fmt.Sprint(want), v1alpha1.ImpactNone))
	}
	d.encoded("startup", "startup", now.Encode, changes)
}

// encoded writes a property string when something in it changed.
func (d *draft) encoded(field, key string, encode func() (string, error), changes []reconcile.Change) {
	if len(changes) == 0 {
		return
	}
	value, err := encode()
	if err != nil {
		d.unreadable(field, err)
		return
	}
	d.api.put(key, value, changes...)
}

func (d *draft) unreadable(field string, err error) {
	d.refuse(fail(UnreadableReason, field, "%s: %w", field, err))
}

func (d *draft) agent() {
	want := d.guest.Spec.Agent
	if want == nil {
		return
	}
	d.declared["agent"] = true
	now, err := proxmox.ParseAgent(d.now["agent"])
	if err != nil {
		d.unreadable("agent", err)
		return
	}
	if now.Enabled != *want {
		c := change("agent", onOff(now.Enabled), onOff(*want), v1alpha1.ImpactNone)
		now.Enabled = *want
		d.encoded("agent", "agent", now.Encode, []reconcile.Change{c})
	}
}

// unprivileged is given to a container that is made, and cannot be changed afterwards.
func (d *draft) unprivileged() {
	want := d.guest.Spec.Unprivileged
	switch {
	case d.vm():
	case d.seen.presence == absent:
		if s := d.guest.Spec.Source; s != nil && s.Clone == nil {
			d.api.set["unprivileged"] = digit(want == nil || *want)
		}
	case want != nil && *want != (d.now["unprivileged"] == "1"):
		d.refuse(stall(UnprivilegedReason, "unprivileged",
			"container %d has unprivileged: %v, which cannot be changed: adopt it by a Guest that says unprivileged: %v",
			d.seen.ref.VMID, !*want, !*want).differs(onOff(!*want), onOff(*want)))
	}
}

// marks declares tags, notes and the owner mark.
func (d *draft) marks() {
	d.tags()
	text, _ := readMarks(d.now["description"])
	if want := d.guest.Spec.Notes; want != nil {
		d.declared["description"] = true
		if declared := strings.TrimRight(*want, "\n"); declared != text {
			d.api.changes = append(d.api.changes, change("notes", excerpt(text), excerpt(declared), v1alpha1.ImpactNone))
			text = declared
		}
	}
	d.describe(&d.api, text, d.after(), d.detached)
	if d.root.empty() {
		return
	}
	then := d.after()
	for _, key := range d.root.del {
		delete(then, key)
	}
	maps.Copy(then, d.root.set)
	if value := writeMark(text, d.markFor(then, d.detached)); value != strings.TrimRight(then["description"], "\n") {
		d.root.set["description"] = value
	}
}

// describe writes the notes with the mark below them, if that differs.
func (d *draft) describe(e *edit, text string, then map[string]string, detached []string) {
	value := writeMark(text, d.markFor(then, detached))
	if d.seen.presence == absent {
		e.set["description"] = value
		return
	}
	now := strings.TrimRight(d.now["description"], "\n")
	if value == now {
		return
	}
	e.set["description"] = value
	if !d.seen.marked || d.seen.mark.stage != "" {
		e.changes = append(e.changes, change("mark", "", d.seen.owner.String(), v1alpha1.ImpactNone))
	} else if len(e.changes) == 0 {
		e.changes = append(e.changes, change("mark", "", "devices and volumes that the spec declares", v1alpha1.ImpactNone))
	}
}

// markFor is the mark of a configuration: the devices of ours that it has.
func (d *draft) markFor(then map[string]string, detached []string) mark {
	m := mark{owner: d.seen.owner, vmid: d.seen.ref.VMID, mounts: d.keepsMounts(), trust: d.keepsTrust()}
	if d.seen.presence == absent {
		m.vmid = d.seen.vmid
	}
	for slot := range d.slots {
		if _, there := then[slot]; there {
			m.slots = append(m.slots, slot)
		}
	}
	for _, slot := range d.seen.mark.slots {
		_, there := then[slot]
		// What is taken out of a running guest may wait for a restart: the next observation tells.
		leaving := d.running() && (slices.Contains(d.api.del, slot) || slices.Contains(d.root.del, slot))
		if slices.Contains(d.missed, slot) || !d.slots[slot] && (there || leaving || d.waits(slot)) {
			m.slots = append(m.slots, slot)
		}
	}
	slices.Sort(m.slots)
	m.slots = slices.Compact(m.slots)
	m.detached = d.lasting(detached)
	return m
}

// tags declares all tags, or ensures ours among those that are there. Marks of others came with a template.
func (d *draft) tags() {
	d.declared["tags"] = true
	now := proxmox.ParseTags(d.now["tags"])
	want := d.guest.Spec.Tags
	if want == nil {
		want = slices.DeleteFunc(slices.Clone(now), markTag.MatchString)
	}
	text := proxmox.FormatTags(append(slices.Clone(want), d.seen.owner.tag()))
	if have := proxmox.FormatTags(now); have != text {
		d.api.put("tags", text, change("tags", have, text, v1alpha1.ImpactNone))
	}
}

// excerpt is the beginning of a long text.
func excerpt(s string) string {
	const most = 80
	runes := []rune(strings.ReplaceAll(s, "\n", " "))
	if len(runes) <= most {
		return string(runes)
	}
	return string(runes[:most]) + "…"
}
