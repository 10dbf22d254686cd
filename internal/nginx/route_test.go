// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newPair makes a certificate for names with its key.
func newPair(t testing.TB, names ...string) (certificate, key []byte) {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})
}

const (
	routesAt = "/etc/nginx/phoenix/nginx/routes"
	blogIs   = "0123456789ab-blog"
)

func blog() RouteEntry {
	return RouteEntry{About: "Route home/blog", Hosts: []string{"blog.phoenix.lan", "*.blog.phoenix.lan"}, Router: "traefik"}
}

const routeHead = "# Route home/blog\n# Made by Phoenix: what is changed here by hand is put back.\n"

func TestRouteFiles(t *testing.T) {
	certificate, key := newPair(t, "blog.phoenix.lan")
	long := strings.Repeat("a", 43) + ".lan"
	for name, c := range map[string]struct {
		reason string
		change func(*RouteEntry)
		want   map[string]string
	}{
		"external": {
			"everybody may come", func(*RouteEntry) {},
			map[string]string{".map": routeHead + "blog.phoenix.lan external:phoenix-traefik;\n*.blog.phoenix.lan external:phoenix-traefik;\n"},
		},
		"internal": {
			"the internal networks may come", func(r *RouteEntry) { r.Internal = true },
			map[string]string{".map": routeHead + "blog.phoenix.lan internal:phoenix-traefik;\n*.blog.phoenix.lan internal:phoenix-traefik;\n"},
		},
		"tcp": {
			"it is chosen before TLS", func(r *RouteEntry) { r.TCP = true },
			map[string]string{".stream": routeHead + "blog.phoenix.lan external:phoenix-traefik;\n*.blog.phoenix.lan external:phoenix-traefik;\n"},
		},
		"beside TCP Routes": {
			"a wildcard of one of them would take the hosts", func(r *RouteEntry) { r.Kept, r.Shared = true, r.Hosts[1:] },
			map[string]string{
				".map":    routeHead + "blog.phoenix.lan external:phoenix-traefik;\n~*^\\*\\.blog\\.phoenix\\.lan$ external:phoenix-traefik;\n",
				".stream": routeHead + "blog.phoenix.lan nobody;\n~*^\\*\\.blog\\.phoenix\\.lan$ nobody;\n",
			},
		},
		"words of maps": {
			"they are names here", func(r *RouteEntry) { r.Hosts = []string{"default", "include", "volatile", "hostnames", "defaults"} },
			map[string]string{".map": routeHead + "\\default external:phoenix-traefik;\n\\include external:phoenix-traefik;\n\\volatile external:phoenix-traefik;\n" +
				"\\hostnames external:phoenix-traefik;\ndefaults external:phoenix-traefik;\n"},
		},
		"long": {
			"nginx takes keys of 46 characters by itself", func(r *RouteEntry) { r.Hosts = []string{long, long[1:]} },
			map[string]string{".map": routeHead + "~*^" + long[:43] + "\\.lan$ external:phoenix-traefik;\n" + long[1:] + " external:phoenix-traefik;\n"},
		},
		"shared": {
			"an older Route has the key", func(r *RouteEntry) { r.Shared = r.Hosts[1:] },
			map[string]string{".map": routeHead + "blog.phoenix.lan external:phoenix-traefik;\n~*^\\*\\.blog\\.phoenix\\.lan$ external:phoenix-traefik;\n"},
		},
		"its own certificate": {
			"a server of its own shows it", func(r *RouteEntry) { r.Certificate, r.Key = certificate, key },
			map[string]string{
				".map": routeHead + "blog.phoenix.lan external:phoenix-traefik;\n*.blog.phoenix.lan external:phoenix-traefik;\n",
				".server": routeHead + "server {\n\tinclude /etc/nginx/phoenix/nginx/server.conf;\n\tserver_name blog.phoenix.lan *.blog.phoenix.lan;\n" +
					"\tssl_certificate /etc/nginx/phoenix/nginx/routes/0123456789ab-blog.crt;\n\tssl_certificate_key /etc/nginx/phoenix/nginx/routes/0123456789ab-blog.key;\n}\n",
				".crt": string(certificate), ".key": string(key),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := blog()
			c.change(&r)
			files, err := RouteFiles(routesAt, blogIs, r)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for file, content := range files {
				got[strings.TrimPrefix(file, blogIs)] = string(content)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestRouteFilesRefused(t *testing.T) {
	certificate, key := newPair(t, "blog.phoenix.lan")
	_, other := newPair(t, "blog.phoenix.lan")
	for name, c := range map[string]struct {
		reason         string
		folder, prefix string
		change         func(*RouteEntry)
		want           string
	}{
		"about":          {"it would end the comment", "", "", func(r *RouteEntry) { r.About = "x\n}" }, `about "x\n}" must be printable ASCII`},
		"no host":        {"nobody would come", "", "", func(r *RouteEntry) { r.Hosts = nil }, `hosts "" must not be empty`},
		"host":           {"it would be two entries", "", "", func(r *RouteEntry) { r.Hosts[1] = "a x;b" }, `hosts[1] "a x;b" ` + nameWords},
		"expression":     {"~ begins one", "", "", func(r *RouteEntry) { r.Hosts[0] = "~.*" }, `hosts[0] "~.*" ` + nameWords},
		"twice":          {"nginx refuses a key that is there twice", "", "", func(r *RouteEntry) { r.Hosts[1] = r.Hosts[0] }, `hosts[1] "blog.phoenix.lan" must not be there twice`},
		"shared":         {"it is not declared", "", "", func(r *RouteEntry) { r.Shared = []string{"x.lan"} }, `shared "x.lan" must be one of hosts`},
		"router":         {"it would end the value", "", "", func(r *RouteEntry) { r.Router = "a;b" }, `routerRef "a;b" must be the name of an object`},
		"folder":         {"it would be two words", "/etc/a b", "", func(*RouteEntry) {}, `folder "/etc/a b" ` + pathWords},
		"prefix":         {"it would lead elsewhere", "", "../x", func(*RouteEntry) {}, `prefix "../x" must be at most 180 letters, digits and - . _`},
		"long prefix":    {"no file can have the name", "", strings.Repeat("a", 181), func(*RouteEntry) {}, `prefix "` + strings.Repeat("a", 64) + `" must be at most 180 letters, digits and - . _`},
		"foreign key":    {"nginx would refuse everything", "", "", func(r *RouteEntry) { r.Certificate, r.Key = certificate, other }, `tls "" must be a certificate and its own private key`},
		"key missing":    {"nginx would refuse everything", "", "", func(r *RouteEntry) { r.Certificate = certificate }, `tls "" must be a chain and a private key in PEM, and nothing else`},
		"more than PEM":  {"nobody looked at the rest", "", "", func(r *RouteEntry) { r.Certificate, r.Key = append(slices.Clone(certificate), "x"...), key }, `tls "" must be a chain and a private key in PEM, and nothing else`},
		"another block":  {"a key in the chain would be readable", "", "", func(r *RouteEntry) { r.Certificate, r.Key = append(slices.Clone(certificate), key...), key }, `tls "" must be a chain and a private key in PEM, and nothing else`},
		"TLS of another": {"the connection is passed on as it comes", "", "", func(r *RouteEntry) { r.TCP, r.Certificate, r.Key = true, certificate, key }, `tls "" must not be set: the TLS of a TCP Route is the backend's`},
	} {
		t.Run(name, func(t *testing.T) {
			r := blog()
			c.change(&r)
			folder, prefix := routesAt, blogIs
			if c.folder != "" {
				folder = c.folder
			}
			if c.prefix != "" {
				prefix = c.prefix
			}
			files, err := RouteFiles(folder, prefix, r)
			var field *FieldError
			if !errors.As(err, &field) || len(files) > 0 || err.Error() != c.want {
				t.Errorf("%s: %v with %v, want %s", c.reason, err, slices.Collect(maps.Keys(files)), c.want)
			}
		})
	}
}

func TestAdmits(t *testing.T) {
	servers := []Server{
		{Source: "exact", Names: []string{"a.phoenix.lan"}}, {Source: "site", Names: []string{"phoenix.lan", "*.phoenix.lan"}},
		{Source: "apps", Names: []string{"*.apps.phoenix.lan"}}, {Source: "late", Names: []string{"phoenix.lan"}},
	}
	for _, c := range []struct{ reason, host, want string }{
		{"itself goes before a wildcard", "a.phoenix.lan", "exact"},
		{"a wildcard", "b.phoenix.lan", "site"},
		{"a wildcard of nginx is any number of labels", "c.b.phoenix.lan", "site"},
		{"the longest wildcard", "x.apps.phoenix.lan", "apps"},
		{"a wildcard is not the name above it", "apps.phoenix.lan", "site"},
		{"a host with a wildcard of its own", "*.apps.phoenix.lan", "apps"},
		{"a host with a wildcard below one", "*.b.phoenix.lan", "site"},
		{"of two the first", "phoenix.lan", "site"},
		{"another domain", "phoenix.org", ""},
		{"one label", "lan", ""},
	} {
		if s, ok := Admits(servers, c.host); s.Source != c.want || ok != (c.want != "") {
			t.Errorf("%s: %s is answered by %q, want %q", c.reason, c.host, s.Source, c.want)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		reason, host string
		want         bool
	}{
		{"itself", "phoenix.lan", true},
		{"one label", "a.phoenix.lan", true},
		{"two labels are too many", "b.a.phoenix.lan", false},
		{"the same wildcard", "*.phoenix.lan", true},
		{"a wildcard below", "*.a.phoenix.lan", false},
		{"no wildcard declared", "x.example.org", false},
		{"in upper case", "example.org", true},
		{"a wildcard without anything above", "lan", false},
	} {
		if got := Covers([]string{"phoenix.lan", "*.phoenix.lan", "Example.org"}, c.host); got != c.want {
			t.Errorf("%s: %s is covered: %t", c.reason, c.host, got)
		}
	}
}
