// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// Annotations of a Secret.
const (
	// OwnerAnnotation names the Certificate that writes a Secret.
	OwnerAnnotation = "phoenix-hypervisor.io/certificate"
	// issuedAnnotation keeps what cannot be read from the certificate: see marks.
	issuedAnnotation = "phoenix-hypervisor.io/issued"
)

// Entries of a Secret beside those of a keystore.
const (
	chainEntry = corev1.TLSCertKey
	keyEntry   = corev1.TLSPrivateKeyKey
	rootsEntry = "ca.crt"
)

// marks say how a certificate came to be.
type marks struct {
	// Serial of the certificate that they speak of.
	Serial string `json:"serial"`
	// Asked is the hash of the names and usages that were asked for; empty: not known.
	Asked string `json:"asked,omitempty"`
	// Duration that was asked for; empty: the authority's.
	Duration string `json:"duration,omitempty"`
	// At is when it was issued.
	At time.Time `json:"at,omitzero"`
	// Renewed is the value of the annotation that was followed.
	Renewed string `json:"renewed,omitempty"`
}

// material is a key with its certificate: what a Secret holds, or what came from the authority and is on its way there.
type material struct {
	chain []*x509.Certificate // the certificate first; nil: there is none that can be read
	key   crypto.Signer       // nil: there is none that can be read
	// why says what is wrong with it: a reason for which a certificate is issued anew, and words.
	why, said string
	marks     marks
}

// fits says whether key and certificate belong together. Nothing else is ever brought anywhere.
func (m *material) fits() bool { return m != nil && m.why == "" }

func (m *material) leaf() *x509.Certificate { return m.chain[0] }

func (m *material) serial() string { return stepca.Serial(m.chain[0]) }

func (m *material) chainPEM() []byte { return stepca.EncodeChain(m.chain) }

// keyPEM writes the key. It always can: PKCS#8 is there for every key that was read.
func (m *material) keyPEM(pkcs1 bool) []byte {
	text, err := stepca.EncodeKey(m.key, pkcs1)
	if err != nil {
		text, _ = stepca.EncodeKey(m.key, false)
	}
	return text
}

// read makes material of the entries of a Secret. renewed is the annotation's value that the status knows of.
func read(chainPEM, keyPEM []byte, issued, renewed string) *material {
	var m material
	var err error
	if m.chain, err = stepca.ParseChain(chainPEM); err != nil {
		m.chain, m.why, m.said = nil, SecretMissingReason, chainEntry+": "+err.Error()
	}
	if m.key, err = stepca.DecodeKey(keyPEM); err != nil {
		m.key = nil
		m.why, m.said = SecretMissingReason, keyEntry+": "+err.Error()
	}
	if m.why != "" {
		return &m
	}
	if err := stepca.Matches(m.chainPEM(), m.keyPEM(false)); err != nil {
		m.why, m.said = KeyMismatchReason, err.Error()
	}
	if json.Unmarshal([]byte(issued), &m.marks) != nil || m.marks.Serial != m.serial() {
		m.marks = marks{Serial: m.serial(), Renewed: renewed} // of another certificate, or nobody's
	}
	return &m
}

// encode writes the marks; they always can be.
func (m marks) encode() string {
	text, _ := json.Marshal(m)
	return string(text)
}
