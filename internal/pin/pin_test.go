// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pin

import (
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func server(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is tested
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, c Config, url string) error {
	t.Helper()
	conf, err := c.TLS()
	if err != nil {
		t.Fatalf("TLS() = %v", err)
	}
	transport := &http.Transport{TLSClientConfig: conf}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

func TestTrust(t *testing.T) {
	s := server(t)
	leaf := s.Certificate()
	shown := FormatFingerprint(sha256.Sum256(leaf.Raw))
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})
	other := strings.Repeat("AB:", 31) + "AB"

	cases := map[string]struct {
		reason string
		config Config
		shown  string // what the refusal must show; empty: trusted
	}{
		"fingerprint":       {"the form that Proxmox shows", Config{Fingerprint: shown}, ""},
		"plain fingerprint": {"sha256sum prints no colons and lower case", Config{Fingerprint: strings.ToLower(strings.ReplaceAll(shown, ":", ""))}, ""},
		"wrong fingerprint": {"a condition must be able to print what is served", Config{Fingerprint: other}, shown},
		"CA":                {"the self-signed certificate is its own authority", Config{CA: ca}, ""},
		"CA, wrong name":    {"a CA signs for names", Config{CA: ca, ServerName: "pve.invalid"}, shown},
		"CA, right name":    {"the certificate of httptest carries example.com", Config{CA: ca, ServerName: "example.com"}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := get(t, c.config, s.URL)
			if c.shown == "" {
				if err != nil {
					t.Fatalf("%s: %v", c.reason, err)
				}
				return
			}
			got, ok := Shown(err)
			if !ok || got != c.shown {
				t.Errorf("%s: Shown(%v) = %q, %v, want %q", c.reason, err, got, ok, c.shown)
			}
			var mismatch *MismatchError
			if c.config.Fingerprint != "" && (!errors.As(err, &mismatch) || mismatch.Want != other) {
				t.Errorf("%s: %v is no MismatchError with the pinned fingerprint", c.reason, err)
			}
		})
	}
}

func TestBadConfig(t *testing.T) {
	cases := map[string]struct {
		reason string
		config Config
		want   string
	}{
		"neither": {"the system's roots are never trusted by accident", Config{}, "neither"},
		"both":    {"it would be unclear which one counts", Config{CA: []byte("x"), Fingerprint: "y"}, "both"},
		"no PEM":  {"a wrong key of the Secret", Config{CA: []byte("hello")}, "no PEM"},
		"not hex": {"a typing error", Config{Fingerprint: "zz"}, "hexadecimal"},
		"SHA-1":   {"openssl prints SHA-1 by default", Config{Fingerprint: strings.Repeat("ab", 20)}, "32 bytes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := c.config.TLS()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: TLS() = %v, want %q", c.reason, err, c.want)
			}
		})
	}
}

func TestShownOfOtherErrors(t *testing.T) {
	if got, ok := Shown(errors.New("connection refused")); ok {
		t.Errorf("Shown() = %q for an error that shows nothing", got)
	}
}
