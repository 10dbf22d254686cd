// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// request is what the matchers of HTTP rules look at.
type request struct {
	*http.Request
	host, path string
}

type httpTest = test[*request]

// httpMatchers are the matchers of HTTP rules, by Traefik's names.
var httpMatchers = map[string]func(...string) (httpTest, error){
	"ClientIP":     takes(matchClientIP, 1),
	"Method":       takes(matchMethod, 1),
	"Host":         takes(matchHost, 1),
	"HostRegexp":   takes(matchHostRegexp, 1),
	"Path":         takes(matchPath, 1),
	"PathRegexp":   takes(matchPathRegexp, 1),
	"PathPrefix":   takes(matchPathPrefix, 1),
	"Header":       takes(matchHeader, 2),
	"HeaderRegexp": takes(matchHeaderRegexp, 2),
	"Query":        takes(matchQuery, 1, 2),
	"QueryRegexp":  takes(matchQueryRegexp, 1, 2),
}

// takes refuses another number of parameters.
func takes(make func([]string) (httpTest, error), counts ...int) func(...string) (httpTest, error) {
	return func(values ...string) (httpTest, error) {
		if !slices.Contains(counts, len(values)) {
			return nil, fmt.Errorf("unexpected number of parameters; got %d, expected one of %v", len(values), counts)
		}
		return make(values)
	}
}

// parseHTTPRule compiles a rule, in Traefik's words when it is bad.
func parseHTTPRule(text string) (httpTest, error) {
	wrong := func(doing string, err error) error {
		return fmt.Errorf("error while parsing rule %[1]s: %[2]s rule %[1]s: %[3]w", text, doing, err)
	}
	parsed, err := parseRule(text, httpMatchers)
	if err != nil {
		return nil, wrong("parsing", err)
	}
	fits, err := compile(parsed, httpMatchers, func(matcher, what string, err error) error {
		return fmt.Errorf("error while %s rule %s: %w", what, matcher, err)
	})
	if err != nil {
		return nil, wrong("adding", err)
	}
	return fits, nil
}

func matchClientIP(values []string) (httpTest, error) {
	list, err := newIPList(values)
	if err != nil {
		return nil, fmt.Errorf("initializing IP checker for ClientIP matcher: %w", err)
	}
	return func(r *request) bool { return list.contains(remoteIP(r.Request)) }, nil
}

func matchMethod(values []string) (httpTest, error) {
	method := strings.ToUpper(values[0])
	return func(r *request) bool { return r.Method == method }, nil
}

func matchHost(values []string) (httpTest, error) {
	if !ascii(values[0]) {
		return nil, fmt.Errorf("invalid value %q for Host matcher, non-ASCII characters are not allowed", values[0])
	}
	host := strings.ToLower(values[0])
	return func(r *request) bool {
		return r.host != "" && (r.host == host || strings.TrimSuffix(r.host, ".") == host || r.host == strings.TrimSuffix(host, "."))
	}, nil
}

func matchHostRegexp(values []string) (httpTest, error) {
	if !ascii(values[0]) {
		return nil, fmt.Errorf("invalid value %q for HostRegexp matcher, non-ASCII characters are not allowed", values[0])
	}
	expression, err := regexp.Compile(values[0])
	if err != nil {
		return nil, fmt.Errorf("compiling HostRegexp matcher: %w", err)
	}
	// An empty name is looked at too: that of CNAME flattening, which is off.
	return func(r *request) bool { return expression.MatchString(r.host) || expression.MatchString("") }, nil
}

func matchPath(values []string) (httpTest, error) {
	if !strings.HasPrefix(values[0], "/") {
		return nil, fmt.Errorf("path %q does not start with a '/'", values[0])
	}
	return func(r *request) bool { return r.path == values[0] }, nil
}

func matchPathRegexp(values []string) (httpTest, error) {
	expression, err := regexp.Compile(values[0])
	if err != nil {
		return nil, fmt.Errorf("compiling PathPrefix matcher: %w", err) // so it says
	}
	return func(r *request) bool { return expression.MatchString(r.path) }, nil
}

func matchPathPrefix(values []string) (httpTest, error) {
	if !strings.HasPrefix(values[0], "/") {
		return nil, fmt.Errorf("path %q does not start with a '/'", values[0])
	}
	return func(r *request) bool { return strings.HasPrefix(r.path, values[0]) }, nil
}

func matchHeader(values []string) (httpTest, error) {
	key := http.CanonicalHeaderKey(values[0])
	return func(r *request) bool { return slices.Contains(r.Header[key], values[1]) }, nil
}

func matchHeaderRegexp(values []string) (httpTest, error) {
	key := http.CanonicalHeaderKey(values[0])
	expression, err := regexp.Compile(values[1])
	if err != nil {
		return nil, fmt.Errorf("compiling HeaderRegexp matcher: %w", err)
	}
	return func(r *request) bool { return slices.ContainsFunc(r.Header[key], expression.MatchString) }, nil
}

func matchQuery(values []string) (httpTest, error) {
	value := ""
	if len(values) == 2 {
		value = values[1]
	}
	return func(r *request) bool { return slices.Contains(r.URL.Query()[values[0]], value) }, nil
}

func matchQueryRegexp(values []string) (httpTest, error) {
	if len(values) == 1 {
		return matchQuery(values)
	}
	expression, err := regexp.Compile(values[1])
	if err != nil {
		return nil, fmt.Errorf("compiling QueryRegexp matcher: %w", err)
	}
	return func(r *request) bool {
		return slices.ContainsFunc(r.URL.Query()[values[0]], expression.MatchString)
	}, nil
}

// reserved are the characters that stay encoded in the path that rules look at.
const reserved = ":/?#[]@!$&'()*+,;=%"

// routingPath is the path that rules look at: decoded, but for what would mean something else then.
func routingPath(u *url.URL) (string, error) {
	escaped := u.EscapedPath()
	var out strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] != '%' {
			out.WriteByte(escaped[i])
			continue
		}
		if i+2 >= len(escaped) {
			return "", errors.New("invalid percent-encoding at the end of the URL path")
		}
		code := escaped[i : i+3]
		plain, err := url.PathUnescape(code)
		switch {
		case err != nil:
			return "", errors.New("invalid percent-encoding in URL path")
		case strings.Contains(reserved, plain):
			out.WriteString(code)
		default:
			out.WriteString(plain)
		}
		i += 2
	}
	return out.String(), nil
}

func ascii(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
