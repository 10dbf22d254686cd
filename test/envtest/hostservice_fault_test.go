// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// TestFirewallFaults has every kind of write of a firewall go wrong once, in one way after the other: the end is the same.
func TestFirewallFaults(t *testing.T) {
	t.Parallel()
	writes := []struct{ method, path string }{
		{"POST", "/cluster/firewall/**"}, {"PUT", "/cluster/firewall/**"}, {"POST", "/nodes/*/firewall/**"}, {"DELETE", "/cluster/firewall/**"},
	}
	for how, f := range map[string]pve.Fault{
		"refused by the server":       {Status: 500, Reason: "got timeout"},
		"refused by a proxy":          {Status: 503, Reason: "Service Unavailable"},
		"cut before it was looked at": {Cut: pve.CutBefore},
		"cut after it was accepted":   {Cut: pve.CutAfter},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newServiceStage(t, set{})
			before := s.site.Firewall().Cluster
			for _, w := range writes {
				f.Method, f.Path, f.From, f.To = w.method, w.path, 1, 1
				s.site.Inject(f)
			}
			o := s.service("site-firewall", firewall, `{deletionPolicy: Delete, firewall: {nodes: [{name: phoenix, rules: [{action: Accept, protocol: tcp, ports: "9100"}]}]}}`)
			s.ready(o)
			s.inForce("the datacenter's rules", onCluster, "ACCEPT ssh from 10.0.0.0/24", "ACCEPT tcp 8006 from 10.0.0.0/24")
			s.inForce("the node's rules", onNode, "ACCEPT tcp 9100 from")
			state := s.site.Firewall()
			if len(state.Groups) != 2 || len(state.Cluster.Rules) != 1 || len(state.Nodes["phoenix"].Rules) != 1 {
				t.Errorf("something is there twice, or left: %+v", state)
			}
			s.remove(o)
			s.gone(o)
			if diff := cmp.Diff(before, s.site.Firewall().Cluster); diff != "" || len(s.site.Firewall().Groups) > 0 {
				t.Errorf("not as before (-before +after):\n%s", diff)
			}
		})
	}
}

// TestMachineCut has the connection to the machine break around its changes: the end is the same.
func TestMachineCut(t *testing.T) {
	t.Parallel()
	for how, when := range map[string]machine.Cut{"before": machine.CutBefore, "during": machine.CutDuring, "after": machine.CutAfter} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newServiceStage(t, set{}, slices.Concat(resolver, exporter)...)
			s.ready(s.host())
			node := s.node()
			node.Cut("*sh", 1, when)
			o := s.service("dns", dnsmasq, ``)
			s.ready(o)
			e := s.service("exports", nfs, ``)
			node.Cut("*sh", 1, when)
			s.change(o, `dnsmasq: {records: [{name: other, addresses: [10.0.0.22]}]}`)
			s.ready(o)
			s.ready(e)
			s.answers(node, map[string]string{"other.phoenix.lan A": "10.0.0.22", "nas.phoenix.lan A": ""})
			s.exported(node, []string{"10.0.5.0/24("})
			if left := s.shell(node, "find /etc -name '.*phoenix*'"); left != "" {
				t.Errorf("a staged file is left: %s", left)
			}
		})
	}
}

// TestServiceFaults takes what a service needs away, and gives it back.
func TestServiceFaults(t *testing.T) {
	t.Parallel()
	change := `dnsmasq: {domain: changed.lan}`
	for _, tc := range []struct {
		name     string
		packages []string
		broken   func(s *stage)
		begin    string
		parts    []string
		mended   func(s *stage)
	}{
		{
			"another works with packages", nil, func(s *stage) { s.node().HoldDpkg(true) }, "False Installing", []string{"install"}, func(s *stage) { s.node().HoldDpkg(false) },
		},
		{
			"the program refuses the file", resolver, func(s *stage) {
				s.node().Fail("dnsmasq --test*", 0, 1, "dnsmasq: bad option at line 3")
			}, "False ValidationFailed", []string{"rolled back", "bad option at line 3"}, nil,
		},
		{
			"what another wrote does not fit", resolver, func(s *stage) { s.shell(s.node(), "echo bogus-option > /etc/dnsmasq.d/broken.conf") },
			"False ValidationFailed", []string{"rolled back", "broken.conf"}, func(s *stage) { s.shell(s.node(), "rm /etc/dnsmasq.d/broken.conf") },
		},
		{
			"it does not answer afterwards", resolver, func(s *stage) { s.node().Fail("dig *", 0, 9, ";; connection timed out") },
			"False ProbeFailed", []string{"rolled back"}, nil,
		},
		{
			"the token is refused", resolver, func(s *stage) {
				s.site.ExpireCredentials(true)
				s.says(s.host(), "Reachable", "False")
			},
			"", []string{"DependencyNotReady", "Host/site"}, func(s *stage) { s.site.ExpireCredentials(false) },
		},
		{
			"the API is away", resolver, func(s *stage) {
				s.site.Suspend()
				s.says(s.host(), "Reachable", "False")
			}, "", []string{"DependencyNotReady", "Host/site"},
			func(s *stage) {
				if err := s.site.Resume(); err != nil {
					s.Fatal(err)
				}
			},
		},
		{
			"another host key", resolver, func(s *stage) {
				s.change(s.host(), `ssh: {nodes: [{name: phoenix, address: "`+s.site.SSH[0].Address+`", hostKeys: ["`+keyOne+`"]}]}`)
				s.says(s.host(), "Ready", "False HostKeyMismatch")
			},
			"", []string{"host key", "not pinned"}, func(s *stage) {
				s.change(s.host(), `ssh: {nodes: [{name: phoenix, address: "`+s.site.SSH[0].Address+`", hostKeys: ["`+s.site.SSH[0].HostKey+`"]}]}`)
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newServiceStage(t, set{options: func(o *controllers.Options) {
				o.HostInterval, o.HostServiceInterval = 300*time.Millisecond, 300*time.Millisecond
			}}, tc.packages...)
			node := s.node()
			o := s.service("dns", dnsmasq, `management: Paused`)
			if len(tc.packages) > 0 {
				s.change(o, `management: Enforce`)
				s.ready(o)
			}
			dropIn := file(node, dnsDropIn)
			tc.broken(s)
			s.change(o, change)
			s.change(o, `management: Enforce`)
			s.until("it says what is wrong", func() error {
				s.get(o)
				got := condition(o, "Ready")
				ok := strings.HasPrefix(got, tc.begin) && !strings.HasPrefix(got, "True")
				for _, p := range tc.parts {
					ok = ok && strings.Contains(got, p)
				}
				if !ok {
					return fmt.Errorf("want %s %q: %w", tc.begin, tc.parts, errors.New(describe(o)))
				}
				return nil
			})
			if now := file(node, dnsDropIn); now != dropIn {
				t.Errorf("the drop-in is not as before:\n%s", now)
			}
			if tc.mended == nil {
				return
			}
			tc.mended(s)
			s.change(o, `deletionPolicy: Delete`) // a new spec does not wait for the end of a backoff
			s.ready(o)
			s.answers(node, map[string]string{"nas.changed.lan A": "10.0.0.20"})
		})
	}
}

// TestMachineAway has a node go away and come back.
func TestMachineAway(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{site: pve.Options{Nodes: []string{"phoenix", "other"}}, options: quickly}, resolver...)
	second := s.site.Machine("other")
	s.install(second, resolver...)
	o := s.service("dns", dnsmasq, `{node: other, dnsmasq: {listenAddresses: [`+second.Addresses()[0].String()+`]}}`)
	s.ready(o)
	before := file(second, dnsDropIn)
	s.site.SetNodeOnline("other", false, 10*time.Millisecond)
	s.says(o, "Ready", "", "MachineAway")
	if c := condition(o, "Ready"); strings.HasPrefix(c, "True") {
		t.Errorf("Ready is %s", c)
	}
	s.change(o, `dnsmasq: {domain: changed.lan}`)
	s.says(o, "Ready", "", "MachineAway")
	s.site.SetNodeOnline("other", true, 0)
	s.ready(o)
	if now := file(second, dnsDropIn); now == before || !strings.Contains(now, "changed.lan") {
		t.Errorf("the drop-in is\n%s", now)
	}
}

// TestGuestAway has services in a container and a VM whose guests are locked, off, and on again.
func TestGuestAway(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{})
	s.guest("box", container, addressed("10.0.0.30"))
	box, state := s.readyGuest("box")
	s.install(s.inside(box), exporter...)
	o := s.service("inside", nfs, `{hostRef: null, guestRef: {name: box}, nfs: {address: null}}`)
	s.ready(o)
	if err := s.site.SetLock(state.VMID, "backup"); err != nil {
		t.Fatal(err)
	}
	s.change(o, `nfs: {exports: [{name: data, path: /srv/locked, clients: [{cidr: 10.0.5.0/24}]}]}`)
	s.ready(o) // a guest that Proxmox holds is a machine like any other
	if err := s.site.SetLock(state.VMID, ""); err != nil {
		t.Fatal(err)
	}
	s.change(box, `power: Stopped`)
	s.readyGuest("box")
	s.change(o, `nfs: {exports: [{name: data, path: /srv/later, clients: [{cidr: 10.0.5.0/24}]}]}`)
	s.says(o, "Ready", "False DependencyNotReady", "Guest/box")
	s.change(box, `power: Running`)
	s.readyGuest("box")
	s.ready(o)
	s.exported(s.inside(box), []string{"/srv/later"}, "/srv/locked")
}
