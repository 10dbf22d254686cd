// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientretry "k8s.io/client-go/util/retry"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

const (
	space    = "lab"
	interval = 10 * time.Minute
)

// world is an API server with memory, an outside with memory, and the loops between them. Every write to either passes
// the tap, where a test counts it, refuses it, or ends the process.
type world struct {
	t      *testing.T
	mu     sync.Mutex // over all that the loops share in a test where they run by themselves
	server client.WithWatch
	raw    client.Client // a person's client: not tapped
	tap    *tap
	site   *site
	kind   *guestKind
	clock  *clocktesting.FakePassiveClock
	events []string
	guests *Loop[*v1alpha1.Guest, box]
	hosts  *Loop[*v1alpha1.Host, bool]
	holds  *Holds
}

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

func newWorld(t *testing.T) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, clock: clocktesting.NewFakePassiveClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))}
	w.tap = &tap{mu: &w.mu}
	w.site = &site{w: w, boxes: map[int32]*box{}, used: map[string]bool{}, ended: map[string]time.Time{}}
	w.kind = &guestKind{w: w}
	server := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.Guest{}, &v1alpha1.Host{}).Build()
	w.raw, w.server = server, server
	w.start(server)
	return w
}

// start makes the loops anew, as a process that has just begun has them.
func (w *world) start(server client.WithWatch) {
	tapped := interceptor.NewClient(server, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, k client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if err := w.tap.refuses("get " + kindOf(obj) + "/" + k.Name); err != nil {
				return err
			}
			return c.Get(ctx, k, obj, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if err := w.tap.refuses("list " + kindOf(list)); err != nil {
				return err
			}
			return c.List(ctx, list, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return w.tap.pass("meta "+kindOf(obj)+"/"+obj.GetName(), func() error { return c.Patch(ctx, obj, patch, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			return w.tap.pass(sub+" "+kindOf(obj)+"/"+obj.GetName(), func() error { return c.SubResource(sub).Patch(ctx, obj, patch, opts...) })
		},
	})
	graph := NewGraph(tapped)
	Register(graph, "Guest", w.kind, newGuest, func() client.ObjectList { return &v1alpha1.GuestList{} })
	Register(graph, "Host", hostKind{w}, newHost, func() client.ObjectList { return &v1alpha1.HostList{} })
	w.guests = loopOf[*v1alpha1.Guest, box](w, tapped, graph, "Guest", w.kind, newGuest)
	w.hosts = loopOf[*v1alpha1.Host, bool](w, tapped, graph, "Host", hostKind{w}, newHost)
	w.holds = &Holds{Client: tapped, Graph: graph}
}

func newGuest() *v1alpha1.Guest { return &v1alpha1.Guest{} }
func newHost() *v1alpha1.Host   { return &v1alpha1.Host{} }

func loopOf[T Object, S any](w *world, c client.Client, g *Graph, name string, kind Kind[T, S], empty func() T) *Loop[T, S] {
	return &Loop[T, S]{
		Name: name, Kind: kind, New: empty, Client: c, Live: c, Graph: g, Events: w, Clock: w.clock, Interval: interval, Backoff: NewBackoff(),
	}
}

func kindOf(o runtime.Object) string {
	switch m := o.(type) {
	case *metav1.PartialObjectMetadata:
		return m.Kind
	case *metav1.PartialObjectMetadataList:
		return m.Kind
	default:
		return reflect.TypeOf(o).Elem().Name()
	}
}

// Eventf records an event: world is the loops' recorder.
func (w *world) Eventf(regarding, _ runtime.Object, kind, reason, _, note string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, fmt.Sprintf("%s %s/%s %s: %s", kind, kindOf(regarding), regarding.(client.Object).GetName(), reason, fmt.Sprintf(note, args...)))
}

// tap is what every write to the API server and to the outside passes.
type tap struct {
	mu      *sync.Mutex
	journal []string
	met     bool // a fault befell something
	// fault is asked before each operation; nil: none. Reads are asked too, as "get" and "list".
	fault func(op string) fault
}

// fault is what befalls one operation. It is refused (before), or done and its answer lost (after); errKilled is an error
// that ends the process there.
type fault struct{ before, after error }

// errKilled is what a process dies of.
var errKilled = errors.New("killed")

func (t *tap) pass(op string, do func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var f fault
	if t.fault != nil {
		f = t.fault(op)
	}
	t.met = t.met || f != fault{}
	if err := meet(f.before); err != nil {
		return err
	}
	t.journal = append(t.journal, op)
	if err := do(); err != nil {
		return err
	}
	return meet(f.after)
}

func (t *tap) refuses(op string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fault == nil {
		return nil
	}
	f := t.fault(op)
	t.met = t.met || f != fault{}
	return f.before
}

func meet(err error) error {
	if errors.Is(err, errKilled) {
		panic(errKilled)
	}
	return err
}

// failing returns a fault that meets the operations with a prefix.
func failing(prefix string, f fault) func(string) fault {
	return func(op string) fault {
		if strings.HasPrefix(op, prefix) {
			return f
		}
		return fault{}
	}
}

// written returns what was written since the last call.
func (w *world) written() []string {
	j := w.tap.journal
	w.tap.journal = nil
	return j
}

// happened returns the events since the last call.
func (w *world) happened() []string {
	e := w.events
	w.events = nil
	return e
}

// host makes the Host "pve" with its token, and lets the loop see it.
func (w *world) host(change ...func(*v1alpha1.Host)) *v1alpha1.Host {
	w.t.Helper()
	w.secret("token")
	h := &v1alpha1.Host{
		ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: "pve", Generation: 1},
		Spec:       v1alpha1.HostSpec{TokenSecretRef: v1alpha1.LocalReference{Name: "token"}},
	}
	for _, f := range change {
		f(h)
	}
	w.create(h)
	w.passHost()
	w.written()
	return h
}

func (w *world) secret(name string) {
	w.t.Helper()
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: name}})
}

// guest makes a Guest on the Host "pve".
func (w *world) guest(name string, change ...func(*v1alpha1.Guest)) *v1alpha1.Guest {
	w.t.Helper()
	g := &v1alpha1.Guest{
		ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: name, Generation: 1},
		Spec:       v1alpha1.GuestSpec{HostRef: v1alpha1.LocalReference{Name: "pve"}, Type: v1alpha1.GuestContainer, Cores: ptr(1)},
	}
	for _, f := range change {
		f(g)
	}
	w.create(g)
	return g
}

func ptr(n int32) *int32 { return &n }

func (w *world) create(obj client.Object) {
	w.t.Helper()
	if err := w.raw.Create(w.t.Context(), obj); err != nil {
		w.t.Fatal(err)
	}
}

// get reads a Guest; nil when it is gone.
func (w *world) get(name string) *v1alpha1.Guest { return read(w, name, newGuest()) }

func (w *world) getHost() *v1alpha1.Host { return read(w, "pve", newHost()) }

func (w *world) getSecret(name string) *corev1.Secret { return read(w, name, &corev1.Secret{}) }

func read[T client.Object](w *world, name string, obj T) T {
	w.t.Helper()
	err := w.raw.Get(w.t.Context(), client.ObjectKey{Namespace: space, Name: name}, obj)
	if apierrors.IsNotFound(err) {
		var none T
		return none
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return obj
}

// edit changes a Guest as a person does: the API server counts a new generation for a new spec.
func (w *world) edit(name string, change func(*v1alpha1.Guest)) {
	w.t.Helper()
	w.again(func() error {
		g := w.get(name)
		spec := g.Spec.DeepCopy()
		change(g)
		if !reflect.DeepEqual(*spec, g.Spec) {
			g.Generation++
		}
		return w.raw.Update(w.t.Context(), g)
	})
}

func (w *world) editHost(change func(*v1alpha1.Host)) {
	w.t.Helper()
	w.again(func() error {
		h := w.getHost()
		change(h)
		h.Generation++
		return w.raw.Update(w.t.Context(), h)
	})
}

// again makes a change until no pass was faster, as kubectl does.
func (w *world) again(edit func() error) {
	w.t.Helper()
	if err := clientretry.RetryOnConflict(clientretry.DefaultBackoff, edit); err != nil {
		w.t.Fatal(err)
	}
}

// delete asks for the end of objects, all at once.
func (w *world) delete(objects ...client.Object) {
	w.t.Helper()
	for _, obj := range objects {
		if err := w.raw.Delete(w.t.Context(), obj); err != nil {
			w.t.Fatal(err)
		}
		w.again(func() error {
			if err := w.raw.Get(w.t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
				return client.IgnoreNotFound(err)
			}
			obj.SetGeneration(obj.GetGeneration() + 1) // the API server does
			return client.IgnoreNotFound(w.raw.Update(w.t.Context(), obj))
		})
	}
}

// approve sets the annotation to the token that stands in the Guest's plan, and returns it.
func (w *world) approve(name string) string {
	w.t.Helper()
	token := offeredToken(w.get(name))
	if token == "" {
		w.t.Fatalf("no token in the plan: %+v", w.get(name).Status.Plan)
	}
	w.annotate(name, token)
	return token
}

func (w *world) annotate(name, token string) {
	w.t.Helper()
	w.edit(name, func(g *v1alpha1.Guest) { g.Annotations = map[string]string{v1alpha1.ApproveAnnotation: token} })
}

func offeredToken(g *v1alpha1.Guest) string {
	for _, e := range g.Status.Plan {
		if e.Approve != "" {
			return e.Approve
		}
	}
	return ""
}

func (w *world) pass(name string) (ctrl.Result, error) {
	return w.guests.Reconcile(w.t.Context(), request(space, name))
}

// must is a pass that ends without an error.
func (w *world) must(name string) ctrl.Result {
	w.t.Helper()
	r, err := w.pass(name)
	if err != nil {
		w.t.Fatalf("pass over %s: %v", name, err)
	}
	return r
}

func (w *world) passHost() {
	w.t.Helper()
	if _, err := w.hosts.Reconcile(w.t.Context(), request(space, "pve")); err != nil {
		w.t.Fatalf("pass over pve: %v", err)
	}
}

// settle runs every loop over everything, with time going on, until a round writes nothing.
func (w *world) settle() {
	w.t.Helper()
	for range 60 {
		w.written()
		w.round()
		if len(w.written()) == 0 {
			return
		}
		w.after(10 * time.Second)
	}
	w.t.Fatal("it does not settle")
}

// round is one pass over each object there is.
func (w *world) round() {
	w.t.Helper()
	ctx := w.t.Context()
	var hosts v1alpha1.HostList
	var guests v1alpha1.GuestList
	var secrets corev1.SecretList
	for _, list := range []client.ObjectList{&hosts, &guests, &secrets} {
		if err := w.raw.List(ctx, list); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, h := range hosts.Items {
		_, _ = w.hosts.Reconcile(ctx, request(h.Namespace, h.Name))
	}
	for _, g := range guests.Items {
		_, _ = w.guests.Reconcile(ctx, request(g.Namespace, g.Name))
	}
	for _, s := range secrets.Items {
		_, _ = w.holds.Reconcile(ctx, request(s.Namespace, s.Name))
	}
}

func (w *world) after(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }

// ready is the Ready condition as "Status Reason: message".
func ready(obj Object) string { return condition(obj, v1alpha1.ReadyCondition) }

func condition(obj Object, name string) string {
	c := meta.FindStatusCondition(obj.CommonStatus().Conditions, name)
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
}

// kstatus is what the tools of others make of an object.
func (w *world) kstatus(obj client.Object) status.Status {
	w.t.Helper()
	u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := status.Compute(&unstructured.Unstructured{Object: u})
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Status
}

// isReady asserts that a Guest is in sync, for us and for others.
func (w *world) isReady(name string) {
	w.t.Helper()
	g := w.get(name)
	if got, want := ready(g), "True InSync: the outside agrees with the spec"; got != want {
		w.t.Errorf("Ready of %s = %q, want %q", name, got, want)
	}
	if got := w.kstatus(g); got != status.CurrentStatus {
		w.t.Errorf("kstatus of %s = %s, want Current", name, got)
	}
}

func hasFinalizer(obj client.Object, name string) bool {
	return controllerutil.ContainsFinalizer(obj, name)
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}
