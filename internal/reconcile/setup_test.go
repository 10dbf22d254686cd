// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	restclient "k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/event"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// watched is a cache of real informers over the world's API server. Only what informs is there.
type watched struct {
	cache.Cache
	server    client.WithWatch
	mu        sync.Mutex
	informers map[string]toolscache.SharedIndexInformer
	running   sync.WaitGroup
	started   chan struct{}
	stopped   chan struct{}
	watches   atomic.Int32
}

func (c *watched) GetInformer(_ context.Context, obj client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kind := fmt.Sprintf("%T %s", obj, obj.GetObjectKind().GroupVersionKind().Kind) // metadata of one kind, or of another
	if c.informers[kind] == nil {
		i := toolscache.NewSharedIndexInformer(listWatch{c, obj}, obj, 0, toolscache.Indexers{})
		c.informers[kind] = i
		c.running.Go(func() {
			<-c.started
			i.Run(c.stopped)
		})
	}
	return c.informers[kind], nil
}

func (c *watched) Start(ctx context.Context) error {
	close(c.started)
	<-ctx.Done()
	close(c.stopped)
	c.running.Wait()
	return nil
}

func (c *watched) WaitForCacheSync(context.Context) bool { return true }

// listWatch brings one kind's objects from the API server; Secrets and ConfigMaps as metadata only.
type listWatch struct {
	c   *watched
	obj client.Object
}

func (listWatch) IsWatchListSemanticsUnSupported() bool { return true }

func (l listWatch) list() client.ObjectList {
	switch _, metadata := l.obj.(*metav1.PartialObjectMetadata); {
	case metadata && l.obj.GetObjectKind().GroupVersionKind().Kind == "ConfigMap":
		return &corev1.ConfigMapList{}
	case metadata:
		return &corev1.SecretList{}
	}
	switch l.obj.(type) {
	case *v1alpha1.Guest:
		return &v1alpha1.GuestList{}
	case *v1alpha1.Host:
		return &v1alpha1.HostList{}
	default:
		return &corev1.SecretList{}
	}
}

func (l listWatch) List(metav1.ListOptions) (runtime.Object, error) {
	list := l.list()
	return list, l.c.server.List(context.Background(), list)
}

func (l listWatch) Watch(metav1.ListOptions) (watch.Interface, error) {
	w, err := l.c.server.Watch(context.Background(), l.list())
	if err != nil {
		return nil, err
	}
	l.c.watches.Add(1)
	return watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
		switch o := e.Object.(type) {
		case *corev1.Secret:
			m := metadataOf("Secret")
			m.ObjectMeta, e.Object = o.ObjectMeta, m
		case *corev1.ConfigMap:
			m := metadataOf("ConfigMap")
			m.ObjectMeta, e.Object = o.ObjectMeta, m
		}
		return e, true
	}), nil
}

// manager makes one; again says whether the names of its controllers may be in use, as each test has its own of them.
func (w *world) manager(scheme *runtime.Scheme, c cache.Cache, again bool) ctrl.Manager {
	w.t.Helper()
	mgr, err := ctrl.NewManager(&restclient.Config{Host: "https://127.0.0.1:1"}, ctrl.Options{
		Scheme:         scheme,
		Metrics:        metricsserver.Options{BindAddress: "0"},
		NewCache:       func(*restclient.Config, cache.Options) (cache.Cache, error) { return c, nil },
		NewClient:      func(*restclient.Config, client.Options) (client.Client, error) { return w.server, nil },
		MapperProvider: func(*restclient.Config, *http.Client) (meta.RESTMapper, error) { return w.server.RESTMapper(), nil },
		Controller:     config.Controller{SkipNameValidation: &again},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return mgr
}

// runs starts a manager with every loop, which lives on events alone: nothing is looked at again by time before the
// test has given up.
func (w *world) runs() (outside chan event.GenericEvent) {
	w.t.Helper()
	c := &watched{server: w.server, informers: map[string]toolscache.SharedIndexInformer{}, started: make(chan struct{}), stopped: make(chan struct{})}
	mgr := w.manager(w.server.Scheme(), c, true)
	outside = make(chan event.GenericEvent)
	w.guests.Backoff, w.guests.Interval, w.hosts.Interval = nil, time.Hour, time.Hour
	err := errors.Join(
		w.hosts.Setup(mgr, SetupOptions{}),
		w.guests.Setup(mgr, SetupOptions{Concurrency: 2, Outside: outside, ConfigMaps: true}),
		w.holds.Setup(mgr),
	)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error)
	go func() { ended <- mgr.Start(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	w.until("the watches are there", func() bool { return c.watches.Load() == 4 })
	return outside
}

// until waits for something that the loops bring about.
func (w *world) until(what string, so func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); !so(); {
		if time.Now().After(end) {
			w.t.Fatalf("it does not come about that %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (w *world) untilReady(names ...string) {
	w.t.Helper()
	for _, n := range names {
		w.until(n+" is Ready", func() bool {
			g := w.get(n)
			return ready(g) == "True InSync: the outside agrees with the spec" && g.Status.ObservedGeneration == g.Generation
		})
	}
}

func (w *world) untilGone(names ...string) {
	w.t.Helper()
	for _, n := range names {
		w.until(n+" is gone", func() bool { return w.get(n) == nil })
	}
}

// TestEventsBringEveryPass has the loops run by themselves. Each stage goes on by an event alone: a missing watch, or a
// predicate that hides too much, leaves it standing.
func TestEventsBringEveryPass(t *testing.T) {
	w := newWorld(t)
	w.refer(map[string][]Ref{"nginx": {Hard("Guest", "ca", v1alpha1.ReachableCondition)}})
	outside := w.runs()

	// What others wait for comes last.
	w.guest("nginx", onDelete(v1alpha1.DeletionDelete), withKeys("keys"))
	w.guest("ca", onDelete(v1alpha1.DeletionDelete))
	w.until("nginx waits for its Host", func() bool {
		return ready(w.get("nginx")) == "Unknown DependencyNotReady: waiting for Host/pve: not found"
	})
	w.create(&v1alpha1.Host{
		ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: "pve", Generation: 1},
		Spec:       v1alpha1.HostSpec{TokenSecretRef: v1alpha1.LocalReference{Name: "token"}},
	})
	w.untilReady("ca", "nginx")

	// Secrets that appear are held; a reference that changes lets go.
	w.secret("keys")
	w.secret("other")
	w.secret("token")
	w.until("the Secrets are held", func() bool { return slices.Equal(w.held("keys", "token"), []string{"keys", "token"}) })
	w.edit("nginx", withKeys("other"))
	w.until("the other Secret is held", func() bool { return slices.Equal(w.held("keys", "other"), []string{"other"}) })

	// A change outside is told; a change of the spec and an approval are seen.
	w.mu.Lock()
	w.site.find("ca").Cores = 7
	w.mu.Unlock()
	outside <- event.GenericEvent{Object: w.get("ca")}
	w.until("the cores are put back", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.site.find("ca").Cores == 1
	})
	w.edit("ca", func(g *v1alpha1.Guest) { g.Spec.Tags = []string{"a"} })
	w.untilReady("ca")
	w.edit("ca", func(g *v1alpha1.Guest) { g.Spec.Tags = nil })
	w.until("a token is offered", func() bool { return offeredToken(w.get("ca")) != "" })
	w.annotate("ca", offeredToken(w.get("ca")))
	w.untilReady("ca")

	// The Host goes away and comes back; who waits is told.
	w.mu.Lock()
	w.site.away = true
	w.mu.Unlock()
	w.editHost(func(h *v1alpha1.Host) { h.Spec.URL = "https://a" })
	w.until("ca is Unknown", func() bool { return ready(w.get("ca"))[:7] == "Unknown" })
	w.mu.Lock()
	w.site.away = false
	w.mu.Unlock()
	w.editHost(func(h *v1alpha1.Host) { h.Spec.URL = "https://b" })
	w.untilReady("ca", "nginx")

	// All go at once: each waits for its users, and is told when they are gone.
	w.delete(w.getSecret("token"), w.getHost(), w.get("ca"), w.get("nginx"))
	w.untilGone("nginx", "ca")
	w.until("the Host is gone", func() bool { return w.getHost() == nil })
	w.until("the token is gone", func() bool { return w.getSecret("token") == nil && len(w.held("other")) == 0 })
	if len(w.site.boxes) != 0 {
		t.Errorf("left outside: %v", w.site.boxes)
	}
}

// TestConfigMapsBringPasses has a change of a ConfigMap, of its data alone, bring a pass over who refers to it.
func TestConfigMapsBringPasses(t *testing.T) {
	w := newWorld(t)
	w.refer(map[string][]Ref{"ca": {Soft("ConfigMap", "settings")}})
	w.host()
	w.runs()
	w.guest("ca")
	w.untilReady("ca")
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: "settings"}}
	for i, change := range []func() error{
		func() error { return w.server.Create(t.Context(), settings) },
		func() error {
			settings.Data = map[string]string{"a": "b"}
			return w.server.Update(t.Context(), settings)
		},
		func() error { return w.server.Delete(t.Context(), settings) },
	} {
		cores := func(change int32) (is int32) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.site.find("ca").Cores += change
			return w.site.find("ca").Cores
		}
		cores(6)
		if err := change(); err != nil {
			t.Fatal(err)
		}
		w.until(fmt.Sprintf("change %d of the ConfigMap brings a pass", i), func() bool { return cores(0) == 1 })
	}
}

func TestSetupSaysWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	mgr := w.manager(runtime.NewScheme(), nil, false) // knows no kind
	for name, setup := range map[string]func() error{
		"Guest":  func() error { return w.guests.Setup(mgr, SetupOptions{}) },
		"Secret": func() error { return errors.Join(w.holds.Setup(mgr), w.holds.Setup(mgr)) }, // the name is taken
	} {
		if err := setup(); err == nil || !strings.Contains(err.Error(), "set up "+name+" controller: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFactsAndIntents(t *testing.T) {
	type change func(*v1alpha1.Guest)
	cases := map[string]struct {
		reason       string
		change       change
		fact, intent bool
	}{
		"Nothing":    {"a resync is no news", func(*v1alpha1.Guest) {}, false, false},
		"Spec":       {"a new spec concerns all", func(g *v1alpha1.Guest) { g.Generation++ }, true, true},
		"Annotation": {"an approval concerns the object alone", func(g *v1alpha1.Guest) { g.Annotations = map[string]string{"a": "b"} }, false, true},
		"Condition":  {"others may wait for a condition", func(g *v1alpha1.Guest) { g.Status.Conditions = []metav1.Condition{{Type: "Ready"}} }, true, false},
		"Status":     {"the rest of the status is our own word", func(g *v1alpha1.Guest) { g.Status.Node = "pve2" }, false, false},
		"Finalizer":  {"our own finalizer is no news: the pass that adds it goes on", func(g *v1alpha1.Guest) { g.Finalizers = []string{v1alpha1.Finalizer} }, false, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before := &v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Name: "ca", Generation: 1}}
			after := before.DeepCopy()
			c.change(after)
			e := event.UpdateEvent{ObjectOld: before, ObjectNew: after}
			if got := fact().Update(e); got != c.fact {
				t.Errorf("%s: passes to others = %v, want %v", c.reason, got, c.fact)
			}
			if got := intent().Update(e); got != c.intent {
				t.Errorf("%s: passes to its own loop = %v, want %v", c.reason, got, c.intent)
			}
		})
	}
	if e := (event.UpdateEvent{ObjectOld: &corev1.Secret{}, ObjectNew: &corev1.Secret{}}); fact().Update(e) {
		t.Error("what is no object of ours has no facts")
	}
}

// requests collects what an event handler enqueues.
type requests struct {
	workqueue.TypedRateLimitingInterface[ctrl.Request]
	got []string
}

func (r *requests) Add(req ctrl.Request) { r.got = append(r.got, req.Name) }

func TestAround(t *testing.T) {
	cases := map[string]struct {
		reason  string
		changed func(w *world) client.Object
		kind    string
		fault   func(string) fault
		want    []string
	}{
		"Target":     {"who refers to it looks again", func(w *world) client.Object { return w.get("ca") }, "Guest", nil, []string{"nginx"}},
		"Host":       {"who refers to it looks again", func(w *world) client.Object { return w.getHost() }, "Host", nil, []string{"ca", "going", "nginx"}},
		"Secret":     {"who refers to it looks again", func(w *world) client.Object { return w.getSecret("keys") }, "Secret", nil, []string{"nginx"}},
		"User":       {"what is being deleted waits for its users", func(w *world) client.Object { return w.get("nginx") }, "Guest", nil, []string{"going"}},
		"Unlisted":   {"nothing is known, and said", func(w *world) client.Object { return w.get("ca") }, "Guest", failing("list", fault{before: errServer}), nil},
		"Unreadable": {"nothing is known, and said", func(w *world) client.Object { return w.get("nginx") }, "Guest", failing("get Guest", fault{before: errServer}), nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host()
			w.secret("keys")
			w.refer(map[string][]Ref{"nginx": {
				Soft("Guest", "ca"), {Kind: "Guest", Name: "ca", Keeps: true}, {Kind: "Guest", Name: "going", Keeps: true}, {Kind: "Guest", Name: "none", Keeps: true},
			}})
			for _, n := range []string{"ca", "going"} {
				w.guest(n)
				w.must(n)
			}
			w.guest("nginx", withKeys("keys"))
			w.delete(w.get("going"))
			obj := c.changed(w)
			w.tap.fault = c.fault
			queue := &requests{}
			w.guests.around(c.kind).Generic(t.Context(), event.GenericEvent{Object: obj}, queue)
			if got := sorted(queue.got); !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v", c.reason, got, c.want)
			}
		})
	}
}

func TestHeldIn(t *testing.T) {
	w := newWorld(t)
	g := w.host()
	w.secret("free")
	if got := w.holds.heldIn(t.Context(), g); len(got) != 1 || got[0].Name != "token" {
		t.Errorf("held Secrets = %v, want the token", got)
	}
	w.tap.fault = failing("list", fault{before: errServer})
	if got := w.holds.heldIn(t.Context(), g); len(got) != 0 {
		t.Errorf("held Secrets = %v of a list that failed", got)
	}
}

func TestAroundEvery(t *testing.T) {
	w := newWorld(t)
	w.host()
	w.refer(map[string][]Ref{"dns": {Every("Guest")}, "apart": {Every("Secret")}})
	for _, n := range []string{"dns", "apart"} {
		w.guest(n)
		w.must(n)
	}
	queue := &requests{}
	w.guest("new")
	w.guests.around("Guest").Generic(t.Context(), event.GenericEvent{Object: w.get("new")}, queue)
	if got := sorted(queue.got); !slices.Equal(got, []string{"dns"}) {
		t.Errorf("a new Guest brings %v, want dns alone, which refers to all Guests", got)
	}
	w.must("dns") // it waits for nobody
}
