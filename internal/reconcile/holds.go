// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// secretMeta is what is cached of a Secret: its metadata, never its data.
func secretMeta() *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return m
}

func secretMetaList() *metav1.PartialObjectMetadataList {
	l := &metav1.PartialObjectMetadataList{}
	l.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	return l
}

// hold puts the in-use finalizer on the Secrets that the object's clean-up will need.
func (p *pass[T, S]) hold(ctx context.Context, refs []Ref) error {
	for _, r := range refs {
		if !r.Held {
			continue
		}
		if err := p.Graph.syncHold(ctx, p.Client, p.obj.GetNamespace(), r.Name, nil); err != nil {
			return err
		}
	}
	return nil
}

// syncHold gives a Secret the in-use finalizer while an object other than gone needs it, and takes it away afterwards.
func (g *Graph) syncHold(ctx context.Context, c client.Client, namespace, name string, gone Object) error {
	secret := secretMeta()
	if err := c.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, secret); err != nil {
		return client.IgnoreNotFound(err)
	}
	referrers, err := g.referrers(ctx, "Secret", namespace, name)
	if err != nil {
		return err
	}
	held := slices.ContainsFunc(referrers, func(n node) bool {
		return (gone == nil || n.obj.GetUID() != gone.GetUID()) &&
			controllerutil.ContainsFinalizer(n.obj, v1alpha1.Finalizer) &&
			slices.ContainsFunc(n.refs, func(r Ref) bool { return r.Kind == "Secret" && r.Name == name && r.Held })
	})
	base := secret.DeepCopy()
	if held && !secret.GetDeletionTimestamp().IsZero() {
		return nil // a finalizer cannot be added to what is being deleted
	}
	changed := held && controllerutil.AddFinalizer(secret, v1alpha1.InUseFinalizer) ||
		!held && controllerutil.RemoveFinalizer(secret, v1alpha1.InUseFinalizer)
	if !changed {
		return nil
	}
	err = c.Patch(ctx, secret, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("change in-use finalizer of Secret/%s: %w", name, err)
	}
	return nil
}
