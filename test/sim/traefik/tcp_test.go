// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// greeter is a TCP server that says its name and the first line that it gets.
func (s *site) greeter(address, name string) {
	s.t.Helper()
	l, err := s.listen("greeter " + name)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = l.Close() }) // nobody uses it any more
	s.at(address, l.Addr().String())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()               // all is said
				line, _ := bufio.NewReader(c).ReadString('\n') // what came counts
				fmt.Fprintf(c, "%s: %s\n", name, strings.TrimSpace(line))
			}()
		}
	}()
}

// handshake connects over TLS to an entry point, and tells who answers.
func (s *site) handshake(address, name string, roots *x509.CertPool) (*tls.Conn, error) {
	s.t.Helper()
	c := tls.Client(s.connect(address), &tls.Config{ServerName: name, RootCAs: roots, MinVersion: tls.VersionTLS12})
	return c, c.HandshakeContext(s.t.Context())
}

func tcpRoute(name, rule, server, more string) string {
	return fmt.Sprintf("tcp:\n  routers:\n    %[1]s: {entryPoints: [websecure], rule: %[2]q, service: %[1]s, tls: {passthrough: true}%[4]s}\n  services:\n    %[1]s: {loadBalancer: {servers: [{address: %[3]q}]}}\n", name, rule, server, more)
}

func TestPassthrough(t *testing.T) {
	s := newSite(t)
	roots := x509.NewCertPool()
	for i, name := range []string{"one", "two", "rest"} {
		server := quiet(echo(name))
		t.Cleanup(server.Close)
		roots.AddCert(server.Certificate())
		s.at(fmt.Sprintf("10.0.0.%d:443", i+1), server.Listener.Addr().String())
	}
	s.start(tcpRoute("one", "HostSNI(`example.com`)", "10.0.0.1:443", ""),
		tcpRoute("two", "HostSNIRegexp(`^[^.]+\\.example\\.com$`)", "10.0.0.2:443", ""),
		tcpRoute("rest", "HostSNI(`*`)", "10.0.0.3:443", ""),
		strings.Replace(route("secure", "Host(`http.example.com`)", "http://10.0.0.9", ", tls: {}"), "[web]", "[websecure]", 1))
	ask := func(name string) string {
		c, err := s.handshake(":443", name, roots)
		if err != nil {
			return err.Error()
		}
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", name)
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err.Error()
		}
		_ = answer.Body.Close() // its header was looked for
		return answer.Header.Get("X-Backend")
	}
	for _, tc := range []struct{ reason, name, want string }{
		{"a name", "example.com", "one"},
		{"a name in other letters", "EXAMPLE.com", "one"},
		{"one label", "x.example.com", "two"},
		{"what else comes", "y.x.example.com", "tls: failed to verify certificate: x509: certificate is valid for example.com, *.example.com, not y.x.example.com"},
		{"a name that HTTP has", "http.example.com", "tls: failed to verify certificate: x509: certificate is valid for traefik.default, not http.example.com"},
	} {
		if got := ask(tc.name); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: %s", tc.reason, got)
		}
	}
	if got := s.ask(":443", "GET http://example.com/"); got.status != http.StatusNotFound {
		t.Errorf("what comes without TLS: %d", got.status)
	}
	if got := s.raw().TCPRouters["rest@file"].Priority; got != -1 {
		t.Errorf("the priority of all names: %d", got)
	}
}

func TestTCPProxyProtocol(t *testing.T) {
	s := newSite(t)
	s.disk.put("/etc/traefik/traefik.yml", strings.Replace(static, `{address: ":80"}`, `{address: ":80", proxyProtocol: {trustedIPs: [127.0.0.1]}}`, 1)+"")
	s.greeter("10.0.0.1:25", "mail")
	s.serve("10.0.0.1:80", echo("one"))
	file := func(more, transport string) string {
		return "tcp:\n  routers:\n    mail: {entryPoints: [websecure], rule: 'HostSNI(`*`)', service: mail}\n  services:\n    mail: {loadBalancer: {servers: [{address: '10.0.0.1:25'}]" + more + "}}\n" + transport
	}
	s.start(file("", ""), route("a", "Host(`a`)", "http://10.0.0.1:80", ""))
	greeted := func() string {
		c := s.connect(":443")
		fmt.Fprint(c, "hello\n")
		return lineOf(t, c)
	}
	if got := greeted(); got != "mail: hello" {
		t.Errorf("without a word before: %s", got)
	}
	for i, tc := range []struct{ reason, more, transport, want string }{
		{"version 1", ", proxyProtocol: {version: 1}", "", "mail: PROXY TCP4 127.0.0.1 127.0.0.1 "},
		{"version 2", ", proxyProtocol: {}", "", "mail:"},
		{"of a transport", ", serversTransport: t", "  serversTransports:\n    t: {proxyProtocol: {version: 1}}\n", "mail: PROXY TCP4 127.0.0.1 127.0.0.1 "},
		{"a transport has its own way", ", proxyProtocol: {version: 1}, serversTransport: t", "  serversTransports:\n    t: {dialTimeout: 1s}\n", "mail: hello"},
	} {
		before := s.server.Loads()
		s.disk.put("/etc/traefik/routes/0.yml", file(tc.more, tc.transport))
		s.await(tc.reason, func() bool { return s.server.Loads() > before })
		if got := greeted(); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%d %s: %q", i, tc.reason, got)
		}
	}
	c := s.connect(":80")
	fmt.Fprint(c, "PROXY TCP4 198.51.100.2 10.0.0.12 5000 80\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	var lines []string
	for in := bufio.NewScanner(c); in.Scan(); {
		lines = append(lines, in.Text())
	}
	if !slices.Contains(lines, "X-Forwarded-For: 198.51.100.2") {
		t.Errorf("who the client is said to be: %s", lines)
	}
}

func TestTCPDisabled(t *testing.T) {
	for _, tc := range []struct {
		reason, router, service, want string
	}{
		{"no rule", "service: a, tls: {passthrough: true}", "{servers: [{address: '10.0.0.1:1'}]}", "router has no rule"},
		{"no service", "rule: 'HostSNI(`a`)', tls: {passthrough: true}", "{servers: [{address: '10.0.0.1:1'}]}", "the service is missing on the router"},
		{"a service that is missing", "rule: 'HostSNI(`a`)', service: b, tls: {passthrough: true}", "{servers: [{address: '10.0.0.1:1'}]}", `the service "b@file" does not exist`},
		{"a name without TLS", "rule: 'HostSNI(`a`)', service: a", "{servers: [{address: '10.0.0.1:1'}]}", "invalid rule: \"HostSNI(`a`)\" , has HostSNI matcher, but no TLS on router"},
		{"a matcher of HTTP", "rule: 'Host(`a`)', service: a, tls: {passthrough: true}", "{servers: [{address: '10.0.0.1:1'}]}", "invalid rule: \"Host(`a`)\" , unsupported function: Host"},
		{"a name that is none", "rule: 'HostSNI(`a b`)', service: a, tls: {passthrough: true}", "{servers: [{address: '10.0.0.1:1'}]}", "error while adding rule HostSNI(`a b`): invalid value for HostSNI matcher, \"a b\" is not a valid hostname"},
		{"an expression that is none", "rule: 'HostSNIRegexp(`(`)', service: a, tls: {passthrough: true}", "{servers: [{address: '10.0.0.1:1'}]}", "error while adding rule HostSNIRegexp(`(`): compiling HostSNIRegexp matcher: error parsing regexp: missing closing ): `(`"},
		{"a transport that is missing", "rule: 'HostSNI(`a`)', service: a, tls: {passthrough: true}", "{serversTransport: t, servers: [{address: '10.0.0.1:1'}]}", `no transport configuration found for "t@file"`},
		{"a version that is none", "rule: 'HostSNI(`a`)', service: a, tls: {passthrough: true}", "{proxyProtocol: {version: 3}, servers: [{address: '10.0.0.1:1'}]}", "unknown proxyProtocol version: 3"},
		{"a middleware that is missing", "rule: 'HostSNI(`a`)', service: a, middlewares: [m], tls: {passthrough: true}", "{servers: [{address: '10.0.0.1:1'}]}", `middleware "m@file" does not exist`},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			s := newSite(t)
			s.start("tcp:\n  routers:\n    a: {entryPoints: [websecure], " + tc.router + "}\n  services:\n    a: {loadBalancer: " + tc.service + "}\n")
			got := s.raw().TCPRouters["a@file"]
			if diff := cmp.Diff([]string{tc.want}, got.Error); diff != "" || got.Status != "disabled" {
				t.Error(got.Status, diff)
			}
		})
	}
}

func TestTCPAllowList(t *testing.T) {
	s := newSite(t)
	s.greeter("10.0.0.1:25", "mail")
	s.start("tcp:\n  routers:\n    mail: {entryPoints: [websecure], rule: 'HostSNI(`*`)', service: mail, middlewares: [m]}\n  services:\n    mail: {loadBalancer: {servers: [{address: '10.0.0.1:25'}]}}\n  middlewares:\n    m: {ipAllowList: {sourceRange: [10.0.0.0/8]}}\n")
	c := s.connect(":443")
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("who is not on the list is let in")
	}
}

func TestAPI(t *testing.T) {
	s := newSite(t)
	s.start(route("a", "Host(`a`)", "http://10.0.0.1:80", ", middlewares: [m]")+"  middlewares:\n    m: {stripPrefix: {prefixes: [/x]}}\n", tcpRoute("t", "HostSNI(`t`)", "10.0.0.1:443", ""))
	for _, tc := range []struct {
		reason, path string
		status       int
		want         []string
	}{
		{"a router", "http/routers/a@file", 200, []string{`"rule":"Host(`, `"name":"a@file"`, `"provider":"file"`, `"status":"enabled"`, `"using":["web"]`, `"priority":9`, `"middlewares":["m@file"]`, `"service":"a"`}},
		{"a router that is not there", "http/routers/b@file", 404, []string{`{"message":"router not found: b@file"}`}},
		{"a service", "http/services/a@file", 200, []string{`"type":"loadbalancer"`, `"serverStatus":{"http://10.0.0.1:80":"UP"}`, `"usedBy":["a@file"]`, `"passHostHeader":true`}},
		{"a middleware", "http/middlewares/m@file", 200, []string{`"type":"stripprefix"`, `"stripPrefix":{"prefixes":["/x"]}`, `"usedBy":["a@file"]`}},
		{"all routers", "http/routers", 200, []string{`"name":"a@file"`, `"name":"api@internal"`, `"name":"ping@internal"`}},
		{"some of them", "http/routers?search=A@&status=enabled", 200, []string{`[{"entryPoints":["web"]`}},
		{"a page", "http/routers?page=2&per_page=1", 200, []string{`"name":"api@internal"`}},
		{"a page that is none", "http/routers?page=9", 400, []string{`{"message":"invalid request: page: 9, per_page: 100"}`}},
		{"a TCP router", "tcp/routers/t@file", 200, []string{`"passthrough":true`, `"status":"enabled"`}},
		{"TCP services", "tcp/services", 200, []string{`"serverStatus":{"10.0.0.1:443":"UP"}`}},
		{"the version", "version", 200, []string{`"Version":"3.6.12"`, `"Codename":`, `"startDate":`}},
		{"how much there is", "overview", 200, []string{`"http":{"middlewares":{"errors":0,"total":1,"warnings":0}`, `"providers":["File"]`}},
		{"entry points", "entrypoints", 200, []string{`"address":"127.0.0.1:8080","name":"traefik"`}},
		{"all of it", "rawdata", 200, []string{`"tcpRouters":{"t@file":{`, `"ping@internal":{`}},
	} {
		got := s.api(tc.path)
		if got.status != tc.status {
			t.Errorf("%s: %d %s", tc.reason, got.status, got.body)
		}
		for _, text := range tc.want {
			if !strings.Contains(got.body, text) {
				t.Errorf("%s says no %s:\n%s", tc.reason, text, got.body)
			}
		}
	}
}
