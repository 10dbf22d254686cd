// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

// The gateway of the reference site, and the folders of its Routes there and on the router.
const (
	gateway       = "10.0.0.153"
	gatewayFolder = "/etc/nginx/phoenix/nginx/routes"
	routerFolder  = "/etc/traefik/dynamic/routes"
)

// served are the names of the reference site that everybody may ask for, with a path and what is answered.
var served = map[string]struct{ path, says string }{
	"a.phoenix.lan": {"/", "Host: a.phoenix.lan\n"}, "b.phoenix.lan": {"/", "Name: the second stack\n"}, "docker.phoenix.lan": {"/api/system/status", "Version"},
}

// TestRoutes asks for names from outside: for those that are declared, for those that are not, and while Routes, their
// backends and the manager come and go.
func TestRoutes(t *testing.T) {
	w := open(t, pve.Options{})
	if err := w.ApplySamples(context.Background(), samples); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.allReady()
	for _, part := range []struct {
		name string
		run  func(w *theatre, v *visitor)
	}{
		{"reference", servesReference}, {"undeclared", refusesUndeclared}, {"internal", admitsInside}, {"claimed twice", olderServes},
		{"new port", followsPort}, {"manager killed", killsRoutes}, {"manager dead", outlivesManager},
	} {
		t.Run(part.name, func(t *testing.T) {
			in := &theatre{t, w.World}
			part.run(in, in.visitor())
		})
	}
}

// servesReference asks for what the samples declare.
func servesReference(w *theatre, v *visitor) {
	w.servesAll(v)
	for name, host := range map[string]string{"stack-a": "a.phoenix.lan", "stack-b": "b.phoenix.lan", "portainer": "docker.phoenix.lan"} {
		r := w.route(name)
		if r.Status.URL != "https://"+host+"/" || r.Status.Hosts != host || r.Status.GatewayAddress != gateway {
			w.Errorf("Route %s says it is at %q (hosts %q, gateway %q)", name, r.Status.URL, r.Status.Hosts, r.Status.GatewayAddress)
		}
		for _, c := range []string{v1alpha1.ProgrammedCondition, v1alpha1.PublishedCondition, v1alpha1.CertificateMatchesCondition, v1alpha1.BackendReachableCondition} {
			if !meta.IsStatusConditionTrue(r.Status.Conditions, c) {
				w.Errorf("%s of Route %s is not True: %+v", c, name, r.Status.Conditions)
			}
		}
		if got := strings.TrimSpace(w.on(w.Site.GuestMachine(102), "getent ahostsv4 "+host+" | cut -d ' ' -f 1 | sort -u")); got != gateway {
			w.Errorf("the router finds %s at %q", host, got)
		}
	}
}

// servesAll asks for every name of the reference site.
func (w *theatre) servesAll(v *visitor) {
	w.Helper()
	if err := v.servesAll(); err != nil {
		w.Error(err)
	}
}

func (v *visitor) servesAll() error {
	for host, want := range served {
		if a := v.ask(host, want.path); a.status != http.StatusOK || !strings.Contains(a.body, want.says) {
			return fmt.Errorf("%s answers %s, want 200 with %q", host, a, want.says)
		}
	}
	return nil
}

// by says which stack has answered; the second one alone has a name.
func (a answer) by(host string) string {
	switch {
	case a.err != nil || a.status != http.StatusOK || !strings.Contains(a.body, "\nHost: "+host+"\n"):
		return a.String()
	case strings.Contains(a.body, "\nName: the second stack\n"):
		return "stack-b"
	}
	return "stack-a"
}

// refusesUndeclared asks for names that nobody declared: they get nothing, neither over TLS nor without it.
func refusesUndeclared(w *theatre, v *visitor) {
	for reason, host := range map[string]string{
		"a name that the certificate covers": "c.phoenix.lan", "the name of a machine": "portainer.phoenix.lan", "another domain": "a.example.org",
	} {
		if a := v.ask(host, "/"); a.err == nil {
			w.Errorf("%s: %s answers %s", reason, host, a)
		}
		if a := v.askPlain(host); a.err == nil {
			w.Errorf("%s: without TLS, %s answers %s", reason, host, a)
		}
	}
	if a := v.askPlain("a.phoenix.lan"); a.status != http.StatusPermanentRedirect || a.location != "https://a.phoenix.lan/" {
		w.Errorf("without TLS, a.phoenix.lan answers %s", a)
	}
}

// admitsInside declares a Route for the site alone: outside it is as if it were not there.
func admitsInside(w *theatre, v *visitor) {
	r := routeTo("inside", "stack-a", "inside.phoenix.lan")
	r.Spec.Expose = ""
	w.create(r)
	w.routed("inside")
	if a := v.ask("inside.phoenix.lan", "/"); a.err == nil {
		w.Errorf("from outside, it answers %s", a)
	}
	line := "curl -sS --max-time 5 --resolve inside.phoenix.lan:443:" + gateway + " https://inside.phoenix.lan/"
	if got := w.on(w.Site.GuestMachine(1002), line); !strings.Contains(got, "Host: inside.phoenix.lan\n") {
		w.Errorf("a guest of the site gets %q", got)
	}
	w.change(r, `{"spec":{"expose":"External"}}`)
	w.answersWith(v, "inside.phoenix.lan", "stack-a")
	w.change(r, `{"spec":{"expose":"Internal"}}`)
	w.answersNothing(v, "inside.phoenix.lan")
	w.removeRoute(r)
}

// olderServes has two Routes claim a host. The older one serves, and when it goes the younger one does.
func olderServes(w *theatre, v *visitor) {
	older, younger := routeTo("older", "stack-a", "claimed.phoenix.lan"), routeTo("younger", "stack-b", "claimed.phoenix.lan")
	w.create(older)
	w.routed("older")
	time.Sleep(time.Second) // the API server's times have no fractions
	w.create(younger)
	w.until("the younger Route names the older one", func() error {
		c := meta.FindStatusCondition(w.route("younger").Status.Conditions, v1alpha1.StalledCondition)
		if c == nil || c.Reason != "HostTaken" || !strings.Contains(c.Message, "older") || !strings.Contains(c.Message, "claimed.phoenix.lan") {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	if by := v.ask("claimed.phoenix.lan", "/").by("claimed.phoenix.lan"); by != "stack-a" {
		w.Errorf("claimed by two, it is answered by %s", by)
	}
	w.removeRoute(older)
	w.answersWith(v, "claimed.phoenix.lan", "stack-b")
	w.routed("younger")
	w.removeRoute(younger)
}

// followsPort publishes a stack on another port: nobody touches the Route.
func followsPort(w *theatre, v *visitor) {
	before := w.route("stack-a")
	if diff := cmp.Diff([]string{"http://10.0.0.102:8081"}, before.Status.Servers); diff != "" {
		w.Errorf("servers (-want +got):\n%s", diff)
	}
	s := &v1alpha1.DockerStack{ObjectMeta: metav1.ObjectMeta{Name: "stack-a", Namespace: world.Namespace}}
	const text = "services: {web: {image: 'traefik/whoami:v1.10', restart: unless-stopped, ports: ['8091:80']}}"
	w.change(s, fmt.Sprintf(`{"spec":{"compose":{"inline":%q}}}`, text))
	w.until("the Route follows", func() error {
		if r := w.route("stack-a"); !slices.Equal(r.Status.Servers, []string{"http://10.0.0.102:8091"}) {
			return fmt.Errorf("servers %q", r.Status.Servers)
		}
		return nil
	})
	w.answersWith(v, "a.phoenix.lan", "stack-a")
	w.routed("stack-a")
	if after := w.route("stack-a"); after.Generation != before.Generation {
		w.Errorf("the Route's spec was changed: generation %d, before %d", after.Generation, before.Generation)
	}
}

// killsRoutes kills the manager again and again while Routes change and go. All the time each of them answers, from one of
// its two backends, and in the end from the one that was declared last. Nothing is left of those that were deleted.
func killsRoutes(w *theatre, v *visitor) {
	var hosts []string
	var routes []*v1alpha1.Route
	for i := range 6 {
		name := fmt.Sprintf("shop-%d", i)
		hosts = append(hosts, name+".phoenix.lan")
		routes = append(routes, routeTo(name, "stack-a", hosts[i]))
		w.create(routes[i])
	}
	for _, r := range routes {
		w.routed(r.Name)
	}
	before := w.routeFiles()
	crowd := v.crowd(hosts)
	stack := ""
	for round := range 10 {
		stack = []string{"stack-b", "stack-a"}[round%2]
		for _, r := range routes {
			w.change(r, fmt.Sprintf(`{"spec":{"backends":[{"stack":{"name":%q,"service":"web"}}]}}`, stack))
		}
		time.Sleep(time.Duration(round) * 37 * time.Millisecond) // in the middle of one thing or another
		w.kill()
		for _, host := range hosts {
			if by := v.ask(host, "/").by(host); !stacks[by] {
				w.Errorf("round %d, nobody manages: %s is answered by %s", round, host, by)
			}
		}
		w.start()
	}
	for i, r := range routes {
		w.answersWith(v, hosts[i], stack)
		w.routed(r.Name)
	}
	if diff := cmp.Diff(before, w.routeFiles()); diff != "" {
		w.Errorf("names of files (-before +after):\n%s", diff)
	}
	w.Logf("%d requests while the manager was killed ten times", crowd.leave(w.T))

	for _, r := range routes {
		if err := w.Client.Delete(context.Background(), r); err != nil {
			w.Fatal(err)
		}
	}
	time.Sleep(50 * time.Millisecond)
	w.kill()
	w.start()
	for i, r := range routes {
		w.routeGone(r)
		w.answersNothing(v, hosts[i])
	}
	for _, files := range w.routeFiles() {
		for _, name := range files {
			if strings.Contains(name, "-shop-") {
				w.Errorf("%s is left", name)
			}
		}
	}
}

// outlivesManager has no manager, and then machines that start anew.
func outlivesManager(w *theatre, v *visitor) {
	w.kill()
	w.servesAll(v)
	for vmid := range reference {
		m := w.Site.GuestMachine(vmid)
		m.Halt()
		m.Boot()
	}
	w.until("all is served after the reboot", v.servesAll)
	w.start()
	w.settled()
	if err := v.servesAll(); err != nil {
		w.Error(err)
	}
}

// routeTo is a Route for everybody to the web service of a stack.
func routeTo(name, stack string, hosts ...string) *v1alpha1.Route {
	return &v1alpha1.Route{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: world.Namespace},
		Spec: v1alpha1.RouteSpec{
			GatewayRef: v1alpha1.LocalReference{Name: "nginx"}, RouterRef: v1alpha1.LocalReference{Name: "traefik"},
			Hosts: hosts, Expose: v1alpha1.ExposeExternal,
			Backends: []v1alpha1.RouteBackend{{Stack: &v1alpha1.RouteStackBackend{Name: stack, Service: "web"}}},
		},
	}
}

// route reads a Route.
func (w *theatre) route(name string) *v1alpha1.Route {
	w.Helper()
	r := &v1alpha1.Route{}
	if err := w.Client.Get(context.Background(), client.ObjectKey{Namespace: world.Namespace, Name: name}, r); err != nil {
		w.Fatal(err)
	}
	return r
}

// change merges JSON into an object.
func (w *theatre) change(o client.Object, patch string) {
	w.Helper()
	if err := w.Client.Patch(context.Background(), o, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		w.Fatal(err)
	}
}

// routed waits until the present spec of a Route is Ready.
func (w *theatre) routed(name string) {
	w.Helper()
	w.until("Route "+name+" is Ready", func() error {
		r := w.route(name)
		c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ReadyCondition)
		if c == nil || c.Status != metav1.ConditionTrue || r.Status.ObservedGeneration != r.Generation || len(r.Status.Plan) > 0 {
			return fmt.Errorf("%+v, plan %+v", c, r.Status.Plan)
		}
		return nil
	})
}

func (w *theatre) removeRoute(r *v1alpha1.Route) {
	w.Helper()
	if err := w.Client.Delete(context.Background(), r); err != nil {
		w.Fatal(err)
	}
	w.routeGone(r)
}

func (w *theatre) routeGone(r *v1alpha1.Route) {
	w.Helper()
	w.until("Route "+r.Name+" is gone", func() error {
		err := w.Client.Get(context.Background(), client.ObjectKeyFromObject(r), r)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("%+v", r.Status.Conditions))
	})
}

// routeFiles are the names of the files of Routes, and of what may be left of work on them.
func (w *theatre) routeFiles() map[string][]string {
	w.Helper()
	out := map[string][]string{}
	for folder, vmid := range map[string]int{gatewayFolder: 101, routerFolder: 102} {
		out[folder] = strings.Fields(w.on(w.Site.GuestMachine(vmid), "find "+folder+" "+folder+"/.. -name '.?*' -o -name '*-*.*' | sort -u"))
	}
	return out
}

// visitor is a client outside of the site. It believes the site's authority, and knows the gateway's address.
type visitor struct {
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
	roots *x509.CertPool
}

func (w *theatre) visitor() *visitor {
	w.Helper()
	var s v1alpha1.HostService
	if err := w.Client.Get(context.Background(), client.ObjectKey{Namespace: world.Namespace, Name: "step-ca"}, &s); err != nil {
		w.Fatal(err)
	}
	v := &visitor{dial: w.Site.DialContext, roots: x509.NewCertPool()}
	if !v.roots.AppendCertsFromPEM([]byte(s.Status.StepCA.CABundle)) {
		w.Fatal("the authority has no roots")
	}
	return v
}

// answer is what a visitor gets: an error where there is none.
type answer struct {
	status         int
	body, location string
	err            error
}

// String is the answer in short.
func (a answer) String() string {
	return fmt.Sprintf("%d %q %s (%v)", a.status, a.body, a.location, a.err)
}

// ask asks a host over TLS, on a connection of its own.
func (v *visitor) ask(host, path string) answer { return v.get("https://"+host+path, gateway+":443") }

// askPlain asks a host without TLS.
func (v *visitor) askPlain(host string) answer { return v.get("http://"+host+"/", gateway+":80") }

func (v *visitor) get(address, at string) answer {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return answer{err: err}
	}
	tr := &http.Transport{
		DialContext:     func(ctx context.Context, network, _ string) (net.Conn, error) { return v.dial(ctx, network, at) },
		TLSClientConfig: &tls.Config{RootCAs: v.roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
	}
	res, err := tr.RoundTrip(request)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = res.Body.Close() }() // it was read
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, string(body), res.Header.Get("Location"), err}
}

// stacks are those that Routes here lead to.
var stacks = map[string]bool{"stack-a": true, "stack-b": true}

// answersWith waits until a host is answered by a stack.
func (w *theatre) answersWith(v *visitor, host, stack string) {
	w.Helper()
	w.until(host+" is answered by "+stack, func() error {
		if by := v.ask(host, "/").by(host); by != stack {
			return errors.New(by)
		}
		return nil
	})
}

// answersNothing waits until a host does not answer.
func (w *theatre) answersNothing(v *visitor, host string) {
	w.Helper()
	w.until(host+" answers nothing", func() error {
		if a := v.ask(host, "/"); a.err == nil {
			return errors.New(a.String())
		}
		return nil
	})
}

// crowd asks hosts all the time.
type crowd struct {
	stop    chan struct{}
	ended   sync.WaitGroup
	asked   int
	refused []string
}

// crowd begins to ask. Every answer has to be one of the stacks'.
func (v *visitor) crowd(hosts []string) *crowd {
	c := &crowd{stop: make(chan struct{})}
	c.ended.Go(func() {
		for {
			select {
			case <-c.stop:
				return
			case <-time.After(tick):
			}
			host := hosts[c.asked%len(hosts)]
			c.asked++
			if by := v.ask(host, "/").by(host); !stacks[by] {
				c.refused = append(c.refused, host+" is answered by "+by)
			}
		}
	})
	return c
}

// leave ends the questions, of which none may have been in vain, and says how many there were.
func (c *crowd) leave(t *testing.T) int {
	t.Helper()
	close(c.stop)
	c.ended.Wait()
	if len(c.refused) > 0 {
		t.Errorf("%d of %d requests were in vain: %s", len(c.refused), c.asked, strings.Join(c.refused[:min(5, len(c.refused))], "\n"))
	}
	return c.asked
}
