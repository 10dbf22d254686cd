// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	"github.com/phoenix-hypervisor/phoenix/controllers/hostservice"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

// caWorld is a simulated container with a real step-ca in it, an API server's memory, a clock for all of them, and a
// manager's loop over HostServices.
type caWorld struct {
	*svcWorld
	clock  *clocktesting.FakeClock
	mirror *sim.Mirror
	writes *apiWrites
	// deaf has Phoenix not reach the authority.
	deaf bool
}

// apiWrites are the writes of Secrets and ConfigMaps.
type apiWrites struct {
	count int
	// strike, if not nil, decides about the nth write: it may fail before it, or after it was made, as when nobody hears the
	// answer.
	strike func(n int) (before, after error)
	// roots are the fingerprints of the first root of every Secret with roots that was ever written.
	roots []string
}

func (a *apiWrites) around(o client.Object, write func() error) error {
	switch o.(type) {
	case *corev1.Secret, *corev1.ConfigMap:
	default:
		return write()
	}
	a.count++
	var before, after error
	if a.strike != nil {
		before, after = a.strike(a.count)
	}
	if before != nil {
		return before
	}
	if err := write(); err != nil {
		return err
	}
	if s, ok := o.(*corev1.Secret); ok && strings.HasSuffix(s.Name, "-root") {
		if chain, err := stepca.ParseChain(s.Data["tls.crt"]); err == nil && !slices.Contains(a.roots, stepca.Fingerprint(chain[0])) {
			a.roots = append(a.roots, stepca.Fingerprint(chain[0]))
		}
	}
	return after
}

func (a *apiWrites) funcs() interceptor.Funcs {
	return interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return a.around(o, func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return a.around(o, func() error { return c.Update(ctx, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return a.around(o, func() error { return c.Patch(ctx, o, patch, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return a.around(o, func() error { return c.Delete(ctx, o, opts...) })
		},
	}
}

// newCAWorld has the Guest "box" with the address 10.0.0.10, on a site with a mirror of step-ca's release.
func newCAWorld(t *testing.T, objects ...client.Object) *caWorld {
	t.Helper()
	w := &caWorld{svcWorld: &svcWorld{t: t}, clock: clocktesting.NewFakeClock(time.Now()), mirror: sim.NewMirror(), writes: &apiWrites{}}
	address, tarball, _, _ := sim.StepCARelease()
	w.mirror.Put(address, tarball)
	w.machine()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	host := &v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: "phoenix"}}
	box := svcGuest("box", "10.0.0.10")
	box.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ReachableCondition, Status: metav1.ConditionTrue, Reason: "Reached"}}
	w.client = fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(w.writes.funcs()).
		WithStatusSubresource(&v1alpha1.Guest{}, &v1alpha1.Host{}, &v1alpha1.HostService{}, &v1alpha1.Certificate{}).
		WithObjects(append(objects, host, box)...).Build()
	w.restart()
	return w
}

// machine makes the Guest anew, with nothing on it.
func (w *caWorld) machine() {
	if w.sim != nil {
		w.sim.Halt()
	}
	w.sim = sim.New(sim.Options{
		Hostname: "box", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.10")}, Container: true, Clock: w.clock.Now, Web: w.mirror.Get,
	})
	w.sim.Boot()
	w.t.Cleanup(w.sim.Halt)
	w.door = &svcDoor{sim: w.sim}
}

// restart begins another manager over the same machine and the same objects.
func (w *caWorld) restart() {
	run := machine.New(w.door, machine.Options{Clock: atOnce{}})
	kind := hostservice.New(hostservice.Config{
		Reader: w.client, Writer: w.client, Clock: w.clock, Mark: guest.Tag, StepCA: w.stepCA,
		Machine:  func(context.Context, *v1alpha1.HostService) (*machine.Machine, error) { return run, nil },
		Firewall: func(types.NamespacedName) (hostservice.FirewallSite, bool) { return hostservice.FirewallSite{}, false },
	})
	graph := reconcile.NewGraph(w.client)
	empty := func() *v1alpha1.HostService { return &v1alpha1.HostService{} }
	reconcile.Register(graph, "HostService", kind, empty, func() client.ObjectList { return &v1alpha1.HostServiceList{} })
	reconcile.Register(graph, "Host", svcOther[*v1alpha1.Host]{}, func() *v1alpha1.Host { return &v1alpha1.Host{} },
		func() client.ObjectList { return &v1alpha1.HostList{} })
	reconcile.Register(graph, "Guest", svcOther[*v1alpha1.Guest]{}, func() *v1alpha1.Guest { return &v1alpha1.Guest{} },
		func() client.ObjectList { return &v1alpha1.GuestList{} })
	w.events = events.NewFakeRecorder(10000)
	w.loop = &reconcile.Loop[*v1alpha1.HostService, hostservice.Seen]{
		Name: "HostService", Kind: kind, New: empty, Client: ticking{w.client, w.clock}, Live: w.client, Graph: graph,
		Events: w.events, Clock: w.clock, Interval: time.Minute,
		Backoff: workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](time.Millisecond, time.Millisecond),
	}
}

// ticking lets some time pass with every status that is written, so that failures are tried again.
type ticking struct {
	client.Client
	clock *clocktesting.FakeClock
}

func (t ticking) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	t.clock.Step(5 * time.Millisecond)
	return t.Client.Get(ctx, key, o, opts...)
}

// stepCA asks over a connection to the machine, by the world's clock.
func (w *caWorld) stepCA(url string, roots []*x509.Certificate) (hostservice.Authority, error) {
	pool := x509.NewCertPool()
	for _, r := range roots {
		pool.AddCert(r)
	}
	return &caClient{w: w, url: url, http: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, Time: w.clock.Now},
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			n, err := strconv.Atoi(port)
			if err != nil {
				return nil, err
			}
			return w.sim.Dial(ctx, n)
		},
	}}}, nil
}

type caClient struct {
	w    *caWorld
	url  string
	http *http.Client
}

func (c *caClient) Health(ctx context.Context) error {
	if c.w.deaf {
		return fmt.Errorf("dial 10.0.0.10:443: no route to host")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/health", nil)
	if err != nil {
		return err
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // its status says it all
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	return nil
}

func caService(change func(*v1alpha1.HostService)) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: "ca"}}
	s.Spec.GuestRef = &v1alpha1.LocalReference{Name: "box"}
	address, _, sum, member := sim.StepCARelease()
	s.Spec.StepCA = &v1alpha1.StepCA{Artifact: &v1alpha1.Artifact{URL: address, SHA256: sum, Member: member}}
	if change != nil {
		change(s)
	}
	return s
}

// secret reads a Secret of the authority; nil: it is not there.
func (w *caWorld) secret(part string) *corev1.Secret {
	w.t.Helper()
	s := &corev1.Secret{}
	err := w.client.Get(w.t.Context(), types.NamespacedName{Namespace: svcNamespace, Name: "ca-" + part}, s)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// edited changes a Secret by hand.
func (w *caWorld) edited(part string, change func(*corev1.Secret)) {
	w.t.Helper()
	s := w.secret(part)
	change(s)
	if err := w.client.Update(w.t.Context(), s); err != nil {
		w.t.Fatal(err)
	}
}

func (w *caWorld) lose(parts ...string) {
	w.t.Helper()
	for _, part := range parts {
		if err := w.client.Delete(w.t.Context(), w.secret(part)); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *caWorld) loseAll() { w.lose("root", "root-key", "intermediate", "provisioner") }

// chain reads certificates of a Secret.
func (w *caWorld) chain(part string) []*x509.Certificate {
	w.t.Helper()
	s := w.secret(part)
	if s == nil {
		w.t.Fatalf("Secret ca-%s is not there", part)
	}
	chain, err := stepca.ParseChain(s.Data["tls.crt"])
	if err != nil {
		w.t.Fatal(err)
	}
	return chain
}

func (w *caWorld) root() string { return stepca.Fingerprint(w.chain("root")[0]) }

// bundle is what the ConfigMap publishes.
func (w *caWorld) bundle() string {
	w.t.Helper()
	m := &corev1.ConfigMap{}
	if err := w.client.Get(w.t.Context(), types.NamespacedName{Namespace: svcNamespace, Name: "ca-trust"}, m); err != nil {
		return err.Error()
	}
	return m.Data["ca.crt"]
}

// trusts says whether the authority that answers proves itself by these roots.
func (w *caWorld) trusts(roots ...*x509.Certificate) error {
	there, err := w.stepCA("https://10.0.0.10", roots)
	if err != nil {
		return err
	}
	return there.Health(w.t.Context())
}

// still asserts that a pass in sync writes nothing: neither to the machine, nor to the object, nor to Secrets.
func (w *caWorld) still() {
	w.t.Helper()
	before := w.writes.count
	w.quiet("ca")
	if w.writes.count != before {
		w.t.Errorf("a pass in sync wrote %d Secrets or ConfigMaps", w.writes.count-before)
	}
}

// told are the reasons of the events so far.
func (w *caWorld) told() []string {
	var all []string
	for {
		select {
		case e := <-w.events.Events:
			all = append(all, e)
		default:
			return all
		}
	}
}
