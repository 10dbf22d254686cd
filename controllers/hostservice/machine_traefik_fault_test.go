// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"net/http"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

func key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: svcNamespace, Name: name}
}

// TestUpgradeFails: whatever goes wrong with a new version, the old one routes on, with the Routes that it had, and the new
// one comes in the end.
func TestUpgradeFails(t *testing.T) {
	for name, c := range map[string]struct {
		reason, want, says string
		fault              func(w *routerWorld) (heal func())
	}{
		"not there": {"the release cannot be had", "False InstallFailed", nextVersion, func(w *routerWorld) func() {
			return w.mirror.Fail("*"+nextVersion+"*", 0, http.StatusNotFound, nil)
		}},
		"other": {"it is another file than the one that is declared", "False InstallFailed", "the SHA-256 of what it gives is", func(w *routerWorld) func() {
			address, tarball, _, _ := sim.TraefikRelease(nextVersion)
			w.mirror.Put(address, []byte("something else"))
			return func() { w.mirror.Put(address, tarball) }
		}},
		"does not start": {"the unit says no", "False UnitFailed", "rolled back: ", func(w *routerWorld) func() {
			return w.sim.Fail("systemctl restart traefik.service", 0, 1, "Job for traefik.service failed.\n")
		}},
		"silent": {"it runs, and does not answer", "False ProbeFailed", "rolled back: ", func(w *routerWorld) func() {
			return w.sim.TraefikFaults().FailAPI("/api/version", 0, http.StatusInternalServerError)
		}},
		"no entry point": {"gateways would be turned away", "False ProbeFailed", "rolled back: ", func(w *routerWorld) func() {
			return w.sim.Fail("curl *http://10.0.0.12:80/", 0, 7, "000")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newRouterWorld(t)
			w.create(routerService(nil))
			w.ready("router")
			loaded := w.put(simpleRoute())
			w.loads(simpleRoute().Name, loaded)
			heal := c.fault(w)
			w.edit("router", upgrade)
			w.until("router", c.want, c.says)
			if text, err := w.sim.ReadFile(routerProgram); !strings.Contains(text, "3.6.12") {
				t.Errorf("%s: the program is %q (%v)", c.reason, text, err)
			}
			heal()
			if got := w.version(); got != "3.6.12" {
				t.Errorf("%s: what runs is %q", c.reason, got)
			}
			w.loads(simpleRoute().Name, loaded)
			s := w.ready("router")
			if got := w.version(); got != nextVersion || s.Status.Traefik.Version != nextVersion {
				t.Errorf("%s: in the end it runs %q, and the status says %q", c.reason, got, s.Status.Traefik.Version)
			}
			w.loads(simpleRoute().Name, loaded)
			w.quiet("router")
		})
	}
}

func TestRouterIsAway(t *testing.T) {
	w := newRouterWorld(t)
	w.create(routerService(nil))
	w.ready("router")
	w.door.set(true)
	w.edit("router", upgrade)
	s := w.until("router", "False MachineAway", "no route to host")
	if got := svcCondition(s, v1alpha1.ServingCondition); !strings.HasPrefix(got, "True ") || s.Status.Traefik.Version != "3.6.12" {
		t.Errorf("Serving is %q, want the last that is known", got)
	}
	w.door.set(false)
	w.ready("router")
	if got := w.version(); got != nextVersion {
		t.Errorf("it runs %q", got)
	}
}

func TestRouterStopsAnswering(t *testing.T) {
	w := newRouterWorld(t)
	w.create(routerService(nil))
	w.ready("router")
	heal := w.sim.TraefikFaults().FailAPI("/api/version", 0, http.StatusBadGateway)
	s := w.until("router", "False ProbeFailed", "traefik does not answer as it should: ")
	if got := svcCondition(s, v1alpha1.ServingCondition); !strings.HasPrefix(got, "False ProbeFailed") {
		t.Errorf("Serving is %q", got)
	}
	heal()
	w.ready("router")
	heal = w.sim.Fail("curl *http://10.0.0.12:80/", 0, 7, "000")
	w.until("router", "False ProbeFailed", "entry point web on 10.0.0.12:80 does not answer as it should: ")
	heal()
	w.ready("router")
}

// TestRouterConnectionBreaks: a connection that breaks at any round trip of an installation and of an upgrade leaves the
// machine in a state from which the next passes come to the same end.
func TestRouterConnectionBreaks(t *testing.T) {
	for name, when := range map[string]sim.Cut{"before": sim.CutBefore, "during": sim.CutDuring, "after": sim.CutAfter} {
		t.Run(name, func(t *testing.T) {
			for trip := 1; trip < 7; trip++ {
				w := newRouterWorld(t)
				w.create(routerService(nil))
				for range trip - 1 {
					w.pass("router")
				}
				w.sim.Cut("sh*", 1, when)
				w.pass("router")
				w.ready("router")
				loaded := w.put(simpleRoute())
				w.edit("router", upgrade)
				w.sim.Cut("sh*", trip, when)
				w.pass("router")
				w.ready("router")
				if got := w.version(); got != nextVersion {
					t.Errorf("cut at trip %d: it runs %q", trip, got)
				}
				w.loads(simpleRoute().Name, loaded)
				w.quiet("router")
			}
		})
	}
}

func TestRouterManagerRestartsAnywhere(t *testing.T) {
	w := newRouterWorld(t)
	w.create(routerService(nil))
	through := func() {
		t.Helper()
		for range 400 {
			w.restart()
			w.pass("router")
			if strings.HasPrefix(svcReady(w.get("router")), "True InSync") && w.get("router").Status.ObservedGeneration == w.get("router").Generation {
				return
			}
		}
		t.Fatalf("it stays %q", svcReady(w.get("router")))
	}
	through()
	w.edit("router", upgrade)
	through()
	if got := w.version(); got != nextVersion {
		t.Errorf("it runs %q", got)
	}
	w.restart()
	w.gone("router")
	if _, err := w.sim.Stat("/etc/traefik"); err == nil {
		t.Error("its folders are still there")
	}
}

func TestRouterPackagesAreBusy(t *testing.T) {
	w := newRouterWorld(t)
	w.create(routerService(nil))
	w.sim.HoldDpkg(true)
	w.until("router", "False Installing", "")
	w.sim.HoldDpkg(false)
	w.ready("router")
}

// TestRouterOutlivesAReboot: the machine restarts while nobody holds it, and routes as before.
func TestRouterOutlivesAReboot(t *testing.T) {
	w := newRouterWorld(t)
	w.create(routerService(nil))
	w.ready("router")
	loaded := w.put(simpleRoute())
	w.loads(simpleRoute().Name, loaded)
	w.sim.Halt()
	w.sim.Boot()
	w.loads(simpleRoute().Name, loaded)
	w.ready("router")
	w.quiet("router")
}
