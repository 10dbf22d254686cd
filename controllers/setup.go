// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/authority"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	"github.com/phoenix-hypervisor/phoenix/controllers/host"
	"github.com/phoenix-hypervisor/phoenix/controllers/site"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const (
	// recorderName is who reports events.
	recorderName = "phoenix"
	// byHost is the index of Guests by the name of their Host.
	byHost = "spec.hostRef.name"
	// syncPatience is how long a readiness probe waits for the caches.
	syncPatience = 500 * time.Millisecond
)

// What the manager may do in the cluster; config/rbac/role.yaml is made from these lines.
//
// Secrets are read by name, and their metadata is watched, for which RBAC knows no privilege of its own. Those with the keys
// of authorities are made and changed, and ConfigMaps with their roots; those of Certificates go with them. The metadata of
// ConfigMaps is watched for DockerStacks. Certificates are made for Routes.
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=phoenix-hypervisor.io,resources=hosts;guests;hostservices;certificates;dockerstacks;routes,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=phoenix-hypervisor.io,resources=certificates,verbs=create;delete
// +kubebuilder:rbac:groups=phoenix-hypervisor.io,resources=hosts/status;guests/status;hostservices/status;certificates/status;dockerstacks/status;routes/status,verbs=patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
//
// Who may read /metrics is for the API server to say.
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create
//
// The leader's lease and its events, in the manager's own namespace.
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=create,namespace=phoenix-system
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,resourceNames=phoenix-manager,verbs=get;update,namespace=phoenix-system
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch,namespace=phoenix-system

// house is what the kinds share.
type house struct {
	mgr      ctrl.Manager
	opts     Options
	pool     *site.Pool
	machines *machines
	relay    *relay
	graph    *reconcile.Graph
	// authorities are those that machines trust.
	authorities *authority.Book
	portainers  *portainers
}

// Setup registers every kind with a manager: drivers, indexes, loops and probes.
func Setup(mgr ctrl.Manager, o Options) error {
	o = o.withDefaults()
	h := &house{mgr: mgr, opts: o, relay: newRelay(mgr.GetClient()), graph: reconcile.NewGraph(mgr.GetClient()), machines: &machines{clock: o.Clock}}
	h.portainers = &portainers{dial: o.Dial}
	h.authorities = &authority.Book{Reader: mgr.GetClient(), Fetch: h.fetchRoot, Clock: o.Clock}
	h.pool = site.NewPool(site.Options{Secrets: mgr.GetClient(), OnChange: h.relay.tell, Timing: o.Timing, Clock: o.Clock})
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), &v1alpha1.Guest{}, byHost, hostOf); err != nil {
		return fmt.Errorf("index Guests by Host: %w", err)
	}
	for _, runnable := range []manager.Runnable{h.pool, h.relay} {
		if err := mgr.Add(runnable); err != nil {
			return fmt.Errorf("add to manager: %w", err)
		}
	}
	if err := h.loops(); err != nil {
		return err
	}
	return h.probes()
}

// loops sets up one loop a kind. Every kind is in the graph before any loop asks it what to watch.
func (h *house) loops() error {
	hosts := h.hosts()
	guests := guest.New(guest.Config{
		Reader: h.mgr.GetClient(), Secrets: h.mgr.GetClient(), Sites: h.guestSite, Shell: h.shell, Machine: h.guestMachine,
		Authorities: h.authorities, Clock: h.opts.Clock,
	})
	reconcile.Register(h.graph, "Host", hosts, newHost, func() client.ObjectList { return &v1alpha1.HostList{} })
	reconcile.Register(h.graph, "Guest", guests, newGuest, func() client.ObjectList { return &v1alpha1.GuestList{} })
	setUpServices := h.services()
	setUpCertificates, err := h.certificates()
	if err != nil {
		return err
	}
	setUpDockerStacks, err := h.dockerStacks()
	if err != nil {
		return err
	}
	setUpRoutes, err := h.routes()
	if err != nil {
		return err
	}

	hostLoop := loop(h, "Host", hosts, newHost, h.opts.HostInterval)
	guestLoop := loop(h, "Guest", guests, newGuest, h.opts.GuestInterval)
	guestLoop.Pace = h.pace
	return errors.Join(
		h.forgetHosts(hosts),
		hostLoop.Setup(h.mgr, reconcile.SetupOptions{Concurrency: min(h.opts.Concurrency, 4), Outside: h.relay.hosts}),
		guestLoop.Setup(h.mgr, reconcile.SetupOptions{Concurrency: h.opts.Concurrency, Outside: h.relay.guests}),
		setUpServices(),
		setUpCertificates(),
		setUpDockerStacks(),
		setUpRoutes(),
		(&reconcile.Holds{Client: h.mgr.GetClient(), Graph: h.graph}).Setup(h.mgr),
	)
}

func newHost() *v1alpha1.Host               { return &v1alpha1.Host{} }
func newGuest() *v1alpha1.Guest             { return &v1alpha1.Guest{} }
func newHostService() *v1alpha1.HostService { return &v1alpha1.HostService{} }

// loop returns the loop of one kind, with what all have in common.
func loop[T reconcile.Object, S any](h *house, name string, kind reconcile.Kind[T, S], empty func() T, interval time.Duration) *reconcile.Loop[T, S] {
	return &reconcile.Loop[T, S]{
		Name: name, Kind: kind, New: empty, Client: h.mgr.GetClient(), Live: h.mgr.GetAPIReader(), Graph: h.graph,
		Events: h.mgr.GetEventRecorder(recorderName), Clock: h.opts.Clock, Interval: interval,
	}
}

// hosts returns the kind Host over the pool.
func (h *house) hosts() *host.Kind {
	return &host.Kind{
		Connect: func(ctx context.Context, obj *v1alpha1.Host) (host.Site, error) {
			s, err := h.pool.Connect(ctx, obj)
			if err != nil {
				return nil, err
			}
			return hostSite{s.API().Client(), s}, nil
		},
		Guests: func(ctx context.Context, obj *v1alpha1.Host) ([]v1alpha1.Guest, error) {
			return guestsOf(ctx, h.mgr.GetClient(), client.ObjectKeyFromObject(obj))
		},
		Services: func(ctx context.Context, obj *v1alpha1.Host) ([]v1alpha1.HostService, error) {
			return servicesOf(ctx, h.mgr.GetClient(), client.ObjectKeyFromObject(obj))
		},
		Mark:          guest.Tag,
		Machine:       h.nodeMachine,
		Authorities:   h.authorities,
		TrustInterval: h.opts.HostServiceInterval,
		Clock:         h.opts.Clock,
	}
}

// forgetHosts drops the connections of a Host once the object is gone.
func (h *house) forgetHosts(hosts *host.Kind) error {
	informer, err := h.mgr.GetCache().GetInformer(context.Background(), &v1alpha1.Host{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch Hosts: %w", err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{DeleteFunc: func(gone any) {
		if last, ok := gone.(toolscache.DeletedFinalStateUnknown); ok {
			gone = last.Obj
		}
		if obj, ok := gone.(*v1alpha1.Host); ok {
			name := client.ObjectKeyFromObject(obj)
			hosts.Forget(name)
			h.machines.drop(name)
			h.pool.Drop(obj)
		}
	}})
	if err != nil {
		return fmt.Errorf("watch Hosts: %w", err)
	}
	return nil
}

// probes answers /healthz as long as the process does, and /readyz once the caches are filled.
func (h *house) probes() error {
	filled := func(request *http.Request) error {
		ctx, cancel := context.WithTimeout(request.Context(), syncPatience)
		defer cancel()
		if !h.mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the caches are not filled yet")
		}
		return nil
	}
	return errors.Join(h.mgr.AddHealthzCheck("ping", healthz.Ping), h.mgr.AddReadyzCheck("caches", filled))
}
