// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/traefik/genconf/dynamic"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the files of testdata")

// root is a certificate for tables; golden files have the one of testdata.
func root(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
	}, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

const users = "ann:$2y$05$3FIWGqbqJWWyFiR6OvwDdO6C54ypKCjiGXcKbfwG0FDv0b0tUHJku"

func full(ca string) Route {
	off := false
	return Route{
		Name: "0123456789ab-blog", About: "Route home/blog", Hosts: []string{"blog.phoenix.lan", "*.blog.phoenix.lan"},
		Paths:          []Path{{Value: "/"}, {Type: Exact, Value: "/api"}, {Type: Regex, Value: `^/v[0-9]{1,3}/`}},
		Servers:        []Server{{"https://10.0.0.102:8443", 3}, {"http://10.0.0.103:8080", 1}, {"http://10.0.0.104:8080", 0}, {"h2c://[fd00::1]:50051", 1}},
		PassHostHeader: &off,
		HealthCheck:    &HealthCheck{Path: "/healthz?deep=1", Interval: 10 * time.Second, Timeout: time.Second, Status: 204},
		Sticky:         &Sticky{MaxAge: time.Hour, SameSite: "Strict"},
		TLS:            &BackendTLS{RootCAs: []string{ca}, ServerName: "blog.phoenix.lan"},
		Middlewares: []Middleware{
			{Redirect: &Redirect{Regex: `^https://blog\.phoenix\.lan/old/(.*)`, Replacement: "https://blog.phoenix.lan/{{env}}/${1}", Permanent: true}},
			{StripPrefix: &StripPrefix{Prefixes: []string{"/a", "/b"}}},
			{AddPrefix: &AddPrefix{Prefix: "/app"}},
			{Headers: &Headers{Request: []Header{{"X-From", `{{ env "HOME" }} "quoted" \ # : &a *b`}}, Response: []Header{{"Server", ""}}}},
			{BasicAuth: &BasicAuth{Users: []string{users}, UserHeader: "X-User"}},
			{IPAllowList: &IPAllowList{Networks: []string{"10.0.0.0/24", "fd00::1"}}},
			{RateLimit: &RateLimit{Average: 10, Period: time.Minute}},
			{Compress: &Compress{}},
			{Retry: &Retry{Attempts: 3}},
			{ForwardAuth: &ForwardAuth{URL: "https://auth.phoenix.lan:9091/api/verify?rd=1", RootCAs: []string{ca}, ResponseHeaders: []string{"Remote-User"}}},
		},
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestRoutesAreRendered(t *testing.T) {
	ca, err := os.ReadFile("testdata/root.pem")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file, reason string
		route        Route
	}{
		{"plain.yml", "a host and a server need nothing else", Route{Name: "0123456789ab-blog", About: "Route home/blog", Hosts: []string{"blog.phoenix.lan"}, Servers: []Server{{"http://10.0.0.102:8081", 1}}}},
		{"full.yml", "everything at once", full(string(ca))},
		{"priority.yml", "a declared priority has one rule for all paths, and hosts that are written out go first", Route{
			Name: "a", Hosts: []string{"a.lan", "b.lan", "*.lan"}, Paths: []Path{{Value: "/x"}, {Type: Exact, Value: "/longer"}}, Priority: 7, Servers: []Server{{"http://10.0.0.1", 1}},
		}},
		{"nobody.yml", "servers that are taken out leave a service that answers 503", Route{Name: "a", Hosts: []string{"a.lan"}, Servers: []Server{{"http://10.0.0.1", 0}}}},
		{"tcp.yml", "connections are passed through by their server name", Route{Name: "0123456789ab-db", Hosts: []string{"db.lan", "*.db.lan"}, Servers: []Server{{"10.0.0.5:5432", 2}, {"[fd00::5]:5432", 2}}, TCP: &TCP{ProxyProtocol: 2}}},
		{"tcpweight.yml", "each server of TCP is a service where weights differ", Route{Name: "0123456789ab-db", Hosts: []string{"db.lan"}, Servers: []Server{{"10.0.0.5:5432", 2}, {"db.phoenix.lan:5432", 1}, {"10.0.0.7:5432", 0}}, TCP: &TCP{}}},
	} {
		t.Run(c.file, func(t *testing.T) {
			content, version, err := c.route.Render()
			if err != nil {
				t.Fatalf("%s: %v", c.reason, err)
			}
			golden(t, c.file, content)
			again, same, err := c.route.Render()
			if err != nil || string(again) != string(content) || same != version {
				t.Errorf("%s: the same route is another file the second time: %v", c.reason, err)
			}
			comesBack(t, c.route, content, version)
		})
	}
}

// comesBack reads a file as Traefik does: as a template, then as YAML, then as its configuration.
func comesBack(t *testing.T, r Route, content []byte, version string) {
	t.Helper()
	parsed, err := template.New("").Parse(string(content))
	if err != nil {
		t.Fatalf("is no template: %v", err)
	}
	var b strings.Builder
	if err := parsed.Execute(&b, false); err != nil {
		t.Fatalf("does not run: %v", err)
	}
	if b.String() != string(content) {
		t.Fatal("the template changes what is written")
	}
	var tree any
	if err := yaml.Unmarshal(content, &tree); err != nil {
		t.Fatalf("is no YAML: %v", err)
	}
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	got, want := &dynamic.Configuration{}, r.config()
	if err := json.Unmarshal(text, got); err != nil {
		t.Fatal(err)
	}
	mark := got.HTTP.Middlewares[r.Name+"-"+version]
	if mark == nil || mark.Headers.CustomRequestHeaders[versionHeader] != version {
		t.Fatalf("version %s is not in the file", version)
	}
	delete(got.HTTP.Middlewares, r.Name+"-"+version)
	if len(got.HTTP.Middlewares) == 0 {
		got.HTTP.Middlewares = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is written comes back as something else (-want +got):\n%s", diff)
	}
}

func TestEveryChangeIsAnotherVersion(t *testing.T) {
	ca := root(t)
	_, first, err := full(ca).Render()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Route){
		"host": func(r *Route) { r.Hosts[0] = "b.lan" }, "weight": func(r *Route) { r.Servers[0].Weight = 4 },
		"weight to none": func(r *Route) { r.Servers[1].Weight = 0 }, "status": func(r *Route) { r.HealthCheck.Status = 200 },
		"age": func(r *Route) { r.Sticky.MaxAge = time.Minute }, "order": func(r *Route) { r.Middlewares[1], r.Middlewares[2] = r.Middlewares[2], r.Middlewares[1] },
		"users": func(r *Route) { r.Middlewares[4].BasicAuth.Users = []string{"b" + users} }, "depth": func(r *Route) { r.ClientDepth = 2 },
	} {
		r := full(ca)
		change(&r)
		_, version, err := r.Render()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if version == first {
			t.Errorf("another %s has the same version", name)
		}
	}
}

// refusals are the fields that an error names.
func refusals(err error) []string {
	var fields []string
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return nil
	}
	for _, one := range joined.Unwrap() {
		var field *FieldError
		if errors.As(one, &field) {
			fields = append(fields, field.Field)
		}
	}
	return fields
}

func TestWhatWouldEndItsWordIsRefused(t *testing.T) {
	ca := root(t)
	middle := func(m Middleware) func(*Route) { return func(r *Route) { r.Middlewares = []Middleware{m} } }
	server := func(url string) func(*Route) { return func(r *Route) { r.Servers = []Server{{url, 1}} } }
	tcp := func(url string) func(*Route) {
		return func(r *Route) {
			*r = Route{Name: r.Name, Hosts: r.Hosts, TCP: &TCP{}, Servers: []Server{{url, 1}}}
		}
	}
	user := func(line string) func(*Route) {
		return middle(Middleware{BasicAuth: &BasicAuth{Users: []string{line}}})
	}
	for _, c := range []struct {
		reason, field string
		change        func(*Route)
	}{
		{"a backtick ends the host in the rule", "hosts[0]", func(r *Route) { r.Hosts[0] = "a.lan`) || PathPrefix(`/" }},
		{"a newline begins another line", "hosts[0]", func(r *Route) { r.Hosts[0] = "a.lan\nb" }},
		{"upper case is never compared", "hosts[0]", func(r *Route) { r.Hosts[0] = "A.lan" }},
		{"* alone would fit every host", "hosts[0]", func(r *Route) { r.Hosts[0] = "*" }},
		{"only the first label may be *", "hosts[0]", func(r *Route) { r.Hosts[0] = "a.*.lan" }},
		{"a route without a host would take every request", "hosts", func(r *Route) { r.Hosts = nil }},
		{"a name with @ is another provider's", "name", func(r *Route) { r.Name = "a@internal" }},
		{"the first line is a comment", "about", func(r *Route) { r.About = "x\nhttp: {}" }},
		{"a comment is a template too", "about", func(r *Route) { r.About = "{{ env }}" }},
		{"a backtick ends the path in the rule", "paths[0].value", func(r *Route) { r.Paths[0].Value = "/`) || Host(`x" }},
		{"a path begins with /", "paths[0].value", func(r *Route) { r.Paths[0].Value = "x" }},
		{"a NUL byte", "paths[0].value", func(r *Route) { r.Paths[0].Value = "/\x00" }},
		{"an expression that Go cannot read", "paths[0].value", func(r *Route) { r.Paths[0] = Path{Regex, "(["} }},
		{"an expression with a backtick", "paths[0].value", func(r *Route) { r.Paths[0] = Path{Regex, "a`"} }},
		{"a type that is none", "paths[0].type", func(r *Route) { r.Paths[0].Type = "Glob" }},
		{"priorities are bounded", "priority", func(r *Route) { r.Priority = 1_000_001 }},
		{"a scheme that is none", "backends[0]", server("unix:///run/x.sock")},
		{"credentials in a URL", "backends[0]", server("http://u:p@10.0.0.1")},
		{"a path in a URL", "backends[0]", server("http://10.0.0.1/x")},
		{"a port that is none", "backends[0]", server("http://10.0.0.1:0")},
		{"a port with a sign", "backends[0]", server("http://10.0.0.1:+80")},
		{"a newline in a URL", "backends[0]", server("http://10.0.0.1\n")},
		{"the router's own API", "backends[0]", server("http://127.0.0.1:8080")},
		{"the router's own API by name", "backends[0]", server("http://LocalHost:8080")},
		{"the router's own API in IPv6", "backends[0]", server("http://[::1]:8080")},
		{"the router's own API in IPv6 of IPv4", "backends[0]", server("http://[::ffff:127.0.0.1]:8080")},
		{"the router's own API by no address", "backends[0]", server("http://0.0.0.0:8080")},
		{"an address that is written short", "backends[0]", server("http://127.1:8080")},
		{"an address that is a number", "backends[0]", server("http://0x7f000001:8080")},
		{"IPv4 in brackets", "backends[0]", server("http://[10.0.0.1]:8080")},
		{"a zone", "backends[0]", server("http://[fe80::1%25eth0]:8080")},
		{"a weight below nothing", "backends[0].weight", func(r *Route) { r.Servers[0].Weight = -1 }},
		{"a health check of another line", "healthCheck.path", func(r *Route) { r.HealthCheck.Path = "/ HTTP/1.1\r\nX: y" }},
		{"a time below nothing", "healthCheck.interval", func(r *Route) { r.HealthCheck.Interval = -1 }},
		{"a status that is none", "healthCheck.status", func(r *Route) { r.HealthCheck.Status = 42 }},
		{"a cookie with an attribute", "sticky.cookie", func(r *Route) { r.Sticky.Cookie = "a; Domain=x" }},
		{"a policy that is none", "sticky.sameSite", func(r *Route) { r.Sticky.SameSite = "Any" }},
		{"a root that is a path of the router", "backendTLS.rootCAs[0]", func(r *Route) { r.TLS.RootCAs = []string{"/etc/shadow"} }},
		{"a root with something behind it", "backendTLS.rootCAs[0]", func(r *Route) { r.TLS.RootCAs = []string{ca + "x"} }},
		{"a root with something before it", "backendTLS.rootCAs[0]", func(r *Route) { r.TLS.RootCAs = []string{"x\n" + ca} }},
		{"a root that is a key", "backendTLS.rootCAs[0]", func(r *Route) { r.TLS.RootCAs = []string{strings.ReplaceAll(ca, "CERTIFICATE", "PRIVATE KEY")} }},
		{"a root that cannot be read", "backendTLS.rootCAs[0]", func(r *Route) {
			r.TLS.RootCAs = []string{"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}
		}},
		{"an empty root", "backendTLS.rootCAs[0]", func(r *Route) { r.TLS.RootCAs = []string{""} }},
		{"a server name of two", "backendTLS.serverName", func(r *Route) { r.TLS.ServerName = "a b" }},
		{"a middleware that is nothing", "middlewares[0]", middle(Middleware{})},
		{"a middleware that is two things", "middlewares[0]", middle(Middleware{Compress: &Compress{}, Retry: &Retry{Attempts: 2}})},
		{"a redirect that Go cannot read", "middlewares[0].redirect.regex", middle(Middleware{Redirect: &Redirect{Regex: "(", Replacement: "x"}})},
		{"a redirect with a new line", "middlewares[0].redirect.replacement", middle(Middleware{Redirect: &Redirect{Regex: "x", Replacement: "x\r\nSet-Cookie: a=b"}})},
		{"a prefix that is none", "middlewares[0].stripPrefix.prefixes[0]", middle(Middleware{StripPrefix: &StripPrefix{Prefixes: []string{"a"}}})},
		{"no prefix", "middlewares[0].stripPrefix.prefixes", middle(Middleware{StripPrefix: &StripPrefix{}})},
		{"a prefix with a space", "middlewares[0].addPrefix.prefix", middle(Middleware{AddPrefix: &AddPrefix{Prefix: "/a b"}})},
		{"a header's name with a colon", "middlewares[0].headers.request[0].name", middle(Middleware{Headers: &Headers{Request: []Header{{"X: y", "z"}}}})},
		{"a header's value with a new line", "middlewares[0].headers.response[0].value", middle(Middleware{Headers: &Headers{Response: []Header{{"X", "y\r\nSet-Cookie: a=b"}}}})},
		{"headers of nothing", "middlewares[0].headers", middle(Middleware{Headers: &Headers{}})},
		{"a user with a new line", "middlewares[0].basicAuth.users[0]", user("a\nroot:" + users[4:])},
		{"a user without a hash", "middlewares[0].basicAuth.users[0]", user("ann")},
		{"a password in plain", "middlewares[0].basicAuth.users[0]", user("ann:secret")},
		{"a user with a control character", "middlewares[0].basicAuth.users[0]", user("a\x7f" + users)},
		{"a hash that takes minutes", "middlewares[0].basicAuth.users[0]", user(strings.Replace(users, "$05$", "$30$", 1))},
		{"nobody may come in", "middlewares[0].basicAuth.users", middle(Middleware{BasicAuth: &BasicAuth{}})},
		{"a realm that ends its quotes", "middlewares[0].basicAuth.realm", middle(Middleware{BasicAuth: &BasicAuth{Users: []string{users}, Realm: `a", x="y`}})},
		{"a realm that escapes its quote", "middlewares[0].basicAuth.realm", middle(Middleware{BasicAuth: &BasicAuth{Users: []string{users}, Realm: `a\`}})},
		{"a header's name with a space", "middlewares[0].basicAuth.userHeader", middle(Middleware{BasicAuth: &BasicAuth{Users: []string{users}, UserHeader: "a b"}})},
		{"a network that is none", "middlewares[0].ipAllowList.networks[0]", middle(Middleware{IPAllowList: &IPAllowList{Networks: []string{"10.0.0.0/33"}}})},
		{"no network would let everybody in", "middlewares[0].ipAllowList.networks", middle(Middleware{IPAllowList: &IPAllowList{}})},
		{"no average would be no limit", "middlewares[0].rateLimit.average", middle(Middleware{RateLimit: &RateLimit{}})},
		{"no attempt", "middlewares[0].retry.attempts", middle(Middleware{Retry: &Retry{}})},
		{"a server with credentials", "middlewares[0].forwardAuth.url", middle(Middleware{ForwardAuth: &ForwardAuth{URL: "http://u:p@a.lan"}})},
		{"a server of another kind", "middlewares[0].forwardAuth.url", middle(Middleware{ForwardAuth: &ForwardAuth{URL: "file:///etc/passwd"}})},
		{"the router as the server that is asked", "middlewares[0].forwardAuth.url", middle(Middleware{ForwardAuth: &ForwardAuth{URL: "http://127.0.0.1:8080/api"}})},
		{"a header of the answer with a colon", "middlewares[0].forwardAuth.responseHeaders[0]", middle(Middleware{ForwardAuth: &ForwardAuth{URL: "http://a.lan", ResponseHeaders: []string{"a:b"}}})},
		{"an address of TCP without a port", "backends[0]", tcp("10.0.0.1")},
		{"an address of TCP with a scheme", "backends[0]", tcp("tcp://10.0.0.1:1")},
		{"the router by TCP", "backends[0]", tcp("127.0.0.1:8080")},
		{"connections to nobody", "backends", func(r *Route) { *r = Route{Name: r.Name, Hosts: r.Hosts, TCP: &TCP{}} }},
		{"paths of TCP", "tcp", func(r *Route) { r.TCP = &TCP{} }},
		{"a version of the protocol that is none", "tcp.proxyProtocol", func(r *Route) {
			*r = Route{Name: "a", Hosts: r.Hosts, TCP: &TCP{ProxyProtocol: 3}}
		}},
	} {
		r := full(ca)
		c.change(&r)
		_, _, err := r.Render()
		fields := refusals(err)
		found := false
		for _, field := range fields {
			found = found || field == c.field
		}
		if !found {
			t.Errorf("%s: %s is not refused, but %v", c.reason, c.field, fields)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "$2y$")) {
			t.Errorf("%s: the error tells the secret: %v", c.reason, err)
		}
	}
}

func TestErrorsNameFieldAndValue(t *testing.T) {
	_, _, err := Route{Name: "a", Hosts: []string{"A.lan`"}}.Render()
	want := `hosts[0] "A.lan` + "`" + `" must be a host name in lower case, for example blog.phoenix.lan or *.apps.phoenix.lan`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestUsersAreRead(t *testing.T) {
	sha := "bob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="
	apr := "eve:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/"
	for _, c := range []struct {
		reason, text string
		want         []string
		err          string
	}{
		{"every form of htpasswd, and what is between", "# users\n" + users + "\r\n\n" + sha + "\n" + apr + "\n", []string{users, sha, apr}, ""},
		{"nobody", "# users\n", nil, "read users: there is none"},
		{"a line without a colon", users + "\nplain-secret\n", nil, "read users: line 2 must be user:hash"},
		{"a password in plain", "ann:plain-secret", nil, "read users: line 1 must have a hash as htpasswd makes it: bcrypt (htpasswd -B, cost 17 at most), MD5 or SHA1"},
		{"a user twice", users + "\n" + users, nil, "read users: line 2 names a user that another line names too"},
		{"no name", ":" + users[4:], nil, "read users: line 1 must be user:hash"},
		{"a tab in a name", "a\tb:" + users[4:], nil, "read users: line 1 must have a user without control characters and backticks"},
		{"something that is no text", "a\xff:" + users[4:], nil, "read users: line 1 must be UTF-8"},
	} {
		got, err := Users([]byte(c.text))
		message := ""
		if err != nil {
			message = err.Error()
		}
		if diff := cmp.Diff(c.want, got); diff != "" || message != c.err {
			t.Errorf("%s: %q, want %q\n%s", c.reason, message, c.err, diff)
		}
	}
}
