// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// backdate is how far before its making a certificate of the authority begins: as much as step-ca gives its leaves, so
// that machines whose clock is a little slow take it.
const backdate = time.Minute

// KeyPair is a certificate, or a certificate followed by its issuers, with the key of the first one, in PEM.
type KeyPair struct{ CertificatePEM, KeyPEM []byte }

// Template says what a certificate of the authority itself is like.
type Template struct {
	CommonName string
	Duration   time.Duration // of its life, from Now
	Now        time.Time     // zero: the real time
}

// NewRoot makes a self-signed root: ECDSA P-256, path length 1, the key in PKCS#8.
func NewRoot(t Template) (KeyPair, error) {
	pair, err := t.sign(1, nil, nil)
	if err != nil {
		return KeyPair{}, fmt.Errorf("make root certificate: %w", err)
	}
	return pair, nil
}

// NewIntermediate makes an intermediate with a new key under a root: ECDSA P-256, path length 0, the key in PKCS#8. It
// ends with its root at the latest. It returns an error when the root is over or its key does not fit.
func NewIntermediate(root KeyPair, t Template) (KeyPair, error) {
	pair, err := t.under(root)
	if err != nil {
		return KeyPair{}, fmt.Errorf("make intermediate certificate: %w", err)
	}
	return pair, nil
}

func (t Template) under(root KeyPair) (KeyPair, error) {
	if err := Matches(root.CertificatePEM, root.KeyPEM); err != nil {
		return KeyPair{}, fmt.Errorf("use root: %w", err)
	}
	chain, err := ParseChain(root.CertificatePEM)
	if err != nil {
		return KeyPair{}, fmt.Errorf("use root: %w", err)
	}
	if !chain[0].IsCA {
		return KeyPair{}, errors.New("use root: it is not the certificate of an authority")
	}
	if chain[0].MaxPathLenZero {
		return KeyPair{}, errors.New("use root: it signs no other authority (path length 0)")
	}
	key, err := DecodeKey(root.KeyPEM)
	if err != nil {
		return KeyPair{}, fmt.Errorf("use root: %w", err)
	}
	return t.sign(0, chain[0], key)
}

// sign makes a certificate of an authority; without a parent it signs itself.
func (t Template) sign(pathLength int, parent *x509.Certificate, signer crypto.Signer) (KeyPair, error) {
	cert, err := t.certificate(pathLength, parent)
	if err != nil {
		return KeyPair{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return KeyPair{}, fmt.Errorf("make key: %w", err)
	}
	if parent == nil {
		parent, signer = cert, key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), signer)
	if err != nil {
		return KeyPair{}, fmt.Errorf("sign: %w", err)
	}
	keyPEM, err := EncodeKey(key, false)
	if err != nil {
		return KeyPair{}, err
	}
	return KeyPair{CertificatePEM: encodeDER(der), KeyPEM: keyPEM}, nil
}

func (t Template) certificate(pathLength int, parent *x509.Certificate) (*x509.Certificate, error) {
	if t.CommonName == "" || t.Duration <= 0 {
		return nil, errors.New("a common name and a duration above zero are needed")
	}
	now := t.Now
	if now.IsZero() {
		now = time.Now()
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	cert := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: t.CommonName},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(t.Duration),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            pathLength,
		MaxPathLenZero:        pathLength == 0,
	}
	if parent == nil {
		return cert, nil
	}
	if !now.Before(parent.NotAfter) {
		return nil, fmt.Errorf("its root %q is over since %s", parent.Subject.CommonName, parent.NotAfter.UTC().Format(time.RFC3339))
	}
	if cert.NotAfter.After(parent.NotAfter) {
		cert.NotAfter = parent.NotAfter
	}
	if cert.NotBefore.Before(parent.NotBefore) {
		cert.NotBefore = parent.NotBefore
	}
	return cert, nil
}
