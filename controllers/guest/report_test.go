// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func static(s *v1alpha1.GuestSpec) {
	s.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.10/24"}}}
}

func agent(s *v1alpha1.GuestSpec) { s.Agent = ptr(true) }

func having(texts ...string) func(*Seen) {
	return func(s *Seen) {
		i := proxmox.Interface{Name: "eth0"}
		for _, text := range texts {
			i.Addresses = append(i.Addresses, netip.MustParsePrefix(text))
		}
		s.interfaces = []proxmox.Interface{i}
	}
}

func all(edits ...func(*Seen)) func(*Seen) {
	return func(s *Seen) {
		for _, edit := range edits {
			edit(s)
		}
	}
}

func enabled(s *Seen) { s.status.AgentEnabled = true }
func silent(s *Seen)  { s.status.AgentEnabled, s.silent = true, true }

// TestReachable: when a guest that runs can be reached, by which addresses, and whether Ready waits for that.
func TestReachable(t *testing.T) {
	cases := []struct {
		reason    string
		typ       v1alpha1.GuestType
		spec      func(*v1alpha1.GuestSpec)
		seen      func(*Seen)
		want      string
		addresses []string
		waits     string // what the wait says; "" for none
	}{
		{"a container with its declared address; loopback and link-local ones are left out", ct, static,
			having("127.0.0.1/8", "fe80::1/64", "fd00::5/64", "10.0.0.10/24", "10.0.0.10/24"), "True AddressKnown", []string{"10.0.0.10", "fd00::5"}, ""},
		{"a container with another address", ct, static, having("10.0.0.99/24"), "False NoAddress", []string{"10.0.0.99"}, "the guest does not have the address 10.0.0.10"},
		{"a container with an address from DHCP", ct, nil, having("10.0.0.99/24"), "True AddressKnown", []string{"10.0.0.99"}, ""},
		{"a container without one yet: nothing declared, nothing waits", ct, nil, nil, "False NoAddress", nil, ""},
		{"a VM with an agent that answers", vm, agent, all(enabled, having("10.0.0.7/24")), "True AddressKnown", []string{"10.0.0.7"}, ""},
		{"a VM with an agent that answers, and has no address yet", vm, agent, all(enabled, having("127.0.0.1/8")), "False NoAddress", nil, "the guest has no address"},
		{"a VM with an agent that does not answer", vm, agent, silent, "False AgentAbsent", nil, "the guest agent does not answer: install qemu-guest-agent in the VM or in its template"},
		{"an agent that waits for a restart", vm, agent, nil, "False NoAgent", nil, "without a guest agent or a static address it is not known how to reach the VM"},
		{"a VM without an agent and with a declared address: it is taken for granted", vm, static, nil, "True AddressKnown", []string{"10.0.0.10"}, ""},
		{"the same where the template's agent is not installed", vm, static, silent, "True AddressKnown", []string{"10.0.0.10"}, ""},
		{"the same where the template's agent answers something else", vm, static, all(enabled, having("10.0.0.99/24")), "False NoAddress", []string{"10.0.0.99"}, "the guest does not have the address 10.0.0.10"},
		{"a VM with neither: it is not known how to reach it, and nothing waits", vm, nil, nil, "False NoAgent", nil, ""},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			seen := presentSeen(c.typ, nil)
			seen.now, seen.status.Running, seen.status.Uptime = noon, true, time.Minute
			if c.seen != nil {
				c.seen(&seen)
			}
			g := newGuest(c.typ, c.spec)
			conditions := new(Kind).Report(g, seen)
			if got := string(conditions[1].Status) + " " + conditions[1].Reason; got != c.want {
				t.Errorf("Reachable: want %s, got %s", c.want, got)
			}
			if diff := cmp.Diff(c.addresses, g.Status.Addresses, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
			if got := seen.awaitAnswer(g); fmt.Sprint(got) != c.waits && (got != nil || c.waits != "") {
				t.Errorf("want a wait that says %q, got %v", c.waits, got)
			}
		})
	}
}

// TestInnerAddresses: what an engine in a guest makes is not an address of the guest's.
func TestInnerAddresses(t *testing.T) {
	const mac = "bc:24:11:00:00:01"
	for _, c := range []struct {
		reason string
		names  []string // of interfaces with the addresses 10.0.0.1, 10.0.0.2 and so on
		macs   map[string]string
		want   []string
	}{
		{"the bridges of Docker and the ends of its containers", []string{"docker0", "br-0123456789ab", "docker_gwbridge", "vethab12cd3", "eth0"}, nil, []string{"10.0.0.5"}},
		{"those of other engines", []string{"podman0", "cni-podman0", "cni0", "virbr0", "lxcbr0", "lxdbr0", "incusbr0", "eth0"}, nil, []string{"10.0.0.8"}},
		{"what people make stays", []string{"br0", "br-lan", "bond0", "eth0.10", "wg0", "tailscale0"}, nil, []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"}},
		{"an interface of the configuration may have any name", []string{"veth0", "veth1"}, map[string]string{"veth1": mac}, []string{"10.0.0.2"}},
		{"an engine alone is no address", []string{"docker0"}, nil, nil},
	} {
		seen := presentSeen(ct, nil)
		seen.now, seen.status.Running = noon, true
		seen.config.Values["net0"] = "name=eth0,bridge=vmbr0,hwaddr=" + strings.ToUpper(mac)
		for n, name := range c.names {
			address := netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/24", n+1))
			seen.interfaces = append(seen.interfaces, proxmox.Interface{Name: name, MAC: c.macs[name], Addresses: []netip.Prefix{address}})
		}
		g := newGuest(ct, nil)
		new(Kind).Report(g, seen)
		if diff := cmp.Diff(c.want, g.Status.Addresses, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}

// TestReachableNamesAddresses: a change of any address shows in the condition, for that is what wakes dependents.
func TestReachableNamesAddresses(t *testing.T) {
	cases := []struct {
		reason string
		typ    v1alpha1.GuestType
		spec   func(*v1alpha1.GuestSpec)
		seen   func(*Seen)
		want   string
	}{
		{"one from DHCP", ct, nil, having("10.0.0.7/24"), "the guest has the address 10.0.0.7"},
		{"several", ct, nil, having("10.0.0.7/24", "fd00::7/64", "fe80::1/64"), "the guest has the addresses 10.0.0.7, fd00::7"},
		{"the declared one comes first", ct, static, having("fd00::7/64", "10.0.0.10/24"), "the guest has the addresses 10.0.0.10, fd00::7"},
		{"a declared one that is taken for granted", vm, static, nil, "the guest has the address 10.0.0.10"},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			seen := presentSeen(c.typ, nil)
			seen.now, seen.status.Running = noon, true
			if c.seen != nil {
				c.seen(&seen)
			}
			if got := new(Kind).Report(newGuest(c.typ, c.spec), seen)[1].Message; got != c.want {
				t.Errorf("want %q, got %q", c.want, got)
			}
		})
	}
}

const absentAgent = "the guest agent does not answer: install qemu-guest-agent in the VM or in its template"

// TestAwaitAnswer: how long a start is waited for.
func TestAwaitAnswer(t *testing.T) {
	reachable := func(status metav1.ConditionStatus, at time.Time) []metav1.Condition {
		return []metav1.Condition{{Type: v1alpha1.ReachableCondition, Status: status, LastTransitionTime: metav1.NewTime(at)}}
	}
	cases := []struct {
		reason string
		edit   func(*v1alpha1.Guest, *Seen)
		want   string
	}{
		{"it was just started", nil, absentAgent},
		{"it was never reached for ten minutes", func(_ *v1alpha1.Guest, s *Seen) { s.status.Uptime = 11 * time.Minute },
			"VM 103 runs for more than 10m0s: " + absentAgent},
		{"it was off before", func(g *v1alpha1.Guest, _ *Seen) {
			g.Status.Conditions = reachable(metav1.ConditionFalse, noon.Add(-2*time.Minute))
		}, absentAgent},
		{"it was reached since its start, and lost", func(g *v1alpha1.Guest, _ *Seen) {
			g.Status.Conditions = reachable(metav1.ConditionFalse, noon.Add(-10*time.Second))
		}, ""},
		{"it was reached until now", func(g *v1alpha1.Guest, _ *Seen) {
			g.Status.Conditions = reachable(metav1.ConditionTrue, noon.Add(-30*time.Second))
			g.Status.StartedAt = ptr(metav1.NewTime(noon.Add(-time.Minute)))
		}, ""},
		{"it was reached before somebody restarted it", func(g *v1alpha1.Guest, _ *Seen) {
			g.Status.Conditions = reachable(metav1.ConditionTrue, noon.Add(-time.Hour))
			g.Status.StartedAt = ptr(metav1.NewTime(noon.Add(-time.Hour)))
		}, absentAgent},
		{"it should be off", func(g *v1alpha1.Guest, _ *Seen) { g.Spec.Power = v1alpha1.PowerStopped }, ""},
		{"it is a template", func(_ *v1alpha1.Guest, s *Seen) { s.template = true }, ""},
		{"it is off", func(_ *v1alpha1.Guest, s *Seen) { s.status.Running = false }, ""},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			seen := presentSeen(vm, nil)
			seen.now, seen.status = noon, proxmox.Status{Running: true, Uptime: time.Minute, AgentEnabled: true}
			seen.silent = true
			g := newGuest(vm, agent)
			if c.edit != nil {
				c.edit(g, &seen)
			}
			got := ""
			if err := seen.awaitAnswer(g); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("want %q, got %q", c.want, got)
			}
		})
	}
}

// TestReportFacts: the status holds facts, and nothing that changes by itself.
func TestReportFacts(t *testing.T) {
	seen := presentSeen(ct, config{"net0": "name=eth0,bridge=vmbr0,hwaddr=bc:24:11:00:00:01", "net31": "name=eth31,bridge=vmbr0", "net5": "x"})
	seen.now, seen.status = noon, proxmox.Status{Running: true, Uptime: time.Hour}
	seen.pending = []proxmox.PendingChange{{Key: "mp0"}, {Key: "arch"}}
	g := newGuest(ct, nil)
	k := new(Kind)
	k.Report(g, seen)
	want := v1alpha1.GuestStatus{
		VMID: ptr(int32(103)), Node: "phoenix", Power: v1alpha1.PowerRunning, StartedAt: ptr(metav1.NewTime(noon.Add(-time.Hour))),
		Networks:       []v1alpha1.GuestNetwork{{Device: "net0", MAC: "BC:24:11:00:00:01"}, {Device: "net31"}},
		PendingRestart: []string{"arch", "mp0"},
	}
	if diff := cmp.Diff(want, g.Status, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	before := g.Status.DeepCopy()
	seen.now, seen.status.Uptime = noon.Add(time.Minute), time.Hour+time.Minute-7*time.Second
	k.Report(g, seen)
	if diff := cmp.Diff(*before, g.Status); diff != "" {
		t.Errorf("a minute later (-want +got):\n%s", diff)
	}
	seen.status.Uptime = time.Second
	if k.Report(g, seen); !g.Status.StartedAt.After(noon) {
		t.Errorf("it was started again: got %v", g.Status.StartedAt)
	}
	if got := k.Report(g, Seen{}); got != nil || g.Status.Node != "phoenix" {
		t.Errorf("what was not looked at stays: got %v, %v", got, g.Status)
	}
	seen.status = proxmox.Status{}
	if k.Report(g, seen); g.Status.Power != v1alpha1.PowerStopped || g.Status.StartedAt != nil || g.Status.PendingRestart != nil {
		t.Errorf("it is off: got %v", g.Status)
	}
	k.Report(g, absentSeen())
	if diff := cmp.Diff(v1alpha1.GuestStatus{VMID: ptr(int32(103))}, g.Status); diff != "" {
		t.Errorf("it is gone, its VMID stays reserved (-want +got):\n%s", diff)
	}
}

// TestJudge: whose a guest is.
func TestJudge(t *testing.T) {
	line := func(o owner, vmid int) string { return mark{owner: o, vmid: vmid, slots: []string{"net0"}}.line() }
	other := owner{id: "other/site", guest: "lab/web"}
	cases := []struct {
		reason, description, tags string
		want                      claim
		names                     string
	}{
		{"nobody's", "Hello", "web", unmarked, ""},
		{"ours", "Hello\n\n" + line(testOwner, 103) + "\n", "", ours, ""},
		{"ours, with another's tag: the line decides", line(testOwner, 103), "phoenix-000000000000", ours, ""},
		{"a copy", line(testOwner, 102), testOwner.tag(), copied, ""},
		{"a copy that was taken in hand", line(testOwner, 102) + "\n" + line(testOwner, 103), "", ours, ""},
		{"another owner's, with our tag", line(other, 103), testOwner.tag(), foreign, "Guest/lab/web of owner other/site"},
		{"both ours and another's: not ours alone", line(testOwner, 103) + "\n" + line(other, 103), "", foreign, ""},
		{"only our tag", "Hello", "a;" + testOwner.tag(), tagged, ""},
		{"only another's tag", "", "phoenix-000000000000", foreign, "the owner with the tag phoenix-000000000000"},
		{"a tag that only looks like one", "", "phoenix-web", unmarked, ""},
		{"a line that cannot be read", "<!-- phoenix-hypervisor.io hello -->", "", foreign, "somebody whose mark cannot be read"},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			got, m := testOwner.judge(103, c.description, proxmox.ParseTags(c.tags))
			if got != c.want {
				t.Errorf("want %v, got %v", c.want, got)
			}
			if c.names != "" && m.owner.String() != c.names {
				t.Errorf("want it named %q, got %q", c.names, m.owner)
			}
		})
	}
}

// TestMarkRoundTrip: what is written is read again.
func TestMarkRoundTrip(t *testing.T) {
	m := mark{owner: testOwner, vmid: 103, slots: []string{"mp0", "net0"}, detached: []string{"local-lvm:vm-103-disk-1"}, stage: stageClone}
	text, marks := readMarks(writeMark("Two\nlines", m) + "\n")
	if diff := cmp.Diff([]mark{m}, marks, cmp.AllowUnexported(mark{}, owner{})); diff != "" || text != "Two\nlines" {
		t.Errorf("text %q, marks (-want +got):\n%s", text, diff)
	}
	if tag := testOwner.tag(); !markTag.MatchString(tag) || !strings.HasPrefix(tag, "phoenix-") {
		t.Errorf("tag: %s", tag)
	}
}

// TestPatience: a guest that boots is asked often at first.
func TestPatience(t *testing.T) {
	for _, c := range []struct {
		reason string
		uptime time.Duration
		want   time.Duration
	}{
		{"just started", 0, 2 * time.Second},
		{"in its first minute", time.Minute, 2 * time.Second},
		{"it takes its time", 3 * time.Minute, 6 * time.Second},
		{"it may never answer", 9 * time.Minute, 10 * time.Second},
	} {
		if got := (Seen{status: proxmox.Status{Uptime: c.uptime}}).patience(); got != c.want {
			t.Errorf("%s: want %v, got %v", c.reason, c.want, got)
		}
	}
}
