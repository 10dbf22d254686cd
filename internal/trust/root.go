// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package trust has Debian machines trust certificate authorities: it makes the state of a machine's trust store from
// root certificates, and looks at such a store.
//
// Each root is a file of its own below /usr/local/share/ca-certificates, from which update-ca-certificates makes the
// bundle that programs read. What others put there is not touched.
package trust

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

const (
	// prefix is how the files of our roots begin.
	prefix = "/usr/local/share/ca-certificates/phoenix-"
	suffix = ".crt"
	// bundle is what update-ca-certificates writes and programs read.
	bundle = "/etc/ssl/certs/ca-certificates.crt"
	// digits are how many of a fingerprint's are shown and name its file.
	digits = 8
)

// Root is a root certificate that may be trusted.
type Root struct {
	Certificate *x509.Certificate
	// Fingerprint is the SHA-256 of the certificate, 64 hexadecimal digits in lower case.
	Fingerprint string
}

// New returns the root that a certificate is.
func New(cert *x509.Certificate) Root {
	return Root{Certificate: cert, Fingerprint: stepca.Fingerprint(cert)}
}

// Parse reads a bundle of roots: PEM with certificates and nothing else, at least one. A root that is there twice is
// returned once.
func Parse(bundle []byte) ([]Root, error) {
	chain, err := stepca.ParseChain(bundle)
	if err != nil {
		return nil, err
	}
	roots := make([]Root, len(chain))
	for i, cert := range chain {
		roots[i] = New(cert)
	}
	return Unite(roots), nil
}

// Unite returns the roots of several lists, each once, in their order.
func Unite(lists ...[]Root) []Root {
	var all []Root
	for _, r := range slices.Concat(lists...) {
		if !slices.ContainsFunc(all, r.is) {
			all = append(all, r)
		}
	}
	return all
}

// Fingerprints are those of roots, in their order.
func Fingerprints(roots []Root) []string {
	list := make([]string, len(roots))
	for i, r := range roots {
		list[i] = r.Fingerprint
	}
	return list
}

// String names the root for people: "step-ca Root CA (1a2b3c4d)".
func (r Root) String() string {
	name := cmp.Or(r.Certificate.Subject.CommonName, r.Certificate.Subject.String(), "a root without a name")
	return fmt.Sprintf("%s (%s)", name, r.Fingerprint[:digits])
}

func (r Root) is(other Root) bool { return r.Fingerprint == other.Fingerprint }

// path is the root's file on a machine.
func (r Root) path() string { return prefix + r.Fingerprint[:digits] + suffix }

func (r Root) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate.Raw})
}

// inBundle succeeds when all of the file $1, as it is, is in the bundle $2. A bundle is a certificate after the other,
// as they stand in their files.
const inBundle = `own=$(tr -d '\n' <"$1") && [ -n "$own" ] && tr -d '\n' <"$2" | grep -q -F -e "$own"`

// makeBundle makes the bundle. update-ca-certificates leaves the links of a root that is gone (Debian 12: only --fresh clears
// them, and all others with them for a moment), so ours are removed when they lead nowhere.
const makeBundle = `update-ca-certificates && find /etc/ssl/certs -xtype l -lname '*phoenix-*' -delete`

// State is a machine that trusts the roots. It is pure. The probes are those of the roots, in their order.
func State(roots []Root) machine.State {
	want := machine.State{Reads: []string{prefix + "*" + suffix}}
	if len(roots) == 0 {
		return want
	}
	want.Packages = []string{"ca-certificates"}
	for _, r := range roots {
		want.Files = append(want.Files, machine.File{
			Path: r.path(), Mode: 0o644, Content: r.pem(), Refresh: []string{"sh", "-c", makeBundle, "update-ca-certificates"},
		})
		want.Probes = append(want.Probes, machine.Probe{
			Name: r.String() + " in " + bundle, Argv: []string{"sh", "-c", inBundle, "sh", r.path(), bundle},
		})
	}
	// In an order of their own, so that one of the authorities changes nothing.
	slices.SortFunc(want.Files, func(a, b machine.File) int { return strings.Compare(a.Path, b.Path) })
	return want
}

// rootAt reads a file of ours: one certificate, whose fingerprint the file's name begins with.
func rootAt(path string, content []byte) (Root, bool) {
	roots, err := Parse(bytes.TrimSpace(content))
	if err != nil || len(roots) != 1 || roots[0].path() != path {
		return Root{}, false
	}
	return roots[0], true
}
