// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.step.sm/crypto/jose"
)

// tokenLife is how long a one-time token may be used: step-ca's own.
const tokenLife = 5 * time.Minute

// claimUsages is the claim of a token that the template of Config takes the usages from.
const claimUsages = "phoenixUsages"

// Provisioner is a JWK provisioner of step-ca: whoever holds its key may have certificates signed.
type Provisioner struct {
	Name string
	// JWK is the private key: a JWK, or, encrypted with Password, a JWE of it (compact or JSON), as step makes them.
	JWK []byte
	// Password of an encrypted key; empty otherwise.
	Password []byte
}

// NewProvisionerKey makes the key of a provisioner: a private JWK for ES256, whose kid is its thumbprint (RFC 7638).
func NewProvisionerKey() ([]byte, error) {
	key, err := jose.GenerateJWK("EC", "P-256", "ES256", "sig", "", 0)
	if err != nil {
		return nil, fmt.Errorf("make provisioner key: %w", err)
	}
	data, err := json.Marshal(key)
	if err != nil {
		return nil, fmt.Errorf("make provisioner key: %w", err)
	}
	return data, nil
}

// PublicJWK returns the public half of a JWK, which Config takes. An encrypted key is an error.
func PublicJWK(jwk []byte) ([]byte, error) {
	key, err := Provisioner{JWK: jwk}.key()
	if err != nil {
		return nil, err
	}
	public := key.Public()
	data, err := json.Marshal(&public)
	if err != nil {
		return nil, fmt.Errorf("encode public key of provisioner: %w", err)
	}
	return data, nil
}

// Check returns nil when the key can be read and signs.
func (p Provisioner) Check() error {
	_, err := p.key()
	return err
}

// key reads the private key. Its errors are in our own words, as those of a parser may quote what it was given.
func (p Provisioner) key() (*jose.JSONWebKey, error) {
	plain := p.JWK
	if encrypted, err := jose.ParseEncrypted(string(p.JWK)); err == nil {
		if len(p.Password) == 0 {
			return nil, errors.New("read provisioner key: it is encrypted, and there is no password")
		}
		if plain, err = encrypted.Decrypt(p.Password); err != nil {
			return nil, errors.New("read provisioner key: the password does not open it")
		}
	}
	key := new(jose.JSONWebKey)
	if err := json.Unmarshal(plain, key); err != nil {
		return nil, errors.New("read provisioner key: it is not a JWK")
	}
	if !key.Valid() || key.IsPublic() { // a symmetric one is not valid here
		return nil, errors.New("read provisioner key: it is not a private key")
	}
	if key.KeyID == "" {
		thumbprint, err := jose.Thumbprint(key)
		if err != nil {
			return nil, errors.New("read provisioner key: it has no thumbprint")
		}
		key.KeyID = thumbprint
	}
	return key, nil
}

// token is what a one-time token says beside the registered claims.
type token struct {
	audience, subject string
	sans              []string // nil: none
	root              string   // fingerprint
	usages            []string // nil: the authority's
}

// issue signs a one-time token that lives from now on.
func (p Provisioner) issue(t token, now time.Time) (string, error) {
	key, err := p.key()
	if err != nil {
		return "", err
	}
	algorithm := jose.SignatureAlgorithm(key.Algorithm)
	if algorithm == "" {
		algorithm = jose.ES256
	}
	options := new(jose.SignerOptions).WithType("JWT").WithHeader("kid", key.KeyID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key.Key}, options)
	if err != nil {
		return "", fmt.Errorf("sign token of provisioner %q: its key does not fit algorithm %s", p.Name, algorithm)
	}
	claims := map[string]any{
		"jti": rand.Text(), "iss": p.Name, "aud": t.audience, "sub": t.subject, "sha": t.root,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(tokenLife).Unix(),
	}
	if t.sans != nil {
		claims["sans"] = t.sans
	}
	if t.usages != nil {
		claims[claimUsages] = t.usages
	}
	text, err := jose.Signed(signer).Claims(claims).CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("sign token of provisioner %q: its key does not sign", p.Name)
	}
	return text, nil
}
