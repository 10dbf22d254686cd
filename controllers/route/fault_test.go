// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

// routerName is the name of a Route's first router in Traefik.
func (w *world) routerName(route string) string {
	w.Helper()
	for _, name := range strings.Fields(w.router.shell(w.T, "ls "+routerFolder)) {
		if strings.HasSuffix(name, "-"+route+".yml") {
			return strings.TrimSuffix(name, ".yml")
		}
	}
	w.Fatalf("%s has no file on the router", route)
	return ""
}

// longer gives a Route a second router, which Traefik may reject while the first one is well.
func longer(r *v1alpha1.Route) {
	r.Spec.Paths = []v1alpha1.RoutePath{{Value: "/"}, {Value: "/longer"}}
}

// TestRejected: what the router rejects is put back, says its words, and is not tried again until something changes.
func TestRejected(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	w.ready("blog")
	heal := w.router.TraefikFaults().Reject(w.routerName("blog")+"-2", "no such thing as a longer path")
	good, err := w.router.ReadFile(routerFolder + "/" + w.routerName("blog") + ".yml")
	if err != nil {
		t.Fatal(err)
	}
	w.edit("blog", longer)
	r := w.until("blog", "False RejectedByRouter", "no such thing as a longer path", "what was there before serves on", "it is tried again at")
	w.says(r, v1alpha1.ProgrammedCondition, "False RejectedByRouter", "no such thing as a longer path")
	if r.Status.Refused == "" || !strings.Contains(r.Status.Refusal, "no such thing") {
		t.Errorf("the status says %q and %q", r.Status.Refused, r.Status.Refusal)
	}
	w.pass("blog") // the second time it is no news
	w.served("blog.phoenix.lan")
	if now, err := w.router.ReadFile(routerFolder + "/" + w.routerName("blog") + ".yml"); now != good {
		t.Errorf("the file is another one than before (%v):\n%s", err, now)
	}
	w.quiet("blog")
	w.restart()
	w.quiet("blog")

	w.declare("wiki", nil) // a neighbour sees nothing of it
	w.ready("wiki")
	w.served("wiki.phoenix.lan")

	heal()
	w.sleep(2 * time.Hour)
	if r = w.ready("blog"); r.Status.Refused != "" || r.Status.Refusal != "" {
		t.Errorf("the status still says %q and %q", r.Status.Refused, r.Status.Refusal)
	}
	w.served("blog.phoenix.lan")
}

// TestRejectedAtFirst: of a Route that was never good nothing is left, so that its host gets no answer at all.
func TestRejectedAtFirst(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	w.pass("blog")
	name := w.routerName("blog")
	w.remove("blog")
	w.router.TraefikFaults().Reject(name+"-2", "no such thing as a longer path")
	w.declare("blog", longer)
	w.until("blog", "False RejectedByRouter", "nothing is served")
	if got := w.files(w.gateway, gatewayFolder) + w.files(w.router, routerFolder); got != "" {
		t.Errorf("left behind is %s", got)
	}
	w.pass("blog")
	w.quiet("blog")
	w.edit("blog", func(r *v1alpha1.Route) { r.Spec.Paths = nil })
	w.ready("blog")
	w.served("blog.phoenix.lan")
}

// TestRejectedByAnother: a manager that ends between the file and the look at it leaves the next one enough to go back.
func TestRejectedByAnother(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	w.ready("blog")
	w.router.TraefikFaults().Reject(w.routerName("blog")+"-2", "no such thing as a longer path")
	undelay := w.router.TraefikFaults().Delay(5 * time.Second)
	w.edit("blog", longer)
	w.pass("blog")
	w.says(w.get("blog"), v1alpha1.ReadyCondition, "False Programming")
	w.restart()
	undelay()
	w.until("blog", "False RejectedByRouter", "what was there before serves on")
	w.served("blog.phoenix.lan")
}

// TestNotTaken: a router that takes nothing any more gets back what it had, and hears of it again soon.
func TestNotTaken(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	w.ready("blog")
	heal := w.router.TraefikFaults().IgnoreChanges()
	w.edit("blog", longer)
	w.pass("blog")
	w.sleep(10 * time.Second)
	w.until("blog", "False RejectedByRouter", "did not take the file within 5s")
	w.served("blog.phoenix.lan")
	heal()
	w.sleep(2 * time.Minute)
	w.ready("blog")
}

// TestRouterIsSilent: an API that does not answer says nothing against a Route.
func TestRouterIsSilent(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		status int
		words  string
	}{
		"error": {"the API fails", http.StatusInternalServerError, "500"},
		"hang":  {"the API hangs", 0, "timed out"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			heal := w.router.TraefikFaults().FailAPI("/api/rawdata", 0, c.status)
			w.declare("blog", nil)
			r := w.until("blog", "False RouterAway", c.words)
			w.says(r, v1alpha1.ProgrammedCondition, "Unknown RouterAway")
			w.served("blog.phoenix.lan")
			heal()
			w.ready("blog")
			w.quiet("blog")
		})
	}
}

// TestMachineAway: who is away is waited for, and what is there serves on.
func TestMachineAway(t *testing.T) {
	for _, which := range []string{"gateway", "router"} {
		t.Run(which, func(t *testing.T) {
			w := newWorld(t)
			d := map[string]*door{"gateway": w.gateway, "router": w.router}[which]
			w.declare("blog", nil)
			w.ready("blog")
			d.set(true)
			w.sleep(time.Minute)
			w.edit("blog", func(r *v1alpha1.Route) { r.Spec.Hosts = append(r.Spec.Hosts, "news.phoenix.lan") })
			w.until("blog", "False MachineAway", "no route to host")
			w.served("blog.phoenix.lan")
			d.set(false)
			w.ready("blog")
			w.served("news.phoenix.lan")
			d.set(true)
			w.delete("blog")
			w.until("blog", "False MachineAway")
			if which == "gateway" {
				w.served("blog.phoenix.lan") // who is let in is answered
			}
			d.set(false)
			w.sleep(time.Minute)
			for w.exists("blog") {
				w.rest(w.pass("blog"))
			}
		})
	}
}

// TestConnectionBreaks: a connection that breaks at any round trip leaves what the next passes come to an end from.
func TestConnectionBreaks(t *testing.T) {
	for name, when := range map[string]sim.Cut{"before": sim.CutBefore, "during": sim.CutDuring, "after": sim.CutAfter} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for trip := 1; trip <= 4; trip++ {
				for _, d := range []*door{w.gateway, w.router} {
					w.declare("blog", nil)
					d.Cut("sh*", trip, when)
					w.ready("blog")
					w.served("blog.phoenix.lan")
					d.Cut("sh*", trip, when)
					w.edit("blog", longer)
					w.ready("blog")
					d.Cut("sh*", trip, when)
					w.remove("blog")
					if got := w.files(w.gateway, gatewayFolder) + w.files(w.router, routerFolder); got != "" {
						t.Fatalf("left behind is %s", got)
					}
				}
			}
		})
	}
}

// TestManagerRestartsAnywhere: each pass is one of another manager.
func TestManagerRestartsAnywhere(t *testing.T) {
	w := newWorld(t)
	through := func(want string) {
		t.Helper()
		for range lookLimit {
			w.restart()
			w.rest(w.pass("blog"))
			if strings.HasPrefix(said(w.get("blog"), v1alpha1.ReadyCondition), want) {
				return
			}
		}
		t.Fatalf("it stays %q, want %q", said(w.get("blog"), v1alpha1.ReadyCondition), want)
	}
	w.declare("blog", nil)
	through("True InSync")
	w.served("blog.phoenix.lan")
	heal := w.router.TraefikFaults().Reject(w.routerName("blog")+"-2", "no")
	w.edit("blog", longer)
	through("False RejectedByRouter")
	w.served("blog.phoenix.lan")
	heal()
	w.edit("blog", func(r *v1alpha1.Route) { r.Spec.Paths = []v1alpha1.RoutePath{{Value: "/"}, {Value: "/other"}} })
	through("True InSync")
	w.restart()
	w.remove("blog")
}

// TestGatewayRefuses: what nginx does not want is not there, and says why.
func TestGatewayRefuses(t *testing.T) {
	w := newWorld(t)
	w.declare("wiki", nil)
	w.ready("wiki")
	heal := w.gateway.Fail("nginx -t", 0, 1, "nginx: [emerg] something is wrong\n")
	w.declare("blog", nil)
	w.until("blog", "False RejectedByGateway", "something is wrong")
	if got := w.files(w.gateway, gatewayFolder); got != "wiki.map" {
		t.Errorf("the gateway has %s", got)
	}
	heal()
	w.sleep(10 * time.Minute)
	w.ready("blog")
}

// TestBackendIsDown: a backend that does not answer is named, and the Route stays where it is.
func TestBackendIsDown(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", func(r *v1alpha1.Route) { r.Spec.Backends[0].Guest.Port = 9999 })
	r := w.until("blog", "False BackendUnreachable", "Guest/web at 10.0.0.20:9999 does not answer")
	w.says(r, v1alpha1.ProgrammedCondition, "True Programmed")
	w.says(r, v1alpha1.BackendReachableCondition, "False BackendUnreachable")
	if got := w.files(w.gateway, gatewayFolder) + " " + w.files(w.router, routerFolder); got != "blog.map blog.yml" {
		t.Errorf("the files are %s", got)
	}
	w.pass("blog")
	w.quiet("blog")
}

// TestNobodyKnowsTheName: with dnsRefs the name counts.
func TestNobodyKnowsTheName(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", func(r *v1alpha1.Route) { r.Spec.DNSRefs = []v1alpha1.LocalReference{{Name: "dnsmasq"}} })
	r := w.until("blog", "False NotPublished", "blog.phoenix.lan has no address on the machine of HostService/traefik")
	w.says(r, v1alpha1.PublishedCondition, "False NotPublished")
	w.router.shell(t, "echo '10.0.0.99 blog.phoenix.lan' >> /etc/hosts")
	w.until("blog", "False NotPublished", "blog.phoenix.lan leads to 10.0.0.99")
	w.router.shell(t, "sed -i 's/10.0.0.99 .*/10.0.0.153 blog.phoenix.lan/' /etc/hosts")
	r = w.ready("blog")
	w.says(r, v1alpha1.PublishedCondition, "True Published")
}
