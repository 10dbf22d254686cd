// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// What is written must fit these, whoever looked at it before: what does not could end its word and begin another.
var (
	label        = `[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?`
	hostForm     = regexp.MustCompile(`^(\*\.)?` + label + `(\.` + label + `)*$`)
	nameForm     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
	aboutForm    = regexp.MustCompile(`^[A-Za-z0-9 /._-]*$`)
	entryForm    = regexp.MustCompile(`^[a-z]*$`)
	wordForm     = regexp.MustCompile("^[!-_a-~]+$")
	pathForm     = regexp.MustCompile(`^/[-A-Za-z0-9._~!$&()*+,;=:@%/]*$`)
	askForm      = regexp.MustCompile(`^/[-A-Za-z0-9._~!$&()*+,;=:@%/?]*$`)
	headerForm   = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	valueForm    = regexp.MustCompile(`^[ -~]*$`)
	cookieForm   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	realmForm    = regexp.MustCompile(`^[ !#-\[\]-~]*$`)
	serverForm   = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*$`)
	endsInNumber = regexp.MustCompile(`(^|\.)(0[xX][0-9a-fA-F]*|[0-9]+)$`)
)

const (
	maxHost     = 253
	maxWord     = 512
	maxPriority = 100000
	maxWeight   = 1000
	maxRoots    = 64 << 10
)

// checker gathers what is wrong.
type checker struct{ errs []error }

func (c *checker) refuse(field, value, why string) {
	c.errs = append(c.errs, &FieldError{Field: field, Value: value, Why: why})
}

func (c *checker) fits(form *regexp.Regexp, field, value, why string) {
	if len(value) > maxWord || !form.MatchString(value) {
		c.refuse(field, value, why)
	}
}

func (c *checker) within(field string, value, low, high int) {
	if value < low || value > high {
		c.refuse(field, strconv.Itoa(value), fmt.Sprintf("must be from %d to %d", low, high))
	}
}

func (c *checker) lasts(field string, value, longest time.Duration) {
	if value < 0 || value > longest {
		c.refuse(field, value.String(), "must be from 0s to "+longest.String())
	}
}

func (c *checker) expression(field, value string) {
	c.fits(wordForm, field, value, "must be printable ASCII without spaces and backticks")
	if _, err := regexp.Compile(value); err != nil {
		c.refuse(field, value, "must be a regular expression (RE2): "+err.Error())
	}
}

// check returns everything that is wrong with a Route: a *FieldError for each value.
func (r Route) check() error {
	c := &checker{}
	if len(r.Name) > maxHost+16 || !nameForm.MatchString(r.Name) {
		c.refuse("name", r.Name, "must be lower-case letters, digits, - and dots")
	}
	c.fits(aboutForm, "about", r.About, "must be letters, digits, spaces and / . _ -")
	c.fits(entryForm, "entryPoint", r.EntryPoint, "must be lower-case letters")
	c.within("clientDepth", r.ClientDepth, 0, 16)
	c.hosts(r.Hosts)
	if r.TCP != nil {
		c.tcp(r)
		return errors.Join(c.errs...)
	}
	c.within("priority", r.Priority, 0, maxPriority)
	for i, p := range r.Paths {
		c.path(fmt.Sprintf("paths[%d]", i), p)
	}
	for i, s := range r.Servers {
		c.server(fmt.Sprintf("backends[%d]", i), s)
	}
	c.healthCheck(r.HealthCheck)
	c.sticky(r.Sticky)
	if r.TLS != nil {
		c.roots("backendTLS", r.TLS.RootCAs)
		if r.TLS.ServerName != "" {
			c.fits(serverForm, "backendTLS.serverName", r.TLS.ServerName, "must be a host name or an address")
		}
	}
	for i, m := range r.Middlewares {
		c.middleware(fmt.Sprintf("middlewares[%d]", i), m)
	}
	return errors.Join(c.errs...)
}

func (c *checker) hosts(hosts []string) {
	if len(hosts) == 0 {
		c.refuse("hosts", "", "must not be empty")
	}
	for i, host := range hosts {
		if len(host) > maxHost || !hostForm.MatchString(host) {
			c.refuse(fmt.Sprintf("hosts[%d]", i), host, "must be a host name in lower case, for example blog.phoenix.lan or *.apps.phoenix.lan")
		}
	}
}

func (c *checker) path(field string, p Path) {
	switch p.Type {
	case Prefix, Exact, "":
		c.fits(pathForm, field+".value", p.Value, "must begin with / and hold nothing that a URL's path cannot")
	case Regex:
		c.expression(field+".value", p.Value)
	default:
		c.refuse(field+".type", string(p.Type), "must be Prefix, Exact or Regex")
	}
}

func (c *checker) server(field string, s Server) {
	c.within(field+".weight", s.Weight, 0, maxWeight)
	scheme, rest, _ := strings.Cut(s.URL, "://")
	if scheme != "http" && scheme != "https" && scheme != "h2c" {
		c.refuse(field, s.URL, "must begin with http://, https:// or h2c://")
		return
	}
	c.place(field, s.URL, strings.TrimSuffix(rest, "/"), false)
}

// place refuses what is not a host with a port, and what is the router itself: its API stands on loopback, open to all
// who reach it.
func (c *checker) place(field, whole, place string, needPort bool) {
	host, port := place, ""
	if end := strings.LastIndexByte(place, ']'); strings.HasPrefix(place, "[") && end > 0 {
		host, port = place[1:end], place[end+1:]
		if addr, err := netip.ParseAddr(host); err != nil || !addr.Is6() || addr.Zone() != "" {
			c.refuse(field, whole, "must have an IPv6 address in its brackets")
			return
		}
	} else if colon := strings.IndexByte(place, ':'); colon >= 0 {
		host, port = place[:colon], place[colon:]
	}
	if number, err := strconv.Atoi(strings.TrimPrefix(port, ":")); (needPort || port != "") && (err != nil || number < 1 || number > 65535 || port != ":"+strconv.Itoa(number)) {
		c.refuse(field, whole, "must have a port from 1 to 65535 behind its host, and nothing else")
		return
	}
	c.elsewhere(field, whole, host)
}

func (c *checker) elsewhere(field, whole, host string) {
	addr, err := netip.ParseAddr(host)
	switch {
	case err == nil && (addr.Unmap().IsLoopback() || addr.Unmap().IsUnspecified()):
		c.refuse(field, whole, "must not be the router itself")
	case err == nil:
	case len(host) > maxHost || !serverForm.MatchString(host) || endsInNumber.MatchString(host):
		c.refuse(field, whole, "must have a host name or an address as its host, and nothing else")
	case strings.EqualFold(host, "localhost") || strings.HasSuffix(strings.ToLower(host), ".localhost"):
		c.refuse(field, whole, "must not be the router itself")
	}
}

// target is a URL with a path.
func (c *checker) target(field, value string) {
	u, err := url.Parse(value)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || u.Fragment != "" || !wordForm.MatchString(value) || len(value) > maxWord:
		c.refuse(field, value, "must be http:// or https:// with a host, and hold no credentials")
	case u.Path != "" && !askForm.MatchString(u.RequestURI()):
		c.refuse(field, value, "must have a path of letters, digits and -._~!$&()*+,;=:@%/?")
	default:
		c.place(field, value, u.Host, false)
	}
}

func (c *checker) tcp(r Route) {
	if len(r.Paths) > 0 || r.Priority != 0 || len(r.Middlewares) > 0 || r.Sticky != nil || r.HealthCheck != nil || r.TLS != nil || r.PassHostHeader != nil {
		c.refuse("tcp", "", "goes with hosts and backends alone")
	}
	c.within("tcp.proxyProtocol", r.TCP.ProxyProtocol, 0, 2)
	if len(r.weighted()) == 0 {
		c.refuse("backends", "", "must have one with a weight: Traefik has no service of TCP without a server")
	}
	for i, s := range r.Servers {
		field := fmt.Sprintf("backends[%d]", i)
		c.within(field+".weight", s.Weight, 0, maxWeight)
		c.place(field, s.URL, s.URL, true)
	}
}

func (c *checker) healthCheck(h *HealthCheck) {
	if h == nil {
		return
	}
	c.fits(askForm, "healthCheck.path", h.Path, "must begin with / and hold nothing that a URL cannot")
	c.lasts("healthCheck.interval", h.Interval, time.Hour)
	c.lasts("healthCheck.timeout", h.Timeout, time.Hour)
	if h.Status != 0 {
		c.within("healthCheck.status", h.Status, 100, 599)
	}
}

func (c *checker) sticky(s *Sticky) {
	if s == nil {
		return
	}
	if s.Cookie != "" {
		c.fits(cookieForm, "sticky.cookie", s.Cookie, "must be letters, digits, - and _")
	}
	if s.SameSite != "" && s.SameSite != "None" && s.SameSite != "Lax" && s.SameSite != "Strict" {
		c.refuse("sticky.sameSite", s.SameSite, "must be None, Lax or Strict")
	}
	c.lasts("sticky.maxAge", s.MaxAge, 366*24*time.Hour)
}

// roots must be certificates: what is none would be the path of a file on the router.
func (c *checker) roots(field string, roots []string) {
	for i, text := range roots {
		at := fmt.Sprintf("%s.rootCAs[%d]", field, i)
		rest, count := []byte(text), 0
		for len(strings.TrimSpace(string(rest))) > 0 && len(text) <= maxRoots {
			block, more := pem.Decode(rest)
			if block == nil || block.Type != "CERTIFICATE" || !strings.HasPrefix(strings.TrimSpace(string(rest)), "-----BEGIN") {
				count = 0
				break
			}
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				c.refuse(at, "", "must hold certificates that can be read: "+err.Error())
				return
			}
			rest, count = more, count+1
		}
		if count == 0 {
			c.refuse(at, "", "must be certificates in PEM, 64 KiB at most, and nothing else")
		}
	}
}
