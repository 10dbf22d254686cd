// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

const secondFolder = "/etc/nginx/phoenix/second/routes"

// second declares another gateway, "second", in a Guest, and lets it send to the router.
func (w *world) second(d *door, guest string) {
	w.Helper()
	w.create(service("second", func(s *v1alpha1.HostService) {
		s.Spec.GuestRef.Name = guest
		s.Spec.Nginx = &v1alpha1.Nginx{Servers: []v1alpha1.NginxServer{{Name: "site", Names: []string{"*.phoenix.lan"}}}}
	}))
	router := &v1alpha1.HostService{}
	if err := w.client.Get(w.Context(), types.NamespacedName{Namespace: namespace, Name: "traefik"}, router); err != nil {
		w.Fatal(err)
	}
	router.Spec.Traefik.GatewayRefs = append(router.Spec.Traefik.GatewayRefs, v1alpha1.LocalReference{Name: "second"})
	if err := w.client.Update(w.Context(), router); err != nil {
		w.Fatal(err)
	}
	d.shell(w.T, "mkdir -p "+secondFolder+"; chmod 700 "+secondFolder)
}

// TestTakenOnRouter: the router does not ask which gateway a request comes through, so two Routes of one host and path fight
// there whichever they name.
func TestTakenOnRouter(t *testing.T) {
	w := newWorld(t)
	w.second(w.gateway, "nginx")
	w.declare("blog", nil)
	w.ready("blog")
	w.sleep(time.Minute)
	w.declare("outer", func(r *v1alpha1.Route) {
		r.Spec.GatewayRef.Name, r.Spec.Hosts = "second", []string{"blog.phoenix.lan"}
	})
	w.until("outer", "False HostTaken", "host blog.phoenix.lan: Route/blog on HostService/traefik, through HostService/nginx, which is older, serves all paths there")
	if got := w.files(w.gateway, secondFolder) + "; " + w.files(w.router, routerFolder); got != "; blog.yml" {
		t.Errorf("the files are %s", got)
	}
	w.quiet("blog")
	w.edit("outer", func(r *v1alpha1.Route) { r.Spec.Paths = []v1alpha1.RoutePath{{Value: "/outer"}} })
	w.ready("outer")
	w.edit("outer", func(r *v1alpha1.Route) { r.Spec.Paths = nil })
	w.until("outer", "False HostTaken", "Route/blog")
	if got := w.files(w.gateway, secondFolder) + "; " + w.files(w.router, routerFolder); got != "; blog.yml" {
		t.Errorf("the files are %s", got)
	}
	w.remove("blog")
	w.ready("outer")
	w.served("blog.phoenix.lan")
	if got := w.files(w.gateway, gatewayFolder) + "; " + w.files(w.gateway, secondFolder); got != "; outer.map" {
		t.Errorf("the gateways have %s", got)
	}
}

// TestTakenAfterMove: a Route that gives way where it moved to leaves nothing where it was, where others may wait for the host.
func TestTakenAfterMove(t *testing.T) {
	w := newWorld(t)
	w.second(w.gateway, "nginx")
	w.declare("blog", func(r *v1alpha1.Route) { r.Spec.GatewayRef.Name = "second" })
	w.ready("blog")
	w.sleep(time.Minute)
	w.declare("outer", func(r *v1alpha1.Route) { r.Spec.Hosts = []string{"outer.phoenix.lan"} })
	w.ready("outer")
	w.edit("outer", func(r *v1alpha1.Route) {
		r.Spec.GatewayRef.Name, r.Spec.Hosts = "second", []string{"blog.phoenix.lan"}
	})
	w.until("outer", "False HostTaken", "Route/blog")
	if got := w.files(w.gateway, gatewayFolder) + "; " + w.files(w.gateway, secondFolder) + "; " + w.files(w.router, routerFolder); got != "; blog.map; blog.yml" {
		t.Errorf("the files are %s", got)
	}
	w.quiet("outer")
}

// left moves a Route from the gateway "nginx", which goes away with its files, to "second", on the router's machine.
func left(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.second(w.router, "traefik")
	w.router.shell(t, "apt-get update && apt-get install -y nginx-light; rm -f /etc/nginx/sites-enabled/default; systemctl restart nginx")
	w.declare("blog", nil)
	r := w.ready("blog")
	if got := strings.Join(r.Status.Holders, " "); got != "nginx traefik" {
		t.Errorf("the holders are %s", got)
	}
	w.gateway.set(true)
	w.serving("nginx", metav1.ConditionFalse)
	w.edit("blog", func(r *v1alpha1.Route) { r.Spec.GatewayRef.Name = "second" })
	for range lookLimit {
		if w.files(w.router, secondFolder) == "blog.map" {
			break
		}
		w.rest(w.pass("blog"))
	}
	if got := w.files(w.router, secondFolder); got != "blog.map" {
		t.Fatalf("the second gateway has %s: %s", got, said(w.get("blog"), v1alpha1.ReadyCondition))
	}
	if got := strings.Join(w.get("blog").Status.Holders, " "); got != "nginx second traefik" {
		t.Errorf("the holders are %s", got)
	}
	w.restart() // another manager knows it by the status alone
	return w
}

func (w *world) serving(name string, status metav1.ConditionStatus) {
	w.Helper()
	change(w, &v1alpha1.HostService{}, name, func(s *v1alpha1.HostService) {
		meta.SetStatusCondition(&s.Status.Conditions, metav1.Condition{Type: v1alpha1.ServingCondition, Status: status, Reason: "Test"})
	})
}

// TestLeftBehind: a Route that is deleted goes from everywhere at once, but from a gateway that it named before and that is
// away: it waits for that, even if it does not serve.
func TestLeftBehind(t *testing.T) {
	w := left(t)
	w.delete("blog")
	r := w.until("blog", "False MachineAway", "HostService/nginx may still have files of the Route", "no route to host")
	if got := w.files(w.router, secondFolder) + "; " + w.files(w.router, routerFolder); got != "; " {
		t.Errorf("the rest has %s", got)
	}
	if got := strings.Join(r.Status.Holders, " "); !strings.Contains(got, "nginx") {
		t.Errorf("the holders are %s", got)
	}
	w.quiet("blog")
	w.gateway.set(false)
	for range lookLimit {
		if !w.exists("blog") {
			break
		}
		w.rest(w.pass("blog"))
	}
	if got := w.files(w.gateway, gatewayFolder); got != "" || w.exists("blog") {
		t.Errorf("left behind is %s; %t", got, w.exists("blog"))
	}
}

// TestLeftToNobody: what a Route left on a machine that nobody declares any more holds nothing up.
func TestLeftToNobody(t *testing.T) {
	for name, gone := range map[string]func(w *world) error{
		"HostService": func(w *world) error {
			s := &v1alpha1.HostService{}
			s.Namespace, s.Name = namespace, "nginx"
			return w.client.Delete(context.Background(), s)
		},
		"Guest": func(w *world) error {
			g := &v1alpha1.Guest{}
			g.Namespace, g.Name = namespace, "nginx"
			return w.client.Delete(context.Background(), g)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := left(t)
			w.delete("blog")
			w.until("blog", "False MachineAway", "HostService/nginx")
			if err := gone(w); err != nil {
				t.Fatal(err)
			}
			for range lookLimit {
				if !w.exists("blog") {
					return
				}
				w.rest(w.pass("blog"))
			}
			t.Errorf("it does not go: %s", said(w.get("blog"), v1alpha1.ReadyCondition))
		})
	}
}

// TestComesBack: a gateway that was named before and comes back is cleared while the Route serves elsewhere.
func TestComesBack(t *testing.T) {
	w := left(t)
	w.gateway.set(false)
	w.serving("nginx", metav1.ConditionTrue)
	w.edit("blog", func(r *v1alpha1.Route) { r.Spec.Middlewares = nil })
	for range lookLimit {
		if got := strings.Join(w.get("blog").Status.Holders, " "); got == "second traefik" {
			break
		}
		w.rest(w.pass("blog"))
	}
	if got := w.files(w.gateway, gatewayFolder) + "; " + strings.Join(w.get("blog").Status.Holders, " "); got != "; second traefik" {
		t.Errorf("left behind is %s: %s", got, said(w.get("blog"), v1alpha1.ReadyCondition))
	}
}

// TestNeverThere: a gateway that never had files of a Route does not keep it from going.
func TestNeverThere(t *testing.T) {
	w := newWorld(t)
	w.second(w.gateway, "nginx")
	w.serving("second", metav1.ConditionFalse)
	w.declare("blog", func(r *v1alpha1.Route) { r.Spec.GatewayRef.Name = "second" })
	w.pass("blog")
	w.edit("blog", func(r *v1alpha1.Route) { r.Spec.GatewayRef.Name = "nginx" })
	r := w.ready("blog")
	if got := strings.Join(r.Status.Holders, " "); got != "nginx traefik" {
		t.Errorf("the holders are %s", got)
	}
	w.remove("blog")
}
