// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package traefik is a Traefik 3.6 in this process: it reads a static file, watches a folder of dynamic ones, routes what
// comes in at its entry points to real backends, and answers at its API. It behaves as Traefik does, in its own words, where
// somebody can see the difference; it knows the file provider alone.
package traefik

import (
	"context"
	"crypto/x509"
	"net"
	"time"
)

// Entry of a folder.
type Entry struct {
	Name string
	Dir  bool
}

// Files are those of the machine that Traefik runs on, as its user sees them.
type Files interface {
	// ReadFile reads a file.
	ReadFile(name string) ([]byte, error)
	// ReadDir lists a folder, by name.
	ReadDir(name string) ([]Entry, error)
	// Watch calls changed after every change of what is in the folder that has the name now, not in those below it. The
	// folder is followed when it gets another name.
	Watch(name string, changed func()) (stop func(), err error)
}

// Options of a Server. All are needed, but for Roots, Log, Faults and Version.
type Options struct {
	// Config is the path of the static file.
	Config string
	// Files of its machine.
	Files Files
	// Listen takes the port of an address, such as :80 or 127.0.0.1:8080.
	Listen func(address string) (net.Listener, error)
	// Dial connects to a backend.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Roots are the certificates that the machine trusts, asked for when the first are needed; nil: none.
	Roots func() *x509.CertPool
	// Hostname of the machine.
	Hostname string
	// Now is the machine's time; certificates are judged by it.
	Now func() time.Time
	// Log takes the lines of its log.
	Log func(line string)
	// Faults are what goes wrong; they outlive a restart.
	Faults *Faults
	// Version that it says it is; default Version.
	Version string
}

func (o Options) filled() Options {
	if o.Log == nil {
		o.Log = func(string) {}
	}
	if o.Faults == nil {
		o.Faults = &Faults{}
	}
	if o.Version == "" {
		o.Version = Version
	}
	if o.Roots == nil {
		o.Roots = x509.NewCertPool
	}
	return o
}
