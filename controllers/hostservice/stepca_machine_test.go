// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

var updateGolden = flag.Bool("update", false, "write the golden files anew")

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "stepca", name)
	if *updateGolden {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// plainJWK is a public key that is of no use to anybody.
const plainJWK = `{"use":"sig","kty":"EC","kid":"EouWcCE7lqHFOMDT7Jwt9yKCJdj6y6S2HQx7ZlGcQeQ","crv":"P-256","alg":"ES256",` +
	`"x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`

func boxTarget(addresses ...string) target {
	g := testGuest("box", addresses...)
	g.Spec.Hostname = "PKI.phoenix.lan"
	return target{host: testHost("phoenix"), guest: g}
}

// stateText shows a State, with the keys of the tests, which differ each time, by name.
func stateText(s machine.State, keys caKeys) string {
	var b strings.Builder
	line := func(format string, values ...any) { fmt.Fprintf(&b, format+"\n", values...) }
	for _, u := range s.Users {
		line("user %s", u.Name)
	}
	for _, p := range s.Packages {
		line("package %s", p)
	}
	for _, a := range s.Artifacts {
		line("artifact %s %s %s to %s %v", a.URL, a.SHA256, a.Member, a.Path, a.Triggers)
	}
	for _, d := range s.Dirs {
		line("dir %s %s:%s %o", d.Path, d.Owner, d.Group, d.Mode)
	}
	for _, f := range s.Files {
		line("file %s %s:%s %o secret %t %v %s", f.Path, f.Owner, f.Group, f.Mode, f.Secret, f.Triggers, named(f.Content, keys))
	}
	for _, u := range s.Units {
		line("unit %s enabled %t running %t", u.Name, u.Enabled, u.Running)
	}
	for _, p := range s.Probes {
		line("probe %s %q match %s patience %s", p.Name, p.Argv, p.Match, p.Patience)
	}
	line("reads %s", strings.Join(s.Reads, " "))
	return b.String()
}

func named(content []byte, keys caKeys) string {
	for name, known := range map[string][]byte{
		"the root": keys.root.CertificatePEM, "the intermediate": keys.pair.CertificatePEM, "the intermediate's key": keys.pair.KeyPEM,
		"both roots": append(append([]byte{}, keys.next.CertificatePEM...), keys.root.CertificatePEM...),
	} {
		if string(content) == string(known) {
			return name
		}
	}
	return fmt.Sprintf("%d lines", strings.Count(string(content), "\n"))
}

func TestAuthorityState(t *testing.T) {
	keys := newCAKeys(t)
	for name, c := range map[string]struct {
		reason string
		stage  func(*caStage)
		spec   func(*v1alpha1.StepCA)
	}{
		"plain": {"the defaults", func(*caStage) {}, nil},
		"full": {"everything that can be said", func(st *caStage) { st.rotating() }, func(s *v1alpha1.StepCA) {
			s.Artifact, s.PackageName, s.Port, s.DNSNames = nil, "step-ca", 8443, []string{"ca.phoenix.lan", "pki.phoenix.lan"}
			s.ACME = &v1alpha1.StepCAACME{Name: "acme"}
			s.Claims = &v1alpha1.StepCAClaims{MinDuration: hours(1), MaxDuration: hours(48), DefaultDuration: hours(12)}
		}},
		"no-database":       {"nothing is kept", func(*caStage) {}, func(s *v1alpha1.StepCA) { s.Database = v1alpha1.StepCANoDatabase }},
		"no-keys":           {"what can be told before there are keys", func(st *caStage) { st.secrets = nil }, nil},
		"lost-intermediate": {"the machine's is read", func(st *caStage) { delete(st.secrets, intermediatePart) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			st := newCAStage(keys)
			c.stage(st)
			v := readVault("ca", st.secrets)
			if v.public != nil {
				v.public = []byte(plainJWK)
			}
			d, err := designStepCA(testCA(c.spec), boxTarget("10.0.0.10", "172.17.0.1"), nil, &v)
			if err != nil {
				t.Fatalf("%s: %v", c.reason, err)
			}
			golden(t, name+".txt", stateText(d.want, keys))
			for _, f := range d.want.Files {
				switch f.Path {
				case caConf:
					golden(t, name+".json", string(f.Content))
				case caUnitFile:
					golden(t, name+".service", string(f.Content))
				}
			}
		})
	}
}

func TestAuthorityRefusals(t *testing.T) {
	keys := newCAKeys(t)
	v := readVault("ca", newCAStage(keys).secrets)
	for name, c := range map[string]struct {
		reason string
		target target
		older  []v1alpha1.HostService
		spec   func(*v1alpha1.StepCA)
		says   string
	}{
		"another one": {"there is one port", boxTarget("10.0.0.10"), []v1alpha1.HostService{*testCA(nil)}, nil,
			"AlreadyServed raise an authority on Guest/box: HostService/ca is one already, and is older"},
		"no address": {"it could not be reached", boxTarget(), nil, nil, "NoAddress waiting for Guest/box: it has no address yet"},
		"hostile":    {"one provisioner would stand for the other", boxTarget("10.0.0.10"), nil, func(s *v1alpha1.StepCA) { s.ACME = &v1alpha1.StepCAACME{Name: "phoenix"} }, "Invalid render ca.json: two provisioners"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := designStepCA(testCA(c.spec), c.target, c.older, &v)
			if got := outcome(err); !strings.HasPrefix(got, c.says) {
				t.Errorf("%s: %q, want %q", c.reason, got, c.says)
			}
		})
	}
}

// A change of the spec is shown by its field, and nothing secret is shown at all.
func TestAuthorityFields(t *testing.T) {
	names := []string{"box", "10.0.0.10"}
	for line, want := range map[string]string{
		"\t\"address\": \":443\",": "stepCA.port", "\t\t\t\"maxTLSCertDuration\": \"2160h0m0s\",": "stepCA.claims.maxDuration",
		"\t\t\"10.0.0.10\"": "stepCA.dnsNames", "\t\t\"box\",": "stepCA.dnsNames", "\t\"crt\": \"/etc/step-ca/intermediate.crt\",": "",
		"\t\t\"dataSource\": \"/var/lib/step-ca/db\"": "stepCA.database", "\t\t\t\t\"type\": \"ACME\",": "stepCA.acme",
	} {
		if got := caField(caConf, line, names); got != want {
			t.Errorf("%q is %q, want %q", line, got, want)
		}
	}
	if got := caField(caUnitFile, "\t\"box\",", names); got != "" {
		t.Errorf("a line of the unit is %q", got)
	}
	m := &machineSeen{
		design: design{fields: func(string, string) string { return "everything" }},
		seen:   machine.Seen{Contents: map[string][]byte{caKey: []byte("old key\n")}, Paths: map[string]machine.Path{caKey: {Kind: "file"}}},
	}
	changes := m.changesOf(machine.Change{What: caKey, From: "secret:1", To: "secret:2"}, machine.State{Files: []machine.File{{Path: caKey, Content: []byte("new key\n"), Secret: true}}})
	if len(changes) != 1 || changes[0].From != "secret:1" || changes[0].To != "secret:2" {
		t.Errorf("a key is shown as %+v", changes)
	}
}

// The configuration is one that step-ca takes: the driver's tests start one with it.
func TestAuthorityLives(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		claims *v1alpha1.StepCAClaims
		want   stepca.Claims
	}{
		"unset":           {"the defaults", nil, stepca.Claims{Min: defaultMinDuration, Max: defaultMaxDuration, Default: defaultLeafDuration}},
		"a short maximum": {"the others are no longer", &v1alpha1.StepCAClaims{MaxDuration: minutes(2)}, stepca.Claims{Min: minutes(2).Duration, Max: minutes(2).Duration, Default: minutes(2).Duration}},
		"a long minimum":  {"the others are no shorter", &v1alpha1.StepCAClaims{MinDuration: hours(48)}, stepca.Claims{Min: hours(48).Duration, Max: defaultMaxDuration, Default: hours(48).Duration}},
		"a long default":  {"the maximum is no shorter", &v1alpha1.StepCAClaims{DefaultDuration: hours(9000)}, stepca.Claims{Min: defaultMinDuration, Max: hours(9000).Duration, Default: hours(9000).Duration}},
		"a short default": {"the minimum is no longer", &v1alpha1.StepCAClaims{DefaultDuration: minutes(1)}, stepca.Claims{Min: minutes(1).Duration, Max: defaultMaxDuration, Default: minutes(1).Duration}},
	} {
		t.Run(name, func(t *testing.T) {
			var got stepca.Claims
			got.Min, got.Max, got.Default = caLives(&v1alpha1.StepCA{Claims: c.claims})
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}
