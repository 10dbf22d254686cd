// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// The Secret of a stepCA HostService with the key of its provisioner.
const (
	provisionerSuffix = "-provisioner"
	provisionerKey    = "jwk.json"
)

// provisioner is where the key that signs one-time tokens stands.
type provisioner struct {
	name     string
	key      v1alpha1.SecretKeyReference
	password *v1alpha1.SecretKeyReference
}

// provisionerOf is the provisioner that a Certificate is signed through.
func provisionerOf(c *v1alpha1.Certificate) provisioner {
	if service := c.Spec.Authority.ServiceRef; service != nil {
		return provisioner{name: stepca.DefaultProvisioner, key: v1alpha1.SecretKeyReference{Name: service.Name + provisionerSuffix, Key: provisionerKey}}
	}
	p := c.Spec.Authority.Provisioner
	if p == nil {
		return provisioner{}
	}
	return provisioner{name: p.Name, key: p.KeySecretRef, password: p.PasswordSecretRef}
}

func (p provisioner) secrets() []v1alpha1.SecretKeyReference {
	var refs []v1alpha1.SecretKeyReference
	if p.key.Name != "" {
		refs = append(refs, p.key)
	}
	if p.password != nil {
		refs = append(refs, *p.password)
	}
	return refs
}

// errNoProvisioner says that the key that signs one-time tokens is not there.
var errNoProvisioner = errors.New("waiting for the provisioner's key")

// signer is the key that signs one-time tokens.
type signer struct {
	stepca.Provisioner
	// version changes with the Secrets that it stands in.
	version string
	err     error
}

// signerOf reads the key that signs one-time tokens.
func (k *Kind) signerOf(ctx context.Context, c *v1alpha1.Certificate) signer {
	of := provisionerOf(c)
	s := signer{Provisioner: stepca.Provisioner{Name: of.name}}
	s.JWK = k.part(ctx, c.Namespace, of.key, &s)
	if of.password != nil && s.err == nil {
		s.Password = k.part(ctx, c.Namespace, *of.password, &s)
	}
	return s
}

// part reads an entry of a Secret, and notes its version.
func (k *Kind) part(ctx context.Context, namespace string, ref v1alpha1.SecretKeyReference, s *signer) []byte {
	value, version, err := k.entry(ctx, namespace, ref)
	s.version += version + " "
	if s.err = err; err == nil && len(value) == 0 {
		s.err = fmt.Errorf("%w: Secret/%s has no entry %s", errNoProvisioner, ref.Name, ref.Key)
	}
	return value
}

// entry reads an entry of a Secret, and its version; nil when it is not there.
func (k *Kind) entry(ctx context.Context, namespace string, ref v1alpha1.SecretKeyReference) ([]byte, string, error) {
	var secret corev1.Secret
	err := k.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: ref.Name}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read Secret/%s: %w", ref.Name, err)
	}
	return secret.Data[ref.Key], string(secret.UID) + secret.ResourceVersion, nil
}
