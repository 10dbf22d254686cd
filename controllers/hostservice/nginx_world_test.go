// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

const (
	gateUnit = "nginx.service"
	gateConf = "/etc/nginx/conf.d/phoenix-gate.conf"
	gateSite = "/etc/nginx/sites-enabled/default"
	gateKey  = "/etc/nginx/phoenix/gate/site.key"
)

// gateWorld is a world with a Guest in which nginx runs.
type gateWorld struct {
	*svcWorld
	serial int64
}

func newGateWorld(t *testing.T, installed ...string) *gateWorld {
	t.Helper()
	g := svcGuest("nginx", "10.0.0.13")
	g.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ReachableCondition, Status: metav1.ConditionTrue, Reason: "Answering"}}
	return &gateWorld{svcWorld: newSVCWorld(t, installed, g)}
}

// put writes a Secret with a new certificate for the names, which lives as long.
func (w *gateWorld) put(secret string, life time.Duration, names ...string) {
	w.t.Helper()
	w.serial++
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(w.serial), DNSNames: names, NotBefore: now.Add(min(life, 0) - time.Hour), NotAfter: now.Add(life)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(secret, map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	})
}

func (w *gateWorld) secret(name string) *corev1.Secret {
	w.t.Helper()
	s := &corev1.Secret{}
	if err := w.client.Get(w.t.Context(), types.NamespacedName{Namespace: svcNamespace, Name: name}, s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// write makes a Secret, or changes it.
func (w *gateWorld) write(name string, data map[string][]byte) {
	w.t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: name}, Data: data, Type: corev1.SecretTypeTLS}
	if err := w.client.Update(w.t.Context(), s); err != nil {
		w.create(s)
	}
}

// gate is an nginx service with one server, of a Secret.
func gate(change func(*v1alpha1.HostService)) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: "gate"}}
	s.Spec.GuestRef = &v1alpha1.LocalReference{Name: "nginx"}
	s.Spec.Nginx = &v1alpha1.Nginx{Servers: []v1alpha1.NginxServer{gateServer("site")}}
	if change != nil {
		change(s)
	}
	return s
}

func gateServer(name string, names ...string) v1alpha1.NginxServer {
	return v1alpha1.NginxServer{Name: name, Names: names, SecretRef: &v1alpha1.LocalReference{Name: name + "-tls"}}
}

// served is the serial number of the certificate that a name is served with; 0: the handshake is refused.
func (w *gateWorld) served(name string) int64 {
	w.t.Helper()
	serial, err := w.handshake(w.t.Context(), name)
	if err != nil {
		return 0
	}
	return serial
}

func (w *gateWorld) handshake(ctx context.Context, name string) (int64, error) {
	conn, err := w.sim.Dial(ctx, 443)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()                                                 // nothing was sent over it
	client := tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true}) //nolint:forbidigo,gosec // whatever is served is looked at
	if err := client.HandshakeContext(ctx); err != nil {
		return 0, err
	}
	leaf := client.ConnectionState().PeerCertificates[0]
	return leaf.SerialNumber.Int64(), leaf.VerifyHostname(name)
}

// curl asks the machine for a URL, and returns the code and where it is sent to; 000: nothing came.
func (w *gateWorld) curl(url string) string {
	w.t.Helper()
	host := strings.Split(strings.Split(url, "://")[1], "/")[0]
	out := w.shell("curl -s -k -o /dev/null -w '%{http_code}' --resolve " + host + ":80:10.0.0.13 --resolve " + host + ":443:10.0.0.13 " + url)
	return strings.TrimSpace(out)
}

func (w *gateWorld) expect(name string, serial int64) {
	w.t.Helper()
	if got := w.served(name); got != serial {
		w.t.Errorf("%s is served with certificate %d, want %d", name, got, serial)
	}
}

func TestNginxFromNothing(t *testing.T) {
	w := newGateWorld(t)
	w.put("site-tls", 30*24*time.Hour, "phoenix.lan", "www.phoenix.lan")
	w.create(gate(nil))
	s := w.ready("gate")
	w.expect("phoenix.lan", 1)
	w.expect("www.phoenix.lan", 1)
	w.expect("other.lan", 0)
	for url, want := range map[string]string{
		"http://phoenix.lan/": "(exit 52)", "https://www.phoenix.lan/x": "(exit 52)", "http://other.lan/": "(exit 52)", "https://other.lan/": "(exit 35)",
		"https://www.phoenix.lan/.well-known/phoenix": "204",
	} {
		if got := w.curl(url); got != want {
			t.Errorf("%s answers %q, want %q", url, got, want)
		}
	}
	ends := time.Now().Add(30 * 24 * time.Hour).UTC().Format(time.DateOnly)
	if got, want := svcCondition(s, v1alpha1.ServingCondition), "True Answering: the service answers; site ends "+ends; got != want {
		t.Errorf("Serving is %q, want %q", got, want)
	}
	if s.Status.Service != "nginx" || s.Status.Machine != "Guest/nginx" {
		t.Errorf("status is %+v", s.Status)
	}
	info, err := w.sim.Stat(gateKey)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key is %v (%v), want it for root alone", info, err)
	}
	if u := w.sim.Unit(gateUnit); u.Active != "active" || u.Enabled != "enabled" {
		t.Errorf("the unit is %+v", u)
	}
	w.quiet("gate")
	w.restart()
	writes := w.sim.Writes()
	w.pass("gate") // it looks twice once, as it does not know Debian's site yet
	w.quiet("gate")
	if w.sim.Writes() != writes {
		t.Error("another manager writes")
	}
}

func TestNginxIsTakenAway(t *testing.T) {
	w := newGateWorld(t, "nginx-light", "curl")
	before, err := w.sim.ReadFile(gateSite)
	if err != nil || !strings.Contains(before, "default_server") {
		t.Fatalf("Debian's site is %q (%v)", before, err)
	}
	w.put("site-tls", time.Hour, "phoenix.lan")
	w.create(gate(nil))
	w.ready("gate")
	if info, err := w.sim.Stat(gateSite); err != nil || !info.Mode().IsRegular() {
		t.Fatalf("Debian's site is %v (%v), want a file in the place of its link", info, err)
	}
	w.gone("gate")
	if info, err := w.sim.Stat(gateSite); err != nil || info.Mode().IsRegular() {
		t.Errorf("Debian's site is %v (%v), want its link", info, err)
	}
	if after, err := w.sim.ReadFile(gateSite); after != before {
		t.Errorf("Debian's site is %q (%v)", after, err)
	}
	for _, path := range []string{gateConf, "/etc/nginx/phoenix", "/var/lib/phoenix"} {
		if _, err := w.sim.Stat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	if got := w.curl("http://phoenix.lan/"); got != "200" || w.served("phoenix.lan") != 0 || w.sim.Unit(gateUnit).Active != "active" {
		t.Errorf("nginx answers %q, want Debian's page again", got)
	}
}

// TestRenewalDropsNothing renews under constant requests: each renewal is one reload, and nobody is refused.
func TestRenewalDropsNothing(t *testing.T) {
	w := newGateWorld(t)
	w.put("site-tls", time.Hour, "phoenix.lan")
	w.create(gate(nil))
	w.ready("gate")
	started := w.sim.Unit(gateUnit).Invocation
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	failures := make(chan error, 100)
	for range 2 {
		clients.Go(func() {
			for ctx.Err() == nil {
				if _, err := w.handshake(context.WithoutCancel(ctx), "phoenix.lan"); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	for range 10 {
		w.put("site-tls", time.Hour, "phoenix.lan")
		reloads := w.door.reloaded()
		s := w.ready("gate")
		if got := svcCondition(s, v1alpha1.ServingCondition); !strings.HasPrefix(got, "True ") {
			t.Errorf("Serving is %q", got)
		}
		if got := w.door.reloaded() - reloads; got != 1 {
			t.Errorf("a renewal reloads %d times", got)
		}
		w.expect("phoenix.lan", w.serial)
	}
	stop()
	clients.Wait()
	close(failures)
	for err := range failures {
		t.Errorf("a client was refused: %v", err)
	}
	if w.sim.Unit(gateUnit).Invocation != started {
		t.Error("nginx was restarted")
	}
	w.quiet("gate")
}

// TestBrokenSecrets: what cannot be served changes nothing on the machine, and keeps nothing else from it.
func TestBrokenSecrets(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		wreck  func(w *gateWorld)
		want   string
	}{
		"missing": {"somebody deleted it", func(w *gateWorld) {
			if err := w.client.Delete(w.t.Context(), w.secret("site-tls")); err != nil {
				w.t.Fatal(err)
			}
		}, "CertificateMissing"},
		"empty": {"it is of another type", func(w *gateWorld) { w.write("site-tls", nil) }, "CertificateUnusable"},
		"broken": {"it is no PEM", func(w *gateWorld) {
			w.write("site-tls", map[string][]byte{"tls.crt": []byte("x"), "tls.key": []byte("y")})
		}, "CertificateUnusable"},
		"mixed": {"its halves are of two certificates", func(w *gateWorld) {
			data := w.secret("site-tls").Data
			data["tls.key"] = w.secret("shop-tls").Data["tls.key"]
			w.write("site-tls", data)
		}, "KeyMismatch"},
		"over": {"nobody renewed it", func(w *gateWorld) { w.put("site-tls", -time.Minute, "phoenix.lan") }, "CertificateExpired"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newGateWorld(t)
			w.put("site-tls", time.Hour, "phoenix.lan")
			w.put("shop-tls", time.Hour, "shop.lan")
			w.create(gate(func(s *v1alpha1.HostService) { s.Spec.Nginx.Servers = append(s.Spec.Nginx.Servers, gateServer("shop")) }))
			w.ready("gate")
			key, err := w.sim.ReadFile(gateKey)
			if err != nil {
				t.Fatal(err)
			}
			c.wreck(w)
			w.put("shop-tls", time.Hour, "shop.lan")
			s := w.until("gate", "False "+c.want, "servers[site]: Secret/site-tls ")
			if !strings.Contains(svcReady(s), "what the machine has is served on") || !strings.HasPrefix(svcCondition(s, v1alpha1.ServingCondition), "True ") {
				t.Errorf("%s: Ready is %q, Serving %q", c.reason, svcReady(s), svcCondition(s, v1alpha1.ServingCondition))
			}
			w.expect("phoenix.lan", 1)
			w.expect("shop.lan", w.serial)
			if now, err := w.sim.ReadFile(gateKey); now != key {
				t.Errorf("%s: the key on the machine is another one (%v)", c.reason, err)
			}
			writes := w.sim.Writes()
			w.pass("gate")
			if w.sim.Writes() != writes || strings.Contains(svcReady(w.get("gate")), "PRIVATE") {
				t.Errorf("%s: another pass makes %d writes", c.reason, w.sim.Writes()-writes)
			}
			w.put("site-tls", time.Hour, "phoenix.lan")
			w.ready("gate")
			w.expect("phoenix.lan", w.serial)
			w.quiet("gate")
		})
	}
}

func TestNothingToServeYet(t *testing.T) {
	w := newGateWorld(t)
	w.create(gate(nil))
	s := w.until("gate", "False CertificateMissing", "its names get no answer until then")
	if got := svcCondition(s, v1alpha1.ServingCondition); !strings.HasPrefix(got, "False CertificateMissing: servers[site]") {
		t.Errorf("Serving is %q", got)
	}
	if got := w.curl("http://phoenix.lan/"); got != "(exit 52)" {
		t.Errorf("an unknown name is answered %q", got)
	}
	w.put("site-tls", time.Hour, "phoenix.lan")
	w.ready("gate")
	w.expect("phoenix.lan", 1)
}

// TestCertificateOfTheSite: a Certificate gates, and its Secret is followed.
func TestCertificateOfTheSite(t *testing.T) {
	w := newGateWorld(t)
	c := &v1alpha1.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: "nginx"}}
	c.Spec.SecretName = "nginx-tls"
	w.create(gate(func(s *v1alpha1.HostService) {
		s.Spec.Nginx.Servers[0].SecretRef, s.Spec.Nginx.Servers[0].CertificateRef = nil, &v1alpha1.LocalReference{Name: "nginx"}
	}))
	w.until("gate", "False "+v1alpha1.DependencyReason, "waiting for Certificate/nginx: not found")
	w.create(c)
	w.until("gate", "False "+v1alpha1.DependencyReason, "waiting for Certificate/nginx: not Issued yet")
	w.put("nginx-tls", time.Hour, "phoenix.lan")
	c.Status.Conditions = []metav1.Condition{{Type: v1alpha1.IssuedCondition, Status: metav1.ConditionTrue, Reason: "Issued"}}
	if err := w.client.Status().Update(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	w.ready("gate")
	w.expect("phoenix.lan", 1)
	if err := w.client.Delete(t.Context(), w.secret("nginx-tls")); err != nil {
		t.Fatal(err)
	}
	w.until("gate", "False CertificateMissing", "Secret/nginx-tls of Certificate/nginx is not there")
	w.expect("phoenix.lan", 1)
}

func TestSecondNginxStalls(t *testing.T) {
	w := newGateWorld(t)
	w.put("site-tls", time.Hour, "phoenix.lan")
	w.create(gate(nil))
	w.create(gate(func(s *v1alpha1.HostService) { s.Name = "second" }))
	w.ready("gate")
	w.until("second", "False AlreadyServed", "HostService/gate does so already, and is older")
}

func TestServersComeAndGo(t *testing.T) {
	w := newGateWorld(t)
	w.put("site-tls", time.Hour, "phoenix.lan")
	w.put("shop-tls", time.Hour, "shop.lan", "old.shop.lan")
	w.create(gate(nil))
	w.ready("gate")
	w.edit("gate", func(s *v1alpha1.HostService) {
		s.Spec.Nginx.Servers = append(s.Spec.Nginx.Servers, gateServer("shop", "shop.lan"))
	})
	w.ready("gate")
	w.expect("shop.lan", 2)
	w.expect("old.shop.lan", 0)
	w.shell("echo '# by hand' >>" + gateConf + "; echo x >" + gateKey)
	w.ready("gate")
	w.expect("phoenix.lan", 1)
	w.edit("gate", func(s *v1alpha1.HostService) { s.Spec.Nginx.Servers = s.Spec.Nginx.Servers[1:] })
	w.ready("gate")
	w.expect("phoenix.lan", 0)
	if _, err := w.sim.Stat(gateKey); err == nil {
		t.Error("the key of a server that is gone is still there")
	}
	w.edit("gate", func(s *v1alpha1.HostService) { s.Spec.Nginx.Servers[0].Names = []string{"shop.lan", "new.lan"} })
	w.until("gate", "False NameNotCovered", "new.lan is not in its certificate")
	w.expect("shop.lan", 2)
}

// keyWords are what a private key in PEM has, and its first line.
func keyWords(s *corev1.Secret) []string {
	return []string{"PRIVATE KEY", strings.Split(string(s.Data[corev1.TLSPrivateKeyKey]), "\n")[1]}
}

// TestKeysStaySecret: no status, plan or event has a part of a key.
func TestKeysStaySecret(t *testing.T) {
	w := newGateWorld(t)
	w.put("site-tls", time.Hour, "phoenix.lan")
	words := keyWords(w.secret("site-tls"))
	w.create(gate(func(s *v1alpha1.HostService) { s.Spec.Management = v1alpha1.ManagementObserve }))
	w.pass("gate")
	seen := []string{svcText(w.get("gate"))}
	w.edit("gate", func(s *v1alpha1.HostService) { s.Spec.Management = v1alpha1.ManagementEnforce })
	heal := w.sim.Fail("nginx -t", 0, 1, "nginx: [emerg] something is wrong\n")
	seen = append(seen, svcText(w.until("gate", "False ValidationFailed", "something is wrong")))
	heal()
	seen = append(seen, svcText(w.ready("gate")))
	w.write("site-tls", map[string][]byte{"tls.crt": []byte("x"), "tls.key": w.secret("site-tls").Data["tls.key"]})
	seen = append(seen, svcText(w.until("gate", "False CertificateUnusable", "")))
	for len(w.events.Events) > 0 {
		seen = append(seen, <-w.events.Events)
	}
	for _, c := range w.sim.Commands() {
		seen = append(seen, c.Line)
	}
	for _, text := range seen {
		for _, word := range words {
			if strings.Contains(text, word) {
				t.Errorf("a part of the key stands in %q", text)
			}
		}
	}
}

// TestUnreadableSecrets: what the API server does not say changes nothing.
func TestUnreadableSecrets(t *testing.T) {
	w := newGateWorld(t)
	w.put("site-tls", time.Hour, "phoenix.lan")
	w.create(gate(nil))
	w.ready("gate")
	writes := w.sim.Writes()
	w.refusal = errors.New(http.StatusText(http.StatusInternalServerError))
	s := w.until("gate", "Unknown Failed", "read Secret/site-tls: Internal Server Error")
	if got := svcCondition(s, v1alpha1.ServingCondition); !strings.HasPrefix(got, "True ") || w.sim.Writes() != writes {
		t.Errorf("Serving is %q, %d writes", got, w.sim.Writes()-writes)
	}
	w.refusal = nil
	w.ready("gate")
	w.quiet("gate")
}
