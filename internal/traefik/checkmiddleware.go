// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"fmt"
	"net/netip"
	"time"
)

// middleware refuses what a middleware cannot hold.
func (c *checker) middleware(field string, m Middleware) {
	set := 0
	for _, one := range []struct {
		is    bool
		check func()
	}{
		{m.Redirect != nil, func() { c.redirect(field+".redirect", *m.Redirect) }},
		{m.StripPrefix != nil, func() { c.stripPrefix(field+".stripPrefix", *m.StripPrefix) }},
		{m.AddPrefix != nil, func() {
			c.fits(pathForm, field+".addPrefix.prefix", m.AddPrefix.Prefix, "must begin with / and hold nothing that a URL's path cannot")
		}},
		{m.Headers != nil, func() { c.headers(field+".headers", *m.Headers) }},
		{m.BasicAuth != nil, func() { c.basicAuth(field+".basicAuth", *m.BasicAuth) }},
		{m.IPAllowList != nil, func() { c.networks(field+".ipAllowList.networks", m.IPAllowList.Networks) }},
		{m.RateLimit != nil, func() { c.rateLimit(field+".rateLimit", *m.RateLimit) }},
		{m.Compress != nil, func() { c.within(field+".compress.minBodySize", m.Compress.MinBodySize, 0, 1<<30) }},
		{m.Retry != nil, func() {
			c.within(field+".retry.attempts", m.Retry.Attempts, 1, 100)
			c.lasts(field+".retry.initialInterval", m.Retry.InitialInterval, time.Minute)
		}},
		{m.ForwardAuth != nil, func() { c.forwardAuth(field+".forwardAuth", *m.ForwardAuth) }},
	} {
		if one.is {
			set++
			one.check()
		}
	}
	if set != 1 {
		c.refuse(field, "", fmt.Sprintf("must be exactly one thing, and is %d", set))
	}
}

func (c *checker) redirect(field string, r Redirect) {
	c.expression(field+".regex", r.Regex)
	c.fits(wordForm, field+".replacement", r.Replacement, "must be printable ASCII without spaces and backticks")
}

func (c *checker) stripPrefix(field string, s StripPrefix) {
	if len(s.Prefixes) == 0 {
		c.refuse(field+".prefixes", "", "must not be empty")
	}
	for i, prefix := range s.Prefixes {
		c.fits(pathForm, fmt.Sprintf("%s.prefixes[%d]", field, i), prefix, "must begin with / and hold nothing that a URL's path cannot")
	}
}

func (c *checker) headers(field string, h Headers) {
	if len(h.Request)+len(h.Response) == 0 {
		c.refuse(field, "", "must set or remove a header")
	}
	for _, list := range []struct {
		name    string
		headers []Header
	}{{"request", h.Request}, {"response", h.Response}} {
		for i, one := range list.headers {
			at := fmt.Sprintf("%s.%s[%d]", field, list.name, i)
			c.fits(headerForm, at+".name", one.Name, "must be letters, digits and -")
			c.fits(valueForm, at+".value", one.Value, "must be printable ASCII")
		}
	}
}

func (c *checker) basicAuth(field string, b BasicAuth) {
	if len(b.Users) == 0 {
		c.refuse(field+".users", "", "must not be empty")
	}
	for i, line := range b.Users {
		if _, why := splitUser(line); why != "" {
			c.refuse(fmt.Sprintf("%s.users[%d]", field, i), "", why)
		}
	}
	c.fits(realmForm, field+".realm", b.Realm, `must be printable ASCII without double quotes and \`)
	if b.UserHeader != "" {
		c.fits(headerForm, field+".userHeader", b.UserHeader, "must be letters, digits and -")
	}
}

func (c *checker) networks(field string, networks []string) {
	if len(networks) == 0 {
		c.refuse(field, "", "must not be empty")
	}
	for i, one := range networks {
		_, notNetwork := netip.ParsePrefix(one)
		addr, notAddress := netip.ParseAddr(one)
		if notNetwork != nil && (notAddress != nil || addr.Zone() != "") {
			c.refuse(fmt.Sprintf("%s[%d]", field, i), one, "must be a network or an address, for example 10.0.0.0/24")
		}
	}
}

func (c *checker) rateLimit(field string, r RateLimit) {
	c.within(field+".average", r.Average, 1, 1_000_000)
	c.within(field+".burst", r.Burst, 0, 1_000_000)
	c.lasts(field+".period", r.Period, time.Hour)
}

func (c *checker) forwardAuth(field string, f ForwardAuth) {
	c.target(field+".url", f.URL)
	c.roots(field, f.RootCAs)
	for i, name := range f.ResponseHeaders {
		c.fits(headerForm, fmt.Sprintf("%s.responseHeaders[%d]", field, i), name, "must be letters, digits and -")
	}
}
