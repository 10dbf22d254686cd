// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"fmt"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/dnsmasq"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// judgeNames finds the lines of dnsmasq's files, and of the hosts files that they name, that say something else.
func judgeNames(config dnsmasq.Config, contents map[string]string) ([]handLine, []string) {
	dropIns, hosts := nameFiles(contents)
	var lines []handLine
	for _, f := range config.Conflicts(dropIns, hosts) {
		lines = append(lines, handLine{path: f.Path, first: f.Line, last: f.Line, text: f.Text, why: f.Why})
	}
	return lines, dnsmasq.HostsFiles(dropIns)
}

// nameFiles tells dnsmasq's drop-ins from hosts files. What dnsmasq skips, and /etc/hosts, is neither.
func nameFiles(contents map[string]string) (dropIns, hosts map[string]string) {
	dropIns, hosts = map[string]string{}, map[string]string{}
	skips := append(strings.Split(dnsmasqSkips, ","), "~")
	for path, content := range contents {
		below, inside := strings.CutPrefix(path, confDir)
		switch {
		case path == mainConf:
			dropIns[path] = content
		case inside && slices.ContainsFunc(skips, func(suffix string) bool { return strings.HasSuffix(below, suffix) }), path == systemHosts:
		case inside:
			dropIns[path] = content
		default:
			hosts[path] = content
		}
	}
	return dropIns, hosts
}

// lostNames shows which names of /etc/hosts a dnsmasq that is configured by hand answers no more once the service is
// ours: it answers what is declared.
func (m *machineSeen) lostNames(s *v1alpha1.HostService) []reconcile.Change {
	if s.Spec.Dnsmasq == nil || !m.seen.Units[dnsmasqUnit].Runs() {
		return nil
	}
	for _, f := range m.design.want.Files {
		if _, there := m.seen.Paths[f.Path]; there {
			return nil
		}
	}
	dropIns, _ := nameFiles(m.hand.contents)
	if !dnsmasq.ReadsHosts(dropIns) {
		return nil
	}
	var changes []reconcile.Change
	for _, f := range m.design.config.Lost(m.hand.contents[systemHosts]) {
		changes = append(changes, reconcile.Change{
			Field: "records", From: fmt.Sprintf("%s (%s line %d)", f.Text, f.Path, f.Line), Impact: v1alpha1.ImpactNone,
		})
	}
	return changes
}

// dnsmasqField tells by which field a line of a file of ours is declared.
func dnsmasqField(config dnsmasq.Config, at dnsmasqPlaces, path, line string) string {
	switch path {
	case at.hosts:
		return config.HostField(line)
	case at.reservations:
		return dnsmasq.ReservationField(line)
	case at.dropIn:
		return config.OptionField(line)
	}
	return ""
}
