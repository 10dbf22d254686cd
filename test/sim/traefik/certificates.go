// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync"
	"time"
)

// certificates are those that it serves: of dynamic files, and one of its own that nobody trusts.
type certificates struct {
	now func() time.Time

	mu     sync.Mutex
	pairs  []*tls.Certificate
	normal *tls.Certificate // made when it is first asked for
}

func newCertificates(now func() time.Time) *certificates { return &certificates{now: now} }

// use takes the certificates of a configuration. What is none is left out.
func (c *certificates) use(conf *tlsConfiguration) {
	var pairs []*tls.Certificate
	for _, one := range conf.Certificates {
		if pair, err := tls.X509KeyPair([]byte(one.CertFile), []byte(one.KeyFile)); err == nil {
			pairs = append(pairs, &pair)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pairs = pairs
}

// config is that of a server.
func (c *certificates) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, Time: c.now, GetCertificate: c.choose}
}

func (c *certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pair := range c.pairs {
		if pair.Leaf.VerifyHostname(hello.ServerName) == nil {
			return pair, nil
		}
	}
	if c.normal == nil {
		normal, err := selfSigned(c.now())
		if err != nil {
			return nil, err
		}
		c.normal = normal
	}
	return c.normal, nil
}

// selfSigned is Traefik's certificate for want of a better one.
func selfSigned(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "TRAEFIK DEFAULT CERT"}, NotBefore: now, NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, DNSNames: []string{"traefik.default"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// terminate ends TLS before a handler.
func (c *certificates) terminate(next tcpHandler) tcpHandler {
	return func(ctx context.Context, conn net.Conn) {
		config := c.config()
		config.NextProtos = nil
		secure := tls.Server(conn, config)
		if secure.HandshakeContext(ctx) != nil {
			_ = conn.Close() // the other end was told
			return
		}
		next(ctx, secure)
	}
}
