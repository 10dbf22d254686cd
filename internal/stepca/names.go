// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// maxCommonName is how long a common name may be (RFC 5280, ub-common-name).
const maxCommonName = 64

// Names is whom a certificate is for.
type Names struct {
	// CommonName of the subject. Empty: the first of SANs that is no longer than the 64 characters of a common name.
	CommonName string
	// SANs are DNS names, IP addresses, URIs and e-mail addresses, told apart as step-ca does: what parses as an
	// address is one, what has a scheme is a URI, what has an @ is an e-mail address. Empty: the common name.
	SANs []string
}

// full returns the names with the defaults filled in, each once.
func (n Names) full() (Names, error) {
	sans := slices.DeleteFunc(slices.Clone(n.SANs), func(s string) bool { return s == "" })
	if len(sans) == 0 && n.CommonName != "" {
		sans = []string{n.CommonName}
	}
	if len(sans) == 0 {
		return Names{}, errors.New("name certificate: it has neither a common name nor another name")
	}
	short := slices.IndexFunc(sans, func(s string) bool { return len(s) <= maxCommonName })
	out := Names{CommonName: cmp.Or(n.CommonName, sans[max(short, 0)])}
	for _, san := range sans {
		if !slices.Contains(out.SANs, san) {
			out.SANs = append(out.SANs, san)
		}
	}
	return out, nil
}

// NamesOf returns the names in a certificate, each sort sorted: DNS names, addresses, e-mail addresses, URIs.
func NamesOf(cert *x509.Certificate) Names {
	var ips, uris []string
	for _, ip := range cert.IPAddresses {
		ips = append(ips, ip.String())
	}
	for _, uri := range cert.URIs {
		uris = append(uris, uri.String())
	}
	names := Names{CommonName: cert.Subject.CommonName}
	for _, sort := range [][]string{cert.DNSNames, ips, cert.EmailAddresses, uris} {
		names.SANs = append(names.SANs, slices.Sorted(slices.Values(sort))...)
	}
	return names
}

// Check returns nil when the certificate bears exactly these names. Its error names the differences. A certificate
// without a common name passes when that name is among the others: authorities may leave it away.
func (n Names) Check(cert *x509.Certificate) error {
	full, err := n.full()
	if err != nil {
		return err
	}
	return full.check(cert)
}

func (n Names) check(cert *x509.Certificate) error {
	sorted := n.request()
	asked := NamesOf(&x509.Certificate{
		DNSNames: sorted.DNSNames, IPAddresses: sorted.IPAddresses, EmailAddresses: sorted.EmailAddresses, URIs: sorted.URIs,
	}).SANs
	given := NamesOf(cert).SANs
	var wrong []string
	if got := cert.Subject.CommonName; got != n.CommonName && (got != "" || !slices.Contains(n.SANs, n.CommonName)) {
		wrong = append(wrong, fmt.Sprintf("its common name is %q, not %q", got, n.CommonName))
	}
	if less := without(asked, given); len(less) > 0 {
		wrong = append(wrong, "it lacks "+strings.Join(less, ", "))
	}
	if more := without(given, asked); len(more) > 0 {
		wrong = append(wrong, "it also names "+strings.Join(more, ", "))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("compare names of certificate: %s", strings.Join(wrong, "; "))
	}
	return nil
}

func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(some, s) })
}

// NewCSR makes a certificate request with these names, signed by the key.
func NewCSR(key crypto.Signer, names Names) (*x509.CertificateRequest, error) {
	full, err := names.full()
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, full.request(), key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return request, nil
}

// request tells the sorts of names apart in the order in which step-ca does.
func (n Names) request() *x509.CertificateRequest {
	request := &x509.CertificateRequest{Subject: pkix.Name{CommonName: n.CommonName}}
	for _, san := range n.SANs {
		ip := net.ParseIP(san)
		uri, err := url.Parse(san)
		switch {
		case ip != nil:
			request.IPAddresses = append(request.IPAddresses, ip)
		case err == nil && uri.Scheme != "":
			request.URIs = append(request.URIs, uri)
		case strings.Contains(san, "@"):
			request.EmailAddresses = append(request.EmailAddresses, san)
		default:
			request.DNSNames = append(request.DNSNames, san)
		}
	}
	return request
}

// The usages that a certificate may be asked for.
const (
	UsageServerAuth      = "serverAuth"
	UsageClientAuth      = "clientAuth"
	UsageCodeSigning     = "codeSigning"
	UsageEmailProtection = "emailProtection"
)

var usages = map[string]x509.ExtKeyUsage{
	UsageServerAuth:      x509.ExtKeyUsageServerAuth,
	UsageClientAuth:      x509.ExtKeyUsageClientAuth,
	UsageCodeSigning:     x509.ExtKeyUsageCodeSigning,
	UsageEmailProtection: x509.ExtKeyUsageEmailProtection,
}

// UsagesOf returns what a certificate may be used for, sorted, of the usages above.
func UsagesOf(cert *x509.Certificate) []string {
	var out []string
	for name, usage := range usages {
		if slices.Contains(cert.ExtKeyUsage, usage) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
