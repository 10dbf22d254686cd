// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// routeLabel is the label of a Certificate that says for which Route it was made.
const routeLabel = "phoenix-hypervisor.io/route"

// certificateName is that of the Certificate that a Route makes.
func certificateName(r *v1alpha1.Route) string { return "route-" + r.Name }

// certificateSeen is the Certificate of a Route's own, as far as there is one.
type certificateSeen struct {
	// object is nil when there is none, or when it is somebody else's.
	object *v1alpha1.Certificate
}

// ownCertificateOf reads it. One of this name that is somebody else's is in the way where one is to be made.
func (k *Kind) ownCertificateOf(ctx context.Context, r *v1alpha1.Route, from *reader) (certificateSeen, error) {
	c := &v1alpha1.Certificate{}
	name := certificateName(r)
	found, err := from.get(ctx, "Certificate", name, c)
	if err != nil || !found {
		return certificateSeen{}, err
	}
	if metav1.IsControlledBy(c, r) {
		return certificateSeen{c}, nil
	}
	if c.Labels[routeLabel] == labelOf(r) && metav1.GetControllerOf(c) == nil { // of the same Route before a restore
		return certificateSeen{c}, nil
	}
	if issues(r) {
		return certificateSeen{}, reconcile.Stall(NotOwnedReason, fmt.Errorf(
			"make Certificate/%s: it is there already and was not made for this Route: name it by tls.certificateRef, or delete it", name))
	}
	return certificateSeen{}, nil
}

// labelOf is a value for routeLabel: a label's value has 63 characters at most.
func labelOf(r *v1alpha1.Route) string {
	const most = 63
	if len(r.Name) <= most {
		return r.Name
	}
	return prefixOf(r, &v1alpha1.Host{})[:12]
}

// due says that the Certificate is to be made, or changed, before anything else.
func (c certificateSeen) due(r *v1alpha1.Route) bool {
	if !issues(r) {
		return false
	}
	return c.object == nil || !c.object.DeletionTimestamp.IsZero() || !slices.Equal(c.object.Spec.DNSNames, r.Spec.Hosts) ||
		c.object.Spec.Authority.ServiceRef == nil || c.object.Spec.Authority.ServiceRef.Name != r.Spec.TLS.AuthorityRef.Name
}

// left says that there is one that nobody needs any more.
func (c certificateSeen) left(r *v1alpha1.Route) bool {
	return c.object != nil && c.object.DeletionTimestamp.IsZero() && (!issues(r) || !r.DeletionTimestamp.IsZero())
}

// wanted is the Certificate as it is to be.
func (c certificateSeen) wanted(r *v1alpha1.Route) *v1alpha1.Certificate {
	out := &v1alpha1.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: certificateName(r)}}
	out.Spec.SecretName = certificateName(r) + "-tls"
	if c.object != nil {
		out = c.object.DeepCopy()
	}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	out.Labels[routeLabel] = labelOf(r)
	out.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "Route", Name: r.Name, UID: r.UID, Controller: ptr.To(true),
	}}
	out.Spec.DNSNames = r.Spec.Hosts
	out.Spec.Authority = v1alpha1.CertificateAuthority{ServiceRef: &v1alpha1.LocalReference{Name: r.Spec.TLS.AuthorityRef.Name}}
	return out
}

// issueStep makes the Certificate, or brings it to what the Route says.
func (k *Kind) issueStep(r *v1alpha1.Route, c certificateSeen) reconcile.Step {
	name := "Certificate/" + certificateName(r)
	step := reconcile.Step{
		Reason: IssuingReason, Message: "make " + name, Identity: name,
		Changes: []reconcile.Change{{Field: "tls.issue", To: name, Impact: v1alpha1.ImpactNone}},
	}
	want := c.wanted(r)
	switch {
	case c.object == nil:
		step.Do = func(ctx context.Context) error {
			if err := k.Client.Create(ctx, want); err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("make %s: %w", name, err)
			}
			return reconcile.Wait(IssuingReason, missingFor, fmt.Errorf("waiting for %s: not Issued yet", name))
		}
	case !c.object.DeletionTimestamp.IsZero():
		step.Do = func(context.Context) error {
			return reconcile.Wait(CertificateMissingReason, missingFor, fmt.Errorf("waiting for %s: it is being deleted", name))
		}
	default:
		step.Message = "change the names of " + name
		step.Do = func(ctx context.Context) error {
			if err := k.Client.Patch(ctx, want, mergeFrom(c.object)); err != nil {
				return fmt.Errorf("change %s: %w", name, err)
			}
			return reconcile.Wait(IssuingReason, busyFor, fmt.Errorf("waiting for %s: not Issued for the new names yet", name))
		}
	}
	return step
}

// unissueStep lets the Certificate go.
func (k *Kind) unissueStep(c certificateSeen) reconcile.Step {
	name := "Certificate/" + c.object.Name
	return reconcile.Step{
		Reason: UnissuingReason, Message: "delete " + name, Identity: name,
		Changes: []reconcile.Change{{Field: "tls.issue", From: name, Impact: v1alpha1.ImpactNone}},
		Do: func(ctx context.Context) error {
			if err := k.Client.Delete(ctx, c.object.DeepCopy()); err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("delete %s: %w", name, err)
			}
			return nil
		},
	}
}
