// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/controllers/site"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const (
	// stacks is how many DockerStacks there are at once.
	stacks = 100
	// stackText is what each of them runs.
	stackText = "services: {web: {image: 'traefik/whoami:v1.10', restart: unless-stopped}}"
	// stackLook is the interval at which they are looked at, in place of a minute.
	stackLook = 3 * time.Second
)

// BenchmarkDockerStacks has one Portainer deploy many stacks that are declared at once. The floor is the client alone, which
// makes the same stacks in a loop, at the same Portainer. A pass over a stack in sync asks Portainer for two things at most,
// and changes nothing: that is a count, and is asserted.
func BenchmarkDockerStacks(b *testing.B) {
	for b.Loop() {
		s := newStage(b, pve.Options{Registry: machine.DockerHub()}, roomy())
		s.manage(controllers.Options{
			GuestInterval: time.Hour, WatchedInterval: time.Hour, HostInterval: time.Hour, HostServiceInterval: time.Hour,
			DockerStackInterval: stackLook, Timing: site.Timing{Interval: time.Hour, DigestInterval: time.Hour}, Dial: s.site.DialContext,
		})
		server := s.portainer()
		floor := s.bareStacks()
		server.ForgetRequests()
		readBefore, writtenBefore := s.kube.counts()
		began := time.Now()
		for i := range stacks {
			s.create(&v1alpha1.DockerStack{ObjectMeta: s.meta(fmt.Sprintf("stack%03d", i)), Spec: v1alpha1.DockerStackSpec{
				Environment: v1alpha1.StackEnvironment{AgentRef: &v1alpha1.LocalReference{Name: "agent"}},
				Compose:     v1alpha1.ComposeSource{Inline: stackText},
			}})
		}
		rate := s.deployed(began)
		each := float64(len(server.Requests())) / stacks
		read, written := s.kube.counts()
		b.Logf("%.1f reads and %.1f writes of the API server for each", float64(read-readBefore)/stacks, float64(written-writtenBefore)/stacks)
		s.pause(stackLook) // what followed the last deployment is over
		server.ForgetRequests()
		before, _ := passesOf(b, "dockerstack")
		s.pause(3 * stackLook)
		after, _ := passesOf(b, "dockerstack")
		asked, writes := server.Requests(), 0
		for _, r := range asked {
			if r.Writes() {
				writes++
				b.Errorf("a pass in sync asks for %s %s", r.Method, r.Path)
			}
		}
		idle := float64(len(asked)) / float64(after-before)
		if after-before < stacks || idle > 2 {
			b.Errorf("%d passes in sync made %d requests, want two a pass at most", after-before, len(asked))
		}
		results.row(fmt.Sprintf("%d DockerStacks at once", stacks),
			[]string{"a second", "the client in a loop", "Phoenix in relation to it", "requests a stack", "requests a pass in sync", "writes of those"},
			figure(rate), figure(floor), fmt.Sprintf("%.2f", rate/floor), figure(each), fmt.Sprintf("%.2f", idle), fmt.Sprint(writes))
		b.ReportMetric(rate, "stacks/s")
		b.ReportMetric(rate/floor, "ratio")
		b.ReportMetric(each, "requests/stack")
		b.ReportMetric(idle, "requests/pass")
		b.ReportMetric(0, "ns/op")
	}
}

// portainer makes a Guest with an engine, Portainer and its agent, and waits for them.
func (s *stage) portainer() *sim.Server {
	s.Helper()
	s.create(s.container(0))
	s.certificate("portainer-tls")
	on := func(name string, change func(*v1alpha1.HostServiceSpec)) {
		o := &v1alpha1.HostService{ObjectMeta: s.meta(name)}
		o.Spec.GuestRef = &v1alpha1.LocalReference{Name: "ct000"}
		change(&o.Spec)
		s.create(o)
	}
	engine := &v1alpha1.LocalReference{Name: "engine"}
	on("engine", func(o *v1alpha1.HostServiceSpec) { o.Docker = &v1alpha1.Docker{} })
	on("portainer", func(o *v1alpha1.HostServiceSpec) {
		o.Portainer = &v1alpha1.Portainer{
			Image: v1alpha1.DockerImage{Name: "portainer/portainer-ce:2.23.0"}, DockerRef: engine, SecretRef: &v1alpha1.LocalReference{Name: "portainer-tls"},
		}
	})
	on("agent", func(o *v1alpha1.HostServiceSpec) {
		o.PortainerAgent = &v1alpha1.PortainerAgent{
			Image: v1alpha1.DockerImage{Name: "portainer/agent:2.23.0"}, DockerRef: engine, PortainerRef: v1alpha1.LocalReference{Name: "portainer"},
		}
	})
	s.ready(1)
	s.served(3)
	for _, g := range s.site.Guests() {
		if m := s.site.GuestMachine(g.VMID); m != nil && m.Portainer() != nil {
			return m.Portainer()
		}
	}
	s.Fatal("Portainer does not run")
	return nil
}

// certificate makes a Secret with a certificate that is its own authority.
func (s *stage) certificate(name string) {
	s.Helper()
	must := func(err error) {
		if err != nil {
			s.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"portainer.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(err)
	text, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	s.create(&corev1.Secret{ObjectMeta: s.meta(name), Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		"tls.crt": cert, "ca.crt": cert, "tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}),
	}})
}

// bareStacks makes the stacks by the client alone, one after the other, and removes them. It returns how many it made a second.
func (s *stage) bareStacks() float64 {
	s.Helper()
	must := func(err error) {
		if err != nil {
			s.Fatal(err)
		}
	}
	var service, agent v1alpha1.HostService
	var key corev1.Secret
	must(kube.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: "portainer"}, &service))
	must(kube.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: "agent"}, &agent))
	must(kube.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: "portainer-api-key"}, &key))
	at := service.Status.Portainer
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(at.CABundle))
	server, err := portainer.New(portainer.Options{URL: at.URL, ServerName: at.ServerName, Roots: roots, Dial: s.site.DialContext})
	must(err)
	defer server.Close()
	c, environment := server.With(string(key.Data["apiKey"])), int(agent.Status.PortainerAgent.EnvironmentID)
	engine, err := c.Engine(environment)
	must(err)
	must(engine.Pull(s.ctx, "traefik/whoami:v1.10"))
	var made []int
	began := time.Now()
	for i := range stacks {
		one, err := c.CreateStack(s.ctx, environment, portainer.NewStack{Name: fmt.Sprintf("bare%03d", i), Text: stackText})
		must(err)
		made = append(made, one.ID)
	}
	rate := stacks / time.Since(began).Seconds()
	for _, id := range made {
		must(c.DeleteStack(s.ctx, id, environment))
	}
	return rate
}

// deployed waits until all stacks are Ready, and returns how many a second that were since the first was declared.
func (s *stage) deployed(began time.Time) float64 {
	s.Helper()
	var last string
	for end := time.Now().Add(patience); time.Now().Before(end); s.pause(100 * time.Millisecond) {
		var list v1alpha1.DockerStackList
		if err := kube.List(s.ctx, &list, client.InNamespace(s.namespace)); err != nil {
			s.Fatal(err)
		}
		ready := 0
		for _, o := range list.Items {
			c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ReadyCondition)
			switch {
			case c != nil && c.Status == metav1.ConditionTrue && c.Reason == v1alpha1.InSyncReason:
				ready++
			case c != nil:
				last = strings.Join([]string{o.Name, c.Reason, c.Message}, ": ")
			}
		}
		if ready == stacks {
			return stacks / time.Since(began).Seconds()
		}
	}
	s.Fatalf("%d DockerStacks are not Ready within %s: %s", stacks, patience, last)
	return 0
}
