// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"
)

// SignRequest asks for a certificate.
type SignRequest struct {
	Provisioner Provisioner
	Names       Names
	// CSR is signed by the key of the certificate and has the same names: NewCSR makes it.
	CSR *x509.CertificateRequest
	// Duration that is asked for; 0: the authority's default.
	Duration time.Duration
	// Usages of UsageServerAuth and its like. Empty: the authority's default. Only an authority with the Config of this
	// package heeds them: see UsagesOf for what was issued.
	Usages []string
}

// Sign has a certificate signed by a one-time token, and returns it followed by its intermediates, without the root.
// What comes back has the key of the CSR and the names that were asked for, and leads to one of the pinned roots;
// otherwise the error is Invalid and says what differs. The life and the usages are the authority's affair: Validity and
// UsagesOf tell them. A duration that is refused is TooLong or TooShort, and may be asked for again as 0. Nothing is
// tried again by itself. Errors are *Error.
func (c *Client) Sign(ctx context.Context, r SignRequest) ([]byte, error) {
	chain, err := c.sign(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return EncodeChain(chain), nil
}

type signBody struct {
	CSR      string `json:"csr"`
	Token    string `json:"ott"`
	NotAfter string `json:"notAfter,omitempty"`
}

type signAnswer struct {
	Certificate pemText   `json:"crt"`
	Issuer      pemText   `json:"ca"`
	Chain       []pemText `json:"certChain"`
}

func (c *Client) sign(ctx context.Context, r SignRequest) ([]*x509.Certificate, error) {
	names, err := r.check()
	if err != nil {
		return nil, c.fail(Invalid, err)
	}
	secret, err := r.Provisioner.issue(token{
		audience: c.url + "/1.0/sign", subject: names.CommonName, sans: names.SANs,
		root: Fingerprint(c.roots[0]), usages: r.Usages,
	}, c.clock.Now())
	if err != nil {
		return nil, c.fail(Invalid, err)
	}
	body := signBody{
		CSR:   string(requestPEM(r.CSR)),
		Token: secret,
	}
	if r.Duration > 0 {
		body.NotAfter = r.Duration.String() // relative: the authority's clock counts
	}
	var answer signAnswer
	if err := c.call(ctx, http.MethodPost, "/1.0/sign", body, &answer, secret); err != nil {
		return nil, refused(err, r)
	}
	return c.issued(ctx, answer, r.CSR.PublicKey, names)
}

func requestPEM(request *x509.CertificateRequest) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request.Raw})
}

// refused adds what only the caller of the request knows.
func refused(err error, r SignRequest) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	e.of(r.Duration)
	if e.Kind == Unauthorized {
		e.Err = fmt.Errorf("use token of provisioner %q: %w", r.Provisioner.Name, e.Err)
	}
	return e
}

// check finds what makes no sense before the authority is asked.
func (r SignRequest) check() (Names, error) {
	names, err := r.Names.full()
	if err != nil {
		return Names{}, err
	}
	if r.CSR == nil {
		return Names{}, errors.New("there is no certificate request")
	}
	if r.Duration < 0 {
		return Names{}, fmt.Errorf("duration %s is negative", r.Duration)
	}
	for _, usage := range r.Usages {
		if _, ok := usages[usage]; !ok {
			return Names{}, fmt.Errorf("unknown usage %q", usage)
		}
	}
	return names, nil
}

// issued checks what the authority gave.
func (c *Client) issued(ctx context.Context, answer signAnswer, key crypto.PublicKey, names Names) ([]*x509.Certificate, error) {
	texts := answer.Chain
	if len(texts) == 0 {
		texts = []pemText{answer.Certificate, answer.Issuer}
	}
	chain, err := parseAll(slices.DeleteFunc(texts, func(t pemText) bool { return t == "" }))
	if err != nil {
		return nil, c.fail(Invalid, err)
	}
	chain = slices.DeleteFunc(chain, c.isRoot)
	if len(chain) == 0 {
		return nil, c.fail(Invalid, errors.New("the answer is a root"))
	}
	if !samePublicKey(key, chain[0].PublicKey) {
		return nil, c.fail(Invalid, errors.New("the certificate has another key than was asked for"))
	}
	if err := names.check(chain[0]); err != nil {
		return nil, c.fail(Invalid, err)
	}
	if _, err := verify(chain, c.roots, c.within(chain[0])); err != nil {
		e := c.fail(Invalid, fmt.Errorf("the certificate does not lead to the pinned roots: %w", err))
		if isDated(err) {
			e.ClockSkew = c.askClock(ctx)
		}
		return nil, e
	}
	return chain, nil
}

func (c *Client) isRoot(cert *x509.Certificate) bool {
	return slices.ContainsFunc(c.roots, cert.Equal)
}

// within is now, or the begin of a certificate that begins in a moment because the authority's clock is a little fast.
func (c *Client) within(cert *x509.Certificate) time.Time {
	now := c.clock.Now()
	if wait := cert.NotBefore.Sub(now); wait > 0 && wait <= skewTolerance {
		return cert.NotBefore
	}
	return now
}

// Renewable says whether Renew can work for a certificate: step-ca wants it to be for clients, as it proves itself in a
// handshake. Others have to be signed anew, be it with the same key.
func Renewable(cert *x509.Certificate) bool {
	return len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) == 0 || slices.ContainsFunc(cert.ExtKeyUsage, func(usage x509.ExtKeyUsage) bool {
		return usage == x509.ExtKeyUsageClientAuth || usage == x509.ExtKeyUsageAny
	})
}

// Renew has a certificate renewed that proves itself by its own key: the new one has the same key, names, usages and
// length of life. It is returned and checked as that of Sign. A certificate that is over, that is not Renewable, or that
// the authority does not trust any more, is Unauthorized; one that it renews no more is Revoked.
func (c *Client) Renew(ctx context.Context, chainPEM, keyPEM []byte) ([]byte, error) {
	chain, err := c.renew(ctx, chainPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("renew certificate: %w", err)
	}
	return EncodeChain(chain), nil
}

func (c *Client) renew(ctx context.Context, chainPEM, keyPEM []byte) ([]*x509.Certificate, error) {
	if err := Matches(chainPEM, keyPEM); err != nil {
		return nil, c.fail(Invalid, err)
	}
	own, err := tls.X509KeyPair(chainPEM, keyPEM)
	if err != nil {
		return nil, c.fail(Invalid, err)
	}
	old := own.Leaf
	if !c.clock.Now().Before(old.NotAfter) {
		return nil, c.fail(Unauthorized, fmt.Errorf("the certificate is over since %s", old.NotAfter.UTC().Format(time.RFC3339)))
	}
	if !Renewable(old) {
		return nil, c.fail(Unauthorized, errors.New("the certificate is not for clients and cannot prove itself: sign a new one"))
	}
	var answer signAnswer
	if err := c.with(own).call(ctx, http.MethodPost, "/1.0/renew", nil, &answer, ""); err != nil {
		return nil, notRenewed(err)
	}
	return c.issued(ctx, answer, old.PublicKey, NamesOf(old))
}

// notRenewed tells an answer of the authority from a handshake that it broke off.
func notRenewed(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Kind == Unauthorized && e.status == http.StatusUnauthorized {
		e.Kind = Revoked
	}
	return err
}

// Revoke has the authority renew a certificate no more; who trusts it goes on to do so until it is over. One that is
// revoked already is no error. An authority without a database cannot, and says so: Invalid.
func (c *Client) Revoke(ctx context.Context, p Provisioner, serial *big.Int, reason string) error {
	if err := c.revoke(ctx, p, serial, reason); err != nil {
		return fmt.Errorf("revoke certificate: %w", err)
	}
	return nil
}

// cessationOfOperation is the reason code (RFC 5280) of a certificate that is needed no more.
const cessationOfOperation = 5

type revokeBody struct {
	Serial     string `json:"serial"`
	Token      string `json:"ott"`
	ReasonCode int    `json:"reasonCode"`
	Reason     string `json:"reason"`
	Passive    bool   `json:"passive"`
}

func (c *Client) revoke(ctx context.Context, p Provisioner, serial *big.Int, reason string) error {
	decimal := serial.String()
	secret, err := p.issue(token{audience: c.url + "/1.0/revoke", subject: decimal, root: Fingerprint(c.roots[0])}, c.clock.Now())
	if err != nil {
		return c.fail(Invalid, err)
	}
	body := revokeBody{
		Serial: decimal, Token: secret, Passive: true,
		ReasonCode: cessationOfOperation, Reason: cmp.Or(reason, "no longer needed"),
	}
	var answer struct{}
	err = c.call(ctx, http.MethodPost, "/1.0/revoke", body, &answer, secret)
	var e *Error
	if errors.As(err, &e) && e.status == http.StatusBadRequest && strings.Contains(e.Error(), "already revoked") {
		return nil
	}
	return err
}
