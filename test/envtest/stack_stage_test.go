// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers"
	client "github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// The smallest engine, Portainer and agent, all in Guest "box", and a stack of two services; tests patch their spec.
const (
	dockerEngine = `
kind: HostService
spec: {guestRef: {name: box}, docker: {}}`
	portainerServer = `
kind: HostService
spec:
  guestRef: {name: box}
  portainer: {image: {name: "portainer/portainer-ce:2.23.0"}, dockerRef: {name: engine}, secretRef: {name: portainer-tls}}`
	portainerAgent = `
kind: HostService
spec:
  guestRef: {name: box}
  portainerAgent: {image: {name: "portainer/agent:2.23.0"}, dockerRef: {name: engine}, portainerRef: {name: portainer}}`
	smallStack = `
kind: DockerStack
spec:
  environment: {agentRef: {name: agent}}
  compose:
    inline: |
      services:
        web: {image: "traefik/whoami:v1.10", restart: unless-stopped, ports: ["8081:80"]}`
)

// stackStage is a stage with an engine, Portainer and its agent.
type stackStage struct {
	*stage
	engine, server, agent *v1alpha1.HostService
}

// newStackStage makes a stage whose Portainer knows the environment "agent".
func newStackStage(t *testing.T, options ...func(*controllers.Options)) *stackStage {
	t.Helper()
	s := newStage(t, set{idle: true, site: pve.Options{Registry: machine.DockerHub()}})
	s.run(func(o *controllers.Options) {
		o.HostServiceInterval, o.DockerStackInterval, o.Dial = 300*time.Millisecond, 300*time.Millisecond, s.site.DialContext
		for _, more := range options {
			more(o)
		}
	})
	s.tlsSecret("portainer-tls", "portainer.phoenix.lan")
	s.guest("box", container, addressed("10.0.5.2"))
	w := &stackStage{stage: s}
	w.engine, w.server, w.agent = s.service("engine", dockerEngine, ``), s.service("portainer", portainerServer, ``), s.service("agent", portainerAgent, ``)
	w.ready(w.agent)
	return w
}

// with is the same stage for a subtest.
func (w *stackStage) with(t *testing.T) *stackStage {
	c := *w
	c.stage = w.stage.with(t)
	return &c
}

// tlsSecret makes a Secret with a certificate that is its own authority.
func (s *stage) tlsSecret(name, dnsName string) {
	s.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: dnsName}, DNSNames: []string{dnsName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		s.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	o := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{"tls.crt": cert, "ca.crt": cert, "tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text})},
	}
	if err := kube.Create(context.Background(), o); err != nil {
		s.Fatal(err)
	}
}

// stack declares a DockerStack.
func (s *stage) stack(name, patch string) *v1alpha1.DockerStack {
	s.Helper()
	s.create(strings.Replace(smallStack, "kind: DockerStack", "kind: DockerStack\nmetadata: {name: "+name+"}", 1), patch)
	return &v1alpha1.DockerStack{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace}}
}

// composed is the patch of a stack with another text.
func composed(text string) string {
	return "compose:\n  inline: |\n    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
}

// box is the machine of all of it.
func (w *stackStage) box() *machine.Machine {
	w.Helper()
	return w.inside(w.read("box"))
}

// portainer is the server as it runs now.
func (w *stackStage) portainer() *portainer.Server {
	w.Helper()
	s := w.box().Portainer()
	if s == nil {
		w.Fatal("Portainer does not run")
	}
	return s
}

// containers are those of a project's service.
func (w *stackStage) containers(project, service string) []portainer.Container {
	w.Helper()
	return slices.DeleteFunc(w.box().Engine().Containers(), func(c portainer.Container) bool {
		return c.Labels["com.docker.compose.project"] != project || service != "" && c.Labels["com.docker.compose.service"] != service
	})
}

// only is the one container of a service.
func (w *stackStage) only(project, service string) portainer.Container {
	w.Helper()
	all := w.containers(project, service)
	if len(all) != 1 {
		w.Fatalf("%s/%s has %d containers, want one", project, service, len(all))
	}
	return all[0]
}

// asked are the writes that Portainer was asked for since its list was emptied.
func (w *stackStage) asked() []string {
	w.Helper()
	var all []string
	for _, r := range w.portainer().Requests() {
		if r.Writes() {
			all = append(all, fmt.Sprintf("%s %s %d", r.Method, r.Path, r.Status))
		}
	}
	return all
}

// user is somebody who works with Portainer beside Phoenix, as its administrator; environment is that of the agent.
func (w *stackStage) user() (c *client.Client, environment int) {
	w.Helper()
	w.get(w.server)
	w.get(w.agent)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(w.server.Status.Portainer.CABundle))
	server, err := client.New(client.Options{
		URL: w.server.Status.Portainer.URL, ServerName: w.server.Status.Portainer.ServerName, Roots: roots, Dial: w.site.DialContext,
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(server.Close)
	return server.With(string(w.secretNamed("portainer-api-key").Data["apiKey"])), int(w.agent.Status.PortainerAgent.EnvironmentID)
}
