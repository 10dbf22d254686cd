// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dnsmasq

import (
	"slices"
	"strings"
)

// HostField is the field that a line of the hosts file is made from, such as "records[nas.lan].addresses"; empty for a
// line that is none.
func (c Config) HostField(line string) string {
	_, names, ok := splitHosts(line)
	if !ok {
		return ""
	}
	i := slices.IndexFunc(c.Hosts, func(h Host) bool { return c.Full(h.Name) == names[0] })
	if i >= 0 && strings.HasPrefix(c.Hosts[i].Source, "Guest/") {
		return "publishGuests[" + strings.TrimPrefix(c.Hosts[i].Source, "Guest/") + "]"
	}
	if i >= 0 && strings.HasPrefix(c.Hosts[i].Source, "Route/") {
		return c.Hosts[i].Source + ".hosts"
	}
	return "records[" + names[0] + "].addresses"
}

// ReservationField is the field that a line of the reservations is made from.
func ReservationField(line string) string {
	parts := strings.Split(line, ",")
	if len(parts) < 2 {
		return ""
	}
	return "dhcp.reservations[" + parts[1] + "]"
}

// optionFields are the fields of options that have one of their own.
var optionFields = map[string]string{
	"listen-address": "listenAddresses", "domain": "domain", "domain-needed": "domain", "dhcp-option": "dhcp.gateway",
}

// recordFields are the fields of options whose first word is a name.
var recordFields = map[string]string{"cname": "cname", "txt-record": "text", "srv-host": "srv"}

// OptionField is the field that a line of the drop-in is made from; empty for one that is always there.
func (c Config) OptionField(line string) string {
	key, value := splitOption(line)
	first, _, _ := strings.Cut(value, ",")
	if field, ok := recordFields[key]; ok {
		return "records[" + first + "]." + field
	}
	switch key {
	case "dhcp-range":
		return "dhcp.ranges[" + first + "]"
	case "server", "local", "address":
		return c.serverField(key, value)
	}
	return optionFields[key]
}

func (c Config) serverField(key, value string) string {
	domains, _, scoped := cutDomains(value)
	wildcard := slices.IndexFunc(c.Wildcards, func(w Wildcard) bool { return scoped && domains[0] == "*."+w.Domain })
	switch {
	case !scoped || domains[0] == "#":
		return "upstreams"
	case wildcard >= 0:
		return c.Wildcards[wildcard].Source + ".hosts"
	case domains[0] == c.Domain:
		return "domain"
	case key == "server":
		return "zones[" + domains[0] + "].servers"
	}
	return "records[" + domains[0] + "].subdomains"
}
