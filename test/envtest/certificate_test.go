// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

// The smallest Certificate, and the service that serves it; tests patch their spec.
const (
	siteCertificate = `
kind: Certificate
spec:
  authority: {serviceRef: {name: ca}}
  secretName: site-tls
  dnsNames: [www.phoenix.lan]`
	entry = `
kind: HostService
spec:
  guestRef: {name: web}
  nginx: {servers: [{name: site, certificateRef: {name: site}}]}`
	longClaims = `stepCA: {claims: {minDuration: 1s, defaultDuration: 24h, maxDuration: 48h}}`
	nodeFile   = "/etc/ssl/site/both.pem"
)

// newCertificateStage makes a stage with an authority in Guest "ca" that answers, and a Guest "web".
func newCertificateStage(t *testing.T) *stage {
	t.Helper()
	s := newStage(t, set{idle: true, host: `allow: {certificatePaths: [/etc/ssl/site]}`})
	s.run(func(o *controllers.Options) {
		o.HostServiceInterval, o.CertificateInterval, o.Dial = 300*time.Millisecond, 300*time.Millisecond, s.site.DialContext
	})
	s.guest("ca", container, addressed("10.0.5.2"))
	s.guest("web", container, addressed("10.0.5.3"))
	s.service("ca", stepCA, longClaims)
	return s
}

// certificate declares a Certificate.
func (s *stage) certificate(name, patch string) *v1alpha1.Certificate {
	s.Helper()
	s.create(strings.Replace(siteCertificate, "kind: Certificate", "kind: Certificate\nmetadata: {name: "+name+"}", 1), patch)
	return &v1alpha1.Certificate{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace}}
}

// secretNamed reads a Secret; nil when it is not there.
func (s *stage) secretNamed(name string) *corev1.Secret {
	s.Helper()
	var secret corev1.Secret
	err := kube.Get(context.Background(), types.NamespacedName{Namespace: s.namespace, Name: name}, &secret)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		s.Fatal(err)
	}
	return &secret
}

// read is a Guest as it is now.
func (s *stage) read(guest string) *v1alpha1.Guest {
	s.Helper()
	g := s.named(guest)
	s.get(g)
	return g
}

// handshake asks a server of the site as a client does that trusts the root alone. It returns the serial number.
func (s *stage) handshake(address string, roots []byte) (string, error) {
	raw, err := s.site.DialContext(context.Background(), "tcp", address)
	if err != nil {
		return "", err
	}
	defer func() { _ = raw.Close() }()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	client := tls.Client(raw, &tls.Config{RootCAs: pool, ServerName: "www.phoenix.lan", MinVersion: tls.VersionTLS12})
	if err := client.HandshakeContext(context.Background()); err != nil {
		return "", err
	}
	return client.ConnectionState().PeerCertificates[0].SerialNumber.Text(16), nil
}

// TestCertificate takes a certificate from YAML to a client that verifies what is served, through renewals and edits by
// hand, and away again.
func TestCertificate(t *testing.T) {
	t.Parallel()
	s := newCertificateStage(t)
	site := s.certificate("site", `
deliverTo:
  - {name: entry, guestRef: {name: web}, probe: {}}
  - {name: node, hostRef: {name: site}, files: {combined: `+nodeFile+`}}
`)
	nginx := s.service("entry", entry, ``)
	s.ready(site)
	s.ready(nginx)
	secret := s.secretNamed("site-tls")
	if secret.Type != corev1.SecretTypeTLS {
		t.Errorf("the Secret is of type %s", secret.Type)
	}
	serves := func(what string) {
		t.Helper()
		s.ready(site)
		serial, err := s.handshake("10.0.5.3:443", s.secretNamed("site-tls").Data["ca.crt"])
		if err != nil || serial != site.Status.SerialNumber {
			t.Errorf("%s: a client gets certificate %s, %v; want %s", what, serial, err, site.Status.SerialNumber)
		}
	}
	serves("at first")
	if want := string(secret.Data["tls.key"]) + string(secret.Data["tls.crt"]); file(s.node(), nodeFile) != want {
		t.Error("the node does not have key and chain in one file")
	}
	s.says(site, "Issued", "True Issued", site.Status.SerialNumber)
	s.says(site, "Delivered", "True Delivered", "entry (Guest/web)", "node (Host/site/phoenix)")
	s.rest([]*machine.Machine{s.node(), s.inside(s.read("web")), s.inside(s.read("ca"))}, site, nginx)

	first := site.Status.SerialNumber
	s.patch(site, `metadata: {annotations: {phoenix-hypervisor.io/renew: now}}`)
	s.until("it is renewed", func() error {
		s.get(site)
		if site.Status.SerialNumber == first {
			return errors.New(describe(site))
		}
		return nil
	})
	serves("after a renewal that was asked for")
	if site.Status.Revision != 2 || site.Status.RenewRequested != "now" {
		t.Errorf("revision %d, renewRequested %q", site.Status.Revision, site.Status.RenewRequested)
	}

	if err := kube.Delete(context.Background(), s.secretNamed("site-tls")); err != nil {
		t.Fatal(err)
	}
	second := site.Status.SerialNumber
	s.until("it is issued again", func() error {
		if s.get(site); site.Status.SerialNumber == second || site.Status.SerialNumber == "" {
			return errors.New(describe(site))
		}
		return nil
	})
	serves("after the Secret was deleted")

	s.remove(site)
	s.says(site, "Ready", "False InUse", "HostService/entry")
	s.remove(nginx)
	s.gone(nginx)
	s.gone(site)
	if s.secretNamed("site-tls") != nil || file(s.node(), nodeFile) != "" || s.recorded(s.node()) {
		t.Errorf("after the deletion the Secret is there: %t, the node's file: %t", s.secretNamed("site-tls") != nil, file(s.node(), nodeFile) != "")
	}
}

// TestShortCertificate renews a certificate of a minute again and again, each time in time, without one failed handshake.
func TestShortCertificate(t *testing.T) {
	t.Parallel()
	s := newCertificateStage(t)
	site := s.certificate("site", `
duration: 60s
deliverTo: [{name: entry, guestRef: {name: web}, probe: {}}]
`)
	nginx := s.service("entry", entry, ``)
	s.ready(nginx)
	s.says(site, "Delivered", "True")
	roots := s.secretNamed("site-tls").Data["ca.crt"]
	seen := map[string]bool{}
	for n := 2; n <= 4; n++ {
		s.until(fmt.Sprintf("certificate %d is served before the one before it ends", n), func() error {
			serial, err := s.handshake("10.0.5.3:443", roots)
			if err != nil {
				t.Errorf("a handshake failed: %v", err)
				return nil
			}
			if seen[serial] = true; len(seen) < n {
				return fmt.Errorf("%d different ones", len(seen))
			}
			return nil
		})
	}
	s.get(site)
	if got := site.Status.Revision; got > int64(len(seen)+1) {
		t.Errorf("%d certificates were issued, and %d served", got, len(seen))
	}
}
