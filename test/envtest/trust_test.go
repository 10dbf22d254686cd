// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

const (
	trusting = `trustAuthorities: [{serviceRef: {name: ca}}]`
	stepCA   = `
kind: HostService
spec:
  guestRef: {name: ca}
  stepCA: {packageName: step-ca, claims: {minDuration: 1s, defaultDuration: 2s, maxDuration: 3s}}`
)

// trusts waits until programs on the machines trust all roots of one bundle and none of another.
func (s *stage) trusts(bundle, not string, machines ...*machine.Machine) {
	s.Helper()
	for _, m := range machines {
		s.until(m.Hostname()+" trusts what it should", func() error {
			there := file(m, "/etc/ssl/certs/ca-certificates.crt")
			for _, root := range strings.SplitAfter(bundle, "-----END CERTIFICATE-----\n") {
				if !strings.Contains(there, root) {
					return errors.New("a root is missing")
				}
			}
			if not != "" && strings.Contains(there, not) {
				return errors.New("an old root is there")
			}
			return nil
		})
	}
}

// TestTrust has the machines of a site trust the authority that runs in one of them, through a replacement of its root.
func TestTrust(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{idle: true, host: trusting})
	s.run(func(o *controllers.Options) {
		o.GuestInterval, o.WatchedInterval, o.HostInterval = 500*time.Millisecond, 500*time.Millisecond, 500*time.Millisecond
		o.HostServiceInterval, o.Dial = 300*time.Millisecond, s.site.DialContext
	})
	s.guest("ca", container, trusting+"\n"+addressed("10.0.5.2"))
	s.guest("machine", vm, trusting+`
source: {clone: {vmid: 9000}}
agent: true
cloudInit: {user: debian}
`+addressed("10.0.5.7"))
	site, guest, inVM := s.host(), s.named("ca"), s.named("machine")
	all := []object{site, guest, inVM}
	for _, o := range all {
		s.says(o, "Ready", "False WaitingForAuthority", "HostService/ca: not found")
		s.says(o, "Reachable", "True")
		s.says(o, "Trusted", "False WaitingForAuthority")
	}

	ca := s.service("ca", stepCA, ``)
	s.ready(ca)
	first := ca.Status.StepCA
	if len(first.Roots) != 1 {
		t.Fatalf("roots: %+v", first.Roots)
	}
	for _, o := range all {
		s.says(o, "Trusted", "True Trusted", first.Roots[0].Fingerprint)
		s.ready(o)
	}
	node, inContainer, machineOfVM := s.node(), s.inside(guest), s.inside(inVM)
	machines := []*machine.Machine{node, inContainer, machineOfVM}
	s.trusts(first.CABundle, "", machines...)
	s.rest(machines, ca, site, guest, inVM)

	// By hand, and back.
	for _, m := range machines {
		s.shell(m, "rm /usr/local/share/ca-certificates/phoenix-*.crt && update-ca-certificates")
	}
	s.trusts(first.CABundle, "", machines...)

	// Somebody else's, as far as the guest knows.
	s.guest("far", container, fmt.Sprintf("trustAuthorities: [{outside: {url: \"https://10.0.5.2\", fingerprint: %s}}]\n", first.Roots[0].Fingerprint)+addressed("10.0.5.9"))
	far, _ := s.readyGuest("far")
	s.says(far, "Trusted", "True Trusted", first.Roots[0].Fingerprint)
	s.trusts(first.CABundle, "", s.inside(far))

	// The root is replaced: the authority waits for everybody's trust, and then lets the old root go.
	s.change(ca, `{stepCA: {rootGeneration: 2}}`)
	s.until("the new root issues, and the old one is over", func() error {
		s.get(ca)
		if st := ca.Status.StepCA; st == nil || len(st.Roots) != 1 || st.Roots[0].Fingerprint == first.Roots[0].Fingerprint || st.IssuerFingerprint != st.Roots[0].Fingerprint {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	for _, o := range all {
		s.says(o, "Trusted", "True Trusted", ca.Status.StepCA.Roots[0].Fingerprint)
		s.ready(o)
	}
	s.trusts(ca.Status.StepCA.CABundle, first.CABundle, machines...)

	// Nobody asks for it any more.
	second := ca.Status.StepCA.CABundle
	for _, o := range []object{site, inVM} {
		s.change(o, `trustAuthorities: null`)
		s.until("the condition goes", func() error {
			s.get(o)
			for _, c := range o.CommonStatus().Conditions {
				if c.Type == v1alpha1.TrustedCondition {
					return fmt.Errorf("%s: %s", c.Reason, c.Message)
				}
			}
			return nil
		})
		s.ready(o)
	}
	s.trusts("", second, node, machineOfVM)
	s.trusts(second, "", inContainer)
}
