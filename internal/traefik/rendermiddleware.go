// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"cmp"
	"strings"
	"time"

	"github.com/traefik/genconf/dynamic"
	"github.com/traefik/genconf/dynamic/types"
)

// dialTimeout is how long a server that does not answer at all keeps a request.
const dialTimeout = "5s"

// httpsBegins are the beginnings of an expression for a URL whose client came by TLS; Traefik sees it as http://.
var httpsBegins = []string{"^https://", "https://", `^https:\/\/`, `https:\/\/`}

// middleware is a checked one as Traefik has it.
func (r Route) middleware(m Middleware) *dynamic.Middleware {
	switch {
	case m.Redirect != nil:
		return &dynamic.Middleware{RedirectRegex: &dynamic.RedirectRegex{
			Regex: anyScheme(m.Redirect.Regex), Replacement: m.Redirect.Replacement, Permanent: m.Redirect.Permanent,
		}}
	case m.StripPrefix != nil:
		return &dynamic.Middleware{StripPrefix: &dynamic.StripPrefix{Prefixes: m.StripPrefix.Prefixes}}
	case m.AddPrefix != nil:
		return &dynamic.Middleware{AddPrefix: &dynamic.AddPrefix{Prefix: m.AddPrefix.Prefix}}
	case m.Headers != nil:
		return &dynamic.Middleware{Headers: &dynamic.Headers{
			CustomRequestHeaders: headerMap(m.Headers.Request), CustomResponseHeaders: headerMap(m.Headers.Response),
		}}
	case m.BasicAuth != nil:
		return &dynamic.Middleware{BasicAuth: &dynamic.BasicAuth{
			Users: m.BasicAuth.Users, Realm: cmp.Or(m.BasicAuth.Realm, r.Hosts[0]), HeaderField: m.BasicAuth.UserHeader, RemoveHeader: !m.BasicAuth.KeepHeader,
		}}
	case m.Compress != nil:
		return &dynamic.Middleware{Compress: &dynamic.Compress{MinResponseBodyBytes: cmp.Or(m.Compress.MinBodySize, 1024)}}
	case m.Retry != nil:
		return &dynamic.Middleware{Retry: &dynamic.Retry{Attempts: m.Retry.Attempts, InitialInterval: lasting(m.Retry.InitialInterval, "100ms")}}
	}
	return r.byClient(m)
}

// byClient are those that need to know who the client is, or tell another.
func (r Route) byClient(m Middleware) *dynamic.Middleware {
	strategy := &dynamic.IPStrategy{Depth: cmp.Or(r.ClientDepth, 1)}
	switch {
	case m.IPAllowList != nil:
		return &dynamic.Middleware{IPAllowList: &dynamic.IPAllowList{SourceRange: m.IPAllowList.Networks, IPStrategy: strategy}}
	case m.RateLimit != nil:
		return &dynamic.Middleware{RateLimit: &dynamic.RateLimit{
			Average: int64(m.RateLimit.Average), Period: lasting(m.RateLimit.Period, "1s"), Burst: int64(cmp.Or(m.RateLimit.Burst, m.RateLimit.Average)),
			SourceCriterion: &dynamic.SourceCriterion{IPStrategy: strategy},
		}}
	}
	// The entry point believes gateways alone, so what stands in the forwarded headers is theirs.
	auth := &dynamic.ForwardAuth{Address: m.ForwardAuth.URL, TrustForwardHeader: true, AuthResponseHeaders: m.ForwardAuth.ResponseHeaders}
	if len(m.ForwardAuth.RootCAs) > 0 {
		auth.TLS = &types.ClientTLS{CA: strings.Join(m.ForwardAuth.RootCAs, "\n")}
	}
	return &dynamic.Middleware{ForwardAuth: auth}
}

// anyScheme has an expression for https:// fit http:// too.
func anyScheme(regex string) string {
	for _, begin := range httpsBegins {
		if rest, ok := strings.CutPrefix(regex, begin); ok {
			return strings.Replace(begin, "https", "https?", 1) + rest
		}
	}
	return regex
}

func headerMap(headers []Header) map[string]string {
	if len(headers) == 0 {
		return nil
	}
	m := map[string]string{}
	for _, h := range headers {
		m[h.Name] = h.Value
	}
	return m
}

func lasting(d time.Duration, fallback string) string {
	if d == 0 {
		return fallback
	}
	return d.String()
}
