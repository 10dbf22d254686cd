// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// TestRenewals lets a certificate live for ten of its lives.
func TestRenewals(t *testing.T) {
	for _, c := range []struct {
		reason string
		policy v1alpha1.KeyRotation
		keys   bool // another key each time
	}{
		{"a new key each time", v1alpha1.RotateAlways, true},
		{"the same key, over mTLS", v1alpha1.RotateNever, false},
	} {
		t.Run(c.reason, func(t *testing.T) {
			w := newWorld(t)
			w.declare("site", func(o *v1alpha1.Certificate) {
				o.Spec.Duration = duration(time.Minute)
				o.Spec.PrivateKey = &v1alpha1.CertificateKey{RotationPolicy: c.policy}
			})
			w.ready("site")
			key := string(w.secret("site-tls").Data["tls.key"])
			passes := w.live("site", 10*time.Minute)
			_, issued := w.ca.counts()
			if issued < 14 || issued > 19 {
				t.Errorf("%d certificates were issued in ten minutes, want one every 40 s or a little earlier", issued)
			}
			if passes > 2*issued {
				t.Errorf("%d passes for %d certificates", passes, issued)
			}
			if now := string(w.secret("site-tls").Data["tls.key"]); (now != key) != c.keys {
				t.Errorf("the key is another one: %t", now != key)
			}
			if w.ca.signed != 1 && !c.keys || w.ca.renewed != 0 && c.keys {
				t.Errorf("%d were signed by tokens, %d renewed over mTLS", w.ca.signed, w.ca.renewed)
			}
			o := w.ready("site")
			if o.Status.Revision != int64(issued) || o.Status.NotAfter.Before(ptrTime(w.clock.Now())) {
				t.Errorf("status %+v after %d certificates", o.Status, issued)
			}
			w.event("Normal Renewing: renew certificate (Expiring")
			w.quiet("site")
		})
	}
}

func ptrTime(t time.Time) *metav1.Time { return &metav1.Time{Time: t} }

// TestClamped has an authority that gives less than it is asked for, or refuses to.
func TestClamped(t *testing.T) {
	for reason, shortens := range map[string]bool{"it gives less": true, "it refuses, and is asked for its own": false} {
		t.Run(reason, func(t *testing.T) {
			w := newWorld(t)
			w.ca.set(func(ca *fakeCA) { ca.longest, ca.usual, ca.shortens = time.Hour, time.Hour, shortens })
			w.declare("site", func(c *v1alpha1.Certificate) {
				c.Spec.Duration, c.Spec.RenewBefore = duration(720*time.Hour), duration(240*time.Hour)
			})
			c := w.ready("site")
			w.says(c, v1alpha1.IssuedCondition, "True Issued", "of the 720h0m0s that were asked for, HostService/ca gave 1h0m0s", "renewBefore is 240h0m0s")
			w.quiet("site")
			w.live("site", 20*time.Hour)
			if _, issued := w.ca.counts(); issued < 28 || issued > 35 {
				t.Errorf("%d certificates of an hour were issued in 20 hours", issued)
			}
			w.edit("site", func(c *v1alpha1.Certificate) { c.Spec.Duration, c.Spec.RenewBefore = nil, nil })
			_, issued := w.ca.counts()
			w.ready("site")
			if _, now := w.ca.counts(); now != issued {
				t.Error("another duration alone had a certificate issued")
			}
		})
	}
}

func TestRequested(t *testing.T) {
	w := newWorld(t)
	w.declare("site", nil)
	w.ready("site")
	ask := func(value string) {
		w.edit("site", func(c *v1alpha1.Certificate) { c.Annotations = map[string]string{v1alpha1.RenewAnnotation: value} })
	}
	long := strings.Repeat("x", 1000)
	for i, value := range []string{"1", "1", "2", long, long, ""} {
		ask(value)
		c := w.ready("site")
		if _, issued := w.ca.counts(); issued != []int{2, 2, 3, 4, 4, 4}[i] {
			t.Errorf("value %d (%.10s): %d certificates were issued", i, value, issued)
		}
		if len(c.Status.RenewRequested) > 253 {
			t.Errorf("the status has a value of %d bytes", len(c.Status.RenewRequested))
		}
		w.quiet("site")
	}
	w.restart()
	w.quiet("site")
	w.event("Normal Renewing: renew certificate (Requested: its annotation asks for it)")
}

func TestNamesChange(t *testing.T) {
	w := newWorld(t)
	w.declare("site", func(c *v1alpha1.Certificate) {
		c.Spec.PrivateKey = &v1alpha1.CertificateKey{RotationPolicy: v1alpha1.RotateNever}
	})
	w.ready("site")
	key, serial := string(w.secret("site-tls").Data["tls.key"]), w.serial("site-tls")
	w.edit("site", func(c *v1alpha1.Certificate) { c.Spec.DNSNames = []string{"api.phoenix.lan", "www.phoenix.lan"} })
	w.ready("site")
	if got := w.leaf("site-tls").DNSNames; !slices.Equal(got, []string{"api.phoenix.lan", "www.phoenix.lan"}) || string(w.secret("site-tls").Data["tls.key"]) != key {
		t.Errorf("names %v, the same key: %t", got, string(w.secret("site-tls").Data["tls.key"]) == key)
	}
	w.event("Normal Reissuing: issue certificate anew (NamesChanged")
	w.edit("site", func(c *v1alpha1.Certificate) {
		c.Spec.DNSNames, c.Spec.CommonName = []string{"www.phoenix.lan", "api.phoenix.lan"}, "api.phoenix.lan"
	})
	before := w.serial("site-tls")
	w.ready("site")
	if w.serial("site-tls") != before {
		t.Error("another order of the same names had a certificate issued")
	}

	w.ca.set(func(ca *fakeCA) { ca.refusesNames = true })
	w.edit("site", func(c *v1alpha1.Certificate) { c.Spec.DNSNames = []string{"evil.example.org"} })
	c := w.until("site", "False Forbidden", "dns name not allowed by policy", "NamesChanged", "the present one lives until")
	w.says(c, v1alpha1.IssuedCondition, "False NamesChanged")
	requests, _ := w.ca.counts()
	w.live("site", 10*time.Hour)
	if now, _ := w.ca.counts(); now-requests > 130 || now-requests < 90 {
		t.Errorf("refused names were asked for %d times in ten hours, want once in five minutes", now-requests)
	}
	if w.serial("site-tls") != before || serial == before {
		t.Error("the present certificate did not stay")
	}
	w.event("Warning Forbidden:")
	w.edit("site", func(c *v1alpha1.Certificate) { c.Spec.DNSNames = []string{"www.phoenix.lan", "api.phoenix.lan"} })
	w.ready("site")
	if w.serial("site-tls") != before {
		t.Error("taking the names back had a certificate issued")
	}
}

// TestAuthorityAway has the authority go over several times of renewal.
func TestAuthorityAway(t *testing.T) {
	w := newWorld(t)
	w.declare("site", func(c *v1alpha1.Certificate) { c.Spec.Duration = duration(24 * time.Hour) })
	w.ready("site")
	w.ca.set(func(ca *fakeCA) { ca.fault = ca.fail(stepca.Away, "connection refused") })
	requests, _ := w.ca.counts()
	w.live("site", 14*time.Hour)
	if now, _ := w.ca.counts(); now != requests {
		t.Errorf("it was asked %d times before the renewal", now-requests)
	}
	w.ready("site")
	w.live("site", 4*time.Hour)
	c := w.until("site", "False AuthorityAway", "connection refused", "Expiring", "the present one lives until 2026-03-02T12:0")
	w.says(c, v1alpha1.IssuedCondition, "True Issued")
	version := w.get("site").ResourceVersion
	w.live("site", 2*time.Hour)
	if now := w.get("site").ResourceVersion; now != version {
		t.Errorf("tries that fail as those before wrote the status: %s", condition(w.get("site"), v1alpha1.ReadyCondition))
	}
	w.live("site", 8*time.Hour)
	c = w.until("site", "False AuthorityAway", "Expired")
	w.says(c, v1alpha1.IssuedCondition, "False Expired")
	w.live("site", 44*time.Hour)
	if now, _ := w.ca.counts(); now-requests > 12*58+20 || now-requests < 500 {
		t.Errorf("an authority that is away was asked %d times in 58 hours, want once in five minutes at most", now-requests)
	}
	if n := len(w.events.all()); n > 6 {
		t.Errorf("%d events, first %q", n, w.events.all()[:6])
	}
	key := string(w.secret("site-tls").Data["tls.key"])
	w.ca.set(func(ca *fakeCA) { ca.fault = nil })
	w.live("site", 6*time.Minute)
	w.ready("site")
	if _, issued := w.ca.counts(); issued != 2 || string(w.secret("site-tls").Data["tls.key"]) == key {
		t.Errorf("%d certificates were issued, want one to catch up, with a new key", issued)
	}
	w.quiet("site")
}

// TestAuthorityNotServing waits, and is there at once when the authority is back.
func TestAuthorityNotServing(t *testing.T) {
	w := newWorld(t)
	down := func(s *v1alpha1.HostService) {
		meta.SetStatusCondition(&s.Status.Conditions, metav1.Condition{Type: v1alpha1.ServingCondition, Status: metav1.ConditionFalse, Reason: "NotRunning"})
	}
	w.service(down)
	w.declare("first", nil)
	w.until("first", "False DependencyNotReady", "waiting for HostService/ca: not Serving (NotRunning)")
	up := func(s *v1alpha1.HostService) { w.announce(s) }
	w.service(up)
	w.ready("first")

	w.service(down)
	requests, _ := w.ca.counts()
	w.ready("first")
	edit(w, &corev1.Secret{}, "first-tls", func(s *corev1.Secret) { delete(s.Data, "ca.crt") })
	w.ready("first")
	if len(w.secret("first-tls").Data["ca.crt"]) == 0 {
		t.Error("the Secret was not put back while the authority is away")
	}
	w.live("first", 17*time.Hour)
	w.until("first", "False AuthorityAway", "waiting for HostService/ca: not Serving (NotRunning)", "the present one lives until")
	if now, _ := w.ca.counts(); now != requests {
		t.Errorf("an authority that does not serve was asked %d times", now-requests)
	}
	w.service(up)
	w.pass("first")
	w.ready("first")
}

// TestClockSkew names the machine whose clock is wrong.
func TestClockSkew(t *testing.T) {
	w := newWorld(t)
	w.ca.set(func(ca *fakeCA) { ca.skew = -2 * time.Hour })
	w.declare("site", nil)
	w.until("site", "False ClockSkew", "the clock of Guest/ca is 2h0m0s behind the manager's: set it right")
	w.event("Warning ClockSkew")
	w.ca.set(func(ca *fakeCA) { ca.skew = 3 * time.Hour })
	w.live("site", 10*time.Minute)
	w.until("site", "False ClockSkew", "the clock of Guest/ca is 3h0m0s ahead of the manager's")
	w.ca.set(func(ca *fakeCA) { ca.skew = 0 })
	w.live("site", 6*time.Minute)
	w.ready("site")
}

// TestIssuedInThePast has an authority whose certificates are over at once.
func TestIssuedInThePast(t *testing.T) {
	w := newWorld(t)
	w.ca.set(func(ca *fakeCA) { ca.skew, ca.usual = -59*time.Second, 30*time.Second })
	w.declare("site", nil)
	w.until("site", "False ClockSkew", "HostService/ca issued a certificate that would be replaced at once (Expired", "compare the clock of Guest/ca")
	w.live("site", 5*time.Hour)
	if _, issued := w.ca.counts(); issued > 80 {
		t.Errorf("%d certificates were issued in five hours", issued)
	}
	if w.secret("site-tls") != nil {
		t.Error("a certificate that is over was written")
	}
}

func TestUnauthorized(t *testing.T) {
	w := newWorld(t)
	edit(w, &corev1.Secret{}, "ca-provisioner", func(s *corev1.Secret) { s.Data["jwk.json"] = []byte("another") })
	w.declare("site", nil)
	w.until("site", "False Unauthorized", "use token of provisioner phoenix")
	w.live("site", time.Hour)
	edit(w, &corev1.Secret{}, "ca-provisioner", func(s *corev1.Secret) { delete(s.Data, "jwk.json") })
	w.until("site", "False ProvisionerMissing", "Secret/ca-provisioner has no entry jwk.json")
	edit(w, &corev1.Secret{}, "ca-provisioner", func(s *corev1.Secret) { s.Data = map[string][]byte{"jwk.json": w.ca.jwk} })
	w.pass("site")
	w.ready("site")
}

// TestRevoked has the authority renew a certificate no more.
func TestRevoked(t *testing.T) {
	w := newWorld(t)
	w.declare("site", func(c *v1alpha1.Certificate) {
		c.Spec.PrivateKey = &v1alpha1.CertificateKey{RotationPolicy: v1alpha1.RotateNever}
	})
	w.ready("site")
	key := string(w.secret("site-tls").Data["tls.key"])
	serial := w.serial("site-tls")
	w.ca.set(func(ca *fakeCA) { ca.revoked[serial] = true })
	w.live("site", 17*time.Hour)
	w.ready("site")
	if w.serial("site-tls") == serial || string(w.secret("site-tls").Data["tls.key"]) == key {
		t.Error("a revoked certificate or its key is still there")
	}
	w.event("Normal Reissuing: issue certificate anew (Revoked")
}

// TestKeptKeyWithoutProof keeps the key although the certificate cannot be renewed as it is.
func TestKeptKeyWithoutProof(t *testing.T) {
	for reason, edit := range map[string]func(*fakeCA, *v1alpha1.Certificate){
		"it is for servers alone": func(_ *fakeCA, c *v1alpha1.Certificate) {
			c.Spec.Usages = []v1alpha1.KeyUsage{v1alpha1.UsageServerAuth}
		},
		"the authority forgot it": func(ca *fakeCA, _ *v1alpha1.Certificate) { ca.set(func(ca *fakeCA) { ca.forgot = true }) },
	} {
		t.Run(reason, func(t *testing.T) {
			w := newWorld(t)
			w.declare("site", func(c *v1alpha1.Certificate) {
				c.Spec.PrivateKey = &v1alpha1.CertificateKey{RotationPolicy: v1alpha1.RotateNever}
				edit(w.ca, c)
			})
			w.ready("site")
			key := string(w.secret("site-tls").Data["tls.key"])
			w.live("site", 40*time.Hour)
			w.ready("site")
			if w.ca.signed != 3 || w.ca.renewed != 0 || string(w.secret("site-tls").Data["tls.key"]) != key {
				t.Errorf("%d were signed, %d renewed, the same key: %t", w.ca.signed, w.ca.renewed, string(w.secret("site-tls").Data["tls.key"]) == key)
			}
		})
	}
}

// TestDurationOfAKeptKey takes effect although a renewal over mTLS keeps the life.
func TestDurationOfAKeptKey(t *testing.T) {
	w := newWorld(t)
	w.declare("site", func(c *v1alpha1.Certificate) {
		c.Spec.PrivateKey = &v1alpha1.CertificateKey{RotationPolicy: v1alpha1.RotateNever}
		c.Spec.Duration = duration(2 * time.Hour)
	})
	w.ready("site")
	key := string(w.secret("site-tls").Data["tls.key"])
	w.edit("site", func(c *v1alpha1.Certificate) { c.Spec.Duration = duration(10 * time.Hour) })
	w.live("site", 2*time.Hour)
	c := w.ready("site")
	if life := c.Status.NotAfter.Sub(c.Status.NotBefore.Time); life != 10*time.Hour+time.Minute || string(w.secret("site-tls").Data["tls.key"]) != key {
		t.Errorf("it lives %s, the same key: %t", life, string(w.secret("site-tls").Data["tls.key"]) == key)
	}
}

// TestAnswerLost loses the answer of the authority after it signed.
func TestAnswerLost(t *testing.T) {
	w := newWorld(t)
	w.ca.set(func(ca *fakeCA) { ca.lost = true })
	w.declare("site", nil)
	w.until("site", "False AuthorityAway", "connection reset by peer")
	w.ready("site")
	if _, issued := w.ca.counts(); issued != 2 {
		t.Errorf("%d certificates were issued", issued)
	}
}

// TestRootRotated follows an authority to its new root.
func TestRootRotated(t *testing.T) {
	w := newWorld(t)
	w.declare("site", nil)
	w.ready("site")
	old, serial := w.ca.rootCert(), w.serial("site-tls")
	w.ca.rotate()
	fresh := w.ca.rootCert()
	w.service(func(s *v1alpha1.HostService) { // both are trusted, and it still issues under the old one
		w.announce(s, old)
		s.Status.StepCA.IssuerFingerprint = stepca.Fingerprint(old)
	})
	w.ready("site")
	if roots := w.ca.parse(w.secret("site-tls").Data["ca.crt"]); len(roots) != 2 || w.serial("site-tls") != serial {
		t.Errorf("ca.crt has %d roots, certificate %s (was %s)", len(roots), w.serial("site-tls"), serial)
	}
	w.service(func(s *v1alpha1.HostService) { s.Status.StepCA.IssuerFingerprint = stepca.Fingerprint(fresh) })
	c := w.ready("site")
	if w.serial("site-tls") == serial || c.Status.RootFingerprint != stepca.Fingerprint(fresh) {
		t.Errorf("certificate %s (was %s) of root %s", w.serial("site-tls"), serial, c.Status.RootFingerprint)
	}
	w.event("Normal Renewing: renew certificate (RootRotated")
	serial = w.serial("site-tls")
	w.service(func(s *v1alpha1.HostService) { w.announce(s) }) // the old one is gone
	w.ready("site")
	if roots := w.ca.parse(w.secret("site-tls").Data["ca.crt"]); len(roots) != 1 || !roots[0].Equal(fresh) || w.serial("site-tls") != serial {
		t.Errorf("ca.crt has %d roots, certificate %s (was %s)", len(roots), w.serial("site-tls"), serial)
	}
	w.quiet("site")
}

// TestOutsideAuthority uses one that is not Phoenix's.
func TestOutsideAuthority(t *testing.T) {
	w := newWorld(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "prov"}, Data: map[string][]byte{"pass": []byte("open")}})
	w.ca.set(func(ca *fakeCA) { ca.password = []byte("open") })
	edit(w, &corev1.Secret{}, "prov", func(s *corev1.Secret) { s.Data["jwe"] = w.ca.jwk })
	outside := func(fingerprint string) func(*v1alpha1.Certificate) {
		return func(c *v1alpha1.Certificate) {
			c.Spec.Authority = v1alpha1.CertificateAuthority{
				Outside: &v1alpha1.OutsideAuthority{URL: caURL, Fingerprint: fingerprint},
				Provisioner: &v1alpha1.OutsideProvisioner{
					Name: "phoenix", KeySecretRef: v1alpha1.SecretKeyReference{Name: "prov", Key: "jwe"},
					PasswordSecretRef: &v1alpha1.SecretKeyReference{Name: "prov", Key: "pass"},
				},
			}
		}
	}
	w.declare("site", outside(strings.Repeat("0", 64)))
	w.until("site", "False AuthorityUntrusted", "the fingerprint is another")
	old := stepca.Fingerprint(w.ca.rootCert())
	w.edit("site", outside(old))
	w.ready("site")
	w.quiet("site")
	serial := w.serial("site-tls")
	edit(w, &corev1.Secret{}, "site-tls", func(s *corev1.Secret) { delete(s.Data, "ca.crt") })
	w.restart()
	w.ready("site")
	if len(w.secret("site-tls").Data["ca.crt"]) == 0 || w.serial("site-tls") != serial {
		t.Errorf("ca.crt has %d bytes, certificate %s (was %s)", len(w.secret("site-tls").Data["ca.crt"]), w.serial("site-tls"), serial)
	}

	edit(w, &corev1.Secret{}, "site-tls", func(s *corev1.Secret) { delete(s.Data, "ca.crt") })
	w.restart()
	w.ca.set(func(ca *fakeCA) { ca.fault = ca.fail(stepca.Away, "connection refused") })
	c := w.until("site", "False AuthorityAway", "connection refused")
	w.says(c, v1alpha1.IssuedCondition, "True Issued")
	if w.serial("site-tls") != serial {
		t.Error("a root that cannot be fetched had a certificate issued")
	}
	w.ca.set(func(ca *fakeCA) { ca.fault = nil })
	w.ready("site")

	w.ca.rotate()
	w.edit("site", outside(stepca.Fingerprint(w.ca.rootCert())))
	c = w.ready("site")
	if w.serial("site-tls") == serial || c.Status.RootFingerprint == old {
		t.Errorf("certificate %s (was %s) of root %s", w.serial("site-tls"), serial, c.Status.RootFingerprint)
	}
	w.quiet("site")

	edit(w, &corev1.Secret{}, "prov", func(s *corev1.Secret) { delete(s.Data, "pass") })
	w.edit("site", func(c *v1alpha1.Certificate) { c.Spec.DNSNames = []string{"else.phoenix.lan"} })
	w.until("site", "False ProvisionerMissing", "Secret/prov has no entry pass")
}
