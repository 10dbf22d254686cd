// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

func testRoute(name string, hosts ...string) *v1alpha1.Route {
	r := &v1alpha1.Route{ObjectMeta: about1(name)}
	r.Spec.GatewayRef.Name, r.Spec.Hosts, r.Spec.DNSRefs = "nginx", hosts, []v1alpha1.LocalReference{{Name: "dns"}}
	return r
}

// through makes a Route with the Guest of its gateway.
func through(gateway *v1alpha1.Guest, r *v1alpha1.Route) routed {
	return routed{route: r, gateway: gateway}
}

// wildcardsOf are the lines of a design's drop-in that answer all below a domain.
func wildcardsOf(d design) []string {
	var lines []string
	for _, f := range d.want.Files {
		if !strings.HasSuffix(f.Path, ".conf") {
			continue
		}
		for _, line := range linesOf(string(f.Content)) {
			if strings.Contains(line, "=/*.") {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

func TestRoutedNames(t *testing.T) {
	gate := testGuest("nginx", "10.0.0.153")
	other := testGuest("nginx-2", "10.0.0.154")
	declared := testGuest("nginx", "172.17.0.1", "10.0.0.153")
	declared.Spec.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Address: "10.0.0.153/24"}, IPv6: &v1alpha1.IPv6{Address: "fd00::153/64"}}}
	young := func(name string, hosts ...string) *v1alpha1.Route { return aged(testRoute(name, hosts...), 9) }
	records := func(records ...v1alpha1.DNSRecord) func(*v1alpha1.Dnsmasq) {
		return func(d *v1alpha1.Dnsmasq) { d.Records = records }
	}
	long := strings.Repeat(strings.Repeat("a", 60)+".", 4) + "phoenix.lan"
	for name, c := range map[string]struct {
		reason string
		spec   func(*v1alpha1.Dnsmasq)
		guests []v1alpha1.Guest
		routes []routed
		hosts  []string
		wild   []string
		left   []string
		notes  int
	}{
		"a host": {
			reason: "it leads to the gateway", routes: []routed{through(gate, testRoute("blog", "blog.lan", "blog.example.org"))},
			hosts: []string{"10.0.0.153 blog.example.org", "10.0.0.153 blog.lan blog"},
		},
		"behind the guests": {
			reason: "the address leads back to its machine", guests: []v1alpha1.Guest{*gate, *testGuest("zoo", "10.0.0.9")},
			routes: []routed{through(gate, testRoute("a", "a.lan"))},
			hosts:  []string{"10.0.0.153 nginx.lan nginx", "10.0.0.9 zoo.lan zoo", "10.0.0.153 a.lan a"},
		},
		"by their names": {
			reason: "the file is the same for every control plane", routes: []routed{through(gate, young("a", "z.lan", "b.lan")), through(gate, testRoute("b", "a.lan"))},
			hosts: []string{"10.0.0.153 b.lan b", "10.0.0.153 z.lan z", "10.0.0.153 a.lan a"},
		},
		"declared addresses": {
			reason: "a bridge in the guest is not for others", routes: []routed{through(declared, testRoute("blog", "blog.lan"))},
			hosts: []string{"10.0.0.153 blog.lan blog", "fd00::153 blog.lan blog"},
		},
		"a wildcard": {
			reason: "it is all below, and not the name", routes: []routed{through(gate, testRoute("apps", "*.apps.lan"))},
			wild: []string{"local=/*.apps.lan/", "address=/*.apps.lan/10.0.0.153"},
		},
		"a wildcard of one label": {
			reason: "it is no name of the domain", routes: []routed{through(gate, testRoute("apps", "*.apps"))},
			wild: []string{"local=/*.apps/", "address=/*.apps/10.0.0.153"},
		},
		"two paths of one host": {
			reason: "two Routes say the same", routes: []routed{through(gate, testRoute("api", "x.lan", "*.x.lan")), through(gate, young("web", "x.lan", "*.x.lan"))},
			hosts: []string{"10.0.0.153 x.lan x"}, wild: []string{"local=/*.x.lan/", "address=/*.x.lan/10.0.0.153"},
		},
		"two gateways": {
			reason: "the older Route is answered", routes: []routed{through(gate, young("a", "x.lan", "*.x.lan")), through(other, testRoute("b", "x.lan", "*.x.lan"))},
			hosts: []string{"10.0.0.154 x.lan x"}, wild: []string{"local=/*.x.lan/", "address=/*.x.lan/10.0.0.154"},
			left: []string{"Route/b and Route/a both declare x.lan", "Route/b and Route/a both declare *.x.lan"},
		},
		"a record": {
			reason: "what is declared is answered", spec: records(v1alpha1.DNSRecord{Name: "x", Addresses: []string{"10.0.0.1"}}), routes: []routed{through(gate, testRoute("a", "x.lan"))},
			hosts: []string{"10.0.0.1 x.lan x"}, left: []string{"records[0] and Route/a both declare x.lan"},
		},
		"a record that says the same": {
			reason: "nothing is wrong", spec: records(v1alpha1.DNSRecord{Name: "x", Addresses: []string{"10.0.0.153"}}), routes: []routed{through(gate, testRoute("a", "x.lan"))},
			hosts: []string{"10.0.0.153 x.lan x"},
		},
		"another name": {
			reason: "a CNAME stands alone", spec: records(v1alpha1.DNSRecord{Name: "y", Addresses: []string{"10.0.0.1"}}, v1alpha1.DNSRecord{Name: "x", CNAME: "y"}),
			routes: []routed{through(gate, testRoute("a", "x.lan"))}, hosts: []string{"10.0.0.1 y.lan y"}, left: []string{"records[1] and Route/a both declare x.lan"},
		},
		"an older guest": {
			reason: "it was there before", guests: []v1alpha1.Guest{*testGuest("x", "10.0.0.9")}, routes: []routed{through(gate, young("a", "x.lan"))},
			hosts: []string{"10.0.0.9 x.lan x"}, left: []string{"Guest/x and Route/a both declare x.lan"},
		},
		"a guest of the same second": {
			reason: "a machine's name comes first", guests: []v1alpha1.Guest{*testGuest("x", "10.0.0.9")}, routes: []routed{through(gate, testRoute("a", "x.lan"))},
			hosts: []string{"10.0.0.9 x.lan x"}, left: []string{"Guest/x and Route/a both declare x.lan"},
		},
		"a younger guest": {
			reason: "the Route was there before", guests: []v1alpha1.Guest{*aged(testGuest("x", "10.0.0.9"), 1)}, routes: []routed{through(gate, testRoute("a", "x.lan"))},
			hosts: []string{"10.0.0.153 x.lan x"}, left: []string{"Route/a and Guest/x both declare x.lan"},
		},
		"the gateway's own name": {
			reason: "it is its address", guests: []v1alpha1.Guest{*gate}, routes: []routed{through(gate, young("a", "nginx.lan"))}, hosts: []string{"10.0.0.153 nginx.lan nginx"},
		},
		"a zone": {
			reason: "other servers are asked for it", spec: func(d *v1alpha1.Dnsmasq) {
				d.Zones = []v1alpha1.DNSZone{{Domain: "example.org", Servers: []string{"10.0.0.7"}}}
			}, routes: []routed{through(gate, testRoute("a", "x.example.org", "*.example.org"))},
			hosts: []string{"10.0.0.153 x.example.org"}, left: []string{"zones[example.org] and Route/a both declare *.example.org"},
		},
		"no address yet": {reason: "nothing can be answered", routes: []routed{through(testGuest("nginx"), testRoute("a", "a.lan"))}, notes: 1},
		"no gateway":     {reason: "nothing can be answered", routes: []routed{{route: testRoute("a", "a.lan"), missing: "HostService/nginx is not there"}}, notes: 1},
		"names that are none": {
			reason: "the others are answered", routes: []routed{through(gate, testRoute("a", "10.0.0.9", "a..b", "x\naddress=/#/1.2.3.4", long, "ok.lan"))},
			hosts: []string{"10.0.0.153 ok.lan ok"}, notes: 4,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := designDnsmasq(testDNS(c.spec), target{host: testHost("phoenix"), node: "phoenix"}, c.guests, c.routes, nil)
			if err != nil {
				t.Fatal(err)
			}
			var left []string
			for _, one := range d.left {
				left = append(left, one.text)
			}
			for what, pair := range map[string][2][]string{"hosts": {c.hosts, hostsOf(t, d)}, "wildcards": {c.wild, wildcardsOf(d)}, "left out": {c.left, left}} {
				if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
					t.Errorf("%s: %s (-want +got):\n%s", c.reason, what, diff)
				}
			}
			if len(d.notes) != c.notes {
				t.Errorf("notes are %q, want %d", d.notes, c.notes)
			}
		})
	}
}

// TestStillNames: of a Route that is not enforced, what is answered for it stays so, and nothing comes.
func TestStillNames(t *testing.T) {
	gate := testGuest("nginx", "10.0.0.153")
	observed := testRoute("still", "was.lan", "is.lan", "*.was.lan", "*.is.lan", "guest.lan")
	observed.Spec.Management = v1alpha1.ManagementObserve
	routes := []routed{through(gate, testRoute("other", "other.lan")), through(gate, observed)}
	guests := []v1alpha1.Guest{*aged(testGuest("guest", "10.0.0.9"), 1)}
	d, err := designDnsmasq(testDNS(nil), target{host: testHost("phoenix"), node: "phoenix"}, guests, routes, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10.0.0.9 guest.lan guest", "10.0.0.153 other.lan other"}, hostsOf(t, d)); diff != "" || len(wildcardsOf(d)) > 0 {
		t.Errorf("something is answered for what is only observed: %q (-want +got):\n%s", wildcardsOf(d), diff)
	}
	whole, err := d.complete(map[string][]byte{
		placesOf(testDNS(nil)).hosts:  []byte("# HostService home/dns\n10.0.0.153 is.lan is\n10.0.0.9 guest.lan guest\n10.0.0.77 was.lan was\n"),
		placesOf(testDNS(nil)).dropIn: []byte("local=/*.is.lan/\naddress=/*.is.lan/10.0.0.153\naddress=/*.was.lan/10.0.0.77\naddress=/was.lan/10.0.0.153\n"),
	})
	if err != nil || whole == nil {
		t.Fatal(whole, err)
	}
	if diff := cmp.Diff([]string{"10.0.0.9 guest.lan guest", "10.0.0.153 other.lan other", "10.0.0.153 is.lan is"}, hostsOf(t, *whole)); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"local=/*.is.lan/", "address=/*.is.lan/10.0.0.153"}, wildcardsOf(*whole)); diff != "" {
		t.Errorf("wildcards (-want +got):\n%s", diff)
	}
	if len(whole.left) > 0 || whole.complete != nil {
		t.Errorf("left out are %v; complete: %t", whole.left, whole.complete != nil)
	}
	for _, contents := range []map[string][]byte{nil, {placesOf(testDNS(nil)).hosts: []byte("10.0.0.9 was.lan was\n")}} {
		if none, err := d.complete(contents); none != nil || err != nil {
			t.Errorf("with nothing of it answered, the design is another one: %v %v", none, err)
		}
	}
}

func TestAnswering(t *testing.T) {
	route := func(change func(*v1alpha1.Route)) *v1alpha1.Route {
		r := testRoute("blog", "blog.lan")
		if change != nil {
			change(r)
		}
		return r
	}
	deleted := func(policy v1alpha1.DeletionPolicy) *v1alpha1.Route {
		return route(func(r *v1alpha1.Route) {
			now := metav1.Now()
			r.DeletionTimestamp, r.Spec.DeletionPolicy = &now, policy
		})
	}
	mute := route(func(r *v1alpha1.Route) { r.Spec.DNSRefs = nil })
	for name, c := range map[string]struct {
		reason        string
		before, after *v1alpha1.Route
		want          string
	}{
		"it comes":               {"its names are to be answered", nil, route(nil), "dns"},
		"it comes without names": {"nobody answers for it", nil, mute, ""},
		"it goes":                {"its names go", route(nil), nil, "dns"},
		"it went before":         {"they went when its end began", deleted(""), nil, ""},
		"its end begins":         {"its names go first", route(nil), deleted(""), "dns"},
		"it is left as it is":    {"its names stay until it is gone", route(nil), deleted(v1alpha1.DeletionRetain), ""},
		"it was left as it is":   {"nobody declares its names any more", deleted(v1alpha1.DeletionRetain), nil, "dns"},
		"another host":           {"it is another name", route(nil), route(func(r *v1alpha1.Route) { r.Spec.Hosts = []string{"news.lan"} }), "dns"},
		"another gateway":        {"it is another address", route(nil), route(func(r *v1alpha1.Route) { r.Spec.GatewayRef.Name = "other" }), "dns"},
		"enforced":               {"its names come", route(func(r *v1alpha1.Route) { r.Spec.Management = v1alpha1.ManagementObserve }), route(nil), "dns"},
		"another dnsmasq": {
			"one answers, one does no more", route(nil), route(func(r *v1alpha1.Route) { r.Spec.DNSRefs = []v1alpha1.LocalReference{{Name: "new"}, {Name: "newer"}} }), "dns new newer",
		},
		"one more dnsmasq": {
			"the first one answers as before", route(nil), route(func(r *v1alpha1.Route) { r.Spec.DNSRefs = []v1alpha1.LocalReference{{Name: "more"}, {Name: "dns"}} }), "more",
		},
		"no names any more": {"nobody answers for it", route(nil), mute, "dns"},
		"anything else": {"no machine is asked for it", route(nil), route(func(r *v1alpha1.Route) {
			r.Generation, r.Spec.Priority, r.Spec.Paths = 7, new(int32), []v1alpha1.RoutePath{{Value: "/a"}}
			r.Spec.Backends, r.Spec.Expose = []v1alpha1.RouteBackend{{URL: "http://a.lan"}}, v1alpha1.ExposeExternal
			r.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ReadyCondition, Status: metav1.ConditionTrue}}
		}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var want []types.NamespacedName
			for _, service := range strings.Fields(c.want) {
				want = append(want, types.NamespacedName{Namespace: "home", Name: service})
			}
			if diff := cmp.Diff(want, Answering(c.before, c.after)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}
