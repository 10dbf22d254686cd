// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// fakeCA is an authority that behaves as step-ca does, at the time of a clock.
type fakeCA struct {
	t     *testing.T
	clock clock.PassiveClock

	mu           sync.Mutex
	root         stepca.KeyPair
	intermediate stepca.KeyPair
	jwk          []byte
	password     []byte
	longest      time.Duration // it may be asked for
	shortens     bool          // instead of refusing
	usual        time.Duration
	skew         time.Duration // of its clock
	usages       []x509.ExtKeyUsage
	fault        error
	lost         bool // the next answer does not arrive
	forgot       bool // what it signed: no certificate is a proof
	refusesNames bool

	signed, renewed, requests int
	revoked                   map[string]bool
}

func newCA(t *testing.T, c clock.PassiveClock) *fakeCA {
	t.Helper()
	ca := &fakeCA{t: t, clock: c, longest: 90 * 24 * time.Hour, usual: 24 * time.Hour, revoked: map[string]bool{}}
	ca.rotate()
	var err error
	if ca.jwk, err = stepca.NewProvisionerKey(); err != nil {
		t.Fatal(err)
	}
	return ca
}

// rotate gives the authority another root.
func (ca *fakeCA) rotate() {
	ca.t.Helper()
	ca.mu.Lock()
	defer ca.mu.Unlock()
	var err error
	if ca.root, err = stepca.NewRoot(stepca.Template{CommonName: "Test Root CA", Duration: 10 * 365 * 24 * time.Hour, Now: ca.clock.Now()}); err != nil {
		ca.t.Fatal(err)
	}
	if ca.intermediate, err = stepca.NewIntermediate(ca.root, stepca.Template{CommonName: "Test Intermediate CA", Duration: 5 * 365 * 24 * time.Hour, Now: ca.clock.Now()}); err != nil {
		ca.t.Fatal(err)
	}
}

// set changes how the authority behaves.
func (ca *fakeCA) set(change func(*fakeCA)) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	change(ca)
}

func (ca *fakeCA) rootCert() *x509.Certificate {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.parse(ca.root.CertificatePEM)[0]
}

func (ca *fakeCA) parse(text []byte) []*x509.Certificate {
	chain, err := stepca.ParseChain(text)
	if err != nil {
		ca.t.Error(err)
	}
	return chain
}

// counts are how often it was asked, and how often it signed.
func (ca *fakeCA) counts() (requests, issued int) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.requests, ca.signed + ca.renewed
}

func (ca *fakeCA) fail(kind stepca.Kind, text string) error {
	return &stepca.Error{Kind: kind, URL: caURL, ClockSkew: ca.skew, Err: errors.New(text)}
}

// begin counts a request, and fails it if the authority is to fail.
func (ca *fakeCA) begin() error {
	ca.requests++
	return ca.fault
}

// of is a client that knows the authority by its roots.
func (ca *fakeCA) of(roots []*x509.Certificate) *caClient { return &caClient{ca, roots} }

type caClient struct {
	*fakeCA
	roots []*x509.Certificate
}

func (c *caClient) trusted() error {
	root := c.parse(c.root.CertificatePEM)[0]
	if !slices.ContainsFunc(c.roots, root.Equal) {
		return c.fail(stepca.Untrusted, "certificate signed by unknown authority")
	}
	return nil
}

func (c *caClient) authorized(p stepca.Provisioner) error {
	if p.Name != stepca.DefaultProvisioner || !bytes.Equal(p.JWK, c.jwk) || !bytes.Equal(p.Password, c.password) {
		return c.fail(stepca.Unauthorized, "use token of provisioner "+p.Name+": the token is refused")
	}
	if c.skew.Abs() > time.Minute {
		return c.fail(stepca.Unauthorized, "use token of provisioner "+p.Name+": it is not valid yet")
	}
	return nil
}

func (c *caClient) Sign(_ context.Context, r stepca.SignRequest) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := errors.Join(c.begin(), c.trusted()); err != nil {
		return nil, err
	}
	if err := c.authorized(r.Provisioner); err != nil {
		return nil, err
	}
	if c.refusesNames {
		return nil, c.fail(stepca.Forbidden, "dns name not allowed by policy")
	}
	life := c.usual
	if r.Duration > 0 {
		life = r.Duration
	}
	if life > c.longest {
		if !c.shortens {
			e := &stepca.Error{Kind: stepca.TooLong, URL: caURL, Asked: life, Limit: c.longest, Err: errors.New("requested duration is more than the authorized maximum")}
			return nil, e
		}
		life = c.longest
	}
	usages := c.usages
	if usages == nil {
		for _, u := range r.Usages {
			usages = append(usages, map[string]x509.ExtKeyUsage{
				stepca.UsageServerAuth: x509.ExtKeyUsageServerAuth, stepca.UsageClientAuth: x509.ExtKeyUsageClientAuth,
				stepca.UsageCodeSigning: x509.ExtKeyUsageCodeSigning, stepca.UsageEmailProtection: x509.ExtKeyUsageEmailProtection,
			}[u])
		}
	}
	c.signed++
	chain, err := c.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: r.CSR.Subject.CommonName}, DNSNames: r.CSR.DNSNames, IPAddresses: r.CSR.IPAddresses, URIs: r.CSR.URIs,
		EmailAddresses: r.CSR.EmailAddresses, ExtKeyUsage: usages,
	}, r.CSR.PublicKey, life)
	if c.lost {
		c.lost = false
		return nil, c.fail(stepca.Away, "read answer: connection reset by peer")
	}
	return chain, err
}

func (c *caClient) issue(cert *x509.Certificate, key crypto.PublicKey, life time.Duration) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := c.clock.Now().Add(c.skew)
	cert.SerialNumber, cert.NotBefore, cert.NotAfter, cert.KeyUsage = serial, now.Add(-time.Minute), now.Add(life), x509.KeyUsageDigitalSignature
	parent := c.parse(c.intermediate.CertificatePEM)[0]
	signer, err := stepca.DecodeKey(c.intermediate.KeyPEM)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key, signer)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return stepca.EncodeChain([]*x509.Certificate{leaf, parent}), nil
}

func (c *caClient) Renew(_ context.Context, chainPEM, keyPEM []byte) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := errors.Join(c.begin(), c.trusted(), stepca.Matches(chainPEM, keyPEM)); err != nil {
		return nil, err
	}
	old := c.parse(chainPEM)[0]
	if c.revoked[stepca.Serial(old)] {
		return nil, c.fail(stepca.Revoked, "certificate has been revoked")
	}
	if !c.clock.Now().Before(old.NotAfter) || !stepca.Renewable(old) || c.forgot {
		return nil, c.fail(stepca.Unauthorized, "the certificate is no proof")
	}
	c.renewed++
	return c.issue(&x509.Certificate{
		Subject: old.Subject, DNSNames: old.DNSNames, IPAddresses: old.IPAddresses, URIs: old.URIs, EmailAddresses: old.EmailAddresses, ExtKeyUsage: old.ExtKeyUsage,
	}, old.PublicKey, old.NotAfter.Sub(old.NotBefore)-time.Minute)
}

func (c *caClient) Revoke(_ context.Context, p stepca.Provisioner, serial *big.Int, _ string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := errors.Join(c.begin(), c.trusted()); err != nil {
		return err
	}
	if err := c.authorized(p); err != nil {
		return err
	}
	c.revoked[serial.Text(16)] = true
	return nil
}
