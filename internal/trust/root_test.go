// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// newRoot makes a root of a name.
func newRoot(t *testing.T, name string) Root {
	t.Helper()
	pair, err := stepca.NewRoot(stepca.Template{CommonName: name, Duration: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	roots, err := Parse(pair.CertificatePEM)
	if err != nil {
		t.Fatal(err)
	}
	return roots[0]
}

func join(parts ...string) []byte { return []byte(strings.Join(parts, "")) }

func TestParse(t *testing.T) {
	one, two := newRoot(t, "One Root CA"), newRoot(t, "Two Root CA")
	first, second := string(one.pem()), string(two.pem())
	for name, tc := range map[string]struct {
		reason string
		bundle []byte
		want   []string // fingerprints
		err    string
	}{
		"one":          {"the ordinary case", join(first), []string{one.Fingerprint}, ""},
		"two":          {"a rotation: the order is the authority's", join(second, first), []string{two.Fingerprint, one.Fingerprint}, ""},
		"twice":        {"the same root of two entries is one", join(first, second, first), []string{one.Fingerprint, two.Fingerprint}, ""},
		"empty":        {"no root is not a bundle without roots", nil, nil, "there is none"},
		"no PEM":       {"what is none is named", join("hello"), nil, "there is none"},
		"a key":        {"a private key is no certificate", join(first, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), nil, "PRIVATE KEY"},
		"a half":       {"a certificate that was cut is none", join(first[:len(first)/2]), nil, "none"},
		"no DER":       {"PEM of something else", join("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), nil, "certificate 1"},
		"text after":   {"what follows is no certificate", join(first, "hello"), nil, "not PEM"},
		"text between": {"comments before a certificate are common", join("# the root\n", first), []string{one.Fingerprint}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			roots, err := Parse(tc.bundle)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("%s: want an error with %q, got %v", tc.reason, tc.err, err)
				}
				return
			}
			if diff := cmp.Diff(tc.want, Fingerprints(roots)); diff != "" || err != nil {
				t.Errorf("%s: %v (-want +got):\n%s", tc.reason, err, diff)
			}
		})
	}
}

func TestState(t *testing.T) {
	if diff := cmp.Diff(machine.State{Reads: []string{"/usr/local/share/ca-certificates/phoenix-*.crt"}}, State(nil)); diff != "" {
		t.Errorf("without a root nothing is wanted (-want +got):\n%s", diff)
	}
	one, two := newRoot(t, "One Root CA"), newRoot(t, "Two Root CA")
	if one.path() > two.path() {
		one, two = two, one
	}
	got := State([]Root{two, one})
	path := func(r Root) string { return "/usr/local/share/ca-certificates/phoenix-" + r.Fingerprint[:8] + ".crt" }
	file := func(r Root) machine.File {
		return machine.File{Path: path(r), Mode: 0o644, Content: r.pem(), Refresh: []string{"sh", "-c", makeBundle, "update-ca-certificates"}}
	}
	if diff := cmp.Diff([]machine.File{file(one), file(two)}, got.Files); diff != "" {
		t.Errorf("one file a root, in an order of their own (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"ca-certificates"}, got.Packages); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	for i, r := range []Root{two, one} {
		argv := strings.Join(got.Probes[i].Argv, " ")
		if !strings.HasSuffix(argv, path(r)+" /etc/ssl/certs/ca-certificates.crt") || !strings.Contains(got.Probes[i].Name, r.String()) {
			t.Errorf("probe %d is %q %q, want the one of %s", i, got.Probes[i].Name, argv, r)
		}
	}
}

// TestInBundle runs the probe by the computer's own programs: it succeeds for a file that is in a bundle as it is.
func TestInBundle(t *testing.T) {
	one, two, three := newRoot(t, "One Root CA"), newRoot(t, "Two Root CA"), newRoot(t, "Three Root CA")
	for name, tc := range map[string]struct {
		reason       string
		file, bundle []byte
		ok           bool
	}{
		"in the middle": {"others stand around it", two.pem(), join(string(one.pem()), string(two.pem()), string(three.pem())), true},
		"alone":         {"it is all", one.pem(), one.pem(), true},
		"not in it":     {"another is", two.pem(), one.pem(), false},
		"in part":       {"its end is missing", two.pem(), join(string(one.pem()), string(two.pem()[:300])), false},
		"empty":         {"nothing is in everything", nil, one.pem(), false},
		"no bundle":     {"nothing is in it", one.pem(), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			file, all := filepath.Join(t.TempDir(), "file"), filepath.Join(t.TempDir(), "bundle")
			if err := errors.Join(os.WriteFile(file, tc.file, 0o600), os.WriteFile(all, tc.bundle, 0o600)); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), "sh", "-c", inBundle, "sh", file, all).CombinedOutput()
			if (err == nil) != tc.ok {
				t.Errorf("%s: %v %s", tc.reason, err, out)
			}
		})
	}
}

func TestRootAt(t *testing.T) {
	one, two := newRoot(t, "One Root CA"), newRoot(t, "Two Root CA")
	for name, tc := range map[string]struct {
		reason  string
		path    string
		content []byte
		ok      bool
	}{
		"ours":    {"name and content fit", one.path(), one.pem(), true},
		"another": {"the content is of another root", one.path(), two.pem(), false},
		"two":     {"a second one was added", one.path(), join(string(one.pem()), string(two.pem())), false},
		"broken":  {"it is no certificate any more", one.path(), []byte("hello"), false},
		"empty":   {"it was emptied", one.path(), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, ok := rootAt(tc.path, tc.content); ok != tc.ok {
				t.Errorf("%s: got %t", tc.reason, ok)
			}
		})
	}
}
