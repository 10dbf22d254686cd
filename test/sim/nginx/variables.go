// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// section is http or stream: what all of its servers share.
type section struct {
	tables    map[string]*table
	upstreams map[string][]string // addresses with their ports
	named     map[string]bool     // groups of expressions, and what is set
	mentioned []string            // texts with variables
	own       []string            // variables that come with nginx
	crowded   bool                // a key of a map needs a larger bucket
	buckets   bool                // they are larger
}

func newSection(own []string) section {
	return section{tables: map[string]*table{}, upstreams: map[string][]string{}, named: map[string]bool{}, own: own}
}

// mention notes a text whose variables must be known in the end.
func (s *section) mention(texts ...string) { s.mentioned = append(s.mentioned, texts...) }

// shared reads a directive that makes something for all servers; others it passes
// over.
func (s *section) shared(c *Config, d *crossplane.Directive) error {
	switch d.Directive {
	case "map", "geo":
		return s.table(c, d)
	case "upstream":
		return s.upstream(d)
	case "map_hash_bucket_size":
		if len(s.tables) > 0 {
			return at(d, "%q directive is duplicate", d.Directive)
		}
		s.buckets = true
	}
	return nil
}

// upstream reads the addresses of one.
func (s *section) upstream(d *crossplane.Directive) error {
	if s.upstreams[d.Args[0]] != nil {
		return at(d, "duplicate upstream %q", d.Args[0])
	}
	for _, one := range d.Block {
		if one.Directive == "server" {
			s.upstreams[d.Args[0]] = append(s.upstreams[d.Args[0]], withPort(one.Args[0], "80"))
		}
	}
	if s.upstreams[d.Args[0]] == nil {
		return at(d, "no servers are inside upstream")
	}
	return nil
}

// check complains of what can be seen only when everything was read.
func (s *section) check() error {
	if s.crowded && !s.buckets {
		return errors.New("could not build map_hash, you should increase map_hash_bucket_size: 64")
	}
	for _, text := range s.mentioned {
		for _, m := range variable.FindAllStringSubmatch(text, -1) {
			if name := m[1] + m[2]; !s.knows(name) {
				return fmt.Errorf("unknown %q variable", name)
			}
		}
	}
	return nil
}

func (s *section) knows(name string) bool {
	return s.tables[name] != nil || s.named[name] || slices.Contains(s.own, name) || strings.Trim(name, "0123456789") == "" ||
		slices.ContainsFunc(prefixed, func(one string) bool { return strings.HasPrefix(name, one) })
}

var (
	variable = regexp.MustCompile(`\$(?:\{(\w+)\}|(\w+))`)
	prefixed = []string{"http_", "arg_", "cookie_", "ssl_", "upstream_", "sent_http_"}
	ofHTTP   = []string{
		"host", "request_uri", "uri", "document_uri", "scheme", "args", "query_string", "is_args", "server_name", "server_port", "server_addr", "request_method",
		"remote_addr", "https", "nginx_version", "server_protocol", "proxy_protocol_addr", "proxy_protocol_server_addr",
	}
	ofStream = []string{"remote_addr", "server_addr", "server_port", "proxy_protocol_addr", "proxy_protocol_server_addr", "protocol"}
)

// vars are the variables of a request, or of a connection.
type vars struct {
	tables map[string]*table
	// own are those that come with it.
	own func(name string) string
	// found are those that were found, captured or set before.
	found map[string]string
}

func (s *section) variables(own func(name string) string) *vars {
	return &vars{tables: s.tables, own: own, found: map[string]string{}}
}

func (v *vars) expand(text string) string {
	if !strings.Contains(text, "$") {
		return text
	}
	return variable.ReplaceAllStringFunc(text, func(one string) string { return v.value(strings.Trim(one, "${}")) })
}

func (v *vars) value(name string) string {
	if text, ok := v.found[name]; ok {
		return text
	}
	t := v.tables[name]
	if t == nil {
		return v.own(name)
	}
	v.found[name] = "" // one that leads back to itself is empty
	v.found[name] = t.value(v)
	return v.found[name]
}

// capture keeps the named groups of an expression.
func (v *vars) capture(expression *regexp.Regexp, groups []string) {
	for i, name := range expression.SubexpNames() {
		if name != "" {
			v.found[name] = groups[i]
		}
	}
}
