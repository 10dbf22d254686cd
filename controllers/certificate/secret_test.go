// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/certificate"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// TestSecretEdited edits the Secret by hand in every way.
func TestSecretEdited(t *testing.T) {
	otherKey := func() []byte {
		key, err := stepca.NewKey("", 0)
		if err != nil {
			t.Fatal(err)
		}
		text, err := stepca.EncodeKey(key, false)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, c := range []struct {
		reason string
		edit   func(*corev1.Secret)
		why    string // it is issued anew; empty: it is not
	}{
		{"the roots are gone", func(s *corev1.Secret) { delete(s.Data, "ca.crt") }, ""},
		{"the roots are another's", func(s *corev1.Secret) { s.Data["ca.crt"] = []byte("nonsense") }, ""},
		{"a label of the template is gone", func(s *corev1.Secret) { delete(s.Labels, "app") }, ""},
		{"a label of the template is another", func(s *corev1.Secret) { s.Labels["app"] = "else" }, ""},
		{"the chain has white space in it", func(s *corev1.Secret) { s.Data["tls.crt"] = append(s.Data["tls.crt"], '\n') }, ""},
		{"how it came to be is not known any more", func(s *corev1.Secret) { delete(s.Annotations, "phoenix-hypervisor.io/issued") }, ""},
		{"the key is another's", func(s *corev1.Secret) { s.Data["tls.key"] = otherKey() }, "KeyMismatch"},
		{"the key is gone", func(s *corev1.Secret) { s.Data["tls.key"] = nil }, "SecretMissing"},
		{"the key is no key", func(s *corev1.Secret) { s.Data["tls.key"] = []byte("nonsense") }, "SecretMissing"},
		{"the certificate is gone", func(s *corev1.Secret) { s.Data["tls.crt"] = nil }, "SecretMissing"},
		{"the certificate is none", func(s *corev1.Secret) { s.Data["tls.crt"] = []byte("nonsense") }, "SecretMissing"},
		{"the intermediate is gone", func(s *corev1.Secret) {
			s.Data["tls.crt"] = s.Data["tls.crt"][:bytes.Index(s.Data["tls.crt"], []byte("-----END CERTIFICATE-----\n"))+len("-----END CERTIFICATE-----\n")]
		}, "RootRotated"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			w := newWorld(t)
			w.declare("site", func(o *v1alpha1.Certificate) {
				o.Spec.SecretTemplate = &v1alpha1.SecretTemplate{Labels: map[string]string{"app": "web"}}
			})
			w.ready("site")
			before := w.secret("site-tls")
			edit(w, &corev1.Secret{}, "site-tls", func(s *corev1.Secret) {
				s.Data["added"], s.Labels["added"] = []byte("by hand"), "by-hand"
				c.edit(s)
			})
			w.ready("site")
			now := w.secret("site-tls")
			if same := bytes.Equal(before.Data["tls.crt"], now.Data["tls.crt"]); same != (c.why == "") {
				t.Errorf("issued anew: %t", !same)
			}
			if c.why != "" {
				w.event("Normal Reissuing: issue certificate anew (" + c.why)
			}
			if err := stepca.Matches(now.Data["tls.crt"], now.Data["tls.key"]); err != nil {
				t.Error(err)
			}
			if !bytes.Equal(now.Data["ca.crt"], before.Data["ca.crt"]) || now.Labels["app"] != "web" {
				t.Errorf("labels %v, ca.crt %q", now.Labels, now.Data["ca.crt"])
			}
			if string(now.Data["added"]) != "by hand" || now.Labels["added"] != "by-hand" {
				t.Error("what somebody added is gone")
			}
			w.quiet("site")
		})
	}
}

func TestSecretDeleted(t *testing.T) {
	w := newWorld(t)
	w.declare("site", nil)
	w.ready("site")
	serial := w.serial("site-tls")
	if err := w.client.Delete(t.Context(), w.secret("site-tls")); err != nil {
		t.Fatal(err)
	}
	w.ca.set(func(ca *fakeCA) { ca.fault = ca.fail(stepca.Away, "connection refused") })
	c := w.until("site", "False AuthorityAway", "SecretMissing: Secret/site-tls is not there")
	w.says(c, v1alpha1.IssuedCondition, "False SecretMissing")
	w.ca.set(func(ca *fakeCA) { ca.fault = nil })
	if c := w.ready("site"); w.serial("site-tls") == serial || c.Status.Revision != 2 {
		t.Errorf("certificate %s, revision %d", w.serial("site-tls"), c.Status.Revision)
	}
}

// TestTemplateChanges takes back what it wrote, and nothing else.
func TestTemplateChanges(t *testing.T) {
	w := newWorld(t)
	w.declare("site", func(c *v1alpha1.Certificate) {
		c.Spec.SecretTemplate = &v1alpha1.SecretTemplate{Labels: map[string]string{"a": "1", "b": "2"}, Annotations: map[string]string{"c": "3"}}
	})
	w.ready("site")
	serial := w.serial("site-tls")
	edit(w, &corev1.Secret{}, "site-tls", func(s *corev1.Secret) { s.Labels["d"] = "4" })
	w.edit("site", func(c *v1alpha1.Certificate) {
		c.Spec.SecretTemplate = &v1alpha1.SecretTemplate{Labels: map[string]string{"a": "5"}}
	})
	w.ready("site")
	s := w.secret("site-tls")
	if s.Labels["a"] != "5" || s.Labels["d"] != "4" || len(s.Labels) != 2 || s.Annotations["c"] != "" || w.serial("site-tls") != serial {
		t.Errorf("labels %v, annotations %v, certificate %s", s.Labels, s.Annotations, w.serial("site-tls"))
	}
	w.quiet("site")
}

func TestForeignSecret(t *testing.T) {
	foreign := func(edit func(*corev1.Secret)) *corev1.Secret {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "site-tls"}, Type: corev1.SecretTypeTLS, Data: map[string][]byte{"tls.crt": nil, "tls.key": nil}}
		if edit != nil {
			edit(s)
		}
		return s
	}
	for _, c := range []struct {
		reason string
		edit   func(*corev1.Secret)
		adopt  bool
		says   string // empty: it is taken
	}{
		{"nobody's, and nobody allowed it", nil, false, "there already and not ours: delete it, or set adoptionPolicy: IfUnowned"},
		{"nobody's, and it may be taken", nil, true, ""},
		{"another Certificate's", func(s *corev1.Secret) { s.Annotations = map[string]string{certificate.OwnerAnnotation: "else"} }, true, "it is of Certificate/else"},
		{"of a type that cannot be changed", func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }, true, "its type is Opaque"},
		{"immutable", func(s *corev1.Secret) { s.Immutable = ptr.To(true) }, true, "it is immutable"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			w := newWorld(t, foreign(c.edit))
			before := w.secret("site-tls").ResourceVersion
			w.declare("site", func(o *v1alpha1.Certificate) {
				if c.adopt {
					o.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned
				}
			})
			if c.says == "" {
				w.ready("site")
				return
			}
			o := w.until("site", "False NotOwned", c.says)
			w.says(o, v1alpha1.IssuedCondition, "False NotOwned", c.says)
			if requests, _ := w.ca.counts(); requests != 0 || w.secret("site-tls").ResourceVersion != before {
				t.Errorf("the authority was asked %d times, and the Secret written: %t", requests, w.secret("site-tls").ResourceVersion != before)
			}
			w.quiet("site")
			w.remove("site")
			if w.secret("site-tls").ResourceVersion != before {
				t.Error("the deletion touched the Secret")
			}
		})
	}
}

// TestAdoptedSecret takes over a certificate of the same authority as it is.
func TestAdoptedSecret(t *testing.T) {
	w := newWorld(t)
	w.declare("site", func(c *v1alpha1.Certificate) { c.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
	w.ready("site")
	serial := w.serial("site-tls")
	w.remove("site")
	edit(w, &corev1.Secret{}, "site-tls", func(s *corev1.Secret) { s.Annotations, s.ManagedFields = nil, nil })
	w.declare("site", func(c *v1alpha1.Certificate) { c.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned })
	w.ready("site")
	if _, issued := w.ca.counts(); issued != 1 || w.serial("site-tls") != serial {
		t.Errorf("%d certificates were issued, and it is %s, not %s", issued, w.serial("site-tls"), serial)
	}
	w.quiet("site")
}

// TestTwoCertificatesOneSecret gives it to the older one.
func TestTwoCertificatesOneSecret(t *testing.T) {
	w := newWorld(t)
	same := func(c *v1alpha1.Certificate) { c.Spec.SecretName = "shared" }
	w.declare("older", same)
	w.sleep(time.Minute)
	w.declare("newer", same)
	w.until("newer", "False SecretTaken", "Secret/shared: Certificate/older writes it, and is older")
	w.ready("older")
	serial := w.serial("shared")
	w.until("newer", "False SecretTaken")
	w.quiet("newer")
	w.remove("newer")
	if w.serial("shared") != serial {
		t.Error("the younger one took the Secret with it")
	}
	w.declare("newer", same)
	w.pass("newer")
	w.remove("older")
	w.ready("newer")
	if got := w.secret("shared").Annotations[certificate.OwnerAnnotation]; got != "newer" || w.serial("shared") == serial {
		t.Errorf("the Secret is of %s", got)
	}
}

// TestKeysStaySecret looks for keys, passwords and tokens wherever somebody without access to Secrets may look.
func TestKeysStaySecret(t *testing.T) {
	w := newWorld(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pass"}, Data: map[string][]byte{"p": []byte("correct-horse")}})
	var secrets []string
	note := func() {
		s := w.secret("site-tls")
		for _, entry := range []string{"tls.key", "keystore.p12"} {
			for line := range strings.Lines(string(s.Data[entry])) {
				if line = strings.TrimSpace(line); len(line) > 20 && !strings.HasPrefix(line, "---") {
					secrets = append(secrets, line)
				}
			}
		}
	}
	secrets = append(secrets, "correct-horse", "PRIVATE KEY", string(w.ca.jwk[len(w.ca.jwk)-30:]))
	w.declare("site", func(c *v1alpha1.Certificate) {
		c.Spec.Keystores = &v1alpha1.CertificateKeystores{PKCS12: &v1alpha1.Keystore{PasswordSecretRef: v1alpha1.SecretKeyReference{Name: "pass", Key: "p"}}}
		c.Spec.DeliverTo = []v1alpha1.CertificateDelivery{toWeb("web", "/etc/site.crt", "/etc/site.key"), toWeb("other", "/etc/site.crt", "/etc/other.key")}
	})
	w.until("site", "False NotOwned")
	note()
	var outputs []string
	look := func() {
		c := w.get("site")
		outputs = append(outputs, render(t, c.Status), render(t, c.ObjectMeta))
	}
	look()
	release := w.machines["web"].Fail("systemctl*", 0, 1, "no")
	w.ca.set(func(ca *fakeCA) { ca.fault = ca.fail(stepca.Unauthorized, "refused") })
	edit(w, &corev1.Secret{}, "site-tls", func(s *corev1.Secret) { s.Data["tls.key"] = append([]byte("x"), s.Data["tls.key"]...) })
	w.edit("site", func(c *v1alpha1.Certificate) { c.Spec.DNSNames = []string{"else.phoenix.lan"} })
	w.until("site", "False Unauthorized")
	look()
	w.ca.set(func(ca *fakeCA) { ca.fault = nil })
	w.live("site", time.Hour)
	look()
	release()
	w.live("site", time.Hour)
	note()
	look()
	outputs = append(append(outputs, w.events.all()...), strings.Split(w.log.String(), "\n")...)
	for _, m := range w.machines {
		for _, c := range m.Commands() {
			outputs = append(outputs, c.Line)
		}
	}
	if len(secrets) < 10 || len(outputs) < 10 {
		t.Fatalf("%d secrets are looked for in %d outputs", len(secrets), len(outputs))
	}
	for _, out := range outputs {
		for _, secret := range secrets {
			if strings.Contains(out, secret) {
				t.Errorf("%q is in %.300q", secret, out)
			}
		}
	}
}
