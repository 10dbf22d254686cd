// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	paerser "github.com/traefik/paerser/file"
	"github.com/traefik/paerser/types"
	"go.yaml.in/yaml/v3"
)

// Static is what the static file says. As in Traefik, what stands at its top and is unknown is passed over, what is unknown
// below is refused.
type Static struct {
	Global           *global
	ServersTransport *staticTransport
	EntryPoints      map[string]*EntryPoint
	Providers        *providers
	API              *api  `file:"allowEmpty"`
	Ping             *ping `file:"allowEmpty"`
	Metrics          *metrics
	Log              *logging   `file:"allowEmpty"`
	AccessLog        *accessLog `file:"allowEmpty"`
}

type global struct {
	CheckNewVersion, SendAnonymousUsage bool `file:"allowEmpty"`
}

type staticTransport struct {
	InsecureSkipVerify  bool
	RootCAs             []string
	MaxIdleConnsPerHost int
	ForwardingTimeouts  *forwardingTimeouts
}

// EntryPoint is a port on which it listens.
type EntryPoint struct {
	Address          string
	AllowACMEByPass  bool
	ReusePort        bool
	AsDefault        bool
	Transport        *entryTransport
	ProxyProtocol    *trust `file:"allowEmpty"`
	ForwardedHeaders *trust
	HTTP             entryHTTP
	HTTP2            *entryHTTP2
	HTTP3            map[string]any `file:"allowEmpty"`
	UDP              map[string]any
	Observability    *entryObservability
}

// SetDefaults implements paerser's initializer.
func (e *EntryPoint) SetDefaults() {
	e.Transport = &entryTransport{LifeCycle: &lifeCycle{}, RespondingTimeouts: &respondingTimeouts{}}
	e.Transport.LifeCycle.SetDefaults()
	e.Transport.RespondingTimeouts.SetDefaults()
	e.ForwardedHeaders = &trust{}
	sane := true
	e.HTTP.SanitizePath, e.HTTP.MaxHeaderBytes = &sane, 1<<20
}

type entryTransport struct {
	LifeCycle            *lifeCycle
	RespondingTimeouts   *respondingTimeouts
	KeepAliveMaxTime     types.Duration
	KeepAliveMaxRequests int
}

type lifeCycle struct {
	RequestAcceptGraceTimeout types.Duration
	GraceTimeOut              types.Duration
}

// SetDefaults implements paerser's initializer.
func (l *lifeCycle) SetDefaults() { l.GraceTimeOut = types.Duration(10 * time.Second) }

type respondingTimeouts struct {
	ReadTimeout, WriteTimeout, IdleTimeout types.Duration
}

// SetDefaults implements paerser's initializer.
func (r *respondingTimeouts) SetDefaults() {
	r.ReadTimeout, r.IdleTimeout = types.Duration(time.Minute), types.Duration(3*time.Minute)
}

type trust struct {
	Insecure   bool
	TrustedIPs []string
	Connection []string
}

type entryHTTP struct {
	Redirections          *redirections
	Middlewares           []string
	TLS                   *routerTLS `file:"allowEmpty"`
	EncodedCharacters     map[string]any
	EncodeQuerySemicolons bool
	SanitizePath          *bool
	MaxHeaderBytes        int
}

type redirections struct{ EntryPoint *redirectEntryPoint }

type redirectEntryPoint struct {
	To, Scheme string
	Permanent  bool
	Priority   int
}

// SetDefaults implements paerser's initializer.
func (r *redirectEntryPoint) SetDefaults() {
	r.Scheme, r.Permanent, r.Priority = "https", true, topPriority-1
}

type entryHTTP2 struct {
	MaxConcurrentStreams, MaxDecoderHeaderTableSize, MaxEncoderHeaderTableSize int32
}

type entryObservability struct {
	AccessLogs, Metrics, Tracing *bool
	TraceVerbosity               string
}

type providers struct {
	ProvidersThrottleDuration types.Duration
	File                      *fileProvider
}

// SetDefaults implements paerser's initializer.
func (p *providers) SetDefaults() { p.ProvidersThrottleDuration = types.Duration(2 * time.Second) }

type fileProvider struct {
	Directory                 string
	Watch                     bool
	Filename                  string
	DebugLogGeneratedTemplate bool
}

// SetDefaults implements paerser's initializer.
func (f *fileProvider) SetDefaults() { f.Watch = true }

type api struct {
	BasePath                                       string
	Insecure, Dashboard, Debug, DisableDashboardAd bool
}

// SetDefaults implements paerser's initializer.
func (a *api) SetDefaults() { a.BasePath, a.Dashboard = "/", true }

type ping struct {
	EntryPoint            string
	ManualRouting         bool
	TerminatingStatusCode int
}

// SetDefaults implements paerser's initializer.
func (p *ping) SetDefaults() { p.EntryPoint, p.TerminatingStatusCode = "traefik", 503 }

type metrics struct {
	AddInternals bool
	Prometheus   *prometheus `file:"allowEmpty"`
}

type prometheus struct {
	Buckets                                                   []float64
	AddEntryPointsLabels, AddRoutersLabels, AddServicesLabels bool
	EntryPoint                                                string
	ManualRouting                                             bool
	HeaderLabels                                              map[string]string
}

// SetDefaults implements paerser's initializer.
func (p *prometheus) SetDefaults() {
	p.EntryPoint, p.AddEntryPointsLabels, p.AddServicesLabels = "traefik", true, true
}

type logging struct {
	Level, Format, FilePath     string
	NoColor                     bool
	MaxSize, MaxAge, MaxBackups int
	Compress                    bool
}

type accessLog struct {
	FilePath, Format string
	Filters          map[string]any
	Fields           map[string]any
	BufferingSize    int64
	AddInternals     bool
}

// load reads a static file as Traefik does.
func load(name string, text []byte) (*Static, error) {
	extension := strings.ToLower(path.Ext(name))
	if extension == ".toml" {
		return nil, fmt.Errorf("%s: TOML is not simulated", name)
	}
	s := &Static{Providers: &providers{}}
	s.Providers.SetDefaults()
	if err := decodeText(text, extension, s); err != nil {
		return nil, err
	}
	data := map[string]any{}
	switch err := yaml.Unmarshal(text, data); {
	case err != nil:
		return nil, err
	case len(data) == 0:
		return nil, fmt.Errorf("no configuration found in file: %s", name)
	case !slices.ContainsFunc(keys(data), func(key string) bool { return slices.Contains(sections, strings.ToLower(key)) }):
		return nil, fmt.Errorf("no valid configuration found in file: %s", name)
	}
	s.complete()
	return s, s.validate()
}

// sections are what may stand at the top of a static file, also what is not simulated.
var sections = strings.Fields("global serverstransport tcpserverstransport entrypoints providers api metrics ping log accesslog tracing hostresolver certificatesresolvers experimental core spiffe ocsp")

// decodeText reads a text into what it means. The errors of Traefik's parser name the types of Traefik.
func decodeText(text []byte, extension string, into any) error {
	err := paerser.DecodeContent(string(text), extension, into)
	if err == nil || !strings.Contains(err.Error(), "traefik.") {
		return err
	}
	return errors.New(typeNames.Replace(err.Error()))
}

// typeNames are Traefik's names of types that have another one here.
var typeNames = strings.NewReplacer(
	"traefik.fileProvider", "file.Provider", "traefik.providers", "static.Providers", "traefik.EntryPoint", "static.EntryPoint", "traefik.metrics", "types.Metrics",
	"traefik.httpConfiguration", "dynamic.HTTPConfiguration", "traefik.tcpConfiguration", "dynamic.TCPConfiguration", "traefik.tlsConfiguration", "dynamic.TLSConfiguration",
	"traefik.LoadBalancer", "dynamic.ServersLoadBalancer", "traefik.Weighted", "dynamic.WeightedRoundRobin", "traefik.healthCheck", "dynamic.ServerHealthCheck",
	"traefik.serversTransport", "dynamic.ServersTransport", "traefik.tcpTransport", "dynamic.TCPServersTransport", "traefik.tcpLoadBalancer", "dynamic.TCPServersLoadBalancer",
	"traefik.headers", "dynamic.Headers", "traefik.basicAuth", "dynamic.BasicAuth", "traefik.stripPrefix", "dynamic.StripPrefix", "traefik.prefixed", "dynamic.AddPrefix",
	"traefik.ipAllowList", "dynamic.IPAllowList", "traefik.rateLimit", "dynamic.RateLimit", "traefik.redirectRegex", "dynamic.RedirectRegex", "traefik.retry", "dynamic.Retry",
	"traefik.forwardAuth", "dynamic.ForwardAuth", "traefik.sticky", "dynamic.Sticky", "traefik.", "dynamic.",
)

// complete adds what follows from the rest: an entry point for HTTP, and one for what is internal.
func (s *Static) complete() {
	add := func(name, address string) {
		if s.EntryPoints == nil {
			s.EntryPoints = map[string]*EntryPoint{}
		}
		if s.EntryPoints[name] == nil {
			e := &EntryPoint{Address: address}
			e.SetDefaults()
			s.EntryPoints[name] = e
		}
	}
	user := 0
	for name := range s.EntryPoints {
		if name != internalEntryPoint {
			user++
		}
	}
	if user == 0 {
		add("http", ":80")
	}
	if s.API != nil && s.API.Insecure ||
		s.Ping != nil && !s.Ping.ManualRouting && s.Ping.EntryPoint == internalEntryPoint ||
		s.Metrics != nil && s.Metrics.Prometheus != nil && !s.Metrics.Prometheus.ManualRouting && s.Metrics.Prometheus.EntryPoint == internalEntryPoint {
		add(internalEntryPoint, ":8080")
	}
}

func (s *Static) validate() error {
	if s.API != nil && !basePath.MatchString(s.API.BasePath) {
		return errors.New("API basePath must be a valid absolute URL path")
	}
	return nil
}

// defaults are the entry points of routers that name none.
func (s *Static) defaults() []string {
	var all, chosen []string
	for name, e := range s.EntryPoints {
		if name == internalEntryPoint || strings.HasSuffix(strings.ToLower(e.Address), "/udp") {
			continue
		}
		all = append(all, name)
		if e.AsDefault {
			chosen = append(chosen, name)
		}
	}
	if len(chosen) > 0 {
		all = chosen
	}
	return sorted(all)
}
