// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package dockerstack holds the kind DockerStack: a compose text that runs in an environment of Portainer.
//
// The truth is what the containers are like, not what Portainer has on record (differ.go). What was last seen to run as it
// should is kept in a Secret (vault.go), and is deployed again when something new fails. Pulling and deploying take minutes
// and run beside the passes (job.go); a manager that begins in the middle of one sees in that Secret that one may go on.
// All stacks of an environment share what is read of it (sight.go).
package dockerstack

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/git"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/secret"
)

// ByProject is the index of DockerStacks by their project; Config.Client must know it.
const ByProject = "spec.project"

// ProjectOf is the value of a DockerStack in the index ByProject.
func ProjectOf(o client.Object) []string { return []string{projectOf(o.(*v1alpha1.DockerStack))} }

// Server is a Portainer server; *portainer.Client is one.
type Server interface {
	Environments(ctx context.Context) ([]portainer.Environment, error)
	Stacks(ctx context.Context, environment int) ([]portainer.Stack, error)
	StackFile(ctx context.Context, id int) (string, error)
	CreateStack(ctx context.Context, environment int, s portainer.NewStack) (portainer.Stack, error)
	UpdateStack(ctx context.Context, id, environment int, change portainer.StackChange) error
	DeleteStack(ctx context.Context, id, environment int) error
}

// Engine is the Docker engine of an environment; *portainer.Engine is one.
type Engine interface {
	Containers(ctx context.Context) ([]portainer.Container, error)
	Image(ctx context.Context, ref string) (info portainer.ImageInfo, found bool, err error)
	Pull(ctx context.Context, ref string) error
	Stop(ctx context.Context, container string) error
	Remove(ctx context.Context, container string) error
	Volumes(ctx context.Context, project string) ([]portainer.Volume, error)
	RemoveVolume(ctx context.Context, name string) error
}

// Access says how a Portainer server is reached.
type Access struct {
	URL, ServerName string
	// CABundle verifies its certificate: PEM; empty: what the manager's machine trusts.
	CABundle string
	Key      secret.Secret
}

// Portainer is a server and the engines behind it.
type Portainer struct {
	Server
	Engine func(environment int) (Engine, error)
}

// Config is what a Kind works with. Every field is needed.
type Config struct {
	// Client reads Phoenix objects from the cache and Secrets and ConfigMaps past it, and writes Secrets.
	Client client.Client
	// Portainer returns a server. It makes no call.
	Portainer func(Access) (Portainer, error)
	// Fetch fetches a file of a git repository, Head the commit of a ref.
	Fetch func(context.Context, git.Source) (git.File, error)
	Head  func(context.Context, git.Source) (string, error)
	// Wake has a DockerStack looked at again. It does not block.
	Wake func(types.NamespacedName)
	// PullInterval is how often newer images are looked for where pullPolicy is Always.
	PullInterval time.Duration
	// Metrics takes the counts of services.
	Metrics prometheus.Registerer
	// Clock tells the time.
	Clock clock.PassiveClock
}

// Kind is what a DockerStack has to say to the loop. It is a runnable of a manager: its end stops what runs beside the passes.
type Kind struct {
	Config
	jobs   *jobs
	memory memory
	sights sights
	rooms  rooms
	meters meters
}

var (
	_ reconcile.Kind[*v1alpha1.DockerStack, Seen] = (*Kind)(nil)
	_ reconcile.Timed[*v1alpha1.DockerStack]      = (*Kind)(nil)
)

// New returns the kind. It returns an error when its metrics cannot be registered.
func New(c Config) (*Kind, error) {
	meters, err := newMeters(c.Metrics)
	if err != nil {
		return nil, err
	}
	return &Kind{Config: c, jobs: newJobs(c.Wake), meters: meters}, nil
}

// NeedLeaderElection says that only the leader deploys.
func (k *Kind) NeedLeaderElection() bool { return true }

// Start waits for the context to end, and then for what runs beside the passes.
func (k *Kind) Start(ctx context.Context) error {
	<-ctx.Done()
	k.jobs.stop()
	return nil
}

// Forget drops what is remembered of a DockerStack that is gone, and its metrics.
func (k *Kind) Forget(name types.NamespacedName) {
	k.memory.forget(name)
	k.meters.drop(name)
}

// Next is when the repository of a DockerStack is looked at again.
func (k *Kind) Next(s *v1alpha1.DockerStack) time.Time {
	if s.Spec.Compose.Git == nil {
		return time.Time{}
	}
	last := k.memory.of(nameOf(s)).checkout
	at := last.at
	if last.begun.After(at) {
		at = last.begun // the end of that look tells of news
	}
	if at.IsZero() {
		return time.Time{}
	}
	return at.Add(intervalOf(s.Spec.Compose.Git))
}

// Refs says what a DockerStack refers to. Once it is deployed it is kept in its place as long as its environment answers;
// a change of a Secret or ConfigMap that it takes a value from has it deployed again.
func (k *Kind) Refs(s *v1alpha1.DockerStack) []reconcile.Ref {
	var refs []reconcile.Ref
	if agent := s.Spec.Environment.AgentRef; agent != nil {
		refs = append(refs, seenThrough(agent.Name, v1alpha1.RegisteredCondition))
	}
	if server := s.Spec.Environment.PortainerRef; server != nil {
		refs = append(refs, seenThrough(server.Name, v1alpha1.ServingCondition))
	}
	for _, named := range sourcesOf(s) {
		refs = append(refs, reconcile.Soft(named.kind, named.name))
	}
	return refs
}

// seenThrough is a hard reference to a HostService without which nothing can be said of the stack.
func seenThrough(service, condition string) reconcile.Ref {
	ref := reconcile.Hard("HostService", service, condition)
	ref.Blinds = true
	return ref
}

// nameOf is the object's name, as the memory has it.
func nameOf(s *v1alpha1.DockerStack) client.ObjectKey { return client.ObjectKeyFromObject(s) }
