// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.step.sm/crypto/keyutil"
	"go.step.sm/crypto/minica"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

// gateway is a machine with nginx, and an authority of the test's own.
func gateway(t *testing.T) (*machine.Machine, *minica.CA) {
	t.Helper()
	m := booted(t, machine.Options{Installed: []string{"nginx-light"}})
	authority, err := minica.New()
	if err != nil {
		t.Fatal(err)
	}
	return m, authority
}

// issue puts a certificate for a name into /etc/nginx/ssl.
func issue(t *testing.T, m *machine.Machine, authority *minica.CA, file, name string) *x509.Certificate {
	t.Helper()
	key, err := keyutil.GenerateDefaultSigner()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := authority.Sign(&x509.Certificate{DNSNames: []string{name}, PublicKey: key.Public(), NotAfter: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for end, text := range map[string]string{"crt": pemOf(t, leaf) + pemOf(t, authority.Intermediate), "key": pemOf(t, key)} {
		if err := m.WriteFile("/etc/nginx/ssl/"+file+"."+end, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return leaf
}

func TestNginxTest(t *testing.T) {
	m, authority := gateway(t)
	issue(t, m, authority, "a", "a.lan")
	issue(t, m, authority, "b", "b.lan")
	must(t, m, "echo junk > /etc/nginx/ssl/junk; rm /etc/nginx/sites-enabled/default")
	const pair = "ssl_certificate ssl/a.crt; ssl_certificate_key ssl/a.key; "
	const ok = "nginx: the configuration file /etc/nginx/nginx.conf syntax is ok\nnginx: configuration file /etc/nginx/nginx.conf test is successful\n"
	cases := []struct{ reason, text, says string }{
		{"a redirection", "server { listen 80; return 308 https://$host$request_uri; }", ""},
		{"an unknown directive", "server { listen 80; frob on; }", `[emerg] unknown directive "frob" in /etc/nginx/conf.d/x.conf:1`},
		{"a directive of 1.25", "server { listen 443 ssl; http2 on; }", `[emerg] unknown directive "http2" in /etc/nginx/conf.d/x.conf:1`},
		{"a module that is another package", "\n\nmap $host $x { default 1; }\nstream {}", `[emerg] unknown directive "stream" in /etc/nginx/conf.d/x.conf:4`},
		{"no semicolon", "server { listen 80\n}", `[emerg] unexpected "}" in /etc/nginx/conf.d/x.conf:2`},
		{"no brace", "server { listen 80;\n", `[emerg] unexpected end of file, expecting "}" in /etc/nginx/conf.d/x.conf:2`},
		{"a brace too many", "server { listen 80; } }", `[emerg] unexpected "}" in /etc/nginx/conf.d/x.conf:1`},
		{"a quote that is not closed", "server { listen 80; server_name \"a; }\n", `[emerg] unexpected end of file, expecting ";" or "}" in /etc/nginx/conf.d/x.conf:2`},
		{"no argument", "server { listen; }", `[emerg] invalid number of arguments in "listen" directive in /etc/nginx/conf.d/x.conf:1`},
		{"a wrong place", "listen 80;", `[emerg] "listen" directive is not allowed here in /etc/nginx/conf.d/x.conf:1`},
		{"neither on nor off", "server { ssl_reject_handshake maybe; }", `[emerg] invalid value "maybe" in "ssl_reject_handshake" directive, it must be "on" or "off" in /etc/nginx/conf.d/x.conf:1`},
		{"no certificate", "server { listen 443 ssl; ssl_certificate ssl/none.crt; ssl_certificate_key ssl/a.key; }",
			`[emerg] cannot load certificate "/etc/nginx/ssl/none.crt": BIO_new_file() failed (SSL: error:80000002:system library::No such file or directory:calling fopen(/etc/nginx/ssl/none.crt, r) error:10000080:BIO routines::no such file)`},
		{"no key", "server { listen 443 ssl; ssl_certificate ssl/a.crt; ssl_certificate_key ssl/none.key; }",
			`[emerg] cannot load certificate key "/etc/nginx/ssl/none.key": BIO_new_file() failed (SSL: error:80000002:system library::No such file or directory:calling fopen(/etc/nginx/ssl/none.key, r) error:10000080:BIO routines::no such file)`},
		{"another's key", "server { listen 443 ssl; ssl_certificate ssl/a.crt; ssl_certificate_key ssl/b.key; }", `[emerg] SSL_CTX_use_PrivateKey("/etc/nginx/ssl/b.key") failed (SSL: error:05800074:x509 certificate routines::key values mismatch)`},
		{"a certificate that is none", "server { listen 443 ssl; ssl_certificate ssl/junk; ssl_certificate_key ssl/a.key; }", `[emerg] cannot load certificate "/etc/nginx/ssl/junk": PEM_read_bio_X509_AUX() failed (SSL: error:0480006C:PEM routines::no start line:Expecting: TRUSTED CERTIFICATE)`},
		{"a certificate without a key", "server { listen 443 ssl; ssl_certificate ssl/a.crt; }", `[emerg] no "ssl_certificate_key" is defined for certificate "ssl/a.crt"`},
		{"TLS without a certificate", "server { listen 443 ssl; }", `[emerg] no "ssl_certificate" is defined for the "listen ... ssl" directive in /etc/nginx/conf.d/x.conf:1`},
		{"TLS that is refused needs none", "server { listen 443 ssl default_server; ssl_reject_handshake on; }\nserver { listen 443 ssl; server_name a.lan; " + pair + "}", ""},
		{"others do", "server { listen 443 ssl default_server; ssl_reject_handshake on; }\nserver { listen 443 ssl; server_name a.lan; }", `[emerg] no "ssl_certificate" is defined for the "listen ... ssl" directive in /etc/nginx/conf.d/x.conf:2`},
		{"two default servers", "server { listen 80 default_server; }\nserver { listen 80 default_server; }", `[emerg] a duplicate default server for 0.0.0.0:80 in /etc/nginx/conf.d/x.conf:2`},
		{"a listen twice", "server { listen 80; listen 80; }", `[emerg] a duplicate listen 0.0.0.0:80 in /etc/nginx/conf.d/x.conf:1`},
		{"a port that is none", "server { listen 127.0.0.1:99999; }", `[emerg] invalid port in "127.0.0.1:99999" of the "listen" directive in /etc/nginx/conf.d/x.conf:1`},
		{"an unknown parameter", "server { listen 80 frob; }", `[emerg] invalid parameter "frob" in /etc/nginx/conf.d/x.conf:1`},
		{"a directive twice", "server { root /a; root /b; }", `[emerg] "root" directive is duplicate in /etc/nginx/conf.d/x.conf:1`},
		{"a code that is none", "server { return abc; }", `[emerg] invalid return code "abc" in /etc/nginx/conf.d/x.conf:1`},
		{"an unknown variable", "server { return 301 https://$frob; }", `[emerg] unknown "frob" variable`},
		{"an unknown protocol", "server { ssl_protocols TLSv9; }", `[emerg] invalid value "TLSv9" in /etc/nginx/conf.d/x.conf:1`},
		{"a file that is not there", "include more.conf;", `[emerg] open() "/etc/nginx/more.conf" failed (2: No such file or directory) in /etc/nginx/conf.d/x.conf:1`},
		{"files that are not there", "include more/*.conf;", ""},
		{"a map", "map $host $x { hostnames; default 0; a.lan 1; *.b.lan 2; ~^c(?<rest>.*)$ $rest; \\include 3; include more/*.conf; }\nserver { listen 80; if ($x) { return 204; } }", ""},
		{"a key twice", "map $host $x {\na.lan 1;\nA.lan 2; }", `[emerg] conflicting parameter "A.lan" in /etc/nginx/conf.d/x.conf:3`},
		{"two defaults", "map $host $x { default 1; default 1; }", `[emerg] duplicate default map parameter in /etc/nginx/conf.d/x.conf:1`},
		{"a long key", "map $host $x { " + strings.Repeat("a", 47) + " 1; }", `[emerg] could not build map_hash, you should increase map_hash_bucket_size: 64`},
		{"a long key with room", "map_hash_bucket_size 128; map $host $x { " + strings.Repeat("a", 47) + " 1; }", ""},
		{"room too late", "map $host $x { a 1; } map_hash_bucket_size 128;", `[emerg] "map_hash_bucket_size" directive is duplicate in /etc/nginx/conf.d/x.conf:1`},
		{"a long expression", "map $host $x { ~^" + strings.Repeat("a", 60) + "$ 1; ~^" + strings.Repeat("a", 60) + "$ 1; }", ""},
		{"a bad expression", "map $host $x { \"~(\" 1; }", `[emerg] pcre2_compile() failed: missing closing parenthesis in "~(" in /etc/nginx/conf.d/x.conf:1`},
		{"a map to no variable", "map $host x { a 1; }", `[emerg] invalid variable name "x" in /etc/nginx/conf.d/x.conf:1`},
		{"a map of nothing known", "map $frob $x { a 1; }", `[emerg] unknown "frob" variable`},
		{"a map to nothing known", "map $host $x { a $frob; }", `[emerg] unknown "frob" variable`},
		{"a file of a map that is not there", "map $host $x { include more; }", `[emerg] open() "/etc/nginx/more" failed (2: No such file or directory) in /etc/nginx/conf.d/x.conf:1`},
		{"networks", "geo $x { default 0; 10.0.0.0/8 1; fc00::/7 1; 10.0.0.1 0; }", ""},
		{"a network twice", "geo $x { 10.0.0.0/8 1; 10.0.0.0/8 0; }", `[warn] duplicate network "10.0.0.0/8", value: "0", old value: "1" in /etc/nginx/conf.d/x.conf:1`},
		{"a network that is none", "geo $x { 10.0.0.0/33 1; }", `[emerg] invalid network "10.0.0.0/33" in /etc/nginx/conf.d/x.conf:1`},
		{"an upstream twice", "upstream a { server 10.0.0.1; }\nupstream a { server 10.0.0.1; }", `[emerg] duplicate upstream "a" in /etc/nginx/conf.d/x.conf:2`},
		{"an upstream without servers", "upstream a { }", `[emerg] no servers are inside upstream in /etc/nginx/conf.d/x.conf:1`},
		{"a location twice", "server { location / { } location / { } }", `[emerg] duplicate location "/" in /etc/nginx/conf.d/x.conf:1`},
		{"a header of nothing known", "server { location / { proxy_pass http://10.0.0.1; proxy_set_header X $frob; } }", `[emerg] unknown "frob" variable`},
		{"a condition of nothing known", "server { if ($frob) { return 204; } }", `[emerg] unknown "frob" variable`},
		{"a long name of two servers", "server { server_name a; }\nserver { server_name " + strings.Repeat("a", 47) + "; }", `[emerg] could not build server_names_hash, you should increase server_names_hash_bucket_size: 64`},
		{"a long name with room", "server_names_hash_bucket_size 128; server { server_name a; }\nserver { server_name " + strings.Repeat("a", 47) + "; }", ""},
		{"room twice", "server_names_hash_bucket_size 128; server_names_hash_bucket_size 128;", `[emerg] "server_names_hash_bucket_size" directive is duplicate in /etc/nginx/conf.d/x.conf:1`},
		{"a name of two servers", "server { server_name a b; }\nserver { server_name b; }", `[warn] conflicting server name "b" on 0.0.0.0:80, ignored`},
	}
	stamp := regexp.MustCompile(`(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (\[\w+\]) \d+#\d+:`)
	for _, tc := range cases {
		t.Run(tc.reason, func(t *testing.T) {
			if err := m.WriteFile("/etc/nginx/conf.d/x.conf", tc.text, 0o644); err != nil {
				t.Fatal(err)
			}
			_, stderr, exit := run(t, m, "nginx -t", "")
			want, status := ok, 0
			switch {
			case strings.HasPrefix(tc.says, "[emerg]"):
				want, status = tc.says+"\nnginx: configuration file /etc/nginx/nginx.conf test failed\n", 1
			case tc.says != "":
				want = tc.says + "\n" + ok
			}
			if got := stamp.ReplaceAllString(stderr, "$1"); got != want || exit != status {
				t.Errorf("got %d\n%s\nwant %d\n%s", exit, got, status, want)
			}
		})
	}
}

func TestNginxStreamTest(t *testing.T) {
	m := booted(t, machine.Options{Installed: []string{"nginx-light", "libnginx-mod-stream"}})
	stamp := regexp.MustCompile(`(?m)^.* \d+#\d+: (.*)\n(?s:.*)`)
	for _, tc := range []struct{ reason, text, says string }{
		{"by name", "stream { map $ssl_preread_server_name $x { default 10.0.0.1:443; } server { listen 443; ssl_preread on; proxy_pass $x; } }", ""},
		{"two blocks", "stream { }\nstream { }", `"stream" directive is duplicate in /etc/nginx/modules-enabled/90-x.conf:2`},
		{"to nowhere", "stream { server { listen 443; } }", `no handler for server in /etc/nginx/modules-enabled/90-x.conf:1`},
		{"a key twice", "stream { map $remote_addr $x { a 1; a 1; } }", `conflicting parameter "a" in /etc/nginx/modules-enabled/90-x.conf:1`},
		{"a variable of HTTP", "stream { server { listen 443; proxy_pass $host; } }", `unknown "host" variable`},
		{"a module twice", "load_module modules/ngx_stream_module.so;", `module "ngx_stream_module" is already loaded in /etc/nginx/modules-enabled/90-x.conf:1`},
		{"a module that is not there", "load_module modules/x.so;", `dlopen() "/usr/lib/nginx/modules/x.so" failed (/usr/lib/nginx/modules/x.so: cannot open shared object file: No such file or directory) in /etc/nginx/modules-enabled/90-x.conf:1`},
	} {
		if err := m.WriteFile("/etc/nginx/modules-enabled/90-x.conf", tc.text, 0o644); err != nil {
			t.Fatal(err)
		}
		_, stderr, exit := run(t, m, "nginx -t", "")
		if got := strings.TrimPrefix(stamp.ReplaceAllString(stderr, "$1"), "[emerg] "); (exit == 0) != (tc.says == "") || tc.says != "" && got != tc.says {
			t.Errorf("%s: got %d\n%s\nwant\n%s", tc.reason, exit, got, tc.says)
		}
	}
}

// visit asks a gateway for a URL.
func visit(t *testing.T, m *machine.Machine, authority *minica.CA, url string) (*http.Response, string, error) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(authority.Root)
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			_, port, _ := strings.Cut(address, ":")
			return m.Dial(ctx, map[string]int{"80": 80, "443": 443, "8443": 8443}[port])
		},
	}
	defer tr.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := tr.RoundTrip(request)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	return answer, string(body), err
}

const entry = `server { listen 80 default_server; return 444; }
server { listen 80; server_name a.lan *.w.lan; return 308 https://$host$request_uri; }
server { listen 443 ssl http2 default_server; ssl_reject_handshake on; }
server {
  listen 443 ssl http2; server_name a.lan; ssl_certificate ssl/a.crt; ssl_certificate_key ssl/a.key;
  add_header Strict-Transport-Security max-age=1 always;
  location / { return 404; }
  location = /hello { return 200 "hello $host"; }
  location /up/ { proxy_pass http://10.0.0.12; }
}
server { listen 443 ssl; server_name *.w.lan; ssl_certificate ssl/w.crt; ssl_certificate_key ssl/w.key; return 204; }
`

func TestNginxServes(t *testing.T) {
	m, authority := gateway(t)
	answer, body, err := visit(t, m, authority, "http://anything/")
	if err != nil || answer.StatusCode != 200 || !strings.Contains(body, "Welcome to nginx!") {
		t.Fatalf("Debian's own site: %v %v", answer, err)
	}
	a := issue(t, m, authority, "a", "a.lan")
	issue(t, m, authority, "w", "*.w.lan")
	if err := m.WriteFile("/etc/nginx/conf.d/x.conf", entry, 0o644); err != nil {
		t.Fatal(err)
	}
	_, stderr, exit := run(t, m, "systemctl reload nginx", "")
	if exit != 1 || !strings.Contains(stderr, "failed because the control process exited with error code") {
		t.Errorf("two default servers: %d %s", exit, stderr)
	}
	must(t, m, "journalctl -u nginx -o cat | grep 'a duplicate default server for 0.0.0.0:80'; systemctl is-active nginx")
	if answer, _, err := visit(t, m, authority, "http://anything/"); err != nil || answer.StatusCode != 200 {
		t.Errorf("after a reload that failed: %v %v", answer, err)
	}
	must(t, m, "rm /etc/nginx/sites-enabled/default; systemctl reload nginx")
	cases := []struct {
		reason, url string
		status      int
		more        string // in the body, or Location
		proto       int
		fails       string
	}{
		{"a known name goes to TLS", "http://a.lan/x?y=1", 308, "https://a.lan/x?y=1", 1, ""},
		{"a wildcard too", "http://deep.down.w.lan/", 308, "https://deep.down.w.lan/", 1, ""},
		{"an unknown name is hung up on", "http://other.lan/", 0, "", 0, "EOF"},
		{"TLS", "https://a.lan/", 404, "<hr><center>nginx/1.22.1</center>", 2, ""},
		{"a location", "https://a.lan/hello", 200, "hello a.lan", 2, ""},
		{"an upstream", "https://a.lan/up/x", 502, "502 Bad Gateway", 2, ""},
		{"a wildcard's certificate", "https://x.w.lan/", 204, "", 2, ""},
		{"an unknown name is refused in the handshake", "https://other.lan/", 0, "", 0, "unrecognized name"},
		{"nobody listens", "https://a.lan:8443/", 0, "", 0, "connection refused"},
	}
	for _, tc := range cases {
		t.Run(tc.reason, func(t *testing.T) {
			answer, body, err := visit(t, m, authority, tc.url)
			if tc.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fails) {
					t.Errorf("got %v, want %q", err, tc.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != tc.status || answer.ProtoMajor != tc.proto || !strings.Contains(body+answer.Header.Get("Location"), tc.more) {
				t.Errorf("got %s %s %v\n%s", answer.Proto, answer.Status, answer.Header, body)
			}
			if strings.HasPrefix(tc.url, "https://a.lan") && (answer.Header.Get("Strict-Transport-Security") == "" || !answer.TLS.PeerCertificates[0].Equal(a)) {
				t.Errorf("headers %v, certificate %v", answer.Header, answer.TLS.PeerCertificates[0].DNSNames)
			}
		})
	}
	must(t, m, "systemctl stop nginx; test ! -e /run/nginx.pid; ! nginx -s reload")
	if _, _, err := visit(t, m, authority, "http://a.lan/"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("when it is stopped: %v", err)
	}
}

func TestNginxRenewal(t *testing.T) {
	m, authority := gateway(t)
	first := issue(t, m, authority, "a", "a.lan")
	if err := m.WriteFile("/etc/nginx/conf.d/x.conf", strings.ReplaceAll(entry, "w.crt; ssl_certificate_key ssl/w.key", "a.crt; ssl_certificate_key ssl/a.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	must(t, m, "rm /etc/nginx/sites-enabled/default; systemctl restart nginx")
	open := func() (*tls.Conn, *bufio.Reader) {
		conn, err := m.Dial(t.Context(), 443)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(authority.Root)
		secure := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "a.lan", MinVersion: tls.VersionTLS12})
		if err := secure.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = secure.Close() })
		return secure, bufio.NewReader(secure)
	}
	say := func(c *tls.Conn, text string) {
		if _, err := fmt.Fprint(c, text); err != nil {
			t.Error(err)
		}
	}
	read := func(c *tls.Conn, r *bufio.Reader) string {
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			return err.Error()
		}
		text, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		return errorOr(string(text), err)
	}
	fresh, freshReader := open()
	half, halfReader := open()
	idle, idleReader := open()
	say(half, "GET /hello HTTP/1.1\r\nHost: a.")
	say(idle, "GET /hello HTTP/1.1\r\nHost: a.lan\r\n\r\n")
	if got := read(idle, idleReader); got != "hello a.lan" {
		t.Fatalf("got %q", got)
	}
	second := issue(t, m, authority, "a", "a.lan")
	if answer, _, err := visit(t, m, authority, "https://a.lan/"); err != nil || !answer.TLS.PeerCertificates[0].Equal(first) {
		t.Errorf("before the reload: %v", err)
	}
	must(t, m, "sed -i 's/\"hello/\"bye/' /etc/nginx/conf.d/x.conf; systemctl reload nginx")
	if answer, body, err := visit(t, m, authority, "https://a.lan/hello"); err != nil || !answer.TLS.PeerCertificates[0].Equal(second) || body != "bye a.lan" {
		t.Errorf("after the reload: %q %v", body, err)
	}
	say(half, "lan\r\n\r\n")
	if got := read(half, halfReader); got != "hello a.lan" {
		t.Errorf("a request under way got %q", got)
	}
	say(fresh, "GET /hello HTTP/1.1\r\nHost: a.lan\r\n\r\n")
	if got := read(fresh, freshReader); got != "hello a.lan" {
		t.Errorf("a connection without a request got %q", got)
	}
	if _, err := idleReader.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("a connection that waited: %v", err)
	}
}

func errorOr(text string, err error) string {
	if err != nil {
		return err.Error()
	}
	return text
}

func TestNginxPort(t *testing.T) {
	m, _ := gateway(t)
	must(t, m, "systemctl stop nginx; echo 'server { listen 80; }' > /etc/nginx/conf.d/other.conf; cp -r /etc/nginx /etc/other; cp /usr/lib/systemd/system/nginx.service /etc/systemd/system/second.service; systemctl daemon-reload; systemctl start nginx")
	_, _, exit := run(t, m, "systemctl start second", "")
	if journal := must(t, m, "journalctl -u second -o cat"); exit != 1 || !strings.Contains(journal, "bind() to 0.0.0.0:80 failed (98: Address already in use)") {
		t.Errorf("exit %d\n%s", exit, journal)
	}
	must(t, m, "apt-get purge -y nginx-light nginx nginx-common > /dev/null; systemctl is-active nginx || true; ! command -v nginx")
	if _, err := m.Dial(t.Context(), 80); err == nil {
		t.Error("it serves without its package")
	}
}
