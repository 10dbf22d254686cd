// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"strings"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

// TestRenewalFails: whatever goes wrong with a new certificate, the old one is served on, and the new one comes in the end.
func TestRenewalFails(t *testing.T) {
	for name, c := range map[string]struct {
		reason, command string
		exit            int
		says, want      string
	}{
		"refused":     {"nginx -t finds a fault", "nginx -t", 1, "nginx: [emerg] cannot load certificate\n", "False ValidationFailed"},
		"not reloads": {"the unit cannot reload", "systemctl reload-or-restart nginx.service", 1, "Job for nginx.service failed.\n", "False UnitFailed"},
		"not taken":   {"nginx says that it reloads, and does not", "/usr/sbin/nginx * -s reload", 0, "", "False ProbeFailed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newGateWorld(t)
			w.put("site-tls", time.Hour, "phoenix.lan")
			w.create(gate(nil))
			w.ready("gate")
			started := w.sim.Unit(gateUnit).Invocation
			key, err := w.sim.ReadFile(gateKey)
			if err != nil {
				t.Fatal(err)
			}
			heal := w.sim.Fail(c.command, 0, c.exit, c.says)
			w.put("site-tls", time.Hour, "phoenix.lan")
			s := w.until("gate", c.want, "rolled back: ")
			if got := svcCondition(s, v1alpha1.ServingCondition); !strings.HasPrefix(got, "True ") {
				t.Errorf("%s: Serving is %q", c.reason, got)
			}
			w.expect("phoenix.lan", 1)
			if now, err := w.sim.ReadFile(gateKey); now != key {
				t.Errorf("%s: the key on the machine is another one (%v)", c.reason, err)
			}
			heal()
			w.ready("gate")
			w.expect("phoenix.lan", 2)
			if w.sim.Unit(gateUnit).Invocation != started {
				t.Errorf("%s: nginx was restarted", c.reason)
			}
			w.quiet("gate")
		})
	}
}

func TestNginxIsAway(t *testing.T) {
	w := newGateWorld(t)
	w.put("site-tls", time.Hour, "phoenix.lan")
	w.create(gate(nil))
	w.ready("gate")
	w.door.set(true)
	w.put("site-tls", time.Hour, "phoenix.lan")
	s := w.until("gate", "False MachineAway", "no route to host")
	if got := svcCondition(s, v1alpha1.ServingCondition); !strings.HasPrefix(got, "True ") {
		t.Errorf("Serving is %q, want the last that is known", got)
	}
	w.expect("phoenix.lan", 1)
	w.door.set(false)
	w.ready("gate")
	w.expect("phoenix.lan", 2)
}

func TestNginxStopsAnswering(t *testing.T) {
	w := newGateWorld(t)
	w.put("site-tls", time.Hour, "phoenix.lan")
	w.create(gate(nil))
	w.ready("gate")
	heal := w.sim.Fail("curl *https://*", 0, 35, "")
	s := w.until("gate", "False ProbeFailed", "server site on 10.0.0.13:443 does not answer as it should")
	if got := svcCondition(s, v1alpha1.ServingCondition); !strings.HasPrefix(got, "False ProbeFailed") {
		t.Errorf("Serving is %q", got)
	}
	heal()
	w.ready("gate")
	w.shell("systemctl stop nginx; systemctl disable nginx")
	w.ready("gate")
	w.expect("phoenix.lan", 1)
	if got := w.sim.Unit(gateUnit).Enabled; got != "enabled" {
		t.Errorf("the unit is %s", got)
	}
}

// TestNginxConnectionBreaks: a connection that breaks at any round trip of an installation and of a renewal leaves the
// machine in a state from which the next passes come to the same end.
func TestNginxConnectionBreaks(t *testing.T) {
	for name, when := range map[string]sim.Cut{"before": sim.CutBefore, "during": sim.CutDuring, "after": sim.CutAfter} {
		t.Run(name, func(t *testing.T) {
			for trip := 1; trip < 6; trip++ {
				w := newGateWorld(t)
				w.put("site-tls", time.Hour, "phoenix.lan")
				w.create(gate(nil))
				for range trip - 1 {
					w.pass("gate")
				}
				w.sim.Cut("sh*", 1, when)
				w.pass("gate")
				w.ready("gate")
				w.expect("phoenix.lan", 1)
				w.put("site-tls", time.Hour, "phoenix.lan")
				w.sim.Cut("sh*", trip, when)
				w.pass("gate")
				w.ready("gate")
				w.expect("phoenix.lan", 2)
				w.quiet("gate")
			}
		})
	}
}

func TestNginxPackagesAreBusy(t *testing.T) {
	w := newGateWorld(t)
	w.put("site-tls", time.Hour, "phoenix.lan")
	w.create(gate(nil))
	w.sim.HoldDpkg(true)
	w.until("gate", "False Installing", "")
	w.sim.HoldDpkg(false)
	w.ready("gate")
	w.expect("phoenix.lan", 1)
}

// TestNginxManagerRestartsAnywhere: each pass is one of another manager, from nothing, through a renewal and a broken
// Secret, to the end.
func TestNginxManagerRestartsAnywhere(t *testing.T) {
	w := newGateWorld(t)
	w.put("site-tls", time.Hour, "phoenix.lan")
	w.create(gate(nil))
	through := func(want string) {
		t.Helper()
		for range 200 {
			w.restart()
			w.pass("gate")
			if strings.HasPrefix(svcReady(w.get("gate")), want) {
				return
			}
		}
		t.Fatalf("it stays %q, want %q", svcReady(w.get("gate")), want)
	}
	through("True InSync")
	w.expect("phoenix.lan", 1)
	w.put("site-tls", time.Hour, "phoenix.lan")
	through("True InSync")
	w.expect("phoenix.lan", 2)
	w.write("site-tls", nil)
	through("False CertificateUnusable")
	w.expect("phoenix.lan", 2)
	w.restart()
	w.gone("gate")
	if _, err := w.sim.Stat("/etc/nginx/phoenix"); err == nil {
		t.Error("keys are still there")
	}
}

const (
	gateHand   = "/etc/nginx/conf.d/hand.conf"
	gateByHand = "server {\n\tlisten 80 default_server;\n\tlisten 8080;\n\tserver_name phoenix.lan;\n\treturn 200 hand;\n}\nserver {\n\tlisten 80;\n\tserver_name other.lan;\n\treturn 200 other;\n}\n"
)

// newHandGate is a machine whose nginx somebody configured by hand, instead of Debian's site.
func newHandGate(t *testing.T) *gateWorld {
	t.Helper()
	w := newGateWorld(t, "nginx-light", "curl")
	if err := w.sim.Remove(gateSite); err != nil {
		t.Fatal(err)
	}
	if err := w.sim.WriteFile(gateHand, gateByHand, 0o640); err != nil {
		t.Fatal(err)
	}
	w.shell("systemctl reload nginx")
	w.put("site-tls", time.Hour, "phoenix.lan")
	return w
}

func TestNginxByHandIsNotTouched(t *testing.T) {
	w := newHandGate(t)
	w.create(gate(nil))
	writes := w.sim.Writes()
	s := w.until("gate", "False NotOwned", gateHand+" line 2 (listen 80 default_server;) receives phoenix.lan, which is declared")
	if !strings.Contains(svcReady(s), "set adoptionPolicy: IfUnowned") || w.sim.Writes() != writes {
		t.Errorf("it says %q and made %d writes, want the remedy and none", svcReady(s), w.sim.Writes()-writes)
	}
	if got := w.curl("http://phoenix.lan/"); got != "200" {
		t.Errorf("nginx answers %q, want what it did by hand", got)
	}
}

func TestNginxByHandIsShown(t *testing.T) {
	w := newHandGate(t)
	w.create(gate(func(s *v1alpha1.HostService) { s.Spec.Management = v1alpha1.ManagementObserve }))
	writes := w.sim.Writes()
	w.pass("gate")
	var shown []string
	for _, p := range w.get("gate").Status.Plan {
		shown = append(shown, p.Field)
	}
	text := strings.Join(shown, "\n")
	for _, want := range []string{gateHand + " line 2", "servers[site].names", "httpsPort", gateKey} {
		if !strings.Contains(text, want) {
			t.Errorf("the plan does not show %q, only\n%s", want, text)
		}
	}
	if w.sim.Writes() != writes {
		t.Errorf("it made %d writes", w.sim.Writes()-writes)
	}
	w.pass("gate")
	w.quiet("gate")
}

func TestNginxByHandIsTakenOver(t *testing.T) {
	w := newHandGate(t)
	started := w.sim.Unit(gateUnit).Invocation
	w.create(gate(func(s *v1alpha1.HostService) { s.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned }))
	w.ready("gate")
	w.expect("phoenix.lan", 1)
	if got := w.curl("http://phoenix.lan/") + " " + w.curl("http://other.lan/"); got != "(exit 52) 200" {
		t.Errorf("nginx answers %q, want ours, and the other site as before", got)
	}
	text, err := w.sim.ReadFile(gateHand)
	if err != nil || !strings.Contains(text, "#(HostService home/gate) \tlisten 80 default_server;\n\tlisten 8080;") {
		t.Errorf("the file made by hand is %q (%v)", text, err)
	}
	w.quiet("gate")
	w.restart()
	w.pass("gate")
	w.quiet("gate")
	w.gone("gate")
	if text, err := w.sim.ReadFile(gateHand); text != gateByHand {
		t.Errorf("the file made by hand is %q (%v), want the original", text, err)
	}
	if got := w.curl("http://phoenix.lan/"); got != "200" || w.sim.Unit(gateUnit).Invocation != started {
		t.Errorf("nginx answers %q, want what it did by hand, without a restart", got)
	}
}
