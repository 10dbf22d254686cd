// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// served is a configuration that is served.
type served struct {
	*runtime
	http, https map[string]http.Handler // by entry point
	tcp         map[string]*tcpMux
	hosts       map[string]map[string]bool // by entry point: those of HTTP routers with TLS; * for those without a host
	cancel      context.CancelFunc
	transports  *transports
}

// end ends what goes on beside requests.
func (s *served) end() {
	s.cancel()
	s.transports.close()
}

// builder makes handlers of a configuration.
type builder struct {
	*runtime
	server     *Server
	transports *transports
	handlers   map[string]http.Handler // of routers
	balancers  map[string]http.Handler // of services
	checks     []func(context.Context)
}

// build makes what is served of what files say.
func (s *Server) build(files *configuration) *served {
	r := newRuntime(s.static, files)
	b := &builder{runtime: r, server: s, handlers: map[string]http.Handler{}, balancers: map[string]http.Handler{}}
	b.transports = s.newTransports(r)
	out := &served{runtime: r, transports: b.transports, http: map[string]http.Handler{}, https: map[string]http.Handler{}, tcp: map[string]*tcpMux{}, hosts: map[string]map[string]bool{}}
	b.judgeTree()
	points := keys(s.points)
	plain, secure := b.byEntryPoint(points, false), b.byEntryPoint(points, true)
	for _, point := range points {
		out.http[point] = b.mux(point, plain[point])
		out.https[point] = b.mux(point, secure[point])
		out.hosts[point] = b.tlsHosts(secure[point])
	}
	tcp := b.tcpByEntryPoint(points)
	for _, point := range points {
		out.tcp[point] = b.tcpMux(tcp[point])
	}
	r.noteUses()
	s.own.use(r.tls)
	ctx, cancel := context.WithCancel(s.ctx)
	out.cancel = cancel
	for _, check := range b.checks {
		s.running.Go(func() { check(ctx) })
	}
	return out
}

// judgeTree refuses routers that lead nowhere. Routers below others are not simulated.
func (b *builder) judgeTree() {
	for _, router := range b.routers {
		switch {
		case len(router.ParentRefs) > 0:
			router.add(errors.New("router is not reachable"), true)
		case router.Service == "":
			router.add(errors.New("router has no service and no child routers"), true)
		}
	}
}

// byEntryPoint are the names of routers with TLS, or of those without, by their entry points.
func (b *builder) byEntryPoint(points []string, tls bool) map[string][]string {
	out := map[string][]string{}
	for _, name := range sorted(keys(b.routers)) {
		router := b.routers[name]
		if tls != (router.TLS != nil) {
			continue
		}
		router.Using = b.using(&router.condition, router.EntryPoints, points, len(router.ParentRefs) > 0)
		for _, point := range router.Using {
			out[point] = append(out[point], name)
		}
	}
	return out
}

// using are those of the entry points that are there.
func (b *builder) using(c *condition, named, points []string, child bool) []string {
	var out []string
	for _, point := range named {
		if !slices.Contains(points, point) {
			c.add(fmt.Errorf("entryPoint %q doesn't exist", point), false)
			continue
		}
		if !slices.Contains(out, point) {
			out = append(out, point)
		}
	}
	if len(out) == 0 && !child {
		c.add(errors.New("no valid entryPoint for this router"), true)
	}
	return sorted(out)
}

// route is a rule with what it leads to.
type route struct {
	fits     httpTest
	handler  http.Handler
	priority int
	name     string
}

// mux answers at an entry point by the rules of routers.
func (b *builder) mux(point string, names []string) http.Handler {
	var routes []route
	for _, name := range names {
		router := b.routers[name]
		if router.Priority == 0 {
			router.Priority = len(router.Rule)
		}
		one, err := b.route(name, router)
		if err != nil {
			router.add(err, true)
			b.server.log("ERR", fmt.Sprintf("error=%q entryPointName=%s routerName=%s", err, point, name))
			continue
		}
		routes = append(routes, one)
	}
	slices.SortStableFunc(routes, func(a, b route) int { return b.priority - a.priority })
	return &mux{server: b.server, point: point, routes: routes}
}

func (b *builder) route(name string, router *RouterInfo) (route, error) {
	internal := strings.HasSuffix(name, "@internal")
	if router.Priority > userPriority && !internal {
		return route{}, fmt.Errorf("the router priority %d exceeds the max user-defined priority %d", router.Priority, userPriority)
	}
	if len(router.ParentRefs) > 0 {
		return route{}, errors.New("router is not reachable")
	}
	if words, rejected := b.server.o.Faults.words(name); rejected {
		return route{}, errors.New(words)
	}
	handler, err := b.routerHandler(name, router)
	if err != nil {
		return route{}, err
	}
	fits, err := parseHTTPRule(router.Rule)
	if err != nil {
		return route{}, err
	}
	return route{fits: fits, handler: handler, priority: router.Priority, name: name}, nil
}

// routerHandler is a router's service behind its middlewares.
func (b *builder) routerHandler(name string, router *RouterInfo) (http.Handler, error) {
	if h := b.handlers[name]; h != nil {
		return h, nil
	}
	if err := b.judgeTLS(name, router.TLS); err != nil {
		return nil, err
	}
	var middlewares []string
	for _, middleware := range router.Middlewares {
		middlewares = append(middlewares, beside(name, middleware))
	}
	router.Middlewares = middlewares
	if router.Service == "" {
		return nil, errors.New("router must have either a service or child routers")
	}
	service, err := b.service(beside(name, router.Service), nil)
	if err != nil {
		return nil, err
	}
	h, err := b.chain(middlewares, nil, service)
	if err != nil {
		return nil, err
	}
	b.handlers[name] = h
	return h, nil
}

func (b *builder) judgeTLS(name string, conf *routerTLS) error {
	if conf == nil || conf.Options == "" || conf.Options == "default" {
		return nil
	}
	options := beside(name, conf.Options)
	if bare, ok := strings.CutSuffix(options, "@file"); !ok || b.tls.Options[bare] == nil {
		return fmt.Errorf("building router handler: unknown TLS options: %s", options)
	}
	return nil
}

// tlsHosts are the names by which HTTP routers with TLS are known before the handshake.
func (b *builder) tlsHosts(names []string) map[string]bool {
	out := map[string]bool{}
	for _, name := range names {
		router := b.routers[name]
		parsed, err := parseRule(router.Rule, httpMatchers)
		if err != nil {
			router.add(fmt.Errorf("invalid rule %s, error: error while parsing rule %s: %w", router.Rule, router.Rule, err), true)
			continue
		}
		hosts := parsed.of("Host")
		for _, host := range hosts {
			out[host] = true
		}
		if len(hosts) == 0 {
			out["*"] = true
		}
	}
	return out
}

// mux is the routes of an entry point.
type mux struct {
	server *Server
	point  string
	routes []route
}

// ServeHTTP implements http.Handler.
func (m *mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, err := routingPath(r.URL)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	seen := &request{Request: r, host: canonicalHost(r.Host), path: path}
	for _, one := range m.routes {
		if one.fits(seen) {
			m.server.serveRoute(m.point, one, w, r)
			return
		}
	}
	m.server.serveRoute(m.point, route{handler: http.NotFoundHandler()}, w, r)
}

// canonicalHost is a Host header as rules see it.
func canonicalHost(host string) string {
	if name, found := cutLast(host, ":"); found && !strings.HasSuffix(host, "]") {
		host = name
	}
	return strings.ToLower(strings.TrimSpace(strings.Trim(host, "[]")))
}
