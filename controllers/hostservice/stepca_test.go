// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

func hours(n int) *metav1.Duration { return &metav1.Duration{Duration: time.Duration(n) * time.Hour} }

func minutes(n int) *metav1.Duration {
	return &metav1.Duration{Duration: time.Duration(n) * time.Minute}
}

func TestAuthorityURL(t *testing.T) {
	for name, c := range map[string]struct {
		address string
		port    int32
		want    string
	}{
		"IPv4":           {"10.0.0.10", 0, "https://10.0.0.10"},
		"IPv4 and port":  {"10.0.0.10", 8443, "https://10.0.0.10:8443"},
		"IPv6":           {"fd00::10", 443, "https://[fd00::10]"},
		"IPv6 and port":  {"fd00::10", 9000, "https://[fd00::10]:9000"},
		"port like :443": {"10.0.0.10", 4430, "https://10.0.0.10:4430"},
	} {
		if got := caURL(&v1alpha1.StepCA{Port: c.port}, c.address); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestAuthorityNames(t *testing.T) {
	g := boxTarget("10.0.0.10", "172.17.0.1", "fd00::10").guest
	g.Spec.Networks = []v1alpha1.Network{{Device: "net0", IPv6: &v1alpha1.IPv6{Method: v1alpha1.IPStatic, Address: "fd00::10/64"}}}
	s := testCA(func(s *v1alpha1.StepCA) { s.DNSNames = []string{"ca.lan", "pki.phoenix.lan"} })
	if diff := cmp.Diff([]string{"pki.phoenix.lan", "10.0.0.10", "fd00::10", "ca.lan"}, caNames(s, g)); diff != "" {
		t.Errorf("each once, without bridges in the guest (-want +got):\n%s", diff)
	}
	s.Name = strings.Repeat("a", 100)
	if got := rootName(s, 12); len(got) != maxCAName || !strings.HasSuffix(got, "a Root CA 12") {
		t.Errorf("a long name is cut: %q", got)
	}
	s.Spec.StepCA.Root = &v1alpha1.AuthorityCertificate{CommonName: "Our Root", Duration: hours(5)}
	if got := rootName(s, 2); got != "Our Root" || rootLife(s.Spec.StepCA) != 5*time.Hour || issuerLife(s.Spec.StepCA) != defaultIssuerLife {
		t.Errorf("the spec names it: %q", got)
	}
}

func TestDoubting(t *testing.T) {
	trusts := func(name string) []v1alpha1.TrustAuthority {
		return []v1alpha1.TrustAuthority{{Outside: &v1alpha1.OutsideAuthority{URL: "https://x"}}, {ServiceRef: &v1alpha1.LocalReference{Name: name}}}
	}
	says := func(status metav1.ConditionStatus, reason, message string) *metav1.Condition {
		return &metav1.Condition{Type: v1alpha1.TrustedCondition, Status: status, Reason: reason, Message: message}
	}
	got := doubting("ca", "f00d", []truster{
		{"Guest/elsewhere", trusts("other"), nil},
		{"Guest/done", trusts("ca"), says("True", "Trusted", "trusted: f00d, beef")},
		{"Guest/old", trusts("ca"), says("True", "Trusted", "trusted: beef")},
		{"Guest/new", trusts("ca"), nil},
		{"Guest/away", trusts("ca"), says("Unknown", "MachineAway", "f00d")},
		{"Host/phoenix", trusts("ca"), says("False", "NotTrusted", "not trusted yet: f00d")},
		{"Host/nobody", nil, nil},
	})
	want := []string{"Guest/old", "Guest/new (not there yet)", "Guest/away (MachineAway)", "Host/phoenix (NotTrusted)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNext(t *testing.T) {
	now := caBorn
	at := func(d time.Duration) *metav1.Time { return timeOf(now.Add(d)) }
	for name, c := range map[string]struct {
		reason string
		status *v1alpha1.StepCAStatus
		want   time.Duration // 0: none
	}{
		"nothing known": {"its interval is enough", nil, 0},
		"the renewal":   {"it comes first", &v1alpha1.StepCAStatus{IntermediateRenewalTime: at(2 * time.Hour), IntermediateNotAfter: at(3 * time.Hour)}, 2 * time.Hour},
		"the renewal is past": {
			"it was seen to, or waits for the key; the end is what comes next",
			&v1alpha1.StepCAStatus{IntermediateRenewalTime: at(-time.Hour), IntermediateNotAfter: at(3 * time.Hour)}, 3 * time.Hour,
		},
		"an old root": {"its trust ends", &v1alpha1.StepCAStatus{
			IntermediateRenewalTime: at(9 * time.Hour), Roots: []v1alpha1.RootStatus{{NotAfter: *at(year)}, {NotAfter: *at(-year), TrustedUntil: at(time.Hour)}},
		}, time.Hour},
		"all is past": {"what is late waits for somebody", &v1alpha1.StepCAStatus{IntermediateRenewalTime: at(-2), IntermediateNotAfter: at(-1)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			k := New(Config{Clock: clocktesting.NewFakePassiveClock(now)})
			s := testCA(nil)
			s.Status.StepCA = c.status
			want := time.Time{}
			if c.want != 0 {
				want = now.Add(c.want)
			}
			if got := k.Next(s); !got.Equal(want) {
				t.Errorf("%s: %s, want %s", c.reason, got, want)
			}
		})
	}
	if got := New(Config{}).Next(testDNS(nil)); !got.IsZero() {
		t.Errorf("a dnsmasq is due at %s", got)
	}
}

func TestWholeSeconds(t *testing.T) {
	if got := wholeSecond(caBorn); !got.Equal(caBorn) {
		t.Errorf("%s is whole", got)
	}
	if got := wholeSecond(caBorn.Add(time.Millisecond)); !got.Equal(caBorn.Add(time.Second)) {
		t.Errorf("%s is too early", got)
	}
}

// Nothing waits for what an authority looks at, and it looks at who trusts it only while a root is replaced.
func TestAuthorityRefs(t *testing.T) {
	secrets := []string{"Secret/ca-root", "Secret/ca-root-key", "Secret/ca-intermediate", "Secret/ca-provisioner"}
	for roots, want := range map[int][]string{
		1: append([]string{"HostService/"}, secrets...), 2: append(append([]string{"HostService/"}, secrets...), "Guest/", "Host/", "Certificate/"),
	} {
		s := testCA(nil)
		s.Status.StepCA = &v1alpha1.StepCAStatus{Roots: make([]v1alpha1.RootStatus, roots)}
		var soft []string
		for _, r := range New(Config{}).Refs(s) {
			switch {
			case r.Condition == "" && !r.Keeps && !r.Needed:
				soft = append(soft, r.Kind+"/"+r.Name)
			case r.Kind != "Guest" || r.Name != "box" || !r.Vanishes || r.Condition != v1alpha1.ReachableCondition:
				t.Errorf("it waits for %+v", r)
			}
		}
		if diff := cmp.Diff(want, soft); diff != "" {
			t.Errorf("%d roots (-want +got):\n%s", roots, diff)
		}
	}
}

func TestForeignTrustMaps(t *testing.T) {
	keys := newCAKeys(t)
	st := newCAStage(keys)
	a := st.built()
	if moves := a.trustMoves(nil); len(moves) != 1 || moves[0].reason != PublishingTrustReason {
		t.Errorf("a missing ConfigMap is written: %+v", moves)
	}
	a.vault.roots = nil
	if moves := a.trustMoves(nil); len(moves) != 0 {
		t.Errorf("without a root there is nothing to publish: %+v", moves)
	}
	var steps []reconcile.Step
	if steps = a.foreignTrust(); len(steps) != 0 {
		t.Errorf("no ConfigMap is nobody's: %+v", steps)
	}
}
