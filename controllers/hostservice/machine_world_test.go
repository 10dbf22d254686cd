// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	"github.com/phoenix-hypervisor/phoenix/controllers/hostservice"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

const (
	svcNamespace = "home"
	// svcPatience bounds how long a test waits for what a machine does in the background.
	svcPatience = 20 * time.Second
)

// atOnce is a clock whose timers fire at once.
type atOnce struct{ clock.RealClock }

func (c atOnce) NewTimer(time.Duration) clock.Timer { return c.RealClock.NewTimer(0) }

// svcDoor is the way to a simulated machine.
type svcDoor struct {
	sim *sim.Machine

	mu      sync.Mutex
	trips   int
	reloads int // of nginx
	away    bool
}

func (d *svcDoor) Run(ctx context.Context, argv []string, stdin []byte) (machine.Result, error) {
	d.mu.Lock()
	d.trips++
	d.reloads += bytes.Count(stdin, []byte("\ntry unit 'reload-or-restart nginx.service'"))
	away := d.away
	d.mu.Unlock()
	if away {
		return machine.Result{}, machine.Away(fmt.Errorf("dial 10.0.0.13: no route to host"))
	}
	var out, errs bytes.Buffer
	exit, err := d.sim.Session(ctx, argv, bytes.NewReader(stdin), &out, &errs)
	if err != nil {
		return machine.Result{}, machine.Away(err)
	}
	return machine.Result{Stdout: out.Bytes(), Stderr: errs.Bytes(), ExitCode: exit}, nil
}

func (d *svcDoor) set(away bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.away = away
}

func (d *svcDoor) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.trips
}

func (d *svcDoor) reloaded() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reloads
}

// svcWorld is a simulated node, an API server's memory, and a manager's loop over HostServices, through the real driver.
type svcWorld struct {
	t      *testing.T
	sim    *sim.Machine
	door   *svcDoor
	client client.Client
	// refusal is what the API server answers to who reads a Secret; nil: the Secret.
	refusal error
	events  *events.FakeRecorder
	loop    *reconcile.Loop[*v1alpha1.HostService, hostservice.Seen]
}

// newSVCWorld makes a world with a Host whose node has the packages, and the address 10.0.0.13.
func newSVCWorld(t *testing.T, installed []string, objects ...client.Object) *svcWorld {
	t.Helper()
	m := sim.New(sim.Options{Hostname: "phoenix", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.13")}, Installed: installed})
	m.Boot()
	t.Cleanup(m.Halt)
	w := &svcWorld{t: t, sim: m, door: &svcDoor{sim: m}}
	w.move(objects...)
	return w
}

// move brings the machine under a new API server, with the objects as they are given, and under a new manager.
func (w *svcWorld) move(objects ...client.Object) {
	w.t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		w.t.Fatal(err)
	}
	host := &v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: "phoenix"}}
	host.Spec.SSH = &v1alpha1.HostSSH{Nodes: []v1alpha1.HostSSHNode{{Name: "phoenix", Address: "10.0.0.13"}}}
	host.Spec.Allow = &v1alpha1.HostAllow{ExportPaths: []string{"/srv"}}
	host.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ReachableCondition, Status: metav1.ConditionTrue, Reason: "Connected"}}
	w.client = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.Guest{}, &v1alpha1.Host{}, &v1alpha1.HostService{}, &v1alpha1.Certificate{}).
		WithObjects(append(objects, host)...).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if _, secret := obj.(*corev1.Secret); secret && w.refusal != nil {
				return w.refusal
			}
			return c.Get(ctx, key, obj, opts...)
		},
	}).Build()
	w.restart()
}

// restart begins another manager over the same machine and the same objects.
func (w *svcWorld) restart() {
	run := machine.New(w.door, machine.Options{Clock: atOnce{}})
	kind := hostservice.New(hostservice.Config{
		Reader: w.client, Clock: clock.RealClock{}, Mark: guest.Tag,
		Machine:  func(context.Context, *v1alpha1.HostService) (*machine.Machine, error) { return run, nil },
		Firewall: func(types.NamespacedName) (hostservice.FirewallSite, bool) { return hostservice.FirewallSite{}, false },
	})
	graph := reconcile.NewGraph(w.client)
	empty := func() *v1alpha1.HostService { return &v1alpha1.HostService{} }
	reconcile.Register(graph, "HostService", kind, empty, func() client.ObjectList { return &v1alpha1.HostServiceList{} })
	reconcile.Register(graph, "Host", svcOther[*v1alpha1.Host]{}, func() *v1alpha1.Host { return &v1alpha1.Host{} },
		func() client.ObjectList { return &v1alpha1.HostList{} })
	reconcile.Register(graph, "Certificate", svcOther[*v1alpha1.Certificate]{}, func() *v1alpha1.Certificate { return &v1alpha1.Certificate{} },
		func() client.ObjectList { return &v1alpha1.CertificateList{} })
	reconcile.Register(graph, "Guest", svcOther[*v1alpha1.Guest]{}, func() *v1alpha1.Guest { return &v1alpha1.Guest{} },
		func() client.ObjectList { return &v1alpha1.GuestList{} })
	w.events = events.NewFakeRecorder(10000)
	w.loop = &reconcile.Loop[*v1alpha1.HostService, hostservice.Seen]{
		Name: "HostService", Kind: kind, New: empty, Client: w.client, Live: w.client, Graph: graph,
		Events: w.events, Clock: clock.RealClock{}, Interval: time.Minute,
		Backoff: workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](time.Millisecond, time.Millisecond),
	}
}

// svcOther stands for a kind that is not under test here.
type svcOther[T reconcile.Object] struct{}

func (svcOther[T]) Refs(T) []reconcile.Ref                       { return nil }
func (svcOther[T]) Observe(context.Context, T) (struct{}, error) { return struct{}{}, nil }
func (svcOther[T]) Plan(T, struct{}) []reconcile.Step            { return nil }
func (svcOther[T]) Remove(T, struct{}) []reconcile.Step          { return nil }
func (svcOther[T]) Report(T, struct{}) []reconcile.Condition     { return nil }

func svcGuest(name string, addresses ...string) *v1alpha1.Guest {
	g := &v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: name}}
	g.Spec.HostRef.Name, g.Spec.Type = "phoenix", v1alpha1.GuestContainer
	svcLook(g, addresses...)
	return g
}

// svcLook is what a look at a Guest tells.
func svcLook(g *v1alpha1.Guest, addresses ...string) {
	g.Status.Addresses = addresses
	running := metav1.Condition{Type: v1alpha1.RunningCondition, Status: metav1.ConditionFalse, Reason: guest.StoppedReason}
	if len(addresses) > 0 {
		running.Status, running.Reason = metav1.ConditionTrue, guest.RunningReason
	}
	meta.SetStatusCondition(&g.Status.Conditions, running)
}

func svcDNS(change func(*v1alpha1.HostService)) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: "dns"}}
	s.Spec.HostRef = &v1alpha1.LocalReference{Name: "phoenix"}
	s.Spec.Dnsmasq = &v1alpha1.Dnsmasq{
		ListenAddresses: []string{"10.0.0.13"}, Domain: "lan", Records: []v1alpha1.DNSRecord{{Name: "nas", Addresses: []string{"10.0.0.20"}}},
	}
	if change != nil {
		change(s)
	}
	return s
}

func (w *svcWorld) create(o client.Object) {
	w.t.Helper()
	if err := w.client.Create(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

func (w *svcWorld) get(name string) *v1alpha1.HostService {
	w.t.Helper()
	s := &v1alpha1.HostService{}
	if err := w.client.Get(w.t.Context(), types.NamespacedName{Namespace: svcNamespace, Name: name}, s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// edit changes a spec, as a person does: the generation goes up.
func (w *svcWorld) edit(name string, change func(*v1alpha1.HostService)) {
	w.t.Helper()
	s := w.get(name)
	change(s)
	s.Generation++
	if err := w.client.Update(w.t.Context(), s); err != nil {
		w.t.Fatal(err)
	}
}

func (w *svcWorld) pass(name string) ctrl.Result {
	w.t.Helper()
	r, err := w.loop.Reconcile(w.t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: svcNamespace, Name: name}})
	if err != nil && !strings.Contains(err.Error(), "terminal error") {
		w.t.Fatalf("pass over %s: %v", name, err)
	}
	return r
}

// until makes passes until Ready is as wanted: its status and reason, and what its message has in it.
func (w *svcWorld) until(name, want, says string) *v1alpha1.HostService {
	w.t.Helper()
	deadline := time.After(svcPatience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		w.pass(name)
		s := w.get(name)
		if got := svcReady(s); strings.HasPrefix(got, want+":") && strings.Contains(got, says) {
			return s
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("%s is %q, want %s with %q; plan %+v", name, svcReady(s), want, says, s.Status.Plan)
		}
	}
}

func (w *svcWorld) ready(name string) *v1alpha1.HostService {
	w.t.Helper()
	return w.until(name, "True InSync", "")
}

// gone makes passes until a deleted object is let go.
func (w *svcWorld) gone(name string) {
	w.t.Helper()
	if err := w.client.Delete(w.t.Context(), w.get(name)); err != nil {
		w.t.Fatal(err)
	}
	deadline := time.After(svcPatience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		w.pass(name)
		s := &v1alpha1.HostService{}
		if err := w.client.Get(w.t.Context(), types.NamespacedName{Namespace: svcNamespace, Name: name}, s); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("%s does not go: %q", name, svcReady(s))
		}
	}
}

// quiet asserts that a pass over an object in sync is one round trip, and writes neither the machine nor the object.
func (w *svcWorld) quiet(name string) {
	w.t.Helper()
	before, trips, writes := w.get(name).ResourceVersion, w.door.count(), w.sim.Writes()
	w.pass(name)
	if after := w.get(name); after.ResourceVersion != before || w.door.count() != trips+1 || w.sim.Writes() != writes {
		w.t.Errorf("a pass in sync: version %s to %s, %d round trips, %d writes; want the same, one and none (%s)",
			before, after.ResourceVersion, w.door.count()-trips, w.sim.Writes()-writes, svcReady(after))
	}
}

// svcText is all that a status shows.
func svcText(s *v1alpha1.HostService) string { return fmt.Sprintf("%+v", s.Status) }

func svcReady(s *v1alpha1.HostService) string { return svcCondition(s, v1alpha1.ReadyCondition) }

func svcCondition(s *v1alpha1.HostService, name string) string {
	c := meta.FindStatusCondition(s.Status.Conditions, name)
	if c == nil {
		return "none"
	}
	return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
}

// shell runs a line on the machine, as a person there would.
func (w *svcWorld) shell(line string) string {
	w.t.Helper()
	var out bytes.Buffer
	exit := w.sim.Shell(w.t.Context(), line, strings.NewReader(""), &out, &out)
	if exit != 0 {
		return fmt.Sprintf("%s(exit %d)", out.String(), exit)
	}
	return out.String()
}

// dig asks the machine's dnsmasq for a name.
func (w *svcWorld) dig(query string) string {
	w.t.Helper()
	return strings.Join(strings.Fields(w.shell("dig +short +time=1 +tries=1 @10.0.0.13 "+query)), " ")
}
