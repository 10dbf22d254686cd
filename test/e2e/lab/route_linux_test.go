// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/lab"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

// served are the names that everybody may ask for, with a path and what is answered.
var served = map[string]struct{ route, path, says string }{
	"a.phoenix.lan":      {"stack-a", "/", "Host: a.phoenix.lan\n"},
	"b.phoenix.lan":      {"stack-b", "/", "Name: "},
	"docker.phoenix.lan": {"portainer", "/api/system/status", `"Version":`},
}

func routeKey(name string) *v1alpha1.Route {
	return &v1alpha1.Route{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: world.Namespace}}
}

// routeTo is a Route for everybody to the web service of a stack.
func routeTo(name, stack string, hosts ...string) *v1alpha1.Route {
	o := routeKey(name)
	o.Spec.GatewayRef.Name, o.Spec.RouterRef.Name = "nginx", "traefik"
	o.Spec.Hosts, o.Spec.Expose = hosts, v1alpha1.ExposeExternal
	o.Spec.Backends = []v1alpha1.RouteBackend{{Stack: &v1alpha1.RouteStackBackend{Name: stack, Service: "web"}}}
	return o
}

// route reads a Route.
func (r *reference) route(name string) *v1alpha1.Route {
	r.Helper()
	o := routeKey(name)
	if err := r.Client.Get(test, client.ObjectKeyFromObject(o), o); err != nil {
		r.Fatal(err)
	}
	return o
}

// routed waits until Routes are Ready with nothing left to do.
func (r *reference) routed(names ...string) {
	r.Helper()
	for _, name := range names {
		r.within(patience, "Route "+name+" is Ready", func() error {
			o := r.route(name)
			if status, said := condition(o, v1alpha1.ReadyCondition); status != metav1.ConditionTrue || o.Status.ObservedGeneration != o.Generation || len(o.Status.Plan) > 0 {
				return fmt.Errorf("%s; plan %+v", said, o.Status.Plan)
			}
			return nil
		})
	}
}

// restRoutes waits until Phoenix does nothing about the Routes any more.
func (r *reference) restRoutes() {
	r.Helper()
	sum := func() (n int) {
		for _, at := range served {
			n += r.passesOf("Route", at.route)
		}
		return n
	}
	last, since := sum(), time.Now()
	r.within(patience, "Phoenix does nothing about Routes", func() error {
		if now := sum(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < time.Second {
			return fmt.Errorf("%d passes", last)
		}
		return nil
	})
}

// idleRoutes has Phoenix look at every Route: nothing is written to the object.
func (r *reference) idleRoutes() {
	r.Helper()
	for _, at := range served {
		passes := r.passesOf("Route", at.route)
		r.lookAt(routeKey(at.route))
		version := r.route(at.route).ResourceVersion
		until(r.T, "Phoenix looks at Route "+at.route, func() error {
			if n := r.passesOf("Route", at.route); n <= passes {
				return fmt.Errorf("%d passes", n)
			}
			return nil
		})
		if got := r.route(at.route).ResourceVersion; got != version {
			r.Errorf("the look at Route %s wrote to the object", at.route)
		}
	}
}

// routes asks for names from outside of the site while what is behind them changes, starts anew and goes.
func routes(r *reference) {
	r.ready("nginx", "traefik")
	r.part("outside", outside200)
	r.part("undeclared", undeclared)
	r.part("internal", internal)
	r.part("followed", followed)
	r.part("claimed", claimed)
	r.part("passed", passedThrough)
	r.part("upgraded", upgraded)
	r.part("unmanaged", unmanaged)
}

// everythingServed asks for every name of the samples.
func (r *reference) everythingServed(v *visitor) error {
	for host, want := range served {
		if a := v.ask(host, want.path); a.status != http.StatusOK || !strings.Contains(a.body, want.says) {
			return fmt.Errorf("%s answers %s, want 200 with %q", host, a, want.says)
		}
	}
	return nil
}

// outside200 asks for what the samples declare, as a client outside does.
func outside200(r *reference) {
	t := r.T
	v := r.visitor()
	if err := r.everythingServed(v); err != nil {
		t.Error(err)
	}
	for host, at := range served {
		o := r.route(at.route)
		if o.Status.URL != "https://"+host+"/" || o.Status.GatewayAddress != addresses[nginx] {
			t.Errorf("Route %s says it is at %q by %q", o.Name, o.Status.URL, o.Status.GatewayAddress)
		}
		for _, c := range []string{v1alpha1.ProgrammedCondition, v1alpha1.PublishedCondition, v1alpha1.CertificateMatchesCondition, v1alpha1.BackendReachableCondition} {
			if status, said := condition(o, c); status != metav1.ConditionTrue {
				t.Errorf("%s of Route %s: %s", c, o.Name, said)
			}
		}
	}
	a := v.ask("a.phoenix.lan", "/x?y=z", "X-Forwarded-For", "10.0.0.10", "X-Real-Ip", "10.0.0.10", "X-Forwarded-Host", "evil.example")
	if a.protocol != "HTTP/2.0" {
		t.Errorf("the gateway speaks %s", a.protocol)
	}
	for _, want := range []string{
		"GET /x?y=z HTTP/1.1\n", "X-Forwarded-For: " + lab.ClientAddress, "X-Forwarded-Proto: https", "X-Forwarded-Host: a.phoenix.lan", "X-Real-Ip: " + lab.ClientAddress,
	} {
		if !strings.Contains(a.body, want) {
			t.Errorf("the backend was not told %q:\n%s", want, a.body)
		}
	}
	if strings.Contains(a.body, "10.0.0.10,") || strings.Contains(a.body, "evil.example") {
		t.Errorf("the backend believes what the client said of itself:\n%s", a.body)
	}
	if got := v.count("a.phoenix.lan", 64<<20); got != "67108864" {
		t.Errorf("of 64 MiB the backend got %s", got)
	}
	if err := v.echo("a.phoenix.lan", "a few bytes"); err != nil {
		t.Errorf("another protocol: %v", err)
	}
	until(t, "an answer comes as it is made", func() error { return v.streams("a.phoenix.lan") })
}

// undeclared asks for what nobody declared.
func undeclared(r *reference) {
	t, v := r.T, r.visitor()
	for reason, host := range map[string]string{
		"a name that the certificate covers": "c.phoenix.lan", "the name of a machine": "portainer.phoenix.lan",
		"a name that nginx has a certificate for": "nginx.phoenix.lan", "another domain": "a.example.org",
	} {
		if a := v.ask(host, "/"); a.err == nil {
			t.Errorf("%s: %s answers %s", reason, host, a)
		}
		if a := v.askPlain(host); a.err == nil {
			t.Errorf("%s: without TLS, %s answers %s", reason, host, a)
		}
	}
	if a := v.askPlain("a.phoenix.lan"); a.status != http.StatusPermanentRedirect || a.location != "https://a.phoenix.lan/" {
		t.Errorf("without TLS, a.phoenix.lan answers %s", a)
	}
	for _, from := range []int{outsider, stepCA, portainer, drphoenix} {
		if got := reached(t, from, []string{"10.0.0.12:80", "10.0.0.12:443", "10.0.0.12:8080"}); len(got) > 0 {
			t.Errorf("machine %d, which is not nginx, reaches Traefik at %v", from, got)
		}
	}
	if got := reached(t, nginx, []string{"10.0.0.12:80", "10.0.0.12:8080"}); !slices.Equal(got, []string{"10.0.0.12:80"}) {
		t.Errorf("nginx reaches Traefik at %v", got)
	}
}

// internal declares a Route for the site alone.
func internal(r *reference) {
	t, v := r.T, r.visitor()
	o := routeTo("inside", "stack-a", "inside.phoenix.lan")
	o.Spec.Expose, o.Spec.DNSRefs = "", []v1alpha1.LocalReference{{Name: "dnsmasq"}}
	r.declare(o)
	r.routed("inside")
	if a := v.ask("inside.phoenix.lan", "/"); a.err == nil {
		t.Errorf("from outside, it answers %s", a)
	}
	const script = `exec 3<>/dev/tcp/inside.phoenix.lan/443; exec 3<&-
printf 'GET / HTTP/1.1\r\nHost: inside.phoenix.lan\r\nConnection: close\r\n\r\n' | openssl s_client -quiet -connect inside.phoenix.lan:443 -servername inside.phoenix.lan -verify_return_error 2>/dev/null`
	if got := inside(t, drphoenix, "bash", "-c", script); !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.Contains(got, "Host: inside.phoenix.lan") {
		t.Errorf("a guest of the site gets %q", got)
	}
	r.patch(o, `{"spec":{"expose":"External"}}`)
	v.answers(t, "inside.phoenix.lan", "Host: inside.phoenix.lan")
	r.patch(o, `{"spec":{"expose":"Internal"}}`)
	v.silent(t, "inside.phoenix.lan")
	r.remove(o)
	until(t, "the name goes with the Route", func() error {
		if got := inside(t, drphoenix, "sh", "-c", "getent hosts inside.phoenix.lan || echo gone"); got != "gone" {
			return errors.New(got)
		}
		return nil
	})
}

// followed publishes a stack on another port.
func followed(r *reference) {
	t, v := r.T, r.visitor()
	generation := r.route("stack-a").Generation
	const text = "services: {web: {image: 'traefik/whoami:v1.10', restart: unless-stopped, ports: ['%d:80']}}"
	for _, port := range []int{8091, 8081} {
		r.patch(stackKey("stack-a"), fmt.Sprintf(`{"spec":{"compose":{"inline":%q}}}`, fmt.Sprintf(text, port)))
		r.within(patience, "the Route follows", func() error {
			if o := r.route("stack-a"); !slices.Equal(o.Status.Servers, []string{fmt.Sprintf("http://10.0.0.102:%d", port)}) {
				return fmt.Errorf("servers %q", o.Status.Servers)
			}
			return nil
		})
		v.answers(t, "a.phoenix.lan", "Host: a.phoenix.lan")
		r.routed("stack-a")
	}
	if now := r.route("stack-a").Generation; now != generation {
		t.Errorf("the Route's spec was changed: generation %d, before %d", now, generation)
	}
}

// claimed has two Routes claim a host, and one that leads back to the gateway.
func claimed(r *reference) {
	t, v := r.T, r.visitor()
	older, younger := routeTo("older", "stack-a", "claimed.phoenix.lan"), routeTo("younger", "stack-b", "claimed.phoenix.lan")
	r.declare(older)
	r.routed("older")
	time.Sleep(time.Second) // the API server's times have no fractions
	r.declare(younger)
	r.routeSays("younger", v1alpha1.StalledCondition, "True HostTaken: ", "older")
	if a := v.ask("claimed.phoenix.lan", "/"); !strings.Contains(a.body, "Host: claimed.phoenix.lan") || strings.Contains(a.body, "Name: ") {
		t.Errorf("claimed by two, it answers %s", a)
	}
	r.remove(older)
	v.answers(t, "claimed.phoenix.lan", "Name: ")
	r.routed("younger")
	r.remove(younger)
	v.silent(t, "claimed.phoenix.lan")

	loop := routeTo("loop", "", "loop.phoenix.lan")
	loop.Spec.Backends = []v1alpha1.RouteBackend{{URL: "https://a.phoenix.lan"}}
	r.declare(loop)
	r.routeSays("loop", v1alpha1.StalledCondition, "True Loop: ", "a.phoenix.lan")
	r.remove(loop)
}

// passedThrough has the gateway hand the TLS of a name on as it comes: the certificate is the backend's.
func passedThrough(r *reference) {
	t, v := r.T, r.visitor()
	r.patch(serviceKey("nginx"), `{"spec":{"nginx":{"passThrough":{}}}}`)
	r.ready("nginx")
	o := routeKey("raw")
	o.Spec.GatewayRef.Name, o.Spec.RouterRef.Name = "nginx", "traefik"
	o.Spec.Hosts, o.Spec.Expose = []string{"raw.phoenix.lan"}, v1alpha1.ExposeExternal
	o.Spec.Backends = []v1alpha1.RouteBackend{{HostService: &v1alpha1.RouteServiceBackend{Name: "portainer"}}}
	o.Spec.TCP = &v1alpha1.RouteTCP{}
	r.declare(o)
	r.routed("raw")
	const script = `printf '%s' "$1" >/run/roots.pem; openssl s_client -CAfile /run/roots.pem -connect "$0" -servername raw.phoenix.lan -verify_hostname portainer.phoenix.lan -verify_return_error </dev/null 2>&1`
	until(t, "the backend's own certificate is served", func() error {
		got, err := site.Client(t.Context(), "sh", "-c", script, gateway, string(r.trusted()))
		if err == nil && !strings.Contains(got.Stdout, "Verify return code: 0 (ok)") {
			err = errors.New(got.Stdout)
		}
		return err
	})
	if err := r.everythingServed(v); err != nil {
		t.Errorf("beside it: %v", err)
	}
	if a := v.ask("a.phoenix.lan", "/"); !strings.Contains(a.body, "X-Forwarded-For: "+lab.ClientAddress) {
		t.Errorf("behind the pass-through the client is another one:\n%s", a.body)
	}
	r.remove(o)
	v.silent(t, "raw.phoenix.lan")
	r.patch(serviceKey("nginx"), `{"spec":{"nginx":{"passThrough":null}}}`)
	r.ready("nginx")
	if err := r.everythingServed(v); err != nil {
		t.Errorf("without it again: %v", err)
	}
}

// upgraded has another release of Traefik take the place of the present one, and then one that is none.
func upgraded(r *reference) {
	t, v := r.T, r.visitor()
	release := func(a lab.Artifact) string {
		return fmt.Sprintf(`{"spec":{"traefik":{"artifact":{"url":%q,"sha256":%q,"member":%q}}}}`, a.URL, a.SHA256, a.Member)
	}
	runs := func(want string) {
		t.Helper()
		if got := r.service("traefik").Status.Traefik; got == nil || got.Version != want {
			t.Errorf("the status says %+v, want version %s", got, want)
		}
		if err := r.everythingServed(v); err != nil {
			t.Errorf("with %s: %v", want, err)
		}
	}
	r.patch(serviceKey("traefik"), release(site.Releases.NextTraefik))
	r.ready("traefik")
	runs("3.6.13-lab")
	r.patch(serviceKey("traefik"), release(site.Releases.StepCA)) // a program, but not this one
	r.within(patience, "what does not come up is rolled back", func() error {
		s := r.service("traefik")
		if status, said := condition(s, v1alpha1.ReadyCondition); status != metav1.ConditionFalse || s.Status.ObservedGeneration != s.Generation || !strings.Contains(said, "rolled back") {
			return errors.New(said)
		}
		return nil
	})
	runs("3.6.13-lab")
	r.patch(serviceKey("traefik"), release(site.Releases.Traefik))
	r.ready("traefik")
	runs("3.6.12")
	r.routed("stack-a", "stack-b", "portainer")
}

// unmanaged kills the manager, and then starts every guest anew: everything serves, without anybody who manages it.
func unmanaged(r *reference) {
	t, v := r.T, r.visitor()
	if err := r.KillManager(); err != nil {
		t.Fatal(err)
	}
	if err := r.everythingServed(v); err != nil {
		t.Errorf("without a manager: %v", err)
	}
	var group errgroup.Group
	for vmid := range addresses {
		if kind := map[bool]string{false: "lxc", true: "qemu"}[vmid > 1000]; vmid != lab.Host {
			group.Go(func() error {
				return api.task("POST", fmt.Sprintf("/nodes/phoenix/%s/%d/status/reboot", kind, vmid), nil)
			})
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := r.everythingServed(v); err == nil {
		t.Log("the guests were back before anybody asked")
	}
	r.within(installTime, "everything is served after the reboot", func() error { return r.everythingServed(v) })
	r.startManager()
	r.allReady()
	if err := r.everythingServed(v); err != nil {
		t.Errorf("with a new manager: %v", err)
	}
}

// routeSays waits until a condition of a Route begins with a text and holds another one.
func (r *reference) routeSays(name, kind, begins, holds string) {
	r.Helper()
	r.within(patience, fmt.Sprintf("%s of Route %s says %q", kind, name, begins), func() error {
		if _, said := condition(r.route(name), kind); !strings.HasPrefix(said, begins) || !strings.Contains(said, holds) {
			return errors.New(said)
		}
		return nil
	})
}
