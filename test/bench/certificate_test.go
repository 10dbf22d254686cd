// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

const (
	// orders is how many Certificates there are at once.
	orders = 1000
	// atOnce is how many the manager works on at the same time.
	atOnce = 8
)

// BenchmarkCertificates has one authority issue many Certificates that are declared at once. There are two floors: the client
// alone, in a loop, and a loop that also leaves what has to be left in the API server, on which all of it runs as well.
func BenchmarkCertificates(b *testing.B) {
	for b.Loop() {
		a := newAuthority(b)
		s := emptyStage(b)
		bare, many := a.bare(orders, 1), a.bare(orders, atOnce)
		kept := s.keeping(a)
		s.order(a)
		began := time.Now()
		stop := s.manage(controllers.Options{})
		issued := s.issued(began)
		s.certified(began)
		reads, writes := s.kube.counts()
		stop()
		bare = (bare + a.bare(orders, 1)) / 2
		ratio := func(floor float64) string { return fmt.Sprintf("%.2f", issued/floor) }
		title, head := fmt.Sprintf("%d Certificates at once", orders), []string{"by", "a second", "Phoenix in relation to it"}
		for _, row := range [][]string{
			{"Phoenix", figure(issued), ""},
			{"the client in a loop", figure(bare), ratio(bare)},
			{fmt.Sprintf("the client in %d loops", atOnce), figure(many), ratio(many)},
			{fmt.Sprintf("%d loops with a Secret and two patches", atOnce), figure(kept), ratio(kept)},
		} {
			results.row(title, head, row...)
		}
		b.Logf("%.1f reads and %.1f writes of the API server for each", float64(reads)/orders, float64(writes)/orders)
		b.ReportMetric(issued/bare, "ratio")
		b.ReportMetric(issued/kept, "ratio-with-writes")
		s.spread()
	}
	b.ReportMetric(0, "ns/op")
}

// keeping signs in loops, and leaves of each what a controller has to: a patch of the object that asked for it, such as its
// finalizer, the Secret, and the object's status. It returns how many a second.
func (s *stage) keeping(a *authority) float64 {
	s.Helper()
	const n = orders / 4
	objects := make([]*v1alpha1.Certificate, n)
	for i := range objects {
		name := fmt.Sprintf("kept%04d", i)
		objects[i] = &v1alpha1.Certificate{ObjectMeta: s.meta(name), Spec: v1alpha1.CertificateSpec{
			Authority:  v1alpha1.CertificateAuthority{ServiceRef: &v1alpha1.LocalReference{Name: "none"}},
			SecretName: name + "-tls", DNSNames: []string{name + ".example.org"},
		}}
		s.create(objects[i])
	}
	signer := a.client()
	defer signer.Close()
	began := time.Now()
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, o := range objects {
		group.Go(func() error { return s.keep(a, signer, o) })
	}
	a.must(group.Wait())
	rate := n / time.Since(began).Seconds()
	a.must(kube.DeleteAllOf(s.ctx, &v1alpha1.Certificate{}, client.InNamespace(s.namespace)))
	return rate
}

// keep is what is done for one certificate.
func (s *stage) keep(a *authority, signer *stepca.Client, o *v1alpha1.Certificate) error {
	if err := kube.Patch(s.ctx, o, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"example.org/seen":"yes"}}}`))); err != nil {
		return err
	}
	pair, err := a.sign(signer, o.Spec.DNSNames[0])
	if err != nil {
		return err
	}
	secret := &corev1.Secret{
		ObjectMeta: s.meta(o.Spec.SecretName), Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{"tls.crt": pair.CertificatePEM, "tls.key": pair.KeyPEM, "ca.crt": a.root.CertificatePEM},
	}
	if err := kube.Create(s.ctx, secret); err != nil {
		return err
	}
	status := fmt.Sprintf(`{"status":{"secretName":%q,"notAfter":%q}}`, secret.Name, time.Now().UTC().Format(time.RFC3339))
	return kube.Status().Patch(s.ctx, o, client.RawPatch(types.MergePatchType, []byte(status)))
}

// order declares the Certificates, which nobody sees to yet.
func (s *stage) order(a *authority) {
	s.Helper()
	s.secret("provisioner", map[string]string{"jwk.json": string(a.provisioner.JWK)})
	roots, err := stepca.ParseChain(a.root.CertificatePEM)
	if err != nil {
		s.Fatal(err)
	}
	for i := range orders {
		name := fmt.Sprintf("c%04d", i)
		s.create(&v1alpha1.Certificate{ObjectMeta: s.meta(name), Spec: v1alpha1.CertificateSpec{
			Authority: v1alpha1.CertificateAuthority{
				Outside:     &v1alpha1.OutsideAuthority{URL: a.url, Fingerprint: stepca.Fingerprint(roots[0])},
				Provisioner: &v1alpha1.OutsideProvisioner{Name: a.provisioner.Name, KeySecretRef: v1alpha1.SecretKeyReference{Name: "provisioner", Key: "jwk.json"}},
			},
			SecretName: name + "-tls", DNSNames: []string{name + ".example.org"},
		}})
	}
}

// issued waits until all are issued, and returns how many a second that were, counted from the first one.
func (s *stage) issued(began time.Time) float64 {
	s.Helper()
	var first time.Time
	for end := time.Now().Add(patience); time.Now().Before(end); s.pause(20 * time.Millisecond) {
		n := s.expiries()
		if n > 0 && first.IsZero() {
			first = time.Now()
			s.Logf("the first after %s", first.Sub(began))
		}
		if n == orders {
			return orders / time.Since(first).Seconds()
		}
	}
	s.Fatalf("%d of %d are issued within %s", s.expiries(), orders, patience)
	return 0
}

// expiries counts the certificates whose end the metrics tell.
func (s *stage) expiries() int {
	s.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		s.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "phoenix_certificate_not_after_timestamp_seconds" {
			return len(f.GetMetric())
		}
	}
	return 0
}

// certified waits until all are Ready.
func (s *stage) certified(began time.Time) {
	s.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); s.pause(time.Second) {
		ready := 0
		for _, c := range s.certificates() {
			if meta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ReadyCondition) {
				ready++
			}
		}
		if ready == orders {
			s.Logf("all Ready after %s", time.Since(began))
			return
		}
	}
	s.Fatalf("not all are Ready within %s", patience)
}

func (s *stage) certificates() []v1alpha1.Certificate {
	s.Helper()
	var list v1alpha1.CertificateList
	if err := kube.List(s.ctx, &list, client.InNamespace(s.namespace)); err != nil {
		s.Fatal(err)
	}
	return list.Items
}

// spread shows how far apart the renewals of certificates that were issued at once are, in per cent of their life.
func (s *stage) spread() {
	s.Helper()
	var at []float64
	tenths := map[int]int{}
	for _, c := range s.certificates() {
		life := c.Status.NotAfter.Sub(c.Status.NotBefore.Time)
		part := 100 * float64(c.Status.RenewalTime.Sub(c.Status.NotBefore.Time)) / float64(life)
		at = append(at, part)
		tenths[int(part*10)]++
	}
	slices.Sort(at)
	busiest := 0
	for _, n := range tenths {
		busiest = max(busiest, n)
	}
	percent := func(v float64) string { return fmt.Sprintf("%.1f %%", v) }
	results.row("When certificates that were issued at once are renewed, in their life", []string{"first", "median", "last", "in the busiest thousandth of a life"},
		percent(at[0]), percent(at[len(at)/2]), percent(at[len(at)-1]), fmt.Sprintf("%d of %d", busiest, len(at)))
	s.ReportMetric(at[len(at)-1]-at[0], "%-of-life")
}
