// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// The states of routers, services and middlewares.
const (
	enabled  = "enabled"
	disabled = "disabled"
	warned   = "warning"
)

// The states of servers.
const (
	up   = "UP"
	down = "DOWN"
)

// condition is what became of a thing.
type condition struct {
	Err    []string `json:"error,omitempty"`
	Status string   `json:"status,omitempty"`
}

// add notes an error; a critical one disables the thing.
func (c *condition) add(err error, critical bool) {
	if slices.Contains(c.Err, err.Error()) {
		return
	}
	c.Err = append(c.Err, err.Error())
	switch {
	case critical:
		c.Status = disabled
	case c.Status != disabled:
		c.Status = warned
	}
}

// RouterInfo is a router as it is served.
type RouterInfo struct {
	*Router
	condition
	Using []string `json:"using,omitempty"`
}

// MiddlewareInfo is a middleware as it is served.
type MiddlewareInfo struct {
	*Middleware
	condition
	UsedBy []string `json:"usedBy,omitempty"`
}

// ServiceInfo is a service as it is served.
type ServiceInfo struct {
	*Service
	condition
	UsedBy []string `json:"usedBy,omitempty"`
	servers
}

// TCPRouterInfo is a TCP router as it is served.
type TCPRouterInfo struct {
	*TCPRouter
	condition
	Using []string `json:"using,omitempty"`
}

// TCPServiceInfo is a TCP service as it is served.
type TCPServiceInfo struct {
	*TCPService
	condition
	UsedBy []string `json:"usedBy,omitempty"`
	servers
}

// TCPMiddlewareInfo is a TCP middleware as it is served.
type TCPMiddlewareInfo struct {
	*TCPMiddleware
	condition
	UsedBy []string `json:"usedBy,omitempty"`
}

// servers are the states of a service's servers.
type servers struct {
	mu     sync.Mutex
	status map[string]string
}

func (s *servers) set(server, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status == nil {
		s.status = map[string]string{}
	}
	s.status[server] = status
}

func (s *servers) all() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.status)
}

// runtime is what is served.
type runtime struct {
	routers        map[string]*RouterInfo
	middlewares    map[string]*MiddlewareInfo
	services       map[string]*ServiceInfo
	transports     map[string]*serversTransport
	tcpRouters     map[string]*TCPRouterInfo
	tcpMiddlewares map[string]*TCPMiddlewareInfo
	tcpServices    map[string]*TCPServiceInfo
	tcpTransports  map[string]*tcpTransport
	tls            *tlsConfiguration
}

// newRuntime puts what files say beside what is internal, with names that tell which is which.
func newRuntime(s *Static, files *configuration) *runtime {
	r := &runtime{
		routers: map[string]*RouterInfo{}, middlewares: map[string]*MiddlewareInfo{}, services: map[string]*ServiceInfo{}, transports: map[string]*serversTransport{},
		tcpRouters: map[string]*TCPRouterInfo{}, tcpMiddlewares: map[string]*TCPMiddlewareInfo{}, tcpServices: map[string]*TCPServiceInfo{}, tcpTransports: map[string]*tcpTransport{},
		tls: files.TLS,
	}
	for provider, c := range map[string]*configuration{"file": files, "internal": s.internal()} {
		r.addHTTP(s, "@"+provider, c.HTTP)
		r.addTCP(s, "@"+provider, c.TCP)
	}
	return r
}

var enabledYet = condition{Status: enabled}

func (r *runtime) addHTTP(s *Static, at string, c *httpConfiguration) {
	for name, router := range c.Routers {
		r.addRouter(s, name+at, router)
	}
	for name, middleware := range c.Middlewares {
		r.middlewares[name+at] = &MiddlewareInfo{Middleware: middleware, condition: enabledYet}
	}
	for name, service := range c.Services {
		r.services[name+at] = &ServiceInfo{Service: service, condition: enabledYet}
	}
	for name, transport := range c.ServersTransports {
		r.transports[name+at] = transport
	}
}

func (r *runtime) addTCP(s *Static, at string, c *tcpConfiguration) {
	for name, router := range c.Routers {
		one := *router
		if len(one.EntryPoints) == 0 {
			one.EntryPoints = s.defaults()
		}
		r.tcpRouters[name+at] = &TCPRouterInfo{TCPRouter: &one, condition: enabledYet}
	}
	for name, middleware := range c.Middlewares {
		r.tcpMiddlewares[name+at] = &TCPMiddlewareInfo{TCPMiddleware: middleware, condition: enabledYet}
	}
	for name, service := range c.Services {
		r.tcpServices[name+at] = &TCPServiceInfo{TCPService: service, condition: enabledYet}
	}
	for name, transport := range c.ServersTransports {
		r.tcpTransports[name+at] = transport
	}
}

// addRouter adds a router, once for each entry point that has something to add to it.
func (r *runtime) addRouter(s *Static, name string, router *Router) {
	one := *router
	if len(one.EntryPoints) == 0 && one.ParentRefs == nil {
		one.EntryPoints = s.defaults()
	}
	one.Observability = one.Observability.complete()
	points := one.EntryPoints
	one.EntryPoints = nil
	for _, point := range points {
		own := s.EntryPoints[point].change(point, one)
		if own == nil {
			one.EntryPoints = append(one.EntryPoints, point)
			continue
		}
		as := name
		if len(points) > 1 {
			as = point + "-" + name
		}
		r.routers[as] = &RouterInfo{Router: own, condition: enabledYet}
	}
	if len(one.EntryPoints) > 0 || len(points) == 0 {
		r.routers[name] = &RouterInfo{Router: &one, condition: enabledYet}
	}
}

// complete is what a router has its requests observed by, with what it does not say.
func (o *observability) complete() *observability {
	out := observability{TraceVerbosity: "minimal"}
	if o != nil {
		out = *o
	}
	yes := true
	for _, flag := range []**bool{&out.AccessLogs, &out.Metrics, &out.Tracing} {
		if *flag == nil {
			*flag = &yes
		}
	}
	if out.TraceVerbosity == "" {
		out.TraceVerbosity = "minimal"
	}
	return &out
}

// change is a router with what an entry point adds to it; nil: it adds nothing.
func (e *EntryPoint) change(name string, router Router) *Router {
	if e == nil || len(e.HTTP.Middlewares) == 0 && e.HTTP.TLS == nil && e.Observability == nil && e.HTTP.EncodedCharacters == nil {
		return nil
	}
	router.EntryPoints = []string{name}
	router.Middlewares = append(slices.Clone(e.HTTP.Middlewares), router.Middlewares...)
	if router.TLS == nil {
		router.TLS = e.HTTP.TLS
	}
	return &router
}

// noteUses tells services and middlewares who uses them.
func (r *runtime) noteUses() {
	for _, name := range sorted(keys(r.routers)) {
		router := r.routers[name]
		for _, middleware := range router.Middlewares {
			if m := r.middlewares[beside(name, middleware)]; m != nil {
				m.UsedBy = append(m.UsedBy, name)
			}
		}
		if s := r.services[beside(name, router.Service)]; s != nil {
			s.UsedBy = append(s.UsedBy, name)
		}
	}
	for _, name := range sorted(keys(r.tcpRouters)) {
		if s := r.tcpServices[beside(name, r.tcpRouters[name].Service)]; s != nil {
			s.UsedBy = append(s.UsedBy, name)
		}
	}
}

// beside is a name as one with a provider means it: of the same provider, unless it says another.
func beside(one, name string) string {
	if strings.Contains(name, "@") {
		return name
	}
	_, provider, _ := strings.Cut(one, "@")
	return name + "@" + provider
}

// recursion refuses what refers to itself.
func recursion(path []string, thing, name string) ([]string, error) {
	next := append(slices.Clone(path), thing+":"+name)
	if slices.Contains(path, thing+":"+name) {
		return nil, fmt.Errorf("could not instantiate %s %s: recursion detected in %s", thing, name, strings.Join(next, "->"))
	}
	return next, nil
}

func keys[V any](m map[string]V) []string { return slices.Collect(maps.Keys(m)) }

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
