// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik_test

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestProxy(t *testing.T) {
	for _, tc := range []struct {
		reason, trusted, more, request string
		want, not                      []string
	}{
		{
			"what the server is told of the client", "10.0.0.153", "", "GET http://a:81/x?y=1;z=2",
			[]string{"one: GET /x?y=1&z=2 HTTP/1.1", "Host: a:81", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: a:81", "X-Forwarded-Port: 81", "X-Forwarded-Proto: http", "X-Forwarded-Server: traefik", "X-Real-Ip: 127.0.0.1"}, nil,
		},
		{
			"who is not trusted is not believed", "10.0.0.153", "", "GET http://a/\nX-Forwarded-For: 1.2.3.4\nX-Forwarded-Proto: https\nX-Real-Ip: 1.2.3.4\nX-Forwarded-Prefix: /p",
			[]string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Real-Ip: 127.0.0.1", "X-Forwarded-Port: 80"}, []string{"1.2.3.4", "Prefix"},
		},
		{
			"who is trusted is", "127.0.0.0/8", "", "GET http://a/\nX-Forwarded-For: 1.2.3.4\nX-Forwarded-Proto: https\nX-Forwarded-Host: b\nX-Real-Ip: 1.2.3.4",
			[]string{"X-Forwarded-For: 1.2.3.4, 127.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: b", "X-Forwarded-Port: 443", "X-Real-Ip: 1.2.3.4", "Host: a"}, nil,
		},
		{"the server's own name", "10.0.0.153", "passHostHeader: false, ", "GET http://a/", []string{"Host: 10.0.0.1:80", "X-Forwarded-Host: a"}, nil},
		{"what is of the connection is not passed on", "10.0.0.153", "", "GET http://a/\nConnection: X-Mine, close\nX-Mine: 1\nKeep-Alive: 1\nX-Other: 2", []string{"X-Other: 2"}, []string{"X-Mine", "Keep-Alive"}},
		{"what is encoded stays so", "10.0.0.153", "", "GET http://a/a%2Fb%7Ec/d%20e", []string{"one: GET /a%2Fb~c/d%20e HTTP/1.1"}, nil},
		{"the path is cleaned", "10.0.0.153", "", "GET http://a//b/../c/", []string{"one: GET /c/ HTTP/1.1"}, nil},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			s := newSite(t)
			s.disk.put("/etc/traefik/traefik.yml", strings.Replace(static, `{address: ":80"}`, `{address: ":80", forwardedHeaders: {trustedIPs: ["`+tc.trusted+`"]}}`, 1))
			s.serve("10.0.0.1:80", echo("one"))
			s.start(strings.Replace(route("a", "PathPrefix(`/`)", "http://10.0.0.1:80", ""), "servers:", tc.more+"servers:", 1))
			got := s.ask(":80", tc.request)
			for _, line := range tc.want {
				if !strings.Contains("\n"+got.body, "\n"+line+"\n") {
					t.Errorf("the server does not get %q:\n%s", line, got.body)
				}
			}
			for _, text := range tc.not {
				if strings.Contains(got.body, text) {
					t.Errorf("the server gets %q:\n%s", text, got.body)
				}
			}
		})
	}
}

func TestProxyFails(t *testing.T) {
	s := newSite(t)
	s.serve("10.0.0.1:80", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	s.start(route("a", "Host(`a`)", "http://10.0.0.1:80", ""), route("b", "Host(`b`)", "http://10.0.0.9:80", ""),
		strings.Replace(route("c", "Host(`c`)", "", ""), `[{url: ""}]`, "[]", 1))
	for _, tc := range []struct {
		reason, url string
		status      int
		body        string
	}{
		{"a server that hangs up", "http://a/", http.StatusBadGateway, "Bad Gateway"},
		{"a server that is not there", "http://b/", http.StatusBadGateway, "Bad Gateway"},
		{"no server", "http://c/", http.StatusServiceUnavailable, "no available server\n"},
	} {
		if got := s.get(tc.url); got.status != tc.status || got.body != tc.body {
			t.Errorf("%s: %d %q", tc.reason, got.status, got.body)
		}
	}
	s.await("the access log", func() bool {
		return strings.Contains(s.log(), `"GET / HTTP/1.1" 502 11 "-" "-" 1 "a@file" "http://10.0.0.1:80" `)
	})
}

func TestStreams(t *testing.T) {
	s := newSite(t)
	next := make(chan string)
	s.serve("10.0.0.1:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "websocket" {
			conn, buffered, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }() // the other end has left
			fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_, _ = io.Copy(conn, buffered) // until it leaves
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for text := range next {
			fmt.Fprintf(w, "data: %s\n", text)
			_ = http.NewResponseController(w).Flush() // who asked sees it
		}
	}))
	s.start(route("a", "Host(`a`)", "http://10.0.0.1:80", ", middlewares: [m, n, o]") +
		"  middlewares:\n    m: {headers: {customResponseHeaders: {X-A: b}}}\n    n: {compress: {}}\n    o: {retry: {attempts: 2}}\n")
	c := s.connect(":80")
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	in := bufio.NewReader(c)
	next <- "one"
	if answer, err := http.ReadResponse(in, nil); err != nil || answer.Header.Get("X-A") != "b" {
		t.Fatal(answer, err)
	}
	for _, text := range []string{"one", "two"} { // the second one is sent when the first has come
		for line := ""; !strings.HasPrefix(line, "data: "+text); {
			var err error
			if line, err = in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		if text == "one" {
			next <- "two"
		}
	}
	close(next)

	c = s.connect(":80")
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	in = bufio.NewReader(c)
	answer, err := http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(answer, err)
	}
	fmt.Fprint(c, "hello\n")
	if line, err := in.ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("what comes back: %q, %v", line, err)
	}
}

// quiet is a server with TLS that keeps to itself what goes wrong. Its certificate is for example.com and *.example.com.
func quiet(h http.Handler) *httptest.Server {
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	return server
}

func TestBackendProtocols(t *testing.T) {
	s := newSite(t)
	s.serve("10.0.0.1:80", echo("plain"))
	secure := quiet(echo("secure"))
	t.Cleanup(secure.Close)
	s.at("10.0.0.2:443", secure.Listener.Addr().String())
	root := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	s.disk.put("/etc/ca.pem", root)
	transport := func(name, text string) string {
		return strings.Replace(route(name, "Host(`"+name+"`)", "https://10.0.0.2:443", ""), "servers:", "serversTransport: t-"+name+", servers:", 1) + "  serversTransports:\n    t-" + name + ": " + text + "\n"
	}
	quoted := `"` + strings.ReplaceAll(root, "\n", `\n`) + `"`
	s.start(route("h2c", "Host(`h2c`)", "h2c://10.0.0.1:80", ""), route("unknown", "Host(`unknown`)", "https://10.0.0.2:443", ""),
		transport("text", "{serverName: example.com, rootCAs: ["+quoted+"]}"), transport("path", "{serverName: example.com, rootCAs: [/etc/ca.pem]}"),
		transport("othername", "{serverName: other.example.net, rootCAs: ["+quoted+"]}"), transport("nobody", "{insecureSkipVerify: true}"))
	for _, tc := range []struct {
		reason, host string
		status       int
		body         string
	}{
		{"HTTP/2 without TLS", "h2c", 200, "plain: GET / HTTP/2.0\n"},
		{"a certificate that nobody knows", "unknown", 500, "Internal Server Error"},
		{"a certificate that the text knows", "text", 200, "secure: GET / HTTP/1.1\n"},
		{"a certificate that a file knows", "path", 200, "secure: GET / HTTP/1.1\n"},
		{"a certificate of another name", "othername", 500, "Internal Server Error"},
		{"a certificate that nobody looks at", "nobody", 200, "secure: GET / HTTP/1.1\n"},
	} {
		if got := s.get("http://" + tc.host + "/"); got.status != tc.status || !strings.HasPrefix(got.body, tc.body) {
			t.Errorf("%s: %d %s", tc.reason, got.status, got.body)
		}
	}
}

func TestBalancer(t *testing.T) {
	s := newSite(t)
	for _, name := range []string{"1", "2", "3"} {
		s.serve("10.0.0."+name+":80", echo(name))
	}
	servers := func(more string) string {
		return strings.Replace(route("a", "Host(`a`)", "x", ""), `[{url: "x"}]`, "[{url: 'http://10.0.0.1:80', weight: 3}, {url: 'http://10.0.0.2:80'}, {url: 'http://10.0.0.3:80', weight: 0}]"+more, 1)
	}
	s.start(servers(", sticky: {cookie: {name: back, sameSite: lax, httpOnly: true, maxAge: 60}}"))
	got := map[string]int{}
	var last answer
	for range 8 {
		last = s.get("http://a/")
		got[last.header.Get("X-Backend")]++
	}
	if got["1"] != 6 || got["2"] != 2 {
		t.Errorf("weights of 3, 1 and 0: %v", got)
	}
	cookie := last.header.Get("Set-Cookie")
	name, rest, _ := strings.Cut(cookie, ";")
	if rest != " Path=/; Max-Age=60; HttpOnly; SameSite=Lax" || !strings.HasPrefix(name, "back=") {
		t.Errorf("the cookie: %s", cookie)
	}
	for range 5 {
		if again := s.ask(":80", "GET http://a/\nCookie: "+name); again.header.Get("X-Backend") != last.header.Get("X-Backend") || again.header.Get("Set-Cookie") != "" {
			t.Errorf("with the cookie: %s, %s", again.header.Get("X-Backend"), again.header.Get("Set-Cookie"))
		}
	}
	if got := s.ask(":80", "GET http://a/\nCookie: back=nonsense"); got.status != 200 || got.header.Get("Set-Cookie") == "" {
		t.Errorf("with a cookie that is none: %d", got.status)
	}
}

func TestServicesOfServices(t *testing.T) {
	s := newSite(t)
	s.serve("10.0.0.1:80", echo("1"))
	s.serve("10.0.0.2:80", echo("2"))
	s.start(`http:
  routers: {a: {rule: "Host(` + "`a`" + `)", service: both, entryPoints: [web]}}
  services:
    both: {weighted: {services: [{name: one, weight: 3}, {name: two}]}}
    one: {loadBalancer: {servers: [{url: "http://10.0.0.1:80"}]}}
    two: {loadBalancer: {servers: [{url: "http://10.0.0.2:80"}]}}
`)
	got := map[string]int{}
	for range 8 {
		got[s.get("http://a/").header.Get("X-Backend")]++
	}
	if got["1"] != 6 || got["2"] != 2 {
		t.Errorf("weights of 3 and 1: %v", got)
	}
	if services := s.raw().Services; services["both@file"].UsedBy[0] != "a@file" || services["one@file"].ServerStatus["http://10.0.0.1:80"] != "UP" {
		t.Errorf("%+v", services)
	}
}

func TestHealthCheck(t *testing.T) {
	s := newSite(t)
	s.serve("10.0.0.1:80", echo("1"))
	well := make(chan int, 1)
	well <- http.StatusServiceUnavailable
	s.serve("10.0.0.2:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			status := <-well
			well <- status
			w.WriteHeader(status)
			return
		}
		echo("2")(w, r)
	}))
	s.start(strings.Replace(route("a", "Host(`a`)", "x", ""), `[{url: "x"}]`, "[{url: 'http://10.0.0.1:80'}, {url: 'http://10.0.0.2:80'}], healthCheck: {path: /healthz, interval: 20ms, timeout: 5s}", 1))
	state := func() string { return s.raw().Services["a@file"].ServerStatus["http://10.0.0.2:80"] }
	s.await("the server to be taken out", func() bool { return state() == "DOWN" })
	for range 4 {
		if got := s.get("http://a/").header.Get("X-Backend"); got != "1" {
			t.Errorf("a server that is down answers: %s", got)
		}
	}
	<-well
	well <- http.StatusNoContent
	s.await("the server to come back", func() bool { return state() == "UP" })
	s.await("its turn", func() bool { return s.get("http://a/").header.Get("X-Backend") == "2" })
}

func TestStop(t *testing.T) {
	s := newSite(t)
	arrived, finish := make(chan struct{}), make(chan struct{})
	s.serve("10.0.0.1:80", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-finish
		fmt.Fprint(w, "done")
	}))
	s.start(route("a", "Host(`a`)", "http://10.0.0.1:80", ""))
	got := make(chan answer)
	go func() { got <- s.get("http://a/") }()
	<-arrived
	stopped := make(chan struct{})
	go func() {
		s.server.Stop()
		close(stopped)
	}()
	s.await("new connections to be refused", func() bool { return s.get("http://b/").status == 0 })
	close(finish)
	if answer := <-got; answer.status != http.StatusOK || answer.body != "done" {
		t.Errorf("a request that was under way: %d %s", answer.status, answer.body)
	}
	<-stopped
}
