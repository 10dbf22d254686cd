// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.step.sm/crypto/jose"
)

// DefaultProvisioner is the name of the provisioner in a Config without one.
const DefaultProvisioner = "phoenix"

// leafTemplate makes a certificate from a token: step-ca's own template, but for the usages, which the token may name.
const leafTemplate = `{
	"subject": {{ toJson .Subject }},
	"sans": {{ toJson .SANs }},
{{- if typeIs "*rsa.PublicKey" .Insecure.CR.PublicKey }}
	"keyUsage": ["keyEncipherment", "digitalSignature"],
{{- else }}
	"keyUsage": ["digitalSignature"],
{{- end }}
{{- if .Token.` + claimUsages + ` }}
	"extKeyUsage": {{ toJson .Token.` + claimUsages + ` }}
{{- else }}
	"extKeyUsage": ["serverAuth", "clientAuth"]
{{- end }}
}`

// Claims bound the lives of certificates. Zero fields have defaults: Min 5 minutes, Max 90 days, Default 24 hours, each
// kept within those that are set.
type Claims struct{ Min, Max, Default time.Duration }

// full fills the defaults in and checks the order.
func (c Claims) full() (Claims, error) {
	if c.Min < 0 || c.Max < 0 || c.Default < 0 {
		return Claims{}, errors.New("a duration is negative")
	}
	out := c
	out.Max = cmp.Or(c.Max, max(90*24*time.Hour, c.Min, c.Default))
	out.Default = cmp.Or(c.Default, max(min(24*time.Hour, out.Max), c.Min))
	out.Min = cmp.Or(c.Min, min(5*time.Minute, out.Default))
	if out.Min > out.Default || out.Default > out.Max {
		return Claims{}, fmt.Errorf("durations are out of order: at least %s, by default %s, at most %s", out.Min, out.Default, out.Max)
	}
	return out, nil
}

// Config is the configuration of the daemon step-ca.
type Config struct {
	Address  string   // on which it listens, such as ":443"
	DNSNames []string // names and addresses of its own certificate, at least one; tokens are taken for these
	// Roots are paths of files with root certificates, the present one first. Certificates of all of them can be
	// renewed.
	Roots            []string
	Certificate, Key string // paths of the intermediate certificate and its key
	Provisioner      string // name of the JWK provisioner; empty: DefaultProvisioner
	ProvisionerKey   []byte // its public JWK
	ACME             string // name of an ACME provisioner; empty: none
	Database         string // path of the directory of its database; empty: none, and then no ACME and no revocation
	Claims           Claims
}

// JSON renders the file ca.json. The same Config gives the same bytes. It returns an error when something is missing,
// when ACME has no database, or when ProvisionerKey is a private key.
func (c Config) JSON() ([]byte, error) {
	file, err := c.file()
	if err != nil {
		return nil, fmt.Errorf("render ca.json: %w", err)
	}
	data, err := json.MarshalIndent(file, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("render ca.json: %w", err)
	}
	return append(data, '\n'), nil
}

type (
	configFile struct {
		Root      []string        `json:"root"`
		Crt       string          `json:"crt"`
		Key       string          `json:"key"`
		Address   string          `json:"address"`
		DNSNames  []string        `json:"dnsNames"`
		Logger    configLogger    `json:"logger"`
		DB        *configDatabase `json:"db,omitempty"`
		Authority configAuthority `json:"authority"`
	}
	configLogger struct {
		Format string `json:"format"`
	}
	configDatabase struct {
		Type       string `json:"type"`
		DataSource string `json:"dataSource"`
	}
	configAuthority struct {
		Claims       configClaims        `json:"claims"`
		Provisioners []configProvisioner `json:"provisioners"`
	}
	configClaims struct {
		Min                     string `json:"minTLSCertDuration"`
		Max                     string `json:"maxTLSCertDuration"`
		Default                 string `json:"defaultTLSCertDuration"`
		DisableRenewal          bool   `json:"disableRenewal"`
		AllowRenewalAfterExpiry bool   `json:"allowRenewalAfterExpiry"`
	}
	configProvisioner struct {
		Type    string           `json:"type"`
		Name    string           `json:"name"`
		Key     *jose.JSONWebKey `json:"key,omitempty"`
		Options *configOptions   `json:"options,omitempty"`
	}
	configOptions struct {
		X509 configTemplate `json:"x509"`
	}
	configTemplate struct {
		Template string `json:"template"`
	}
)

func (c Config) file() (*configFile, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	claims, err := c.Claims.full()
	if err != nil {
		return nil, err
	}
	key := new(jose.JSONWebKey)
	if err := json.Unmarshal(c.ProvisionerKey, key); err != nil || !key.Valid() || key.KeyID == "" {
		return nil, errors.New("the provisioner's key is not a JWK with a kid")
	}
	if !key.IsPublic() {
		return nil, errors.New("the provisioner's key is not the public one")
	}
	file := &configFile{
		Root: c.Roots, Crt: c.Certificate, Key: c.Key, Address: c.Address, DNSNames: c.DNSNames,
		Logger: configLogger{Format: "text"},
		Authority: configAuthority{
			Claims: configClaims{Min: claims.Min.String(), Max: claims.Max.String(), Default: claims.Default.String()},
			Provisioners: []configProvisioner{{
				Type: "JWK", Name: cmp.Or(c.Provisioner, DefaultProvisioner), Key: key,
				Options: &configOptions{X509: configTemplate{Template: leafTemplate}},
			}},
		},
	}
	if c.Database != "" {
		file.DB = &configDatabase{Type: "badgerv2", DataSource: c.Database}
	}
	if c.ACME != "" {
		file.Authority.Provisioners = append(file.Authority.Provisioners, configProvisioner{Type: "ACME", Name: c.ACME})
	}
	return file, nil
}

func (c Config) complete() error {
	switch {
	case c.Address == "":
		return errors.New("there is no address to listen on")
	case len(c.DNSNames) == 0:
		return errors.New("there is no name for its own certificate")
	case len(c.Roots) == 0:
		return errors.New("there is no root certificate")
	case c.Certificate == "" || c.Key == "":
		return errors.New("there is no intermediate certificate, or no key of it")
	case c.ACME != "" && c.Database == "":
		return errors.New("acme needs a database")
	case c.ACME != "" && c.ACME == cmp.Or(c.Provisioner, DefaultProvisioner):
		return fmt.Errorf("two provisioners are named %q", c.ACME)
	}
	return nil
}
