// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// authoritySeen is what was found of an authority.
type authoritySeen struct {
	authority
	machine *machineSeen
	url     string
	// asked says that the authority was asked how it is; health is its answer.
	asked  bool
	health error
}

// observeAuthority reads the Secrets, then the machine, then asks the authority itself.
func (k *Kind) observeAuthority(ctx context.Context, s *v1alpha1.HostService) (*authoritySeen, error) {
	seen := &authoritySeen{authority: authority{s: s}}
	t, err := k.aim(ctx, s)
	if err != nil {
		return seen, unlessNever(s, err)
	}
	seen.machine = &machineSeen{target: t, owner: t.ownerOf(s)}
	if seen.trust, err = k.readTrust(ctx, s); err != nil {
		return seen, err
	}
	if !s.DeletionTimestamp.IsZero() { // what is declared and what there are keys for matters no more
		return seen, k.lookAt(ctx, s, seen.machine)
	}
	if err := k.readKeys(ctx, seen); err != nil {
		return seen, err
	}
	if err := k.lookAt(ctx, s, seen.machine); err != nil {
		return seen, err
	}
	seen.found = findAuthority(seen.machine)
	if err := k.lookAbout(ctx, seen); err != nil {
		return seen, err
	}
	seen.now = k.Clock.Now() // whatever was seen is not younger
	k.ask(ctx, seen)
	return seen, k.settledAuthority(seen)
}

// readKeys reads the Secrets, and designs the machine by them.
func (k *Kind) readKeys(ctx context.Context, seen *authoritySeen) error {
	s := seen.s
	secrets := map[vaultPart]*corev1.Secret{}
	for _, part := range vaultParts {
		secret := &corev1.Secret{}
		err := k.Reader.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: part.of(s.Name)}, secret)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read Secret %s: %w", part.of(s.Name), err)
		}
		secrets[part] = secret
	}
	seen.vault = readVault(s.Name, secrets)
	seen.now = k.Clock.Now()
	older, _, err := k.siblings(ctx, s, seen.machine.target)
	if err != nil {
		return err
	}
	if addresses := ipsOf(ownAddresses(seen.machine.target.guest)); len(addresses) > 0 {
		seen.url = caURL(s.Spec.StepCA, addresses[0])
	}
	seen.machine.design, err = designStepCA(s, seen.machine.target, older, &seen.vault)
	return err
}

// lookAbout finds who trusts the authority, and what it issued: both matter only while a root is replaced.
func (k *Kind) lookAbout(ctx context.Context, seen *authoritySeen) error {
	if len(seen.vault.roots) < 2 {
		return nil
	}
	all, err := k.trusters(ctx, seen.s.Namespace)
	if err != nil {
		return err
	}
	seen.doubting = doubting(seen.s.Name, stepca.Fingerprint(seen.vault.roots[0]), all)
	seen.leaves, err = k.leaves(ctx, seen.s)
	return err
}

// ask asks the authority how it is, over a connection of our own: its machine was asked already.
func (k *Kind) ask(ctx context.Context, seen *authoritySeen) {
	if !seen.vault.whole() || !seen.machine.seen.Units[caUnit].Runs() || seen.machine.silent() != "" {
		return
	}
	seen.asked = true
	there, err := k.StepCA(seen.url, seen.vault.roots)
	if err != nil {
		seen.health = err
		return
	}
	seen.health = there.Health(ctx)
}

// settledAuthority tells of what is in the way, and of an authority that has all it needs and does not answer. What can be
// done is done first: a renewal may be what helps.
func (k *Kind) settledAuthority(seen *authoritySeen) error {
	if seen.s.Spec.Management == v1alpha1.ManagementObserve {
		return nil
	}
	if t := seen.trouble(); t != nil {
		return t.outcome()
	}
	for _, step := range k.planAuthority(seen.s, seen) {
		if step.Held == "" {
			return nil
		}
	}
	if failed := seen.machine.silent(); failed != "" {
		return reconcile.Fail(ProbeFailedReason, fmt.Errorf("everything is as declared, but %s", failed))
	}
	if seen.health != nil {
		return reconcile.Fail(AuthorityAwayReason, fmt.Errorf("it answers on its machine, but not to Phoenix: %w", seen.health))
	}
	return nil
}

// planAuthority returns the steps: first what makes or brings back keys, then the machine's, and last what time asks for.
func (k *Kind) planAuthority(s *v1alpha1.HostService, seen *authoritySeen) []reconcile.Step {
	if seen == nil || seen.machine == nil || !seen.machine.looked {
		return nil
	}
	if t := seen.trouble(); t != nil {
		return []reconcile.Step{blocked(t)}
	}
	steps := k.movesOf(seen, seen.keyMoves())
	steps = append(steps, k.movesOf(seen, seen.trustMoves(k.Writer))...)
	if seen.vault.whole() || len(seen.found.roots) == 0 {
		steps = append(steps, planMachine(s, seen.machine)...)
	}
	if seen.vault.whole() {
		steps = append(steps, k.movesOf(seen, seen.timeMoves())...)
	}
	return append(steps, seen.foreignTrust()...)
}

// blocked is the step that says what is in the way of all others.
func blocked(t *trouble) reconcile.Step {
	return reconcile.Step{
		Reason: t.reason, Message: t.err.Error(), Changes: []reconcile.Change{{To: t.err.Error(), Impact: v1alpha1.ImpactNone}},
		Do: func(context.Context) error { return t.outcome() },
	}
}

// movesOf are moves as the loop takes them.
func (k *Kind) movesOf(seen *authoritySeen, moves []move) []reconcile.Step {
	var steps []reconcile.Step
	for _, m := range moves {
		steps = append(steps, reconcile.Step{
			Reason: m.reason, Message: m.message, Identity: m.identity, Held: m.held, Changes: m.changes,
			Do: func(ctx context.Context) error { return m.do(ctx, k.vaultWriter(&seen.authority)) },
		})
	}
	return steps
}

// removeAuthority returns the steps that clear the machine, but for the database, and take the roots out of the cluster.
func (k *Kind) removeAuthority(s *v1alpha1.HostService, seen *authoritySeen) []reconcile.Step {
	if seen == nil || seen.machine == nil || !seen.machine.looked {
		return nil
	}
	return append(clearMachine(seen.machine), k.removeTrust(s, seen.trust)...)
}
