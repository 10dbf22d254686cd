// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestMiddlewares asks through one middleware m. The router serves every host, from a server that echoes; /long is long, and
// /own has a header X-Own.
func TestMiddlewares(t *testing.T) {
	for _, tc := range []struct {
		reason, middleware, request string
		status                      int
		want                        string            // in the body
		header                      map[string]string // of the answer; "" there is none
	}{
		{"adds a prefix", "{addPrefix: {prefix: /app}}", "GET http://a/x", 200, "GET /app/x ", nil},
		{"adds a prefix to what is encoded", "{addPrefix: {prefix: /app}}", "GET http://a/x%2Fy", 200, "GET /app/x%2Fy ", nil},
		{"takes a prefix away, and tells", "{stripPrefix: {prefixes: [/no, /api]}}", "GET http://a/api/x?q", 200, "GET /x?q ", nil},
		{"takes a prefix away that is all", "{stripPrefix: {prefixes: [/api]}}", "GET http://a/api", 200, "GET / ", nil},
		{"tells which prefix", "{stripPrefix: {prefixes: [/api]}}", "GET http://a/api/x", 200, "\nX-Forwarded-Prefix: /api\n", nil},
		{"takes a prefix away by an expression", "{stripPrefixRegex: {regex: ['/v[0-9]+/']}}", "GET http://a/v12/x", 200, "GET /x ", nil},
		{"replaces the path", "{replacePath: {path: /y}}", "GET http://a/x", 200, "GET /y ", nil},
		{"replaces the path by an expression", "{replacePathRegex: {regex: '^/x/(.*)', replacement: '/y/$1'}}", "GET http://a/x/z", 200, "GET /y/z ", nil},
		{"redirects", "{redirectRegex: {regex: '^http://a/(.*)', replacement: 'https://b/${1}'}}", "GET http://a/x?y", 302, "Found", map[string]string{"Location": "https://b/x?y"}},
		{"redirects for good", "{redirectRegex: {regex: '^http://a/(.*)', replacement: 'https://b/${1}', permanent: true}}", "GET http://a/", 301, "Moved Permanently", nil},
		{"redirects what is sent", "{redirectRegex: {regex: '^http://a/(.*)', replacement: 'https://b/${1}', permanent: true}}", "POST http://a/", 308, "Permanent Redirect", nil},
		{"redirects none that does not fit", "{redirectRegex: {regex: '^http://b/(.*)', replacement: 'https://b/${1}'}}", "GET http://a/", 200, "GET / ", nil},
		{"redirects to another scheme", "{redirectScheme: {scheme: https, permanent: true}}", "GET http://a:80/x", 301, "", map[string]string{"Location": "https://a/x"}},
		{"redirects to a port", "{redirectScheme: {scheme: https, port: '8443'}}", "GET http://a/x", 302, "", map[string]string{"Location": "https://a:8443/x"}},
		{"believes what is forwarded", "{redirectScheme: {scheme: https}}", "GET http://a/x\nX-Forwarded-Proto: https", 200, "GET /x ", nil},
		{"sets what the server gets", "{headers: {customRequestHeaders: {X-A: b, Host: c}}}", "GET http://a/\nX-A: c", 200, "\nHost: c\n", nil},
		{"removes what the server gets", "{headers: {customRequestHeaders: {X-A: ''}}}", "GET http://a/\nX-A: c\nX-B: d", 200, "NOT X-A", nil},
		{"sets and removes what the client gets", "{headers: {customResponseHeaders: {X-A: b, X-Own: ''}}}", "GET http://a/own", 200, "", map[string]string{"X-A": "b", "X-Own": ""}},
		{"protects browsers", "{headers: {stsSeconds: 60, forceSTSHeader: true, frameDeny: true, contentTypeNosniff: true}}", "GET http://a/", 200, "", map[string]string{"Strict-Transport-Security": "max-age=60", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff"}},
		{"answers a browser's question", "{headers: {accessControlAllowOriginList: ['https://o'], accessControlAllowMethods: [GET, PUT]}}", "OPTIONS http://a/\nOrigin: https://o\nAccess-Control-Request-Method: PUT", 200, "", map[string]string{"Access-Control-Allow-Origin": "https://o", "Access-Control-Allow-Methods": "GET,PUT"}},
		{"asks for a password", "{basicAuth: {users: ['ann:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE='], realm: home}}", "GET http://a/", 401, "401 Unauthorized\n", map[string]string{"Www-Authenticate": `Basic realm="home"`}},
		{"SHA-1", "{basicAuth: {users: ['ann:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=']}}", "GET http://a/\nUser: ann:myPassword", 200, "\nAuthorization: Basic", nil},
		{"MD5 as Apache's", "{basicAuth: {users: ['ann:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/'], headerField: X-User, removeHeader: true}}", "GET http://a/\nUser: ann:myPassword", 200, "\nX-User: ann\n", nil},
		{"the header is kept from the server", "{basicAuth: {users: ['ann:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/'], removeHeader: true}}", "GET http://a/\nUser: ann:myPassword", 200, "NOT Authorization", nil},
		{"MD5 as crypt's", "{basicAuth: {users: ['ann:$1$abcd0123$mhzzUOQt8H/RFUNxKTFmm.']}}", "GET http://a/\nUser: ann:myPassword", 200, "", nil},
		{"bcrypt", "{basicAuth: {users: ['ann:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC']}}", "GET http://a/\nUser: ann:myPassword", 200, "", nil},
		{"a wrong password", "{basicAuth: {users: ['ann:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC']}}", "GET http://a/\nUser: ann:mypassword", 401, "", nil},
		{"nobody's name", "{basicAuth: {users: ['ann:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=']}}", "GET http://a/\nUser: bob:myPassword", 401, "", nil},
		{"users of a file", "{basicAuth: {usersFile: /etc/users}}", "GET http://a/\nUser: ann:myPassword", 200, "", nil},
		{"lets in whom the list names", "{ipAllowList: {sourceRange: [127.0.0.0/8]}}", "GET http://a/", 200, "", nil},
		{"keeps others out", "{ipAllowList: {sourceRange: [10.0.0.0/8]}}", "GET http://a/", 403, "Forbidden", nil},
		{"looks at the last that was forwarded", "{ipAllowList: {sourceRange: [10.0.0.0/8], ipStrategy: {depth: 1}}}", "GET http://a/\nX-Forwarded-For: 1.2.3.4, 10.0.0.9", 200, "", nil},
		{"and not at those before", "{ipAllowList: {sourceRange: [10.0.0.0/8], ipStrategy: {depth: 1}}}", "GET http://a/\nX-Forwarded-For: 10.0.0.9, 1.2.3.4", 403, "", nil},
		{"nobody is forwarded", "{ipAllowList: {sourceRange: [127.0.0.0/8], ipStrategy: {depth: 1}, rejectStatusCode: 404}}", "GET http://a/", 404, "Not Found", nil},
		{"leaves out those that are named", "{ipAllowList: {sourceRange: [1.2.3.4], ipStrategy: {excludedIPs: [10.0.0.0/8]}}}", "GET http://a/\nX-Forwarded-For: 1.2.3.4, 10.0.0.9", 200, "", nil},
		{"compresses what is long", "{compress: {}}", "GET http://a/long\nAccept-Encoding: gzip", 200, "", map[string]string{"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}},
		{"not for who cannot", "{compress: {}}", "GET http://a/long", 200, "long long", map[string]string{"Content-Encoding": ""}},
		{"not what is short", "{compress: {}}", "GET http://a/\nAccept-Encoding: gzip", 200, "GET / ", map[string]string{"Content-Encoding": ""}},
		{"a body that is too long", "{buffering: {maxRequestBodyBytes: 1}}", "GET http://a/", 200, "", nil},
		{"a chain", "{chain: {middlewares: [first, second]}}", "GET http://a/x", 200, "GET /1/2/x ", nil},
		{"what is not simulated lets everything pass", "{circuitBreaker: {expression: 'NetworkErrorRatio() > 0.5'}}", "GET http://a/", 200, "GET / ", nil},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			s := newSite(t)
			s.disk.put("/etc/traefik/traefik.yml", strings.Replace(static, `{address: ":80"}`, `{address: ":80", forwardedHeaders: {insecure: true}}`, 1))
			s.disk.put("/etc/users", "# users\nann:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=\n")
			s.serve("10.0.0.1:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/long" {
					fmt.Fprint(w, strings.Repeat("long ", 1000))
					return
				}
				w.Header().Set("X-Own", "1")
				echo("one")(w, r)
			}))
			s.start(route("a", "PathPrefix(`/`)", "http://10.0.0.1:80", ", middlewares: [m]") +
				"  middlewares:\n    first: {addPrefix: {prefix: /2}}\n    second: {addPrefix: {prefix: /1}}\n    m: " + tc.middleware + "\n")
			if bad := s.raw().Routers["a@file"].Error; bad != nil {
				t.Fatal(bad)
			}
			got := s.ask(":80", tc.request)
			if got.status != tc.status {
				t.Errorf("%d, want %d: %s", got.status, tc.status, got.body)
			}
			if text, not := strings.CutPrefix(tc.want, "NOT "); strings.Contains(got.body, text) == not {
				t.Errorf("%s", got.body)
			}
			for name, want := range tc.header {
				if value := got.header.Get(name); value != want {
					t.Errorf("%s is %q, want %q", name, value, want)
				}
			}
			if got.header.Get("Content-Encoding") == "gzip" {
				z, err := gzip.NewReader(strings.NewReader(got.body))
				if err != nil {
					t.Fatal(err)
				}
				if plain, err := io.ReadAll(z); err != nil || len(plain) != 5000 {
					t.Errorf("%d bytes, %v", len(plain), err)
				}
			}
		})
	}
}

func TestRateLimit(t *testing.T) {
	s := newSite(t)
	s.disk.put("/etc/traefik/traefik.yml", strings.Replace(static, `{address: ":80"}`, `{address: ":80", forwardedHeaders: {insecure: true}}`, 1))
	s.serve("10.0.0.1:80", echo("one"))
	s.start(route("a", "Host(`a`)", "http://10.0.0.1:80", ", middlewares: [m]") +
		"  middlewares:\n    m: {rateLimit: {average: 1, period: 1h, burst: 2, sourceCriterion: {ipStrategy: {depth: 1}}}}\n")
	for i, want := range []int{200, 200, 429, 429} {
		if got := s.ask(":80", "GET http://a/\nX-Forwarded-For: 1.2.3.4"); got.status != want || want == 429 && got.header.Get("Retry-After") == "" {
			t.Errorf("request %d: %d %s", i, got.status, got.header.Get("Retry-After"))
		}
	}
	if got := s.ask(":80", "GET http://a/\nX-Forwarded-For: 1.2.3.5"); got.status != 200 {
		t.Errorf("somebody else: %d", got.status)
	}
}

func TestRetry(t *testing.T) {
	s := newSite(t)
	asked := 0
	s.serve("10.0.0.1:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.WriteHeader(http.StatusInternalServerError)
	}))
	two := strings.Replace(route("a", "Host(`a`)", "x", ", middlewares: [m]"), `[{url: "x"}]`, "[{url: 'http://10.0.0.9:80', weight: 100}, {url: 'http://10.0.0.1:80'}]", 1)
	s.start(two + "  middlewares:\n    m: {retry: {attempts: 200}}\n")
	if got := s.get("http://a/"); got.status != http.StatusInternalServerError || asked != 1 {
		t.Errorf("a server that is away, and one that fails: %d, asked %d times", got.status, asked)
	}
	s.disk.put("/etc/traefik/routes/0.yml", two+"  middlewares:\n    m: {retry: {attempts: 2, initialInterval: 1ms}}\n")
	s.await("fewer attempts", func() bool { return s.server.Loads() > 1 })
	if got := s.get("http://a/"); got.status != http.StatusBadGateway || asked != 1 {
		t.Errorf("a server that is away twice: %d, asked %d times", got.status, asked)
	}
}

func TestForwardAuth(t *testing.T) {
	s := newSite(t)
	s.serve("10.0.0.1:80", echo("one"))
	s.serve("10.0.0.2:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Asked", r.Header.Get("X-Forwarded-Method")+" "+r.Header.Get("X-Forwarded-Proto")+"://"+r.Header.Get("X-Forwarded-Host")+r.Header.Get("X-Forwarded-Uri"))
		if r.Header.Get("Cookie") == "" {
			w.Header().Set("Location", "/login")
			w.WriteHeader(http.StatusFound)
			return
		}
		w.Header().Set("Remote-User", "ann")
	}))
	s.start(route("a", "Host(`a`)", "http://10.0.0.1:80", ", middlewares: [m]")+
		"  middlewares:\n    m: {forwardAuth: {address: 'http://10.0.0.2:80/auth', authResponseHeaders: [Remote-User]}}\n",
		route("b", "Host(`b`)", "http://10.0.0.1:80", ", middlewares: [n]")+"  middlewares:\n    n: {forwardAuth: {address: 'http://10.0.0.9/'}}\n")
	if got := s.ask(":80", "PUT http://a/x?y"); got.status != http.StatusFound || got.header.Get("Location") != "http://10.0.0.2:80/login" || got.header.Get("X-Asked") != "PUT http://a/x?y" {
		t.Errorf("who may not pass: %d %v", got.status, got.header)
	}
	if got := s.ask(":80", "GET http://a/\nCookie: a=b\nRemote-User: root"); got.status != http.StatusOK || !strings.Contains(got.body, "\nRemote-User: ann\n") {
		t.Errorf("who may pass: %d %s", got.status, got.body)
	}
	if got := s.get("http://b/"); got.status != http.StatusInternalServerError {
		t.Errorf("nobody to ask: %d", got.status)
	}
}
