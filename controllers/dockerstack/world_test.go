// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/dockerstack"
	"github.com/phoenix-hypervisor/phoenix/internal/git"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

const (
	namespace = "home"
	password  = "the admin's own password"
	// lookLimit bounds how many passes a test waits for.
	lookLimit = 80
	// patience bounds how long a job may take.
	patience = time.Minute
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// blog is a text of two services.
const blog = `services:
  web:
    image: lab/web:1
    restart: unless-stopped
    ports: ["8080:80"]
    environment:
      GREETING: ${GREETING:-hello}
  db:
    image: lab/db:1
    restart: unless-stopped
    environment:
      PASSWORD: ${PASSWORD}
    volumes: ["data:/var/lib/db"]
volumes:
  data: {}
`

// world is an API server's memory, a Portainer with two engines, and a manager's loop over DockerStacks, through the real
// client of Portainer. Its time stands still unless a test lets it go on.
type world struct {
	*testing.T
	clock     *clocktesting.FakePassiveClock
	api       client.WithWatch
	client    client.Client // of the manager; a restart gives it another one
	registry  *prometheus.Registry
	images    *sim.Registry
	engines   map[string]*sim.Memory // by environment
	server    *sim.Server
	access    dockerstack.Access
	admin     *portainer.Client
	portainer *portainer.Server
	key       string // of the API
	kind      *dockerstack.Kind
	loop      *reconcile.Loop[*v1alpha1.DockerStack, dockerstack.Seen]
	events    *recorder
	repo      repository
	backup    []byte         // of Portainer
	ids       map[string]int // of environments, by name

	mu    sync.Mutex
	log   bytes.Buffer
	woken chan types.NamespacedName
	dies  func()
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

// reasons are those of the events since some were there, without the record keeping.
func (r *recorder) reasons(since int) []string {
	var out []string
	for _, said := range r.all()[since:] {
		if fields := strings.Fields(said); fields[1] != "Recording:" {
			out = append(out, fields[0]+" "+strings.TrimSuffix(fields[1], ":"))
		}
	}
	return out
}

// newWorld makes a world with a Portainer "portainer" that has the environments "local" and, behind an agent, "drphoenix".
func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	w := &world{
		T: t, clock: clocktesting.NewFakePassiveClock(time.Now().Truncate(time.Second)), registry: prometheus.NewRegistry(), events: &recorder{},
		images:  sim.NewRegistry(map[string]string{"lab/web:1": "web 1", "lab/web:2": "web 2", "lab/db:1": "db 1", "lab/job:1": "job 1", "lab/crash:1": "crash 1", "lab/sick:1": "sick 1", "lab/broken:1": "broken 1"}),
		engines: map[string]*sim.Memory{}, ids: map[string]int{}, woken: make(chan types.NamespacedName, 1000),
	}
	for _, name := range []string{"local", "drphoenix"} {
		w.engines[name] = sim.NewMemory(sim.MemoryOptions{Registry: w.images, Clock: w.clock.Now, Name: name})
	}
	w.startPortainer()
	w.build(objects)
	return w
}

// build makes the API server and the manager.
func (w *world) build(objects []client.Object) {
	w.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		w.Fatal(err)
	}
	w.api = fake.NewClientBuilder().WithScheme(scheme).WithReturnManagedFields().
		WithStatusSubresource(&v1alpha1.DockerStack{}, &v1alpha1.HostService{}, &v1alpha1.Guest{}, &v1alpha1.Host{}).
		WithIndex(&v1alpha1.DockerStack{}, dockerstack.ByProject, dockerstack.ProjectOf).
		WithObjects(append(objects, w.site()...)...).Build()
	w.restart()
}

// startPortainer makes the server, its administrator and its environments.
func (w *world) startPortainer() {
	w.Helper()
	var err error
	w.server, err = sim.New(sim.Options{Clock: w.clock.Now, Engine: w.engines["local"], Connect: func(_ context.Context, url string) (sim.Engine, error) {
		if strings.HasPrefix(url, "unix:") {
			return w.engines["local"], nil
		}
		return w.engines["drphoenix"], nil
	}})
	if err != nil {
		w.Fatal(err)
	}
	front := httptest.NewTLSServer(w.server)
	front.Config.ErrorLog = nil
	w.Cleanup(front.Close)
	roots := x509.NewCertPool()
	roots.AddCert(front.Certificate())
	w.access = dockerstack.Access{URL: front.URL, ServerName: "example.com", CABundle: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw}))}
	s, err := portainer.New(portainer.Options{URL: front.URL, ServerName: "example.com", Roots: roots})
	if err != nil {
		w.Fatal(err)
	}
	ctx := w.Context()
	if err := s.InitAdmin(ctx, "admin", password); err != nil {
		w.Fatal(err)
	}
	session, err := s.SignIn(ctx, "admin", password)
	if err != nil {
		w.Fatal(err)
	}
	key, err := session.MakeKey(ctx, "test", password)
	if err != nil {
		w.Fatal(err)
	}
	w.portainer, w.admin, w.key = s, s.With(key), key
	for _, e := range []portainer.NewEnvironment{{Name: "local", URL: "unix:///var/run/docker.sock"}, {Name: "drphoenix", URL: "tcp://10.0.0.102:9001", Agent: true}} {
		if w.ids[e.Name], err = w.admin.MakeEnvironment(ctx, e); err != nil {
			w.Fatal(err)
		}
	}
	w.Cleanup(func() { w.dies() })
}

// site are the objects that a DockerStack stands on.
func (w *world) site() []client.Object {
	about := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }
	host := &v1alpha1.Host{ObjectMeta: about("phoenix")}
	host.Spec.OwnerID = "site"
	objects := []client.Object{host, &corev1.Secret{ObjectMeta: about("portainer-api-key"), Data: map[string][]byte{"apiKey": []byte(w.key)}}}
	for _, name := range []string{"portainer", "drphoenix"} {
		g := &v1alpha1.Guest{ObjectMeta: about(name)}
		g.Spec.HostRef.Name = "phoenix"
		objects = append(objects, g)
	}
	server := &v1alpha1.HostService{ObjectMeta: about("portainer")}
	server.Spec.GuestRef, server.Spec.Portainer = &v1alpha1.LocalReference{Name: "portainer"}, &v1alpha1.Portainer{}
	server.Status.Portainer = &v1alpha1.PortainerStatus{URL: w.access.URL, ServerName: w.access.ServerName, CABundle: w.access.CABundle, APIKeySecret: "portainer-api-key"}
	meta.SetStatusCondition(&server.Status.Conditions, metav1.Condition{Type: v1alpha1.ServingCondition, Status: metav1.ConditionTrue, Reason: "Serving"})
	agent := &v1alpha1.HostService{ObjectMeta: about("drphoenix")}
	agent.Spec.GuestRef = &v1alpha1.LocalReference{Name: "drphoenix"}
	agent.Spec.PortainerAgent = &v1alpha1.PortainerAgent{PortainerRef: v1alpha1.LocalReference{Name: "portainer"}}
	agent.Status.PortainerAgent = &v1alpha1.PortainerAgentStatus{Environment: "drphoenix", EnvironmentID: int32(w.ids["drphoenix"])}
	meta.SetStatusCondition(&agent.Status.Conditions, metav1.Condition{Type: v1alpha1.RegisteredCondition, Status: metav1.ConditionTrue, Reason: "Registered"})
	return append(objects, server, agent)
}

// restart begins another manager over the same objects and Portainer. The one before is dead: what it began goes on at
// Portainer, and it writes nothing any more.
func (w *world) restart() {
	w.Helper()
	if w.dies != nil {
		w.dies()
	}
	dead := make(chan struct{})
	alive := func() error {
		select {
		case <-dead:
			return errors.New("the process is dead")
		default:
			return nil
		}
	}
	w.client = interceptor.NewClient(w.api, interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return cmp.Or(alive(), c.Apply(ctx, o, opts...))
		},
	})
	var err error
	w.kind, err = dockerstack.New(dockerstack.Config{
		Client: w.client, Clock: w.clock, Metrics: w.registry, PullInterval: 15 * time.Minute, Portainer: w.open,
		Fetch: w.repo.fetch, Head: w.repo.head,
		Wake: func(name types.NamespacedName) { w.woken <- name },
	})
	if err != nil {
		w.Fatal(err)
	}
	kind := w.kind
	w.dies = sync.OnceFunc(func() {
		close(dead)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = kind.Start(ctx)
	})
	w.join()
}

// join makes the loop.
func (w *world) join() {
	graph := reconcile.NewGraph(w.client)
	empty := func() *v1alpha1.DockerStack { return &v1alpha1.DockerStack{} }
	reconcile.Register(graph, "DockerStack", w.kind, empty, func() client.ObjectList { return &v1alpha1.DockerStackList{} })
	reconcile.Register(graph, "Host", other[*v1alpha1.Host]{}, func() *v1alpha1.Host { return &v1alpha1.Host{} }, func() client.ObjectList { return &v1alpha1.HostList{} })
	reconcile.Register(graph, "Guest", other[*v1alpha1.Guest]{}, func() *v1alpha1.Guest { return &v1alpha1.Guest{} }, func() client.ObjectList { return &v1alpha1.GuestList{} })
	reconcile.Register(graph, "HostService", other[*v1alpha1.HostService]{}, func() *v1alpha1.HostService { return &v1alpha1.HostService{} },
		func() client.ObjectList { return &v1alpha1.HostServiceList{} })
	w.loop = &reconcile.Loop[*v1alpha1.DockerStack, dockerstack.Seen]{
		Name: "DockerStack", Kind: w.kind, New: empty, Client: w.client, Live: w.client, Graph: graph,
		Events: w.events, Clock: w.clock, Interval: time.Minute, Backoff: reconcile.NewBackoff(),
	}
}

// open is the real client of Portainer.
func (w *world) open(a dockerstack.Access) (dockerstack.Portainer, error) {
	if a.URL != w.access.URL || a.ServerName != w.access.ServerName || a.CABundle != w.access.CABundle {
		return dockerstack.Portainer{}, errors.New("another server")
	}
	as := w.portainer.With(string(a.Key.Reveal()))
	return dockerstack.Portainer{Server: as, Engine: func(environment int) (dockerstack.Engine, error) { return as.Engine(environment) }}, nil
}

// other stands for a kind that is not under test here.
type other[T reconcile.Object] struct{}

func (other[T]) Refs(T) []reconcile.Ref                       { return nil }
func (other[T]) Observe(context.Context, T) (struct{}, error) { return struct{}{}, nil }
func (other[T]) Plan(T, struct{}) []reconcile.Step            { return nil }
func (other[T]) Remove(T, struct{}) []reconcile.Step          { return nil }
func (other[T]) Report(T, struct{}) []reconcile.Condition     { return nil }

// repository is a git server.
type repository struct {
	mu             sync.Mutex
	file           git.File
	err            error
	heads, fetches int
	asked          git.Source
}

func (r *repository) set(text, commit string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.file, r.err = git.File{Text: []byte(text), Commit: strings.Repeat(commit, 40)}, err
}

func (r *repository) fetch(_ context.Context, from git.Source) (git.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetches++
	r.asked = from
	return r.file, r.err
}

func (r *repository) head(context.Context, git.Source) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heads++
	return r.file.Commit, r.err
}

func (r *repository) counts() (heads, fetches int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heads, r.fetches
}

// about names an object.
func (w *world) about(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

// declare makes a DockerStack of blog in drphoenix.
func (w *world) declare(name string, change func(*v1alpha1.DockerStack)) {
	w.Helper()
	s := &v1alpha1.DockerStack{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, Generation: 1, UID: types.UID("uid of " + name), CreationTimestamp: metav1.NewTime(w.clock.Now()),
	}}
	s.Spec.Environment.AgentRef = &v1alpha1.LocalReference{Name: "drphoenix"}
	s.Spec.Compose.Inline = blog
	s.Spec.Env = []v1alpha1.StackVariable{plain("PASSWORD", "pass-word")}
	if change != nil {
		change(s)
	}
	w.create(s)
}

func plain(name, value string) v1alpha1.StackVariable {
	return v1alpha1.StackVariable{Name: name, Value: &value}
}

func ofSecret(name, secret, key string) v1alpha1.StackVariable {
	return v1alpha1.StackVariable{Name: name, ValueFrom: &v1alpha1.StackValueSource{SecretKeyRef: &v1alpha1.SecretKeyReference{Name: secret, Key: key}}}
}

func secretOf(name string, data map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{}}
	for key, value := range data {
		s.Data[key] = []byte(value)
	}
	return s
}

func (w *world) create(o client.Object) {
	w.Helper()
	if err := w.api.Create(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

func (w *world) get(name string) *v1alpha1.DockerStack {
	w.Helper()
	s := &v1alpha1.DockerStack{}
	if err := w.api.Get(w.Context(), types.NamespacedName{Namespace: namespace, Name: name}, s); err != nil {
		w.Fatal(err)
	}
	return s
}

// edit changes an object, as a person does: the generation goes up.
func edit[T client.Object](w *world, o T, name string, change func(T)) {
	w.Helper()
	if err := w.api.Get(w.Context(), types.NamespacedName{Namespace: namespace, Name: name}, o); err != nil {
		w.Fatal(err)
	}
	change(o)
	o.SetGeneration(o.GetGeneration() + 1)
	if err := w.api.Update(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

func (w *world) edit(name string, change func(*v1alpha1.DockerStack)) {
	w.Helper()
	edit(w, &v1alpha1.DockerStack{}, name, change)
}

func (w *world) text(name, text string) {
	w.Helper()
	w.edit(name, func(s *v1alpha1.DockerStack) { s.Spec.Compose.Inline = text })
}

// secret reads a Secret; nil when it is not there.
func (w *world) secret(name string) *corev1.Secret {
	w.Helper()
	s := &corev1.Secret{}
	err := w.api.Get(w.Context(), types.NamespacedName{Namespace: namespace, Name: name}, s)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// pass makes a pass over a DockerStack, and returns when the next one is due by itself.
func (w *world) pass(name string) time.Duration {
	w.Helper()
	ctx := log.IntoContext(w.Context(), funcr.New(func(prefix, args string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		fmt.Fprintln(&w.log, prefix, args)
	}, funcr.Options{Verbosity: 9}))
	r, err := w.loop.Reconcile(ctx, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}})
	if err != nil {
		w.Fatalf("pass over %s: %v", name, err)
	}
	return r.RequeueAfter
}

// jobs are reasons of what runs beside the passes.
var jobs = []string{"Pulling", "Deploying", "Redeploying", "RollingBack", "Pruning", "Removing", "Fetching"}

// step makes a pass, and lets what it began come to its end. It returns when the next one is due by itself.
func (w *world) step(name string) time.Duration {
	w.Helper()
	after := w.pass(name)
	s := &v1alpha1.DockerStack{}
	if w.api.Get(w.Context(), types.NamespacedName{Namespace: namespace, Name: name}, s) != nil {
		return 0
	}
	ready := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ReadyCondition)
	if after >= 5*time.Minute && ready != nil && slices.Contains(jobs, ready.Reason) {
		w.wake(name)
		return 0
	}
	return after
}

// wake waits until a DockerStack is to be looked at again.
func (w *world) wake(name string) {
	w.Helper()
	giveUp := time.NewTimer(patience)
	defer giveUp.Stop()
	for {
		select {
		case woken := <-w.woken:
			if woken.Name == name {
				return
			}
		case <-giveUp.C:
			w.Fatalf("nothing wakes %s", name)
		}
	}
}

// wakeSome gives what runs beside the passes some time, or until somebody is to be looked at again.
func (w *world) wakeSome() {
	select {
	case <-w.woken:
	case <-time.After(10 * time.Millisecond):
	}
}

// sleep lets time go on.
func (w *world) sleep(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }

// until makes passes, with the time between them, until Ready is as wanted: its status and reason, and what its message has in it.
func (w *world) until(name, want string, says ...string) *v1alpha1.DockerStack {
	w.Helper()
	var got string
	for range lookLimit {
		after := w.step(name)
		s := w.get(name)
		got = condition(s, v1alpha1.ReadyCondition)
		if strings.HasPrefix(got, want+":") && !lacks(got, says) {
			return s
		}
		w.sleep(min(after, 3*time.Minute))
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

// ready waits until a DockerStack is in sync with what is there now.
func (w *world) ready(name string) *v1alpha1.DockerStack {
	w.Helper()
	w.sleep(3 * time.Second) // what was read before is not shared any more
	return w.until(name, "True InSync")
}

func condition(s *v1alpha1.DockerStack, name string) string {
	found := meta.FindStatusCondition(s.Status.Conditions, name)
	if found == nil {
		return "none"
	}
	return fmt.Sprintf("%s %s: %s", found.Status, found.Reason, found.Message)
}

// says asserts that a condition is as wanted.
func (w *world) says(s *v1alpha1.DockerStack, name, want string, says ...string) {
	w.Helper()
	if got := condition(s, name); !strings.HasPrefix(got+":", want+":") || lacks(got, says) {
		w.Errorf("%s of %s is %q, want %s with %q", name, s.Name, got, want, says)
	}
}

// quiet asserts that a pass over a DockerStack in sync costs two requests at most, none that writes, and no patch.
func (w *world) quiet(name string) {
	w.Helper()
	w.sleep(3 * time.Second)
	before, events := w.get(name).ResourceVersion, len(w.events.all())
	vault := w.secret(name + "-stack").ResourceVersion
	w.server.ForgetRequests()
	w.pass(name)
	if after := w.get(name).ResourceVersion; after != before {
		w.Errorf("a pass in sync patches %s: %s", name, condition(w.get(name), v1alpha1.ReadyCondition))
	}
	if after := w.secret(name + "-stack").ResourceVersion; after != vault {
		w.Error("a pass in sync writes the Secret")
	}
	if said := w.events.all()[events:]; len(said) > 0 {
		w.Errorf("a pass in sync tells of %q", said)
	}
	if requests := w.server.Requests(); len(requests) > 2 || slices.ContainsFunc(requests, sim.Request.Writes) {
		w.Errorf("a pass in sync makes the requests %+v", requests)
	}
}

// writes are the requests that changed something, since they were forgotten.
func (w *world) writes() []string {
	var out []string
	for _, r := range w.server.Requests() {
		if r.Writes() {
			path, _, _ := strings.Cut(strings.TrimPrefix(r.Path, "/api"), "/images/create")
			out = append(out, r.Method+" "+path)
		}
	}
	return out
}

// containers of a project in an environment, as "SERVICE STATE".
func (w *world) containers(environment, project string) []string {
	var all []string
	for _, c := range w.engines[environment].Containers() {
		if c.Labels["com.docker.compose.project"] == project {
			all = append(all, c.Labels["com.docker.compose.service"]+" "+c.State)
		}
	}
	slices.Sort(all)
	return all
}

// container is the first of a service.
func (w *world) container(environment, project, service string) sim.Container {
	w.Helper()
	for _, c := range w.engines[environment].Containers() {
		if c.Labels["com.docker.compose.project"] == project && c.Labels["com.docker.compose.service"] == service {
			return c
		}
	}
	w.Fatalf("%s has no container of service %s of %s", environment, service, project)
	return sim.Container{}
}

// stack is Portainer's record of a project in drphoenix.
func (w *world) stack(project string) (portainer.Stack, bool) {
	w.Helper()
	all, err := w.admin.Stacks(w.Context(), w.ids["drphoenix"])
	if err != nil {
		w.Fatal(err)
	}
	for _, s := range all {
		if s.Name == project {
			return s, true
		}
	}
	return portainer.Stack{}, false
}

// mustStack is stack, of one that is there, with its text.
func (w *world) mustStack(project string) (portainer.Stack, string) {
	w.Helper()
	s, ok := w.stack(project)
	if !ok {
		w.Fatalf("Portainer has no stack %s", project)
	}
	text, err := w.admin.StackFile(w.Context(), s.ID)
	if err != nil {
		w.Fatal(err)
	}
	return s, text
}

// portainerEdit changes a stack as a person does in Portainer's pages.
func (w *world) portainerEdit(project string, change func(text string, env []portainer.Variable) (string, []portainer.Variable)) {
	w.Helper()
	s, text := w.mustStack(project)
	text, env := change(text, s.Env)
	if err := w.admin.UpdateStack(w.Context(), s.ID, s.EnvironmentID, portainer.StackChange{Text: text, Env: env}); err != nil {
		w.Fatal(err)
	}
}

// remove deletes a DockerStack and makes passes until it is gone.
func (w *world) remove(name string) {
	w.Helper()
	w.delete(w.get(name))
	for range lookLimit {
		if !w.exists(name) {
			return
		}
		w.sleep(min(w.step(name), 3*time.Minute))
	}
	w.Fatalf("%s does not go: %s", name, condition(w.get(name), v1alpha1.ReadyCondition))
}

func (w *world) delete(o client.Object) {
	w.Helper()
	if err := w.api.Delete(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

func (w *world) exists(name string) bool {
	w.Helper()
	return w.api.Get(w.Context(), types.NamespacedName{Namespace: namespace, Name: name}, &v1alpha1.DockerStack{}) == nil
}

// want fails unless what is there is as wanted.
func want[T any](w *world, what string, got, wanted T) {
	w.Helper()
	if g, s := fmt.Sprintf("%q", any(got)), fmt.Sprintf("%q", any(wanted)); g != s {
		w.Errorf("%s: %s, want %s", what, g, s)
	}
}

// newWorldLike makes another cluster beside the same Portainer.
func newWorldLike(t *testing.T, like *world) *world {
	t.Helper()
	w := &world{
		T: t, clock: like.clock, registry: prometheus.NewRegistry(), events: &recorder{}, images: like.images, engines: like.engines, ids: like.ids,
		server: like.server, access: like.access, portainer: like.portainer, admin: like.admin, key: like.key, woken: make(chan types.NamespacedName, 1000),
	}
	w.build(nil)
	t.Cleanup(func() { w.dies() })
	return w
}
