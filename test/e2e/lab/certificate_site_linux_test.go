// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

func certificateKey(name string) *v1alpha1.Certificate {
	return &v1alpha1.Certificate{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: world.Namespace}}
}

// ordered is a Certificate of the site's authority.
func ordered(name string, deliveries ...v1alpha1.CertificateDelivery) *v1alpha1.Certificate {
	c := certificateKey(name)
	c.Spec.Authority.ServiceRef = &v1alpha1.LocalReference{Name: "step-ca"}
	c.Spec.SecretName, c.Spec.DNSNames = name+"-tls", []string{name + ".phoenix.lan"}
	c.Spec.DeliverTo = deliveries
	return c
}

// certificate reads a Certificate.
func (r *reference) certificate(name string) *v1alpha1.Certificate {
	r.Helper()
	c := certificateKey(name)
	if err := r.Client.Get(test, client.ObjectKeyFromObject(c), c); err != nil {
		r.Fatal(err)
	}
	return c
}

// conditions are what an object says of itself, and its status of the given one.
func condition(o v1alpha1.Object, kind string) (metav1.ConditionStatus, string) {
	c := meta.FindStatusCondition(o.CommonStatus().Conditions, kind)
	if c == nil {
		return metav1.ConditionUnknown, "none"
	}
	return c.Status, fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
}

// certified waits until Certificates are Ready, and have what a check asks for; nil: nothing else.
func (r *reference) certified(check func(*v1alpha1.Certificate) error, names ...string) {
	r.Helper()
	for _, name := range names {
		r.within(patience, "Certificate "+name+" is Ready", func() error {
			c := r.certificate(name)
			if status, said := condition(c, v1alpha1.ReadyCondition); status != metav1.ConditionTrue || c.Status.ObservedGeneration != c.Generation {
				return errors.New(said)
			}
			if check != nil {
				return check(c)
			}
			return nil
		})
	}
}

// certificateSays waits until a condition of a Certificate has a status and its text holds another.
func (r *reference) certificateSays(name, kind string, want metav1.ConditionStatus, text string) *v1alpha1.Certificate {
	r.Helper()
	var c *v1alpha1.Certificate
	r.within(patience, fmt.Sprintf("%s of Certificate %s is %s and says %q", kind, name, want, text), func() error {
		c = r.certificate(name)
		if status, said := condition(c, kind); status != want || !strings.Contains(said, text) {
			return fmt.Errorf("%+v", c.Status.Conditions)
		}
		return nil
	})
	return c
}

// renew asks for a new certificate.
func (r *reference) renew(name string) {
	r.Helper()
	r.looks++
	r.patch(certificateKey(name), fmt.Sprintf(`{"metadata":{"annotations":{%q:"%d-%d"}}}`, v1alpha1.RenewAnnotation, time.Now().UnixNano(), r.looks))
}

// secretOf reads a Secret.
func (r *reference) secretOf(name string) map[string][]byte {
	r.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: world.Namespace}}
	if err := r.Client.Get(test, client.ObjectKeyFromObject(s), s); err != nil {
		r.Fatal(err)
	}
	return s.Data
}

// leaf is the first certificate of a PEM text.
func leaf(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("no certificate in %q", text)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// visitors open connection after connection to an HTTPS server, verify its certificate, and ask for a page that nobody has.
type visitors struct {
	address, name string
	config        atomic.Pointer[tls.Config]
	stop          chan struct{}
	ended         sync.WaitGroup

	mu      sync.Mutex
	visits  int
	serials map[string]int
	failed  []string
}

// visit begins with two of them; roots is what they trust, as PEM.
func visit(address, name string, roots []byte) *visitors {
	v := &visitors{address: address, name: name, stop: make(chan struct{}), serials: map[string]int{}}
	v.trust(roots)
	for range 2 {
		v.ended.Go(v.visit)
	}
	return v
}

// visitWhenServed begins when nginx serves a name for the first time. It trusts what the site tells workloads to trust.
func (r *reference) visitWhenServed(name string) *visitors {
	r.Helper()
	v := &visitors{name: name}
	v.trust(r.trusted())
	r.within(installTime, "nginx serves "+name, func() error {
		_, err := knock(gateway, v.config.Load())
		return err
	})
	return visit(gateway, name, r.trusted())
}

// trusted is what the site tells workloads to trust.
func (r *reference) trusted() []byte {
	r.Helper()
	var trust corev1.ConfigMap
	if err := r.Client.Get(test, client.ObjectKey{Namespace: world.Namespace, Name: "step-ca-trust"}, &trust); err != nil {
		r.Fatal(err)
	}
	return []byte(trust.Data["ca.crt"])
}

// trust makes these the roots that they trust, and no others.
func (v *visitors) trust(roots []byte) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	v.config.Store(&tls.Config{RootCAs: pool, ServerName: v.name, MinVersion: tls.VersionTLS12})
}

func (v *visitors) visit() {
	for {
		serial, err := knock(v.address, v.config.Load())
		v.count(serial, err)
		select {
		case <-v.stop:
			return
		case <-time.After(tick):
		}
	}
}

func (v *visitors) count(serial string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.visits++
	if err != nil {
		v.failed = append(v.failed, time.Now().Format("15:04:05.000 ")+err.Error())
		return
	}
	v.serials[serial]++
}

// knock makes one connection and one request, and returns the serial number of the server's certificate. A name that no Route
// has is not answered: the connection ends.
func knock(address string, config *tls.Config) (serial string, err error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: config}
	c, err := d.DialContext(test, "tcp", address)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", config.ServerName); err != nil {
		return "", err
	}
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(c); err != nil {
		return "", err
	}
	if answer.Len() > 0 {
		return "", fmt.Errorf("answered %.60q", answer.String())
	}
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Text(16), nil
}

// leave ends the visits, of which none may have failed, and returns how many certificates were seen.
func (v *visitors) leave(t *testing.T) int {
	t.Helper()
	select {
	case <-v.stop:
	default:
		close(v.stop)
	}
	v.ended.Wait()
	t.Logf("%d connections, %d certificates", v.visits, len(v.serials))
	if len(v.failed) > 0 {
		t.Errorf("%d of %d connections failed: %s", len(v.failed), v.visits, strings.Join(v.failed[:min(10, len(v.failed))], "\n"))
	}
	if v.visits < 100 {
		t.Errorf("there were %d connections only", v.visits)
	}
	return len(v.serials)
}
