// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/dockerstack"
	"github.com/phoenix-hypervisor/phoenix/controllers/hostservice"
	"github.com/phoenix-hypervisor/phoenix/internal/git"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// pullInterval is how often newer images are looked for where a DockerStack's pullPolicy is Always: registries count.
const pullInterval = 15 * time.Minute

func newDockerStack() *v1alpha1.DockerStack { return &v1alpha1.DockerStack{} }

// dockerStacks registers the kind DockerStack, and returns what sets its loop up once every kind is in the graph.
func (h *house) dockerStacks() (setup func() error, err error) {
	bell := newBell(func() client.Object { return newDockerStack() })
	kind, err := dockerstack.New(dockerstack.Config{
		Client: h.mgr.GetClient(), Portainer: h.stackServer, Wake: bell.ring, PullInterval: pullInterval, Metrics: metrics.Registry, Clock: h.opts.Clock,
		Fetch: func(ctx context.Context, from git.Source) (git.File, error) {
			from.Dial = h.opts.Dial
			return git.Fetch(ctx, from)
		},
		Head: func(ctx context.Context, from git.Source) (string, error) {
			from.Dial = h.opts.Dial
			return git.Head(ctx, from)
		},
	})
	if err != nil {
		return nil, err
	}
	if err := h.mgr.GetFieldIndexer().IndexField(context.Background(), newDockerStack(), dockerstack.ByProject, dockerstack.ProjectOf); err != nil {
		return nil, fmt.Errorf("index DockerStacks by project: %w", err)
	}
	if err := errors.Join(h.mgr.Add(kind), h.mgr.Add(bell)); err != nil {
		return nil, fmt.Errorf("add to manager: %w", err)
	}
	reconcile.Register(h.graph, "DockerStack", kind, newDockerStack, func() client.ObjectList { return &v1alpha1.DockerStackList{} })
	return func() error {
		if err := h.forgetDockerStacks(kind, bell); err != nil {
			return err
		}
		return loop(h, "DockerStack", kind, newDockerStack, h.opts.DockerStackInterval).Setup(h.mgr, reconcile.SetupOptions{
			Concurrency: h.opts.Concurrency, Outside: bell.events, ConfigMaps: true,
		})
	}, nil
}

// forgetDockerStacks drops what is remembered of a DockerStack once the object is gone, and wakes those that wait for its
// project.
func (h *house) forgetDockerStacks(kind *dockerstack.Kind, bell *bell) error {
	informer, err := h.mgr.GetCache().GetInformer(context.Background(), newDockerStack(), cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch DockerStacks: %w", err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{DeleteFunc: func(gone any) {
		if last, ok := gone.(toolscache.DeletedFinalStateUnknown); ok {
			gone = last.Obj
		}
		obj, ok := gone.(*v1alpha1.DockerStack)
		if !ok {
			return
		}
		kind.Forget(client.ObjectKeyFromObject(obj))
		var others v1alpha1.DockerStackList
		err := h.mgr.GetCache().List(context.Background(), &others, client.InNamespace(obj.Namespace),
			client.MatchingFields{dockerstack.ByProject: dockerstack.ProjectOf(obj)[0]})
		if err != nil { // their own interval brings them back
			log.Log.Error(err, "find the DockerStacks that wait for a project", "project", dockerstack.ProjectOf(obj)[0])
		}
		for i := range others.Items {
			bell.ring(client.ObjectKeyFromObject(&others.Items[i]))
		}
	}})
	if err != nil {
		return fmt.Errorf("watch DockerStacks: %w", err)
	}
	return nil
}

// bell has objects of a kind looked at again. Those who ring do not wait; what is rung for twice before it is heard is heard once.
type bell struct {
	empty  func() client.Object
	events chan event.GenericEvent
	wake   chan struct{}

	mu   sync.Mutex
	rung map[types.NamespacedName]bool
}

func newBell(empty func() client.Object) *bell {
	return &bell{empty: empty, events: make(chan event.GenericEvent), wake: make(chan struct{}, 1), rung: map[types.NamespacedName]bool{}}
}

// ring has one looked at.
func (b *bell) ring(name types.NamespacedName) {
	b.mu.Lock()
	b.rung[name] = true
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// NeedLeaderElection says that only the leader listens.
func (b *bell) NeedLeaderElection() bool { return true }

// Start passes on what was rung for until the context ends.
func (b *bell) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.wake:
		}
		b.mu.Lock()
		names := b.rung
		b.rung = map[types.NamespacedName]bool{}
		b.mu.Unlock()
		for name := range names {
			obj := b.empty()
			obj.SetNamespace(name.Namespace)
			obj.SetName(name.Name)
			if send(ctx, b.events, obj) != nil {
				return nil
			}
		}
	}
}

// stackServer is a Portainer, and the engines behind it, as DockerStacks need it.
func (h *house) stackServer(a dockerstack.Access) (dockerstack.Portainer, error) {
	s, err := h.portainers.of(hostservice.PortainerAddress{URL: a.URL, ServerName: a.ServerName, CABundle: a.CABundle})
	if err != nil {
		return dockerstack.Portainer{}, err
	}
	as := s.With(string(a.Key.Reveal()))
	return dockerstack.Portainer{Server: as, Engine: func(environment int) (dockerstack.Engine, error) { return as.Engine(environment) }}, nil
}
