// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"crypto/x509"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// TestSigners shares one client among the Certificates of an authority, until its roots are others.
func TestSigners(t *testing.T) {
	root := func() *x509.Certificate {
		pair, err := stepca.NewRoot(stepca.Template{CommonName: "Root", Duration: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		chain, err := stepca.ParseChain(pair.CertificatePEM)
		if err != nil {
			t.Fatal(err)
		}
		return chain[0]
	}
	a, b := root(), root()
	s := &signers{clock: clock.RealClock{}}
	of := func(url string, roots ...*x509.Certificate) any {
		client, err := s.of(url, roots)
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	first := of("https://10.0.0.1", a)
	if of("https://10.0.0.1", a) != first {
		t.Error("the same authority has two clients")
	}
	if of("https://10.0.0.2", a) == first || of("https://10.0.0.1", b, a) == first {
		t.Error("another URL or other roots have the same client")
	}
	if len(s.all) != 2 {
		t.Errorf("%d clients are kept for two URLs", len(s.all))
	}
	if _, err := s.of("http://10.0.0.1", []*x509.Certificate{a}); err == nil {
		t.Error("a URL without TLS has a client")
	}
	if _, err := s.of("https://10.0.0.3", nil); err == nil {
		t.Error("an authority without roots has a client")
	}
}
