// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// caTrusters are a Guest and a Host that trust the authority, and a Certificate of it.
func caTrusters() []client.Object {
	by := []v1alpha1.TrustAuthority{{ServiceRef: &v1alpha1.LocalReference{Name: "ca"}}}
	app := svcGuest("app", "10.0.0.11")
	app.Spec.TrustAuthorities = by
	lan := &v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: "lan"}}
	lan.Spec.TrustAuthorities = by
	web := &v1alpha1.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: "web"}}
	web.Spec.Authority.ServiceRef = by[0].ServiceRef
	return []client.Object{app, lan, web}
}

// trusted has a Guest or a Host say that it trusts roots; none: that it does not.
func (w *caWorld) trusted(o client.Object, name string, fingerprints ...string) {
	w.t.Helper()
	if err := w.client.Get(w.t.Context(), types.NamespacedName{Namespace: svcNamespace, Name: name}, o); err != nil {
		w.t.Fatal(err)
	}
	c := metav1.Condition{Type: v1alpha1.TrustedCondition, Status: metav1.ConditionFalse, Reason: "MachineAway"}
	if len(fingerprints) > 0 {
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, "Trusted", "trusted: "+strings.Join(fingerprints, ", ")
	}
	meta.SetStatusCondition(&o.(v1alpha1.Object).CommonStatus().Conditions, c)
	if err := w.client.Status().Update(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

// leaf has the Certificate be under a root.
func (w *caWorld) leaf(fingerprint string) {
	w.t.Helper()
	web := &v1alpha1.Certificate{}
	if err := w.client.Get(w.t.Context(), types.NamespacedName{Namespace: svcNamespace, Name: "web"}, web); err != nil {
		w.t.Fatal(err)
	}
	web.Status.RootFingerprint = fingerprint
	if err := w.client.Status().Update(w.t.Context(), web); err != nil {
		w.t.Fatal(err)
	}
}

func TestRootRotation(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		each   func(w *caWorld)
	}{
		"at once":                     {"one manager", func(*caWorld) {}},
		"killed before every pass":    {"all that matters stands in the Secrets", func(w *caWorld) { w.restart() }},
		"the status lost, every time": {"it is no memory", func(w *caWorld) { w.forget(); w.restart() }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newCAWorld(t, caTrusters()...)
			w.create(caService(nil))
			w.ready("ca")
			old := w.chain("root")[0]
			w.trusted(&v1alpha1.Guest{}, "app", w.root())
			w.trusted(&v1alpha1.Host{}, "lan", w.root())
			w.leaf(w.root())
			w.edit("ca", func(s *v1alpha1.HostService) { s.Spec.StepCA.RootGeneration = 2 })

			// Both roots are trusted, certificates are issued under the old one, and who does not trust the new one is named.
			s := w.turn(c.each, "True SwitchingRoot", "not trusted yet by Guest/app, Host/lan")
			fresh := w.chain("root")[0]
			if w.bundle() != string(stepca.EncodeChain(w.chain("root"))) || len(w.chain("root")) != 2 || s.Status.StepCA.IssuerFingerprint != stepca.Fingerprint(old) ||
				s.Status.StepCA.RootGeneration != 2 || len(s.Status.StepCA.Roots) != 2 || s.Status.StepCA.CABundle != w.bundle() {
				t.Fatalf("%s: status is %+v", c.reason, s.Status.StepCA)
			}
			if old, fresh := w.trusts(old), w.trusts(fresh); old != nil || fresh == nil {
				t.Fatalf("%s: it proves itself by the old root: %v, and by the new one: %v", c.reason, old, fresh)
			}
			if out, err := w.sim.ReadFile("/etc/step-ca/root.crt"); err != nil || out != w.bundle() {
				t.Fatalf("%s: the machine trusts others (%v)", c.reason, err)
			}
			if got := svcCondition(s, v1alpha1.ServingCondition); !strings.Contains(got, "; roots "+stepca.Fingerprint(fresh)+", "+stepca.Fingerprint(old)+"; issues under "+stepca.Fingerprint(old)) {
				t.Fatalf("%s: Serving is %q", c.reason, got)
			}
			w.trusted(&v1alpha1.Guest{}, "app", stepca.Fingerprint(fresh), stepca.Fingerprint(old))
			w.trusted(&v1alpha1.Host{}, "lan")
			w.turn(c.each, "True SwitchingRoot", "not trusted yet by Host/lan (MachineAway)")

			// All trust the new root: it issues.
			w.trusted(&v1alpha1.Host{}, "lan", stepca.Fingerprint(fresh), stepca.Fingerprint(old))
			s = w.turn(c.each, "True InSync", "")
			if old, fresh := w.trusts(old), w.trusts(fresh); old == nil || fresh != nil {
				t.Fatalf("%s: it proves itself by the old root: %v, and by the new one: %v", c.reason, old, fresh)
			}
			until := s.Status.StepCA.Roots[1].TrustedUntil
			if s.Status.StepCA.IssuerFingerprint != stepca.Fingerprint(fresh) || until == nil || until.Sub(w.clock.Now()) < 2159*time.Hour {
				t.Fatalf("%s: status is %+v", c.reason, s.Status.StepCA)
			}
			if slices.Contains(strings.Fields(strings.Join(keysOf(w.secret("root-key").Data), " ")), "previous.key") {
				t.Errorf("%s: the old root's key is still there", c.reason)
			}

			// The old root is trusted until the last certificate under it is over.
			w.clock.SetTime(until.Add(-time.Minute))
			w.turn(c.each, "True InSync", "")
			if got := len(w.chain("root")); got != 2 {
				t.Fatalf("%s: %d roots are trusted a minute before", c.reason, got)
			}
			w.clock.SetTime(until.Time)
			w.turn(c.each, "True DroppingRoot", "still under it: Certificate/web")
			w.leaf(stepca.Fingerprint(fresh))
			w.turn(c.each, "True InSync", "")
			if w.root() != stepca.Fingerprint(fresh) || len(w.chain("root")) != 1 || w.bundle() != string(stepca.EncodeChain(w.chain("root"))) {
				t.Errorf("%s: the roots are %d", c.reason, len(w.chain("root")))
			}
			if out, err := w.sim.ReadFile("/etc/step-ca/root.crt"); err != nil || out != w.bundle() {
				t.Errorf("%s: the machine trusts others (%v)", c.reason, err)
			}
			if want := []string{stepca.Fingerprint(old), stepca.Fingerprint(fresh)}; !slices.Equal(w.writes.roots, want) {
				t.Errorf("%s: the roots were %q, want the old one and one new one", c.reason, w.writes.roots)
			}
			w.still()
		})
	}
}

// turn makes passes until Ready is as wanted, with something before each.
func (w *caWorld) turn(each func(*caWorld), want, says string) *v1alpha1.HostService {
	w.t.Helper()
	for range 12 {
		each(w)
		w.pass("ca")
	}
	return w.until("ca", want, says)
}

// forget loses the status.
func (w *caWorld) forget() {
	w.t.Helper()
	s := w.get("ca")
	s.Status = v1alpha1.HostServiceStatus{}
	if err := w.client.Status().Update(w.t.Context(), s); err != nil {
		w.t.Fatal(err)
	}
}

func keysOf(data map[string][]byte) []string {
	var names []string
	for name := range data {
		names = append(names, name)
	}
	return names
}

func TestIntermediateIsRenewed(t *testing.T) {
	w := newCAWorld(t)
	w.create(caService(func(s *v1alpha1.HostService) {
		s.Spec.StepCA.Intermediate = &v1alpha1.AuthorityCertificate{CommonName: "short", Duration: &metav1.Duration{Duration: time.Hour}}
	}))
	s := w.ready("ca")
	first, due := w.chain("intermediate")[0], s.Status.StepCA.IntermediateRenewalTime
	if life := first.NotAfter.Sub(first.NotBefore); due.Sub(first.NotBefore) < life*2/3 || due.Sub(first.NotBefore) > life*2/3+time.Second || first.Subject.CommonName != "short" {
		t.Fatalf("the intermediate %q lives from %s to %s and is renewed at %s", first.Subject.CommonName, first.NotBefore, first.NotAfter, due)
	}
	w.clock.SetTime(due.Add(-10 * time.Second))
	if again := w.pass("ca").RequeueAfter; again > 11*time.Second || again < 5*time.Second {
		t.Errorf("it is looked at again after %s, want the renewal", again)
	}
	if !w.chain("intermediate")[0].Equal(first) {
		t.Fatal("it was renewed before its time")
	}
	for n := range 5 {
		w.clock.SetTime(w.get("ca").Status.StepCA.IntermediateRenewalTime.Time)
		before := w.chain("intermediate")[0]
		s = w.ready("ca")
		if w.chain("intermediate")[0].Equal(before) || w.trusts(w.chain("root")...) != nil || s.Status.StepCA.IntermediateNotAfter.Sub(w.clock.Now()) < 59*time.Minute {
			t.Fatalf("renewal %d: status is %+v", n, s.Status.StepCA)
		}
	}
	w.still()
}

func TestIntermediateExpires(t *testing.T) {
	w := newCAWorld(t)
	w.create(caService(func(s *v1alpha1.HostService) {
		s.Spec.StepCA.Intermediate = &v1alpha1.AuthorityCertificate{Duration: &metav1.Duration{Duration: time.Hour}}
	}))
	w.ready("ca")
	offline := w.secret("root-key")
	w.lose("root-key")
	s := w.ready("ca")
	if s.Status.StepCA.RootKey != "Away" {
		t.Errorf("status is %+v", s.Status.StepCA)
	}
	w.clock.SetTime(s.Status.StepCA.IntermediateRenewalTime.Time)
	s = w.ready("ca")
	const how = "the root's key is away: put it back as Secret ca-root-key, or a new intermediate certificate with its key into Secret ca-intermediate"
	if got := svcCondition(s, v1alpha1.IntermediateExpiringCondition); !strings.HasPrefix(got, "True RootKeyAway: the intermediate certificate ends at ") || !strings.HasSuffix(got, how) {
		t.Errorf("IntermediateExpiring is %q", got)
	}
	if again := w.pass("ca").RequeueAfter; again < time.Second {
		t.Errorf("it is looked at again after %s although nothing can be done", again)
	}
	w.still()

	// The end: Ready says what helps, and the key helps.
	w.clock.SetTime(s.Status.StepCA.IntermediateNotAfter.Time)
	w.until("ca", "False AuthorityOver", how)
	offline.ResourceVersion = ""
	w.create(offline)
	s = w.ready("ca")
	if got := svcCondition(s, v1alpha1.IntermediateExpiringCondition); got != "none" || w.trusts(w.chain("root")...) != nil {
		t.Errorf("IntermediateExpiring is %q after the renewal", got)
	}
	w.still()

	// A new intermediate that was signed elsewhere helps as well.
	w.lose("root-key")
	w.clock.SetTime(s.Status.StepCA.IntermediateRenewalTime.Time)
	w.ready("ca")
	made, err := stepca.NewIntermediate(
		stepca.KeyPair{CertificatePEM: stepca.EncodeChain(w.chain("root")), KeyPEM: offline.Data["tls.key"]},
		stepca.Template{CommonName: "from the safe", Duration: 24 * time.Hour, Now: w.clock.Now()})
	if err != nil {
		t.Fatal(err)
	}
	secret := w.secret("intermediate")
	secret.Data["tls.crt"], secret.Data["tls.key"] = made.CertificatePEM, made.KeyPEM
	if err := w.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if got := svcCondition(w.ready("ca"), v1alpha1.IntermediateExpiringCondition); got != "none" || w.trusts(w.chain("root")...) != nil {
		t.Errorf("IntermediateExpiring is %q after the import", got)
	}
	w.still()
}
