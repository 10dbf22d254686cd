// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package traefik renders what one Traefik reads, its own configuration and a file for each Route, from plain values, and
// reads what Traefik says it made of them. It touches no file and no network itself.
//
// What Traefik 3.6 does was read in its source and measured:
//
//   - A file of its folder is a template of Go's before it is YAML: "{{" within a value would run. None is written.
//   - One file of the folder that is not YAML keeps every change of all files from being taken; what was loaded serves on.
//     One whose rule, service or middleware is wrong has an error of its own, and the others are taken.
//   - Only files that end in .yml, .yaml or .toml are read, those in folders below too.
//   - A root of a serversTransport is a path when such a file is there, and PEM otherwise.
//   - The priority of a rule is its length, when none is given: a Route with many hosts would go before one with a longer
//     path. So one is always given.
//   - PathPrefix compares letters: /api fits /apix too.
//   - redirectRegex sees http:// where TLS ended before it.
//   - Each router has middlewares of its own: a rate limit counts apart for paths that have different priorities.
//   - From its first moment until it has read its folder, 0.1 to 0.4 s, it answers 404 to everybody, and so does its API.
//   - A server of weight 0 gets nothing; of servers whose status is not asked for, none is ever down.
package traefik

import (
	"fmt"
	"time"
)

// The entry points of a Static.
const (
	// Web takes HTTP from the gateways.
	Web = "web"
	// WebSecure takes TLS that the gateways pass through.
	WebSecure = "websecure"
)

// Route is one file: host names, and where their requests go.
type Route struct {
	// Name begins every name in the file; no two files of one Traefik may have one. Lower-case letters, digits, - and dots.
	Name string
	// About is the first line of the file, such as "Route home/blog": letters, digits, spaces and / . _ -
	About string
	// Hosts in lower case; the first label may be *, which stands for one label. At least one.
	Hosts []string
	// Paths, any of them; none: all.
	Paths []Path
	// Priority among the files that have a host; 0: the length of the path twice, and one more when it is exact, so that
	// longer paths go first. A host that is written out goes before a wildcard in any case.
	Priority int
	// EntryPoint of Traefik; empty: Web, and WebSecure with TCP.
	EntryPoint string
	// Servers in the order of their declaration. None with a weight: everybody gets 503; with TCP there must be one.
	Servers []Server
	// PassHostHeader hands the client's Host header on; nil: it does.
	PassHostHeader *bool
	HealthCheck    *HealthCheck
	Sticky         *Sticky
	// TLS says how servers whose URL is https are verified; nil: by what Traefik's machine trusts.
	TLS *BackendTLS
	// Middlewares in the order in which a request passes them.
	Middlewares []Middleware
	// TCP passes TLS connections through as they come, by their server name. Only Hosts and Servers go with it.
	TCP *TCP
	// ClientDepth is the place of the client's address in X-Forwarded-For, from the right; 0: 1, as one gateway writes it.
	ClientDepth int
}

// PathType says how a path is compared.
type PathType string

// The types of a path.
const (
	// Prefix fits every path that begins with the value; it is the default.
	Prefix PathType = "Prefix"
	// Exact fits the value alone.
	Exact PathType = "Exact"
	// Regex is a regular expression (RE2) that fits somewhere in the path.
	Regex PathType = "Regex"
)

// Path is a path that is served.
type Path struct {
	Type  PathType
	Value string
}

// Server takes requests.
type Server struct {
	// URL is http://, https:// or h2c:// with a host and perhaps a port; with TCP it is host:port. Never the router itself.
	URL string
	// Weight among the servers; 0 takes it out.
	Weight int
}

// HealthCheck asks every server again and again.
type HealthCheck struct {
	Path string
	// Interval and Timeout; 0: 30 s and 5 s.
	Interval, Timeout time.Duration
	// Status that is right; 0: any from 200 to 399. Redirects are not followed.
	Status int
}

// Sticky is the cookie by which a client comes back to its server. It is Secure and HttpOnly.
type Sticky struct {
	// Cookie is its name; empty: phoenix_backend.
	Cookie string
	// SameSite is None, Lax or Strict; empty: Lax.
	SameSite string
	// MaxAge in whole seconds; 0: until the browser ends.
	MaxAge time.Duration
}

// BackendTLS says how servers are verified.
type BackendTLS struct {
	// RootCAs in PEM, one or more certificates each; none: what Traefik's machine trusts.
	RootCAs []string
	// ServerName that the certificate must have; empty: the host of the URL.
	ServerName string
}

// TCP passes connections through.
type TCP struct {
	// ProxyProtocol tells servers who the client is, in version 1 or 2; 0: they are not told.
	ProxyProtocol int
}

// FieldError is a value that cannot be written.
type FieldError struct {
	// Field as it is declared in a Route, such as "hosts[0]"; that of Servers is "backends[0]".
	Field string
	// Value that was refused; empty where it is a secret.
	Value string
	// Why says what it must be.
	Why string
}

// Error names the field, the value in quotes if it is no secret, and what it must be.
func (e *FieldError) Error() string {
	if e.Value == "" {
		return e.Field + " " + e.Why
	}
	return fmt.Sprintf("%s %.64q %s", e.Field, e.Value, e.Why)
}
