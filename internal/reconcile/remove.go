// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// inUseInterval is how often an object in use is looked at; the end of a user re-queues it at once.
const inUseInterval = time.Minute

// remove clears the object's place outside, then lets the object go.
func (p *pass[T, S]) remove(ctx context.Context, refs []Ref) (*outcome, error) {
	users, err := p.Graph.users(ctx, p.Name, p.obj)
	if err != nil {
		return nil, err
	}
	if len(users) > 0 {
		return outcomeOf(Wait(v1alpha1.InUseReason, inUseInterval, errors.New("in use by "+strings.Join(users, ", "))), ""), nil
	}
	if why := p.untouched(); why != "" {
		return p.release(ctx, refs, "Released", why+": what stands outside is left as it is")
	}
	if p.obj.Common().Management == v1alpha1.ManagementPaused {
		return outcomeOf(Wait(v1alpha1.PausedReason, inUseInterval,
			errors.New("being deleted, but management is Paused: set it to Enforce to clean up, or deletionPolicy to Retain to let go")), ""), nil
	}
	gone, err := p.gone(ctx, refs)
	if err != nil {
		return nil, err
	}
	if gone != "" {
		return p.release(ctx, refs, "Released", gone+" is gone: nothing is left to clean up through it")
	}
	blocked, err := p.gateThrough(ctx, refs)
	if blocked != nil || err != nil {
		return blocked, err
	}
	o, err := p.advance(ctx, p.Kind.Remove)
	if o != nil || err != nil {
		return o, err
	}
	return p.release(ctx, refs, "Removed", "nothing is left outside")
}

// untouched says why nothing outside may be touched on deletion; empty: it may.
func (p *pass[T, S]) untouched() string {
	policy := p.obj.Common().DeletionPolicy
	if policy == "" {
		policy = p.obj.DefaultDeletionPolicy()
	}
	switch {
	case policy == v1alpha1.DeletionRetain:
		return "deletionPolicy is Retain"
	case p.obj.Common().Management == v1alpha1.ManagementObserve:
		return "management is Observe"
	default:
		return ""
	}
}

// gone names a target that the clean-up would go through and that is not there any more.
func (p *pass[T, S]) gone(ctx context.Context, refs []Ref) (string, error) {
	for _, r := range refs {
		if !r.Needed && !r.Vanishes {
			continue
		}
		target, err := p.Graph.get(ctx, r, p.obj.GetNamespace())
		if err != nil {
			return "", err
		}
		if target == nil || (r.Vanishes && !target.GetDeletionTimestamp().IsZero()) {
			return r.Kind + "/" + r.Name, nil
		}
	}
	return "", nil
}

// release takes the finalizer away, and the in-use finalizers of Secrets that nobody else needs.
func (p *pass[T, S]) release(ctx context.Context, refs []Ref, reason, note string) (*outcome, error) {
	p.Events.Eventf(p.obj, nil, corev1.EventTypeNormal, reason, "Delete", "%s", clip(note, maxNote))
	controllerutil.RemoveFinalizer(p.obj, v1alpha1.Finalizer)
	if err := p.patchMeta(ctx); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("remove finalizer: %w", err)
	}
	for _, r := range refs {
		if !r.Held {
			continue
		}
		if err := p.Graph.syncHold(ctx, p.Client, p.obj.GetNamespace(), r.Name, p.obj); err != nil {
			return nil, err
		}
	}
	return &outcome{verdict: released, err: errors.New(note)}, nil
}
