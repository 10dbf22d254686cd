// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package dnsmasq renders the files of one dnsmasq from plain values, and finds the lines of files made by hand that say
// something else. It reads and writes no file itself.
//
// Names with addresses stand in a hosts file of their own below a hostsdir, all else in one drop-in. What dnsmasq 2.90
// does with them was measured:
//
//   - A file that is renamed into a hostsdir replaces what was read from the file of that name in one go: no name is
//     answered twice or not at all in between. One that is unlinked is forgotten at once. One that is renamed out of the
//     directory is not, and a directory that was removed and made again is not watched: SIGHUP puts both right.
//   - SIGHUP reads hosts files and DHCP hosts files again and drops the cache; it does not read the drop-ins.
//   - Older versions never forget what a hostsdir lost or changed without SIGHUP, and no version forgets a changed DHCP
//     reservation without it. So a change of either file comes with SIGHUP, which is no restart and loses no query.
//   - Files that begin with a dot are not read, neither in a hostsdir nor in /etc/dnsmasq.d, so that files can be staged there.
//   - With a name in a hosts file, address=/name/ip answers what is below the name, and the name itself once. Without
//     local=/name/ beside it, a query for the other address family is answered with NXDOMAIN, which clients take for all.
//   - address=/*.name/ip (from 2.86 on) answers what is below the name, at any depth, and not the name; a longer name and a
//     name in a hosts file come before it. With local=/*.name/ beside it the other address family has no answer there, and the
//     name itself is asked for where it was before.
//   - Without any upstream it answers REFUSED, with which clients ask their next server; local=/#/ makes it NXDOMAIN.
package dnsmasq

import (
	"fmt"
	"strings"
	"time"
)

// Config is what one dnsmasq is to do. Values are text as they were declared; Render refuses what does not fit.
type Config struct {
	// About is the first line of each file, such as "HostService home/dns". Printable ASCII.
	About string
	// Listen are the addresses that it answers on.
	Listen []string
	// Upstreams are asked for what is not declared. None: it does not exist.
	Upstreams []string
	// Own are further addresses of the machine: like Listen, they are never asked.
	Own []string
	// Domain of names without a dot; empty: they stand for themselves.
	Domain string
	// HostsDir is the directory of the hosts file.
	HostsDir string
	Hosts    []Host
	// Wildcards are domains of which all that is below is answered.
	Wildcards []Wildcard
	CNAMEs    []CNAME
	Texts     []Text
	Services  []Service
	Zones     []Zone
	// DHCP is nil where no addresses are handed out.
	DHCP *DHCP
}

// Host is a name with its addresses.
type Host struct {
	// Source says who declares it, such as "records[2]" or "Guest/nas".
	Source string
	// Rank among those that declare the same name: the lowest is answered.
	Rank      int
	Name      string
	Addresses []string
	// Subdomains answers every name below it too.
	Subdomains bool
	// Agrees says that it may be declared again with the same addresses, as by Routes for several paths of one name: then it
	// is no duplicate.
	Agrees bool
}

// Wildcard answers every name below a domain that is not declared itself, and not the domain. It may be declared again with
// the same addresses.
type Wildcard struct {
	// Source says who declares it, such as "Route/apps".
	Source string
	// Rank among those that declare the same domain: the lowest is answered. Hosts with Subdomains come before all of them.
	Rank int
	// Domain in full, without a leading *.
	Domain    string
	Addresses []string
}

// CNAME is another name for Target.
type CNAME struct {
	Source       string
	Rank         int
	Name, Target string
}

// Text is a TXT record.
type Text struct {
	Source  string
	Rank    int
	Name    string
	Strings []string
}

// Service is an SRV record.
type Service struct {
	Source                 string
	Rank                   int
	Name, Target           string
	Port, Priority, Weight int
}

// Zone is a domain that other servers are asked for.
type Zone struct {
	Source, Domain string
	Servers        []string
}

// DHCP hands out addresses.
type DHCP struct {
	Ranges []Range
	// Gateway that clients are told; empty: the machine's own address.
	Gateway string
	// HostsFile is the path of the file with the reservations.
	HostsFile    string
	Reservations []Reservation
}

// Range of addresses, both ends included.
type Range struct {
	Source, First, Last string
	// Lease is rounded down to seconds.
	Lease time.Duration
}

// Reservation gives the client with the MAC address the same address always, and a name unless that is empty.
type Reservation struct{ Source, MAC, Address, Name string }

// FieldError is a value that cannot be written.
type FieldError struct {
	// Field as it was declared, such as "records[2].name".
	Field string
	// Value that is refused.
	Value string
	// Why says what it must be.
	Why string
}

// Error names the field, the value in quotes, and what it must be.
func (e *FieldError) Error() string { return fmt.Sprintf("%s %.64q %s", e.Field, e.Value, e.Why) }

// Full returns a name as it is answered: within the domain, unless it has a dot.
func (c Config) Full(name string) string {
	if c.Domain == "" || strings.Contains(name, ".") {
		return name
	}
	return name + "." + c.Domain
}

// service returns the full name of an SRV record: _service._protocol alone is within the domain.
func (c Config) service(name string) string {
	if c.Domain != "" && strings.Count(name, ".") == 1 {
		return name + "." + c.Domain
	}
	return name
}

// names returns the full name and, for one right below the domain, the short one.
func (c Config) names(name string) []string {
	full := c.Full(name)
	if short, ok := strings.CutSuffix(full, "."+c.Domain); ok && c.Domain != "" && !strings.Contains(short, ".") {
		return []string{full, short}
	}
	return []string{full}
}
