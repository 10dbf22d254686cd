// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dnsmasq

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What is written must fit these, whoever looked at it before: what does not could end its line and begin another.
var (
	label       = `[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?`
	namePattern = regexp.MustCompile(`^` + label + `(\.` + label + `)*$`)
	domainLabel = `[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?`
	domPattern  = regexp.MustCompile(`^` + domainLabel + `(\.` + domainLabel + `)*$`)
	macPattern  = regexp.MustCompile(`^([0-9a-f]{2}:){5}[0-9a-f]{2}$`)
	textPattern = regexp.MustCompile(`^[ !#-\[\]-~]{1,255}$`)
	pathPattern = regexp.MustCompile(`^(/[-A-Za-z0-9._]+)+$`)
	linePattern = regexp.MustCompile(`^[ -~]*$`)
)

const (
	maxName  = 253
	maxLease = 365 * 24 * time.Hour
	minLease = 2 * time.Minute
)

// checker gathers what is wrong.
type checker struct {
	config Config
	errs   []error
}

func (k *checker) refuse(field, value, format string, args ...any) {
	k.errs = append(k.errs, &FieldError{Field: field, Value: value, Why: fmt.Sprintf(format, args...)})
}

func (k *checker) name(field, name string) {
	full := k.config.Full(name)
	_, err := netip.ParseAddr(name)
	if !namePattern.MatchString(name) || len(full) > maxName || err == nil {
		k.refuse(field, name, "must be a DNS name in lower case: letters, digits, - and _ in labels of at most 63 characters, 253 with the domain")
	}
}

// address reads an address. One with a zone is refused: a zone may hold anything.
func (k *checker) address(field, text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		k.refuse(field, text, "must be an IP address without a zone")
		return a, false
	}
	return a, true
}

func (k *checker) address4(field, text string) netip.Addr {
	a, ok := k.address(field, text)
	if ok && !a.Is4() {
		k.refuse(field, text, "must be an IPv4 address")
	}
	return a
}

// server reads the address of another server: never one of the machine's own, which would ask itself.
func (k *checker) server(field, text string) {
	a, ok := k.address(field, text)
	if !ok {
		return
	}
	own := slices.ContainsFunc(slices.Concat(k.config.Listen, k.config.Own), func(o string) bool {
		mine, err := netip.ParseAddr(o)
		return err == nil && mine == a
	})
	if own || a.IsLoopback() || a.IsUnspecified() {
		k.refuse(field, text, "is an address of the machine itself: dnsmasq would ask itself")
	}
}

// check returns everything that is wrong with a configuration.
func (c Config) check() error {
	k := &checker{config: c}
	k.general()
	for _, h := range c.Hosts {
		k.name(h.Source+".name", h.Name)
		k.addresses(h.Source, h.Addresses)
	}
	for _, w := range c.Wildcards {
		if !domPattern.MatchString(w.Domain) || len(w.Domain) > maxName {
			k.refuse(w.Source+".name", "*."+w.Domain, "must be a DNS domain in lower case")
		}
		k.addresses(w.Source, w.Addresses)
	}
	k.records()
	for _, z := range c.Zones {
		k.name(z.Source+".domain", z.Domain)
		if len(z.Servers) == 0 {
			k.refuse(z.Source+".servers", "", "must not be empty")
		}
		for i, s := range z.Servers {
			k.server(fmt.Sprintf("%s.servers[%d]", z.Source, i), s)
		}
	}
	if c.DHCP != nil {
		k.dhcp(*c.DHCP)
	}
	return errors.Join(k.errs...)
}

func (k *checker) addresses(source string, addresses []string) {
	if len(addresses) == 0 {
		k.refuse(source+".addresses", "", "must not be empty")
	}
	for i, a := range addresses {
		k.address(fmt.Sprintf("%s.addresses[%d]", source, i), a)
	}
}

func (k *checker) general() {
	c := k.config
	if !linePattern.MatchString(c.About) {
		k.refuse("about", c.About, "must be printable ASCII")
	}
	if c.Domain != "" && (!domPattern.MatchString(c.Domain) || len(c.Domain) > maxName) {
		k.refuse("domain", c.Domain, "must be a DNS domain in lower case")
	}
	if !pathPattern.MatchString(c.HostsDir) || path.Clean(c.HostsDir) != c.HostsDir {
		k.refuse("hostsDir", c.HostsDir, "must be a clean absolute path")
	}
	if len(c.Listen) == 0 {
		k.refuse("listenAddresses", "", "must not be empty")
	}
	for i, l := range c.Listen {
		if a, ok := k.address(fmt.Sprintf("listenAddresses[%d]", i), l); ok && a.IsUnspecified() {
			k.refuse(fmt.Sprintf("listenAddresses[%d]", i), l, "must be one address of the machine")
		}
	}
	for i, u := range c.Upstreams {
		k.server(fmt.Sprintf("upstreams[%d]", i), u)
	}
}

func (k *checker) records() {
	for _, r := range k.config.CNAMEs {
		k.name(r.Source+".name", r.Name)
		k.name(r.Source+".cname", r.Target)
		if k.config.Full(r.Name) == k.config.Full(r.Target) {
			k.refuse(r.Source+".cname", r.Target, "is the name itself")
		}
	}
	for _, r := range k.config.Texts {
		k.name(r.Source+".name", r.Name)
		if len(r.Strings) == 0 {
			k.refuse(r.Source+".text", "", "must not be empty")
		}
		for i, s := range r.Strings {
			if !textPattern.MatchString(s) {
				k.refuse(fmt.Sprintf("%s.text[%d]", r.Source, i), s, "must be 1 to 255 characters of printable ASCII without the double quote and the backslash")
			}
		}
	}
	for _, r := range k.config.Services {
		k.name(r.Source+".name", r.Name)
		if !strings.HasPrefix(r.Name, "_") || !strings.Contains(r.Name, ".") {
			k.refuse(r.Source+".name", r.Name, "must begin with the service and the protocol, for example _ldap._tcp")
		}
		k.name(r.Source+".srv.target", r.Target)
		k.number(r.Source+".srv.port", r.Port, 1)
		k.number(r.Source+".srv.priority", r.Priority, 0)
		k.number(r.Source+".srv.weight", r.Weight, 0)
	}
}

func (k *checker) number(field string, n, least int) {
	if n < least || n > 65535 {
		k.refuse(field, strconv.Itoa(n), "must be from %d to 65535", least)
	}
}

func (k *checker) dhcp(d DHCP) {
	if d.Gateway != "" {
		k.address4("dhcp.gateway", d.Gateway)
	}
	if !pathPattern.MatchString(d.HostsFile) || path.Clean(d.HostsFile) != d.HostsFile {
		k.refuse("dhcp.hostsFile", d.HostsFile, "must be a clean absolute path")
	}
	if len(d.Ranges) == 0 {
		k.refuse("dhcp.ranges", "", "must not be empty")
	}
	for i, r := range d.Ranges {
		k.dhcpRange(r, d.Ranges[:i])
	}
	for _, r := range d.Reservations {
		k.address4(r.Source+".address", r.Address)
		if !macPattern.MatchString(strings.ToLower(r.MAC)) {
			k.refuse(r.Source+".mac", r.MAC, "must be a MAC address such as bc:24:11:00:00:01")
		}
		if r.Name != "" {
			k.name(r.Source+".name", r.Name)
		}
	}
}

func (k *checker) dhcpRange(r Range, others []Range) {
	first, last := k.address4(r.Source+".first", r.First), k.address4(r.Source+".last", r.Last)
	if last.Less(first) {
		k.refuse(r.Source+".last", r.Last, "must not be below first, %s", r.First)
	}
	if r.Lease < minLease || r.Lease > maxLease {
		k.refuse(r.Source+".lease", r.Lease.String(), "must be from %s to %s", minLease, maxLease)
	}
	for _, other := range others {
		if overlap(r.First, r.Last, other.First, other.Last) {
			k.refuse(r.Source+".first", r.First, "lies in a range together with %s, which is from %s to %s", other.Source, other.First, other.Last)
		}
	}
}

// overlap says whether two ranges have an address in common. What cannot be read has none.
func overlap(first, last, otherFirst, otherLast string) bool {
	a, err1 := netip.ParseAddr(first)
	b, err2 := netip.ParseAddr(last)
	c, err3 := netip.ParseAddr(otherFirst)
	d, err4 := netip.ParseAddr(otherLast)
	return errors.Join(err1, err2, err3, err4) == nil && a.BitLen() == c.BitLen() && !b.Less(c) && !d.Less(a)
}
