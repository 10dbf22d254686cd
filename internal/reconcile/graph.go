// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// Graph knows every kind, and from what they say of their references answers who stands on whom.
type Graph struct {
	reader client.Reader
	kinds  map[string]member
}

type member struct {
	newObject func() Object
	newList   func() client.ObjectList
	refs      func(Object) []Ref
}

// NewGraph makes an empty graph over a reader of the cache.
func NewGraph(reader client.Reader) *Graph {
	return &Graph{reader: reader, kinds: map[string]member{}}
}

// Register adds a kind to the graph. It is called for every kind before the first pass of any.
func Register[T Object, S any](g *Graph, name string, kind Kind[T, S], newObject func() T, newList func() client.ObjectList) {
	g.kinds[name] = member{
		newObject: func() Object { return newObject() },
		newList:   newList,
		refs:      func(o Object) []Ref { return refsOf(o, kind.Refs(o.(T))) },
	}
}

// names of the registered kinds, in order.
func (g *Graph) names() []string {
	names := make([]string, 0, len(g.kinds))
	for name := range g.kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// get returns the target of a reference, or nil when it is not there.
func (g *Graph) get(ctx context.Context, r Ref, namespace string) (Object, error) {
	m, ok := g.kinds[r.Kind]
	if !ok {
		return nil, fmt.Errorf("no kind %s", r.Kind)
	}
	obj := m.newObject()
	err := g.reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: r.Name}, obj)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return obj, err
}

// node is an object and what it refers to.
type node struct {
	kind string
	obj  Object
	refs []Ref
}

// in lists every object of a namespace, or of all, with what it refers to.
func (g *Graph) in(ctx context.Context, namespace string) ([]node, error) {
	var nodes []node
	for _, name := range g.names() {
		m := g.kinds[name]
		list := m.newList()
		if err := g.reader.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, fmt.Errorf("list %s objects: %w", name, err)
		}
		err := meta.EachListItem(list, func(o runtime.Object) error {
			obj := o.(Object)
			nodes = append(nodes, node{name, obj, m.refs(obj)})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// referrers lists the objects that refer to the named one.
func (g *Graph) referrers(ctx context.Context, kind, namespace, name string) ([]node, error) {
	nodes, err := g.in(ctx, namespace)
	return slices.DeleteFunc(nodes, func(n node) bool {
		return !slices.ContainsFunc(n.refs, func(r Ref) bool { return r.Kind == kind && r.Name == name })
	}), err
}

// users names the objects for whose sake obj must stay. One that is itself being deleted and that obj waits for in turn
// does not count, so that a circle of deleted objects can end.
func (g *Graph) users(ctx context.Context, kind string, obj Object) ([]string, error) {
	referrers, err := g.referrers(ctx, kind, obj.GetNamespace(), obj.GetName())
	if err != nil {
		return nil, err
	}
	var users []string
	for _, n := range referrers {
		if n.kind == kind && n.obj.GetName() == obj.GetName() {
			continue
		}
		keeps := slices.ContainsFunc(n.refs, func(r Ref) bool { return r.Kind == kind && r.Name == obj.GetName() && r.Keeps })
		if !keeps {
			continue
		}
		if !n.obj.GetDeletionTimestamp().IsZero() {
			path, err := g.path(ctx, key(kind, obj.GetName()), key(n.kind, n.obj.GetName()), obj.GetNamespace())
			if err != nil {
				return nil, err
			}
			if path != nil {
				continue
			}
		}
		users = append(users, key(n.kind, n.obj.GetName()))
	}
	return users, nil
}

func key(kind, name string) string { return kind + "/" + name }

// cycle returns the way by which the hard references of an object lead back to it; nil when they do not.
func (g *Graph) cycle(ctx context.Context, kind string, obj Object) ([]string, error) {
	self := key(kind, obj.GetName())
	return g.path(ctx, self, self, obj.GetNamespace())
}

// path follows hard references from one object to another; nil when there is no way.
func (g *Graph) path(ctx context.Context, from, to, namespace string) ([]string, error) {
	nodes, err := g.in(ctx, namespace)
	if err != nil {
		return nil, err
	}
	edges := map[string][]string{}
	for _, n := range nodes {
		for _, r := range n.refs {
			if r.Condition != "" {
				edges[key(n.kind, n.obj.GetName())] = append(edges[key(n.kind, n.obj.GetName())], key(r.Kind, r.Name))
			}
		}
	}
	return walk(edges, from, to, map[string]bool{}), nil
}

// walk finds a way of one edge at least.
func walk(edges map[string][]string, from, to string, been map[string]bool) []string {
	for _, next := range edges[from] {
		if next == to {
			return []string{from, to}
		}
		if been[next] {
			continue
		}
		been[next] = true
		if rest := walk(edges, next, to, been); rest != nil {
			return append([]string{from}, rest...)
		}
	}
	return nil
}

// Edges lists the hard references of a namespace as "Kind/name -> Kind/name", for drawings and tests.
func (g *Graph) Edges(ctx context.Context, namespace string) ([]string, error) {
	nodes, err := g.in(ctx, namespace)
	var edges []string
	for _, n := range nodes {
		for _, r := range n.refs {
			if r.Condition != "" {
				edges = append(edges, key(n.kind, n.obj.GetName())+" -> "+key(r.Kind, r.Name))
			}
		}
	}
	return edges, err
}

// refs of the pass's object.
func (p *pass[T, S]) refs() []Ref { return refsOf(p.obj, p.Kind.Refs(p.obj)) }

// gate returns what the object has to wait for before a step is taken; nil when the way is free.
func (p *pass[T, S]) gate(ctx context.Context, refs []Ref) (*outcome, error) {
	way, err := p.Graph.cycle(ctx, p.Name, p.obj)
	if err != nil {
		return nil, err
	}
	if way != nil {
		return outcomeOf(Stall(v1alpha1.CycleReason, fmt.Errorf("the references lead in a circle: %s", strings.Join(way, " -> "))), ""), nil
	}
	return p.wait(ctx, refs)
}

// gateThrough is gate for a clean-up: only what it goes through has to be there.
func (p *pass[T, S]) gateThrough(ctx context.Context, refs []Ref) (*outcome, error) {
	return p.wait(ctx, slices.DeleteFunc(slices.Clone(refs), func(r Ref) bool { return !r.Needed }))
}

// wait returns an outcome for the first hard reference whose target is not as it must be.
func (p *pass[T, S]) wait(ctx context.Context, refs []Ref) (*outcome, error) {
	for _, r := range refs {
		if r.Condition == "" {
			continue
		}
		if o, err := p.wants(ctx, r); o != nil || err != nil {
			return o, err
		}
	}
	return nil, nil
}

// wants returns an outcome when the target of one hard reference is not as it must be.
func (p *pass[T, S]) wants(ctx context.Context, r Ref) (*outcome, error) {
	target, err := p.Graph.get(ctx, r, p.obj.GetNamespace())
	if err != nil {
		return nil, err
	}
	why := unmet(target, r.Condition)
	if why == "" {
		return nil, nil
	}
	waits := fmt.Errorf("waiting for %s: %s", key(r.Kind, r.Name), why)
	switch {
	case r.Kind == "Host":
		return outcomeOf(unknown(v1alpha1.DependencyReason, p.Interval, waits), ""), nil
	case p.settled():
		return &outcome{verdict: kept, reason: v1alpha1.DependencyReason, err: waits}, nil
	default:
		return outcomeOf(Wait(v1alpha1.DependencyReason, p.Interval, waits), ""), nil
	}
}

// settled says that the object is Ready for its present spec: it keeps that while what it stands on is away.
func (p *pass[T, S]) settled() bool {
	c := meta.FindStatusCondition(p.obj.CommonStatus().Conditions, v1alpha1.ReadyCondition)
	return c != nil && c.Status == "True" && c.ObservedGeneration == p.obj.GetGeneration() && p.obj.GetDeletionTimestamp().IsZero()
}

// unmet says in words why a target does not have a condition; empty when it has.
func unmet(target Object, condition string) string {
	if target == nil {
		return "not found"
	}
	status := target.CommonStatus()
	c := meta.FindStatusCondition(status.Conditions, condition)
	switch {
	case c == nil || c.ObservedGeneration != target.GetGeneration() && c.Status != "True":
		return fmt.Sprintf("not %s yet", condition)
	case c.Status == "True":
		return ""
	default:
		return fmt.Sprintf("not %s (%s)", condition, c.Reason)
	}
}
