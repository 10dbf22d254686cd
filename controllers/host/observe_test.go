// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

func TestHostIsReady(t *testing.T) {
	s := newStage(t, pve.Options{Nodes: []string{"pve1", "pve2", "pve3"}, Guests: []pve.GuestSpec{
		{VMID: 101, Kind: "lxc", Config: "hostname: nginx\nmemory: 512\ntags: phoenix-of-nginx\n"},
		{VMID: 102, Kind: "lxc", Config: "hostname: other\nmemory: 512\ntags: phoenix-of-somebody\n"},
	}})
	guest := &v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Namespace: "phoenix", Name: "nginx"}}
	if err := s.c.Create(t.Context(), guest); err != nil {
		t.Fatal(err)
	}
	s.sim.SetNodeOnline("pve3", false, 0)
	s.sim.StatusRound() // until then the list says that it is online
	host := s.pass()

	for _, want := range []metav1.Condition{
		{Type: v1alpha1.ReadyCondition, Status: metav1.ConditionTrue, Reason: v1alpha1.InSyncReason},
		{Type: v1alpha1.ReachableCondition, Status: metav1.ConditionTrue, Reason: Answering},
		{Type: v1alpha1.CapableCondition, Status: metav1.ConditionTrue, Reason: Sufficient},
	} {
		got := conditionOf(host, want.Type)
		if got.Status != want.Status || got.Reason != want.Reason {
			t.Errorf("%s is %s (%s: %s), want %s (%s)", want.Type, got.Status, got.Reason, got.Message, want.Status, want.Reason)
		}
	}
	var online []string
	for _, n := range host.Status.Nodes {
		if *n.Online {
			online = append(online, n.Name)
		}
	}
	if diff := cmp.Diff([]string{"pve1", "pve2"}, online); diff != "" || *host.Status.NodesOnline != 2 || len(host.Status.Nodes) != 3 {
		t.Errorf("nodes online (-want +got):\n%s%+v", diff, host.Status)
	}
	if host.Status.Nodes[0].CPUs != 8 || host.Status.Nodes[0].Memory.String() != "32Gi" {
		t.Errorf("capacity of pve1 is %d CPUs and %s, want 8 and 32Gi", host.Status.Nodes[0].CPUs, host.Status.Nodes[0].Memory)
	}
	if !strings.HasPrefix(host.Status.Version, "9.") {
		t.Errorf("version is %q, want 9.something", host.Status.Version)
	}
	if got := host.Status.Guests; *got.Managed != 1 || *got.Unmanaged != 2 {
		t.Errorf("guests are %d managed and %d unmanaged, want 1 and 2 (the template counts)", *got.Managed, *got.Unmanaged)
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(host)
	if err != nil {
		t.Fatal(err)
	}
	if result, err := status.Compute(&unstructured.Unstructured{Object: object}); err != nil || result.Status != status.CurrentStatus {
		t.Errorf("kstatus says %v (%v), want Current", result, err)
	}
	before := host.ResourceVersion
	s.clock.SetTime(s.clock.Now().Add(time.Hour))
	if after := s.pass().ResourceVersion; after != before {
		t.Error("a second pass over an unchanged Host wrote to it")
	}
}

func TestHostTrustsCA(t *testing.T) {
	s := newStage(t, pve.Options{})
	s.respec(func(spec *v1alpha1.HostSpec) {
		spec.TLS = v1alpha1.HostTLS{CASecretRef: &v1alpha1.SecretKeyReference{Name: "ca", Key: "ca.crt"}}
	})
	if got := conditionOf(s.pass(), v1alpha1.ReadyCondition); got.Status != metav1.ConditionTrue {
		t.Errorf("Ready is %s (%s: %s) with the site's own CA", got.Status, got.Reason, got.Message)
	}
}

// strangersKey is a private key that nobody at the site knows.
func strangersKey(t *testing.T) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func strangersCA(t *testing.T) string {
	t.Helper()
	other, err := pve.Start(t.Context(), pve.Options{NoSSH: true})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	return string(other.CAPEM)
}

const nobodysKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// fault is one thing that goes wrong with a Host that was Ready.
type fault struct {
	name, reason string
	breaks       func(*stage)
	// reachable and ready are the reasons of the conditions afterwards.
	reachable, ready string
	says             []string
}

func (f fault) run(t *testing.T) {
	s := newStage(t, pve.Options{Nodes: []string{"pve1", "pve2", "pve3"}})
	if got := conditionOf(s.pass(), v1alpha1.ReadyCondition); got.Status != metav1.ConditionTrue {
		t.Fatalf("Ready is %s (%s: %s) before the fault", got.Status, got.Reason, got.Message)
	}
	f.breaks(s)
	s.clock.SetTime(s.clock.Now().Add(time.Minute)) // past what is remembered
	host := s.pass()
	reachable, ready := conditionOf(host, v1alpha1.ReachableCondition), conditionOf(host, v1alpha1.ReadyCondition)
	if reachable.Reason != f.reachable || (reachable.Status == metav1.ConditionTrue) != (f.reachable == Answering) {
		t.Errorf("Reachable is %s (%s: %s), want reason %s: %s", reachable.Status, reachable.Reason, reachable.Message, f.reachable, f.reason)
	}
	if ready.Reason != f.ready || ready.Status != metav1.ConditionFalse {
		t.Errorf("Ready is %s (%s: %s), want False (%s): %s", ready.Status, ready.Reason, ready.Message, f.ready, f.reason)
	}
	for _, text := range f.says {
		text = strings.NewReplacer("{fingerprint}", s.sim.Fingerprint, "{url}", s.sim.URL).Replace(text)
		if !strings.Contains(ready.Message, text) {
			t.Errorf("the message does not say %q: %s", text, ready.Message)
		}
	}
	if strings.Contains(ready.Message, s.sim.TokenSecret) {
		t.Errorf("the message shows the token: %s", ready.Message)
	}
	before := host.ResourceVersion
	if after := s.pass().ResourceVersion; after != before {
		t.Errorf("the same fault was written twice: %s\nthen: %s", ready.Message, conditionOf(s.host(), v1alpha1.ReadyCondition).Message)
	}
}

func TestEndpointFaults(t *testing.T) {
	for _, f := range []fault{
		{
			"endpoint away", "nothing listens at the URL", func(s *stage) { s.sim.Suspend() },
			Unreachable, Unreachable, []string{"reach {url}: connection refused"},
		},
		{
			"connection cut", "every connection breaks; the message must not hold a local port", func(s *stage) {
				s.sim.Inject(pve.Fault{Path: "/**", Cut: pve.CutBefore})
			}, Unreachable, Unreachable, []string{"reach {url}: "},
		},
		{
			"595", "a proxy gets no answer from the node", func(s *stage) { s.sim.Inject(pve.Fault{Path: "/version", Status: 595}) },
			Unreachable, Unreachable, []string{"595"},
		},
		{
			"401", "the token has expired", func(s *stage) { s.sim.ExpireCredentials(true) },
			Unauthorized, Unauthorized, []string{"Secret/token", "tokenID", "expired"},
		},
		{
			"403", "the token may not even ask", func(s *stage) {
				s.sim.Inject(pve.Fault{Path: "/nodes", Status: http.StatusForbidden, Reason: "Permission check failed (/nodes, Sys.Audit)"})
			}, Forbidden, Forbidden, []string{"Secret/token", "Permission check failed (/nodes, Sys.Audit)"},
		},
		{
			"wrong fingerprint", "the message shows what is served, to compare and pin", func(s *stage) {
				s.respec(func(spec *v1alpha1.HostSpec) { spec.TLS.Fingerprint = strings.Repeat("AB", 32) })
			}, CertificateMismatch, CertificateMismatch, []string{"{fingerprint}", strings.Repeat("AB", 32), "pvenode cert info"},
		},
		{
			"wrong CA", "the message shows what is served", func(s *stage) {
				s.setSecret("ca", "ca.crt", strangersCA(s.t))
				s.respec(func(spec *v1alpha1.HostSpec) {
					spec.TLS = v1alpha1.HostTLS{CASecretRef: &v1alpha1.SecretKeyReference{Name: "ca", Key: "ca.crt"}}
				})
			}, CertificateMismatch, CertificateMismatch, []string{"{fingerprint}", "entry ca.crt of Secret/ca", "no authority there has signed it"},
		},
		{
			"missing Secret", "it may come later", func(s *stage) {
				s.respec(func(spec *v1alpha1.HostSpec) { spec.TokenSecretRef.Name = "nowhere" })
			}, "SecretMissing", "SecretMissing", []string{"Secret/nowhere", "tokenID"},
		},
		{
			"missing entry", "the message names it", func(s *stage) { s.setSecret("token", "tokenSecret", "") },
			"SecretMissing", "SecretMissing", []string{"Secret/token", "entry tokenSecret"},
		},
		{
			"malformed token", "user without a token name", func(s *stage) { s.setSecret("token", "tokenID", "root@pam") },
			"SecretInvalid", "SecretInvalid", []string{"user@realm!name", "Secret/token"},
		},
		{
			"CA without a certificate", "the message names the entry", func(s *stage) {
				s.setSecret("ca", "ca.crt", "no PEM")
				s.respec(func(spec *v1alpha1.HostSpec) {
					spec.TLS = v1alpha1.HostTLS{CASecretRef: &v1alpha1.SecretKeyReference{Name: "ca", Key: "ca.crt"}}
				})
			}, "SecretInvalid", "SecretInvalid", []string{"entry ca.crt of Secret/ca"},
		},
		{
			"no quorum", "the API answers, and refuses every change", func(s *stage) { s.sim.SetQuorum(false) },
			Answering, NoQuorum, []string{"no quorum"},
		},
	} {
		t.Run(f.name, f.run)
	}
}

func TestSSHFaults(t *testing.T) {
	for _, f := range []fault{
		{
			"missing key", "the API works without SSH", func(s *stage) { s.setSecret("ssh", "id", "") },
			Answering, "SecretMissing", []string{"Secret/ssh", "entry id"},
		},
		{
			"bad key", "an entry that is no key", func(s *stage) { s.setSecret("ssh", "id", "not a key") },
			Answering, "SecretInvalid", []string{"entry id of Secret/ssh", "private key"},
		},
		{
			"refused key", "a key that nobody there knows", func(s *stage) { s.setSecret("ssh", "id", strangersKey(s.t)) },
			Answering, SSHUnauthorized, []string{"node pve1", "authorized_keys"},
		},
		{
			"host key mismatch", "the message shows the key that the node has", func(s *stage) {
				s.respec(func(spec *v1alpha1.HostSpec) { spec.SSH.Nodes[1].HostKeys = []string{nobodysKey} })
			}, Answering, HostKeyMismatch, []string{"node pve2", "SHA256:", "ssh-keygen -lf"},
		},
		{
			"unknown node", "a name that the site does not have", func(s *stage) {
				s.respec(func(spec *v1alpha1.HostSpec) { spec.SSH.Nodes[2].Name = "pve9" })
			}, Answering, UnknownNode, []string{"pve9", "pve1, pve2, pve3"},
		},
		{
			"unreachable", "nothing listens there", func(s *stage) {
				s.respec(func(spec *v1alpha1.HostSpec) { spec.SSH.Nodes[0].Address = "127.0.0.1:1" })
			}, Answering, SSHUnreachable, []string{"node pve1 (127.0.0.1:1)", "connection refused"},
		},
	} {
		t.Run(f.name, f.run)
	}
}

func TestHostRecovers(t *testing.T) {
	s := newStage(t, pve.Options{})
	s.sim.Suspend()
	if got := conditionOf(s.pass(), v1alpha1.ReachableCondition); got.Reason != Unreachable {
		t.Fatalf("Reachable is %s, want %s", got.Reason, Unreachable)
	}
	if err := s.sim.Resume(); err != nil {
		t.Fatal(err)
	}
	if got := conditionOf(s.pass(), v1alpha1.ReadyCondition); got.Status != metav1.ConditionTrue {
		t.Errorf("Ready is %s (%s: %s) after the endpoint came back", got.Status, got.Reason, got.Message)
	}
}

func TestTokenWithoutPrivileges(t *testing.T) {
	s := newStage(t, pve.Options{})
	s.sim.AddUser("phoenix@pve", "")
	id, value := s.sim.AddToken("phoenix@pve", "least", false)
	s.sim.Grant("/", "phoenix@pve", "PVEAuditor")
	s.setSecret("token", "tokenID", id)
	s.setSecret("token", "tokenSecret", value)
	guest := &v1alpha1.Guest{
		ObjectMeta: metav1.ObjectMeta{Namespace: "phoenix", Name: "portainer"},
		Spec: v1alpha1.GuestSpec{
			Type: v1alpha1.GuestVM, Source: &v1alpha1.GuestSource{Clone: &v1alpha1.CloneSource{VMID: ptr.To(int32(9000))}},
		},
	}
	if err := s.c.Create(t.Context(), guest); err != nil {
		t.Fatal(err)
	}
	host := s.pass()
	capable, ready := conditionOf(host, v1alpha1.CapableCondition), conditionOf(host, v1alpha1.ReadyCondition)
	if capable.Status != metav1.ConditionFalse || ready.Reason != MissingPrivileges || ready.Status != metav1.ConditionFalse {
		t.Errorf("Capable is %s, Ready is %s (%s), want False, False (%s)", capable.Status, ready.Status, ready.Reason, MissingPrivileges)
	}
	if want := "VM.Clone on /vms/9000: needed to clone a template (Guest/portainer)"; !strings.Contains(capable.Message, want) {
		t.Errorf("Capable does not say %q: %s", want, capable.Message)
	}
	if got := conditionOf(host, v1alpha1.ReachableCondition); got.Status != metav1.ConditionTrue {
		t.Errorf("Reachable is %s: a token that may do little reaches the Host all the same", got.Status)
	}
	s.sim.Grant("/", "phoenix@pve", "PVEAdmin")
	s.clock.SetTime(s.clock.Now().Add(time.Minute))
	if got := conditionOf(s.pass(), v1alpha1.CapableCondition); got.Status != metav1.ConditionTrue {
		t.Errorf("Capable is %s (%s) with the role PVEAdmin", got.Status, got.Message)
	}
}

func TestPassesShareAnswers(t *testing.T) {
	s := newStage(t, pve.Options{})
	s.pass()
	s.sim.ForgetRequests()
	s.pass()
	if n := len(s.sim.Requests()); n != 0 {
		t.Errorf("a second pass within %s made %d requests, want none", memory, n)
	}
	s.clock.SetTime(s.clock.Now().Add(memory))
	s.pass()
	if n := s.sim.CountRequests(http.MethodGet, "/version"); n != 1 {
		t.Errorf("a pass after %s asked for the version %d times, want once", memory, n)
	}
}

func TestDeletedHostGoesThoughAway(t *testing.T) {
	s := newStage(t, pve.Options{})
	s.pass()
	var token corev1.Secret
	name := hostName
	name.Name = "token"
	if err := s.c.Get(t.Context(), name, &token); err != nil || len(token.Finalizers) != 1 {
		t.Fatalf("the token has finalizers %v (%v), want the one that keeps it", token.Finalizers, err)
	}
	s.sim.Suspend()
	if err := s.c.Delete(t.Context(), s.host()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.loop.Reconcile(t.Context(), ctrl.Request{NamespacedName: hostName}); err != nil {
		t.Fatal(err)
	}
	var hosts v1alpha1.HostList
	if err := s.c.List(t.Context(), &hosts); err != nil || len(hosts.Items) != 0 {
		t.Errorf("%d Hosts are left (%v), want none: a Host owns nothing outside", len(hosts.Items), err)
	}
	if err := s.c.Get(t.Context(), name, &token); err != nil || len(token.Finalizers) != 0 {
		t.Errorf("the token has finalizers %v (%v), want none", token.Finalizers, err)
	}
}
