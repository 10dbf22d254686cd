// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.step.sm/crypto/jose"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenKey is a public key that is of no use to anybody.
const goldenKey = `{"use":"sig","kty":"EC","kid":"EouWcCE7lqHFOMDT7Jwt9yKCJdj6y6S2HQx7ZlGcQeQ","crv":"P-256","alg":"ES256",` +
	`"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`

func goldenConfig() Config {
	return Config{
		Address: ":443", DNSNames: []string{"step-ca.phoenix.lan", "10.0.0.10"}, Roots: []string{"/etc/step-ca/root.crt"},
		Certificate: "/etc/step-ca/intermediate.crt", Key: "/etc/step-ca/intermediate.key", ProvisionerKey: []byte(goldenKey),
		Database: "/var/lib/step-ca/db",
	}
}

func TestConfig(t *testing.T) {
	cases := map[string]struct {
		reason string
		change func(*Config)
	}{
		"default": {"what the reference site has", func(*Config) {}},
		"full": {"everything that can be set", func(c *Config) {
			c.Roots = append([]string{"/etc/step-ca/root-2.crt"}, c.Roots...)
			c.ACME, c.Provisioner = "acme", "site"
			c.Claims = Claims{Min: time.Minute, Max: 48 * time.Hour, Default: time.Hour}
		}},
		"without-database": {"nothing is kept", func(c *Config) { c.Database = "" }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := goldenConfig()
			tc.change(&c)
			got := must(c.JSON())(t)
			path := filepath.Join("testdata", name+".json")
			if *update {
				write(t, path, got)
			}
			want := must(os.ReadFile(path))(t)
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestConfigRefused(t *testing.T) {
	private := must(NewProvisionerKey())(t)
	cases := map[string]struct {
		reason string
		change func(*Config)
		text   string
	}{
		"no address":       {"step-ca would not start", func(c *Config) { c.Address = "" }, "address"},
		"no names":         {"step-ca would call itself localhost", func(c *Config) { c.DNSNames = nil }, "name"},
		"no roots":         {"step-ca would not start", func(c *Config) { c.Roots = nil }, "root"},
		"no key":           {"step-ca would not start", func(c *Config) { c.Key = "" }, "no key"},
		"private key":      {"the machine needs the public one", func(c *Config) { c.ProvisionerKey = private }, "not the public one"},
		"broken key":       {"step-ca would not start", func(c *Config) { c.ProvisionerKey = []byte("x") }, "not a JWK"},
		"key without kid":  {"tokens name it", func(c *Config) { c.ProvisionerKey = []byte(strings.Replace(goldenKey, `"kid"`, `"x"`, 1)) }, "not a JWK with a kid"},
		"acme alone":       {"it keeps orders in the database", func(c *Config) { c.ACME, c.Database = "acme", "" }, "needs a database"},
		"two of a name":    {"step-ca would not start", func(c *Config) { c.ACME = DefaultProvisioner }, "two provisioners"},
		"order of claims":  {"step-ca would not start", func(c *Config) { c.Claims = Claims{Min: 2 * time.Hour, Max: time.Hour} }, "out of order"},
		"negative claims":  {"no such life", func(c *Config) { c.Claims.Max = -1 }, "negative"},
		"default too long": {"step-ca would refuse its own default", func(c *Config) { c.Claims = Claims{Default: 2 * time.Hour, Max: time.Hour} }, "out of order"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := goldenConfig()
			tc.change(&c)
			if _, err := c.JSON(); err == nil || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%s: JSON() = %v, want %q", tc.reason, err, tc.text)
			}
		})
	}
}

func TestClaims(t *testing.T) {
	day := 24 * time.Hour
	cases := map[string]struct {
		reason string
		claims Claims
		want   Claims
	}{
		"none":          {"the defaults", Claims{}, Claims{5 * time.Minute, 90 * day, day}},
		"short maximum": {"the rest gives way", Claims{Max: time.Minute}, Claims{time.Minute, time.Minute, time.Minute}},
		"long minimum":  {"the rest gives way", Claims{Min: 100 * day}, Claims{100 * day, 100 * day, 100 * day}},
		"short default": {"the rest gives way", Claims{Default: time.Second}, Claims{time.Second, 90 * day, time.Second}},
		"long default":  {"the rest gives way", Claims{Default: 200 * day}, Claims{5 * time.Minute, 200 * day, 200 * day}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, must(tc.claims.full())(t)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// step-ca itself takes what is rendered, with all that it can have.
func TestConfigRuns(t *testing.T) {
	a := newAuthority(t, func(a *authority) {
		a.ACME, a.Database = "acme", filepath.Join(filepath.Dir(a.Key), "db")
		a.Claims = Claims{}
	})
	c := a.client(t)
	var directory struct {
		NewOrder string `json:"newOrder"`
	}
	if err := c.call(t.Context(), "GET", "/acme/acme/directory", nil, &directory, ""); err != nil || directory.NewOrder == "" {
		t.Errorf("the ACME provisioner is not there: %+v, %v", directory, err)
	}
	pair := a.issue(t, c, nil)
	cert := leafOf(t, pair.CertificatePEM)
	if got := cert.NotAfter.Sub(cert.NotBefore); got != 24*time.Hour+time.Minute {
		t.Errorf("default life = %s", got)
	}
}

func TestProvisionerKey(t *testing.T) {
	jwk := must(NewProvisionerKey())(t)
	var key jose.JSONWebKey
	if err := json.Unmarshal(jwk, &key); err != nil {
		t.Fatal(err)
	}
	thumbprint := must(jose.Thumbprint(&key))(t)
	if key.KeyID != thumbprint || key.Algorithm != "ES256" || key.IsPublic() {
		t.Errorf("kid %q, want %q; algorithm %s; public %v", key.KeyID, thumbprint, key.Algorithm, key.IsPublic())
	}
	public := must(PublicJWK(jwk))(t)
	if err := json.Unmarshal(public, &key); err != nil || !key.IsPublic() || key.KeyID != thumbprint || strings.Contains(string(public), `"d"`) {
		t.Errorf("PublicJWK() = %s, %v", public, err)
	}
	if err := (Provisioner{JWK: jwk}).Check(); err != nil {
		t.Error(err)
	}
}

func TestToken(t *testing.T) {
	p := Provisioner{Name: "phoenix", JWK: must(NewProvisionerKey())(t)}
	now := time.Unix(1900000000, 0)
	in := token{audience: "https://10.0.0.10/1.0/sign", subject: "a.lan", sans: []string{"a.lan"}, root: "ab", usages: []string{UsageClientAuth}}
	read := func() map[string]any {
		parsed := must(jose.ParseSigned(must(p.issue(in, now))(t)))(t)
		if parsed.Headers[0].Algorithm != "ES256" || parsed.Headers[0].KeyID == "" {
			t.Errorf("header = %+v", parsed.Headers[0])
		}
		claims := map[string]any{}
		if err := parsed.Claims(must(p.key())(t).Public(), &claims); err != nil {
			t.Fatal(err)
		}
		return claims
	}
	one, two := read(), read()
	if one["jti"] == two["jti"] || one["jti"] == "" {
		t.Errorf("jti = %v, then %v", one["jti"], two["jti"])
	}
	delete(one, "jti")
	want := map[string]any{
		"iss": "phoenix", "aud": in.audience, "sub": "a.lan", "sha": "ab", "sans": []any{"a.lan"}, "phoenixUsages": []any{"clientAuth"},
		"iat": float64(1900000000), "nbf": float64(1900000000), "exp": float64(1900000300),
	}
	if diff := cmp.Diff(want, one); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}
