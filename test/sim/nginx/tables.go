// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"net/netip"
	"regexp"
	"strings"

	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// table is a variable that follows from others: of a map or a geo block.
type table struct {
	key      string // with variables
	geo      bool
	exact    map[string]string
	wild     map[string]string // by the names above them
	patterns []pattern
	networks []network
	fallback string

	hostnames, defaulted bool
}

// pattern is an expression with its value.
type pattern struct {
	expression *regexp.Regexp
	value      string
}

// network is a network with its value.
type network struct {
	prefix netip.Prefix
	value  string
}

// longestKey is the longest key that fits into a bucket of 64 bytes.
const longestKey = 46

// table reads a map or a geo block.
func (s *section) table(c *Config, d *crossplane.Directive) error {
	name := d.Args[len(d.Args)-1]
	if !strings.HasPrefix(name, "$") {
		return at(d, "invalid variable name %q", name)
	}
	t := &table{geo: d.Directive == "geo", exact: map[string]string{}, wild: map[string]string{}}
	switch {
	case len(d.Args) > 1:
		t.key = d.Args[0]
	case t.geo:
		t.key = "$remote_addr"
	}
	s.mention(t.key)
	for _, entry := range d.Block {
		if err := s.entry(c, t, entry, 0); err != nil {
			return err
		}
	}
	s.tables[name[1:]] = t
	return nil
}

// entry reads one line of a table.
func (s *section) entry(c *Config, t *table, d *crossplane.Directive, depth int) error {
	key := d.Directive
	switch {
	case len(d.Args) == 0 && key == "hostnames":
		t.hostnames = true
		return nil
	case len(d.Args) == 0 && key == "volatile":
		return nil
	case len(d.Args) != 1:
		return at(d, "invalid number of the %s parameters", map[bool]string{true: "geo", false: "map"}[t.geo])
	case key == "include":
		return s.include(c, t, d, depth)
	}
	value := d.Args[0]
	s.mention(value)
	if key == "default" {
		if t.defaulted {
			return at(d, "duplicate default map parameter")
		}
		t.defaulted, t.fallback = true, value
		return nil
	}
	if t.geo {
		return t.network(c, d, value)
	}
	return s.key(t, d, value)
}

// network reads a network of a geo block.
func (t *table) network(c *Config, d *crossplane.Directive, value string) error {
	prefix, err := netip.ParsePrefix(d.Directive)
	if address, bad := netip.ParseAddr(d.Directive); bad == nil {
		prefix, err = netip.PrefixFrom(address, address.BitLen()), nil
	}
	if err != nil {
		return at(d, "invalid network %q", d.Directive)
	}
	for i, one := range t.networks {
		if one.prefix == prefix.Masked() {
			c.Warnings = append(c.Warnings, at(d, "duplicate network %q, value: %q, old value: %q", d.Directive, value, one.value).Error())
			t.networks[i].value = value
			return nil
		}
	}
	t.networks = append(t.networks, network{prefix.Masked(), value})
	return nil
}

// key reads a line of a map.
func (s *section) key(t *table, d *crossplane.Directive, value string) error {
	key := d.Directive
	if strings.HasPrefix(key, "~") {
		expression, err := s.expression(d, strings.TrimPrefix(strings.TrimPrefix(key, "~"), "*"), strings.HasPrefix(key, "~*"))
		t.patterns = append(t.patterns, pattern{expression, value})
		return err
	}
	key = strings.ToLower(strings.TrimPrefix(key, `\`))
	into := t.exact
	if rest, ok := strings.CutPrefix(key, "*."); ok && t.hostnames {
		into, key = t.wild, rest
	}
	if _, twice := into[key]; twice {
		return at(d, "conflicting parameter %q", d.Directive)
	}
	if into[key] = value; len(key) > longestKey {
		s.crowded = true
	}
	return nil
}

// expression compiles one; its named groups are variables.
func (s *section) expression(d *crossplane.Directive, text string, fold bool) (*regexp.Regexp, error) {
	if fold {
		text = "(?i)" + text
	}
	expression, err := regexp.Compile(text)
	if err != nil {
		return nil, at(d, "pcre2_compile() failed: %s in %q", "missing closing parenthesis", d.Directive)
	}
	for _, group := range expression.SubexpNames() {
		if group != "" {
			s.named[group] = true
		}
	}
	return expression, nil
}

// maxIncludes bounds files that include each other.
const maxIncludes = 8

// include reads the lines of other files.
func (s *section) include(c *Config, t *table, d *crossplane.Directive, depth int) error {
	files := []string{absolute(d.Args[0])}
	if strings.ContainsAny(d.Args[0], "*?[") {
		files, _ = c.files.Glob(files[0]) // a pattern that is none fits nothing
	}
	for _, file := range files {
		text, err := c.files.Read(file)
		if err != nil {
			return at(d, "%w", openFailed(file, err))
		}
		entries, err := entriesOf(file, string(text))
		if err != nil || depth > maxIncludes {
			return at(d, "unexpected end of file, expecting \";\"")
		}
		for _, entry := range entries {
			if err := s.entry(c, t, entry, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// entriesOf are the lines of a table in a file of their own.
func entriesOf(file, text string) (crossplane.Directives, error) {
	var list crossplane.Directives
	var now *crossplane.Directive
	var failed error
	for token := range crossplane.Lex(strings.NewReader(text)) { // to its end, so that nothing is left behind
		switch {
		case token.Error != nil:
			failed = token.Error
		case !token.IsQuoted && strings.HasPrefix(token.Value, "#"):
		case !token.IsQuoted && token.Value == ";" && now != nil:
			list, now = append(list, now), nil
		case now == nil:
			now = &crossplane.Directive{Directive: token.Value, File: file, Line: token.Line}
		default:
			now.Args = append(now.Args, token.Value)
		}
	}
	if now != nil {
		failed = crossplane.ErrPrematureLexEnd
	}
	return list, failed
}

// value is what a table makes of the variables.
func (t *table) value(v *vars) string {
	key := v.expand(t.key)
	if t.geo {
		return t.placed(key)
	}
	lower := strings.ToLower(key)
	if value, ok := t.exact[lower]; ok {
		return v.expand(value)
	}
	for _, rest, more := strings.Cut(lower, "."); more && t.hostnames; _, rest, more = strings.Cut(rest, ".") {
		if value, ok := t.wild[rest]; ok {
			return v.expand(value)
		}
	}
	for _, p := range t.patterns {
		if groups := p.expression.FindStringSubmatch(key); groups != nil {
			v.capture(p.expression, groups)
			return v.expand(p.value)
		}
	}
	return v.expand(t.fallback)
}

// placed is the value of the smallest network that an address is in.
func (t *table) placed(key string) string {
	address, err := netip.ParseAddr(key)
	best, value := -1, t.fallback
	for _, n := range t.networks {
		if err == nil && n.prefix.Contains(address.Unmap()) && n.prefix.Bits() > best {
			best, value = n.prefix.Bits(), n.value
		}
	}
	return value
}
