// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/nginx"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// pair is a certificate with its key, as a gateway gets it. It is never printed.
type pair struct {
	chain, key []byte // PEM
	leaf       *x509.Certificate
}

// covered says for which host the gateway would have no certificate. Its error is an outcome.
func (k *Kind) covered(ctx context.Context, r *v1alpha1.Route, gateway *side, from *reader) error {
	if r.Spec.TLS != nil || r.Spec.TCP != nil {
		return nil
	}
	var names []string
	for _, server := range gateway.service.Spec.Nginx.Servers {
		own, err := k.namesOf(ctx, server, from)
		if err != nil {
			return err
		}
		names = append(names, own...)
	}
	for _, host := range r.Spec.Hosts {
		if !nginx.Covers(names, host) {
			return reconcile.Stall(NoCertificateReason, fmt.Errorf(
				"no server of %s has a certificate for %s: add one to nginx.servers with the name %s, or set tls of the Route",
				gateway, host, wildcardFor(host)))
		}
	}
	return nil
}

// wildcardFor is a name that would cover a host, and its neighbours.
func wildcardFor(host string) string {
	if strings.HasPrefix(host, "*.") || !strings.Contains(host, ".") {
		return host
	}
	return host + " or " + wildcardOf(host)
}

// namesOf are those that a server of a gateway answers to: what it declares, else what its certificate is for.
func (k *Kind) namesOf(ctx context.Context, server v1alpha1.NginxServer, from *reader) ([]string, error) {
	switch {
	case len(server.Names) > 0:
		return server.Names, nil
	case server.CertificateRef != nil:
		c := &v1alpha1.Certificate{}
		_, err := from.get(ctx, "Certificate", server.CertificateRef.Name, c)
		return c.Spec.DNSNames, err
	case server.SecretRef == nil:
		return nil, nil
	}
	return k.secretNames(ctx, from.namespace, server.SecretRef.Name)
}

// secretNames are the names of the certificate in a Secret of somebody else, read once in a while for all Routes.
func (k *Kind) secretNames(ctx context.Context, namespace, name string) ([]string, error) {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	now := k.Clock.Now()
	if names, ok := k.memory.namesIn(key, now); ok {
		return names, nil
	}
	var names []string
	found, err := k.secretPair(ctx, namespace, name, "Secret/"+name)
	switch {
	case err == nil:
		names = found.leaf.DNSNames
	case reconcile.ReasonOf(err) == "":
		return nil, err
	}
	k.memory.keepNames(key, names, now)
	return names, nil
}

// ownPair is the certificate that a Route brings; nil: it brings none, or, with an error that is an outcome, none that can be
// used.
func (k *Kind) ownPair(ctx context.Context, r *v1alpha1.Route, from *reader) (*pair, error) {
	t := r.Spec.TLS
	if t == nil {
		return nil, nil
	}
	var name, source string
	if t.SecretRef != nil {
		name, source = t.SecretRef.Name, "Secret/"+t.SecretRef.Name
	} else {
		certificate := certificateName(r)
		if t.CertificateRef != nil {
			certificate = t.CertificateRef.Name
		}
		c := &v1alpha1.Certificate{}
		found, err := from.get(ctx, "Certificate", certificate, c)
		if err != nil {
			return nil, err
		}
		if why := unissued(c, found); why != "" {
			return nil, reconcile.Wait(CertificateMissingReason, missingFor, fmt.Errorf("waiting for Certificate/%s: %s", certificate, why))
		}
		name, source = c.Spec.SecretName, "Secret/"+c.Spec.SecretName+" of Certificate/"+certificate
	}
	p, err := k.secretPair(ctx, r.Namespace, name, source)
	if err != nil {
		return nil, err
	}
	return p, p.fits(r, source, k.Clock.Now())
}

// unissued says why a Certificate cannot be served yet; empty: it can.
func unissued(c *v1alpha1.Certificate, found bool) string {
	if !found {
		return "not found"
	}
	for _, condition := range c.Status.Conditions {
		if condition.Type == v1alpha1.IssuedCondition && condition.Status == "True" {
			return ""
		}
	}
	return "not Issued yet"
}

// fits says why a certificate is not served; nil: it is.
func (p *pair) fits(r *v1alpha1.Route, source string, now time.Time) error {
	unusable := func(format string, values ...any) error {
		return reconcile.Wait(CertificateUnusableReason, missingFor, fmt.Errorf(source+" "+format, values...))
	}
	switch {
	case now.After(p.leaf.NotAfter):
		return unusable("has a certificate that ended %s: put a new one into it", p.leaf.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(p.leaf.NotBefore):
		return unusable("has a certificate that begins %s: wait, or put one into it that is valid now", p.leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	for _, host := range r.Spec.Hosts {
		if !nginx.Covers(p.leaf.DNSNames, host) {
			return reconcile.Stall(NoCertificateReason, fmt.Errorf("the certificate in %s is not for %s: it is for %s", source, host, strings.Join(p.leaf.DNSNames, ", ")))
		}
	}
	return nil
}

// secretPair reads a certificate and its key. Both are written anew, so that nothing else comes to a machine.
func (k *Kind) secretPair(ctx context.Context, namespace, name, source string) (*pair, error) {
	var secret corev1.Secret
	err := k.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, reconcile.Wait(CertificateMissingReason, missingFor, fmt.Errorf("waiting for %s: not found", source))
	}
	if err != nil {
		return nil, fmt.Errorf("read Secret/%s: %w", name, err)
	}
	p, err := newPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, reconcile.Wait(CertificateUnusableReason, missingFor, fmt.Errorf(
			"%s cannot be used: %w: put a certificate, its chain and its key into it, in PEM, as tls.crt and tls.key", source, err))
	}
	return p, nil
}

func newPair(certificate, key []byte) (*pair, error) {
	if len(certificate) == 0 || len(key) == 0 {
		return nil, errors.New("it lacks one of the two")
	}
	chain, err := stepca.ParseChain(certificate)
	if err != nil {
		return nil, err
	}
	signer, err := stepca.DecodeKey(key)
	if err != nil {
		return nil, err
	}
	p := &pair{chain: stepca.EncodeChain(chain), leaf: chain[0]}
	if p.key, err = stepca.EncodeKey(signer, false); err != nil {
		return nil, err
	}
	return p, stepca.Matches(p.chain, p.key)
}

// covers says whether what a gateway shows is good for a host at a time.
func covers(leaf *x509.Certificate, host string, now time.Time) error {
	names := slices.Clone(leaf.DNSNames)
	switch {
	case !nginx.Covers(names, host):
		return fmt.Errorf("it is for %s", strings.Join(names, ", "))
	case now.After(leaf.NotAfter):
		return fmt.Errorf("it ended %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("it begins %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}
