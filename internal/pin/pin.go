// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package pin builds TLS configurations that trust one pinned peer: by a CA
// bundle or by the SHA-256 fingerprint of its certificate. It is the only
// place in the project that may switch the library's own verification off,
// because a fingerprint replaces it.
package pin

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Config says whom to trust. Exactly one of CA and Fingerprint is set.
type Config struct {
	// CA is a bundle of PEM certificates; the peer's chain must end in one of
	// them and its certificate must carry the name that is asked for.
	CA []byte
	// Fingerprint is the SHA-256 of the peer's own certificate in hex, with or
	// without colons, in either case: the form that Proxmox VE shows. Names
	// and dates of the certificate are not looked at then.
	Fingerprint string
	// ServerName overrides the name that is asked for and verified; empty: the
	// host of the address that is dialled.
	ServerName string
}

// MismatchError says that the peer showed another certificate than the pinned
// one. Fingerprints are in upper case with colons.
type MismatchError struct{ Want, Got string }

// Error names both fingerprints: neither is secret.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("verify certificate: SHA-256 fingerprint is %s, pinned is %s", e.Got, e.Want)
}

// TLS returns a configuration for one client, TLS 1.2 or newer. It returns an
// error when neither or both of CA and Fingerprint are set, or when the one
// that is set cannot be read.
func (c Config) TLS() (*tls.Config, error) {
	switch {
	case len(c.CA) == 0 && c.Fingerprint == "":
		return nil, errors.New("pin certificate: neither CA nor fingerprint is set")
	case len(c.CA) > 0 && c.Fingerprint != "":
		return nil, errors.New("pin certificate: CA and fingerprint are both set, use one")
	case c.Fingerprint != "":
		return c.byFingerprint()
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.CA) {
		return nil, errors.New("pin certificate: CA holds no PEM certificate")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: c.ServerName}, nil
}

func (c Config) byFingerprint() (*tls.Config, error) {
	want, err := ParseFingerprint(c.Fingerprint)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: c.ServerName,
		// The pinned fingerprint below says more than a chain could.
		InsecureSkipVerify: true,
		// VerifyConnection, not VerifyPeerCertificate: it also runs when a
		// session is resumed.
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return &MismatchError{Want: FormatFingerprint(want), Got: "none"}
			}
			got := sha256.Sum256(state.PeerCertificates[0].Raw)
			if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
				return &MismatchError{Want: FormatFingerprint(want), Got: FormatFingerprint(got)}
			}
			return nil
		},
	}, nil
}

// ParseFingerprint reads a SHA-256 fingerprint in hex, with or without colons.
func ParseFingerprint(s string) ([sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	plain := strings.ReplaceAll(strings.TrimSpace(s), ":", "")
	raw, err := hex.DecodeString(plain)
	if err != nil {
		return sum, fmt.Errorf("parse fingerprint: not hexadecimal: %q", s)
	}
	if len(raw) != sha256.Size {
		return sum, fmt.Errorf("parse fingerprint: want %d bytes of SHA-256, got %d", sha256.Size, len(raw))
	}
	copy(sum[:], raw)
	return sum, nil
}

// FormatFingerprint renders a fingerprint as Proxmox VE shows it: upper case,
// a colon after every byte.
func FormatFingerprint(sum [sha256.Size]byte) string {
	text := strings.ToUpper(hex.EncodeToString(sum[:]))
	parts := make([]string, 0, sha256.Size)
	for i := 0; i < len(text); i += 2 {
		parts = append(parts, text[i:i+2])
	}
	return strings.Join(parts, ":")
}

// Shown returns the fingerprint of the certificate that the peer showed when
// err says that it was refused, so that a person can compare and pin it.
func Shown(err error) (fingerprint string, ok bool) {
	var mismatch *MismatchError
	if errors.As(err, &mismatch) {
		return mismatch.Got, true
	}
	var refused *tls.CertificateVerificationError
	if errors.As(err, &refused) && len(refused.UnverifiedCertificates) > 0 {
		return FormatFingerprint(sha256.Sum256(refused.UnverifiedCertificates[0].Raw)), true
	}
	return "", false
}
