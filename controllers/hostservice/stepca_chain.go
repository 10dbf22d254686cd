// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// caPair is an intermediate certificate with its key.
type caPair struct {
	chain           []*x509.Certificate
	certPEM, keyPEM []byte
	// root that it leads to; nil: to none that is known.
	root *x509.Certificate
}

// parseRoots reads certificates each of which is a root.
func parseRoots(data []byte) ([]*x509.Certificate, error) {
	roots, err := stepca.ParseChain(data)
	if err != nil {
		return nil, err
	}
	for _, root := range roots {
		if !root.IsCA || !bytes.Equal(root.RawIssuer, root.RawSubject) || root.CheckSignatureFrom(root) != nil {
			return nil, fmt.Errorf("certificate %q is no root: it is not the self-signed certificate of an authority", root.Subject.CommonName)
		}
	}
	if len(roots) > maxRoots {
		return nil, fmt.Errorf("it holds %d roots: want %d at most", len(roots), maxRoots)
	}
	return roots, nil
}

// parsePair reads an intermediate certificate with its key.
func parsePair(certPEM, keyPEM []byte) (*caPair, error) {
	if err := stepca.Matches(certPEM, keyPEM); err != nil {
		return nil, err
	}
	chain, err := stepca.ParseChain(certPEM)
	if err != nil {
		return nil, err
	}
	if !chain[0].IsCA {
		return nil, fmt.Errorf("certificate %q is not that of an authority", chain[0].Subject.CommonName)
	}
	return &caPair{chain: chain, certPEM: certPEM, keyPEM: keyPEM}, nil
}

// leadTo finds the root that the intermediate leads to.
func (p *caPair) leadTo(roots []*x509.Certificate) error {
	root, err := stepca.RootOf(p.chain, roots)
	if err != nil {
		return fmt.Errorf("certificate %q does not lead to the root %q: %w", p.chain[0].Subject.CommonName, roots[0].Subject.CommonName, err)
	}
	if root.Equal(p.chain[0]) {
		return fmt.Errorf("certificate %q is the root itself: want an intermediate", p.chain[0].Subject.CommonName)
	}
	p.root = root
	return nil
}

// lifeOf is from when to when a chain is valid.
func lifeOf(chain []*x509.Certificate) (begin, end time.Time) { return stepca.Validity(chain) }

func fingerprints(certs []*x509.Certificate) []string {
	var all []string
	for _, cert := range certs {
		all = append(all, stepca.Fingerprint(cert))
	}
	return all
}

// among says whether one of the certificates is among others.
func among(some, others []*x509.Certificate) bool {
	return slices.ContainsFunc(some, func(one *x509.Certificate) bool { return slices.ContainsFunc(others, one.Equal) })
}
