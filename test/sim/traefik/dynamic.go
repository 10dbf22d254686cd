// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"time"

	"github.com/traefik/paerser/types"
)

// configuration is what dynamic files say: names without their provider in files, with it in what is merged.
type configuration struct {
	HTTP *httpConfiguration
	TCP  *tcpConfiguration
	UDP  map[string]any
	TLS  *tlsConfiguration
}

type httpConfiguration struct {
	Routers           map[string]*Router
	Services          map[string]*Service
	Middlewares       map[string]*Middleware
	Models            map[string]any
	ServersTransports map[string]*serversTransport
}

type tcpConfiguration struct {
	Routers           map[string]*TCPRouter
	Services          map[string]*TCPService
	Middlewares       map[string]*TCPMiddleware
	ServersTransports map[string]*tcpTransport
}

type tlsConfiguration struct {
	Certificates []*keyPair
	Options      map[string]*tlsOptions
	Stores       map[string]any
}

type keyPair struct {
	CertFile, KeyFile string
	Stores            []string
}

type tlsOptions struct {
	MinVersion, MaxVersion              string
	CipherSuites, CurvePreferences      []string
	ClientAuth                          map[string]any
	SniStrict, PreferServerCipherSuites bool
	ALPNProtocols                       []string
	DisableSessionTickets               bool
}

// newConfiguration is an empty one.
func newConfiguration() *configuration {
	return &configuration{
		HTTP: &httpConfiguration{Routers: map[string]*Router{}, Services: map[string]*Service{}, Middlewares: map[string]*Middleware{}, ServersTransports: map[string]*serversTransport{}},
		TCP:  &tcpConfiguration{Routers: map[string]*TCPRouter{}, Services: map[string]*TCPService{}, Middlewares: map[string]*TCPMiddleware{}, ServersTransports: map[string]*tcpTransport{}},
		TLS:  &tlsConfiguration{Options: map[string]*tlsOptions{}},
	}
}

// Router sends requests that fit a rule to a service.
type Router struct {
	EntryPoints   []string       `json:"entryPoints,omitempty"`
	Middlewares   []string       `json:"middlewares,omitempty"`
	Service       string         `json:"service,omitempty"`
	Rule          string         `json:"rule,omitempty"`
	ParentRefs    []string       `json:"parentRefs,omitempty"`
	RuleSyntax    string         `json:"ruleSyntax,omitempty"`
	Priority      int            `json:"priority,omitempty"`
	TLS           *routerTLS     `json:"tls,omitempty" file:"allowEmpty"`
	Observability *observability `json:"observability,omitempty"`
}

type routerTLS struct {
	Options      string   `json:"options,omitempty"`
	CertResolver string   `json:"certResolver,omitempty"`
	Domains      []domain `json:"domains,omitempty"`
}

type domain struct {
	Main string   `json:"main,omitempty"`
	SANs []string `json:"sans,omitempty"`
}

type observability struct {
	AccessLogs     *bool  `json:"accessLogs,omitempty"`
	Metrics        *bool  `json:"metrics,omitempty"`
	Tracing        *bool  `json:"tracing,omitempty"`
	TraceVerbosity string `json:"traceVerbosity,omitempty"`
}

// SetDefaults implements paerser's initializer.
func (o *observability) SetDefaults() { o.TraceVerbosity = "minimal" }

// Service is where requests go; it is of one type.
type Service struct {
	LoadBalancer        *LoadBalancer  `json:"loadBalancer,omitempty"`
	HighestRandomWeight map[string]any `json:"highestRandomWeight,omitempty"`
	Weighted            *Weighted      `json:"weighted,omitempty"`
	Mirroring           map[string]any `json:"mirroring,omitempty"`
	Failover            *failover      `json:"failover,omitempty"`
}

type failover struct {
	Service     string    `json:"service,omitempty"`
	Fallback    string    `json:"fallback,omitempty"`
	HealthCheck *struct{} `json:"healthCheck,omitempty" file:"allowEmpty"`
}

// Weighted is a service of services.
type Weighted struct {
	Services    []weightedService `json:"services,omitempty"`
	Sticky      *sticky           `json:"sticky,omitempty"`
	HealthCheck *struct{}         `json:"healthCheck,omitempty" file:"allowEmpty"`
}

type weightedService struct {
	Name   string `json:"name,omitempty"`
	Weight *int   `json:"weight,omitempty"`
}

// SetDefaults implements paerser's initializer.
func (w *weightedService) SetDefaults() {
	one := 1
	w.Weight = &one
}

type sticky struct {
	Cookie *cookie `json:"cookie,omitempty" file:"allowEmpty"`
}

type cookie struct {
	Name     string  `json:"name,omitempty"`
	Secure   bool    `json:"secure,omitempty"`
	HTTPOnly bool    `json:"httpOnly,omitempty"`
	SameSite string  `json:"sameSite,omitempty"`
	MaxAge   int     `json:"maxAge,omitempty"`
	Path     *string `json:"path,omitempty"`
	Domain   string  `json:"domain,omitempty"`
}

// SetDefaults implements paerser's initializer.
func (c *cookie) SetDefaults() {
	root := "/"
	c.Path = &root
}

// LoadBalancer is a service of servers.
type LoadBalancer struct {
	Sticky             *sticky             `json:"sticky,omitempty" file:"allowEmpty"`
	Servers            []Backend           `json:"servers,omitempty"`
	Strategy           string              `json:"strategy,omitempty"`
	HealthCheck        *healthCheck        `json:"healthCheck,omitempty"`
	PassiveHealthCheck *passiveHealthCheck `json:"passiveHealthCheck,omitempty"`
	PassHostHeader     *bool               `json:"passHostHeader"`
	ResponseForwarding *responseForwarding `json:"responseForwarding,omitempty"`
	ServersTransport   string              `json:"serversTransport,omitempty"`
}

// SetDefaults implements paerser's initializer.
func (l *LoadBalancer) SetDefaults() {
	pass := true
	l.PassHostHeader, l.Strategy = &pass, "wrr"
	l.ResponseForwarding = &responseForwarding{}
	l.ResponseForwarding.SetDefaults()
}

type responseForwarding struct {
	FlushInterval types.Duration `json:"flushInterval,omitempty"`
}

// SetDefaults implements paerser's initializer.
func (r *responseForwarding) SetDefaults() { r.FlushInterval = types.Duration(100 * time.Millisecond) }

// Backend is a server of a LoadBalancer.
type Backend struct {
	URL          string `json:"url,omitempty"`
	Weight       *int   `json:"weight,omitempty"`
	PreservePath bool   `json:"preservePath,omitempty"`
}

type healthCheck struct {
	Scheme            string            `json:"scheme,omitempty"`
	Mode              string            `json:"mode,omitempty"`
	Path              string            `json:"path,omitempty"`
	Method            string            `json:"method,omitempty"`
	Status            int               `json:"status,omitempty"`
	Port              int               `json:"port,omitempty"`
	Interval          types.Duration    `json:"interval,omitempty"`
	UnhealthyInterval *types.Duration   `json:"unhealthyInterval,omitempty"`
	Timeout           types.Duration    `json:"timeout,omitempty"`
	Hostname          string            `json:"hostname,omitempty"`
	FollowRedirects   *bool             `json:"followRedirects,omitempty"`
	Headers           map[string]string `json:"headers,omitempty"`
}

// SetDefaults implements paerser's initializer.
func (h *healthCheck) SetDefaults() {
	follow := true
	h.FollowRedirects, h.Mode, h.Interval, h.Timeout = &follow, "http", types.Duration(30*time.Second), types.Duration(5*time.Second)
}

type passiveHealthCheck struct {
	FailureWindow     types.Duration `json:"failureWindow,omitempty"`
	MaxFailedAttempts int            `json:"maxFailedAttempts,omitempty"`
}

// SetDefaults implements paerser's initializer.
func (p *passiveHealthCheck) SetDefaults() {
	p.FailureWindow, p.MaxFailedAttempts = types.Duration(10*time.Second), 1
}

type serversTransport struct {
	ServerName          string
	InsecureSkipVerify  bool
	RootCAs             []string
	Certificates        []keyPair
	MaxIdleConnsPerHost int
	ForwardingTimeouts  *forwardingTimeouts
	DisableHTTP2        bool
	PeerCertURI         string
	Spiffe              map[string]any `file:"allowEmpty"`
}

type forwardingTimeouts struct {
	DialTimeout, ResponseHeaderTimeout, IdleConnTimeout, ReadIdleTimeout, PingTimeout types.Duration
}

// SetDefaults implements paerser's initializer.
func (f *forwardingTimeouts) SetDefaults() {
	f.DialTimeout, f.IdleConnTimeout, f.PingTimeout = types.Duration(30*time.Second), types.Duration(90*time.Second), types.Duration(15*time.Second)
}

// TCPRouter sends connections that fit a rule to a service.
type TCPRouter struct {
	EntryPoints []string      `json:"entryPoints,omitempty"`
	Middlewares []string      `json:"middlewares,omitempty"`
	Service     string        `json:"service,omitempty"`
	Rule        string        `json:"rule,omitempty"`
	RuleSyntax  string        `json:"ruleSyntax,omitempty"`
	Priority    int           `json:"priority,omitempty"`
	TLS         *tcpRouterTLS `json:"tls,omitempty" file:"allowEmpty"`
}

type tcpRouterTLS struct {
	Passthrough  bool     `json:"passthrough"`
	Options      string   `json:"options,omitempty"`
	CertResolver string   `json:"certResolver,omitempty"`
	Domains      []domain `json:"domains,omitempty"`
}

// TCPService is where connections go; it is of one type.
type TCPService struct {
	LoadBalancer *tcpLoadBalancer `json:"loadBalancer,omitempty"`
	Weighted     *tcpWeighted     `json:"weighted,omitempty"`
}

type tcpWeighted struct {
	Services    []weightedService `json:"services,omitempty"`
	HealthCheck *struct{}         `json:"healthCheck,omitempty" file:"allowEmpty"`
}

type tcpLoadBalancer struct {
	Servers          []tcpServer    `json:"servers,omitempty"`
	ServersTransport string         `json:"serversTransport,omitempty"`
	ProxyProtocol    *proxyProtocol `json:"proxyProtocol,omitempty" file:"allowEmpty"`
	TerminationDelay *int           `json:"terminationDelay,omitempty"`
	HealthCheck      map[string]any `json:"healthCheck,omitempty" file:"allowEmpty"`
}

type tcpServer struct {
	Address string `json:"address,omitempty"`
	TLS     bool   `json:"tls,omitempty"`
}

type proxyProtocol struct {
	Version int `json:"version,omitempty"`
}

// SetDefaults implements paerser's initializer.
func (p *proxyProtocol) SetDefaults() { p.Version = 2 }

type tcpTransport struct {
	DialKeepAlive    types.Duration
	DialTimeout      types.Duration
	ProxyProtocol    *proxyProtocol `file:"allowEmpty"`
	TerminationDelay types.Duration
	TLS              map[string]any `file:"allowEmpty"`
}

// SetDefaults implements paerser's initializer.
func (t *tcpTransport) SetDefaults() {
	t.DialTimeout, t.DialKeepAlive, t.TerminationDelay = types.Duration(30*time.Second), types.Duration(15*time.Second), types.Duration(100*time.Millisecond)
}

// TCPMiddleware changes connections; it is of one type.
type TCPMiddleware struct {
	InFlightConn *inFlightConn `json:"inFlightConn,omitempty"`
	IPWhiteList  *tcpIPList    `json:"ipWhiteList,omitempty"`
	IPAllowList  *tcpIPList    `json:"ipAllowList,omitempty"`
}

type inFlightConn struct {
	Amount int64 `json:"amount,omitempty"`
}

type tcpIPList struct {
	SourceRange []string `json:"sourceRange,omitempty"`
}
