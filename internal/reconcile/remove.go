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
		return p.inUse(ctx, refs, users)
	}
	if why := retained(p.obj); why != "" {
		return p.release(ctx, refs, "Released", why+": what stands outside is left as it is")
	}
	if p.obj.Common().Management == v1alpha1.ManagementPaused {
		return &outcome{verdict: kept, reason: v1alpha1.PausedReason, err: errors.New(
			"being deleted, but management is Paused: set it to Enforce to clean up, or deletionPolicy to Retain to let go")}, nil
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

// inUse waits for the users to go. Their clean-up may go through the object, so they have to see how it is: it goes on
// being observed, and no step is taken.
func (p *pass[T, S]) inUse(ctx context.Context, refs []Ref, users []string) (*outcome, error) {
	why := "in use by " + strings.Join(users, ", ")
	if p.obj.Common().Management != v1alpha1.ManagementPaused {
		o, err := p.gateThrough(ctx, refs)
		if err != nil {
			return nil, err
		}
		if o == nil {
			o = p.look(ctx)
		}
		if o != nil {
			why += "; " + o.Error()
		}
	}
	return outcomeOf(Wait(v1alpha1.InUseReason, inUseInterval, errors.New(why)), ""), nil
}

// retained says why nothing outside is touched when the object is deleted; empty: it is cleaned up.
func retained(obj Object) string {
	policy := obj.Common().DeletionPolicy
	if policy == "" {
		policy = obj.DefaultDeletionPolicy()
	}
	switch {
	case policy == v1alpha1.DeletionRetain:
		return "deletionPolicy is Retain"
	case obj.Common().Management == v1alpha1.ManagementObserve:
		return "management is Observe"
	default:
		return ""
	}
}

// gone names a target that the clean-up would go through and that is not there any more, or that takes what there would
// be to clean up with it.
func (p *pass[T, S]) gone(ctx context.Context, refs []Ref) (string, error) {
	for _, r := range refs {
		if !r.Needed && !r.Vanishes {
			continue
		}
		target, err := p.Graph.get(ctx, r, p.obj.GetNamespace())
		if err != nil {
			return "", err
		}
		if target == nil || r.Vanishes && deleting(target) && retained(target) == "" {
			return r.Kind + "/" + r.Name, nil
		}
	}
	return "", nil
}

// release takes the finalizer away, and the in-use finalizers of Secrets that nobody else needs.
func (p *pass[T, S]) release(ctx context.Context, refs []Ref, reason, note string) (*outcome, error) {
	controllerutil.RemoveFinalizer(p.obj, v1alpha1.Finalizer)
	if err := p.patchMeta(ctx); err != nil && !errors.Is(err, errGone) {
		return nil, fmt.Errorf("remove finalizer: %w", err)
	}
	p.event(corev1.EventTypeNormal, reason, "Delete", note)
	for _, r := range refs {
		if !r.Held {
			continue
		}
		if err := p.Graph.letGo(ctx, p.Client, p.obj.GetNamespace(), r.Name, key(p.Name, p.obj.GetName())); err != nil {
			return nil, err
		}
	}
	return &outcome{verdict: released, err: errors.New(note)}, nil
}
