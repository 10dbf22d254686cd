// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"strings"
	"syscall"
)

// pair is a certificate with its key, as files.
type pair struct{ certificate, key string }

var versions = map[string]uint16{"TLSv1": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}

// load reads the certificates of a server.
func (s *server) load(files Files) error {
	for _, one := range s.pairs {
		name, key := absolute(one.certificate), absolute(one.key)
		chain, err := readPEM(files, "certificate", name, "PEM_read_bio_X509_AUX() failed (SSL: error:0480006C:PEM routines::no start line:Expecting: TRUSTED CERTIFICATE)", "CERTIFICATE")
		if err != nil {
			return err
		}
		secret, err := readPEM(files, "certificate key", key, "PEM_read_bio_PrivateKey() failed (SSL: error:1E08010C:DECODER routines::unsupported:No supported data to decode. Input type: PEM)", "PRIVATE KEY")
		if err != nil {
			return err
		}
		loaded, err := tls.X509KeyPair(chain, secret)
		if err != nil {
			return fmt.Errorf("SSL_CTX_use_PrivateKey(%q) failed (SSL: error:05800074:x509 certificate routines::key values mismatch)", key)
		}
		s.loaded = append(s.loaded, loaded)
	}
	return nil
}

// readPEM reads a file that must hold a block of a kind.
func readPEM(files Files, what, name, broken, kind string) ([]byte, error) {
	text, err := files.Read(name)
	if err != nil {
		code, words := "80000002", "No such file or directory"
		if err == syscall.EISDIR { //nolint:errorlint // the machine's files give it bare
			code, words = "80000015", "Is a directory"
		}
		return nil, fmt.Errorf("cannot load %s %q: BIO_new_file() failed (SSL: error:%s:system library::%s:calling fopen(%s, r) error:10000080:BIO routines::no such file)", what, name, code, words, name)
	}
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("cannot load %s %q: %s", what, name, broken)
		}
		if strings.HasSuffix(block.Type, kind) {
			return text, nil
		}
	}
}

// secure is the TLS configuration of a group: the certificate goes by the name
// that the client asks for.
func (g *group) secure() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			s := g.find(hello.ServerName)
			c := &tls.Config{MinVersion: s.oldest(), MaxVersion: s.newest(), Certificates: s.loaded, NextProtos: []string{"http/1.1"}}
			if g.http2 {
				c.NextProtos = []string{"h2", "http/1.1"}
			}
			if s.reject || len(s.loaded) == 0 {
				c.Certificates = nil
				// No certificate makes the handshake end with the alert unrecognized_name.
				c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil } //nolint:nilnil // crypto/tls wants it so
			}
			return c, nil
		},
	}
}

func (s *server) oldest() uint16 {
	out := uint16(tls.VersionTLS13)
	for _, name := range s.speaks() {
		out = min(out, versions[name])
	}
	return max(out, tls.VersionTLS12) // OpenSSL 3 of Debian speaks nothing older
}

func (s *server) newest() uint16 {
	out := uint16(tls.VersionTLS12)
	for _, name := range s.speaks() {
		out = max(out, versions[name])
	}
	return out
}

func (s *server) speaks() []string {
	if s.protocols == nil {
		return []string{"TLSv1.2", "TLSv1.3"}
	}
	return s.protocols
}
