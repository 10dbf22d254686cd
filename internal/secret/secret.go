// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package secret holds values that must never be read in a log, an error, a
// plan or an encoded object.
package secret

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
)

// Secret is a token, a key or a password. Every way to print or encode it
// yields a short keyed hash such as "secret:1a2b3c4d": two equal secrets look
// equal in one process, and the hash says nothing outside it. Only Reveal
// gives the value itself. Do not use it as the key of a map: encoding/json
// writes keys of string types as they are.
type Secret string

var processKey = sync.OnceValue(func() []byte {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the process instead
	return key
})

// Reveal returns the value. The caller must not print it.
func (s Secret) Reveal() []byte { return []byte(string(s)) }

// Empty says whether there is a value at all.
func (s Secret) Empty() bool { return len(s) == 0 }

// String returns the keyed hash, or "secret:none" without a value.
func (s Secret) String() string {
	if s.Empty() {
		return "secret:none"
	}
	mac := hmac.New(sha256.New, processKey())
	mac.Write([]byte(string(s)))
	return "secret:" + hex.EncodeToString(mac.Sum(nil)[:4])
}

// GoString keeps %#v from showing the value.
func (s Secret) GoString() string { return s.String() }

// Format keeps every verb, %x and %q included, from showing the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalJSON encodes the hash.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalText encodes the hash for XML and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue logs the hash.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
