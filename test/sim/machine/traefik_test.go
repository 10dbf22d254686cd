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
	answer, err := client.Get(url) //nolint:noctx // it ends with its connection
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
