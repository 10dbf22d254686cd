// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
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
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	"github.com/phoenix-hypervisor/phoenix/controllers/hostservice"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	simportainer "github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

const (
	fleetServer = "portainer" // a Guest with the engine "docker-1" and the server "main"
	fleetBox    = "drphoenix" // a Guest with the engine "docker-2" and the agent "drphoenix"
)

// fleetServices in the order in which they need one another.
var fleetServices = []string{"docker-1", "docker-2", "main", "drphoenix"}

// fleet are two simulated machines with Docker engines, Portainer and its agent, an API server's memory, and a manager's loop
// over HostServices, through the real drivers.
type fleet struct {
	*gateWorld
	network  *sim.Network
	machines map[string]*sim.Machine
	doors    map[string]*svcDoor
	// locked has the server tell whoever asks next that it waited for an administrator in vain.
	locked bool
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	w := &fleet{gateWorld: &gateWorld{svcWorld: &svcWorld{t: t}}, network: sim.NewNetwork(), machines: map[string]*sim.Machine{}, doors: map[string]*svcDoor{}}
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	host := &v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: "phoenix"}}
	objects := []client.Object{host}
	for name, address := range map[string]string{fleetServer: "10.0.0.111", fleetBox: "10.0.0.102"} {
		g := svcGuest(name, address)
		g.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ReachableCondition, Status: metav1.ConditionTrue, Reason: "Answering"}}
		objects = append(objects, g)
		w.build(name, address)
	}
	w.client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithStatusSubresource(&v1alpha1.Guest{}, &v1alpha1.Host{}, &v1alpha1.HostService{}, &v1alpha1.Certificate{}).Build()
	w.put("portainer-tls", time.Hour, "portainer.phoenix.lan")
	w.restart()
	return w
}

// build makes a machine from nothing.
func (w *fleet) build(name, address string) {
	if old := w.machines[name]; old != nil {
		old.Halt()
	}
	m := sim.New(sim.Options{Hostname: name, Addresses: []netip.Addr{netip.MustParseAddr(address)}, Network: w.network, Registry: sim.DockerHub()})
	m.Boot()
	w.t.Cleanup(m.Halt)
	w.machines[name], w.doors[name] = m, &svcDoor{sim: m}
}

// put writes the certificate, which is its own authority.
func (w *fleet) put(secret string, life time.Duration, names ...string) {
	w.t.Helper()
	w.gateWorld.put(secret, life, names...)
	data := w.secret(secret).Data
	data["ca.crt"] = data[corev1.TLSCertKey]
	w.write(secret, data)
}

// restart begins another manager.
func (w *fleet) restart() {
	machines := map[string]*machine.Machine{}
	for name, door := range w.doors {
		machines[name] = machine.New(door, machine.Options{Clock: atOnce{}})
	}
	kind := hostservice.New(hostservice.Config{
		Reader: w.client, Writer: w.client, Clock: clock.RealClock{}, Mark: guest.Tag, Portainer: w.portainer,
		Machine: func(_ context.Context, s *v1alpha1.HostService) (*machine.Machine, error) {
			return machines[s.Spec.GuestRef.Name], nil
		},
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
	w.events = events.NewFakeRecorder(100000)
	w.loop = &reconcile.Loop[*v1alpha1.HostService, hostservice.Seen]{
		Name: "HostService", Kind: kind, New: empty, Client: w.client, Live: w.client, Graph: graph,
		Events: w.events, Clock: clock.RealClock{}, Interval: time.Minute,
		Backoff: workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](time.Millisecond, time.Millisecond),
	}
}

// fleetClient is the real client, over a connection to a simulated machine.
type fleetClient struct {
	*portainer.Server
	w *fleet
}

func (w *fleet) portainer(at hostservice.PortainerAddress) (hostservice.PortainerServer, error) {
	o := portainer.Options{URL: at.URL, ServerName: at.ServerName, Roots: x509.NewCertPool(), Dial: w.dial}
	if !o.Roots.AppendCertsFromPEM([]byte(at.CABundle)) {
		return nil, errors.New("no authorities")
	}
	s, err := portainer.New(o)
	if err != nil {
		return nil, err
	}
	w.t.Cleanup(s.Close)
	return fleetClient{s, w}, nil
}

func (w *fleet) dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	for _, m := range w.machines {
		if slices.Contains(m.Addresses(), netip.MustParseAddr(host)) {
			return m.Dial(ctx, n)
		}
	}
	return nil, fmt.Errorf("dial %s: no route to host", address)
}

func (c fleetClient) Status(ctx context.Context) (portainer.Status, error) {
	if c.w.locked {
		c.w.locked = false
		return portainer.Status{}, &portainer.Error{Kind: portainer.Locked, Message: "Administrator initialization timeout"}
	}
	return c.Server.Status(ctx)
}

func (c fleetClient) SignIn(ctx context.Context, username, password string) (hostservice.PortainerSession, error) {
	s, err := c.Server.SignIn(ctx, username, password)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (c fleetClient) Settings(apiKey string) hostservice.PortainerSettings { return c.With(apiKey) }

func (c fleetClient) Environments(apiKey string) hostservice.PortainerEnvironments {
	return c.With(apiKey)
}

func (c fleetClient) Ping(ctx context.Context, apiKey string, environment int) error {
	e, err := c.With(apiKey).Engine(environment)
	if err != nil {
		return err
	}
	return e.Ping(ctx)
}

func on(guest, name string, change func(*v1alpha1.HostServiceSpec)) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: name}}
	s.Spec.GuestRef = &v1alpha1.LocalReference{Name: guest}
	change(&s.Spec)
	return s
}

// declare makes the four services.
func (w *fleet) declare() {
	w.t.Helper()
	docker := func(s *v1alpha1.HostServiceSpec) { s.Docker = &v1alpha1.Docker{} }
	w.create(on(fleetServer, "docker-1", docker))
	w.create(on(fleetBox, "docker-2", docker))
	w.create(on(fleetServer, "main", func(s *v1alpha1.HostServiceSpec) {
		s.Portainer = &v1alpha1.Portainer{
			Image: v1alpha1.DockerImage{Name: "portainer/portainer-ce:2.23.0"}, DockerRef: &v1alpha1.LocalReference{Name: "docker-1"},
			SecretRef: &v1alpha1.LocalReference{Name: "portainer-tls"}, Settings: &v1alpha1.PortainerSettings{SnapshotInterval: &metav1.Duration{Duration: 2 * time.Minute}},
		}
	}))
	w.create(on(fleetBox, "drphoenix", func(s *v1alpha1.HostServiceSpec) {
		s.PortainerAgent = &v1alpha1.PortainerAgent{
			Image: v1alpha1.DockerImage{Name: "portainer/agent:2.23.0"}, DockerRef: &v1alpha1.LocalReference{Name: "docker-2"}, PortainerRef: v1alpha1.LocalReference{Name: "main"},
		}
	}))
}

// settle makes passes over all until a whole round finds everything in sync.
func (w *fleet) settle() {
	w.t.Helper()
	deadline := time.After(2 * svcPatience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		whole := true
		var said []string
		for _, name := range fleetServices {
			w.pass(name)
			s := w.get(name)
			ready := strings.HasPrefix(svcReady(s), "True InSync") && (s.Spec.PortainerAgent == nil || strings.HasPrefix(svcCondition(s, v1alpha1.RegisteredCondition), "True ")) &&
				strings.HasPrefix(svcCondition(s, v1alpha1.ServingCondition), "True ")
			whole = whole && ready
			said = append(said, name+": "+svcReady(s))
		}
		if whole {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("it does not settle: %s", strings.Join(said, "; "))
		}
	}
}

func (w *fleet) server() *simportainer.Server {
	w.t.Helper()
	s := w.machines[fleetServer].Portainer()
	if s == nil {
		w.t.Fatal("no server runs")
	}
	return s
}

// asked are the requests since the list was emptied that change something.
func (w *fleet) asked() []string {
	w.t.Helper()
	var all []string
	for _, r := range w.server().Requests() {
		if r.Method != "GET" && r.Method != "HEAD" {
			all = append(all, r.Method+" "+r.Path)
		}
	}
	return all
}

// key speaks to the server with the key of the Secret.
func (w *fleet) key() hostservice.PortainerEnvironments {
	w.t.Helper()
	status := w.get("main").Status.Portainer
	s, err := w.portainer(hostservice.PortainerAddress{URL: status.URL, ServerName: status.ServerName, CABundle: status.CABundle})
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Environments(string(w.secret("main-api-key").Data["apiKey"]))
}

// environments are those that the server has, but for their tags.
func (w *fleet) environments() []portainer.Environment {
	w.t.Helper()
	all, err := w.key().Environments(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// still asserts that a round of passes in sync changes nothing anywhere.
func (w *fleet) still() {
	w.t.Helper()
	versions, writes := map[string]string{}, map[string]int{}
	for _, name := range fleetServices {
		versions[name] = w.get(name).ResourceVersion
	}
	for name, m := range w.machines {
		writes[name] = m.Writes()
	}
	w.server().ForgetRequests()
	for _, name := range fleetServices {
		w.pass(name)
		if s := w.get(name); s.ResourceVersion != versions[name] {
			w.t.Errorf("a pass in sync writes %s: %s", name, svcText(s))
		}
	}
	for name, m := range w.machines {
		if m.Writes() != writes[name] {
			w.t.Errorf("passes in sync make %d writes on %s", m.Writes()-writes[name], name)
		}
	}
	if asked := w.asked(); len(asked) > 0 {
		w.t.Errorf("passes in sync ask for %s", asked)
	}
}

// on runs a line on a machine, as a person there would.
func (w *fleet) on(name, line string) string {
	w.t.Helper()
	w.sim = w.machines[name]
	return w.shell(line)
}

// delete deletes services, as one does with a namespace.
func (w *fleet) delete(names ...string) {
	w.t.Helper()
	for _, name := range names {
		if err := w.client.Delete(w.t.Context(), w.get(name)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// left are the services that are still there.
func (w *fleet) left() []string {
	w.t.Helper()
	var list v1alpha1.HostServiceList
	if err := w.client.List(w.t.Context(), &list); err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, s := range list.Items {
		names = append(names, s.Name)
	}
	return names
}

// let makes passes over services that are being deleted until they are gone.
func (w *fleet) let(names ...string) {
	w.t.Helper()
	deadline := time.After(svcPatience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for slices.ContainsFunc(names, w.hasService) {
		for _, name := range names {
			if w.hasService(name) {
				w.pass(name)
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			for _, name := range w.left() {
				w.t.Errorf("%s: %s", name, svcReady(w.get(name)))
			}
			w.t.Fatalf("%s are left", w.left())
		}
	}
}

func svcName(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: svcNamespace, Name: name}
}

// lose takes a Guest away without a trace.
func (w *fleet) lose(name string) {
	w.t.Helper()
	g := &v1alpha1.Guest{}
	if err := errors.Join(w.client.Get(w.t.Context(), svcName(name), g), w.client.Delete(w.t.Context(), g)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *fleet) hasService(name string) bool { return slices.Contains(w.left(), name) }

// has says whether a Secret is there.
func (w *fleet) has(secret string) bool {
	w.t.Helper()
	err := w.client.Get(w.t.Context(), svcName(secret), &corev1.Secret{})
	if err != nil && !apierrors.IsNotFound(err) {
		w.t.Fatal(err)
	}
	return err == nil
}
