// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// agentSeen is what was found of an agent.
type agentSeen struct {
	s *v1alpha1.HostService
	// machine is nil when nothing is to be cleaned there: the Guest is gone, or on its way out.
	machine *machineSeen
	parts   agentParts
	registry
}

// registry is what a Portainer server knows of an agent.
type registry struct {
	// at is the server; apiKey lets Phoenix in.
	at     PortainerAddress
	apiKey string
	server PortainerServer
	// mark is the tag of ours.
	mark string
	// asked says that the server was asked; away why it did not answer.
	asked bool
	away  error
	// tag of ours; 0: there is none.
	tag int
	// ours is the environment of the agent, and other one that has its name and is somebody else's.
	ours, other *portainer.Environment
	// otherIsFree says that no other HostService marked that one.
	otherIsFree bool
	// down says why the engine does not answer through the server.
	down error
}

// observeAgent looks at the machine, then at what Portainer has.
func (k *Kind) observeAgent(ctx context.Context, s *v1alpha1.HostService) (*agentSeen, error) {
	seen := &agentSeen{s: s}
	if !s.DeletionTimestamp.IsZero() {
		return seen, k.observeLeavingAgent(ctx, seen)
	}
	t, err := k.aim(ctx, s)
	if err != nil {
		return seen, err
	}
	seen.machine = &machineSeen{target: t, owner: t.ownerOf(s)}
	server, err := k.portainerOf(ctx, s)
	if err != nil {
		return seen, err
	}
	if err := k.enlist(ctx, seen, server); err != nil {
		return seen, err
	}
	if err := k.assembleAgent(ctx, seen, server); err != nil {
		return seen, err
	}
	if err := k.lookAt(ctx, s, seen.machine); err != nil {
		return seen, err
	}
	seen.ask(ctx, k, seen.parts.url(), environmentOf(s))
	seen.ping(ctx)
	return seen, settledAgent(seen)
}

// errServerGoes says that the server's Guest takes it along.
var errServerGoes = errors.New("the server's Guest is being deleted")

// portainerOf is the server that manages an agent's engine.
func (k *Kind) portainerOf(ctx context.Context, s *v1alpha1.HostService) (*v1alpha1.HostService, error) {
	server, name := &v1alpha1.HostService{}, s.Spec.PortainerAgent.PortainerRef.Name
	if err := k.Reader.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: name}, server); err != nil {
		return nil, fmt.Errorf("read HostService/%s: %w", name, err)
	}
	if server.Spec.Portainer == nil {
		return nil, reconcile.Stall(InvalidReason, fmt.Errorf("portainerRef: HostService/%s is not a portainer service: name one in a new HostService", name))
	}
	return server, nil
}

// enlist finds out how the server is reached, and what it knows ours by: its Host says in whose name that is.
func (k *Kind) enlist(ctx context.Context, seen *agentSeen, server *v1alpha1.HostService) error {
	at, err := k.aim(ctx, server)
	if err != nil {
		return err
	}
	if vanishes(at.guest) && !seen.s.DeletionTimestamp.IsZero() {
		return errServerGoes
	}
	seen.mark = environmentTag(at.ownerOf(seen.s))
	status := server.Status.Portainer
	if status == nil || status.URL == "" {
		return reconcile.Wait(PortainerAwayReason, machineAwayFor, fmt.Errorf("waiting for HostService/%s: its server was not reached yet", server.Name))
	}
	seen.at = PortainerAddress{URL: status.URL, ServerName: status.ServerName, CABundle: status.CABundle}
	secret, err := k.readSecret(ctx, seen.s.Namespace, apiKeySecretOf(server.Name))
	if err != nil {
		return err
	}
	if secret == nil || chomped(secret.Data[apiKeyEntry]) == "" {
		return reconcile.Wait(PortainerAwayReason, machineAwayFor, fmt.Errorf("waiting for Secret %s: it has no key of the API yet", apiKeySecretOf(server.Name)))
	}
	seen.apiKey = chomped(secret.Data[apiKeyEntry])
	return nil
}

// assembleAgent reads what the agent is made of, and designs the machine by it.
func (k *Kind) assembleAgent(ctx context.Context, seen *agentSeen, server *v1alpha1.HostService) error {
	s, t := seen.s, seen.machine.target
	if t.guest == nil {
		return reconcile.Stall(InvalidReason, errNoGuest)
	}
	addresses := ipsOf(ownAddresses(t.guest))
	if len(addresses) == 0 {
		return reconcile.Wait(NoAddressReason, machineAwayFor, fmt.Errorf("waiting for Guest/%s: it has no address yet", t.guest.Name))
	}
	seen.parts = agentParts{s: s, address: addresses[0]}
	secret, err := k.readSecret(ctx, s.Namespace, agentSecretOf(server.Name))
	if err != nil {
		return err
	}
	if secret == nil {
		return reconcile.Wait(PortainerAwayReason, machineAwayFor, fmt.Errorf("waiting for Secret %s: HostService/%s makes it", agentSecretOf(server.Name), server.Name))
	}
	seen.parts.secret = chomped(secret.Data[agentSecretEntry])
	if err := checkAgentSecret(seen.parts.secret); err != nil {
		return reconcile.Fail(SecretInvalidReason, fmt.Errorf("use Secret %s: %w", secret.Name, err))
	}
	older, younger, err := k.siblings(ctx, s, t)
	if err != nil {
		return err
	}
	if seen.parts.dataRoot, err = engineOf(s, s.Spec.PortainerAgent.DockerRef, append(older, younger...)); err != nil {
		return err
	}
	if err := seen.parts.clash(t, older); err != nil {
		return err
	}
	seen.machine.design = seen.parts.design()
	return nil
}

// observeLeavingAgent looks at what there is to clean up. What is gone, or goes itself, does not keep the agent.
func (k *Kind) observeLeavingAgent(ctx context.Context, seen *agentSeen) error {
	s := seen.s
	t, err := k.aim(ctx, s)
	switch {
	case apierrors.IsNotFound(err): // nothing is left to clean there
	case err != nil:
		return err
	case !vanishes(t.guest):
		seen.machine = &machineSeen{target: t, owner: t.ownerOf(s)}
		if err := k.lookAt(ctx, s, seen.machine); err != nil {
			return err
		}
	}
	server, err := k.portainerOf(ctx, s)
	if apierrors.IsNotFound(err) || reconcile.ReasonOf(err) == InvalidReason {
		return nil
	}
	if err != nil {
		return err
	}
	err = k.enlist(ctx, seen, server)
	if err == nil {
		seen.ask(ctx, k, leftURL(s), environmentOf(s))
		seen.leave(leftURL(s), environmentOf(s))
		if err = seen.away; err != nil {
			err = reconcile.Wait(PortainerAwayReason, machineAwayFor, fmt.Errorf("remove environment %s: %w", environmentOf(s), err))
		}
	}
	if err != nil && (errors.Is(err, errServerGoes) || !server.DeletionTimestamp.IsZero() || apierrors.IsNotFound(err) || server.Status.Portainer == nil) {
		seen.asked = false // the server goes too, went, or never was there
		return nil
	}
	return err
}

// leftURL is where Portainer reached an agent that is being deleted; empty: it never did.
func leftURL(s *v1alpha1.HostService) string {
	if s.Status.PortainerAgent == nil || s.Status.PortainerAgent.Address == "" {
		return ""
	}
	return "tcp://" + s.Status.PortainerAgent.Address
}

// leave keeps what may be removed alone: an environment that bears the tag of ours, and has the name or the address. Anybody
// can give the tag to another one.
func (r *registry) leave(url, name string) {
	if r.ours != nil && (r.tag == 0 || !slices.Contains(r.ours.TagIDs, r.tag) || r.ours.Name != name && r.ours.URL != url) {
		r.ours = nil
	}
}

// vanishes says whether a Guest takes all that is on it along.
func vanishes(g *v1alpha1.Guest) bool {
	return g != nil && !g.DeletionTimestamp.IsZero() && cmp.Or(g.Spec.DeletionPolicy, g.DefaultDeletionPolicy()) == v1alpha1.DeletionDelete
}

// ask asks the server for its environments. url is where the agent is, name what it is called.
func (r *registry) ask(ctx context.Context, k *Kind, url, name string) {
	server, err := k.Portainer(r.at)
	if err != nil {
		r.away = err
		return
	}
	r.server = server
	as := server.Environments(r.apiKey)
	tags, err := as.Tags(ctx)
	if err != nil {
		r.away = err
		return
	}
	environments, err := as.Environments(ctx)
	if err != nil {
		r.away = err
		return
	}
	r.asked = true
	r.find(tags, environments, url, name)
}

// ping asks the engine through the server: what that found when it looked last is minutes old.
func (seen *agentSeen) ping(ctx context.Context) {
	if seen.ours != nil && seen.ours.URL == seen.parts.url() {
		seen.down = seen.server.Ping(ctx, seen.apiKey, seen.ours.ID)
	}
}

// find finds the environment of an agent: the one that bears the tag. Of several, to which somebody gave it, the one with
// the name is meant, or the first. One without any tag of Phoenix that has name and address is ours too: it lost its tag.
func (r *registry) find(tags []portainer.Tag, environments []portainer.Environment, url, name string) {
	for _, t := range tags {
		if t.Name == r.mark {
			r.tag = t.ID
		}
	}
	slices.SortFunc(environments, func(a, b portainer.Environment) int { return cmp.Compare(a.ID, b.ID) })
	var named *portainer.Environment
	for i := range environments {
		e := &environments[i]
		marked := r.tag != 0 && slices.Contains(e.TagIDs, r.tag)
		if marked && (r.ours == nil || e.Name == name) {
			r.ours = e
		}
		if !marked && e.Name == name {
			named = e
		}
	}
	switch {
	case named == nil:
	case r.ours == nil && named.URL == url && free(named, tags):
		r.ours = named
	default:
		r.other, r.otherIsFree = named, free(named, tags)
	}
}

// free says whether no HostService marked an environment.
func free(e *portainer.Environment, tags []portainer.Tag) bool {
	return !slices.ContainsFunc(tags, func(t portainer.Tag) bool {
		return strings.HasPrefix(t.Name, tagPrefix) && slices.Contains(e.TagIDs, t.ID)
	})
}

// settledAgent tells of what is in the way once nothing can be done.
func settledAgent(seen *agentSeen) error {
	if seen.s.Spec.Management == v1alpha1.ManagementObserve || len(planAgent(seen.s, seen)) > 0 {
		return nil
	}
	if failed := seen.machine.silent(); failed != "" {
		return reconcile.Fail(ProbeFailedReason, fmt.Errorf("everything is as declared, but %s", failed))
	}
	if seen.away != nil {
		return reconcile.Wait(PortainerAwayReason, machineAwayFor, seen.away)
	}
	if seen.down != nil {
		return reconcile.Fail(EnvironmentDownReason, errors.New(seen.downText()))
	}
	return nil
}

func (seen *agentSeen) downText() string {
	return fmt.Sprintf("Portainer does not reach %s through environment %s: %v", seen.parts.place(), environmentOf(seen.s), seen.down)
}
