// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/sim/traefik"
)

func TestStatic(t *testing.T) {
	for _, tc := range []struct {
		reason, text, want string
	}{
		{"an empty file", "# nothing\n", "command traefik error: no configuration found in file: /etc/traefik/traefik.yml"},
		{"nothing that is known", "nonsense: 1", "command traefik error: no valid configuration found in file: /etc/traefik/traefik.yml"},
		{"broken YAML", "entryPoints:\n  web: {address: \":80\"\n", "command traefik error: yaml: line 1: did not find expected ',' or '}'"},
		{"an unknown field", "entryPoints: {web: {port: \":80\"}}", "command traefik error: field not found, node: port"},
		{"an unknown field of the API", "api: {insecure: true, port: 1}", "command traefik error: field not found, node: port"},
		{"nothing in an entry that needs something", "providers: {file: {}}", "command traefik error: file cannot be a standalone element (type *file.Provider)"},
		{"a number that is none", "entryPoints: {web: {address: \":80\", http: {maxHeaderBytes: many}}}", `command traefik error: strconv.ParseInt: parsing "many": invalid syntax`},
		{"a duration that is none", "providers: {providersThrottleDuration: soon}", `command traefik error: time: invalid duration "soon"`},
		{"addresses that are none", "entryPoints: {web: {address: \":80\", forwardedHeaders: {trustedIPs: [x]}}}", "command traefik error: error while building entryPoint web: creating HTTP server: parsing CIDR trusted IPs <nil>: invalid CIDR address: x"},
		{"a protocol that is none", "entryPoints: {web: {address: \":80/sctp\"}}", "command traefik error: error while building entryPoint web: invalid protocol: sctp"},
		{"a base path that is none", "api: {basePath: x}", "command traefik error: API basePath must be a valid absolute URL path"},
		{"what is unknown at the top is passed over", "nonsense: {a: 1}\napi: {}\n", ""},
		{"everything that Phoenix writes", strings.Replace(static, "{address: \":80\"}", "{address: \":80\", forwardedHeaders: {trustedIPs: [10.0.0.153]}, transport: {respondingTimeouts: {readTimeout: 0s}, lifeCycle: {graceTimeOut: 30s}}}", 1) +
			"global: {checkNewVersion: false, sendAnonymousUsage: false}\nmetrics: {prometheus: {entryPoint: metrics}}\n", ""},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			s := newSite(t)
			s.disk.put("/etc/traefik/traefik.yml", tc.text)
			server, err := traefik.Start(s.options)
			if err == nil {
				server.Close()
			}
			if got := errorText(err); got != tc.want {
				t.Errorf("\n%s, want\n%s", got, tc.want)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestEntryPointsByThemselves(t *testing.T) {
	s := newSite(t)
	s.disk.put("/etc/traefik/traefik.yml", "api: {insecure: true}\nping: {}\nmetrics: {prometheus: {}}\n")
	s.start()
	for _, tc := range []struct {
		reason, at, request, want string
		status                    int
	}{
		{"HTTP is at 80", ":80", "GET http://x/", "404 page not found\n", http.StatusNotFound},
		{"ping at 8080", ":8080", "GET http://x/ping", "OK", http.StatusOK},
		{"the API too", ":8080", "GET http://x/api/version", `"Version":"` + traefik.Version + `"`, http.StatusOK},
		{"metrics too", ":8080", "GET http://x/metrics", "traefik_config_reloads_total 1\n", http.StatusOK},
		{"the dashboard unless it is turned off", ":8080", "GET http://x/", "", http.StatusMovedPermanently},
		{"nothing else", ":8080", "GET http://x/api/nothing/here", "404 page not found\n", http.StatusNotFound},
		{"the API reads only", ":8080", "POST http://x/api/version", "", http.StatusMethodNotAllowed},
	} {
		if got := s.ask(tc.at, tc.request); got.status != tc.status || !strings.Contains(got.body, tc.want) {
			t.Errorf("%s: %d %s", tc.reason, got.status, got.body)
		}
	}
}
