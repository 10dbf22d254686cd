// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/certificate"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

const (
	namespace = "home"
	caURL     = "https://10.0.0.30"
	// lookLimit bounds how many passes a test waits for.
	lookLimit = 60
)

var keyOfSite = types.NamespacedName{Namespace: namespace, Name: "site"}

// atOnce is a clock whose timers fire at once, for the machine's driver.
type atOnce struct{ clock.RealClock }

func (c atOnce) NewTimer(time.Duration) clock.Timer { return c.RealClock.NewTimer(0) }

// door is the way to a simulated machine.
type door struct {
	*sim.Machine
	mu   sync.Mutex
	away bool
}

func (d *door) Run(ctx context.Context, argv []string, stdin []byte) (machine.Result, error) {
	d.mu.Lock()
	away := d.away
	d.mu.Unlock()
	if away {
		return machine.Result{}, machine.Away(errors.New("dial: no route to host"))
	}
	var out, errs bytes.Buffer
	exit, err := d.Session(ctx, argv, bytes.NewReader(stdin), &out, &errs)
	if err != nil {
		return machine.Result{}, machine.Away(err)
	}
	return machine.Result{Stdout: out.Bytes(), Stderr: errs.Bytes(), ExitCode: exit}, nil
}

func (d *door) set(away bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.away = away
}

// file reads a file of the machine; "" when it is not there.
func (d *door) file(path string) string {
	text, err := d.ReadFile(path)
	if err != nil {
		return ""
	}
	return text
}

// world is an API server's memory, an authority, machines, and a manager's loop over Certificates, through the real
// driver of machines. Its time stands still unless a test lets it go on.
type world struct {
	*testing.T
	ca       *fakeCA
	clock    *clocktesting.FakePassiveClock
	client   client.Client
	registry *prometheus.Registry
	machines map[string]*door
	kind     *certificate.Kind
	loop     *reconcile.Loop[*v1alpha1.Certificate, certificate.Seen]
	events   *recorder
	log      bytes.Buffer

	mu           sync.Mutex
	secretWrites int
	refuse       error // writes to Secrets
	served       map[string]*x509.Certificate
}

// recorder keeps events.
type recorder struct {
	events.EventRecorder
	mu   sync.Mutex
	said []string
}

func (r *recorder) Eventf(_, _ runtime.Object, kind, reason, _, note string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, kind+" "+reason+": "+fmt.Sprintf(note, args...))
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.said...)
}

// newWorld makes a world with a stepCA HostService "ca", a Host "phoenix" and Guests "web" and "api".
func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	now := clocktesting.NewFakePassiveClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	w := &world{
		T: t, clock: now, ca: newCA(t, now), registry: prometheus.NewRegistry(), events: &recorder{},
		machines: map[string]*door{}, served: map[string]*x509.Certificate{},
	}
	for i, name := range []string{"phoenix", "web", "api"} {
		m := sim.New(sim.Options{Hostname: name, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(13 + i)})}, Installed: []string{"dnsmasq"}})
		m.Boot()
		t.Cleanup(m.Halt)
		w.machines[name] = &door{Machine: m}
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	w.client = fake.NewClientBuilder().WithScheme(scheme).WithReturnManagedFields().
		WithStatusSubresource(&v1alpha1.Certificate{}, &v1alpha1.HostService{}, &v1alpha1.Guest{}, &v1alpha1.Host{}).
		WithIndex(&v1alpha1.Certificate{}, certificate.BySecret, certificate.SecretOf).
		WithObjects(append(objects, w.site()...)...).WithInterceptorFuncs(w.watchSecrets()).Build()
	w.restart()
	return w
}

// watchSecrets counts what is written to Secrets.
func (w *world) watchSecrets() interceptor.Funcs {
	count := func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.secretWrites++
		return w.refuse
	}
	return interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			if err := count(); err != nil {
				return err
			}
			return c.Apply(ctx, o, opts...)
		},
	}
}

// site are the objects that a Certificate refers to.
func (w *world) site() []client.Object {
	host := &v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "phoenix"}}
	host.Spec.OwnerID = "site"
	host.Spec.SSH = &v1alpha1.HostSSH{Nodes: []v1alpha1.HostSSHNode{{Name: "pve", Address: "10.0.0.13"}}}
	host.Spec.Allow = &v1alpha1.HostAllow{CertificatePaths: []string{"/etc/ssl/site"}}
	objects := []client.Object{host, w.authority(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ca-provisioner"}, Data: map[string][]byte{"jwk.json": w.ca.jwk},
	}}
	for i, name := range []string{"web", "api"} {
		g := &v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		vmid := int32(100 + i)
		g.Spec.HostRef.Name, g.Status.VMID, g.Status.Addresses = "phoenix", &vmid, []string{fmt.Sprintf("10.0.0.%d", 14+i)}
		objects = append(objects, g)
	}
	return objects
}

// authority is the HostService of the authority, as it says what that is like now.
func (w *world) authority() *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ca"}}
	s.Spec.GuestRef, s.Spec.StepCA = &v1alpha1.LocalReference{Name: "ca"}, &v1alpha1.StepCA{}
	w.announce(s)
	return s
}

// announce writes what the authority is like to the status of its HostService.
func (w *world) announce(s *v1alpha1.HostService, older ...*x509.Certificate) {
	root := w.ca.rootCert()
	s.Status.StepCA = &v1alpha1.StepCAStatus{
		URL: caURL, CABundle: string(stepca.EncodeChain(append([]*x509.Certificate{root}, older...))), IssuerFingerprint: stepca.Fingerprint(root),
	}
	meta.SetStatusCondition(&s.Status.Conditions, metav1.Condition{Type: v1alpha1.ServingCondition, Status: metav1.ConditionTrue, Reason: "Answering"})
}

// restart begins another manager over the same objects and machines.
func (w *world) restart() {
	w.Helper()
	runs := map[string]*machine.Machine{}
	for name, d := range w.machines {
		runs[name] = machine.New(d, machine.Options{Clock: atOnce{}})
	}
	var err error
	w.kind, err = certificate.New(certificate.Config{
		Client: w.client, Clock: w.clock, Metrics: w.registry,
		Authority: func(_ string, roots []*x509.Certificate) (certificate.Authority, error) { return w.ca.of(roots), nil },
		Root: func(_ context.Context, _, fingerprint string) (*x509.Certificate, error) {
			w.ca.mu.Lock()
			defer w.ca.mu.Unlock()
			w.ca.requests++
			if w.ca.fault != nil {
				return nil, w.ca.fault
			}
			if root := w.ca.parse(w.ca.root.CertificatePEM)[0]; stepca.Fingerprint(root) == fingerprint {
				return root, nil
			}
			return nil, w.ca.fail(stepca.Untrusted, "the fingerprint is another")
		},
		GuestMachine: func(_ context.Context, g *v1alpha1.Guest) (*machine.Machine, error) { return runs[g.Name], nil },
		NodeMachine:  func(context.Context, *v1alpha1.Host, string) (*machine.Machine, error) { return runs["phoenix"], nil },
		Served:       w.show,
	})
	if err != nil {
		w.Fatal(err)
	}
	graph := reconcile.NewGraph(w.client)
	empty := func() *v1alpha1.Certificate { return &v1alpha1.Certificate{} }
	reconcile.Register(graph, "Certificate", w.kind, empty, func() client.ObjectList { return &v1alpha1.CertificateList{} })
	reconcile.Register(graph, "Host", other[*v1alpha1.Host]{}, func() *v1alpha1.Host { return &v1alpha1.Host{} }, func() client.ObjectList { return &v1alpha1.HostList{} })
	reconcile.Register(graph, "Guest", other[*v1alpha1.Guest]{}, func() *v1alpha1.Guest { return &v1alpha1.Guest{} }, func() client.ObjectList { return &v1alpha1.GuestList{} })
	reconcile.Register(graph, "HostService", other[*v1alpha1.HostService]{}, func() *v1alpha1.HostService { return &v1alpha1.HostService{} },
		func() client.ObjectList { return &v1alpha1.HostServiceList{} })
	w.loop = &reconcile.Loop[*v1alpha1.Certificate, certificate.Seen]{
		Name: "Certificate", Kind: w.kind, New: empty, Client: w.client, Live: w.client, Graph: graph,
		Events: w.events, Clock: w.clock, Interval: time.Hour, Backoff: reconcile.NewBackoff(),
	}
}

// show is what the servers of the machines serve.
func (w *world) show(_ context.Context, address, name string) ([]*x509.Certificate, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cert := w.served[address+" "+name]; cert != nil {
		return []*x509.Certificate{cert}, nil
	}
	return nil, fmt.Errorf("read certificate of %s: connection refused", address)
}

// other stands for a kind that is not under test here.
type other[T reconcile.Object] struct{}

func (other[T]) Refs(T) []reconcile.Ref                       { return nil }
func (other[T]) Observe(context.Context, T) (struct{}, error) { return struct{}{}, nil }
func (other[T]) Plan(T, struct{}) []reconcile.Step            { return nil }
func (other[T]) Remove(T, struct{}) []reconcile.Step          { return nil }
func (other[T]) Report(T, struct{}) []reconcile.Condition     { return nil }

// declare makes a Certificate of www.phoenix.lan.
func (w *world) declare(name string, change func(*v1alpha1.Certificate)) {
	w.Helper()
	c := &v1alpha1.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Generation: 1, CreationTimestamp: metav1.NewTime(w.clock.Now())}}
	c.Spec.Authority.ServiceRef = &v1alpha1.LocalReference{Name: "ca"}
	c.Spec.SecretName, c.Spec.DNSNames = name+"-tls", []string{"www.phoenix.lan"}
	if change != nil {
		change(c)
	}
	w.create(c)
}

func (w *world) create(o client.Object) {
	w.Helper()
	if err := w.client.Create(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

func (w *world) get(name string) *v1alpha1.Certificate {
	w.Helper()
	c := &v1alpha1.Certificate{}
	if err := w.client.Get(w.Context(), types.NamespacedName{Namespace: namespace, Name: name}, c); err != nil {
		w.Fatal(err)
	}
	return c
}

// edit changes an object, as a person does: the generation of a Certificate goes up.
func edit[T client.Object](w *world, o T, name string, change func(T)) {
	w.Helper()
	if err := w.client.Get(w.Context(), types.NamespacedName{Namespace: namespace, Name: name}, o); err != nil {
		w.Fatal(err)
	}
	change(o)
	o.SetGeneration(o.GetGeneration() + 1)
	if err := w.client.Update(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

func (w *world) edit(name string, change func(*v1alpha1.Certificate)) {
	w.Helper()
	edit(w, &v1alpha1.Certificate{}, name, change)
}

// service changes the status of the authority's HostService.
func (w *world) service(change func(*v1alpha1.HostService)) {
	w.Helper()
	s := &v1alpha1.HostService{}
	if err := w.client.Get(w.Context(), types.NamespacedName{Namespace: namespace, Name: "ca"}, s); err != nil {
		w.Fatal(err)
	}
	change(s)
	if err := w.client.Status().Update(w.Context(), s); err != nil {
		w.Fatal(err)
	}
}

// secret reads a Secret; nil when it is not there.
func (w *world) secret(name string) *corev1.Secret {
	w.Helper()
	s := &corev1.Secret{}
	err := w.client.Get(w.Context(), types.NamespacedName{Namespace: namespace, Name: name}, s)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// leaf is the certificate in a Secret.
func (w *world) leaf(name string) *x509.Certificate {
	w.Helper()
	s := w.secret(name)
	if s == nil {
		w.Fatalf("Secret/%s is not there", name)
	}
	chain, err := stepca.ParseChain(s.Data["tls.crt"])
	if err != nil {
		w.Fatal(err)
	}
	return chain[0]
}

func (w *world) serial(name string) string {
	w.Helper()
	return stepca.Serial(w.leaf(name))
}

// pass makes a pass over a Certificate, and returns when the next one is due by itself; 0: never.
func (w *world) pass(name string) time.Duration {
	w.Helper()
	ctx := log.IntoContext(w.Context(), funcr.New(func(prefix, args string) { fmt.Fprintln(&w.log, prefix, args) }, funcr.Options{Verbosity: 9}))
	r, err := w.loop.Reconcile(ctx, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}})
	if err != nil && !strings.Contains(err.Error(), "terminal error") {
		w.Fatalf("pass over %s: %v", name, err)
	}
	return r.RequeueAfter
}

// sleep lets time go on.
func (w *world) sleep(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }

// live lets a manager look at a Certificate for some time, whenever that is due. It returns the number of passes.
func (w *world) live(name string, d time.Duration) int {
	w.Helper()
	end, passes := w.clock.Now().Add(d), 0
	for {
		passes++
		after := w.pass(name)
		if after == 0 || w.clock.Now().Add(after).After(end) {
			w.clock.SetTime(end)
			return passes
		}
		w.sleep(after)
	}
}

// until makes passes, with the time between them, until Ready is as wanted: its status and reason, and what its message has in it.
func (w *world) until(name, want string, says ...string) *v1alpha1.Certificate {
	w.Helper()
	var got string
	for range lookLimit {
		after := w.pass(name)
		c := w.get(name)
		got = condition(c, v1alpha1.ReadyCondition)
		if strings.HasPrefix(got, want+":") && !lacks(got, says) {
			return c
		}
		w.sleep(min(after, time.Minute))
	}
	w.Fatalf("%s is %q, want %s with %q; plan %+v", name, got, want, says, w.get(name).Status.Plan)
	return nil
}

func lacks(text string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return true
		}
	}
	return false
}

func (w *world) ready(name string) *v1alpha1.Certificate {
	w.Helper()
	return w.until(name, "True InSync")
}

// says asserts that a condition of a Certificate is as wanted.
func (w *world) says(c *v1alpha1.Certificate, name, want string, says ...string) {
	w.Helper()
	if got := condition(c, name); !strings.HasPrefix(got+":", want+":") || lacks(got, says) {
		w.Errorf("%s of %s is %q, want %s with %q", name, c.Name, got, want, says)
	}
}

func condition(c *v1alpha1.Certificate, name string) string {
	found := meta.FindStatusCondition(c.Status.Conditions, name)
	if found == nil {
		return "none"
	}
	return fmt.Sprintf("%s %s: %s", found.Status, found.Reason, found.Message)
}

// quiet asserts that a pass over a Certificate in sync asks the authority nothing and writes nothing anywhere.
func (w *world) quiet(name string) {
	w.Helper()
	state := func() string {
		requests, _ := w.ca.counts()
		text := fmt.Sprint(w.get(name).ResourceVersion, requests, w.secretWrites, len(w.events.all()))
		for _, d := range []string{"phoenix", "web", "api"} {
			text += fmt.Sprint(" ", w.machines[d].Writes())
		}
		return text
	}
	before := state()
	w.pass(name)
	if after := state(); after != before {
		w.Errorf("a pass in sync: version, requests, writes of Secrets, events and of machines were %s and are %s", before, after)
	}
}

// remove deletes a Certificate and makes passes until it is gone.
func (w *world) remove(name string) {
	w.Helper()
	w.delete(name)
	for range lookLimit {
		if !w.exists(name) {
			return
		}
		w.sleep(min(w.pass(name), time.Minute))
	}
	w.Fatalf("%s does not go: %s", name, condition(w.get(name), v1alpha1.ReadyCondition))
}

func (w *world) delete(name string) {
	w.Helper()
	if err := w.client.Delete(w.Context(), w.get(name)); err != nil {
		w.Fatal(err)
	}
}

func (w *world) exists(name string) bool {
	w.Helper()
	err := w.client.Get(w.Context(), types.NamespacedName{Namespace: namespace, Name: name}, &v1alpha1.Certificate{})
	return err == nil
}
