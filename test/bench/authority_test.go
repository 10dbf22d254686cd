// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	caconfig "github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/ca"
	"golang.org/x/sync/errgroup"

	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// authority is a step-ca in this process, with a database in files as Phoenix sets one up.
type authority struct {
	*testing.B
	url         string
	root        stepca.KeyPair
	provisioner stepca.Provisioner
}

// newAuthority starts one, until the benchmark ends.
func newAuthority(b *testing.B) *authority {
	b.Helper()
	log.SetOutput(io.Discard) // step-ca writes to the standard logger
	a := &authority{B: b}
	root, err := stepca.NewRoot(stepca.Template{CommonName: "Bench Root CA", Duration: 24 * time.Hour})
	a.must(err)
	intermediate, err := stepca.NewIntermediate(root, stepca.Template{CommonName: "Bench Intermediate CA", Duration: 24 * time.Hour})
	a.must(err)
	jwk, err := stepca.NewProvisionerKey()
	a.must(err)
	public, err := stepca.PublicJWK(jwk)
	a.must(err)
	a.root, a.provisioner = root, stepca.Provisioner{Name: "phoenix", JWK: jwk}
	dir := b.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		a.must(os.WriteFile(path, data, 0o600))
		return path
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	a.must(err)
	address := free.Addr().String()
	a.must(free.Close())
	text, err := stepca.Config{
		Address: address, DNSNames: []string{"127.0.0.1"}, Roots: []string{write("root.crt", root.CertificatePEM)},
		Certificate: write("intermediate.crt", intermediate.CertificatePEM), Key: write("intermediate.key", intermediate.KeyPEM),
		Provisioner: a.provisioner.Name, ProvisionerKey: public, Database: filepath.Join(dir, "db"),
		Claims: stepca.Claims{Default: 12 * time.Hour},
	}.JSON()
	a.must(err)
	cfg, err := caconfig.LoadConfiguration(write("ca.json", text))
	a.must(err)
	cfg.Logger = json.RawMessage(nil)
	server, err := ca.New(cfg, ca.WithQuiet(true))
	a.must(err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Run() // that it is over is no news: it is stopped below
	}()
	b.Cleanup(func() {
		_ = server.Stop() // it was only measured
		<-ended
	})
	a.url = "https://" + address
	client := a.client()
	defer client.Close()
	for range 200 {
		if client.Health(b.Context()) == nil {
			return a
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.Fatal("step-ca does not come up")
	return nil
}

func (a *authority) must(err error) {
	a.Helper()
	if err != nil {
		a.Fatal(err)
	}
}

// client is the one that Phoenix uses.
func (a *authority) client() *stepca.Client {
	a.Helper()
	roots, err := stepca.ParseChain(a.root.CertificatePEM)
	a.must(err)
	client, err := stepca.NewClient(stepca.Options{URL: a.url, Roots: roots})
	a.must(err)
	return client
}

// bare has n certificates signed by the client alone, so many at a time, each with a new key, and returns how many a second.
func (a *authority) bare(n, atOnce int) float64 {
	a.Helper()
	client := a.client()
	defer client.Close()
	began := time.Now()
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i := range n {
		group.Go(func() error {
			_, err := a.sign(client, fmt.Sprintf("bare-%d-%d.example.org", atOnce, i))
			return err
		})
	}
	a.must(group.Wait())
	return float64(n) / time.Since(began).Seconds()
}

// sign has a certificate signed for a new key.
func (a *authority) sign(client *stepca.Client, name string) (stepca.KeyPair, error) {
	key, err := stepca.NewKey(stepca.ECDSA, 256)
	if err != nil {
		return stepca.KeyPair{}, err
	}
	names := stepca.Names{CommonName: name, SANs: []string{name}}
	csr, err := stepca.NewCSR(key, names)
	if err != nil {
		return stepca.KeyPair{}, err
	}
	chain, err := client.Sign(context.Background(), stepca.SignRequest{Provisioner: a.provisioner, Names: names, CSR: csr})
	if err != nil {
		return stepca.KeyPair{}, err
	}
	text, err := stepca.EncodeKey(key, false)
	return stepca.KeyPair{CertificatePEM: chain, KeyPEM: text}, err
}
