// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

const (
	svcDropIn = "/etc/dnsmasq.d/phoenix-dns.conf"
	svcUnit   = "dnsmasq.service"
)

func TestDnsmasqFromNothing(t *testing.T) {
	w := newSVCWorld(t, nil, svcGuest("step-ca", "10.0.0.10"), svcGuest("off"))
	w.create(svcDNS(nil))
	s := w.ready("dns")
	for query, want := range map[string]string{
		"step-ca.lan A": "10.0.0.10", "step-ca A": "10.0.0.10", "nas.lan A": "10.0.0.20", "-x 10.0.0.10": "step-ca.lan.", "off.lan A": "", "x.nas.lan A": "",
	} {
		if got := w.dig(query); got != want {
			t.Errorf("dig %s: %q, want %q", query, got, want)
		}
	}
	if got := svcCondition(s, v1alpha1.ServingCondition); got != "True Answering: the service answers" {
		t.Errorf("Serving is %q", got)
	}
	if s.Status.Service != "dnsmasq" || s.Status.Machine != "Host/phoenix" || len(s.Status.Plan) != 0 {
		t.Errorf("status is %+v", s.Status)
	}
	w.quiet("dns")
	w.restart()
	w.quiet("dns")
}

func TestNamesChangeWithoutARestart(t *testing.T) {
	w := newSVCWorld(t, nil, svcGuest("step-ca", "10.0.0.10"))
	w.create(svcDNS(nil))
	w.ready("dns")
	started := w.sim.Unit(svcUnit).Invocation
	w.create(svcGuest("app", "10.0.0.11"))
	w.edit("dns", func(s *v1alpha1.HostService) { s.Spec.Dnsmasq.Records[0].Addresses = []string{"10.0.0.21", "fd00::21"} })
	w.ready("dns")
	for query, want := range map[string]string{"app.lan A": "10.0.0.11", "nas.lan A": "10.0.0.21", "nas.lan AAAA": "fd00::21", "-x 10.0.0.20": ""} {
		if got := w.dig(query); got != want {
			t.Errorf("dig %s: %q, want %q", query, got, want)
		}
	}
	if w.sim.Unit(svcUnit).Invocation != started {
		t.Error("dnsmasq was restarted for names with addresses")
	}
	w.edit("dns", func(s *v1alpha1.HostService) {
		s.Spec.Dnsmasq.Records = append(s.Spec.Dnsmasq.Records, v1alpha1.DNSRecord{Name: "www", CNAME: "nas"}, v1alpha1.DNSRecord{Name: "note", Text: []string{"a, b"}},
			v1alpha1.DNSRecord{Name: "more", Addresses: []string{"10.0.0.30"}, Subdomains: new(true)})
	})
	w.ready("dns")
	if got := w.dig("www.lan A"); !strings.Contains(got, "10.0.0.21") {
		t.Errorf("dig www.lan: %q, want the address of nas", got)
	}
	if got := w.dig("x.more.lan A"); got != "10.0.0.30" {
		t.Errorf("dig x.more.lan: %q", got)
	}
	restarts := strings.Count(strings.Join(w.sim.Journal(svcUnit), "\n"), "Started ")
	if w.sim.Unit(svcUnit).Invocation == started || restarts == 0 {
		t.Error("dnsmasq was not restarted for its options")
	}
	w.quiet("dns")
}

func TestDnsmasqDriftIsPutBack(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		drift  func(w *svcWorld)
	}{
		"an edited drop-in": {"it is ours", func(w *svcWorld) {
			w.shell("echo 'address=/#/1.2.3.4' >> " + svcDropIn + "; systemctl restart dnsmasq")
		}},
		"a removed file":     {"it is ours", func(w *svcWorld) { w.shell("rm -r /etc/phoenix; systemctl restart dnsmasq") }},
		"a stopped unit":     {"it is to run", func(w *svcWorld) { w.shell("systemctl disable --now dnsmasq") }},
		"a removed package":  {"it is needed", func(w *svcWorld) { w.shell("apt-get remove -y dnsmasq") }},
		"an open file":       {"its mode is ours", func(w *svcWorld) { w.shell("chmod 666 " + svcDropIn) }},
		"the record is lost": {"the files are as declared: they are ours again", func(w *svcWorld) { w.shell("rm -r /var/lib/phoenix") }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newSVCWorld(t, nil)
			w.create(svcDNS(nil))
			w.ready("dns")
			before, err := w.sim.ReadFile(svcDropIn)
			if err != nil {
				t.Fatal(err)
			}
			c.drift(w)
			w.ready("dns")
			if after, err := w.sim.ReadFile(svcDropIn); err != nil || after != before {
				t.Errorf("%s: the drop-in is\n%s\n(%v)", c.reason, after, err)
			}
			if info, err := w.sim.Stat(svcDropIn); err != nil || info.Mode().Perm() != 0o644 {
				t.Errorf("%s: the drop-in is %+v (%v)", c.reason, info, err)
			}
			if got := w.dig("nas.lan A") + w.dig("other.example A"); got != "10.0.0.20" {
				t.Errorf("%s: dnsmasq answers %q", c.reason, got)
			}
			if u := w.sim.Unit(svcUnit); u.Active != "active" || u.Enabled != "enabled" {
				t.Errorf("%s: the unit is %+v", c.reason, u)
			}
			w.quiet("dns")
		})
	}
}

func TestDnsmasqRollsBack(t *testing.T) {
	for name, c := range map[string]struct {
		reason     string
		spoil      func(w *svcWorld)
		ready, say string
	}{
		"all files together are refused": {
			"what somebody else wrote meanwhile does not fit", func(w *svcWorld) {
				w.shell("echo bogus-option > /etc/dnsmasq.d/broken.conf")
				w.edit("dns", func(s *v1alpha1.HostService) { s.Spec.Dnsmasq.Domain = "home" })
			}, "False ValidationFailed", "rolled back: ",
		},
		"the program refuses the drop-in": {
			"dnsmasq says why", func(w *svcWorld) {
				w.sim.Fail("dnsmasq --test --conf-file=*", 0, 1, "dnsmasq: bad option at line 3\n")
				w.edit("dns", func(s *v1alpha1.HostService) { s.Spec.Dnsmasq.Domain = "home" })
			}, "False ValidationFailed", "bad option at line 3",
		},
		"no answer afterwards": {
			"the address is not the machine's", func(w *svcWorld) {
				w.edit("dns", func(s *v1alpha1.HostService) {
					s.Spec.Dnsmasq.ListenAddresses = []string{"10.0.0.99"}
				})
			}, "False ProbeFailed", "rolled back: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newSVCWorld(t, nil)
			w.create(svcDNS(nil))
			w.ready("dns")
			before, err := w.sim.ReadFile(svcDropIn)
			if err != nil {
				t.Fatal(err)
			}
			c.spoil(w)
			w.until("dns", c.ready, c.say)
			if after, err := w.sim.ReadFile(svcDropIn); err != nil || after != before {
				t.Errorf("%s: the drop-in is not as it was:\n%s\n(%v)", c.reason, after, err)
			}
			if got := w.dig("nas.lan A"); got != "10.0.0.20" {
				t.Errorf("%s: dnsmasq answers %q, want what it did before", c.reason, got)
			}
		})
	}
}

func TestDuplicateNamesAreAnsweredOnce(t *testing.T) {
	w := newSVCWorld(t, nil, svcGuest("nas", "10.0.0.66"), svcGuest("app", "10.0.0.11"))
	w.create(svcDNS(nil))
	s := w.until("dns", "False DuplicateName", "records[0] and Guest/nas both declare nas.lan")
	if got := w.dig("nas.lan A") + " " + w.dig("app.lan A"); got != "10.0.0.20 10.0.0.11" {
		t.Errorf("dnsmasq answers %q, want the record's address once, and all else", got)
	}
	if got := svcCondition(s, v1alpha1.ServingCondition); !strings.HasPrefix(got, "True ") {
		t.Errorf("Serving is %q", got)
	}
	w.quiet("dns")
	w.edit("dns", func(s *v1alpha1.HostService) { s.Spec.Dnsmasq.Records[0].Name = "store" })
	w.ready("dns")
	if got := w.dig("nas.lan A"); got != "10.0.0.66" {
		t.Errorf("dnsmasq answers %q, want the Guest's address", got)
	}
}

func TestSecondDnsmasqStalls(t *testing.T) {
	w := newSVCWorld(t, nil)
	w.create(svcDNS(nil))
	w.create(svcDNS(func(s *v1alpha1.HostService) { s.Name = "more" }))
	w.ready("dns")
	w.until("more", "False AlreadyServed", "HostService/dns does so already")
	w.gone("dns")
	w.ready("more")
	if _, err := w.sim.Stat(svcDropIn); err == nil {
		t.Error("the first one's file is still there")
	}
}

func TestDnsmasqLeavesAsItCame(t *testing.T) {
	w := newSVCWorld(t, []string{"curl"})
	before := w.sim.Packages()
	w.create(svcDNS(nil))
	w.ready("dns")
	w.gone("dns")
	for _, path := range []string{svcDropIn, "/etc/phoenix", "/var/lib/phoenix"} {
		if _, err := w.sim.Stat(path); err == nil && w.shell("find "+path+" -type f") != "" {
			t.Errorf("%s is still there", path)
		}
	}
	after := w.sim.Packages()
	for _, name := range []string{"dnsmasq", "bind9-dnsutils"} {
		if _, was := before[name]; !was && after[name] != "" {
			t.Errorf("package %s is still installed", name)
		}
	}
}
