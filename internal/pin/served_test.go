// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pin

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestServed(t *testing.T) {
	cases := map[string]struct {
		reason     string
		tls        *tls.Config
		serverName string
		sni        string
	}{
		"name":             {"a server may have many certificates", &tls.Config{}, "www.phoenix.lan", "www.phoenix.lan"},
		"no name":          {"the default certificate", &tls.Config{}, "", ""},
		"address":          {"TLS has no names that are addresses", &tls.Config{}, "10.0.0.153", ""},
		"TLS 1.2":          {"older servers", &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}, "www.phoenix.lan", "www.phoenix.lan"}, //nolint:gosec // what is read
		"wants ours":       {"it shows its own before", &tls.Config{ClientAuth: tls.RequireAnyClientCert}, "www.phoenix.lan", "www.phoenix.lan"},
		"wants ours, 1.2":  {"it shows its own before", &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}, "a.lan", "a.lan"}, //nolint:gosec // what is read
		"not verified":     {"an unknown name of an unknown authority is what is asked about", &tls.Config{}, "else.lan", "else.lan"},
		"speaks of h2 too": {"it need not agree on what is never said", &tls.Config{NextProtos: []string{"h2"}}, "a.lan", "a.lan"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var sni atomic.Value
			var said atomic.Bool
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { said.Store(true) }))
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.TLS = tc.tls
			s.TLS.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				sni.Store(hello.ServerName)
				return nil, nil //nolint:nilnil // the server's own
			}
			s.StartTLS()
			defer s.Close()
			address := s.Listener.Addr().String()
			var dialled atomic.Value
			dial := func(ctx context.Context, network, to string) (net.Conn, error) {
				dialled.Store(network + " " + to)
				return (&net.Dialer{}).DialContext(ctx, network, address)
			}
			chain, err := Served(t.Context(), dial, "web.phoenix.lan:443", tc.serverName)
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if len(chain) != 1 || !chain[0].Equal(s.Certificate()) {
				t.Errorf("%s: Served() = %d certificates, not the server's", tc.reason, len(chain))
			}
			if sni.Load() != tc.sni || dialled.Load() != "tcp web.phoenix.lan:443" || said.Load() {
				t.Errorf("%s: asked for %q at %v, said something: %v", tc.reason, sni.Load(), dialled.Load(), said.Load())
			}
		})
	}
}

func TestServedChain(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.StartTLS()
	leaf := s.TLS.Certificates[0]
	s.Close()
	leaf.Certificate = append(leaf.Certificate, leaf.Certificate[0]) // whatever follows
	two := httptest.NewUnstartedServer(http.NotFoundHandler())
	two.TLS = &tls.Config{Certificates: []tls.Certificate{leaf}}
	two.StartTLS()
	defer two.Close()
	chain, err := Served(t.Context(), nil, two.Listener.Addr().String(), "")
	if err != nil || len(chain) != 2 {
		t.Errorf("Served() = %d certificates, %v; want two", len(chain), err)
	}
}

func TestServedNothing(t *testing.T) {
	over := func(server func(net.Conn)) Dial {
		return func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go server(theirs)
			return ours, nil
		}
	}
	silent := func(theirs net.Conn) { _, _ = io.Copy(io.Discard, theirs) }
	cases := map[string]struct {
		reason string
		dial   Dial
		text   string
	}{
		"refused": {"the machine is down", func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("connection refused")
		}, "connection refused"},
		"closed": {"a proxy without a way", over(func(theirs net.Conn) { _ = theirs.Close() }), ""},
		"not TLS": {"another service has the port", over(func(theirs net.Conn) {
			go silent(theirs)
			_, _ = io.WriteString(theirs, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}), "TLS"},
		"alert": {"nginx refuses unknown names so (ssl_reject_handshake)", over(func(theirs net.Conn) {
			go silent(theirs)
			_, _ = theirs.Write([]byte{21, 3, 3, 0, 2, 2, 112})
		}), "unrecognized name"},
		"silence": {"a firewall that drops", over(silent), "deadline"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			chain, err := Served(ctx, tc.dial, "10.0.0.153:443", "www.phoenix.lan")
			if err == nil || !strings.Contains(err.Error(), tc.text) || !strings.Contains(err.Error(), "10.0.0.153:443") {
				t.Errorf("%s: Served() = %v, want %q with the address", tc.reason, err, tc.text)
			}
			if chain != nil {
				t.Errorf("%s: certificates out of nothing", tc.reason)
			}
		})
	}
}

func TestUnverified(t *testing.T) {
	s := server(t)
	transport := &http.Transport{TLSClientConfig: Unverified("pve.invalid")}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if shown := answer.TLS.PeerCertificates; len(shown) != 1 || !shown[0].Equal(s.Certificate()) {
		t.Errorf("%d certificates, not the server's", len(shown))
	}
}
