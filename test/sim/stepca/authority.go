// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"sync"
	"time"

	"github.com/smallstep/certificates/authority"
	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/cas/apiv1"
	"github.com/smallstep/certificates/cas/softcas"
	"github.com/smallstep/certificates/db"
	"go.step.sm/crypto/pemutil"
)

// Options say what an authority works with. All but Faults and Dial are needed.
type Options struct {
	// Config is the path of its ca.json.
	Config string
	// Password of the intermediate's key; nil: the key is not protected.
	Password []byte
	// ReadFile reads a file as the authority's user does.
	ReadFile func(name string) ([]byte, error)
	// WriteFile keeps the database's file when the authority stops.
	WriteFile func(name string, data []byte) error
	// Now is its clock.
	Now func() time.Time
	// Log takes its lines.
	Log func(line string)
	// Dial reaches machines that prove by ACME who they are; nil: none are reached.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Faults that it has.
	Faults *Faults
}

// Authority is a step-ca that has read its configuration.
type Authority struct {
	opts   Options
	server *http.Server
	served chan struct{} // closed when the server has ended

	mu     sync.Mutex
	now    *generation
	memory *memory // nil: there is no database
	dbFile string
}

// generation is what the authority is since its configuration was read last.
type generation struct {
	config  *config.Config
	auth    *authority.Authority
	handler http.Handler
	clients *x509.CertPool

	mu   sync.Mutex
	leaf *tls.Certificate
}

// ErrNoConfig says that ca.json cannot be read.
var ErrNoConfig = errors.New("step-ca can't find or open the configuration file for your CA.\nYou may need to create a CA first by running `step ca init`.\nDocumentation: https://u.step.sm/docs/ca")

// New reads the configuration and what it names. The errors are step-ca's words.
func New(o Options) (*Authority, error) {
	a := &Authority{opts: o}
	g, err := a.read()
	if err != nil {
		return nil, err
	}
	a.now = g
	return a, nil
}

// Address that the configuration says to listen at, such as :443.
func (a *Authority) Address() string { return a.present().config.Address }

func (a *Authority) present() *generation {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now
}

// Reload reads everything again; after an error the old configuration serves on.
func (a *Authority) Reload() error {
	g, err := a.read()
	if err != nil {
		return fmt.Errorf("error reloading ca: %w", err)
	}
	a.mu.Lock()
	old := a.now
	a.now = g
	a.mu.Unlock()
	old.auth.CloseForReload()
	return nil
}

// read makes a generation.
func (a *Authority) read() (*generation, error) {
	c, err := a.configuration()
	if err != nil {
		return nil, err
	}
	store, err := a.database(c)
	if err != nil {
		return nil, err
	}
	signer, chain, err := a.signer(c)
	if err != nil {
		return nil, err
	}
	roots, err := a.bundle(c.Root...)
	if err != nil {
		return nil, err
	}
	soft, err := softcas.New(context.Background(), apiv1.Options{Type: apiv1.SoftCAS, CertificateChain: chain, Signer: signer})
	if err != nil {
		return nil, err
	}
	auth, err := authority.New(c,
		authority.WithQuietInit(), authority.WithDatabase(store), authority.WithX509RootCerts(roots...), authority.WithX509IntermediateCerts(chain...),
		authority.WithX509CAService(&shifted{soft: soft, shift: a.shift}), authority.WithWebhookClient(&http.Client{Transport: noWay{}}),
	)
	if err != nil {
		return nil, err
	}
	g := &generation{config: c, auth: auth, clients: x509.NewCertPool()}
	for _, one := range append(roots, chain...) {
		g.clients.AddCert(one)
	}
	if _, err := g.certificate(a.opts.Now()); err != nil {
		return nil, err
	}
	g.handler, err = a.routes(g, store)
	return g, err
}

func (a *Authority) configuration() (*config.Config, error) {
	text, err := a.opts.ReadFile(a.opts.Config)
	if err != nil {
		return nil, ErrNoConfig
	}
	c := &config.Config{}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(c); err != nil {
		return nil, fmt.Errorf("error parsing %s: %w", a.opts.Config, err)
	}
	c.Init()
	if c.TLS == nil || c.TLS == &config.DefaultTLSOptions {
		own := config.DefaultTLSOptions // Validate writes to it, and there are several authorities in a process
		c.TLS = &own
	}
	return c, c.Validate()
}

// database opens the database once; it stays the same when the configuration is
// read again.
func (a *Authority) database(c *config.Config) (db.AuthDB, error) {
	if c.DB == nil {
		return db.New(nil)
	}
	switch c.DB.Type {
	case "badger", "badgerv1", "badgerv2", "bbolt":
	default:
		return nil, fmt.Errorf("Error opening database of Type %s: %s database not supported", c.DB.Type, c.DB.Type) //nolint:staticcheck // step-ca says so
	}
	file := path.Join(c.DB.DataSource, "000000.vlog")
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.memory == nil {
		dump, _ := a.opts.ReadFile(file) // a new database has no file
		m, err := newMemory(dump)
		if err != nil {
			return nil, err
		}
		if err := a.opts.WriteFile(file, m.dump()); err != nil {
			return nil, fmt.Errorf("Error opening database of Type %s: error opening Badger database: Error Creating Dir: %q: %w", c.DB.Type, c.DB.DataSource, err) //nolint:staticcheck // step-ca says so
		}
		a.memory, a.dbFile = m, file
	}
	if a.dbFile != file {
		return nil, errors.New("database configuration cannot change")
	}
	store := &db.DB{DB: a.memory}
	for _, name := range []string{
		"revoked_x509_certs", "x509_certs", "x509_certs_data", "used_ott", "ssh_certs", "ssh_hosts", "ssh_host_principals", "ssh_users", "revoked_ssh_certs", "x509_crl",
	} {
		if err := store.CreateTable([]byte(name)); err != nil {
			return nil, err
		}
	}
	return store, nil
}

// signer reads the intermediate certificate and its key.
func (a *Authority) signer(c *config.Config) (crypto.Signer, []*x509.Certificate, error) {
	chain, err := a.bundle(c.IntermediateCert)
	if err != nil {
		return nil, nil, err
	}
	text, err := a.opts.ReadFile(c.IntermediateKey)
	if err != nil {
		return nil, nil, errors.New("key not found")
	}
	options := []pemutil.Options{pemutil.WithFilename(c.IntermediateKey)}
	if a.opts.Password != nil {
		options = append(options, pemutil.WithPassword(a.opts.Password))
	}
	key, err := pemutil.ParseKey(text, options...)
	if err != nil {
		return nil, nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("type %T is not a signer", key)
	}
	return signer, chain, nil
}

// bundle reads certificates.
func (a *Authority) bundle(names ...string) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for _, name := range names {
		text, err := a.opts.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("error reading %q: %w", name, err)
		}
		some, err := pemutil.ParseCertificateBundle(text)
		if err != nil {
			return nil, fmt.Errorf("error parsing %s: %w", name, err)
		}
		out = append(out, some...)
	}
	return out, nil
}

// shift is how wrong the clock is; less than a second is not.
func (a *Authority) shift() time.Duration {
	if d := time.Until(a.opts.Now()); d.Abs() >= time.Second {
		return d
	}
	return 0
}

// certificate is the authority's own for TLS, renewed when two thirds of its
// life are over.
func (g *generation) certificate(now time.Time) (*tls.Certificate, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leaf != nil {
		born, dies := g.leaf.Leaf.NotBefore, g.leaf.Leaf.NotAfter
		if now.After(born) && now.Before(born.Add(dies.Sub(born)*2/3)) {
			return g.leaf, nil
		}
	}
	leaf, err := g.auth.GetTLSCertificate()
	if err != nil {
		return nil, err
	}
	g.leaf = leaf
	return leaf, nil
}

// noWay is the way to webhooks, which nobody has here.
type noWay struct{}

// RoundTrip implements http.RoundTripper.
func (noWay) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("webhooks are not simulated")
}
