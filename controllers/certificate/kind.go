// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package certificate holds the kind Certificate: a key and a certificate of a step-ca in a Secret, renewed in time and
// brought to machines.
//
// All that must be remembered of a certificate stands in its Secret, so that nothing is issued again when the status is
// lost. What is due is decided by a pure function over that Secret (judge.go), the time of renewal by the life that was
// issued (renewal.go). A machine, a keystore or an authority that is not as it should be is a problem (problem.go) that
// holds up nothing but itself.
package certificate

import (
	"context"
	"crypto/x509"
	"math/big"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// BySecret is the index of Certificates by the Secret that they write; Config.Client must know it.
const BySecret = "spec.secretName"

// SecretOf is the value of a Certificate in the index BySecret.
func SecretOf(o client.Object) []string { return []string{o.(*v1alpha1.Certificate).Spec.SecretName} }

// Authority is a step-ca that is known by its roots; *stepca.Client is one.
type Authority interface {
	Sign(ctx context.Context, r stepca.SignRequest) ([]byte, error)
	Renew(ctx context.Context, chainPEM, keyPEM []byte) ([]byte, error)
	Revoke(ctx context.Context, p stepca.Provisioner, serial *big.Int, reason string) error
}

// Config is what a Kind works with. Every field is needed.
type Config struct {
	// Client reads Phoenix objects from the cache and Secrets past it, and writes Secrets.
	Client client.Client
	// Authority returns the step-ca at a URL. It makes no call.
	Authority func(url string, roots []*x509.Certificate) (Authority, error)
	// Root fetches the root with a fingerprint from the step-ca at a URL.
	Root func(ctx context.Context, url, fingerprint string) (*x509.Certificate, error)
	// GuestMachine returns the machine that a Guest is, NodeMachine that of a node. Their errors are outcomes.
	GuestMachine func(ctx context.Context, g *v1alpha1.Guest) (*machine.Machine, error)
	NodeMachine  func(ctx context.Context, h *v1alpha1.Host, node string) (*machine.Machine, error)
	// Served returns the certificates that a server at an address shows when it is asked for a name.
	Served func(ctx context.Context, address, serverName string) ([]*x509.Certificate, error)
	// Metrics takes the times of all certificates.
	Metrics prometheus.Registerer
	// Clock tells the time.
	Clock clock.PassiveClock
}

// Kind is what a Certificate has to say to the loop.
type Kind struct {
	Config
	memory memory
	meters meters
	// roots of outside authorities by their fingerprints: those are what they are, whoever showed them.
	roots sync.Map
}

var (
	_ reconcile.Kind[*v1alpha1.Certificate, Seen] = (*Kind)(nil)
	_ reconcile.Timed[*v1alpha1.Certificate]      = (*Kind)(nil)
)

// New returns the kind. It returns an error when its metrics cannot be registered.
func New(c Config) (*Kind, error) {
	meters, err := newMeters(c.Metrics)
	if err != nil {
		return nil, err
	}
	return &Kind{Config: c, meters: meters}, nil
}

// Forget drops what is remembered of a Certificate that is gone, and its metrics.
func (k *Kind) Forget(name types.NamespacedName) {
	k.memory.forget(name)
	k.meters.drop(name)
}

// Next is when a Certificate is due for renewal.
func (k *Kind) Next(c *v1alpha1.Certificate) time.Time {
	if c.Status.RenewalTime == nil {
		return time.Time{}
	}
	return c.Status.RenewalTime.Time
}

// Refs says what a Certificate refers to. Nothing is issued before the authority serves; once there is a certificate, it
// is kept in its place while the authority is away, so that nothing but a renewal waits for it then.
func (k *Kind) Refs(c *v1alpha1.Certificate) []reconcile.Ref {
	refs := []reconcile.Ref{reconcile.Soft("Secret", c.Spec.SecretName)}
	if service := c.Spec.Authority.ServiceRef; service != nil {
		ref := reconcile.Hard("HostService", service.Name, v1alpha1.ServingCondition)
		if c.Status.NotAfter != nil {
			ref.Condition = ""
		}
		refs = append(refs, ref)
	}
	for _, of := range provisionerOf(c).secrets() {
		refs = append(refs, reconcile.Soft("Secret", of.Name))
	}
	for _, store := range storesOf(c) {
		refs = append(refs, reconcile.Soft("Secret", store.password.Name))
	}
	return append(refs, machineRefs(c)...)
}

// machineRefs are those to the machines that have the files, or are to have them.
func machineRefs(c *v1alpha1.Certificate) []reconcile.Ref {
	var refs []reconcile.Ref
	add := func(at place) {
		ref := reconcile.Soft("Host", at.host)
		if at.guest != "" {
			ref = reconcile.Soft("Guest", at.guest)
		}
		refs = append(refs, ref)
	}
	for i := range c.Spec.DeliverTo {
		add(placeOf(&c.Spec.DeliverTo[i]))
	}
	for _, d := range c.Status.Deliveries {
		if at, ok := parsePlace(d.Machine); ok {
			add(at)
		}
	}
	return refs
}
