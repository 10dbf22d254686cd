// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5" // what server and agent agreed on
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/http"
)

// Headers between a server and its agents.
const (
	headerPublicKey = "X-PortainerAgent-PublicKey"
	headerSignature = "X-PortainerAgent-Signature"
	headerAgent     = "Portainer-Agent"
	headerPlatform  = "Portainer-Agent-Platform"
)

// signer is a server's key, by which agents know it.
type signer struct {
	key    *ecdsa.PrivateKey
	public string
	secret string
}

// newSigner reads a key, or makes one from nothing.
func newSigner(der []byte, secret string) (*signer, []byte, error) {
	if der == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, fmt.Errorf("make the server's key: %w", err)
		}
		if der, err = x509.MarshalECPrivateKey(key); err != nil {
			return nil, nil, fmt.Errorf("write the server's key: %w", err)
		}
	}
	key, err := x509.ParseECPrivateKey(der)
	if err != nil {
		return nil, nil, fmt.Errorf("read the server's key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("write the server's public key: %w", err)
	}
	return &signer{key: key, public: hex.EncodeToString(public), secret: secret}, der, nil
}

// message is what is signed: the secret, or what everybody knows.
func message(secret string) []byte {
	if secret == "" {
		secret = "Portainer-App"
	}
	sum := md5.Sum([]byte(secret))
	return sum[:]
}

// sign adds the headers that an agent asks for.
func (s *signer) sign(h http.Header) error {
	r, v, err := ecdsa.Sign(rand.Reader, s.key, message(s.secret))
	if err != nil {
		return fmt.Errorf("sign a request: %w", err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	v.FillBytes(signature[32:])
	h.Set(headerPublicKey, s.public)
	h.Set(headerSignature, base64.RawStdEncoding.EncodeToString(signature))
	return nil
}

var errUnauthorized = errors.New("Unauthorized") // Portainer says so

// verify says whether a request is from a server that knows the secret. trusted is
// the only public key that may sign, "" for any.
func verify(h http.Header, secret, trusted string) error {
	public := h.Get(headerPublicKey)
	if trusted != "" {
		public = trusted
	}
	der, err := hex.DecodeString(public)
	if err != nil {
		return err
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return err
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	signature, err := base64.RawStdEncoding.DecodeString(h.Get(headerSignature))
	if err != nil || !ok || len(signature) != 64 {
		return errUnauthorized
	}
	if !ecdsa.Verify(key, message(secret), new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return errUnauthorized
	}
	return nil
}
