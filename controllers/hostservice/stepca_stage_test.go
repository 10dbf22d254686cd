// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// caBorn is when the certificates of the tests were made, and year is a year of them.
var caBorn = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const year = 365 * 24 * time.Hour

// caKeys are the keys of the tests: two roots with ten years each, the second one a year younger, and intermediates under
// them with six years, so that they are due after four.
type caKeys struct {
	root, next, other          stepca.KeyPair
	pair, pairOfNext, stranger stepca.KeyPair
	jwk                        []byte
}

func newCAKeys(t *testing.T) caKeys {
	t.Helper()
	must := func(pair stepca.KeyPair, err error) stepca.KeyPair {
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	root := func(name string, at time.Time) stepca.KeyPair {
		return must(stepca.NewRoot(stepca.Template{CommonName: name, Duration: 10 * year, Now: at}))
	}
	under := func(r stepca.KeyPair, at time.Time, life time.Duration) stepca.KeyPair {
		return must(stepca.NewIntermediate(r, stepca.Template{CommonName: "ca Intermediate CA", Duration: life, Now: at}))
	}
	k := caKeys{root: root("ca Root CA", caBorn), next: root("ca Root CA 2", caBorn.Add(year)), other: root("strange Root CA", caBorn)}
	k.pair, k.pairOfNext, k.stranger = under(k.root, caBorn, 6*year), under(k.next, caBorn.Add(year), 6*year), under(k.other, caBorn, 6*year)
	jwk, err := stepca.NewProvisionerKey()
	if err != nil {
		t.Fatal(err)
	}
	k.jwk = jwk
	return k
}

// print is the fingerprint of a pair's certificate.
func print(pair stepca.KeyPair) string {
	chain, err := stepca.ParseChain(pair.CertificatePEM)
	if err != nil {
		panic(err)
	}
	return stepca.Fingerprint(chain[0])
}

func testCA(change func(*v1alpha1.StepCA)) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: about1("ca")}
	s.Spec.GuestRef = &v1alpha1.LocalReference{Name: "box"}
	s.Spec.StepCA = &v1alpha1.StepCA{Artifact: &v1alpha1.Artifact{
		URL: "http://mirror.lan/step-ca.tar.gz", SHA256: strings.Repeat("0a", 32), Member: "step-ca_0.30.2/step-ca",
	}}
	if change != nil {
		change(s.Spec.StepCA)
	}
	return s
}

// caStage is a state of the world that a table begins with.
type caStage struct {
	keys    caKeys
	s       *v1alpha1.HostService
	secrets map[vaultPart]*corev1.Secret
	a       authority
}

// newCAStage has everything in place: Secrets of our own, the machine, the time a year after the beginning.
func newCAStage(keys caKeys) *caStage {
	st := &caStage{keys: keys, s: testCA(nil), secrets: map[vaultPart]*corev1.Secret{}}
	st.put(rootPart, map[string]string{generationAnnotation: "1"}, certEntry, keys.root.CertificatePEM)
	st.put(rootKeyPart, map[string]string{generationAnnotation: "1"}, certEntry, keys.root.CertificatePEM, keyEntry, keys.root.KeyPEM)
	st.put(intermediatePart, nil, certEntry, keys.pair.CertificatePEM, keyEntry, keys.pair.KeyPEM)
	st.put(provisionerPart, nil, jwkEntry, keys.jwk)
	st.a.now = caBorn.Add(year)
	return st
}

// put makes a Secret of the HostService: pairs of entries and values.
func (st *caStage) put(part vaultPart, annotations map[string]string, entries ...any) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "home", Name: part.of("ca")}, Data: map[string][]byte{}}
	secret.Annotations = map[string]string{authorityAnnotation: "ca"}
	maps.Copy(secret.Annotations, annotations)
	for i := 0; i < len(entries); i += 2 {
		if value, _ := entries[i+1].([]byte); len(value) > 0 {
			secret.Data[entries[i].(string)] = value
		}
	}
	st.secrets[part] = secret
}

// rotating has the second root made and trusted beside the first, under which certificates are issued.
func (st *caStage) rotating() {
	k := st.keys
	st.s.Spec.StepCA.RootGeneration = 2
	st.put(rootPart, map[string]string{generationAnnotation: "2"}, certEntry, append(append([]byte{}, k.next.CertificatePEM...), k.root.CertificatePEM...))
	st.put(rootKeyPart, map[string]string{generationAnnotation: "2"}, certEntry, k.next.CertificatePEM, keyEntry, k.next.KeyPEM, formerEntry, k.root.KeyPEM)
}

// switched has certificates issued under the second root, the first one trusted until a time; zero: it is not said.
func (st *caStage) switched(until time.Time) {
	k := st.keys
	st.rotating()
	st.put(intermediatePart, nil, certEntry, k.pairOfNext.CertificatePEM, keyEntry, k.pairOfNext.KeyPEM)
	if !until.IsZero() {
		st.secrets[rootPart].Annotations[untilAnnotation] = print(k.root) + "=" + shown(until)
		delete(st.secrets[rootKeyPart].Data, formerEntry)
	}
}

// knows has the status name roots.
func (st *caStage) knows(roots ...stepca.KeyPair) {
	st.s.Status.StepCA = &v1alpha1.StepCAStatus{RootGeneration: 1}
	for _, r := range roots {
		st.s.Status.StepCA.CABundle += string(r.CertificatePEM)
	}
}

// there has the machine hold roots and an intermediate.
func (st *caStage) there(ours bool, pair *stepca.KeyPair, roots ...stepca.KeyPair) {
	var bundle []byte
	for _, r := range roots {
		bundle = append(bundle, r.CertificatePEM...)
	}
	st.a.found.ours = ours
	st.a.found.roots, _ = parseRoots(bundle)
	if pair != nil {
		if p, err := parsePair(pair.CertificatePEM, pair.KeyPEM); err == nil && p.leadTo(st.a.found.roots) == nil {
			st.a.found.pair = p
		}
	}
}

// moves are what would be done, as text.
func (st *caStage) moves() []string {
	a := st.built()
	if t := a.trouble(); t != nil {
		return []string{fmt.Sprintf("%s: %v", t.reason, t.err)}
	}
	moves := a.keyMoves()
	if a.vault.whole() {
		moves = append(moves, a.timeMoves()...)
	}
	var shown []string
	for _, m := range moves {
		text := m.reason + " " + m.message
		if m.held != "" {
			text += " HELD " + m.held
		}
		shown = append(shown, text)
	}
	return shown
}

func (st *caStage) built() *authority {
	a := st.a
	a.s, a.vault = st.s, readVault("ca", st.secrets)
	return &a
}

// do takes a move as the loop would, on Secrets in memory.
func (st *caStage) do(t *testing.T, reason string) {
	t.Helper()
	a := st.built()
	moves := a.keyMoves()
	if a.vault.whole() {
		moves = append(moves, a.timeMoves()...)
	}
	for _, m := range moves {
		if m.reason != reason {
			continue
		}
		w := &vaultWriter{client: secretsInMemory(t, st.secrets), s: st.s, secrets: maps.Clone(st.secrets), until: a.vault.until}
		if err := m.do(context.Background(), w); err != nil {
			t.Fatalf("%s: %v", reason, err)
		}
		st.secrets = w.secrets
		return
	}
	t.Fatalf("nothing to do is %s: %q", reason, st.moves())
}

func generationText(n int32) string { return strconv.Itoa(int(n)) }
