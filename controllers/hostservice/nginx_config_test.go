// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/nginx"
)

// routerFor is a traefik service in a Guest of its own name, for gateways.
func routerFor(name string, gateways ...string) v1alpha1.HostService {
	s := v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: "home", Name: name}}
	s.Spec.GuestRef = &v1alpha1.LocalReference{Name: name}
	s.Spec.Traefik = &v1alpha1.Traefik{}
	for _, g := range gateways {
		s.Spec.Traefik.GatewayRefs = append(s.Spec.Traefik.GatewayRefs, v1alpha1.LocalReference{Name: g})
	}
	return s
}

func TestRoutersOfAGateway(t *testing.T) {
	static := testGuest("static", "10.0.0.99")
	static.Spec.Networks = []v1alpha1.Network{{IPv4: &v1alpha1.IPv4{Address: "10.0.0.12/24"}}}
	guests := []v1alpha1.Guest{*static, *testGuest("moves", "fd00::7", "10.0.0.7"), *testGuest("young")}
	ports := routerFor("moves", "other", "gate")
	ports.Spec.Traefik.WebPort, ports.Spec.Traefik.WebSecurePort = 8080, 8443
	going := routerFor("static", "gate")
	going.Name, going.DeletionTimestamp = "going", &metav1.Time{Time: noon}
	got := routersOf(testGate(), guests, []v1alpha1.HostService{
		routerFor("static", "gate"), ports, routerFor("young", "gate"), routerFor("nowhere", "gate"), routerFor("elsewhere", "other"), going, *testGate(),
	})
	want := routers{
		upstreams: []nginx.Upstream{
			{Router: "static", Address: "10.0.0.12", WebPort: 80, SecurePort: 443}, {Router: "moves", Address: "fd00::7", WebPort: 8080, SecurePort: 8443},
		},
		notes: []string{"HostService/young, whose Guest has no address yet", "HostService/nowhere, whose Guest has no address yet"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(routers{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestConfigOfAGateway(t *testing.T) {
	plain := nginx.Config{
		About: "HostService home/gate", HTTPPort: 80, HTTPSPort: 443, Folder: "/etc/nginx/phoenix/gate", Inside: defaultInside,
		Proxy: nginx.Proxy{ConnectTimeout: 5 * time.Second, IdleTimeout: time.Hour},
	}
	off, on, most := false, true, int32(64)
	span := func(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
	hsts := time.Hour
	for name, c := range map[string]struct {
		reason string
		spec   v1alpha1.Nginx
		want   func(*nginx.Config)
	}{
		"unset":    {"everything streams, and no header is added", v1alpha1.Nginx{}, func(*nginx.Config) {}},
		"networks": {"they take the place of the default", v1alpha1.Nginx{InternalNetworks: []string{"10.9.0.0/16"}}, func(c *nginx.Config) { c.Inside = []string{"10.9.0.0/16"} }},
		"proxy": {
			"what is unset has its default",
			v1alpha1.Nginx{Proxy: &v1alpha1.NginxProxy{MaxBodySizeMiB: &most, IdleTimeout: span(time.Minute), Buffering: &on}},
			func(c *nginx.Config) {
				c.Proxy = nginx.Proxy{MaxBodyMiB: 64, ConnectTimeout: 5 * time.Second, IdleTimeout: time.Minute, Buffering: true}
			},
		},
		"headers": {"one is on by itself", v1alpha1.Nginx{SecurityHeaders: &v1alpha1.NginxSecurityHeaders{}}, func(c *nginx.Config) { c.Headers.Nosniff = true }},
		"other headers": {
			"each as it is set",
			v1alpha1.Nginx{SecurityHeaders: &v1alpha1.NginxSecurityHeaders{HSTS: span(hsts), ContentTypeNosniff: &off, FrameOptions: "DENY", ReferrerPolicy: "no-referrer"}},
			func(c *nginx.Config) {
				c.Headers = nginx.Headers{HSTS: &hsts, FrameOptions: "DENY", ReferrerPolicy: "no-referrer"}
			},
		},
		"TCP": {
			"connections end when nothing is said for long", v1alpha1.Nginx{PassThrough: &v1alpha1.NginxPassThrough{}},
			func(c *nginx.Config) { c.PassThrough = &nginx.PassThrough{IdleTimeout: 10 * time.Minute} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, want := testGate(), plain
			s.Spec.Nginx = &c.spec
			c.want(&want)
			if diff := cmp.Diff(want, nginxConfig(s, routers{})); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}
