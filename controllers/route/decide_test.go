// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const home = "home"

func guestAt(name, address string) *v1alpha1.Guest {
	g := &v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: name}}
	g.Spec.HostRef.Name = "phoenix"
	if address != "" {
		g.Status.Addresses = []string{address}
	}
	return g
}

func serviceOn(name, guest string, change func(*v1alpha1.HostService)) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: name}}
	s.Spec.GuestRef = &v1alpha1.LocalReference{Name: guest}
	change(s)
	return s
}

func stackOf(name string, services ...v1alpha1.StackService) *v1alpha1.DockerStack {
	s := &v1alpha1.DockerStack{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: name}}
	s.Spec.Environment.AgentRef = &v1alpha1.LocalReference{Name: "agent"}
	s.Status.Services = services
	s.Status.Conditions = []metav1.Condition{{Type: v1alpha1.DeployedCondition, Status: metav1.ConditionTrue}}
	return s
}

func published(name string, ports ...v1alpha1.StackPort) v1alpha1.StackService {
	return v1alpha1.StackService{Name: name, State: "running", Ports: ports}
}

func tcp(target, at int32, address string) v1alpha1.StackPort {
	return v1alpha1.StackPort{Target: target, Published: at, Protocol: "tcp", Address: address}
}

// site is what backends may name.
func site() []client.Object {
	host := &v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "phoenix"}}
	host.Spec.SSH = &v1alpha1.HostSSH{Nodes: []v1alpha1.HostSSHNode{{Name: "pve", Address: "10.0.0.13:22"}}}
	static := guestAt("static", "10.0.0.99")
	static.Spec.Networks = []v1alpha1.Network{{IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.21/24"}}}
	node := serviceOn("files", "", func(s *v1alpha1.HostService) { s.Spec.NFS = &v1alpha1.NFS{} })
	node.Spec.GuestRef, node.Spec.HostRef = nil, &v1alpha1.LocalReference{Name: "phoenix"}
	return []client.Object{
		host, static, node, guestAt("web", "10.0.0.20"), guestAt("six", "fd00::20"), guestAt("new", ""), guestAt("docker", "10.0.0.102"),
		serviceOn("agent", "docker", func(s *v1alpha1.HostService) { s.Spec.PortainerAgent = &v1alpha1.PortainerAgent{} }),
		serviceOn("portainer", "docker", func(s *v1alpha1.HostService) {
			s.Spec.Portainer = &v1alpha1.Portainer{}
			s.Status.Portainer = &v1alpha1.PortainerStatus{CABundle: "ROOT", ServerName: "portainer.phoenix.lan"}
		}),
		serviceOn("ca", "web", func(s *v1alpha1.HostService) {
			s.Spec.StepCA, s.Status.StepCA = &v1alpha1.StepCA{Port: 8443}, &v1alpha1.StepCAStatus{CABundle: "CA"}
		}),
		serviceOn("names", "web", func(s *v1alpha1.HostService) { s.Spec.Dnsmasq = &v1alpha1.Dnsmasq{} }),
		stackOf("blog", published("web", tcp(80, 8081, "")), published("two", tcp(80, 1, ""), tcp(81, 2, "")), published("local", tcp(80, 3, "127.0.0.1")),
			published("many", tcp(80, 4, ""), tcp(80, 5, "")), published("none"), v1alpha1.StackService{Name: "gone"},
			v1alpha1.StackService{Name: "ill", State: "restarting"}),
	}
}

func clientOf(t *testing.T, objects ...client.Object) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithIndex(&v1alpha1.Route{}, ByHost, HostsOf).WithIndex(&v1alpha1.Route{}, ByTarget, TargetsOf).Build()
}

func stack(name, service string, port int32) v1alpha1.RouteBackend {
	return v1alpha1.RouteBackend{Stack: &v1alpha1.RouteStackBackend{Name: name, Service: service, Port: port}}
}

func guestPort(name string, port int32) v1alpha1.RouteBackend {
	return v1alpha1.RouteBackend{Guest: &v1alpha1.RouteGuestBackend{Name: name, Port: port}}
}

func service(name string, port int32) v1alpha1.RouteBackend {
	return v1alpha1.RouteBackend{HostService: &v1alpha1.RouteServiceBackend{Name: name, Port: port}}
}

// said is how an outcome ends: its reason and its words.
func said(err error) string {
	if err == nil {
		return ""
	}
	return reconcile.ReasonOf(err) + ": " + err.Error()
}

func TestResolve(t *testing.T) {
	c := clientOf(t, site()...)
	cases := map[string]struct {
		reason  string
		backend v1alpha1.RouteBackend
		change  func(*v1alpha1.Route)
		want    []string // URLs, or the beginning of what is said
	}{
		"guest":                {"its address is followed", guestPort("web", 8080), nil, []string{"http://10.0.0.20:8080"}},
		"static guest":         {"what is declared outlives a restart", guestPort("static", 80), nil, []string{"http://10.0.0.21:80"}},
		"IPv6":                 {"an address in a URL has brackets", guestPort("six", 80), nil, []string{"http://[fd00::20]:80"}},
		"guest not there":      {"it may come", guestPort("nobody", 80), nil, []string{"NoBackendAddress: backends[0]: waiting for Guest/nobody: not found"}},
		"guest without":        {"it gets one later", guestPort("new", 80), nil, []string{"NoBackendAddress: backends[0]: waiting for Guest/new: it has no address"}},
		"h2c":                  {"gRPC", guestPort("web", 50051), func(r *v1alpha1.Route) { r.Spec.Protocol = v1alpha1.ProtocolH2C }, []string{"h2c://10.0.0.20:50051"}},
		"tcp":                  {"connections have no scheme", guestPort("web", 443), func(r *v1alpha1.Route) { r.Spec.TCP = &v1alpha1.RouteTCP{} }, []string{"10.0.0.20:443"}},
		"portainer":            {"it speaks TLS on its own port", service("portainer", 0), nil, []string{"https://10.0.0.102:9443", "ROOT", "portainer.phoenix.lan"}},
		"authority":            {"it speaks TLS on its own port", service("ca", 0), nil, []string{"https://10.0.0.20:8443", "CA"}},
		"service with port":    {"any service may have a page", service("names", 8053), nil, []string{"http://10.0.0.20:8053"}},
		"service without port": {"nobody knows which", service("names", 0), nil, []string{"Invalid: backends[0]: hostService: set port"}},
		"service on a node":    {"nodes are under ssh.nodes", service("files", 80), nil, []string{"http://10.0.0.13:80"}},
		"service not there":    {"it may come", service("nobody", 1), nil, []string{"NoBackendAddress: backends[0]: waiting for HostService/nobody: not found"}},
		"stack":                {"the only published port", stack("blog", "web", 0), nil, []string{"http://10.0.0.102:8081"}},
		"stack's port":         {"by the one in the container", stack("blog", "two", 81), nil, []string{"http://10.0.0.102:2"}},
		"stack's containers":   {"each has a port", stack("blog", "many", 80), nil, []string{"http://10.0.0.102:4", "http://10.0.0.102:5"}},
		"stack's ports":        {"nobody knows which", stack("blog", "two", 0), nil, []string{"NoService: backends[0]: service two of DockerStack/blog publishes more than one port"}},
		"stack's loopback":     {"nobody else reaches it", stack("blog", "local", 80), nil, []string{"NoService: backends[0]: service local of DockerStack/blog does not publish its port 80 at 10.0.0.102"}},
		"stack publishes none": {"only the text helps", stack("blog", "none", 0), nil, []string{"NoService: backends[0]: service none of DockerStack/blog publishes no port"}},
		"stack lacks it":       {"a typing error", stack("blog", "wbe", 0), nil, []string{"NoService: backends[0]: DockerStack/blog has no service wbe: it has web, two"}},
		"stack is down":        {"it comes back", stack("blog", "gone", 0), nil, []string{"NoBackendAddress: backends[0]: waiting for DockerStack/blog: gone does not run yet"}},
		"stack restarts":       {"its ports go and come", stack("blog", "ill", 0), nil, []string{"NoBackendAddress: backends[0]: waiting for DockerStack/blog: ill is restarting"}},
		"stack not there":      {"it may come", stack("wiki", "web", 0), nil, []string{"NoBackendAddress: backends[0]: waiting for DockerStack/wiki: not found"}},
		"url":                  {"with the usual port", v1alpha1.RouteBackend{URL: "https://Files.lan/"}, nil, []string{"https://files.lan:443"}},
		"url with port":        {"as it is", v1alpha1.RouteBackend{URL: "h2c://10.0.0.9:9000"}, nil, []string{"h2c://10.0.0.9:9000"}},
		"url's port":           {"a port has sixteen bits", v1alpha1.RouteBackend{URL: "http://10.0.0.9:99999"}, nil, []string{"Invalid: backends[0]: url"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := &v1alpha1.Route{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "r"}}
			r.Spec.Backends = []v1alpha1.RouteBackend{tc.backend}
			if tc.change != nil {
				tc.change(r)
			}
			to, err := resolve(context.Background(), r, &reader{c, home, map[dependency]bool{}})
			if err != nil {
				if len(tc.want) != 1 || !strings.HasPrefix(said(err), tc.want[0]) {
					t.Errorf("%s: resolve() = %q, want %q", tc.reason, said(err), tc.want)
				}
				return
			}
			got := serversOf(to)
			got = append(got, to.roots...)
			if to.name != "" {
				got = append(got, to.name)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func routeAged(name string, age time.Duration, change func(*v1alpha1.Route)) *v1alpha1.Route {
	r := &v1alpha1.Route{ObjectMeta: metav1.ObjectMeta{
		Namespace: home, Name: name, CreationTimestamp: metav1.NewTime(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(-age)),
	}}
	r.Spec.GatewayRef.Name, r.Spec.RouterRef.Name = "nginx", "traefik"
	r.Spec.Hosts = []string{"a.lan"}
	if change != nil {
		change(r)
	}
	return r
}

func onPath(kind v1alpha1.RoutePathType, value string) func(*v1alpha1.Route) {
	return func(r *v1alpha1.Route) { r.Spec.Paths = []v1alpha1.RoutePath{{Type: kind, Value: value}} }
}

func onGateway(name string, change func(*v1alpha1.Route)) func(*v1alpha1.Route) {
	return func(r *v1alpha1.Route) {
		r.Spec.GatewayRef.Name = name
		if change != nil {
			change(r)
		}
	}
}

func openWildcard(r *v1alpha1.Route) {
	r.Spec.Hosts, r.Spec.Expose = []string{"*.lan"}, v1alpha1.ExposeExternal
}

func TestClaim(t *testing.T) {
	mine := func(change func(*v1alpha1.Route)) *v1alpha1.Route { return routeAged("mine", time.Minute, change) }
	other := func(change func(*v1alpha1.Route)) *v1alpha1.Route { return routeAged("other", time.Hour, change) }
	deleted := other(nil)
	deleted.Finalizers, deleted.DeletionTimestamp = []string{"x"}, &metav1.Time{Time: time.Now()}
	cases := map[string]struct {
		reason      string
		mine, other *v1alpha1.Route
		taken       string
		shared      []string
	}{
		"all paths":    {"one host, one server", mine(nil), other(nil), "host a.lan: Route/other, which is older, serves all paths there", []string{"a.lan"}},
		"another host": {"they never meet", mine(nil), other(func(r *v1alpha1.Route) { r.Spec.Hosts = []string{"b.lan"} }), "", nil},
		"another gateway": {
			"they meet on the router", mine(nil), other(onGateway("second", nil)),
			"host a.lan: Route/other on HostService/traefik, through HostService/second, which is older, serves all paths there", nil,
		},
		"a gateway of its own, another path": {"the router tells them apart, and each gateway has the host once", mine(onPath("", "/api")), other(onGateway("second", nil)), "", nil},
		"a gateway of its own, expose": {
			"what one lets in reaches the paths of the other", mine(onPath("", "/api")), other(onGateway("second", func(r *v1alpha1.Route) { r.Spec.Expose = v1alpha1.ExposeExternal })),
			"host a.lan: Route/other on HostService/traefik, through HostService/second, which is older, exposes it External", nil,
		},
		"a gateway of its own, tls": {"each gateway has its certificate", mine(func(r *v1alpha1.Route) {
			onPath("", "/api")(r)
			r.Spec.TLS = &v1alpha1.RouteTLS{SecretRef: &v1alpha1.LocalReference{Name: "a"}}
		}), other(onGateway("second", func(r *v1alpha1.Route) {
			r.Spec.TLS = &v1alpha1.RouteTLS{SecretRef: &v1alpha1.LocalReference{Name: "b"}}
		})), "", nil},
		"a gateway of its own, one tcp": {"connections and requests come in at ports of their own", mine(nil), other(onGateway("second", func(r *v1alpha1.Route) { r.Spec.TCP = &v1alpha1.RouteTCP{} })), "", nil},
		"a gateway of its own, both tcp": {
			"the router has one for a name", mine(func(r *v1alpha1.Route) { r.Spec.TCP = &v1alpha1.RouteTCP{} }),
			other(onGateway("second", func(r *v1alpha1.Route) { r.Spec.TCP = &v1alpha1.RouteTCP{} })),
			"host a.lan: Route/other on HostService/traefik, through HostService/second, which is older, passes its connections through", nil,
		},
		"a gateway of its own, below a wildcard": {
			"the other gateway would let everybody in", mine(nil), other(onGateway("second", openWildcard)),
			"host a.lan: Route/other on HostService/traefik, through HostService/second, which is older, exposes it External", nil,
		},
		"a gateway of its own, above": {
			"it would let everybody in", mine(openWildcard), other(onGateway("second", nil)),
			"host *.lan: Route/other on HostService/traefik, through HostService/second, which is older, exposes it Internal", nil,
		},
		"above on one gateway":                        {"it knows which hosts are internal", mine(openWildcard), other(nil), "", nil},
		"a gateway of its own, below an internal one": {"nobody else is let in", mine(nil), other(onGateway("second", func(r *v1alpha1.Route) { r.Spec.Hosts = []string{"*.lan"} })), "", nil},
		"a gateway of its own, both open":             {"everybody may come", mine(func(r *v1alpha1.Route) { r.Spec.Expose = v1alpha1.ExposeExternal }), other(onGateway("second", openWildcard)), "", nil},
		"a gateway and router of its own, below a wildcard": {"they never meet", mine(nil), other(onGateway("second", func(r *v1alpha1.Route) {
			openWildcard(r)
			r.Spec.RouterRef.Name = "second"
		})), "", nil},
		"another gateway and router": {"they never meet", mine(nil), other(onGateway("second", func(r *v1alpha1.Route) { r.Spec.RouterRef.Name = "second" })), "", nil},
		"a wildcard":                 {"the written host goes first", mine(nil), other(func(r *v1alpha1.Route) { r.Spec.Hosts = []string{"*.lan"} }), "", nil},
		"younger":                    {"the older one serves", mine(nil), routeAged("other", 0, nil), "", nil},
		"one second":                 {"then the name decides", mine(nil), routeAged("another", time.Minute, nil), "host a.lan: Route/another, which is older", []string{"a.lan"}},
		"deleted":                    {"it gives its hosts up", mine(nil), deleted, "", nil},
		"observed":                   {"it serves nothing", mine(nil), other(func(r *v1alpha1.Route) { r.Spec.Management = v1alpha1.ManagementObserve }), "", nil},
		"another path":               {"the router tells them apart", mine(onPath("", "/api")), other(nil), "", []string{"a.lan"}},
		"the same path":              {"the type has a default", mine(onPath("", "/api")), other(onPath(v1alpha1.PathPrefix, "/api")), "host a.lan: Route/other, which is older, serves /api there", []string{"a.lan"}},
		"another type":               {"an exact path goes before a prefix", mine(onPath(v1alpha1.PathExact, "/api")), other(onPath(v1alpha1.PathPrefix, "/api")), "", []string{"a.lan"}},
		"the root":                   {"no path is all paths", mine(onPath("", "/")), other(nil), "host a.lan: Route/other, which is older, serves all paths there", []string{"a.lan"}},
		"a priority":                 {"the higher one goes first", mine(func(r *v1alpha1.Route) { r.Spec.Priority = ptr.To[int32](9) }), other(nil), "", []string{"a.lan"}},
		"expose": {
			"the gateway goes by the host alone", mine(onPath("", "/api")), other(func(r *v1alpha1.Route) { r.Spec.Expose = v1alpha1.ExposeExternal }),
			"host a.lan: Route/other, which is older, exposes it External", []string{"a.lan"},
		},
		"router": {
			"the gateway goes by the host alone", mine(onPath("", "/api")), other(func(r *v1alpha1.Route) { r.Spec.RouterRef.Name = "second" }),
			"host a.lan: Route/other, which is older, sends it to HostService/second", []string{"a.lan"},
		},
		"tcp": {
			"nobody sees paths in what is passed through", mine(onPath("", "/api")), other(func(r *v1alpha1.Route) { r.Spec.TCP = &v1alpha1.RouteTCP{} }),
			"host a.lan: Route/other, which is older, passes its connections through", []string{"a.lan"},
		},
		"own tcp": {
			"it would take all", mine(func(r *v1alpha1.Route) { r.Spec.TCP = &v1alpha1.RouteTCP{} }), other(onPath("", "/api")),
			"host a.lan: Route/other, which is older, serves it over HTTP", []string{"a.lan"},
		},
		"certificates": {
			"one host has one", mine(func(r *v1alpha1.Route) {
				onPath("", "/api")(r)
				r.Spec.TLS = &v1alpha1.RouteTLS{SecretRef: &v1alpha1.LocalReference{Name: "a"}}
			}), other(func(r *v1alpha1.Route) {
				r.Spec.TLS = &v1alpha1.RouteTLS{SecretRef: &v1alpha1.LocalReference{Name: "b"}}
			}),
			"host a.lan: Route/other, which is older, brings another certificate", []string{"a.lan"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			k := &Kind{Config: Config{Client: clientOf(t, tc.mine, tc.other)}}
			got, err := k.claimOf(context.Background(), tc.mine)
			if err != nil {
				t.Fatal(err)
			}
			if (tc.taken == "") != (got.taken == "") || !strings.HasPrefix(got.taken, tc.taken) {
				t.Errorf("%s: taken is %q, want %q", tc.reason, got.taken, tc.taken)
			}
			if diff := cmp.Diff(tc.shared, got.shared); diff != "" {
				t.Errorf("%s: shared (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestExposed(t *testing.T) {
	for name, tc := range map[string]struct {
		reason      string
		mine, other func(*v1alpha1.Route)
		want        bool
	}{
		"below one":   {"the gateway would let everybody in", nil, func(*v1alpha1.Route) {}, true},
		"external":    {"everybody may come", func(r *v1alpha1.Route) { r.Spec.Expose = v1alpha1.ExposeExternal }, nil, false},
		"internal":    {"the other lets nobody else in", nil, func(r *v1alpha1.Route) { r.Spec.Expose = "" }, false},
		"two labels":  {"a wildcard stands for one", func(r *v1alpha1.Route) { r.Spec.Hosts = []string{"b.a.lan"} }, nil, false},
		"router":      {"another one has nothing of this Route", nil, func(r *v1alpha1.Route) { r.Spec.RouterRef.Name = "second" }, false},
		"gateway":     {"another one sends nothing here", nil, func(r *v1alpha1.Route) { r.Spec.GatewayRef.Name = "second" }, false},
		"beside many": {"one is enough", func(r *v1alpha1.Route) { r.Spec.Hosts = []string{"a.org", "a.lan"} }, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			mine := routeAged("mine", time.Hour, func(r *v1alpha1.Route) { r.Spec.Hosts = []string{"a.lan"} })
			other := routeAged("other", time.Minute, func(r *v1alpha1.Route) {
				r.Spec.Hosts, r.Spec.Expose = []string{"*.lan"}, v1alpha1.ExposeExternal
			})
			for r, change := range map[*v1alpha1.Route]func(*v1alpha1.Route){mine: tc.mine, other: tc.other} {
				if change != nil {
					change(r)
				}
			}
			k := &Kind{Config: Config{Client: clientOf(t, mine, other)}}
			if got, err := k.exposed(t.Context(), mine); err != nil || got != tc.want {
				t.Errorf("%s: %t, %v", tc.reason, got, err)
			}
		})
	}
}

func TestNeighbours(t *testing.T) {
	before := routeAged("a", 0, nil)
	status := before.DeepCopy()
	status.Status.Hosts = "a.lan"
	moved := routeAged("a", 0, func(r *v1alpha1.Route) { r.Generation, r.Spec.Hosts = 2, []string{"b.lan"} })
	going := before.DeepCopy()
	going.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	cases := map[string]struct {
		reason        string
		before, after *v1alpha1.Route
		hosts         []string
	}{
		"comes":   {"it may be in the way of others", nil, before, []string{"a.lan"}},
		"goes":    {"others may have the host", before, nil, []string{"a.lan"}},
		"deleted": {"it gives its hosts up", before, going, []string{"a.lan"}},
		"changes": {"both the old and the new host matter", before, moved, []string{"a.lan", "b.lan"}},
		"status":  {"nobody waits for it, and there are many", before, status, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, hosts := Neighbours(tc.before, tc.after)
			if diff := cmp.Diff(tc.hosts, hosts); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// TestHears: whoever shares a host with a Route, or is asked by one of its names, hears of it, whatever its gateway is.
func TestHears(t *testing.T) {
	auth := func(url string) func(*v1alpha1.Route) {
		return func(r *v1alpha1.Route) {
			r.Spec.Hosts = []string{"x.org"}
			r.Spec.Middlewares = []v1alpha1.RouteMiddleware{{ForwardAuth: &v1alpha1.RouteForwardAuth{URL: url}}}
		}
	}
	for name, tc := range map[string]struct {
		reason      string
		host        string
		index       string
		other       func(*v1alpha1.Route)
		hears, back bool
	}{
		"one gateway":     {"they may fight there", "a.lan", ByHost, nil, true, true},
		"another gateway": {"they may fight on the router", "a.lan", ByHost, onGateway("second", nil), true, true},
		"above":           {"it may let everybody in", "*.lan", ByHost, onGateway("second", nil), true, true},
		"another host":    {"they have nothing in common", "b.lan", ByHost, nil, false, false},
		"backend": {"it may lead back now", "a.lan", ByTarget, func(r *v1alpha1.Route) {
			r.Spec.Hosts, r.Spec.Backends = []string{"x.org"}, []v1alpha1.RouteBackend{{URL: "http://A.lan:80"}}
		}, true, false},
		"wildcard":    {"it takes the name of a backend too", "*.lan", ByTarget, auth("https://a.lan/"), true, false},
		"forwardAuth": {"who is asked may change", "a.lan", ByTarget, auth("https://a.lan/auth"), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			one := routeAged("one", 0, func(r *v1alpha1.Route) { r.Spec.Hosts = []string{tc.host} })
			other := routeAged("other", time.Hour, tc.other)
			k := &Kind{Config: Config{Client: clientOf(t, one, other)}}
			heard := func(changed, by *v1alpha1.Route) bool {
				hosts, targets := Neighbours(nil, changed)
				for _, host := range map[string][]string{ByHost: hosts, ByTarget: targets}[tc.index] {
					found, err := k.routesWith(t.Context(), home, tc.index, host)
					if err != nil {
						t.Fatal(err)
					}
					if slices.ContainsFunc(found, func(r v1alpha1.Route) bool { return r.Name == by.Name }) {
						return true
					}
				}
				return false
			}
			if got := heard(one, other); got != tc.hears {
				t.Errorf("%s: other hears of one: %t", tc.reason, got)
			}
			if got := heard(other, one); got != tc.back {
				t.Errorf("%s: one hears of other: %t", tc.reason, got)
			}
		})
	}
}

func TestCovered(t *testing.T) {
	certificate := &v1alpha1.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "site"}}
	certificate.Spec.DNSNames = []string{"*.phoenix.lan", "phoenix.lan"}
	k := &Kind{Config: Config{Client: clientOf(t, certificate)}}
	gateway := &side{service: serviceOn("nginx", "nginx", func(s *v1alpha1.HostService) {
		s.Spec.Nginx = &v1alpha1.Nginx{Servers: []v1alpha1.NginxServer{
			{Name: "site", CertificateRef: &v1alpha1.LocalReference{Name: "site"}},
			{Name: "apps", Names: []string{"*.apps.lan"}, CertificateRef: &v1alpha1.LocalReference{Name: "apps"}},
		}}
	})}
	cases := map[string]struct {
		reason, host, want string
	}{
		"wildcard":     {"one label", "blog.phoenix.lan", ""},
		"exact":        {"by its own name", "phoenix.lan", ""},
		"declared":     {"what a server declares counts", "x.apps.lan", ""},
		"own wildcard": {"all names below", "*.phoenix.lan", ""},
		"two labels":   {"a wildcard is one label", "a.b.phoenix.lan", "has a certificate for a.b.phoenix.lan: add one to nginx.servers with the name a.b.phoenix.lan or *.b.phoenix.lan, or set tls"},
		"nobody":       {"another domain", "blog.example.org", "has a certificate for blog.example.org"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := routeAged("r", 0, func(r *v1alpha1.Route) { r.Spec.Hosts = []string{tc.host} })
			err := k.covered(context.Background(), r, gateway, k.reader(home))
			if (err == nil) != (tc.want == "") || err != nil && (!strings.Contains(err.Error(), tc.want) || reconcile.ReasonOf(err) != NoCertificateReason) {
				t.Errorf("%s: covered() = %v, want %q", tc.reason, err, tc.want)
			}
		})
	}
}
