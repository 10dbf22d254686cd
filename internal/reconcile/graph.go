// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

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

	mu sync.Mutex
	// memo is what objects referred to when they were last listed, by kind and namespace, and by name: every event asks for all of them.
	memo map[types.NamespacedName]map[string]said
}

// said is what one version of an object refers to.
type said struct {
	uid     types.UID
	version string
	refs    []Ref
}

type member struct {
	newObject func() Object
	newList   func() client.ObjectList
	refs      func(Object) []Ref
}

// NewGraph makes an empty graph over a reader of the cache.
func NewGraph(reader client.Reader) *Graph {
	return &Graph{reader: reader, kinds: map[string]member{}, memo: map[types.NamespacedName]map[string]said{}}
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

// get returns the target of a reference, or nil when it is not there. It may be the cache's own copy: read it only.
func (g *Graph) get(ctx context.Context, r Ref, namespace string) (Object, error) {
	m, ok := g.kinds[r.Kind]
	if !ok {
		return nil, fmt.Errorf("no kind %s", r.Kind)
	}
	obj := m.newObject()
	err := g.reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: r.Name}, obj, client.UnsafeDisableDeepCopy)
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

func (n node) key() string { return key(n.kind, n.obj.GetName()) }

// in lists every object of a namespace with what it refers to. They may be the cache's own copies: read them only.
func (g *Graph) in(ctx context.Context, namespace string) ([]node, error) {
	return g.of(ctx, namespace, g.names())
}

// of is in for some kinds alone.
func (g *Graph) of(ctx context.Context, namespace string, kinds []string) ([]node, error) {
	var nodes []node
	for _, name := range kinds {
		m := g.kinds[name]
		list := m.newList()
		if err := g.reader.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list %s objects: %w", name, err)
		}
		listed, err := g.nodesOf(types.NamespacedName{Namespace: namespace, Name: name}, m, list)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, listed...)
	}
	return nodes, nil
}

// nodesOf turns the list of a kind's objects in a namespace into nodes. What an object refers to is asked once a version.
func (g *Graph) nodesOf(of types.NamespacedName, m member, list client.ObjectList) ([]node, error) {
	g.mu.Lock()
	before := g.memo[of]
	g.mu.Unlock()
	now := make(map[string]said, len(before))
	var nodes []node
	err := meta.EachListItem(list, func(o runtime.Object) error {
		obj := o.(Object)
		last := before[obj.GetName()]
		if last.version == "" || last.version != obj.GetResourceVersion() || last.uid != obj.GetUID() {
			last = said{obj.GetUID(), obj.GetResourceVersion(), m.refs(obj)}
		}
		now[obj.GetName()] = last
		nodes = append(nodes, node{of.Name, obj, last.refs})
		return nil
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.memo[of] = now
	return nodes, err
}

// referrers lists the objects of some kinds that refer to the named one.
func (g *Graph) referrers(ctx context.Context, among []string, kind, namespace, name string) ([]node, error) {
	nodes, err := g.of(ctx, namespace, among)
	return slices.DeleteFunc(nodes, func(n node) bool {
		return !slices.ContainsFunc(n.refs, func(r Ref) bool { return r.Kind == kind && (r.Name == name || r.Name == "") })
	}), err
}

// users names the objects for whose sake obj must stay. When all that stand on it, directly or not, are being deleted too,
// one that obj stands on in turn does not count, so that a circle of deleted objects can end.
func (g *Graph) users(ctx context.Context, kind string, obj Object) ([]string, error) {
	nodes, err := g.in(ctx, obj.GetNamespace())
	if err != nil {
		return nil, err
	}
	self := key(kind, obj.GetName())
	below, above, living := map[string][]string{}, map[string][]string{}, map[string]bool{}
	for _, n := range nodes {
		living[n.key()] = !deleting(n.obj)
		below[n.key()] = n.keeps()
		for _, k := range below[n.key()] {
			above[k] = append(above[k], n.key())
		}
	}
	over := reach(above, self)
	delete(over, self)
	together := true
	for user := range over {
		together = together && !living[user]
	}
	under := reach(below, self)
	return slices.DeleteFunc(slices.Clone(above[self]), func(user string) bool {
		return user == self || together && under[user]
	}), nil
}

// keeps names what stays for the sake of the node, each once.
func (n node) keeps() []string {
	var names []string
	for _, r := range n.refs {
		if name := key(r.Kind, r.Name); r.Keeps && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// reach returns all that is reached over edges from a key.
func reach(edges map[string][]string, from string) map[string]bool {
	been := map[string]bool{}
	for next := []string{from}; len(next) > 0; {
		here := next[0]
		next = next[1:]
		for _, to := range edges[here] {
			if !been[to] {
				been[to] = true
				next = append(next, to)
			}
		}
	}
	return been
}

func key(kind, name string) string { return kind + "/" + name }

// way follows hard references from one object until they come to the goal; nil when they do not.
func (g *Graph) way(ctx context.Context, from node, goal string, been map[string]bool) ([]string, error) {
	for _, r := range from.refs {
		next := key(r.Kind, r.Name)
		if r.Condition == "" || been[next] {
			continue
		}
		been[next] = true
		if next == goal {
			return []string{from.key(), goal}, nil
		}
		target, err := g.get(ctx, r, from.obj.GetNamespace())
		if err != nil {
			return nil, err
		}
		if target == nil {
			continue
		}
		rest, err := g.way(ctx, node{r.Kind, target, g.kinds[r.Kind].refs(target)}, goal, been)
		if rest != nil || err != nil {
			return append([]string{from.key()}, rest...), err
		}
	}
	return nil, nil
}

// Edges lists the hard references of a namespace as "Kind/name -> Kind/name", for drawings and tests.
func (g *Graph) Edges(ctx context.Context, namespace string) ([]string, error) {
	nodes, err := g.in(ctx, namespace)
	var edges []string
	for _, n := range nodes {
		for _, r := range n.refs {
			if r.Condition != "" {
				edges = append(edges, n.key()+" -> "+key(r.Kind, r.Name))
			}
		}
	}
	return edges, err
}

// refs of the pass's object.
func (p *pass[T, S]) refs() []Ref { return refsOf(p.obj, p.Kind.Refs(p.obj)) }

// gate returns what the object has to wait for before a step is taken; nil when the way is free.
func (p *pass[T, S]) gate(ctx context.Context, refs []Ref) (*outcome, error) {
	self := node{p.Name, p.obj, refs}
	way, err := p.Graph.way(ctx, self, self.key(), map[string]bool{})
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
	if r.Needed || r.Blinds {
		p.blind = waits
	}
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
	return c != nil && c.Status == "True" && c.ObservedGeneration == p.obj.GetGeneration() && !deleting(p.obj)
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
