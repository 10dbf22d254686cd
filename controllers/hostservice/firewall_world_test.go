// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	"github.com/phoenix-hypervisor/phoenix/controllers/hostservice"
	"github.com/phoenix-hypervisor/phoenix/internal/firewall"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/pin"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/secret"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const (
	fwNamespace = "lab"
	fwName      = "fw"
	fwOwner     = "lab/home/HostService/lab/fw"
	fwPatience  = 90 * time.Second
)

func init() { log.SetLogger(zap.New(zap.WriteTo(io.Discard))) }

// fwWorld is a simulated site, an API server's memory, and one manager's loop over a firewall, through the real driver.
type fwWorld struct {
	t      *testing.T
	sim    *pve.Server
	nodes  []string
	client client.Client
	loop   *reconcile.Loop[*v1alpha1.HostService, hostservice.Seen]
	api    *proxmox.Client
	// scripts counts the round trips to nodes; blind takes SSH away; slow keeps rules from coming in force on the nodes.
	scripts atomic.Int64
	blind   atomic.Bool
	slow    atomic.Bool
}

// nodeShell runs what comes over SSH on a node's simulated machine.
type nodeShell struct {
	w    *fwWorld
	node string
}

func (s nodeShell) Run(ctx context.Context, argv []string, stdin []byte) (machine.Result, error) {
	s.w.scripts.Add(1)
	var out, errs bytes.Buffer
	exit, err := s.w.sim.Machine(s.node).Session(ctx, argv, bytes.NewReader(stdin), &out, &errs)
	text := out.String()
	if s.w.slow.Load() {
		text = strings.ReplaceAll(text, "running\n", "running (pending changes)\n")
	}
	return machine.Result{Stdout: []byte(text), Stderr: errs.Bytes(), ExitCode: exit}, err
}

func newFWWorld(t *testing.T, o pve.Options, guests ...*v1alpha1.Guest) *fwWorld {
	t.Helper()
	if len(o.Nodes) == 0 {
		o.Nodes = []string{"phoenix"}
	}
	for _, g := range guests {
		o.Guests = append(o.Guests, pve.GuestSpec{VMID: int(*g.Status.VMID), Kind: "lxc", Node: g.Status.Node, Running: true, Config: "arch: amd64\n" +
			"hostname: " + g.Name + "\nmemory: 256\nnet0: name=eth0,bridge=vmbr0,firewall=1,hwaddr=BC:24:11:00:00:09,type=veth\nostype: debian\n" +
			fmt.Sprintf("rootfs: local-lvm:vm-%d-disk-0,size=8G\nswap: 0\nunprivileged: 1\n", *g.Status.VMID)})
	}
	sim, err := pve.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	w := &fwWorld{t: t, sim: sim, nodes: o.Nodes, client: fake.NewClientBuilder().WithScheme(scheme).
		WithStatusSubresource(&v1alpha1.Guest{}, &v1alpha1.Host{}, &v1alpha1.HostService{}).WithObjects(fwHost(o.Nodes)).Build()}
	for _, g := range guests {
		w.create(g)
	}
	w.restart()
	return w
}

func fwHost(nodes []string) *v1alpha1.Host {
	host := &v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Namespace: fwNamespace, Name: "home"}}
	host.Spec.SSH = &v1alpha1.HostSSH{}
	for _, n := range nodes {
		host.Spec.SSH.Nodes = append(host.Spec.SSH.Nodes, v1alpha1.HostSSHNode{Name: n, Address: "10.0.0.13"})
		host.Status.Nodes = append(host.Status.Nodes, v1alpha1.HostNode{Name: n, Online: fwPtr(true)})
	}
	host.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ReachableCondition, Status: metav1.ConditionTrue, Reason: "Connected"}}
	return host
}

func fwPtr[T any](v T) *T { return &v }

// fwGuest is a Guest that exists.
func fwGuest(name string, vmid int32, address string) *v1alpha1.Guest {
	g := &v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Namespace: fwNamespace, Name: name}}
	g.Spec.HostRef.Name, g.Spec.Type = "home", v1alpha1.GuestContainer
	g.Spec.Networks = []v1alpha1.Network{{Device: "net0", Name: "eth0", Firewall: fwPtr(true)}}
	g.Status.VMID, g.Status.Node, g.Status.Addresses = &vmid, "phoenix", []string{address}
	return g
}

// restart begins another manager over the same site and the same objects.
func (w *fwWorld) restart() {
	w.t.Helper()
	api, err := proxmox.New(proxmox.Endpoint{
		URL: w.sim.URL, TokenID: w.sim.TokenID, TokenSecret: secret.Secret(w.sim.TokenSecret), TLS: pin.Config{Fingerprint: w.sim.Fingerprint},
		Limits: proxmox.Limits{RequestsPerSecond: 1e6, Burst: 1e6},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.api = api
	kind := hostservice.New(hostservice.Config{
		Reader: w.client, Clock: clock.RealClock{}, Mark: guest.Tag,
		Machine:  func(context.Context, *v1alpha1.HostService) (*machine.Machine, error) { return nil, nil },
		Firewall: func(types.NamespacedName) (hostservice.FirewallSite, bool) { return w.site(), true },
	})
	graph := reconcile.NewGraph(w.client)
	empty := func() *v1alpha1.HostService { return &v1alpha1.HostService{} }
	reconcile.Register(graph, "HostService", kind, empty, func() client.ObjectList { return &v1alpha1.HostServiceList{} })
	reconcile.Register(graph, "Host", fwPlain[*v1alpha1.Host]{}, func() *v1alpha1.Host { return &v1alpha1.Host{} },
		func() client.ObjectList { return &v1alpha1.HostList{} })
	reconcile.Register(graph, "Guest", fwPlain[*v1alpha1.Guest]{}, func() *v1alpha1.Guest { return &v1alpha1.Guest{} },
		func() client.ObjectList { return &v1alpha1.GuestList{} })
	w.loop = &reconcile.Loop[*v1alpha1.HostService, hostservice.Seen]{
		Name: "HostService", Kind: kind, New: empty, Client: w.client, Live: w.client, Graph: graph,
		Events: events.NewFakeRecorder(10000), Clock: clock.RealClock{}, Interval: time.Minute,
		Backoff: workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](time.Millisecond, time.Millisecond),
	}
}

// fwPlain stands for a kind that is not under test here.
type fwPlain[T reconcile.Object] struct{}

func (fwPlain[T]) Refs(T) []reconcile.Ref                       { return nil }
func (fwPlain[T]) Observe(context.Context, T) (struct{}, error) { return struct{}{}, nil }
func (fwPlain[T]) Plan(T, struct{}) []reconcile.Step            { return nil }
func (fwPlain[T]) Remove(T, struct{}) []reconcile.Step          { return nil }
func (fwPlain[T]) Report(T, struct{}) []reconcile.Condition     { return nil }

func (w *fwWorld) site() hostservice.FirewallSite {
	return hostservice.FirewallSite{
		API: w.api,
		Guests: func(ctx context.Context) (map[int]proxmox.Resource, error) {
			found := map[int]proxmox.Resource{}
			for _, g := range w.sim.Guests() {
				found[g.VMID] = proxmox.Resource{
					Ref:  proxmox.Ref{Node: g.Node, Type: proxmox.GuestType(g.Kind), VMID: g.VMID},
					Tags: proxmox.ParseTags(g.Options["tags"]),
				}
			}
			return found, nil
		},
		Shell: func(node string) (hostservice.NodeShell, bool) { return nodeShell{w, node}, !w.blind.Load() },
		CheckNewSSH: func(ctx context.Context, node string) error {
			for _, door := range w.sim.SSH {
				if door.Name == node {
					return dialOnce(ctx, door)
				}
			}
			return fmt.Errorf("no door to %s", node)
		},
	}
}

// dialOnce makes one SSH connection and closes it.
func dialOnce(ctx context.Context, door pve.SSHNode) error {
	conn, err := machine.Dial(machine.SSH{Address: door.Address, Key: secret.Secret(door.ClientKeyPEM), HostKeys: []string{door.HostKey}})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = conn.Run(ctx, []string{"true"}, nil)
	return err
}

func (w *fwWorld) create(objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		if err := w.client.Create(w.t.Context(), o); err != nil {
			w.t.Fatal(err)
		}
	}
}

// declare makes the firewall, or changes it as a person does.
func (w *fwWorld) declare(edit func(*v1alpha1.HostServiceSpec)) {
	w.t.Helper()
	s := w.get()
	if s == nil {
		s = &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: fwNamespace, Name: fwName, Generation: 1}}
		s.Spec.HostRef, s.Spec.Firewall = &v1alpha1.LocalReference{Name: "home"}, &v1alpha1.Firewall{}
		edit(&s.Spec)
		w.create(s)
		return
	}
	edit(&s.Spec)
	s.Generation++
	if err := w.client.Update(w.t.Context(), s); err != nil {
		w.t.Fatal(err)
	}
}

func (w *fwWorld) get() *v1alpha1.HostService {
	w.t.Helper()
	var s v1alpha1.HostService
	err := w.client.Get(w.t.Context(), types.NamespacedName{Namespace: fwNamespace, Name: fwName}, &s)
	if client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
	if err != nil {
		return nil
	}
	return &s
}

// online turns a node of the cluster on or off, and tells the Host.
func (w *fwWorld) online(node string, on bool) {
	w.t.Helper()
	w.sim.SetNodeOnline(node, on, 0)
	var host v1alpha1.Host
	if err := w.client.Get(w.t.Context(), types.NamespacedName{Namespace: fwNamespace, Name: "home"}, &host); err != nil {
		w.t.Fatal(err)
	}
	for i := range host.Status.Nodes {
		if host.Status.Nodes[i].Name == node {
			host.Status.Nodes[i].Online = &on
		}
	}
	if err := w.client.Status().Update(w.t.Context(), &host); err != nil {
		w.t.Fatal(err)
	}
}

func (w *fwWorld) pass() {
	// A stall is the loop's terminal error: the condition says it.
	_, _ = w.loop.Reconcile(w.t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: fwNamespace, Name: fwName}})
}

// until makes passes until it is as wanted.
func (w *fwWorld) until(what string, is func(*v1alpha1.HostService) bool) {
	w.t.Helper()
	deadline := time.Now().Add(fwPatience)
	for {
		w.pass()
		if is(w.get()) {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain until %s\n%s", what, w.describe())
		}
		select {
		case <-w.t.Context().Done():
			w.t.Fatal("the test ended")
		case <-time.After(3 * time.Millisecond):
		}
	}
}

func (w *fwWorld) describe() string {
	s := w.get()
	if s == nil {
		return "it is gone"
	}
	var b strings.Builder
	for _, c := range s.Status.Conditions {
		fmt.Fprintf(&b, "%s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	for _, p := range s.Status.Plan {
		fmt.Fprintf(&b, "  plan %s %s: %q -> %q (%s)\n", p.Reason, p.Field, p.From, p.To, p.Impact)
	}
	fmt.Fprintf(&b, "%+v\n", w.sim.Firewall())
	return b.String()
}

func fwReady(s *v1alpha1.HostService) bool {
	return s != nil && meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ReadyCondition) && s.Status.ObservedGeneration == s.Generation
}

// fwBecause says that Ready is not True, with a reason.
func fwBecause(reason string) func(*v1alpha1.HostService) bool {
	return func(s *v1alpha1.HostService) bool {
		c := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ReadyCondition)
		return c != nil && c.Status != metav1.ConditionTrue && c.Reason == reason && s.Status.ObservedGeneration == s.Generation
	}
}

func (w *fwWorld) message() string {
	return meta.FindStatusCondition(w.get().Status.Conditions, v1alpha1.ReadyCondition).Message
}

func (w *fwWorld) condition(t string) *metav1.Condition {
	return meta.FindStatusCondition(w.get().Status.Conditions, t)
}

// ready waits until it is Ready, and makes sure that nothing is left to do: the next pass is one round trip and writes nothing.
func (w *fwWorld) ready() {
	w.t.Helper()
	w.until("it is Ready", fwReady)
	w.pass()
	before, requests, scripts := w.get().ResourceVersion, len(w.sim.Requests()), w.scripts.Load()
	files := w.sim.Machine(w.nodes[0]).Writes()
	w.pass()
	if got := len(w.sim.Requests()) - requests; got != 0 {
		w.t.Errorf("a pass in sync made %d requests: %+v", got, w.sim.Requests()[requests:])
	}
	if got := w.scripts.Load() - scripts; got != 1 {
		w.t.Errorf("a pass in sync was %d round trips to nodes, want 1", got)
	}
	if w.get().ResourceVersion != before || w.sim.Machine(w.nodes[0]).Writes() != files {
		w.t.Errorf("a pass in sync wrote the status or a node's files")
	}
}

// events are those since the last time, a line each.
func (w *fwWorld) events() string {
	var b strings.Builder
	for {
		select {
		case e := <-w.loop.Events.(*events.FakeRecorder).Events:
			b.WriteString(e + "\n")
		default:
			return b.String()
		}
	}
}

// group are the rules of the group that a level refers to.
func (w *fwWorld) group(rules []pve.FirewallRule) []pve.FirewallRule {
	for _, r := range rules {
		if r.Type == "group" && strings.HasPrefix(r.Action, firewall.Prefix(fwOwner)) {
			return w.sim.Firewall().Groups[r.Action].Rules
		}
	}
	return nil
}
