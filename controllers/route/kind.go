// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package route holds the kind Route: host names that are served from outside, through a gateway, by a router, from backends.
//
// A Route is a small set of files in a folder on the gateway, and one file in a folder on the router. What they hold is a pure
// function of the spec and of what it refers to (translate.go, resolve.go); the folders themselves are written in groups by
// the machine's driver. The router is told first and the gateway at once after it; whether Traefik took the file is seen
// afterwards, and what it rejects is put back (plan.go). What is served for real is looked at in the end (sight.go).
//
// Hundreds of Routes may change at the same time. So nothing that is asked of a machine is asked for one Route alone, and no
// pass looks at all Routes: those that have a host in common are found by an index (index.go).
package route

import (
	"context"
	"crypto/x509"
	"time"

	"golang.org/x/sync/semaphore"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// mostHandshakes is how many certificates are asked for at once.
const mostHandshakes = 16

// Config is what a Kind works with. Every field is needed.
type Config struct {
	// Client reads Phoenix objects from the cache and Secrets past it, and writes Certificates. It must know the indexes of
	// this package.
	Client client.Client
	// Machine returns the machine that a Guest is. Its errors are outcomes.
	Machine func(ctx context.Context, g *v1alpha1.Guest) (*machine.Machine, error)
	// Served returns the certificates that a server at an address shows when it is asked for a name.
	Served func(ctx context.Context, address, serverName string) ([]*x509.Certificate, error)
	// Wake has a Route looked at again. It does not block.
	Wake func(types.NamespacedName)
	// Interval after which what is served is looked at again.
	Interval time.Duration
	// Clock tells the time.
	Clock clock.PassiveClock
}

// Kind is what a Route has to say to the loop. It is a runnable of a manager: its end stops what runs beside the passes.
type Kind struct {
	Config
	memory   memory
	folders  folders
	runtimes runtimes
	probes   probes
	// handshakes has room for mostHandshakes.
	handshakes *semaphore.Weighted
}

var _ reconcile.Kind[*v1alpha1.Route, Seen] = (*Kind)(nil)

// New returns the kind.
func New(c Config) *Kind {
	k := &Kind{Config: c, handshakes: semaphore.NewWeighted(mostHandshakes)}
	k.probes.life, k.probes.end = context.WithCancel(context.Background())
	return k
}

// NeedLeaderElection says that only the leader asks machines.
func (k *Kind) NeedLeaderElection() bool { return true }

// Start waits for the context to end, and then for what runs beside the passes.
func (k *Kind) Start(ctx context.Context) error {
	<-ctx.Done()
	k.probes.stop()
	return nil
}

// Forget drops what is remembered of a Route that is gone.
func (k *Kind) Forget(name types.NamespacedName) { k.memory.forget(name) }

// Users are the Routes that were last seen to depend on an object of the namespace that their specs need not name: the Guest
// behind a stack, or the Certificate of a gateway's server.
func (k *Kind) Users(kind string, name types.NamespacedName) []types.NamespacedName {
	return k.memory.users(dependency{kind, name.Namespace, name.Name})
}

// Refs says what a Route refers to. Its gateway and its router stay as long as it does; what its backends are is followed, and
// nothing waits for it.
func (k *Kind) Refs(r *v1alpha1.Route) []reconcile.Ref {
	refs := []reconcile.Ref{served(r.Spec.GatewayRef.Name), served(r.Spec.RouterRef.Name)}
	if t := r.Spec.TLS; t != nil {
		switch {
		case t.CertificateRef != nil:
			refs = append(refs, reconcile.Hard("Certificate", t.CertificateRef.Name, v1alpha1.IssuedCondition))
		case t.SecretRef != nil:
			refs = append(refs, reconcile.Soft("Secret", t.SecretRef.Name))
		case issues(r): // it is made by a step, which must not wait for it
			refs = append(refs, reconcile.Ref{Kind: "Certificate", Name: certificateName(r), Keeps: true}, reconcile.Soft("HostService", t.AuthorityRef.Name))
		}
	}
	for _, b := range r.Spec.Backends {
		switch {
		case b.Guest != nil:
			refs = append(refs, reconcile.Soft("Guest", b.Guest.Name))
		case b.HostService != nil:
			refs = append(refs, reconcile.Soft("HostService", b.HostService.Name))
		case b.Stack != nil:
			refs = append(refs, reconcile.Soft("DockerStack", b.Stack.Name))
		}
	}
	for _, d := range r.Spec.DNSRefs {
		refs = append(refs, reconcile.Soft("HostService", d.Name))
	}
	return append(refs, secretRefs(r)...)
}

// served is a hard reference to a HostService through which all goes: while it does not serve, nothing can be said of the Route.
func served(service string) reconcile.Ref {
	ref := reconcile.Hard("HostService", service, v1alpha1.ServingCondition)
	ref.Blinds = true
	return ref
}

// secretRefs are those to what backends are verified with, and to users.
func secretRefs(r *v1alpha1.Route) []reconcile.Ref {
	var refs []reconcile.Ref
	if t := r.Spec.BackendTLS; t != nil && t.AuthorityRef != nil {
		refs = append(refs, reconcile.Soft("HostService", t.AuthorityRef.Name))
	}
	if t := r.Spec.BackendTLS; t != nil && t.CASecretRef != nil {
		refs = append(refs, reconcile.Soft("Secret", t.CASecretRef.Name))
	}
	for _, m := range r.Spec.Middlewares {
		if m.BasicAuth != nil {
			refs = append(refs, reconcile.Soft("Secret", m.BasicAuth.UsersSecretRef.Name))
		}
		if m.ForwardAuth != nil && m.ForwardAuth.AuthorityRef != nil {
			refs = append(refs, reconcile.Soft("HostService", m.ForwardAuth.AuthorityRef.Name))
		}
	}
	return refs
}

// nameOf is the object's name, as the memory has it.
func nameOf(r *v1alpha1.Route) client.ObjectKey { return client.ObjectKeyFromObject(r) }

func issues(r *v1alpha1.Route) bool {
	return r.Spec.TLS != nil && r.Spec.TLS.Issue != nil && *r.Spec.TLS.Issue
}

func observes(r *v1alpha1.Route) bool { return r.Spec.Management == v1alpha1.ManagementObserve }
