// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"
)

// servedTimeout bounds Served: connection and handshake together.
const servedTimeout = 10 * time.Second

// Dial opens a connection, as (*net.Dialer).DialContext does.
type Dial = func(ctx context.Context, network, address string) (net.Conn, error)

// Served returns the certificates that a TLS server at address (host:port)
// shows when it is asked for serverName, its own first. Whoever answers is
// believed: the certificates are there to be compared with the expected ones,
// and nothing is ever sent over the connection. It takes 10 s at most. dial is
// how the server is reached; nil: directly. serverName may be empty or an IP
// address: then no name is asked for. A server that wants a certificate of its
// clients is read as well. Errors name the address.
func Served(ctx context.Context, dial Dial, address, serverName string) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, servedTimeout)
	defer cancel()
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	raw, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("read certificate of %s: %w", address, err)
	}
	defer raw.Close()
	config, shown := Unverified(serverName), []*x509.Certificate(nil)
	config.VerifyConnection = func(state tls.ConnectionState) error {
		shown = state.PeerCertificates
		return nil
	}
	if err := tls.Client(raw, config).HandshakeContext(ctx); err != nil && !refusedByPeer(err, shown) {
		return nil, fmt.Errorf("read certificate of %s: %w", address, err)
	}
	if len(shown) == 0 {
		return nil, fmt.Errorf("read certificate of %s: it shows none", address)
	}
	return shown, nil
}

// refusedByPeer says that the server showed its certificates and then turned
// the client away, as it does when it wants a certificate of the client.
func refusedByPeer(err error, shown []*x509.Certificate) bool {
	var alert *net.OpError
	return len(shown) > 0 && errors.As(err, &alert) && alert.Op == "remote error"
}

// Unverified returns a configuration that believes any server. It is for what
// proves itself otherwise: a root certificate that is fetched by its
// fingerprint. Nothing secret may be sent over it.
func Unverified(serverName string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: serverName, InsecureSkipVerify: true}
}
