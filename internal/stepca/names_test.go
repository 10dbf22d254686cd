// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"crypto/x509"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 60) + ".phoenix.lan"
	cases := map[string]struct {
		reason string
		names  Names
		want   Names
	}{
		"first name":        {"a subject needs a common name", Names{SANs: []string{"a.lan", "b.lan"}}, Names{"a.lan", []string{"a.lan", "b.lan"}}},
		"common name":       {"clients look at the others only", Names{CommonName: "a.lan"}, Names{"a.lan", []string{"a.lan"}}},
		"both":              {"nothing is added", Names{"Nginx", []string{"a.lan"}}, Names{"Nginx", []string{"a.lan"}}},
		"twice":             {"once is enough", Names{SANs: []string{"a.lan", "", "a.lan"}}, Names{"a.lan", []string{"a.lan"}}},
		"long first name":   {"a common name has 64 characters", Names{SANs: []string{long, "b.lan"}}, Names{"b.lan", []string{long, "b.lan"}}},
		"long names only":   {"better than none", Names{SANs: []string{long}}, Names{long, []string{long}}},
		"nothing but blank": {"no names", Names{SANs: []string{""}}, Names{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := tc.names.full()
			if (err != nil) != (tc.want.CommonName == "") {
				t.Errorf("%s: %v", tc.reason, err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
	if _, err := NewCSR(must(NewKey(ECDSA, 0))(t), Names{}); err == nil {
		t.Error("a CSR without names is made")
	}
}

func TestCheckNames(t *testing.T) {
	cert := must(NewCSR(must(NewKey(ECDSA, 0))(t), everyName))(t)
	served := certificateOf(everyName)
	if diff := cmp.Diff(len(cert.DNSNames)+len(cert.IPAddresses)+len(cert.URIs)+len(cert.EmailAddresses), len(everyName.SANs)); diff != "" {
		t.Errorf("the CSR has another number of names: %s", diff)
	}
	cases := map[string]struct {
		reason string
		names  Names
		text   string
	}{
		"same":              {"nothing to do", everyName, ""},
		"other order":       {"order means nothing", Names{"www.phoenix.lan", append(everyName.SANs[1:], everyName.SANs[0])}, ""},
		"other spelling":    {"the same address", Names{"www.phoenix.lan", append([]string{"fd00:0:0::0153"}, append(everyName.SANs[:3:3], everyName.SANs[4:]...)...)}, ""},
		"one more":          {"has to be issued anew", Names{"www.phoenix.lan", append([]string{"b.lan"}, everyName.SANs...)}, "it lacks b.lan"},
		"one less":          {"has to be issued anew", Names{"www.phoenix.lan", everyName.SANs[:5]}, "it also names admin@phoenix.lan"},
		"other common name": {"has to be issued anew", Names{"b.lan", everyName.SANs}, `its common name is "www.phoenix.lan", not "b.lan"`},
		"none":              {"no such certificate", Names{}, "neither"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := tc.names.Check(served)
			if (err == nil) != (tc.text == "") || err != nil && !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%s: Check() = %v, want %q", tc.reason, err, tc.text)
			}
		})
	}
	served.Subject.CommonName = ""
	if err := everyName.Check(served); err != nil {
		t.Errorf("a common name that is left away: %v", err)
	}
	if err := (Names{"Nginx", everyName.SANs}).Check(served); err == nil {
		t.Error("a common name that stands nowhere is missed by nobody")
	}
}

// certificateOf is a certificate with names, not signed by anybody.
func certificateOf(names Names) *x509.Certificate {
	request := names.request()
	return &x509.Certificate{
		Subject: request.Subject, DNSNames: request.DNSNames, IPAddresses: request.IPAddresses,
		EmailAddresses: request.EmailAddresses, URIs: request.URIs,
	}
}
