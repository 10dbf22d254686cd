// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"math"
	"net"
	"regexp"
	"strings"
)

// internalEntryPoint is where the API, ping and metrics are, unless told otherwise.
const internalEntryPoint = "traefik"

// The priorities that are Traefik's own, and the highest that others may have.
const (
	topPriority  = math.MaxInt
	userPriority = math.MaxInt - 1000
)

var (
	basePath = regexp.MustCompile(`^/[a-zA-Z0-9/_.:~-]*$`)
	onlyPort = regexp.MustCompile(`^:(\d+)$`)
	notPlain = regexp.MustCompile(`[^a-zA-Z0-9]+`)
)

// internal is the configuration that follows from the static one.
func (s *Static) internal() *configuration {
	c := newConfiguration()
	c.HTTP.Services["noop"] = &Service{}
	if s.API != nil {
		s.internalAPI(c)
	}
	if s.Ping != nil {
		if !s.Ping.ManualRouting {
			c.HTTP.Routers["ping"] = internalRouter(s.Ping.EntryPoint, "ping@internal", "PathPrefix(`/ping`)", topPriority)
		}
		c.HTTP.Services["ping"] = &Service{}
	}
	if p := s.prometheus(); p != nil {
		if !p.ManualRouting {
			c.HTTP.Routers["prometheus"] = internalRouter(p.EntryPoint, "prometheus@internal", "PathPrefix(`/metrics`)", topPriority)
		}
		c.HTTP.Services["prometheus"] = &Service{}
	}
	s.internalRedirections(c)
	c.HTTP.ServersTransports["default"] = &serversTransport{MaxIdleConnsPerHost: 200}
	if t := s.ServersTransport; t != nil {
		*c.HTTP.ServersTransports["default"] = serversTransport{
			InsecureSkipVerify: t.InsecureSkipVerify, RootCAs: t.RootCAs, MaxIdleConnsPerHost: t.MaxIdleConnsPerHost, ForwardingTimeouts: t.ForwardingTimeouts, //nolint:forbidigo // so Traefik does when it is told to
		}
	}
	c.TCP.ServersTransports["default"] = &tcpTransport{}
	c.TCP.ServersTransports["default"].SetDefaults()
	return c
}

func (s *Static) prometheus() *prometheus {
	if s.Metrics == nil {
		return nil
	}
	return s.Metrics.Prometheus
}

func internalRouter(entryPoint, service, rule string, priority int) *Router {
	return &Router{EntryPoints: []string{entryPoint}, Service: service, Priority: priority, Rule: rule, RuleSyntax: "default"}
}

func (s *Static) internalAPI(c *configuration) {
	c.HTTP.Services["api"] = &Service{}
	if s.API.Dashboard {
		c.HTTP.Services["dashboard"] = &Service{}
	}
	if !s.API.Insecure {
		return
	}
	c.HTTP.Routers["api"] = internalRouter(internalEntryPoint, "api@internal", "PathPrefix(`/api`)", topPriority-1)
	if s.API.Dashboard {
		c.HTTP.Routers["dashboard"] = internalRouter(internalEntryPoint, "dashboard@internal", "PathPrefix(`/`)", topPriority-2)
		c.HTTP.Routers["dashboard"].Middlewares = []string{"dashboard_redirect@internal", "dashboard_stripprefix@internal"}
		c.HTTP.Middlewares["dashboard_redirect"] = &Middleware{RedirectRegex: &redirectRegex{
			Regex: `^(http:\/\/(\[[\w:.]+\]|[\w\._-]+)(:\d+)?)\/$`, Replacement: "${1}/dashboard/", Permanent: true,
		}}
		c.HTTP.Middlewares["dashboard_stripprefix"] = &Middleware{StripPrefix: &stripPrefix{Prefixes: []string{"/dashboard/", "/dashboard"}}}
	}
}

// internalRedirections are those of entry points to other ones.
func (s *Static) internalRedirections(c *configuration) {
	for name, e := range s.EntryPoints {
		if e.HTTP.Redirections == nil || e.HTTP.Redirections.EntryPoint == nil || e.HTTP.Redirections.EntryPoint.To == "" {
			continue
		}
		to := e.HTTP.Redirections.EntryPoint
		port, known := s.portOf(to.To)
		if !known {
			continue
		}
		router := strings.Trim(notPlain.ReplaceAllString(name+"-to-"+to.To, "-"), "-")
		c.HTTP.Routers[router] = internalRouter(name, "noop@internal", "HostRegexp(`^.+$`)", to.Priority)
		c.HTTP.Routers[router].Middlewares = []string{"redirect-" + router}
		c.HTTP.Middlewares["redirect-"+router] = &Middleware{RedirectScheme: &redirectScheme{Scheme: to.Scheme, Port: port, Permanent: to.Permanent}}
	}
}

// portOf is a port that is written as :PORT, or that of an entry point.
func (s *Static) portOf(to string) (port string, known bool) {
	if found := onlyPort.FindStringSubmatch(to); found != nil {
		return found[1], true
	}
	other := s.EntryPoints[to]
	if other == nil {
		return "", false
	}
	address, _, _ := strings.Cut(other.Address, "/")
	_, port, err := net.SplitHostPort(address)
	return port, err == nil
}
