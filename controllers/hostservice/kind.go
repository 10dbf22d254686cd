// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package hostservice holds services on the nodes of a Host and in Guests: dnsmasq, NFS, nginx, Traefik, step-ca, Docker,
// Portainer and its agents, and the Proxmox firewall.
//
// A service on a machine is a pure function from its spec, and from the Guests that it speaks of, to a state of that
// machine (dnsmasq.go, nfs.go). The machine's driver observes it in one round trip, and plans and makes the difference.
// What somebody configured by hand and says something else is found in the files that are read on the way (adopt.go).
package hostservice

import (
	"context"
	"crypto/rand"
	"crypto/x509"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Config is what a Kind works with. Every field is needed.
type Config struct {
	// Reader reads HostServices, Guests, Hosts and Certificates from the cache, and Secrets and ConfigMaps live.
	Reader client.Reader
	// Writer writes Secrets and ConfigMaps.
	Writer client.Client
	// Machine returns the machine of hostRef and node, or of guestRef. Its error is an outcome, as NoSSHReason.
	Machine func(ctx context.Context, s *v1alpha1.HostService) (*machine.Machine, error)
	// Firewall returns the Proxmox firewall of a Host; false: the Host was not reached yet.
	Firewall func(host types.NamespacedName) (FirewallSite, bool)
	// Mark returns the tag that a Guest's guest bears in Proxmox VE.
	Mark func(host *v1alpha1.Host, guest *v1alpha1.Guest) string
	// StepCA returns the authority at a URL, pinned by its roots.
	StepCA func(url string, roots []*x509.Certificate) (Authority, error)
	// Portainer returns the Portainer server at an address.
	Portainer func(at PortainerAddress) (PortainerServer, error)
	// Clock tells the time.
	Clock clock.PassiveClock
}

// Kind is what a HostService has to say to the loop.
type Kind struct {
	Config
	handmade  handmade
	firewalls firewallMemories
	signIns   signIns
	// session stands for this process on the nodes.
	session string
}

var (
	_ reconcile.Kind[*v1alpha1.HostService, Seen] = (*Kind)(nil)
	_ reconcile.Timed[*v1alpha1.HostService]      = (*Kind)(nil)
)

// New returns the kind.
func New(c Config) *Kind { return &Kind{Config: c, session: rand.Text()} }

// Seen is what one observation of a service found.
type Seen struct {
	machine   *machineSeen
	firewall  *firewallSeen
	authority *authoritySeen
	portainer *portainerSeen
	agent     *agentSeen
}

// Refs says what a service refers to: what it is reached through, and, so that names, clients and places are those of
// now, all Guests and HostServices.
func (k *Kind) Refs(s *v1alpha1.HostService) []reconcile.Ref {
	switch {
	case s.Spec.Firewall != nil:
		return k.firewallRefs(s)
	case s.Spec.StepCA != nil:
		return stepCARefs(s)
	case s.Spec.Portainer != nil:
		return portainerRefs(s)
	case s.Spec.PortainerAgent != nil:
		return agentRefs(s)
	}
	around := []reconcile.Ref{reconcile.Every("Guest"), reconcile.Every("HostService")}
	if s.Spec.Nginx != nil {
		around = append(around, nginxRefs(s)...)
	}
	if s.Spec.Traefik != nil {
		around = append(around, traefikRefs(s)...)
	}
	if s.Spec.GuestRef != nil {
		through := reconcile.Through("Guest", s.Spec.GuestRef.Name, v1alpha1.ReachableCondition)
		through.Vanishes = true
		return append([]reconcile.Ref{through}, around...)
	}
	return append([]reconcile.Ref{reconcile.Through("Host", hostRefOf(s), v1alpha1.ReachableCondition)}, around...)
}

// hostRefOf is the name of the Host on whose node a service runs; empty for one in a Guest.
func hostRefOf(s *v1alpha1.HostService) string {
	if s.Spec.HostRef == nil {
		return ""
	}
	return s.Spec.HostRef.Name
}
