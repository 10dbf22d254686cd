// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"
	"sync"

	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/certificate"
	"github.com/phoenix-hypervisor/phoenix/internal/pin"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

func newCertificate() *v1alpha1.Certificate { return &v1alpha1.Certificate{} }

// certificates registers the kind Certificate, and returns what sets its loop up once every kind is in the graph.
func (h *house) certificates() (setup func() error, err error) {
	signers := &signers{dial: h.opts.Dial, clock: h.opts.Clock}
	kind, err := certificate.New(certificate.Config{
		Client: h.mgr.GetClient(), Authority: signers.of, Root: h.fetchRoot,
		GuestMachine: h.guestMachine, NodeMachine: h.nodeMachine,
		Served: func(ctx context.Context, address, serverName string) ([]*x509.Certificate, error) {
			return pin.Served(ctx, h.opts.Dial, address, serverName)
		},
		Metrics: metrics.Registry, Clock: h.opts.Clock,
	})
	if err != nil {
		return nil, err
	}
	if err := h.mgr.GetFieldIndexer().IndexField(context.Background(), newCertificate(), certificate.BySecret, certificate.SecretOf); err != nil {
		return nil, fmt.Errorf("index Certificates by Secret: %w", err)
	}
	reconcile.Register(h.graph, "Certificate", kind, newCertificate, func() client.ObjectList { return &v1alpha1.CertificateList{} })
	return func() error {
		if err := h.forgetCertificates(kind); err != nil {
			return err
		}
		return loop(h, "Certificate", kind, newCertificate, h.opts.CertificateInterval).Setup(h.mgr, reconcile.SetupOptions{Concurrency: h.opts.Concurrency})
	}, nil
}

// forgetCertificates drops what is remembered of a Certificate once the object is gone.
func (h *house) forgetCertificates(kind *certificate.Kind) error {
	informer, err := h.mgr.GetCache().GetInformer(context.Background(), newCertificate(), cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch Certificates: %w", err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{DeleteFunc: func(gone any) {
		if last, ok := gone.(toolscache.DeletedFinalStateUnknown); ok {
			gone = last.Obj
		}
		if obj, ok := gone.(*v1alpha1.Certificate); ok {
			kind.Forget(client.ObjectKeyFromObject(obj))
		}
	}})
	if err != nil {
		return fmt.Errorf("watch Certificates: %w", err)
	}
	return nil
}

// signers keeps one client for each authority, so that its Certificates share connections. Another set of roots takes the
// place of the one before.
type signers struct {
	dial  Dial
	clock clock.PassiveClock

	mu  sync.Mutex
	all map[string]signer // by URL
}

type signer struct {
	roots string
	*stepca.Client
}

// of returns the client of the authority at a URL, pinned by its roots.
func (s *signers) of(url string, roots []*x509.Certificate) (certificate.Authority, error) {
	var prints []string
	for _, root := range roots {
		prints = append(prints, stepca.Fingerprint(root))
	}
	key := strings.Join(prints, " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	if had, ok := s.all[url]; ok && had.roots == key {
		return had.Client, nil
	}
	made, err := stepca.NewClient(stepca.Options{URL: url, Roots: roots, Dial: s.dial, Clock: s.clock})
	if err != nil {
		return nil, err
	}
	if s.all == nil {
		s.all = map[string]signer{}
	}
	s.all[url] = signer{key, made}
	return made, nil
}
