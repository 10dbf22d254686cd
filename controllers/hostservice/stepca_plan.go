// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// authority is all that decides what has to be done for an authority next: what the Secrets hold, what the machine has,
// what was known before, who trusts it, what it issued, and the time. What follows from it is pure.
type authority struct {
	s     *v1alpha1.HostService
	vault vault
	found caFound
	trust trustMap
	// doubting are the machines that do not trust the present root yet, with why.
	doubting []string
	// leaves are the Certificates under each root, by its fingerprint.
	leaves map[string][]string
	now    time.Time
}

// move is one step for the keys or the trust of an authority.
type move struct {
	reason, message, identity string
	held                      string
	changes                   []reconcile.Change
	do                        func(ctx context.Context, w *vaultWriter) error
}

// trouble is what is in the way of everything else.
type trouble struct {
	reason string
	err    error
}

func troubled(reason, format string, values ...any) *trouble {
	return &trouble{reason, fmt.Errorf(format, values...)}
}

// outcome is how the loop has to take it.
func (t *trouble) outcome() error {
	if t.reason == AuthorityExistsReason {
		return reconcile.Stall(t.reason, t.err)
	}
	return reconcile.Fail(t.reason, t.err)
}

// trouble finds what is in the way; nil: nothing is.
func (a *authority) trouble() *trouble {
	if len(a.vault.problems) > 0 {
		return &trouble{SecretInvalidReason, errors.New(strings.Join(a.vault.problems, "; "))}
	}
	if err := a.clash(); err != nil {
		return &trouble{AuthorityExistsReason, err}
	}
	if len(a.vault.roots) == 0 {
		return a.noRoot()
	}
	switch {
	case a.vault.pair == nil && a.found.pair == nil && a.signer() == nil:
		return troubled(AuthorityLostReason, "issue certificates: Secret %s is gone, and so is the key of the root: put %s or %s back",
			intermediatePart.of(a.s.Name), intermediatePart.of(a.s.Name), rootKeyPart.of(a.s.Name))
	case a.rotates():
		return nil
	case a.over(a.vault.roots[0]):
		return troubled(AuthorityOverReason, "the root %q is over since %s: set rootGeneration: %d for a new one",
			a.vault.roots[0].Subject.CommonName, shown(a.vault.roots[0].NotAfter), a.generation()+1)
	case a.vault.pair != nil && a.expired() && !a.renewable():
		return troubled(AuthorityOverReason, "the intermediate certificate is over since %s: %s", shown(a.ends()), a.remedy())
	}
	return nil
}

// clash finds an authority on the machine that is not the one of the Secrets.
func (a *authority) clash() error {
	there := append(a.found.roots[:len(a.found.roots):len(a.found.roots)], a.found.handmade...)
	switch {
	case len(there) == 0 || among(there, a.vault.roots):
		return nil
	case len(a.vault.roots) > 0:
	case len(a.found.handmade) == 0 && (a.found.ours || adopts(a.s)):
		return nil // it is brought back
	}
	return fmt.Errorf("make an authority on Guest/%s: it has one already, whose root is %q (%s): import its keys into the Secrets %s and %s, or remove it there",
		a.s.Spec.GuestRef.Name, there[0].Subject.CommonName, stepca.Fingerprint(there[0]), rootPart.of(a.s.Name), intermediatePart.of(a.s.Name))
}

// noRoot says why no root may be made although there is none.
func (a *authority) noRoot() *trouble {
	if roots, _ := a.rootSource(); len(roots) > 0 {
		return nil
	}
	if known := a.knownRoots(); len(known) > 0 {
		return troubled(AuthorityLostReason, "keep the root %q (%s), which others trust: neither the Secrets nor the machine have its keys any more: "+
			"put the Secrets back, or delete the HostService and make it anew for another authority", known[0].Subject.CommonName, stepca.Fingerprint(known[0]))
	}
	for _, part := range []vaultPart{rootKeyPart, intermediatePart} {
		if a.vault.has(part) {
			return troubled(SecretInvalidReason, "use Secret %s: Secret %s with the certificate of the root is not there", part.of(a.s.Name), rootPart.of(a.s.Name))
		}
	}
	return nil
}

// knownRoots are those of the status.
func (a *authority) knownRoots() []*x509.Certificate {
	if a.s.Status.StepCA == nil {
		return nil
	}
	roots, err := parseRoots([]byte(a.s.Status.StepCA.CABundle))
	if err != nil {
		return nil
	}
	return roots
}

// rootSource is where lost roots are brought back from: the machine, the status when there are keys that belong to them, or
// the Secret with the root's key.
func (a *authority) rootSource() (roots []*x509.Certificate, from string) {
	known, next := a.knownRoots(), a.vault.next
	switch {
	case len(a.found.roots) > 0:
		return a.found.roots, "Guest/" + a.s.Spec.GuestRef.Name
	case len(known) > 0 && a.fits(known):
		return known, "the status"
	case next != nil && len(known) == 0:
		return []*x509.Certificate{next.cert}, "Secret " + rootKeyPart.of(a.s.Name)
	}
	return nil, ""
}

// fits says whether there are keys of these roots.
func (a *authority) fits(roots []*x509.Certificate) bool {
	if a.vault.pair != nil {
		_, err := stepca.RootOf(a.vault.pair.chain, roots)
		return err == nil
	}
	key := a.vault.secrets[rootKeyPart]
	return key != nil && stepca.Matches(stepca.EncodeChain(roots[:1]), key.Data[keyEntry]) == nil
}

// keyMoves make what is missing, or bring it back. They come before everything else.
func (a *authority) keyMoves() []move {
	var moves []move
	v, service := &a.vault, a.s.Name
	if roots, from := a.rootSource(); len(v.roots) == 0 && len(roots) > 0 {
		moves = append(moves, a.secretMove(rootPart, RestoringReason, "bring the root back from "+from, func(ctx context.Context, w *vaultWriter) error {
			return w.putRoots(ctx, roots, a.generation())
		}))
	} else if len(v.roots) == 0 {
		moves = append(moves, a.secretMove(rootPart, MakingRootReason, "make the root of "+service, a.makeRoot))
	}
	switch {
	case v.pair != nil:
	case a.found.pair != nil:
		moves = append(moves, a.secretMove(intermediatePart, RestoringReason, "bring the intermediate back from Guest/"+a.s.Spec.GuestRef.Name,
			func(ctx context.Context, w *vaultWriter) error {
				return w.putPair(ctx, stepca.KeyPair{CertificatePEM: a.found.pair.certPEM, KeyPEM: a.found.pair.keyPEM})
			}))
	default:
		moves = append(moves, a.secretMove(intermediatePart, MakingIntermediateReason, "make the intermediate of "+service, a.issue(a.signer)))
	}
	if v.public == nil {
		moves = append(moves, a.secretMove(provisionerPart, MakingProvisionerReason, "make the provisioner's key of "+service,
			func(ctx context.Context, w *vaultWriter) error {
				jwk, err := stepca.NewProvisionerKey()
				if err != nil {
					return err
				}
				return w.put(ctx, provisionerPart, map[string][]byte{jwkEntry: jwk}, nil)
			}))
	}
	return moves
}

// secretMove is a move that writes one Secret.
func (a *authority) secretMove(part vaultPart, reason, message string, do func(context.Context, *vaultWriter) error) move {
	name := "Secret " + part.of(a.s.Name)
	change := reconcile.Change{Field: name, To: message, Impact: v1alpha1.ImpactNone}
	return move{reason: reason, message: message + " in " + name, identity: name, changes: []reconcile.Change{change}, do: do}
}

// makeRoot makes the first root. Its key is written first, with the certificate beside it, so that nothing is lost when
// that is all that happens.
func (a *authority) makeRoot(ctx context.Context, w *vaultWriter) error {
	root, err := stepca.NewRoot(stepca.Template{CommonName: rootName(a.s, a.generation()), Duration: rootLife(a.s.Spec.StepCA), Now: a.now})
	if err != nil {
		return err
	}
	if err := w.putRootKey(ctx, root, nil, a.generation()); err != nil {
		return err
	}
	roots, err := parseRoots(root.CertificatePEM)
	if err != nil {
		return err
	}
	return w.putRoots(ctx, roots, a.generation())
}

// issue makes an intermediate under a root.
func (a *authority) issue(under func() *x509.Certificate) func(context.Context, *vaultWriter) error {
	return func(ctx context.Context, w *vaultWriter) error {
		root := under()
		pair, err := stepca.NewIntermediate(
			stepca.KeyPair{CertificatePEM: stepca.EncodeChain([]*x509.Certificate{root}), KeyPEM: a.vault.keyOf(root)},
			stepca.Template{CommonName: caName(a.s, a.s.Spec.StepCA.Intermediate, "Intermediate CA"), Duration: issuerLife(a.s.Spec.StepCA), Now: a.now})
		if err != nil {
			return err
		}
		return w.putPair(ctx, pair)
	}
}

// shown is a time as messages have it.
func shown(t time.Time) string { return t.UTC().Format(time.RFC3339) }
