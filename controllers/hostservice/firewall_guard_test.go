// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/hostservice"
	"github.com/phoenix-hypervisor/phoenix/internal/firewall"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// lockOut is a rule that cuts Phoenix off.
func lockOut(s *v1alpha1.HostServiceSpec) {
	s.Firewall.Datacenter.Rules = append([]v1alpha1.FirewallRule{{Action: v1alpha1.FirewallDrop, Protocol: "tcp", Ports: "22,8006"}},
		s.Firewall.Datacenter.Rules...)
}

// TestRollback: rules that cut Phoenix off are taken back by the node, and not tried again until the spec is another one.
func TestRollback(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	w.declare(site)
	w.ready()
	good := w.sim.Firewall().Cluster
	w.declare(lockOut)
	w.until("a new connection fails", fwBecause(hostservice.FirewallCutOffReason))
	if got := len(w.group(w.sim.Firewall().Cluster.Rules)); got != 3 {
		t.Fatalf("the rules are not in force: %d", got)
	}
	w.sim.Machine("phoenix").Advance((firewall.GuardSeconds + 2) * time.Second)
	w.until("it was taken back", fwBecause(hostservice.FirewallRolledBackReason))
	if c := w.condition(v1alpha1.StalledCondition); c == nil || c.Status != metav1.ConditionTrue {
		t.Errorf("Stalled: %+v", c)
	}
	for _, part := range []string{"rules of datacenter", "/var/lib/phoenix/firewall-"} {
		if !strings.Contains(w.message(), part) {
			t.Errorf("the message names %q: %q", part, w.message())
		}
	}
	if diff := cmp.Diff(good, w.sim.Firewall().Cluster); diff != "" {
		t.Errorf("the old rules are not back: %s", diff)
	}
	writes := len(w.sim.Writes())
	w.restart()
	for range 5 {
		w.pass()
	}
	if now := w.sim.Writes(); len(now) != writes || !fwBecause(hostservice.FirewallRolledBackReason)(w.get()) {
		t.Errorf("it was tried again: %+v", now[writes:])
	}
	w.declare(func(s *v1alpha1.HostServiceSpec) { s.Firewall.Datacenter.Rules = s.Firewall.Datacenter.Rules[1:] })
	w.ready()
	w.declare(func(s *v1alpha1.HostServiceSpec) { s.Firewall.Datacenter.Rules[0].Comment = "ssh for us" })
	w.ready()
	if _, err := w.sim.Machine("phoenix").ReadFile(firewall.RolledBackFile(fwOwner)); err == nil {
		t.Error("what was taken back is remembered for ever")
	}
}

// TestManagerDiesUnconfirmed: a manager that dies with rules unconfirmed is followed by one that confirms them, or by a
// rollback.
func TestManagerDiesUnconfirmed(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	w.declare(site)
	w.unconfirmed()
	w.restart()
	w.ready()

	w.declare(func(s *v1alpha1.HostServiceSpec) {
		s.Firewall.Datacenter.Rules = append(s.Firewall.Datacenter.Rules, accept("25"))
	})
	w.unconfirmed()
	w.declare(func(s *v1alpha1.HostServiceSpec) {
		s.Firewall.Datacenter.Rules = append(s.Firewall.Datacenter.Rules, accept("26"))
	})
	w.restart()
	w.ready() // the older change is confirmed first
	if got := len(w.group(w.sim.Firewall().Cluster.Rules)); got != 4 {
		t.Errorf("want 4 rules, got %d", got)
	}

	w.declare(func(s *v1alpha1.HostServiceSpec) {
		s.Firewall.Datacenter.Rules = append(s.Firewall.Datacenter.Rules, accept("27"))
	})
	w.unconfirmed()
	w.longAway()
	w.restart()
	w.events()
	w.ready()
	if got := w.events(); !strings.Contains(got, "nobody was there to confirm it: try again (2 of 3)") {
		t.Errorf("nobody was told of the rollback:\n%s", got)
	}
	if got := len(w.group(w.sim.Firewall().Cluster.Rules)); got != 5 {
		t.Errorf("want 5 rules, got %d", got)
	}
	if _, err := w.node().ReadFile(firewall.RolledBackFile(fwOwner)); err == nil {
		t.Error("a rollback that nobody saw is remembered")
	}
}

func (w *fwWorld) node() *machine.Machine { return w.sim.Machine("phoenix") }

// armed says whether the node waits to take something back.
func (w *fwWorld) armed() bool {
	_, err := w.node().ReadFile("/var/lib/phoenix/firewall-" + firewall.ID(fwOwner) + ".armed/content")
	return err == nil
}

// longAway lets the time pass in which a change has to be confirmed, and waits until it is taken back.
func (w *fwWorld) longAway() {
	w.t.Helper()
	w.node().Advance((firewall.GuardSeconds + 2) * time.Second)
	for deadline := time.Now().Add(fwPatience); w.armed(); {
		if time.Now().After(deadline) {
			w.t.Fatal("the node took nothing back")
		}
		<-time.After(time.Millisecond)
	}
}

// unconfirmed waits until new rules are in place, and a node waits to take them back.
func (w *fwWorld) unconfirmed() {
	w.t.Helper()
	w.slow.Store(true)
	defer w.slow.Store(false)
	w.until("rules wait for their confirmation", func(s *v1alpha1.HostService) bool {
		return w.armed() && fwBecause(hostservice.FirewallUnconfirmedReason)(s) && strings.Contains(w.message(), "not in force on node")
	})
}

// shutOut says that with the rules in place a new connection does not succeed.
func (w *fwWorld) shutOut(s *v1alpha1.HostService) bool {
	return w.armed() && fwBecause(hostservice.FirewallCutOffReason)(s)
}

// TestManagerSleeps: a process that slept through the two minutes did not try to get in, and tries again.
func TestManagerSleeps(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	w.declare(site)
	w.unconfirmed()
	w.longAway()
	w.ready()
}

// TestManagerDiesTimeAndAgain: a manager that dies of the rules does not put them in force for ever.
func TestManagerDiesTimeAndAgain(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	w.declare(site)
	for range firewall.MaxAttempts {
		w.unconfirmed()
		w.longAway()
		w.restart()
	}
	for range 2 {
		w.until("it was taken back for good", fwBecause(hostservice.FirewallRolledBackReason))
		if c := w.condition(v1alpha1.StalledCondition); c == nil || c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "3 times nobody was there") {
			t.Errorf("Stalled: %+v", c)
		}
		w.restart()
	}
	if got := w.sim.Firewall(); got.Cluster.Options["enable"] == "1" || len(got.Cluster.Rules) != 0 {
		t.Errorf("the rules are in force: %+v", got.Cluster)
	}
	w.declare(func(s *v1alpha1.HostServiceSpec) { s.Firewall.Datacenter.PolicyIn = v1alpha1.FirewallReject })
	w.ready()
}

// TestCuttingRuleOfDeadManager: rules that cut Phoenix off are judged by the process that put them in force itself.
func TestCuttingRuleOfDeadManager(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	w.declare(site)
	w.ready()
	w.declare(lockOut)
	w.unconfirmed()
	w.restart()
	// The new process meets the rules at its first read, or at the proof if they come in force in between.
	w.until("a new connection fails", func(s *v1alpha1.HostService) bool { return w.shutOut(s) || fwBecause(v1alpha1.FailedReason)(s) })
	w.longAway()
	w.until("a new connection fails again", w.shutOut)
	w.longAway()
	w.until("it was taken back", fwBecause(hostservice.FirewallRolledBackReason))
	w.restart()
	w.until("it stays so", fwBecause(hostservice.FirewallRolledBackReason))
	if !strings.Contains(w.message(), "no new connection to the API and SSH") {
		t.Error(w.message())
	}
}

// TestNewSpecUnconfirmed: a change that comes while another one is not confirmed yet gets a guard of its own.
func TestNewSpecUnconfirmed(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	w.declare(site)
	w.unconfirmed()
	w.declare(func(s *v1alpha1.HostServiceSpec) { s.Firewall.Datacenter.PolicyIn = v1alpha1.FirewallReject })
	w.ready()
	got := w.events()
	if strings.Count(got, hostservice.FirewallArmingReason) != 2 || strings.Count(got, hostservice.FirewallConfirmingReason) != 2 {
		t.Errorf("want two changes, each armed and confirmed:\n%s", got)
	}
}

// TestNodeOffline: the groups that an absent node's rules refer to stay until it is back.
func TestNodeOffline(t *testing.T) {
	w := newFWWorld(t, pve.Options{Nodes: []string{"phoenix", "pve2"}}, fwGuest("nginx", 101, "10.0.0.153"))
	w.declare(func(s *v1alpha1.HostServiceSpec) {
		site(s)
		s.Firewall.Nodes = append(s.Firewall.Nodes, v1alpha1.FirewallNode{Name: "pve2", Rules: []v1alpha1.FirewallRule{accept("9200")}})
	})
	w.ready()
	w.online("pve2", false)
	w.declare(func(s *v1alpha1.HostServiceSpec) { s.Firewall.Nodes[1].Rules = []v1alpha1.FirewallRule{accept("9300")} })
	w.until("the node is waited for", func(s *v1alpha1.HostService) bool {
		return fwBecause(hostservice.FirewallUnconfirmedReason)(s) && strings.Contains(w.message(), "node pve2 is offline")
	})
	if err := whole(w.sim.Firewall()); err != nil {
		t.Error(err)
	}
	if err := w.client.Delete(t.Context(), w.get()); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		w.pass()
	}
	if w.get() == nil || whole(w.sim.Firewall()) != nil {
		t.Fatal("a group went that an absent node's rules refer to")
	}
	w.online("pve2", true)
	w.until("it is gone", func(s *v1alpha1.HostService) bool { return s == nil })
	if state := w.sim.Firewall(); len(state.Groups)+len(state.Nodes["pve2"].Rules) != 0 {
		t.Errorf("something is left: %+v", state)
	}
}

// TestNodeRestartsUnconfirmed: the timer goes with a restart of the node; the copies do not.
func TestNodeRestartsUnconfirmed(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	w.declare(site)
	w.unconfirmed()
	w.sim.Machine("phoenix").Halt()
	w.sim.Machine("phoenix").Boot()
	w.ready()
}

// whole fails when a reference of ours that counts leads to a group that is not complete.
func whole(s pve.FirewallState) error {
	check := func(level string, rules []pve.FirewallRule) error {
		for _, r := range rules {
			if r.Type != "group" || !r.Enable || !strings.HasPrefix(r.Action, firewall.Prefix(fwOwner)) {
				continue
			}
			var content []firewall.Rule
			for _, c := range s.Groups[r.Action].Rules {
				content = append(content, firewall.Rule{Type: c.Type, Action: c.Action, Macro: c.Macro, Proto: c.Proto, Source: c.Source, Dest: c.Dest,
					SPort: c.SPort, DPort: c.DPort, ICMPType: c.ICMPType, Log: c.Log, Comment: c.Comment, Enable: c.Enable})
			}
			if firewall.GroupName(fwOwner, content, 0) != r.Action {
				return fmt.Errorf("%s refers to %s, which holds %+v", level, r.Action, content)
			}
		}
		return nil
	}
	err := check("datacenter", s.Cluster.Rules)
	for name, n := range s.Nodes {
		if e := check(name, n.Rules); e != nil {
			err = e
		}
	}
	for vmid, g := range s.Guests {
		e := check(fmt.Sprint(vmid), g.Rules)
		if e == nil && g.Options["enable"] == "1" && len(g.Rules) == 0 {
			e = fmt.Errorf("guest %d filters without rules", vmid)
		}
		if e != nil {
			err = e
		}
	}
	return err
}

// TestEveryWriteFails: whatever happens to any one write, to the API or on the node, and with a manager that starts anew, it
// ends where it was to end, and no level was without its rules meanwhile.
func TestEveryWriteFails(t *testing.T) {
	faults := []struct {
		reason string
		fault  pve.Fault
	}{
		{"refused", pve.Fault{Status: 500, Reason: "something broke"}},
		{"cut before", pve.Fault{Cut: pve.CutBefore}},
		{"cut after", pve.Fault{Cut: pve.CutAfter}},
		{"unauthorized", pve.Fault{Status: 401, Reason: "permission denied - invalid PVE ticket"}},
		{"changed by somebody", pve.Fault{Status: 500, Reason: "detected modified configuration - file changed by other user? Try again."}},
		{"no quorum", pve.Fault{Status: 500, Reason: "cfs-lock 'file-firewall' error: no quorum!"}},
	}
	for _, f := range faults {
		for _, method := range []string{"POST", "PUT", "DELETE"} {
			t.Run(f.reason+" "+method, func(t *testing.T) {
				t.Parallel()
				everyWriteFails(t, f.fault, method)
			})
		}
	}
}

func everyWriteFails(t *testing.T, fault pve.Fault, method string) {
	t.Helper()
	var mu sync.Mutex
	var broken error
	var sim *pve.Server
	w := newFWWorld(t, pve.Options{OnFirewall: func() {
		mu.Lock()
		defer mu.Unlock()
		if sim != nil && broken == nil {
			broken = whole(sim.Firewall())
		}
	}}, fwGuest("nginx", 101, "10.0.0.153"))
	mu.Lock()
	sim = w.sim
	mu.Unlock()
	specs := []func(*v1alpha1.HostServiceSpec){site, func(s *v1alpha1.HostServiceSpec) {
		s.Firewall.Datacenter.Rules = append(s.Firewall.Datacenter.Rules, accept("25"))
		s.Firewall.Datacenter.IPSets[0].Entries = s.Firewall.Datacenter.IPSets[0].Entries[:1]
		s.Firewall.Guests[0].Rules = append(s.Firewall.Guests[0].Rules, accept("80"))
	}}
	for _, spec := range specs {
		w.declare(spec)
		for n := 1; n < 3000 && !fwReady(w.get()); n++ {
			one := fault
			one.Method, one.From, one.To = method, 1+n%3, 1+n%3
			remove := w.sim.Inject(one)
			for range 3 {
				w.pass()
			}
			remove()
			if n%3 == 0 {
				w.restart()
			}
		}
		w.ready()
	}
	struck := fault.Cut == pve.CutAfter || slices.ContainsFunc(w.sim.Requests(), func(r pve.Request) bool { return r.Method == method && r.IsWrite() && r.Status != 200 })
	if !struck {
		t.Errorf("no %s failed", method)
	}
	mu.Lock()
	defer mu.Unlock()
	if broken != nil {
		t.Error(broken)
	}
}

// TestSSHBreaks: a connection that breaks before, during or after any script leaves nothing behind.
func TestSSHBreaks(t *testing.T) {
	for _, cut := range []machine.Cut{machine.CutBefore, machine.CutDuring, machine.CutAfter} {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
			w.declare(site)
			broke := 0
			for n := 0; n < 40 && !fwReady(w.get()); n++ {
				remove := w.sim.Machine("phoenix").Cut("sh", 1, cut)
				w.pass()
				remove()
				if strings.Contains(w.message(), machine.ErrCut.Error()) {
					broke++
				}
				w.pass()
			}
			w.ready()
			if broke == 0 {
				t.Error("no connection broke")
			}
		})
	}
}

// TestNoSSH: without SSH nothing could take a change back.
func TestNoSSH(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	w.blind.Store(true)
	w.declare(site)
	w.until("SSH is asked for", fwBecause(hostservice.FirewallRequiresSSHReason))
	if len(w.sim.Writes()) != 0 || !strings.Contains(w.message(), "ssh.nodes") {
		t.Errorf("message %q, writes %v", w.message(), w.sim.Writes())
	}
	w.blind.Store(false)
	w.ready()
}

// TestCluster: every node is ready to take a change of the site back.
func TestCluster(t *testing.T) {
	nodes := []string{"phoenix", "pve2", "pve3"}
	w := newFWWorld(t, pve.Options{Nodes: nodes}, fwGuest("nginx", 101, "10.0.0.153"))
	w.declare(func(s *v1alpha1.HostServiceSpec) {
		site(s)
		s.Firewall.Nodes = append(s.Firewall.Nodes, v1alpha1.FirewallNode{Name: "pve3", Rules: []v1alpha1.FirewallRule{accept("9100")}})
	})
	w.ready()
	w.declare(lockOut)
	w.until("a new connection fails", fwBecause(hostservice.FirewallCutOffReason))
	for _, n := range slices.Backward(nodes) {
		w.sim.Machine(n).Advance((firewall.GuardSeconds + 2) * time.Second)
	}
	w.until("it was taken back", fwBecause(hostservice.FirewallRolledBackReason))
	if got := len(w.group(w.sim.Firewall().Cluster.Rules)); got != 2 {
		t.Errorf("want the 2 rules of before, got %d", got)
	}
}

// TestNodeRestartsLockedOut: who is locked out may well pull the plug. The old rules come back nevertheless, with nobody's
// help.
func TestNodeRestartsLockedOut(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	w.declare(site)
	w.ready()
	good := w.sim.Firewall().Cluster
	w.declare(lockOut)
	w.until("a new connection fails", w.shutOut)
	w.node().Halt()
	w.node().Boot()
	w.longAway()
	if diff := cmp.Diff(good, w.sim.Firewall().Cluster); diff != "" {
		t.Errorf("the old rules are not back: %s", diff)
	}
	if files := w.units(); files != "" {
		t.Errorf("the node keeps %s", files)
	}
}

// units are the files of units that the node keeps of ours.
func (w *fwWorld) units() string {
	w.t.Helper()
	var out bytes.Buffer
	w.node().Shell(w.t.Context(), "ls /etc/systemd/system /etc/systemd/system/multi-user.target.wants | grep phoenix-", nil, &out, &out)
	return out.String()
}

// TestNodeComesLate: a node that was not there when a change began would put back the new rules, and is not asked to.
func TestNodeComesLate(t *testing.T) {
	w := newFWWorld(t, pve.Options{Nodes: []string{"phoenix", "pve2"}}, fwGuest("nginx", 101, "10.0.0.153"))
	w.declare(site)
	w.ready()
	good := w.sim.Firewall().Cluster
	w.online("pve2", false)
	w.declare(lockOut)
	w.until("a new connection fails", w.shutOut)
	w.online("pve2", true)
	for range 20 {
		w.pass()
		<-time.After(5 * time.Millisecond)
	}
	if text, err := w.sim.Machine("pve2").ReadFile("/var/lib/phoenix/firewall-" + firewall.ID(fwOwner) + ".armed/content"); err == nil {
		t.Errorf("pve2 will put back the new rules: %s", text)
	}
	w.longAway()
	w.until("it was taken back", fwBecause(hostservice.FirewallRolledBackReason))
	if diff := cmp.Diff(good, w.sim.Firewall().Cluster); diff != "" {
		t.Errorf("the old rules are not back: %s", diff)
	}
}

// TestRollbackKeepsOptions: what options were before is not forgotten with what was taken back.
func TestRollbackKeepsOptions(t *testing.T) {
	w := newFWWorld(t, pve.Options{}, fwGuest("nginx", 101, "10.0.0.153"))
	if err := w.api.SetFirewallOptions(t.Context(), proxmox.FirewallLevel{}, "", map[string]string{"policy_in": "ACCEPT"}, nil); err != nil {
		t.Fatal(err)
	}
	w.declare(site)
	w.ready()
	w.declare(lockOut)
	w.until("a new connection fails", w.shutOut)
	w.longAway()
	w.until("it was taken back", fwBecause(hostservice.FirewallRolledBackReason))
	w.declare(func(s *v1alpha1.HostServiceSpec) { s.Firewall.Datacenter.Rules = s.Firewall.Datacenter.Rules[1:] })
	w.ready()
	w.restart()
	if err := w.client.Delete(t.Context(), w.get()); err != nil {
		t.Fatal(err)
	}
	w.until("it is gone", func(s *v1alpha1.HostService) bool { return s == nil })
	if diff := cmp.Diff(map[string]string{"policy_in": "ACCEPT"}, w.sim.Firewall().Cluster.Options); diff != "" {
		t.Errorf("the options are not what they were: %s", diff)
	}
}

// TestTimerOfOldSpec: a new spec does not leave an older change without its way back.
func TestTimerOfOldSpec(t *testing.T) {
	w := newFWWorld(t, pve.Options{Nodes: []string{"phoenix", "pve2"}}, fwGuest("nginx", 101, "10.0.0.153"))
	w.declare(site)
	w.ready()
	w.declare(lockOut)
	w.until("a new connection fails", w.shutOut)
	for _, n := range w.nodes {
		w.sim.Machine(n).Halt()
		w.sim.Machine(n).Boot()
	}
	w.declare(func(s *v1alpha1.HostServiceSpec) { s.Firewall.Datacenter.PolicyIn = v1alpha1.FirewallReject })
	w.until("a new connection fails again", w.shutOut)
	w.longAway()
	if got := len(w.group(w.sim.Firewall().Cluster.Rules)); got != 2 {
		t.Errorf("want the 2 rules of before, got %d", got)
	}
}

// TestNoFileSystem: while Proxmox's file system is not there, nothing is taken for absent.
func TestNoFileSystem(t *testing.T) {
	m := machine.New(machine.Options{})
	m.Boot()
	play := func(script string) int {
		return m.Shell(t.Context(), script, nil, io.Discard, io.Discard)
	}
	change := firewall.Change{Token: "t", Session: "s", Attempt: 1}
	arm := firewall.ArmScript(fwOwner, change, []string{"firewall/cluster.fw"}, true)
	play("mkdir -p /etc/pve")
	if play(arm) == 0 || play(firewall.LookScript(fwOwner)) == 0 {
		t.Error("an empty folder is taken for the firewall's")
	}
	if play("mkdir -p /etc/pve/nodes /etc/pve/firewall") != 0 || play(arm) != 0 || play("mv /etc/pve /etc/away; mkdir /etc/pve; echo x > /etc/away/firewall/cluster.fw") != 0 {
		t.Fatal("not armed")
	}
	m.Advance((firewall.GuardSeconds + 2) * time.Second)
	for n := 0; play("journalctl | grep -q 'Failed with result'") != 0; n++ {
		if n > 1000 {
			t.Fatal("nothing is said of what could not be put back")
		}
		<-time.After(time.Millisecond)
	}
	if play("test -d /var/lib/phoenix/firewall-*.armed") != 0 {
		t.Fatal("the copies are gone, and nothing was put back")
	}
	if play("rmdir /etc/pve; mv /etc/away /etc/pve") != 0 || play(firewall.RearmScript(fwOwner, "s2")) != 0 {
		t.Fatal("not armed again")
	}
	m.Advance((firewall.GuardSeconds + 2) * time.Second)
	for n := 0; play("test -d /var/lib/phoenix/firewall-*.armed") == 0; n++ {
		if n > 1000 {
			t.Fatal("nothing was put back")
		}
		<-time.After(time.Millisecond)
	}
	if play("test -f /etc/pve/firewall/cluster.fw") == 0 || play("grep '^t s2 1 open' /var/lib/phoenix/firewall-*.rolledback") != 0 {
		t.Error("it was not put back, or not in the name of who armed it last")
	}
}
