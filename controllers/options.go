// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package controllers joins the kinds with the drivers and runs them under one manager.
package controllers

import (
	"crypto/tls"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/site"
)

// leaseName is the name of the lease that the leader holds.
const leaseName = "phoenix-manager"

// Options say how a manager runs. The zero value is of use in a test: no leader election, no open port.
type Options struct {
	// Namespace to watch; empty: all.
	Namespace string
	// LeaderElection lets one of several managers work at a time.
	LeaderElection bool
	// LeaderElectionNamespace holds the lease; empty: the namespace that the manager runs in.
	LeaderElectionNamespace string
	// MetricsAddress serves metrics over HTTPS to those whom the API server lets read /metrics; empty or "0": nowhere.
	MetricsAddress string
	// ProbeAddress serves /healthz and /readyz over HTTP; empty or "0": nowhere.
	ProbeAddress string
	// Concurrency is how many Guests are worked on at the same time. Default: 8.
	Concurrency int
	// GuestInterval is the time after which a Guest in sync is looked at again, with jitter. Default: 15 min.
	GuestInterval time.Duration
	// WatchedInterval is GuestInterval for a Guest with static addresses whose Host reads the digests of all configurations
	// over SSH: whatever can change tells of itself. Default: 6 h.
	WatchedInterval time.Duration
	// HostInterval is the time after which a Host in sync is looked at again, with jitter. Default: 1 min.
	HostInterval time.Duration
	// HostServiceInterval is the time after which a HostService in sync is looked at again, with jitter. Default: 5 min.
	HostServiceInterval time.Duration
	// CertificateInterval is the time after which a Certificate in sync is looked at again, with jitter; when it is due for
	// renewal, it is looked at in time. Default: 1 h.
	CertificateInterval time.Duration
	// DockerStackInterval is the time after which a DockerStack in sync is looked at again, with jitter: nothing tells of what
	// changes in its environment. All stacks of an environment share what is read of it. Default: 1 min.
	DockerStackInterval time.Duration
	// RouteInterval is the time after which a Route in sync is looked at again, with jitter: what it serves, and what somebody
	// changed in its folders. Default: 5 min.
	RouteInterval time.Duration
	// Timing says how often sites are listed.
	Timing site.Timing
	// Dial opens connections to certificate authorities, Portainer servers and git repositories, and to servers that are
	// asked for their certificates. Nil: by ALL_PROXY and NO_PROXY, or directly.
	Dial Dial
	// Logger of the manager and all it runs.
	Logger logr.Logger
	// Clock tells the time; nil: the real one.
	Clock clock.WithTicker
	// SkipNameValidation allows several managers in one process, as tests have them.
	SkipNameValidation bool
}

func (o Options) withDefaults() Options {
	if o.Concurrency <= 0 {
		o.Concurrency = 8
	}
	if o.GuestInterval <= 0 {
		o.GuestInterval = 15 * time.Minute
	}
	if o.WatchedInterval <= 0 {
		o.WatchedInterval = 6 * time.Hour
	}
	if o.HostInterval <= 0 {
		o.HostInterval = time.Minute
	}
	if o.HostServiceInterval <= 0 {
		o.HostServiceInterval = 5 * time.Minute
	}
	if o.CertificateInterval <= 0 {
		o.CertificateInterval = time.Hour
	}
	if o.DockerStackInterval <= 0 {
		o.DockerStackInterval = time.Minute
	}
	if o.RouteInterval <= 0 {
		o.RouteInterval = 5 * time.Minute
	}
	if o.Dial == nil {
		o.Dial = dialFromEnvironment()
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	return o
}

// Scheme returns the types that the manager works with.
func Scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, metav1.AddMetaToScheme, v1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("build scheme: %w", err)
		}
	}
	return s, nil
}

// NewManager returns a manager with every kind set up. It makes no call but to find out what the API server serves.
func NewManager(cfg *rest.Config, o Options) (ctrl.Manager, error) {
	o = o.withDefaults()
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(cfg, o.manager(scheme))
	if err != nil {
		return nil, fmt.Errorf("make manager: %w", err)
	}
	return mgr, Setup(mgr, o)
}

// manager turns the options into those of controller-runtime.
func (o Options) manager(scheme *runtime.Scheme) ctrl.Options {
	m := ctrl.Options{
		Scheme:    scheme,
		Logger:    o.Logger,
		NewClient: newClient,
		// A read sees what was written before it.
		Client:     client.Options{Cache: &client.CacheOptions{EnableReadYourWritesConsistency: ptr.To(true)}},
		Controller: config.Controller{UsePriorityQueue: ptr.To(true), SkipNameValidation: ptr.To(o.SkipNameValidation)},

		LeaderElection:          o.LeaderElection,
		LeaderElectionID:        leaseName,
		LeaderElectionNamespace: o.LeaderElectionNamespace,
		// The process ends right after the manager, so that nothing is done without the lease.
		LeaderElectionReleaseOnCancel: true,
		HealthProbeBindAddress:        orNowhere(o.ProbeAddress),
		Metrics: server.Options{
			BindAddress:    orNowhere(o.MetricsAddress),
			SecureServing:  true,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
			TLSOpts:        []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }},
		},
	}
	if o.Namespace != "" {
		m.Cache = cache.Options{DefaultNamespaces: map[string]cache.Config{o.Namespace: {}}}
	}
	return m
}

func orNowhere(address string) string {
	if address == "" {
		return "0"
	}
	return address
}
