// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package nginx renders the configuration of one nginx from plain values, and finds what files made by hand have in its
// way. It reads and writes no file itself.
//
// What nginx 1.22 of Debian 12 does was measured:
//
//   - Of two servers that are default_server of one address and port, nginx -t refuses both. A listen on an address of its
//     own is asked before one on all addresses, whichever is default_server there.
//   - Of two servers with one name on one port, the first that is read answers; nginx -t only warns.
//   - A server with ssl_reject_handshake needs no certificate. A client that says a known name in the handshake and another
//     one in the request reaches the default server after the handshake, so that one has an answer of its own.
//   - A name of more than 46 characters needs a larger server_names_hash_bucket_size, else nginx -t fails.
//   - A reload whose new configuration cannot be used leaves the old one at work, and "nginx -s reload" succeeds all the
//     same: what is served then has to be asked.
//   - Versions since 1.25 warn of "http2" at a listen, and obey it; ssl_reject_handshake came with 1.19.4.
package nginx

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
)

// Config is what one nginx serves.
type Config struct {
	// About is the first line of the file, such as "HostService home/nginx". Printable ASCII.
	About string
	// HTTPPort sends to HTTPSPort, where TLS ends. Both are needed, and differ.
	HTTPPort, HTTPSPort int
	// Servers are what is answered. A name of none of them gets no answer on HTTPPort, and no handshake on HTTPSPort.
	Servers []Server
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

// check returns everything that is wrong with a configuration: a *FieldError for each value.
func (c Config) check() error {
	var errs []error
	refuse := func(field, value, why string) { errs = append(errs, &FieldError{field, value, why}) }
	if !linePattern.MatchString(c.About) {
		refuse("about", c.About, "must be printable ASCII")
	}
	for i, port := range []int{c.HTTPPort, c.HTTPSPort} {
		if port < 1 || port > 65535 {
			refuse([]string{"httpPort", "httpsPort"}[i], strconv.Itoa(port), "must be from 1 to 65535")
		}
	}
	if c.HTTPPort == c.HTTPSPort {
		refuse("httpsPort", strconv.Itoa(c.HTTPSPort), "must be another port than httpPort")
	}
	served := map[string]string{}
	for _, s := range c.Servers {
		errs = append(errs, s.check())
		for i, name := range s.Names {
			if other, twice := served[name]; twice {
				refuse(fmt.Sprintf("%s.names[%d]", s.Source, i), name, "is served by "+other+" too")
			}
			served[name] = s.Source
		}
	}
	return errors.Join(errs...)
}

func (s Server) check() error {
	var errs []error
	refuse := func(field, value, why string) { errs = append(errs, &FieldError{field, value, why}) }
	if !linePattern.MatchString(s.Source) {
		refuse("source", s.Source, "must be printable ASCII")
	}
	if len(s.Names) == 0 {
		refuse(s.Source+".names", "", "must not be empty")
	}
	for i, name := range s.Names {
		if !IsName(name) {
			refuse(fmt.Sprintf("%s.names[%d]", s.Source, i), name, nameWords)
		}
	}
	for i, file := range []string{s.Certificate, s.Key} {
		if !isPath(file) {
			refuse(s.Source+[]string{".certificate", ".key"}[i], file, pathWords)
		}
	}
	return errors.Join(errs...)
}
