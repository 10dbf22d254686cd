// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/nginx"
)

const (
	defaultConnect     = 5 * time.Second
	defaultIdle        = time.Hour
	defaultPassThrough = 10 * time.Minute
)

// defaultInside are the networks that may come to Routes that are Internal: the private ones, and loopback.
var defaultInside = []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "127.0.0.0/8", "::1/128"}

// routers are those that a gateway may pass requests on to. notes name those that have no address yet.
type routers struct {
	upstreams []nginx.Upstream
	notes     []string
}

// designGateway reads the Secrets of an nginx service's servers, and the routers that name it, and makes its design.
func (k *Kind) designGateway(ctx context.Context, s *v1alpha1.HostService, t target, guests []v1alpha1.Guest, older []v1alpha1.HostService) (design, error) {
	pairs, err := k.pairsOf(ctx, s)
	if err != nil {
		return design{}, err
	}
	var all v1alpha1.HostServiceList
	if err := k.Reader.List(ctx, &all, client.InNamespace(s.Namespace)); err != nil {
		return design{}, fmt.Errorf("list HostServices: %w", err)
	}
	slices.SortFunc(all.Items, func(a, b v1alpha1.HostService) int { return byAge(&a, &b) })
	return designNginx(s, t, pairs, routersOf(s, guests, all.Items), older)
}

// routersOf are the traefik services that take requests from a gateway.
func routersOf(s *v1alpha1.HostService, guests []v1alpha1.Guest, services []v1alpha1.HostService) routers {
	var r routers
	for i := range services {
		o := &services[i]
		if o.Spec.Traefik == nil || !o.DeletionTimestamp.IsZero() || !slices.Contains(o.Spec.Traefik.GatewayRefs, v1alpha1.LocalReference{Name: s.Name}) {
			continue
		}
		address := ""
		if guest := guestNamed(guests, guestOf(o)); guest != nil {
			address = trafficAddress(guest)
		}
		if len(ipsOf([]string{address})) == 0 {
			r.notes = append(r.notes, fmt.Sprintf("HostService/%s, whose Guest has no address yet", o.Name))
			continue
		}
		web, secure := traefikPorts(o.Spec.Traefik)
		r.upstreams = append(r.upstreams, nginx.Upstream{Router: o.Name, Address: address, WebPort: web, SecurePort: secure})
	}
	return r
}

// nginxConfig is the configuration of a gateway, without its servers.
func nginxConfig(s *v1alpha1.HostService, to routers) nginx.Config {
	spec := s.Spec.Nginx
	http, https := nginxPorts(spec)
	config := nginx.Config{
		About: about(s), HTTPPort: http, HTTPSPort: https, Folder: nginx.Folder(s.Name), Upstreams: to.upstreams, Inside: spec.InternalNetworks,
		Proxy: nginx.Proxy{ConnectTimeout: defaultConnect, IdleTimeout: defaultIdle},
	}
	if len(config.Inside) == 0 {
		config.Inside = defaultInside
	}
	if p := spec.Proxy; p != nil {
		config.Proxy = nginx.Proxy{
			MaxBodyMiB: number(p.MaxBodySizeMiB), ConnectTimeout: spanOf(p.ConnectTimeout, defaultConnect), IdleTimeout: spanOf(p.IdleTimeout, defaultIdle),
			Buffering: isTrue(p.Buffering, false),
		}
	}
	if h := spec.SecurityHeaders; h != nil {
		config.Headers = nginx.Headers{Nosniff: isTrue(h.ContentTypeNosniff, true), FrameOptions: h.FrameOptions, ReferrerPolicy: h.ReferrerPolicy}
		if h.HSTS != nil {
			config.Headers.HSTS = &h.HSTS.Duration
		}
	}
	if p := spec.PassThrough; p != nil {
		config.PassThrough = &nginx.PassThrough{IdleTimeout: spanOf(p.IdleTimeout, defaultPassThrough)}
	}
	return config
}

// spanOf reads an optional time.
func spanOf(d *metav1.Duration, unset time.Duration) time.Duration {
	if d == nil {
		return unset
	}
	return d.Duration
}
