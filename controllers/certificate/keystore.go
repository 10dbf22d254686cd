// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"context"
	"fmt"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// store is a keystore that the spec asks for.
type store struct {
	field       string // of the spec
	keys, trust string // entries of the Secret
	keystore    stepca.Keystore
	password    v1alpha1.SecretKeyReference
	missing     *problem // its password
}

// storesOf are the keystores of the spec, without their passwords.
func storesOf(c *v1alpha1.Certificate) []store {
	if c.Spec.Keystores == nil {
		return nil
	}
	var stores []store
	if p := c.Spec.Keystores.PKCS12; p != nil {
		stores = append(stores, store{
			field: "keystores.pkcs12", keys: "keystore.p12", trust: "truststore.p12", keystore: stepca.Keystore{Format: stepca.PKCS12}, password: p.PasswordSecretRef,
		})
	}
	if j := c.Spec.Keystores.JKS; j != nil {
		stores = append(stores, store{
			field: "keystores.jks", keys: "keystore.jks", trust: "truststore.jks", keystore: stepca.Keystore{Format: stepca.JKS, Alias: j.Alias}, password: j.PasswordSecretRef,
		})
	}
	return stores
}

// stores are the keystores of the spec with their passwords. One whose password is not there is a problem of its own.
func (k *Kind) stores(ctx context.Context, c *v1alpha1.Certificate) ([]store, error) {
	stores := storesOf(c)
	for i := range stores {
		s := &stores[i]
		password, _, err := k.entry(ctx, c.Namespace, s.password)
		if err != nil {
			return nil, err
		}
		if s.keystore.Password = password; len(password) == 0 {
			s.missing = &problem{reason: PasswordMissingReason, field: s.field, after: refusedFor, failure: true, err: fmt.Errorf(
				"%s: waiting for its password: Secret/%s has no entry %s", s.field, s.password.Name, s.password.Key)}
		}
	}
	return stores, nil
}

// fill puts a keystore among the entries of a Secret: what is there, while it holds the right things or nobody knows its
// password, or else a new one, as each is salted in another way.
func (s store) fill(data, there map[string][]byte, m *material, seen Seen) (err error) {
	for _, entry := range []string{s.keys, s.trust} {
		if had, ok := there[entry]; ok {
			data[entry] = had
		}
	}
	if s.missing != nil {
		return nil
	}
	pair := stepca.KeyPair{CertificatePEM: m.chainPEM(), KeyPEM: m.keyPEM(false)}
	if !s.keystore.Holds(there[s.keys], pair) {
		if data[s.keys], err = s.keystore.Encode(pair); err != nil {
			return fmt.Errorf("%s: %w", s.field, err)
		}
	}
	if roots := seen.bundleRoots(); len(roots) > 0 && !s.keystore.HoldsRoots(there[s.trust], roots) {
		if data[s.trust], err = s.keystore.EncodeRoots(roots); err != nil {
			return fmt.Errorf("%s: %w", s.field, err)
		}
	}
	return nil
}
