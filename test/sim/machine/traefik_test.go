// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

const traefikUnit = `[Unit]
Description=Traefik
[Service]
User=traefik
ExecStart=/usr/local/bin/traefik --configFile=/etc/traefik/traefik.yml
Restart=always
AmbientCapabilities=CAP_NET_BIND_SERVICE
ProtectSystem=strict
[Install]
WantedBy=multi-user.target
`

const traefikStatic = `
entryPoints:
  web: {address: ":80", forwardedHeaders: {trustedIPs: [10.0.0.153]}}
  websecure: {address: ":443"}
  traefik: {address: "127.0.0.1:8080"}
  metrics: {address: ":9100"}
api: {insecure: true, dashboard: false}
ping: {}
metrics: {prometheus: {entryPoint: metrics}}
log: {level: INFO}
providers:
  providersThrottleDuration: 20ms
  file: {directory: /etc/traefik/routes, watch: true}
global: {checkNewVersion: false, sendAnonymousUsage: false}
`

// router is a machine with a running Traefik, and one with a web server in a container.
func router(t *testing.T) (traefik, backend *machine.Machine) {
	t.Helper()
	site := machine.NewNetwork()
	web := machine.NewMirror()
	address, body, _, member := machine.TraefikRelease("")
	web.Put(address, body)
	m := booted(t, machine.Options{Hostname: "traefik", Network: site, Addresses: []netip.Addr{addr("10.0.0.12")}, Web: web.Get, Installed: []string{"curl", "ca-certificates"}})
	must(t, m, account+"traefik; curl -fsSL -o /tmp/a.tgz "+address+" && tar -xzOf /tmp/a.tgz "+member+" > /usr/local/bin/traefik && chmod 755 /usr/local/bin/traefik")
	for name, text := range map[string]string{"/etc/traefik/traefik.yml": traefikStatic, "/etc/systemd/system/traefik.service": traefikUnit} {
		if err := m.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must(t, m, "mkdir -p /etc/traefik/routes; chown root:traefik /etc/traefik/routes; chmod 750 /etc/traefik/routes; systemctl enable -q traefik; systemctl start traefik; systemctl is-active traefik")
	b := booted(t, machine.Options{Hostname: "drphoenix", Network: site, Addresses: []netip.Addr{addr("10.0.0.102")}, Registry: machine.DockerHub()})
	must(t, b, "apt-get update && apt-get install -y docker.io && docker run -d --name web -e WHOAMI_NAME=one -p 8081:80 traefik/whoami:v1.10")
	return m, b
}

// get asks a machine by a host name.
func get(t *testing.T, m *machine.Machine, port int, url string) (status int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return m.Dial(ctx, port) },
	}}
	answer, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

const routeFile = "http:\n  routers:\n    a: {rule: 'Host(`a.phoenix.lan`) && PathPrefix(`/`)', service: a, entryPoints: [web]}\n  services:\n    a: {loadBalancer: {servers: [{url: 'http://10.0.0.102:8081'}]}}\n"

func TestTraefik(t *testing.T) {
	m, _ := router(t)
	if out := must(t, m, "curl -s http://127.0.0.1:8080/api/version"); !strings.Contains(out, `"Version":"3.6.12"`) {
		t.Errorf("the API's version: %s", out)
	}
	if status, _ := get(t, m, 80, "http://a.phoenix.lan/"); status != http.StatusNotFound {
		t.Errorf("before there is a route: %d", status)
	}
	if err := m.WriteFile("/etc/traefik/.a", routeFile, 0o644); err != nil {
		t.Fatal(err)
	}
	must(t, m, "mv /etc/traefik/.a /etc/traefik/routes/a.yml")
	wait(t, "the route", func() bool {
		status, body := get(t, m, 80, "http://a.phoenix.lan/x")
		return status == http.StatusOK && strings.Contains(body, "Name: one") && strings.Contains(body, "GET /x HTTP/1.1") && strings.Contains(body, "X-Forwarded-Host: a.phoenix.lan")
	})
	if _, err := m.Dial(t.Context(), 8080); err == nil {
		t.Error("the API answers others than its own machine")
	}
}

func TestTraefikRefuses(t *testing.T) {
	for _, tc := range []struct{ reason, before, want string }{
		{"a field that nobody knows", "sed -i 's/insecure: true/insecurely: true/' /etc/traefik/traefik.yml", `"error":"command traefik error: field not found, node: insecurely"`},
		{"a file that it may not read", "chmod 600 /etc/traefik/traefik.yml", "command traefik error: open /etc/traefik/traefik.yml: permission denied"},
		{"no file", "rm /etc/traefik/traefik.yml; systemctl daemon-reload", "command traefik error: open /etc/traefik/traefik.yml: no such file or directory"},
		{"a port that it may not take", "sed -i /Ambient/d /etc/systemd/system/traefik.service; systemctl daemon-reload", "error while building entryPoint web: building listener: error opening listener: listen tcp :80: bind: permission denied"},
		{"a port that another one has", "apt-get update -q && apt-get install -y -q nginx", "listen tcp :80: bind: address already in use"},
		{"a program that is none", "echo nonsense > /usr/local/bin/traefik", "Failed at step EXEC spawning /usr/local/bin/traefik: Exec format error"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			m, _ := router(t)
			must(t, m, "systemctl stop traefik; "+tc.before+" >/dev/null")
			must(t, m, "systemctl start traefik || true")
			if got := must(t, m, "systemctl is-active traefik || true"); got != "failed\n" {
				t.Errorf("it is %s", got)
			}
			if got := must(t, m, "journalctl -u traefik"); !strings.Contains(got, tc.want) {
				t.Errorf("the journal:\n%s", got)
			}
		})
	}
}

func TestTraefikOfUnits(t *testing.T) {
	m, b := router(t)
	put := func() {
		if err := m.WriteFile("/etc/traefik/routes/a.yml", routeFile, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	answers := func() bool {
		status, _ := get(t, m, 80, "http://a.phoenix.lan/")
		return status == http.StatusOK
	}
	put()
	wait(t, "the route", answers)
	for _, tc := range []struct{ reason, do string }{
		{"a restart", "systemctl restart traefik"},
		{"a reload of all units", "systemctl daemon-reload"},
	} {
		must(t, m, tc.do)
		wait(t, tc.reason, answers)
	}
	must(t, m, "chmod 600 /etc/traefik/routes/a.yml; systemctl restart traefik")
	if status, _ := get(t, m, 80, "http://a.phoenix.lan/"); status != http.StatusNotFound {
		t.Errorf("a file that it may not read: %d", status)
	}
	if got := must(t, m, "journalctl -u traefik"); !strings.Contains(got, "/etc/traefik/routes/a.yml: error reading configuration file: /etc/traefik/routes/a.yml - open /etc/traefik/routes/a.yml: permission denied") {
		t.Errorf("the journal:\n%s", got)
	}
	must(t, m, "chown root:traefik /etc/traefik/routes/a.yml; chmod 640 /etc/traefik/routes/a.yml")
	wait(t, "the file that it may read", answers)
	must(t, m, "mv /etc/traefik/routes /etc/traefik/old; mkdir /etc/traefik/routes")
	put()
	if !answers() {
		t.Error("it lost what it had")
	}
	must(t, m, "rm /etc/traefik/old/a.yml") // it follows the folder that it knew, and looks where the name leads to
	wait(t, "the other folder", answers)
	b.Halt()
	if status, body := get(t, m, 80, "http://a.phoenix.lan/"); status != http.StatusBadGateway {
		t.Errorf("a backend that is off: %d %s", status, body)
	}
	m.Halt()
	if _, err := m.Dial(t.Context(), 80); err == nil {
		t.Error("a machine that is off answers")
	}
	b.Boot()
	m.Boot()
	must(t, b, "docker start web")
	wait(t, "the machines to be back", answers)
	must(t, m, "systemctl stop traefik")
	if _, err := m.Dial(t.Context(), 80); err == nil || m.Traefik() != nil {
		t.Error("it answers when it is stopped")
	}
}

func TestTraefikVersions(t *testing.T) {
	m, _ := router(t)
	_, body, _, member := machine.TraefikRelease("3.6.13")
	if err := m.WriteFile("/tmp/new.tgz", string(body), 0o644); err != nil {
		t.Fatal(err)
	}
	must(t, m, "tar -xzOf /tmp/new.tgz "+member+" > /usr/local/bin/traefik.new; chmod 755 /usr/local/bin/traefik.new; mv /usr/local/bin/traefik.new /usr/local/bin/traefik")
	for _, tc := range []struct{ reason, do, want string }{
		{"the program", "command -v traefik; traefik version | head -1", "/usr/local/bin/traefik\nVersion:      3.6.13\n"},
		{"what runs is still the old one", "curl -s http://127.0.0.1:8080/api/version", `"Version":"3.6.12"`},
		{"until it is started again", "systemctl restart traefik; curl -s http://127.0.0.1:8080/api/version", `"Version":"3.6.13"`},
		{"ping", "curl -s http://127.0.0.1:8080/ping", "OK"},
		{"metrics", "curl -s http://10.0.0.12:9100/metrics", "traefik_config_reloads_total"},
	} {
		if got := must(t, m, tc.do); !strings.Contains(got, tc.want) {
			t.Errorf("%s: %s", tc.reason, got)
		}
	}
	end := m.TraefikFaults().FailAPI("/api/rawdata", 0, http.StatusInternalServerError)
	defer end()
	if got := must(t, m, "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/api/rawdata"); got != "500" {
		t.Errorf("an API that fails: %s", got)
	}
}

func TestWhoami(t *testing.T) {
	_, b := router(t)
	must(t, b, "docker run -d --name other -e WHOAMI_PORT_NUMBER=81 -p 8082:81 -p 8083:80 traefik/whoami:v1.11")
	for _, tc := range []struct {
		reason string
		port   int
		path   string
		status int
		want   string
	}{
		{"who it is", 8081, "/x?y", 200, "\nName: one\n"},
		{"who asks, and how", 8081, "/x?y", 200, "\nGET /x?y HTTP/1.1\nHost: b\nAccept-Encoding: gzip\r\n"},
		{"its health", 8081, "/health", 200, ""},
		{"line by line", 8081, "/ticks", 200, "tick 4\n"},
		{"another port", 8082, "/", 200, "Hostname: "},
		{"a port at which it does not listen", 8083, "/", 0, "EOF"},
		{"no upgrade", 8081, "/echo", 426, "Upgrade"},
	} {
		if status, body := get(t, b, tc.port, "http://b"+tc.path); status != tc.status || !strings.Contains(body, tc.want) {
			t.Errorf("%s: %d %q", tc.reason, status, body)
		}
	}
	ask := func(path, body string) string {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return b.Dial(ctx, 8081) }}}
		answer, err := client.Post("http://b"+path, "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.Status + " " + string(text)
	}
	if got := ask("/count", "12345"); got != "200 OK 5\n" {
		t.Errorf("a body: %s", got)
	}
	if got := ask("/health", "503"); got != "200 OK " {
		t.Errorf("its health is set: %s", got)
	}
	if status, _ := get(t, b, 8081, "http://b/health"); status != http.StatusServiceUnavailable {
		t.Errorf("its health: %d", status)
	}
	if got := ask("/health", "x"); !strings.HasPrefix(got, "400 ") {
		t.Errorf("a health that is none: %s", got)
	}
}
