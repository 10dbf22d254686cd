// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func static() Static {
	return Static{
		About: "HostService home/traefik", WebPort: 80, WebSecurePort: 443, APIPort: 8080, MetricsPort: 9100,
		Trusted: []string{"10.0.0.153", "fd00::153"}, AccessLog: true, LogLevel: "WARN", Folder: "/etc/traefik/dynamic",
	}
}

func TestStaticIsRendered(t *testing.T) {
	for file, s := range map[string]Static{
		"static.yml":      static(),
		"staticplain.yml": {WebPort: 80, WebSecurePort: 443, APIPort: 8080, Folder: "/etc/traefik/dynamic"},
	} {
		content, err := s.YAML()
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		golden(t, file, content)
		var tree struct {
			EntryPoints map[string]struct {
				Address          string
				ForwardedHeaders struct {
					TrustedIPs []string `yaml:"trustedIPs"`
				} `yaml:"forwardedHeaders"`
				ProxyProtocol struct {
					TrustedIPs []string `yaml:"trustedIPs"`
				} `yaml:"proxyProtocol"`
			} `yaml:"entryPoints"`
		}
		if err := yaml.Unmarshal(content, &tree); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if got := tree.EntryPoints["traefik"].Address; got != "127.0.0.1:8080" {
			t.Errorf("%s: the API stands at %q", file, got)
		}
		web, secure := tree.EntryPoints[Web], tree.EntryPoints[WebSecure]
		if !slices.Equal(web.ForwardedHeaders.TrustedIPs, s.Trusted) || !slices.Equal(secure.ProxyProtocol.TrustedIPs, s.Trusted) {
			t.Errorf("%s: believed are %v and %v", file, web.ForwardedHeaders.TrustedIPs, secure.ProxyProtocol.TrustedIPs)
		}
	}
}

func TestStaticRefuses(t *testing.T) {
	for _, c := range []struct {
		reason, field string
		change        func(*Static)
	}{
		{"no port", "webPort", func(s *Static) { s.WebPort = 0 }},
		{"a port that is none", "webSecurePort", func(s *Static) { s.WebSecurePort = 65536 }},
		{"a port twice", "apiPort", func(s *Static) { s.APIPort = 80 }},
		{"a port twice", "metricsPort", func(s *Static) { s.MetricsPort = 443 }},
		{"a gateway that is no address would trust nobody, or all", "gatewayRefs[1]", func(s *Static) { s.Trusted[1] = "nginx\"\n" }},
		{"a level that is none", "logLevel", func(s *Static) { s.LogLevel = "INFO\napi: {}" }},
		{"a folder that goes up", "folder", func(s *Static) { s.Folder = "/etc/../x" }},
		{"a folder with a quote", "folder", func(s *Static) { s.Folder = `/a"b` }},
		{"two lines", "about", func(s *Static) { s.About = "a\nb" }},
	} {
		s := static()
		c.change(&s)
		_, err := s.YAML()
		if !slices.Contains(refusals(err), c.field) {
			t.Errorf("%s: %s is not refused: %v", c.reason, c.field, err)
		}
	}
}

func TestFieldsOfLines(t *testing.T) {
	content, err := static().YAML()
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	for line := range strings.Lines(string(content)) {
		if field := Field(strings.TrimSuffix(line, "\n")); field != "" && !slices.Contains(fields, field) {
			fields = append(fields, field)
		}
	}
	want := []string{"logLevel", "accessLog", "webPort", "gatewayRefs", "webSecurePort", "apiPort", "metricsPort"}
	if !slices.Equal(fields, want) {
		t.Errorf("fields are %v, want %v", fields, want)
	}
	if got := Field("# HostService home/traefik"); got != "" {
		t.Errorf("the first line is of %q", got)
	}
}
