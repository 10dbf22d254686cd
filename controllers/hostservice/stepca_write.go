// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// vaultWriter writes the Secrets of an authority: only over what was read, and what else stands there stays.
type vaultWriter struct {
	client  client.Client
	s       *v1alpha1.HostService
	secrets map[vaultPart]*corev1.Secret
	until   map[string]time.Time
}

func (k *Kind) vaultWriter(a *authority) *vaultWriter {
	return &vaultWriter{client: k.Writer, s: a.s, secrets: maps.Clone(a.vault.secrets), until: maps.Clone(a.vault.until)}
}

// put sets entries and annotations of a Secret, which is made when it is not there.
func (w *vaultWriter) put(ctx context.Context, part vaultPart, data map[string][]byte, annotations map[string]string) error {
	had := w.secrets[part]
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.s.Namespace, Name: part.of(w.s.Name)}, Type: corev1.SecretTypeOpaque}
	if part == intermediatePart {
		secret.Type = corev1.SecretTypeTLS
	}
	if had != nil {
		secret = had.DeepCopy()
	}
	mark(secret, w.s)
	set(&secret.Data, data)
	set(&secret.Annotations, annotations)
	return w.write(ctx, part, secret)
}

// write creates a Secret, or updates it under the version that was read.
func (w *vaultWriter) write(ctx context.Context, part vaultPart, secret *corev1.Secret) error {
	var err error
	if w.secrets[part] == nil {
		err = w.client.Create(ctx, secret)
	} else {
		err = w.client.Update(ctx, secret)
	}
	if err != nil {
		return vaultFailure(fmt.Errorf("write Secret %s: %w", secret.Name, err))
	}
	w.secrets[part] = secret
	return nil
}

// vaultFailure lets the loop look again when somebody else wrote at the same time.
func vaultFailure(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
		return reconcile.Wait(ChangedReason, machineAgainFor, err)
	}
	return err
}

// putRoots writes the roots that are trusted, the present one first.
func (w *vaultWriter) putRoots(ctx context.Context, roots []*x509.Certificate, generation int32) error {
	var until []string
	for _, fingerprint := range fingerprints(roots) {
		if at := w.until[fingerprint]; !at.IsZero() {
			until = append(until, fingerprint+"="+shown(at))
		}
	}
	return w.put(ctx, rootPart, map[string][]byte{certEntry: stepca.EncodeChain(roots)},
		map[string]string{generationAnnotation: strconv.Itoa(int(generation)), untilAnnotation: strings.Join(until, " ")})
}

// putRootKey writes a root's key, with the certificate, and the key of the root before as long as that issues.
func (w *vaultWriter) putRootKey(ctx context.Context, root stepca.KeyPair, former []byte, generation int32) error {
	data := map[string][]byte{certEntry: root.CertificatePEM, keyEntry: root.KeyPEM, formerEntry: former}
	return w.put(ctx, rootKeyPart, data, map[string]string{generationAnnotation: strconv.Itoa(int(generation))})
}

// putPair writes the intermediate.
func (w *vaultWriter) putPair(ctx context.Context, pair stepca.KeyPair) error {
	return w.put(ctx, intermediatePart, map[string][]byte{certEntry: pair.CertificatePEM, keyEntry: pair.KeyPEM}, nil)
}

// dropEntry takes an entry out of a Secret.
func (w *vaultWriter) dropEntry(ctx context.Context, part vaultPart, name string) error {
	return w.put(ctx, part, map[string][]byte{name: nil}, nil)
}

// mark notes whose an object is.
func mark(o client.Object, s *v1alpha1.HostService) {
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	set(&labels, map[string]string{managedByLabel: "phoenix"})
	set(&annotations, map[string]string{authorityAnnotation: s.Name})
	o.SetLabels(labels)
	o.SetAnnotations(annotations)
}

// set writes entries into a map; those without a value are taken out.
func set[V ~string | ~[]byte](into *map[string]V, values map[string]V) {
	if *into == nil {
		*into = map[string]V{}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if len(values[name]) == 0 {
			delete(*into, name)
		} else {
			(*into)[name] = values[name]
		}
	}
}
