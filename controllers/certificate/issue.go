// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// issue has a certificate signed or renewed and writes it to the Secret. The authority is asked once; what it gave and
// could not be written is kept for the next pass.
func (k *Kind) issue(ctx context.Context, c *v1alpha1.Certificate, seen Seen, found finding) error {
	name := nameOf(c)
	fresh, err := k.obtain(ctx, c, &seen, found)
	if err != nil {
		p := k.issueProblem(seen, err)
		k.noteRenewal(c, seen, found, p)
		p = seen.overdue(k.memory.failed(name, theAuthority, seen.request(c), seen.now, p), found)
		p.after = firstWait // what has nothing to do with the authority comes first
		return outcome(c, p)
	}
	k.memory.change(name, func(known *remembered) { known.fresh = fresh })
	if again := judge(c, fresh, seen); again.reason != "" {
		err := fmt.Errorf("%s issued a certificate that would be replaced at once (%s: %s)", seen.authority.name, again.reason, again.text)
		reason := RefusedReason
		if again.reason == ExpiredReason || again.reason == ExpiringReason {
			reason = ClockSkewReason
			err = fmt.Errorf("%w: compare the clock of %s with that of the manager", err, seen.authority.machine)
		}
		p := &problem{reason: reason, failure: true, err: err}
		return outcome(c, k.memory.failed(name, theAuthority, seen.request(c), seen.now, p))
	}
	k.memory.succeeded(name, theAuthority)
	return k.write(ctx, c, seen, fresh)
}

// noteRenewal notes of a certificate that could not be renewed as it is that it need not be tried again.
func (k *Kind) noteRenewal(c *v1alpha1.Certificate, seen Seen, found finding, p *problem) {
	held := seen.held()
	if !keepable(c, held, found) || !renewable(c, held, seen, found) {
		return
	}
	k.memory.change(nameOf(c), func(known *remembered) {
		switch p.reason {
		case RevokedReason:
			known.revoked = held.serial()
		case UnauthorizedReason, RefusedReason:
			known.unknown = held.serial()
		}
	})
}

func (k *Kind) issueProblem(seen Seen, err error) *problem {
	if errors.Is(err, errNoProvisioner) {
		return &problem{reason: ProvisionerMissingReason, failure: true, err: err}
	}
	return authorityProblem(seen.authority.machine, err)
}

// obtain asks the authority: for a renewal where key, names and the rest stay, else by a one-time token.
func (k *Kind) obtain(ctx context.Context, c *v1alpha1.Certificate, seen *Seen, found finding) (*material, error) {
	ca, err := k.client(ctx, &seen.authority)
	if err != nil {
		return nil, err
	}
	held := seen.held()
	keep := keepable(c, held, found)
	if keep && renewable(c, held, *seen, found) {
		chain, err := ca.Renew(ctx, held.chainPEM(), held.keyPEM(false))
		if err != nil {
			return nil, err
		}
		return k.made(c, held.key, chain)
	}
	if seen.signer.err != nil {
		return nil, seen.signer.err
	}
	var key crypto.Signer
	if keep {
		key = held.key
	} else if key, err = stepca.NewKey(keyOf(c).algorithm, keyOf(c).size); err != nil {
		return nil, err
	}
	chain, err := sign(ctx, c, ca, seen.signer.Provisioner, key)
	if err != nil {
		return nil, err
	}
	return k.made(c, key, chain)
}

// keepable says whether the present key stays: it has to fit the spec, and nobody may doubt it.
func keepable(c *v1alpha1.Certificate, held *material, found finding) bool {
	doubtful := []string{KeyMismatchReason, KeyChangedReason, RevokedReason}
	return keepsKey(c) && held != nil && held.key != nil && kindOf(held.key) == keyOf(c) && !slices.Contains(doubtful, found.reason)
}

// renewable says whether the authority can renew the present certificate as it is.
func renewable(c *v1alpha1.Certificate, held *material, seen Seen, found finding) bool {
	if found.reason != ExpiringReason && found.reason != RequestedReason {
		return false
	}
	return held.fits() && stepca.Renewable(held.leaf()) && held.marks.Duration == durationText(c) && seen.memory.unknown != held.serial()
}

// durationText is how the Secret remembers what life was asked for.
func durationText(c *v1alpha1.Certificate) string {
	if d := durationOf(c); d != 0 {
		return d.String()
	}
	return ""
}

// sign has a key certified by a one-time token. An authority that refuses the duration is asked for its own.
func sign(ctx context.Context, c *v1alpha1.Certificate, ca Authority, p stepca.Provisioner, key crypto.Signer) ([]byte, error) {
	names := namesOf(c)
	csr, err := stepca.NewCSR(key, names)
	if err != nil {
		return nil, err
	}
	request := stepca.SignRequest{Provisioner: p, Names: names, CSR: csr, Duration: durationOf(c), Usages: usagesOf(c)}
	chain, err := ca.Sign(ctx, request)
	if kind := stepca.KindOf(err); request.Duration != 0 && (kind == stepca.TooLong || kind == stepca.TooShort) {
		request.Duration = 0
		chain, err = ca.Sign(ctx, request)
	}
	return chain, err
}

// made is what the authority gave.
func (k *Kind) made(c *v1alpha1.Certificate, key crypto.Signer, chainPEM []byte) (*material, error) {
	chain, err := stepca.ParseChain(chainPEM)
	if err != nil {
		return nil, err
	}
	m := &material{chain: chain, key: key}
	m.marks = marks{
		Serial: m.serial(), Asked: asked(c), Duration: durationText(c), At: k.Clock.Now().UTC().Truncate(1e9), Renewed: requestOf(c),
	}
	return m, nil
}
