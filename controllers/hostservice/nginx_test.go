// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
)

// noon is the time of these tests.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// tlsData is the data of a Secret with a certificate for the names that lives for a month from noon on, if that is what
// change leaves.
func tlsData(t *testing.T, change func(*x509.Certificate), names ...string) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x1234), Subject: pkix.Name{CommonName: "test"}, DNSNames: names, NotBefore: noon.Add(-time.Hour), NotAfter: noon.AddDate(0, 1, 0),
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}),
	}
}

// tlsPairFor is such a certificate as it is read.
func tlsPairFor(t *testing.T, names ...string) tlsPair {
	t.Helper()
	return judgePair(tlsData(t, nil, names...), "Secret/x", noon)
}

// testGate is an nginx service with a server for each of the Secrets, in their order.
func testGate(servers ...v1alpha1.NginxServer) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: "home", Name: "gate"}}
	s.Spec.GuestRef = &v1alpha1.LocalReference{Name: "nginx"}
	s.Spec.Nginx = &v1alpha1.Nginx{Servers: servers}
	return s
}

func testServer(name string, names ...string) v1alpha1.NginxServer {
	return v1alpha1.NginxServer{Name: name, Names: names, SecretRef: &v1alpha1.LocalReference{Name: name + "-tls"}}
}

func gateTarget() target {
	return target{host: testHost("phoenix"), guest: testGuest("nginx", "10.0.0.153")}
}

func TestDesignNginx(t *testing.T) {
	s := testGate(testServer("site"), testServer("shop", "shop.example.org"))
	pairs := []tlsPair{tlsPairFor(t, "phoenix.lan", "*.phoenix.lan"), tlsPairFor(t, "shop.example.org")}
	d, err := designNginx(s, gateTarget(), pairs, routers{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	reload := []machine.Trigger{{Unit: "nginx.service", Action: machine.Reload}}
	type file struct {
		Path   string
		Mode   uint32
		Secret bool
	}
	var files []file
	for _, f := range d.want.Files {
		files = append(files, file{f.Path, uint32(f.Mode), f.Secret})
		if !slices.Equal(f.Triggers, reload) || f.Replaces {
			t.Errorf("%s: triggers %v, replaces %t; want a reload, and nothing of anybody else's", f.Path, f.Triggers, f.Replaces)
		}
	}
	want := []file{
		{"/etc/nginx/phoenix/gate/site.crt", 0, false}, {"/etc/nginx/phoenix/gate/site.key", 0o600, true},
		{"/etc/nginx/phoenix/gate/shop.crt", 0, false}, {"/etc/nginx/phoenix/gate/shop.key", 0o600, true},
		{"/etc/nginx/conf.d/phoenix-gate.conf", 0, false}, {"/etc/nginx/phoenix/gate/server.conf", 0, false},
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]machine.Dir{{Path: "/etc/nginx/phoenix/gate/routes", Owner: "root", Group: "root", Mode: 0o700}}, d.want.Dirs); diff != "" {
		t.Errorf("folders (-want +got):\n%s", diff)
	}
	conf := string(d.want.Files[4].Content)
	for _, line := range []string{"server_name phoenix.lan *.phoenix.lan; # servers[site].names", "server_name shop.example.org; # servers[shop].names", "ssl_certificate_key /etc/nginx/phoenix/gate/shop.key;"} {
		if !strings.Contains(conf, line) {
			t.Errorf("no %q in\n%s", line, conf)
		}
	}
	if diff := cmp.Diff([]string{"nginx-light", "curl"}, d.want.Packages); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]machine.Unit{{Name: "nginx.service", Enabled: true, Running: true}}, d.want.Units); diff != "" {
		t.Error(diff)
	}
	if len(d.want.Verify) != 1 || strings.Join(d.want.Verify[0].Argv, " ") != "nginx -t" || len(d.left) > 0 || d.complete != nil {
		t.Errorf("checked by %v, left out %v, to complete %t", d.want.Verify, d.left, d.complete != nil)
	}
	var asked []string
	for _, p := range d.want.Probes {
		asked = append(asked, p.Name+": "+p.Argv[len(p.Argv)-1])
	}
	if diff := cmp.Diff([]string{
		"server site on 10.0.0.153:443: https://phoenix.lan:443/.well-known/phoenix", "server shop on 10.0.0.153:443: https://shop.example.org:443/.well-known/phoenix",
		"nginx on port 80: http://phoenix.lan:80/.well-known/phoenix",
	}, asked); diff != "" {
		t.Errorf("probes (-want +got):\n%s", diff)
	}
	again, err := designNginx(s, gateTarget(), pairs, routers{}, nil)
	if diff := cmp.Diff(d.want, again.want); err != nil || diff != "" {
		t.Errorf("another design of the same (%v):\n%s", err, diff)
	}
}

func TestDesignNginxOtherwise(t *testing.T) {
	s := testGate(testServer("site", "*.phoenix.lan"))
	s.Spec.Nginx.HTTPPort, s.Spec.Nginx.HTTPSPort, s.Spec.Nginx.PackageName = 8080, 8443, "nginx-full"
	at := gateTarget()
	at.guest.Status.Addresses = []string{"fd00::153"}
	d, err := designNginx(s, at, []tlsPair{tlsPairFor(t, "*.phoenix.lan")}, routers{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(d.want.Probes[0].Argv, " ") + "\n" + strings.Join(d.want.Probes[1].Argv, " ") + "\n" + string(d.want.Files[2].Content) + string(d.want.Files[3].Content)
	for _, word := range []string{
		"--resolve phoenix-probe.phoenix.lan:8443:[fd00::153] ", " --pinnedpubkey sha256//", "https://phoenix-probe.phoenix.lan:8443/", "http://phoenix-probe.phoenix.lan:8080/",
		"listen 8080 default_server;", "listen 8443 ssl http2;", "https://$host:8443$request_uri",
	} {
		if !strings.Contains(got, word) {
			t.Errorf("no %q in\n%s", word, got)
		}
	}
	if d.want.Packages[0] != "nginx-full" {
		t.Errorf("packages are %v", d.want.Packages)
	}
	s.Spec.Nginx.HTTPSPort = 8080
	_, err = designNginx(s, at, []tlsPair{tlsPairFor(t, "a.lan")}, routers{}, nil)
	if got := outcome(err); got != `Invalid httpsPort "8080" must be another port than httpPort` {
		t.Errorf("one port for both: %q", got)
	}
	older := testGate(testServer("x"))
	older.Name = "first"
	_, err = designNginx(s, at, nil, routers{}, []v1alpha1.HostService{*older})
	if got := outcome(err); got != "AlreadyServed run nginx on Guest/nginx: HostService/first does so already, and is older: declare the servers there, or delete it" {
		t.Errorf("a second nginx: %q", got)
	}
}

func TestNamesOfServers(t *testing.T) {
	for name, c := range map[string]struct {
		reason  string
		servers []v1alpha1.NginxServer
		names   [][]string // of the certificates
		want    []string   // names of the servers
		left    []string
	}{
		"of the certificate": {"that is the default", []v1alpha1.NginxServer{testServer("a")}, [][]string{{"A.lan", "b.lan"}}, []string{"a.lan b.lan"}, nil},
		"declared":           {"the certificate may have more", []v1alpha1.NginxServer{testServer("a", "b.lan")}, [][]string{{"a.lan", "b.lan"}}, []string{"b.lan"}, nil},
		"by a wildcard":      {"it covers one label", []v1alpha1.NginxServer{testServer("a", "x.lan")}, [][]string{{"*.lan"}}, []string{"x.lan"}, nil},
		"not covered": {
			"clients refuse it, but that is theirs to say", []v1alpha1.NginxServer{testServer("a", "x.y.lan", "*.b.lan")}, [][]string{{"*.lan", "a.b.lan"}}, []string{"x.y.lan *.b.lan"},
			[]string{
				"NameNotCovered servers[a].names: x.y.lan is not in its certificate, so clients refuse it: put a certificate that has it into Secret/a-tls",
				"NameNotCovered servers[a].names: *.b.lan is not in its certificate, so clients refuse it: put a certificate that has it into Secret/a-tls",
			},
		},
		"declared elsewhere": {
			"what is said goes before what is not", []v1alpha1.NginxServer{testServer("a"), testServer("b", "x.lan")}, [][]string{{"x.lan", "y.lan"}, {"x.lan"}},
			[]string{"y.lan", "x.lan"}, nil,
		},
		"in two certificates": {
			"the first server serves it", []v1alpha1.NginxServer{testServer("a"), testServer("b")}, [][]string{{"x.lan"}, {"x.lan", "y.lan"}}, []string{"x.lan", "y.lan"},
			[]string{"DuplicateName servers[a] and servers[b] both have x.lan in their certificates: the first one serves it: set names"},
		},
		"no name": {
			"an address is no name of a server", []v1alpha1.NginxServer{testServer("a"), testServer("b")}, [][]string{{}, {"y.lan"}}, []string{"", "y.lan"},
			[]string{"NamesMissing servers[a]: its certificate has no DNS name of its own: set names"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := gateway{s: testGate(c.servers...)}
			for i, server := range c.servers {
				g.entries = append(g.entries, entry{NginxServer: server, pair: tlsPairFor(t, c.names[i]...)})
			}
			var d design
			var got, left []string
			for _, names := range g.names(&d) {
				got = append(got, strings.Join(names, " "))
			}
			for _, l := range d.left {
				left = append(left, l.reason+" "+l.text)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if diff := cmp.Diff(c.left, left); diff != "" {
				t.Errorf("%s: left out (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestJudgePair(t *testing.T) {
	good := tlsData(t, nil, "a.lan")
	other := tlsData(t, nil, "a.lan")
	with := func(part string, value []byte) map[string][]byte {
		return map[string][]byte{corev1.TLSCertKey: good[corev1.TLSCertKey], corev1.TLSPrivateKeyKey: good[corev1.TLSPrivateKeyKey], part: value}
	}
	for name, c := range map[string]struct {
		reason string
		data   map[string][]byte
		want   string
	}{
		"good":       {"they belong together", good, ""},
		"empty":      {"a Secret of another type", nil, "CertificateUnusable Secret/x has no tls.crt: it must be a Secret of type kubernetes.io/tls"},
		"no key":     {"half is nothing", with(corev1.TLSPrivateKeyKey, nil), "CertificateUnusable Secret/x has no tls.key: it must be a Secret of type kubernetes.io/tls"},
		"no PEM":     {"nginx would refuse it", with(corev1.TLSCertKey, []byte("x")), "CertificateUnusable Secret/x cannot be used: parse certificates: there is none in PEM: put the certificate, its chain and its key into it, in PEM"},
		"no private": {"nginx would refuse it", with(corev1.TLSPrivateKeyKey, good[corev1.TLSCertKey]), "CertificateUnusable Secret/x cannot be used: decode key: it holds no private key in PEM: put the certificate, its chain and its key into it, in PEM"},
		"mismatch":   {"nginx would refuse it", with(corev1.TLSPrivateKeyKey, other[corev1.TLSPrivateKeyKey]), "KeyMismatch Secret/x does not fit: match key: it is not the key of certificate \"test\" (serial number 1234): put the two that belong together into it"},
		"over": {
			"nobody takes it", tlsData(t, func(c *x509.Certificate) { c.NotAfter = noon.Add(-time.Minute) }, "a.lan"),
			"CertificateExpired Secret/x has a certificate that ended 2026-06-01: put a new one into it",
		},
		"too early": {
			"nobody takes it yet", tlsData(t, func(c *x509.Certificate) { c.NotBefore = noon.Add(time.Minute) }, "a.lan"),
			"CertificateNotYetValid Secret/x has a certificate that begins 2026-06-01T12:01:00Z: wait, or put one into it that is valid now",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := judgePair(c.data, "Secret/x", noon)
			got := ""
			if p.problem != nil {
				got = p.problem.reason + " " + p.problem.text
			}
			if got != c.want || (p.leaf == nil) != (c.want != "") {
				t.Errorf("%s:\n%s\nwant\n%s", c.reason, got, c.want)
			}
			if p.leaf == nil && len(p.chain)+len(p.key) > 0 {
				t.Errorf("%s: something of it could come to a machine", c.reason)
			}
		})
	}
}

// TestWhatIsServedStays: a Secret that cannot be used takes nothing from the machine.
func TestWhatIsServedStays(t *testing.T) {
	s := testGate(testServer("site"), testServer("shop"))
	broken := tlsPair{problem: &leftOut{CertificateMissingReason, "Secret/site-tls is not there"}}
	d, err := designNginx(s, gateTarget(), []tlsPair{broken, tlsPairFor(t, "shop.lan")}, routers{}, nil)
	if err != nil || d.complete == nil {
		t.Fatalf("%v, nothing is looked for on the machine: %t", err, d.complete == nil)
	}
	const certificate, key = "/etc/nginx/phoenix/gate/site.crt", "/etc/nginx/phoenix/gate/site.key"
	if !slices.Contains(d.want.Reads, certificate) || !slices.Contains(d.want.Reads, key) || len(d.want.Files) != 4 {
		t.Errorf("it reads %v and has %d files", d.want.Reads, len(d.want.Files))
	}
	if want := "servers[site]: Secret/site-tls is not there; its names get no answer until then"; d.left[0].text != want {
		t.Errorf("left out is %q, want %q", d.left[0].text, want)
	}
	old := judgePair(tlsData(t, nil, "old.lan"), "", noon)
	whole, err := d.complete(map[string][]byte{certificate: old.chain, key: old.key})
	if err != nil || whole == nil || whole.complete != nil {
		t.Fatalf("%v, %+v", err, whole)
	}
	conf := string(whole.want.Files[4].Content)
	if !strings.Contains(conf, "server_name old.lan;") || !slices.Equal(whole.want.Files[0].Content, old.chain) || !whole.want.Files[1].Secret || slices.Contains(whole.want.Reads, key) {
		t.Errorf("what is served does not stay:\n%s", conf)
	}
	if want := "servers[site]: Secret/site-tls is not there; what the machine has is served on: its last day is 2026-07-01"; whole.left[0].text != want {
		t.Errorf("left out is %q, want %q", whole.left[0].text, want)
	}
	for name, contents := range map[string]map[string][]byte{
		"nothing": nil, "half": {certificate: old.chain}, "another key": {certificate: old.chain, key: tlsPairFor(t, "a.lan").key}, "rubbish": {certificate: []byte("x"), key: []byte("y")},
	} {
		if whole, err := d.complete(contents); whole != nil || err != nil {
			t.Errorf("%s: %v, %+v; want nothing that is served on", name, err, whole)
		}
	}
}

func TestNginxRefsAndFlows(t *testing.T) {
	s := testGate(testServer("shop"), v1alpha1.NginxServer{Name: "site", CertificateRef: &v1alpha1.LocalReference{Name: "nginx"}})
	var got []string
	for _, r := range (&Kind{}).Refs(s) {
		got = append(got, strings.TrimSpace(r.Kind+"/"+r.Name+" "+r.Condition))
	}
	want := []string{"Guest/nginx Reachable", "Guest/", "HostService/", "Secret/shop-tls", "Certificate/nginx Issued"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("references (-want +got):\n%s", diff)
	}
	s.Spec.Nginx.HTTPSPort = 8443
	flows := nginxFlows(declared{}, s, flowEnd{Guest: "nginx"})
	if diff := cmp.Diff([]flow{
		{To: flowEnd{Guest: "nginx"}, Protocol: "tcp", Port: 80, Why: "HTTP of HostService/gate"}, {To: flowEnd{Guest: "nginx"}, Protocol: "tcp", Port: 8443, Why: "HTTPS of HostService/gate"},
	}, flows); diff != "" {
		t.Errorf("flows (-want +got):\n%s", diff)
	}
	if nginxFlows(declared{}, testDNS(nil), flowEnd{}) != nil {
		t.Error("another service has flows of nginx")
	}
}
