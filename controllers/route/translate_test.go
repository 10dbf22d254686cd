// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/traefik"
)

// TestTranslate: every field of a Route comes to its place in Traefik's terms.
func TestTranslate(t *testing.T) {
	lasts := func(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
	r := routeAged("blog", 0, func(r *v1alpha1.Route) {
		r.Spec.Hosts, r.Spec.Priority = []string{"a.lan", "*.b.lan"}, ptr.To[int32](7)
		r.Spec.Paths = []v1alpha1.RoutePath{{Value: "/x"}, {Type: v1alpha1.PathExact, Value: "/y"}, {Type: v1alpha1.PathRegex, Value: "^/z"}}
		r.Spec.PassHostHeader = ptr.To(false)
		r.Spec.HealthCheck = &v1alpha1.RouteHealthCheck{Path: "/up", Interval: lasts(time.Minute), Timeout: lasts(time.Second), Status: 204}
		r.Spec.Sticky = &v1alpha1.RouteSticky{Cookie: "c", SameSite: "Strict", MaxAge: lasts(time.Hour)}
		r.Spec.BackendTLS = &v1alpha1.RouteBackendTLS{ServerName: "inside.lan"}
		r.Spec.Middlewares = []v1alpha1.RouteMiddleware{
			{Redirect: &v1alpha1.RouteRedirect{Regex: "^https://a.lan/(.*)", Replacement: "https://b.lan/${1}", Permanent: ptr.To(true)}},
			{StripPrefix: &v1alpha1.RouteStripPrefix{Prefixes: []string{"/x"}}},
			{AddPrefix: &v1alpha1.RouteAddPrefix{Prefix: "/app"}},
			{Headers: &v1alpha1.RouteHeaders{Request: []v1alpha1.RouteHeader{{Name: "X-A", Value: ptr.To("1")}}, Response: []v1alpha1.RouteHeader{{Name: "X-B"}}}},
			{BasicAuth: &v1alpha1.RouteBasicAuth{Realm: "site", UserHeader: "X-User", KeepHeader: ptr.To(true)}},
			{IPAllowList: &v1alpha1.RouteIPAllowList{Networks: []string{"10.0.0.0/24"}}},
			{RateLimit: &v1alpha1.RouteRateLimit{Average: 10, Period: lasts(time.Minute), Burst: 20}},
			{Compress: &v1alpha1.RouteCompress{MinBodySize: 99}},
			{Retry: &v1alpha1.RouteRetry{Attempts: 3, InitialInterval: lasts(time.Second)}},
			{ForwardAuth: &v1alpha1.RouteForwardAuth{URL: "http://10.0.0.20:9091/verify", ResponseHeaders: []string{"Remote-User"}}},
		}
	})
	to := ends{targets: []target{{scheme: "https", host: "10.0.0.20", port: 8443, weight: 3}, {scheme: "http", host: "10.0.0.21", port: 80}}, roots: []string{"ITS ROOT"}, name: "own.lan"}
	users := []string{"eve:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="}
	got := translate(r, "abc-blog", to, sources{roots: []string{"ROOT"}, users: map[int][]string{4: users}, authRoots: map[int][]string{9: {"AUTH ROOT"}}})
	want := traefik.Route{
		Name: "abc-blog", About: "Route home/blog", Hosts: []string{"a.lan", "*.b.lan"}, Priority: 7, PassHostHeader: ptr.To(false),
		Paths:       []traefik.Path{{Type: traefik.Prefix, Value: "/x"}, {Type: traefik.Exact, Value: "/y"}, {Type: traefik.Regex, Value: "^/z"}},
		Servers:     []traefik.Server{{URL: "https://10.0.0.20:8443", Weight: 3}, {URL: "http://10.0.0.21:80"}},
		HealthCheck: &traefik.HealthCheck{Path: "/up", Interval: time.Minute, Timeout: time.Second, Status: 204},
		Sticky:      &traefik.Sticky{Cookie: "c", SameSite: "Strict", MaxAge: time.Hour},
		TLS:         &traefik.BackendTLS{RootCAs: []string{"ROOT", "ITS ROOT"}, ServerName: "inside.lan"},
		Middlewares: []traefik.Middleware{
			{Redirect: &traefik.Redirect{Regex: "^https://a.lan/(.*)", Replacement: "https://b.lan/${1}", Permanent: true}},
			{StripPrefix: &traefik.StripPrefix{Prefixes: []string{"/x"}}},
			{AddPrefix: &traefik.AddPrefix{Prefix: "/app"}},
			{Headers: &traefik.Headers{Request: []traefik.Header{{Name: "X-A", Value: "1"}}, Response: []traefik.Header{{Name: "X-B"}}}},
			{BasicAuth: &traefik.BasicAuth{Users: users, Realm: "site", UserHeader: "X-User", KeepHeader: true}},
			{IPAllowList: &traefik.IPAllowList{Networks: []string{"10.0.0.0/24"}}},
			{RateLimit: &traefik.RateLimit{Average: 10, Period: time.Minute, Burst: 20}},
			{Compress: &traefik.Compress{MinBodySize: 99}},
			{Retry: &traefik.Retry{Attempts: 3, InitialInterval: time.Second}},
			{ForwardAuth: &traefik.ForwardAuth{URL: "http://10.0.0.20:9091/verify", RootCAs: []string{"AUTH ROOT"}, ResponseHeaders: []string{"Remote-User"}}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestBackendTLS: servers that speak no TLS need no roots, and those of the site bring their own.
func TestBackendTLS(t *testing.T) {
	plain, secure := target{scheme: "http"}, target{scheme: "https"}
	cases := map[string]struct {
		reason string
		to     ends
		want   *traefik.BackendTLS
	}{
		"http":      {"there is nothing to verify", ends{targets: []target{plain}, roots: []string{"R"}}, nil},
		"https":     {"the router's machine knows whom it trusts", ends{targets: []target{secure}}, nil},
		"own roots": {"a portainer has its own authority", ends{targets: []target{plain, secure}, roots: []string{"R"}, name: "p.lan"}, &traefik.BackendTLS{RootCAs: []string{"R"}, ServerName: "p.lan"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, backendTLS(routeAged("r", 0, nil), tc.to, sources{})); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// TestPrefix: the files of two Routes, and of one Route of two sites, have names of their own, which no machine finds too long.
func TestPrefix(t *testing.T) {
	host := &v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "phoenix"}}
	other := host.DeepCopy()
	other.Spec.OwnerID = "other"
	long := routeAged(strings.Repeat("x-", 126)+"x", 0, nil)
	seen := map[string]bool{}
	for _, prefix := range []string{prefixOf(routeAged("a", 0, nil), host), prefixOf(routeAged("a", 0, nil), other), prefixOf(routeAged("a.b", 0, nil), host), prefixOf(long, host)} {
		if seen[prefix] || len(prefix) > 150 || strings.HasSuffix(prefix, "-") {
			t.Errorf("prefix %q, beside %v", prefix, seen)
		}
		seen[prefix] = true
	}
	long.Spec.Hosts = []string{"a.lan"}
	if _, _, err := translate(long, prefixOf(long, host), ends{}, sources{}).Render(); err != nil {
		t.Errorf("the router does not take the name: %v", err)
	}
}
