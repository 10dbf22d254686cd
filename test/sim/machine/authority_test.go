// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/certificates/api"
	"github.com/smallstep/certificates/ca"
	"go.step.sm/crypto/jose"
	"go.step.sm/crypto/minica"
	"go.step.sm/crypto/pemutil"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

const stepCAUnit = `[Unit]
Description=step-ca
[Service]
User=step-ca
ExecStart=/usr/local/bin/step-ca /etc/step-ca/ca.json
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
AmbientCapabilities=CAP_NET_BIND_SERVICE
ProtectSystem=strict
ReadWritePaths=/var/lib/step-ca
[Install]
WantedBy=multi-user.target
`

// pki is an authority's certificates and the key of its provisioner.
type pki struct {
	root, intermediate *x509.Certificate
	signer             crypto.Signer
	provisioner        *jose.JSONWebKey
}

func newPKI(t *testing.T) pki {
	t.Helper()
	m, err := minica.New()
	if err != nil {
		t.Fatal(err)
	}
	key, err := jose.GenerateJWK("EC", "P-256", "ES256", "sig", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	return pki{m.Root, m.Intermediate, m.Signer, key}
}

func pemOf(t *testing.T, v any) string {
	t.Helper()
	block, err := pemutil.Serialize(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

// config is a ca.json.
func (k pki) config(t *testing.T, change map[string]any) string {
	t.Helper()
	public, err := json.Marshal(k.provisioner.Public())
	if err != nil {
		t.Fatal(err)
	}
	c := map[string]any{
		"root": "/etc/step-ca/root.crt", "crt": "/etc/step-ca/intermediate.crt", "key": "/etc/step-ca/intermediate.key",
		"address": ":443", "dnsNames": []string{"ca.lan", "10.0.0.10"}, "db": map[string]any{"type": "badgerv2", "dataSource": "/var/lib/step-ca/db"},
		"authority": map[string]any{"provisioners": []any{
			map[string]any{"type": "JWK", "name": "phoenix", "key": json.RawMessage(public), "claims": map[string]any{"maxTLSCertDuration": "48h"}},
			map[string]any{"type": "ACME", "name": "acme"},
		}},
	}
	for key, value := range change {
		c[key] = value
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// install puts step-ca on a machine as its release, without starting it.
func (k pki) install(t *testing.T, m *machine.Machine) {
	t.Helper()
	address, _, _, member := machine.StepCARelease()
	must(t, m, account+"step-ca; curl -fsSL -o /tmp/a.tgz "+address+" && tar -xzOf /tmp/a.tgz "+member+" > /usr/local/bin/step-ca && chmod 755 /usr/local/bin/step-ca")
	must(t, m, "mkdir -p /etc/step-ca /var/lib/step-ca; chown step-ca: /var/lib/step-ca")
	for name, text := range map[string]string{
		"/etc/step-ca/root.crt": pemOf(t, k.root), "/etc/step-ca/intermediate.crt": pemOf(t, k.intermediate), "/etc/step-ca/intermediate.key": pemOf(t, k.signer),
		"/etc/step-ca/ca.json": k.config(t, nil), "/etc/systemd/system/step-ca.service": stepCAUnit,
	} {
		if err := m.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must(t, m, "chmod 600 /etc/step-ca/intermediate.key; chown step-ca: /etc/step-ca/intermediate.key; systemctl enable -q step-ca")
}

// stepCA is a machine with a running authority.
func stepCA(t *testing.T) (*machine.Machine, pki) {
	t.Helper()
	k := newPKI(t)
	m := booted(t, machine.Options{Hostname: "step-ca", Addresses: []netip.Addr{addr("10.0.0.10")}, Web: released().Get, Installed: []string{"curl", "ca-certificates"}})
	k.install(t, m)
	must(t, m, "systemctl start step-ca; systemctl is-active step-ca")
	return m, k
}

func released() *machine.Mirror {
	web := machine.NewMirror()
	address, body, _, _ := machine.StepCARelease()
	web.Put(address, body)
	return web
}

// client is smallstep's client, over the machine's port.
func (k pki) client(t *testing.T, m *machine.Machine, present ...tls.Certificate) *ca.Client {
	t.Helper()
	c, err := ca.NewClient("https://10.0.0.10", ca.WithTransport(k.transport(t, m, present...)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (k pki) transport(t *testing.T, m *machine.Machine, present ...tls.Certificate) *http.Transport {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(k.root)
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: present, MinVersion: tls.VersionTLS12},
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return m.Dial(ctx, 443) },
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// request is a request for a certificate with a one-time token.
func (k pki) request(t *testing.T, name string, life time.Duration) (*api.SignRequest, crypto.PrivateKey) {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k.provisioner.Key}, new(jose.SignerOptions).WithType("JWT").WithHeader("kid", k.provisioner.KeyID))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	token, err := jose.Signed(signer).Claims(map[string]any{
		"iss": "phoenix", "aud": "https://10.0.0.10/1.0/sign", "sub": name, "sans": []string{name}, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "jti": fmt.Sprint(now.UnixNano()),
	}).CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	request, key, err := ca.CreateSignRequest(token)
	if err != nil {
		t.Fatal(err)
	}
	request.NotAfter = api.NewTimeDuration(now.Add(life))
	return request, key
}

func TestAuthorityIssues(t *testing.T) {
	m, k := stepCA(t)
	c := k.client(t, m)
	if h, err := c.Health(); err != nil || h.Status != "ok" {
		t.Fatalf("health: %v %v", h, err)
	}
	request, key := k.request(t, "nginx.lan", time.Hour)
	answer, err := c.Sign(request)
	if err != nil {
		t.Fatal(err)
	}
	leaf := answer.ServerPEM.Certificate
	if leaf.DNSNames[0] != "nginx.lan" || leaf.CheckSignatureFrom(k.intermediate) != nil {
		t.Errorf("issued %v by %v", leaf.DNSNames, leaf.Issuer)
	}
	if _, err := c.Sign(request); err == nil {
		t.Error("a token was good for a second certificate")
	}
	must(t, m, "systemctl restart step-ca")
	if _, err := c.Sign(request); err == nil || !strings.Contains(err.Error(), "authorization") {
		t.Errorf("a restarted authority took a used token: %v", err)
	}
	m.Halt()
	if _, err := c.Health(); err == nil {
		t.Error("a machine that is off answers")
	}
	m.Boot()
	if _, err := c.Sign(request); err == nil || !strings.Contains(err.Error(), "authorization") {
		t.Errorf("an authority whose machine was off took a used token: %v", err)
	}
	present := tls.Certificate{Certificate: [][]byte{leaf.Raw, answer.CaPEM.Raw}, PrivateKey: key}
	renewed, err := k.client(t, m, present).Renew(k.transport(t, m, present))
	if err != nil || renewed.ServerPEM.SerialNumber.Cmp(leaf.SerialNumber) == 0 || renewed.ServerPEM.NotAfter.Sub(renewed.ServerPEM.NotBefore) != leaf.NotAfter.Sub(leaf.NotBefore) {
		t.Errorf("renewed: %v %v", renewed, err)
	}
	if _, err := k.client(t, m, present).Revoke(&api.RevokeRequest{Serial: leaf.SerialNumber.String(), ReasonCode: 4, Passive: true}, k.transport(t, m, present)); err != nil {
		t.Fatal(err)
	}
	if _, err := k.client(t, m, present).Renew(k.transport(t, m, present)); err == nil {
		t.Error("a revoked certificate was renewed")
	}
	long, _ := k.request(t, "long.lan", 100*time.Hour)
	if _, err := c.Sign(long); err == nil || !strings.Contains(err.Error(), "more than the authorized maximum") {
		t.Errorf("too long a life: %v", err)
	}
}

func TestAuthorityTrust(t *testing.T) {
	m, _ := stepCA(t)
	if err := m.WriteFile("/usr/local/share/ca-certificates/own.crt", "", 0o644); err != nil {
		t.Fatal(err)
	}
	ask := "curl -sS -o /dev/null -w '%{http_code}\\n' https://10.0.0.10/health"
	play(t, m, []script{
		{"nobody trusts it", ask, "", "", "curl: (60) SSL certificate problem: unable to get local issuer certificate\n", 60},
		{"its root is trusted", "cp /etc/step-ca/root.crt /usr/local/share/ca-certificates/own.crt; update-ca-certificates >/dev/null; " + ask, "", "200\n", "", 0},
		{"by its names", strings.Replace(ask, "10.0.0.10", "localhost", 1), "", "", "curl: (60) SSL certificate problem: no alternative certificate subject name matches target host name 'localhost'\n", 60},
		{"roots answers 201", strings.Replace(ask, "health", "roots", 1), "", "201\n", "", 0},
		{"acme", strings.Replace(ask, "health", "acme/acme/directory", 1), "", "200\n", "", 0},
		{"it is down", "systemctl stop step-ca; " + ask, "", "", "curl: (7) Failed to connect to 10.0.0.10 port 443 after 0 ms: Couldn't connect to server\n", 7},
	})
}

func TestAuthorityRefusesToStart(t *testing.T) {
	m, k := stepCA(t)
	other := newPKI(t)
	files := map[string]string{"ca.json": k.config(t, nil), "root.crt": pemOf(t, k.root), "intermediate.crt": pemOf(t, k.intermediate), "intermediate.key": pemOf(t, k.signer)}
	cases := []struct {
		reason, file, text string
		breakIt            string
		journal            string
		status             int
	}{
		{"no configuration", "", "", "rm /etc/step-ca/ca.json", "Documentation: https://u.step.sm/docs/ca", 1},
		{"no JSON", "ca.json", "{ junk", "", "error parsing /etc/step-ca/ca.json: invalid character 'j' looking for beginning of object key string", 2},
		{"no address", "ca.json", k.config(t, map[string]any{"address": ""}), "", "address cannot be empty", 2},
		{"another port", "ca.json", k.config(t, map[string]any{"address": ":444"}), "", "", 0},
		{"an unknown database", "ca.json", k.config(t, map[string]any{"db": map[string]any{"type": "frob", "dataSource": "/var/lib/step-ca/x"}}), "", "Error opening database of Type frob: frob database not supported", 2},
		{"a database out of reach", "ca.json", k.config(t, map[string]any{"db": map[string]any{"type": "badgerv2", "dataSource": "/srv/db"}}), "",
			`Error opening database of Type badgerv2: error opening Badger database: Error Creating Dir: "/srv/db": read-only file system`, 2},
		{"no root", "", "", "rm /etc/step-ca/root.crt", `error reading "/etc/step-ca/root.crt": no such file or directory`, 2},
		{"a root that is none", "root.crt", "junk", "", "error parsing /etc/step-ca/root.crt: error parsing certificate as DER format: x509: malformed certificate", 2},
		{"a key that its user may not read", "", "", "chown root: /etc/step-ca/intermediate.key", "key not found", 2},
		{"a key of another certificate", "intermediate.key", pemOf(t, other.signer), "", "authority.GetTLSCertificate: error creating certificate: x509: provided PrivateKey doesn't match parent's PublicKey", 2},
		{"no such user", "", "", "sed -i s/User=step-ca/User=nobody-here/ /etc/systemd/system/step-ca.service", "step-ca.service: Failed at step USER spawning /usr/local/bin/step-ca: No such process", 217},
		{"no folder for its state", "", "", "rm -r /var/lib/step-ca", "step-ca.service: Failed at step NAMESPACE spawning /usr/local/bin/step-ca: No such file or directory", 226},
		{"no program", "", "", "rm /usr/local/bin/step-ca", "step-ca.service: Failed at step EXEC spawning /usr/local/bin/step-ca: No such file or directory", 203},
		{"half a program", "", "", "echo junk > /usr/local/bin/step-ca", "step-ca.service: Failed at step EXEC spawning /usr/local/bin/step-ca: Exec format error", 203},
		{"no right to the port", "", "", "sed -i /Ambient/d /etc/systemd/system/step-ca.service", "listen tcp :443: bind: permission denied", 2},
	}
	for _, tc := range cases {
		t.Run(tc.reason, func(t *testing.T) {
			must(t, m, "systemctl stop step-ca; mkdir -p /var/lib/step-ca; chown -R step-ca: /var/lib/step-ca /etc/step-ca; curl -fsSL -o /tmp/a.tgz "+first(machine.StepCARelease())+
				"; tar -xzOf /tmp/a.tgz step-ca_0.30.2/step-ca > /usr/local/bin/step-ca; chmod 755 /usr/local/bin/step-ca")
			for name, text := range files {
				if name == tc.file {
					text = tc.text
				}
				if err := m.WriteFile("/etc/step-ca/"+name, text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := m.WriteFile("/etc/systemd/system/step-ca.service", stepCAUnit, 0o644); err != nil {
				t.Fatal(err)
			}
			must(t, m, "chmod 600 /etc/step-ca/intermediate.key; "+tc.breakIt)
			must(t, m, "systemctl daemon-reload; systemctl reset-failed step-ca; systemctl start step-ca")
			unit, journal := m.Unit("step-ca"), must(t, m, "journalctl -u step-ca -o cat -n 12")
			if want := map[bool]string{true: "failed", false: "active"}[tc.status != 0]; unit.Active != want || unit.Status != tc.status || !strings.Contains(journal, tc.journal) {
				t.Errorf("%s, status %d, journal:\n%s\nwant status %d, %q", unit.Active, unit.Status, journal, tc.status, tc.journal)
			}
			if tc.status != 0 {
				if _, err := m.Dial(t.Context(), 443); err == nil {
					t.Error("it listens all the same")
				}
			}
		})
	}
}

func first(address string, _ []byte, _, _ string) string { return address }

func TestAuthorityReload(t *testing.T) {
	m, k := stepCA(t)
	other := newPKI(t)
	ask := func(root *x509.Certificate) error {
		k := k
		k.root = root
		_, err := k.client(t, m).Health()
		return err
	}
	if err := m.WriteFile("/etc/step-ca/ca.json", "{", 0o644); err != nil {
		t.Fatal(err)
	}
	must(t, m, "systemctl reload step-ca; journalctl -u step-ca -o cat | grep 'error reloading ca: error parsing'")
	if err := ask(k.root); err != nil {
		t.Errorf("after a reload that failed: %v", err)
	}
	for name, text := range map[string]string{
		"ca.json": k.config(t, map[string]any{"root": []string{"/etc/step-ca/root.crt", "/etc/step-ca/old.crt"}}),
		"old.crt": pemOf(t, k.root), "root.crt": pemOf(t, other.root), "intermediate.crt": pemOf(t, other.intermediate), "intermediate.key": pemOf(t, other.signer),
	} {
		if err := m.Edit("/etc/step-ca/"+name, text); err != nil {
			t.Fatal(err)
		}
	}
	must(t, m, "systemctl reload step-ca")
	if err := ask(other.root); err != nil {
		t.Errorf("under the new root: %v", err)
	}
	if err := ask(k.root); err == nil {
		t.Error("it still answers under the old root")
	}
	roots, err := other.client(t, m).Roots()
	if err != nil || len(roots.Certificates) != 2 {
		t.Errorf("roots: %v %v", roots, err)
	}
}

func TestAuthorityFaults(t *testing.T) {
	m, k := stepCA(t)
	c := k.client(t, m)
	status := func(err error) int {
		var coded interface{ StatusCode() int }
		if errors.As(err, &coded) {
			return coded.StatusCode()
		}
		return -1
	}
	m.FailAuthority("/sign", 1, http.StatusInternalServerError)
	m.FailAuthority("/sign", 1, http.StatusUnauthorized)
	request, _ := k.request(t, "a.lan", time.Hour)
	for _, want := range []int{500, 401} {
		if _, err := c.Sign(request); status(err) != want {
			t.Errorf("got %v, want %d", err, want)
		}
	}
	if _, err := c.Sign(request); err != nil {
		t.Errorf("when the faults are over: %v", err)
	}
	over := m.FailAuthority("*", 0, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.HealthWithContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an authority that does not answer: %v", err)
	}
	over()
	if _, err := c.Health(); err != nil {
		t.Errorf("an authority that answers again: %v", err)
	}
}

func TestAuthorityClock(t *testing.T) {
	m, k := stepCA(t)
	web := &http.Client{Transport: k.transport(t, m)}
	for _, skew := range []time.Duration{90 * time.Second, -10 * time.Minute} {
		m.Advance(skew)
		answer, err := web.Get("https://10.0.0.10/health")
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		date, err := http.ParseTime(answer.Header.Get("Date"))
		if off := time.Until(date); err != nil || (off-skew).Abs() > 30*time.Second {
			t.Errorf("the authority's clock is off by %s, want %s: %v", off, skew, err)
		}
		request, _ := k.request(t, "a.lan", time.Hour)
		_, err = k.client(t, m).Sign(request)
		if skew > 0 && err != nil || skew < 0 && (err == nil || !strings.Contains(err.Error(), "authorization")) {
			t.Errorf("skew %s: %v", skew, err)
		}
		m.Advance(-skew)
	}
	m.Advance(90 * time.Second)
	request, _ := k.request(t, "a.lan", time.Hour)
	answer, err := k.client(t, m).Sign(request)
	if err != nil {
		t.Fatal(err)
	}
	if off := time.Until(answer.ServerPEM.NotBefore.Add(time.Minute)); (off - 90*time.Second).Abs() > 20*time.Second {
		t.Errorf("the certificate begins %s from now", off)
	}
}
