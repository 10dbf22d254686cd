// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package authority is what Guests and Hosts have in common that trust certificate authorities: which roots those have
// now, and the steps by which a machine comes to trust them.
//
// An authority that does not say what its roots are takes nothing from anybody: what a machine trusts of ours stays
// until every authority that its object names is known.
package authority

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
	"github.com/phoenix-hypervisor/phoenix/internal/trust"
)

const (
	// patience bounds the question to an outside authority.
	patience = 10 * time.Second
	// silence is how long one that did not answer is not asked again, by whomever.
	silence = Later
)

// Book knows the roots of authorities. It is safe for concurrent use.
type Book struct {
	// Reader reads HostServices from the cache.
	Reader client.Reader
	// Fetch asks the authority at a URL for its root with a fingerprint, and checks that it has it.
	Fetch func(ctx context.Context, url, fingerprint string) (*x509.Certificate, error)
	// Clock tells the time.
	Clock clock.PassiveClock

	mu sync.Mutex
	// pinned are the roots of outside authorities by their fingerprints. These are what they are, whoever has shown them.
	pinned map[string]trust.Root
	asked  map[v1alpha1.OutsideAuthority]*question
}

// question is one that was put to an outside authority. Its own lock has others wait for the answer.
type question struct {
	mu  sync.Mutex
	err error
	at  time.Time
}

// Refs are the soft references of whoever trusts authorities: the HostServices among them.
func Refs(list []v1alpha1.TrustAuthority) []reconcile.Ref {
	var refs []reconcile.Ref
	for _, a := range list {
		if a.ServiceRef == nil {
			continue
		}
		if ref := reconcile.Soft("HostService", a.ServiceRef.Name); !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// Want is what authorities are known to want trusted.
type Want struct {
	Roots []trust.Root
	// Problems are the authorities of which that is not known.
	Problems []Problem
	// outside are those among them that have not been asked.
	outside []v1alpha1.OutsideAuthority
}

// Problem says why the roots of an authority are not known.
type Problem struct {
	Reason string
	Err    error
}

// outcome of a problem: what comes by itself is waited for.
func (p Problem) outcome() error {
	if p.Reason == WaitingForAuthorityReason {
		return reconcile.Wait(p.Reason, Later, p.Err)
	}
	return reconcile.Fail(p.Reason, p.Err)
}

// key is the same of two that want the same.
func (w *Want) key() string {
	parts := trust.Fingerprints(w.Roots)
	for _, p := range w.Problems {
		parts = append(parts, p.Reason+": "+p.Err.Error())
	}
	return strings.Join(parts, "\n")
}

// Want says what the authorities of a namespace want trusted, as far as that is known without a question to anybody
// outside the cluster.
func (b *Book) Want(ctx context.Context, namespace string, list []v1alpha1.TrustAuthority) (Want, error) {
	var w Want
	for _, a := range list {
		switch {
		case a.ServiceRef != nil:
			roots, problem, err := b.service(ctx, types.NamespacedName{Namespace: namespace, Name: a.ServiceRef.Name})
			if err != nil {
				return Want{}, err
			}
			w.Roots = append(w.Roots, roots...)
			if problem != nil {
				w.Problems = append(w.Problems, *problem)
			}
		case a.Outside != nil:
			if root, ok := b.known(a.Outside.Fingerprint); ok {
				w.Roots = append(w.Roots, root)
			} else {
				w.outside = append(w.outside, *a.Outside)
			}
		}
	}
	w.Roots = trust.Unite(w.Roots)
	return w, nil
}

// service reads the roots of a HostService.
func (b *Book) service(ctx context.Context, name types.NamespacedName) ([]trust.Root, *Problem, error) {
	var s v1alpha1.HostService
	err := b.Reader.Get(ctx, name, &s)
	switch {
	case apierrors.IsNotFound(err):
		return nil, &Problem{WaitingForAuthorityReason, fmt.Errorf("waiting for HostService/%s: not found", name.Name)}, nil
	case err != nil:
		return nil, nil, fmt.Errorf("read HostService/%s: %w", name.Name, err)
	case s.Spec.StepCA == nil:
		return nil, &Problem{NoAuthorityReason, fmt.Errorf("HostService/%s is no certificate authority: name one with stepCA", name.Name)}, nil
	case s.Status.StepCA == nil || s.Status.StepCA.CABundle == "":
		return nil, &Problem{WaitingForAuthorityReason, fmt.Errorf("waiting for HostService/%s: it has no root yet%s", name.Name, why(&s))}, nil
	}
	roots, err := trust.Parse([]byte(s.Status.StepCA.CABundle))
	if err != nil {
		return nil, &Problem{AuthorityInvalidReason, fmt.Errorf("read status.stepCA.caBundle of HostService/%s: %w", name.Name, err)}, nil
	}
	return roots, nil, nil
}

// why repeats in short what a HostService waits for itself.
func why(s *v1alpha1.HostService) string {
	ready := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ReadyCondition)
	if ready == nil || ready.Status == "True" {
		return ""
	}
	return " (" + ready.Reason + ")"
}

func (b *Book) known(fingerprint string) (trust.Root, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	root, ok := b.pinned[fingerprint]
	return root, ok
}

// learn notes roots that were seen. Only those count whose fingerprints somebody pins.
func (b *Book) learn(roots ...trust.Root) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pinned == nil {
		b.pinned = map[string]trust.Root{}
	}
	for _, r := range roots {
		b.pinned[r.Fingerprint] = r
	}
}

// ask puts the question to every outside authority that is not known, and says which did not answer.
func (b *Book) ask(ctx context.Context, list []v1alpha1.OutsideAuthority) []Problem {
	var problems []Problem
	for _, o := range list {
		if err := b.askOne(ctx, o); err != nil {
			reason := AuthorityInvalidReason
			if kind := stepca.KindOf(err); kind == stepca.Away || kind == "" {
				reason = WaitingForAuthorityReason
			}
			problems = append(problems, Problem{reason, fmt.Errorf("ask %s for its root: %s", o.URL, said(err))})
		}
	}
	return problems
}

func (b *Book) askOne(ctx context.Context, o v1alpha1.OutsideAuthority) error {
	q := b.question(o)
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := b.known(o.Fingerprint); ok {
		return nil
	}
	if q.err != nil && b.Clock.Since(q.at) < silence {
		return q.err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cert, err := b.Fetch(ctx, o.URL, o.Fingerprint)
	if err == nil {
		b.learn(trust.New(cert))
	}
	q.err, q.at = err, b.Clock.Now()
	return err
}

func (b *Book) question(o v1alpha1.OutsideAuthority) *question {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.asked == nil {
		b.asked = map[v1alpha1.OutsideAuthority]*question{}
	}
	if b.asked[o] == nil {
		b.asked[o] = &question{}
	}
	return b.asked[o]
}

// said tells of a failed question in words that are the same the next time: without a local port and the time.
func said(err error) string {
	var (
		answer  *stepca.Error
		number  syscall.Errno
		resolve *net.DNSError
		timeout net.Error
		request *url.Error
	)
	if errors.As(err, &answer) {
		err = answer.Err
	}
	switch {
	case errors.As(err, &number):
		return number.Error()
	case errors.As(err, &resolve):
		return "no address is known for " + resolve.Name
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &request):
		return request.Err.Error()
	}
	return err.Error()
}
