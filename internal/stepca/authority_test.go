// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"bytes"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

func TestAuthorityCertificates(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	root := must(NewRoot(Template{CommonName: "Phoenix Root CA", Duration: 48 * time.Hour, Now: now}))(t)
	cases := map[string]struct {
		reason              string
		pair                func() (KeyPair, error)
		pathLength          int
		notBefore, notAfter time.Time
	}{
		"root": {"signs intermediates and itself", func() (KeyPair, error) { return root, nil },
			1, now.Add(-time.Minute), now.Add(48 * time.Hour)},
		"intermediate": {"signs leaves alone", func() (KeyPair, error) {
			return NewIntermediate(root, Template{CommonName: "I", Duration: time.Hour, Now: now})
		}, 0, now.Add(-time.Minute), now.Add(time.Hour)},
		"intermediate that would outlive its root": {"from then on nobody takes it", func() (KeyPair, error) {
			return NewIntermediate(root, Template{CommonName: "I", Duration: 96 * time.Hour, Now: now})
		}, 0, now.Add(-time.Minute), now.Add(48 * time.Hour)},
		"intermediate of another clock": {"it does not begin before its root", func() (KeyPair, error) {
			return NewIntermediate(root, Template{CommonName: "I", Duration: time.Hour, Now: now.Add(-time.Hour)})
		}, 0, now.Add(-time.Minute), now},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			pair := must(tc.pair())(t)
			cert := leafOf(t, pair.CertificatePEM)
			if err := Matches(pair.CertificatePEM, pair.KeyPEM); err != nil {
				t.Errorf("%s: %v", tc.reason, err)
			}
			if !bytes.Contains(pair.KeyPEM, []byte("BEGIN PRIVATE KEY")) {
				t.Errorf("%s: the key is not PKCS#8", tc.reason)
			}
			if !cert.IsCA || cert.MaxPathLen != tc.pathLength || cert.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign {
				t.Errorf("%s: CA %v, path length %d, usage %b", tc.reason, cert.IsCA, cert.MaxPathLen, cert.KeyUsage)
			}
			if !cert.NotBefore.Equal(tc.notBefore) || !cert.NotAfter.Equal(tc.notAfter) {
				t.Errorf("%s: valid from %s to %s, want %s to %s", tc.reason, cert.NotBefore, cert.NotAfter, tc.notBefore, tc.notAfter)
			}
			if _, err := RootOf([]*x509.Certificate{cert}, must(ParseChain(root.CertificatePEM))(t)); err != nil {
				t.Errorf("%s: %v", tc.reason, err)
			}
		})
	}
}

func TestAuthorityCertificatesRefused(t *testing.T) {
	root := must(NewRoot(Template{CommonName: "Root", Duration: time.Hour}))(t)
	other := must(NewRoot(Template{CommonName: "Root", Duration: time.Hour}))(t)
	intermediate := must(NewIntermediate(root, Template{CommonName: "I", Duration: time.Hour}))(t)
	good := Template{CommonName: "I", Duration: time.Hour}
	cases := map[string]struct {
		reason string
		root   KeyPair
		t      Template
		text   string
	}{
		"no name":         {"a subject must not be empty", root, Template{Duration: time.Hour}, "common name"},
		"no duration":     {"it would be over at once", root, Template{CommonName: "I"}, "duration"},
		"root is over":    {"it cannot be renewed with that root", root, Template{CommonName: "I", Duration: time.Hour, Now: time.Now().Add(2 * time.Hour)}, "is over since"},
		"key of another":  {"a mixed up import", KeyPair{root.CertificatePEM, other.KeyPEM}, good, "not the key"},
		"no root":         {"the Secret is empty", KeyPair{}, good, "there is none"},
		"no key":          {"the key was removed", KeyPair{CertificatePEM: root.CertificatePEM}, good, "no private key"},
		"not a root":      {"its path length is 0", intermediate, good, "signs no other authority"},
		"a leaf":          {"a mixed up import", pairUnder(t, root, ECDSA), good, "not the certificate of an authority"},
		"broken root PEM": {"a mixed up import", KeyPair{[]byte("hello"), root.KeyPEM}, good, "there is none"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := NewIntermediate(tc.root, tc.t); err == nil || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%s: NewIntermediate() = %v, want %q", tc.reason, err, tc.text)
			}
		})
	}
	if _, err := NewRoot(Template{}); err == nil {
		t.Error("a root without a name is made")
	}
}
