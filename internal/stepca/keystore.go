// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"unicode"

	jks "github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"
)

// KeystoreFormat is how a Keystore is written.
type KeystoreFormat string

const (
	// PKCS12 is read by nearly everything: OpenSSL from 1.1.1, Java from 12 (and later updates of 8 and 11), Windows from
	// Server 2019.
	PKCS12 KeystoreFormat = "PKCS12"
	// JKS is Java's own.
	JKS KeystoreFormat = "JKS"
)

// DefaultAlias is the name of the key in a JKS keystore without one.
const DefaultAlias = "certificate"

// Keystore writes keys and certificates behind a password. What it writes differs every time, as it is salted: Holds and
// HoldsRoots tell whether there is anything to write.
type Keystore struct {
	Format   KeystoreFormat
	Alias    string // of the key, JKS only; empty: DefaultAlias
	Password []byte // not empty
}

// Encode writes a key with its certificate and intermediates.
func (k Keystore) Encode(pair KeyPair) ([]byte, error) {
	data, err := k.encode(pair)
	if err != nil {
		return nil, fmt.Errorf("write keystore: %w", err)
	}
	return data, nil
}

func (k Keystore) encode(pair KeyPair) ([]byte, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	if err := Matches(pair.CertificatePEM, pair.KeyPEM); err != nil {
		return nil, err
	}
	chain, err := ParseChain(pair.CertificatePEM)
	if err != nil {
		return nil, err
	}
	key, err := DecodeKey(pair.KeyPEM)
	if err != nil {
		return nil, err
	}
	if k.Format == PKCS12 {
		return pkcs12.Modern2023.Encode(key, chain[0], chain[1:], string(k.Password))
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	entry := jks.PrivateKeyEntry{CreationTime: chain[0].NotBefore, PrivateKey: der}
	for _, cert := range chain {
		entry.CertificateChain = append(entry.CertificateChain, jksCertificate(cert))
	}
	store := jks.New(jks.WithOrderedAliases())
	if err := store.SetPrivateKeyEntry(k.alias(), entry, k.Password); err != nil {
		return nil, err
	}
	return k.store(store)
}

// EncodeRoots writes certificates that are to be trusted, each under a name with its fingerprint.
func (k Keystore) EncodeRoots(roots []*x509.Certificate) ([]byte, error) {
	data, err := k.encodeRoots(roots)
	if err != nil {
		return nil, fmt.Errorf("write truststore: %w", err)
	}
	return data, nil
}

func (k Keystore) encodeRoots(roots []*x509.Certificate) ([]byte, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	if len(roots) == 0 {
		return nil, errors.New("there are no roots")
	}
	if k.Format == PKCS12 {
		var entries []pkcs12.TrustStoreEntry
		for _, root := range roots {
			// Two roots may have the same subject, and Java keeps only one of a name.
			entries = append(entries, pkcs12.TrustStoreEntry{Cert: root, FriendlyName: rootAlias(root)})
		}
		return pkcs12.Modern2023.EncodeTrustStoreEntries(entries, string(k.Password))
	}
	store := jks.New(jks.WithOrderedAliases())
	for _, root := range roots {
		entry := jks.TrustedCertificateEntry{CreationTime: root.NotBefore, Certificate: jksCertificate(root)}
		if err := store.SetTrustedCertificateEntry(rootAlias(root), entry); err != nil {
			return nil, err
		}
	}
	return k.store(store)
}

// Holds says whether data is a keystore that this one opens and that holds exactly this key and these certificates.
func (k Keystore) Holds(data []byte, pair KeyPair) bool {
	chain, err := ParseChain(pair.CertificatePEM)
	if err != nil || len(data) == 0 || k.check() != nil {
		return false
	}
	key, err := DecodeKey(pair.KeyPEM)
	if err != nil {
		return false
	}
	want, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return false
	}
	got, certs, err := k.decode(data)
	return err == nil && bytes.Equal(got, want) && slices.EqualFunc(certs, chain, (*x509.Certificate).Equal)
}

// HoldsRoots says whether data is a truststore that this one opens and that holds exactly these roots, in any order.
func (k Keystore) HoldsRoots(data []byte, roots []*x509.Certificate) bool {
	if len(data) == 0 || k.check() != nil {
		return false
	}
	certs, err := k.decodeRoots(data)
	if err != nil {
		return false
	}
	return slices.Equal(fingerprints(certs), fingerprints(roots))
}

func fingerprints(certs []*x509.Certificate) []string {
	var all []string
	for _, cert := range certs {
		all = append(all, Fingerprint(cert))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// decode returns the key in PKCS#8 and the certificates.
func (k Keystore) decode(data []byte) ([]byte, []*x509.Certificate, error) {
	if k.Format == PKCS12 {
		key, cert, issuers, err := pkcs12.DecodeChain(data, string(k.Password))
		if err != nil {
			return nil, nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return der, append([]*x509.Certificate{cert}, issuers...), err
	}
	store, err := k.load(data)
	if err != nil {
		return nil, nil, err
	}
	if got := len(store.Aliases()); got != 1 {
		return nil, nil, fmt.Errorf("the keystore has %d entries", got)
	}
	entry, err := store.GetPrivateKeyEntry(k.alias(), k.Password)
	if err != nil {
		return nil, nil, err
	}
	var chain []*x509.Certificate
	for _, c := range entry.CertificateChain {
		cert, err := x509.ParseCertificate(c.Content)
		if err != nil {
			return nil, nil, err
		}
		chain = append(chain, cert)
	}
	return entry.PrivateKey, chain, nil
}

func (k Keystore) decodeRoots(data []byte) ([]*x509.Certificate, error) {
	if k.Format == PKCS12 {
		return pkcs12.DecodeTrustStore(data, string(k.Password))
	}
	store, err := k.load(data)
	if err != nil {
		return nil, err
	}
	var roots []*x509.Certificate
	for _, alias := range store.Aliases() {
		entry, err := store.GetTrustedCertificateEntry(alias)
		if err != nil {
			return nil, err
		}
		cert, err := x509.ParseCertificate(entry.Certificate.Content)
		if err != nil {
			return nil, err
		}
		roots = append(roots, cert)
	}
	return roots, nil
}

func (k Keystore) check() error {
	switch {
	case k.Format != PKCS12 && k.Format != JKS:
		return fmt.Errorf("unknown format %q", k.Format)
	case len(k.Password) == 0:
		return errors.New("there is no password")
	case k.Format == JKS && bytes.ContainsFunc(k.Password, func(r rune) bool { return r > unicode.MaxASCII }):
		return errors.New("the password of a JKS must be ASCII") // the library takes bytes for characters
	}
	return nil
}

func (k Keystore) alias() string { return cmp.Or(k.Alias, DefaultAlias) }

func rootAlias(root *x509.Certificate) string { return "ca-" + Fingerprint(root)[:16] }

func jksCertificate(cert *x509.Certificate) jks.Certificate {
	return jks.Certificate{Type: "X.509", Content: cert.Raw}
}

func (k Keystore) store(store jks.KeyStore) ([]byte, error) {
	var out bytes.Buffer
	if err := store.Store(&out, k.Password); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (k Keystore) load(data []byte) (jks.KeyStore, error) {
	store := jks.New()
	return store, store.Load(bytes.NewReader(data), k.Password)
}
