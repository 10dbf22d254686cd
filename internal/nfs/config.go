// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package nfs renders the exports of an NFS server from plain values, for the server of the kernel and for Ganesha, and
// finds exports made by hand that are in their way. It reads and writes no file itself.
//
// What was measured with nfs-utils 2.6 and nfs-ganesha 4.3 of Debian 12:
//
//   - A line of exports(5) without a client exports to everybody, so an export without one is not written at all.
//   - The kernel's table of exports has one line for each export and client, and can be shown without a running server.
//   - Reading the exports again goes on after a path that is not there, and fails in the end.
//   - Ganesha reads its exports again with SIGHUP within a second: new ones come, those that are not there any more go.
//     An error of syntax in any file makes it drop all exports until the next SIGHUP; a path that is not there costs that
//     one alone.
//   - Ganesha's exports are listed over D-Bus, which its own unit needs too; showmount knows nothing of NFSv4.
//   - Of several clients of one export that fit, the first counts for both, so narrow networks stand first.
package nfs

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
)

// Squash says whose rights a client's user has.
type Squash int

// The ways. Root: a client's root is nobody; All: every user is; None: root is root.
const (
	Root Squash = iota
	All
	None
)

// Config is what one server exports.
type Config struct {
	// About is the first line of each file. Printable ASCII.
	About   string
	Exports []Export
}

// Export is one directory.
type Export struct {
	// Source says who declares it, such as "exports[0]".
	Source  string
	Path    string
	Clients []Client
}

// Client may mount an export.
type Client struct {
	Source string
	// Network is a CIDR; one machine has its full length.
	Network         string
	ReadOnly, Async bool
	Squash          Squash
}

// FieldError is a value that cannot be written.
type FieldError struct {
	// Field as it was declared, such as "exports[0].path".
	Field, Value string
	// Why says what it must be.
	Why string
}

// Error names the field, the value in quotes, and what it must be.
func (e *FieldError) Error() string { return fmt.Sprintf("%s %.64q %s", e.Field, e.Value, e.Why) }

// What is written must fit these, whoever looked at it before: what does not could end its word and begin another.
var (
	pathPattern = regexp.MustCompile(`^(/[-A-Za-z0-9._]+)+$`)
	linePattern = regexp.MustCompile(`^[ -~]*$`)
)

// checked returns the exports that have clients, each with its clients in the order in which they count, or what is
// wrong with them: a *FieldError for each value.
func (c Config) checked() ([]Export, error) {
	var errs []error
	refuse := func(field, value, why string) { errs = append(errs, &FieldError{field, value, why}) }
	if !linePattern.MatchString(c.About) {
		refuse("about", c.About, "must be printable ASCII")
	}
	seen := map[string]string{}
	var exports []Export
	for _, e := range c.Exports {
		if !pathPattern.MatchString(e.Path) || path.Clean(e.Path) != e.Path {
			refuse(e.Source+".path", e.Path, "must be absolute and not /, without '.' and '..', of letters, digits and - . _")
		}
		if other, twice := seen[e.Path]; twice {
			refuse(e.Source+".path", e.Path, "is exported by "+other+" too")
		}
		seen[e.Path] = e.Source
		clients, err := e.checked()
		errs = append(errs, err)
		if e.Clients = clients; len(clients) > 0 {
			exports = append(exports, e)
		}
	}
	slices.SortFunc(exports, func(a, b Export) int { return cmp.Compare(a.Path, b.Path) })
	return exports, errors.Join(errs...)
}

// checked returns the clients with narrow networks first, the first of those with the same network.
func (e Export) checked() ([]Client, error) {
	var errs []error
	networks := map[netip.Prefix]bool{}
	var clients []Client
	for _, client := range e.Clients {
		network, err := netip.ParsePrefix(client.Network)
		if err != nil || network != network.Masked() || network.Addr().Is4In6() {
			errs = append(errs, &FieldError{client.Source, client.Network, "must be a network such as 10.0.0.0/24, or one machine such as 10.0.0.102/32"})
			continue
		}
		if client.Squash < Root || client.Squash > None {
			errs = append(errs, &FieldError{client.Source + ".squash", fmt.Sprint(client.Squash), "must be Root, All or None"})
			continue
		}
		if networks[network] {
			continue
		}
		networks[network] = true
		client.Network = network.String()
		clients = append(clients, client)
	}
	slices.SortStableFunc(clients, func(a, b Client) int { return cmp.Compare(hostBits(a.Network), hostBits(b.Network)) })
	return clients, errors.Join(errs...)
}

// hostBits is how wide a network is.
func hostBits(network string) int {
	p, err := netip.ParsePrefix(network)
	if err != nil {
		return 0
	}
	return p.Addr().BitLen() - p.Bits()
}
