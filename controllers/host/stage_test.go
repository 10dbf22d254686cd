// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/site"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

var hostName = types.NamespacedName{Namespace: "phoenix", Name: "phoenix"}

const hostUID types.UID = "host-uid"

// stage is a Host on a simulated site, under the real loop.
type stage struct {
	t     *testing.T
	sim   *pve.Server
	c     client.Client
	kind  *Kind
	pool  *site.Pool
	clock *clocktesting.FakePassiveClock
	loop  *reconcile.Loop[*v1alpha1.Host, Seen]
}

type connection struct {
	*proxmox.Client
	*site.Site
}

func newStage(t *testing.T, opts pve.Options) *stage {
	t.Helper()
	sim, err := pve.Start(t.Context(), opts)
	if err != nil {
		t.Fatalf("start the simulated site: %v", err)
	}
	t.Cleanup(sim.Close)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, metav1.AddMetaToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	s := &stage{t: t, sim: sim, clock: clocktesting.NewFakePassiveClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))}
	s.c = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.Host{}, &v1alpha1.Guest{}).WithObjects(s.objects()...).Build()
	s.pool = site.NewPool(site.Options{Secrets: s.c})
	t.Cleanup(func() {
		s.pool.Drop(&v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Namespace: hostName.Namespace, Name: hostName.Name, UID: hostUID}})
	})
	s.kind = &Kind{Clock: s.clock, Connect: s.connect, Guests: s.guests, Services: s.services, Mark: func(_ *v1alpha1.Host, g *v1alpha1.Guest) string { return "phoenix-of-" + g.Name }}
	graph := reconcile.NewGraph(s.c)
	newHost := func() *v1alpha1.Host { return &v1alpha1.Host{} }
	reconcile.Register(graph, "Host", s.kind, newHost, func() client.ObjectList { return &v1alpha1.HostList{} })
	s.loop = &reconcile.Loop[*v1alpha1.Host, Seen]{
		Name: "Host", Kind: s.kind, New: newHost, Client: s.c, Live: s.c, Graph: graph, Events: events.NewFakeRecorder(100),
		Clock: s.clock, Interval: time.Minute, Backoff: reconcile.NewBackoff(),
	}
	return s
}

// objects are a Host with all it names.
func (s *stage) objects() []client.Object {
	about := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: hostName.Namespace, Name: name}
	}
	host := &v1alpha1.Host{ObjectMeta: about(hostName.Name), Spec: v1alpha1.HostSpec{
		URL:            s.sim.URL,
		TLS:            v1alpha1.HostTLS{Fingerprint: s.sim.Fingerprint},
		TokenSecretRef: v1alpha1.LocalReference{Name: "token"},
	}}
	host.UID, host.Generation = hostUID, 1
	objects := []client.Object{
		host,
		&corev1.Secret{ObjectMeta: about("token"), Data: map[string][]byte{
			site.TokenIDEntry: []byte(s.sim.TokenID), site.TokenSecretEntry: []byte(s.sim.TokenSecret),
		}},
		&corev1.Secret{ObjectMeta: about("ca"), Data: map[string][]byte{"ca.crt": s.sim.CAPEM}},
	}
	if len(s.sim.SSH) > 0 {
		host.Spec.SSH = &v1alpha1.HostSSH{KeySecretRef: v1alpha1.SecretKeyReference{Name: "ssh", Key: "id"}}
		for _, n := range s.sim.SSH {
			host.Spec.SSH.Nodes = append(host.Spec.SSH.Nodes, v1alpha1.HostSSHNode{Name: n.Name, Address: n.Address, HostKeys: []string{strings.TrimSpace(n.HostKey)}})
		}
		objects = append(objects, &corev1.Secret{ObjectMeta: about("ssh"), Data: map[string][]byte{"id": s.sim.SSH[0].ClientKeyPEM}})
	}
	return objects
}

func (s *stage) connect(ctx context.Context, host *v1alpha1.Host) (Site, error) {
	made, err := s.pool.Connect(ctx, host)
	if err != nil {
		return nil, err
	}
	return connection{made.API().Client(), made}, nil
}

func (s *stage) guests(ctx context.Context, host *v1alpha1.Host) ([]v1alpha1.Guest, error) {
	var list v1alpha1.GuestList
	err := s.c.List(ctx, &list, client.InNamespace(host.Namespace))
	return list.Items, err
}

func (s *stage) services(ctx context.Context, host *v1alpha1.Host) ([]v1alpha1.HostService, error) {
	var list v1alpha1.HostServiceList
	err := s.c.List(ctx, &list, client.InNamespace(host.Namespace))
	return list.Items, err
}

// pass makes one pass and returns the Host after it.
func (s *stage) pass() *v1alpha1.Host {
	s.t.Helper()
	if _, err := s.loop.Reconcile(s.t.Context(), ctrl.Request{NamespacedName: hostName}); err != nil {
		s.t.Fatalf("reconcile: %v", err)
	}
	return s.host()
}

func (s *stage) host() *v1alpha1.Host {
	s.t.Helper()
	var host v1alpha1.Host
	if err := s.c.Get(s.t.Context(), hostName, &host); err != nil {
		s.t.Fatal(err)
	}
	return &host
}

// respec changes the Host's spec as a user does.
func (s *stage) respec(change func(*v1alpha1.HostSpec)) {
	s.t.Helper()
	host := s.host()
	change(&host.Spec)
	host.Generation++
	if err := s.c.Update(s.t.Context(), host); err != nil {
		s.t.Fatal(err)
	}
}

// setSecret writes one entry of a Secret; an empty value takes it out.
func (s *stage) setSecret(name, key, value string) {
	s.t.Helper()
	var secret corev1.Secret
	if err := s.c.Get(s.t.Context(), types.NamespacedName{Namespace: hostName.Namespace, Name: name}, &secret); err != nil {
		s.t.Fatal(err)
	}
	delete(secret.Data, key)
	if value != "" {
		secret.Data[key] = []byte(value)
	}
	if err := s.c.Update(s.t.Context(), &secret); err != nil {
		s.t.Fatal(err)
	}
}

func conditionOf(host *v1alpha1.Host, kind string) metav1.Condition {
	if c := meta.FindStatusCondition(host.Status.Conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}
