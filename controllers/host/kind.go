// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package host is the kind Host: one Proxmox VE endpoint. It says whether the endpoint is reachable as declared, what it is,
// and whether its token may do what the Guests ask for. All that it changes outside are the trust stores of its nodes, as far
// as it declares trustAuthorities.
package host

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/authority"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Site is what a Host needs of its connections. It must be comparable: another one means other connections.
type Site interface {
	Version(ctx context.Context) (string, error)
	Nodes(ctx context.Context) ([]proxmox.Node, error)
	Quorate(ctx context.Context) (bool, error)
	Permissions(ctx context.Context) (proxmox.Permissions, error)
	// Guests are all guests of the site by VMID, as last listed.
	Guests(ctx context.Context) (map[int]proxmox.Resource, error)
	// CheckSSH makes sure that commands can be run on a node.
	CheckSSH(ctx context.Context, node string) error
}

// Kind is what a Host has to say to the loop.
type Kind struct {
	// Connect returns the connections of a Host as its spec and its Secrets are now. It makes no call to the site.
	Connect func(ctx context.Context, host *v1alpha1.Host) (Site, error)
	// Guests lists the Guests that name a Host.
	Guests func(ctx context.Context, host *v1alpha1.Host) ([]v1alpha1.Guest, error)
	// Services lists the HostServices that run on a Host or in one of its Guests.
	Services func(ctx context.Context, host *v1alpha1.Host) ([]v1alpha1.HostService, error)
	// Mark returns the tag that a Guest's guest bears in Proxmox VE.
	Mark func(host *v1alpha1.Host, guest *v1alpha1.Guest) string
	// Machine returns the machine that a node is, over SSH. Its error is an outcome.
	Machine func(ctx context.Context, host *v1alpha1.Host, node string) (*machine.Machine, error)
	// Authorities knows the roots that nodes trust.
	Authorities *authority.Book
	// TrustInterval is how long a node whose trust store is as it should be is not looked at again.
	TrustInterval time.Duration
	// Clock tells the time.
	Clock clock.PassiveClock

	mu    sync.Mutex
	memo  map[types.NamespacedName]remembered
	trust map[types.NamespacedName]map[string]looked
}

// memory is how long the answers of a site serve further passes: every change of a Guest brings one.
const memory = 10 * time.Second

// remembered are answers of a site that were all as they should be.
type remembered struct {
	site       Site
	generation int64
	at         time.Time
	answers    answers
}

var _ reconcile.Kind[*v1alpha1.Host, Seen] = (*Kind)(nil)

// Refs of a Host are its Secrets, and, softly, the authorities that its nodes trust. The clean-up of its Guests needs all of
// the Secrets, so they outlive it.
func (k *Kind) Refs(host *v1alpha1.Host) []reconcile.Ref {
	refs := []reconcile.Ref{reconcile.HeldSecret(host.Spec.TokenSecretRef.Name)}
	if ca := host.Spec.TLS.CASecretRef; ca != nil {
		refs = append(refs, reconcile.HeldSecret(ca.Name))
	}
	if ssh := host.Spec.SSH; ssh != nil {
		refs = append(refs, reconcile.HeldSecret(ssh.KeySecretRef.Name))
	}
	return append(refs, authority.Refs(host.Spec.TrustAuthorities)...)
}

// Plan returns the steps that bring the nodes to trust what they are to trust, and then those that say what cannot be had.
func (k *Kind) Plan(_ *v1alpha1.Host, seen Seen) []reconcile.Step {
	do, refused := seen.trustSteps()
	return append(do, refused...)
}

// Remove returns the steps that take our roots out of the nodes' trust stores. The connections are dropped when the object
// is gone.
func (k *Kind) Remove(_ *v1alpha1.Host, seen Seen) []reconcile.Step {
	do, refused := seen.trustSteps()
	return append(do, refused...)
}

// Forget drops what is remembered of a Host that is gone.
func (k *Kind) Forget(name types.NamespacedName) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.memo, name)
	delete(k.trust, name)
}

// recall returns answers that are young enough and of the same connections and spec.
func (k *Kind) recall(host *v1alpha1.Host, site Site) (answers, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m, ok := k.memo[nameOf(host)]
	ok = ok && m.site == site && m.generation == host.Generation && k.Clock.Since(m.at) < memory
	return m.answers, ok
}

func (k *Kind) remember(host *v1alpha1.Host, site Site, a answers) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.memo == nil {
		k.memo = map[types.NamespacedName]remembered{}
	}
	k.memo[nameOf(host)] = remembered{site, host.Generation, k.Clock.Now(), a}
}

func nameOf(host *v1alpha1.Host) types.NamespacedName {
	return types.NamespacedName{Namespace: host.Namespace, Name: host.Name}
}
