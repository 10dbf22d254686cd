// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/ca"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // step-ca writes to the standard logger
	os.Exit(m.Run())
}

// authority is a real step-ca on loopback, with the configuration of this package.
type authority struct {
	Config
	url                string
	root, intermediate KeyPair
	provisioner        Provisioner
	stop               func()
}

func must[T any](value T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// newAuthority starts one. change may alter its configuration beforehand.
func newAuthority(t *testing.T, change func(*authority)) *authority {
	t.Helper()
	a := &authority{
		root:        must(NewRoot(Template{CommonName: "Test Root CA", Duration: 48 * time.Hour}))(t),
		provisioner: Provisioner{Name: DefaultProvisioner, JWK: must(NewProvisionerKey())(t)},
	}
	a.intermediate = must(NewIntermediate(a.root, Template{CommonName: "Test Intermediate CA", Duration: 48 * time.Hour}))(t)
	dir := t.TempDir()
	a.Config = Config{
		DNSNames: []string{"127.0.0.1", "localhost"}, Roots: []string{filepath.Join(dir, "root.crt")},
		Certificate: filepath.Join(dir, "intermediate.crt"), Key: filepath.Join(dir, "intermediate.key"),
		ProvisionerKey: must(PublicJWK(a.provisioner.JWK))(t),
		Claims:         Claims{Min: 2 * time.Minute, Max: 50 * time.Minute, Default: 30 * time.Minute},
	}
	if change != nil {
		change(a)
	}
	write(t, a.Roots[0], a.root.CertificatePEM)
	write(t, a.Certificate, a.intermediate.CertificatePEM)
	write(t, a.Key, a.intermediate.KeyPEM)
	a.start(t)
	return a
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// start runs the authority with its present configuration and files until the test ends or stop is called.
func (a *authority) start(t *testing.T) {
	t.Helper()
	const tries = 5 // another process may take the free port first
	for try := range tries {
		server, address := a.create(t)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = server.Run() // always an error: that it was stopped, or that the port is taken
		}()
		a.url = "https://" + address
		if a.waitUp(t, ended) {
			stopped := false
			a.stop = func() {
				if !stopped {
					stopped = true
					_ = server.Stop()
					<-ended
				}
			}
			t.Cleanup(a.stop)
			return
		}
		if try == tries-1 {
			t.Fatal("step-ca does not come up")
		}
	}
}

func (a *authority) create(t *testing.T) (*ca.CA, string) {
	t.Helper()
	free := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	a.Address = free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.json")
	write(t, file, must(a.JSON())(t))
	cfg := must(config.LoadConfiguration(file))(t)
	cfg.Logger = json.RawMessage(nil) // its access log is not what is tested
	return must(ca.New(cfg, ca.WithQuiet(true)))(t), a.Address
}

func (a *authority) waitUp(t *testing.T, ended chan struct{}) bool {
	t.Helper()
	c := a.client(t)
	defer c.Close()
	for range 200 {
		select {
		case <-ended:
			return false
		default:
		}
		if err := c.Health(t.Context()); KindOf(err) != Away { // after a rotation it is of another root
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

func (a *authority) roots(t *testing.T) []*x509.Certificate {
	t.Helper()
	return must(ParseChain(a.root.CertificatePEM))(t)
}

// client of the authority, pinned by its root.
func (a *authority) client(t *testing.T) *Client {
	t.Helper()
	return a.clientWith(t, nil)
}

func (a *authority) clientWith(t *testing.T, change func(*Options)) *Client {
	t.Helper()
	o := Options{URL: a.url, Roots: a.roots(t)}
	if change != nil {
		change(&o)
	}
	c := must(NewClient(o))(t)
	t.Cleanup(c.Close)
	return c
}

// request asks for a certificate with a new key.
func (a *authority) request(t *testing.T, names Names) (SignRequest, crypto.Signer) {
	t.Helper()
	key := must(NewKey(ECDSA, 0))(t)
	return SignRequest{Provisioner: a.provisioner, Names: names, CSR: must(NewCSR(key, names))(t)}, key
}

// issue has a certificate signed, and returns it with its key.
func (a *authority) issue(t *testing.T, c *Client, change func(*SignRequest)) KeyPair {
	t.Helper()
	r, key := a.request(t, Names{SANs: []string{"www.phoenix.lan"}})
	if change != nil {
		change(&r)
	}
	chain, err := c.Sign(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return KeyPair{CertificatePEM: chain, KeyPEM: must(EncodeKey(key, false))(t)}
}

func leafOf(t *testing.T, chainPEM []byte) *x509.Certificate {
	t.Helper()
	return must(ParseChain(chainPEM))(t)[0]
}

func asError(err error, e **Error) bool { return errors.As(err, e) }

// checkKind fails unless err is of the kind and says what it should.
func checkKind(t *testing.T, err error, kind Kind, text string) {
	t.Helper()
	if KindOf(err) != kind || !strings.Contains(fmt.Sprint(err), text) {
		t.Errorf("error = %v (%s), want %s with %q", err, KindOf(err), kind, text)
	}
}

// dialTo reaches one address whatever is asked for.
func dialTo(address string) Dial {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
}
