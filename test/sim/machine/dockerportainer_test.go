// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"mime/multipart"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

const serverUnit = `[Unit]
Description=Portainer
Requires=docker.service
After=docker.service
StartLimitIntervalSec=0
[Service]
ExecStartPre=-/usr/bin/docker rm -f portainer
ExecStart=/usr/bin/docker run --rm --name portainer -p 9443:9443 -v /var/run/docker.sock:/var/run/docker.sock -v /var/lib/portainer:/data -v /etc/portainer:/certs:ro --env-file /etc/portainer/agent.env portainer/portainer-ce:2.23.0 --sslcert /certs/tls.crt --sslkey /certs/tls.key --http-disabled
ExecStop=/usr/bin/docker stop -t 20 portainer
Restart=always
RestartSec=50ms
[Install]
WantedBy=multi-user.target
`

const agentUnit = `[Unit]
Requires=docker.service
After=docker.service
[Service]
ExecStartPre=-/usr/bin/docker rm -f agent
ExecStart=/usr/bin/docker run --rm --name agent -p 9001:9001 -v /var/run/docker.sock:/var/run/docker.sock -v /:/host --env-file /etc/agent.env portainer/agent:2.23.0
ExecStop=/usr/bin/docker stop -t 20 agent
Restart=always
[Install]
WantedBy=multi-user.target
`

// keyPair is a certificate that signs itself, and its key.
func keyPair(t *testing.T) (cert, key string, parsed *x509.Certificate) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "portainer"}, DNSNames: []string{"portainer"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	if parsed, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})), parsed
}

// console speaks to a Portainer over its machine's port.
type console struct {
	t      *testing.T
	client *http.Client
	token  string
}

func portainerOf(t *testing.T, m *machine.Machine, root *x509.Certificate) *console {
	roots := x509.NewCertPool()
	roots.AddCert(root)
	return &console{t: t, client: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return m.Dial(ctx, 9443) },
	}}}
}

// call sends JSON, or a form, and gives the answer.
func (a *console) call(method, path string, body any) (status int, answer string, err error) {
	a.t.Helper()
	var sent bytes.Buffer
	kind := "application/json"
	if form, ok := body.(map[string]string); ok {
		w := multipart.NewWriter(&sent)
		for key, value := range form {
			if err := w.WriteField(key, value); err != nil {
				a.t.Fatal(err)
			}
		}
		_, kind = w.Close(), w.FormDataContentType()
	} else if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			a.t.Fatal(err)
		}
	}
	request, err := http.NewRequestWithContext(a.t.Context(), method, "https://portainer/api"+path, &sent)
	if err != nil {
		a.t.Fatal(err)
	}
	request.Header.Set("Content-Type", kind)
	if a.token != "" {
		request.Header.Set("Authorization", "Bearer "+a.token)
	}
	got, err := a.client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = got.Body.Close() }()
	text, err := io.ReadAll(got.Body)
	return got.StatusCode, string(text), err
}

// must is a call that has to succeed.
func (a *console) must(method, path string, body, into any) {
	a.t.Helper()
	status, text, err := a.call(method, path, body)
	if err != nil || status >= 300 {
		a.t.Fatalf("%s %s: %d %s %v", method, path, status, text, err)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			a.t.Fatal(err)
		}
	}
}

var admin = map[string]any{"Username": "admin", "Password": "a long password"}

func (a *console) signIn() {
	a.t.Helper()
	var session struct{ JWT string }
	a.must("POST", "/auth", admin, &session)
	a.token = session.JWT
}

func (a *console) answers() bool {
	status, _, err := a.call("GET", "/system/status", nil)
	return err == nil && status == http.StatusOK
}

// server is a machine with Portainer.
func server(t *testing.T, o machine.Options) (*machine.Machine, *x509.Certificate) {
	t.Helper()
	m := engine(t, o)
	cert, key, root := keyPair(t)
	for name, text := range map[string]string{
		"/etc/systemd/system/portainer.service": serverUnit, "/etc/portainer/tls.crt": cert, "/etc/portainer/tls.key": key, "/etc/portainer/agent.env": "AGENT_SECRET=a secret of agents\n",
	} {
		if err := m.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	must(t, m, "systemctl enable -q --now portainer")
	return m, root
}

func TestPortainerDeploys(t *testing.T) {
	network := machine.NewNetwork()
	m, root := server(t, machine.Options{Network: network, Addresses: []netip.Addr{addr("10.0.0.111")}})
	far := engine(t, machine.Options{Network: network, Addresses: []netip.Addr{addr("10.0.0.102")}})
	for name, text := range map[string]string{"/etc/systemd/system/agent.service": agentUnit, "/etc/agent.env": "AGENT_SECRET=a secret of agents\n"} {
		if err := far.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	must(t, far, "systemctl enable -q --now agent")
	a := portainerOf(t, m, root)
	wait(t, "Portainer to answer", a.answers)
	wait(t, "the agent to answer", func() bool { _, _, exit := run(t, far, "curl -sk https://10.0.0.102:9001/ping", ""); return exit == 0 })
	a.must("POST", "/users/admin/init", admin, nil)
	a.signIn()
	environments := map[string]*struct{ ID int }{"local": {}, "far": {}}
	a.must("POST", "/endpoints", map[string]string{"Name": "local", "EndpointCreationType": "1", "URL": "unix:///var/run/docker.sock"}, environments["local"])
	a.must("POST", "/endpoints", map[string]string{
		"Name": "far", "EndpointCreationType": "2", "URL": "tcp://10.0.0.102:9001", "TLS": "true", "TLSSkipVerify": "true", "TLSSkipClientVerify": "true",
	}, environments["far"])
	for name, at := range map[string]*machine.Machine{"local": m, "far": far} {
		stack := map[string]any{"name": "stack-" + name, "stackFileContent": "services:\n  web:\n    image: traefik/whoami:v1.10\n    restart: unless-stopped\n    ports: ['8081:80']\n    environment: {WHOAMI_NAME: " + name + "}\n"}
		a.must("POST", fmt.Sprintf("/stacks/create/standalone/string?endpointId=%d", environments[name].ID), stack, nil)
		if body, err := ask(t, at, 8081); err != nil || !strings.Contains(body, "\nName: "+name+"\n") {
			t.Errorf("%s: %q, %v", name, body, err)
		}
		must(t, at, "docker ps --format '{{.Names}}' | grep -x stack-"+name+"-web-1")
	}
	must(t, far, "systemctl stop agent")
	if status, text, err := a.call("GET", fmt.Sprintf("/endpoints/%d/docker/containers/json", environments["far"].ID), nil); err != nil || status < 500 {
		t.Errorf("an agent that is away: %d %s %v", status, text, err)
	}
	must(t, m, "systemctl restart portainer")
	wait(t, "Portainer to answer again", a.answers)
	a.signIn()
	var stacks []struct{ Name string }
	if a.must("GET", "/stacks", nil, &stacks); len(stacks) != 2 {
		t.Errorf("stacks after a restart: %v", stacks)
	}
	if m.Portainer() == nil || far.PortainerAgent() != nil || m.PortainerAgent() != nil {
		t.Errorf("server %v, agents %v %v", m.Portainer(), far.PortainerAgent(), m.PortainerAgent())
	}
	if info, err := m.Stat("/var/lib/portainer/portainer.db"); err != nil || info.Perm.Perm() != 0o600 {
		t.Errorf("its database: %v %v", info, err)
	}
	must(t, m, "systemctl stop portainer; rm -r /var/lib/portainer; mkdir /var/lib/portainer; systemctl start portainer")
	wait(t, "a Portainer without its data", a.answers)
	if status, _, err := a.call("GET", "/users/admin/check", nil); err != nil || status != http.StatusNotFound {
		t.Errorf("a Portainer that lost its data knows its administrator: %d %v", status, err)
	}
}

func TestPortainerCertificate(t *testing.T) {
	m, root := server(t, machine.Options{})
	a := portainerOf(t, m, root)
	wait(t, "Portainer to answer", a.answers)
	cert, key, fresh := keyPair(t)
	for name, text := range map[string]string{"/etc/portainer/tls.crt": cert, "/etc/portainer/tls.key": key} {
		if err := m.Edit(name, text); err != nil {
			t.Fatal(err)
		}
	}
	if !a.answers() {
		t.Error("it took a new certificate without a restart")
	}
	must(t, m, "systemctl restart portainer")
	wait(t, "the new certificate", portainerOf(t, m, fresh).answers)
	if a.answers() {
		t.Error("it still answers with the old certificate")
	}
	if err := m.Edit("/etc/portainer/tls.key", "junk"); err != nil {
		t.Fatal(err)
	}
	must(t, m, "systemctl restart portainer")
	wait(t, "the unit to try again", func() bool { return strings.TrimSpace(must(t, m, "systemctl show -P NRestarts portainer")) > "1" })
	if log := must(t, m, "journalctl -u portainer -o cat -n 20"); !strings.Contains(log, "FTL failed initializing ssl service | error=\"tls: failed to find any PEM data in key input\"") {
		t.Errorf("journal:\n%s", log)
	}
}

func TestPortainerWithoutAdministrator(t *testing.T) {
	m, root := server(t, machine.Options{Portainer: func(o *portainer.Options) { o.AdminWait = 100 * time.Millisecond }})
	wait(t, "systemd to start it again", func() bool { return strings.TrimSpace(must(t, m, "systemctl show -P NRestarts portainer")) > "1" })
	if log := must(t, m, "journalctl -u portainer -o cat"); !strings.Contains(log, "No administrator account was created in time") {
		t.Errorf("journal:\n%s", log)
	}
	a := portainerOf(t, m, root)
	wait(t, "an administrator in time", func() bool {
		status, _, err := a.call("POST", "/users/admin/init", admin)
		return err == nil && (status == http.StatusOK || status == http.StatusConflict)
	})
	a.signIn()
}
