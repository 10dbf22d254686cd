// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// change edits an object that is not a Route, and its status.
func change[T client.Object](w *world, o T, name string, edit func(T)) {
	w.Helper()
	if err := w.client.Get(w.Context(), types.NamespacedName{Namespace: namespace, Name: name}, o); err != nil {
		w.Fatal(err)
	}
	edit(o)
	if err := w.client.Status().Update(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

// TestTaken: of two Routes of one host and path the older serves, and the younger comes when that goes.
func TestTaken(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	w.ready("blog")
	w.sleep(time.Minute)
	w.declare("young", func(r *v1alpha1.Route) { r.Spec.Hosts = []string{"blog.phoenix.lan"} })
	r := w.until("young", "False HostTaken", "host blog.phoenix.lan: Route/blog, which is older, serves all paths there")
	w.says(r, v1alpha1.ProgrammedCondition, "False HostTaken")
	if !meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.StalledCondition) {
		t.Error("it is not Stalled")
	}
	if got := w.files(w.gateway, gatewayFolder); got != "blog.map" {
		t.Errorf("the gateway has %s", got)
	}
	w.quiet("young")
	w.quiet("blog")
	w.remove("blog")
	w.ready("young")
	w.served("blog.phoenix.lan")

	w.sleep(time.Minute) // an older one may come to want what a younger one has
	w.declare("third", nil)
	w.ready("third")
	w.edit("young", func(r *v1alpha1.Route) { r.Spec.Hosts = []string{"third.phoenix.lan"} })
	w.pass("young") // nginx takes a host from one file alone, so it may have to wait
	w.until("third", "False HostTaken", "Route/young")
	w.sleep(time.Minute)
	w.ready("young")
	w.served("third.phoenix.lan")
	w.quiet("third")
}

// TestShared: Routes of one host and several paths hand the host on without a moment in which nobody has it.
func TestShared(t *testing.T) {
	w := newWorld(t)
	w.declare("site", nil)
	w.ready("site")
	w.sleep(time.Minute)
	w.declare("api", func(r *v1alpha1.Route) {
		r.Spec.Hosts = []string{"site.phoenix.lan"}
		r.Spec.Paths = []v1alpha1.RoutePath{{Value: "/api"}}
	})
	w.ready("api")
	lines := func() string {
		return strings.Join(strings.Fields(w.gateway.shell(t, "cat "+gatewayFolder+"/*.map | grep -v '^#'")), " ")
	}
	if got := lines(); strings.Count(got, "internal:phoenix-traefik;") != 2 || strings.Count(got, "~*^site") != 1 {
		t.Errorf("the gateway has %s", got)
	}
	w.remove("site")
	if got := lines(); got != `~*^site\.phoenix\.lan$ internal:phoenix-traefik;` {
		t.Errorf("the gateway has %s", got)
	}
	w.pass("api")
	w.ready("api")
	if got := lines(); got != "site.phoenix.lan internal:phoenix-traefik;" {
		t.Errorf("the gateway has %s", got)
	}
}

// TestObserved: what would be done is shown, and nothing is written anywhere.
func TestObserved(t *testing.T) {
	w := newWorld(t)
	observe := func(r *v1alpha1.Route) { r.Spec.Management = v1alpha1.ManagementObserve }
	w.declare("blog", observe)
	writes := w.gateway.Writes() + w.router.Writes()
	w.pass("blog")
	r := w.get("blog")
	w.says(r, v1alpha1.ReadyCondition, "True Drifted")
	var shown []string
	for _, p := range r.Status.Plan {
		shown = append(shown, p.Reason+" "+p.Field)
	}
	if got := strings.Join(shown, ", "); got != "Programming router traefik, Admitting gateway nginx map" {
		t.Errorf("the plan is %s", got)
	}
	if now := w.gateway.Writes() + w.router.Writes(); now != writes || w.files(w.gateway, gatewayFolder)+w.files(w.router, routerFolder) != "" {
		t.Errorf("%d writes", now-writes)
	}
	w.quiet("blog")
	w.edit("blog", func(r *v1alpha1.Route) { r.Spec.Management = "" })
	w.ready("blog")
	w.edit("blog", func(r *v1alpha1.Route) {
		observe(r)
		longer(r)
	})
	writes = w.gateway.Writes() + w.router.Writes()
	w.pass("blog")
	w.says(w.get("blog"), v1alpha1.ReadyCondition, "True Drifted")
	w.remove("blog")
	if now := w.gateway.Writes() + w.router.Writes(); now != writes {
		t.Errorf("%d writes", now-writes)
	}
	w.served("blog.phoenix.lan")
}

// TestRetained: what is let go serves on, and the same Route made again changes nothing.
func TestRetained(t *testing.T) {
	w := newWorld(t)
	retain := func(r *v1alpha1.Route) { r.Spec.DeletionPolicy = v1alpha1.DeletionRetain }
	w.declare("blog", retain)
	w.ready("blog")
	w.remove("blog")
	w.served("blog.phoenix.lan")
	w.restart()
	w.sleep(time.Minute)
	writes := w.gateway.Writes() + w.router.Writes()
	w.declare("blog", retain)
	w.ready("blog")
	if now := w.gateway.Writes() + w.router.Writes(); now != writes {
		t.Errorf("%d writes", now-writes)
	}
}

// TestFollows: a Guest's new address and a stack's new port are taken without a touch, and who is behind them is known.
func TestFollows(t *testing.T) {
	agent := service("agent", func(s *v1alpha1.HostService) {
		s.Spec.GuestRef.Name, s.Spec.PortainerAgent = "web", &v1alpha1.PortainerAgent{}
	})
	shop := &v1alpha1.DockerStack{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"}}
	shop.Spec.Environment.AgentRef = &v1alpha1.LocalReference{Name: "agent"}
	w := newWorld(t, agent, shop)
	w.declare("shop", func(r *v1alpha1.Route) {
		r.Spec.Backends = []v1alpha1.RouteBackend{{Stack: &v1alpha1.RouteStackBackend{Name: "shop", Service: "web"}}}
	})
	w.until("shop", "False NoBackendAddress", "waiting for DockerStack/shop: web does not run yet")
	publish := func(port int32) func(*v1alpha1.DockerStack) {
		return func(s *v1alpha1.DockerStack) {
			s.Status.Services = []v1alpha1.StackService{{Name: "web", State: "running", Ports: []v1alpha1.StackPort{{Target: 80, Published: port, Protocol: "tcp"}}}}
		}
	}
	change(w, &v1alpha1.DockerStack{}, "shop", publish(9999))
	w.until("shop", "False BackendUnreachable")
	change(w, &v1alpha1.DockerStack{}, "shop", publish(8081))
	r := w.ready("shop")
	w.served("shop.phoenix.lan")
	if r.Status.Backend != "DockerStack/shop web" {
		t.Errorf("the backend is %s", r.Status.Backend)
	}
	for _, d := range [][2]string{{"Guest", "web"}, {"HostService", "agent"}, {"DockerStack", "shop"}, {"Guest", "nginx"}} {
		if users := w.kind.Users(d[0], types.NamespacedName{Namespace: namespace, Name: d[1]}); len(users) != 1 {
			t.Errorf("%s/%s is used by %v", d[0], d[1], users)
		}
	}
	change(w, &v1alpha1.Guest{}, "web", func(g *v1alpha1.Guest) { g.Status.Addresses = []string{"10.0.0.77"} })
	r = w.until("shop", "False BackendUnreachable", "10.0.0.77")
	if got := strings.Join(r.Status.Servers, " "); got != "http://10.0.0.77:8081" {
		t.Errorf("the servers are %s", got)
	}
}

func secret(name, chain, key string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{"tls.crt": []byte(chain), "tls.key": []byte(key)},
	}
}

// TestIssued: a Route may have a Certificate made for it, which goes with it.
func TestIssued(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", func(r *v1alpha1.Route) {
		yes := true
		r.Spec.Hosts = []string{"blog.example.org"}
		r.Spec.TLS = &v1alpha1.RouteTLS{Issue: &yes, AuthorityRef: &v1alpha1.LocalReference{Name: "ca"}}
	})
	w.until("blog", "False Issuing", "waiting for Certificate/route-blog: not Issued yet")
	made := func() *v1alpha1.Certificate {
		t.Helper()
		c := &v1alpha1.Certificate{}
		if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: "route-blog"}, c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := made()
	if !metav1.IsControlledBy(c, w.get("blog")) || strings.Join(c.Spec.DNSNames, " ") != "blog.example.org" || c.Spec.SecretName != "route-blog-tls" ||
		c.Spec.Authority.ServiceRef.Name != "ca" {
		t.Errorf("the Certificate is %+v", c)
	}
	w.until("blog", "False CertificateMissing", "Certificate/route-blog: not Issued yet")
	chain, key := w.issue(48*time.Hour, "blog.example.org")
	w.create(secret("route-blog-tls", chain, key))
	change(w, &v1alpha1.Certificate{}, "route-blog", func(c *v1alpha1.Certificate) {
		meta.SetStatusCondition(&c.Status.Conditions, metav1.Condition{Type: v1alpha1.IssuedCondition, Status: metav1.ConditionTrue, Reason: "Issued"})
	})
	w.until("blog", "False WrongCertificate") // the gateway of this world does not read the servers of Routes
	if got := w.files(w.gateway, gatewayFolder); got != "blog.crt blog.key blog.map blog.server" {
		t.Errorf("the gateway has %s", got)
	}
	if got := w.gateway.shell(t, "stat -c %a "+gatewayFolder+"/*.key"); got != "600\n" {
		t.Errorf("the key has the mode %s", got)
	}
	w.edit("blog", func(r *v1alpha1.Route) { r.Spec.Hosts = append(r.Spec.Hosts, "www.example.org") })
	w.until("blog", "False Issuing", "not Issued for the new names yet")
	if got := strings.Join(made().Spec.DNSNames, " "); got != "blog.example.org www.example.org" {
		t.Errorf("the Certificate is for %s", got)
	}
	w.remove("blog")
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: "route-blog"}, &v1alpha1.Certificate{}); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("the Certificate is still there (%v)", err)
	}
}

// TestNotOursToIssue: a Certificate of the name that somebody else made is left alone.
func TestNotOursToIssue(t *testing.T) {
	c := &v1alpha1.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "route-blog"}}
	w := newWorld(t, c)
	w.declare("blog", func(r *v1alpha1.Route) {
		yes := true
		r.Spec.TLS = &v1alpha1.RouteTLS{Issue: &yes, AuthorityRef: &v1alpha1.LocalReference{Name: "ca"}}
	})
	w.until("blog", "False NotOwned", "Certificate/route-blog: it is there already")
	w.remove("blog")
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: "route-blog"}, &v1alpha1.Certificate{}); err != nil {
		t.Errorf("the Certificate of somebody else is gone: %v", err)
	}
}

// TestBadInput: what cannot be has a clear error, and changes nothing.
func TestBadInput(t *testing.T) {
	w := newWorld(t,
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "users"}, Data: map[string][]byte{"bad": []byte("eve:secret\nadmin"), "good": []byte("eve:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")}})
	w.declare("good", nil)
	w.ready("good")
	before := w.gateway.Writes() + w.router.Writes()
	cases := map[string]struct {
		reason, want, words string
		change              func(*v1alpha1.Route)
	}{
		"backtick in host": {"rule injection", "False Invalid", "hosts[0]", func(r *v1alpha1.Route) {
			r.Spec.Hosts = []string{"a`) || Host(`good.phoenix.lan"}
			r.Spec.TLS = nil
		}},
		"newline in path": {"rule injection", "False Invalid", "paths[0]", func(r *v1alpha1.Route) {
			r.Spec.Paths = []v1alpha1.RoutePath{{Value: "/a\n"}}
		}},
		"no regex": {"Traefik would not take it", "False Invalid", "paths[0]", func(r *v1alpha1.Route) {
			r.Spec.Paths = []v1alpha1.RoutePath{{Type: v1alpha1.PathRegex, Value: "("}}
		}},
		"header injection": {"a second header", "False Invalid", "middlewares[0]", func(r *v1alpha1.Route) {
			value := "x\r\nSet-Cookie: a=b"
			r.Spec.Middlewares = []v1alpha1.RouteMiddleware{{Headers: &v1alpha1.RouteHeaders{Response: []v1alpha1.RouteHeader{{Name: "X-A", Value: &value}}}}}
		}},
		"users": {"a line without a hash", "False Invalid", "bad of Secret/users: read users: line 1", func(r *v1alpha1.Route) {
			r.Spec.Middlewares = []v1alpha1.RouteMiddleware{{BasicAuth: &v1alpha1.RouteBasicAuth{UsersSecretRef: v1alpha1.SecretKeyReference{Name: "users", Key: "bad"}}}}
		}},
		"no users": {"the entry may come", "False SourceMissing", "waiting for entry none of Secret/users", func(r *v1alpha1.Route) {
			r.Spec.Middlewares = []v1alpha1.RouteMiddleware{{BasicAuth: &v1alpha1.RouteBasicAuth{UsersSecretRef: v1alpha1.SecretKeyReference{Name: "users", Key: "none"}}}}
		}},
		"no certificate": {"nobody could connect", "False NoCertificate", "certificate for blog.example.org", func(r *v1alpha1.Route) {
			r.Spec.Hosts = []string{"blog.example.org"}
		}},
		"loop": {"it would go round", "False Loop", "leads back to the gateway", func(r *v1alpha1.Route) {
			r.Spec.Backends = []v1alpha1.RouteBackend{{URL: "https://10.0.0.153"}}
		}},
		"loop by name": {"it would go round", "False Loop", "good.phoenix.lan is a host of Route/good", func(r *v1alpha1.Route) {
			r.Spec.Backends = []v1alpha1.RouteBackend{{URL: "https://good.phoenix.lan"}}
		}},
		"asks itself": {"nobody would ever pass", "False Loop", "forwardAuth https://bad.phoenix.lan/auth leads back to Route/bad", func(r *v1alpha1.Route) {
			r.Spec.Middlewares = []v1alpha1.RouteMiddleware{{ForwardAuth: &v1alpha1.RouteForwardAuth{URL: "https://bad.phoenix.lan/auth"}}}
		}},
		"tcp": {"the gateway takes none", "False NoPassThrough", "set nginx.passThrough", func(r *v1alpha1.Route) {
			r.Spec.TCP = &v1alpha1.RouteTCP{}
		}},
		"wrong answerer": {"it answers no names", "False WrongService", "HostService/traefik is no dnsmasq", func(r *v1alpha1.Route) {
			r.Spec.DNSRefs = []v1alpha1.LocalReference{{Name: "traefik"}}
		}},
		"wrong gateway": {"it is no nginx", "False WrongService", "HostService/traefik is no nginx", func(r *v1alpha1.Route) {
			r.Spec.GatewayRef.Name = "traefik"
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := w.with(t)
			w.declare("bad", tc.change)
			r := w.until("bad", tc.want, tc.words)
			if strings.Contains(said(r, v1alpha1.ReadyCondition), "secret\n") || strings.Contains(said(r, v1alpha1.ReadyCondition), "eve:") {
				t.Errorf("%s: it tells a secret: %s", tc.reason, said(r, v1alpha1.ReadyCondition))
			}
			w.quiet("bad")
			w.remove("bad")
		})
	}
	if now := w.gateway.Writes() + w.router.Writes(); now != before {
		t.Errorf("%d writes", now-before)
	}
	w.served("good.phoenix.lan")
}

// TestMoves: a Route that goes to another gateway leaves nothing behind.
func TestMoves(t *testing.T) {
	second := service("second", func(s *v1alpha1.HostService) {
		s.Spec.GuestRef.Name = "nginx"
		s.Spec.Nginx = &v1alpha1.Nginx{Servers: []v1alpha1.NginxServer{{Name: "site", Names: []string{"*.phoenix.lan"}}}}
	})
	w := newWorld(t, second)
	w.gateway.shell(t, "mkdir -p /etc/nginx/phoenix/second/routes")
	router := &v1alpha1.HostService{}
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: "traefik"}, router); err != nil {
		t.Fatal(err)
	}
	router.Spec.Traefik.GatewayRefs = append(router.Spec.Traefik.GatewayRefs, v1alpha1.LocalReference{Name: "second"})
	if err := w.client.Update(t.Context(), router); err != nil {
		t.Fatal(err)
	}
	w.declare("blog", nil)
	w.ready("blog")
	w.edit("blog", func(r *v1alpha1.Route) { r.Spec.GatewayRef.Name = "second" })
	w.ready("blog")
	if got := w.files(w.gateway, gatewayFolder) + "; " + w.files(w.gateway, "/etc/nginx/phoenix/second/routes"); got != "; blog.map" {
		t.Errorf("the gateways have %s", got)
	}
}
