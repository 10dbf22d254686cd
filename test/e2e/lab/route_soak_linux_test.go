// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// perSecond is how many requests come from outside, of which one of each long is answered in a second, piece by piece.
const perSecond, long = 200, 20

// TestSoakRoutes has requests come from outside all the time, for names that stay as they are and for names that change:
// a hundred changes of Routes, five renewals of the gateway's certificate, a storm of reloads of nginx, an upgrade of Traefik.
// None is lost, except those that Traefik was answering when it was restarted: their number is printed.
func TestSoakRoutes(t *testing.T) {
	r := openSite(t, samples)
	r.allReady()
	v := r.visitor()
	hosts := []string{"a.phoenix.lan", "b.phoenix.lan", "docker.phoenix.lan"}
	var shops []*v1alpha1.Route
	for i := range 10 {
		name := fmt.Sprintf("shop-%d", i)
		shops = append(shops, routeTo(name, "stack-a", name+".phoenix.lan"))
		hosts = append(hosts, name+".phoenix.lan")
	}
	for _, o := range shops {
		r.declare(o)
	}
	for _, o := range shops {
		r.routed(o.Name)
	}
	load := v.load(hosts)
	t.Cleanup(load.stop)
	phase := func(name string, run func()) {
		t.Helper()
		began := time.Now()
		asked := load.count()
		run()
		time.Sleep(time.Second) // what was asked in the meantime is answered
		fmt.Printf("    %-12s %5.1f s, %d requests\n", name, time.Since(began).Seconds(), load.count()-asked)
		load.none(t, name, time.Time{}, time.Time{})
	}
	phase("quiet", func() { time.Sleep(3 * time.Second) })
	phase("changes", func() { r.changeRoutes(v, shops, 10) })
	phase("renewals", func() {
		for range 5 {
			revision := r.certificate("site").Status.Revision
			r.renew("site")
			r.renewed("site", revision+1)
			r.certified(nil, "site")
		}
	})
	phase("reloads", func() {
		for range 50 {
			inside(t, nginx, "systemctl", "reload", "nginx")
			time.Sleep(50 * time.Millisecond)
		}
	})
	began := time.Now()
	a := site.Releases.NextTraefik
	r.patch(serviceKey("traefik"), fmt.Sprintf(`{"spec":{"traefik":{"artifact":{"url":%q,"sha256":%q,"member":%q}}}}`, a.URL, a.SHA256, a.Member))
	r.ready("traefik")
	if got := r.service("traefik").Status.Traefik; got == nil || got.Version != "3.6.13-lab" {
		t.Errorf("after the upgrade the status says %+v", got)
	}
	time.Sleep(time.Second)
	stopped, started := restarted(t, "traefik.service")
	if stopped.Before(began) {
		t.Errorf("Traefik was not restarted: it stopped at %s", stopped)
	}
	lost := load.none(t, "upgrade", stopped, started)
	load.stop()
	fmt.Printf("    %-12s %d requests, %d lost: in flight when Traefik was restarted\n", "in all", load.count(), lost)
	if n, want := load.count(), perSecond*load.ending.Sub(load.began).Seconds(); float64(n) < 0.95*want {
		t.Errorf("there were %d requests, want %.0f", n, want)
	}
	r.removeAll()
}

// changeRoutes changes every one of some Routes several times: another backend, another middleware. Each change is waited for
// by those who ask.
func (r *reference) changeRoutes(v *visitor, all []*v1alpha1.Route, times int) {
	r.Helper()
	for round := range times {
		stack, header := []string{"stack-b", "stack-a"}[round%2], fmt.Sprintf("round-%d", round)
		for _, o := range all {
			r.patch(o, fmt.Sprintf(`{"spec":{"backends":[{"stack":{"name":%q,"service":"web"}}],"middlewares":[{"headers":{"request":[{"name":"X-Round","value":%q}]}}]}}`, stack, header))
		}
		for _, o := range all {
			v.answers(r.T, o.Spec.Hosts[0], "X-Round: "+header)
		}
	}
	for _, o := range all {
		r.routed(o.Name)
	}
}

// restarted says when the process of a unit before the present one was told to end, and when the present one was ready.
func restarted(t *testing.T, unit string) (stopped, ready time.Time) {
	t.Helper()
	at := func(property string) time.Time {
		text := inside(t, traefik, "systemctl", "show", "--timestamp=us+utc", "-P", property, unit)
		when, err := time.Parse("Mon 2006-01-02 15:04:05.000000 MST", text)
		if err != nil {
			t.Fatalf("%s of %s: %v", property, unit, err)
		}
		return when
	}
	return at("ActiveExitTimestamp"), at("ActiveEnterTimestamp")
}

// load is requests from outside, at a steady rate.
type load struct {
	began, ending time.Time
	cancel        context.CancelFunc
	ended         sync.WaitGroup

	mu     sync.Mutex
	asked  int
	failed []failure
}

// failure is a request that was not answered as it should be.
type failure struct {
	host       string
	began, end time.Time
	answer     answer
}

// load begins to ask hosts, each third by a connection of its own, by one that is kept, and by HTTP/2.
func (v *visitor) load(hosts []string) *load {
	ctx, cancel := context.WithCancel(test)
	l := &load{began: time.Now(), cancel: cancel}
	clients := []*http.Client{
		v.alone,
		v.client(func(tr *http.Transport) { tr.MaxIdleConnsPerHost = 4 }),
		v.client(func(tr *http.Transport) { tr.ForceAttemptHTTP2 = true }),
	}
	l.ended.Go(func() {
		pace := time.NewTicker(time.Second / perSecond)
		defer pace.Stop()
		for i := 0; ; i++ {
			// A machine that is busy may have missed some ticks.
			for int(time.Since(l.began)*perSecond/time.Second) <= i {
				select {
				case <-ctx.Done():
					return
				case <-pace.C:
				}
			}
			c, host := clients[i%len(clients)], hosts[i/len(clients)%len(hosts)]
			path := served[host].path
			if i%long == 0 {
				host, path = "a.phoenix.lan", "/ticks"
			}
			l.ended.Go(func() { l.ask(c, host, path) })
		}
	})
	return l
}

// ask makes one request.
func (l *load) ask(c *http.Client, host, path string) {
	f := failure{host: host + path, began: time.Now()}
	f.answer = get(c, "https://"+host+path)
	f.end = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked++; f.answer.status != http.StatusOK {
		l.failed = append(l.failed, f)
	}
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

// stop ends the requests and waits for the last answer.
func (l *load) stop() {
	if l.ending.IsZero() {
		l.ending = time.Now()
	}
	l.cancel()
	l.ended.Wait()
}

// none proves that no request was lost up to now but those that were in flight while a unit was restarted, and returns how
// many those were.
func (l *load) none(t *testing.T, during string, stopped, ready time.Time) (inFlight int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var lost []string
	for _, f := range l.failed {
		if f.began.Before(stopped) && f.end.After(stopped) {
			inFlight++
			continue
		}
		lost = append(lost, fmt.Sprintf("%s to %s %s: %s", f.began.Format("15:04:05.000"), f.end.Format("05.000"), f.host, f.answer))
	}
	if len(lost) > 0 {
		t.Errorf("%s: %d of %d requests were lost (a restart from %s to %s):\n%s", during, len(lost), l.asked,
			stopped.Format("15:04:05.000"), ready.Format("05.000"), strings.Join(lost[:min(10, len(lost))], "\n"))
	}
	l.failed = nil
	return inFlight
}
