// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"math/big"
	"path"
	"sort"
	"strings"
	"sync"
	"time"
)

const (
	sharedCerts = "/usr/share/ca-certificates"
	localCerts  = "/usr/local/share/ca-certificates"
	etcCerts    = "/etc/ssl/certs"
	publicRoot  = "mozilla/Simulated_Public_Root.crt"
)

// publicRootPEM is the certificate that stands for those of the world's
// authorities; nobody has its key.
var publicRootPEM = sync.OnceValue(func() string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Simulated Public Root"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err) // the template is right
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
})

func caCertificates() Package {
	return Package{
		Version: "20230311", Depends: []string{"openssl"}, Programs: []string{"update-ca-certificates"}, Configure: []string{"update-ca-certificates", "--fresh"},
		Files: []PackageFile{
			binary("/usr/sbin/update-ca-certificates"), {Path: sharedCerts + "/mozilla/"}, {Path: sharedCerts + "/" + publicRoot, Text: publicRootPEM()},
			{Path: localCerts + "/"}, {Path: etcCerts + "/"}, {Path: "/etc/ca-certificates/update.d/"},
			{Path: "/etc/ca-certificates.conf", Conf: true, Text: "# This file lists certificates that you wish to use or to ignore to be\n# installed in /etc/ssl/certs.\n" + publicRoot + "\n"},
		},
	}
}

// trustStore is one run of update-ca-certificates.
type trustStore struct {
	p       *Process
	text    strings.Builder
	added   int
	removed int
}

// runUpdateCACertificates is update-ca-certificates: the bundle is written anew
// from what is listed and what is local; a link to each certificate is made, and
// taken away again with --fresh alone.
func runUpdateCACertificates(_ context.Context, p *Process) int {
	f, ok := p.parse("v verbose=v f fresh=f h help=h")
	if !ok || f.has("h") {
		p.Printf("%s: [--verbose] [--fresh]\n", p.Args[0])
		return 0
	}
	if info, err := p.M.stat(etcCerts); err != nil || !info.IsDir() {
		return p.Errorf("cd: can't cd to %s", etcCerts)
	}
	t := &trustStore{p: p}
	if f.has("f") {
		p.Printf("Clearing symlinks in %s...\n", etcCerts)
		t.clear()
		p.Printf("done.\n")
	}
	p.Printf("Updating certificates in %s...\n", etcCerts)
	t.listed()
	for _, name := range p.M.filesBelow(localCerts, ".crt") {
		t.add(name)
	}
	if t.added+t.removed > 0 {
		t.dropOrphans()
	}
	if t.text.Len() > 0 {
		if err := p.M.replaceFile(bundle, t.text.String(), 0o644); err != nil {
			return p.Errorf("%s: %s", bundle, reason(err))
		}
	}
	p.Printf("%d added, %d removed; done.\n", t.added, t.removed)
	p.Printf("Running hooks in /etc/ca-certificates/update.d...\ndone.\n")
	return 0
}

// clear removes every link into the folders of certificates.
func (t *trustStore) clear() {
	for _, name := range t.links() {
		if info, err := t.p.M.lstat(name); err == nil && (strings.HasPrefix(info.Target, sharedCerts) || strings.HasPrefix(info.Target, localCerts)) {
			_ = t.p.M.remove(name) // it was there
		}
	}
}

func (t *trustStore) dropOrphans() {
	for _, name := range t.links() {
		if _, err := t.p.M.stat(name); err != nil {
			_ = t.p.M.remove(name) // it was there
		}
	}
}

func (t *trustStore) links() []string {
	entries, err := t.p.M.readDir(etcCerts)
	if err != nil {
		return nil
	}
	var out []string
	for _, entry := range entries {
		if entry.Perm&fs.ModeSymlink != 0 {
			out = append(out, etcCerts+"/"+entry.Base)
		}
	}
	return out
}

// listed adds what /etc/ca-certificates.conf names, and removes what it excludes.
func (t *trustStore) listed() {
	text, err := t.p.M.readFile("/etc/ca-certificates.conf")
	if err != nil {
		return
	}
	for _, line := range lines(text) {
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '!':
			link := linkOf(line[1:])
			if _, err := t.p.M.lstat(link); err == nil {
				_ = t.p.M.remove(link) // it was there
				t.removed++
			}
		default:
			t.add(sharedCerts + "/" + line)
		}
	}
}

func linkOf(name string) string {
	base := strings.NewReplacer(" ", "_", "(", "=", ")", "=", ",", "_").Replace(strings.TrimSuffix(path.Base(name), ".crt"))
	return etcCerts + "/" + base + ".pem"
}

// add puts a certificate into the bundle and links it.
func (t *trustStore) add(name string) {
	text, err := t.p.M.readFile(name)
	if err != nil {
		t.p.Printf("W: %s not found, but listed in /etc/ca-certificates.conf.\n", name)
		return
	}
	link := linkOf(name)
	if info, err := t.p.M.lstat(link); err != nil || info.Target != name {
		if err == nil {
			_ = t.p.M.remove(link) // it was there
		}
		_ = t.p.M.symlink(name, link) // its folder is there
		t.added++
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	t.text.WriteString(text)
}

// filesBelow are the files in a folder and below it whose names end so, sorted.
func (m *Machine) filesBelow(folder, suffix string) []string {
	entries, err := m.readDir(folder)
	if err != nil {
		return nil
	}
	var out []string
	for _, entry := range entries {
		name := folder + "/" + entry.Base
		info, err := m.stat(name)
		switch {
		case err != nil:
		case info.IsDir():
			out = append(out, m.filesBelow(name, suffix)...)
		case strings.HasSuffix(name, suffix):
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out
}

// replaceFile writes a file beside another one and puts it in its place.
func (m *Machine) replaceFile(name, text string, mode fs.FileMode) error {
	if err := m.writeFile(name+".new", text, mode); err != nil {
		return err
	}
	return m.rename(name+".new", name)
}
