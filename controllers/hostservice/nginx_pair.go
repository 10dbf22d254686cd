// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// tlsPair is a certificate with its key. Without one, problem says why; with one, it says why the Secret's is not it.
type tlsPair struct {
	chain, key []byte // PEM
	leaf       *x509.Certificate
	problem    *leftOut
}

// ends is when the certificate is over.
func (p tlsPair) ends() time.Time { return p.leaf.NotAfter }

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// newPair reads a certificate and its key. Both are written anew, so that nothing else comes to a machine.
func newPair(certificate, key []byte) (tlsPair, error) {
	chain, err := stepca.ParseChain(certificate)
	if err != nil {
		return tlsPair{}, err
	}
	signer, err := stepca.DecodeKey(key)
	if err != nil {
		return tlsPair{}, err
	}
	p := tlsPair{chain: stepca.EncodeChain(chain), leaf: chain[0]}
	p.key, err = stepca.EncodeKey(signer, false)
	return p, err
}

// pairsOf reads what the Secrets of an nginx service's servers hold, in the order of the servers. An error is one of the
// API server's.
func (k *Kind) pairsOf(ctx context.Context, s *v1alpha1.HostService) ([]tlsPair, error) {
	var pairs []tlsPair
	for _, server := range s.Spec.Nginx.Servers {
		pair, _, err := k.pairOf(ctx, s.Namespace, server)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, pair)
	}
	return pairs, nil
}

// pairOf reads what the Secret of a server holds, and the authorities by which it is verified; none: those that everybody
// trusts.
func (k *Kind) pairOf(ctx context.Context, namespace string, server v1alpha1.NginxServer) (pair tlsPair, authorities []byte, err error) {
	name, from, err := k.secretOf(ctx, namespace, server)
	if err != nil {
		return tlsPair{}, nil, err
	}
	if name == "" {
		return tlsPair{problem: &leftOut{CertificateMissingReason, from + " is not there: declare it, or name another one"}}, nil, nil
	}
	var secret corev1.Secret
	err = k.Reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &secret)
	if err != nil && !apierrors.IsNotFound(err) {
		return tlsPair{}, nil, fmt.Errorf("read Secret/%s: %w", name, err)
	}
	if err != nil {
		return tlsPair{problem: &leftOut{CertificateMissingReason, from + " is not there: it must be a Secret of type kubernetes.io/tls"}}, nil, nil
	}
	return judgePair(secret.Data, from, k.Clock.Now()), secret.Data[bundleEntry], nil
}

// secretOf names the Secret of a server, and says what it is. A Certificate that is not there has none.
func (k *Kind) secretOf(ctx context.Context, namespace string, server v1alpha1.NginxServer) (name, from string, err error) {
	if server.CertificateRef == nil {
		return server.SecretRef.Name, "Secret/" + server.SecretRef.Name, nil
	}
	var c v1alpha1.Certificate
	from = "Certificate/" + server.CertificateRef.Name
	err = k.Reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: server.CertificateRef.Name}, &c)
	if apierrors.IsNotFound(err) {
		return "", from, nil
	}
	if err != nil {
		return "", from, fmt.Errorf("read %s: %w", from, err)
	}
	return c.Spec.SecretName, "Secret/" + c.Spec.SecretName + " of " + from, nil
}

// judgePair says what a Secret holds. A pair that does not fit, or not now, never comes to a machine.
func judgePair(data map[string][]byte, from string, now time.Time) tlsPair {
	wrong := func(reason, format string, values ...any) tlsPair {
		return tlsPair{problem: &leftOut{reason, from + " " + fmt.Sprintf(format, values...)}}
	}
	for _, part := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(data[part]) == 0 {
			return wrong(CertificateUnusableReason, "has no %s: it must be a Secret of type kubernetes.io/tls", part)
		}
	}
	p, err := newPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return wrong(CertificateUnusableReason, "cannot be used: %v: put the certificate, its chain and its key into it, in PEM", err)
	}
	if err := stepca.Matches(p.chain, p.key); err != nil {
		return wrong(KeyMismatchReason, "does not fit: %v: put the two that belong together into it", err)
	}
	switch {
	case now.After(p.leaf.NotAfter):
		return wrong(CertificateExpiredReason, "has a certificate that ended %s: put a new one into it", day(p.leaf.NotAfter))
	case now.Before(p.leaf.NotBefore):
		return wrong(CertificateNotYetValidReason, "has a certificate that begins %s: wait, or put one into it that is valid now", p.leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return p
}

// lost are the files of the servers whose Secrets cannot be used: what the machine has is served on.
func (g gateway) lost() []string {
	var paths []string
	for _, e := range g.entries {
		if e.pair.problem != nil && !e.kept {
			certificate, key := g.files(e)
			paths = append(paths, certificate, key)
		}
	}
	return paths
}

// complete returns the design with what the machine has of the servers whose Secrets cannot be used; nil where it has
// nothing of them that fits.
func (g gateway) complete() func(contents map[string][]byte) (*design, error) {
	if len(g.lost()) == 0 {
		return nil
	}
	return func(contents map[string][]byte) (*design, error) {
		whole := g
		whole.entries = nil
		found := false
		for _, e := range g.entries {
			certificate, key := g.files(e)
			if p, ok := keptPair(contents[certificate], contents[key]); ok && e.pair.problem != nil {
				p.problem, e.kept, found = e.pair.problem, true, true
				e.pair = p
			}
			whole.entries = append(whole.entries, e)
		}
		if !found {
			return nil, nil
		}
		d, err := whole.design()
		d.complete = nil
		return &d, err
	}
}

// keptPair is what a machine has of a server.
func keptPair(certificate, key []byte) (tlsPair, bool) {
	if len(certificate) == 0 || len(key) == 0 || stepca.Matches(certificate, key) != nil {
		return tlsPair{}, false
	}
	p, err := newPair(certificate, key)
	return p, err == nil
}
