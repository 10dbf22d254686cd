// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

func secretsInMemory(t *testing.T, secrets map[vaultPart]*corev1.Secret) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	b := fake.NewClientBuilder().WithScheme(scheme)
	for _, secret := range secrets {
		b = b.WithObjects(secret)
	}
	return b.Build()
}

func TestAuthorityMoves(t *testing.T) {
	keys := newCAKeys(t)
	fresh := []string{
		"MakingRoot make the root of ca in Secret ca-root", "MakingIntermediate make the intermediate of ca in Secret ca-intermediate",
		"MakingProvisioner make the provisioner's key of ca in Secret ca-provisioner",
	}
	for name, c := range map[string]struct {
		reason string
		set    func(*caStage)
		want   []string
	}{
		"all is there":  {"nothing is to be done", func(*caStage) {}, nil},
		"nothing there": {"it is made", func(st *caStage) { st.secrets = nil }, fresh},
		"root key away": {"an offline root changes nothing", func(st *caStage) { delete(st.secrets, rootKeyPart) }, nil},
		"intermediate lost": {"the root's key makes another", func(st *caStage) { delete(st.secrets, intermediatePart) },
			fresh[1:2]},
		"provisioner lost": {"it is made anew", func(st *caStage) { delete(st.secrets, provisionerPart) }, fresh[2:]},
		"killed between key and certificate": {"the certificate stands beside the key", func(st *caStage) {
			st.secrets = map[vaultPart]*corev1.Secret{rootKeyPart: st.secrets[rootKeyPart]}
		}, append([]string{"Restoring bring the root back from Secret ca-root-key in Secret ca-root"}, fresh[1:]...)},
		"all Secrets lost": {"the machine has them", func(st *caStage) {
			st.secrets = nil
			st.there(true, &keys.pair, keys.root)
		}, []string{
			"Restoring bring the root back from Guest/box in Secret ca-root", "Restoring bring the intermediate back from Guest/box in Secret ca-intermediate", fresh[2],
		}},
		"all Secrets lost, and the machine's key": {"nothing can be brought back", func(st *caStage) {
			st.secrets = nil
			st.there(true, nil, keys.root)
		}, []string{"Restoring bring the root back from Guest/box in Secret ca-root", fresh[1], fresh[2]}},
		"the root's certificate lost": {"the status has it, and there are keys of it", func(st *caStage) {
			delete(st.secrets, rootPart)
			delete(st.secrets, rootKeyPart)
			st.knows(keys.root)
		}, []string{"Restoring bring the root back from the status in Secret ca-root"}},
		"all lost but the root's key, and the machine": {"the status has its certificate", func(st *caStage) {
			st.secrets = map[vaultPart]*corev1.Secret{rootKeyPart: st.secrets[rootKeyPart]}
			st.knows(keys.root)
		}, append([]string{"Restoring bring the root back from the status in Secret ca-root"}, fresh[1:]...)},
		"all lost, and the machine": {"no other root is made behind everybody's back", func(st *caStage) {
			st.secrets = nil
			st.knows(keys.root)
		}, []string{"AuthorityLost: keep the root \"ca Root CA\" (" + print(keys.root) + "), which others trust: neither the Secrets nor the machine have its keys any more: put the Secrets back, or delete the HostService and make it anew for another authority"}},
		"intermediate and root key lost": {"nothing can sign", func(st *caStage) {
			delete(st.secrets, rootKeyPart)
			delete(st.secrets, intermediatePart)
		}, []string{"AuthorityLost: issue certificates: Secret ca-intermediate is gone, and so is the key of the root: put ca-intermediate or ca-root-key back"}},
		"intermediate and root key lost, but on the machine": {"it is brought back", func(st *caStage) {
			delete(st.secrets, rootKeyPart)
			delete(st.secrets, intermediatePart)
			st.there(true, &keys.pair, keys.root)
		}, []string{"Restoring bring the intermediate back from Guest/box in Secret ca-intermediate"}},
		"a foreign authority": {"it is not ours to read", func(st *caStage) {
			st.secrets = nil
			st.there(false, &keys.stranger, keys.other)
		}, []string{"AuthorityExists: make an authority on Guest/box: it has one already, whose root is \"strange Root CA\" (" + print(keys.other) + "): import its keys into the Secrets ca-root and ca-intermediate, or remove it there"}},
		"a foreign authority, adopted": {"it was asked for", func(st *caStage) {
			st.secrets = nil
			st.s.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned
			st.there(false, &keys.stranger, keys.other)
		}, []string{
			"Restoring bring the root back from Guest/box in Secret ca-root", "Restoring bring the intermediate back from Guest/box in Secret ca-intermediate", fresh[2],
		}},
		"an authority made by step ca init": {"its keys are encrypted elsewhere: they have to be imported", func(st *caStage) {
			st.secrets = nil
			st.s.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned
			st.a.found.handmade, _ = parseRoots(keys.other.CertificatePEM)
		}, []string{"AuthorityExists: make an authority on Guest/box: it has one already, whose root is \"strange Root CA\" (" + print(keys.other) + "): import its keys into the Secrets ca-root and ca-intermediate, or remove it there"}},
		"another root on the machine": {"whose trust would break is not known", func(st *caStage) { st.there(true, &keys.stranger, keys.other) },
			[]string{"AuthorityExists: make an authority on Guest/box: it has one already, whose root is \"strange Root CA\" (" + print(keys.other) + "): import its keys into the Secrets ca-root and ca-intermediate, or remove it there"}},
		"an older root on the machine": {"it is among those of the Secret", func(st *caStage) {
			st.switched(caBorn.Add(5 * year))
			st.a.now = caBorn.Add(2 * year)
			st.there(true, nil, keys.root)
		}, nil},
		"renewal": {"two thirds of the life are over", func(st *caStage) { st.a.now = caBorn.Add(4*year + time.Minute) },
			[]string{"RenewingIntermediate renew the intermediate in Secret ca-intermediate"}},
		"just before the renewal":   {"nothing is done early", func(st *caStage) { st.a.now = caBorn.Add(4*year - time.Minute) }, nil},
		"renewal with the key away": {"it goes on as long as it lives", func(st *caStage) { st.a.now = caBorn.Add(5 * year); delete(st.secrets, rootKeyPart) }, nil},
		"the end with the key away": {"who can help is told how", func(st *caStage) { st.a.now = caBorn.Add(6 * year); delete(st.secrets, rootKeyPart) },
			[]string{"AuthorityOver: the intermediate certificate is over since 2031-12-31T00:00:00Z: the root's key is away: put it back as Secret ca-root-key, or a new intermediate certificate with its key into Secret ca-intermediate"}},
		"the end with the key": {"it is never too late", func(st *caStage) { st.a.now = caBorn.Add(7 * year) },
			[]string{"RenewingIntermediate renew the intermediate in Secret ca-intermediate"}},
		"the root's end": {"a new one is for people to ask for", func(st *caStage) { st.a.now = caBorn.Add(10 * year) },
			[]string{"AuthorityOver: the root \"ca Root CA\" is over since 2035-12-30T00:00:00Z: set rootGeneration: 2 for a new one"}},
		"the root's end, and a new one asked for": {"it is made", func(st *caStage) {
			st.a.now = caBorn.Add(10 * year)
			st.s.Spec.StepCA.RootGeneration = 2
		}, []string{"RotatingRoot make the root for rootGeneration 2 in Secret ca-root"}},
		"rotation": {"it was asked for", func(st *caStage) { st.s.Spec.StepCA.RootGeneration = 2 },
			[]string{"RotatingRoot make the root for rootGeneration 2 in Secret ca-root"}},
		"rotation of an offline root": {"the old key is not needed", func(st *caStage) {
			st.s.Spec.StepCA.RootGeneration = 2
			delete(st.secrets, rootKeyPart)
		}, []string{"RotatingRoot make the root for rootGeneration 2 in Secret ca-root"}},
		"rotation killed between key and certificate": {"it is gone on with", func(st *caStage) {
			root := st.secrets[rootPart]
			st.rotating()
			st.secrets[rootPart] = root
		}, []string{"RotatingRoot make the root for rootGeneration 2 in Secret ca-root"}},
		"imported with a generation": {"the root that is there is taken for it", func(st *caStage) {
			st.s.Spec.StepCA.RootGeneration = 7
			delete(st.secrets[rootPart].Annotations, generationAnnotation)
		}, nil},
		"imported, then rotated": {"the status says which it was", func(st *caStage) {
			st.s.Spec.StepCA.RootGeneration = 8
			delete(st.secrets[rootPart].Annotations, generationAnnotation)
			st.s.Status.StepCA = &v1alpha1.StepCAStatus{RootGeneration: 7}
		}, []string{"RotatingRoot make the root for rootGeneration 8 in Secret ca-root"}},
		"a lower generation": {"roots do not come back", func(st *caStage) { st.switched(caBorn.Add(9 * year)); st.s.Spec.StepCA.RootGeneration = 1 }, nil},
		"nobody trusts it": {"nobody has to be waited for", func(st *caStage) { st.rotating() },
			[]string{"SwitchingRoot issue under the root \"ca Root CA 2\" in Secret ca-intermediate"}},
		"not trusted everywhere": {"issuing goes on under the old one", func(st *caStage) {
			st.rotating()
			st.a.doubting = []string{"Guest/app (MachineAway)", "Host/phoenix"}
		}, []string{"SwitchingRoot issue under the root \"ca Root CA 2\" in Secret ca-intermediate HELD not trusted yet by Guest/app (MachineAway), Host/phoenix"}},
		"not trusted everywhere for years": {"the old intermediate is renewed under the old root", func(st *caStage) {
			st.rotating()
			st.a.doubting, st.a.now = []string{"Guest/app"}, caBorn.Add(5*year)
		}, []string{
			"SwitchingRoot issue under the root \"ca Root CA 2\" in Secret ca-intermediate HELD not trusted yet by Guest/app",
			"RenewingIntermediate renew the intermediate in Secret ca-intermediate",
		}},
		"not trusted everywhere, and the old one over": {"waiting helps nobody", func(st *caStage) {
			st.rotating()
			st.a.doubting, st.a.now = []string{"Guest/app"}, caBorn.Add(10*year+time.Hour)
		}, []string{"SwitchingRoot issue under the root \"ca Root CA 2\" in Secret ca-intermediate"}},
		"new root's key exported too soon": {"it has to sign once", func(st *caStage) {
			st.rotating()
			delete(st.secrets, rootKeyPart)
		}, []string{"SwitchingRoot issue under the root \"ca Root CA 2\" in Secret ca-intermediate HELD its key is away: put it back as Secret ca-root-key"}},
		"switched": {"from now the longest life counts", func(st *caStage) { st.switched(time.Time{}); st.a.now = caBorn.Add(2 * year) },
			[]string{"RetiringRoot trust old roots until the last certificate under them is over in Secret ca-root"}},
		"retired": {"certificates under it live", func(st *caStage) { st.switched(caBorn.Add(3 * year)); st.a.now = caBorn.Add(2 * year) }, nil},
		"retired, and over": {"nobody needs it", func(st *caStage) { st.switched(caBorn.Add(3 * year)); st.a.now = caBorn.Add(3 * year) },
			[]string{"DroppingRoot trust the root \"ca Root CA\" (" + print(keys.root)[:12] + ") no more in Secret ca-root"}},
		"retired, but a Certificate is still under it": {"it would be served untrusted", func(st *caStage) {
			st.switched(caBorn.Add(3 * year))
			st.a.now, st.a.leaves = caBorn.Add(3*year), map[string][]string{print(keys.root): {"Certificate/web"}}
		}, []string{"DroppingRoot trust the root \"ca Root CA\" (" + print(keys.root)[:12] + ") no more in Secret ca-root HELD still under it: Certificate/web"}},
		"a second rotation at once": {"one after the other", func(st *caStage) {
			st.rotating()
			st.s.Spec.StepCA.RootGeneration = 3
			st.a.doubting = []string{"Guest/app"}
		},
			[]string{"SwitchingRoot issue under the root \"ca Root CA 2\" in Secret ca-intermediate HELD not trusted yet by Guest/app"}},
	} {
		t.Run(name, func(t *testing.T) {
			st := newCAStage(keys)
			c.set(st)
			if diff := cmp.Diff(c.want, st.moves()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestBadSecretsAreNamed(t *testing.T) {
	keys := newCAKeys(t)
	short, err := stepca.NewProvisionerKey()
	if err != nil {
		t.Fatal(err)
	}
	public, err := stepca.PublicJWK(short)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		reason string
		set    func(*caStage)
		says   string
	}{
		"no root": {"an intermediate is none", func(st *caStage) { st.put(rootPart, nil, certEntry, keys.pair.CertificatePEM) },
			"Secret ca-root: certificate \"ca Intermediate CA\" is no root"},
		"no certificate": {"nothing can be read", func(st *caStage) { st.put(rootPart, nil, certEntry, []byte("x")) }, "Secret ca-root: parse certificates"},
		"no entry":       {"the entry is named", func(st *caStage) { st.put(rootPart, nil) }, "Secret ca-root: it has no tls.crt"},
		"key of another root": {"it could not sign", func(st *caStage) { st.put(rootKeyPart, nil, keyEntry, keys.other.KeyPEM) },
			"Secret ca-root-key: its tls.key does not fit the first certificate of Secret ca-root: match key"},
		"key of the intermediate does not match": {"it could not sign", func(st *caStage) {
			st.put(intermediatePart, nil, certEntry, keys.pair.CertificatePEM, keyEntry, keys.stranger.KeyPEM)
		}, "Secret ca-intermediate: match key: it is not the key of certificate \"ca Intermediate CA\""},
		"intermediate of another root": {"nobody would trust it", func(st *caStage) {
			st.put(intermediatePart, nil, certEntry, keys.stranger.CertificatePEM, keyEntry, keys.stranger.KeyPEM)
		}, "Secret ca-intermediate: certificate \"ca Intermediate CA\" does not lead to the root \"ca Root CA\""},
		"the root as intermediate": {"the root's key would come to the machine", func(st *caStage) {
			st.put(intermediatePart, nil, certEntry, keys.root.CertificatePEM, keyEntry, keys.root.KeyPEM)
		}, "Secret ca-intermediate: certificate \"ca Root CA\" is the root itself"},
		"intermediate without a key": {"the entry is named", func(st *caStage) { st.put(intermediatePart, nil, certEntry, keys.pair.CertificatePEM) },
			"Secret ca-intermediate: it has no tls.key"},
		"encrypted key": {"Phoenix has no password", func(st *caStage) {
			st.put(intermediatePart, nil, certEntry, keys.pair.CertificatePEM, keyEntry, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"))
		}, "Secret ca-intermediate: decode key: it is encrypted: decrypt it first"},
		"public provisioner": {"it could not sign", func(st *caStage) { st.put(provisionerPart, nil, jwkEntry, public) }, "Secret ca-provisioner: jwk.json: "},
		"of another authority": {"two would write it", func(st *caStage) {
			st.put(provisionerPart, map[string]string{authorityAnnotation: "pki"}, jwkEntry, keys.jwk)
		}, "Secret ca-provisioner: it is of HostService pki"},
		"intermediate without a root": {"whose it is cannot be told", func(st *caStage) {
			delete(st.secrets, rootPart)
			delete(st.secrets, rootKeyPart)
		}, "use Secret ca-intermediate: Secret ca-root with the certificate of the root is not there"},
		"imported key without a root": {"there is no certificate of it", func(st *caStage) {
			st.secrets = nil
			st.secrets = map[vaultPart]*corev1.Secret{}
			st.put(rootKeyPart, nil, keyEntry, keys.root.KeyPEM)
		}, "use Secret ca-root-key: Secret ca-root with the certificate of the root is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			st := newCAStage(keys)
			c.set(st)
			got := strings.Join(st.moves(), " | ")
			if !strings.HasPrefix(got, "SecretInvalid: "+c.says) {
				t.Errorf("%s: %q, want SecretInvalid with %q", c.reason, got, c.says)
			}
			for _, key := range [][]byte{keys.root.KeyPEM, keys.pair.KeyPEM, keys.other.KeyPEM, keys.stranger.KeyPEM} {
				if strings.Contains(got, strings.Split(string(key), "\n")[1]) {
					t.Errorf("%s: a key stands in %q", c.reason, got)
				}
			}
		})
	}
}

// Every step leaves the Secrets so that the next look comes to the next step, and in the end to none.
func TestAuthorityFromNothingAndThroughARotation(t *testing.T) {
	st := newCAStage(newCAKeys(t))
	st.secrets = map[vaultPart]*corev1.Secret{}
	for _, reason := range []string{MakingRootReason, MakingIntermediateReason, MakingProvisionerReason} {
		st.do(t, reason)
	}
	if got := st.moves(); len(got) > 0 {
		t.Fatalf("there is more to do: %q", got)
	}
	first := st.built().vault
	st.s.Spec.StepCA.RootGeneration = 2
	st.a.now = st.a.now.Add(year)
	st.do(t, RotatingRootReason)
	v := st.built().vault
	if len(v.roots) != 2 || !v.roots[1].Equal(first.roots[0]) || v.roots[0].Subject.CommonName != "ca Root CA 2" || v.generation != 2 {
		t.Fatalf("the roots are %q of generation %d, want the new one before the old one", shortened(v.roots), v.generation)
	}
	if !v.pair.root.Equal(first.roots[0]) || v.keyOf(v.roots[1]) == nil {
		t.Fatal("certificates are not issued under the old root any more, or its key is away")
	}
	st.do(t, SwitchingRootReason)
	if v = st.built().vault; !v.pair.root.Equal(v.roots[0]) {
		t.Fatal("certificates are not issued under the new root")
	}
	st.do(t, RetiringRootReason)
	a := st.built()
	if until := a.until(a.vault.roots[1]); !until.Equal(st.a.now.Add(2160*time.Hour)) || a.former() != nil {
		t.Fatalf("the old root is trusted until %s, and its key is kept: %t", until, a.former() != nil)
	}
	if got := st.moves(); len(got) > 0 {
		t.Fatalf("there is more to do: %q", got)
	}
	st.a.now = a.until(a.vault.roots[1])
	st.do(t, DroppingRootReason)
	if v = st.built().vault; len(v.roots) != 1 || v.until[stepca.Fingerprint(first.roots[0])] != (time.Time{}) {
		t.Fatalf("the roots are %q until %v", shortened(v.roots), v.until)
	}
	if got := st.moves(); len(got) > 0 {
		t.Fatalf("there is more to do: %q", got)
	}
	want := map[string]string{authorityAnnotation: "ca", generationAnnotation: generationText(2)}
	if diff := cmp.Diff(want, st.secrets[rootPart].Annotations); diff != "" {
		t.Errorf("annotations of the roots (-want +got):\n%s", diff)
	}
	if got := slices.Sorted(maps.Keys(st.secrets[rootKeyPart].Data)); !slices.Equal(got, []string{certEntry, keyEntry}) {
		t.Errorf("the key's Secret holds %q", got)
	}
}

func TestRestoredKeysAreThoseOfTheMachine(t *testing.T) {
	keys := newCAKeys(t)
	st := newCAStage(keys)
	st.secrets = map[vaultPart]*corev1.Secret{}
	st.there(true, &keys.pair, keys.next, keys.root)
	st.do(t, RestoringReason)
	v := st.built().vault
	if diff := cmp.Diff([]string{print(keys.next), print(keys.root)}, fingerprints(v.roots)); diff != "" {
		t.Errorf("roots (-want +got):\n%s", diff)
	}
	st.do(t, RestoringReason)
	if got := st.secrets[intermediatePart].Data[keyEntry]; string(got) != string(keys.pair.KeyPEM) {
		t.Error("the intermediate's key is not the machine's")
	}
	if st.secrets[intermediatePart].Type != corev1.SecretTypeTLS || st.secrets[rootPart].Labels[managedByLabel] != "phoenix" {
		t.Errorf("the Secrets are %+v", st.secrets[intermediatePart].ObjectMeta)
	}
}
