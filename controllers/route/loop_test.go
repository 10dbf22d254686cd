// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// ways are the gateways and the routers of a site: "inner" is a second gateway of the router "traefik", "far" is one of the router
// "other" alone.
func ways() []client.Object {
	gateway := func(name, guest string) client.Object {
		return serviceOn(name, guest, func(s *v1alpha1.HostService) { s.Spec.Nginx = &v1alpha1.Nginx{} })
	}
	router := func(name string, gateways ...string) client.Object {
		return serviceOn(name, name, func(s *v1alpha1.HostService) {
			s.Spec.Traefik = &v1alpha1.Traefik{}
			for _, g := range gateways {
				s.Spec.Traefik.GatewayRefs = append(s.Spec.Traefik.GatewayRefs, v1alpha1.LocalReference{Name: g})
			}
		})
	}
	nginx := guestAt("nginx", "10.0.0.153")
	nginx.Status.Addresses = append(nginx.Status.Addresses, "fd00::153")
	return []client.Object{
		nginx, guestAt("traefik", "10.0.0.12"), guestAt("inner", "10.0.0.154"), guestAt("far", "10.0.0.155"), guestAt("other", "10.0.0.13"),
		gateway("nginx", "nginx"), gateway("inner", "inner"), gateway("far", "far"), router("traefik", "nginx", "inner"), router("other", "far"),
	}
}

// surely looks around a Route, among others.
func surely(t *testing.T, r *v1alpha1.Route, others ...*v1alpha1.Route) circle {
	t.Helper()
	all := append(ways(), r)
	for _, o := range others {
		all = append(all, o)
	}
	k := &Kind{Config: Config{Client: clientOf(t, all...)}}
	names := map[string][]string{"entry.lan": {"10.0.0.153"}, "inner.lan": {"10.0.0.154"}, "web.lan": {"10.0.0.20"}}
	c, err := k.around(t.Context(), r, k.reader(home), func(name string) []string { return names[name] })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func isLoop(t *testing.T, reason string, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || reconcile.ReasonOf(err) != LoopReason) {
		t.Errorf("%s: %v, want %q", reason, err, want)
	}
}

func TestLoop(t *testing.T) {
	c := surely(t, routeAged("a", 0, nil), routeAged("second", 0, func(r *v1alpha1.Route) {
		r.Spec.GatewayRef.Name, r.Spec.Hosts = "inner", []string{"second.lan"}
	}))
	cases := map[string]struct {
		reason string
		target target
		want   string
	}{
		"gateway's address":  {"by any of its addresses", target{host: "10.0.0.153", port: 443}, "leads back to the gateway HostService/nginx"},
		"gateway's IPv6":     {"by any of its addresses", target{host: "fd00::153", port: 80}, "leads back to the gateway HostService/nginx"},
		"mapped":             {"an address may be written as another", target{host: "::ffff:10.0.0.153", port: 80}, "leads back to the gateway HostService/nginx"},
		"gateway's guest":    {"whatever its address is", target{host: "10.9.9.9", port: 443, guest: "nginx"}, "leads back to the gateway HostService/nginx"},
		"gateway, elsewhere": {"another program may answer there", target{host: "10.0.0.153", port: 9000}, ""},
		"router's address":   {"at the port for connections too", target{host: "10.0.0.12", port: 443}, "leads back to the router HostService/traefik"},
		"router's metrics":   {"they are no way round", target{host: "10.0.0.12", port: 8082}, ""},
		"loopback":           {"backends are reached from the router", target{host: "127.0.0.1", port: 80}, "leads back to the router HostService/traefik"},
		"the router's API":   {"it is nobody else's", target{host: "127.0.0.1", port: 8080}, "leads back to the router HostService/traefik"},
		"unspecified":        {"it is the machine itself", target{host: "0.0.0.0", port: 80}, "leads back to the router HostService/traefik"},
		"another loopback":   {"a program beside the router", target{host: "127.0.0.1", port: 3000}, ""},
		"own host":           {"the name leads to the gateway", target{host: "a.lan", port: 443}, "a.lan is a host of Route/a"},
		"own host elsewhere": {"the gateway does not listen there", target{host: "a.lan", port: 9000}, ""},
		"name of gateway":    {"as the router's machine resolves it", target{host: "entry.lan", port: 80}, "leads back to the gateway HostService/nginx"},
		"another gateway":    {"its router is the same", target{host: "10.0.0.154", port: 443}, "leads back to the gateway HostService/inner, which sends to HostService/traefik too"},
		"name of another":    {"as the router's machine resolves it", target{host: "inner.lan", port: 80}, "leads back to the gateway HostService/inner"},
		"host of another":    {"the router is the same", target{host: "second.lan", port: 443}, "leads back to the gateway HostService/inner: second.lan is a host of Route/second"},
		"a far gateway":      {"another router answers there", target{host: "10.0.0.155", port: 443}, ""},
		"a far router":       {"another router answers there", target{host: "10.0.0.13", port: 80}, ""},
		"name":               {"it leads elsewhere", target{host: "web.lan", port: 80}, ""},
		"unknown name":       {"it may come", target{host: "nobody.lan", port: 80}, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) { isLoop(t, tc.reason, c.check([]target{tc.target}), tc.want) })
	}
}

// TestLoopBeyond: what leads to another gateway may come back from there.
func TestLoopBeyond(t *testing.T) {
	no := false
	far := func(change func(*v1alpha1.Route)) *v1alpha1.Route {
		return routeAged("far", 0, func(r *v1alpha1.Route) {
			r.Spec.GatewayRef.Name, r.Spec.RouterRef.Name = "far", "other"
			r.Spec.Backends = []v1alpha1.RouteBackend{guestPort("nginx", 443)}
			if change != nil {
				change(r)
			}
		})
	}
	for name, tc := range map[string]struct {
		reason string
		mine   func(*v1alpha1.Route)
		far    *v1alpha1.Route
		want   string
	}{
		"back":         {"it sends the host on to where it came from", nil, far(nil), "leads back to the gateway HostService/nginx by Route/far"},
		"wildcard":     {"the host is below it", nil, far(func(r *v1alpha1.Route) { r.Spec.Hosts = []string{"*.lan"} }), "by Route/far"},
		"below":        {"some of the hosts come back", func(r *v1alpha1.Route) { r.Spec.Hosts = []string{"*.lan"} }, far(nil), "by Route/far"},
		"other host":   {"what is sent on is not for it", nil, far(func(r *v1alpha1.Route) { r.Spec.Hosts = []string{"b.lan"} }), ""},
		"other answer": {"it ends there", nil, far(func(r *v1alpha1.Route) { r.Spec.Backends = []v1alpha1.RouteBackend{{URL: "http://10.0.0.20"}} }), ""},
		"loopback":     {"that is a machine of its own", nil, far(func(r *v1alpha1.Route) { r.Spec.Backends = []v1alpha1.RouteBackend{{URL: "http://127.0.0.1"}} }), ""},
		"itself":       {"it goes round there, and is refused itself", nil, far(func(r *v1alpha1.Route) { r.Spec.Backends = []v1alpha1.RouteBackend{guestPort("far", 443)} }), ""},
		"observed":     {"it serves nothing", nil, far(func(r *v1alpha1.Route) { r.Spec.Management = v1alpha1.ManagementObserve }), ""},
		"asked anew":   {"it is asked by the backend's name", func(r *v1alpha1.Route) { r.Spec.PassHostHeader = &no }, far(nil), ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := surely(t, routeAged("a", 0, tc.mine), tc.far)
			isLoop(t, tc.reason, c.check([]target{{name: "Guest/far", host: "10.0.0.155", port: 443, guest: "far"}}), tc.want)
		})
	}
}

// TestLoopAsked: nobody may be asked whether a request may pass by a request that has to ask for itself.
func TestLoopAsked(t *testing.T) {
	asks := func(urls ...string) func(*v1alpha1.Route) {
		return func(r *v1alpha1.Route) {
			for _, u := range urls {
				r.Spec.Middlewares = append(r.Spec.Middlewares, v1alpha1.RouteMiddleware{ForwardAuth: &v1alpha1.RouteForwardAuth{URL: u}})
			}
		}
	}
	at := func(name, host, path string, urls ...string) *v1alpha1.Route {
		return routeAged(name, time.Hour, func(r *v1alpha1.Route) {
			r.Spec.Hosts = []string{host}
			if path != "" {
				r.Spec.Paths = []v1alpha1.RoutePath{{Value: path}}
			}
			asks(urls...)(r)
		})
	}
	inner := at("inner", "a.lan", "/auth")
	inner.Spec.GatewayRef.Name = "inner"
	far := at("far", "auth.lan", "", "https://a.lan/")
	far.Spec.GatewayRef.Name, far.Spec.RouterRef.Name = "far", "other"
	const sso = "https://auth.lan/verify?rd=x"
	for name, tc := range map[string]struct {
		reason string
		mine   *v1alpha1.Route
		others []*v1alpha1.Route
		want   string
	}{
		"elsewhere":          {"that is what it is for", at("a", "a.lan", "", "http://10.0.0.20:9091/"), nil, ""},
		"itself":             {"each request asks itself", at("a", "a.lan", "", "https://a.lan/auth"), nil, "forwardAuth https://a.lan/auth leads back to Route/a"},
		"upper case":         {"names have none", at("a", "a.lan", "", "https://A.lan"), nil, "leads back to Route/a"},
		"by its wildcard":    {"nobody else has the name", at("a", "*.lan", "", sso), nil, "leads back to Route/a"},
		"below the wildcard": {"the written host goes first", at("a", "*.lan", "", sso), []*v1alpha1.Route{at("sso", "auth.lan", "")}, ""},
		"another port":       {"the gateway does not listen there", at("a", "a.lan", "", "https://a.lan:9443/auth"), nil, ""},
		"another path":       {"it is not served by the Route", at("a", "a.lan", "/app", "https://a.lan/auth"), nil, ""},
		"path of another":    {"as with oauth2-proxy", at("a", "a.lan", "", "https://a.lan/auth/x"), []*v1alpha1.Route{at("sso", "a.lan", "/auth")}, ""},
		"path by a gateway":  {"the router tells them apart", at("a", "a.lan", "", "https://a.lan/auth"), []*v1alpha1.Route{inner}, ""},
		"shorter path":       {"the longer one goes first", at("a", "a.lan", "/auth/v2", "https://a.lan/auth/v2"), []*v1alpha1.Route{at("sso", "a.lan", "/auth")}, "leads back to Route/a"},
		"another Route":      {"a server for all behind the same gateway", at("a", "a.lan", "", sso), []*v1alpha1.Route{at("sso", "auth.lan", "")}, ""},
		"it asks too":        {"its requests ask itself", at("a", "a.lan", "", sso), []*v1alpha1.Route{at("sso", "auth.lan", "", sso)}, "leads back to Route/sso"},
		"it asks back":       {"they ask each other", at("a", "a.lan", "", sso), []*v1alpha1.Route{at("sso", "auth.lan", "", "https://a.lan/")}, "forwardAuth https://a.lan/ leads back to Route/a"},
		"it asks a third":    {"somebody answers in the end", at("a", "a.lan", "", sso), []*v1alpha1.Route{at("sso", "auth.lan", "", "http://third.lan"), at("third", "third.lan", "")}, ""},
		"two ask one":        {"no circle", at("a", "a.lan", "", "https://b.lan", "https://c.lan"), []*v1alpha1.Route{at("b", "b.lan", "", sso), at("c", "c.lan", "", sso), at("sso", "auth.lan", "")}, ""},
		"elsewhere's host":   {"it is not what answers here", at("a", "a.lan", "", sso), []*v1alpha1.Route{far}, ""},
		"the gateway":        {"no host is an address", at("a", "a.lan", "", "https://10.0.0.153/"), nil, "forwardAuth https://10.0.0.153/ leads back to the gateway HostService/nginx"},
		"another gateway":    {"its router is the same", at("a", "a.lan", "", "https://10.0.0.154/"), nil, "leads back to the gateway HostService/inner"},
		"the router":         {"no host is an address", at("a", "a.lan", "", "http://10.0.0.12/"), nil, "leads back to the router HostService/traefik"},
		"beside the router":  {"another program may answer there", at("a", "a.lan", "", "http://10.0.0.12:9091/"), nil, ""},
		"its API":            {"it is nobody else's", at("a", "a.lan", "", "http://127.0.0.1:8080/api"), nil, "leads back to the router HostService/traefik"},
	} {
		t.Run(name, func(t *testing.T) { isLoop(t, tc.reason, surely(t, tc.mine, tc.others...).checkAsked(), tc.want) })
	}
}
