// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/traefik"
)

// gather reads what a Route takes from Secrets and authorities. Its errors are outcomes.
func (k *Kind) gather(ctx context.Context, r *v1alpha1.Route, from *reader) (sources, error) {
	out := sources{users: map[int][]string{}, authRoots: map[int][]string{}}
	if t := r.Spec.BackendTLS; t != nil {
		if t.AuthorityRef != nil {
			root, err := rootsOf(ctx, from, t.AuthorityRef.Name, "backendTLS.authorityRef")
			if err != nil {
				return out, err
			}
			out.roots = append(out.roots, root)
		}
		if t.CASecretRef != nil {
			roots, err := k.entryOf(ctx, r.Namespace, *t.CASecretRef)
			if err != nil {
				return out, fmt.Errorf("backendTLS.caSecretRef: %w", err)
			}
			out.roots = append(out.roots, string(roots))
		}
	}
	for i, m := range r.Spec.Middlewares {
		if err := k.gatherFor(ctx, r, i, m, from, &out); err != nil {
			return out, err
		}
	}
	return out, nil
}

// gatherFor reads what one middleware needs.
func (k *Kind) gatherFor(ctx context.Context, r *v1alpha1.Route, i int, m v1alpha1.RouteMiddleware, from *reader, out *sources) error {
	if m.ForwardAuth != nil && m.ForwardAuth.AuthorityRef != nil {
		root, err := rootsOf(ctx, from, m.ForwardAuth.AuthorityRef.Name, fmt.Sprintf("middlewares[%d].forwardAuth.authorityRef", i))
		if err != nil {
			return err
		}
		out.authRoots[i] = []string{root}
	}
	if m.BasicAuth == nil {
		return nil
	}
	ref := m.BasicAuth.UsersSecretRef
	text, err := k.entryOf(ctx, r.Namespace, ref)
	if err != nil {
		return fmt.Errorf("middlewares[%d].basicAuth.usersSecretRef: %w", i, err)
	}
	if out.users[i], err = traefik.Users(text); err != nil {
		return reconcile.Stall(InvalidReason, fmt.Errorf("middlewares[%d].basicAuth: %s of Secret/%s: %w", i, ref.Key, ref.Name, err))
	}
	return nil
}

// entryOf reads an entry of a Secret.
func (k *Kind) entryOf(ctx context.Context, namespace string, ref v1alpha1.SecretKeyReference) ([]byte, error) {
	var secret corev1.Secret
	err := k.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: ref.Name}, &secret)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("read Secret/%s: %w", ref.Name, err)
	}
	if text := secret.Data[ref.Key]; len(text) > 0 {
		return text, nil
	}
	return nil, reconcile.Wait(SourceMissingReason, missingFor, fmt.Errorf("waiting for entry %s of Secret/%s", ref.Key, ref.Name))
}

// rootsOf are the roots of an authority, in PEM.
func rootsOf(ctx context.Context, from *reader, name, field string) (string, error) {
	s, found, err := from.service(ctx, name)
	switch {
	case err != nil:
		return "", err
	case found && s.Spec.StepCA == nil:
		return "", reconcile.Stall(WrongServiceReason, fmt.Errorf("%s: HostService/%s is no stepCA: name one that is", field, name))
	case !found || s.Status.StepCA == nil || s.Status.StepCA.CABundle == "":
		return "", reconcile.Wait(SourceMissingReason, missingFor, fmt.Errorf("waiting for HostService/%s: it has no root yet", name))
	}
	return s.Status.StepCA.CABundle, nil
}

// answerers says which of the dnsRefs cannot answer a name. One that is not there yet may come.
func answerers(ctx context.Context, r *v1alpha1.Route, from *reader) error {
	for _, d := range r.Spec.DNSRefs {
		s, found, err := from.service(ctx, d.Name)
		if err != nil {
			return err
		}
		if found && s.Spec.Dnsmasq == nil {
			return reconcile.Stall(WrongServiceReason, fmt.Errorf("dnsRefs: HostService/%s is no dnsmasq: name one that is", d.Name))
		}
	}
	return nil
}
