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
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const clusterFile = "/etc/pve/firewall/cluster.fw"

// filtered is a container whose network card is filtered.
func filtered(address string) string {
	return `networks: [{device: net0, firewall: true, ipv4: {method: Static, address: ` + address + `/24}}]`
}

// ours are the rules of the security groups that a level refers to, as "ACCEPT tcp 53 from 10.0.0.11".
func ours(state pve.FirewallState, level []pve.FirewallRule) []string {
	var texts []string
	for _, reference := range level {
		if reference.Type != "group" {
			continue
		}
		for _, r := range state.Groups[reference.Action].Rules {
			texts = append(texts, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s from %s", r.Action, strings.ToLower(r.Macro), r.Proto, r.DPort, r.Source)), " "))
		}
	}
	return texts
}

// inForce waits until a level has a rule.
func (s *stage) inForce(what string, level func(pve.FirewallState) []pve.FirewallRule, want ...string) {
	s.Helper()
	s.until(what, func() error {
		state := s.site.Firewall()
		got := ours(state, level(state))
		for _, w := range want {
			if !slices.Contains(got, w) {
				return fmt.Errorf("%q is not among %q", w, got)
			}
		}
		return nil
	})
}

func onNode(f pve.FirewallState) []pve.FirewallRule    { return f.Nodes["phoenix"].Rules }
func onCluster(f pve.FirewallState) []pve.FirewallRule { return f.Cluster.Rules }

// foreign puts a rule of somebody else on top of the datacenter's.
func (s *stage) foreign(rule string) {
	s.Helper()
	text := file(s.node(), clusterFile)
	if !strings.Contains(text, "[RULES]") {
		text += "\n[RULES]\n"
	}
	if err := s.site.WriteFile("phoenix", clusterFile, strings.Replace(text, "[RULES]\n", "[RULES]\n\n"+rule+"\n", 1)); err != nil {
		s.Fatal(err)
	}
}

// TestFirewall derives rules from what is declared, follows it, and takes all of them away again.
func TestFirewall(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{options: quickly}, slices.Concat(resolver, exporter)...)
	before := s.site.Firewall()
	s.guest("nginx", container, filtered("10.0.0.153"))
	s.guest("traefik", container, filtered("10.0.0.12"))
	nginx, _ := s.readyGuest("nginx")
	s.readyGuest("traefik")
	s.ready(s.service("dns", dnsmasq, ``))
	s.ready(s.service("exports", nfs, `nfs: {exports: [{name: data, path: /srv/data, clients: [{guestRef: {name: traefik}}]}]}`))
	o := s.service("site-firewall", firewall, `
deletionPolicy: Delete
firewall:
  flows: Derive
  datacenter: {policyIn: Drop, aliases: [{name: lan, address: 10.0.0.0/24}]}
  guests:
  - {name: nginx, rules: [{action: Accept, protocol: tcp, ports: "80,443"}]}
  - {name: traefik, rules: [{action: Accept, protocol: tcp, ports: "80", source: {guestRef: {name: nginx}}}]}`)
	s.ready(o)
	s.says(o, "Enforced", "True InForce")
	if f := o.Status.Firewall; f == nil || !*f.Enabled || *f.Rules == 0 || len(f.Shadowed) > 0 || o.Status.Service != "firewall" || o.Status.Machine != "Host/site" {
		t.Errorf("status %+v, firewall %+v", o.Status, f)
	}
	s.inForce("the node has the flows", onNode, "ACCEPT udp 53 from 10.0.0.12,10.0.0.153", "ACCEPT tcp 53 from 10.0.0.12,10.0.0.153", "ACCEPT tcp 2049 from 10.0.0.12")
	vmid := int(*nginx.Status.VMID)
	onGuest := func(f pve.FirewallState) []pve.FirewallRule { return f.Guests[vmid].Rules }
	s.inForce("nginx has its own", onGuest, "ACCEPT tcp 80,443 from")
	state := s.site.Firewall()
	if g := state.Guests[vmid].Options; g["enable"] != "1" || g["policy_in"] != "DROP" {
		t.Errorf("the options of nginx are %v", g)
	}
	s.rest([]*machine.Machine{s.node()}, o)

	s.change(nginx, filtered("10.0.0.154"))
	s.inForce("the flows follow the Guest", onNode, "ACCEPT udp 53 from 10.0.0.12,10.0.0.154")
	s.ready(o)

	s.remove(o)
	s.gone(o)
	if diff := cmp.Diff(before.Cluster, s.site.Firewall().Cluster); diff != "" {
		t.Errorf("the datacenter (-before +after):\n%s", diff)
	}
	after := s.site.Firewall()
	if n := len(after.Groups); n > 0 || len(after.Nodes["phoenix"].Rules) > 0 || len(after.Guests[vmid].Rules) > 0 || len(after.Guests[vmid].Options) > 0 {
		t.Errorf("something is left: %+v", after)
	}
	if left := s.shell(s.node(), "ls /var/lib/phoenix"); strings.Contains(left, "firewall") {
		t.Errorf("%s is left", left)
	}
}

// TestFirewallOnePass is what looking at rules in force costs.
func TestFirewallOnePass(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{})
	o := s.service("site-firewall", firewall, ``)
	s.ready(o)
	requests := func() int {
		return s.site.CountRequests("GET", "/cluster/firewall/**") + s.site.CountRequests("GET", "/nodes/*/firewall/**")
	}
	s.calm()
	before := requests()
	s.onePass(o, s.node())
	if n := requests(); n > 0 && n != before {
		t.Errorf("a pass that changes nothing asked Proxmox %d times", n)
	}
}

// TestFirewallForeign has rules of somebody else above ours, and what people change by hand.
func TestFirewallForeign(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{options: quickly})
	s.foreign("IN ACCEPT -p tcp -dport 9999 # mine")
	o := s.service("site-firewall", firewall, `deletionPolicy: Delete`)
	s.ready(o)
	s.says(o, "Shadowed", "True ForeignRules", "datacenter", "exclusive: true")
	if diff := cmp.Diff([]string{"datacenter"}, o.Status.Firewall.Shadowed); diff != "" {
		t.Errorf("status.firewall.shadowed (-want +got):\n%s", diff)
	}
	s.change(o, `firewall: {exclusive: true}`)
	s.ready(o)
	top := func() error {
		rules := s.site.Firewall().Cluster.Rules
		if len(rules) < 2 || rules[0].Type != "group" {
			return fmt.Errorf("the datacenter's rules are %+v", rules)
		}
		return nil
	}
	if err := top(); err != nil || condition(o, "Shadowed") != "absent" {
		t.Errorf("%v; Shadowed is %s", err, condition(o, "Shadowed"))
	}
	s.foreign("IN ACCEPT -p tcp -dport 9998 # mine too")
	s.until("ours are above again", top)
	s.ready(o)
	text := file(s.node(), clusterFile)
	if err := s.site.WriteFile("phoenix", clusterFile, strings.Replace(text, "-dport 8006", "-dport 8007", 1)); err != nil {
		t.Fatal(err)
	}
	s.inForce("an edited rule is put back", onCluster, "ACCEPT tcp 8006 from 10.0.0.0/24")
	s.until("what was edited is cleaned away", func() error {
		if groups := s.site.Firewall().Groups; len(groups) != 1 {
			return fmt.Errorf("groups %+v", groups)
		}
		return nil
	})
	s.ready(o)
	s.rest([]*machine.Machine{s.node()}, o)
	s.remove(o)
	s.gone(o)
	rules := s.site.Firewall().Cluster.Rules
	if len(rules) != 2 || rules[0].Comment+rules[1].Comment != "mine toomine" && rules[0].Comment+rules[1].Comment != "minemine too" {
		t.Errorf("the rules of others are %+v", rules)
	}
}

// TestFirewallRollback has rules that cut Phoenix off: the node takes them back, and Phoenix does not try them again.
func TestFirewallRollback(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{options: func(o *controllers.Options) {
		o.HostServiceInterval, o.HostInterval = 300*time.Millisecond, 300*time.Millisecond
	}})
	o := s.service("site-firewall", firewall, ``)
	s.ready(o)
	good := s.site.Firewall().Cluster
	s.change(o, `firewall: {datacenter: {rules: [{action: Drop, protocol: tcp, ports: "22,8006"}]}}`)
	s.inForce("the rules are in force", onCluster, "DROP tcp 22,8006 from")
	s.until("a new connection fails", func() error {
		s.get(o)
		if c := condition(o, "Ready"); strings.HasPrefix(c, "True") || !strings.Contains(c, "CutOff") && !strings.Contains(c, "DependencyNotReady") {
			return errors.New(describe(o))
		}
		return nil
	})
	s.node().Advance(125 * time.Second)
	s.says(o, "Ready", "False RolledBack", "taken back", "change the spec")
	s.kstatus(o, status.FailedStatus)
	s.says(o, "Enforced", "False RolledBack")
	if diff := cmp.Diff(good, s.site.Firewall().Cluster); diff != "" {
		t.Errorf("the old rules are not back (-want +got):\n%s", diff)
	}
	s.site.ForgetRequests()
	looks := s.trips()
	s.until("more looks", func() error { return atLeast(looks+8, s.trips()) })
	if writes := s.writes(); len(writes) > 0 {
		t.Errorf("what was taken back was tried again: %v", writes)
	}
	s.ready(s.host())
	s.change(o, `firewall: {datacenter: {rules: [{action: Accept, macro: SSH}, {action: Accept, protocol: tcp, ports: "8006"}]}}`)
	s.ready(o)
	s.says(o, "Enforced", "True InForce")
}

// TestFirewallObserve only looks.
func TestFirewallObserve(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{options: quickly})
	s.foreign("IN ACCEPT -p tcp -dport 9999 # mine")
	node := s.node()
	s.ready(s.host())
	writes, text := node.Writes(), file(node, clusterFile)
	o := s.service("site-firewall", firewall, `{management: Observe, firewall: {exclusive: true}}`)
	s.says(o, "Ready", "True Drifted")
	s.says(o, "Drifted", "True Drifted")
	var fields []string
	for _, p := range o.Status.Plan {
		fields = append(fields, p.Field)
	}
	for _, want := range []string{"datacenter.rules", "datacenter.enabled"} {
		if !slices.ContainsFunc(fields, func(f string) bool { return strings.HasPrefix(f, want) }) {
			t.Errorf("the plan does not show %s: %+v", want, o.Status.Plan)
		}
	}
	looks := s.trips()
	s.until("more looks", func() error { return atLeast(looks+5, s.trips()) })
	if now := file(node, clusterFile); now != text || node.Writes() != writes || len(s.writes()) > 0 {
		t.Errorf("observing wrote %d times, %v, and the file is now\n%s", node.Writes()-writes, s.writes(), now)
	}
}

// TestFirewallRequiresSSH refuses rules that nothing could take back.
func TestFirewallRequiresSSH(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{site: pve.Options{NoSSH: true}})
	o := s.service("site-firewall", firewall, `deletionPolicy: Delete`)
	s.says(o, "Ready", "", "RequiresSSH", "phoenix", "ssh.nodes")
	s.kstatus(o, status.InProgressStatus)
	if writes := s.writes(); len(writes) > 0 {
		t.Errorf("it wrote %v", writes)
	}
	s.remove(o)
	s.gone(o)
}
