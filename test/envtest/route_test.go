// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const (
	gatewayService = `
kind: HostService
spec:
  guestRef: {name: gate}
  nginx: {servers: [{name: site, names: ["*.phoenix.lan"], secretRef: {name: site-tls}}]}`
	routerService = `
kind: HostService
spec:
  guestRef: {name: router}
  traefik: {artifact: {url: "%s", sha256: "%s", member: "%s"}, gatewayRefs: [{name: nginx}]}`
	blogRoute = `
kind: Route
spec:
  gatewayRef: {name: nginx}
  routerRef: {name: traefik}
  hosts: [blog.phoenix.lan]
  expose: External
  backends: [{guest: {name: web, port: 8081}}]`
)

// routeStage is a stage with a gateway, a router and a backend.
type routeStage struct {
	*stage
	roots *x509.CertPool
}

func newRouteStage(t *testing.T) *routeStage {
	t.Helper()
	web := machine.NewMirror()
	address, body, sum, member := machine.TraefikRelease("")
	web.Put(address, body)
	s := &routeStage{stage: newStage(t, set{idle: true, site: pve.Options{Registry: machine.DockerHub(), Web: web.Get}}), roots: x509.NewCertPool()}
	s.run(func(o *controllers.Options) {
		o.HostServiceInterval, o.RouteInterval, o.Dial = 300*time.Millisecond, 300*time.Millisecond, s.site.DialContext
	})
	s.tlsSecret("site-tls", "*.phoenix.lan")
	s.roots.AppendCertsFromPEM(s.secretNamed("site-tls").Data["ca.crt"])
	s.guest("gate", container, addressed("10.0.7.2"))
	s.guest("router", container, addressed("10.0.7.3"))
	s.guest("web", container, addressed("10.0.7.4"))
	s.readyGuest("web")
	s.shell(s.inside(s.read("web")), "apt-get update && apt-get install -y docker.io && docker run -d --name web -e WHOAMI_NAME=one -p 8081:80 traefik/whoami:v1.10")
	nginx := s.service("nginx", gatewayService, ``)
	traefik := s.service("traefik", fmt.Sprintf(routerService, address, sum, member), ``)
	s.ready(nginx)
	s.ready(traefik)
	return s
}

// with is the same stage for a subtest.
func (s *routeStage) with(t *testing.T) *routeStage {
	c := *s
	c.stage = s.stage.with(t)
	return &c
}

// route declares a Route.
func (s *routeStage) route(name, patch string) *v1alpha1.Route {
	s.Helper()
	s.create(strings.Replace(blogRoute, "kind: Route", "kind: Route\nmetadata: {name: "+name+"}", 1), patch)
	return &v1alpha1.Route{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace}}
}

// ask asks for a host as a client outside does, over verified TLS.
func (s *routeStage) ask(host string) (string, error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return s.site.DialContext(ctx, network, "10.0.7.2:443")
		},
	}}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://"+host+"/", http.NoBody)
	if err != nil {
		return "", err
	}
	answer, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	return fmt.Sprint(answer.StatusCode, " ", string(text)), err
}

// served waits for a host to be answered by the backend.
func (s *routeStage) served(host string) {
	s.Helper()
	s.until(host+" is served", func() error {
		got, err := s.ask(host)
		if err == nil && !strings.HasPrefix(got, "200 ") {
			err = errors.New(got)
		}
		return err
	})
}

// TestRoute takes Routes from YAML to what a client outside is answered, and away again.
func TestRoute(t *testing.T) {
	t.Parallel()
	s := newRouteStage(t)
	blog := s.route("blog", ``)
	for _, part := range []struct {
		name string
		run  func(*routeStage, *v1alpha1.Route)
	}{
		{"from nothing", routeFromNothing},
		{"another host", routeMoved},
		{"a second one of the same host", routeTaken},
		{"a backend that leads back", routeLoops},
		{"the end", routeEnds},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(s.with(t), blog) }) {
			return
		}
	}
}

func routeFromNothing(s *routeStage, blog *v1alpha1.Route) {
	s.ready(blog)
	s.served("blog.phoenix.lan")
	s.says(blog, "Programmed", "True Programmed")
	s.says(blog, "CertificateMatches", "True Matches")
	s.says(blog, "BackendReachable", "True Reachable")
	if st := blog.Status; st.URL != "https://blog.phoenix.lan/" || st.Backend != "Guest/web" || st.GatewayAddress != "10.0.7.2" {
		s.Errorf("the status says %+v", st)
	}
	if got, err := s.ask("nobody.phoenix.lan"); err == nil {
		s.Errorf("a name that nobody declared is answered with %s", got)
	}
	before := s.versions([]object{blog})
	s.rest([]*machine.Machine{s.inside(s.read("gate")), s.inside(s.read("router"))}, blog)
	if after := s.versions([]object{blog}); after[0] != before[0] {
		s.Errorf("passes in sync change %s to %s", before[0], after[0])
	}
}

func routeMoved(s *routeStage, blog *v1alpha1.Route) {
	s.change(blog, `{hosts: [news.phoenix.lan, "*.apps.phoenix.lan"]}`)
	s.says(blog, "Ready", "False NoCertificate", "certificate for *.apps.phoenix.lan")
	s.served("blog.phoenix.lan") // what cannot be changes nothing
	s.change(blog, `{hosts: [news.phoenix.lan]}`)
	s.served("news.phoenix.lan")
	s.ready(blog)
	if got, err := s.ask("blog.phoenix.lan"); err == nil {
		s.Errorf("the old host is answered with %s", got)
	}
}

func routeTaken(s *routeStage, _ *v1alpha1.Route) {
	second := s.route("second", `{hosts: [news.phoenix.lan]}`)
	s.says(second, "Ready", "False HostTaken", "Route/blog, which is older, serves all paths there")
	s.change(second, `{paths: [{value: /second}]}`)
	s.ready(second)
	s.served("news.phoenix.lan")
	s.remove(second)
	s.gone(second)
	s.served("news.phoenix.lan")
}

func routeLoops(s *routeStage, _ *v1alpha1.Route) {
	round := s.route("round", `{hosts: [round.phoenix.lan], backends: [{hostService: {name: nginx, port: 443}}]}`)
	s.says(round, "Ready", "False Loop", "leads back to the gateway HostService/nginx")
	s.change(round, `{backends: [{url: "http://10.0.7.3"}]}`)
	s.says(round, "Ready", "False Loop", "leads back to the router HostService/traefik")
	s.remove(round)
	s.gone(round)
}

func routeEnds(s *routeStage, blog *v1alpha1.Route) {
	s.remove(blog)
	s.gone(blog)
	if got, err := s.ask("news.phoenix.lan"); err == nil {
		s.Errorf("a Route that is gone is answered with %s", got)
	}
	left := s.shell(s.inside(s.read("gate")), "ls /etc/nginx/phoenix/nginx/routes") + s.shell(s.inside(s.read("router")), "ls /etc/traefik/dynamic/routes")
	if strings.TrimSpace(left) != "" {
		s.Errorf("left behind is %s", left)
	}
}
