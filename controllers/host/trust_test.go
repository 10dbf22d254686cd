// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/authority"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
	simulated "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// instant is a clock whose timers fire at once.
type instant struct{ clock.RealClock }

func (i instant) NewTimer(time.Duration) clock.Timer { return i.RealClock.NewTimer(0) }

// door is the way to a simulated node.
type door struct {
	*simulated.Machine
	driver *machine.Machine
	away   atomic.Bool
	trips  atomic.Int64
}

// Run runs a command on the node, unless it is away.
func (d *door) Run(ctx context.Context, argv []string, stdin []byte) (machine.Result, error) {
	d.trips.Add(1)
	if d.away.Load() {
		return machine.Result{}, machine.Away(errors.New("no route to host"))
	}
	var out, errs bytes.Buffer
	exit, err := d.Session(ctx, argv, bytes.NewReader(stdin), &out, &errs)
	if err != nil {
		return machine.Result{}, machine.Away(err)
	}
	return machine.Result{Stdout: out.Bytes(), Stderr: errs.Bytes(), ExitCode: exit}, nil
}

// trustStage is a Host with trustAuthorities, and its nodes.
type trustStage struct {
	*stage
	doors    map[string]*door
	one, two caRoot
}

type caRoot struct{ pem, fingerprint string }

func newCARoot(t *testing.T, name string) caRoot {
	t.Helper()
	pair, err := stepca.NewRoot(stepca.Template{CommonName: name, Duration: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	chain, err := stepca.ParseChain(pair.CertificatePEM)
	if err != nil {
		t.Fatal(err)
	}
	return caRoot{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[0].Raw})), stepca.Fingerprint(chain[0])}
}

func newTrustStage(t *testing.T) *trustStage {
	t.Helper()
	s := &trustStage{stage: newStage(t, pve.Options{Nodes: []string{"pve1", "pve2"}}), doors: map[string]*door{}}
	s.one, s.two = newCARoot(t, "One Root CA"), newCARoot(t, "Two Root CA")
	for _, node := range []string{"pve1", "pve2"} {
		d := &door{Machine: s.sim.Machine(node)}
		d.driver = machine.New(d, machine.Options{Clock: instant{}})
		s.doors[node] = d
	}
	s.another()
	s.respec(func(spec *v1alpha1.HostSpec) {
		spec.TrustAuthorities = []v1alpha1.TrustAuthority{{ServiceRef: &v1alpha1.LocalReference{Name: "ca"}}}
	})
	return s
}

// another is what a new process knows: nothing.
func (s *trustStage) another() {
	old := s.kind
	s.kind = &Kind{Clock: s.clock, Connect: old.Connect, Guests: old.Guests, Services: old.Services, Mark: old.Mark, TrustInterval: 5 * time.Minute}
	s.kind.Machine = func(_ context.Context, _ *v1alpha1.Host, node string) (*machine.Machine, error) {
		return s.doors[node].driver, nil
	}
	s.kind.Authorities = &authority.Book{Reader: s.c, Clock: s.clock, Fetch: func(context.Context, string, string) (*x509.Certificate, error) {
		return nil, errors.New("nobody is asked")
	}}
	s.loop.Kind = s.kind
}

// authority publishes roots.
func (s *trustStage) authority(roots ...caRoot) {
	s.t.Helper()
	ca := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: hostName.Namespace, Name: "ca"}}
	if err := s.c.Get(s.t.Context(), types.NamespacedName{Namespace: hostName.Namespace, Name: "ca"}, ca); err != nil {
		ca.Spec.StepCA = &v1alpha1.StepCA{PackageName: "step-ca"}
		if err := s.c.Create(s.t.Context(), ca); err != nil {
			s.t.Fatal(err)
		}
	}
	ca.Status.StepCA = &v1alpha1.StepCAStatus{}
	for _, r := range roots {
		ca.Status.StepCA.CABundle += r.pem
	}
	if err := s.c.Update(s.t.Context(), ca); err != nil {
		s.t.Fatal(err)
	}
}

// until makes passes, each later than any wait, until the Host is as wanted.
func (s *trustStage) until(what string, is func(*v1alpha1.Host) bool) *v1alpha1.Host {
	s.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		s.clock.SetTime(s.clock.Now().Add(6 * time.Minute))
		host := s.pass()
		if is(host) {
			return host
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-deadline:
			s.t.Fatalf("waited in vain until %s: %+v, plan %+v", what, host.Status.Conditions, host.Status.Plan)
		}
	}
}

// says is a condition's status and reason, and parts of its message.
func says(kind, want string, parts ...string) func(*v1alpha1.Host) bool {
	return func(host *v1alpha1.Host) bool {
		c := conditionOf(host, kind)
		for _, p := range parts {
			if !strings.Contains(c.Message, p) {
				return false
			}
		}
		return string(c.Status)+" "+c.Reason == want
	}
}

func (s *trustStage) ready() *v1alpha1.Host {
	s.t.Helper()
	return s.until("it is Ready", says(v1alpha1.ReadyCondition, "True InSync"))
}

// trusts are the nodes whose programs trust a root.
func (s *trustStage) trusts(r caRoot) string {
	var nodes []string
	for _, node := range []string{"pve1", "pve2"} {
		if text, err := s.doors[node].ReadFile("/etc/ssl/certs/ca-certificates.crt"); err == nil && strings.Contains(text, r.pem) {
			nodes = append(nodes, node)
		}
	}
	return strings.Join(nodes, " ")
}

func (s *trustStage) trips() int64 {
	return s.doors["pve1"].trips.Load() + s.doors["pve2"].trips.Load()
}

func (s *trustStage) writes() int { return s.doors["pve1"].Writes() + s.doors["pve2"].Writes() }

// untouched says that nothing was changed for us on a node: not even the record.
func (s *trustStage) untouched() bool {
	_, one := s.doors["pve1"].Stat("/var/lib/phoenix")
	_, two := s.doors["pve2"].Stat("/var/lib/phoenix")
	return one != nil && two != nil
}

// unmoved asserts that what Guests wait for does not wait for trust.
func (s *trustStage) unmoved(host *v1alpha1.Host) {
	s.t.Helper()
	for _, kind := range []string{v1alpha1.ReachableCondition, v1alpha1.CapableCondition} {
		if got := conditionOf(host, kind); got.Status != metav1.ConditionTrue {
			s.t.Errorf("%s is %s (%s: %s)", kind, got.Status, got.Reason, got.Message)
		}
	}
}

// shell runs a line on a node.
func (s *trustStage) shell(node, line string) {
	s.t.Helper()
	if exit := s.doors[node].Shell(s.t.Context(), line, strings.NewReader(""), s.t.Output(), s.t.Output()); exit != 0 {
		s.t.Fatalf("%s: exit %d", line, exit)
	}
}

// TestTrust: an authority is waited for, trusted on every node, kept, followed, and let go of.
func TestTrust(t *testing.T) {
	s := newTrustStage(t)
	host := s.until("it waits for the authority", says(v1alpha1.ReadyCondition, "False WaitingForAuthority", "HostService/ca: not found"))
	s.unmoved(host)
	if got := conditionOf(host, v1alpha1.TrustedCondition); got.Status != metav1.ConditionFalse || !s.untouched() {
		t.Errorf("Trusted is %s, nothing written: %t", got.Status, s.untouched())
	}
	s.authority(s.one)
	host = s.ready()
	if !says(v1alpha1.TrustedCondition, "True Trusted", s.one.fingerprint)(host) || s.trusts(s.one) != "pve1 pve2" {
		t.Errorf("want it trusted on both: %q, %+v", s.trusts(s.one), host.Status.Conditions)
	}

	trips, writes := s.trips(), s.writes()
	for range 5 { // as many changes of Guests
		s.clock.SetTime(s.clock.Now().Add(time.Minute - time.Second))
		if after := s.pass(); after.ResourceVersion != host.ResourceVersion {
			t.Error("a pass in sync wrote to the Host")
		}
	}
	if s.trips() != trips {
		t.Errorf("%d looks within five minutes", s.trips()-trips)
	}
	s.clock.SetTime(s.clock.Now().Add(6 * time.Second))
	s.pass()
	if s.trips() != trips+2 || s.writes() != writes {
		t.Errorf("%d looks and %d writes, want one of each node and none", s.trips()-trips, s.writes()-writes)
	}

	s.shell("pve2", "rm /usr/local/share/ca-certificates/phoenix-*.crt; update-ca-certificates")
	s.ready()
	s.authority(s.two, s.one)
	s.until("both are trusted", says(v1alpha1.TrustedCondition, "True Trusted", s.one.fingerprint, s.two.fingerprint))
	s.authority(s.two)
	s.ready()
	if diff := cmp.Diff([]string{"", "pve1 pve2"}, []string{s.trusts(s.one), s.trusts(s.two)}); diff != "" {
		t.Errorf("the old root and the new one (-want +got):\n%s", diff)
	}
	if err := s.c.Delete(t.Context(), &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: hostName.Namespace, Name: "ca"}}); err != nil {
		t.Fatal(err)
	}
	s.until("the authority is missed", says(v1alpha1.ReadyCondition, "False WaitingForAuthority"))
	if s.trusts(s.two) != "pve1 pve2" {
		t.Error("an authority that went takes no trust away")
	}
	s.respec(func(spec *v1alpha1.HostSpec) { spec.TrustAuthorities = nil })
	host = s.ready()
	if got := conditionOf(host, v1alpha1.TrustedCondition); got.Status != "" || s.trusts(s.two) != "" {
		t.Errorf("nothing of it is left: %s, %q", got.Status, s.trusts(s.two))
	}
	trips = s.trips()
	s.until("it stays so", says(v1alpha1.ReadyCondition, "True InSync"))
	if s.trips() != trips {
		t.Error("a node that trusts nothing of ours is looked at")
	}
}

// TestTrustOfOneNode: a node in trouble delays only itself.
func TestTrustOfOneNode(t *testing.T) {
	var heal func()
	for name, tc := range map[string]struct {
		before  func(*trustStage)
		ready   string
		parts   []string
		trusted string // its status and reason
		after   func(*trustStage)
	}{
		"away": {func(s *trustStage) { s.doors["pve2"].away.Store(true) }, "False MachineAway", []string{"node pve2", "no route to host"}, "Unknown MachineAway",
			func(s *trustStage) { s.doors["pve2"].away.Store(false) }},
		"off": {func(s *trustStage) { s.sim.SetNodeOnline("pve2", false, 0); s.sim.StatusRound() }, "False MachineAway", []string{"node pve2", "off"}, "Unknown MachineAway",
			func(s *trustStage) { s.sim.SetNodeOnline("pve2", true, 0); s.sim.StatusRound() }},
		"update-ca-certificates fails": {func(s *trustStage) { heal = s.doors["pve2"].Fail("update-ca-certificates*", 0, 1, "no space left\n") },
			"False TrustFailed", []string{"node pve2", "no space left"}, "False NotTrusted", func(*trustStage) { heal() }},
		"somebody works with packages": {func(s *trustStage) {
			s.shell("pve2", "apt-get remove -y ca-certificates")
			s.doors["pve2"].HoldDpkg(true)
		},
			"False Trusting", []string{"pve2"}, "False NotTrusted", func(s *trustStage) { s.doors["pve2"].HoldDpkg(false) }},
		"a file of somebody else": {func(s *trustStage) {
			if err := s.doors["pve2"].WriteFile("/usr/local/share/ca-certificates/phoenix-"+s.one.fingerprint[:8]+".crt", "theirs", 0o644); err != nil {
				s.t.Fatal(err)
			}
		}, "False ForeignFile", []string{"node pve2", "phoenix-"}, "False NotTrusted", func(s *trustStage) { s.shell("pve2", "rm /usr/local/share/ca-certificates/phoenix-*.crt") }},
		"no quorum": {func(s *trustStage) { s.sim.SetQuorum(false) }, "False NoQuorum", []string{"no quorum"}, "True Trusted", func(s *trustStage) { s.sim.SetQuorum(true) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTrustStage(t)
			for node := range s.doors {
				s.shell(node, "apt-get update && apt-get install -y ca-certificates")
			}
			tc.before(s)
			s.authority(s.one)
			host := s.until("it is told", func(host *v1alpha1.Host) bool {
				return says(v1alpha1.ReadyCondition, tc.ready, tc.parts...)(host) && strings.HasPrefix(s.trusts(s.one), "pve1") &&
					says(v1alpha1.TrustedCondition, tc.trusted)(host)
			})
			s.unmoved(host)
			if tc.trusted != "True Trusted" && s.trusts(s.one) != "pve1" {
				t.Errorf("trusted on %q", s.trusts(s.one))
			}
			version := s.pass().ResourceVersion
			if after := s.pass().ResourceVersion; after != version {
				t.Errorf("the same trouble was written twice: %s", conditionOf(s.host(), v1alpha1.ReadyCondition).Message)
			}
			tc.after(s)
			s.ready()
			if s.trusts(s.one) != "pve1 pve2" {
				t.Errorf("trusted on %q", s.trusts(s.one))
			}
		})
	}
}

// TestTrustCut: a connection that breaks at any trip, and a process that ends at any pass, come to the same end.
func TestTrustCut(t *testing.T) {
	for name, when := range map[string]simulated.Cut{"before": simulated.CutBefore, "during": simulated.CutDuring, "after": simulated.CutAfter} {
		t.Run(name, func(t *testing.T) {
			for trip := range 4 {
				s := newTrustStage(t)
				s.authority(s.one)
				s.until("it begins", func(*v1alpha1.Host) bool { return s.doors["pve1"].trips.Load() >= int64(trip) })
				s.doors["pve1"].Cut("sh*", 1, when)
				s.ready()
				if s.trusts(s.one) != "pve1 pve2" {
					t.Errorf("cut at trip %d: trusted on %q", trip, s.trusts(s.one))
				}
			}
		})
	}
	s := newTrustStage(t)
	s.authority(s.one)
	s.until("it comes to its end", func(host *v1alpha1.Host) bool {
		s.another()
		return says(v1alpha1.ReadyCondition, "True InSync")(host)
	})
	writes, host := s.writes(), s.host()
	host.Status = v1alpha1.HostStatus{}
	if err := s.c.Status().Update(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	s.another()
	host = s.ready()
	if s.writes() != writes || !says(v1alpha1.TrustedCondition, "True Trusted", s.one.fingerprint)(host) {
		t.Errorf("a lost status changes nothing: %d writes", s.writes()-writes)
	}
}

// TestTrustObserved: what is observed is shown node by node, and not written.
func TestTrustObserved(t *testing.T) {
	s := newTrustStage(t)
	s.authority(s.one)
	s.respec(func(spec *v1alpha1.HostSpec) { spec.Management = v1alpha1.ManagementObserve })
	host := s.until("it is shown", says(v1alpha1.ReadyCondition, "True Drifted"))
	var shown []string
	for _, p := range host.Status.Plan {
		if p.Reason == authority.TrustingReason && p.To == "One Root CA ("+s.one.fingerprint[:8]+")" {
			shown = append(shown, p.Field)
		}
	}
	if diff := cmp.Diff([]string{"trustAuthorities (node pve1)", "trustAuthorities (node pve2)"}, shown); diff != "" || !s.untouched() {
		t.Errorf("nothing written: %t, plan (-want +got):\n%s", s.untouched(), diff)
	}
}

// gone makes passes until the deleted Host is.
func (s *trustStage) gone() bool {
	s.t.Helper()
	for range 100 {
		s.clock.SetTime(s.clock.Now().Add(6 * time.Minute))
		if _, err := s.loop.Reconcile(s.t.Context(), ctrl.Request{NamespacedName: hostName}); err != nil {
			s.t.Fatal(err)
		}
		if err := s.c.Get(s.t.Context(), hostName, &v1alpha1.Host{}); apierrors.IsNotFound(err) {
			return true
		}
	}
	return false
}

// TestTrustEnds: a Host takes its roots with it when it goes.
func TestTrustEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		policy v1alpha1.DeletionPolicy
		before func(*trustStage)
		// waits says that the Host does not go before that is over.
		waits string
		after func(*trustStage)
		left  string
	}{
		"deleted":          {"Delete is the default", "", func(*trustStage) {}, "", nil, ""},
		"retained":         {"all stays", v1alpha1.DeletionRetain, func(*trustStage) {}, "", nil, "pve1 pve2"},
		"endpoint away":    {"the nodes are reached over SSH", "", func(s *trustStage) { s.sim.Suspend() }, "", nil, ""},
		"node away":        {"it is waited for", "", func(s *trustStage) { s.doors["pve2"].away.Store(true) }, "False MachineAway", func(s *trustStage) { s.doors["pve2"].away.Store(false) }, ""},
		"node stays away":  {"Retain lets go", "", func(s *trustStage) { s.doors["pve2"].away.Store(true) }, "False MachineAway", func(s *trustStage) { s.respec(retain) }, "pve2"},
		"authority is off": {"it has no say in it", "", func(s *trustStage) { s.authority() }, "", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTrustStage(t)
			s.respec(func(spec *v1alpha1.HostSpec) { spec.DeletionPolicy = tc.policy })
			s.authority(s.one)
			s.ready()
			tc.before(s)
			if err := s.c.Delete(t.Context(), s.host()); err != nil {
				t.Fatal(err)
			}
			if tc.waits != "" {
				s.until("it waits", says(v1alpha1.ReadyCondition, tc.waits, "node pve2", "deletionPolicy: Retain"))
				if s.trusts(s.one) != "pve2" {
					t.Errorf("the other node is done meanwhile: %q", s.trusts(s.one))
				}
				tc.after(s)
			}
			if !s.gone() {
				t.Fatalf("%s: it does not go: %+v", tc.reason, s.host().Status.Conditions)
			}
			if got := s.trusts(s.one); got != tc.left {
				t.Errorf("%s: trusted on %q, want %q", tc.reason, got, tc.left)
			}
		})
	}
}

func retain(spec *v1alpha1.HostSpec) { spec.DeletionPolicy = v1alpha1.DeletionRetain }
