// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// renewDespite renews without the checks that come first.
func renewDespite(t *testing.T, c *Client, pair KeyPair) error {
	t.Helper()
	own := must(tls.X509KeyPair(pair.CertificatePEM, pair.KeyPEM))(t)
	var answer signAnswer
	err := c.with(own).call(t.Context(), http.MethodPost, "/1.0/renew", nil, &answer, "")
	return notRenewed(err)
}

func TestNotRenewed(t *testing.T) {
	a := newAuthority(t, nil)
	c := a.client(t)
	server := a.issue(t, c, func(r *SignRequest) { r.Usages = []string{UsageServerAuth} })
	checkKind(t, renewDespite(t, c, server), Unauthorized, "bad certificate")

	good := a.issue(t, c, nil)
	late := a.clientWith(t, func(o *Options) { o.Clock = clocktesting.NewFakePassiveClock(time.Now().Add(40 * time.Minute)) })
	_, err := late.Renew(t.Context(), good.CertificatePEM, good.KeyPEM)
	checkKind(t, err, Unauthorized, "is over since")

	other := a.issue(t, c, nil)
	_, err = c.Renew(t.Context(), good.CertificatePEM, other.KeyPEM)
	checkKind(t, err, Invalid, "not the key")
	_, err = c.Renew(t.Context(), nil, nil)
	checkKind(t, err, Invalid, "parse certificates")

	stranger := newAuthority(t, nil)
	foreign := stranger.issue(t, stranger.client(t), nil)
	_, err = c.Renew(t.Context(), foreign.CertificatePEM, foreign.KeyPEM)
	checkKind(t, err, Unauthorized, "unknown certificate authority")
}

// A certificate that has ended is turned away by step-ca itself, whatever our own clock says.
func TestExpired(t *testing.T) {
	a := newAuthority(t, func(a *authority) { a.Claims = Claims{Min: time.Second, Default: time.Second, Max: time.Minute} })
	c := a.client(t)
	pair := a.issue(t, c, nil)
	for time.Now().Before(leafOf(t, pair.CertificatePEM).NotAfter.Add(time.Second)) {
		time.Sleep(50 * time.Millisecond)
	}
	checkKind(t, renewDespite(t, c, pair), Unauthorized, "expired")
}

func TestRevoke(t *testing.T) {
	a := newAuthority(t, func(a *authority) { a.Database = filepath.Join(filepath.Dir(a.Key), "db") })
	c := a.client(t)
	pair := a.issue(t, c, nil)
	serial := must(ParseSerial(Serial(leafOf(t, pair.CertificatePEM))))(t)

	stranger := Provisioner{Name: DefaultProvisioner, JWK: must(NewProvisionerKey())(t)}
	checkKind(t, c.Revoke(t.Context(), stranger, serial, ""), Unauthorized, "401")
	if _, err := c.Renew(t.Context(), pair.CertificatePEM, pair.KeyPEM); err != nil {
		t.Fatalf("nothing is revoked yet: %v", err)
	}
	for range 2 { // the second time it is revoked already
		if err := c.Revoke(t.Context(), a.provisioner, serial, "the machine is gone"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.Renew(t.Context(), pair.CertificatePEM, pair.KeyPEM)
	checkKind(t, err, Revoked, "401")
	a.issue(t, c, nil) // the same names may be signed anew
}

func TestRevokeWithoutDatabase(t *testing.T) {
	a := newAuthority(t, nil)
	c := a.client(t)
	pair := a.issue(t, c, nil)
	checkKind(t, c.Revoke(t.Context(), a.provisioner, leafOf(t, pair.CertificatePEM).SerialNumber, ""), Invalid, "501")
}

// The provisioner's key is lost and made anew: what it had signed is renewed as long as it keeps its name.
func TestProvisionerMadeAnew(t *testing.T) {
	a := newAuthority(t, nil)
	old := a.issue(t, a.client(t), nil)
	a.stop()
	a.provisioner.JWK = must(NewProvisionerKey())(t)
	a.ProvisionerKey = must(PublicJWK(a.provisioner.JWK))(t)
	a.start(t)
	c := a.client(t)
	if _, err := c.Renew(t.Context(), old.CertificatePEM, old.KeyPEM); err != nil {
		t.Errorf("renew after the key was made anew: %v", err)
	}
	a.issue(t, c, nil)

	a.stop()
	a.Provisioner = "another"
	a.provisioner.Name = "another"
	a.start(t)
	c = a.client(t)
	_, err := c.Renew(t.Context(), old.CertificatePEM, old.KeyPEM)
	checkKind(t, err, Revoked, "401")
	a.issue(t, c, nil)
}

// A root is replaced: both are trusted, and certificates of the old one are renewed into the new one.
func TestRootRotation(t *testing.T) {
	a := newAuthority(t, nil)
	oldRoot := a.roots(t)[0]
	old := a.issue(t, a.client(t), nil)

	// Both are trusted; signing goes on under the old one.
	newRoot := must(NewRoot(Template{CommonName: "Test Root CA", Duration: time.Hour}))(t)
	a.stop()
	path := filepath.Join(t.TempDir(), "new-root.crt")
	write(t, path, newRoot.CertificatePEM)
	a.Roots = append([]string{path}, a.Roots...)
	a.start(t)
	both := append(must(ParseChain(newRoot.CertificatePEM))(t), oldRoot)
	trustBoth := func(o *Options) { o.Roots = both }
	c := a.clientWith(t, trustBoth)
	served := must(c.Roots(t.Context()))(t)
	if len(served) != 2 || !served[0].Equal(both[0]) || !served[1].Equal(both[1]) {
		t.Errorf("Roots() = %d certificates, want the new root and the old one", len(served))
	}
	checkRoot(t, a.issue(t, c, nil).CertificatePEM, both, oldRoot)

	// The intermediate is made under the new one.
	a.stop()
	a.intermediate = must(NewIntermediate(newRoot, Template{CommonName: "Test Intermediate CA", Duration: time.Hour}))(t)
	write(t, a.Certificate, a.intermediate.CertificatePEM)
	write(t, a.Key, a.intermediate.KeyPEM)
	a.start(t)
	c = a.clientWith(t, trustBoth)
	renewed, err := c.Renew(t.Context(), old.CertificatePEM, old.KeyPEM)
	if err != nil {
		t.Fatalf("renew a certificate of the old root: %v", err)
	}
	checkRoot(t, renewed, both, both[0])
	checkRoot(t, a.issue(t, c, nil).CertificatePEM, both, both[0])
	if _, err := a.client(t).Renew(t.Context(), old.CertificatePEM, old.KeyPEM); KindOf(err) != Untrusted {
		t.Errorf("a client that knows the old root alone: %v, want Untrusted", err)
	}

	// The old one goes: what is still of it is not taken any more.
	a.stop()
	a.Roots = a.Roots[:1]
	a.start(t)
	c = a.clientWith(t, trustBoth)
	_, err = c.Renew(t.Context(), old.CertificatePEM, old.KeyPEM)
	checkKind(t, err, Unauthorized, "unknown certificate authority")
	if _, err := c.Renew(t.Context(), renewed, old.KeyPEM); err != nil {
		t.Errorf("renew a certificate of the new root: %v", err)
	}
}

func checkRoot(t *testing.T, chainPEM []byte, roots []*x509.Certificate, want *x509.Certificate) {
	t.Helper()
	got, err := RootOf(must(ParseChain(chainPEM))(t), roots)
	if err != nil || !got.Equal(want) {
		t.Errorf("RootOf() = %v, %v; want the root %s", got, err, Fingerprint(want))
	}
}

// A certificate is renewed under the intermediate that took the place of the one it was signed by.
func TestIntermediateRenewed(t *testing.T) {
	a := newAuthority(t, nil)
	old := a.issue(t, a.client(t), nil)
	a.stop()
	a.intermediate = must(NewIntermediate(a.root, Template{CommonName: "Test Intermediate CA", Duration: time.Hour}))(t)
	write(t, a.Certificate, a.intermediate.CertificatePEM)
	write(t, a.Key, a.intermediate.KeyPEM)
	a.start(t)
	renewed, err := a.client(t).Renew(t.Context(), old.CertificatePEM, old.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	chain := must(ParseChain(renewed))(t)
	if !chain[1].Equal(leafOf(t, a.intermediate.CertificatePEM)) {
		t.Error("the renewed certificate is not under the new intermediate")
	}
}
