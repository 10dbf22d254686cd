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
func secretMeta() *metav1.PartialObjectMetadata { return metadataOf("Secret") }

// metadataOf is the metadata of a Secret or a ConfigMap.
func metadataOf(kind string) *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
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
		secret, err := secretOf(ctx, p.Client, p.obj.GetNamespace(), r.Name)
		if err != nil {
			return err
		}
		if secret == nil || !secret.GetDeletionTimestamp().IsZero() { // a finalizer cannot be added to what is being deleted
			continue
		}
		base := secret.DeepCopy()
		if !controllerutil.AddFinalizer(secret, v1alpha1.InUseFinalizer) {
			continue
		}
		if err := patchHold(ctx, p.Client, secret, base); err != nil {
			return err
		}
	}
	return nil
}

// letGo takes the in-use finalizer from a Secret that no object needs; gone is the key of one that does not count.
func (g *Graph) letGo(ctx context.Context, c client.Client, namespace, name, gone string) error {
	secret, err := secretOf(ctx, c, namespace, name)
	if err != nil || secret == nil {
		return err
	}
	referrers, err := g.referrers(ctx, g.names(), "Secret", namespace, name)
	if err != nil {
		return err
	}
	for _, n := range referrers {
		if n.key() != gone && n.holds(name) {
			return nil
		}
	}
	base := secret.DeepCopy()
	if !controllerutil.RemoveFinalizer(secret, v1alpha1.InUseFinalizer) {
		return nil
	}
	return patchHold(ctx, c, secret, base)
}

// holds says whether the node's clean-up needs the Secret. One that has been released needs nothing any more, though a
// finalizer of somebody else's may still keep it.
func (n node) holds(secret string) bool {
	if deleting(n.obj) && !controllerutil.ContainsFinalizer(n.obj, v1alpha1.Finalizer) {
		return false
	}
	return slices.ContainsFunc(n.refs, func(r Ref) bool { return r.Kind == "Secret" && r.Name == secret && r.Held })
}

// secretOf reads a Secret's metadata; nil when it is not there.
func secretOf(ctx context.Context, c client.Client, namespace, name string) (*metav1.PartialObjectMetadata, error) {
	secret := secretMeta()
	err := c.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Secret/%s: %w", name, err)
	}
	return secret, nil
}

func patchHold(ctx context.Context, c client.Client, secret, base *metav1.PartialObjectMetadata) error {
	err := c.Patch(ctx, secret, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("change in-use finalizer of Secret/%s: %w", secret.Name, err)
	}
	return nil
}
