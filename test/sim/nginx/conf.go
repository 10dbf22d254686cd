// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// scope are the directives of http, server or location that are inherited from
// the one around it.
type scope struct {
	root        string
	index       []string
	headers     []header
	rules       []rule
	pass        string // proxy_pass
	sent        []header
	maxBody     int64
	hideVersion bool
	realFrom    bool // an address of loopback is believed who it comes for
}

type header struct {
	name, value string
	always      bool
}

// server is a server block.
type server struct {
	scope
	at        *crossplane.Directive
	names     []string
	listens   []listen
	locations []location

	reject    bool
	protocols []string
	pairs     []pair
	loaded    []tls.Certificate
}

// location is a location block.
type location struct {
	scope
	modifier, pattern string
}

// block is what a level has said so far.
type block struct {
	scope
	reject    bool
	protocols []string
	certs     []string
	keys      []string
}

// single are directives that a block may have once.
var single = []string{
	"root", "default_type", "sendfile", "tcp_nopush", "server_tokens", "keepalive_timeout", "client_max_body_size", "client_body_timeout", "send_timeout",
	"ssl_reject_handshake", "ssl_prefer_server_ciphers", "ssl_session_timeout", "ssl_session_cache", "ssl_session_tickets", "ssl_ciphers",
	"server_names_hash_bucket_size", "server_names_hash_max_size", "http", "stream", "events", "proxy_pass", "proxy_http_version", "proxy_buffering",
	"proxy_request_buffering", "proxy_connect_timeout", "proxy_read_timeout", "proxy_send_timeout", "proxy_timeout", "ssl_preread", "proxy_protocol",
}

// once complains about a directive that stands twice in a block.
func once(tree crossplane.Directives) error {
	seen := map[string]bool{}
	for _, d := range tree {
		if seen[d.Directive] && slices.Contains(single, d.Directive) {
			return at(d, "%q directive is duplicate", d.Directive)
		}
		seen[d.Directive] = true
		if d.Block != nil {
			if err := once(d.Block); err != nil {
				return err
			}
		}
	}
	return nil
}

// read walks the directives of all files.
func (c *Config) read(tree crossplane.Directives) error {
	if err := once(tree); err != nil {
		return err
	}
	if !slices.ContainsFunc(tree, func(d *crossplane.Directive) bool { return d.Directive == "events" }) {
		return errors.New(`no "events" section in configuration`)
	}
	for _, d := range tree {
		var err error
		switch d.Directive {
		case "http":
			err = c.http(d.Block)
		case "stream":
			err = c.streams(d.Block)
		}
		if err != nil {
			return err
		}
	}
	for _, s := range []*section{&c.web, &c.stream} {
		if err := s.check(); err != nil {
			return err
		}
	}
	for _, s := range c.servers {
		if err := s.load(c.files); err != nil {
			return err
		}
	}
	return nil
}

// http reads the http block: what stands in it first, wherever it stands, then
// the servers.
func (c *Config) http(tree crossplane.Directives) error {
	outer := block{scope: scope{root: "/usr/share/nginx/html", index: []string{"index.html"}, maxBody: 1 << 20}}
	for _, d := range tree {
		if err := c.web.shared(c, d); err != nil {
			return err
		}
		c.wideNames = c.wideNames || d.Directive == "server_names_hash_bucket_size"
	}
	if err := outer.take(c, tree); err != nil {
		return err
	}
	for _, d := range tree {
		if d.Directive == "server" {
			s, err := c.newServer(outer, d)
			if err != nil {
				return err
			}
			c.servers = append(c.servers, s)
		}
	}
	return nil
}

func (c *Config) newServer(outer block, d *crossplane.Directive) (*server, error) {
	inner := block{scope: outer.inherit(), reject: outer.reject, protocols: outer.protocols}
	if err := inner.take(c, d.Block); err != nil {
		return nil, err
	}
	if inner.certs == nil {
		inner.certs, inner.keys = outer.certs, outer.keys
	}
	s := &server{scope: inner.scope, at: d, reject: inner.reject, protocols: inner.protocols}
	for _, one := range d.Block {
		if err := s.take(c, one); err != nil {
			return nil, err
		}
	}
	if len(s.names) == 0 {
		s.names = []string{""}
	}
	if len(s.listens) == 0 {
		s.listens = []listen{{address: "0.0.0.0", port: 80, at: d}}
	}
	for i, file := range inner.certs {
		if i >= len(inner.keys) {
			return nil, fmt.Errorf("no \"ssl_certificate_key\" is defined for certificate %q", file)
		}
		s.pairs = append(s.pairs, pair{file, inner.keys[i]})
	}
	return s, nil
}

// take reads one of the directives that only servers have.
func (s *server) take(c *Config, d *crossplane.Directive) error {
	switch d.Directive {
	case "server_name":
		s.names = append(s.names, d.Args...)
	case "listen":
		l, err := parseListen(d)
		if err != nil {
			return err
		}
		s.listens = append(s.listens, l)
	case "location":
		return s.location(c, d)
	}
	return nil
}

func (s *server) location(c *Config, d *crossplane.Directive) error {
	l := location{modifier: "", pattern: d.Args[len(d.Args)-1]}
	if len(d.Args) > 1 {
		l.modifier = d.Args[0]
	}
	inner := block{scope: s.inherit()}
	if err := inner.take(c, d.Block); err != nil {
		return err
	}
	if slices.ContainsFunc(s.locations, func(o location) bool { return o.modifier == l.modifier && o.pattern == l.pattern }) {
		return at(d, "duplicate location %q", l.pattern)
	}
	l.scope = inner.scope
	s.locations = append(s.locations, l)
	for _, one := range d.Block {
		if one.Directive == "location" {
			if err := s.location(c, one); err != nil {
				return err
			}
		}
	}
	return nil
}

// inherit is what a block hands to those in it.
func (s scope) inherit() scope {
	s.rules, s.pass = nil, ""
	return s
}

// take reads the directives of one level.
func (b *block) take(c *Config, tree crossplane.Directives) error {
	var headers, sent []header
	for _, d := range tree {
		if err := b.directive(c, d); err != nil {
			return err
		}
		switch d.Directive {
		case "add_header":
			headers = append(headers, header{d.Args[0], d.Args[1], len(d.Args) > 2 && d.Args[2] == "always"})
			c.web.mention(d.Args[1])
		case "proxy_set_header":
			sent = append(sent, header{name: d.Args[0], value: d.Args[1]})
			c.web.mention(d.Args[1])
		}
	}
	if headers != nil { // the outer ones count only where there are none
		b.headers = headers
	}
	if sent != nil {
		b.sent = sent
	}
	var err error
	b.rules, err = c.web.rules(tree)
	return err
}

func (b *block) directive(c *Config, d *crossplane.Directive) error {
	switch d.Directive {
	case "root":
		b.root = d.Args[0]
	case "index":
		b.index = d.Args
	case "server_tokens":
		b.hideVersion = d.Args[0] == "off"
	case "proxy_pass":
		b.pass = d.Args[0]
		return c.passable(d)
	case "client_max_body_size":
		size, ok := sizeOf(d.Args[0])
		if b.maxBody = size; !ok {
			return at(d, "%q directive invalid value", d.Directive)
		}
	case "set_real_ip_from":
		b.realFrom = true
	case "ssl_reject_handshake":
		b.reject = d.Args[0] == "on"
	case "ssl_certificate":
		b.certs = append(b.certs, d.Args[0])
	case "ssl_certificate_key":
		b.keys = append(b.keys, d.Args[0])
	case "ssl_protocols":
		b.protocols = d.Args
		for _, name := range d.Args {
			if _, ok := versions[name]; !ok && name != "SSLv2" && name != "SSLv3" {
				return at(d, "invalid value %q", name)
			}
		}
	}
	return nil
}

// sizeOf reads a number of bytes.
func sizeOf(text string) (int64, bool) {
	unit := int64(1)
	for end, n := range map[string]int64{"k": 1 << 10, "m": 1 << 20, "g": 1 << 30} {
		if rest, ok := strings.CutSuffix(strings.ToLower(text), end); ok {
			text, unit = rest, n
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n * unit, err == nil && n >= 0
}
