// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// checking gathers what is wrong with a configuration: a *FieldError for each value.
type checking struct{ errs []error }

func (c *checking) refuse(field, value, why string) {
	c.errs = append(c.errs, &FieldError{field, value, why})
}

func (c *checking) port(field string, port int) {
	if port < 1 || port > 65535 {
		c.refuse(field, strconv.Itoa(port), "must be from 1 to 65535")
	}
}

func (c *checking) line(field, value string) {
	if !linePattern.MatchString(value) {
		c.refuse(field, value, "must be printable ASCII")
	}
}

func (c *checking) timeout(field string, d time.Duration) {
	if d < time.Millisecond {
		c.refuse(field, d.String(), "must be at least 1ms")
	}
}

// check returns everything that is wrong with a configuration.
func (c Config) check() error {
	found := &checking{}
	found.line("about", c.About)
	found.port("httpPort", c.HTTPPort)
	found.port("httpsPort", c.HTTPSPort)
	if c.HTTPPort == c.HTTPSPort {
		found.refuse("httpsPort", strconv.Itoa(c.HTTPSPort), "must be another port than httpPort")
	}
	if !isPath(c.Folder) {
		found.refuse("folder", c.Folder, pathWords)
	}
	c.checkServers(found)
	c.checkUpstreams(found)
	for i, network := range c.Inside {
		if _, err := netip.ParsePrefix(network); err != nil {
			found.refuse(fmt.Sprintf("internalNetworks[%d]", i), network, "must be a network, for example 10.0.0.0/24")
		}
	}
	if _, err := netip.ParseAddr(c.Self); c.PassThrough != nil && err != nil {
		found.refuse("self", c.Self, "must be an address")
	}
	c.checkProxy(found)
	return errors.Join(found.errs...)
}

func (c Config) checkServers(found *checking) {
	served := map[string]string{}
	for _, s := range c.Servers {
		found.line("source", s.Source)
		if len(s.Names) == 0 {
			found.refuse(s.Source+".names", "", "must not be empty")
		}
		for i, name := range s.Names {
			found.name(fmt.Sprintf("%s.names[%d]", s.Source, i), name, served[name])
			served[name] = s.Source
		}
		for i, file := range []string{s.Certificate, s.Key} {
			if !isPath(file) {
				found.refuse(s.Source+[]string{".certificate", ".key"}[i], file, pathWords)
			}
		}
	}
}

// name refuses what is no name of a server, or what another one serves.
func (c *checking) name(field, name, other string) {
	if !IsName(name) {
		c.refuse(field, name, nameWords)
	}
	if other != "" {
		c.refuse(field, name, "is served by "+other+" too")
	}
}

func (c Config) checkUpstreams(found *checking) {
	seen := map[string]bool{}
	for _, u := range c.Upstreams {
		field := "HostService/" + u.Router
		if !servicePattern.MatchString(u.Router) || len(u.Router) > maxName {
			found.refuse("router", u.Router, "must be the name of an object")
		}
		if seen[u.Router] {
			found.refuse("router", u.Router, "must not be there twice")
		}
		seen[u.Router] = true
		if a, err := netip.ParseAddr(u.Address); err != nil || a.Zone() != "" {
			found.refuse(field+" address", u.Address, "must be an IP address")
		}
		found.port(field+" webPort", u.WebPort)
		found.port(field+" webSecurePort", u.SecurePort)
	}
}

func (c Config) checkProxy(found *checking) {
	found.timeout("proxy.connectTimeout", c.Proxy.ConnectTimeout)
	found.timeout("proxy.idleTimeout", c.Proxy.IdleTimeout)
	if c.Proxy.MaxBodyMiB < 0 || c.Proxy.MaxBodyMiB > 1<<20 {
		found.refuse("proxy.maxBodySizeMiB", strconv.Itoa(c.Proxy.MaxBodyMiB), "must be from 0 to 1048576")
	}
	if c.PassThrough != nil {
		found.timeout("passThrough.idleTimeout", c.PassThrough.IdleTimeout)
	}
	if c.Headers.HSTS != nil && *c.Headers.HSTS < 0 {
		found.refuse("securityHeaders.hsts", c.Headers.HSTS.String(), "must not be less than 0s")
	}
	for field, word := range map[string]string{"frameOptions": c.Headers.FrameOptions, "referrerPolicy": c.Headers.ReferrerPolicy} {
		if !wordPattern.MatchString(word) {
			found.refuse("securityHeaders."+field, word, "must be a word")
		}
	}
}
