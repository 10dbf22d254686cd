// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// The smallest HostServices; tests patch their spec.
const (
	dnsmasq = `
kind: HostService
spec:
  hostRef: {name: site}
  dnsmasq: {listenAddresses: [10.0.0.13], domain: phoenix.lan, records: [{name: nas, addresses: [10.0.0.20]}]}`
	nfs = `
kind: HostService
spec:
  hostRef: {name: site}
  nfs: {address: 10.0.0.13, exports: [{name: data, path: /srv/data, clients: [{cidr: 10.0.5.0/24}]}]}`
	firewall = `
kind: HostService
spec:
  hostRef: {name: site}
  firewall:
    datacenter:
      enabled: true
      rules: [{action: Accept, macro: SSH, source: {address: 10.0.0.0/24}}, {action: Accept, protocol: tcp, ports: "8006", source: {address: 10.0.0.0/24}}]`
)

// quickly looks at services again and again, for what no event tells.
func quickly(o *controllers.Options) { o.HostServiceInterval = 300 * time.Millisecond }

// newServiceStage makes a stage whose node exports what is below /srv. Its machine has the packages, so that only the
// tests that are about them wait for an installation.
func newServiceStage(t *testing.T, c set, packages ...string) *stage {
	t.Helper()
	if c.host == "" {
		c.host = `allow: {exportPaths: [/srv]}`
	}
	idle, options := c.idle, c.options
	c.idle = true
	s := newStage(t, c)
	if len(packages) > 0 {
		s.install(s.node(), packages...)
	}
	if !idle {
		s.run(options)
	}
	return s
}

// resolver is what dnsmasq needs, exporter what an NFS server does.
var resolver, exporter = []string{"dnsmasq", "bind9-dnsutils"}, []string{"nfs-kernel-server"}

// node is the machine of the site's first node.
func (s *stage) node() *machine.Machine { return s.site.Machine("phoenix") }

// service declares a HostService.
func (s *stage) service(name, base, patch string) *v1alpha1.HostService {
	s.Helper()
	s.create(strings.Replace(base, "kind: HostService", "kind: HostService\nmetadata: {name: "+name+"}", 1), patch)
	return &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace}}
}

// shell runs a line on a machine as a person there would. What it prints is returned; its failure ends the test.
func (s *stage) shell(m *machine.Machine, line string) string {
	s.Helper()
	var out bytes.Buffer
	if exit := m.Shell(context.Background(), line, strings.NewReader(""), &out, &out); exit != 0 {
		s.Fatalf("%s: exit %d: %s", line, exit, out.String())
	}
	return out.String()
}

// install installs packages by hand.
func (s *stage) install(m *machine.Machine, packages ...string) {
	s.Helper()
	s.shell(m, "apt-get update && apt-get install -y "+strings.Join(packages, " "))
}

// dig asks the resolver of the site for a name, from a machine.
func (s *stage) dig(m *machine.Machine, query string) string {
	s.Helper()
	if !m.Knows("dig") {
		s.install(m, "bind9-dnsutils")
	}
	var out bytes.Buffer
	m.Shell(context.Background(), "dig +short +time=1 +tries=1 @10.0.0.13 "+query, strings.NewReader(""), &out, &out)
	return strings.Join(strings.Fields(out.String()), " ")
}

// answers waits until the resolver of the site says what is wanted.
func (s *stage) answers(m *machine.Machine, queries map[string]string) {
	s.Helper()
	for query, want := range queries {
		s.until("dig "+query, func() error {
			if got := s.dig(m, query); got != want {
				return fmt.Errorf("%q, want %q", got, want)
			}
			return nil
		})
	}
}

// inside is a Guest's machine.
func (s *stage) inside(g *v1alpha1.Guest) *machine.Machine {
	s.Helper()
	m := s.site.GuestMachine(int(*g.Status.VMID))
	if m == nil {
		s.Fatalf("%s has no machine", g.Name)
	}
	return m
}

// recorded says whether a machine has a record of what is ours.
func (s *stage) recorded(m *machine.Machine) bool {
	s.Helper()
	return strings.Contains(s.shell(m, "ls /var/lib/phoenix 2>/dev/null || true"), ".json")
}

// file reads a file of a machine; "" when it is not there.
func file(m *machine.Machine, path string) string {
	text, err := m.ReadFile(path)
	if err != nil {
		return ""
	}
	return text
}

// trips counts what came over SSH to the nodes, without the digests of the guests' configurations.
func (s *stage) trips() int {
	n := 0
	for _, c := range s.site.SSHCommands() {
		if !strings.Contains(c.Command, "sha1sum") {
			n++
		}
	}
	return n
}

// rest proves that passes over services in sync write nothing anywhere: neither machines, nor the site, nor the API
// server. Their stage looks at them quickly.
func (s *stage) rest(machines []*machine.Machine, objects ...object) {
	s.Helper()
	written := func() []string {
		var all []string
		for _, m := range machines {
			all = append(all, fmt.Sprintf("%s %d writes", m.Hostname(), m.Writes()))
		}
		for _, o := range objects {
			all = append(all, fmt.Sprintf("%s %d events", o.GetName(), len(s.events(o))))
		}
		return append(all, s.versions(objects)...)
	}
	var before []string
	s.until("everything rests", func() error {
		first := written()
		looks := s.trips()
		s.until("more looks", func() error { return atLeast(looks+3*len(objects), s.trips()) })
		for _, o := range objects {
			s.ready(o)
		}
		if before = written(); cmp.Diff(first, before) != "" {
			return errors.New(cmp.Diff(first, before))
		}
		return nil
	})
	s.site.ForgetRequests()
	looks := s.trips()
	s.until("more looks", func() error { return atLeast(looks+5*len(objects), s.trips()) })
	if diff := cmp.Diff(before, written()); diff != "" {
		s.Errorf("passes in sync wrote (-before +after):\n%s", diff)
	}
	if writes := s.writes(); len(writes) > 0 {
		s.Errorf("passes in sync wrote to the site: %v", writes)
	}
}

// writes are the requests that changed the site: to look into a VM through its agent is one that changes nothing.
func (s *stage) writes() []pve.Request {
	return slices.DeleteFunc(s.site.Writes(), func(r pve.Request) bool { return strings.HasSuffix(r.Path, "/agent/exec") })
}

// calm waits until nothing came to the nodes for a while, and counts what did.
func (s *stage) calm() int {
	s.Helper()
	const calls = 20
	for last, same := -1, 0; ; time.Sleep(tick) {
		now := s.trips()
		if same++; now != last {
			last, same = now, 0
		}
		if same == calls {
			return now
		}
	}
}

// onePass has a service looked at once, for an annotation that means nothing, and proves that this is one round trip and
// writes nothing. Its stage must not look at anything else meanwhile.
func (s *stage) onePass(o *v1alpha1.HostService, machines ...*machine.Machine) {
	s.Helper()
	trips, writes := s.calm(), map[*machine.Machine]int{}
	for _, m := range machines {
		writes[m] = m.Writes()
	}
	s.site.ForgetRequests()
	s.patch(o, `metadata: {annotations: {example.org/look: again}}`)
	version := o.ResourceVersion
	s.until("the service is looked at", func() error { return atLeast(trips+1, s.trips()) })
	if got := s.calm() - trips; got != 1 {
		all := s.site.SSHCommands()
		s.Errorf("a pass that changes nothing took %d round trips, want 1: %v", got, all[max(0, len(all)-5):])
	}
	for m, before := range writes {
		if got := m.Writes() - before; got != 0 {
			s.Errorf("a pass that changes nothing made %d writes to %s", got, m.Hostname())
		}
	}
	if s.get(o); o.ResourceVersion != version {
		s.Errorf("a pass that changes nothing wrote its status:\n%s", describe(o))
	}
	if writes := s.writes(); len(writes) > 0 {
		s.Errorf("a pass that changes nothing wrote to the site: %v", writes)
	}
}
