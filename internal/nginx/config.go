// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package nginx renders the configuration of one nginx from plain values, and that of the Routes through it, and finds what
// files made by hand have in its way. It reads and writes no file itself.
//
// How a request goes: $host is looked up in two maps, itself and with * in the place of its first label, which include one
// file a Route. What they say, with whether the client is inside, is $phoenix_router: an upstream, or nothing. Nothing ends
// the request. A Route with a certificate of its own brings a server that does the same (server.conf). With PassThrough,
// the stream module does so first by the name in the handshake, with maps of its own, and leaves the rest to HTTP.
//
// What nginx 1.22 of Debian 12 does was measured:
//
//   - Of two servers that are default_server of one address and port, nginx -t refuses both. A listen on an address of its
//     own is asked before one on all addresses, whichever is default_server there.
//   - Of two servers with one name on one port, the first that is read answers; nginx -t only warns. A map that has a key
//     twice is refused ("conflicting parameter"), an expression may be there twice.
//   - A server with ssl_reject_handshake needs no certificate. A client that says a known name in the handshake and another
//     one in the request reaches the server of the latter, or the default one.
//   - A name of more than 46 characters needs a larger server_names_hash_bucket_size, else nginx -t fails. A key of a map of
//     that length needs a larger map_hash_bucket_size, which may not stand behind any map; an expression needs neither.
//   - 500 Routes in maps cost nginx -t nothing that could be seen (20 ms with and without), 5000 took 0.15 s, and a warning
//     that the map could be better. 500 certificates of their own took 0.9 s.
//   - A reload whose new configuration cannot be used leaves the old one at work, and "nginx -s reload" succeeds all the
//     same: what is served then has to be asked.
//   - 60 reloads under 2700 requests over new and kept connections, HTTP/1.1 and 2, lost none; websockets live on. A renewed
//     certificate was served after 0.2 s. PassThrough comes and goes by a reload, under requests, and none is lost.
//   - return 444 closes the connection of HTTP/1, and ends a stream of HTTP/2 with PROTOCOL_ERROR, which Go's client asks
//     again at once, without an end. 499 does the same with INTERNAL_ERROR, which nobody asks again.
//   - What is sent as plain HTTP to the port of HTTPS is answered with 400 (497), unless error_page says otherwise.
//   - proxy_pass with a variable takes an upstream of that name; where there is none it answers 502. A kept connection on
//     which the router hangs up is replaced for a GET (20 of 20), and 502 for a POST.
//   - Without buffering an upload of 1 GiB leaves nothing in temporary files, over HTTP/1.1 and 2.
//   - Versions since 1.25 warn of "http2" at a listen, and obey it; ssl_reject_handshake came with 1.19.4.
package nginx

import (
	"fmt"
	"path"
	"regexp"
	"time"
)

// Config is what one nginx serves.
type Config struct {
	// About is the first line of the files, such as "HostService home/nginx". Printable ASCII.
	About string
	// HTTPPort sends to HTTPSPort, where TLS ends. Both are needed, and differ.
	HTTPPort, HTTPSPort int
	// Folder is where the files lie that are not read by themselves, and routes/ in it those of the Routes: see Folder and
	// RouteFiles.
	Folder string
	// Servers show a certificate for their names. Another name gets no handshake. What is asked over a connection, and over
	// HTTP, is answered for the hosts of Routes alone: all else is hung up on.
	Servers []Server
	// Upstreams are the routers that Routes may name. A Route of another one is answered with 502.
	Upstreams []Upstream
	// Inside are the networks that may come to Routes that are Internal.
	Inside []string
	// Proxy says how requests are passed on.
	Proxy Proxy
	// Headers are added to the answers of Routes that do not have them.
	Headers Headers
	// PassThrough lets TCP Routes in; nil: not. It needs nginx's stream module, and two more ports on loopback: see its Ports.
	PassThrough *PassThrough
	// Self is the address at which the machine asks itself whether Servers are served, which no TCP Route takes from it. Needed
	// with PassThrough.
	Self string
}

// Server is a set of names with their certificate.
type Server struct {
	// Source says who declares it, such as "servers[site]".
	Source string
	// Names in lower case; the first label may be *.
	Names []string
	// Certificate and Key are paths of files in PEM: the chain, the leaf first, and its private key.
	Certificate, Key string
}

// Upstream is a router of Routes.
type Upstream struct {
	// Router is the name of its HostService.
	Router string
	// Address is an IP address.
	Address string
	// WebPort takes HTTP, SecurePort the TLS of TCP Routes behind a header of the PROXY protocol.
	WebPort, SecurePort int
}

// Proxy says how requests are passed on.
type Proxy struct {
	// MaxBodyMiB of a request; 0: any.
	MaxBodyMiB int
	// ConnectTimeout to the router, and IdleTimeout between two bytes of a request, an answer or a websocket, at least a
	// millisecond each.
	ConnectTimeout, IdleTimeout time.Duration
	// Buffering keeps a request and its answer until they are whole; else everything streams.
	Buffering bool
}

// Headers are headers by which browsers take care.
type Headers struct {
	// HSTS is how long browsers come by HTTPS alone; nil: not sent.
	HSTS *time.Duration
	// Nosniff sends X-Content-Type-Options.
	Nosniff bool
	// FrameOptions and ReferrerPolicy are words; empty: not sent.
	FrameOptions, ReferrerPolicy string
}

// PassThrough lets TCP Routes in.
type PassThrough struct {
	// IdleTimeout of a connection in which nothing is said, at least a millisecond.
	IdleTimeout time.Duration
}

// FieldError is a value that cannot be written.
type FieldError struct {
	// Field as it was declared, such as "servers[site].names[0]".
	Field, Value string
	// Why says what it must be.
	Why string
}

// Error names the field, the value in quotes, and what it must be.
func (e *FieldError) Error() string { return fmt.Sprintf("%s %.64q %s", e.Field, e.Value, e.Why) }

// What is written must fit these, whoever looked at it before: what does not could end its word and begin another.
var (
	label       = `[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?`
	namePattern = regexp.MustCompile(`^(\*\.)?` + label + `(\.` + label + `)*$`)
	wordPattern = regexp.MustCompile(`^[A-Za-z-]*$`)
	pathPattern = regexp.MustCompile(`^(/[-A-Za-z0-9._]+)+$`)
	linePattern = regexp.MustCompile(`^[ -~]*$`)
)

const maxName = 253

// What values must be, in words.
const (
	nameWords = "must be a host name in lower case, for example www.phoenix.lan or *.phoenix.lan"
	pathWords = "must be absolute, without '.' and '..', of letters, digits and - . _"
)

// isPath says whether a path can be written.
func isPath(file string) bool { return pathPattern.MatchString(file) && path.Clean(file) == file }

// IsName says whether a server can have a name: a host name in lower case whose first label may be *.
func IsName(name string) bool { return len(name) <= maxName && namePattern.MatchString(name) }
