// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/certificate"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

func duration(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

func TestFirstCertificate(t *testing.T) {
	w := newWorld(t)
	w.declare("site", func(c *v1alpha1.Certificate) {
		c.Spec.CommonName, c.Spec.DNSNames = "site", []string{"www.phoenix.lan", "*.phoenix.lan"}
		c.Spec.IPAddresses, c.Spec.URIs, c.Spec.EmailAddresses = []string{"10.0.0.14"}, []string{"spiffe://phoenix.lan/web"}, []string{"admin@phoenix.lan"}
		c.Spec.SecretTemplate = &v1alpha1.SecretTemplate{Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"note": "mine"}}
		c.Spec.Duration = duration(48 * time.Hour)
	})
	c := w.ready("site")
	s, leaf := w.secret("site-tls"), w.leaf("site-tls")
	if s.Type != corev1.SecretTypeTLS || s.Labels["app"] != "web" || s.Annotations["note"] != "mine" || s.Annotations[certificate.OwnerAnnotation] != "site" {
		t.Errorf("the Secret is %s with labels %v and annotations %v", s.Type, s.Labels, s.Annotations)
	}
	if err := (stepca.Names{CommonName: "site", SANs: []string{"www.phoenix.lan", "*.phoenix.lan", "10.0.0.14", "spiffe://phoenix.lan/web", "admin@phoenix.lan"}}).Check(leaf); err != nil {
		t.Error(err)
	}
	if err := stepca.Matches(s.Data["tls.crt"], s.Data["tls.key"]); err != nil {
		t.Error(err)
	}
	if chain := w.ca.parse(s.Data["tls.crt"]); len(chain) != 2 || !w.ca.parse(s.Data["ca.crt"])[0].Equal(w.ca.rootCert()) {
		t.Errorf("tls.crt holds %d certificates, want two, and the root in ca.crt", len(chain))
	}
	if got := stepca.UsagesOf(leaf); !slices.Equal(got, []string{stepca.UsageClientAuth, stepca.UsageServerAuth}) {
		t.Errorf("usages %v", got)
	}
	st := c.Status
	if st.SerialNumber != w.serial("site-tls") || st.Revision != 1 || st.SecretName != "site-tls" || st.RootFingerprint != stepca.Fingerprint(w.ca.rootCert()) {
		t.Errorf("status is %+v", st)
	}
	if life := st.NotAfter.Sub(w.clock.Now()); life != 48*time.Hour || !st.NotBefore.Before(st.RenewalTime) {
		t.Errorf("it lives %s, from %s, and is renewed at %s", life, st.NotBefore, st.RenewalTime)
	}
	if left := st.RenewalTime.Sub(w.clock.Now()); left > 32*time.Hour || left < 29*time.Hour {
		t.Errorf("it is renewed in %s, want two thirds of its life less the jitter", left)
	}
	w.says(c, v1alpha1.IssuedCondition, "True Issued", st.SerialNumber, "Secret/site-tls")
	w.says(c, v1alpha1.DeliveredCondition, "none")
	if got := w.events.all(); len(got) != 1 || !strings.HasPrefix(got[0], "Normal Issuing: issue certificate (SecretMissing") {
		t.Errorf("events %q", got)
	}
	if got := w.times("site"); !cmp.Equal(got, []float64{float64(st.NotAfter.Unix()), float64(st.RenewalTime.Unix())}) {
		t.Errorf("metrics say %v", got)
	}
	w.quiet("site")
}

// times are the metrics of a Certificate.
func (w *world) times(name string) []float64 {
	w.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.Fatal(err)
	}
	var values []float64
	for _, family := range []string{"phoenix_certificate_not_after_timestamp_seconds", "phoenix_certificate_renewal_timestamp_seconds"} {
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == family && m.GetLabel()[0].GetValue() == name && m.GetLabel()[1].GetValue() == namespace {
					values = append(values, m.GetGauge().GetValue())
				}
			}
		}
	}
	return values
}

func TestKeys(t *testing.T) {
	key := func(algorithm v1alpha1.KeyAlgorithm, size int32, encoding v1alpha1.KeyEncoding) *v1alpha1.CertificateKey {
		return &v1alpha1.CertificateKey{Algorithm: algorithm, Size: size, Encoding: encoding}
	}
	for _, c := range []struct {
		reason string
		key    *v1alpha1.CertificateKey
		want   string
	}{
		{"by default it is of a curve that everybody knows", nil, "PRIVATE KEY P-256"},
		{"a larger curve", key(v1alpha1.KeyECDSA, 384, ""), "PRIVATE KEY P-384"},
		{"SEC 1 for old programs", key("", 521, v1alpha1.KeyPKCS1), "EC PRIVATE KEY P-521"},
		{"RSA", key(v1alpha1.KeyRSA, 2048, ""), "PRIVATE KEY 2048"},
		{"PKCS#1 for old programs", key(v1alpha1.KeyRSA, 2048, v1alpha1.KeyPKCS1), "RSA PRIVATE KEY 2048"},
		{"Ed25519 has no sizes", key(v1alpha1.KeyEd25519, 0, ""), "PRIVATE KEY Ed25519"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			w := newWorld(t)
			w.declare("site", func(o *v1alpha1.Certificate) { o.Spec.PrivateKey = c.key })
			w.ready("site")
			if got := keyText(t, w.secret("site-tls").Data["tls.key"]); got != c.want {
				t.Errorf("the key is %s, want %s", got, c.want)
			}
			w.quiet("site")
		})
	}
}

func TestKeyChanges(t *testing.T) {
	w := newWorld(t)
	w.declare("site", nil)
	w.ready("site")
	before, serial := string(w.secret("site-tls").Data["tls.key"]), w.serial("site-tls")

	w.edit("site", func(c *v1alpha1.Certificate) {
		c.Spec.PrivateKey = &v1alpha1.CertificateKey{Encoding: v1alpha1.KeyPKCS1}
	})
	w.ready("site")
	encoded := w.secret("site-tls").Data["tls.key"]
	if keyText(t, encoded) != "EC PRIVATE KEY P-256" || w.serial("site-tls") != serial || stepca.Matches(w.secret("site-tls").Data["tls.crt"], encoded) != nil {
		t.Errorf("another encoding gave %s and certificate %s, want the same key and certificate", keyText(t, encoded), w.serial("site-tls"))
	}
	w.edit("site", func(c *v1alpha1.Certificate) {
		c.Spec.PrivateKey = &v1alpha1.CertificateKey{Algorithm: v1alpha1.KeyECDSA, Size: 384, RotationPolicy: v1alpha1.RotateNever}
	})
	w.ready("site")
	if got := keyText(t, w.secret("site-tls").Data["tls.key"]); got != "PRIVATE KEY P-384" || w.serial("site-tls") == serial {
		t.Errorf("another size gave %s and certificate %s", got, w.serial("site-tls"))
	}
	w.edit("site", func(c *v1alpha1.Certificate) { c.Spec.PrivateKey = nil })
	w.ready("site")
	if now := string(w.secret("site-tls").Data["tls.key"]); now == before {
		t.Error("an old key came back")
	}
	w.event("Normal Reissuing: issue certificate anew (KeyChanged: its key is ECDSA 256, not ECDSA 384)")
}

// event asserts that there was an event that begins so.
func (w *world) event(begin string) {
	w.Helper()
	if !slices.ContainsFunc(w.events.all(), func(e string) bool { return strings.HasPrefix(e, begin) }) {
		all := w.events.all()
		w.Errorf("no event is %q among %q", begin, all[max(0, len(all)-10):])
	}
}

func TestUsages(t *testing.T) {
	w := newWorld(t)
	w.declare("site", func(c *v1alpha1.Certificate) { c.Spec.Usages = []v1alpha1.KeyUsage{v1alpha1.UsageServerAuth} })
	w.ready("site")
	if got := stepca.UsagesOf(w.leaf("site-tls")); !slices.Equal(got, []string{stepca.UsageServerAuth}) {
		t.Errorf("usages %v", got)
	}
	w.edit("site", func(c *v1alpha1.Certificate) {
		c.Spec.Usages = []v1alpha1.KeyUsage{v1alpha1.UsageCodeSigning, v1alpha1.UsageEmailProtection}
	})
	w.ready("site")
	w.event("Normal Reissuing: issue certificate anew (UsagesChanged")
	if got := stepca.UsagesOf(w.leaf("site-tls")); !slices.Equal(got, []string{stepca.UsageCodeSigning, stepca.UsageEmailProtection}) {
		t.Errorf("usages %v", got)
	}

	w.ca.set(func(ca *fakeCA) { ca.usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	w.edit("site", func(c *v1alpha1.Certificate) { c.Spec.Usages = nil })
	c := w.until("site", "True UsagesDiffer", "it is for serverAuth, not for clientAuth, serverAuth", "HostService/ca decides that itself")
	w.says(c, v1alpha1.IssuedCondition, "True Issued")
	_, issued := w.ca.counts()
	w.live("site", 10*time.Hour)
	if _, now := w.ca.counts(); now != issued {
		t.Errorf("an authority that decides otherwise was asked %d times more", now-issued)
	}
	w.quiet("site")
}

func TestKeystores(t *testing.T) {
	w := newWorld(t)
	w.declare("site", func(c *v1alpha1.Certificate) {
		c.Spec.Keystores = &v1alpha1.CertificateKeystores{
			PKCS12: &v1alpha1.Keystore{PasswordSecretRef: v1alpha1.SecretKeyReference{Name: "pass", Key: "p12"}},
			JKS:    &v1alpha1.Keystore{PasswordSecretRef: v1alpha1.SecretKeyReference{Name: "pass", Key: "jks"}, Alias: "tomcat"},
		}
	})
	c := w.until("site", "False PasswordMissing", "keystores.pkcs12: waiting for its password: Secret/pass has no entry p12", "keystores.jks")
	w.says(c, v1alpha1.IssuedCondition, "True Issued")
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pass"}, Data: map[string][]byte{"p12": []byte("changeit"), "jks": []byte("secret-jks")}})
	w.ready("site")
	p12 := stepca.Keystore{Format: stepca.PKCS12, Password: []byte("changeit")}
	jks := stepca.Keystore{Format: stepca.JKS, Alias: "tomcat", Password: []byte("secret-jks")}
	w.holds(p12, "keystore.p12", "truststore.p12")
	w.holds(jks, "keystore.jks", "truststore.jks")
	w.quiet("site")

	edit(w, &corev1.Secret{}, "pass", func(s *corev1.Secret) { s.Data["p12"] = []byte("changed-it") })
	w.ready("site")
	p12.Password = []byte("changed-it")
	w.holds(p12, "keystore.p12", "truststore.p12")

	edit(w, &corev1.Secret{}, "pass", func(s *corev1.Secret) { delete(s.Data, "p12") })
	w.until("site", "False PasswordMissing")
	w.holds(p12, "keystore.p12", "truststore.p12")
	edit(w, &corev1.Secret{}, "pass", func(s *corev1.Secret) { s.Data["p12"] = []byte("changed-it") })
	w.edit("site", func(c *v1alpha1.Certificate) { c.Annotations = map[string]string{v1alpha1.RenewAnnotation: "now"} })
	w.ready("site")
	w.holds(p12, "keystore.p12", "truststore.p12")
	w.holds(jks, "keystore.jks", "truststore.jks")

	w.edit("site", func(c *v1alpha1.Certificate) { c.Spec.Keystores.JKS = nil })
	w.ready("site")
	if _, there := w.secret("site-tls").Data["keystore.jks"]; there {
		t.Error("a keystore that is not asked for any more stays")
	}
	w.quiet("site")
}

// holds asserts that the Secret's keystores hold what the Secret does.
func (w *world) holds(k stepca.Keystore, keys, trust string) {
	w.Helper()
	data := w.secret("site-tls").Data
	if !k.Holds(data[keys], stepca.KeyPair{CertificatePEM: data["tls.crt"], KeyPEM: data["tls.key"]}) {
		w.Errorf("%s does not hold the key and the certificate", keys)
	}
	if !k.HoldsRoots(data[trust], w.ca.parse(data["ca.crt"])) {
		w.Errorf("%s does not hold the roots", trust)
	}
}

// TestSecretWithoutStatus loses the status, then the Secret too.
func TestSecretWithoutStatus(t *testing.T) {
	w := newWorld(t)
	w.declare("site", func(c *v1alpha1.Certificate) { c.Annotations = map[string]string{v1alpha1.RenewAnnotation: "once"} })
	w.ready("site")
	serial := w.serial("site-tls")
	again := func() {
		edit(w, &v1alpha1.Certificate{}, "site", func(c *v1alpha1.Certificate) { c.Finalizers = nil })
		w.delete("site")
		w.restart()
		w.declare("site", func(c *v1alpha1.Certificate) { c.Annotations = map[string]string{v1alpha1.RenewAnnotation: "once"} })
	}
	again()
	if c := w.ready("site"); w.serial("site-tls") != serial || c.Status.Revision != 1 || c.Status.RenewRequested != "once" {
		t.Errorf("losing the status led to certificate %s (was %s), status %+v", w.serial("site-tls"), serial, c.Status)
	}
	w.quiet("site")
	again()
	if err := w.client.Delete(t.Context(), w.secret("site-tls")); err != nil {
		t.Fatal(err)
	}
	w.ready("site")
	if _, issued := w.ca.counts(); w.serial("site-tls") == serial || issued != 2 {
		t.Errorf("losing status and Secret led to certificate %s (was %s), and %d were issued", w.serial("site-tls"), serial, issued)
	}
}

// TestKilledBeforeTheSecret ends the manager between the signature and the Secret.
func TestKilledBeforeTheSecret(t *testing.T) {
	w := newWorld(t)
	w.declare("site", nil)
	w.refuse = errors.New("etcd is away")
	w.until("site", "False Failed", "write Secret/site-tls: etcd is away")
	w.live("site", time.Hour)
	if _, issued := w.ca.counts(); issued != 1 {
		t.Errorf("%d certificates were issued while the Secret could not be written, want one that is kept", issued)
	}
	w.restart()
	w.live("site", time.Hour)
	w.refuse = nil
	w.ready("site")
	if _, issued := w.ca.counts(); issued != 2 {
		t.Errorf("%d certificates were issued, want one more than without the end of the manager", issued)
	}
	w.quiet("site")
}

func TestObserveOnly(t *testing.T) {
	w := newWorld(t)
	w.declare("site", func(c *v1alpha1.Certificate) { c.Spec.Management = v1alpha1.ManagementObserve })
	c := w.until("site", "True Drifted")
	if len(c.Status.Plan) != 1 || c.Status.Plan[0].Reason != "Issuing" || w.secret("site-tls") != nil {
		t.Errorf("the plan is %+v, Secret %t", c.Status.Plan, w.secret("site-tls") != nil)
	}
	w.quiet("site")
}

// keyText says what a key in PEM is like.
func keyText(t *testing.T, text []byte) string {
	t.Helper()
	key, err := stepca.DecodeKey(text)
	if err != nil {
		t.Fatal(err)
	}
	form, _, _ := strings.Cut(strings.TrimPrefix(string(text), "-----BEGIN "), "-----")
	return fmt.Sprintf("%s %s", form, sizeOf(key.Public()))
}
