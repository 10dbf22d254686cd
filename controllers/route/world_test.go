// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"go.step.sm/crypto/keyutil"
	"go.step.sm/crypto/minica"
	"go.step.sm/crypto/pemutil"
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
	"github.com/phoenix-hypervisor/phoenix/controllers/route"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/pin"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

const (
	namespace     = "home"
	gatewayFolder = "/etc/nginx/phoenix/nginx/routes"
	routerFolder  = "/etc/traefik/dynamic/routes"
	// lookLimit bounds how many passes a test waits for.
	lookLimit = 1500
)

// door is the way to a simulated machine.
type door struct {
	*sim.Machine
	mu       sync.Mutex
	away     bool
	sessions int
}

func (d *door) Run(ctx context.Context, argv []string, stdin []byte) (machine.Result, error) {
	d.mu.Lock()
	away := d.away
	d.sessions++
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

func (d *door) asked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sessions
}

// shell runs a script as a person on the machine would.
func (d *door) shell(t *testing.T, script string) string {
	t.Helper()
	var out, errs bytes.Buffer
	exit, err := d.Session(t.Context(), []string{"sh"}, strings.NewReader(script), &out, &errs)
	if err != nil || exit != 0 {
		t.Fatalf("%s: exit %d, %v\n%s%s", script, exit, err, out.String(), errs.String())
	}
	return out.String()
}

// world is an API server's memory, a gateway, a router and a backend, and a manager's loop over Routes, through the real
// driver of machines. Its clock goes on when a test lets it.
type world struct {
	*testing.T
	authority *minica.CA
	clock     *clocktesting.FakePassiveClock
	client    client.Client
	gateway   *door
	router    *door
	backend   *door
	kind      *route.Kind
	loop      *reconcile.Loop[*v1alpha1.Route, route.Seen]
	events    *recorder
	stop      func()

	mu      sync.Mutex
	patches int
	woken   []string
	// slow is how long the gateway's certificate takes to be seen.
	slow time.Duration
	// asking is how many certificates are being asked for, and most how many that were at most.
	asking, most int
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

const (
	unit = "[Unit]\nDescription=Traefik\n[Service]\nExecStart=/usr/local/bin/traefik --configFile=/etc/traefik/traefik.yml\nRestart=always\n[Install]\nWantedBy=multi-user.target\n"

	static = `
entryPoints:
  web: {address: ":80", forwardedHeaders: {trustedIPs: [10.0.0.153]}}
  websecure: {address: ":443"}
  traefik: {address: "127.0.0.1:8080"}
api: {insecure: true, dashboard: false}
ping: {}
providers:
  providersThrottleDuration: 20ms
  file: {directory: /etc/traefik/dynamic, watch: true}
global: {checkNewVersion: false, sendAnonymousUsage: false}
`
	// gate is what the nginx HostService makes, as far as it matters here: a host is in the map once.
	gate = `
map $host $phoenix_route { hostnames; default ""; include /etc/nginx/phoenix/nginx/routes/*.map; }
server { listen 443 ssl; server_name *.phoenix.lan; ssl_certificate /etc/nginx/ssl/site.crt; ssl_certificate_key /etc/nginx/ssl/site.key; return 404; }
`
)

// newWorld makes a world with a gateway "nginx" with a certificate of *.phoenix.lan, a router "traefik", and a Guest "web"
// that answers on port 8081.
func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	site, web := sim.NewNetwork(), sim.NewMirror()
	address, body, _, member := sim.TraefikRelease("")
	web.Put(address, body)
	boot := func(name, at string, installed ...string) *door {
		m := sim.New(sim.Options{
			Hostname: name, Network: site, Addresses: []netip.Addr{netip.MustParseAddr(at)}, Web: web.Get, Installed: installed, Registry: sim.DockerHub(),
		})
		m.Boot()
		t.Cleanup(m.Halt)
		return &door{Machine: m}
	}
	w := &world{
		T: t, clock: clocktesting.NewFakePassiveClock(time.Now()), events: &recorder{},
		gateway: boot("nginx", "10.0.0.153", "nginx-light", "curl"), router: boot("traefik", "10.0.0.12", "curl", "ca-certificates"),
		backend: boot("web", "10.0.0.20"),
	}
	var err error
	if w.authority, err = minica.New(); err != nil {
		t.Fatal(err)
	}
	w.install(w.router, map[string]string{"/etc/traefik/traefik.yml": static, "/etc/systemd/system/traefik.service": unit})
	w.router.shell(t, "useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin traefik\n"+
		"curl -fsSL -o /tmp/a.tgz "+address+" && tar -xzOf /tmp/a.tgz "+member+" > /usr/local/bin/traefik && chmod 755 /usr/local/bin/traefik\n"+
		"mkdir -p "+routerFolder+"; chown root:traefik "+routerFolder+"; chmod 750 "+routerFolder+"; systemctl enable -q traefik; systemctl start traefik")
	chain, key := w.issue(48*time.Hour, "*.phoenix.lan")
	w.install(w.gateway, map[string]string{"/etc/nginx/ssl/site.crt": chain, "/etc/nginx/ssl/site.key": key, "/etc/nginx/conf.d/gate.conf": gate})
	w.gateway.shell(t, "mkdir -p "+gatewayFolder+"; chmod 700 "+gatewayFolder+"; systemctl enable -q nginx; systemctl restart nginx")
	w.backend.shell(t, "apt-get update && apt-get install -y docker.io && docker run -d --name web -e WHOAMI_NAME=one -p 8081:80 traefik/whoami:v1.10")

	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	w.client = fake.NewClientBuilder().WithScheme(scheme).
		WithStatusSubresource(&v1alpha1.Route{}, &v1alpha1.HostService{}, &v1alpha1.Guest{}, &v1alpha1.Certificate{}, &v1alpha1.DockerStack{}).
		WithIndex(&v1alpha1.Route{}, route.ByHost, route.HostsOf).WithIndex(&v1alpha1.Route{}, route.ByTarget, route.TargetsOf).
		WithObjects(append(objects, w.site()...)...).WithInterceptorFuncs(w.countPatches()).Build()
	w.restart()
	t.Cleanup(func() { w.stop() })
	return w
}

// with is the world in a part of a test.
func (w *world) with(t *testing.T) *world {
	return &world{
		T: t, authority: w.authority, clock: w.clock, client: w.client, gateway: w.gateway, router: w.router, backend: w.backend,
		kind: w.kind, loop: w.loop, events: w.events, stop: w.stop,
	}
}

func (w *world) install(d *door, files map[string]string) {
	w.Helper()
	for name, text := range files {
		if err := d.WriteFile(name, text, 0o644); err != nil {
			w.Fatal(err)
		}
	}
}

// issue makes a certificate, with its chain, and its key.
func (w *world) issue(life time.Duration, names ...string) (chain, key string) {
	w.Helper()
	signer, err := keyutil.GenerateDefaultSigner()
	if err != nil {
		w.Fatal(err)
	}
	leaf, err := w.authority.Sign(&x509.Certificate{DNSNames: names, PublicKey: signer.Public(), NotAfter: time.Now().Add(life)})
	if err != nil {
		w.Fatal(err)
	}
	for _, c := range []*x509.Certificate{leaf, w.authority.Intermediate} {
		chain += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	block, err := pemutil.Serialize(signer)
	if err != nil {
		w.Fatal(err)
	}
	return chain, string(pem.EncodeToMemory(block))
}

// countPatches counts what is written to the status of Routes.
func (w *world) countPatches() interceptor.Funcs {
	return interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			w.mu.Lock()
			w.patches++
			w.mu.Unlock()
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	}
}

// site are the objects that a Route refers to.
func (w *world) site() []client.Object {
	host := &v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "phoenix"}}
	host.Spec.OwnerID = "site"
	objects := []client.Object{host}
	for name, address := range map[string]string{"nginx": "10.0.0.153", "traefik": "10.0.0.12", "web": "10.0.0.20"} {
		g := &v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		vmid := int32(100)
		g.Spec.HostRef.Name, g.Status.VMID, g.Status.Addresses = "phoenix", &vmid, []string{address}
		objects = append(objects, g)
	}
	return append(objects,
		service("nginx", func(s *v1alpha1.HostService) {
			s.Spec.Nginx = &v1alpha1.Nginx{Servers: []v1alpha1.NginxServer{{Name: "site", Names: []string{"*.phoenix.lan"}}}}
		}),
		service("traefik", func(s *v1alpha1.HostService) {
			s.Spec.Traefik = &v1alpha1.Traefik{GatewayRefs: []v1alpha1.LocalReference{{Name: "nginx"}}}
		}))
}

// service is one that serves, in the Guest of its name.
func service(name string, change func(*v1alpha1.HostService)) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	s.Spec.GuestRef = &v1alpha1.LocalReference{Name: name}
	meta.SetStatusCondition(&s.Status.Conditions, metav1.Condition{Type: v1alpha1.ServingCondition, Status: metav1.ConditionTrue, Reason: "Answering"})
	change(s)
	return s
}

// certificate asks a gateway for its certificate, as long as that takes.
func (w *world) certificate(ctx context.Context, address, name string) ([]*x509.Certificate, error) {
	w.mu.Lock()
	w.asking++
	w.most = max(w.most, w.asking)
	slow := w.slow
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.asking--
	}()
	select {
	case <-time.After(slow):
		return pin.Served(ctx, w.dial, address, name)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// slowly has certificates take a while to be seen.
func (w *world) slowly(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slow = d
}

// restart begins another manager over the same objects and machines.
func (w *world) restart() {
	w.Helper()
	if w.stop != nil {
		w.stop()
	}
	runs := map[string]*machine.Machine{}
	for name, d := range map[string]*door{"nginx": w.gateway, "traefik": w.router} {
		runs[name] = machine.New(d, machine.Options{})
	}
	w.kind = route.New(route.Config{
		Client: w.client, Clock: w.clock, Interval: 5 * time.Minute,
		Machine: func(_ context.Context, g *v1alpha1.Guest) (*machine.Machine, error) { return runs[g.Name], nil },
		Served:  w.certificate,
		Wake: func(name types.NamespacedName) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.woken = append(w.woken, name.Name)
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.kind.Start(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.Error(err)
		}
	})
	graph := reconcile.NewGraph(w.client)
	empty := func() *v1alpha1.Route { return &v1alpha1.Route{} }
	reconcile.Register(graph, "Route", w.kind, empty, func() client.ObjectList { return &v1alpha1.RouteList{} })
	reconcile.Register(graph, "Guest", other[*v1alpha1.Guest]{}, func() *v1alpha1.Guest { return &v1alpha1.Guest{} }, func() client.ObjectList { return &v1alpha1.GuestList{} })
	reconcile.Register(graph, "Certificate", other[*v1alpha1.Certificate]{}, func() *v1alpha1.Certificate { return &v1alpha1.Certificate{} }, func() client.ObjectList { return &v1alpha1.CertificateList{} })
	reconcile.Register(graph, "DockerStack", other[*v1alpha1.DockerStack]{}, func() *v1alpha1.DockerStack { return &v1alpha1.DockerStack{} }, func() client.ObjectList { return &v1alpha1.DockerStackList{} })
	reconcile.Register(graph, "HostService", other[*v1alpha1.HostService]{}, func() *v1alpha1.HostService { return &v1alpha1.HostService{} },
		func() client.ObjectList { return &v1alpha1.HostServiceList{} })
	w.loop = &reconcile.Loop[*v1alpha1.Route, route.Seen]{
		Name: "Route", Kind: w.kind, New: empty, Client: w.client, Live: w.client, Graph: graph,
		Events: w.events, Clock: w.clock, Interval: 5 * time.Minute, Backoff: reconcile.NewBackoff(),
	}
}

// dial connects to a machine of the site.
func (w *world) dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	at := map[string]*door{"10.0.0.153": w.gateway, "10.0.0.12": w.router, "10.0.0.20": w.backend}[host]
	if at == nil {
		return nil, errors.New("no route to host")
	}
	return at.Dial(ctx, number)
}

// other stands for a kind that is not under test here.
type other[T reconcile.Object] struct{}

func (other[T]) Refs(T) []reconcile.Ref                       { return nil }
func (other[T]) Observe(context.Context, T) (struct{}, error) { return struct{}{}, nil }
func (other[T]) Plan(T, struct{}) []reconcile.Step            { return nil }
func (other[T]) Remove(T, struct{}) []reconcile.Step          { return nil }
func (other[T]) Report(T, struct{}) []reconcile.Condition     { return nil }

// declare makes a Route of NAME.phoenix.lan to the Guest web.
func (w *world) declare(name string, change func(*v1alpha1.Route)) {
	w.Helper()
	r := &v1alpha1.Route{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: types.UID(name), Generation: 1, CreationTimestamp: metav1.NewTime(w.clock.Now()),
	}}
	r.Spec.GatewayRef.Name, r.Spec.RouterRef.Name = "nginx", "traefik"
	r.Spec.Hosts = []string{name + ".phoenix.lan"}
	r.Spec.Backends = []v1alpha1.RouteBackend{{Guest: &v1alpha1.RouteGuestBackend{Name: "web", Port: 8081}}}
	if change != nil {
		change(r)
	}
	w.create(r)
}

func (w *world) create(o client.Object) {
	w.Helper()
	if err := w.client.Create(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

func (w *world) get(name string) *v1alpha1.Route {
	w.Helper()
	r := &v1alpha1.Route{}
	if err := w.client.Get(w.Context(), types.NamespacedName{Namespace: namespace, Name: name}, r); err != nil {
		w.Fatal(err)
	}
	return r
}

// edit changes a Route, as a person does: its generation goes up.
func (w *world) edit(name string, change func(*v1alpha1.Route)) {
	w.Helper()
	r := w.get(name)
	change(r)
	r.Generation++
	if err := w.client.Update(w.Context(), r); err != nil {
		w.Fatal(err)
	}
}

// pass makes a pass over a Route, and returns when the next one is due by itself; 0: never.
func (w *world) pass(name string) time.Duration {
	w.Helper()
	ctx := log.IntoContext(w.Context(), funcr.New(func(string, string) {}, funcr.Options{}))
	r, err := w.loop.Reconcile(ctx, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}})
	if err != nil && !strings.Contains(err.Error(), "terminal error") {
		w.Fatalf("pass over %s: %v", name, err)
	}
	return r.RequeueAfter
}

// sleep lets time go on.
func (w *world) sleep(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }

// rest lets time go on until a pass is due: what takes real time gets some of it.
func (w *world) rest(after time.Duration) {
	const moment = 10 * time.Millisecond
	if after < time.Second || after > 2*time.Minute {
		after = moment
	}
	time.Sleep(moment)
	w.sleep(after)
}

// until makes passes, with the time between them, until Ready is as wanted: its status and reason, and what its message has in it.
func (w *world) until(name, want string, says ...string) *v1alpha1.Route {
	w.Helper()
	var got string
	for range lookLimit {
		after := w.pass(name)
		r := w.get(name)
		got = said(r, v1alpha1.ReadyCondition)
		if strings.HasPrefix(got, want+":") && !lacks(got, says) {
			return r
		}
		w.rest(after)
	}
	w.Fatalf("%s is %q, want %s with %q; plan %+v; conditions %+v", name, got, want, says, w.get(name).Status.Plan, w.get(name).Status.Conditions)
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

func (w *world) ready(name string) *v1alpha1.Route {
	w.Helper()
	return w.until(name, "True InSync")
}

// says asserts that a condition of a Route is as wanted.
func (w *world) says(r *v1alpha1.Route, name, want string, says ...string) {
	w.Helper()
	if got := said(r, name); !strings.HasPrefix(got+":", want+":") || lacks(got, says) {
		w.Errorf("%s of %s is %q, want %s with %q", name, r.Name, got, want, says)
	}
}

func said(r *v1alpha1.Route, name string) string {
	found := meta.FindStatusCondition(r.Status.Conditions, name)
	if found == nil {
		return "none"
	}
	return fmt.Sprintf("%s %s: %s", found.Status, found.Reason, found.Message)
}

// ask asks the router for a host and path, as the gateway does.
func (w *world) ask(host, path string) string {
	w.Helper()
	c := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return w.router.Dial(ctx, 80) },
	}}
	request, err := http.NewRequestWithContext(w.Context(), http.MethodGet, "http://"+host+path, http.NoBody)
	if err != nil {
		w.Fatal(err)
	}
	answer, err := c.Do(request)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err.Error()
	}
	return strconv.Itoa(answer.StatusCode) + " " + string(text)
}

// served asserts that the router answers for a host with 200.
func (w *world) served(host string) {
	w.Helper()
	if got := w.ask(host, "/"); !strings.HasPrefix(got, "200 ") {
		w.Errorf("%s answers %q", host, got)
	}
}

// files are the names of the files in a folder, without what tells whose they are.
func (w *world) files(d *door, folder string) string {
	w.Helper()
	var names []string
	for _, name := range strings.Fields(d.shell(w.T, "ls "+folder)) {
		_, rest, _ := strings.Cut(name, "-")
		names = append(names, rest)
	}
	return strings.Join(names, " ")
}

// state is everything that a pass in sync must leave alone.
func (w *world) state(name string) string {
	w.mu.Lock()
	patches := w.patches
	w.mu.Unlock()
	return fmt.Sprintf("version %s, %d patches, %d events, %d and %d writes", w.get(name).ResourceVersion, patches, len(w.events.all()), w.gateway.Writes(), w.router.Writes())
}

// quiet asserts that a pass over a Route in sync writes nothing anywhere.
func (w *world) quiet(name string) {
	w.Helper()
	before := w.state(name)
	w.pass(name)
	if after := w.state(name); after != before {
		w.Errorf("a pass in sync: was %s and is %s", before, after)
	}
}

// remove deletes a Route and makes passes until it is gone.
func (w *world) remove(name string) {
	w.Helper()
	w.delete(name)
	for range lookLimit {
		if !w.exists(name) {
			return
		}
		w.rest(w.pass(name))
	}
	w.Fatalf("%s does not go: %s", name, said(w.get(name), v1alpha1.ReadyCondition))
}

func (w *world) delete(name string) {
	w.Helper()
	if err := w.client.Delete(w.Context(), w.get(name)); err != nil {
		w.Fatal(err)
	}
}

func (w *world) exists(name string) bool {
	w.Helper()
	err := w.client.Get(w.Context(), types.NamespacedName{Namespace: namespace, Name: name}, &v1alpha1.Route{})
	if client.IgnoreNotFound(err) != nil {
		w.Fatal(err)
	}
	return !apierrors.IsNotFound(err)
}
