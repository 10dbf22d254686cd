// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// listen is a listen directive.
type listen struct {
	address             string // as nginx writes it: 0.0.0.0, [::]
	port                int
	ssl, http2, primary bool
	proxied             bool // a header of the PROXY protocol comes first
	at                  *crossplane.Directive
}

func (l listen) key() string { return fmt.Sprintf("%s:%d", l.address, l.port) }

// flagsOfListen are parameters that change nothing here.
var flagsOfListen = []string{"reuseport", "deferred", "bind", "ipv6only=on", "ipv6only=off", "so_keepalive=on", "so_keepalive=off"}

func parseListen(d *crossplane.Directive) (listen, error) {
	l := listen{at: d}
	if err := l.place(d.Args[0]); err != nil {
		return l, err
	}
	for _, arg := range d.Args[1:] {
		switch {
		case arg == "ssl":
			l.ssl = true
		case arg == "http2":
			l.http2 = true
		case arg == "proxy_protocol":
			l.proxied = true
		case arg == "default_server", arg == "default":
			l.primary = true
		case slices.Contains(flagsOfListen, arg), strings.HasPrefix(arg, "backlog="):
		default:
			return l, at(d, "invalid parameter %q", arg)
		}
	}
	return l, nil
}

// place reads an address, a port or both.
func (l *listen) place(text string) error {
	host, number := "", text
	switch i := strings.LastIndex(text, ":"); {
	case strings.HasSuffix(text, "]"):
		host, number = text, "80"
	case i >= 0:
		host, number = text[:i], text[i+1:]
	case strings.Contains(text, "."), strings.Trim(text, "0123456789") != "":
		host, number = text, "80"
	}
	port, err := strconv.Atoi(number)
	if err != nil || port < 1 || port > 65535 {
		return at(l.at, "invalid port in %q of the %q directive", text, "listen")
	}
	l.port, l.address = port, host
	switch host {
	case "", "*":
		l.address = "0.0.0.0"
	case "localhost":
		l.address = "127.0.0.1"
	default:
		if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil {
			return at(l.at, "host not found in %q of the %q directive", text, "listen")
		}
	}
	return nil
}

// group are the servers of one address and port.
type group struct {
	listen
	servers []*server
	primary *server // the default one
	byName  map[string]*server
}

// group sorts the servers by where they listen.
func (c *Config) group() error {
	for _, s := range c.servers {
		seen := map[string]bool{}
		for _, l := range s.listens {
			if seen[l.key()] {
				return at(l.at, "a duplicate listen %s", l.key())
			}
			seen[l.key()] = true
			if err := c.join(s, l); err != nil {
				return err
			}
		}
	}
	for _, g := range c.groups {
		c.Warnings = append(c.Warnings, g.names()...)
		if err := g.check(); err != nil {
			return err
		}
		if !c.wideNames && len(g.servers) > 1 && slices.ContainsFunc(g.servers, (*server).long) {
			return errors.New("could not build server_names_hash, you should increase server_names_hash_bucket_size: 64")
		}
	}
	return nil
}

// join adds a server to its address; what one says about it holds for all.
func (c *Config) join(s *server, l listen) error {
	i := slices.IndexFunc(c.groups, func(g *group) bool { return g.key() == l.key() })
	if i < 0 {
		c.groups = append(c.groups, &group{listen: listen{address: l.address, port: l.port}, primary: s, byName: map[string]*server{}})
		i = len(c.groups) - 1
	}
	g := c.groups[i]
	if l.primary {
		if g.listen.primary {
			return at(l.at, "a duplicate default server for %s", l.key())
		}
		g.listen.primary, g.primary = true, s
	}
	g.ssl, g.http2, g.proxied = g.ssl || l.ssl, g.http2 || l.http2, g.proxied || l.proxied
	g.servers = append(g.servers, s)
	return nil
}

// long says whether a name of a server needs a larger bucket.
func (s *server) long() bool {
	return slices.ContainsFunc(s.names, func(name string) bool { return len(name) > longestKey && !strings.HasPrefix(name, "~") })
}

// names fills byName; who comes second gets no name.
func (g *group) names() (warnings []string) {
	for _, s := range g.servers {
		for _, name := range s.names {
			name = strings.ToLower(name)
			if other := g.byName[name]; other != nil {
				if other != s || name != "" {
					warnings = append(warnings, fmt.Sprintf("conflicting server name %q on %s, ignored", name, g.key()))
				}
				continue
			}
			g.byName[name] = s
		}
	}
	return warnings
}

// check wants a certificate for whoever ends TLS.
func (g *group) check() error {
	if !g.ssl || len(g.primary.pairs) > 0 {
		return nil
	}
	missing := func(s *server) error {
		return at(s.at, "no %q is defined for the %q directive", "ssl_certificate", "listen ... ssl")
	}
	if !g.primary.reject {
		return missing(g.primary)
	}
	for _, s := range g.servers {
		if len(s.pairs) == 0 && !s.reject {
			return missing(s)
		}
	}
	return nil
}

// find is the server of a name: itself, the longest wildcard, a pattern, or the
// default one.
func (g *group) find(name string) *server {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if s := g.byName[name]; s != nil && name != "" {
		return s
	}
	for rest := name; strings.Contains(rest, "."); {
		_, after, _ := strings.Cut(rest, ".")
		for _, pattern := range []string{"*." + after, "." + after} {
			if s := g.byName[pattern]; s != nil {
				return s
			}
		}
		rest = after
	}
	if s := g.byName["."+name]; s != nil {
		return s
	}
	for head := name; strings.Contains(head, "."); {
		head = head[:strings.LastIndex(head, ".")]
		if s := g.byName[head+".*"]; s != nil {
			return s
		}
	}
	return g.matching(name)
}

// Ports are those that the configuration listens on, sorted.
func (c *Config) Ports() []int {
	var out []int
	for _, g := range c.groups {
		out = append(out, g.port)
	}
	for _, p := range c.passers {
		for _, l := range p.listens {
			out = append(out, l.port)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// private says whether the machine alone comes to a port: every listen on it is on
// loopback.
func (c *Config) private(port int) bool {
	all := true
	see := func(l listen) { all = all && (l.port != port || loopback(l.address)) }
	for _, g := range c.groups {
		see(g.listen)
	}
	for _, p := range c.passers {
		for _, l := range p.listens {
			see(l)
		}
	}
	return all
}

func loopback(address string) bool {
	a, err := netip.ParseAddr(strings.Trim(address, "[]"))
	return err == nil && a.IsLoopback()
}

// on is the group of a port: that of every address goes before others, as nobody
// here knows to which address a connection came.
func (c *Config) on(port int) *group {
	var found *group
	for _, g := range c.groups {
		if g.port == port && (found == nil || g.address == "0.0.0.0") {
			found = g
		}
	}
	return found
}

// place is what nginx calls a port in complaints.
func (c *Config) place(port int) string {
	if g := c.on(port); g != nil {
		return g.key()
	}
	return c.passing(port).listens[0].key()
}
