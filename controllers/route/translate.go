// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"cmp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/traefik"
)

// sources are what a Route takes from Secrets and authorities, by the index of its middlewares. They are never printed.
type sources struct {
	// roots verify the backends.
	roots []string
	// users of basicAuth, and roots of the servers of forwardAuth.
	users     map[int][]string
	authRoots map[int][]string
}

// translate says what the router is to do, in Traefik's terms.
func translate(r *v1alpha1.Route, name string, to ends, from sources) traefik.Route {
	t := traefik.Route{
		Name: name, About: aboutOf(r), Hosts: r.Spec.Hosts, PassHostHeader: r.Spec.PassHostHeader, TLS: backendTLS(r, to, from),
	}
	if r.Spec.Priority != nil {
		t.Priority = int(*r.Spec.Priority)
	}
	for _, p := range r.Spec.Paths {
		t.Paths = append(t.Paths, traefik.Path{Type: traefik.PathType(cmp.Or(p.Type, v1alpha1.PathPrefix)), Value: p.Value})
	}
	for _, one := range to.targets {
		t.Servers = append(t.Servers, traefik.Server{URL: one.url(), Weight: one.weight})
	}
	if h := r.Spec.HealthCheck; h != nil {
		t.HealthCheck = &traefik.HealthCheck{Path: h.Path, Interval: lasting(h.Interval), Timeout: lasting(h.Timeout), Status: int(h.Status)}
	}
	if s := r.Spec.Sticky; s != nil {
		t.Sticky = &traefik.Sticky{Cookie: s.Cookie, SameSite: s.SameSite, MaxAge: lasting(s.MaxAge)}
	}
	for i := range r.Spec.Middlewares {
		t.Middlewares = append(t.Middlewares, middleware(&r.Spec.Middlewares[i], from.users[i], from.authRoots[i]))
	}
	if r.Spec.TCP != nil {
		t.TCP = &traefik.TCP{ProxyProtocol: int(r.Spec.TCP.ProxyProtocol)}
	}
	return t
}

// aboutOf is how the files name their Route.
func aboutOf(r *v1alpha1.Route) string { return "Route " + r.Namespace + "/" + r.Name }

func lasting(d *metav1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return d.Duration
}

// backendTLS says how servers are verified; nil: as the router's machine does by itself.
func backendTLS(r *v1alpha1.Route, to ends, from sources) *traefik.BackendTLS {
	secure := false
	for _, t := range to.targets {
		secure = secure || t.scheme == "https"
	}
	out := traefik.BackendTLS{RootCAs: append(append([]string(nil), from.roots...), to.roots...), ServerName: to.name}
	if b := r.Spec.BackendTLS; b != nil && b.ServerName != "" {
		out.ServerName = b.ServerName
	}
	if !secure || len(out.RootCAs) == 0 && out.ServerName == "" {
		return nil
	}
	return &out
}

// middleware is one in Traefik's terms.
func middleware(m *v1alpha1.RouteMiddleware, users, roots []string) traefik.Middleware {
	var out traefik.Middleware
	switch {
	case m.Redirect != nil:
		out.Redirect = &traefik.Redirect{Regex: m.Redirect.Regex, Replacement: m.Redirect.Replacement, Permanent: yes(m.Redirect.Permanent)}
	case m.StripPrefix != nil:
		out.StripPrefix = &traefik.StripPrefix{Prefixes: m.StripPrefix.Prefixes}
	case m.AddPrefix != nil:
		out.AddPrefix = &traefik.AddPrefix{Prefix: m.AddPrefix.Prefix}
	case m.Headers != nil:
		out.Headers = &traefik.Headers{Request: headers(m.Headers.Request), Response: headers(m.Headers.Response)}
	case m.BasicAuth != nil:
		b := m.BasicAuth
		out.BasicAuth = &traefik.BasicAuth{Users: users, Realm: b.Realm, UserHeader: b.UserHeader, KeepHeader: yes(b.KeepHeader)}
	case m.IPAllowList != nil:
		out.IPAllowList = &traefik.IPAllowList{Networks: m.IPAllowList.Networks}
	case m.RateLimit != nil:
		out.RateLimit = &traefik.RateLimit{Average: int(m.RateLimit.Average), Period: lasting(m.RateLimit.Period), Burst: int(m.RateLimit.Burst)}
	case m.Compress != nil:
		out.Compress = &traefik.Compress{MinBodySize: int(m.Compress.MinBodySize)}
	case m.Retry != nil:
		out.Retry = &traefik.Retry{Attempts: int(m.Retry.Attempts), InitialInterval: lasting(m.Retry.InitialInterval)}
	case m.ForwardAuth != nil:
		out.ForwardAuth = &traefik.ForwardAuth{URL: m.ForwardAuth.URL, RootCAs: roots, ResponseHeaders: m.ForwardAuth.ResponseHeaders}
	}
	return out
}

func headers(all []v1alpha1.RouteHeader) []traefik.Header {
	var out []traefik.Header
	for _, h := range all {
		one := traefik.Header{Name: h.Name}
		if h.Value != nil {
			one.Value = *h.Value
		}
		out = append(out, one)
	}
	return out
}

func yes(b *bool) bool { return b != nil && *b }
