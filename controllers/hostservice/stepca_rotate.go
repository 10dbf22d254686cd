// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// A root is replaced by overlap:
//
//	RotatingRoot    the new root is made, and trusted beside the old one; issuing goes on under the old one
//	SwitchingRoot   once all who trust the authority trust the new root: a new intermediate under the new root
//	RetiringRoot    once the machine issues under it: the longest life that a certificate may have begins
//	DroppingRoot    when that is over, and no Certificate is under the old root any more: it is trusted no more
//
// All of it stands in the Secrets, so that a lost status loses nothing.

// generation of the present root. A Secret that does not say is imported: its root is taken for the one that is wanted.
func (a *authority) generation() int32 {
	status := a.s.Status.StepCA
	if status == nil {
		status = &v1alpha1.StepCAStatus{}
	}
	return cmp.Or(a.vault.generation, status.RootGeneration, wantedGeneration(a.s.Spec.StepCA))
}

func (a *authority) over(cert *x509.Certificate) bool { return !a.now.Before(cert.NotAfter) }

// ends is when the intermediate ends.
func (a *authority) ends() time.Time {
	_, end := lifeOf(a.vault.pair.chain)
	return end
}

func (a *authority) expired() bool { return !a.now.Before(a.ends()) }

// due says whether two thirds of the intermediate's life are over.
func (a *authority) due() bool { return !a.now.Before(renewalOf(a.vault.pair.chain)) }

// renewable says whether a successor of the intermediate can be made that lives longer.
func (a *authority) renewable() bool {
	root := a.vault.pair.root
	return a.vault.keyOf(root) != nil && !a.over(root) && root.NotAfter.After(a.ends())
}

// remedy says what helps when the intermediate cannot be renewed.
func (a *authority) remedy() string {
	if a.vault.keyOf(a.vault.pair.root) != nil {
		return fmt.Sprintf("its root %q ends as soon: set rootGeneration: %d for a new one", a.vault.pair.root.Subject.CommonName, a.generation()+1)
	}
	return fmt.Sprintf("the root's key is away: put it back as Secret %s, or a new intermediate certificate with its key into Secret %s",
		rootKeyPart.of(a.s.Name), intermediatePart.of(a.s.Name))
}

// signer is the root under which an intermediate is made when there is none: the one under which others were, if its key is
// there; nil: no key is.
func (a *authority) signer() *x509.Certificate {
	candidates := slices.Clone(a.vault.roots[:min(1, len(a.vault.roots))])
	if status := a.s.Status.StepCA; status != nil {
		for _, root := range a.vault.roots {
			if stepca.Fingerprint(root) == status.IssuerFingerprint {
				candidates = append([]*x509.Certificate{root}, candidates...)
			}
		}
	}
	for _, root := range candidates {
		if a.vault.keyOf(root) != nil && !a.over(root) {
			return root
		}
	}
	return nil
}

// switched says whether certificates are issued under the present root.
func (a *authority) switched() bool { return a.vault.pair.root.Equal(a.vault.roots[0]) }

// rotates says whether another root will sign.
func (a *authority) rotates() bool {
	if a.vault.pair == nil || a.switched() {
		return wantedGeneration(a.s.Spec.StepCA) > a.generation()
	}
	return a.vault.keyOf(a.vault.roots[0]) != nil
}

// timeMoves renew and rotate. They come once the machine is as the Secrets say.
func (a *authority) timeMoves() []move {
	var moves []move
	if change := a.switchMove(); change != nil {
		moves = append(moves, *change)
	}
	if a.due() && a.renewable() && (len(moves) == 0 || moves[0].held != "") {
		moves = append(moves, a.secretMove(intermediatePart, RenewingIntermediateReason, "renew the intermediate",
			a.issue(func() *x509.Certificate { return a.vault.pair.root })))
	}
	if a.switched() {
		moves = append(moves, a.rotateMoves()...)
	}
	return append(moves, a.dropMoves()...)
}

// switchMove issues under the present root once everybody trusts it. When what issues now is over, waiting helps nobody.
func (a *authority) switchMove() *move {
	if a.switched() {
		return nil
	}
	root := a.vault.roots[0]
	m := a.secretMove(intermediatePart, SwitchingRootReason, fmt.Sprintf("issue under the root %q", root.Subject.CommonName),
		func(ctx context.Context, w *vaultWriter) error {
			return a.issue(func() *x509.Certificate { return root })(ctx, w)
		})
	switch {
	case a.vault.keyOf(root) == nil:
		m.held = fmt.Sprintf("its key is away: put it back as Secret %s", rootKeyPart.of(a.s.Name))
	case len(a.doubting) > 0 && !a.expired():
		m.held = "not trusted yet by " + strings.Join(a.doubting, ", ")
	}
	return &m
}

// rotateMoves begin a rotation, and write down when the last one ends.
func (a *authority) rotateMoves() []move {
	var moves []move
	if wanted := wantedGeneration(a.s.Spec.StepCA); wanted > a.generation() {
		m := a.secretMove(rootPart, RotatingRootReason, fmt.Sprintf("make the root for rootGeneration %d", wanted), a.rotate)
		if len(a.vault.roots) >= maxRoots {
			m.held = fmt.Sprintf("%d roots are trusted already: the oldest has to end first", maxRoots)
		}
		if moves = append(moves, m); m.held == "" {
			return moves
		}
	}
	undated := slices.DeleteFunc(slices.Clone(a.vault.roots[1:]), func(r *x509.Certificate) bool { return !a.until(r).IsZero() })
	if len(undated) == 0 && len(a.former()) == 0 {
		return moves
	}
	m := a.secretMove(rootPart, RetiringRootReason, "trust old roots until the last certificate under them is over", a.retire)
	return append(moves, m)
}

// former is the key of the root before, which nothing needs once it is switched.
func (a *authority) former() []byte {
	if !a.vault.has(rootKeyPart) {
		return nil
	}
	return a.vault.secrets[rootKeyPart].Data[formerEntry]
}

// until is when an old root stops being trusted at the earliest; zero: that is not clear yet.
func (a *authority) until(root *x509.Certificate) time.Time {
	return a.vault.until[stepca.Fingerprint(root)]
}

// rotate makes the next root, or goes on with one that was being made.
func (a *authority) rotate(ctx context.Context, w *vaultWriter) error {
	generation, next := wantedGeneration(a.s.Spec.StepCA), a.vault.next
	if next == nil {
		root, err := stepca.NewRoot(stepca.Template{CommonName: rootName(a.s, generation), Duration: rootLife(a.s.Spec.StepCA), Now: a.now})
		if err != nil {
			return err
		}
		roots, err := parseRoots(root.CertificatePEM)
		if err != nil {
			return err
		}
		if err := w.putRootKey(ctx, root, a.vault.keyOf(a.vault.roots[0]), generation); err != nil {
			return err
		}
		next = &nextRoot{cert: roots[0], generation: generation}
	}
	return w.putRoots(ctx, append([]*x509.Certificate{next.cert}, a.vault.roots...), next.generation)
}

// retire writes down until when the old roots are trusted: certificates may have been issued under them until now.
func (a *authority) retire(ctx context.Context, w *vaultWriter) error {
	_, most, _ := caLives(a.s.Spec.StepCA)
	for _, root := range a.vault.roots[1:] {
		if a.until(root).IsZero() {
			w.until[stepca.Fingerprint(root)] = wholeSecond(a.now.Add(most))
		}
	}
	if err := w.putRoots(ctx, a.vault.roots, a.generation()); err != nil {
		return err
	}
	if len(a.former()) == 0 {
		return nil
	}
	return w.dropEntry(ctx, rootKeyPart, formerEntry)
}

// dropMoves end the trust in old roots.
func (a *authority) dropMoves() []move {
	var moves []move
	for _, root := range a.vault.roots[1:] {
		until, fingerprint := a.until(root), stepca.Fingerprint(root)
		if until.IsZero() || a.now.Before(until) || root.Equal(a.vault.pair.root) {
			continue
		}
		m := a.secretMove(rootPart, DroppingRootReason, fmt.Sprintf("trust the root %q (%s) no more", root.Subject.CommonName, fingerprint[:12]),
			func(ctx context.Context, w *vaultWriter) error {
				left := slices.DeleteFunc(slices.Clone(a.vault.roots), root.Equal)
				return w.putRoots(ctx, left, a.generation())
			})
		if leaves := a.leaves[fingerprint]; len(leaves) > 0 {
			m.held = "still under it: " + strings.Join(leaves, ", ")
		}
		moves = append(moves, m)
	}
	return moves
}

// expiring is the condition IntermediateExpiring; nil: it does not stand.
func (a *authority) expiring() *reconcile.Condition {
	if a.vault.pair == nil || len(a.vault.roots) == 0 || !a.due() || a.renewable() {
		return nil
	}
	c := &reconcile.Condition{
		Type: v1alpha1.IntermediateExpiringCondition, Status: "True", Reason: RootKeyAwayReason,
		Message: fmt.Sprintf("the intermediate certificate ends at %s: %s", shown(a.ends()), a.remedy()),
	}
	if a.vault.keyOf(a.vault.pair.root) != nil {
		c.Reason = RootEndsReason
	}
	return c
}
