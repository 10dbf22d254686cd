// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
)

// Missing is a privilege that the token lacks on a path, and what it is needed for.
type Missing struct {
	Privilege, Path string
	// Feature in words that follow "needed to".
	Feature string
	// User of the feature, such as Guest/nginx; empty: the Host itself.
	User string
}

// need is one row of the table: a privilege, what it is needed for, and on which paths a Guest needs it; none where the
// Guest does not use the feature.
type need struct {
	privilege, feature string
	paths              func(demand) []string
}

// demand is one Guest as the table's rows look at it.
type demand struct {
	host  *v1alpha1.Host
	guest *v1alpha1.Guest
	// major version of Proxmox VE; 0: not known.
	major int
}

// always are the privileges without which a Host sees nothing; docs/privileges.md lists these tables.
var always = []Missing{
	{Privilege: "VM.Audit", Path: "/vms", Feature: "list guests and read their configuration"},
	{Privilege: "Sys.Audit", Path: "/", Feature: "read the nodes' capacity and the cluster's quorum"},
	{Privilege: "Datastore.Audit", Path: "/storage", Feature: "read storages and container templates"},
}

// reading are the privileges that a Guest needs even under Observe.
var reading = []need{
	{"VM.GuestAgent.Audit", "ask the guest agent for addresses", onVM(func(d demand) bool { return d.agent() && d.major != 8 })},
	{"VM.Monitor", "ask the guest agent for addresses", onVM(func(d demand) bool { return d.agent() && d.major == 8 })},
	{"VM.GuestAgent.Unrestricted", "see to the mounts in a VM through its guest agent", onVM(func(d demand) bool { return d.mounts() && d.major != 8 })},
	{"VM.Monitor", "see to the mounts in a VM through its guest agent", onVM(func(d demand) bool { return d.mounts() && d.major == 8 })},
	{"VM.GuestAgent.Unrestricted", "see to the trusted authorities in a VM through its guest agent", onVM(func(d demand) bool { return d.trusts() && d.major != 8 })},
	{"VM.Monitor", "see to the trusted authorities in a VM through its guest agent", onVM(func(d demand) bool { return d.trusts() && d.major == 8 })},
}

// writing are the privileges that a Guest needs under Enforce.
var writing = []need{
	{"VM.Allocate", "create a guest", onVM(demand.isNew)},
	{"VM.Allocate", "destroy a guest (deletionPolicy: Delete)", onVM(func(d demand) bool { return d.guest.Spec.DeletionPolicy == v1alpha1.DeletionDelete })},
	{"VM.Allocate", "set features.nesting", onVM(func(d demand) bool { return d.guest.Spec.Features != nil && d.guest.Spec.Features.Nesting != nil })},
	{"VM.Clone", "clone a template", demand.template},
	{"VM.PowerMgmt", "start, stop and restart a guest", onVM(demand.any)},
	{"VM.Config.Options", "write the owner mark, tags, notes and options", onVM(demand.any)},
	{"VM.Config.CPU", "set cores", onVM(func(d demand) bool { return d.guest.Spec.Cores != nil })},
	{"VM.Config.Memory", "set memory, swap and balloon", onVM(demand.memory)},
	{"VM.Config.Disk", "make and grow disks and mount points", onVM(demand.disks)},
	{"VM.Config.Network", "set networks, host name and nameservers", onVM(demand.network)},
	{"VM.Config.HWType", "set the hardware of a VM that is made without a source", onVM(demand.blank)},
	{"VM.Config.Cloudinit", "set cloud-init", onVM(demand.cloudInit)},
	{"VM.Config.CDROM", "attach the cloud-init drive", onVM(demand.cloudInit)},
	{"Datastore.AllocateSpace", "make and grow volumes", demand.storages},
	{"SDN.Use", "plug networks into a bridge", demand.bridges},
}

// missing returns the privileges that the token lacks for what the Host, its Guests and its HostServices ask for, in the
// tables' order.
func missing(host *v1alpha1.Host, o objects, version string, held proxmox.Permissions) []Missing {
	var list []Missing
	for _, m := range always {
		if !held.Has(m.Path, m.Privilege) {
			list = append(list, m)
		}
	}
	major, _, _ := strings.Cut(version, ".")
	number, _ := strconv.Atoi(major)
	ordered := slices.SortedFunc(slices.Values(o.guests), func(a, b v1alpha1.Guest) int { return cmp.Compare(a.Name, b.Name) })
	for _, n := range slices.Concat(reading, writing) {
		for i := range ordered {
			list = append(list, demand{host, &ordered[i], number}.missing(n, held)...)
		}
	}
	return append(list, missingForServices(host, o, number, held)...)
}

// missing returns what the token lacks for one row.
func (d demand) missing(n need, held proxmox.Permissions) []Missing {
	if !d.counts(n) {
		return nil
	}
	var list []Missing
	for _, path := range n.paths(d) {
		if !holds(held, path, n.privilege) {
			list = append(list, Missing{n.privilege, path, n.feature, "Guest/" + d.guest.Name})
		}
	}
	return list
}

// counts says whether the Guest's management makes use of a row at all.
func (d demand) counts(n need) bool {
	switch d.guest.Spec.Management {
	case v1alpha1.ManagementPaused:
		return false
	case v1alpha1.ManagementObserve:
		return slices.ContainsFunc(reading, func(r need) bool { return r.privilege == n.privilege })
	}
	return true
}

// holds is Permissions.Has; a bridge may also be a virtual network of any zone, which its name does not tell.
func holds(held proxmox.Permissions, path, privilege string) bool {
	if held.Has(path, privilege) {
		return true
	}
	rest, isBridge := strings.CutPrefix(path, localZone)
	if !isBridge {
		return false
	}
	for listed := range held {
		zone, ok := strings.CutPrefix(listed, "/sdn/zones/")
		if !ok {
			continue
		}
		zone, _, _ = strings.Cut(zone, "/")
		if held.Has("/sdn/zones/"+zone+"/"+rest, privilege) {
			return true
		}
	}
	return false
}

// localZone is where Proxmox VE keeps the permissions of plain bridges.
const localZone = "/sdn/zones/localnetwork/"

// onVM is the guest's own path when the feature is in use.
func onVM(uses func(demand) bool) func(demand) []string {
	return func(d demand) []string {
		if !uses(d) {
			return nil
		}
		return []string{d.path()}
	}
}

// path of the guest; as long as it has no VMID, of all guests.
func (d demand) path() string {
	switch {
	case d.guest.Status.VMID != nil:
		return fmt.Sprintf("/vms/%d", *d.guest.Status.VMID)
	case d.guest.Spec.VMID != nil:
		return fmt.Sprintf("/vms/%d", *d.guest.Spec.VMID)
	}
	return "/vms"
}

func (d demand) any() bool       { return true }
func (d demand) isNew() bool     { return d.guest.Status.Node == "" }
func (d demand) isVM() bool      { return d.guest.Spec.Type == v1alpha1.GuestVM }
func (d demand) cloudInit() bool { return d.guest.Spec.CloudInit != nil }
func (d demand) blank() bool     { return d.isVM() && d.isNew() && d.guest.Spec.Source == nil }

func (d demand) agent() bool {
	return d.isVM() && d.guest.Spec.Agent != nil && *d.guest.Spec.Agent
}

func (d demand) mounts() bool { return len(d.guest.Spec.NFSMounts) > 0 }

func (d demand) trusts() bool { return d.isVM() && len(d.guest.Spec.TrustAuthorities) > 0 }

func (d demand) memory() bool {
	s := d.guest.Spec
	return s.Memory != nil || s.Swap != nil || s.Balloon != nil
}

func (d demand) disks() bool {
	s := d.guest.Spec
	return s.RootDisk != nil || len(s.Disks) > 0 || slices.ContainsFunc(s.MountPoints, func(m v1alpha1.MountPoint) bool { return m.Volume != nil })
}

func (d demand) network() bool {
	// A container's host name is part of its network; it is always declared, by default with the object's name.
	return !d.isVM() || len(d.guest.Spec.Networks) > 0
}

func (d demand) template() []string {
	s := d.guest.Spec.Source
	switch {
	case !d.isNew() || s == nil || s.Clone == nil:
		return nil
	case s.Clone.VMID != nil:
		return []string{fmt.Sprintf("/vms/%d", *s.Clone.VMID)}
	}
	return []string{"/vms"}
}

// storages on which the Guest has volumes of its own.
func (d demand) storages() []string {
	s, paths := d.guest.Spec, []string(nil)
	add := func(storage string) {
		if storage == "" && d.host.Spec.Defaults != nil {
			storage = d.host.Spec.Defaults.Storage
		}
		path := "/storage/" + storage
		if storage != "" && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	if s.RootDisk != nil {
		add(s.RootDisk.Storage)
	}
	for _, disk := range s.Disks {
		add(disk.Storage)
	}
	for _, m := range s.MountPoints {
		if m.Volume != nil {
			add(m.Volume.Storage)
		}
	}
	if s.CloudInit != nil {
		add(s.CloudInit.Storage)
	}
	if d.isNew() && s.Source != nil && s.Source.Clone != nil && s.Source.Clone.Mode != v1alpha1.CloneLinked {
		add(s.Source.Clone.Storage)
	}
	return paths
}

// bridges into which the Guest's networks are plugged.
func (d demand) bridges() []string {
	var paths []string
	for _, n := range d.guest.Spec.Networks {
		bridge := n.Bridge
		if bridge == "" && !d.isNew() {
			continue // stays as it is
		}
		if bridge == "" && d.host.Spec.Defaults != nil {
			bridge = d.host.Spec.Defaults.Bridge
		}
		path := localZone + cmp.Or(bridge, "vmbr0")
		if n.VLAN != nil {
			path = fmt.Sprintf("%s/%d", path, *n.VLAN)
		}
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// maxDescribed bounds how many missing privileges a message names.
const maxDescribed = 6

// describe says what is missing, each privilege and feature once: "VM.Clone on /vms/9000: needed to clone a template
// (Guest/portainer and 1 more)".
func describe(list []Missing) string {
	type same struct{ privilege, feature string }
	groups := map[same][]Missing{}
	var order []same
	for _, m := range list {
		g := same{m.Privilege, m.Feature}
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], m)
	}
	var texts []string
	for i, g := range order {
		if i == maxDescribed {
			texts = append(texts, fmt.Sprintf("and %d more", len(order)-i))
			break
		}
		texts = append(texts, describeOne(groups[g]))
	}
	return "the token lacks " + strings.Join(texts, "; ")
}

// describeOne tells one privilege that several objects may need on several paths.
func describeOne(group []Missing) string {
	first := group[0]
	paths, users := []string{}, []string{}
	for _, m := range group {
		if !slices.Contains(paths, m.Path) {
			paths = append(paths, m.Path)
		}
		if m.User != "" && !slices.Contains(users, m.User) {
			users = append(users, m.User)
		}
	}
	text := first.Privilege + " on " + first.Path + more(len(paths)-1) + ": needed to " + first.Feature
	if len(users) > 0 {
		text += " (" + users[0] + more(len(users)-1) + ")"
	}
	return text
}

func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}
