// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/controllers/hostservice"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// Who speaks to one server shares its client; another way to prove itself makes another one.
func TestPortainersShareConnections(t *testing.T) {
	bundle := func() string {
		t.Helper()
		root, err := stepca.NewRoot(stepca.Template{CommonName: "Root CA", Duration: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return string(root.CertificatePEM)
	}
	at := hostservice.PortainerAddress{URL: "https://10.0.0.111:9443", ServerName: "portainer.phoenix.lan", CABundle: bundle()}
	all := &portainers{}
	first, err := all.of(at)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := all.of(at); err != nil || again != first {
		t.Errorf("the same server is reached by another client (%v)", err)
	}
	rotated := at
	rotated.CABundle += bundle()
	if other, err := all.of(rotated); err != nil || other == first || len(all.all) != 1 {
		t.Errorf("another authority does not take the place of the one before (%v)", err)
	}
	for reason, wrong := range map[string]hostservice.PortainerAddress{
		"ca.crt of its Secret holds no certificate": {URL: at.URL, CABundle: "x"},
		"its URL must be https://":                  {URL: "http://10.0.0.111"},
	} {
		if _, err := all.of(wrong); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%v, want %q", err, reason)
		}
	}
}
