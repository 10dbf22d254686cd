// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/lab"
)

// TestSoakLockout declares rules that shut Phoenix out of the host. The host's own timer puts the old ones back after two
// minutes; Phoenix says so, and does not try the same again.
func TestSoakLockout(t *testing.T) {
	r := openSite(t, "../testdata")
	r.allReady()
	s := serviceKey("lockout")
	s.Spec.HostRef = &v1alpha1.LocalReference{Name: "phoenix"}
	on, lan := true, &v1alpha1.FirewallPeer{Address: "10.0.0.0/24"}
	s.Spec.Firewall = &v1alpha1.Firewall{Datacenter: &v1alpha1.FirewallDatacenter{
		Enabled: &on, PolicyIn: "Drop",
		Rules: []v1alpha1.FirewallRule{{Action: "Accept", Protocol: "tcp", Ports: "22,8006", Source: lan}, {Action: "Accept", Macro: "Ping"}},
	}}
	r.declare(s)
	r.ready("lockout")
	before := hostChains(t)
	reachable := func() error {
		return errors.Join(api.call("GET", "/version", nil, nil), func() error {
			if got := near(t, lab.HostAddress+":22"); !strings.HasPrefix(got, "SSH-") {
				return errors.New("sshd: " + got)
			}
			return nil
		}())
	}
	if err := reachable(); err != nil {
		t.Fatal(err)
	}

	began := time.Now()
	r.patch(s, `{"spec":{"firewall":{"nodes":[{"name":"phoenix","rules":[{"action":"Drop","source":{"address":"`+lab.Gateway+`"}}]}]}}}`)
	until(t, "the host is shut", func() error {
		if got := near(t, lab.HostAddress+":22"); got != "timeout" {
			return errors.New(got)
		}
		return nil
	})
	t.Logf("shut after %s", time.Since(began))
	r.within(4*time.Minute, "the host is open again", reachable)
	t.Logf("open after %s", time.Since(began))
	r.says("lockout", v1alpha1.ReadyCondition, "False RolledBack: ")
	r.says("lockout", v1alpha1.StalledCondition, "True RolledBack: ")
	same(t, "the filter of the host", before, hostChains(t))
	r.look("lockout")
	time.Sleep(10 * time.Second)
	if err := reachable(); err != nil {
		t.Errorf("the same was tried again: %v", err)
	}

	r.patch(s, `{"spec":{"firewall":{"nodes":null}}}`)
	r.ready("lockout")
	if err := reachable(); err != nil {
		t.Error(err)
	}
	r.remove(s)
	rules(t, lab.Host)
}

// hostChains are the rules that count on the host: groups that no rule refers to do not.
func hostChains(t *testing.T) string {
	t.Helper()
	rules(t, lab.Host)
	loaded, _, err := site.Rules(t.Context(), lab.Host)
	if err != nil {
		t.Fatal(err)
	}
	_, chains, ok := strings.Cut(loaded, "chain input {")
	if !ok {
		t.Fatalf("the host filters nothing:\n%s", loaded)
	}
	return chains
}

// near connects from where Phoenix is, and returns what comes first, or why nothing does.
func near(t *testing.T, target string) string {
	t.Helper()
	d := net.Dialer{Timeout: 2 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", target)
	if err != nil {
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			return "timeout"
		}
		return err.Error()
	}
	defer func() { _ = c.Close() }()
	text := make([]byte, 64)
	n, err := c.Read(text)
	if err != nil {
		return err.Error()
	}
	return string(text[:n])
}
