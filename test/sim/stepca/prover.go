// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"
)

// proofTimeout is how long a challenge of ACME may take.
const proofTimeout = 5 * time.Second

// prover looks for the proofs that ACME asks for, on the machines' network.
type prover struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

var errAlone = errors.New("no way to other machines")

func (p prover) connect(ctx context.Context, network, address string) (net.Conn, error) {
	if p.dial == nil {
		return nil, errAlone
	}
	return p.dial(ctx, network, address)
}

// Get implements acme.Client.
func (p prover) Get(address string) (*http.Response, error) {
	client := &http.Client{Timeout: proofTimeout, Transport: &http.Transport{DialContext: p.connect, DisableKeepAlives: true}}
	return client.Get(address) //nolint:noctx // the interface has none; the client's timeout ends it
}

// LookupTxt implements acme.Client.
func (p prover) LookupTxt(string) ([]string, error) { return nil, errAlone }

// TLSDial implements acme.Client.
func (p prover) TLSDial(network, address string, c *tls.Config) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), proofTimeout)
	defer cancel()
	inner, err := p.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	secure := tls.Client(inner, c)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	return secure, nil
}
