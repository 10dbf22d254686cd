// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// authority is what is known of who signs.
type authority struct {
	// name for people: "HostService/step-ca", or its URL.
	name string
	// machine on which it runs, for people.
	machine string
	url     string
	// roots are all that have to be trusted, the present one first; nil: not known now.
	roots []*x509.Certificate
	// issuer is the fingerprint of the root under which it issues; empty: not known now.
	issuer string
	// away says why it cannot be asked for anything; empty: it can.
	away string
	// lost says why its root could not be fetched.
	lost error
	// gone says that it is not there any more, or on its way out.
	gone bool
	// state changes when it is worth to ask again before the time.
	state string
}

// authorityOf finds out who signs.
func (k *Kind) authorityOf(ctx context.Context, c *v1alpha1.Certificate, seen Seen) (authority, error) {
	if outside := c.Spec.Authority.Outside; outside != nil {
		return k.outside(ctx, outside, seen), nil
	}
	var a authority
	if c.Spec.Authority.ServiceRef == nil {
		return authority{name: "the authority", away: "the spec names none", gone: true}, nil
	}
	name := c.Spec.Authority.ServiceRef.Name
	a.name = "HostService/" + name
	a.machine = a.name
	var s v1alpha1.HostService
	err := k.Client.Get(ctx, types.NamespacedName{Namespace: c.Namespace, Name: name}, &s)
	if apierrors.IsNotFound(err) {
		a.away, a.gone = "not found", true
		return a, nil
	}
	if err != nil {
		return a, fmt.Errorf("read HostService/%s: %w", name, err)
	}
	a.gone = !s.DeletionTimestamp.IsZero()
	a.of(&s)
	return a, nil
}

// of reads the status of a stepCA HostService.
func (a *authority) of(s *v1alpha1.HostService) {
	if s.Spec.GuestRef != nil {
		a.machine = "Guest/" + s.Spec.GuestRef.Name
	}
	serving := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ServingCondition)
	switch {
	case s.Spec.StepCA == nil:
		a.away = "it is no stepCA"
		return
	case serving == nil:
		a.away = "not Serving yet"
	case serving.Status != "True":
		a.away = fmt.Sprintf("not Serving (%s)", serving.Reason)
	}
	if serving != nil {
		a.state = serving.LastTransitionTime.String()
	}
	ca := s.Status.StepCA
	if ca == nil || ca.URL == "" {
		a.away = "not Serving yet"
		return
	}
	roots, err := stepca.ParseChain([]byte(ca.CABundle))
	if err != nil {
		a.away = "its status holds no roots"
		return
	}
	a.url, a.roots, a.issuer = ca.URL, roots, ca.IssuerFingerprint
}

// outside is an authority that is not Phoenix's. Its root is in the Secret once there was a certificate; it is fetched
// for a Secret that lost it.
func (k *Kind) outside(ctx context.Context, o *v1alpha1.OutsideAuthority, seen Seen) authority {
	a := authority{name: o.URL, machine: o.URL, url: o.URL, issuer: o.Fingerprint}
	if seen.secret != nil {
		for _, root := range seen.secret.roots {
			if stepca.Fingerprint(root) == o.Fingerprint {
				a.roots = []*x509.Certificate{root}
				return a
			}
		}
	}
	if !seen.held().fits() && seen.memory.fresh == nil {
		return a
	}
	root, err := k.root(ctx, o.URL, o.Fingerprint)
	if err != nil {
		a.lost = err
		return a
	}
	a.roots = []*x509.Certificate{root}
	return a
}

// trusts says whether the fingerprint is that of one of its roots.
func (a *authority) trusts(fingerprint string) bool {
	return slices.ContainsFunc(a.roots, func(root *x509.Certificate) bool { return stepca.Fingerprint(root) == fingerprint })
}

// client of the authority. The root of one outside is fetched by its fingerprint when it is not known yet.
func (k *Kind) client(ctx context.Context, a *authority) (Authority, error) {
	if a.roots == nil {
		root, err := k.root(ctx, a.url, a.issuer)
		if err != nil {
			return nil, err
		}
		a.roots = []*x509.Certificate{root}
	}
	return k.Authority(a.url, a.roots)
}

// root of an outside authority. It is fetched once.
func (k *Kind) root(ctx context.Context, url, fingerprint string) (*x509.Certificate, error) {
	if had, ok := k.roots.Load(fingerprint); ok {
		return had.(*x509.Certificate), nil
	}
	root, err := k.Root(ctx, url, fingerprint)
	if err != nil {
		return nil, err
	}
	k.roots.Store(fingerprint, root)
	return root, nil
}

// bundle is the roots as the Secret has them: those of the authority, or, while they are not known, what is there.
func (s Seen) bundle() []byte {
	if s.authority.roots == nil && s.secret != nil {
		return s.secret.data[rootsEntry]
	}
	return stepca.EncodeChain(s.authority.roots)
}

// bundleRoots is bundle as certificates.
func (s Seen) bundleRoots() []*x509.Certificate {
	if s.authority.roots == nil && s.secret != nil {
		return s.secret.roots
	}
	return s.authority.roots
}

// rootOf is the fingerprint of the root that a certificate leads to, of those that are known; empty: none of them.
func (s Seen) rootOf(m *material) string {
	known := slices.Clone(s.authority.roots)
	if s.secret != nil {
		known = append(known, s.secret.roots...)
	}
	root, err := stepca.RootOf(m.chain, known)
	if err != nil {
		return ""
	}
	return stepca.Fingerprint(root)
}

// issuedUsages are what a certificate may be used for.
func issuedUsages(m *material) []string { return stepca.UsagesOf(m.leaf()) }
