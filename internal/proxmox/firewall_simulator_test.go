// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

var (
	datacenter = proxmox.FirewallLevel{}
	onNode     = proxmox.FirewallLevel{Node: "pve1"}
	onGuest    = proxmox.FirewallLevel{Guest: &proxmox.Ref{Node: "pve1", Type: proxmox.LXC, VMID: 101}}
	inGroup    = proxmox.FirewallLevel{Group: "sg1"}
)

func simulateFirewall(t *testing.T, o pve.Options) site {
	t.Helper()
	o.Nodes = []string{"pve1"}
	o.Guests = []pve.GuestSpec{{VMID: 101, Kind: "lxc", Config: "hostname: a\nnet0: name=eth0,bridge=vmbr0,firewall=1\n"}}
	return simulate(t, o)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s site) rules(t *testing.T, l proxmox.FirewallLevel) ([]proxmox.FirewallRule, string) {
	t.Helper()
	rules, digest, err := s.client.FirewallRules(t.Context(), l)
	must(t, err)
	return rules, digest
}

// TestFirewallLife makes everything that a firewall has, and takes it away.
func TestFirewallLife(t *testing.T) {
	s := simulateFirewall(t, pve.Options{NoSSH: true})
	ctx, c := t.Context(), s.client
	must(t, c.CreateFirewallGroup(ctx, "sg1", "ours"))
	must(t, c.CreateFirewallAlias(ctx, datacenter, proxmox.FirewallAlias{Name: "gw", CIDR: "10.0.0.1/32", Comment: " router "}))
	must(t, c.CreateFirewallIPSet(ctx, datacenter, "web", "entries"))
	must(t, c.AddFirewallIPSetEntry(ctx, datacenter, "web", proxmox.FirewallIPSetEntry{CIDR: "10.1.0.0/16"}))
	must(t, c.AddFirewallIPSetEntry(ctx, datacenter, "web", proxmox.FirewallIPSetEntry{CIDR: "10.1.9.0/24", NoMatch: true, Comment: "but these"}))
	for _, err := range []error{
		c.CreateFirewallGroup(ctx, "sg1", ""), c.CreateFirewallIPSet(ctx, datacenter, "web", ""),
		c.CreateFirewallAlias(ctx, datacenter, proxmox.FirewallAlias{Name: "gw", CIDR: "10.0.0.2"}),
		c.AddFirewallIPSetEntry(ctx, datacenter, "web", proxmox.FirewallIPSetEntry{CIDR: "10.1.0.0/16"}),
	} {
		if !proxmox.IsFirewallExists(err) {
			t.Errorf("once more: %v", err)
		}
	}
	ours := []proxmox.FirewallRule{
		{Type: "in", Action: "ACCEPT", Macro: "ssh", Source: "+web", Comment: "admins", Enabled: true},
		{Type: "in", Action: "ACCEPT", Proto: "tcp", DPort: "80,443", Source: "gw", Log: "info"},
		{Type: "out", Action: "REJECT", Proto: "icmp", ICMPType: "echo-request", Dest: "10.9.0.0/16", Enabled: true},
	}
	for _, rule := range slices.Backward(ours) { // each goes before the last one
		must(t, c.AddFirewallRule(ctx, inGroup, "", 0, rule))
	}
	reference := proxmox.FirewallRule{Type: "group", Action: "sg1", Iface: "net0", Enabled: true}
	must(t, c.AddFirewallRule(ctx, onGuest, proxmox.EmptyFirewallDigest, 0, reference))
	got, _ := s.rules(t, inGroup)
	if !slices.EqualFunc(got, ours, proxmox.FirewallRule.Equal) || got[0].Macro != "SSH" || got[1].IPVersion != 4 {
		t.Errorf("the group's rules are %+v", got)
	}
	if got, _ = s.rules(t, onGuest); !slices.EqualFunc(got, []proxmox.FirewallRule{reference}, proxmox.FirewallRule.Equal) {
		t.Errorf("the guest's rules are %+v", got)
	}
	changed := proxmox.FirewallRule{Type: "in", Action: "DROP"}
	_, digest := s.rules(t, inGroup)
	must(t, c.SetFirewallRule(ctx, inGroup, digest, 0, changed))
	if got, _ = s.rules(t, inGroup); !got[0].Equal(changed) {
		t.Errorf("the changed rule is %+v", got[0])
	}
	entries, digest, err := c.FirewallIPSetEntries(ctx, datacenter, "web")
	must(t, err)
	must(t, c.SetFirewallIPSetEntry(ctx, datacenter, "web", digest, proxmox.FirewallIPSetEntry{CIDR: "10.1.9.0/24"}))
	if after, _, err := c.FirewallIPSetEntries(ctx, datacenter, "web"); err != nil || after[1].NoMatch || !entries[1].NoMatch || after[1].Comment != "" {
		t.Errorf("the changed entry is %+v, %v, before %+v", after, err, entries)
	}
	s.takeFirewallAway(t)
	if diff := cmp.Diff(s.emptyFirewall(), s.Firewall(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
}

// emptyFirewall is a firewall with nothing but its guests.
func (s site) emptyFirewall() pve.FirewallState {
	state := s.Firewall()
	none := pve.FirewallScope{Options: map[string]string{}, Rules: []pve.FirewallRule{}, Aliases: map[string]string{}, Sets: map[string][]pve.FirewallEntry{}}
	state.Cluster, state.Groups, state.Nodes = none, map[string]pve.FirewallGroup{}, map[string]pve.FirewallNode{"pve1": {FirewallScope: none}}
	for vmid, guest := range state.Guests {
		guest.FirewallScope = none
		state.Guests[vmid] = guest
	}
	return state
}

func (s site) takeFirewallAway(t *testing.T) {
	t.Helper()
	ctx, c := t.Context(), s.client
	if err := c.DeleteFirewallGroup(ctx, "sg1"); !proxmox.IsFirewallNotEmpty(err) {
		t.Errorf("deleting a group with rules: %v", err)
	}
	if err := c.DeleteFirewallIPSet(ctx, datacenter, "web"); !proxmox.IsFirewallNotEmpty(err) {
		t.Errorf("deleting a set with entries: %v", err)
	}
	for _, l := range []proxmox.FirewallLevel{onGuest, inGroup} {
		for rules, digest := s.rules(t, l); len(rules) > 0; rules, digest = s.rules(t, l) {
			must(t, c.DeleteFirewallRule(ctx, l, digest, 0))
		}
	}
	must(t, c.DeleteFirewallGroup(ctx, "sg1"))
	entries, _, err := c.FirewallIPSetEntries(ctx, datacenter, "web")
	must(t, err)
	for _, entry := range entries {
		must(t, c.DeleteFirewallIPSetEntry(ctx, datacenter, "web", "", entry.CIDR))
	}
	must(t, c.DeleteFirewallIPSet(ctx, datacenter, "web"))
	aliases, digest, err := c.FirewallAliases(ctx, datacenter)
	must(t, err)
	if want := []proxmox.FirewallAlias{{Name: "gw", CIDR: "10.0.0.1", Comment: "router"}}; !slices.Equal(aliases, want) {
		t.Errorf("the aliases are %+v, want %+v", aliases, want)
	}
	must(t, c.DeleteFirewallAlias(ctx, datacenter, digest, "gw"))
	for _, err := range []error{c.DeleteFirewallGroup(ctx, "sg1"), c.DeleteFirewallIPSet(ctx, datacenter, "web"), c.DeleteFirewallRule(ctx, onGuest, "", 0)} {
		if !proxmox.IsFirewallAbsent(err) {
			t.Errorf("once more: %v", err)
		}
	}
}

func TestFirewallOptionsOfLevels(t *testing.T) {
	s := simulateFirewall(t, pve.Options{NoSSH: true})
	ctx, c := t.Context(), s.client
	for _, tc := range []struct {
		reason string
		level  proxmox.FirewallLevel
		set    map[string]string
		del    []string
		want   map[string]string
	}{
		{"the datacenter's", datacenter, map[string]string{"enable": "1", "policy_in": "DROP"}, nil, map[string]string{"enable": "1", "policy_in": "DROP"}},
		{"switched off, not left out", datacenter, map[string]string{"enable": "0"}, []string{"policy_in"}, map[string]string{"enable": "0"}},
		{"a node's", onNode, map[string]string{"enable": "0", "nf_conntrack_max": "300000"}, nil, map[string]string{"enable": "0", "nf_conntrack_max": "300000"}},
		{"a guest's", onGuest, map[string]string{"macfilter": "0", "dhcp": "1"}, []string{"ipfilter"}, map[string]string{"macfilter": "0", "dhcp": "1"}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			_, digest, err := c.FirewallOptions(ctx, tc.level)
			must(t, err)
			must(t, c.SetFirewallOptions(ctx, tc.level, digest, tc.set, tc.del))
			got, after, err := c.FirewallOptions(ctx, tc.level)
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil || after == digest {
				t.Errorf("%v, digest %s then %s, options (-want +got):\n%s", err, digest, after, diff)
			}
			if err := c.SetFirewallOptions(ctx, tc.level, digest, tc.set, nil); !proxmox.IsConflict(err) {
				t.Errorf("a stale digest: %v", err)
			}
		})
	}
}

// TestFirewallOrder adds and moves a rule to and from every position.
func TestFirewallOrder(t *testing.T) {
	s := simulateFirewall(t, pve.Options{NoSSH: true})
	ctx, c := t.Context(), s.client
	comments := func() string {
		rules, _ := s.rules(t, onNode)
		var out []string
		for _, r := range rules {
			if !r.Enabled {
				t.Errorf("rule %s is disabled", r.Comment)
			}
			out = append(out, r.Comment)
		}
		return strings.Join(out, "")
	}
	rule := func(comment string) proxmox.FirewallRule {
		return proxmox.FirewallRule{Type: "in", Action: "ACCEPT", Proto: "tcp", DPort: "22", Comment: comment, Enabled: true}
	}
	for _, step := range []struct {
		pos           int
		comment, want string
	}{{-1, "a", "a"}, {-1, "c", "ac"}, {1, "b", "abc"}, {0, "0", "0abc"}, {4, "d", "0abcd"}} {
		_, digest := s.rules(t, onNode)
		must(t, c.AddFirewallRule(ctx, onNode, digest, step.pos, rule(step.comment)))
		if got := comments(); got != step.want {
			t.Fatalf("after adding %s at %d: %s, want %s", step.comment, step.pos, got, step.want)
		}
	}
	if err := c.AddFirewallRule(ctx, onNode, "", 6, rule("x")); err == nil || comments() != "0abcd" {
		t.Errorf("adding behind the end: %v", err)
	}
	for from := range 5 {
		for to := range 5 {
			want := []byte(comments())
			moved := want[from]
			want = slices.Insert(slices.Delete(want, from, from+1), to, moved)
			_, digest := s.rules(t, onNode)
			must(t, c.MoveFirewallRule(ctx, onNode, digest, from, to))
			if got := comments(); got != string(want) {
				t.Fatalf("after moving %d to %d: %s, want %s", from, to, got, want)
			}
		}
	}
	for _, err := range []error{
		c.AddFirewallRule(ctx, onNode, strings.Repeat("0", 40), 0, rule("x")),
		c.SetFirewallRule(ctx, onNode, strings.Repeat("0", 40), 0, rule("x")),
		c.MoveFirewallRule(ctx, onNode, strings.Repeat("0", 40), 0, 1),
		c.DeleteFirewallRule(ctx, onNode, strings.Repeat("0", 40), 0),
	} {
		if !proxmox.IsConflict(err) {
			t.Errorf("a stale digest: %v", err)
		}
	}
	if got := comments(); len(got) != 5 {
		t.Errorf("after stale writes: %s", got)
	}
}

// TestFirewallAddInterrupted: whatever breaks while a rule goes to its place,
// none counts that stands elsewhere.
func TestFirewallAddInterrupted(t *testing.T) {
	for _, tc := range []struct {
		reason string
		fault  pve.Fault
		is     func(error) bool
		want   string // comments; small letters are disabled
	}{
		{"before it is added", pve.Fault{Method: "POST", Cut: pve.CutBefore}, proxmox.IsUnreachable, "AB"},
		{"while it is added", pve.Fault{Method: "POST", Cut: pve.CutAfter}, proxmox.IsUnreachable, "xAB"},
		{"before it is moved", pve.Fault{Method: "PUT", Cut: pve.CutBefore}, proxmox.IsUnreachable, "xAB"},
		{"after it is moved", pve.Fault{Method: "PUT", Cut: pve.CutAfter}, proxmox.IsUnreachable, "AxB"},
		{"before it is enabled", pve.Fault{Method: "PUT", From: 2, Status: 500}, func(err error) bool { return err != nil }, "AxB"},
		{"a read is repeated", pve.Fault{Method: "GET", From: 1, To: 2, Cut: pve.CutBefore}, func(err error) bool { return err == nil }, "AXB"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			s := simulateFirewall(t, pve.Options{NoSSH: true})
			rule := proxmox.FirewallRule{Type: "in", Action: "DROP", Enabled: true}
			for _, rule.Comment = range []string{"B", "A"} {
				must(t, s.client.AddFirewallRule(t.Context(), onNode, "", 0, rule))
			}
			tc.fault.Path = "/nodes/pve1/firewall/**"
			remove := s.Inject(tc.fault)
			rule.Comment = "X"
			if err := s.client.AddFirewallRule(t.Context(), onNode, "", 1, rule); !tc.is(err) {
				t.Errorf("AddFirewallRule() = %v", err)
			}
			remove()
			rules, _ := s.rules(t, onNode)
			got := ""
			for _, r := range rules {
				if !r.Enabled {
					r.Comment = strings.ToLower(r.Comment)
				}
				got += r.Comment
			}
			if got != tc.want {
				t.Errorf("the rules are %s, want %s", got, tc.want)
			}
		})
	}
}

// TestFirewallFaults: a write is sent once, and its error says what is known.
func TestFirewallFaults(t *testing.T) {
	writes := map[string]func(context.Context, *proxmox.Client) error{
		"option": func(ctx context.Context, c *proxmox.Client) error {
			return c.SetFirewallOptions(ctx, onNode, "", map[string]string{"enable": "0"}, nil)
		},
		"rule": func(ctx context.Context, c *proxmox.Client) error {
			return c.AddFirewallRule(ctx, datacenter, "", 0, proxmox.FirewallRule{Type: "in", Action: "ACCEPT"})
		},
		"group": func(ctx context.Context, c *proxmox.Client) error { return c.CreateFirewallGroup(ctx, "sg1", "") },
		"set": func(ctx context.Context, c *proxmox.Client) error {
			return c.CreateFirewallIPSet(ctx, onGuest, "web", "")
		},
	}
	for _, tc := range []struct {
		reason string
		fail   func(*pve.Server)
		is     func(error) bool
	}{
		{"a refusal", func(s *pve.Server) { s.Inject(pve.Fault{Status: 500, Reason: "out of memory"}) }, func(err error) bool {
			return err != nil && strings.Contains(err.Error(), "out of memory") && !proxmox.IsUnreachable(err)
		}},
		{"silence", func(s *pve.Server) { s.Inject(pve.Fault{Delay: time.Minute}) }, proxmox.IsUnreachable},
		{"a connection that is cut", func(s *pve.Server) { s.Inject(pve.Fault{Cut: pve.CutBefore}) }, proxmox.IsUnreachable},
		{"a connection that is cut afterwards", func(s *pve.Server) { s.Inject(pve.Fault{Cut: pve.CutAfter}) }, proxmox.IsUnreachable},
		{"a proxy without an answer", func(s *pve.Server) { s.Inject(pve.Fault{Status: 595}) }, proxmox.IsUnreachable},
		{"a token that is unknown", func(s *pve.Server) { s.Inject(pve.Fault{Status: 401, Reason: "Authentication failed!"}) }, proxmox.IsUnauthorized},
		{"no quorum", func(s *pve.Server) { s.SetQuorum(false) }, proxmox.IsNoQuorum},
	} {
		for name, write := range writes {
			t.Run(tc.reason+"/"+name, func(t *testing.T) {
				s := simulateFirewall(t, pve.Options{NoSSH: true})
				tc.fail(s.Server)
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
				if err := write(ctx, s.client); !tc.is(err) {
					t.Errorf("error %v", err)
				}
				if sent := len(s.Writes()); sent != 1 {
					t.Errorf("%d writes were sent, want one", sent)
				}
			})
		}
	}
}

// TestCheckNewConnection cuts the manager off and brings it back.
func TestCheckNewConnection(t *testing.T) {
	s := simulateFirewall(t, pve.Options{TaskTime: 20 * time.Millisecond, ManagerAddress: netip.MustParseAddr("192.0.2.7")})
	ctx, c := t.Context(), s.client
	must(t, c.CheckNewConnection(ctx))
	letIn := proxmox.FirewallRule{Type: "in", Action: "ACCEPT", Proto: "tcp", DPort: "8006,22", Source: "192.0.2.7", Enabled: true}
	must(t, c.AddFirewallRule(ctx, onNode, "", 0, letIn))
	must(t, c.SetFirewallOptions(ctx, datacenter, "", map[string]string{"enable": "1"}, nil))
	s.restartFirewall(t)
	must(t, c.CheckNewConnection(ctx))
	must(t, c.DeleteFirewallRule(ctx, onNode, "", 0))
	s.restartFirewall(t)
	if err := c.CheckNewConnection(ctx); !proxmox.IsUnreachable(err) {
		t.Errorf("a connection that is not let in: %v", err)
	}
	// The connections that are open live on: over them the rule comes back.
	must(t, c.AddFirewallRule(ctx, onNode, "", 0, letIn))
	s.restartFirewall(t)
	must(t, c.CheckNewConnection(ctx))
	s.Inject(pve.Fault{Path: "/version", Status: 401, Reason: "Authentication failed!"})
	if err := c.CheckNewConnection(ctx); !proxmox.IsUnauthorized(err) {
		t.Errorf("a refusal: %v", err)
	}
	wrong := endpoint(s.Server)
	wrong.TLS = endpoint(simulate(t, pve.Options{NoSSH: true}).Server).TLS
	other, err := proxmox.New(wrong)
	must(t, err)
	defer other.Close()
	if err := other.CheckNewConnection(ctx); !proxmox.IsUntrusted(err) {
		t.Errorf("another certificate: %v", err)
	}
}

func (s site) restartFirewall(t *testing.T) {
	t.Helper()
	if out, errs, exit := s.Run(t.Context(), "pve1", "pve-firewall restart"); exit != 0 {
		t.Fatal(fmt.Sprint(exit, out, errs))
	}
}

// FuzzFirewallRule: whatever stands in a rule, it is refused or becomes that one
// rule and nothing else.
func FuzzFirewallRule(f *testing.F) {
	f.Add("ACCEPT", "10.0.0.0/24", "", "22", "tcp", "ssh")
	f.Add("ACCEPT", "", "+web", "", "", "x\nIN ACCEPT")
	f.Add("DROP", "10.0.0.1 -p tcp", "", "", "", "# [group x]")
	f.Add("ACCEPT(DROP)", "", "", "80,443", "tcp", "|")
	f.Add("sg1", "", "", "", "", "$(reboot) `reboot` '\"")
	sim, err := pve.Start(f.Context(), pve.Options{Nodes: []string{"pve1"}, NoSSH: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(sim.Close)
	client, err := proxmox.New(endpoint(sim))
	if err != nil {
		f.Fatal(err)
	}
	s := site{sim, client}
	f.Fuzz(func(t *testing.T, action, source, dest, dport, proto, comment string) {
		rule := proxmox.FirewallRule{
			Type: "in", Action: action, Source: source, Dest: dest, DPort: dport, Proto: proto, Comment: comment, Enabled: true,
		}
		before := s.emptyFirewall()
		err := client.AddFirewallRule(t.Context(), onNode, "", 0, rule)
		rules, digest := s.rules(t, onNode)
		switch {
		case err != nil && len(rules) > 0:
			t.Errorf("refused with %v, and there are %+v", err, rules)
		case err == nil && (len(rules) != 1 || !rules[0].Equal(rule)):
			t.Errorf("%+v became %+v", rule, rules)
		}
		if len(rules) > 0 {
			must(t, client.DeleteFirewallRule(t.Context(), onNode, digest, 0))
		}
		if diff := cmp.Diff(before, s.Firewall(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("the firewall changed (-want +got):\n%s", diff)
		}
	})
}
