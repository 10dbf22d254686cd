// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Static is what one Traefik is started with.
type Static struct {
	// About is the first line of the file, such as "HostService home/traefik": letters, digits, spaces and / . _ -
	About string
	// WebPort takes HTTP, WebSecurePort TLS that is passed through; on all addresses.
	WebPort, WebSecurePort int
	// APIPort of loopback alone, with /api and /ping.
	APIPort int
	// MetricsPort serves Prometheus at /metrics, on all addresses; 0: none.
	MetricsPort int
	// Trusted are the addresses or networks of the gateways: they alone are believed what they say of a client, by
	// X-Forwarded-For and its kin on WebPort and by the PROXY protocol on WebSecurePort. None: nobody is.
	Trusted []string
	// AccessLog goes to standard output.
	AccessLog bool
	// LogLevel is DEBUG, INFO, WARN or ERROR; empty: INFO.
	LogLevel string
	// Folder is the one that is watched. What stands in folders below it is read with it; a change in one of those is heard of
	// only when the folder itself is touched.
	Folder string
}

// GraceTimeout is how long a Traefik that stops waits for the requests that are under way, in seconds. It takes no others
// meanwhile.
const GraceTimeout = 5

var pathOfFolder = regexp.MustCompile(`^(/[-A-Za-z0-9._]+)+$`)

// check returns everything that is wrong: a *FieldError for each value.
func (s Static) check() error {
	c := &checker{}
	c.fits(aboutForm, "about", s.About, "must be letters, digits, spaces and / . _ -")
	taken := map[int]string{}
	for _, one := range []struct {
		field string
		port  int
		may   bool
	}{{"webPort", s.WebPort, false}, {"webSecurePort", s.WebSecurePort, false}, {"apiPort", s.APIPort, false}, {"metricsPort", s.MetricsPort, true}} {
		if one.port == 0 && one.may {
			continue
		}
		c.within(one.field, one.port, 1, 65535)
		if other, twice := taken[one.port]; twice {
			c.refuse(one.field, strconv.Itoa(one.port), "must be another port than "+other)
		}
		taken[one.port] = one.field
	}
	if len(s.Trusted) > 0 {
		c.networks("gatewayRefs", s.Trusted)
	}
	if !slices.Contains([]string{"", "DEBUG", "INFO", "WARN", "ERROR"}, s.LogLevel) {
		c.refuse("logLevel", s.LogLevel, "must be DEBUG, INFO, WARN or ERROR")
	}
	if !pathOfFolder.MatchString(s.Folder) || path.Clean(s.Folder) != s.Folder {
		c.refuse("folder", s.Folder, "must be absolute, without '.' and '..', of letters, digits and - . _")
	}
	return errors.Join(c.errs...)
}

// YAML returns the file. Its errors are *FieldError, one for each value that cannot be written. Behind a line that is
// declared stands a comment with the field.
func (s Static) YAML() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	var b strings.Builder
	if s.About != "" {
		fmt.Fprintf(&b, "# %s\n", s.About)
	}
	b.WriteString("# Made by Phoenix: what is changed here by hand is put back.\nglobal:\n  checkNewVersion: false\n  sendAnonymousUsage: false\n")
	fmt.Fprintf(&b, "log:\n  level: %s # logLevel\n  noColor: true\n", cmp.Or(s.LogLevel, "INFO"))
	if s.AccessLog {
		b.WriteString("accessLog: # accessLog\n  format: common # accessLog\n")
	}
	b.WriteString("entryPoints:\n")
	s.entryPoint(&b, Web, s.WebPort, "webPort", "forwardedHeaders")
	s.entryPoint(&b, WebSecure, s.WebSecurePort, "webSecurePort", "proxyProtocol")
	fmt.Fprintf(&b, "  traefik:\n    address: \"127.0.0.1:%d\" # apiPort\n", s.APIPort)
	if s.MetricsPort != 0 {
		fmt.Fprintf(&b, "  metrics:\n    address: \":%d\" # metricsPort\n", s.MetricsPort)
		b.WriteString("metrics:\n  prometheus:\n    entryPoint: metrics # metricsPort\n    addRoutersLabels: true # metricsPort\n")
	}
	b.WriteString("api:\n  insecure: true\n  dashboard: false\nping:\n  entryPoint: traefik\n")
	fmt.Fprintf(&b, "serversTransport:\n  forwardingTimeouts:\n    dialTimeout: %s\n", dialTimeout)
	fmt.Fprintf(&b, "providers:\n  providersThrottleDuration: 200ms\n  file:\n    directory: %q\n    watch: true\n", s.Folder)
	return []byte(b.String()), nil
}

// entryPoint reads a request as long as it takes: uploads are as large as the gateway lets them be. trust is the block
// that says who is believed.
func (s Static) entryPoint(b *strings.Builder, name string, port int, field, trust string) {
	fmt.Fprintf(b, "  %s:\n    address: \":%d\" # %s\n", name, port, field)
	fmt.Fprintf(b, "    transport:\n      lifeCycle:\n        requestAcceptGraceTimeout: 0s\n        graceTimeOut: %ds\n      respondingTimeouts:\n        readTimeout: 0s\n", GraceTimeout)
	if len(s.Trusted) == 0 {
		return
	}
	fmt.Fprintf(b, "    %s:\n      trustedIPs:\n", trust)
	for _, one := range s.Trusted {
		fmt.Fprintf(b, "        - %q%s\n", one, trustedMark)
	}
}

// Field is the field that a line of the file is made from, such as "webPort"; empty for one that is always there.
func Field(line string) string {
	before, field, ok := strings.Cut(line, " # ")
	if !ok || strings.TrimSpace(before) == "" {
		return ""
	}
	return field
}

// trustedMark ends a line with somebody who is believed.
const trustedMark = " # gatewayRefs"

// Trusted are those who are believed by a file of YAML, each once.
func Trusted(file []byte) []string {
	var trusted []string
	for line := range strings.Lines(string(file)) {
		item, ok := strings.CutSuffix(strings.TrimRight(line, "\r\n"), trustedMark)
		if !ok {
			continue
		}
		one, err := strconv.Unquote(strings.TrimPrefix(strings.TrimSpace(item), "- "))
		if c := (&checker{}); err == nil && !slices.Contains(trusted, one) {
			if c.networks("", []string{one}); len(c.errs) == 0 {
				trusted = append(trusted, one)
			}
		}
	}
	return trusted
}
