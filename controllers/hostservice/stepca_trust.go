// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// trustMap is the ConfigMap with the roots, for workloads of the cluster; nil: there is none.
type trustMap struct{ *corev1.ConfigMap }

func trustName(service string) string { return service + "-trust" }

// readTrust reads the ConfigMap with the roots.
func (k *Kind) readTrust(ctx context.Context, s *v1alpha1.HostService) (trustMap, error) {
	found := &corev1.ConfigMap{}
	err := k.Reader.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: trustName(s.Name)}, found)
	if apierrors.IsNotFound(err) {
		return trustMap{}, nil
	}
	if err != nil {
		return trustMap{}, fmt.Errorf("read ConfigMap %s: %w", trustName(s.Name), err)
	}
	return trustMap{found}, nil
}

// ours says whether the ConfigMap is that of the HostService.
func (t trustMap) ours(s *v1alpha1.HostService) bool {
	return t.ConfigMap != nil && t.Annotations[authorityAnnotation] == s.Name
}

// foreign says whether the ConfigMap must not be touched.
func (t trustMap) foreign(s *v1alpha1.HostService) bool {
	return t.ConfigMap != nil && !t.ours(s) && (!adopts(s) || t.Annotations[authorityAnnotation] != "")
}

// publishes says whether the ConfigMap is as it has to be.
func (t trustMap) publishes(s *v1alpha1.HostService, bundle string) bool {
	return t.ours(s) && t.Data[bundleEntry] == bundle && slices.Equal(t.OwnerReferences, trustOwner(s))
}

// trustOwner has the ConfigMap go with the HostService also when that is let go because its Guest is gone.
func trustOwner(s *v1alpha1.HostService) []metav1.OwnerReference {
	if s.Spec.DeletionPolicy == v1alpha1.DeletionRetain {
		return nil
	}
	return []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "HostService", Name: s.Name, UID: s.UID}}
}

// trustMoves publish the roots.
func (a *authority) trustMoves(writer client.Client) []move {
	bundle := string(stepca.EncodeChain(a.vault.roots))
	if len(a.vault.roots) == 0 || a.trust.foreign(a.s) || a.trust.publishes(a.s, bundle) {
		return nil
	}
	name := "ConfigMap " + trustName(a.s.Name)
	return []move{{
		reason: PublishingTrustReason, message: fmt.Sprintf("publish %d roots in %s", len(a.vault.roots), name), identity: name,
		changes: []reconcile.Change{{Field: name, To: "roots " + strings.Join(shortened(a.vault.roots), ", "), Impact: v1alpha1.ImpactNone}},
		do: func(ctx context.Context, _ *vaultWriter) error {
			return vaultFailure(writeTrust(ctx, writer, a.s, a.trust, bundle))
		},
	}}
}

// foreignTrust is the step that cannot be taken, as the ConfigMap is somebody else's. Nothing else waits for it.
func (a *authority) foreignTrust() []reconcile.Step {
	if !a.trust.foreign(a.s) {
		return nil
	}
	err := fmt.Errorf("write ConfigMap %s: it is not of HostService/%s: remove it, or set adoptionPolicy: IfUnowned to have it taken over",
		a.trust.Name, a.s.Name)
	return []reconcile.Step{{
		Reason: NotOwnedReason, Message: err.Error(),
		Changes: []reconcile.Change{{Field: "ConfigMap " + a.trust.Name, From: "not ours", Impact: v1alpha1.ImpactNone}},
		Do:      func(context.Context) error { return reconcile.Stall(NotOwnedReason, err) },
	}}
}

// writeTrust writes the ConfigMap.
func writeTrust(ctx context.Context, writer client.Client, s *v1alpha1.HostService, had trustMap, bundle string) error {
	made := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: trustName(s.Name)}}
	if had.ConfigMap != nil {
		made = had.DeepCopy()
	}
	mark(made, s)
	set(&made.Data, map[string]string{bundleEntry: bundle})
	made.OwnerReferences = trustOwner(s)
	var err error
	if had.ConfigMap == nil {
		err = writer.Create(ctx, made)
	} else {
		err = writer.Patch(ctx, made, client.MergeFromWithOptions(had.ConfigMap, client.MergeFromWithOptimisticLock{}))
	}
	if err != nil {
		return fmt.Errorf("write ConfigMap %s: %w", made.Name, err)
	}
	return nil
}

// removeTrust is the step that removes the ConfigMap, and says what stays.
func (k *Kind) removeTrust(s *v1alpha1.HostService, trust trustMap) []reconcile.Step {
	if !trust.ours(s) {
		return nil
	}
	var stay []string
	for _, part := range vaultParts {
		stay = append(stay, part.of(s.Name))
	}
	return []reconcile.Step{{
		Reason:   RemovingTrustReason,
		Message:  fmt.Sprintf("remove ConfigMap %s; the keys stay in the Secrets %s", trust.Name, strings.Join(stay, ", ")),
		Identity: "ConfigMap " + trust.Name,
		Do: func(ctx context.Context) error {
			return client.IgnoreNotFound(k.Writer.Delete(ctx, trust.ConfigMap, client.Preconditions{UID: &trust.UID}))
		},
	}}
}

// truster is a Guest or a Host that declares whom it trusts.
type truster struct {
	key         string
	authorities []v1alpha1.TrustAuthority
	trusted     *metav1.Condition
}

// doubting names those that trust the authority by declaration, but do not trust a root yet.
func doubting(service, fingerprint string, all []truster) []string {
	var names []string
	for _, t := range all {
		asks := slices.ContainsFunc(t.authorities, func(a v1alpha1.TrustAuthority) bool { return a.ServiceRef != nil && a.ServiceRef.Name == service })
		switch c := t.trusted; {
		case !asks:
		case c == nil:
			names = append(names, t.key+" (not there yet)")
		case c.Status != metav1.ConditionTrue:
			names = append(names, t.key+" ("+c.Reason+")")
		case !strings.Contains(c.Message, fingerprint):
			names = append(names, t.key)
		}
	}
	return names
}

// trusters are the Guests and Hosts of a namespace.
func (k *Kind) trusters(ctx context.Context, namespace string) ([]truster, error) {
	var guests v1alpha1.GuestList
	var hosts v1alpha1.HostList
	if err := errors.Join(k.Reader.List(ctx, &guests, client.InNamespace(namespace)), k.Reader.List(ctx, &hosts, client.InNamespace(namespace))); err != nil {
		return nil, fmt.Errorf("list who trusts the authority: %w", err)
	}
	var all []truster
	for i := range guests.Items {
		if g := &guests.Items[i]; g.DeletionTimestamp.IsZero() {
			all = append(all, truster{"Guest/" + g.Name, g.Spec.TrustAuthorities, meta.FindStatusCondition(g.Status.Conditions, v1alpha1.TrustedCondition)})
		}
	}
	for i := range hosts.Items {
		if h := &hosts.Items[i]; h.DeletionTimestamp.IsZero() {
			all = append(all, truster{"Host/" + h.Name, h.Spec.TrustAuthorities, meta.FindStatusCondition(h.Status.Conditions, v1alpha1.TrustedCondition)})
		}
	}
	return all, nil
}

// leaves are the Certificates of the authority under each root.
func (k *Kind) leaves(ctx context.Context, s *v1alpha1.HostService) (map[string][]string, error) {
	var list v1alpha1.CertificateList
	if err := k.Reader.List(ctx, &list, client.InNamespace(s.Namespace)); err != nil {
		return nil, fmt.Errorf("list Certificates: %w", err)
	}
	found := map[string][]string{}
	for i := range list.Items {
		c := &list.Items[i]
		if by := c.Spec.Authority.ServiceRef; by != nil && by.Name == s.Name && c.Status.RootFingerprint != "" {
			found[c.Status.RootFingerprint] = append(found[c.Status.RootFingerprint], "Certificate/"+c.Name)
		}
	}
	return found, nil
}
