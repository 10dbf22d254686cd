// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/pires/go-proxyproto"
)

// tcpHandler serves a connection, and closes it.
type tcpHandler func(ctx context.Context, c net.Conn)

type tcpRoute struct {
	fits     tcpTest
	all      bool
	priority int
	handler  tcpHandler
}

// tcpMux is the TCP routes of an entry point: of connections with TLS, and of others.
type tcpMux struct {
	plain, secure []tcpRoute
}

// match is the first route that fits; nil: there is none.
func match(routes []tcpRoute, c connection) *tcpRoute {
	for i := range routes {
		if routes[i].fits(c) {
			return &routes[i]
		}
	}
	return nil
}

// tcpByEntryPoint are the names of TCP routers by their entry points.
func (b *builder) tcpByEntryPoint(points []string) map[string][]string {
	out := map[string][]string{}
	for _, name := range sorted(keys(b.tcpRouters)) {
		router := b.tcpRouters[name]
		router.Using = b.using(&router.condition, router.EntryPoints, points, false)
		for _, point := range router.Using {
			out[point] = append(out[point], name)
		}
	}
	return out
}

// tcpMux makes the routes of an entry point.
func (b *builder) tcpMux(names []string) *tcpMux {
	m := &tcpMux{}
	for _, name := range names {
		router := b.tcpRouters[name]
		if router.Priority == 0 {
			router.Priority = tcpPriority(router.Rule)
		}
		one, err := b.tcpRoute(name, router)
		if err != nil {
			router.add(err, true)
			b.server.log("ERR", fmt.Sprintf("error=%q routerName=%s", err, name))
			continue
		}
		if router.TLS == nil {
			m.plain = append(m.plain, one)
		} else {
			m.secure = append(m.secure, one)
		}
	}
	for _, routes := range [][]tcpRoute{m.plain, m.secure} {
		slices.SortStableFunc(routes, func(a, b tcpRoute) int { return b.priority - a.priority })
	}
	return m
}

// tcpRoute makes one route, in Traefik's words when it cannot.
func (b *builder) tcpRoute(name string, router *TCPRouterInfo) (tcpRoute, error) {
	var none tcpRoute
	if err := judgeTCP(router); err != nil {
		return none, err
	}
	if router.Priority > userPriority {
		return none, fmt.Errorf("the router priority %d exceeds the max user-defined priority %d", router.Priority, userPriority)
	}
	if words, rejected := b.server.o.Faults.words(name); rejected {
		return none, errors.New(words)
	}
	var middlewares []string
	for _, middleware := range router.Middlewares {
		middlewares = append(middlewares, beside(name, middleware))
	}
	router.Middlewares = middlewares
	handler, err := b.tcpService(beside(name, router.Service), nil)
	if err != nil {
		return none, err
	}
	if handler, err = b.tcpChain(middlewares, handler); err != nil {
		return none, err
	}
	if router.TLS != nil && !router.TLS.Passthrough {
		handler = b.server.own.terminate(handler)
	}
	fits, all, err := parseTCPRule(router.Rule)
	return tcpRoute{fits: fits, all: all, priority: router.Priority, handler: handler}, err
}

// judgeTCP refuses what cannot be a TCP router.
func judgeTCP(router *TCPRouterInfo) error {
	switch {
	case router.Service == "":
		return errors.New("the service is missing on the router")
	case router.Rule == "":
		return errors.New("router has no rule")
	}
	parsed, err := parseRule(router.Rule, tcpMatchers)
	if err != nil {
		return fmt.Errorf("invalid rule: %q , %w", router.Rule, err)
	}
	if hosts := parsed.of("HostSNI"); len(hosts) > 0 && router.TLS == nil && hosts[0] != "*" {
		return fmt.Errorf("invalid rule: %q , has HostSNI matcher, but no TLS on router", router.Rule)
	}
	return nil
}

// tcpChain puts middlewares before a handler.
func (b *builder) tcpChain(names []string, last tcpHandler) (tcpHandler, error) {
	next := last
	for _, name := range slices.Backward(names) {
		info := b.tcpMiddlewares[name]
		if info == nil {
			return nil, fmt.Errorf("middleware %q does not exist", name)
		}
		list := info.IPAllowList
		if list == nil {
			list = info.IPWhiteList
		}
		if list == nil {
			continue // it lets everybody pass
		}
		if len(list.SourceRange) == 0 {
			err := errors.New("sourceRange is empty, IPAllowLister not created")
			info.add(err, true)
			return nil, err
		}
		allowed, err := newIPList(list.SourceRange)
		if err != nil {
			err = fmt.Errorf("cannot parse CIDRs %s: %w", list.SourceRange, err)
			info.add(err, true)
			return nil, err
		}
		after := next
		next = func(ctx context.Context, c net.Conn) {
			if !allowed.contains(hostOf(c.RemoteAddr().String())) {
				_ = c.Close() // nothing was written
				return
			}
			after(ctx, c)
		}
	}
	return next, nil
}

// tcpService is the handler of a service. path are those that led to it.
func (b *builder) tcpService(name string, path []string) (tcpHandler, error) {
	info := b.tcpServices[name]
	if info == nil {
		return nil, fmt.Errorf("the service %q does not exist", name)
	}
	h, err := b.tcpServiceOf(name, info, path)
	if err != nil {
		info.add(err, true)
	}
	return h, err
}

func (b *builder) tcpServiceOf(name string, info *TCPServiceInfo, path []string) (tcpHandler, error) {
	path, err := recursion(path, "service", name)
	switch {
	case err != nil:
		return nil, err
	case info.LoadBalancer != nil && info.Weighted != nil:
		return nil, multiTypes("service")
	case info.LoadBalancer != nil:
		return b.tcpServers(name, info)
	case info.Weighted != nil:
		return b.tcpWeighted(name, info.Weighted, path)
	}
	return nil, fmt.Errorf("the service %q does not have any type defined", name)
}

func (b *builder) tcpWeighted(name string, conf *tcpWeighted, path []string) (tcpHandler, error) {
	turns := &turns[tcpHandler]{}
	for _, one := range conf.Services {
		h, err := b.tcpService(beside(name, one.Name), path)
		if err != nil {
			return nil, err
		}
		turns.add(h, one.Weight)
	}
	return takeTurns(turns), nil
}

// tcpServers connects to servers in turn.
func (b *builder) tcpServers(name string, info *TCPServiceInfo) (tcpHandler, error) {
	conf := info.LoadBalancer
	dial, err := b.tcpDialing(name, conf)
	if err != nil && len(conf.Servers) > 0 {
		return nil, err
	}
	turns := &turns[tcpHandler]{}
	for _, server := range conf.Servers {
		if _, _, err := net.SplitHostPort(server.Address); err != nil {
			b.server.log("ERR", fmt.Sprintf("Failed to split host port error=%q serverAddress=%s serviceName=%s", err, server.Address, name))
			continue
		}
		turns.add(b.server.tcpProxy(server.Address, dial), nil)
		info.set(server.Address, up)
	}
	return takeTurns(turns), nil
}

// tcpDialing is how the servers of a service are connected to.
type tcpDialing struct {
	proxyProtocol int
	timeout       time.Duration
	termination   time.Duration
}

func (b *builder) tcpDialing(service string, conf *tcpLoadBalancer) (tcpDialing, error) {
	name := "default@internal"
	if conf.ServersTransport != "" {
		conf.ServersTransport = beside(service, conf.ServersTransport)
		name = conf.ServersTransport
	}
	transport := b.tcpTransports[name]
	if transport == nil {
		return tcpDialing{}, fmt.Errorf("no transport configuration found for %q", name)
	}
	d := tcpDialing{timeout: time.Duration(transport.DialTimeout)}
	proxy := conf.ProxyProtocol
	if conf.TerminationDelay != nil {
		d.termination = time.Duration(*conf.TerminationDelay)
	}
	if conf.ServersTransport != "" {
		proxy, d.termination = transport.ProxyProtocol, time.Duration(transport.TerminationDelay)
	}
	if proxy != nil {
		if d.proxyProtocol = proxy.Version; proxy.Version < 1 || proxy.Version > 2 {
			return d, fmt.Errorf("unknown proxyProtocol version: %d", proxy.Version)
		}
	}
	return d, nil
}

// turns gives each of its children its share.
type turns[T any] struct {
	balancer
	of map[string]T
}

func (t *turns[T]) add(one T, weight *int) {
	if t.of == nil {
		t.of = map[string]T{}
	}
	name := fmt.Sprint(len(t.of))
	t.of[name] = one
	t.balancer.add(name, nil, weight)
}

func takeTurns(t *turns[tcpHandler]) tcpHandler {
	return func(ctx context.Context, c net.Conn) {
		next := t.next()
		if next == nil {
			_ = c.Close() // nobody answers
			return
		}
		t.of[next.name](ctx, c)
	}
}

// tcpProxy connects to a server, and passes on what either end says.
func (s *Server) tcpProxy(address string, how tcpDialing) tcpHandler {
	return func(ctx context.Context, c net.Conn) {
		defer func() { _ = c.Close() }() // both ends are done
		short, cancel := ctx, context.CancelFunc(func() {})
		if how.timeout > 0 {
			short, cancel = context.WithTimeout(ctx, how.timeout)
		}
		server, err := s.o.Dial(short, "tcp", address)
		cancel()
		if err != nil {
			s.log("ERR", fmt.Sprintf("Error while dialing backend error=%q", err))
			return
		}
		defer func() { _ = server.Close() }() // both ends are done
		if how.proxyProtocol > 0 {
			if _, err := proxyproto.HeaderProxyFromAddrs(byte(how.proxyProtocol), c.RemoteAddr(), c.LocalAddr()).WriteTo(server); err != nil {
				return
			}
		}
		splice(c, server, how.termination)
	}
}

// splice passes on what either end says until one has ended, and for a while longer.
func splice(a, b net.Conn, delay time.Duration) {
	ended := make(chan struct{}, 2)
	pass := func(to, from net.Conn) {
		copyAll(to, from)
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // it may be gone
		}
		ended <- struct{}{}
	}
	go pass(a, b)
	go pass(b, a)
	<-ended
	if delay >= 0 {
		soon := time.Now().Add(delay)
		_ = a.SetReadDeadline(soon) // it may be gone
		_ = b.SetReadDeadline(soon) // it may be gone
	}
	<-ended
}

func copyAll(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wants tells whether there is an HTTP route with TLS for a name, other than by everything.
func (s *served) wants(point, name string) bool { return s.hosts[point][strings.ToLower(name)] }
