// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"testing"
	"time"

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
