// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

func TestAuthorityFromNothing(t *testing.T) {
	w := newCAWorld(t)
	w.create(caService(func(s *v1alpha1.HostService) {
		s.Spec.StepCA.DNSNames = []string{"ca.phoenix.lan"}
		s.Spec.StepCA.ACME = &v1alpha1.StepCAACME{Name: "acme"}
	}))
	s := w.ready("ca")
	roots := w.chain("root")
	if err := w.trusts(roots...); err != nil {
		t.Errorf("the authority does not prove itself by the root: %v", err)
	}
	status, fingerprint := s.Status.StepCA, w.root()
	if status.URL != "https://10.0.0.10" || status.IssuerFingerprint != fingerprint || len(status.Roots) != 1 || status.Roots[0].Fingerprint != fingerprint ||
		status.RootKey != "Present" || status.RootGeneration != 1 || status.CABundle != w.bundle() || status.CABundle != string(stepca.EncodeChain(roots)) {
		t.Errorf("status is %+v", status)
	}
	if got, want := svcCondition(s, v1alpha1.ServingCondition), "True Answering: https://10.0.0.10 answers; roots "+fingerprint+"; issues under "+fingerprint; got != want {
		t.Errorf("Serving is %q, want %q", got, want)
	}
	if s.Status.Service != "stepCA" || s.Status.Machine != "Guest/box" || len(s.Status.Plan) != 0 {
		t.Errorf("status is %+v", s.Status)
	}
	for path, want := range map[string]string{
		"/etc/step-ca/intermediate.key": "-rw------- step-ca", "/etc/step-ca/ca.json": "-rw-r--r-- root", "/var/lib/step-ca": "drwx------ step-ca",
	} {
		info, err := w.sim.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		owner, _ := w.sim.OwnerOf(info)
		if got := info.Mode().String() + " " + owner; got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	w.leaks(s)
	for path := range strings.FieldsSeq(w.shell("find /etc /var /usr /root -type f")) {
		content, err := w.sim.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{string(w.secret("root-key").Data["tls.key"]), string(w.secret("provisioner").Data["jwk.json"])} {
			if strings.Contains(content, secret) {
				t.Errorf("a key that the machine does not need is in %s", path)
			}
		}
	}
	w.still()
	w.restart()
	w.still()
}

// leaks asserts that no key stands in the object, in an event, or in an argument of a command on the machine.
func (w *caWorld) leaks(s *v1alpha1.HostService) {
	w.t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		w.t.Fatal(err)
	}
	said := append(w.told(), string(text))
	for _, c := range w.sim.Commands() {
		said = append(said, c.Line)
	}
	for _, secret := range []string{
		strings.Split(string(w.secret("root-key").Data["tls.key"]), "\n")[1], strings.Split(string(w.secret("intermediate").Data["tls.key"]), "\n")[1],
		string(w.secret("provisioner").Data["jwk.json"]),
	} {
		for _, text := range said {
			if strings.Contains(text, secret) {
				w.t.Errorf("a key stands in %.200q", text)
			}
		}
	}
}

func TestAuthorityFromAPackage(t *testing.T) {
	w := newCAWorld(t)
	w.create(caService(func(s *v1alpha1.HostService) {
		s.Spec.StepCA.Artifact, s.Spec.StepCA.PackageName, s.Spec.StepCA.Port = nil, "step-ca", 8443
		s.Spec.StepCA.Database = v1alpha1.StepCANoDatabase
	}))
	if s := w.ready("ca"); s.Status.StepCA.URL != "https://10.0.0.10:8443" {
		t.Errorf("status is %+v", s.Status.StepCA)
	}
	w.still()
}

func TestAuthorityUnderObserve(t *testing.T) {
	w := newCAWorld(t)
	writes := w.sim.Writes()
	w.create(caService(func(s *v1alpha1.HostService) { s.Spec.Management = v1alpha1.ManagementObserve }))
	s := w.until("ca", "True Drifted", "")
	var reasons []string
	for _, c := range s.Status.Plan {
		reasons = append(reasons, c.Reason)
	}
	for _, want := range []string{"MakingRoot", "MakingIntermediate", "MakingProvisioner", "Installing"} {
		if !slices.Contains(reasons, want) {
			t.Errorf("the plan has %q, not %s", reasons, want)
		}
	}
	if w.writes.count != 0 || w.sim.Writes() != writes {
		t.Errorf("%d Secrets and %d files were written", w.writes.count, w.sim.Writes()-writes)
	}
	w.still()
}

// A Guest that is made from nothing gets the same keys: what the old root verified, it still does.
func TestAuthorityInARebuiltGuest(t *testing.T) {
	w := newCAWorld(t)
	w.create(caService(nil))
	w.ready("ca")
	before, pair, writes := w.root(), string(w.secret("intermediate").Data["tls.key"]), w.writes.count
	w.machine()
	w.restart()
	w.ready("ca")
	if w.root() != before || string(w.secret("intermediate").Data["tls.key"]) != pair || w.writes.count != writes {
		t.Error("the keys are others than before")
	}
	if err := w.trusts(w.chain("root")...); err != nil {
		t.Error(err)
	}
	w.still()
}

// An empty cluster finds the authority on its machine again: nothing there changes but for the provisioner's key.
func TestAuthorityIsReadBack(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		status bool
	}{"the Secrets alone": {"the status still names the root", true}, "the status, too": {"the machine is known by its record", false}} {
		t.Run(name, func(t *testing.T) {
			w := newCAWorld(t)
			w.create(caService(nil))
			w.ready("ca")
			before, pair := w.root(), string(w.secret("intermediate").Data["tls.key"])
			w.loseAll()
			if !c.status {
				s := w.get("ca")
				s.Status = v1alpha1.HostServiceStatus{}
				if err := w.client.Status().Update(t.Context(), s); err != nil {
					t.Fatal(err)
				}
			}
			w.restart()
			s := w.ready("ca")
			if w.root() != before || string(w.secret("intermediate").Data["tls.key"]) != pair {
				t.Errorf("%s: the root and the intermediate are others than before", c.reason)
			}
			if s.Status.StepCA.RootKey != "Away" || w.secret("root-key") != nil || w.secret("provisioner") == nil {
				t.Errorf("%s: status is %+v", c.reason, s.Status.StepCA)
			}
			for _, e := range w.told() {
				if strings.Contains(e, "MakingRoot") {
					t.Errorf("%s: %s", c.reason, e)
				}
			}
			w.still()
		})
	}
}

func TestLostAuthorityIsNotReplaced(t *testing.T) {
	w := newCAWorld(t)
	w.create(caService(nil))
	w.ready("ca")
	before := w.root()
	key := w.secret("root-key")
	w.loseAll()
	w.machine()
	w.restart()
	s := w.until("ca", "False AuthorityLost", before)
	if got := svcCondition(s, v1alpha1.ServingCondition); !strings.HasPrefix(got, "False ") || s.Status.StepCA.Roots[0].Fingerprint != before {
		t.Errorf("Serving is %q, and the roots %+v", got, s.Status.StepCA.Roots)
	}
	key.ResourceVersion = ""
	w.create(key)
	w.ready("ca")
	if w.root() != before {
		t.Error("the root is another one, although its key was put back")
	}
	w.still()
}

func TestForeignAuthorityIsLeftAlone(t *testing.T) {
	w := newCAWorld(t)
	foreign, err := stepca.NewRoot(stepca.Template{CommonName: "somebody's root", Duration: 1e15, Now: w.clock.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.sim.WriteFile("/etc/step-ca/certs/root_ca.crt", string(foreign.CertificatePEM), 0o644); err != nil {
		t.Fatal(err)
	}
	w.create(caService(nil))
	writes := w.sim.Writes()
	w.until("ca", "False AuthorityExists", "somebody's root")
	if w.writes.count != 0 || w.sim.Writes() != writes {
		t.Errorf("%d Secrets and %d files were written", w.writes.count, w.sim.Writes()-writes)
	}
}

func TestImportedAuthority(t *testing.T) {
	w := newCAWorld(t)
	root, err := stepca.NewRoot(stepca.Template{CommonName: "an old root", Duration: 1e17, Now: w.clock.Now()})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := stepca.NewIntermediate(root, stepca.Template{CommonName: "an old intermediate", Duration: 1e16, Now: w.clock.Now()})
	if err != nil {
		t.Fatal(err)
	}
	secret := func(part string, data map[string][]byte) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: "ca-" + part}, Data: data}
	}
	w.create(secret("root", map[string][]byte{"tls.crt": root.CertificatePEM}))
	w.create(secret("intermediate", map[string][]byte{"tls.crt": pair.CertificatePEM, "tls.key": root.KeyPEM}))
	writes := w.sim.Writes()
	w.create(caService(func(s *v1alpha1.HostService) { s.Spec.StepCA.RootGeneration = 3 }))
	w.until("ca", "False SecretInvalid", "Secret ca-intermediate: match key")
	if w.sim.Writes() != writes {
		t.Error("the machine was written to")
	}
	w.edited("intermediate", func(s *corev1.Secret) { s.Data["tls.key"] = pair.KeyPEM })
	s := w.ready("ca")
	if err := w.trusts(w.chain("root")...); err != nil {
		t.Error(err)
	}
	if s.Status.StepCA.RootKey != "Away" || s.Status.StepCA.RootGeneration != 3 || string(w.secret("intermediate").Data["tls.crt"]) != string(pair.CertificatePEM) {
		t.Errorf("status is %+v", s.Status.StepCA)
	}
	w.still()
}

func TestSecondAuthorityStalls(t *testing.T) {
	w := newCAWorld(t)
	w.create(caService(nil))
	w.ready("ca")
	w.create(caService(func(s *v1alpha1.HostService) { s.Name = "more" }))
	w.until("more", "False AlreadyServed", "HostService/ca is one already")
	w.still()
}

func TestAuthorityDriftIsPutBack(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		drift  string
	}{
		"an edited configuration": {"it is ours", "echo '{}' > /etc/step-ca/ca.json; systemctl restart step-ca"},
		"an open key":             {"its mode is ours", "chmod 644 /etc/step-ca/intermediate.key"},
		"a stopped unit":          {"it is to run", "systemctl disable --now step-ca"},
		"another program":         {"it is checked by its hash", "echo x > /usr/local/bin/step-ca"},
		"the key is gone":         {"the Secret has it", "rm /etc/step-ca/intermediate.key; systemctl restart step-ca"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newCAWorld(t)
			w.create(caService(nil))
			w.ready("ca")
			before, writes := w.root(), w.writes.count
			w.shell(c.drift)
			w.ready("ca")
			if err := w.trusts(w.chain("root")...); err != nil || w.root() != before || w.writes.count != writes {
				t.Errorf("%s: %v; %d Secrets were written", c.reason, err, w.writes.count-writes)
			}
			w.still()
		})
	}
}

func TestTrustMapOfSomebodyElse(t *testing.T) {
	w := newCAWorld(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: "ca-trust"}, Data: map[string]string{"x": "y"}})
	w.create(caService(nil))
	s := w.until("ca", "False NotOwned", "ConfigMap ca-trust")
	if got := svcCondition(s, v1alpha1.ServingCondition); !strings.HasPrefix(got, "True ") {
		t.Errorf("Serving is %q: the authority does not wait for it", got)
	}
	w.edit("ca", func(s *v1alpha1.HostService) { s.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned })
	w.ready("ca")
	if w.bundle() != string(stepca.EncodeChain(w.chain("root"))) {
		t.Errorf("it holds %q", w.bundle())
	}
}

func TestAuthorityLeavesItsKeys(t *testing.T) {
	w := newCAWorld(t)
	w.create(caService(nil))
	w.ready("ca")
	before := w.root()
	w.told()
	w.gone("ca")
	for _, path := range []string{"/etc/step-ca/intermediate.key", "/etc/step-ca/ca.json", "/etc/systemd/system/step-ca.service", "/usr/local/bin/step-ca"} {
		if _, err := w.sim.Stat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	if _, err := w.sim.Stat("/var/lib/step-ca/db"); err != nil {
		t.Errorf("the database is gone: %v", err)
	}
	if w.root() != before || w.secret("intermediate") == nil || !strings.Contains(w.bundle(), "not found") {
		t.Errorf("the Secrets went, or the ConfigMap did not: %q", w.bundle())
	}
	if all := strings.Join(w.told(), "\n"); !strings.Contains(all, "the keys stay in the Secrets ca-root, ca-root-key, ca-intermediate, ca-provisioner") {
		t.Errorf("nothing says which Secrets stay:\n%s", all)
	}
	w.create(caService(nil))
	w.ready("ca")
	if w.root() != before {
		t.Error("the next one does not begin with the keys")
	}
}
