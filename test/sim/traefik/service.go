// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// service is the handler of a service. path are those that led to it.
func (b *builder) service(name string, path []string) (http.Handler, error) {
	if h := b.balancers[name]; h != nil {
		return h, nil
	}
	if h := b.server.internalService(name); h != nil {
		return h, nil
	}
	info := b.services[name]
	if info == nil {
		return nil, fmt.Errorf("the service %q does not exist", name)
	}
	if info.Status == disabled {
		return nil, errors.New(strings.Join(info.Err, ", "))
	}
	h, err := b.serviceOf(name, info, path)
	if err != nil {
		info.add(err, true)
		return nil, err
	}
	b.balancers[name] = h
	return h, nil
}

func (b *builder) serviceOf(name string, info *ServiceInfo, path []string) (http.Handler, error) {
	if len(info.kinds()) > 1 {
		return nil, multiTypes("service")
	}
	path, err := recursion(path, "service", name)
	if err != nil {
		return nil, err
	}
	switch {
	case info.LoadBalancer != nil:
		return b.loadBalancer(name, info)
	case info.Weighted != nil:
		return b.weighted(name, info.Weighted, path)
	case info.Failover != nil:
		return b.failover(name, info.Failover, path)
	case info.Mirroring != nil, info.HighestRandomWeight != nil:
		return nil, fmt.Errorf("services of this type are not simulated: %s", name)
	}
	return nil, fmt.Errorf("the service %q does not have any type defined", name)
}

// kinds are the types that a service has.
func (s *Service) kinds() []string {
	var out []string
	for name, is := range map[string]bool{
		"loadbalancer": s.LoadBalancer != nil, "weighted": s.Weighted != nil, "mirroring": s.Mirroring != nil, "failover": s.Failover != nil, "highestrandomweight": s.HighestRandomWeight != nil,
	} {
		if is {
			out = append(out, name)
		}
	}
	return sorted(out)
}

// loadBalancer is a service of servers.
func (b *builder) loadBalancer(name string, info *ServiceInfo) (http.Handler, error) {
	conf := info.LoadBalancer
	if conf.ServersTransport != "" {
		conf.ServersTransport = beside(name, conf.ServersTransport)
	}
	switch conf.Strategy {
	case "wrr", "p2c", "leasttime", "hrw", "": // they all end up with servers taking turns here
	default:
		return nil, fmt.Errorf("unsupported load-balancer strategy %q", conf.Strategy)
	}
	lb := newBalancer(conf.Sticky, name, conf.HealthCheck != nil)
	targets := map[string]*url.URL{}
	for _, server := range conf.Servers {
		target, err := url.Parse(server.URL)
		if err != nil {
			return nil, fmt.Errorf("error parsing server URL %s: %w", server.URL, err)
		}
		transport, err := b.transports.get(conf.ServersTransport)
		if err != nil {
			return nil, fmt.Errorf("error building proxy for server URL %s: getting RoundTripper: %w", server.URL, err)
		}
		proxy := b.server.newProxy(name, target, conf, server.PreservePath, transport)
		if conf.PassiveHealthCheck != nil {
			proxy = passively(b.server.ctx, proxy, conf.PassiveHealthCheck, lb, server.URL, conf.HealthCheck != nil)
		}
		lb.add(server.URL, proxy, server.Weight)
		info.set(target.String(), up)
		targets[server.URL] = target
	}
	if conf.HealthCheck != nil {
		transport, err := b.transports.get(conf.ServersTransport)
		if err != nil {
			return nil, fmt.Errorf("getting RoundTripper: %w", err)
		}
		checker := newChecker(b.server, name, conf.HealthCheck, lb, info, transport)
		b.checks = append(b.checks, checker.run(targets)...)
	}
	return lb, nil
}

// weighted is a service of services.
func (b *builder) weighted(name string, conf *Weighted, path []string) (http.Handler, error) {
	lb := newBalancer(conf.Sticky, name, conf.HealthCheck != nil)
	for _, one := range conf.Services {
		child, err := b.service(beside(name, one.Name), path)
		if err != nil {
			return nil, fmt.Errorf("building HTTP service %q: %w", one.Name, err)
		}
		lb.add(one.Name, child, one.Weight)
		if conf.HealthCheck == nil {
			continue
		}
		below, ok := child.(*balancer)
		if !ok {
			return nil, fmt.Errorf("child service %v of %v not a healthcheck.StatusUpdater (%T)", one.Name, name, child)
		}
		if err := below.tell(func(up bool) { lb.set(one.Name, up) }); err != nil {
			return nil, fmt.Errorf("cannot register %v as updater for %v: %w", one.Name, name, err)
		}
	}
	return lb, nil
}

// failover is a service with another one in its place when it is down.
func (b *builder) failover(name string, conf *failover, path []string) (http.Handler, error) {
	first, err := b.service(beside(name, conf.Service), path)
	if err != nil {
		return nil, err
	}
	second, err := b.service(beside(name, conf.Fallback), path)
	if err != nil {
		return nil, err
	}
	below, ok := first.(*balancer)
	if !ok || !below.watched {
		return nil, fmt.Errorf("cannot register %v as updater for %v: healthCheck not enabled in config for this WRR service", conf.Service, name)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if below.alive() {
			first.ServeHTTP(w, r)
			return
		}
		second.ServeHTTP(w, r)
	}), nil
}
