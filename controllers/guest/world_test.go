// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
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
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/authority"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/pin"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/secret"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
	simulated "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const (
	namespace = "lab"
	template  = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"
	patience  = 30 * time.Second
)

// world is a simulated site, an API server's memory, and one manager's loop over Guests, through the real driver.
type world struct {
	t      *testing.T
	sim    *pve.Server
	client client.Client
	// outside are the roots that authorities outside show, by their URL.
	outside map[string]*x509.Certificate
	asked   *atomic.Int64
	*manager
}

// fetchRoot is a question to an authority outside.
func (w *world) fetchRoot(_ context.Context, url, fingerprint string) (*x509.Certificate, error) {
	w.asked.Add(1)
	cert := w.outside[url]
	switch {
	case cert == nil:
		return nil, &stepca.Error{Kind: stepca.Away, URL: url, Err: syscall.ECONNREFUSED}
	case stepca.Fingerprint(cert) != fingerprint:
		return nil, &stepca.Error{Kind: stepca.Untrusted, URL: url, Err: errors.New("the fingerprint is another")}
	}
	return cert, nil
}

// manager is what dies with a manager's process.
type manager struct {
	site    *proxmox.Site
	loop    *reconcile.Loop[*v1alpha1.Guest, guest.Seen]
	changed chan struct{}
	noShell atomic.Bool
	inside  map[int]*inside // guests that are worked in, by VMID
}

// inside is a simulated machine as what it is in: reached through its agent, or its node.
type inside struct {
	*simulated.Machine
	driver *machine.Machine
	away   atomic.Bool
	trips  atomic.Int64
}

// Run runs a command in the VM, unless it is away.
func (i *inside) Run(ctx context.Context, argv []string, stdin []byte) (machine.Result, error) {
	i.trips.Add(1)
	if i.away.Load() {
		return machine.Result{}, machine.Away(errors.New("the agent does not answer"))
	}
	var stdout, stderr bytes.Buffer
	exit, err := i.Session(ctx, argv, bytes.NewReader(stdin), &stdout, &stderr)
	if err != nil {
		return machine.Result{}, machine.Away(err)
	}
	return machine.Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), ExitCode: exit}, nil
}

// behind puts a simulated machine behind a VM.
func (w *world) behind(vmid int, m *simulated.Machine) *inside {
	i := &inside{Machine: m}
	i.driver = machine.New(i, machine.Options{})
	w.inside[vmid] = i
	return i
}

// hasty is a clock whose timers go off a hundred times too soon.
type hasty struct{ clock.RealClock }

func (hasty) NewTimer(d time.Duration) clock.Timer   { return clock.RealClock{}.NewTimer(d / 100) }
func (hasty) NewTicker(d time.Duration) clock.Ticker { return clock.RealClock{}.NewTicker(d / 100) }

func TestMain(m *testing.M) {
	log.SetLogger(zap.New(zap.WriteTo(io.Discard)))
	os.Exit(m.Run())
}

func newWorld(t *testing.T, o pve.Options) *world {
	t.Helper()
	sim, err := pve.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	host := &v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "home"}}
	host.Spec.Defaults = &v1alpha1.HostDefaults{Storage: "local-lvm", Gateway: "10.0.0.1", Nameservers: []string{"10.0.0.13"}, Domain: "lan"}
	host.Spec.Allow = &v1alpha1.HostAllow{BindMountPaths: []string{"/srv"}, ExportPaths: []string{"/exports"}}
	for _, n := range o.Nodes {
		host.Status.Nodes = append(host.Status.Nodes, v1alpha1.HostNode{Name: n, Online: ptr(true)})
	}
	if len(o.Nodes) == 0 {
		host.Status.Nodes = []v1alpha1.HostNode{{Name: "phoenix", Online: ptr(true)}}
	}
	host.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ReachableCondition, Status: metav1.ConditionTrue, Reason: "Connected"}}
	w := &world{t: t, sim: sim, asked: &atomic.Int64{}, outside: map[string]*x509.Certificate{}, client: fake.NewClientBuilder().WithScheme(scheme).
		WithStatusSubresource(&v1alpha1.Guest{}, &v1alpha1.Host{}, &v1alpha1.HostService{}).WithObjects(host).Build()}
	w.manager = w.start()
	return w
}

// start begins another manager over the same site and the same objects.
func (w *world) start() *manager {
	w.t.Helper()
	m := &manager{changed: make(chan struct{}, 1), inside: map[int]*inside{}}
	var err error
	m.site, err = proxmox.NewSite(proxmox.SiteOptions{
		Endpoint: proxmox.Endpoint{
			URL: w.sim.URL, TokenID: w.sim.TokenID, TokenSecret: secret.Secret(w.sim.TokenSecret), TLS: pin.Config{Fingerprint: w.sim.Fingerprint},
			Limits: proxmox.Limits{RequestsPerSecond: 1e6, Burst: 1e6},
		},
		Clock: hasty{},
		OnChange: func([]int) {
			select {
			case m.changed <- struct{}{}:
			default:
			}
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); m.site.Run(ctx) }()
	w.t.Cleanup(func() { cancel(); <-done })
	m.loop = w.newLoop(m)
	return m
}

func (w *world) newLoop(m *manager) *reconcile.Loop[*v1alpha1.Guest, guest.Seen] {
	shells := map[string]guest.Shell{}
	for _, node := range w.sim.SSH {
		conn, err := machine.Dial(machine.SSH{Address: node.Address, Key: secret.Secret(node.ClientKeyPEM), HostKeys: []string{node.HostKey}})
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = conn.Close() })
		shells[node.Name] = conn
	}
	kind := guest.New(guest.Config{
		Reader: w.client, Secrets: w.client, Clock: clock.RealClock{},
		Sites: func(types.NamespacedName) (guest.Site, bool) { return guest.On(m.site), true },
		Shell: func(_ types.NamespacedName, node string) (guest.Shell, bool) {
			s, ok := shells[node]
			return s, ok && !m.noShell.Load()
		},
		Machine: func(_ context.Context, g *v1alpha1.Guest) (*machine.Machine, error) {
			return m.inside[int(*g.Status.VMID)].driver, nil
		},
		Authorities: &authority.Book{Reader: w.client, Fetch: w.fetchRoot, Clock: clock.RealClock{}},
	})
	graph := reconcile.NewGraph(w.client)
	newGuest := func() *v1alpha1.Guest { return &v1alpha1.Guest{} }
	reconcile.Register(graph, "Guest", kind, newGuest, func() client.ObjectList { return &v1alpha1.GuestList{} })
	reconcile.Register(graph, "Host", plain[*v1alpha1.Host]{}, func() *v1alpha1.Host { return &v1alpha1.Host{} }, func() client.ObjectList { return &v1alpha1.HostList{} })
	reconcile.Register(graph, "HostService", plain[*v1alpha1.HostService]{}, func() *v1alpha1.HostService { return &v1alpha1.HostService{} },
		func() client.ObjectList { return &v1alpha1.HostServiceList{} })
	return &reconcile.Loop[*v1alpha1.Guest, guest.Seen]{
		Name: "Guest", Kind: kind, New: newGuest, Client: w.client, Live: w.client, Graph: graph,
		Events: events.NewFakeRecorder(10000), Clock: clock.RealClock{}, Interval: time.Minute,
		Backoff: workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](time.Millisecond, time.Millisecond),
	}
}

// plain stands for a kind that is not under test here.
type plain[T reconcile.Object] struct{}

func (plain[T]) Refs(T) []reconcile.Ref                       { return nil }
func (plain[T]) Observe(context.Context, T) (struct{}, error) { return struct{}{}, nil }
func (plain[T]) Plan(T, struct{}) []reconcile.Step            { return nil }
func (plain[T]) Remove(T, struct{}) []reconcile.Step          { return nil }
func (plain[T]) Report(T, struct{}) []reconcile.Condition     { return nil }

func ptr[T any](v T) *T { return &v }

func size(s string) *v1alpha1.Size { return ptr(v1alpha1.MustParseSize(s)) }

// container is a Guest with a template; vm is one cloned from VM 9000.
func container(name string, edit func(*v1alpha1.GuestSpec)) *v1alpha1.Guest {
	return object(name, v1alpha1.GuestContainer, &v1alpha1.GuestSource{Template: template}, edit)
}

func vm(name string, edit func(*v1alpha1.GuestSpec)) *v1alpha1.Guest {
	return object(name, v1alpha1.GuestVM, &v1alpha1.GuestSource{Clone: &v1alpha1.CloneSource{VMID: ptr(int32(9000))}}, edit)
}

func object(name string, t v1alpha1.GuestType, source *v1alpha1.GuestSource, edit func(*v1alpha1.GuestSpec)) *v1alpha1.Guest {
	g := &v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	g.Spec.Type, g.Spec.Source = t, source
	g.Spec.HostRef.Name = "home"
	if edit != nil {
		edit(&g.Spec)
	}
	return g
}

func (w *world) create(objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		if err := w.client.Create(w.t.Context(), o); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) get(name string) *v1alpha1.Guest {
	w.t.Helper()
	var g v1alpha1.Guest
	if err := w.client.Get(w.t.Context(), types.NamespacedName{Namespace: namespace, Name: name}, &g); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil
		}
		w.t.Fatal(err)
	}
	return &g
}

// change edits a Guest's spec as a person does.
func (w *world) change(name string, edit func(*v1alpha1.Guest)) {
	w.t.Helper()
	g := w.get(name)
	edit(g)
	g.Generation++
	if err := w.client.Update(w.t.Context(), g); err != nil {
		w.t.Fatal(err)
	}
}

// host edits the Host.
func (w *world) host(edit func(*v1alpha1.Host)) {
	w.t.Helper()
	var h v1alpha1.Host
	if err := w.client.Get(w.t.Context(), types.NamespacedName{Namespace: namespace, Name: "home"}, &h); err != nil {
		w.t.Fatal(err)
	}
	edit(&h)
	if err := w.client.Update(w.t.Context(), &h); err != nil {
		w.t.Fatal(err)
	}
}

// pass makes one pass over a Guest.
func (w *world) pass(name string) {
	w.t.Helper()
	key := types.NamespacedName{Namespace: namespace, Name: name}
	// A stall is the loop's terminal error: the condition says it.
	_, _ = w.loop.Reconcile(w.t.Context(), ctrl.Request{NamespacedName: key})
}

// until makes passes over Guests until all are as wanted.
func (w *world) until(what string, is func(*v1alpha1.Guest) bool, names ...string) {
	w.t.Helper()
	deadline := time.After(patience)
	for {
		done := true
		for _, name := range names {
			w.pass(name)
			done = is(w.get(name)) && done
		}
		if done {
			return
		}
		select {
		case <-w.changed:
		case <-time.After(2 * time.Millisecond):
		case <-deadline:
			for _, name := range names {
				w.t.Log(w.describe(name))
			}
			w.t.Fatalf("waited in vain until %s", what)
		}
	}
}

func (w *world) describe(name string) string {
	g := w.get(name)
	if g == nil {
		return name + " is gone"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: vmid %v node %q task %v", name, g.Status.VMID, g.Status.Node, g.Status.Task)
	for _, c := range g.Status.Conditions {
		fmt.Fprintf(&b, "\n  %s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message)
	}
	for _, p := range g.Status.Plan {
		fmt.Fprintf(&b, "\n  plan %s %s: %s -> %s (%s)", p.Reason, p.Field, p.From, p.To, p.Impact)
	}
	for _, s := range w.sim.Guests() {
		fmt.Fprintf(&b, "\n  %s %d on %s running=%v lock=%q\n%s", s.Kind, s.VMID, s.Node, s.Running, s.Lock, s.Config)
	}
	return b.String()
}

// ready waits until Guests are Ready, and then makes sure that nothing is left to do: further passes write nothing, neither
// to the site nor to the object.
func (w *world) ready(names ...string) {
	w.t.Helper()
	w.until("all are Ready", isReady, names...)
	writes := len(w.sim.Writes())
	// A guest that still boots changes by itself: what counts is that it comes to rest.
	rest := map[string]string{}
	w.until("passes write no status", func(g *v1alpha1.Guest) bool {
		before := rest[g.Name]
		rest[g.Name] = g.ResourceVersion
		return before == g.ResourceVersion && isReady(g)
	}, names...)
	if now := w.sim.Writes(); len(now) != writes {
		w.t.Errorf("a pass in sync wrote to the site: %v", now[writes:])
	}
}

func isReady(g *v1alpha1.Guest) bool {
	return g != nil && meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ReadyCondition) && g.Status.Task == nil
}

// because says that Ready is False with a reason.
func because(reason string) func(*v1alpha1.Guest) bool {
	return func(g *v1alpha1.Guest) bool {
		c := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ReadyCondition)
		return c != nil && c.Status != metav1.ConditionTrue && c.Reason == reason
	}
}

func message(g *v1alpha1.Guest) string {
	return meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ReadyCondition).Message
}

func gone(g *v1alpha1.Guest) bool { return g == nil }

// delete deletes a Guest as a person does.
func (w *world) delete(name string) {
	w.t.Helper()
	if err := w.client.Delete(w.t.Context(), w.get(name)); err != nil {
		w.t.Fatal(err)
	}
}

// site returns a guest of the site.
func (w *world) state(vmid int) pve.GuestState {
	w.t.Helper()
	s, ok := w.sim.Guest(vmid)
	if !ok {
		w.t.Fatalf("guest %d is not there", vmid)
	}
	return s
}

// count is how many guests the site has, the template aside.
func (w *world) count() int { return len(w.sim.Guests()) - 1 }
