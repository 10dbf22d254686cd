// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	ctrlreconcile "sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// SetupOptions say how a loop runs under a manager.
type SetupOptions struct {
	// Concurrency is how many objects are worked on at the same time.
	Concurrency int
	// Outside brings objects to look at again because something outside changed. May be nil.
	Outside <-chan event.GenericEvent
	// ConfigMaps has ConfigMaps watched, for a kind that refers to them.
	ConfigMaps bool
}

// NewBackoff is the wait after failures: from 1 s, doubling, to 5 min.
func NewBackoff() workqueue.TypedRateLimiter[types.NamespacedName] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](time.Second, 5*time.Minute)
}

// Setup registers the loop with a manager: it watches its own kind, what that refers to, and what refers to it.
func (l *Loop[T, S]) Setup(mgr ctrl.Manager, o SetupOptions) error {
	if l.Backoff == nil {
		l.Backoff = NewBackoff()
	}
	b := ctrl.NewControllerManagedBy(mgr).Named(lower(l.Name)).
		For(l.New(), builder.WithPredicates(intent())).
		WithOptions(controller.Options{MaxConcurrentReconciles: o.Concurrency}).
		WatchesMetadata(secretMeta(), l.around("Secret"))
	if o.ConfigMaps {
		b = b.WatchesMetadata(metadataOf("ConfigMap"), l.around("ConfigMap"))
	}
	for _, kind := range l.Graph.names() {
		b = b.Watches(l.Graph.kinds[kind].newObject(), l.around(kind), builder.WithPredicates(fact()))
	}
	if o.Outside != nil {
		b = b.WatchesRawSource(source.Channel(o.Outside, &handler.EnqueueRequestForObject{}))
	}
	if err := b.Complete(l); err != nil {
		return fmt.Errorf("set up %s controller: %w", l.Name, err)
	}
	return nil
}

// intent lets through what a person says: a new spec, a deletion, an annotation.
func intent() predicate.Predicate {
	return predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{})
}

// fact lets through what others may wait for: a change of conditions or spec, an appearance, an end.
func fact() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(Object)
		after, ok2 := e.ObjectNew.(Object)
		return ok && ok2 && (before.GetGeneration() != after.GetGeneration() ||
			!equality.Semantic.DeepEqual(before.CommonStatus().Conditions, after.CommonStatus().Conditions))
	}}
}

// around re-queues the objects of the loop's kind that refer to what changed, or that it refers to and that wait for its end.
func (l *Loop[T, S]) around(kind string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, changed client.Object) []ctrlreconcile.Request {
		nodes, err := l.Graph.referrers(ctx, []string{l.Name}, kind, changed.GetNamespace(), changed.GetName())
		if err != nil {
			log.FromContext(ctx).Error(err, "find what refers to a changed object", "kind", kind, "name", changed.GetName())
			return nil
		}
		var requests []ctrlreconcile.Request
		for _, n := range nodes {
			if kind != l.Name || n.obj.GetName() != changed.GetName() { // its own changes it hears by itself
				requests = append(requests, request(changed.GetNamespace(), n.obj.GetName()))
			}
		}
		if m, ok := l.Graph.kinds[kind]; ok {
			requests = append(requests, l.waitingFor(ctx, m.refs(changed.(Object)), changed.GetNamespace())...)
		}
		return requests
	})
}

// waitingFor returns the loop's objects among the references that are being deleted, and so wait for their users to go.
func (l *Loop[T, S]) waitingFor(ctx context.Context, refs []Ref, namespace string) []ctrlreconcile.Request {
	var requests []ctrlreconcile.Request
	for _, r := range refs {
		if r.Kind != l.Name || !r.Keeps {
			continue
		}
		target, err := l.Graph.get(ctx, r, namespace)
		if err != nil {
			log.FromContext(ctx).Error(err, "find what a changed object keeps", "kind", r.Kind, "name", r.Name)
		} else if target != nil && deleting(target) {
			requests = append(requests, request(namespace, r.Name))
		}
	}
	return requests
}

func request(namespace, name string) ctrlreconcile.Request {
	return ctrlreconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

// Holds keeps the in-use finalizers of Secrets right when references change: a Host that names another token lets go of
// the one before.
type Holds struct {
	// Client reads metadata from the cache and writes finalizers.
	Client client.Client
	// Graph knows who needs which Secret.
	Graph *Graph
}

// Setup registers the controller with a manager.
func (h *Holds) Setup(mgr ctrl.Manager) error {
	b := ctrl.NewControllerManagedBy(mgr).Named("secret").
		WatchesMetadata(secretMeta(), &handler.EnqueueRequestForObject{}, builder.WithPredicates(predicate.NewPredicateFuncs(isHeld)))
	for _, kind := range h.Graph.names() {
		b = b.Watches(h.Graph.kinds[kind].newObject(), handler.EnqueueRequestsFromMapFunc(h.heldIn), builder.WithPredicates(predicate.GenerationChangedPredicate{}))
	}
	if err := b.Complete(h); err != nil {
		return fmt.Errorf("set up Secret controller: %w", err)
	}
	return nil
}

func isHeld(o client.Object) bool {
	return controllerutil.ContainsFinalizer(o, v1alpha1.InUseFinalizer)
}

// heldIn lists the held Secrets of the changed object's namespace.
func (h *Holds) heldIn(ctx context.Context, changed client.Object) []ctrlreconcile.Request {
	list := secretMetaList()
	if err := h.Client.List(ctx, list, client.InNamespace(changed.GetNamespace())); err != nil {
		log.FromContext(ctx).Error(err, "list Secrets in use")
		return nil
	}
	var requests []ctrlreconcile.Request
	for i := range list.Items {
		if isHeld(&list.Items[i]) {
			requests = append(requests, request(list.Items[i].Namespace, list.Items[i].Name))
		}
	}
	return requests
}

// Reconcile puts one Secret's in-use finalizer right.
func (h *Holds) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	err := h.Graph.letGo(ctx, h.Client, req.Namespace, req.Name, "")
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: conflictDelay}, nil
	}
	return ctrl.Result{}, err
}
