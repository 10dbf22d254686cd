// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const formType = "application/x-www-form-urlencoded"

// TestWire compares status lines and bodies with what a real host sent.
func TestWire(t *testing.T) {
	s, root := tracedSite(t)
	nobody, liar := asToken(t, s, "", ""), asToken(t, s, "root@pam!t1", "00000000-0000-0000-0000-000000000000")
	stranger := asToken(t, s, "root@pam!nope", "00000000-0000-0000-0000-000000000000")
	badTicket := &asker{t: t, s: s, http: root.http, header: http.Header{"Cookie": {"PVEAuthCookie=PVE:root@pam:00000000::bad"}}}
	json := "application/json"
	cases := []struct {
		reason     string
		who        *asker
		verb, path string
		kind, send string
		status     string
		body       string
	}{
		{"no credential: empty body", nobody, "GET", "/json/version", "", "", "401 No ticket", ""},
		{"a wrong secret: empty body", liar, "GET", "/json/version", "", "", "401 Authentication failed!", ""},
		{"an unknown token: empty body", stranger, "GET", "/json/version", "", "", "401 Authentication failed!", ""},
		{"a bad ticket: empty body", badTicket, "GET", "/json/version", "", "", "401 Authentication failed!", ""},
		{"a bad password", nobody, "POST", "/json/access/ticket", formType, "username=root@pam&password=nope", "401 authentication failure",
			`{"data":null,"message":"authentication failure\n"}`},
		{"an unknown realm", nobody, "POST", "/json/access/ticket", formType, "username=root@nope&password=nope", "401 authentication failure",
			`{"data":null,"message":"authentication failure\n"}`},
		{"a missing password", nobody, "POST", "/json/access/ticket", formType, "username=root@pam", "400 Parameter verification failed.",
			`{"errors":{"password":"property is missing and it is not optional"},"message":"Parameter verification failed.\n","data":null}`},
		{"a token cannot get a ticket", root, "POST", "/json/access/ticket", formType, "username=root@pam&password=root", "403 Permission check failed",
			`{"data":null,"message":"Permission check failed\n"}`},
		{"the version", root, "GET", "/json/version", "", "", "200 OK", `{"data":{"release":"9.2","version":"9.2.11","repoid":"14a22df3d0c1b2a3"}}`},
		{"a JSON body", root, "PUT", "/json/nodes/pve1/lxc/101/config", json, `{"onboot":true}`, "200 OK", `{"data":null}`},
		{"false and null in JSON", root, "PUT", "/json/nodes/pve1/lxc/101/config", json, `{"onboot":false,"tags":null}`, "200 OK", `{"data":null}`},
		{"malformed JSON is text", root, "PUT", "/json/nodes/pve1/lxc/101/config", json, `{"tags":`,
			`500 malformed JSON string, neither tag, array, object, number, string or atom, at character offset 8 (before "(end of string)") at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 934.`,
			`malformed JSON string, neither tag, array, object, number, string or atom, at character offset 8 (before "(end of string)") at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 934.`},
		{"a wrong content type", root, "PUT", "/json/nodes/pve1/lxc/101/config", "text/plain", "tags=x", "506 upload 'Content-Type 'text/plain' not implemented",
			"upload 'Content-Type 'text/plain' not implemented"},
		{"a DELETE with a body", root, "DELETE", "/json/nodes/pve1/lxc/101", formType, "purge=1", "501 Unexpected content for method 'DELETE'", ""},
		{"a body over 512 KiB", root, "PUT", "/json/nodes/pve1/lxc/101/config", formType, "description=" + strings.Repeat("x", 513<<10), "501 for data too large", ""},
		{"an unknown path", root, "GET", "/json/foo", "", "", "501 Method 'GET /foo' not implemented", `{"message":"Method 'GET /foo' not implemented","data":null}`},
		{"an unknown method", root, "POST", "/json/version", "", "", "501 Method 'POST /version' not implemented",
			`{"data":null,"message":"Method 'POST /version' not implemented"}`},
		{"an unknown format", root, "GET", "/xml/version", "", "", "501 no formatter for uri /version, xml", "no formatter for uri /version, xml"},
		{"extjs always says 200", root, "GET", "/extjs/nodes/pve1/lxc/999/config", "", "", "200 OK",
			`{"success":0,"data":null,"message":"Configuration file 'nodes/pve1/lxc/999.conf' does not exist\n","status":500}`},
		{"OPTIONS", root, "OPTIONS", "/json/version", "", "", "501 method 'OPTIONS' not available", ""},
		{"an unknown node", root, "GET", "/json/nodes/pve9/lxc/101/config", "", "",
			"500 hostname lookup 'pve9' failed - failed to get address info for: pve9: Temporary failure in name resolution",
			`{"data":null,"message":"hostname lookup 'pve9' failed - failed to get address info for: pve9: Temporary failure in name resolution\n"}`},
		{"a missing guest is 500", root, "GET", "/json/nodes/pve1/qemu/999/status/current", "", "", "500 Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist",
			`{"data":null,"message":"Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist\n"}`},
		{"a container asked as a VM is missing", root, "GET", "/json/nodes/pve1/qemu/101/config", "", "", "500 Configuration file 'nodes/pve1/qemu-server/101.conf' does not exist",
			`{"data":null,"message":"Configuration file 'nodes/pve1/qemu-server/101.conf' does not exist\n"}`},
		{"an id that is no number", root, "GET", "/json/nodes/pve1/lxc/abc/config", "", "", "400 Parameter verification failed.",
			`{"data":null,"message":"Parameter verification failed.\n","errors":{"vmid":"type check ('integer') failed - got 'abc'"}}`},
		{"an id that is too small", root, "GET", "/json/nodes/pve1/lxc/99/config", "", "", "400 Parameter verification failed.",
			`{"data":null,"errors":{"vmid":"invalid format - value does not look like a valid VM ID\n"},"message":"Parameter verification failed.\n"}`},
		{"an unknown query parameter", root, "GET", "/json/nodes/pve1/lxc/101/config?foo=1", "", "", "400 Parameter verification failed.",
			`{"message":"Parameter verification failed.\n","errors":{"foo":"property is not defined in schema and the schema does not allow additional properties"},"data":null}`},
		{"a missing and a wrong parameter", root, "POST", "/json/nodes/pve1/qemu", formType, "memory=1", "400 Parameter verification failed.",
			`{"errors":{"vmid":"property is missing and it is not optional","memory":"invalid format - format error\nmemory.current: value must have a minimum value of 16\n"},"message":"Parameter verification failed.\n","data":null}`},
		{"several wrong parameters", root, "POST", "/json/nodes/pve1/qemu", formType, "vmid=140&cores=0&frob=1&net0=foo&memory=abc", "400 Parameter verification failed.",
			`{"data":null,"message":"Parameter verification failed.\n","errors":{"cores":"value must have a minimum value of 1","frob":"property is not defined in schema and the schema does not allow additional properties","net0":"invalid format - format error\nnet0.model: value 'foo' does not have a value in the enumeration 'e1000, e1000-82540em, e1000-82544gc, e1000-82545em, e1000e, i82551, i82557b, i82559er, ne2k_isa, ne2k_pci, pcnet, rtl8139, virtio, vmxnet3'\n","memory":"invalid format - format error\nmemory.current: type check ('integer') failed - got 'abc'\n"}}`},
		{"a VM's id is taken", root, "POST", "/json/nodes/pve1/qemu", formType, "vmid=100", "500 unable to create VM 100 - VM 100 already exists on node 'pve1'",
			`{"message":"unable to create VM 100 - VM 100 already exists on node 'pve1'\n","data":null}`},
		{"a VM's id is taken by a container", root, "POST", "/json/nodes/pve1/qemu", formType, "vmid=101", "500 unable to create VM 101 - CT 101 already exists on node 'pve1'",
			`{"data":null,"message":"unable to create VM 101 - CT 101 already exists on node 'pve1'\n"}`},
		{"a container's id is taken by a VM", root, "POST", "/json/nodes/pve1/lxc", formType, "vmid=100&ostemplate=local:vztmpl/nope.tar.gz", "500 VM 100 already exists on node 'pve1'",
			`{"message":"VM 100 already exists on node 'pve1'\n","data":null}`},
		{"a bind mount by root's own token", root, "PUT", "/json/nodes/pve1/lxc/101/config", formType, "mp0=/srv,mp%3D/srv",
			"403 Permission check failed (mount point type bind is only allowed for root@pam)",
			`{"data":null,"message":"Permission check failed (mount point type bind is only allowed for root@pam)\n"}`},
		{"a device by root's own token", root, "PUT", "/json/nodes/pve1/lxc/101/config", formType, "dev0=/dev/fuse",
			"403 Permission check failed (configuring device passthrough is only allowed for root@pam)",
			`{"data":null,"message":"Permission check failed (configuring device passthrough is only allowed for root@pam)\n"}`},
		{"skiplock by root's own token", root, "POST", "/json/nodes/pve1/qemu/100/status/start", formType, "skiplock=1", "400 Parameter verification failed.",
			`{"data":null,"message":"Parameter verification failed.\n","errors":{"skiplock":"Only root may use this option."}}`},
	}
	for _, tc := range cases {
		t.Run(tc.reason, func(t *testing.T) {
			var body *strings.Reader
			if tc.send != "" {
				body = strings.NewReader(tc.send)
			}
			got, err := send(tc.who, tc.verb, s.URL+"/api2"+tc.path, tc.kind, body)
			if err != nil {
				t.Fatalf("%s %s: %v", tc.verb, tc.path, err)
			}
			if got.status != tc.status {
				t.Errorf("status %q, want %q", got.status, tc.status)
			}
			if diff := cmp.Diff(decoded(t, tc.body, nil), decoded(t, got.body, nil)); diff != "" {
				t.Errorf("body (-recorded +simulated):\n%s", diff)
			}
		})
	}
}

func send(a *asker, verb, address, kind string, body *strings.Reader) (answer, error) {
	if body == nil {
		return a.raw(verb, address, kind, nil)
	}
	return a.raw(verb, address, kind, body)
}

func TestFingerprintIsTheServersCertificate(t *testing.T) {
	s := start(t, pve.Options{NoSSH: true})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CAPEM)
	d := tls.Dialer{Config: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	c, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.URL, "https://"))
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer c.Close()
	sum := sha256.Sum256(c.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw)
	if got := strings.ToLower(strings.ReplaceAll(s.Fingerprint, ":", "")); got != hex.EncodeToString(sum[:]) {
		t.Errorf("fingerprint %s, the certificate's is %x", s.Fingerprint, sum)
	}
}

func TestTicketsAndCSRF(t *testing.T) {
	s, _ := tracedSite(t)
	nobody := asToken(t, s, "", "")
	data, ok := nobody.ask("POST /access/ticket", "username=root@pam", "password=root").data.(map[string]any)
	if !ok {
		t.Fatal("log in: no ticket")
	}
	ticket, csrf := data["ticket"].(string), data["CSRFPreventionToken"].(string)
	with := func(csrf string) *asker {
		header := http.Header{"Cookie": {"PVEAuthCookie=" + ticket}}
		if csrf != "" {
			header.Set("CSRFPreventionToken", csrf)
		}
		return &asker{t: t, s: s, http: nobody.http, header: header}
	}
	for _, tc := range []struct {
		reason  string
		csrf    string
		request string
		params  []string
		want    string
	}{
		{"reading needs no CSRF token", "", "GET /version", nil, "200 OK"},
		{"writing needs one", "", "PUT /nodes/pve1/lxc/101/config", []string{"tags=x"}, "401 Permission denied - invalid csrf token"},
		{"a wrong one is refused", "nope", "PUT /nodes/pve1/lxc/101/config", []string{"tags=x"}, "401 Permission denied - invalid csrf token"},
		{"the right one lets root do what no token may", csrf, "PUT /nodes/pve1/lxc/101/config", []string{"features=nesting=1,keyctl=1"}, "200 OK"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if got := with(tc.csrf).ask(tc.request, tc.params...); got.status != tc.want {
				t.Errorf("status %q, want %q", got.status, tc.want)
			}
		})
	}
	t.Run("a ticket is its user's password", func(t *testing.T) {
		if got := nobody.ask("POST /access/ticket", "username=root@pam", "password="+ticket); got.status != "200 OK" {
			t.Errorf("status %q, want 200 OK", got.status)
		}
	})
	t.Run("an expired ticket is refused", func(t *testing.T) {
		s.ExpireCredentials(true)
		if got := with(csrf).ask("GET /version"); got.status != "401 Authentication failed!" || got.body != "" {
			t.Errorf("status %q body %q, want 401 Authentication failed! without body", got.status, got.body)
		}
	})
}
