// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package route measures how long it takes from a Route that is declared until a client outside is answered: by the whole
// program, on the reference site. Run it with "make bench": where the lab can be had (root, after "make lab-deps") the machines
// are real, else simulated; what is printed says which.
package route

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

const (
	root     = "../../.."
	samples  = root + "/config/samples/phoenix"
	gateway  = "10.0.0.153:443"
	patience = 6 * time.Minute
	// one is how many Routes are declared one after the other, and many how many in one apply.
	one, many = 200, 500
	// floors is how often the same is done by hand.
	floors = 50
	// pause is how long a client waits that was not answered, and pauseOfMany one of those who wait for many: what they ask
	// meanwhile takes from the same processors.
	pause, pauseOfMany = 10 * time.Millisecond, 100 * time.Millisecond
)

// ground is what the site's machines are.
type ground struct {
	what string
	// dial connects as a client outside does; nil: as those of a simulated site do.
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func simulated(why error) (ground, world.Options) {
	return ground{what: fmt.Sprintf("simulated machines, on which nothing takes time (%v)", why)}, world.Options{Site: pve.Options{}}
}

// stage is the reference site with a client outside of it.
type stage struct {
	*testing.B
	*world.World
	client *http.Client
}

// BenchmarkRoutes declares Routes one after the other, and then many at once. In between, and at the end, somebody does the
// same by hand: the same files, and the same reload.
func BenchmarkRoutes(b *testing.B) {
	for b.Loop() {
		g, o := newGround(b)
		s := open(b, g, o)
		byHand := s.hand()
		var took, floor []time.Duration
		for i := range one {
			took = append(took, s.declare(fmt.Sprintf("one%03d", i)))
			if i%(one/floors) == 0 {
				floor = append(floor, byHand.write(fmt.Sprintf("hand%03d", i)))
			}
		}
		slices.Sort(took)
		slices.Sort(floor)
		applied, all := s.declareAll("many", many)
		bare := byHand.writeAll("bulk", many)
		fmt.Printf("\nFrom a Route that is declared until a client outside is answered: %s\n", g.what)
		fmt.Printf("  %d one after the other   median %s   99th percentile %s   slowest %s\n", one, ms(took[one/2]), ms(took[one*99/100-1]), ms(took[one-1]))
		fmt.Printf("  %d times by hand          median %s   slowest %s   Phoenix in relation to it %.1f\n", floors, ms(floor[floors/2]), ms(floor[floors-1]), took[one/2].Seconds()/floor[floors/2].Seconds())
		fmt.Printf("  %d in one apply          all are answered %s after it returned, which took %s\n", many, ms(all-applied), ms(applied))
		fmt.Printf("  %d files by hand         all are answered after %s\n\n", many, ms(bare))
		b.ReportMetric(took[one/2].Seconds(), "median-s")
		b.ReportMetric(took[one*99/100-1].Seconds(), "p99-s")
		b.ReportMetric(floor[floors/2].Seconds(), "floor-s")
		b.ReportMetric((all - applied).Seconds(), "500-s")
		b.ReportMetric(bare.Seconds(), "500-floor-s")
		b.ReportMetric(0, "ns/op")
	}
}

func ms(d time.Duration) string { return d.Round(time.Millisecond).String() }

// open brings the reference site up.
func open(b *testing.B, g ground, o world.Options) *stage {
	b.Helper()
	manager, err := filepath.Abs(os.Getenv("MANAGER"))
	if err != nil || os.Getenv("MANAGER") == "" {
		b.Fatal("MANAGER does not name the manager's binary: run make bench")
	}
	o.Root, o.Dir, o.Manager = root, b.TempDir(), manager
	w, err := world.Start(b.Context(), o)
	b.Cleanup(func() {
		if b.Failed() {
			log, _ := os.ReadFile(w.LogFile())
			b.Logf("the manager's log:\n%s", log[max(0, len(log)-20000):])
		}
		if err := w.Stop(); err != nil {
			b.Error(err)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	s := &stage{B: b, World: w}
	if err := errors.Join(w.StartManager(), w.ApplySamples(b.Context(), samples)); err != nil {
		b.Fatal(err)
	}
	s.until("all is Ready", func() error {
		states, err := w.States(b.Context())
		if err == nil && !world.AllReady(states) {
			err = fmt.Errorf("%+v", states)
		}
		return err
	})
	s.client = s.outside(g)
	return s
}

// outside is a client that knows the gateway's address, and believes the site's authority. It makes a connection for each
// request.
func (s *stage) outside(g ground) *http.Client {
	s.Helper()
	var ca v1alpha1.HostService
	if err := s.Client.Get(s.Context(), client.ObjectKey{Namespace: world.Namespace, Name: "step-ca"}, &ca); err != nil {
		s.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ca.Status.StepCA.CABundle)) {
		s.Fatal("the authority has no roots")
	}
	dial := g.dial
	if dial == nil {
		dial = s.Site.DialContext
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext:       func(ctx context.Context, network, _ string) (net.Conn, error) { return dial(ctx, network, gateway) },
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(2 * many)},
		DisableKeepAlives: true,
	}}
}

// until waits for what comes by itself.
func (s *stage) until(what string, check func() error) {
	s.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	s.Fatalf("%s: not within %s: %v", what, patience, err)
}

// host is the name of a Route below the one that the gateway has a certificate for.
func host(name string) string { return name + ".phoenix.lan" }

// create declares a Route to the first stack.
func (s *stage) create(name string) {
	s.Helper()
	o := &v1alpha1.Route{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: world.Namespace}, Spec: v1alpha1.RouteSpec{
		GatewayRef: v1alpha1.LocalReference{Name: "nginx"}, RouterRef: v1alpha1.LocalReference{Name: "traefik"},
		Hosts: []string{host(name)}, Expose: v1alpha1.ExposeExternal,
		Backends: []v1alpha1.RouteBackend{{Stack: &v1alpha1.RouteStackBackend{Name: "stack-a", Service: "web"}}},
	}}
	if err := s.Client.Create(s.Context(), o); err != nil {
		s.Fatal(err)
	}
}

// declare declares a Route, and says how long it takes from then on until it is served.
func (s *stage) declare(name string) time.Duration {
	s.Helper()
	s.create(name)
	began := time.Now()
	s.answered(name, began)
	return time.Since(began)
}

// declareAll declares Routes one after the other without a pause, as one apply does, and says how long that took, and how
// long it took from its begin until all are served.
func (s *stage) declareAll(prefix string, n int) (applied, served time.Duration) {
	s.Helper()
	began := time.Now()
	for i := range n {
		s.create(fmt.Sprintf("%s%03d", prefix, i))
	}
	applied = time.Since(began)
	s.allAnswered(prefix, n, began)
	return applied, time.Since(began)
}

// answered waits until a host is answered with 200.
func (s *stage) answered(name string, began time.Time) {
	s.Helper()
	for err := s.ask(name); err != nil; err = s.ask(name) {
		if time.Since(began) > patience {
			s.Fatalf("%s is not served within %s: %v", name, patience, err)
		}
		time.Sleep(pause)
	}
}

// allAnswered waits until all hosts are answered; some are asked at a time.
func (s *stage) allAnswered(prefix string, n int, began time.Time) {
	s.Helper()
	var next atomic.Int32
	var all sync.WaitGroup
	var late atomic.Value
	for range 4 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				name := fmt.Sprintf("%s%03d", prefix, i)
				for err := s.ask(name); err != nil; err = s.ask(name) {
					if time.Since(began) > patience {
						late.Store(fmt.Sprintf("%s is not served within %s: %v", name, patience, err))
						return
					}
					time.Sleep(pauseOfMany)
				}
			}
		})
	}
	all.Wait()
	if text := late.Load(); text != nil {
		s.Fatal(text)
	}
}

func (s *stage) ask(name string) error {
	request, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "https://"+host(name)+"/", http.NoBody)
	if err != nil {
		return err
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	return errors.Join(err, answer.Body.Close())
}
