// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// fieldOwner is whose the entries are that a Certificate writes.
const fieldOwner = client.FieldOwner("phoenix-certificate")

// secretSeen is what was found of a Secret. It is never printed.
type secretSeen struct {
	uid                 types.UID
	version             string
	kind                corev1.SecretType
	deleting, immutable bool
	labels, annotations map[string]string
	data                map[string][]byte
	// applied are the fields of ours, as "data/tls.crt".
	applied map[string]bool
	roots   []*x509.Certificate
	held    *material
}

// readSecret reads the Secret of a Certificate; nil when it is not there.
func (k *Kind) readSecret(ctx context.Context, c *v1alpha1.Certificate) (*secretSeen, error) {
	var secret corev1.Secret
	err := k.Client.Get(ctx, types.NamespacedName{Namespace: c.Namespace, Name: c.Spec.SecretName}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Secret/%s: %w", c.Spec.SecretName, err)
	}
	seen := &secretSeen{
		uid: secret.UID, version: secret.ResourceVersion, kind: secret.Type, deleting: !secret.DeletionTimestamp.IsZero(),
		immutable: secret.Immutable != nil && *secret.Immutable, labels: secret.Labels, annotations: secret.Annotations, data: secret.Data,
		applied: appliedFields(secret.ManagedFields),
		held:    read(secret.Data[chainEntry], secret.Data[keyEntry], secret.Annotations[issuedAnnotation], c.Status.RenewRequested),
	}
	seen.roots, _ = stepca.ParseChain(secret.Data[rootsEntry]) // what cannot be read is written anew
	return seen, nil
}

// appliedFields are the entries, labels and annotations that we wrote.
func appliedFields(managed []metav1.ManagedFieldsEntry) map[string]bool {
	applied := map[string]bool{}
	for _, m := range managed {
		if m.Manager != string(fieldOwner) || m.Operation != metav1.ManagedFieldsOperationApply || m.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Data     map[string]json.RawMessage `json:"f:data"`
			Metadata struct {
				Labels      map[string]json.RawMessage `json:"f:labels"`
				Annotations map[string]json.RawMessage `json:"f:annotations"`
			} `json:"f:metadata"`
		}
		if json.Unmarshal(m.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		for part, names := range map[string]map[string]json.RawMessage{
			"data": fields.Data, "labels": fields.Metadata.Labels, "annotations": fields.Metadata.Annotations,
		} {
			for name := range names {
				if field, ok := strings.CutPrefix(name, "f:"); ok {
					applied[part+"/"+field] = true
				}
			}
		}
	}
	return applied
}

// notOurs says why the Secret cannot be written; nil: it can.
func (s *secretSeen) notOurs(c *v1alpha1.Certificate, taken string) error {
	name := "Secret/" + c.Spec.SecretName
	switch {
	case taken != "":
		return reconcile.Stall(SecretTakenReason, fmt.Errorf("%s: Certificate/%s writes it, and is older: set another secretName", name, taken))
	case s == nil:
		return nil
	}
	owner := s.annotations[OwnerAnnotation]
	switch {
	case owner == "" && !adopts(c):
		return reconcile.Stall(NotOwnedReason, fmt.Errorf("%s: there already and not ours: delete it, or set adoptionPolicy: IfUnowned to have it taken over", name))
	case owner != "" && owner != c.Name:
		return reconcile.Stall(NotOwnedReason, fmt.Errorf("%s: it is of Certificate/%s: delete it, or set another secretName", name, owner))
	case s.kind != corev1.SecretTypeTLS:
		return reconcile.Stall(NotOwnedReason, fmt.Errorf("%s: its type is %s and cannot be changed to %s: delete it", name, s.kind, corev1.SecretTypeTLS))
	case s.immutable:
		return reconcile.Stall(NotOwnedReason, fmt.Errorf("%s: it is immutable: delete it", name))
	case s.deleting:
		return reconcile.Wait(SecretDeletedReason, refusedFor, fmt.Errorf("%s: it is being deleted, and a finalizer keeps it", name))
	}
	return nil
}

// wanted is what a Secret is to have.
type wanted struct {
	data                map[string][]byte
	labels, annotations map[string]string
}

// want is what the Secret of a Certificate is to have for this key and certificate.
func (s Seen) want(c *v1alpha1.Certificate, m *material) (wanted, error) {
	w := wanted{
		data:   map[string][]byte{chainEntry: m.chainPEM(), keyEntry: m.keyPEM(isPKCS1(c)), rootsEntry: s.bundle()},
		labels: map[string]string{}, annotations: map[string]string{},
	}
	if t := c.Spec.SecretTemplate; t != nil {
		maps.Copy(w.labels, t.Labels)
		maps.Copy(w.annotations, t.Annotations)
	}
	w.annotations[OwnerAnnotation], w.annotations[issuedAnnotation] = c.Name, m.marks.encode()
	var there map[string][]byte
	if s.secret != nil {
		there = s.secret.data
	}
	for _, store := range s.stores {
		if err := store.fill(w.data, there, m, s); err != nil {
			return w, err
		}
	}
	return w, nil
}

// differences are what a write would change, without any value of an entry.
func (w wanted) differences(there *secretSeen) []reconcile.Change {
	if there == nil {
		there = &secretSeen{}
	}
	var changes []reconcile.Change
	note := func(field, from, to string) {
		changes = append(changes, reconcile.Change{Field: "secret " + field, From: from, To: to, Impact: v1alpha1.ImpactNone})
	}
	for entry, value := range w.data {
		had, ok := there.data[entry]
		switch {
		case !ok:
			note("data/"+entry, "", "written")
		case !bytes.Equal(had, value):
			note("data/"+entry, "another", "written")
		}
	}
	for part, texts := range map[string][2]map[string]string{"labels/": {there.labels, w.labels}, "annotations/": {there.annotations, w.annotations}} {
		for name, value := range texts[1] {
			if had, ok := texts[0][name]; !ok || had != value {
				note(part+name, had, value)
			}
		}
	}
	for field := range there.applied {
		if !w.has(field) {
			note(field, "ours", "")
		}
	}
	slices.SortFunc(changes, func(a, b reconcile.Change) int { return cmp.Compare(a.Field, b.Field) })
	return changes
}

// has says whether a field of ours is still wanted.
func (w wanted) has(field string) bool {
	part, name, _ := strings.Cut(field, "/")
	switch part {
	case "labels":
		_, ok := w.labels[name]
		return ok
	case "annotations":
		_, ok := w.annotations[name]
		return ok
	}
	_, ok := w.data[name]
	return ok
}

// write writes a key and its certificate to the Secret, unless it became somebody else's meanwhile.
func (k *Kind) write(ctx context.Context, c *v1alpha1.Certificate, seen Seen, m *material) error {
	there, err := k.readSecret(ctx, c)
	if err != nil {
		return err
	}
	if err := there.notOurs(c, ""); err != nil {
		return err
	}
	seen.secret = there
	w, err := seen.want(c, m)
	if err != nil {
		return err
	}
	secret := applycore.Secret(c.Spec.SecretName, c.Namespace).WithType(corev1.SecretTypeTLS).
		WithLabels(w.labels).WithAnnotations(w.annotations).WithData(w.data)
	if err := k.Client.Apply(ctx, secret, fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("write Secret/%s: %w", c.Spec.SecretName, err)
	}
	k.memory.change(nameOf(c), func(known *remembered) { known.fresh = nil })
	return nil
}

// deleteSecret deletes the Secret that was seen.
func (k *Kind) deleteSecret(ctx context.Context, c *v1alpha1.Certificate, there *secretSeen) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Spec.SecretName}}
	err := k.Client.Delete(ctx, secret, client.Preconditions{UID: &there.uid, ResourceVersion: &there.version})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete Secret/%s: %w", c.Spec.SecretName, err)
	}
	return nil
}
