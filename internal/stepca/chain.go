// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// ParseChain reads certificates from PEM in their order, at least one. Anything but certificates in between is an error.
func ParseChain(data []byte) ([]*x509.Certificate, error) {
	if len(data) > maxPEM {
		return nil, errors.New("parse certificates: they are larger than any chain")
	}
	var chain []*x509.Certificate
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if len(bytes.TrimSpace(rest)) > 0 && len(chain) > 0 {
				return nil, fmt.Errorf("parse certificates: what follows certificate %d is not PEM", len(chain))
			}
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("parse certificates: there is a %s among them", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse certificate %d: %w", len(chain)+1, err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, errors.New("parse certificates: there is none in PEM")
	}
	return chain, nil
}

// EncodeChain writes certificates as PEM.
func EncodeChain(chain []*x509.Certificate) []byte {
	var out []byte
	for _, cert := range chain {
		out = append(out, encodeDER(cert.Raw)...)
	}
	return out
}

func encodeDER(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Fingerprint returns the SHA-256 of a certificate in lower-case hexadecimal digits, as
// `step certificate fingerprint` prints it.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Serial returns the serial number of a certificate in lower-case hexadecimal digits.
func Serial(cert *x509.Certificate) string { return cert.SerialNumber.Text(16) }

// ParseSerial reads what Serial wrote.
func ParseSerial(text string) (*big.Int, error) {
	serial, ok := new(big.Int).SetString(text, 16)
	if !ok {
		return nil, fmt.Errorf("parse serial number: %q is not hexadecimal", text)
	}
	return serial, nil
}

// Validity returns when the first certificate begins and when the first of the chain ends: step-ca does not mind to
// sign a certificate that outlives its intermediate, and from then on nobody takes it.
func Validity(chain []*x509.Certificate) (notBefore, notAfter time.Time) {
	for i, cert := range chain {
		if i == 0 {
			notBefore, notAfter = cert.NotBefore, cert.NotAfter
		} else if cert.NotAfter.Before(notAfter) {
			notAfter = cert.NotAfter
		}
	}
	return notBefore, notAfter
}

// RootOf returns the root that a chain leads to, its own certificate first. Validity in time is not looked at, so that
// the root of a certificate that is over can be told. It returns an error when it leads to none of the roots.
func RootOf(chain, roots []*x509.Certificate) (*x509.Certificate, error) {
	if len(chain) == 0 {
		return nil, errors.New("find root: there is no certificate")
	}
	// An authority whose clock is slow dates a leaf before a new intermediate.
	at := chain[0].NotBefore
	for _, cert := range chain {
		if cert.NotBefore.After(at) {
			at = cert.NotBefore
		}
	}
	verified, err := verify(chain, roots, at)
	if err != nil {
		return nil, fmt.Errorf("find root: %w", err)
	}
	return verified[len(verified)-1], nil
}

// verify returns the way from the first certificate to a root.
func verify(chain, roots []*x509.Certificate, at time.Time) ([]*x509.Certificate, error) {
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, root := range roots {
		options.Roots.AddCert(root)
	}
	for _, cert := range chain[1:] {
		options.Intermediates.AddCert(cert)
	}
	ways, err := chain[0].Verify(options)
	if err != nil {
		return nil, err
	}
	return ways[0], nil
}
