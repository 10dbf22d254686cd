// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.step.sm/crypto/jose"
)

// everyName has all four sorts of names, and a wildcard.
var everyName = Names{CommonName: "www.phoenix.lan", SANs: []string{
	"www.phoenix.lan", "*.phoenix.lan", "10.0.0.153", "fd00::153", "spiffe://phoenix.lan/nginx", "admin@phoenix.lan",
}}

func TestSign(t *testing.T) {
	a := newAuthority(t, nil)
	c := a.client(t)
	cases := map[string]struct {
		reason    string
		names     Names
		algorithm string
		size      int
		duration  time.Duration
		usages    []string

		life       time.Duration // without step-ca's minute before
		wantUsages []string
		wantKey    x509.KeyUsage
	}{
		"all sorts of names": {
			"each sort stands in its own field of a certificate", everyName, ECDSA, 0, 0, nil,
			30 * time.Minute, []string{UsageClientAuth, UsageServerAuth}, x509.KeyUsageDigitalSignature,
		},
		"common name alone": {
			"clients look at the other names only", Names{CommonName: "db.phoenix.lan"}, ECDSA, 384, 0, nil,
			30 * time.Minute, []string{UsageClientAuth, UsageServerAuth}, x509.KeyUsageDigitalSignature,
		},
		"common name that is no other name": {
			"step-ca takes the subject of the token", Names{CommonName: "Nginx", SANs: []string{"10.0.0.153"}}, ECDSA, 521, 0, nil,
			30 * time.Minute, []string{UsageClientAuth, UsageServerAuth}, x509.KeyUsageDigitalSignature,
		},
		"RSA": {
			"TLS 1.2 may encipher with such a key", everyName, RSA, 2048, 10 * time.Minute, []string{UsageServerAuth},
			10 * time.Minute, []string{UsageServerAuth}, x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		},
		"Ed25519": {
			"the third algorithm", everyName, Ed25519, 0, 50 * time.Minute, []string{UsageCodeSigning, UsageEmailProtection},
			50 * time.Minute, []string{UsageCodeSigning, UsageEmailProtection}, x509.KeyUsageDigitalSignature,
		},
		"client": {
			"usages are the token's to say", everyName, ECDSA, 256, 2 * time.Minute, []string{UsageClientAuth},
			2 * time.Minute, []string{UsageClientAuth}, x509.KeyUsageDigitalSignature,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			key := must(NewKey(tc.algorithm, tc.size))(t)
			chainPEM, err := c.Sign(t.Context(), SignRequest{
				Provisioner: a.provisioner, Names: tc.names, CSR: must(NewCSR(key, tc.names))(t), Duration: tc.duration, Usages: tc.usages,
			})
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			keyPEM := must(EncodeKey(key, false))(t)
			if err := Matches(chainPEM, keyPEM); err != nil {
				t.Errorf("%s: %v", tc.reason, err)
			}
			checkIssued(t, a, chainPEM, tc.names, tc.life, tc.wantUsages, tc.wantKey)
			renewed, err := c.Renew(t.Context(), chainPEM, keyPEM)
			if !slices.Contains(tc.wantUsages, UsageClientAuth) {
				checkKind(t, err, Unauthorized, "not for clients")
				return
			}
			if err != nil {
				t.Fatalf("%s: renew: %v", tc.reason, err)
			}
			if leafOf(t, renewed).SerialNumber.Cmp(leafOf(t, chainPEM).SerialNumber) == 0 {
				t.Errorf("%s: the renewed certificate has the old serial number", tc.reason)
			}
			if err := Matches(renewed, keyPEM); err != nil {
				t.Errorf("%s: renewed: %v", tc.reason, err)
			}
			checkIssued(t, a, renewed, tc.names, tc.life, tc.wantUsages, tc.wantKey)
		})
	}
}

func checkIssued(t *testing.T, a *authority, chainPEM []byte, names Names, life time.Duration, usages []string, keyUsage x509.KeyUsage) {
	t.Helper()
	chain := must(ParseChain(chainPEM))(t)
	if len(chain) != 2 || chain[1].Subject.CommonName != "Test Intermediate CA" {
		t.Errorf("chain has %d certificates, want the leaf and the intermediate", len(chain))
	}
	if err := names.Check(chain[0]); err != nil {
		t.Error(err)
	}
	if got := chain[0].NotAfter.Sub(chain[0].NotBefore); got != life+time.Minute {
		t.Errorf("life = %s, want %s", got, life+time.Minute)
	}
	if diff := cmp.Diff(usages, UsagesOf(chain[0])); diff != "" {
		t.Errorf("usages (-want +got):\n%s", diff)
	}
	if chain[0].KeyUsage != keyUsage {
		t.Errorf("key usage = %b, want %b", chain[0].KeyUsage, keyUsage)
	}
	root, err := RootOf(chain, a.roots(t))
	if err != nil || !root.Equal(a.roots(t)[0]) {
		t.Errorf("RootOf() = %v, %v", root, err)
	}
}

func TestSignRefused(t *testing.T) {
	a := newAuthority(t, nil)
	c := a.client(t)
	stranger := Provisioner{Name: DefaultProvisioner, JWK: must(NewProvisionerKey())(t)}
	cases := map[string]struct {
		reason       string
		change       func(t *testing.T, r *SignRequest)
		kind         Kind
		asked, limit time.Duration
		text         string
	}{
		"too long": {
			"the caller is told what it would get", func(_ *testing.T, r *SignRequest) { r.Duration = 2 * time.Hour },
			TooLong, 2 * time.Hour, 50 * time.Minute, "requested duration",
		},
		"too short": {
			"a life below the minimum is refused as well", func(_ *testing.T, r *SignRequest) { r.Duration = 30 * time.Second },
			TooShort, 30 * time.Second, time.Minute, "requested duration",
		},
		"foreign key": {
			"a provisioner that was made anew", func(_ *testing.T, r *SignRequest) { r.Provisioner = stranger },
			Unauthorized, 0, 0, `token of provisioner "phoenix"`,
		},
		"unknown provisioner": {
			"a wrong name", func(_ *testing.T, r *SignRequest) { r.Provisioner.Name = "nobody" },
			Unauthorized, 0, 0, `token of provisioner "nobody"`,
		},
		"other names in the CSR": {
			"the token says what may be signed", func(t *testing.T, r *SignRequest) {
				r.CSR = must(NewCSR(must(NewKey(ECDSA, 0))(t), Names{CommonName: "www.phoenix.lan", SANs: []string{"evil.phoenix.lan"}}))(t)
			}, Forbidden, 0, 0, "DNS names",
		},
		"small RSA key": {
			"step-ca takes no keys below 2048 bits", func(t *testing.T, r *SignRequest) { r.CSR = smallRSA(t, r.Names) },
			Forbidden, 0, 0, "2048",
		},
		"no names":       {"nothing to be signed", func(_ *testing.T, r *SignRequest) { r.Names = Names{} }, Invalid, 0, 0, "neither"},
		"no CSR":         {"nothing to be signed", func(_ *testing.T, r *SignRequest) { r.CSR = nil }, Invalid, 0, 0, "request"},
		"negative":       {"no such life", func(_ *testing.T, r *SignRequest) { r.Duration = -1 }, Invalid, 0, 0, "negative"},
		"unknown usage":  {"step-ca would answer 500", func(_ *testing.T, r *SignRequest) { r.Usages = []string{"ServerAuth"} }, Invalid, 0, 0, "ServerAuth"},
		"no provisioner": {"an empty Secret", func(_ *testing.T, r *SignRequest) { r.Provisioner.JWK = nil }, Invalid, 0, 0, "not a JWK"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r, _ := a.request(t, Names{SANs: []string{"www.phoenix.lan"}})
			tc.change(t, &r)
			_, err := c.Sign(t.Context(), r)
			checkKind(t, err, tc.kind, tc.text)
			var e *Error
			if asError(err, &e) && (e.Asked != tc.asked || e.Limit != tc.limit) {
				t.Errorf("%s: asked %s, limit %s; want %s, %s", tc.reason, e.Asked, e.Limit, tc.asked, tc.limit)
			}
		})
	}
}

// smallRSA makes a CSR with a key that NewKey does not make.
func smallRSA(t *testing.T, names Names) *x509.CertificateRequest {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	return must(NewCSR(must(rsa.GenerateKey(rand.Reader, 1024))(t), names))(t) //nolint:gosec // what is refused
}

func TestClampedDuration(t *testing.T) {
	a := newAuthority(t, nil)
	c := a.client(t)
	r, _ := a.request(t, everyName)
	r.Duration = 24 * time.Hour
	_, refused := c.Sign(t.Context(), r)
	checkKind(t, refused, TooLong, "")
	r.Duration = 0
	chain, err := c.Sign(t.Context(), r)
	if err != nil {
		t.Fatalf("the second try without a duration: %v", err)
	}
	notBefore, notAfter := Validity(must(ParseChain(chain))(t))
	if got := notAfter.Sub(notBefore); got != 31*time.Minute {
		t.Errorf("issued life = %s, want the authority's default and its minute", got)
	}
	var e *Error
	if !asError(refused, &e) {
		t.Fatal("no *Error")
	}
	r.Duration = e.Limit
	if _, err := c.Sign(t.Context(), r); err != nil {
		t.Errorf("the limit itself is refused: %v", err)
	}
}

func TestTokenTwice(t *testing.T) {
	a := newAuthority(t, nil)
	c := a.client(t)
	r, _ := a.request(t, everyName)
	secret := must(a.provisioner.issue(token{
		audience: a.url + "/1.0/sign", subject: everyName.CommonName, sans: everyName.SANs, root: Fingerprint(a.roots(t)[0]),
	}, time.Now()))(t)
	body := signBody{CSR: string(requestPEM(r.CSR)), Token: secret}
	var answer signAnswer
	if err := c.call(t.Context(), "POST", "/1.0/sign", body, &answer, secret); err != nil {
		t.Fatal(err)
	}
	if _, err := c.issued(t.Context(), answer, r.CSR.PublicKey, everyName); err != nil {
		t.Error(err)
	}
	err := c.call(t.Context(), "POST", "/1.0/sign", body, &answer, secret)
	checkKind(t, err, Unauthorized, "401")
}

func TestProvisionerKeys(t *testing.T) {
	plain := must(jose.GenerateJWK("RSA", "", "RS256", "sig", "", 2048))(t)
	rsaKey := must(plain.MarshalJSON())(t)
	_, encrypted, err := jose.GenerateDefaultKeyPair([]byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	compact := []byte(must(encrypted.CompactSerialize())(t))
	full := []byte(encrypted.FullSerialize())
	decrypted := must(encrypted.Decrypt([]byte("correct horse")))(t)
	cases := map[string]struct {
		reason        string
		public        []byte // what the authority knows
		jwk, password []byte
		err           string
	}{
		"RSA":                      {"outside provisioners may have other keys", rsaKey, rsaKey, nil, ""},
		"encrypted, compact":       {"as step ca provisioner list prints it", decrypted, compact, []byte("correct horse"), ""},
		"encrypted, JSON":          {"as step crypto jwk create writes it", decrypted, full, []byte("correct horse"), ""},
		"plain with a password":    {"a password that is not needed does no harm", decrypted, decrypted, []byte("correct horse"), ""},
		"encrypted, no password":   {"a missing Secret", decrypted, compact, nil, "no password"},
		"encrypted, wrong one":     {"a wrong Secret", decrypted, compact, []byte("hunter2hunter2"), "does not open"},
		"public key":               {"the wrong half", decrypted, must(PublicJWK(decrypted))(t), nil, "not a private key"},
		"secret of another sort":   {"a password instead of a key", decrypted, []byte("hunter2hunter2"), nil, "not a JWK"},
		"symmetric key":            {"it would sign, but nobody could verify it", decrypted, []byte(`{"kty":"oct","k":"aHVudGVyMmh1bnRlcjI"}`), nil, "not a private key"},
		"algorithm of another key": {"a JWK that contradicts itself", decrypted, []byte(strings.Replace(string(decrypted), "ES256", "RS256", 1)), nil, "does not fit"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t, func(a *authority) { a.ProvisionerKey = must(PublicJWK(tc.public))(t) })
			r, _ := a.request(t, everyName)
			r.Provisioner.JWK, r.Provisioner.Password = tc.jwk, tc.password
			_, err := a.client(t).Sign(t.Context(), r)
			if tc.err == "" {
				if err != nil {
					t.Errorf("%s: %v", tc.reason, err)
				}
				return
			}
			checkKind(t, err, Invalid, tc.err)
			for _, secret := range []string{"hunter2hunter2", "aHVudGVyMmh1bnRlcjI", "correct horse"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%s: %v holds a secret", tc.reason, err)
				}
			}
		})
	}
}

func TestConcurrentUse(t *testing.T) {
	a := newAuthority(t, nil)
	c := a.client(t)
	const callers = 24
	requests, keys, serials := make([]SignRequest, callers), make([][]byte, callers), make([]string, callers)
	for i := range callers {
		r, key := a.request(t, everyName)
		requests[i], keys[i] = r, must(EncodeKey(key, false))(t)
	}
	var wait sync.WaitGroup
	for i := range callers {
		wait.Go(func() {
			chain, err := c.Sign(t.Context(), requests[i])
			if err != nil {
				t.Error(err)
				return
			}
			if chain, err = c.Renew(t.Context(), chain, keys[i]); err != nil {
				t.Error(err)
				return
			}
			certs, err := ParseChain(chain)
			if err != nil {
				t.Error(err)
				return
			}
			serials[i] = Serial(certs[0])
		})
	}
	wait.Wait()
	seen := map[string]bool{"": true}
	for _, serial := range serials {
		if seen[serial] {
			t.Errorf("serial number %q came twice, or not at all", serial)
		}
		seen[serial] = true
	}
}
