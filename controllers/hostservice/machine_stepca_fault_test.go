// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

var caRequest = ctrl.Request{NamespacedName: types.NamespacedName{Namespace: svcNamespace, Name: "ca"}}

// endure makes passes, some of which fail on the way, until all is well.
func (w *caWorld) endure() {
	w.t.Helper()
	for range 60 {
		_, _ = w.loop.Reconcile(w.t.Context(), caRequest) // what fails is what is tested
		if strings.HasPrefix(svcReady(w.get("ca")), "True InSync") {
			break
		}
	}
	w.ready("ca")
}

// The API server fails before a write, or its answer is lost after it, at every write of a Secret or ConfigMap in the life
// of an authority and of its successor: there is never a third root, and no key is lost.
func TestWritesOfKeysFail(t *testing.T) {
	broken := apierrors.NewInternalError(errors.New("etcd is away"))
	taken := apierrors.NewAlreadyExists(schema.GroupResource{Resource: "secrets"}, "ca")
	for name, c := range map[string]struct{ before, after error }{
		"500": {before: broken}, "the answer is lost": {after: broken}, "somebody else was there first": {before: taken},
	} {
		t.Run(name, func(t *testing.T) {
			for nth := 1; ; nth++ {
				w := newCAWorld(t)
				struck := false
				w.writes.strike = func(n int) (error, error) {
					if n != nth {
						return nil, nil
					}
					struck = true
					return c.before, c.after
				}
				w.create(caService(nil))
				w.endure()
				w.edit("ca", func(s *v1alpha1.HostService) { s.Spec.StepCA.RootGeneration = 2 })
				w.endure()
				if len(w.writes.roots) != 2 || w.trusts(w.chain("root")[0]) != nil || len(w.chain("root")) != 2 {
					t.Errorf("write %d: the roots were %q, and %d are trusted", nth, w.writes.roots, len(w.chain("root")))
				}
				w.still()
				if !struck {
					if nth < 10 {
						t.Errorf("there are only %d writes", nth-1)
					}
					return
				}
			}
		})
	}
}

func TestAuthorityConnectionBreaks(t *testing.T) {
	for name, when := range map[string]sim.Cut{"before": sim.CutBefore, "during": sim.CutDuring, "after": sim.CutAfter} {
		t.Run(name, func(t *testing.T) {
			for trip := 1; trip < 7; trip++ {
				w := newCAWorld(t)
				w.create(caService(nil))
				for range trip - 1 {
					w.pass("ca")
				}
				w.sim.Cut("sh*", 1, when)
				w.pass("ca")
				w.ready("ca")
				if err := w.trusts(w.chain("root")...); err != nil || len(w.writes.roots) != 1 {
					t.Errorf("cut at pass %d: %v; the roots were %q", trip, err, w.writes.roots)
				}
				w.still()
			}
		})
	}
}

func TestAuthorityManagerIsKilledBeforeEveryPass(t *testing.T) {
	w := newCAWorld(t)
	w.create(caService(nil))
	for range 200 {
		w.restart()
		w.pass("ca")
		if strings.HasPrefix(svcReady(w.get("ca")), "True InSync") {
			break
		}
	}
	w.ready("ca")
	if len(w.writes.roots) != 1 {
		t.Errorf("the roots were %q", w.writes.roots)
	}
	w.still()
}

func TestAuthorityWaitsForPackages(t *testing.T) {
	w := newCAWorld(t)
	w.create(caService(nil))
	w.sim.HoldDpkg(true)
	s := w.until("ca", "False Installing", "")
	if s.Status.StepCA == nil || s.Status.StepCA.CABundle != w.bundle() {
		t.Errorf("the roots are told to nobody yet: %+v", s.Status.StepCA)
	}
	w.sim.HoldDpkg(false)
	w.ready("ca")
	w.still()
}

func TestAuthorityProgramIsNotThere(t *testing.T) {
	w := newCAWorld(t)
	address, _, _, _ := sim.StepCARelease()
	heal := w.mirror.Fail("*", 0, http.StatusNotFound, nil)
	w.create(caService(nil))
	w.until("ca", "False InstallFailed", address)
	heal()
	w.ready("ca")
}

// Who does not answer is told apart: the authority itself, and the way to it.
func TestAuthorityDoesNotAnswer(t *testing.T) {
	w := newCAWorld(t)
	w.create(caService(nil))
	w.ready("ca")
	writes := w.writes.count
	heal := w.sim.FailAuthority("/health", 0, http.StatusInternalServerError)
	s := w.until("ca", "False ProbeFailed", "step-ca does not answer as it should")
	if got := svcCondition(s, v1alpha1.ServingCondition); !strings.HasPrefix(got, "False ProbeFailed: ") {
		t.Errorf("Serving is %q", got)
	}
	heal()
	w.ready("ca")
	w.deaf = true
	s = w.until("ca", "False AuthorityAway", "it answers on its machine, but not to Phoenix: dial 10.0.0.10:443: no route to host")
	if got := svcCondition(s, v1alpha1.ServingCondition); !strings.HasPrefix(got, "False AuthorityAway: ") || s.Status.StepCA.CABundle != w.bundle() {
		t.Errorf("Serving is %q", got)
	}
	w.deaf = false
	w.ready("ca")
	w.door.set(true)
	s = w.until("ca", "False MachineAway", "")
	if got := svcCondition(s, v1alpha1.ServingCondition); !strings.HasPrefix(got, "True ") {
		t.Errorf("Serving is %q, want the last that is known", got)
	}
	w.door.set(false)
	w.ready("ca")
	if w.writes.count != writes {
		t.Errorf("%d Secrets were written", w.writes.count-writes)
	}
	w.still()
}

// A configuration that step-ca refuses does not stay: it serves on with the one before.
func TestAuthorityRollsBack(t *testing.T) {
	w := newCAWorld(t)
	w.create(caService(nil))
	w.ready("ca")
	before, err := w.sim.ReadFile("/etc/step-ca/ca.json")
	if err != nil {
		t.Fatal(err)
	}
	release := w.sim.Fail("systemctl restart step-ca.service", 0, 1, "Job for step-ca.service failed.\n")
	w.edit("ca", func(s *v1alpha1.HostService) { s.Spec.StepCA.DNSNames = []string{"pki.lan"} })
	w.until("ca", "False UnitFailed", "rolled back: ")
	if after, err := w.sim.ReadFile("/etc/step-ca/ca.json"); err != nil || after != before {
		t.Errorf("the configuration is not as it was (%v):\n%s", err, after)
	}
	release()
	w.ready("ca")
	if after, err := w.sim.ReadFile("/etc/step-ca/ca.json"); err != nil || !strings.Contains(after, `"pki.lan"`) {
		t.Errorf("the configuration lacks the name (%v):\n%s", err, after)
	}
	w.still()
}

// A bad Secret is mended as soon as it is right again, not when its time to be tried again has come.
func TestBadSecretIsSeenAtOnce(t *testing.T) {
	w := newCAWorld(t)
	w.create(caService(nil))
	s := w.ready("ca")
	good := w.secret("provisioner").Data["jwk.json"]
	w.edited("provisioner", func(s *corev1.Secret) { s.Data["jwk.json"] = []byte("{}") })
	w.until("ca", "False SecretInvalid", "Secret ca-provisioner: jwk.json: ")
	if err := w.trusts(w.chain("root")...); err != nil {
		t.Errorf("the authority was stopped for it: %v", err)
	}
	w.edited("provisioner", func(s *corev1.Secret) { s.Data["jwk.json"] = good })
	w.pass("ca")
	if got := svcReady(w.get("ca")); !strings.HasPrefix(got, "True InSync") || s.Status.StepCA.URL == "" {
		t.Errorf("Ready is %q after one pass", got)
	}
}
