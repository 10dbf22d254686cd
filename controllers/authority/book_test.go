// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
	"github.com/phoenix-hypervisor/phoenix/internal/trust"
)

func newRoot(t *testing.T, name string) (trust.Root, string) {
	t.Helper()
	pair, err := stepca.NewRoot(stepca.Template{CommonName: name, Duration: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	roots, err := trust.Parse(pair.CertificatePEM)
	if err != nil {
		t.Fatal(err)
	}
	return roots[0], string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: roots[0].Certificate.Raw}))
}

// outside are authorities that are not ours: their certificates by URL. Others do not answer.
type outside struct {
	mu    sync.Mutex
	roots map[string]*x509.Certificate
	asked []string
}

func (o *outside) fetch(_ context.Context, at, fingerprint string) (*x509.Certificate, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, at)
	cert := o.roots[at]
	if cert == nil {
		return nil, &stepca.Error{Kind: stepca.Away, URL: at, Err: &url.Error{Op: "Get", URL: at, Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}}
	}
	if stepca.Fingerprint(cert) != fingerprint {
		return nil, &stepca.Error{Kind: stepca.Untrusted, URL: at, Err: errors.New("the fingerprint is another")}
	}
	return cert, nil
}

func newBook(t *testing.T, o *outside, objects ...client.Object) (*Book, *clocktesting.FakePassiveClock) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := clocktesting.NewFakePassiveClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	return &Book{Reader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build(), Fetch: o.fetch, Clock: c}, c
}

func service(name, bundle string, edit func(*v1alpha1.HostService)) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: "lab", Name: name}}
	s.Spec.StepCA = &v1alpha1.StepCA{PackageName: "step-ca"}
	s.Status.StepCA = &v1alpha1.StepCAStatus{CABundle: bundle}
	if edit != nil {
		edit(s)
	}
	return s
}

func by(name string) v1alpha1.TrustAuthority {
	return v1alpha1.TrustAuthority{ServiceRef: &v1alpha1.LocalReference{Name: name}}
}

func at(address, fingerprint string) v1alpha1.TrustAuthority {
	return v1alpha1.TrustAuthority{Outside: &v1alpha1.OutsideAuthority{URL: address, Fingerprint: fingerprint}}
}

func TestWant(t *testing.T) {
	one, onePEM := newRoot(t, "One Root CA")
	two, twoPEM := newRoot(t, "Two Root CA")
	waiting := func(s *v1alpha1.HostService) {
		s.Status.StepCA = nil
		s.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "False", Reason: "DependencyNotReady"}}
	}
	b, _ := newBook(t, &outside{},
		service("one", onePEM, nil), service("two", twoPEM+onePEM, nil), service("young", "", waiting), service("broken", "hello", nil),
		service("names", "", func(s *v1alpha1.HostService) { s.Spec.StepCA, s.Spec.Dnsmasq = nil, &v1alpha1.Dnsmasq{} }))
	for name, tc := range map[string]struct {
		reason   string
		list     []v1alpha1.TrustAuthority
		roots    []string
		problems []string // reason, and a part of the words
		unasked  int
	}{
		"none":         {"nothing is declared", nil, nil, nil, 0},
		"one":          {"the ordinary case", []v1alpha1.TrustAuthority{by("one")}, []string{one.Fingerprint}, nil, 0},
		"rotation":     {"both are wanted, the present one first", []v1alpha1.TrustAuthority{by("two")}, []string{two.Fingerprint, one.Fingerprint}, nil, 0},
		"overlap":      {"a root of two authorities is one", []v1alpha1.TrustAuthority{by("one"), by("two")}, []string{one.Fingerprint, two.Fingerprint}, nil, 0},
		"not there":    {"the others are wanted all the same", []v1alpha1.TrustAuthority{by("gone"), by("one")}, []string{one.Fingerprint}, []string{"WaitingForAuthority", "HostService/gone: not found"}, 0},
		"young":        {"what it waits for is told", []v1alpha1.TrustAuthority{by("young")}, nil, []string{"WaitingForAuthority", "no root yet (DependencyNotReady)"}, 0},
		"broken":       {"what is no certificate is named", []v1alpha1.TrustAuthority{by("broken")}, nil, []string{"AuthorityInvalid", "HostService/broken"}, 0},
		"no authority": {"another service has no roots", []v1alpha1.TrustAuthority{by("names")}, nil, []string{"NoAuthority", "HostService/names"}, 0},
		"outside":      {"nobody is asked by looking into the cluster", []v1alpha1.TrustAuthority{at("https://a", two.Fingerprint), by("one")}, []string{one.Fingerprint}, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := b.Want(t.Context(), "lab", tc.list)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.roots, trust.Fingerprints(w.Roots), cmp.Transformer("empty", func(s []string) string { return strings.Join(s, " ") })); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			if len(w.outside) != tc.unasked || len(w.Problems) != len(tc.problems)/2 {
				t.Fatalf("%s: problems %v, not asked %v", tc.reason, w.Problems, w.outside)
			}
			if len(tc.problems) > 0 && (w.Problems[0].Reason != tc.problems[0] || !strings.Contains(w.Problems[0].Err.Error(), tc.problems[1])) {
				t.Errorf("%s: %v", tc.reason, w.Problems[0])
			}
		})
	}
}

// TestAsk: an authority outside is asked once when it answers, and not again for a while when it does not.
func TestAsk(t *testing.T) {
	one, _ := newRoot(t, "One Root CA")
	two, _ := newRoot(t, "Two Root CA")
	o := &outside{roots: map[string]*x509.Certificate{"https://a": one.Certificate}}
	b, c := newBook(t, o)
	list := func(authorities ...v1alpha1.TrustAuthority) []v1alpha1.OutsideAuthority {
		w, err := b.Want(t.Context(), "lab", authorities)
		if err != nil {
			t.Fatal(err)
		}
		return w.outside
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { b.ask(t.Context(), list(at("https://a", one.Fingerprint))) })
	}
	all.Wait()
	if len(o.asked) != 1 || len(list(at("https://a", one.Fingerprint))) != 0 || len(list(at("https://elsewhere", one.Fingerprint))) != 0 {
		t.Errorf("asked %v: a pinned root is known, whoever has shown it", o.asked)
	}
	wrong, away := list(at("https://a", two.Fingerprint)), list(at("https://b", two.Fingerprint))
	for range 3 {
		problems := append(b.ask(t.Context(), wrong), b.ask(t.Context(), away)...)
		if len(problems) != 2 || problems[0].Reason != AuthorityInvalidReason || problems[1].Reason != WaitingForAuthorityReason {
			t.Fatalf("problems %v", problems)
		}
		if text := problems[1].Err.Error(); text != "ask https://b for its root: connection refused" {
			t.Errorf("it says %q", text)
		}
	}
	if len(o.asked) != 3 {
		t.Errorf("asked %v: who did not answer is left alone for a while", o.asked)
	}
	o.roots["https://b"] = two.Certificate
	c.SetTime(c.Now().Add(silence))
	if problems := b.ask(t.Context(), away); len(problems) != 0 || len(list(at("https://b", two.Fingerprint))) != 0 {
		t.Errorf("problems %v", problems)
	}
	b.learn(one)
	if len(list(at("https://c", one.Fingerprint))) != 0 {
		t.Error("what a machine has need not be asked for")
	}
}

// TestSaid: the same trouble has the same words twice.
func TestSaid(t *testing.T) {
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 51234}
	wrap := func(err error) error {
		return fmt.Errorf("read root: %w", &url.Error{Op: "Get", URL: "https://a", Err: err})
	}
	for name, tc := range map[string]struct {
		reason string
		err    error
		want   string
	}{
		"reset":   {"without the local port", wrap(&net.OpError{Op: "read", Source: local, Err: syscall.ECONNRESET}), "connection reset by peer"},
		"name":    {"the name is what helps", wrap(&net.DNSError{Err: "no such host", Name: "ca.lan"}), "no address is known for ca.lan"},
		"timeout": {"the time is over", wrap(context.DeadlineExceeded), "no answer in time"},
		"request": {"without the URL, which stands before it", wrap(errors.New("EOF")), "EOF"},
		"clock":   {"without how far a clock is off", &stepca.Error{Kind: stepca.Untrusted, ClockSkew: 31 * time.Second, Err: errors.New("another root")}, "another root"},
		"other":   {"as it is", errors.New("strange"), "strange"},
	} {
		if got := said(tc.err); got != tc.want {
			t.Errorf("%s: %q, want %q: %s", name, got, tc.want, tc.reason)
		}
	}
}

// TestFailure: what passes is waited for, what fails has a name.
func TestFailure(t *testing.T) {
	for name, tc := range map[string]struct {
		err    error
		want   string
		passes bool
	}{
		"away":        {machine.Away(errors.New("no route")), MachineAwayReason, true},
		"pending":     {&machine.PendingError{What: "apt"}, TrustingReason, true},
		"changed":     {&machine.ChangedError{What: "/x"}, ChangedReason, true},
		"job":         {&machine.JobError{What: "install"}, TrustFailedReason, false},
		"refresh":     {&machine.RefreshError{What: "update-ca-certificates"}, TrustFailedReason, false},
		"own refresh": {&trust.RefreshError{Output: "no"}, TrustFailedReason, false},
		"probe":       {&machine.ProbeError{Name: "x"}, TrustFailedReason, false},
		"foreign":     {&machine.ForeignError{Paths: []string{"/x"}}, ForeignFileReason, false},
		"unsupported": {&machine.UnsupportedError{Why: "it runs fedora"}, UnsupportedReason, false},
		"invalid":     {&machine.InvalidError{What: "path", Why: "is there twice"}, AuthorityInvalidReason, false},
		"outcome":     {reconcile.Wait(MachineAwayReason, 0, errors.New("not connected")), MachineAwayReason, true},
		"other":       {errors.New("strange"), "", false},
	} {
		err := fmt.Errorf("look: %w", tc.err)
		if got := reconcile.ReasonOf(Failure(TrustingReason, err)); got != tc.want || Passes(err) != tc.passes {
			t.Errorf("%s: %q, passes %t; want %q, %t", name, got, Passes(err), tc.want, tc.passes)
		}
	}
	if Failure(TrustingReason, nil) != nil {
		t.Error("nothing is no failure")
	}
}
