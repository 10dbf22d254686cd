// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestKeystore(t *testing.T) {
	rootPair := must(NewRoot(Template{CommonName: "Root", Duration: time.Hour}))(t)
	second := must(NewRoot(Template{CommonName: "Root", Duration: time.Hour}))(t) // of the same name, as after a rotation
	roots := append(must(ParseChain(rootPair.CertificatePEM))(t), must(ParseChain(second.CertificatePEM))(t)...)
	var pairs []KeyPair
	for _, algorithm := range []string{ECDSA, RSA, Ed25519} {
		pairs = append(pairs, pairUnder(t, rootPair, algorithm))
	}
	password := []byte("correct horse")
	for _, k := range []Keystore{{Format: PKCS12, Password: password}, {Format: JKS, Password: password}, {Format: JKS, Alias: "Web", Password: password}} {
		t.Run(string(k.Format)+k.Alias, func(t *testing.T) {
			for i, pair := range pairs {
				checkKeystore(t, k, pair, pairs[(i+1)%len(pairs)])
			}
			checkTruststore(t, k, roots)
			if string(password) != "correct horse" {
				t.Error("the password was written to")
			}
		})
	}
}

// pairUnder is a key with a certificate and its issuer.
func pairUnder(t *testing.T, root KeyPair, algorithm string) KeyPair {
	t.Helper()
	key := must(NewKey(algorithm, 0))(t)
	template := &x509.Certificate{NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"www.phoenix.lan"}}
	der := must(x509.CreateCertificate(rand.Reader, template, leafOf(t, root.CertificatePEM), key.Public(), must(DecodeKey(root.KeyPEM))(t)))(t)
	return KeyPair{append(encodeDER(der), root.CertificatePEM...), must(EncodeKey(key, false))(t)}
}

func checkKeystore(t *testing.T, k Keystore, pair, other KeyPair) {
	t.Helper()
	data := must(k.Encode(pair))(t)
	wrong := k
	wrong.Password = []byte("hunter2")
	alias := k
	alias.Alias = "another"
	short := KeyPair{EncodeChain(must(ParseChain(pair.CertificatePEM))(t)[:1]), pair.KeyPEM}
	for _, tc := range []struct {
		reason string
		k      Keystore
		data   []byte
		pair   KeyPair
		want   bool
	}{
		{"what was written", k, data, pair, true},
		{"another key and certificate", k, data, other, false},
		{"another key", k, data, KeyPair{pair.CertificatePEM, other.KeyPEM}, false},
		{"fewer certificates", k, data, short, false},
		{"another password", wrong, data, pair, false},
		{"another alias", alias, data, pair, k.Format == PKCS12},
		{"no keystore", k, nil, pair, false},
		{"a broken one", k, data[:len(data)/2], pair, false},
		{"nothing to compare", k, data, KeyPair{}, false},
	} {
		if got := tc.k.Holds(tc.data, tc.pair); got != tc.want {
			t.Errorf("Holds() = %v with %s", got, tc.reason)
		}
	}
	if key, err := DecodeKey(pair.KeyPEM); err != nil || bytes.Contains(data, must(x509.MarshalPKCS8PrivateKey(key))(t)) {
		t.Errorf("the key stands in the open: %v", err)
	}
}

func checkTruststore(t *testing.T, k Keystore, roots []*x509.Certificate) {
	t.Helper()
	data := must(k.EncodeRoots(roots))(t)
	backwards := slices.Clone(roots)
	slices.Reverse(backwards)
	wrong := k
	wrong.Password = []byte("hunter2")
	for _, tc := range []struct {
		reason string
		k      Keystore
		data   []byte
		roots  []*x509.Certificate
		want   bool
	}{
		{"what was written", k, data, roots, true},
		{"another order", k, data, backwards, true},
		{"one less", k, data, roots[:1], false},
		{"another password", wrong, data, roots, false},
		{"no truststore", k, nil, roots, false},
		{"a broken one", k, data[:len(data)/2], roots, false},
		{"a keystore", k, must(k.Encode(pairUnder(t, must(NewRoot(Template{CommonName: "R", Duration: time.Hour}))(t), ECDSA)))(t), roots, false},
	} {
		if got := tc.k.HoldsRoots(tc.data, tc.roots); got != tc.want {
			t.Errorf("HoldsRoots() = %v with %s", got, tc.reason)
		}
	}
}

func TestKeystoreRefused(t *testing.T) {
	pair := must(NewRoot(Template{CommonName: "Root", Duration: time.Hour}))(t)
	other := must(NewRoot(Template{CommonName: "Root", Duration: time.Hour}))(t)
	cases := map[string]struct {
		reason string
		k      Keystore
		pair   KeyPair
		text   string
	}{
		"no password":     {"the key would be open", Keystore{Format: PKCS12}, pair, "no password"},
		"no format":       {"nothing to be written", Keystore{Password: []byte("x")}, pair, "unknown format"},
		"foreign key":     {"it would be of no use", Keystore{Format: JKS, Password: []byte("x")}, KeyPair{pair.CertificatePEM, other.KeyPEM}, "not the key"},
		"foreign letters": {"Java would read another password", Keystore{Format: JKS, Password: []byte("grün")}, pair, "ASCII"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := tc.k.Encode(tc.pair)
			if err == nil || !strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), "grün") {
				t.Errorf("%s: Encode() = %v, want %q", tc.reason, err, tc.text)
			}
		})
	}
	if _, err := (Keystore{Format: JKS, Password: []byte("x")}).EncodeRoots(nil); err == nil {
		t.Error("a truststore without roots is written")
	}
	if (Keystore{}).Holds([]byte("x"), pair) || (Keystore{}).HoldsRoots([]byte("x"), nil) {
		t.Error("a keystore without a format holds something")
	}
}
