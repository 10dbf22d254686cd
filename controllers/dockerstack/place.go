// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/secret"
)

// keyEntry is the entry of a portainer HostService's Secret with the key of its API.
const keyEntry = "apiKey"

// place is where a stack runs: an environment of a Portainer server.
type place struct {
	// agent is the HostService of the environment; nil: it is one that Phoenix did not make.
	agent *v1alpha1.HostService
	// service is the HostService of the server.
	service *v1alpha1.HostService
	host    *v1alpha1.Host
	// gone names what is not there any more, or on its way out, so that nothing is left to clean up.
	gone string

	access        Access
	portainer     Portainer
	engine        Engine
	environment   string // its name
	environmentID int
}

// key names the environment among all.
func (p place) key() string { return p.access.URL + " " + strconv.Itoa(p.environmentID) }

// owner is the mark of a stack.
func (p place) owner(s *v1alpha1.DockerStack) string {
	id := cmp.Or(p.host.Spec.OwnerID, p.host.Namespace+"/"+p.host.Name)
	return id + "/" + s.Namespace + "/" + s.Name
}

// jobs is how many may run in the environment at the same time.
func (p place) jobs() int {
	if l := p.host.Spec.Limits; l != nil && l.Tasks != nil {
		return int(*l.Tasks)
	}
	return defaultJobs
}

// placeOf finds out where a stack runs, and opens it.
func (k *Kind) placeOf(ctx context.Context, s *v1alpha1.DockerStack) (place, error) {
	p, err := k.find(ctx, s)
	if err != nil || p.gone != "" {
		return p, err
	}
	if err := k.open(ctx, &p, s); err != nil || p.gone != "" {
		return p, err
	}
	return p, k.enter(ctx, &p, s, false)
}

// find reads the objects of the place.
func (k *Kind) find(ctx context.Context, s *v1alpha1.DockerStack) (p place, err error) {
	var server string
	switch e := s.Spec.Environment; {
	case e.AgentRef != nil:
		if p.agent, err = k.service(ctx, s, e.AgentRef.Name, &p); err != nil || p.gone != "" {
			return p, err
		}
		if p.agent.Spec.PortainerAgent == nil {
			return p, wrongService(e.AgentRef.Name, "portainerAgent")
		}
		server = p.agent.Spec.PortainerAgent.PortainerRef.Name
		if err := k.machine(ctx, s, p.agent, &p); err != nil || p.gone != "" {
			return p, err
		}
	case e.PortainerRef != nil:
		server = e.PortainerRef.Name
	}
	if p.service, err = k.service(ctx, s, server, &p); err != nil || p.gone != "" {
		return p, err
	}
	if p.service.Spec.Portainer == nil {
		return p, wrongService(server, "portainer")
	}
	return p, k.machine(ctx, s, p.service, &p)
}

func (k *Kind) service(ctx context.Context, s *v1alpha1.DockerStack, name string, p *place) (*v1alpha1.HostService, error) {
	var found v1alpha1.HostService
	return &found, k.read(ctx, s, "HostService", name, &found, p)
}

// machine reads the Guest that a service runs in, and its Host.
func (k *Kind) machine(ctx context.Context, s *v1alpha1.DockerStack, service *v1alpha1.HostService, p *place) error {
	var g v1alpha1.Guest
	if err := k.read(ctx, s, "Guest", guestOf(service), &g, p); err != nil || p.gone != "" {
		return err
	}
	p.host = &v1alpha1.Host{}
	return k.read(ctx, s, "Host", g.Spec.HostRef.Name, p.host, p)
}

func guestOf(s *v1alpha1.HostService) string {
	if s.Spec.GuestRef == nil {
		return ""
	}
	return s.Spec.GuestRef.Name
}

func wrongService(name, want string) error {
	return reconcile.Stall(WrongServiceReason, fmt.Errorf("HostService/%s is no %s", name, want))
}

// read reads an object of the place. For a stack that is being deleted, what is gone or will take all with it is no error.
func (k *Kind) read(ctx context.Context, s *v1alpha1.DockerStack, kind, name string, into client.Object, p *place) error {
	err := k.Client.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: name}, into)
	deleted := !s.DeletionTimestamp.IsZero()
	switch {
	case apierrors.IsNotFound(err) && deleted:
		p.gone = kind + "/" + name
		return nil
	case apierrors.IsNotFound(err):
		return reconcile.Wait(v1alpha1.DependencyReason, missingFor, fmt.Errorf("waiting for %s/%s: not found", kind, name))
	case err != nil:
		return fmt.Errorf("read %s/%s: %w", kind, name, err)
	}
	if g, ok := into.(*v1alpha1.Guest); ok && deleted && vanishes(g) {
		p.gone = kind + "/" + name
	}
	return nil
}

// vanishes says whether a guest is on its way out itself.
func vanishes(g *v1alpha1.Guest) bool {
	policy := cmp.Or(g.Spec.DeletionPolicy, g.DefaultDeletionPolicy())
	return !g.DeletionTimestamp.IsZero() && policy == v1alpha1.DeletionDelete && g.Spec.Management != v1alpha1.ManagementObserve
}

// open returns the server by what its HostService says of it.
func (k *Kind) open(ctx context.Context, p *place, s *v1alpha1.DockerStack) error {
	name, status := p.service.Name, p.service.Status.Portainer
	if status == nil || status.URL == "" || status.APIKeySecret == "" {
		if never(s) {
			p.gone = "HostService/" + name
			return nil
		}
		return reconcile.Wait(v1alpha1.DependencyReason, missingFor, fmt.Errorf("waiting for HostService/%s: not Serving yet", name))
	}
	var key corev1.Secret
	err := k.Client.Get(ctx, types.NamespacedName{Namespace: p.service.Namespace, Name: status.APIKeySecret}, &key)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("read Secret/%s: %w", status.APIKeySecret, err)
	}
	if len(key.Data[keyEntry]) == 0 && !s.DeletionTimestamp.IsZero() && !p.service.DeletionTimestamp.IsZero() {
		p.gone = "Secret/" + status.APIKeySecret
		return nil
	}
	if len(key.Data[keyEntry]) == 0 {
		return reconcile.Wait(v1alpha1.DependencyReason, environmentFor, fmt.Errorf(
			"waiting for entry %s of Secret/%s, which HostService/%s makes", keyEntry, status.APIKeySecret, name))
	}
	p.access = Access{URL: status.URL, ServerName: status.ServerName, CABundle: status.CABundle, Key: secret.Secret(key.Data[keyEntry])}
	if p.portainer, err = k.Portainer(p.access); err != nil {
		return fmt.Errorf("reach HostService/%s: %w", name, err)
	}
	return nil
}

// enter finds the environment: by the number that its agent has, or by its name; fresh: as it is now.
func (k *Kind) enter(ctx context.Context, p *place, s *v1alpha1.DockerStack, fresh bool) (err error) {
	if p.agent != nil {
		err = p.byAgent(s)
	} else {
		err = k.byName(ctx, p, s.Spec.Environment.Name, fresh)
	}
	if err != nil || p.gone != "" {
		return err
	}
	if p.engine, err = p.portainer.Engine(p.environmentID); err != nil {
		return fmt.Errorf("reach the engine of environment %s: %w", p.environment, err)
	}
	return nil
}

// never says of a stack that is being deleted that it was never seen in an environment.
func never(s *v1alpha1.DockerStack) bool {
	return !s.DeletionTimestamp.IsZero() && s.Status.EnvironmentID == 0
}

func (p *place) byAgent(s *v1alpha1.DockerStack) error {
	status := p.agent.Status.PortainerAgent
	if status == nil || status.EnvironmentID == 0 {
		if never(s) {
			p.gone = "HostService/" + p.agent.Name
			return nil
		}
		return reconcile.Wait(v1alpha1.DependencyReason, missingFor, fmt.Errorf("waiting for HostService/%s: not Registered yet", p.agent.Name))
	}
	p.environmentID = int(status.EnvironmentID)
	p.environment = cmp.Or(status.Environment, p.agent.Spec.PortainerAgent.Environment, p.agent.Name)
	return nil
}

// byName finds an environment by its whole name: Portainer's own search finds parts of names, too.
func (k *Kind) byName(ctx context.Context, p *place, name string, fresh bool) error {
	for _, now := range []bool{fresh, true} {
		all, err := k.rooms.of(ctx, p.access.URL, p.portainer.Server, k.Clock.Now(), now)
		if err != nil {
			return portainerError(p, err)
		}
		var names []string
		for _, e := range all {
			if e.Name == name {
				p.environment, p.environmentID = name, e.ID
				return nil
			}
			names = append(names, strconv.Quote(e.Name))
		}
		if now {
			return reconcile.Wait(EnvironmentMissingReason, environmentFor, fmt.Errorf(
				"HostService/%s has no environment %q, but %s: make it in Portainer, or a new DockerStack for one of these", p.service.Name, name, cmp.Or(strings.Join(names, ", "), "none")))
		}
	}
	return nil
}

// confirm makes sure that the number of an agent's environment is not another one's by now, as it may be once Portainer was
// restored from a backup.
func (k *Kind) confirm(ctx context.Context, p *place) error {
	if p.agent == nil {
		return nil
	}
	all, err := k.rooms.of(ctx, p.access.URL, p.portainer.Server, k.Clock.Now(), true)
	if err != nil {
		return portainerError(p, err)
	}
	name := "none"
	for _, e := range all {
		if e.ID == p.environmentID {
			name = strconv.Quote(e.Name)
		}
		if e.ID == p.environmentID && e.Name == p.environment {
			return nil
		}
	}
	return reconcile.Wait(EnvironmentMissingReason, environmentFor, fmt.Errorf("environment %d of HostService/%s is %s, and should be %q: waiting for HostService/%s to register it",
		p.environmentID, p.service.Name, name, p.environment, p.agent.Name))
}

// portainerError names the server, and what helps.
func portainerError(p *place, err error) error {
	err = fmt.Errorf("ask HostService/%s: %w", p.service.Name, err)
	switch portainer.KindOf(err) {
	case portainer.NotFound:
		return reconcile.Wait(EnvironmentMissingReason, environmentFor, fmt.Errorf("environment %s (%d) is not there: %w", p.environment, p.environmentID, err))
	case portainer.Unauthorized:
		return reconcile.Fail(UnauthorizedReason, fmt.Errorf("%w: waiting for another key in Secret/%s", err, p.service.Status.Portainer.APIKeySecret))
	}
	return err
}
