// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

func svcGateway(name, guest string) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: name}}
	s.Spec.GuestRef, s.Spec.Nginx = &v1alpha1.LocalReference{Name: guest}, &v1alpha1.Nginx{}
	return s
}

func svcRoute(name string, hosts ...string) *v1alpha1.Route {
	r := &v1alpha1.Route{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: name, Finalizers: []string{v1alpha1.Finalizer}}}
	r.Spec.GatewayRef.Name, r.Spec.Hosts, r.Spec.DNSRefs = "nginx", hosts, []v1alpha1.LocalReference{{Name: "dns"}}
	return r
}

// digs asks for many names.
func (w *svcWorld) digs(when string, answers map[string]string) {
	w.t.Helper()
	for query, want := range answers {
		if got := w.dig(query); got != want {
			w.t.Errorf("%s: dig %s: %q, want %q", when, query, got, want)
		}
	}
}

// leavesOut asserts that the service is in sync, and says what it leaves out for now.
func (w *svcWorld) leavesOut(says string) {
	w.t.Helper()
	if got := svcCondition(w.ready("dns"), v1alpha1.ServingCondition); got != "True Answering: the service answers; left out for now: "+says {
		w.t.Errorf("Serving is %q, want it to leave out %q", got, says)
	}
}

// updated changes an object, as a person does.
func updated[T client.Object](w *svcWorld, o T, change func(T)) {
	w.t.Helper()
	if err := w.client.Get(w.t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		w.t.Fatal(err)
	}
	change(o)
	if err := w.client.Update(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

func TestRoutesAreAnswered(t *testing.T) {
	w := newSVCWorld(t, nil, svcGuest("nginx", "10.0.0.153"), svcGateway("nginx", "nginx"))
	w.create(svcDNS(nil))
	w.ready("dns")
	started := w.sim.Unit(svcUnit).Invocation
	blog, silent := svcRoute("blog", "blog.lan", "blog.example.org"), svcRoute("silent", "silent.lan")
	silent.Spec.DNSRefs = nil
	w.create(blog)
	w.create(silent)
	w.ready("dns")
	w.digs("a Route", map[string]string{
		"blog.lan A": "10.0.0.153", "blog A": "10.0.0.153", "blog.example.org A": "10.0.0.153", "silent.lan A": "", "-x 10.0.0.153": "nginx.lan.", "nas.lan A": "10.0.0.20",
	})
	w.quiet("dns")
	updated(w, blog, func(r *v1alpha1.Route) { r.Spec.Hosts = []string{"blog.lan", "news.lan"} })
	w.ready("dns")
	w.digs("another host", map[string]string{"blog.lan A": "10.0.0.153", "news.lan A": "10.0.0.153", "blog.example.org A": ""})
	gate := svcGuest("nginx")
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(gate), gate); err != nil {
		t.Fatal(err)
	}
	gate.Status.Addresses = []string{"10.0.0.154"}
	if err := w.client.Status().Update(t.Context(), gate); err != nil {
		t.Fatal(err)
	}
	w.ready("dns")
	w.digs("another address", map[string]string{"blog.lan A": "10.0.0.154", "-x 10.0.0.154": "nginx.lan."})
	if w.sim.Unit(svcUnit).Invocation != started {
		t.Error("dnsmasq was restarted for the names of Routes")
	}
	updated(w, blog, func(r *v1alpha1.Route) { r.Spec.Hosts = []string{"blog.lan", "*.apps.lan"} })
	w.ready("dns")
	w.digs("a wildcard", map[string]string{"blog.lan A": "10.0.0.154", "x.apps.lan A": "10.0.0.154", "apps.lan A": "", "x.other.lan A": ""})
	w.quiet("dns")
	w.restart()
	w.quiet("dns")

	if err := w.client.Delete(t.Context(), blog); err != nil {
		t.Fatal(err)
	}
	w.ready("dns")
	w.digs("a Route that is being deleted", map[string]string{"blog.lan A": "", "x.apps.lan A": "", "nas.lan A": "10.0.0.20", "nginx.lan A": "10.0.0.154"})
	w.quiet("dns")
}

func TestRoutesOfTakenNames(t *testing.T) {
	w := newSVCWorld(t, nil, svcGuest("nginx", "10.0.0.153"), svcGateway("nginx", "nginx"), svcRoute("blog", "nas.lan", "ok.lan", "10.0.0.7"))
	w.create(svcDNS(nil))
	w.until("dns", "False DuplicateName", "records[0] and Route/blog both declare nas.lan")
	w.digs("the record is answered, and all else", map[string]string{"nas.lan A": "10.0.0.20", "ok.lan A": "10.0.0.153"})
	w.quiet("dns")
	w.edit("dns", func(s *v1alpha1.HostService) { s.Spec.Dnsmasq.Records[0].Name = "store" })
	w.leavesOut(`Route/blog: its host "10.0.0.7" is no name that can be answered`)
	w.digs("the record is gone", map[string]string{"nas.lan A": "10.0.0.153"})
}

// TestRoutesThatWait: what is not known yet is said, and keeps nothing else from being answered.
func TestRoutesThatWait(t *testing.T) {
	w := newSVCWorld(t, nil, svcRoute("blog", "blog.lan"))
	w.create(svcDNS(nil))
	w.leavesOut("Route/blog: HostService/nginx is not there")
	w.create(svcGateway("nginx", "nginx"))
	w.leavesOut("Route/blog: Guest/nginx is not there")
	w.create(svcGuest("nginx"))
	w.leavesOut("Route/blog: its gateway has no address yet")
	updated(w, svcGateway("nginx", ""), func(s *v1alpha1.HostService) {
		s.Spec.Nginx, s.Spec.Docker = nil, &v1alpha1.Docker{}
	})
	w.leavesOut("Route/blog: HostService/nginx is no gateway")
	w.digs("meanwhile", map[string]string{"blog.lan A": "", "nas.lan A": "10.0.0.20"})
}

// TestRoutesThatAreObserved: names neither come nor go for them.
func TestRoutesThatAreObserved(t *testing.T) {
	w := newSVCWorld(t, nil, svcGuest("nginx", "10.0.0.153"), svcGateway("nginx", "nginx"))
	blog := svcRoute("blog", "blog.lan", "*.blog.lan")
	blog.Spec.Management = v1alpha1.ManagementObserve
	w.create(blog)
	w.create(svcDNS(nil))
	w.ready("dns")
	w.digs("it is only looked at", map[string]string{"blog.lan A": "", "x.blog.lan A": ""})
	w.quiet("dns")
	updated(w, blog, func(r *v1alpha1.Route) { r.Spec.Management = "" })
	w.ready("dns")
	served := map[string]string{"blog.lan A": "10.0.0.153", "x.blog.lan A": "10.0.0.153"}
	w.digs("it is enforced", served)
	for _, management := range []v1alpha1.Management{v1alpha1.ManagementPaused, v1alpha1.ManagementObserve} {
		updated(w, blog, func(r *v1alpha1.Route) { r.Spec.Management = management })
		writes := w.sim.Writes()
		w.ready("dns")
		w.digs(string(management), served)
		w.restart()
		w.ready("dns")
		w.digs(string(management)+", under another manager", served)
		if w.sim.Writes() != writes {
			t.Errorf("%s: %d writes, want none", management, w.sim.Writes()-writes)
		}
	}
}

// TestNewControlPlaneAwaitsGateways: the address of a gateway that is not declared is not known at once, and its names stay.
func TestNewControlPlaneAwaitsGateways(t *testing.T) {
	objects := func(known bool) []client.Object {
		g := svcGuest("nginx")
		if g.Status = (v1alpha1.GuestStatus{}); known {
			svcLook(g, "10.0.0.153")
		}
		return []client.Object{g, svcGateway("nginx", "nginx"), svcRoute("blog", "blog.lan")}
	}
	dns := func() *v1alpha1.HostService {
		return svcDNS(func(s *v1alpha1.HostService) { s.Spec.Dnsmasq.PublishGuests = new(bool) })
	}
	w := newSVCWorld(t, nil, objects(true)...)
	w.create(dns())
	w.ready("dns")
	writes := w.sim.Writes()
	w.move(append(objects(false), dns())...)
	w.until("dns", "False DependencyNotReady", "waiting for Guest/nginx: it was not looked at yet")
	g := svcGuest("nginx")
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(g), g); err != nil {
		t.Fatal(err)
	}
	svcLook(g, "10.0.0.153")
	if err := w.client.Status().Update(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	w.ready("dns")
	w.digs("it is known", map[string]string{"blog.lan A": "10.0.0.153"})
	if w.sim.Writes() != writes {
		t.Errorf("a new control plane wrote %d times", w.sim.Writes()-writes)
	}
}
