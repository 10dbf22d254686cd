// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

func TestMachineIsAway(t *testing.T) {
	w := newSVCWorld(t, nil)
	w.create(svcDNS(nil))
	w.door.set(true)
	w.until("dns", "False MachineAway", "no route to host")
	w.door.set(false)
	w.ready("dns")
	w.door.set(true)
	s := w.until("dns", "False MachineAway", "")
	if got := svcCondition(s, v1alpha1.ServingCondition); !strings.HasPrefix(got, "True ") {
		t.Errorf("Serving is %q, want the last that is known", got)
	}
	w.door.set(false)
	w.ready("dns")
	w.quiet("dns")
}

// A connection that breaks at any round trip leaves the machine in a state from which the next passes come to the same end.
func TestConnectionBreaks(t *testing.T) {
	for name, when := range map[string]sim.Cut{"before": sim.CutBefore, "during": sim.CutDuring, "after": sim.CutAfter} {
		t.Run(name, func(t *testing.T) {
			for trip := 1; trip < 8; trip++ {
				w := newSVCWorld(t, nil)
				w.create(svcDNS(nil))
				for range trip - 1 {
					w.pass("dns")
				}
				w.sim.Cut("sh*", 1, when)
				w.pass("dns")
				w.ready("dns")
				if got := w.dig("nas.lan A"); got != "10.0.0.20" {
					t.Errorf("cut at pass %d: dnsmasq answers %q", trip, got)
				}
				w.quiet("dns")
			}
		})
	}
}

func TestPackagesAreBusy(t *testing.T) {
	w := newSVCWorld(t, nil)
	w.create(svcDNS(nil))
	w.sim.HoldDpkg(true)
	s := w.until("dns", "False Installing", "")
	if len(s.Status.Plan) == 0 {
		t.Error("the plan is empty while a package is missing")
	}
	w.sim.HoldDpkg(false)
	w.ready("dns")
}

func TestInstallationFails(t *testing.T) {
	w := newSVCWorld(t, nil)
	w.create(svcDNS(nil))
	heal := w.sim.Fail("apt-get*install*", 0, 100, "E: Unable to locate package dnsmasq\n")
	w.until("dns", "False InstallFailed", "Unable to locate package dnsmasq")
	heal()
	w.ready("dns")
}

func TestUnitFails(t *testing.T) {
	w := newSVCWorld(t, nil)
	w.create(svcDNS(nil))
	w.ready("dns")
	heal := w.sim.Fail("systemctl restart dnsmasq.service", 0, 1, "Job for dnsmasq.service failed.\n")
	w.edit("dns", func(s *v1alpha1.HostService) { s.Spec.Dnsmasq.Domain = "home" })
	w.until("dns", "False UnitFailed", "restart dnsmasq.service")
	if got := w.dig("nas.lan A"); got != "10.0.0.20" {
		t.Errorf("dnsmasq answers %q, want what it did before", got)
	}
	heal()
	w.ready("dns")
	if got := w.dig("nas.home A"); got != "10.0.0.20" {
		t.Errorf("dnsmasq answers %q, want what is declared", got)
	}
}

func TestNoDebian(t *testing.T) {
	w := newSVCWorld(t, nil)
	if err := w.sim.WriteFile("/etc/os-release", "ID=alpine\n", 0o644); err != nil {
		t.Fatal(err)
	}
	w.create(svcDNS(nil))
	w.until("dns", "False Unsupported", "Debian or Ubuntu with systemd is needed")
	if _, err := w.sim.Stat("/var/lib/phoenix"); err == nil {
		t.Error("something was written")
	}
}

// A manager that ends anywhere goes on where it was: each pass is one of another manager.
func TestManagerRestartsAnywhere(t *testing.T) {
	w := newSVCWorld(t, nil)
	w.create(svcDNS(nil))
	for range 200 {
		w.restart()
		w.pass("dns")
		if strings.HasPrefix(svcReady(w.get("dns")), "True InSync") {
			break
		}
	}
	w.ready("dns")
	w.quiet("dns")
}
