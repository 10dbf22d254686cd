// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

func TestKeys(t *testing.T) {
	cases := map[string]struct {
		reason    string
		algorithm string
		size      int
		pkcs1     bool
		block     string
		bits      int
	}{
		"default":         {"what nearly everything takes", "", 0, false, "PRIVATE KEY", 256},
		"ECDSA 256":       {"the same, said aloud", ECDSA, 256, false, "PRIVATE KEY", 256},
		"ECDSA 384 SEC 1": {"the older form", ECDSA, 384, true, "EC PRIVATE KEY", 384},
		"ECDSA 521":       {"the largest", ECDSA, 521, false, "PRIVATE KEY", 521},
		"RSA":             {"its default", RSA, 0, false, "PRIVATE KEY", 3072},
		"RSA PKCS#1":      {"the older form", RSA, 2048, true, "RSA PRIVATE KEY", 2048},
		"Ed25519":         {"has one size", Ed25519, 0, false, "PRIVATE KEY", 256},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			key := must(NewKey(tc.algorithm, tc.size))(t)
			if got := bits(key); got != tc.bits {
				t.Errorf("%s: %d bits, want %d", tc.reason, got, tc.bits)
			}
			data := must(EncodeKey(key, tc.pkcs1))(t)
			if block, _ := pem.Decode(data); block.Type != tc.block {
				t.Errorf("%s: %s, want %s", tc.reason, block.Type, tc.block)
			}
			back := must(DecodeKey(append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), data...)))(t)
			if !samePublicKey(key.Public(), back.Public()) {
				t.Errorf("%s: another key comes back", tc.reason)
			}
		})
	}
}

func bits(key crypto.Signer) int {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return k.N.BitLen()
	case *ecdsa.PrivateKey:
		return k.Curve.Params().BitSize
	case ed25519.PrivateKey:
		return 8 * len(k.Seed())
	}
	return 0
}

func TestKeysRefused(t *testing.T) {
	for _, tc := range []struct {
		reason, algorithm string
		size              int
	}{
		{"step-ca takes none below 2048", RSA, 1024}, {"no such curve", ECDSA, 2048}, {"has no sizes", Ed25519, 256},
		{"unknown", "DSA", 0}, {"its name is ECDSA", "ecdsa", 0}, {"too large to be waited for", RSA, 16384},
	} {
		if _, err := NewKey(tc.algorithm, tc.size); err == nil {
			t.Errorf("NewKey(%s, %d) makes a key: %s", tc.algorithm, tc.size, tc.reason)
		}
	}
	if _, err := EncodeKey(must(NewKey(Ed25519, 0))(t), true); err == nil {
		t.Error("an Ed25519 key has no PKCS#1")
	}
}

func TestDecodeKeyRefused(t *testing.T) {
	block := func(kind, body string) []byte {
		return []byte("-----BEGIN " + kind + "-----\n" + body + "\n-----END " + kind + "-----\n")
	}
	// hunter2 in base64
	cases := map[string]struct {
		reason string
		data   []byte
		text   string
	}{
		"nothing":      {"an empty Secret", nil, "no private key"},
		"text":         {"a password instead", []byte("hunter2"), "no private key"},
		"certificate":  {"mixed up", block("CERTIFICATE", "aHVudGVyMg=="), "no private key"},
		"broken":       {"cut while copied", block("PRIVATE KEY", "aHVudGVyMg=="), "decode key"},
		"broken SEC 1": {"cut while copied", block("EC PRIVATE KEY", "aHVudGVyMg=="), "decode key"},
		"broken PKCS1": {"cut while copied", block("RSA PRIVATE KEY", "aHVudGVyMg=="), "decode key"},
		"encrypted":    {"nobody here knows the password", block("ENCRYPTED PRIVATE KEY", "aHVudGVyMg=="), "encrypted"},
		"old encryption": {"the same of openssl's old form", block("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\naHVudGVyMg=="),
			"encrypted"},
		"X25519":    {"it cannot sign", block("PRIVATE KEY", "MC4CAQAwBQYDK2VuBCIEIHcHbQpzGKV9PBbBclGyZkXfTC+H68CZKrF3+6UduSwq"), "cannot sign"},
		"too large": {"not a key", make([]byte, maxPEM+1), "larger"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeKey(tc.data)
			if err == nil || !strings.Contains(err.Error(), tc.text) {
				t.Fatalf("%s: DecodeKey() = %v, want %q", tc.reason, err, tc.text)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "aHVudGVyMg") {
				t.Errorf("%s: %v holds what was read", tc.reason, err)
			}
		})
	}
}

func TestParseChain(t *testing.T) {
	root := must(NewRoot(Template{CommonName: "Root", Duration: 2 * time.Hour}))(t)
	intermediate := must(NewIntermediate(root, Template{CommonName: "I", Duration: time.Hour}))(t)
	both := append(append([]byte("# our CA\n"), intermediate.CertificatePEM...), root.CertificatePEM...)
	chain := must(ParseChain(both))(t)
	if len(chain) != 2 || chain[0].Subject.CommonName != "I" {
		t.Errorf("ParseChain() = %d certificates", len(chain))
	}
	if got := must(ParseChain(EncodeChain(chain)))(t); len(got) != 2 || !got[0].Equal(chain[0]) || !got[1].Equal(chain[1]) {
		t.Error("EncodeChain() loses something")
	}
	if notBefore, notAfter := Validity([]*x509.Certificate{chain[1], chain[0]}); !notBefore.Equal(chain[1].NotBefore) || !notAfter.Equal(chain[0].NotAfter) {
		t.Errorf("Validity() = %s, %s", notBefore, notAfter)
	}
	cases := map[string]struct {
		reason string
		data   []byte
		text   string
	}{
		"nothing":       {"an empty Secret", nil, "there is none"},
		"no PEM":        {"a DER file", chain[0].Raw, "there is none"},
		"a key":         {"mixed up", root.KeyPEM, "there is a PRIVATE KEY"},
		"key and chain": {"it must not get into a public file", append(both, root.KeyPEM...), "there is a PRIVATE KEY"},
		"cut":           {"cut while copied", both[:len(both)-40], "certificate 1 is not PEM"},
		"broken":        {"cut while copied", encodeDER(chain[0].Raw[:100]), "parse certificate 1"},
		"too large":     {"not a chain", make([]byte, maxPEM+1), "larger"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseChain(tc.data); err == nil || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%s: ParseChain() = %v, want %q", tc.reason, err, tc.text)
			}
		})
	}
	if _, err := ParseSerial("xyz"); err == nil {
		t.Error("ParseSerial takes what is not hexadecimal")
	}
	slow := []*x509.Certificate{leafOf(t, pairUnder(t, intermediate, ECDSA).CertificatePEM), chain[0]}
	slow[0].NotBefore = chain[0].NotBefore.Add(-time.Minute)
	if got, err := RootOf(slow, chain[1:]); err != nil || !got.Equal(chain[1]) {
		t.Errorf("RootOf() of a leaf that is dated before its intermediate = %v", err)
	}
	if _, err := RootOf(nil, chain); err == nil {
		t.Error("RootOf finds a root of nothing")
	}
}

func FuzzParseChain(f *testing.F) {
	root, err := NewRoot(Template{CommonName: "Root", Duration: time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(root.CertificatePEM)
	f.Add(append(root.CertificatePEM, root.KeyPEM...))
	f.Fuzz(func(t *testing.T, data []byte) {
		chain, err := ParseChain(data)
		if err != nil {
			return
		}
		again, err := ParseChain(EncodeChain(chain))
		if err != nil || len(again) != len(chain) {
			t.Errorf("%d certificates become %d: %v", len(chain), len(again), err)
		}
	})
}

func FuzzDecodeKey(f *testing.F) {
	for _, algorithm := range []string{ECDSA, Ed25519} {
		key, err := NewKey(algorithm, 0)
		if err != nil {
			f.Fatal(err)
		}
		data, err := EncodeKey(key, false)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := DecodeKey(data)
		if err != nil {
			return
		}
		encoded, err := EncodeKey(key, false)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := DecodeKey(encoded); err != nil || !samePublicKey(key.Public(), again.Public()) {
			t.Errorf("another key comes back: %v", err)
		}
	})
}
