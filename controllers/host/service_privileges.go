// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"slices"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
)

// objects are what stands on a Host.
type objects struct {
	guests   []v1alpha1.Guest
	services []v1alpha1.HostService
}

// service is one HostService as the rows below look at it.
type service struct {
	objects
	host *v1alpha1.Host
	obj  *v1alpha1.HostService
	// major version of Proxmox VE; 0: not known.
	major int
}

// serving are the privileges that a HostService needs; those to read, also under Observe.
var serving = []struct {
	privilege, feature string
	reads              bool
	paths              func(service) []string
}{
	{"Sys.Modify", "write the firewall of the site and its nodes", false, service.site},
	{"VM.Config.Network", "write the firewall of a guest", false, service.filtered},
	{"VM.GuestAgent.Unrestricted", "see to a service in a VM through its guest agent", true, func(s service) []string { return s.inVM(9) }},
	{"VM.Monitor", "see to a service in a VM through its guest agent", true, func(s service) []string { return s.inVM(8) }},
}

// missingForServices returns what the token lacks for the HostServices, in the order of the rows.
func missingForServices(host *v1alpha1.Host, o objects, major int, held proxmox.Permissions) []Missing {
	ordered := slices.SortedFunc(slices.Values(o.services), func(a, b v1alpha1.HostService) int { return cmp.Compare(a.Name, b.Name) })
	var list []Missing
	for _, row := range serving {
		for i := range ordered {
			s := service{o, host, &ordered[i], major}
			if m := s.obj.Spec.Management; m == v1alpha1.ManagementPaused || m == v1alpha1.ManagementObserve && !row.reads {
				continue
			}
			for _, path := range row.paths(s) {
				if !held.Has(path, row.privilege) {
					list = append(list, Missing{row.privilege, path, row.feature, "HostService/" + s.obj.Name})
				}
			}
		}
	}
	return list
}

// site is the path of the whole site for a firewall.
func (s service) site() []string {
	if s.obj.Spec.Firewall == nil {
		return nil
	}
	return []string{"/"}
}

// filtered are the paths of the guests whose rules a firewall holds.
func (s service) filtered() []string {
	f := s.obj.Spec.Firewall
	if f == nil {
		return nil
	}
	var paths []string
	for i := range s.guests {
		g := &s.guests[i]
		named := slices.ContainsFunc(f.Guests, func(e v1alpha1.FirewallGuest) bool { return e.Name == g.Name })
		if named || f.Flows == v1alpha1.FlowsDerive {
			paths = append(paths, demand{guest: g}.path())
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// inVM is the path of the VM in which the service runs, on one major version of Proxmox VE. One that is not known counts
// as the newest.
func (s service) inVM(major int) []string {
	if s.obj.Spec.GuestRef == nil || (s.major == 8) != (major == 8) {
		return nil
	}
	for i := range s.guests {
		if g := &s.guests[i]; g.Name == s.obj.Spec.GuestRef.Name && g.Spec.Type == v1alpha1.GuestVM {
			return []string{demand{guest: g}.path()}
		}
	}
	return nil
}
