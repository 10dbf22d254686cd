// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// Seen is what one observation of a Certificate found. It holds keys, and is never printed.
type Seen struct {
	now time.Time
	// known says that the Secret was read; else nothing else is set.
	known     bool
	authority authority
	secret    *secretSeen // nil: there is none
	stores    []store
	// signer is read when a certificate is due.
	signer signer
	// taken names an older Certificate that writes the same Secret.
	taken   string
	memory  remembered
	renewal time.Time // of what is in the Secret, if anything
	// looked says that the machines and servers were asked.
	looked     bool
	deliveries []*delivery
}

// held is the key and the certificate of the Secret; nil: there is no Secret.
func (s Seen) held() *material {
	if s.secret == nil {
		return nil
	}
	return s.secret.held
}

// Observe reads the Secret, and, once that is as it should be, looks at all machines and servers at once.
func (k *Kind) Observe(ctx context.Context, c *v1alpha1.Certificate) (Seen, error) {
	name := nameOf(c)
	seen := Seen{now: k.Clock.Now(), memory: k.memory.of(name)}
	var err error
	if seen.secret, err = k.readSecret(ctx, c); err != nil {
		return seen, err
	}
	if seen.authority, err = k.authorityOf(ctx, c, seen); err != nil {
		return seen, err
	}
	if seen.stores, err = k.stores(ctx, c); err != nil {
		return seen, err
	}
	if seen.taken, err = k.olderOf(ctx, c); err != nil {
		return seen, err
	}
	if judge(c, seen.held(), seen).reason != "" {
		seen.signer = k.signerOf(ctx, c)
	}
	seen.known = true
	k.meter(c, &seen)
	if !c.DeletionTimestamp.IsZero() {
		k.lookBack(ctx, c, &seen)
		return seen, nil
	}
	if seen.secret.notOurs(c, seen.taken) != nil || len(k.planSecret(c, seen)) > 0 && c.Spec.Management != v1alpha1.ManagementObserve {
		return seen, nil // machines come after the Secret
	}
	k.lookAround(ctx, c, &seen)
	return seen, nil
}

// meter notes the times of what the Secret holds.
func (k *Kind) meter(c *v1alpha1.Certificate, seen *Seen) {
	name := nameOf(c)
	held := seen.held()
	if !held.fits() || seen.secret.annotations[OwnerAnnotation] != c.Name {
		k.meters.drop(name)
		return
	}
	seen.renewal, _ = renewal(c, held)
	k.meters.set(name, held.life().end, seen.renewal)
}

// olderOf names an older Certificate with the same Secret. One that is being deleted gives it up.
func (k *Kind) olderOf(ctx context.Context, c *v1alpha1.Certificate) (string, error) {
	var list v1alpha1.CertificateList
	err := k.Client.List(ctx, &list, client.InNamespace(c.Namespace), client.MatchingFields{BySecret: c.Spec.SecretName},
		client.DisableReadYourWritesConsistency) // nothing that we write counts here, and to wait for all of it takes long
	if err != nil {
		return "", fmt.Errorf("list Certificates of Secret/%s: %w", c.Spec.SecretName, err)
	}
	for i := range list.Items {
		other := &list.Items[i]
		if other.Name != c.Name && other.DeletionTimestamp.IsZero() && older(other, c) {
			return other.Name, nil
		}
	}
	return "", nil
}

// older orders Certificates by age, those of one second by name.
func older(a, b *v1alpha1.Certificate) bool {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name)) < 0
}
