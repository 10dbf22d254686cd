// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/nginx"
)

// Routers of these tests listen on the gateway's own machine, where two routers stand for one that moves.
const (
	routerPort      = 8090
	routerOtherPort = 8091
)

// newRouteGate is a gateway with a wildcard certificate, and a router that names it.
func newRouteGate(t *testing.T, change func(*v1alpha1.HostService)) *gateWorld {
	t.Helper()
	w := newGateWorld(t)
	w.put("site-tls", 24*time.Hour, "*.phoenix.lan")
	w.create(svcGuest("router", "10.0.0.13"))
	r := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: "router"}}
	r.Spec.GuestRef = &v1alpha1.LocalReference{Name: "router"}
	r.Spec.Traefik = &v1alpha1.Traefik{GatewayRefs: []v1alpha1.LocalReference{{Name: "gate"}}, WebPort: routerPort, WebSecurePort: 8443}
	w.create(r)
	w.create(gate(change))
	w.ready("gate")
	w.routerOn(routerPort, "first")
	return w
}

// routerOn answers on a port what it was sent, and as who.
func (w *gateWorld) routerOn(port int, who string) {
	w.t.Helper()
	l, err := w.sim.Listen(port)
	if err != nil {
		w.t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/socket" {
			echo(rw, r)
			return
		}
		rw.Header().Set("X-Frame-Options", "SAMEORIGIN")
		_, _ = fmt.Fprintf(rw, "%s %s %s for %q by %s real %q prefix %q", who, r.Host, r.RequestURI, // a client that left misses it
			r.Header.Values("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Real-Ip"), r.Header.Get("X-Forwarded-Prefix"))
	})}
	go func() { _ = s.Serve(l) }() // until the test is over
	w.t.Cleanup(func() { _ = s.Close() })
}

// echo becomes what it is asked to become, and sends back what comes.
func echo(rw http.ResponseWriter, r *http.Request) {
	conn, both, err := rw.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }() // it is over
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
	_, _ = io.Copy(conn, both) // until the client goes
}

// route puts the files of a Route where its kind puts them, and has nginx hear of them.
func (w *gateWorld) route(prefix string, r nginx.RouteEntry) {
	w.t.Helper()
	r.About, r.Router = "Route home/"+prefix, "router"
	files, err := nginx.RouteFiles(nginx.RoutesFolder("gate"), prefix, r)
	if err != nil {
		w.t.Fatal(err)
	}
	for name, content := range files {
		if err := w.sim.WriteFile(nginx.RoutesFolder("gate")+"/"+name, string(content), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	if got := w.shell("nginx -t && systemctl reload nginx && echo fine"); !strings.Contains(got, "fine") {
		w.t.Fatalf("nginx refuses the files of a Route: %s", got)
	}
}

// ask asks for a URL from outside, over HTTP/2 when h2 says so, and returns what is answered.
func (w *gateWorld) ask(h2 bool, url string, headers ...string) (string, http.Header, error) {
	w.t.Helper()
	transport := &http.Transport{
		ForceAttemptHTTP2: h2, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:forbidigo,gosec // whatever is served is looked at
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			if strings.HasSuffix(address, ":443") {
				return w.sim.Dial(ctx, 443)
			}
			return w.sim.Dial(ctx, 80)
		},
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(w.t.Context(), svcPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = res.Body.Close() }() // it was read
	body, err := io.ReadAll(res.Body)
	return fmt.Sprintf("%d %s", res.StatusCode, body), res.Header, err
}

// nothing says that a URL is not answered, not even with an error.
func (w *gateWorld) nothing(reason, url string) {
	w.t.Helper()
	for _, h2 := range []bool{false, true} {
		if got, _, err := w.ask(h2, url); err == nil {
			w.t.Errorf("%s: %s answers %q (HTTP/2: %t)", reason, url, got, h2)
		}
	}
}

func TestGatewayPassesHostsOfRoutesOn(t *testing.T) {
	w := newRouteGate(t, func(s *v1alpha1.HostService) {
		s.Spec.Nginx.SecurityHeaders = &v1alpha1.NginxSecurityHeaders{FrameOptions: "DENY", HSTS: &metav1.Duration{Duration: time.Hour}}
		s.Spec.Nginx.InternalNetworks = []string{"10.0.0.0/24"}
	})
	w.nothing("no Route declares it", "https://blog.phoenix.lan/")
	w.route("0a-blog", nginx.RouteEntry{Hosts: []string{"blog.phoenix.lan"}})
	w.route("0b-shop", nginx.RouteEntry{Hosts: []string{"shop.phoenix.lan"}, Internal: true})
	for _, h2 := range []bool{false, true} {
		got, header, err := w.ask(h2, "https://blog.phoenix.lan/a%2Fb?c=d", "X-Forwarded-For", "6.6.6.6", "X-Real-Ip", "6.6.6.6", "X-Forwarded-Prefix", "/x")
		if want := `200 first blog.phoenix.lan /a%2Fb?c=d for ["0.0.0.0"] by https real "0.0.0.0" prefix ""`; got != want || err != nil {
			t.Errorf("from outside it answers %q (%v), want %q", got, err, want)
		}
		if frame := header.Values("X-Frame-Options"); len(frame) != 1 || frame[0] != "SAMEORIGIN" {
			t.Errorf("X-Frame-Options is %q, want what the backend sent", frame)
		}
		if got := header.Get("Strict-Transport-Security") + header.Get("X-Content-Type-Options") + header.Get("Referrer-Policy"); got != "max-age=3600nosniff" {
			t.Errorf("the headers that were added are %q", got)
		}
	}
	if got, header, err := w.ask(false, "http://blog.phoenix.lan/x"); err != nil || !strings.HasPrefix(got, "308 ") || header.Get("Location") != "https://blog.phoenix.lan/x" {
		t.Errorf("over HTTP it answers %q to %q (%v)", got, header.Get("Location"), err)
	}
	w.nothing("it is Internal", "https://shop.phoenix.lan/")
	w.nothing("it is Internal", "http://shop.phoenix.lan/")
	w.nothing("a wildcard certificate covers it, no Route declares it", "https://other.phoenix.lan/")
	w.nothing("what the machine asks itself is for nobody else", "https://other.phoenix.lan"+nginx.ProbePath)
	if got := w.curl("https://shop.phoenix.lan/") + w.curl("http://shop.phoenix.lan/"); got != "200308" {
		t.Errorf("from inside the internal Route answers %q", got)
	}
	w.quiet("gate")
}

// become asks over a connection of its own to speak another protocol, and returns what is answered.
func (w *gateWorld) become(protocol string) (*tls.Conn, *bufio.Reader, string) {
	w.t.Helper()
	conn, err := w.sim.Dial(w.t.Context(), 443)
	if err != nil {
		w.t.Fatal(err)
	}
	client := tls.Client(conn, &tls.Config{ServerName: "blog.phoenix.lan", InsecureSkipVerify: true}) //nolint:forbidigo,gosec // the certificate is not looked at
	w.t.Cleanup(func() { _ = client.Close() })
	if _, err := fmt.Fprintf(client, "GET /socket HTTP/1.1\r\nHost: blog.phoenix.lan\r\nConnection: keep-alive, Upgrade\r\nUpgrade: %s\r\n\r\n", protocol); err != nil {
		w.t.Fatal(err)
	}
	both := bufio.NewReader(client)
	res, err := http.ReadResponse(both, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return client, both, fmt.Sprintf("%d %s", res.StatusCode, res.Header.Get("Upgrade"))
}

func TestGatewayBecomesWebsocketsAlone(t *testing.T) {
	w := newRouteGate(t, nil)
	w.route("0a-blog", nginx.RouteEntry{Hosts: []string{"blog.phoenix.lan"}})
	for _, protocol := range []string{"h2c", "websocket, h2c", "SPDY/3.1"} {
		if _, _, got := w.become(protocol); strings.HasPrefix(got, "101 ") {
			t.Errorf("%s reached the router: %s", protocol, got)
		}
	}
	client, both, got := w.become("WebSocket")
	if got != "101 websocket" {
		t.Fatalf("a websocket is answered with %q", got)
	}
	w.shell("systemctl reload nginx")
	if _, err := io.WriteString(client, "still there\n"); err != nil {
		t.Error(err)
	}
	if line, err := both.ReadString('\n'); line != "still there\n" {
		t.Errorf("after a reload the websocket says %q (%v)", line, err)
	}
}

// TestGatewayFollowsItsRouter gives the router another port: the requests of clients that stay connected go there, and none
// is lost on the way.
func TestGatewayFollowsItsRouter(t *testing.T) {
	w := newRouteGate(t, nil)
	w.route("0a-blog", nginx.RouteEntry{Hosts: []string{"blog.phoenix.lan"}})
	w.routerOn(routerOtherPort, "second")
	ctx, stop := context.WithCancel(t.Context())
	var asked atomic.Int64
	failed := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if got, _, err := w.ask(true, "https://blog.phoenix.lan/"); err != nil || !strings.HasPrefix(got, "200 ") {
				failed <- errors.Join(err, errors.New(got))
				return
			}
			asked.Add(1)
		}
	}()
	w.edit("router", func(s *v1alpha1.HostService) { s.Spec.Traefik.WebPort = routerOtherPort })
	w.pass("gate")
	w.ready("gate")
	for before := asked.Load(); asked.Load() < before+20 && len(failed) == 0; {
		time.Sleep(time.Millisecond)
	}
	stop()
	<-done
	if len(failed) > 0 {
		t.Errorf("a request failed: %v", <-failed)
	}
	if got, _, err := w.ask(true, "https://blog.phoenix.lan/"); !strings.HasPrefix(got, "200 second ") {
		t.Errorf("the gateway asks %q (%v), want the router where it is now", got, err)
	}
}

func TestGatewayWithoutItsRouter(t *testing.T) {
	w := newRouteGate(t, nil)
	w.route("0a-blog", nginx.RouteEntry{Hosts: []string{"blog.phoenix.lan"}})
	g := &v1alpha1.Guest{}
	if err := w.client.Get(t.Context(), svcName("router"), g); err != nil {
		t.Fatal(err)
	}
	g.Status.Addresses = nil
	if err := w.client.Status().Update(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	w.pass("gate")
	s := w.ready("gate")
	if got := svcCondition(s, v1alpha1.ServingCondition); !strings.HasSuffix(got, "; left out for now: HostService/router, whose Guest has no address yet") {
		t.Errorf("Serving is %q", got)
	}
	if got, _, err := w.ask(true, "https://blog.phoenix.lan/"); !strings.HasPrefix(got, "502 ") {
		t.Errorf("it answers %q (%v), want that nobody is behind it", got, err)
	}
}

// TestRouteWithItsOwnCertificate is served with it, and with the renewed one after a reload.
func TestRouteWithItsOwnCertificate(t *testing.T) {
	w := newRouteGate(t, nil)
	started := w.sim.Unit(gateUnit).Invocation
	w.expect("own.example.org", 0)
	for range 2 {
		w.put("own-tls", time.Hour, "own.example.org")
		own := w.secret("own-tls").Data
		w.route("0c-own", nginx.RouteEntry{Hosts: []string{"own.example.org"}, Certificate: own["tls.crt"], Key: own["tls.key"]})
		w.expect("own.example.org", w.serial)
		if got, _, err := w.ask(true, "https://own.example.org/"); !strings.HasPrefix(got, "200 first own.example.org ") {
			t.Errorf("it answers %q (%v)", got, err)
		}
	}
	if got := w.sim.Unit(gateUnit).Invocation; got != started {
		t.Error("nginx was restarted for a renewal")
	}
	w.expect("www.phoenix.lan", 1)
	w.quiet("gate")
}

// TestPassThrough turns it on and off again: TCP Routes get in beside all others, whose clients are still known.
func TestPassThrough(t *testing.T) {
	w := newRouteGate(t, func(s *v1alpha1.HostService) { s.Spec.Nginx.PassThrough = &v1alpha1.NginxPassThrough{} })
	w.route("0a-blog", nginx.RouteEntry{Hosts: []string{"blog.phoenix.lan"}})
	w.route("0t-tcp", nginx.RouteEntry{Hosts: []string{"tcp.example.org"}, TCP: true})
	w.route("0u-tcp", nginx.RouteEntry{Hosts: []string{"inner.example.org"}, TCP: true, Internal: true})
	l, err := w.sim.Listen(8443)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	heard := make(chan string, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadString('\n') // an empty one is not what is waited for
			select {
			case heard <- strings.TrimSpace(line):
			default: // nobody listens any more
			}
			_ = conn.Close() // that was all
		}
	}()
	if serial, err := w.handshake(t.Context(), "tcp.example.org"); err == nil {
		t.Errorf("the gateway itself shows certificate %d", serial)
	}
	if got := <-heard; !strings.HasPrefix(got, "PROXY TCP4 0.0.0.0 ") {
		t.Errorf("the router is told %q", got)
	}
	w.expect("inner.example.org", 0)
	if len(heard) > 0 {
		t.Errorf("an internal name was passed on from outside: %s", <-heard)
	}
	if got, _, err := w.ask(true, "https://blog.phoenix.lan/", "X-Forwarded-For", "6.6.6.6"); !strings.Contains(got, `for ["0.0.0.0"] by https real "0.0.0.0"`) {
		t.Errorf("beside it the gateway answers %q (%v)", got, err)
	}
	w.nothing("no Route declares it", "https://other.phoenix.lan/")
	w.quiet("gate")
	w.route("0a-blog", nginx.RouteEntry{Hosts: []string{"blog.phoenix.lan"}, Kept: true})
	w.route("0v-tcp", nginx.RouteEntry{Hosts: []string{"*.phoenix.lan"}, TCP: true})
	if got, _, err := w.ask(true, "https://blog.phoenix.lan/"); !strings.HasPrefix(got, "200 first ") {
		t.Errorf("beside a wildcard that is passed through a host answers %q (%v)", got, err)
	}
	w.quiet("gate") // what the machine asks itself is not passed through
	if _, err := w.handshake(t.Context(), "other.phoenix.lan"); err == nil {
		t.Error("the gateway itself shows a certificate for a wildcard that is passed through")
	}
	w.edit("gate", func(s *v1alpha1.HostService) { s.Spec.Nginx.PassThrough = nil })
	w.ready("gate")
	w.expect("tcp.example.org", 0)
	if got, _, err := w.ask(true, "https://blog.phoenix.lan/"); !strings.HasPrefix(got, "200 first ") {
		t.Errorf("without it the gateway answers %q (%v)", got, err)
	}
	if _, err := w.sim.Stat("/etc/nginx/modules-enabled/90-phoenix-gate.conf"); err == nil {
		t.Error("the file for streams is still there")
	}
	w.quiet("gate")
}

// TestStreamsByHand are not overwritten: nginx takes one block of them alone.
func TestStreamsByHand(t *testing.T) {
	w := newGateWorld(t, "nginx-light", "libnginx-mod-stream", "curl")
	const hand = "/etc/nginx/modules-enabled/99-hand.conf"
	if err := w.sim.WriteFile(hand, "stream {\n\tserver { listen 5432; proxy_pass 10.0.0.9:5432; }\n}\n", 0o644); err != nil {
		t.Fatal(err)
	}
	w.put("site-tls", time.Hour, "phoenix.lan")
	w.create(gate(func(s *v1alpha1.HostService) { s.Spec.Nginx.PassThrough = &v1alpha1.NginxPassThrough{} }))
	w.until("gate", "False NotOwned", hand+" line 1 (stream {) is there already: nginx takes one, and passThrough is it")
	w.edit("gate", func(s *v1alpha1.HostService) { s.Spec.Nginx.PassThrough = nil })
	w.ready("gate")
}
