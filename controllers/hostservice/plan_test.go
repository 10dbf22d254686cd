// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

var outcomeReason = regexp.MustCompile(`reason:"(\w+)"`)

// outcome shows an error as the loop reads it: the reason, and what is said.
func outcome(err error) string {
	if err == nil {
		return ""
	}
	reason := "Failed"
	if m := outcomeReason.FindStringSubmatch(fmt.Sprintf("%#v", err)); m != nil {
		reason = m[1]
	}
	return reason + " " + strings.ReplaceAll(err.Error(), "\n", " | ")
}

func TestLineChanges(t *testing.T) {
	config := testDNS(nil)
	d, err := designDnsmasq(config, target{host: testHost("phoenix"), node: "phoenix"}, []v1alpha1.Guest{*testGuest("nas", "10.0.0.20")}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	const hosts, dropIn = "/etc/phoenix/dnsmasq/dns/hosts/names", "/etc/dnsmasq.d/phoenix-dns.conf"
	for name, c := range map[string]struct {
		reason, path, before, after string
		want                        []reconcile.Change
		rest                        bool
	}{
		"another address": {
			"one name changes", hosts, "# old\n10.0.0.19 nas.lan nas\n", "# new\n10.0.0.20 nas.lan nas\n",
			[]reconcile.Change{{Field: "publishGuests[nas]", From: "10.0.0.19 nas.lan nas", To: "10.0.0.20 nas.lan nas", Impact: "Reload"}}, false,
		},
		"gone and new": {
			"names come and go", hosts, "10.0.0.5 old.lan old\n", "10.0.0.6 new.lan new\n",
			[]reconcile.Change{
				{Field: "records[old.lan].addresses", From: "10.0.0.5 old.lan old", Impact: "Reload"},
				{Field: "records[new.lan].addresses", To: "10.0.0.6 new.lan new", Impact: "Reload"},
			}, false,
		},
		"doubled": {
			"a line that is there twice is one too many", hosts, "10.0.0.5 a.lan\n10.0.0.5 a.lan\n", "10.0.0.5 a.lan\n",
			[]reconcile.Change{{Field: "records[a.lan].addresses", From: "10.0.0.5 a.lan", Impact: "Reload"}}, false,
		},
		"options": {
			"fields of the spec are named", dropIn, "server=8.8.8.8\nlisten-address=10.0.0.12\nno-hosts\n", "server=9.9.9.9\nlisten-address=10.0.0.13\nserver=/x/1.1.1.1\ncname=w.lan,nas.lan\n",
			[]reconcile.Change{
				{Field: "upstreams", From: "server=8.8.8.8", To: "server=9.9.9.9", Impact: "Reload"},
				{Field: "listenAddresses", From: "listen-address=10.0.0.12", To: "listen-address=10.0.0.13", Impact: "Reload"},
				{Field: "zones[x].servers", To: "server=/x/1.1.1.1", Impact: "Reload"},
				{Field: "records[w.lan].cname", To: "cname=w.lan,nas.lan", Impact: "Reload"},
			}, true,
		},
		"comments alone": {"they say nothing", hosts, "# a\n", "# b\n", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, rest := lineChanges(c.before, c.after, func(line string) string { return d.fields(c.path, line) }, v1alpha1.ImpactReload)
			if diff := cmp.Diff(c.want, got); diff != "" || rest != c.rest {
				t.Errorf("%s: others %t, want %t (-want +got):\n%s", c.reason, rest, c.rest, diff)
			}
		})
	}
}

func TestMachineFailures(t *testing.T) {
	back := machine.Undone{Complete: true}
	for name, c := range map[string]struct {
		step string
		err  error
		want string
	}{
		"away":              {"", machine.Away(errors.New("no route")), "MachineAway no route"},
		"job runs":          {"", &machine.PendingError{What: "phoenix-0a.service (install dnsmasq)"}, "Installing wait for phoenix-0a.service (install dnsmasq)"},
		"change runs":       {"", &machine.PendingError{What: "an earlier change that still runs"}, "MachineBusy wait for an earlier change that still runs"},
		"begun":             {InstallingReason, &machine.PendingError{What: "phoenix-0a.service"}, "Installing wait for phoenix-0a.service"},
		"changed":           {ConfiguringReason, &machine.ChangedError{What: "/etc/x"}, "Changed change /etc/x: it changed since it was observed"},
		"refused by itself": {ConfiguringReason, &machine.ValidateError{What: "/etc/x", Output: "bad option at line 3", Undone: back}, "ValidationFailed rolled back: validate /etc/x: bad option at line 3"},
		"silent":            {ConfiguringReason, &machine.ProbeError{Name: "dnsmasq", Output: "timeout"}, `ProbeFailed not rolled back in full: probe dnsmasq: got "timeout"`},
		"unit":              {ConfiguringReason, &machine.UnitError{What: "restart dnsmasq.service", Output: "exit 2", Undone: back}, "UnitFailed rolled back: restart dnsmasq.service: exit 2"},
		"job":               {InstallingReason, &machine.JobError{Unit: "phoenix-0a.service", What: "install dnsmasq", Log: "no space"}, "InstallFailed install dnsmasq (phoenix-0a.service): no space"},
		"no Debian":         {"", &machine.UnsupportedError{Why: `it runs "alpine"`}, `Unsupported use machine: it runs "alpine"; Debian or Ubuntu with systemd is needed`},
		"foreign":           {"", &machine.ForeignError{Paths: []string{"/etc/x"}}, "NotOwned take /etc/x: there already and not ours"},
		"other":             {"", errors.New("read record"), "Failed read record"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := outcome(machineFailure(c.step, c.err)); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	if machineFailure("", nil) != nil {
		t.Error("no error is one")
	}
}

func TestLeftOutComesLast(t *testing.T) {
	steps := leftOutSteps([]leftOut{{DuplicateNameReason, "a and b both declare x"}, {TargetMissingReason, "y is not answered here"}})
	if len(steps) != 1 || steps[0].Reason != DuplicateNameReason {
		t.Fatalf("steps are %+v, want one", steps)
	}
	if got, want := outcome(steps[0].Do(t.Context())), "DuplicateName a and b both declare x; y is not answered here"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNodeOf(t *testing.T) {
	for name, c := range map[string]struct {
		reason, node string
		nodes        []string
		want, says   string
	}{
		"the only one":  {reason: "there is no choice", nodes: []string{"pve1"}, want: "pve1"},
		"named":         {reason: "it is declared", node: "pve2", nodes: []string{"pve1", "pve2"}, want: "pve2"},
		"several":       {reason: "nobody can guess", nodes: []string{"pve1", "pve2"}, says: "NodeMissing node is not set and Host/phoenix has 2 nodes under ssh.nodes (pve1, pve2): set spec.node"},
		"without SSH":   {reason: "there is no way", node: "pve3", nodes: []string{"pve1"}, says: "NoSSH reach node pve3: Host/phoenix has no SSH for it: add the node to ssh.nodes of Host/phoenix"},
		"no SSH at all": {reason: "there is no way", says: "NoSSH reach the machine: Host/phoenix has no SSH: declare its nodes under ssh.nodes"},
	} {
		t.Run(name, func(t *testing.T) {
			s := testDNS(nil)
			s.Spec.Node = c.node
			got, err := NodeOf(s, testHost(c.nodes...))
			if got != c.want || outcome(err) != c.says {
				t.Errorf("%s: %q, %q; want %q, %q", c.reason, got, outcome(err), c.want, c.says)
			}
		})
	}
}

func TestSiblings(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	on := func(name string, seconds int, change func(*v1alpha1.HostService)) *v1alpha1.HostService {
		s := aged(testDNS(nil), seconds)
		s.Name = name
		if change != nil {
			change(s)
		}
		return s
	}
	guest := func(s *v1alpha1.HostService) {
		s.Spec.HostRef, s.Spec.GuestRef = nil, &v1alpha1.LocalReference{Name: "app"}
	}
	node := func(s *v1alpha1.HostService) { s.Spec.Node = "pve2" }
	self := on("m", 5, nil)
	self.Spec.Node = "pve1"
	host := testHost("pve1", "pve2")
	k := &Kind{Config: Config{Reader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		self, on("old", 1, func(s *v1alpha1.HostService) { s.Spec.Node = "pve1" }), on("a", 5, func(s *v1alpha1.HostService) { s.Spec.Node = "pve1" }),
		on("z", 5, func(s *v1alpha1.HostService) { s.Spec.Node = "pve1" }), on("guest", 0, guest), on("node", 0, node), on("unclear", 0, nil),
	).Build()}}
	older, younger, err := k.siblings(context.Background(), self, target{host: host, node: "pve1"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, list := range [][]v1alpha1.HostService{older, younger} {
		for _, s := range list {
			got = append(got, s.Name)
		}
		got = append(got, "|")
	}
	if diff := cmp.Diff([]string{"old", "a", "|", "z", "|"}, got); diff != "" {
		t.Errorf("the older ones, those of one second by name (-want +got):\n%s", diff)
	}
}
