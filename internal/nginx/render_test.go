// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// site is a configuration with two servers.
func site() Config {
	return Config{
		About: "HostService home/nginx", HTTPPort: 80, HTTPSPort: 443,
		Servers: []Server{
			{Source: "servers[site]", Names: []string{"phoenix.lan", "*.phoenix.lan"}, Certificate: "/etc/nginx/phoenix/nginx/site.crt", Key: "/etc/nginx/phoenix/nginx/site.key"},
			{Source: "servers[shop]", Names: []string{"shop.example.org"}, Certificate: "/etc/nginx/phoenix/nginx/shop.crt", Key: "/etc/nginx/phoenix/nginx/shop.key"},
		},
	}
}

// Real nginx 1.22 accepted this file and answered as the package's comment says.
const wantSite = `# HostService home/nginx
# Made by Phoenix: what is changed here by hand is put back.

# Names that are not declared get no answer, and no handshake.
server {
	listen 80 default_server; # httpPort
	listen [::]:80 default_server; # httpPort
	server_name _;
	return 444;
}
server {
	listen 443 ssl http2 default_server; # httpsPort
	listen [::]:443 ssl http2 default_server; # httpsPort
	server_name _;
	ssl_protocols TLSv1.2 TLSv1.3;
	ssl_reject_handshake on;
	return 421;
}

# servers[site]
server {
	listen 80; # httpPort
	listen [::]:80; # httpPort
	server_name phoenix.lan *.phoenix.lan; # servers[site].names
	return 308 https://$host$request_uri;
}
server {
	listen 443 ssl http2; # httpsPort
	listen [::]:443 ssl http2; # httpsPort
	server_name phoenix.lan *.phoenix.lan; # servers[site].names
	ssl_protocols TLSv1.2 TLSv1.3;
	ssl_certificate /etc/nginx/phoenix/nginx/site.crt; # servers[site]
	ssl_certificate_key /etc/nginx/phoenix/nginx/site.key; # servers[site]
	return 404;
}

# servers[shop]
server {
	listen 80; # httpPort
	listen [::]:80; # httpPort
	server_name shop.example.org; # servers[shop].names
	return 308 https://$host$request_uri;
}
server {
	listen 443 ssl http2; # httpsPort
	listen [::]:443 ssl http2; # httpsPort
	server_name shop.example.org; # servers[shop].names
	ssl_protocols TLSv1.2 TLSv1.3;
	ssl_certificate /etc/nginx/phoenix/nginx/shop.crt; # servers[shop]
	ssl_certificate_key /etc/nginx/phoenix/nginx/shop.key; # servers[shop]
	return 404;
}
`

func TestRender(t *testing.T) {
	got, err := site().Render()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantSite, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRenderOtherwise(t *testing.T) {
	long := strings.Repeat("a", 43) + ".lan"
	for name, c := range map[string]struct {
		reason   string
		change   func(*Config)
		has, not string
	}{
		"nobody": {
			"without a server, everybody is refused", func(c *Config) { c.Servers = nil }, "return 444;", "ssl_certificate",
		},
		"another port": {
			"the browser is sent to where TLS ends", func(c *Config) { c.HTTPSPort = 8443 }, "return 308 https://$host:8443$request_uri;", "listen 443",
		},
		"a long name": {
			"nginx refuses a name of 47 characters with what it has by itself", func(c *Config) { c.Servers[0].Names = []string{long} },
			"server_names_hash_bucket_size 512;\n", "phoenix.lan;",
		},
		"just not too long": {
			"46 are no trouble, and somebody else may have set the size", func(c *Config) { c.Servers[0].Names = []string{long[1:]} },
			long[1:] + ";", "server_names_hash_bucket_size",
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := site()
			c.change(&config)
			got, err := config.Render()
			if err != nil || !strings.Contains(string(got), c.has) || strings.Contains(string(got), c.not) {
				t.Errorf("%s: want %q and no %q (%v) in\n%s", c.reason, c.has, c.not, err, got)
			}
		})
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
		"upwards":      {"it would lead elsewhere", func(c *Config) { c.Servers[0].Certificate = "/a/../b" }, `servers[site].certificate "/a/../b" must be absolute, without '.' and '..', of letters, digits and - . _`},
	} {
		t.Run(name, func(t *testing.T) {
			config := site()
			c.change(&config)
			got, err := config.Render()
			var field *FieldError
			if got != nil || !errors.As(err, &field) {
				t.Fatalf("%s: %v, %q; want a field that is named", c.reason, err, got)
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
