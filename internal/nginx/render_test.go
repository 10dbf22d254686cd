// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// site is a configuration with two servers and a router.
func site() Config {
	return Config{
		About: "HostService home/nginx", HTTPPort: 80, HTTPSPort: 443, Folder: Folder("nginx"),
		Servers: []Server{
			{Source: "servers[site]", Names: []string{"phoenix.lan", "*.phoenix.lan"}, Certificate: "/etc/nginx/phoenix/nginx/site.crt", Key: "/etc/nginx/phoenix/nginx/site.key"},
			{Source: "servers[shop]", Names: []string{"shop.example.org"}, Certificate: "/etc/nginx/phoenix/nginx/shop.crt", Key: "/etc/nginx/phoenix/nginx/shop.key"},
		},
		Upstreams: []Upstream{{Router: "traefik", Address: "10.0.0.12", WebPort: 80, SecurePort: 443}, {Router: "spare", Address: "fd00::12", WebPort: 8080, SecurePort: 8443}},
		Inside:    []string{"10.0.0.0/8", "fc00::/7"},
		Proxy:     Proxy{ConnectTimeout: 5 * time.Second, IdleTimeout: time.Hour},
	}
}

// everything is a configuration in which all is set.
func everything() Config {
	c := site()
	hsts := 24 * time.Hour
	c.HTTPPort, c.HTTPSPort = 8080, 8443
	c.Proxy = Proxy{MaxBodyMiB: 64, ConnectTimeout: 1500 * time.Millisecond, IdleTimeout: time.Minute, Buffering: true}
	c.Headers = Headers{HSTS: &hsts, Nosniff: true, FrameOptions: "DENY", ReferrerPolicy: "no-referrer"}
	c.PassThrough, c.Self = &PassThrough{IdleTimeout: 10 * time.Minute}, "10.0.0.153"
	return c
}

// golden compares with a file of testdata, which a real nginx 1.22 accepted, and by which it answered as the package's
// comment says. With -update it writes the file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	at := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(at, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

var update = flag.Bool("update", false, "write the golden files")

func TestRender(t *testing.T) {
	for name, config := range map[string]Config{"site": site(), "everything": everything()} {
		t.Run(name, func(t *testing.T) {
			files, err := config.Render()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".main.conf", files.Main)
			golden(t, name+".server.conf", files.Server)
			if (files.Stream != nil) != (config.PassThrough != nil) {
				t.Errorf("there is a file for streams: %t", files.Stream != nil)
			}
			if files.Stream != nil {
				golden(t, name+".stream.conf", files.Stream)
			}
		})
	}
}

func TestRenderOtherwise(t *testing.T) {
	for name, c := range map[string]struct {
		reason   string
		change   func(*Config)
		has, not string
	}{
		"nobody": {
			"without a server, everybody is refused", func(c *Config) { c.Servers = nil }, "ssl_reject_handshake on;", "ssl_certificate",
		},
		"another port": {
			"the browser is sent to where TLS ends", func(c *Config) { c.HTTPSPort = 8443 }, "return 308 https://$host:8443$request_uri;", "listen 443",
		},
		"no router": {
			"there is nobody to pass anything on to", func(c *Config) { c.Upstreams = nil }, "return 444;", "upstream",
		},
		"a router with a long name": {
			"it is cut, and told apart", func(c *Config) { c.Upstreams[0].Router = strings.Repeat("a", 120) }, "upstream phoenix-" + strings.Repeat("a", 100) + "-", strings.Repeat("a", 101) + " {",
		},
		"nobody inside": {
			"Routes that are Internal are for nobody", func(c *Config) { c.Inside = nil }, "geo $phoenix_inside {\n\tdefault 0;\n}\n", "internalNetworks",
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := site()
			c.change(&config)
			files, err := config.Render()
			got := string(files.Main)
			if err != nil || !strings.Contains(got, c.has) || strings.Contains(got, c.not) {
				t.Errorf("%s: want %q and no %q (%v) in\n%s", c.reason, c.has, c.not, err, got)
			}
		})
	}
}

// TestPorts: those of loopback are ports, and none of the others.
func TestPorts(t *testing.T) {
	for _, c := range []struct{ https, inner, through int }{{443, 10443, 20443}, {45535, 55535, 65535}, {45536, 35536, 25536}, {65535, 55535, 45535}} {
		inner, through := Config{HTTPSPort: c.https}.Ports()
		if inner != c.inner || through != c.through {
			t.Errorf("with %d they are %d and %d, want %d and %d", c.https, inner, through, c.inner, c.through)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		change func(*Config)
		want   string
	}{
		"about":        {"it would end the comment", func(c *Config) { c.About = "x\nload_module x" }, `about "x\nload_module x" must be printable ASCII`},
		"source":       {"it would end the comment", func(c *Config) { c.Servers[0].Source = "a\nb" }, `source "a\nb" must be printable ASCII`},
		"no port":      {"there is none", func(c *Config) { c.HTTPPort = 0 }, `httpPort "0" must be from 1 to 65535`},
		"high port":    {"there is none", func(c *Config) { c.HTTPSPort = 65536 }, `httpsPort "65536" must be from 1 to 65535`},
		"one port":     {"it cannot speak both", func(c *Config) { c.HTTPSPort = 80 }, `httpsPort "80" must be another port than httpPort`},
		"no names":     {"nobody would come there", func(c *Config) { c.Servers[0].Names = nil }, `servers[site].names "" must not be empty`},
		"upper case":   {"nginx compares in lower case", func(c *Config) { c.Servers[0].Names[1] = "A.lan" }, `servers[site].names[1] "A.lan" must be a host name in lower case, for example www.phoenix.lan or *.phoenix.lan`},
		"another word": {"it would be a second one", func(c *Config) { c.Servers[0].Names[0] = "a b" }, `servers[site].names[0] "a b" must be a host name in lower case, for example www.phoenix.lan or *.phoenix.lan`},
		"expression":   {"~ begins one", func(c *Config) { c.Servers[0].Names[0] = "~^.*$" }, `servers[site].names[0] "~^.*$" must be a host name in lower case, for example www.phoenix.lan or *.phoenix.lan`},
		"too long":     {"DNS has none", func(c *Config) { c.Servers[0].Names[0] = strings.Repeat("a.", 127) + "b" }, `servers[site].names[0] "` + strings.Repeat("a.", 32) + `" must be a host name in lower case, for example www.phoenix.lan or *.phoenix.lan`},
		"twice":        {"one would never answer", func(c *Config) { c.Servers[1].Names[0] = "phoenix.lan" }, `servers[shop].names[0] "phoenix.lan" is served by servers[site] too`},
		"path":         {"it would be two words", func(c *Config) { c.Servers[0].Key = "/a b" }, `servers[site].key "/a b" must be absolute, without '.' and '..', of letters, digits and - . _`},
		"folder":       {"it would be two words", func(c *Config) { c.Folder = "/a b" }, `folder "/a b" must be absolute, without '.' and '..', of letters, digits and - . _`},
		"network":      {"it would be two words", func(c *Config) { c.Inside[1] = "10.0.0.0/8 1; x" }, `internalNetworks[1] "10.0.0.0/8 1; x" must be a network, for example 10.0.0.0/24`},
		"router":       {"it would be another block", func(c *Config) { c.Upstreams[0].Router = "a {" }, `router "a {" must be the name of an object`},
		"router twice": {"nginx refuses the second", func(c *Config) { c.Upstreams[1].Router = "traefik" }, `router "traefik" must not be there twice`},
		"address":      {"it would have to be asked for", func(c *Config) { c.Upstreams[0].Address = "traefik.lan" }, `HostService/traefik address "traefik.lan" must be an IP address`},
		"web port":     {"there is none", func(c *Config) { c.Upstreams[0].WebPort = 0 }, `HostService/traefik webPort "0" must be from 1 to 65535`},
		"secure port":  {"there is none", func(c *Config) { c.Upstreams[0].SecurePort = -1 }, `HostService/traefik webSecurePort "-1" must be from 1 to 65535`},
		"no timeout":   {"0 is none for nginx", func(c *Config) { c.Proxy.IdleTimeout = 0 }, `proxy.idleTimeout "0s" must be at least 1ms`},
		"no patience":  {"0 is none for nginx", func(c *Config) { c.Proxy.ConnectTimeout = time.Microsecond }, `proxy.connectTimeout "1µs" must be at least 1ms`},
		"body":         {"it would be larger than a number of nginx", func(c *Config) { c.Proxy.MaxBodyMiB = 1<<20 + 1 }, `proxy.maxBodySizeMiB "1048577" must be from 0 to 1048576`},
		"no self":      {"nobody could tell what is passed on", func(c *Config) { c.PassThrough = &PassThrough{IdleTimeout: time.Minute} }, `self "" must be an address`},
		"no idle TCP":  {"0 is none for nginx", func(c *Config) { c.PassThrough, c.Self = &PassThrough{}, "fd00::1" }, `passThrough.idleTimeout "0s" must be at least 1ms`},
		"frame":        {"it would end the value", func(c *Config) { c.Headers.FrameOptions = "DENY; x" }, `securityHeaders.frameOptions "DENY; x" must be a word`},
		"referrer":     {"it would be a variable", func(c *Config) { c.Headers.ReferrerPolicy = "$host" }, `securityHeaders.referrerPolicy "$host" must be a word`},
		"upwards":      {"it would lead elsewhere", func(c *Config) { c.Servers[0].Certificate = "/a/../b" }, `servers[site].certificate "/a/../b" must be absolute, without '.' and '..', of letters, digits and - . _`},
	} {
		t.Run(name, func(t *testing.T) {
			config := site()
			c.change(&config)
			got, err := config.Render()
			var field *FieldError
			if got.Main != nil || !errors.As(err, &field) {
				t.Fatalf("%s: %v, %q; want a field that is named", c.reason, err, got.Main)
			}
			if fields := strings.Split(err.Error(), "\n"); c.want != err.Error() && fields[0] != c.want {
				t.Errorf("%s:\n%s\nwant\n%s", c.reason, err, c.want)
			}
		})
	}
}

func TestField(t *testing.T) {
	for line, want := range map[string]string{
		"\tlisten 80 default_server; # httpPort": "httpPort", "\tserver_name a.lan; # servers[site].names": "servers[site].names",
		"\tssl_certificate /x; # servers[site]": "servers[site]", "\treturn 404;": "", "}": "",
	} {
		if got := Field(line); got != want {
			t.Errorf("%q is made from %q, want %q", line, got, want)
		}
	}
}
