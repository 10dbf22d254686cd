// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

const (
	svcHand     = "/etc/dnsmasq.d/hand.conf"
	svcHandHost = "/etc/hosts.home"
	// svcByHand is what somebody set up before: a name that is declared, one that is not, and a hosts file.
	svcByHand = "# the site\ndomain=home\nlisten-address=10.0.0.13\naddress=/nas.lan/10.9.9.9\naddress=/other.lan/10.0.0.5\naddn-hosts=" + svcHandHost + "\n"
)

// newHandWorld is a machine with a dnsmasq that is configured by hand.
func newHandWorld(t *testing.T) *svcWorld {
	t.Helper()
	w := newSVCWorld(t, []string{"dnsmasq", "bind9-dnsutils"})
	for path, text := range map[string]string{
		svcHand: svcByHand, svcHandHost: "10.9.9.9 printer\n10.9.9.9 disk.lan disk\n", "/etc/hosts": "127.0.0.1 localhost\n10.0.0.77 lost\n",
	} {
		if err := w.sim.WriteFile(path, text, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	w.shell("systemctl restart dnsmasq")
	if got := w.dig("nas.lan A") + " " + w.dig("disk A"); got != "10.9.9.9 10.9.9.9" {
		t.Fatalf("dnsmasq by hand answers %q: the test begins with something else", got)
	}
	return w
}

func handDNS(s *v1alpha1.HostService) {
	s.Spec.Dnsmasq.Records = append(s.Spec.Dnsmasq.Records, v1alpha1.DNSRecord{Name: "disk", Addresses: []string{"10.0.0.21"}})
}

func TestObservedByHand(t *testing.T) {
	w := newHandWorld(t)
	w.create(svcDNS(func(s *v1alpha1.HostService) { handDNS(s); s.Spec.Management = v1alpha1.ManagementObserve }))
	writes := w.sim.Writes()
	s := w.until("dns", "True Drifted", "")
	if w.sim.Writes() != writes {
		t.Errorf("%d writes under Observe", w.sim.Writes()-writes)
	}
	shown := map[string]string{}
	for _, p := range s.Status.Plan {
		shown[p.Field+"|"+p.From] = string(p.Impact)
	}
	for _, want := range []string{
		svcHand + " line 2|domain=home", svcHand + " line 4|address=/nas.lan/10.9.9.9", svcHandHost + " line 2|10.9.9.9 disk.lan disk",
		"records|10.0.0.77 lost (/etc/hosts line 2)", "listenAddresses|",
	} {
		if _, ok := shown[want]; !ok {
			t.Errorf("the plan does not show %q, only %v", want, shown)
		}
	}
	w.quiet("dns")
}

func TestHandMadeIsNotTouched(t *testing.T) {
	w := newHandWorld(t)
	w.create(svcDNS(handDNS))
	writes := w.sim.Writes()
	s := w.until("dns", "False NotOwned", svcHand+" line 4 (address=/nas.lan/10.9.9.9) answers nas.lan, which is declared")
	if !strings.Contains(svcReady(s), "set adoptionPolicy: IfUnowned") || w.sim.Writes() != writes {
		t.Errorf("it says %q and made %d writes, want the remedy and none", svcReady(s), w.sim.Writes()-writes)
	}
}

func TestHandMadeIsTakenOver(t *testing.T) {
	w := newHandWorld(t)
	w.create(svcDNS(func(s *v1alpha1.HostService) { handDNS(s); s.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned }))
	started := w.sim.Unit(svcUnit).Invocation
	w.ready("dns")
	for query, want := range map[string]string{"nas.lan A": "10.0.0.20", "disk A": "10.0.0.21", "other.lan A": "10.0.0.5", "printer A": "10.9.9.9"} {
		if got := w.dig(query); got != want {
			t.Errorf("dig %s: %q, want %q: never two answers, and what is not declared stays", query, got, want)
		}
	}
	if w.sim.Unit(svcUnit).Invocation == started {
		t.Error("dnsmasq was not restarted")
	}
	if info, err := w.sim.Stat(svcHand); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file made by hand is %+v (%v), want its mode as it was", info, err)
	}
	w.quiet("dns")
	w.restart()
	w.ready("dns")
	w.quiet("dns")

	w.edit("dns", func(s *v1alpha1.HostService) { s.Spec.Dnsmasq.Records = s.Spec.Dnsmasq.Records[1:] })
	w.ready("dns")
	if got := w.dig("nas.lan A"); got != "10.9.9.9" {
		t.Errorf("dnsmasq answers %q: what is declared no more is answered as by hand again", got)
	}
	w.gone("dns")
	for path, want := range map[string]string{svcHand: svcByHand, svcHandHost: "10.9.9.9 printer\n10.9.9.9 disk.lan disk\n"} {
		if got, err := w.sim.ReadFile(path); err != nil || got != want {
			t.Errorf("%s is %q (%v), want the original", path, got, err)
		}
	}
	if got := w.dig("nas.lan A") + " " + w.dig("disk A"); got != "10.9.9.9 10.9.9.9" {
		t.Errorf("dnsmasq answers %q, want what it did by hand", got)
	}
	if u := w.sim.Unit(svcUnit); u.Active != "active" || u.Enabled != "enabled" {
		t.Errorf("the unit is %+v, want it as it was", u)
	}
}
