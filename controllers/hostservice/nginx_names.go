// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/internal/nginx"
)

// names are those that each server answers to; a server with none is not served. What is left out, and what is served
// although something is wrong with it, goes to the design.
func (g gateway) names(d *design) [][]string {
	holder := map[string]string{} // of a name: the source that declares it, empty for one that its certificate has
	for _, e := range g.entries {
		for _, name := range e.Names {
			holder[name] = e.source()
		}
	}
	all := make([][]string, len(g.entries))
	byCertificate := map[string]string{}
	for i, e := range g.entries {
		if e.pair.problem != nil {
			d.left = append(d.left, e.trouble())
		}
		switch {
		case e.pair.leaf == nil:
		case len(e.Names) > 0:
			all[i] = e.Names
			d.left = append(d.left, e.uncovered()...)
		default:
			all[i] = e.ownNames(holder, byCertificate, d)
		}
	}
	return all
}

// ownNames are the DNS names of a server's certificate that no server declares. Of two servers that come to one name by
// their certificates, the first has it.
func (e entry) ownNames(declared, byCertificate map[string]string, d *design) []string {
	var names []string
	for _, name := range dnsNames(e.pair.leaf) {
		switch other := byCertificate[name]; {
		case declared[name] != "" || slices.Contains(names, name):
		case other != "":
			d.left = append(d.left, leftOut{DuplicateNameReason, fmt.Sprintf(
				"%s and %s both have %s in their certificates: the first one serves it: set names", other, e.source(), name)})
		default:
			byCertificate[name] = e.source()
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		d.left = append(d.left, leftOut{NamesMissingReason, fmt.Sprintf("%s: its certificate has no DNS name of its own: set names", e.source())})
	}
	return names
}

// dnsNames are the names of a certificate that a server can have.
func dnsNames(leaf *x509.Certificate) []string {
	var names []string
	for _, name := range leaf.DNSNames {
		if name = strings.ToLower(name); nginx.IsName(name) {
			names = append(names, name)
		}
	}
	return names
}

// uncovered are declared names that the certificate does not have. They are served: a client may not mind.
func (e entry) uncovered() []leftOut {
	var left []leftOut
	for _, name := range e.Names {
		if slices.Contains(dnsNames(e.pair.leaf), name) || !strings.HasPrefix(name, "*") && e.pair.leaf.VerifyHostname(name) == nil {
			continue
		}
		left = append(left, leftOut{NameNotCoveredReason, fmt.Sprintf("%s.names: %s is not in its certificate, so clients refuse it: %s", e.source(), name, e.remedy())})
	}
	return left
}

func (e entry) remedy() string {
	if e.CertificateRef != nil {
		return "add it to dnsNames of Certificate/" + e.CertificateRef.Name
	}
	return "put a certificate that has it into Secret/" + e.SecretRef.Name
}

// trouble says what is wrong with a server's Secret, and what that means for those who use the server.
func (e entry) trouble() leftOut {
	means := "its names get no answer until then"
	if e.kept {
		means = "what the machine has is served on: its last day is " + day(e.pair.ends())
	}
	return leftOut{e.pair.problem.reason, e.source() + ": " + e.pair.problem.text + "; " + means}
}
