// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

func testPortainer(change func(*v1alpha1.Portainer)) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: about1("main")}
	s.Spec.GuestRef = &v1alpha1.LocalReference{Name: "portainer"}
	s.Spec.Portainer = &v1alpha1.Portainer{
		Image: v1alpha1.DockerImage{Name: "portainer/portainer-ce:2.23.0"}, SecretRef: &v1alpha1.LocalReference{Name: "portainer-tls"},
	}
	if change != nil {
		change(s.Spec.Portainer)
	}
	return s
}

// testPair is a certificate for names and addresses.
func testPair(t *testing.T, now time.Time, names ...string) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// serverStage is a Portainer server whose machine is as it should be, an API server's memory, and a clock.
type serverStage struct {
	t      *testing.T
	kind   *Kind
	server *memoryServer
	clock  *clocktesting.FakeClock
	client client.Client
	s      *v1alpha1.HostService
	// onMachine is the secret of agents that the machine has.
	onMachine string
	// stopped: the unit does not run.
	stopped bool
	// refuse is what the API server answers to who writes a Secret.
	refuse error
	seen   *portainerSeen
}

func newServerStage(t *testing.T) *serverStage {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	st := &serverStage{t: t, server: newMemoryServer(), clock: clocktesting.NewFakeClock(caBorn), s: testPortainer(nil)}
	refuse := func(o client.Object, write func() error) error {
		if _, ok := o.(*corev1.Secret); ok && st.refuse != nil {
			return st.refuse
		}
		return write()
	}
	st.client = fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return refuse(o, func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return refuse(o, func() error { return c.Update(ctx, o, opts...) })
		},
	}).Build()
	st.put("portainer-tls", testPair(t, caBorn, "portainer.phoenix.lan"))
	st.restart()
	return st
}

// restart begins another manager.
func (st *serverStage) restart() {
	st.kind = New(Config{
		Reader: st.client, Writer: st.client, Clock: st.clock,
		Portainer: func(PortainerAddress) (PortainerServer, error) { return st.server, nil },
	})
}

// put makes a Secret, or changes it.
func (st *serverStage) put(name string, data map[string][]byte) {
	st.t.Helper()
	had := st.secret(name)
	if had == nil {
		had = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "home", Name: name}, Data: data}
		if err := st.client.Create(st.t.Context(), had); err != nil {
			st.t.Fatal(err)
		}
		return
	}
	had.Data = data
	if err := st.client.Update(st.t.Context(), had); err != nil {
		st.t.Fatal(err)
	}
}

func (st *serverStage) putAdmin(username, password string) {
	st.t.Helper()
	st.put("main-admin", map[string][]byte{"username": []byte(username), "password": []byte(password)})
}

func (st *serverStage) secret(name string) *corev1.Secret {
	st.t.Helper()
	s := &corev1.Secret{}
	err := st.client.Get(st.t.Context(), types.NamespacedName{Namespace: "home", Name: name}, s)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		st.t.Fatal(err)
	}
	return s
}

// entry is an entry of a Secret; empty: it is not there.
func (st *serverStage) entry(name, entry string) string {
	if s := st.secret(name); s != nil {
		return string(s.Data[entry])
	}
	return ""
}

func (st *serverStage) lose(names ...string) {
	st.t.Helper()
	for _, name := range names {
		if err := st.client.Delete(st.t.Context(), st.secret(name)); err != nil {
			st.t.Fatal(err)
		}
	}
}

// observe looks at everything, but for the machine, which is as it should be.
func (st *serverStage) observe() error {
	st.t.Helper()
	guest := testGuest("portainer", "10.0.0.111")
	st.seen = &portainerSeen{s: st.s, now: st.clock.Now(), signIns: st.kind.signIns.of(client.ObjectKeyFromObject(st.s))}
	st.seen.machine = &machineSeen{target: target{host: testHost(), guest: guest}, owner: "home/HostService/home/main", looked: true}
	if err := st.kind.assemble(st.t.Context(), st.seen); err != nil {
		return err
	}
	if complete := st.seen.machine.design.complete; complete != nil && st.onMachine != "" {
		_, err := complete(map[string][]byte{"/etc/portainer-main/agent.env": []byte(agentVariable + st.onMachine + "\n")})
		if err != nil {
			return err
		}
	}
	state := "active"
	if st.stopped {
		state = "inactive"
	}
	st.seen.machine.seen = machine.Seen{Packages: map[string]string{"curl": "7.88"}, Units: map[string]machine.UnitStatus{"portainer-main.service": {Load: "loaded", Active: state, Enabled: "enabled"}}}
	st.seen.reach()
	st.kind.askPortainer(st.t.Context(), st.seen)
	return nil
}

// machineReasons are those of steps of the machine, which is another matter.
var machineReasons = map[string]bool{InstallingReason: true, RemovingReason: true, ConfiguringReason: true, UnsupportedReason: true}

// steps are those that the observation leads to, but for the machine's.
func (st *serverStage) steps() []reconcile.Step {
	var steps []reconcile.Step
	for _, step := range st.kind.planPortainer(st.s, st.seen) {
		if !machineReasons[step.Reason] {
			steps = append(steps, step)
		}
	}
	return steps
}

// pass is a pass of the loop: it takes steps until one fails or none is left, and returns their reasons and what came of it.
func (st *serverStage) pass() (did []string, outcome string) {
	st.t.Helper()
	for range 10 {
		if err := st.observe(); err != nil {
			return did, said1(err)
		}
		if err := st.seen.trouble(); err != nil {
			return did, said1(err)
		}
		steps := st.steps()
		if len(steps) == 0 {
			if st.seen.away != nil {
				return did, "away: " + st.seen.away.Error()
			}
			return did, said1(st.seen.complaint())
		}
		did = append(did, steps[0].Reason)
		if err := steps[0].Do(st.t.Context()); err != nil {
			return did, said1(err)
		}
	}
	st.t.Fatalf("it does not come to an end: %s", did)
	return nil, ""
}

// said1 is an outcome for people; empty: there is none.
func said1(err error) string {
	if err == nil {
		return ""
	}
	return fmt.Sprintf("%s: %v", reconcile.ReasonOf(err), err)
}

// serving is the condition, by its status and reason.
func (st *serverStage) serving() string {
	st.t.Helper()
	for _, c := range reportPortainer(st.s, st.seen) {
		if c.Type == v1alpha1.ServingCondition {
			return string(c.Status) + " " + c.Reason
		}
	}
	return "none"
}

// settled has a server that was set up.
func (st *serverStage) settled() {
	st.t.Helper()
	if did, outcome := st.pass(); outcome != "" {
		st.t.Fatalf("%s: %s", did, outcome)
	}
}

// once lets the next call fail, before or after its effect.
func (st *serverStage) once(call string, before, after error) {
	st.server.strike = func(now string) (error, error) {
		if now != call {
			return nil, nil
		}
		st.server.strike = nil
		return before, after
	}
}

var errCut = refusedAs(portainer.Away, "connection reset by peer")

// goodKey says whether the key of the Secret is one that the server takes, and how many of ours the server has.
func (st *serverStage) goodKey() (good bool, ours int) {
	_, good = st.server.keys[st.entry("main-api-key", "apiKey")]
	for _, k := range st.server.keys {
		if strings.HasPrefix(k.description, "phoenix ") {
			ours++
		}
	}
	return good, ours
}
