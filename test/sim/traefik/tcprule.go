// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// connection is what the matchers of TCP rules look at.
type connection struct {
	name, client string
	protocols    []string
}

type tcpTest = test[connection]

// tcpMatchers are the matchers of TCP rules, by Traefik's names.
var tcpMatchers = map[string]func(...string) (tcpTest, error){
	"ALPN":          takesOne(matchALPN),
	"ClientIP":      takesOne(matchTCPClientIP),
	"HostSNI":       takesOne(matchHostSNI),
	"HostSNIRegexp": takesOne(matchHostSNIRegexp),
}

func takesOne(make func(string) (tcpTest, error)) func(...string) (tcpTest, error) {
	return func(values ...string) (tcpTest, error) {
		if len(values) != 1 {
			return nil, fmt.Errorf("unexpected number of parameters; got %d, expected 1", len(values))
		}
		return make(values[0])
	}
}

// parseTCPRule compiles a rule, and tells whether it fits everything.
func parseTCPRule(text string) (fits tcpTest, all bool, err error) {
	parsed, err := parseRule(text, tcpMatchers)
	if err != nil {
		return nil, false, fmt.Errorf("error while parsing rule %s: %w", text, err)
	}
	fits, err = compile(parsed, tcpMatchers, func(_, _ string, err error) error { return err })
	if err != nil {
		return nil, false, fmt.Errorf("error while adding rule %s: %w", text, err)
	}
	return fits, parsed.everything(), nil
}

// everything tells whether a rule is HostSNI(`*`).
func (r *rule) everything() bool {
	return r.left == nil && len(r.values) == 1 && r.values[0] == "*" && strings.EqualFold(r.matcher, "HostSNI")
}

// tcpPriority is that of a rule which declares none.
func tcpPriority(text string) int {
	if parsed, err := parseRule(text, map[string]bool{"HostSNI": true}); err == nil && parsed.everything() {
		return -1
	}
	return len(text)
}

func matchALPN(protocol string) (tcpTest, error) {
	if protocol == "acme-tls/1" {
		return nil, fmt.Errorf("invalid protocol value for ALPN matcher, %q is not allowed", protocol)
	}
	return func(c connection) bool { return slices.Contains(c.protocols, protocol) }, nil
}

func matchTCPClientIP(text string) (tcpTest, error) {
	list, err := newIPList([]string{text})
	if err != nil {
		return nil, fmt.Errorf("initializing IP checker for ClientIP matcher: %w", err)
	}
	return func(c connection) bool { return list.contains(c.client) }, nil
}

var hostOrIP = regexp.MustCompile(`^[[:word:]\.\-\:]+$`)

func matchHostSNI(host string) (tcpTest, error) {
	if host == "*" {
		return func(connection) bool { return true }, nil
	}
	if !hostOrIP.MatchString(host) {
		return nil, fmt.Errorf("invalid value for HostSNI matcher, %q is not a valid hostname", host)
	}
	return func(c connection) bool {
		return c.name != "" && (c.name == host || c.name == strings.TrimSuffix(host, "."))
	}, nil
}

func matchHostSNIRegexp(text string) (tcpTest, error) {
	if !ascii(text) {
		return nil, fmt.Errorf("invalid value for HostSNIRegexp matcher, %q is not a valid hostname", text)
	}
	expression, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("compiling HostSNIRegexp matcher: %w", err)
	}
	return func(c connection) bool { return expression.MatchString(c.name) }, nil
}
