// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// patience is how long anything here may take before the benchmark gives up.
const patience = 4 * time.Minute

// stage is a namespace with a Host for a simulated site.
type stage struct {
	*testing.B
	ctx       context.Context
	namespace string
	site      *pve.Server
	// kube counts what the manager asks the API server.
	kube traffic
}

// newStage makes a site and Host "site" for it. limits are the Host's; nil: the defaults.
func newStage(b *testing.B, opts pve.Options, limits *v1alpha1.HostLimits) *stage {
	b.Helper()
	s := emptyStage(b)
	server, err := pve.Start(s.ctx, opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.Close)
	s.site = server
	s.secret("token", map[string]string{"tokenID": server.TokenID, "tokenSecret": server.TokenSecret})
	host := &v1alpha1.Host{ObjectMeta: s.meta("site"), Spec: v1alpha1.HostSpec{
		URL: server.URL, TLS: v1alpha1.HostTLS{Fingerprint: server.Fingerprint},
		TokenSecretRef: v1alpha1.LocalReference{Name: "token"}, Limits: limits,
		Defaults: &v1alpha1.HostDefaults{Storage: "local-lvm"},
	}}
	if len(server.SSH) > 0 {
		s.secret("ssh", map[string]string{"id": string(server.SSH[0].ClientKeyPEM)})
		host.Spec.SSH = &v1alpha1.HostSSH{KeySecretRef: v1alpha1.SecretKeyReference{Name: "ssh", Key: "id"}}
		for _, n := range server.SSH {
			host.Spec.SSH.Nodes = append(host.Spec.SSH.Nodes, v1alpha1.HostSSHNode{Name: n.Name, Address: n.Address, HostKeys: []string{n.HostKey}})
		}
	}
	s.create(host)
	return s
}

// emptyStage makes a namespace alone.
func emptyStage(b *testing.B) *stage {
	b.Helper()
	if err := startPlane(); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	s := &stage{B: b, ctx: ctx}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"}}
	s.create(ns)
	s.namespace = ns.Name
	return s
}

func (s *stage) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: s.namespace}
}

func (s *stage) create(o client.Object) {
	s.Helper()
	if err := kube.Create(s.ctx, o); err != nil {
		s.Fatal(err)
	}
}

func (s *stage) secret(name string, data map[string]string) {
	s.Helper()
	s.create(&corev1.Secret{ObjectMeta: s.meta(name), StringData: data})
}

// container declares a small container with the nth address.
func (s *stage) container(n int) *v1alpha1.Guest {
	return &v1alpha1.Guest{ObjectMeta: s.meta(fmt.Sprintf("ct%03d", n)), Spec: v1alpha1.GuestSpec{
		HostRef: v1alpha1.LocalReference{Name: "site"}, Type: v1alpha1.GuestContainer,
		Source:   &v1alpha1.GuestSource{Template: "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"},
		Cores:    ptr.To[int32](1),
		Networks: []v1alpha1.Network{static(n)},
	}}
}

// machine declares a small VM with a guest agent and the nth address.
func (s *stage) machine(n int) *v1alpha1.Guest {
	return &v1alpha1.Guest{ObjectMeta: s.meta(fmt.Sprintf("vm%03d", n)), Spec: v1alpha1.GuestSpec{
		HostRef: v1alpha1.LocalReference{Name: "site"}, Type: v1alpha1.GuestVM,
		Source:    &v1alpha1.GuestSource{Clone: &v1alpha1.CloneSource{VMID: ptr.To[int32](9000)}},
		CloudInit: &v1alpha1.CloudInit{User: "debian"}, Agent: ptr.To(true),
		Networks: []v1alpha1.Network{static(n)},
	}}
}

func static(n int) v1alpha1.Network {
	return v1alpha1.Network{Device: "net0", IPv4: &v1alpha1.IPv4{
		Method: v1alpha1.IPStatic, Address: fmt.Sprintf("10.0.%d.%d/16", 1+n/200, 1+n%200),
	}}
}

// manage runs a manager until the benchmark ends, or stop is called.
func (s *stage) manage(o controllers.Options) (stop func()) {
	s.Helper()
	o.Namespace, o.SkipNameValidation, o.Logger = s.namespace, true, logr.Discard()
	cfg := rest.CopyConfig(config)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return counted{next, &s.kube} })
	mgr, err := controllers.NewManager(cfg, o)
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			s.Errorf("the manager ended with: %v", err)
		}
	})
	s.Cleanup(stop)
	return stop
}

// ready waits until n Guests are Ready and in sync.
func (s *stage) ready(n int) {
	s.Helper()
	var last string
	for end := time.Now().Add(patience); time.Now().Before(end); s.pause(100 * time.Millisecond) {
		var guests v1alpha1.GuestList
		if err := kube.List(s.ctx, &guests, client.InNamespace(s.namespace)); err != nil {
			s.Fatal(err)
		}
		settled := 0
		for _, g := range guests.Items {
			c := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ReadyCondition)
			switch {
			case c != nil && c.Status == metav1.ConditionTrue && c.Reason == v1alpha1.InSyncReason:
				settled++
			case c != nil:
				last = g.Name + ": " + c.Reason + ": " + c.Message
			}
		}
		if settled == n {
			return
		}
	}
	s.Fatalf("%d Guests are not Ready within %s: %s", n, patience, last)
}

// pause lets time pass.
func (s *stage) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
}

// traffic counts requests to the API server.
type traffic struct {
	mu            sync.Mutex
	reads, writes int
}

func (t *traffic) counts() (reads, writes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reads, t.writes
}

type counted struct {
	next http.RoundTripper
	to   *traffic
}

func (c counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.to.mu.Lock()
	switch {
	case r.Method != http.MethodGet:
		c.to.writes++
	case r.URL.Query().Get("watch") == "":
		c.to.reads++
	}
	c.to.mu.Unlock()
	return c.next.RoundTrip(r)
}
