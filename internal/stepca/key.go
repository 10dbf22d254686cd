// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// The algorithms of NewKey.
const (
	ECDSA   = "ECDSA"
	RSA     = "RSA"
	Ed25519 = "Ed25519"
)

// maxPEM bounds what is read as PEM: a chain or a key is a few kilobytes.
const maxPEM = 1 << 20

// NewKey makes a private key. algorithm is ECDSA (the default when empty), RSA or Ed25519; size is in bits: 256 (the
// default when 0), 384 or 521 of ECDSA; 2048, 3072 (default), 4096 or 8192 of RSA; 0 of Ed25519.
func NewKey(algorithm string, size int) (crypto.Signer, error) {
	key, err := newKey(algorithm, size)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}

func newKey(algorithm string, size int) (crypto.Signer, error) {
	curves := map[int]elliptic.Curve{0: elliptic.P256(), 256: elliptic.P256(), 384: elliptic.P384(), 521: elliptic.P521()}
	switch algorithm {
	case "", ECDSA:
		if curve, ok := curves[size]; ok {
			return ecdsa.GenerateKey(curve, rand.Reader)
		}
	case RSA:
		switch size {
		case 0:
			return rsa.GenerateKey(rand.Reader, 3072)
		case 2048, 3072, 4096, 8192:
			return rsa.GenerateKey(rand.Reader, size)
		}
	case Ed25519:
		if size == 0 {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			return key, err
		}
	default:
		return nil, fmt.Errorf("unknown algorithm %q", algorithm)
	}
	return nil, fmt.Errorf("%s has no keys of %d bits", algorithm, size)
}

// EncodeKey writes a private key as PEM: PKCS#8, or, with pkcs1, the older form of its algorithm (PKCS#1 of RSA, SEC 1
// of ECDSA), which Ed25519 does not have.
func EncodeKey(key crypto.Signer, pkcs1 bool) ([]byte, error) {
	block, err := keyBlock(key, pkcs1)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(block), nil
}

func keyBlock(key crypto.Signer, pkcs1 bool) (*pem.Block, error) {
	if !pkcs1 {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return &pem.Block{Type: "PRIVATE KEY", Bytes: der}, err
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}, nil
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(k)
		return &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}, err
	}
	return nil, fmt.Errorf("%T has no form but PKCS#8", key)
}

// DecodeKey reads a private key (ECDSA, RSA or Ed25519) from PEM: PKCS#8, PKCS#1 or SEC 1. Blocks before the key, such
// as EC PARAMETERS, are passed over. An encrypted key is an error. Errors never hold a part of the key.
func DecodeKey(data []byte) (crypto.Signer, error) {
	if len(data) > maxPEM {
		return nil, errors.New("decode key: it is larger than any key")
	}
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return nil, errors.New("decode key: it holds no private key in PEM")
		}
		key, known, err := parseKey(block)
		if err != nil {
			return nil, fmt.Errorf("decode key: %w", err)
		}
		if known {
			return key, nil
		}
		data = rest
	}
}

// parseKey tells with known whether the block is a private key at all.
func parseKey(block *pem.Block) (key crypto.Signer, known bool, err error) {
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
		return nil, true, errors.New("it is encrypted: decrypt it first")
	}
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, true, err
		}
		switch k := parsed.(type) {
		case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
			return k.(crypto.Signer), true, nil
		}
		return nil, true, fmt.Errorf("%T cannot sign", parsed)
	case "RSA PRIVATE KEY":
		k, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return nil, true, err
		}
		return k, true, nil
	case "EC PRIVATE KEY":
		k, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			return nil, true, err
		}
		return k, true, nil
	}
	return nil, false, nil
}

// Matches returns nil when the key is that of the first certificate. Otherwise its error says what does not fit: one of
// them cannot be read, or they do not belong together.
func Matches(certPEM, keyPEM []byte) error {
	chain, err := ParseChain(certPEM)
	if err != nil {
		return err
	}
	key, err := DecodeKey(keyPEM)
	if err != nil {
		return err
	}
	if !samePublicKey(key.Public(), chain[0].PublicKey) {
		return fmt.Errorf("match key: it is not the key of certificate %q (serial number %s)", chain[0].Subject.CommonName, Serial(chain[0]))
	}
	return nil
}

func samePublicKey(a, b crypto.PublicKey) bool {
	x, err := x509.MarshalPKIXPublicKey(a)
	if err != nil {
		return false
	}
	y, err := x509.MarshalPKIXPublicKey(b)
	return err == nil && bytes.Equal(x, y)
}
