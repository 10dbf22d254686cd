// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// portainerSeen is what was found of a Portainer server.
type portainerSeen struct {
	s       *v1alpha1.HostService
	machine *machineSeen
	keys    keyring
	parts   *serverParts
	at      PortainerAddress
	now     time.Time

	// server is there once it was asked; away says why it did not answer.
	server PortainerServer
	away   error
	status *portainer.Status
	// accepted says that the API key is good; refused why it is not.
	accepted bool
	refused  error
	// hasAdmin is known while the key is not accepted.
	hasAdmin *bool
	settings *portainer.Settings

	// signIns and trial are what is known of the administrator's password.
	signIns *signInMemory
	trial   string
}

// observePortainer reads the Secrets, then the machine, then asks the server itself.
func (k *Kind) observePortainer(ctx context.Context, s *v1alpha1.HostService) (*portainerSeen, error) {
	seen := &portainerSeen{s: s, now: k.Clock.Now(), signIns: k.signIns.of(client.ObjectKeyFromObject(s))}
	t, err := k.aim(ctx, s)
	if err != nil {
		return seen, unlessNever(s, err)
	}
	seen.machine = &machineSeen{target: t, owner: t.ownerOf(s)}
	if !s.DeletionTimestamp.IsZero() { // what is declared, and who may come in, matters no more
		err := k.lookAt(ctx, s, seen.machine)
		if err == nil && len(clearMachine(seen.machine)) == 0 {
			k.signIns.forget(client.ObjectKeyFromObject(s))
		}
		return seen, err
	}
	if err := k.assemble(ctx, seen); err != nil {
		return seen, err
	}
	if err := k.lookAt(ctx, s, seen.machine); err != nil {
		return seen, err
	}
	seen.reach()
	k.askPortainer(ctx, seen)
	return seen, k.settledPortainer(seen)
}

// assemble reads what the server is made of, and designs the machine by it.
func (k *Kind) assemble(ctx context.Context, seen *portainerSeen) error {
	s, t := seen.s, seen.machine.target
	if t.guest == nil {
		return reconcile.Stall(InvalidReason, errNoGuest)
	}
	var err error
	if seen.keys, err = k.readKeyring(ctx, s); err != nil {
		return err
	}
	addresses := ipsOf(ownAddresses(t.guest))
	if len(addresses) == 0 {
		return reconcile.Wait(NoAddressReason, machineAwayFor, fmt.Errorf("waiting for Guest/%s: it has no address yet", t.guest.Name))
	}
	seen.parts = &serverParts{s: s, address: addresses[0], agent: seen.keys.agent}
	pairOf := v1alpha1.NginxServer{CertificateRef: s.Spec.Portainer.CertificateRef, SecretRef: s.Spec.Portainer.SecretRef}
	var bundle []byte
	if seen.parts.pair, bundle, err = k.pairOf(ctx, s.Namespace, pairOf); err != nil {
		return err
	}
	seen.at = PortainerAddress{URL: portainerURL(s.Spec.Portainer, addresses[0]), CABundle: string(bundle)}
	older, younger, err := k.siblings(ctx, s, t)
	if err != nil {
		return err
	}
	if _, err := engineOf(s, s.Spec.Portainer.DockerRef, append(older, younger...)); err != nil {
		return err
	}
	if err := seen.parts.clash(t, older); err != nil {
		return err
	}
	seen.machine.design = seen.parts.design()
	return nil
}

// reach says by which name the server is verified: now that its certificate is known, of the Secret or of the machine.
func (seen *portainerSeen) reach() {
	if seen.parts.pair.leaf == nil {
		return
	}
	seen.at.ServerName = serverName(seen.parts.pair, seen.machine.target.guest, seen.parts.address)
	if known := seen.s.Status.Portainer; seen.parts.kept && seen.at.CABundle == "" && known != nil {
		seen.at.CABundle = known.CABundle
	}
}

// runs says whether the server may be asked: it runs, and answers on its machine, be it with another certificate than it
// should.
func (seen *portainerSeen) runs() bool {
	if !seen.machine.looked || !seen.machine.seen.Units[seen.parts.container().unit()].Runs() {
		return false
	}
	for _, p := range seen.machine.seen.Probes {
		if !p.OK && p.ExitCode != otherKey {
			return false
		}
	}
	return seen.at.ServerName != ""
}

// askPortainer asks the server, over a connection of our own: its machine was asked already.
func (k *Kind) askPortainer(ctx context.Context, seen *portainerSeen) {
	if !seen.runs() {
		return
	}
	server, err := k.Portainer(seen.at)
	if err != nil {
		seen.away = err
		return
	}
	status, err := server.Status(ctx)
	if err != nil {
		seen.away = err
		return
	}
	seen.server, seen.status = server, &status
	seen.trial = k.trial(seen.keys.admin, status.InstanceID)
	if seen.away = seen.askKey(ctx); seen.away == nil && seen.accepted {
		k.tryPassword(ctx, seen)
	}
}

// askKey finds out whether the key is good, and, with it, what is set; else whether there is an administrator. Its error
// says that the server did not answer.
func (seen *portainerSeen) askKey(ctx context.Context) error {
	if seen.keys.apiKey != "" {
		as := seen.server.Settings(seen.keys.apiKey)
		me, err := as.Me(ctx)
		switch {
		case err == nil && me.Admin:
			settings, err := as.Settings(ctx)
			seen.accepted, seen.settings = true, &settings
			return err
		case err == nil:
			seen.refused = fmt.Errorf("it is of %s, who is no administrator", me.Name)
		case portainerSaid(err, portainer.Unauthorized):
			seen.refused = err
		default:
			return err
		}
	}
	has, err := seen.server.HasAdmin(ctx)
	if err == nil {
		seen.hasAdmin = &has
	}
	return err
}

// tryPassword finds out whether the administrator's password is still the one of the Secret, now and then. What goes wrong
// is no matter: the key is good.
func (k *Kind) tryPassword(ctx context.Context, seen *portainerSeen) {
	if !seen.keys.usable() || !seen.signIns.due(seen.trial, seen.now) || seen.signIns.wait(seen.now) > 0 {
		return
	}
	_, _ = k.signIn(ctx, seen) // the memory has the answer
}

// differs is the outcome of a password that does not fit.
func (seen *portainerSeen) differs() error {
	name := adminSecretOf(seen.s)
	return reconcile.Fail(AdminPasswordDiffersReason, fmt.Errorf(
		"sign in to %s as %q: Portainer has another user or password than Secret %s: put those that it has into the Secret, or set this password in Portainer",
		seen.at.URL, seen.keys.admin.username, name))
}

// complaint is what is wrong with the administrator's Secret; nil: nothing is.
func (seen *portainerSeen) complaint() error {
	name := adminSecretOf(seen.s)
	switch {
	case seen.keys.adminProblem != nil:
		return reconcile.Fail(SecretInvalidReason, seen.keys.adminProblem)
	case !seen.keys.adminThere && (seen.accepted || seen.hasAdmin != nil && *seen.hasAdmin):
		return reconcile.Fail(AdminSecretMissingReason, fmt.Errorf(
			"read Secret %s with the administrator's name and password: it is not there: make it with %s and %s; who lost the password sets one in Portainer",
			name, usernameEntry, passwordEntry))
	case !seen.keys.adminThere && seen.s.Spec.Portainer.AdminSecretRef != nil:
		return reconcile.Fail(AdminSecretMissingReason, fmt.Errorf("adminSecretRef: Secret %s is not there: make it with %s and %s", name, usernameEntry, passwordEntry))
	case seen.signIns.tried == seen.trial && seen.trial != "" && !seen.signIns.fits:
		return seen.differs()
	}
	return nil
}

// settledPortainer tells of what is in the way, and of a server that has all it needs and does not answer. What can be done
// is done first.
func (k *Kind) settledPortainer(seen *portainerSeen) error {
	if seen.s.Spec.Management == v1alpha1.ManagementObserve {
		return nil
	}
	if err := seen.trouble(); err != nil {
		return err
	}
	for _, step := range k.planPortainer(seen.s, seen) {
		if step.Held == "" {
			return nil
		}
	}
	if failed := seen.machine.silent(); failed != "" {
		return reconcile.Fail(ProbeFailedReason, fmt.Errorf("everything is as declared, but %s", failed))
	}
	if seen.away != nil {
		return reconcile.Fail(PortainerAwayReason, fmt.Errorf("it answers on its machine, but not to Phoenix: %w", seen.away))
	}
	if problem := seen.parts.pair.problem; problem != nil {
		return reconcile.Wait(problem.reason, leftOutFor, errors.New(problem.text+"; what the machine has is served on: its last day is "+day(seen.parts.pair.ends())))
	}
	return seen.complaint()
}
